"""What a statement that refuses a transaction leaves behind when it stops half way.

Each of them is a row in one of two tables: `tidy` puts away what would be in the way of another
try, `is_done` tells whether a statement that had begun has ended. Statements that may simply run
again (VACUUM, ALTER SYSTEM, REINDEX) need nothing of the second kind.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from psycopg import sql
from psycopg.rows import tuple_row

from controller.adapters.postgres.connections import Connection
from controller.core.errors import BusyError
from controller.migrations.bundle import Statement
from controller.migrations.splitting import Node, tree

_INDEX: Final = """
    SELECT n.nspname, c.relname, i.indisvalid, p.pid
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_stat_progress_create_index p ON p.index_relid = i.indexrelid
    WHERE i.indrelid = pg_catalog.to_regclass(%s) AND c.relname = %s
"""
# What REINDEX CONCURRENTLY builds beside an index, of the table named or of the index's table.
_LEFT_OVERS: Final = r"""
    SELECT n.nspname, c.relname
    FROM pg_catalog.pg_index i
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$'
      AND (pg_catalog.to_regclass(%(name)s) IN (i.indrelid, i.indexrelid) OR i.indrelid IN (
          SELECT o.indrelid FROM pg_catalog.pg_index o
          WHERE o.indexrelid = pg_catalog.to_regclass(%(name)s)))
"""
_DETACHING: Final = """
    SELECT inhdetachpending FROM pg_catalog.pg_inherits
    WHERE inhparent = pg_catalog.to_regclass(%s) AND inhrelid = pg_catalog.to_regclass(%s)
"""


async def tidy(connection: Connection, statement: Statement) -> None:
    """Put away what an earlier try of *statement* left.

    Raises:
        BusyError: somebody is building that index just now.
    """
    node = tree(statement.text)
    action = _TIDY.get(type(node).__name__)
    if action is not None:
        await action(connection, node)


async def is_done(connection: Connection, statement: Statement) -> bool:
    """Tell whether *statement*, which had begun when we were last seen, has ended."""
    node = tree(statement.text)
    check = _DONE.get(type(node).__name__)
    return await check(connection, node) if check is not None else False


# --- Left behind ---------------------------------------------------------------------------------


async def _tidy_index(connection: Connection, node: Node) -> None:
    """An index that is not valid serves nobody, is kept up to date, and blocks its name."""
    if not node.concurrent:
        return
    for schema, name, is_valid, builder in await _index(connection, node):
        if is_valid:
            continue
        if builder is not None:
            raise BusyError(f"Index {schema}.{name} is being built by another session.")
        await _drop_index(connection, schema, name)


async def _tidy_reindex(connection: Connection, node: Node) -> None:
    if node.relation is None:
        return  # of a schema or database: what is left over there is found by nobody's name
    rows = await _rows(connection, _LEFT_OVERS, {"name": _name(node.relation)})
    for schema, name in rows:
        await _drop_index(connection, schema, name)


async def _drop_index(connection: Connection, schema: str, name: str) -> None:
    await connection.execute(
        sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(schema, name))
    )


# --- Done already --------------------------------------------------------------------------------


async def _is_index_built(connection: Connection, node: Node) -> bool:
    return any(is_valid for _, _, is_valid, _ in await _index(connection, node))


async def _is_dropped(connection: Connection, node: Node) -> bool:
    """DROP INDEX CONCURRENTLY names one index."""
    parts = [part.sval for part in node.objects[0]]
    name = ".".join(_quoted(part) for part in parts)
    ((is_gone,),) = await _rows(connection, "SELECT pg_catalog.to_regclass(%s) IS NULL", [name])
    return bool(is_gone)


async def _is_detached(connection: Connection, node: Node) -> bool:
    """A detaching that was begun can only be finished: nothing else is allowed any more."""
    command = node.cmds[0].def_
    parent, part = _name(node.relation), _name(command.name)
    rows = await _rows(connection, _DETACHING, [parent, part])
    if rows and rows[0][0]:
        await connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {part} FINALIZE".encode())
        return True
    return not rows


async def _is_database_made(connection: Connection, node: Node) -> bool:
    query = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = %s"
    return bool(await _rows(connection, query, [node.dbname]))


async def _is_database_gone(connection: Connection, node: Node) -> bool:
    return not await _is_database_made(connection, node)


async def _is_tablespace_made(connection: Connection, node: Node) -> bool:
    query = "SELECT 1 FROM pg_catalog.pg_tablespace WHERE spcname = %s"
    return bool(await _rows(connection, query, [node.tablespacename]))


_TIDY: Final[dict[str, Callable[[Connection, Node], Awaitable[None]]]] = {
    "IndexStmt": _tidy_index,
    "ReindexStmt": _tidy_reindex,
}
_DONE: Final[dict[str, Callable[[Connection, Node], Awaitable[bool]]]] = {
    "IndexStmt": _is_index_built,
    "DropStmt": _is_dropped,
    "AlterTableStmt": _is_detached,
    "CreatedbStmt": _is_database_made,
    "DropdbStmt": _is_database_gone,
    "CreateTableSpaceStmt": _is_tablespace_made,
}


async def _index(connection: Connection, node: Node) -> list[tuple[Any, ...]]:
    """Return schema, name, validity and builder of the index that *node* makes, if it is there."""
    return await _rows(connection, _INDEX, [_name(node.relation), node.idxname])


async def _rows(
    connection: Connection, query: Any, values: Sequence[object] | dict[str, str]
) -> list[tuple[Any, ...]]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(query, values)
    return await cursor.fetchall()


def _name(relation: Node) -> str:
    parts = [part for part in (relation.schemaname, relation.relname) if part]
    return ".".join(_quoted(part) for part in parts)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
