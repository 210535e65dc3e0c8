"""The rules in use elsewhere, as their documentation or code has them.

Each returns when it takes the release back (seconds, inf for never), per replication. They see the
same users' telemetry as Slipway. Minutes are four buckets; a rule that polls each minute acts at
its end.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.judge.numbers import Array, first_time, window_sum
from bench.judge.scenarios import BUCKETS, SECONDS
from bench.judge.traffic import Rollouts, Side

MINUTE = 60.0
_BUCKETS = 4
_MINUTES = BUCKETS // _BUCKETS
_KAYENTA_Z = 2.3263478740408408  # confidence level 0.98, two-sided
_KAYENTA_TOLERANCE = 0.25


@dataclass(frozen=True)
class Minutes:
    """One build per minute, (minutes, replications)."""

    rows: Array
    failed: Array
    over_flagger: Array
    time: Array

    @property
    def error_rate(self) -> Array:
        """Share failed; NaN without requests."""
        return np.where(self.rows > 0, self.failed / np.maximum(self.rows, 1), np.nan)

    @property
    def mean(self) -> Array:
        """Mean latency in ms; NaN without requests."""
        return np.where(self.rows > 0, self.time / np.maximum(self.rows, 1), np.nan)


def minutes_of(side: Side) -> Minutes:
    """Return *side* minute by minute."""

    def sums(values: Array) -> Array:
        return values.reshape(-1, _BUCKETS, values.shape[1]).sum(1)

    return Minutes(sums(side.rows), sums(side.failed), sums(side.over_flagger), sums(side.time))


def thresholds(rollouts: Rollouts) -> Array:
    """More than 5 failures in 5 minutes, or a mean over 2000 ms; polled every 15 s."""
    side = rollouts.canary
    failed = window_sum(side.failed, 20)
    rows, time = window_sum(side.rows, 20), window_sum(side.time, 20)
    return first_time((failed > 5) | (time > 2000 * np.maximum(rows, 1)), SECONDS)


def flagger(seen: Minutes) -> Array:
    """99 % success and p99 <= 500 ms per minute; five failed checks in all; back at the next tick.

    No data is a failed check.
    """
    rank = np.ceil(0.99 * seen.rows)
    slow = seen.over_flagger > seen.rows - rank
    bad = (seen.rows == 0) | (seen.failed > 0.01 * seen.rows) | slow
    reached = np.cumsum(bad, axis=0) >= 5
    return first_time(reached, MINUTE) + MINUTE


def argo(seen: Minutes) -> Array:
    """Success rate under 95 % is a failed measurement; more than 3 of them abort.

    So does a fifth measurement without data in a row (consecutiveErrorLimit 4).
    """
    empty = seen.rows == 0
    failed = (seen.failed > 0.05 * seen.rows) & ~empty
    return first_time((np.cumsum(failed, axis=0) > 3) | (_in_a_row(empty) > 4), MINUTE)


def _in_a_row(values: NDArray[np.bool_]) -> Array:
    run, runs = np.zeros(values.shape[1]), []
    for row in values:
        run = np.where(row, run + 1, 0)
        runs.append(run)
    return np.array(runs)


def alarm(seen: Minutes) -> Array:
    """Error rate over 5 % or mean over 1 s in two of three minutes; missing is not breaching."""
    bad = (seen.failed > 0.05 * seen.rows) | (seen.time > 1000 * np.maximum(seen.rows, 1))
    return first_time(window_sum(bad.astype(float), 3) >= 2, MINUTE)


def kayenta(rollouts: Rollouts, canary: Minutes) -> Array:
    """At minutes 10, 20, 30: Mann-Whitney on all minutes so far, of error rate and mean latency.

    A metric is High where the interval of the shift (98 %) lies above a quarter of the
    Hodges-Lehmann estimate. One of two High scores 50, under the marginal 75: back. A canary
    without data scores 0. With all users on the new build its control is the half hour before.
    """
    stable = minutes_of(rollouts.stable)
    is_alone = rollouts.cell.split == 100
    errors = rollouts.past_failed if is_alone else stable.error_rate
    mean = rollouts.past_mean if is_alone else stable.mean
    when = np.full(canary.rows.shape[1], np.inf)
    for end in (10, 20, 30):
        bad = _is_high(canary.error_rate[:end], errors[:end])
        bad |= _is_high(canary.mean[:end], mean[:end])
        bad |= (canary.rows[:end] == 0).all(0)
        when = np.where(bad & np.isinf(when), end * MINUTE, when)
    return when


def _is_high(experiment: Array, control: Array) -> NDArray[np.bool_]:
    """Return where the experiment is higher than the control: (minutes, replications) each."""
    found = []
    for some in range(0, experiment.shape[1], 500):
        x, y = experiment[:, some : some + 500], control[:, some : some + 500]
        shifts = (x[:, None] - y[None]).reshape(-1, x.shape[1])
        found.append(_lies_above(np.sort(shifts, axis=0), _known(x), _known(y)))
    return np.concatenate(found)


def _known(values: Array) -> Array:
    return np.isfinite(values).sum(0).astype(float)


def _lies_above(shifts: Array, m: Array, n: Array) -> NDArray[np.bool_]:
    """Return where the lower end of the interval exceeds what is tolerated; NaNs sort last."""
    pairs = m * n
    spread = np.sqrt(pairs * (m + n + 1) / 12)
    low = np.clip(np.floor(pairs / 2 - 0.5 - _KAYENTA_Z * spread), 0, None).astype(int)
    middle = np.clip((pairs - 1) / 2, 0, None)
    halves = [np.floor(middle).astype(int), np.ceil(middle).astype(int)]
    at = [np.take_along_axis(shifts, k[None], axis=0)[0] for k in (low, *halves)]
    estimate = np.abs((at[1] + at[2]) / 2)
    return (pairs > 0) & (at[0] > _KAYENTA_TOLERANCE * estimate)
