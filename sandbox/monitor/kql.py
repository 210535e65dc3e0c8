"""KQL on DuckDB: what Log Analytics does around a query.

Translation is duckdb-kql's. Added here: `ingestion_time()`, the request's time range, rows that
are not visible yet, and a cache, since translating takes 100 ms
and a poll repeats its query with other dates.
"""

import datetime as dt
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import duckdb
import duckdb_kql

from sandbox.monitor.catalog import Catalog, workspace
from sandbox.monitor.results import Answer, to_answer

INGESTED: Final = "$IngestionTime"  # the hidden column, and Kusto's name for it in results
_CACHED_QUERIES: Final = 64

# Strings and comments are matched first, so that nothing in them is taken for code.
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> //[^\n]* )
  | (?P<string> ```.*?``` | @"(?:[^"]|"")*" | @'(?:[^']|'')*'
              | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?P<ingested> \bingestion_time \s* \( \s* \) )
  | \blet \s+ (?P<name> \w+ ) \s* = \s* datetime \s* \( \s* (?P<moment> \d[^)]*? ) \s* \) \s* ;
  | (?P<word> \w+ )
    """,
    re.VERBOSE | re.DOTALL,
)


class KqlRefusedError(Exception):
    """The query is wrong, or beyond what the sandbox can run (the message says which).

    *line* and *position* are set for a syntax error (both from 1).
    """

    def __init__(self, message: str, *, line: int = 0, position: int = 0) -> None:
        super().__init__(message)
        self.line = line
        self.position = position


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a request may see: rows of *workspaces*, or those of one *resource*.

    *since* and *until* are the request's time range: ``[since, until)`` of TimeGenerated.
    """

    now: dt.datetime
    workspaces: Sequence[str] = ()
    resource: str | None = None
    catalog: Catalog = field(default_factory=lambda: workspace({}))
    since: dt.datetime | None = None
    until: dt.datetime | None = None

    def conditions(self) -> tuple[str, dict[str, object]]:
        """Return SQL for it, and the values of its parameters."""
        values: dict[str, object] = {"now": self.now}
        conditions = [f'"{INGESTED}" <= $now']
        if self.resource is None:
            conditions.append('"_Workspace" IN (SELECT unnest($workspaces::VARCHAR[]))')
            values["workspaces"] = list(self.workspaces)
        else:
            conditions.append('lower("_ResourceId") = lower($resource)')
            values["resource"] = self.resource
        if self.since is not None:
            conditions.append('"TimeGenerated" >= $since')
            values["since"] = self.since
        if self.until is not None:
            conditions.append('"TimeGenerated" < $until')
            values["until"] = self.until
        return " AND ".join(conditions), values


@dataclass(frozen=True, slots=True)
class _Source:
    """A query taken apart: dates of its `let` statements, tables and hidden column it needs."""

    text: str
    tables: tuple[str, ...]
    wants_ingestion_time: bool
    moments: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])


@dataclass(frozen=True, slots=True)
class _Translation:
    sql: str
    slots: Mapping[str, str]  # name of a date -> name of its SQL parameter


class Kql:
    """Runs KQL on a DuckDB connection. Not thread-safe: use it where the connection lives."""

    def __init__(self) -> None:
        self._translations: OrderedDict[tuple[str, str], _Translation] = OrderedDict()

    def run(self, connection: duckdb.DuckDBPyConnection, text: str, scope: Scope) -> Answer:
        """Return the result of a query.

        Raises:
            KqlRefusedError: it is wrong, or not supported here.
        """
        source = _take_apart(text, scope.catalog)
        translation = self._translate(source, text, scope.catalog)
        values: dict[str, object] = {
            slot: source.moments[name] for name, slot in translation.slots.items()
        }
        sql = translation.sql
        if source.tables:
            condition, scoped = scope.conditions()
            sql = _with_tables(sql, source, scope.catalog, condition)
            values |= scoped
        try:
            cursor = connection.execute(sql, values)
            described = cursor.description or []
            rows = cursor.fetchall()
        except duckdb.Error as error:
            raise KqlRefusedError(str(error).split("\n\n", maxsplit=1)[0]) from error
        columns = [(str(column[0]), str(column[1])) for column in described]
        return to_answer(columns, rows, query=source.text, hidden=INGESTED)

    def _translate(self, source: _Source, written: str, catalog: Catalog) -> _Translation:
        key = (catalog.name, source.text)
        known = self._translations.get(key)
        if known is not None:
            self._translations.move_to_end(key)
            return known
        translation = _translate(source, written, catalog)
        self._translations[key] = translation
        while len(self._translations) > _CACHED_QUERIES:
            self._translations.popitem(last=False)
        return translation


def _take_apart(text: str, catalog: Catalog) -> _Source:
    moments: dict[str, dt.datetime] = {}
    words: set[str] = set()
    wants_ingestion_time = False

    def replace(token: re.Match[str]) -> str:
        nonlocal wants_ingestion_time
        if token["comment"] is not None:
            return ""
        if token["ingested"] is not None:
            wants_ingestion_time = True
            return f"['{INGESTED}']"
        if token["moment"] is not None:
            moment = _parse_moment(token["moment"])
            if moment is not None:
                moments[token["name"]] = moment
                return ""
        words.add(token["word"] or "")
        return token[0]

    rest = _TOKEN.sub(replace, text)
    if moments:
        declared = ", ".join(f"{name}: datetime" for name in moments)
        rest = f"declare query_parameters({declared}); {rest}"
    missing = sorted(catalog.elsewhere & words)
    if missing:
        what = f"Failed to resolve table or column expression named '{missing[0]}'"
        raise KqlRefusedError(f"'where' operator: {what}")
    tables = tuple(table for table in catalog.tables if table in words)
    rest = catalog.with_known_columns(rest, tables)
    return _Source(rest, tables, wants_ingestion_time, moments)


def _parse_moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _translate(source: _Source, written: str, catalog: Catalog) -> _Translation:
    hidden = [INGESTED] if source.wants_ingestion_time else []
    schema = {table: [*columns, *hidden] for table, columns in catalog.tables.items()}
    try:
        # Writing is a thing of Kusto's management endpoint, not of this one.
        translated = duckdb_kql.to_sql(source.text, schema, allow_write=False)
    except duckdb_kql.KqlSyntaxError as error:
        found = duckdb_kql.validate(written) or error.diagnostics  # positions as the caller sees
        line, position = (found[0].span.line, found[0].span.column + 1) if found else (1, 1)
        raise KqlRefusedError(str(error), line=line, position=position) from error
    except duckdb_kql.KqlError as error:
        raise KqlRefusedError(f"Unknown to the sandbox, or wrong: {error}") from error
    used = {one.name: one.slot for one in translated.declarations if one.slot in translated.slots}
    return _Translation(str(translated), used)


def _with_tables(sql: str, source: _Source, catalog: Catalog, condition: str) -> str:
    """Put in front of *sql* what each table holds for this request.

    In front, not around: a query inside another one loses the order of its rows.
    """
    definitions: list[str] = []
    for table in source.tables:
        shown = [f'{stored} AS "{name}"' for name, stored in catalog.tables[table].items()]
        hidden = [f'"{INGESTED}"'] if source.wants_ingestion_time else []
        rows = f'logs."{catalog.stored(table)}" WHERE {condition}'
        definitions.append(
            f'"{table}" AS NOT MATERIALIZED (SELECT {", ".join([*shown, *hidden])} FROM {rows})'  # noqa: S608 - our names
        )
    rest = f", {sql.removeprefix('WITH ')}" if sql.startswith("WITH ") else f" {sql}"
    return f"WITH {', '.join(definitions)}{rest}"
