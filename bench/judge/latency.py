"""Latencies of simulated requests: lognormal, median 100 ms, sigma 0.6, p99 404 ms."""

import math
from dataclasses import dataclass

import numpy as np

from bench.judge.numbers import Array, above, bin_of, edge_ms, normal_quantile

MEDIAN = 100.0
SIGMA = 0.6
LIMIT_MS = 2000.0  # the product's default limit, of p95
FLAGGER_MS = 500.0
TAIL_SHARE = 0.03  # "p99 x2": so many requests take a slow path ...
TAIL_MEDIAN = 616.0  # ... of this median: p99 becomes 808 ms, p50 and p90 stay within tolerance
QUANTILES = (0.5, 0.9, 0.99)
TOLERATED_BINS = 2  # x1.122
ACCEPTED_BINS = 6  # x1.4125
LOOSE_BINS = 12  # x2, where nothing runs beside the new build


@dataclass(frozen=True)
class Moments:
    """Mean and variance of one request's latency."""

    mean: float
    variance: float


def moments(*, tail: bool) -> Moments:
    """Return the moments at factor 1."""
    parts = [(1 - TAIL_SHARE, MEDIAN), (TAIL_SHARE, TAIL_MEDIAN)] if tail else [(1.0, MEDIAN)]
    mean = sum(w * m * math.exp(SIGMA**2 / 2) for w, m in parts)
    square = sum(w * m * m * math.exp(2 * SIGMA**2) for w, m in parts)
    return Moments(mean, square - mean**2)


def learned_edges(rng: np.random.Generator, rows: float, shape: int) -> Array:
    """Return the bins of p50, p90, p99 as read from *rows* requests: (3, shape)."""
    count = max(int(rows), 1)
    bins = []
    for quantile in QUANTILES:
        rank = math.ceil(count * quantile)
        share = rng.beta(rank, count - rank + 1, size=shape)
        bins.append(bin_of(MEDIAN * np.exp(SIGMA * normal_quantile(share))))
    return np.array(bins)


class Cuts:
    """Thresholds (ms) per replication, and how many of N requests are slower than each."""

    def __init__(self, milliseconds: Array, *, tail: bool) -> None:
        """Take thresholds of shape (thresholds, replications)."""
        logs = np.log(milliseconds.T)
        self._order = np.argsort(logs, axis=1)
        self._back = np.argsort(self._order, axis=1)
        self._logs = np.take_along_axis(logs, self._order, axis=1)
        self._tail = tail
        self._factor: Array | None = None
        self._shares: Array | None = None

    def draw(self, rng: np.random.Generator, rows: Array, log_factor: Array) -> Array:
        """Return counts above each threshold, (thresholds, replications).

        Args:
            rng: dice.
            rows: requests per replication.
            log_factor: logarithm of how much slower than usual, per replication.
        """
        if self._factor is None or not np.array_equal(self._factor, log_factor):
            self._factor = log_factor.copy()
            self._shares = self._probabilities(log_factor[:, None])
        assert self._shares is not None
        within = rng.multinomial(rows.astype(np.int64), self._shares)
        beyond = rows[:, None] - np.cumsum(within[:, :-1], axis=1)
        return np.take_along_axis(beyond, self._back, axis=1).T

    def _probabilities(self, log_factor: Array) -> Array:
        """Return the shares of requests between the sorted thresholds."""
        slower = above((self._logs - math.log(MEDIAN) - log_factor) / SIGMA)
        if self._tail:
            slow = above((self._logs - math.log(TAIL_MEDIAN) - log_factor) / SIGMA)
            slower = (1 - TAIL_SHARE) * slower + TAIL_SHARE * slow
        ones, zeros = np.ones((len(slower), 1)), np.zeros((len(slower), 1))
        steps = -np.diff(np.hstack([ones, slower, zeros]), axis=1)
        return np.maximum(steps, 0.0)


def canary_cuts(edges: Array, *, tail: bool) -> Cuts:
    """Return tolerated x3, accepted x3, loose x3, limit, Flagger's."""
    slacks = (TOLERATED_BINS, ACCEPTED_BINS - 1, LOOSE_BINS)
    return Cuts(_with_limits([edge_ms(edges + slack) for slack in slacks]), tail=tail)


def stable_cuts(edges: Array) -> Cuts:
    """Return at x3, one bin below x3, at acceptance x3, limit, Flagger's."""
    slacks = (0, -1, ACCEPTED_BINS - 1)
    return Cuts(_with_limits([edge_ms(edges + slack) for slack in slacks]), tail=False)


def _with_limits(cuts: list[Array]) -> Array:
    shape = cuts[0].shape[1]
    limit = edge_ms(bin_of(np.full((1, shape), LIMIT_MS)))
    return np.vstack([*cuts, limit, np.full((1, shape), FLAGGER_MS)])
