"""Evidence as counts: one bucket is what became visible of one release in one span of time.

Rows are what was stored and count as evidence; requests are weighted by ``ItemCount`` and give
rates. Latencies are a histogram of 40 bins per decade of milliseconds, so that a percentile read
from it is good to 3 %.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

K = TypeVar("K", str, int)

BINS_PER_DECADE: Final = 40
_HALF_BIN: Final = 0.5
MIN_LATENCY_MS: Final = 0.1  # faster answers count as this fast


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Counts of one release in ``[start, start + bucket size)`` of ingestion time."""

    start: datetime
    rows: int = 0
    requests: int = 0
    failed_rows: int = 0
    failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict[str, int])  # weighted, by ResultCode
    latency: Mapping[int, int] = field(default_factory=dict[int, int])  # bin -> weighted requests
    failing_sessions: int | None = None  # distinct; None where the app sends no sessions
    sessions: int | None = None
    latency_rows: Mapping[int, int] | None = None  # bin -> rows; None: each stands for itself

    @property
    def slow_rows(self) -> Mapping[int, int]:
        """Rows by latency bin: what counts as evidence."""
        return self.latency if self.latency_rows is None else self.latency_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one build did in one bucket by another measure than users' requests.

    ``total`` things were seen, ``bad`` of them were. ``histogram``: bin -> count, 40 bins per
    decade of the value (of milliseconds for requests of our own).
    """

    total: int = 0
    bad: int = 0
    histogram: Mapping[int, int] = field(default_factory=dict[int, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over buckets of one release."""

    rows: int = 0
    requests: int = 0
    failed: int = 0
    failed_rows: int = 0
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    latency: Mapping[int, int] = field(default_factory=dict[int, int])

    @property
    def error_rate(self) -> float | None:
        """Failed requests per request, 0..1; None without requests."""
        return self.failed / self.requests if self.requests else None

    def percentile(self, percent: float) -> float | None:
        """Return the latency (ms) that *percent* of the requests do not exceed."""
        return percentile(self.latency, percent)


def latency_bin(milliseconds: float) -> int:
    """Return the histogram bin of one latency."""
    return math.floor(math.log10(max(milliseconds, MIN_LATENCY_MS)) * BINS_PER_DECADE)


def bin_middle(index: int) -> float:
    """Return the geometric middle (ms) of a bin."""
    return float(10 ** ((index + _HALF_BIN) / BINS_PER_DECADE))


def percentile(histogram: Mapping[int, int], percent: float) -> float | None:
    """Return the nearest-rank percentile (ms) of a histogram; None when it is empty.

    Args:
        histogram: bin index to count.
        percent: 0 < percent <= 100.
    """
    total = sum(histogram.values())
    if not total:
        return None
    rank = math.ceil(total * percent / 100)
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            return bin_middle(index)
    raise AssertionError("the counts of a histogram sum to its total")


def total(buckets: Iterable[Bucket]) -> Totals:
    """Return the sums over *buckets*."""
    rows = requests = failed = failed_rows = 0
    failures: defaultdict[str, int] = defaultdict(int)
    latency: defaultdict[int, int] = defaultdict(int)
    for bucket in buckets:
        rows += bucket.rows
        requests += bucket.requests
        failed += bucket.failed
        failed_rows += bucket.failed_rows
        _add(failures, bucket.failures)
        _add(latency, bucket.latency)
    return Totals(
        rows=rows,
        requests=requests,
        failed=failed,
        failed_rows=failed_rows,
        failures=dict(failures),
        latency=dict(latency),
    )


def _add(into: defaultdict[K, int], counts: Mapping[K, int]) -> None:
    for key, count in counts.items():
        into[key] += count
