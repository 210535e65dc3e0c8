"""Requests that builds reported, in lists, counted as queries/releases.kql counts them."""

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controller.adapters.memory.world import Fault, Weather
from controller.core.errors import AccessDeniedError, ProviderError
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import Observation
from controller.verdict.buckets import Bucket, latency_bin

_FAILED: Final = re.compile(r"[5-9]\d\d")
_NO_CODE: Final = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRequest:
    """One stored row. It stands for *count* requests."""

    release: str  # AppVersion; empty: the build does not say
    ingested: datetime  # when it became visible
    generated: datetime | None = None  # None: when it became visible
    operation: str = "GET /"
    code: str = "200"
    success: bool = True  # asked only where there is no code
    milliseconds: float = 10.0
    count: int = 1
    session: str = ""
    synthetic: str = ""
    role: str = ""
    instance: str = ""
    id: str = ""  # equal ids at one time of generation are one request

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure."""
        return bool(_FAILED.fullmatch(self.code)) or (self.code == _NO_CODE and not self.success)


@dataclass(slots=True)
class _Counts:
    """A bucket while it is filled."""

    rows: int = 0
    requests: int = 0
    failed_rows: int = 0
    failed: int = 0
    failures: dict[str, int] = field(default_factory=dict[str, int])
    latency: dict[int, int] = field(default_factory=dict[int, int])
    sessions: set[str] = field(default_factory=set[str])
    failing: set[str] = field(default_factory=set[str])

    def add(self, row: ReportedRequest) -> None:
        self.rows += 1
        self.requests += row.count
        place = latency_bin(row.milliseconds)
        self.latency[place] = self.latency.get(place, 0) + row.count
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
            sessions=len(self.sessions) or None,
            failing_sessions=len(self.failing) if self.sessions else None,
        )


class MemoryTelemetry:
    """Implements `Telemetry`. Faults: operation ``observe``; a lost response is a partial answer.

    *kept* bounds the rows of each workspace; the oldest go first.
    """

    def __init__(self, *, weather: Weather | None = None, kept: int = 1_000_000) -> None:
        self.weather = weather or Weather()
        self.queries = 0
        self._kept = kept
        self._rows: dict[str, list[ReportedRequest]] = {}  # by ingestion time

    def report(self, workspace: str, *rows: ReportedRequest) -> None:
        """Let *rows* become visible in *workspace*, each at its time."""
        stored = self._rows.setdefault(workspace, [])
        for row in rows:
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
        self.queries += 1
        self._strike()
        stored = self._rows.get(source, [])
        first = bisect_left(stored, since, key=_ingested)
        arrived = stored[first : bisect_left(stored, until, key=_ingested)]
        counts: dict[Mark, dict[datetime, _Counts]] = {}
        wanted = _by_name(builds)
        for row in _once(arrived):
            is_ours = row.operation in probe_operations or bool(row.synthetic)
            for mark in () if is_ours else _marks_of(row, wanted):
                start = since + (row.ingested - since) // bucket * bucket
                counts.setdefault(mark, {}).setdefault(start, _Counts()).add(row)
        unversioned = Counter(r.role for r in arrived if not r.release and not r.synthetic)
        return Observation(
            since=since,
            until=until,
            buckets={
                mark: [by_start[start].bucket(start) for start in sorted(by_start)]
                for mark, by_start in counts.items()
            },
            query=f"memory: {', '.join(map(str, builds))} in [{since}, {until})",
            newest=max((_generated(row) for row in arrived), default=None),
            unversioned=dict(unversioned),
        )

    def _strike(self) -> None:
        fault = self.weather.take("observe")
        if fault is Fault.PERMANENT:
            raise AccessDeniedError("Telemetry refuses us.", fix="Give the role.")
        if fault is not None:
            wait = timedelta(seconds=7) if fault is Fault.THROTTLED else None
            raise ProviderError(f"Telemetry gave no usable answer: {fault}.", retry_after=wait)


def _once(rows: Iterable[ReportedRequest]) -> Iterator[ReportedRequest]:
    """Leave out what a sender repeated; rows without an id cannot be told to be the same."""
    seen: set[tuple[str, datetime]] = set()
    for row in rows:
        key = (row.id, _generated(row))
        if not row.id or key not in seen:
            yield row
        seen.add(key)


def _by_name(builds: Iterable[Mark]) -> dict[tuple[IdentifyBy, str], list[Mark]]:
    found: dict[tuple[IdentifyBy, str], list[Mark]] = {}
    for mark in dict.fromkeys(builds):
        found.setdefault((mark.by, mark.name), []).append(mark)
    return found


def _marks_of(
    row: ReportedRequest, wanted: Mapping[tuple[IdentifyBy, str], Sequence[Mark]]
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


def _ingested(row: ReportedRequest) -> datetime:
    return row.ingested


def _generated(row: ReportedRequest) -> datetime:
    return row.generated or row.ingested
