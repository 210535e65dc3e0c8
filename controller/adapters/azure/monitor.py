"""Log Analytics: one query for every watched release of a workspace."""

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
from controller.ports import Observation
from controller.verdict.buckets import Bucket

_LATENESS: Final = timedelta(hours=2)  # rows older than this when they arrive are left out
_SERVER_SECONDS: Final = 30
_TOTAL: Final = timedelta(seconds=40)
_GRID: Final = timedelta(milliseconds=1)  # how exactly a bucket must start where one does
_COLUMNS: Final = (
    "Kind",
    "Bucket",
    "AppVersion",
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

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def observe(
        self,
        workspace: str,
        *,
        releases: Sequence[str],
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Observation:
        """See `Telemetry.observe`."""
        oldest = since - _LATENESS
        query = _query(
            Releases=_dynamic(releases),
            ProbeOperations=_dynamic(probe_operations),
            From=_datetime(since),
            To=_datetime(until),
            Since=_datetime(oldest),
            BucketSize=_timespan(bucket),
        )
        table = await self._ask(workspace, query, timespan=(oldest, until + _LATENESS))
        try:
            rows = _rows(table)
            return Observation(
                since=since,
                until=until,
                buckets=_buckets(rows, _Grid(since, bucket)),
                query=query,
                newest=_newest(rows),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise ProviderError(f"Log Analytics gave a value that is none: {error}.") from error

    async def _ask(
        self, workspace: str, query: str, *, timespan: tuple[datetime, datetime]
    ) -> LogsTable:
        try:
            async with asyncio.timeout(self._total):
                result = await self._client.query_workspace(
                    workspace, query, timespan=timespan, server_timeout=_SERVER_SECONDS
                )
        except HttpResponseError as error:
            _refuse(workspace, error)
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


def _refuse(workspace: str, error: HttpResponseError) -> NoReturn:
    status = error.status_code or 0
    told = " ".join((error.message or str(error)).split())[:500]
    if status in _DENIED:
        raise AccessDeniedError(
            f"Log Analytics refuses us workspace {workspace}: {status}.",
            fix="Give Slipway's identity the role Log Analytics Reader on it.",
        ) from error
    if status in _INVALID:
        raise QueryInvalidError(
            f"Log Analytics cannot run the query on workspace {workspace}: {told}",
            fix="See that analysis.workspace is its id and that the app reports to it.",
        ) from error
    raise ProviderError(
        f"Log Analytics answered {status}.", retry_after=_retry_after(error)
    ) from error


def _retry_after(error: HttpResponseError) -> timedelta | None:
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return timedelta(seconds=seconds) if math.isfinite(seconds) and seconds >= 0 else None


# --- The query ----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _text() -> str:
    folder = resources.files("controller.adapters.azure.queries")
    return folder.joinpath("releases.kql").read_text(encoding="utf-8")


def _query(**parameters: str) -> str:
    lets = "".join(f"let {name} = {value};\n" for name, value in parameters.items())
    return lets + _text()


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


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime):  # the SDK hands on what it cannot read
        raise TypeError(f"{value!r} is no time")
    return value.astimezone(UTC)


def _buckets(rows: Sequence[Row], grid: _Grid) -> dict[str, list[Bucket]]:
    """Gather the cells of each (release, bucket), oldest first."""
    cells: dict[tuple[str, datetime], list[Row]] = {}
    sessions: dict[tuple[str, datetime], Row] = {}
    for row in rows:
        if row["Kind"] == _WATERMARK:
            continue
        key = (str(row["AppVersion"]), grid.start_of(row["Bucket"]))
        if row["Kind"] == _SESSIONS:
            sessions[key] = row
        else:
            cells.setdefault(key, []).append(row)
    found: dict[str, list[Bucket]] = {}
    for release, start in sorted(cells):
        key = (release, start)
        found.setdefault(release, []).append(_bucket(start, cells[key], sessions.get(key)))
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
