"""Simulated rollouts: what telemetry shows of both builds, bucket by bucket.

All arrays are (buckets, replications); latency counts are (3 quantiles, buckets, replications).
"""

from dataclasses import dataclass, fields

import numpy as np

from bench.judge import latency
from bench.judge.history import CANARY_NOISE, STABLE_NOISE, Learned, learn, shared_shock, slot_noise
from bench.judge.numbers import Array
from bench.judge.scenarios import BUCKETS, SECONDS, Cell, Scenario

FEW = 2  # own requests per bucket and slot by default
ALONE = 20  # own requests per bucket and slot where the new build has all users
SYNTHETIC = 100  # own requests per bucket and slot under synthetic load
FEW_USERS = 10 * SECONDS  # a build with fewer users' requests per bucket gets synthetic load


@dataclass
class Side:
    """One build as telemetry shows it."""

    rows: Array
    failed: Array
    sessions: Array
    failing: Array  # sessions
    slow: Array  # above stable's quantiles (canary: by more than the tolerance)
    near: Array  # one bin below them (canary: by more than acceptance)
    far: Array  # stable: beyond acceptance; canary: beyond the loose margin
    over_limit: Array
    over_flagger: Array
    time: Array  # sum of latencies, ms


@dataclass
class Probes:
    """Requests of our own to one build."""

    total: Array
    bad: Array
    slow: Array
    near: Array
    far: Array  # stable only


@dataclass
class Rollouts:
    """Everything simulated of one cell."""

    cell: Cell
    canary: Side
    stable: Side
    own: tuple[Probes, Probes]  # requests of our own: one per bucket, more where nothing else is
    synthetic: tuple[Probes, Probes] | None  # many, where users are few
    learned: Learned
    served: Array  # failed requests that the canary's users got so far
    past_failed: Array  # per minute before: share failed, mean ms, for rules without control
    past_mean: Array


def simulate(cell: Cell, replications: int, rng: np.random.Generator) -> Rollouts:
    """Return *replications* rollouts of *cell*."""
    scenario = cell.scenario
    learned = learn(rng, scenario, cell.rate, replications)
    shock = _shock(rng, scenario, replications)
    rates = [
        np.clip(each[:, None] * shock, 0, 1.0 if each.max() == 1 else 0.95)
        for each in (scenario.canary_rates, scenario.stable_rates)
    ]
    slower = _slowness(rng, scenario, replications)
    canary, served = _side(rng, cell, learned, rates[0], slower[0], is_canary=True)
    stable, _ = _side(rng, cell, learned, rates[1], slower[1], is_canary=False)
    own = [rate / scenario.clump for rate in rates]
    if cell.share < 1:
        own_requests = (_few(rng, own[0]), _few(rng, own[1]))
    else:
        own_requests = _many(rng, scenario, own, slower, ALONE)
    many = cell.rate * SECONDS * min(cell.share, 1 - cell.share) < FEW_USERS - 1e-9
    return Rollouts(
        cell=cell,
        canary=canary,
        stable=stable,
        own=own_requests,
        synthetic=_many(rng, scenario, own, slower, SYNTHETIC) if many else None,
        learned=learned,
        served=served,
        **_past(rng, cell, replications),
    )


def _shock(rng: np.random.Generator, scenario: Scenario, replications: int) -> Array:
    if not scenario.bursts:
        return np.ones((BUCKETS, replications))
    return shared_shock(rng, BUCKETS, replications)


def _slowness(
    rng: np.random.Generator, scenario: Scenario, replications: int
) -> tuple[Array, Array]:
    """Return the logarithm of both builds' latency factor."""
    found = []
    bases = (scenario.canary_slower, scenario.stable_slower)
    for base, size in zip(bases, (CANARY_NOISE, STABLE_NOISE), strict=True):
        logs = np.repeat(np.log(base)[:, None], replications, axis=1)
        if scenario.noise:
            logs = logs + slot_noise(rng, size, BUCKETS, replications)
        found.append(logs)
    return found[0], found[1]


def _rows(rng: np.random.Generator, mean: Array, stickiness: float) -> tuple[Array, Array]:
    """Return requests and sessions."""
    if stickiness == 1:
        rows = rng.poisson(mean).astype(float)
        return rows, rows
    sessions = rng.poisson(mean / stickiness)
    more = rng.negative_binomial(np.maximum(sessions, 1), 1 / stickiness)
    return np.where(sessions > 0, sessions + more, 0).astype(float), sessions.astype(float)


def _failures(
    rng: np.random.Generator, scenario: Scenario, rows: Array, sessions: Array, rate: Array
) -> tuple[Array, Array, Array]:
    """Return failed requests, sessions (retries of one client are one), failing sessions."""
    if scenario.clump > 1:
        clumps = rng.poisson(rows * rate / scenario.clump)
        more = rng.negative_binomial(np.maximum(clumps, 1), 1 / scenario.clump)
        failed = np.minimum(np.where(clumps > 0, clumps + more, 0), rows)
        clumps = np.minimum(clumps, failed).astype(float)
        return failed, rows - failed + clumps, clumps
    failed = rng.binomial(rows.astype(np.int64), rate).astype(float)
    if scenario.stickiness == 1:
        return failed, sessions, failed
    # Failures fall on sessions of their own but for the few that meet in one.
    meet = np.minimum(failed / np.maximum(sessions, 1), 1)
    failing = failed - rng.binomial(np.maximum(failed - 1, 0).astype(np.int64), meet)
    return failed, sessions, np.minimum(failing, sessions)


def _side(
    rng: np.random.Generator,
    cell: Cell,
    learned: Learned,
    rate: Array,
    log_factor: Array,
    *,
    is_canary: bool,
) -> tuple[Side, Array]:
    """Return what telemetry shows of one build, and its users' failed requests so far."""
    scenario = cell.scenario
    share = cell.share if is_canary else 1 - cell.share
    mean = np.repeat(cell.rate * share * SECONDS * scenario.traffic[:, None], rate.shape[1], 1)
    rows, sessions = _rows(rng, mean, scenario.stickiness)
    failed, sessions, failing = _failures(rng, scenario, rows, sessions, rate)
    served = np.cumsum(failed, axis=0)
    if is_canary and scenario.silent_from is not None:
        for shown in (rows, failed, sessions, failing):
            shown[scenario.silent_from :] = 0
    tail = scenario.tail and is_canary
    cuts = (
        latency.canary_cuts(learned.edges, tail=tail)
        if is_canary
        else latency.stable_cuts(learned.edges)
    )
    counts = np.stack([cuts.draw(rng, r, f) for r, f in zip(rows, log_factor, strict=True)], 1)
    size = latency.moments(tail=tail)
    shape = size.mean**2 / size.variance
    time = rng.gamma(np.maximum(rows, 0) * shape, size.variance / size.mean) * np.exp(log_factor)
    side = Side(
        rows=rows,
        failed=failed,
        sessions=sessions,
        failing=failing,
        slow=counts[0:3],
        near=counts[3:6],
        far=counts[6:9],
        over_limit=counts[9],
        over_flagger=counts[10],
        time=time,
    )
    return _delayed(side, scenario.delay), served


def _delayed(side: Side, delay: int) -> Side:
    """Return *side* as it is seen when requests show *delay* buckets later."""
    if not delay:
        return side
    later = {}
    for each in fields(side):
        values = getattr(side, each.name)
        shifted = np.zeros_like(values)
        shifted[..., delay:, :] = values[..., :-delay, :]
        later[each.name] = shifted
    return Side(**later)


def _few(rng: np.random.Generator, rate: Array) -> Probes:
    nothing = np.zeros((3, *rate.shape))
    bad = rng.binomial(FEW, rate).astype(float)
    return Probes(np.full(rate.shape, float(FEW)), bad, nothing, nothing, nothing)


def _many(
    rng: np.random.Generator,
    scenario: Scenario,
    rates: list[Array],
    slower: tuple[Array, Array],
    count: int,
) -> tuple[Probes, Probes]:
    """Return *count* own requests per bucket; their thresholds come from stable's first minute."""
    edges = latency.learned_edges(rng, 4 * count, rates[0].shape[1])
    cuts = (
        latency.canary_cuts(edges, tail=scenario.tail),
        latency.stable_cuts(edges),
    )
    found = []
    for cut, rate, factor in zip(cuts, rates, slower, strict=True):
        total = np.full(rate.shape, float(count))
        bad = rng.binomial(count, rate).astype(float)
        counts = np.stack([cut.draw(rng, n, f) for n, f in zip(total, factor, strict=True)], 1)
        found.append(Probes(total, bad, counts[0:3], counts[3:6], counts[6:9]))
    return found[0], found[1]


def _past(rng: np.random.Generator, cell: Cell, replications: int) -> dict[str, Array]:
    """Return half an hour of minutes before the rollout, for rules that need a control."""
    rows = np.maximum(rng.poisson(cell.rate * 60, (30, replications)), 1)
    clump = cell.scenario.clump
    failed = clump * rng.poisson(rows * cell.scenario.usual / clump)
    size = latency.moments(tail=False)
    time = rng.gamma(rows * size.mean**2 / size.variance, size.variance / size.mean)
    return {"past_failed": np.minimum(failed / rows, 1), "past_mean": time / rows}
