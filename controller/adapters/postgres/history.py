"""Which migrations a database says it has: our own table, EF Core's and Alembic's.

Theirs are the truth about what they applied, as people also run `dotnet ef` and `alembic` by
hand: of our own rows about such bundles only those count that theirs confirm. Ours says what
theirs cannot: hashes, when and by whom, and where one stopped half way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection, sql
from psycopg.rows import tuple_row

from controller.core.errors import PermanentError
from controller.migrations.bundle import Applied, BundleFormat, Migration
from controller.ports_data import MigrationOrder

Connection = AsyncConnection[Any]

_TABLE: Final = "slipway.slipway_migrations"
_CREATE: Final = """
    CREATE TABLE slipway.slipway_migrations (
        id text PRIMARY KEY,
        position integer NOT NULL,
        format text NOT NULL,
        sha256 text NOT NULL,
        bundle_sha256 text NOT NULL,
        statements_done integer NOT NULL DEFAULT 0,
        statements_undone integer NOT NULL DEFAULT 0,
        statement_begun integer,
        is_undoing boolean NOT NULL DEFAULT false,
        started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        finished_at timestamptz,
        applied_by text NOT NULL
    );
    COMMENT ON TABLE slipway.slipway_migrations IS
        'What Slipway applied. statement_begun: one that runs outside of a transaction, or ran'
        ' when Slipway was killed.'
"""
_ROWS: Final = """
    SELECT id, format, sha256, statements_done, statements_undone, statement_begun, is_undoing,
           finished_at
    FROM slipway.slipway_migrations ORDER BY position
"""
# By their columns, as both tools let people name the table.
_THEIRS: Final = r"""
    SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
    GROUP BY n.nspname, c.relname
    HAVING array_agg(a.attname::text) = ARRAY['version_num']
        OR array_agg(replace(lower(a.attname), '_', '') ORDER BY a.attnum)
           = ARRAY['migrationid', 'productversion']
    ORDER BY (c.relname <> '__EFMigrationsHistory'), n.nspname, c.relname
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One migration in our own table."""

    id: str
    format: BundleFormat
    sha256: str
    statements_done: int
    statements_undone: int
    statement_begun: int | None  # outside of a transaction: whether it ended is not known
    is_undoing: bool  # its down script has begun, statement by statement
    finished_at: datetime | None

    @property
    def is_whole(self) -> bool:
        """Tell whether it is applied, no more and no less."""
        return self.finished_at is not None and not self.is_undoing


@dataclass(frozen=True, slots=True, kw_only=True)
class TheirTable:
    """The history table of EF Core or Alembic."""

    format: BundleFormat
    schema: str
    name: str
    id_column: str
    ids: tuple[str, ...]  # in their order

    @property
    def identifier(self) -> sql.Identifier:
        """The table's name, quoted."""
        return sql.Identifier(self.schema, self.name)


# --- Reading -------------------------------------------------------------------------------------


async def read_history(connection: Connection) -> tuple[Applied, ...]:
    """Return what is applied, oldest first. Of Alembic it is the current revision, at least."""
    rows = await own_rows(connection)
    theirs = await their_tables(connection)
    ours = [_applied(row) for row in _confirmed(rows, theirs)]
    known = {row.id for row in ours}
    others = [
        Applied(id=id_, sha256=None, applied_at=None, statements_done=0)
        for table in theirs
        for id_ in table.ids
        if id_ not in known
    ]
    return (*others, *ours)


async def read_head(connection: Connection) -> str | None:
    """Return the last migration that is applied; None where there is no history."""
    theirs = await their_tables(connection)
    rows = [r for r in _confirmed(await own_rows(connection), theirs) if r.is_whole]
    if rows and rows[-1].format is BundleFormat.SQL:
        return rows[-1].id
    heads = [
        ", ".join(table.ids) if table.format is BundleFormat.ALEMBIC else table.ids[-1]
        for table in theirs
        if table.ids and (not rows or table.format is rows[-1].format)
    ]
    if heads:
        return ", ".join(heads)
    return rows[-1].id if rows else None


async def own_rows(connection: Connection) -> list[Row]:
    """Return what our own table says; nothing where there is none."""
    if not await _has_table(connection):
        return []
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_ROWS)
    return [
        Row(
            id=str(id_),
            format=BundleFormat(kind),
            sha256=str(sha256),
            statements_done=int(done),
            statements_undone=int(undone),
            statement_begun=begun,
            is_undoing=bool(is_undoing),
            finished_at=finished_at,
        )
        for (
            id_,
            kind,
            sha256,
            done,
            undone,
            begun,
            is_undoing,
            finished_at,
        ) in await cursor.fetchall()
    ]


async def own_row(connection: Connection, id_: str) -> Row | None:
    """Return one row of our own table."""
    return next((row for row in await own_rows(connection) if row.id == id_), None)


async def their_tables(connection: Connection) -> list[TheirTable]:
    """Return the history tables of EF Core and Alembic, with what is in them."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_THEIRS)
    found: list[TheirTable] = []
    for schema, name, columns in await cursor.fetchall():
        select = sql.SQL("SELECT {0} FROM {1} ORDER BY {0}").format(
            sql.Identifier(columns[0]), sql.Identifier(schema, name)
        )
        await cursor.execute(select)
        found.append(
            TheirTable(
                format=BundleFormat.ALEMBIC if len(columns) == 1 else BundleFormat.EF_CORE,
                schema=str(schema),
                name=str(name),
                id_column=str(columns[0]),
                ids=tuple(sorted(str(row[0]) for row in await cursor.fetchall())),
            )
        )
    return found


async def _has_table(connection: Connection) -> bool:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute("SELECT pg_catalog.to_regclass(%s) IS NOT NULL", [_TABLE])
    return bool((await cursor.fetchall())[0][0])


def _confirmed(rows: Sequence[Row], theirs: Sequence[TheirTable]) -> list[Row]:
    """Leave out what the tool whose migration it is has undone since, outside of Slipway."""
    by_format: dict[BundleFormat, set[str]] = {}
    for table in theirs:
        by_format.setdefault(table.format, set()).update(table.ids)
    kept: list[Row] = []
    seen_current = False
    for row in reversed(rows):
        said = by_format.get(row.format)
        seen_current = seen_current or (said is not None and row.id in said)
        is_confirmed = (
            not row.is_whole
            or said is None
            or row.id in said
            # Alembic names the newest alone: what we applied before it is there, too.
            or (row.format is BundleFormat.ALEMBIC and seen_current)
        )
        if is_confirmed:
            kept.append(row)
    return kept[::-1]


def _applied(row: Row) -> Applied:
    return Applied(
        id=row.id,
        sha256=row.sha256,
        applied_at=row.finished_at,
        statements_done=row.statements_done,
        statements_undone=row.statements_undone,
        is_whole=row.is_whole,
    )


# --- Writing: always within the transaction of what it is about ----------------------------------


async def prepare(connection: Connection) -> None:
    """Make our table where it is missing. The migrations' lock is held."""
    if await _has_table(connection):
        return
    async with connection.transaction():
        cursor = await connection.execute("SELECT pg_catalog.to_regnamespace('slipway') IS NULL")
        # Asked first: IF NOT EXISTS needs the right to make schemas even where it makes none.
        if (await cursor.fetchall())[0][0]:
            await connection.execute("CREATE SCHEMA slipway")
        await connection.execute(_CREATE)


async def begin(connection: Connection, migration: Migration, order: MigrationOrder) -> None:
    """Write that *migration* has begun. A row of an earlier life is replaced."""
    await forget(connection, migration.id)
    await connection.execute(
        "INSERT INTO slipway.slipway_migrations"
        " (id, position, format, sha256, bundle_sha256, applied_by)"
        " SELECT %s, coalesce(max(position), 0) + 1, %s, %s, %s, %s"
        " FROM slipway.slipway_migrations",
        [migration.id, str(order.format), migration.sha256, order.bundle, order.by],
    )


async def note_begun(connection: Connection, id_: str, index: int) -> None:
    """Write that a statement begins which cannot share its transaction with this note."""
    await connection.execute(
        "UPDATE slipway.slipway_migrations SET statement_begun = %s WHERE id = %s", [index, id_]
    )


async def note_done(connection: Connection, id_: str, done: int) -> None:
    """Write that the first *done* statements ran."""
    await connection.execute(
        "UPDATE slipway.slipway_migrations SET statements_done = %s, statement_begun = NULL"
        " WHERE id = %s",
        [done, id_],
    )


async def begin_undo(connection: Connection, id_: str) -> None:
    """Write that the down script begins, statement by statement: no longer is it applied."""
    await connection.execute(
        "UPDATE slipway.slipway_migrations SET is_undoing = true, statement_begun = NULL"
        " WHERE id = %s",
        [id_],
    )


async def note_undone(connection: Connection, id_: str, undone: int) -> None:
    """Write that the first *undone* statements of the down script ran."""
    await connection.execute(
        "UPDATE slipway.slipway_migrations SET statements_undone = %s, statement_begun = NULL"
        " WHERE id = %s",
        [undone, id_],
    )


async def finish(connection: Connection, migration: Migration, order: MigrationOrder) -> None:
    """Write that *migration* is applied, and see that its own tool says so, too."""
    await connection.execute(
        "UPDATE slipway.slipway_migrations"
        " SET statements_done = %s, finished_at = clock_timestamp(), statement_begun = NULL"
        " WHERE id = %s",
        [len(migration.up), migration.id],
    )
    theirs = [t for t in await their_tables(connection) if t.format is order.format]
    if not theirs or any(migration.id in table.ids for table in theirs):
        return
    if order.format is BundleFormat.EF_CORE:
        await _insert_ef_row(connection, theirs[0], migration.id)
        return
    raise PermanentError(
        f"After {migration.id}, alembic_version does not name it: another revision was applied in"
        " the meantime, or the script does not move it on. It was taken back.",
        fix="Look at `alembic current`, and generate the script anew from there.",
    )


async def forget(connection: Connection, id_: str) -> None:
    """Take our row out."""
    await connection.execute("DELETE FROM slipway.slipway_migrations WHERE id = %s", [id_])


async def unfinish(connection: Connection, migration: Migration, order: MigrationOrder) -> None:
    """Write that *migration* is undone, and see that its own tool says so, too."""
    await forget(connection, migration.id)
    for table in await their_tables(connection):
        if table.format is not order.format or migration.id not in table.ids:
            continue
        if order.format is BundleFormat.ALEMBIC:
            raise PermanentError(
                f"After the down script of {migration.id}, alembic_version still names it. It was"
                " taken back.",
                fix="Generate the script with `alembic downgrade HEAD:BASE --sql`.",
            )
        await connection.execute(
            sql.SQL("DELETE FROM {} WHERE {} = %s").format(
                table.identifier, sql.Identifier(table.id_column)
            ),
            [migration.id],
        )


async def _insert_ef_row(connection: Connection, table: TheirTable, id_: str) -> None:
    """The version is that of the newest row: EF Core only shows it."""
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(
        sql.SQL("SELECT * FROM {} ORDER BY {} DESC LIMIT 1").format(
            table.identifier, sql.Identifier(table.id_column)
        )
    )
    newest = await cursor.fetchone()
    await connection.execute(
        sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(table.identifier),
        [id_, newest[1] if newest else "8.0.0"],
    )
