"""An app's PostgreSQL: migrated, and looked at."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from controller.adapters.postgres import history
from controller.adapters.postgres.connections import Connection, Connector
from controller.adapters.postgres.facts import read_facts
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.passwords import PasswordSource
from controller.adapters.postgres.rehearsal import Rehearser
from controller.adapters.postgres.running import Runner
from controller.adapters.postgres.schema import read_schema
from controller.adapters.postgres.scripts import refuse_unsafe
from controller.adapters.postgres.turns import turn
from controller.adapters.postgres.watching import Watch, watching
from controller.core.errors import PermanentError
from controller.migrations.bundle import Applied, Migration
from controller.migrations.catalog import Schema
from controller.ports_data import DatabaseAddress, DatabaseFacts, MigrationOrder, Ran, Rehearsal


class PostgresDatabase:
    """Implements `Database`. Each call opens its own connections, so a token is always fresh.

    Args:
        address: of the database: the server itself, not a pooler in front of it.
        password: where to get the password from, for each connection.
        limits: how long it may all take.
    """

    def __init__(
        self, address: DatabaseAddress, password: PasswordSource, limits: Limits | None = None
    ) -> None:
        self._connector = Connector(address, password)
        self._limits = limits or Limits()

    async def history(self) -> tuple[Applied, ...]:
        """See `Database.history`."""
        async with self._snapshot() as connection:
            return await history.read_history(connection)

    async def schema(self) -> Schema:
        """See `Database.schema`."""
        async with self._snapshot() as connection:
            return await read_schema(connection)

    async def facts(self) -> DatabaseFacts:
        """See `Database.facts`."""
        async with self._snapshot() as connection:
            return await read_facts(connection)

    async def rehearse(self, migrations: Sequence[Migration], *, by: str) -> Rehearsal:
        """See `Database.rehearse`."""
        refuse_unsafe(migrations)
        async with self._turn(f"slipway rehearses for {by}") as (connection, watch):
            return await Rehearser(self._connector, connection, watch, self._limits).rehearse(
                migrations
            )

    async def apply(
        self, migrations: Sequence[Migration], order: MigrationOrder
    ) -> tuple[Ran, ...]:
        """See `Database.apply`."""
        refuse_unsafe(migrations)
        async with self._turn(f"slipway migrates for {order.by}") as (connection, watch):
            await history.prepare(connection)
            runner = Runner(self._connector, connection, watch, self._limits, order)
            ran = [
                await runner.run(migration)
                for migration in migrations
                if not await _is_applied(connection, migration)
            ]
        return tuple(ran)

    async def undo(self, migrations: Sequence[Migration], order: MigrationOrder) -> tuple[Ran, ...]:
        """See `Database.undo`."""
        for migration in migrations:
            if migration.down is None:
                raise PermanentError(
                    f"{migration.id} has no down script. Nothing was undone.",
                    fix="Go forward with a fixed build, or restore a backup.",
                )
        refuse_unsafe(migrations, down=True)
        async with self._turn(f"slipway undoes for {order.by}") as (connection, watch):
            await history.prepare(connection)
            runner = Runner(self._connector, connection, watch, self._limits, order)
            ran = [
                await runner.run(migration, down=True)
                for migration in migrations
                if await _is_there(connection, migration)
            ]
        return tuple(ran)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncGenerator[Connection]:
        """Hold one moment of the database, and write nothing."""
        async with (
            self._connector.connected("slipway looks") as connection,
            self._connector.translated(),
            connection.transaction(),
        ):
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    @asynccontextmanager
    async def _turn(self, name: str) -> AsyncGenerator[tuple[Connection, Watch]]:
        """Hold the turn, on a connection that is watched."""
        database = self._connector.address.database
        async with (
            self._connector.connected(name) as connection,
            self._connector.translated(),
            turn(connection, database, wait=self._limits.turn),
            watching(self._connector, connection) as watch,
        ):
            yield connection, watch


async def _is_applied(connection: Connection, migration: Migration) -> bool:
    """Tell whether it is applied as a whole.

    Raises:
        PermanentError: it stopped half way, and is not what could go on there.
    """
    row = await history.own_row(connection, migration.id)
    if row is not None and row.is_undoing:
        raise PermanentError(
            f"{migration.id} is half undone: {row.statements_undone} statements of its down script"
            " ran.",
            fix="Undo the rest first: roll back again.",
        )
    if row is not None and not row.is_whole and row.sha256 != migration.sha256:
        raise PermanentError(
            f"{migration.id} stopped after {row.statements_done} statements as {row.sha256[:12]},"
            f" and is {migration.sha256[:12]} in the bundle.",
            fix="Release the bundle that it began with, or bring the database to its state before"
            " and delete the migration's row in slipway.slipway_migrations.",
        )
    return any(row.is_whole for row in await _rows(connection, migration))


async def _is_there(connection: Connection, migration: Migration) -> bool:
    """Tell whether it is applied, as a whole or in part."""
    return bool(await _rows(connection, migration))


async def _rows(connection: Connection, migration: Migration) -> list[Applied]:
    """Read what the history says of it now: Alembic's names one revision at a time."""
    return [row for row in await history.read_history(connection) if row.id == migration.id]
