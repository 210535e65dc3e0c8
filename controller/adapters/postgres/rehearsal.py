"""Runs migrations in one transaction that is rolled back: what they would do, and how long."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import psycopg
from psycopg import Rollback, sql
from psycopg.rows import tuple_row

from controller.adapters.postgres.connections import Connection, Connector, settle
from controller.adapters.postgres.failures import LOCKED, place
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.running import rows_of
from controller.adapters.postgres.scripts import runs_alone, shown
from controller.adapters.postgres.watching import Watch
from controller.core.errors import PermanentError, SlipwayError, TakesTooLongError
from controller.migrations.bundle import Migration, Statement
from controller.ports_data import NotTried, Ran, Rehearsal, Timed

_NEW_ENUM_VALUE: Final = "55P04"
_CANNOT: Final = {
    "25001": "PostgreSQL refuses it inside a transaction.",
    "2D000": "It ends transactions itself.",
    _NEW_ENUM_VALUE: "It uses an enum's value that is added in the same transaction; for real,"
    " that is committed before.",
}
_DEFERRED: Final = """
    SELECT DISTINCT n.nspname, o.conname FROM pg_catalog.pg_constraint o
    JOIN pg_catalog.pg_namespace n ON n.oid = o.connamespace
    WHERE o.condeferred AND o.conrelid <> 0
"""


class Rehearser:
    """Rehearses on a connection that holds the turn."""

    def __init__(
        self, connector: Connector, connection: Connection, watch: Watch, limits: Limits
    ) -> None:
        self._connector = connector
        self._connection = connection
        self._watch = watch
        self._limits = limits
        self._not_tried: list[NotTried] = []
        self._failure: SlipwayError | None = None

    async def rehearse(self, migrations: Sequence[Migration]) -> Rehearsal:
        """Run them until one fails.

        Raises:
            TakesTooLongError: it was stopped, and rolled back.
            TransientError: a lock was not to be had, or the connection was lost.
        """
        ran: list[Ran] = []
        try:
            async with asyncio.timeout(self._limits.rehearsal), self._connection.transaction():
                for migration in migrations:
                    ran.append(await self._migration(migration))
                    if self._failure is not None:
                        break
                raise Rollback
        except TimeoutError:
            raise TakesTooLongError(
                f"The dry run took longer than {self._limits.rehearsal:.0f} s and was rolled back.",
                fix="Rehearse on a copy of the database, or raise the limit: until its end, a dry"
                " run keeps what it locks.",
            ) from None
        return Rehearsal(
            ran=tuple(ran),
            not_tried=tuple(self._not_tried),
            waits=tuple(self._watch.waits),
            failure=self._told(),
        )

    def _told(self) -> str | None:
        if self._failure is None:
            return None
        if not self._not_tried:
            return str(self._failure)
        first = self._not_tried[0]
        return f"{self._failure} Before it, this was not tried: {first.migration}: {first.text}"

    async def _migration(self, migration: Migration) -> Ran:
        began = time.perf_counter()
        timed: list[Timed] = []
        await settle(self._connection, self._limits)
        for statement in migration.up:
            one = await self._statement(migration, statement)
            if one is not None:
                timed.append(one)
            if self._failure is not None:
                break
        else:
            await self._as_if_committed(migration)
        self._watch.at = None
        return Ran(
            migration=migration.id,
            statements=tuple(timed),
            seconds=time.perf_counter() - began,
        )

    async def _statement(self, migration: Migration, statement: Statement) -> Timed | None:
        """Run one; None where it cannot be tried, or failed."""
        text = shown(statement)
        if runs_alone(statement):
            self._skip(migration, text, "25001")
            return None
        self._watch.at = (migration.id, text)
        began = time.perf_counter()
        try:
            async with self._connection.transaction():
                cursor = await self._connection.execute(statement.text.encode())
        except psycopg.Error as error:
            if error.sqlstate in _CANNOT:
                self._skip(migration, text, error.sqlstate)
                return None
            self._fail(error, place(migration, statement, error))
            return None
        seconds = time.perf_counter() - began
        return Timed(text=text, seconds=seconds, rows=rows_of(cursor.rowcount))

    async def _as_if_committed(self, migration: Migration) -> None:
        """Check what is checked at the end of a transaction only, and go on as in a new one."""
        deferred = await self._deferred()
        try:
            async with self._connection.transaction():
                await self._connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except psycopg.Error as error:
            self._fail(error, f"{migration.id}, at its end")
            return
        for schema, name in deferred:
            await self._connection.execute(
                sql.SQL("SET CONSTRAINTS {} DEFERRED").format(sql.Identifier(schema, name))
            )

    async def _deferred(self) -> list[tuple[str, str]]:
        cursor = self._connection.cursor(row_factory=tuple_row)
        await cursor.execute(_DEFERRED)
        return [(str(schema), str(name)) for schema, name in await cursor.fetchall()]

    def _skip(self, migration: Migration, text: str, state: str | None) -> None:
        why = _CANNOT[state or ""]
        self._not_tried.append(NotTried(migration=migration.id, text=text, why=why))

    def _fail(self, error: psycopg.Error, at: str) -> None:
        """Keep why it failed, if that is the script's fault.

        Raises:
            SlipwayError: it is not.
        """
        found = self._connector.failure(error, at=at, blockers=self._watch.blockers())
        if error.sqlstate in LOCKED or not isinstance(found, PermanentError):
            raise found from None
        self._failure = found
