"""What builds reported, in lists, counted as the queries of the real adapter count it."""

import re
import zlib
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from controller.adapters.bucket_grid import Grid
from controller.adapters.memory.world import Fault, Weather
from controller.adapters.metric_rows import (
    COLUMNS,
    Row,
    build_key,
    demand_counts,
    measurement,
    refused,
)
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.gate import Metric
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import BuildHistory, HistoryCell, Measurement, Observation
from controller.verdict.buckets import Bucket, Counts, latency_bin
from controller.verdict.histogram import Edges, edges_of, rows_apart

_FAILED: Final = re.compile(r"[5-9]\d\d")
_NO_CODE: Final = "0"
_GROUPS: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One stored row, of whatever kind."""

    release: str  # AppVersion; empty: the build does not say
    ingested: datetime  # when it became visible
    generated: datetime | None = None  # None: when it became visible
    operation: str = "GET /"
    operation_id: str = ""  # what belongs together
    synthetic: str = ""
    role: str = ""
    instance: str = ""
    id: str = ""  # equal ids at one time of generation are one and the same


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRequest(Reported):
    """A request. It stands for *count* of them."""

    code: str = "200"
    success: bool = True  # asked only where there is no code
    milliseconds: float = 10.0
    count: int = 1
    session: str = ""
    user: str = ""

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure."""
        return bool(_FAILED.fullmatch(self.code)) or (self.code == _NO_CODE and not self.success)

    @property
    def group(self) -> int:
        """Who comes again comes into the same group."""
        unit = self.session or self.user or self.operation_id
        return zlib.crc32(unit.encode()) % _GROUPS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedCall(Reported):
    """A call of a dependency."""

    success: bool = True
    kind: str = "HTTP"  # "InProc": no call, but work inside the process


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedException(Reported):
    """Something that was thrown."""


R = TypeVar("R", bound=Reported)
# What stands for a metric's own query: (builds, since, until, bucket) -> the rows of its answer.
Script = Callable[[Sequence[Mark], datetime, datetime, timedelta], Iterable[Row]]


@dataclass(slots=True)
class _Counts:
    """A bucket while it is filled."""

    rows: int = 0
    requests: int = 0
    failed_rows: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    latency: dict[int, int] = field(default_factory=dict[int, int])
    latency_rows: dict[int, int] = field(default_factory=dict[int, int])
    sessions: set[str] = field(default_factory=set[str])
    failing: set[str] = field(default_factory=set[str])

    def add(self, row: ReportedRequest) -> None:
        self.rows += 1
        self.requests += row.count
        place = latency_bin(row.milliseconds)
        self.latency[place] = self.latency.get(place, 0) + row.count
        self.latency_rows[place] = self.latency_rows.get(place, 0) + 1
        if row.session:
            self.sessions.add(row.session)
        if row.failed:
            self.failed_rows += 1
            self.failed += row.count
            self.failures[row.code] = self.failures.get(row.code, 0) + row.count
            if row.session:
                self.failing.add(row.session)

    def bucket(self, start: datetime) -> Bucket:
        return Bucket(
            start=start,
            rows=self.rows,
            requests=self.requests,
            failed_rows=self.failed_rows,
            failed=self.failed,
            failures=self.failures,
            latency=self.latency,
            latency_rows=rows_apart(self.latency, self.latency_rows),
            sessions=len(self.sessions) or None,
            failing_sessions=len(self.failing) if self.sessions else None,
        )


class MemoryTelemetry:
    """Implements `Telemetry`.

    Faults: operations ``observe``, ``history``, ``measure``; a lost response is a partial answer.

    *kept* bounds the rows of each workspace and kind; the oldest go first.
    """

    def __init__(self, *, weather: Weather | None = None, kept: int = 1_000_000) -> None:
        self.weather = weather or Weather()
        self.queries = 0
        self.scripts: dict[str, Script] = {}  # by the text of a metric's query
        self._kept = kept
        self._rows: dict[tuple[str, type[Reported]], list[Reported]] = {}  # by ingestion time

    def report(self, workspace: str, *rows: Reported) -> None:
        """Let *rows* become visible in *workspace*, each at its time."""
        for row in rows:
            stored = self._rows.setdefault((workspace, type(row)), [])
            insort(stored, row, key=_ingested)
            del stored[: max(len(stored) - self._kept, 0)]

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
        self._strike("observe")
        arrived = self._arrived(source, ReportedRequest, since, until)
        counts: dict[Mark, dict[datetime, _Counts]] = {}
        for mark, start, row in _judged(arrived, builds, probe_operations, since, bucket):
            counts.setdefault(mark, {}).setdefault(start, _Counts()).add(row)
        unversioned = Counter(r.role for r in arrived if not r.release and not r.synthetic)
        return Observation(
            since=since,
            until=until,
            buckets={
                mark: [by_start[start].bucket(start) for start in sorted(by_start)]
                for mark, by_start in counts.items()
            },
            query=_query("requests", builds, since, until),
            newest=max((_generated(row) for row in arrived), default=None),
            unversioned=dict(unversioned),
        )

    async def history(
        self,
        source: str,
        *,
        build: Mark,
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> BuildHistory:
        """See `Telemetry.history`."""
        self._strike("history")
        arrived = self._arrived(source, ReportedRequest, since, until)
        judged = [*_judged(arrived, [build], probe_operations, since, bucket)]
        edges = edges_of(Counter(latency_bin(row.milliseconds) for _, _, row in judged))
        cells: dict[tuple[datetime, int], list[ReportedRequest]] = {}
        for _, start, row in judged:
            cells.setdefault((start, row.group), []).append(row)
        in_sessions = sum(bool(row.session) for _, _, row in judged)
        return BuildHistory(
            since=since,
            until=until,
            bucket=bucket,
            cells=[_cell(*place, cells[place], edges) for place in sorted(cells)],
            edges=edges,
            by_session=0 < len(judged) <= 2 * in_sessions,
            query=_query("history", [build], since, until),
        )

    async def measure(
        self,
        source: str,
        metric: Metric,
        *,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Measurement:
        """See `Telemetry.measure`. A query that is not ours answers by `scripts`."""
        demand_counts(metric)
        self._strike("measure")
        query = _query(metric.query, builds, since, until)
        own = {"dependencies": self._dependencies, "exceptions": self._exceptions}
        if metric.query in own:
            found = own[metric.query](source, builds, since, until, bucket)
            return Measurement(buckets=found, query=query)
        if metric.query not in self.scripts:
            raise refused(metric, QueryInvalidError("memory cannot run its query.", fix=""))
        rows = [*self.scripts[metric.query](builds, since, until, bucket)]
        return measurement(
            metric,
            rows,
            [*rows[0]] if rows else COLUMNS[metric.kind],
            builds={build_key(mark): mark for mark in builds},
            grid=Grid(since, until, bucket),
            query=query,
        )

    def _dependencies(
        self,
        source: str,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> dict[Mark, list[tuple[datetime, Counts]]]:
        arrived = self._arrived(source, ReportedCall, since, until)
        calls = [row for row in arrived if not row.kind.startswith("InProc")]
        counts = _Tally()
        for mark, start, row in _judged(calls, builds, (), since, bucket):
            counts.add(mark, start, total=1, bad=int(not row.success))
        return counts.found()

    def _exceptions(
        self,
        source: str,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> dict[Mark, list[tuple[datetime, Counts]]]:
        requests = self._arrived(source, ReportedRequest, since, until)
        thrown = self._arrived(source, ReportedException, since, until)
        served = Counter(
            (mark, start, row.operation_id)
            for mark, start, row in _judged(requests, builds, (), since, bucket)
        )
        failed = Counter(
            (mark, start, row.operation_id)
            for mark, start, row in _judged(thrown, builds, (), since, bucket)
        )
        counts = _Tally()
        for unit in served.keys() | failed.keys():
            mark, start, operation = unit
            bad = min(failed[unit], 1) if operation else failed[unit]
            counts.add(mark, start, total=max(served[unit], bad), bad=bad)
        return counts.found()

    def _arrived(self, source: str, kind: type[R], since: datetime, until: datetime) -> Sequence[R]:
        stored = self._rows.get((source, kind), [])
        first = bisect_left(stored, since, key=_ingested)
        found = stored[first : bisect_left(stored, until, key=_ingested)]
        return [row for row in found if isinstance(row, kind)]

    def _strike(self, operation: str) -> None:
        self.queries += 1
        fault = self.weather.take(operation)
        if fault is Fault.PERMANENT:
            raise AccessDeniedError("Telemetry refuses us.", fix="Give the role.")
        if fault is not None:
            wait = timedelta(seconds=7) if fault is Fault.THROTTLED else None
            raise ProviderError(f"Telemetry gave no usable answer: {fault}.", retry_after=wait)


class _Tally:
    """Counts of a metric while they are filled."""

    def __init__(self) -> None:
        self._counts: dict[tuple[datetime, Mark], list[int]] = {}

    def add(self, mark: Mark, start: datetime, *, total: int, bad: int) -> None:
        counts = self._counts.setdefault((start, mark), [0, 0])
        counts[0] += total
        counts[1] += bad

    def found(self) -> dict[Mark, list[tuple[datetime, Counts]]]:
        found: dict[Mark, list[tuple[datetime, Counts]]] = {}
        for (start, mark), (total, bad) in sorted(self._counts.items(), key=lambda i: i[0][0]):
            found.setdefault(mark, []).append((start, Counts(total=total, bad=bad)))
        return found


def _cell(
    start: datetime, group: int, rows: Sequence[ReportedRequest], edges: Edges | None
) -> HistoryCell:
    p50, p90, p99 = (
        sum(latency_bin(row.milliseconds) > edge for row in rows) for edge in edges or (0, 0, 0)
    )
    return HistoryCell(
        start=start,
        group=group,
        rows=len(rows),
        failed_rows=sum(row.failed for row in rows),
        slow=(p50, p90, p99),
        sessions=len({row.session for row in rows} - {""}),
        failing_sessions=len({row.session for row in rows if row.failed} - {""}),
    )


def _query(what: str, builds: Iterable[Mark], since: datetime, until: datetime) -> str:
    return f"memory: {what} of {', '.join(map(str, builds))} in [{since}, {until})"


def _judged(
    arrived: Iterable[R],
    builds: Sequence[Mark],
    probe_operations: Sequence[str],
    since: datetime,
    bucket: timedelta,
) -> Iterator[tuple[Mark, datetime, R]]:
    """Yield the rows of *builds* with the start of their bucket, each once per build."""
    wanted = _by_name(builds)
    for row in _once(arrived):
        if row.operation not in probe_operations and not row.synthetic:
            start = since + (row.ingested - since) // bucket * bucket
            for mark in _marks_of(row, wanted):
                yield mark, start, row


def _once(rows: Iterable[R]) -> Iterator[R]:
    """Leave out what a sender repeated; rows without an id cannot be told to be the same."""
    seen: set[tuple[str, str, datetime]] = set()
    for row in rows:
        key = (row.id, row.operation_id, _generated(row))
        if not row.id or key not in seen:
            yield row
        seen.add(key)


def _by_name(builds: Iterable[Mark]) -> dict[tuple[IdentifyBy, str], list[Mark]]:
    found: dict[tuple[IdentifyBy, str], list[Mark]] = {}
    for mark in dict.fromkeys(builds):
        found.setdefault((mark.by, mark.name), []).append(mark)
    return found


def _marks_of(
    row: Reported, wanted: Mapping[tuple[IdentifyBy, str], Sequence[Mark]]
) -> Iterator[Mark]:
    names = (
        (IdentifyBy.VERSION, row.release),
        (IdentifyBy.ROLE_NAME, row.role),
        (IdentifyBy.ROLE_INSTANCE, row.instance),
    )
    for name in names:
        for mark in wanted.get(name, ()):
            if mark.role in {None, row.role}:
                yield mark


def _ingested(row: Reported) -> datetime:
    return row.ingested


def _generated(row: Reported) -> datetime:
    return row.generated or row.ingested
