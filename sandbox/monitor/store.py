"""The workspaces' rows in DuckDB: appended cheaply, read through KQL.

DuckDB takes 6 ms for an insert of any size, so rows wait in a list until somebody asks or there
are many. All of DuckDB happens on one thread of its own.
"""

import asyncio
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import duckdb
import duckdb_kql

from sandbox.monitor import kql
from sandbox.monitor.functions import add_functions
from sandbox.monitor.kql import INGESTED, Scope
from sandbox.monitor.results import Answer
from sandbox.monitor.schema import TABLES

T = TypeVar("T")
Row = Mapping[str, object]

_SQL_TYPES: Final = {
    "datetime": "TIMESTAMP",
    "string": "VARCHAR",
    "int": "INTEGER",
    "long": "BIGINT",
    "real": "DOUBLE",
    "bool": "BOOLEAN",
    "dynamic": "JSON",
}
_DEFAULTS: Final = {"string": " DEFAULT ''"}  # Kusto knows no null string
_WORKSPACE: Final = "_Workspace"
_MANY_ROWS: Final = 2000  # waiting rows that are stored without anybody asking
_SPARE: Final = 1.1  # prune when a table is this much over: deleting is not free


class UnknownColumnError(Exception):
    """A row names a table or column that does not exist."""


class Store:
    """Rows of all workspaces. The newest *kept_rows* of each table are kept.

    A row is visible from its ingestion time on, which may lie in the future.
    """

    def __init__(self, *, kept_rows: int) -> None:
        self._kept_rows = kept_rows
        self._waiting: dict[str, list[tuple[object, ...]]] = {}
        self._waiting_rows = 0
        self._stored_rows: dict[str, int] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="duckdb")
        self._connection: duckdb.DuckDBPyConnection | None = None

    async def open(self) -> None:
        """Create the tables."""
        await self._run(self._open)

    async def close(self) -> None:
        """Forget everything. Safe twice."""
        if self._connection is not None:
            await self._run(self._close)
        self._thread.shutdown(wait=False)

    def add(self, workspace: str, table: str, row: Row, ingested_at: dt.datetime) -> None:
        """Append *row*; columns it does not name are empty.

        Raises:
            UnknownColumnError: there is no such table or column.
        """
        columns = TABLES.get(table)
        if columns is None or not row.keys() <= columns.keys():
            wrong = table if columns is None else sorted(row.keys() - columns.keys())
            raise UnknownColumnError(f"No such table or column: {wrong}")
        values = [_value(kind, row.get(name)) for name, kind in columns.items()]
        waiting = self._waiting.setdefault(table, [])
        waiting.append((workspace, naive_utc(ingested_at), *values))
        self._waiting_rows += 1

    async def settle(self, *, now: bool = False) -> None:
        """Store what waits, if it is much or if asked to do it *now*."""
        if self._waiting_rows > (0 if now else _MANY_ROWS):
            waiting, self._waiting, self._waiting_rows = self._waiting, {}, 0
            await self._run(lambda: self._insert(waiting))

    async def count(self, workspace: str, table: str) -> int:
        """Return how many rows of *table* exist, visible or not."""
        await self.settle(now=True)
        return await self._run(lambda: self._count(workspace, table))

    async def query(self, text: str, scope: Scope) -> Answer:
        """Run KQL over what *scope* allows to see.

        Raises:
            KqlRefusedError: the query is wrong.
        """
        await self.settle(now=True)
        return await self._run(lambda: kql.run(self._open_connection(), text, scope))

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _open_connection(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            raise RuntimeError("The store is not open.")
        return self._connection

    def _open(self) -> None:
        # One thread: planning dominates, and the machine is shared with everything else.
        add_functions()
        connection = duckdb_kql.connect(config={"threads": 1})
        connection.execute("CREATE SCHEMA logs")
        for table, columns in TABLES.items():
            declared = [
                f'"{name}" {_SQL_TYPES[kind]}{_DEFAULTS.get(kind, "")}'
                for name, kind in columns.items()
            ]
            hidden = [f'"{_WORKSPACE}" VARCHAR', f'"{INGESTED}" TIMESTAMP']
            connection.execute(f'CREATE TABLE logs."{table}" ({", ".join(hidden + declared)})')
        self._connection = connection

    def _close(self) -> None:
        self._open_connection().close()
        self._connection = None

    def _insert(self, waiting: Mapping[str, Sequence[tuple[object, ...]]]) -> None:
        """Store the rows, column by column; those that are empty throughout cost nothing."""
        connection = self._open_connection()
        for table, rows in waiting.items():
            kinds = {_WORKSPACE: "string", INGESTED: "datetime", **TABLES[table]}
            names: list[str] = []
            lists: list[str] = []
            values: list[list[object]] = []
            for (name, kind), column in zip(kinds.items(), zip(*rows, strict=True), strict=True):
                if any(value is not None and value != "" for value in column):
                    names.append(f'"{name}"')
                    lists.append(f"unnest(?::{_SQL_TYPES[kind]}[])")
                    values.append(list(column))
            connection.execute(
                f'INSERT INTO logs."{table}" ({", ".join(names)}) SELECT {", ".join(lists)}',
                values,
            )
            self._prune(table, len(rows))

    def _prune(self, table: str, added: int) -> None:
        stored = self._stored_rows.get(table, 0) + added
        if stored > self._kept_rows * _SPARE:
            oldest = f'(SELECT max(rowid) - {self._kept_rows} FROM logs."{table}")'  # noqa: S608 - our names
            self._open_connection().execute(f'DELETE FROM logs."{table}" WHERE rowid <= {oldest}')  # noqa: S608 - our names
            stored = self._kept_rows
        self._stored_rows[table] = stored

    def _count(self, workspace: str, table: str) -> int:
        sql = f'SELECT count(*) FROM logs."{table}" WHERE "{_WORKSPACE}" = ?'  # noqa: S608 - our names
        found = self._open_connection().execute(sql, [workspace]).fetchone()
        return int(found[0]) if found else 0


def naive_utc(moment: dt.datetime) -> dt.datetime:
    """Return *moment* as DuckDB stores it; a naive one is taken for UTC."""
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _value(kind: str, value: object) -> object:
    """Return what is stored."""
    if kind == "string":
        return "" if value is None else str(value)
    if isinstance(value, dt.datetime):
        return naive_utc(value)
    if kind == "dynamic" and not isinstance(value, str):
        return None if value is None else json.dumps(value)
    return value if value != "" else None
