"""The tables of a database as its catalogue tells them, for the lint. No table is read.

Rows are estimates: what ANALYZE found last, or what the statistics have counted since if that is
more. Functions that give a table's size would wait behind whoever holds its lock: not used. The
one that writes a check out does so, too: without the checks the lint is more careful, that is all.
"""

from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.errors import LockNotAvailable
from psycopg.rows import tuple_row

from controller.migrations.catalog import ColumnFacts, Schema, TableShape, checked_not_null

Connection = AsyncConnection[Any]

_OURS: Final = """
    n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%'
"""
# Before version 14 a table that was never analyzed has 0 rows on 0 pages, as an empty one has.
_TABLES: Final = f"""
    SELECT c.oid, n.nspname, c.relname,
           greatest(
             CASE WHEN c.relkind = 'r' AND c.reltuples >= 0 AND (c.relpages > 0 OR
                       current_setting('server_version_num')::int >= 140000)
               THEN c.reltuples::bigint END,
             nullif(pg_stat_get_live_tuples(c.oid), 0))
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND {_OURS}
"""  # noqa: S608 - no word of it comes from outside
_COLUMNS: Final = f"""
    SELECT a.attrelid, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {_OURS}
"""  # noqa: S608 - no word of it comes from outside
_CHECKS: Final = f"""
    SELECT o.conrelid, pg_catalog.pg_get_expr(o.conbin, o.conrelid)
    FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_class c ON c.oid = o.conrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE o.contype = 'c' AND o.convalidated AND {_OURS}
"""  # noqa: S608 - no word of it comes from outside
_INDEXES: Final = f"""
    SELECT i.indrelid, n.nspname, c.relname, i.indisunique
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_OURS}
"""  # noqa: S608 - no word of it comes from outside


async def read_schema(connection: Connection) -> Schema:
    """Return what the catalogue says in the transaction that is open."""
    columns: dict[int, dict[str, ColumnFacts]] = {}
    for table, name, kind, not_null in await _rows(connection, _COLUMNS):
        columns.setdefault(table, {})[name] = ColumnFacts(type=kind, not_null=not_null)
    indexes: dict[int, dict[str, bool]] = {}
    for table, schema, name, is_unique in await _rows(connection, _INDEXES):
        indexes.setdefault(table, {})[_named(schema, name)] = is_unique
    tables = await _rows(connection, _TABLES)
    proved = await _proved_not_null(connection)
    return Schema(
        tables={
            _named(schema, name): TableShape(
                columns=columns.get(table, {}),
                rows=rows,
                checked_not_null=proved.get(table, frozenset()),
                indexes=indexes.get(table, {}),
            )
            for table, schema, name, rows in tables
        }
    )


async def _proved_not_null(connection: Connection) -> dict[int, frozenset[str]]:
    """Return the columns of tables that a check says are not null."""
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '500ms'")
            rows = await _rows(connection, _CHECKS)
    except LockNotAvailable:
        return {}
    found: dict[int, frozenset[str]] = {}
    for table, expression in rows:
        found[table] = found.get(table, frozenset()) | checked_not_null(expression)
    return found


async def _rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(query.encode())
    return await cursor.fetchall()


def _named(schema: str, name: str) -> str:
    """Return a name as the lint writes it."""
    return name if schema == "public" else f"{schema}.{name}"
