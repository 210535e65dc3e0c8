"""What is learned of stable in the hour before: rates, quantiles, how clumped things are.

Users are hashed by session into ten groups. Whatever shakes all of them cancels out inside a
bucket; what is left is how clumped failures, slow requests and traffic are.
"""

from dataclasses import dataclass

import numpy as np

from bench.judge.latency import QUANTILES, SIGMA, learned_edges
from bench.judge.numbers import Array, above, normal_quantile
from bench.judge.scenarios import SECONDS, Scenario

GROUPS = 10
_HOUR = 3600.0
_SMALL = 240  # buckets of 15 s in an hour
_LARGE = 60  # minutes
CANARY_NOISE, STABLE_NOISE = 0.10, 0.03  # of the logarithm of latency
_BURST_SHAPE = 0.25
_LEAST_TRAFFIC = 3.0  # dispersion of traffic where nobody names sessions
_MEMORY = 0.8  # of that noise, per bucket


@dataclass(frozen=True)
class Learned:
    """Counts and dispersions, one value per replication; of latency (3, replications)."""

    rows: Array
    failed: Array
    sessions: Array
    failing: Array
    edges: Array
    by_session: bool
    dispersion_errors: Array
    dispersion_sessions: Array
    dispersion_latency: Array
    wander: Array
    dispersion_traffic: Array


def learn(rng: np.random.Generator, scenario: Scenario, rate: float, shape: int) -> Learned:
    """Return what *shape* hours before teach of a build with *scenario*'s usual behaviour."""
    rows = np.full(shape, rate * _HOUR)
    dispersion_latency, wander = _latency_habits(rng, scenario, rate, shape)
    failed_groups, failing_groups = _grouped_failures(rng, scenario, rate, shape)
    failed, failing = failed_groups.sum((0, 1)), failing_groups.sum((0, 1))
    sessions = rows / scenario.stickiness
    if scenario.clump > 1:
        sessions = rows - failed + failing
    of_failures = dispersion_of_failures(failed_groups)
    of_traffic = _traffic_dispersion(rng, scenario, rate, shape)
    if not scenario.sessions:
        of_failures = bounded_by_time(failed_groups.sum(1))
        of_traffic = np.maximum(of_traffic, _LEAST_TRAFFIC)
    return Learned(
        rows=rows,
        failed=np.minimum(failed, rows),
        sessions=sessions,
        failing=np.minimum(failing, sessions),
        edges=learned_edges(rng, rate * _HOUR, shape),
        by_session=scenario.sessions,
        dispersion_errors=of_failures,
        dispersion_sessions=dispersion_of_failures(failing_groups),
        dispersion_latency=dispersion_latency,
        wander=wander,
        dispersion_traffic=of_traffic,
    )


def _grouped_failures(
    rng: np.random.Generator, scenario: Scenario, rate: float, shape: int
) -> tuple[Array, Array]:
    """Return failed requests and failing sessions, (buckets, groups, replications)."""
    mean = rate * SECONDS * scenario.usual / GROUPS / scenario.clump
    shock = shared_shock(rng, _SMALL, shape) if scenario.bursts else np.ones((_SMALL, shape))
    failing = rng.poisson(np.repeat(mean * shock[:, None], GROUPS, axis=1))
    if scenario.clump == 1:
        return failing.astype(np.float32), failing.astype(np.float32)
    failed = np.zeros(failing.shape, dtype=np.float32)
    some = failing > 0
    failed[some] = failing[some] + rng.negative_binomial(failing[some], 1 / scenario.clump)
    return failed, failing.astype(np.float32)


def dispersion_of_failures(groups: Array) -> Array:
    """Return phi from counts (buckets, groups, replications): E[m^2] / E[m] of clumps of m."""
    count = groups.shape[1]
    together = groups.sum(1)
    apart = np.square(groups - together[:, None] / count).sum((0, 1)) * count / (count - 1)
    return _raised(apart, together.sum(0))


def bounded_by_time(failed: Array) -> Array:
    """Return what phi is at most, from failures per bucket (buckets, replications).

    Where nobody names sessions clumps cannot be told from shocks that shake all users.
    """
    apart = np.square(failed - failed.mean(0)).sum(0) * len(failed) / (len(failed) - 1)
    return _raised(apart, failed.sum(0))


def _raised(apart: Array, seen: Array) -> Array:
    rough = (1.5 * 10 + apart) / (10 + seen)
    unsure = 1 + 1 / np.sqrt(1 + seen / rough)
    return np.clip(1 + np.maximum(rough - 1, 0) * unsure, 1, 30)


def dispersion_of_slow(slow: Array, rows: Array) -> Array:
    """Return phi of slow requests, both (minutes, groups, replications)."""
    all_slow, all_rows = slow.sum(1), rows.sum(1)
    share = rows / np.maximum(all_rows, 1)[:, None]
    apart = np.square(slow - share * all_slow[:, None]).sum(1)
    usual = all_slow * (1 - all_slow / np.maximum(all_rows, 1)) * (1 - np.square(share).sum(1))
    known = usual > 0
    ratio = np.where(known, apart / np.where(known, usual, 1), 0)
    return np.clip((5 * 1.2 + ratio.sum(0)) / (5 + known.sum(0)), 1, 50)


def dispersion_of_traffic(rows: Array) -> Array:
    """Return phi of traffic from requests (minutes, groups, replications)."""
    count = rows.shape[1]
    together = rows.sum(1)
    apart = np.square(rows - together[:, None] / count).sum(1) * count / (count - 1)
    ratio = apart / np.maximum(together, 1)
    return np.clip((20 * 3 + ratio.sum(0)) / (20 + len(ratio)), 1, 50)


def wander_of_slow(slow: Array, rows: Array) -> Array:
    """Return the variance of the share slow from minute to minute beyond chance, over s (1 - s).

    Both arguments are (minutes, replications). What shakes both builds is in it, too: that costs
    power only. Shrunk by five minutes of none.
    """
    share = slow.sum(0) / np.maximum(rows.sum(0), 1)
    usual = np.maximum(share * (1 - share), 1e-9)
    apart = np.square(slow / np.maximum(rows, 1) - share) * rows / usual
    beyond = (apart.sum(0) + 5) / (len(rows) + 5) * len(rows) / (len(rows) - 1) - 1
    return np.maximum(beyond, 0) / np.maximum(rows.mean(0), 1)


def _latency_habits(
    rng: np.random.Generator, scenario: Scenario, rate: float, shape: int
) -> tuple[Array, Array]:
    """Return dispersion and wander of each quantile: (3, replications) both."""
    rows = rng.poisson(rate * 60 / GROUPS, (_LARGE, GROUPS, shape))
    level = np.zeros((_SMALL, shape))
    if scenario.noise:
        level = slot_noise(rng, STABLE_NOISE, _SMALL, shape)
    dispersions, wanders = [], []
    for quantile in QUANTILES:
        usual = normal_quantile(np.array(quantile))
        tail = above(usual - level / SIGMA).reshape(_LARGE, -1, shape).mean(1)
        slow = rng.binomial(rows, tail[:, None])
        dispersions.append(dispersion_of_slow(slow, rows))
        wanders.append(wander_of_slow(slow.sum(1), rows.sum(1)))
    return np.array(dispersions), np.array(wanders)


def shared_shock(rng: np.random.Generator, buckets: int, shape: int) -> Array:
    """Return by what the failure rate of both builds is multiplied in a bucket: mean 1, cv 2."""
    return rng.gamma(_BURST_SHAPE, 1 / _BURST_SHAPE, (buckets, shape))


def slot_noise(rng: np.random.Generator, size: float, buckets: int, shape: int) -> Array:
    """Return what one slot's latency (its logarithm) wanders from bucket to bucket: AR(1)."""
    level, found = rng.normal(0, size, shape), np.empty((buckets, shape))
    for bucket in range(buckets):
        found[bucket] = level
        level = _MEMORY * level + rng.normal(0, size * np.sqrt(1 - _MEMORY**2), shape)
    return found


def _traffic_dispersion(
    rng: np.random.Generator, scenario: Scenario, rate: float, shape: int
) -> Array:
    mean = rate * 60 / GROUPS / scenario.stickiness
    rows = rng.poisson(mean, (_LARGE, GROUPS, shape)).astype(float)
    if scenario.stickiness > 1:
        some = rows > 0
        rows[some] += rng.negative_binomial(rows[some].astype(int), 1 / scenario.stickiness)
    return dispersion_of_traffic(rows)
