"""PostgreSQL's errors in our words: no password, no row, and what to do."""

import re
from collections.abc import Sequence
from typing import Final

import psycopg

from controller.adapters.postgres.addresses import Secret, mask
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    PermanentError,
    SlipwayError,
    TransientError,
)
from controller.migrations.bundle import Migration, Statement
from controller.ports_data import DatabaseAddress

LOCKED: Final = frozenset({"55P03", "40P01", "40001"})  # not to be had, deadlock, serialization
NOT_IN_TRANSACTION: Final = frozenset({"25001", "2D000"})  # refused there, or ends it itself
_SHOWN: Final = 500
_DENIED_WORDS: Final = ("authentication failed", "no password supplied", "no pg_hba.conf entry")
_TLS_WORDS: Final = ("does not support SSL", "certificate", "SSL error", "root.crt")


def connect_failure(
    error: psycopg.Error, address: DatabaseAddress, *secrets: Secret | None
) -> SlipwayError:
    """Return the error for a connection that could not be opened.

    Raise it ``from None``: psycopg's own knows the connection string.
    """
    said = _said(error, secrets)
    what = f"No connection to {address}: {said}"
    if any(words in said for words in _DENIED_WORDS):
        return AccessDeniedError(
            what,
            fix=f"Correct the password of {address.user!r} where it is kept (Key Vault), or make"
            " Slipway's identity a user of the database.",
        )
    if "does not exist" in said:
        return PermanentError(what, fix="Name a database and a user that are there.")
    if any(words in said for words in _TLS_WORDS):
        return PermanentError(
            what,
            fix="Correct sslmode or sslrootcert in the connection string: without a word, TLS is"
            " required.",
        )
    return _by_state(error, what) or TransientError(what)


def failure(
    error: psycopg.Error,
    address: DatabaseAddress,
    *secrets: Secret | None,
    at: str = "",
    blockers: Sequence[str] = (),
) -> SlipwayError:
    """Return the error for what failed on an open connection, *at* some statement."""
    said = _said(error, secrets)
    what = f"{at}: {said}" if at else f"{address}: {said}"
    if error.sqlstate in LOCKED:
        held = f" Held by {'; '.join(blockers)}." if blockers else ""
        return TransientError(
            f"{what}{held}",
            fix="Nothing to do: Slipway tries again. If it stays so, end the session that holds"
            " the lock, or migrate when less is going on.",
        )
    known = _by_state(error, what)
    if known is not None:
        return known
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        return TransientError(f"The connection was lost. {what}")
    return PermanentError(
        what, fix="Nothing of this statement was kept. Correct the script, and release it anew."
    )


def place(migration: Migration, statement: Statement, error: psycopg.Error | None = None) -> str:
    """Return where in its script a statement stands; of *error*, the line that it names."""
    line = statement.line
    position = error.diag.statement_position if error is not None else None
    if position is not None and position.isdecimal():
        line += statement.text.count("\n", 0, int(position))
    return f"{migration.id}, line {line}"


_NOT_ALONE: Final = "Put the statement into a migration of its own with `transactional: false`."
_FIXES: Final = {
    "57014": "Do it in smaller steps, or raise the limit for one statement.",
    "25001": _NOT_ALONE,
    "2D000": _NOT_ALONE,
    "25006": "The server takes no writes: it is a replica, or its storage is full. Name the"
    " primary, or add storage.",
    "53100": "Give the server more storage.",
    "53200": "Give the server more memory.",
}
_PASSING: Final = ("08", "57P", "25P03", "25P04")  # connection, shutdown, sat idle, took too long


def _by_state(error: psycopg.Error, what: str) -> SlipwayError | None:
    """Return the error for what SQLSTATE alone tells."""
    state = error.sqlstate or ""
    if fix := _FIXES.get(state):
        return PermanentError(what, fix=fix)
    if state == "42501" or state.startswith("28"):
        return AccessDeniedError(what, fix="Give the database's user the right that is missing.")
    if state == "53300":
        return BusyError(what, fix="Nothing to do: Slipway tries again when connections are free.")
    return TransientError(what) if state.startswith(_PASSING) else None


def _said(error: psycopg.Error, secrets: Sequence[Secret | None]) -> str:
    """Return PostgreSQL's first line. Its DETAIL quotes rows, which are somebody's data."""
    text = error.diag.message_primary or (str(error).strip().splitlines() or ["no reason"])[-1]
    if (error.sqlstate or "").startswith("22"):
        text = re.sub(r': ".*', "", text, flags=re.DOTALL)  # the value that does not fit
    text = mask(" ".join(text.split()), *secrets)
    return f"{text[:_SHOWN].rstrip('.')}."
