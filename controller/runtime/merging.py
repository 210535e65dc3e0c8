"""Several sources of telemetry seen as one: each row is in one of them."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from controller.core.telemetry import Mark
from controller.ports import Measurement, Observation
from controller.verdict.buckets import Bucket, Counts, total
from controller.verdict.histogram import added, rows_apart


def merged(seen: Sequence[Observation]) -> Observation:
    """Return the sum of what was seen in each source in the same window."""
    if len(seen) == 1:
        return seen[0]
    unversioned: dict[str, int] = {}
    for each in seen:
        for role, rows in each.unversioned.items():
            unversioned[role] = unversioned.get(role, 0) + rows
    marks = dict.fromkeys(mark for each in seen for mark in each.buckets)
    return replace(
        seen[0],
        buckets={mark: _added(mark, seen) for mark in marks},
        query="\n\n".join(dict.fromkeys(each.query for each in seen)),
        newest=max((each.newest for each in seen if each.newest), default=None),
        unversioned=unversioned,
    )


def merged_measurement(seen: Sequence[Measurement]) -> Measurement:
    """Return the sum of what a metric's query counted in each source in the same window."""
    if len(seen) == 1:
        return seen[0]
    counts: dict[Mark, dict[datetime, list[Counts]]] = {}
    for each in seen:
        for mark, buckets in each.buckets.items():
            for start, found in buckets:
                counts.setdefault(mark, {}).setdefault(start, []).append(found)
    return Measurement(
        buckets={
            mark: [(start, added_counts(by_start[start])) for start in sorted(by_start)]
            for mark, by_start in counts.items()
        },
        query="\n\n".join(dict.fromkeys(each.query for each in seen)),
    )


def added_counts(counts: Sequence[Counts]) -> Counts:
    """Return the sum of *counts*."""
    return Counts(
        total=sum(each.total for each in counts),
        bad=sum(each.bad for each in counts),
        histogram=added(each.histogram for each in counts),
    )


def _added(mark: Mark, seen: Iterable[Observation]) -> list[Bucket]:
    by_start: dict[datetime, list[Bucket]] = {}
    for each in seen:
        for bucket in each.buckets.get(mark, ()):
            by_start.setdefault(bucket.start, []).append(bucket)
    return [_sum(start, by_start[start]) for start in sorted(by_start)]


def _sum(start: datetime, buckets: Sequence[Bucket]) -> Bucket:
    sums = total(buckets)
    return Bucket(
        start=start,
        rows=sums.rows,
        requests=sums.requests,
        failed_rows=sums.failed_rows,
        failed=sums.failed,
        failures=sums.failures,
        latency=sums.latency,
        latency_rows=rows_apart(sums.latency, added(b.slow_rows for b in buckets)),
        sessions=_sessions(b.sessions for b in buckets),
        failing_sessions=_sessions(b.failing_sessions for b in buckets),
    )


def _sessions(counts: Iterable[int | None]) -> int | None:
    """A session that is in two sources counts twice: nobody can tell."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
