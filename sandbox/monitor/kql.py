"""KQL on DuckDB: what Log Analytics does around a query.

Translation is duckdb-kql's. Added here: `ingestion_time()`, the request's time range, rows that
are not visible yet, and a cache, since translating takes 100 ms and a poll repeats its query with
other dates, and the next app's with other digests and numbers.
"""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import duckdb
import duckdb_kql

from sandbox.monitor.catalog import Catalog, workspace
from sandbox.monitor.results import Answer, to_answer

INGESTED: Final = "$IngestionTime"  # the hidden column, and Kusto's name for it in results
_CACHED_QUERIES: Final = 256

# Strings and comments are matched first, so that nothing in them is taken for code.
_TOKEN: Final = re.compile(
    r"""
    (?P<comment> //[^\n]* )
  | (?P<string> ```.*?``` | @"(?:[^"]|"")*" | @'(?:[^']|'')*'
              | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
  | (?P<ingested> \bingestion_time \s* \( \s* \) )
  | \blet \s+ (?P<name> \w+ ) \s* = \s* datetime \s* \( \s* (?P<moment> \d[^)]*? ) \s* \) \s* ;
  | \blet \s+ (?P<whole> \w+ ) \s* = \s* long \s* \( \s* (?P<number> -?\d{1,18} ) \s* \) \s* ;
  | (?P<word> \w+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


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
    """A query taken apart: values of its `let` statements, tables and hidden column it needs."""

    text: str
    tables: tuple[str, ...]
    wants_ingestion_time: bool
    lifted: Mapping[str, dt.datetime | int]  # by name
    has_numbers: bool  # among them


@dataclass(frozen=True, slots=True)
class _Translation:
    sql: str
    slots: Mapping[str, str]  # name of a value -> name of its SQL parameter


def run(connection: duckdb.DuckDBPyConnection, text: str, scope: Scope) -> Answer:
    """Return the result of a query.

    Raises:
        KqlRefusedError: it is wrong, or not supported here.
    """
    source = _take_apart(text, scope.catalog)
    try:
        return _run(connection, source, text, scope)
    except KqlRefusedError:
        if not source.has_numbers:
            raise
    # Where a constant must stand, a parameter cannot.
    return _run(connection, _take_apart(text, scope.catalog, lift_numbers=False), text, scope)


def _run(
    connection: duckdb.DuckDBPyConnection, source: _Source, written: str, scope: Scope
) -> Answer:
    translation = _translate(source, written, scope.catalog)
    values: dict[str, object] = {
        slot: source.lifted[name] for name, slot in translation.slots.items()
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


def _take_apart(text: str, catalog: Catalog, *, lift_numbers: bool = True) -> _Source:
    lifted: dict[str, dt.datetime | int] = {}
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
                lifted[token["name"]] = moment
                return ""
        if token["number"] is not None and lift_numbers:
            lifted[token["whole"]] = int(token["number"])
            return ""
        words.add(token["word"] or "")
        return token[0]

    rest = _TOKEN.sub(replace, text)
    if lifted:
        kinds = {
            name: "long" if isinstance(value, int) else "datetime" for name, value in lifted.items()
        }
        declared = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
        rest = f"declare query_parameters({declared}); {rest}"
    missing = sorted(catalog.elsewhere & words)
    if missing:
        what = f"Failed to resolve table or column expression named '{missing[0]}'"
        raise KqlRefusedError(f"'where' operator: {what}")
    tables = tuple(table for table in catalog.tables if table in words)
    rest = catalog.with_known_columns(rest, tables)
    has_numbers = any(isinstance(value, int) for value in lifted.values())
    return _Source(rest, tables, wants_ingestion_time, lifted, has_numbers)


def _parse_moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(dt.UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _translate(source: _Source, written: str, catalog: Catalog) -> _Translation:
    """Return the SQL of *source*, under whose name for it no digest matters: all are alike."""
    hidden = (INGESTED,) if source.wants_ingestion_time else ()
    schema = tuple((table, (*columns, *hidden)) for table, columns in catalog.tables.items())
    digests = list(dict.fromkeys(_DIGEST.findall(source.text)))
    alike = {digest: f"sha256:{place:064x}" for place, digest in enumerate(digests)}
    text = _DIGEST.sub(lambda found: alike[found[0]], source.text)
    try:
        translation = _translated(text, schema)
    except duckdb_kql.KqlSyntaxError as error:
        found = duckdb_kql.validate(written) or error.diagnostics  # positions as the caller sees
        line, position = (found[0].span.line, found[0].span.column + 1) if found else (1, 1)
        raise KqlRefusedError(str(error), line=line, position=position) from error
    except duckdb_kql.KqlError as error:
        raise KqlRefusedError(f"Unknown to the sandbox, or wrong: {error}") from error
    own = {name: digest for digest, name in alike.items()}
    return _Translation(
        _DIGEST.sub(lambda found: own[found[0]], translation.sql), translation.slots
    )


@lru_cache(_CACHED_QUERIES)
def _translated(text: str, schema: tuple[tuple[str, tuple[str, ...]], ...]) -> _Translation:
    """Translate, once in the life of the process: a text means the same in every workspace."""
    tables = {table: list(columns) for table, columns in schema}
    # Writing is a thing of Kusto's management endpoint, not of this one.
    translated = duckdb_kql.to_sql(text, tables, allow_write=False)
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
