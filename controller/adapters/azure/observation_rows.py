"""From the rows that queries/releases.kql answers with to buckets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from azure.monitor.query import LogsTable

from controller.adapters.bucket_grid import Grid, moment
from controller.core.errors import ProviderError
from controller.verdict.buckets import Bucket
from controller.verdict.histogram import rows_apart

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
Row = Mapping[str, Any]


def table_rows(table: LogsTable, columns: Sequence[str]) -> Sequence[Row]:
    """Return the rows by column.

    Raises:
        ProviderError: one of *columns* is missing.
    """
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ProviderError(f"Log Analytics left out the column {', '.join(missing)}.")
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def observation_rows(table: LogsTable) -> Sequence[Row]:
    """Return the rows of an observation, which is whole only with its watermark."""
    rows = table_rows(table, _COLUMNS)
    if not any(row["Kind"] == _WATERMARK for row in rows):
        raise ProviderError("Log Analytics left out the watermark, which is always there.")
    return rows


def newest(rows: Sequence[Row]) -> datetime | None:
    """Return the newest row's own time, whoever sent it."""
    times = [row["NewestGenerated"] for row in rows if row["Kind"] == _WATERMARK]
    return max((moment(at) for at in times if at is not None), default=None)


def unversioned(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many rows say no version, by role."""
    return {str(r["Build"]): int(r["Rows"]) for r in rows if r["Kind"] == _UNVERSIONED}


def buckets(rows: Sequence[Row], grid: Grid) -> dict[str, list[Bucket]]:
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
    latency_rows: Counter[int] = Counter()
    for cell in cells:
        if failed := int(cell["Failed"]):
            failures[str(cell["ResultCode"])] += failed
        if cell["LatencyBin"] is not None:  # a request may have no duration
            latency[int(cell["LatencyBin"])] += int(cell["Requests"])
            latency_rows[int(cell["LatencyBin"])] += int(cell["Rows"])
    return Bucket(
        start=start,
        rows=sum(int(c["Rows"]) for c in cells),
        requests=sum(int(c["Requests"]) for c in cells),
        failed_rows=sum(int(c["FailedRows"]) for c in cells),
        failed=sum(int(c["Failed"]) for c in cells),
        failures=dict(failures),
        latency=dict(latency),
        latency_rows=rows_apart(latency, latency_rows),
        sessions=int(sessions["Sessions"]) if sessions else None,
        failing_sessions=int(sessions["FailingSessions"]) if sessions else None,
    )
