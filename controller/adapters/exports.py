"""What Slipway itself remembers of an app, as parts of a backup set: one JSON value per line."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final, TypeVar

from controller.adapters.codec import SCHEMA_VERSION, decode, encode
from controller.core.errors import MalformedError
from controller.core.model import AppState, Rollout
from controller.core.plan import AppSpec
from controller.ports import AppMemory, AuditRow, History, StateStore
from controller.ports_data import Tell
from controller.recovery.reading import written

T = TypeVar("T")

_LINE: Final = re.compile(rb'\{"(form|head|rollout|audit)":(.*)\}', re.DOTALL)
_MOST: Final = 1_000_000  # rows of one kind; an app writes a few hundred a day


class StateExport:
    """Implements `PartExporter`: the app's state, its rollouts and its audit, as stored.

    Buckets are left out: they only serve rollouts under way, and decisions keep theirs as evidence.
    """

    def __init__(self, store: StateStore, history: History) -> None:
        self._store = store
        self._history = history

    async def export(self, app: AppSpec, tell: Tell) -> AsyncGenerator[bytes]:
        """See `PartExporter`."""
        del tell  # it holds all there is
        yield _line("form", str(SCHEMA_VERSION))
        yield _line("head", encode((await self._store.load(app.id)).state, AppState))
        for rollout in await self._history.rollouts(app.id, limit=_MOST):
            yield _line("rollout", encode(rollout, Rollout))
        for row in await self._history.audit(app.id, rollout=None, limit=_MOST):
            yield _line("audit", encode(row, AuditRow))


class StateImport:
    """Implements `AppMemoryReader`: understands what `StateExport` writes."""

    async def read(self, lines: AsyncIterator[bytes]) -> AppMemory:
        """See `AppMemoryReader.read`."""
        form: int | None = None
        state: AppState | None = None
        rollouts: list[Rollout] = []
        audit: list[AuditRow] = []
        async for number, line in _numbered(lines):
            kind, text = _taken_apart(line, number)
            if (form is None) != (kind == "form") or (state is None) != (kind in {"form", "head"}):
                raise _odd(number, "a line out of order")
            if kind == "form":
                form = _form(text, number)
            elif kind == "head":
                state = _value(text, AppState, form, number)
            elif kind == "rollout":
                rollouts.append(_value(text, Rollout, form, number))
            else:
                audit.append(_value(text, AuditRow, form, number))
        if state is None:
            raise _odd(1, "no state")
        return AppMemory(state=state, rollouts=tuple(rollouts), audit=tuple(audit))


async def _numbered(lines: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for line in lines:
        number += 1
        yield number, line


def _taken_apart(line: bytes, number: int) -> tuple[str, bytes]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise _odd(number, "not what Slipway wrote")
    return found[1].decode(), found[2]


def _form(text: bytes, number: int) -> int:
    if not text.isdigit():
        raise _odd(number, "no form")
    return int(text)


def _value(text: bytes, kind: type[T], form: int | None, number: int) -> T:
    try:
        return decode(text, kind, version=form or SCHEMA_VERSION)
    except ValueError as error:
        raise _odd(number, f"no {kind.__name__}") from error


def _odd(number: int, what: str) -> MalformedError:
    return MalformedError(
        f"Line {number} of the state part: {what}.",
        fix="Restore the state from another set: `slipway backup list`.",
    )


class EvidenceIndex:
    """Implements `PartExporter`: where each decision's evidence is, and the hash it must have."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def export(self, app: AppSpec, tell: Tell) -> AsyncGenerator[bytes]:
        """See `PartExporter`."""
        del tell  # it holds all there is
        for row in await self._history.audit(app.id, rollout=None, limit=_MOST):
            if row.record.evidence:
                found = {"path": row.record.evidence, "sha256": row.record.evidence_hash}
                yield written({**found, "audit": row.sequence}) + b"\n"


def _line(kind: str, document: str) -> bytes:
    return f'{{"{kind}":{document}}}\n'.encode()
