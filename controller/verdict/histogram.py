"""Histograms by bin: counted by rows beside requests, and the bins of quantiles."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping

Edges = tuple[int, int, int]


def rows_apart(requests: Mapping[int, int], rows: Mapping[int, int]) -> dict[int, int] | None:
    """Return *rows*, or None where each row stands for itself: nothing is kept twice."""
    return None if dict(rows) == dict(requests) else dict(rows)


def added(histograms: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the sum, bin by bin."""
    sums: Counter[int] = Counter()
    for histogram in histograms:
        sums.update(histogram)
    return dict(sums)


def edges_of(histogram: Mapping[int, int]) -> Edges | None:
    """Return the bins of p50, p90 and p99; None when there is nothing."""
    if not sum(histogram.values()):
        return None
    return bin_of(histogram, 50), bin_of(histogram, 90), bin_of(histogram, 99)


def bin_of(histogram: Mapping[int, int], percent: float) -> int:
    """Return the bin in which the nearest-rank quantile of a histogram that is not empty lies."""
    rank = math.ceil(sum(histogram.values()) * percent / 100)
    seen = 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            return index
    raise AssertionError("the counts of a histogram sum to its total")
