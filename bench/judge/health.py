"""When Slipway lets a release through: a twin of ``controller/verdict/health.py``."""

import numpy as np

from bench.judge.evariable import Mean, Rate, log_e, log_e_alone
from bench.judge.latency import QUANTILES
from bench.judge.numbers import Array, window_sum
from bench.judge.slipway import LIMITS, NORMAL, Settings, View, past_bound

ACCEPTED = (1.5, 0.003)
_SHARES = (0.8, 0.2)  # of the stake: "like stable", "halfway to what is just acceptable"
LEAST_BUCKETS = 8  # two minutes
_RECENT = 20  # buckets: five minutes


def promoted(
    seen: View, joint: Array, settings: Settings = NORMAL, proven: Array | None = None
) -> Array:
    """Return per bucket whether the step would be passed at its end.

    Args:
        seen: the counts.
        joint: the evidence against the canary.
        settings: of the judge.
        proven: `health`, where it is known already.
    """
    passed = (health(seen) if proven is None else proven) >= 1 / settings.beta
    passed &= joint < settings.suspicious
    passed &= np.maximum.accumulate(joint, axis=0) < 1 / settings.alpha
    passed &= _within_limits(seen) & ~_ambient(seen)
    passed[: LEAST_BUCKETS - 1] = False
    return passed


def health(seen: View) -> Array:
    """Return E : 1 that the canary is acceptable: the least of errors, p50, p90, p99."""
    found = errors(seen)
    for index in range(len(QUANTILES)):
        found = np.minimum(found, _quick(seen, index))
    return found


def errors(seen: View) -> Array:
    """Return E : 1 that the canary fails no more often than is acceptable."""
    by_rows = _errors(seen, seen.rows(), seen.usual_rows())
    if not seen.learned.by_session:
        return by_rows
    return (by_rows + _errors(seen, seen.units(), seen.usual())) / 2


def _errors(seen: View, units: tuple[Array, ...], rate: Rate) -> Array:
    nc, xc, nb, xb, dispersion = units
    size = seen.replications
    own, wealth = seen.usual_of_own(), Mean(size, _SHARES)
    bound = past_bound(seen.learned)
    course = np.empty_like(nc)
    for t in range(seen.buckets):
        if seen.share < 1:
            logs = _beside((nc[t], xc[t], nb[t], xb[t]), rate.value)
            logs = np.where(seen.controlled(t)[None], logs, 0.0)
        else:
            expected = np.minimum(rate.value, bound / 2)
            bets = np.stack([expected, np.sqrt(expected * bound)])
            logs = log_e_alone(nc[t], xc[t], bets, bound)
        joined = logs / dispersion
        if seen.many:
            a, b = seen.probes
            joined = joined + _beside((a.total[t], a.bad[t], b.total[t], b.bad[t]), own.value)
            own.take(b.bad[t], b.total[t])
        wealth.bet(joined)
        course[t] = wealth.wealth
        rate.take(xb[t], nb[t])
    return course


def _beside(block: tuple[Array, Array, Array, Array], b: Array) -> Array:
    ratio, absolute = ACCEPTED
    worst = np.minimum(absolute + ratio * b, 0.999)
    return log_e(block, np.stack([b, np.sqrt(b * worst)]), b, ratio, absolute)


class _Expected:
    """How many of stable's requests are slower than T, and than what is just acceptable."""

    def __init__(self, tail: float, size: int) -> None:
        nothing = np.zeros(size)
        self._at, self._beyond = Rate(nothing, nothing, tail), Rate(nothing, nothing, tail / 4)

    def logs(
        self,
        block: tuple[Array, Array, Array, Array],
        far: Array,
        where: Array | None = None,
    ) -> Array:
        b = self._at.value
        expected = np.minimum(self._beyond.value, 0.98 * b)
        found = log_e(block, np.stack([expected, np.sqrt(expected * b)]), b)
        self._at.take(block[3], block[2], where)
        self._beyond.take(far, block[2], where)
        return found if where is None else np.where(where, found, 0.0)


def _quick(seen: View, index: int) -> Array:
    size, tail = seen.replications, 1 - QUANTILES[index]
    users, own, wealth = _Expected(tail, size), _Expected(tail, size), Mean(size, _SHARES)
    course = np.empty_like(seen.canary.rows)
    dispersion = seen.learned.dispersion_latency[index]
    alone = np.outer([tail / 16, tail / 4], np.ones(size))
    canary, stable = seen.canary, seen.stable
    for t in range(seen.buckets):
        rows, beside = canary.rows[t], stable.rows[t]
        if seen.share < 1:
            block = (rows, canary.near[index, t], beside, stable.near[index, t])
            logs = users.logs(block, stable.far[index, t], seen.controlled(t))
        else:
            logs = log_e_alone(rows, canary.far[index, t], alone, np.full(size, tail))
        joined = logs / dispersion
        if seen.many:  # their thresholds come from the first minute, which does not count
            a, b = seen.probes
            block = (a.total[t], a.near[index, t], b.total[t], b.near[index, t])
            joined = joined + own.logs(block, b.far[index, t])
        if t >= seen.warm_up:  # a slow start is no slow build
            wealth.bet(joined)
        course[t] = wealth.wealth
    return course


def _within_limits(seen: View) -> Array:
    rows, failed, slow = (
        np.cumsum(each, axis=0)
        for each in (seen.canary.rows, seen.canary.failed, seen.canary.over_limit)
    )
    enough = rows >= LIMITS[2]
    return enough & (failed <= LIMITS[0] * rows) & (slow <= LIMITS[1] * rows)


def _ambient(seen: View) -> Array:
    """Whether stable suffers lately: more than before, or beyond the limits."""
    stable = seen.stable
    rows, failed, slow = (
        window_sum(each, _RECENT) for each in (stable.rows, stable.failed, stable.over_limit)
    )
    rate = failed / np.maximum(rows, 1)
    usual = seen.learned.failed / seen.learned.rows
    suffers = (rate > 3 * usual) & (rate > usual + 0.01)
    suffers |= (rate > LIMITS[0]) | (slow > LIMITS[1] * rows)
    return suffers & (rows >= LIMITS[2])
