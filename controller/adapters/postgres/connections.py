"""Connections to one database, each opened with a password that was asked for just before."""

from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from controller.adapters.postgres.addresses import Secret
from controller.adapters.postgres.client_tools import connection_words
from controller.adapters.postgres.failures import connect_failure, failure
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.passwords import PasswordSource
from controller.core.errors import SlipwayError
from controller.ports_data import DatabaseAddress

Connection = AsyncConnection[Any]

_CONNECT_SECONDS: Final = 15
_LONGEST_NAME: Final = 63  # of an application, in bytes
_IDLE: Final = "120s"  # in a transaction: we are gone, and our host could not say so
_CHECK: Final = "5s"  # that we are still there, while a statement runs
_MILLISECONDS: Final = 1000


class Connector:
    """Opens connections to a database, and says in our words why one fails."""

    def __init__(self, address: DatabaseAddress, password: PasswordSource) -> None:
        self.address = address
        self._password = password
        self._secrets: deque[Secret] = deque(maxlen=8)  # to be masked: tokens change

    @asynccontextmanager
    async def connected(self, name: str = "slipway") -> AsyncGenerator[Connection]:
        """Open a connection that shows as *name*, and close it.

        Raises:
            SlipwayError: it cannot be opened.
        """
        secret = await self._password()
        if secret is not None and secret not in self._secrets:
            self._secrets.append(secret)
        try:
            connection = await AsyncConnection.connect(
                connection_words(self.address),
                password=secret.reveal() if secret else None,
                autocommit=True,
                prepare_threshold=None,
                application_name=name.encode()[:_LONGEST_NAME].decode(errors="ignore"),
                **_patience(self.address),
            )
        except psycopg.Error as error:
            raise connect_failure(error, self.address, *self._secrets) from None
        try:
            yield connection
        finally:
            await connection.close()

    def failure(
        self, error: psycopg.Error, *, at: str = "", blockers: tuple[str, ...] = ()
    ) -> SlipwayError:
        """Return *error* in our words. Raise it ``from None``: psycopg's quotes rows."""
        return failure(error, self.address, *self._secrets, at=at, blockers=blockers)

    @asynccontextmanager
    async def translated(self) -> AsyncGenerator[None]:
        """Translate what psycopg raises inside."""
        try:
            yield
        except psycopg.Error as error:
            raise self.failure(error) from None


def _patience(address: DatabaseAddress) -> Mapping[str, Any]:
    return {} if "connect_timeout" in address.options else {"connect_timeout": _CONNECT_SECONDS}


async def settle(connection: Connection, limits: Limits) -> None:
    """Undo what a script has set for its session, and set our limits.

    DISCARD ALL would give up our lock, too.
    """
    for statement in ("RESET SESSION AUTHORIZATION", "RESET ROLE", "RESET ALL"):
        await connection.execute(statement)
    settings = {
        "lock_timeout": milliseconds(limits.lock),
        "statement_timeout": milliseconds(limits.statement),
        "idle_in_transaction_session_timeout": _IDLE,
        "client_connection_check_interval": _CHECK,  # since PostgreSQL 14
    }
    await connection.execute(
        "SELECT set_config(name, %s::jsonb ->> name, false) FROM pg_catalog.pg_settings"
        " WHERE name = ANY(%s)",
        [Jsonb(settings), list(settings)],
    )


async def limit(connection: Connection, *, lock: float, statement: float, local: bool) -> None:
    """Set how long each statement may wait and run."""
    await connection.execute(
        "SELECT set_config('lock_timeout', %s, %s), set_config('statement_timeout', %s, %s)",
        [milliseconds(lock), local, milliseconds(statement), local],
    )


def milliseconds(seconds: float) -> str:
    """Return *seconds* as PostgreSQL reads a limit; 0 is none."""
    return f"{round(seconds * _MILLISECONDS)}ms"


async def quietly(connection: Connection, statement: str) -> None:
    """Run a statement that cleans up: it may fail."""
    with suppress(psycopg.Error):
        await connection.execute(statement.encode())
