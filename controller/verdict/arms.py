"""What one pair of buckets says to a test: how many of each arm, and how many of them are bad."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from itertools import accumulate
from typing import Final

from controller.core.gate import Learned
from controller.verdict.buckets import BINS_PER_DECADE, Bucket
from controller.verdict.evariable import Block
from controller.verdict.histogram import Edges, added, edges_of
from controller.verdict.question import Pair, Question

QUANTILES: Final = (50, 90, 99)
_ENOUGH_CONTROL: Final = 10  # rows of stable in a bucket that are a control whatever the canary has
_SMALLEST_CONTROL: Final = 0.05  # else of the canary's rows
A_MOMENT: Final = 8  # pairs, in which our own requests may fail to come
_LEAST_FOR_EDGES: Final = 50  # requests: of fewer no quantile is read
_NOBODY: Final = Bucket(start=datetime.min)  # noqa: DTZ901 - nobody asks for its time


class Control(StrEnum):
    """What the new build's users are compared with in one bucket."""

    STABLE = "stable"  # users of the stable build, at the same time
    PROBES = "probes"  # our own requests to the stable build, at the same time
    PAST = "past"  # the hour before the rollout, or the limits alone
    NOTHING = "nothing"


def control_of(pair: Pair, *, was_probed: bool = False) -> Control:
    """Return the best control that *pair* has.

    While stable is meant to have users only they count: a bucket in which it had none is no reason
    to trust the past instead, for whatever shakes both builds would then be blamed on one. Nor is
    one without requests of our own, where there were some a moment ago (*was_probed*).
    """
    if pair.stable is not None:
        rows = pair.stable.rows
        if rows >= _ENOUGH_CONTROL or 0 < pair.canary.rows * _SMALLEST_CONTROL <= rows:
            return Control.STABLE
        if pair.share < 1:
            return Control.NOTHING
        if pair.probes is not None and pair.probes[1].total > 0:
            return Control.PROBES
        if was_probed:
            return Control.NOTHING
    return Control.PAST


def failures(pair: Pair) -> Block:
    """Return requests and failures as stored rows: users of both builds."""
    stable = pair.stable or _NOBODY
    return Block(pair.canary.rows, pair.canary.failed_rows, stable.rows, stable.failed_rows)


def failing_sessions(pair: Pair, learned: Learned | None) -> Block | None:
    """Return distinct sessions and failing ones; None where not every arm with rows names them.

    Eight failures of one client that tries again are one piece of evidence.
    """
    if learned is None or not learned.by_session:
        return None
    stable = pair.stable or _NOBODY
    if any(arm.rows and arm.sessions is None for arm in (pair.canary, stable)):
        return None
    return Block(
        pair.canary.sessions or 0,
        pair.canary.failing_sessions or 0,
        stable.sessions or 0,
        stable.failing_sessions or 0,
    )


class Tail:
    """A histogram that is asked several times how much of it lies above a bin."""

    __slots__ = ("_bins", "_left")

    def __init__(self, histogram: Mapping[int, int]) -> None:
        self._bins = sorted(histogram)
        left = accumulate((histogram[index] for index in reversed(self._bins)), initial=0)
        self._left = list(left)[::-1]

    @property
    def total(self) -> int:
        """Everything in it."""
        return self._left[0]

    def above(self, edge: int) -> int:
        """Return how many lie above the bin *edge*."""
        return self._left[bisect_right(self._bins, edge)]


class Seen:
    """One pair of buckets as the tests look at it: its control, and how slow each build was."""

    __slots__ = ("canary_slow", "control", "is_warm", "pair", "probes_slow", "stable_slow")

    def __init__(self, pair: Pair, *, is_warm: bool, was_probed: bool) -> None:
        """Take a pair and what those before it say of it.

        Args:
            pair: of buckets.
            is_warm: it tells of a time after the warm-up.
            was_probed: there were requests of our own in one of the last before it.
        """
        self.pair = pair
        self.is_warm = is_warm
        self.control = control_of(pair, was_probed=was_probed)
        self.canary_slow = Tail(pair.canary.slow_rows)
        self.stable_slow = Tail(pair.stable.slow_rows if pair.stable else {})
        self.probes_slow = None
        if pair.probes is not None:
            self.probes_slow = (Tail(pair.probes[0].histogram), Tail(pair.probes[1].histogram))


def bins(ratio: float) -> int:
    """Return how many bins a factor of *ratio* spans."""
    return round(math.log10(ratio) * BINS_PER_DECADE)


def warm_since(question: Question) -> datetime | None:
    """Return the start of the first bucket that tells of a time after the warm-up; None: none yet.

    Caches are filled by then, connections stand, and what users did had the time to be told of.
    """
    if not question.pairs:
        return None
    ends = question.pairs[0].start + question.gate.warm_up
    return next((pair.start for pair in question.pairs if pair.start - pair.lag >= ends), None)


def _early(question: Question) -> list[Pair]:
    since = warm_since(question)
    return [pair for pair in question.pairs if since is None or pair.start < since]


def latency_edges(question: Question) -> Edges | None:
    """Return the bins of stable's p50, p90, p99: from its past, else from the warm-up.

    The warm-up counts nowhere else, so that thresholds and evidence never share a row.
    """
    if question.learned is not None:
        return question.learned.edges
    return _edges(added(pair.stable.slow_rows for pair in _early(question) if pair.stable))


def probe_edges(question: Question) -> Edges | None:
    """Return the bins of p50, p90, p99 of our own requests to stable during the warm-up."""
    return _edges(added(pair.probes[1].histogram for pair in _early(question) if pair.probes))


def _edges(histogram: Mapping[int, int]) -> Edges | None:
    return edges_of(histogram) if sum(histogram.values()) >= _LEAST_FOR_EDGES else None
