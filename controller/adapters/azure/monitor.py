"""Log Analytics: one query for every watched build of a workspace, or of a component."""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple, NoReturn

from azure.core.exceptions import AzureError, HttpResponseError
from azure.monitor.query import LogsQueryPartialResult, LogsTable
from azure.monitor.query.aio import LogsQueryClient

from controller.core.errors import (
    AccessDeniedError,
    PermanentError,
    ProviderError,
    QueryInvalidError,
)
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import Observation
from controller.verdict.buckets import Bucket

_LATENESS: Final = timedelta(hours=2)  # rows older than this when they arrive are left out
_SERVER_SECONDS: Final = 30
_TOTAL: Final = timedelta(seconds=40)
_GRID: Final = timedelta(milliseconds=1)  # how exactly a bucket must start where one does
_COLUMNS: Final = (
    "Kind",
    "Bucket",
    "Build",
    "LatencyBin",
    "ResultCode",
    "Rows",
    "Requests",
    "FailedRows",
    "Failed",
    "Sessions",
    "FailingSessions",
    "NewestGenerated",
)
_WATERMARK: Final = "watermark"
_SESSIONS: Final = "sessions"
_UNVERSIONED: Final = "unversioned"
_CLASSIC: Final = "requests_classic"
_MODERN: Final = "requests"
_COMPONENT: Final = "/providers/microsoft.insights/components/"
_INVALID: Final = frozenset({400, 404})
_DENIED: Final = frozenset({401, 403})
Row = Mapping[str, Any]


class LogAnalytics:
    """Implements `Telemetry` on Azure Monitor Logs.

    Args:
        credential: aio token credential with the role Log Analytics Reader.
        endpoint: the query API.
        audience: whom tokens are for.
        total: how long one query may take altogether.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        credential: Any,
        *,
        endpoint: str = "https://api.loganalytics.io",
        audience: str = "https://api.loganalytics.io",
        total: timedelta = _TOTAL,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._client = LogsQueryClient(
            credential, endpoint=endpoint, audience=audience, retry_total=0, **(options or {})
        )
        self._total = total.total_seconds()
        self._tables: dict[str, str] = {}  # of components: which table's query they took

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def observe(
        self,
        source: str,
        *,
        builds: Sequence[Mark],
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Observation:
        """See `Telemetry.observe`."""
        oldest = since - _LATENESS
        parameters = {
            "From": _datetime(since),
            "To": _datetime(until),
            "Since": _datetime(oldest),
            "BucketSize": _timespan(bucket),
            "ProbeOperations": _dynamic(probe_operations),
            **_builds(builds),
        }
        span = (oldest, until + _LATENESS)
        query, table = await self._ask_either(source, parameters, timespan=span)
        try:
            rows = _rows(table)
            found = _buckets(rows, _Grid(since, bucket))
            return Observation(
                since=since,
                until=until,
                buckets={mark: found[key] for mark in builds if (key := _key(mark)) in found},
                query=query,
                newest=_newest(rows),
                unversioned=_unversioned(rows),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ProviderError(f"Log Analytics gave a value that is none: {error}.") from error

    async def _ask_either(
        self, source: str, parameters: Mapping[str, str], *, timespan: tuple[datetime, datetime]
    ) -> tuple[str, LogsTable]:
        """Ask by the table that the source has. Only a component may have the classic ones alone.

        Never both in one query: where one is another name of the other, all would count twice.
        """
        name = self._tables.get(source, _MODERN)
        query = _query(name, parameters)
        try:
            table = await self._ask(source, query, timespan=timespan)
        except QueryInvalidError as error:
            if not _may_be_classic(source, name, error):
                raise
            name = _CLASSIC
            query = _query(name, parameters)
            table = await self._ask(source, query, timespan=timespan)
        self._tables[source] = name
        return query, table

    async def _ask(
        self, source: str, query: str, *, timespan: tuple[datetime, datetime]
    ) -> LogsTable:
        # Further workspaces are asked for themselves: the SDK's query_resource sends their names
        # in a field that the service does not know, and would answer without them.
        ask = self._client.query_resource if "/" in source else self._client.query_workspace
        try:
            async with asyncio.timeout(self._total):
                result = await ask(source, query, timespan=timespan, server_timeout=_SERVER_SECONDS)
        except HttpResponseError as error:
            _refuse(source, error)
        except (AzureError, OSError, TimeoutError) as error:
            raise ProviderError(
                f"Log Analytics does not answer: {type(error).__name__}."
            ) from error
        except (LookupError, TypeError, AttributeError, ValueError) as error:  # from the SDK
            raise ProviderError(
                f"Log Analytics gave an answer that cannot be read: {error!r}."
            ) from error
        if isinstance(result, LogsQueryPartialResult):
            told = getattr(result.partial_error, "message", "") or result.partial_error
            raise ProviderError(f"Log Analytics answered in part only: {told}")
        if not result.tables:
            raise ProviderError("Log Analytics answered without a table.")
        return result.tables[0]


def _may_be_classic(source: str, name: str, error: QueryInvalidError) -> bool:
    return name == _MODERN and _COMPONENT in source.lower() and "AppRequests" in error.what


def _refuse(workspace: str, error: HttpResponseError) -> NoReturn:
    status = error.status_code or 0
    told = " ".join((error.message or str(error)).split())[:500]
    if status in _DENIED:
        raise AccessDeniedError(
            f"Log Analytics refuses us {_called(workspace)}: {status}.",
            fix="Give Slipway's identity the role Log Analytics Reader on it.",
        ) from error
    if status in _INVALID:
        raise QueryInvalidError(
            f"Log Analytics cannot run the query on {_called(workspace)}: {told}",
            fix="See that analysis.workspace is its id and that the app reports to it.",
        ) from error
    raise ProviderError(
        f"Log Analytics answered {status}.", retry_after=_retry_after(error)
    ) from error


def _called(source: str) -> str:
    return source if "/" in source else f"workspace {source}"


def _retry_after(error: HttpResponseError) -> timedelta | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return timedelta(seconds=seconds) if math.isfinite(seconds) and seconds >= 0 else None


# --- The query ----------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _text(name: str) -> str:
    folder = resources.files("controller.adapters.azure.queries")
    return folder.joinpath(f"{name}.kql").read_text(encoding="utf-8")


def _query(table: str, parameters: Mapping[str, str]) -> str:
    """Return the query for builds: parameters, then the tables that it stands on, then itself.

    Most builds say their version; the table for all other ways costs several times as much.
    """
    named = "by_any" if "Builds" in parameters else "by_version"
    lets = "".join(f"let {name} = {value};\n" for name, value in parameters.items())
    tables = _as_table("Arrived", _text(table)) + _as_table("Named", _text(named))
    return lets + tables + _text("releases")


def _as_table(name: str, text: str) -> str:
    """Return *text* as statements of which the last names its result; no `let` holds another."""
    statements, separator, result = text.rpartition(";\n")
    return f"{statements}{separator}let {name} = {result.rstrip()};\n"


def _builds(marks: Sequence[Mark]) -> dict[str, str]:
    named = {by: [mark.name for mark in marks if mark.by is by] for by in IdentifyBy}
    versions = _dynamic(named[IdentifyBy.VERSION])
    if all(mark == Mark(name=mark.name) for mark in marks):
        return {"Versions": versions}
    return {
        "Builds": _dynamic(_key(mark) for mark in marks),
        "Versions": versions,
        "RoleNames": _dynamic(named[IdentifyBy.ROLE_NAME]),
        "RoleInstances": _dynamic(named[IdentifyBy.ROLE_INSTANCE]),
    }


def _key(mark: Mark) -> str:
    """Return what by_any.kql calls `Key`."""
    return "|".join((str(mark.by.value), mark.name, *([mark.role] if mark.role else [])))


def _dynamic(values: Iterable[str]) -> str:
    return f"dynamic([{', '.join(_string(value) for value in values)}])"


def _string(value: str) -> str:
    """Return a KQL string literal; what would end it is escaped, control characters are refused."""
    if any(ord(character) < ord(" ") for character in value):
        raise PermanentError(
            f"{value!r} cannot be asked for: it has control characters.",
            fix="Remove them from the release name or the probe's path.",
        )
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _datetime(at: datetime) -> str:
    return f"datetime({at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z)"


def _timespan(span: timedelta) -> str:
    return f"{round(span.total_seconds() * 1000)}ms"


# --- The answer ---------------------------------------------------------------------------------


class _Grid(NamedTuple):
    """Where buckets start."""

    since: datetime
    size: timedelta

    def start_of(self, at: object) -> datetime:
        """Return the bucket start that *at* is meant to be, in UTC."""
        moment = _moment(at)
        start = self.since + round((moment - self.since) / self.size) * self.size
        if start < self.since or abs(moment - start) > _GRID:
            raise ValueError(f"no bucket starts at {moment}")
        return start


def _rows(table: LogsTable) -> Sequence[Row]:
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ProviderError(f"Log Analytics left out the column {', '.join(missing)}.")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    if not any(row["Kind"] == _WATERMARK for row in rows):
        raise ProviderError("Log Analytics left out the watermark, which is always there.")
    return rows


def _newest(rows: Sequence[Row]) -> datetime | None:
    times = [row["NewestGenerated"] for row in rows if row["Kind"] == _WATERMARK]
    return max((_moment(at) for at in times if at is not None), default=None)


def _unversioned(rows: Sequence[Row]) -> dict[str, int]:
    return {str(r["Build"]): int(r["Rows"]) for r in rows if r["Kind"] == _UNVERSIONED}


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime):  # the SDK hands on what it cannot read
        raise TypeError(f"{value!r} is no time")
    return value.astimezone(UTC)


def _buckets(rows: Sequence[Row], grid: _Grid) -> dict[str, list[Bucket]]:
    """Gather the cells of each (build, bucket), oldest first."""
    cells: dict[tuple[str, datetime], list[Row]] = {}
    sessions: dict[tuple[str, datetime], Row] = {}
    for row in rows:
        if row["Kind"] in {_WATERMARK, _UNVERSIONED}:
            continue
        key = (str(row["Build"]), grid.start_of(row["Bucket"]))
        if row["Kind"] == _SESSIONS:
            sessions[key] = row
        else:
            cells.setdefault(key, []).append(row)
    found: dict[str, list[Bucket]] = {}
    for build, start in sorted(cells):
        key = (build, start)
        found.setdefault(build, []).append(_bucket(start, cells[key], sessions.get(key)))
    return found


def _bucket(start: datetime, cells: Sequence[Row], sessions: Row | None) -> Bucket:
    failures: Counter[str] = Counter()
    latency: Counter[int] = Counter()
    for cell in cells:
        if failed := int(cell["Failed"]):
            failures[str(cell["ResultCode"])] += failed
        if cell["LatencyBin"] is not None:  # a request may have no duration
            latency[int(cell["LatencyBin"])] += int(cell["Requests"])
    return Bucket(
        start=start,
        rows=sum(int(c["Rows"]) for c in cells),
        requests=sum(int(c["Requests"]) for c in cells),
        failed_rows=sum(int(c["FailedRows"]) for c in cells),
        failed=sum(int(c["Failed"]) for c in cells),
        failures=dict(failures),
        latency=dict(latency),
        sessions=int(sessions["Sessions"]) if sessions else None,
        failing_sessions=int(sessions["FailingSessions"]) if sessions else None,
    )
