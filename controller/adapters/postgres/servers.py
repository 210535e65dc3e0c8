"""The databases of one PostgreSQL server: made, exchanged, removed, and held at one moment."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.errors import (
    InsufficientPrivilege,
    InvalidAuthorizationSpecification,
    InvalidCatalogName,
    ObjectInUse,
)

from controller.adapters.postgres.client_tools import connection_words
from controller.adapters.postgres.facts import read_facts, read_sequences
from controller.adapters.postgres.history import read_head
from controller.core.errors import AccessDeniedError, PermanentError, SlipwayError, TransientError
from controller.ports_data import DatabaseFacts, DatabaseLogin, DatabaseView

Connection = AsyncConnection[Any]

_ADMIN: Final = "postgres"  # there on every server; its sessions stand in nobody's way
_CONNECT_SECONDS: Final = 15
_TRIES: Final = 4  # each waits five seconds for sessions to end
_PAUSE_SECONDS: Final = 0.2
_DATABASES: Final = (
    "SELECT datname, CASE WHEN has_database_privilege(oid, 'CONNECT')"
    " THEN pg_database_size(oid) ELSE 0 END, shobj_description(oid, 'pg_database')"
    " FROM pg_database WHERE NOT datistemplate"
)
_TERMINATE: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = ANY(%s) AND pid <> pg_backend_pid()"
)


class PostgresServer:
    """Implements `DatabaseServer`."""

    @asynccontextmanager
    async def snapshot(self, login: DatabaseLogin) -> AsyncGenerator["HeldSnapshot"]:
        """See `DatabaseServer`. The transaction stays open, so no vacuum takes what it sees."""
        async with _connected(login) as connection:
            with _translated(login):
                await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                # A pool's or a server's limit must not end what has to last as long as the dump.
                for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                    await connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(limit)))
                cursor = await connection.execute("SELECT pg_export_snapshot()")
                (name,) = await cursor.fetchone() or ("",)
                sequences = await read_sequences(connection)
            yield HeldSnapshot(login, connection, str(name), sequences)

    async def databases(self, login: DatabaseLogin) -> Mapping[str, DatabaseView]:
        """See `DatabaseServer`."""
        async with _connected(login.to(_ADMIN)) as connection:
            cursor = await connection.execute(_DATABASES)
            return {
                str(name): DatabaseView(size_bytes=int(size), note=str(note or ""))
                for name, size, note in await cursor.fetchall()
            }

    async def create(
        self, login: DatabaseLogin, *, like: str | None = None, note: str = ""
    ) -> None:
        """See `DatabaseServer`. From template0: nothing is in it that the dump brings, too."""
        async with _connected(login.to(_ADMIN)) as connection:
            form = await _form_of(connection, like) if like else sql.SQL("")
            name = sql.Identifier(login.address.database)
            with _translated(login):
                await connection.execute(
                    sql.SQL("CREATE DATABASE {} TEMPLATE template0{}").format(name, form)
                )
                await connection.execute(
                    sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(note))
                )

    async def drop(self, login: DatabaseLogin) -> None:
        """See `DatabaseServer`."""
        async with _connected(login.to(_ADMIN)) as connection:
            name = sql.Identifier(login.address.database)
            with _translated(login):
                await connection.execute(
                    sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name)
                )

    async def exchange(self, login: DatabaseLogin, *, new: str, kept_as: str) -> None:
        """See `DatabaseServer`.

        Sessions are ended while the first rename holds its lock on the database: whoever comes
        back at once waits for it, and then finds the new one under the old name.
        """
        old = login.address.database
        for left in reversed(range(_TRIES)):
            try:
                await _exchanged(login, old=old, new=new, kept_as=kept_as)
            except ObjectInUse as error:
                if not left:
                    raise TransientError(
                        f"Sessions in {old!r} could not be ended ({login.address})."
                    ) from error
            else:
                return


class HeldSnapshot:
    """Implements `Snapshot`."""

    def __init__(
        self,
        login: DatabaseLogin,
        connection: Connection,
        name: str,
        sequences: Mapping[str, int],
    ) -> None:
        self.name = name
        self._login = login
        self._connection = connection
        self._sequences = sequences

    async def facts(self) -> DatabaseFacts:
        """See `Snapshot`.

        Sequences are of no snapshot, in a dump neither. They are those of the snapshot's begin:
        whatever is dumped after it can only be ahead of them.
        """
        with _translated(self._login):
            found = await read_facts(self._connection)
        return replace(found, sequences=self._sequences)

    async def head(self) -> str | None:
        """See `Snapshot`."""
        with _translated(self._login):
            return await read_head(self._connection)


# --- Renaming -------------------------------------------------------------------------------------


async def _exchanged(login: DatabaseLogin, *, old: str, new: str, kept_as: str) -> None:
    """Rename both in one transaction, or neither."""
    async with _connected(login.to(_ADMIN)) as ending, _connected(login.to(_ADMIN)) as renaming:
        worker = asyncio.create_task(_end_sessions(ending, [old, new]))
        try:
            with _translated(login, (ObjectInUse,)):
                async with renaming.transaction():
                    names = await renaming.execute(
                        "SELECT datname FROM pg_database WHERE datname = ANY(%s)", [[old, new]]
                    )
                    there = {str(row[0]) for row in await names.fetchall()}
                    steps = [(old, kept_as)] if old in there else []
                    for name, becomes in [*steps, (new, old)]:
                        await renaming.execute(
                            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                                sql.Identifier(name), sql.Identifier(becomes)
                            )
                        )
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)


async def _end_sessions(connection: Connection, names: list[str]) -> None:
    while True:
        with suppress(psycopg.Error):  # another user's session: the rename then says so
            await connection.execute(_TERMINATE, [names])
        await asyncio.sleep(_PAUSE_SECONDS)


async def _form_of(connection: Connection, like: str) -> sql.Composable:
    """Return encoding and locale of the database *like*; nothing where it is gone."""
    cursor = await connection.execute(
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database"
        " WHERE datname = %s",
        [like],
    )
    row = await cursor.fetchone()
    if row is None:
        return sql.SQL("")
    return sql.SQL(" ENCODING {} LC_COLLATE {} LC_CTYPE {}").format(*map(sql.Literal, row))


# --- Connections ----------------------------------------------------------------------------------


@asynccontextmanager
async def _connected(login: DatabaseLogin) -> AsyncGenerator[Connection]:
    with _translated(login):
        connection = await AsyncConnection.connect(
            connection_words(login.address),
            password=login.password,
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            application_name="slipway",
        )
    try:
        yield connection
    finally:
        await connection.close()


class _translated:  # noqa: N801 - reads as a function
    """Turns psycopg's errors into ours. Their texts hold no row and no password."""

    def __init__(self, login: DatabaseLogin, passing: tuple[type[psycopg.Error], ...] = ()) -> None:
        self._login = login
        self._passing = passing

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, psycopg.Error) and not isinstance(error, self._passing):
            raise _ours(error, self._login) from error


def _ours(error: psycopg.Error, login: DatabaseLogin) -> SlipwayError:
    said = error.diag.message_primary or str(error).splitlines()[0]
    if login.password:
        said = said.replace(login.password, "***")
    what = f"PostgreSQL says: {said} ({login.address})."
    if isinstance(error, InvalidCatalogName) or "does not exist" in said:
        return PermanentError(what, fix="Name a database that is there.")
    denied = isinstance(error, InsufficientPrivilege | InvalidAuthorizationSpecification)
    if denied or "authentication failed" in said:
        return AccessDeniedError(what, fix=f"Give {login.address.user!r} the right, or correct it.")
    if isinstance(error, psycopg.OperationalError):
        return TransientError(what)
    return PermanentError(what, fix="Read what PostgreSQL says; then try again.")
