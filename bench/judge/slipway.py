"""Slipway's judge, for many rollouts at once: a twin of ``controller/verdict``.

`evidence` and `health` take one rule's `View` of simulated rollouts and return E : 1 per bucket.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from bench.judge.evariable import (
    WORSE_SHARES,
    Rate,
    Reserve,
    log_e,
    log_e_alone,
    with_odds,
    worse_rates,
)
from bench.judge.history import Learned
from bench.judge.latency import QUANTILES
from bench.judge.numbers import Array, chernoff_upper
from bench.judge.traffic import Probes, Rollouts, Side

WARM_UP = 4  # buckets in which latency and silence do not count
LOOSE = (3.0, 0.02)  # ratio, absolute: where the control are our own requests
LIMITS = (0.05, 0.05, 50)  # error rate, share slower than the latency limit, least requests
_BOUND_ALPHA = 0.02 / 8
_MOST_DISPERSION = 30.0
_SHAKEN = 3.0  # dispersion on top, where stable just failed far more often than usual
_SLOWER = (1.4, 2.5, 8.0)
_FEWER = np.array([0.02, 0.2, 0.5])
_FEW_PROBES = np.array([0.4, 0.97])
_FEW_MARGIN = 0.05
_NEARLY_ALL = 0.9
FRESH = 3.0  # times as much as stable's may the latency of a fresh slot wander
_RESTLESS = (0.0016, 0.0009, 0.0002)  # the least that it wanders, for our own requests
_MINUTE_BUCKETS = 4  # in which wandering hardly changes: it was learned by the minute
MANY = 10  # own requests per bucket that count like users
WEIGHTS = {
    "errors": 0.5,
    "latency_p50": 0.09,
    "latency_p90": 0.09,
    "latency_p99": 0.09,
    "latency_limit": 0.03,
    "silence": 0.1,
    "probes": 0.1,
}


@dataclass(frozen=True)
class Settings:
    """What a preset changes."""

    ratio: float = 1.2
    absolute: float = 0.0005
    alpha: float = 0.02
    beta: float = 0.05
    suspicious: float = 5.0


NORMAL = Settings()
STRICT = Settings(ratio=1.0, absolute=0.0)


@dataclass(frozen=True)
class View:
    """The counts that the judge is given, (buckets, replications)."""

    canary: Side
    stable: Side
    probes: tuple[Probes, Probes]
    learned: Learned
    share: float
    delay: int = 0  # buckets until a request shows in telemetry

    @property
    def warm_up(self) -> int:
        """Buckets in which latency and silence do not count."""
        return WARM_UP + self.delay

    @property
    def many(self) -> bool:
        """Whether there are own requests enough to count like users."""
        return bool(self.probes[0].total[0, 0] >= MANY)

    @property
    def buckets(self) -> int:
        return len(self.canary.rows)

    @property
    def replications(self) -> int:
        return self.canary.rows.shape[1]

    def until(self, bucket: int) -> "View":
        """Return the same rollouts up to *bucket*."""
        canary, stable, *probes = (
            replace(side, **{f.name: getattr(side, f.name)[..., :bucket, :] for f in fields(side)})
            for side in (self.canary, self.stable, *self.probes)
        )
        return replace(self, canary=canary, stable=stable, probes=tuple(probes))

    def units(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return what failures are counted in: nc, xc, nb, xb, dispersion."""
        c, s, learned = self.canary, self.stable, self.learned
        if learned.by_session:
            return c.sessions, c.failing, s.sessions, s.failing, learned.dispersion_sessions
        return self.rows()

    def rows(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return failures counted in requests, as `units`."""
        c, s = self.canary, self.stable
        return c.rows, c.failed, s.rows, s.failed, self.learned.dispersion_errors

    def usual(self) -> Rate:
        """Return what is expected of stable's failures."""
        learned = self.learned
        if learned.by_session:
            return Rate(learned.failing, learned.sessions)
        return self.usual_rows()

    def usual_rows(self) -> Rate:
        """Return what is expected of stable's failed requests."""
        return Rate(self.learned.failed, self.learned.rows)

    def usual_of_own(self) -> Rate:
        """Return what is expected of own requests."""
        nothing = np.zeros(self.replications)
        return Rate(nothing, nothing)

    def controlled(self, bucket: int) -> Array:
        """Return where stable's users are a control."""
        rows, beside = self.canary.rows[bucket], self.stable.rows[bucket]
        return (beside >= 10) | ((rows > 0) & (beside >= 0.05 * rows))


def view(rollouts: Rollouts, *, synthetic: bool = False) -> View:
    """Return what the judge sees of *rollouts*, with or without synthetic load."""
    probes = rollouts.synthetic if synthetic and rollouts.synthetic else rollouts.own
    cell = rollouts.cell
    return View(
        rollouts.canary, rollouts.stable, probes, rollouts.learned, cell.share, cell.scenario.delay
    )


def past_bound(learned: Learned) -> Array:
    """Return the error rate that no build may exceed where nothing runs beside it."""
    usual = chernoff_upper(learned.failed, learned.rows, _BOUND_ALPHA)
    return np.clip(np.minimum(LIMITS[0], LOOSE[0] * usual + LOOSE[1]), 1e-5, 0.99)


def evidence(
    seen: View, settings: Settings = NORMAL, common: dict[str, Array] | None = None
) -> dict[str, Array]:
    """Return E : 1 against the canary per bucket, of each signal and ``joint``.

    Args:
        seen: the counts.
        settings: of the judge.
        common: of `whatever_the_preset`, where it is known already.
    """
    signals = dict(whatever_the_preset(seen) if common is None else common)
    own = _Own(seen, settings)
    signals["errors"] = _errors(seen, settings, own)
    signals["probes"] = _probes(seen, own)
    joint = sum(weight * signals[name] for name, weight in WEIGHTS.items())
    return {**signals, "joint": np.asarray(joint)}


def whatever_the_preset(seen: View) -> dict[str, Array]:
    """Return the signals that no preset changes."""
    found = {f"latency_p{q * 100:.0f}": _latency(seen, i) for i, q in enumerate(QUANTILES)}
    found["silence"] = _silence(seen)
    found["latency_limit"] = np.ones_like(seen.canary.rows)  # blames only without any control
    return found


def _errors(seen: View, settings: Settings, own: "_Own") -> Array:
    """Failed requests or sessions; own requests, where there are many, bet with them."""
    nc, xc, nb, xb, dispersion = seen.units()
    rate, wealth = seen.usual(), Reserve(seen.replications, WORSE_SHARES)
    guard = _Guard(seen, 1 / (settings.alpha * WEIGHTS["errors"]))
    course = np.empty_like(nc)
    shaken = np.ones(seen.replications)
    for t in range(seen.buckets):
        if seen.share < 1:
            logs = _worse((nc[t], xc[t], nb[t], xb[t]), rate.value, settings)
            users = seen.controlled(t) & (nc[t] > 0)
        else:
            stable = seen.probes[1]
            block = (nc[t], xc[t], stable.total[t], stable.bad[t])
            logs = _worse(block, own.expected[t], Settings(*LOOSE))
            users = (nc[t] > 0) & (stable.total[t] > 0)
        joined = np.where(users[None], logs / dispersion, 0.0)
        failed = np.where(users, xc[t], 0.0)
        if seen.many:
            joined = joined + own.logs[t]
            failed = failed + seen.probes[0].bad[t]
        joined = joined / shaken
        wealth.bet(joined, where=users | seen.many)
        guard.take(failed, joined * dispersion)
        course[t] = guard.passed(wealth.wealth)
        asked = seen.probes[1]
        trouble = _in_trouble(xb[t], nb[t], rate.value)
        trouble |= _in_trouble(asked.bad[t], asked.total[t], own.expected[t])
        shaken = np.where(trouble, _SHAKEN, 1.0)
        rate.take(xb[t], nb[t])
    return course


def _in_trouble(failed: Array, total: Array, usual: Array) -> Array:
    return (failed >= 3) & (failed > total * (3 * usual + 0.01))


class _Own:
    """Bets on our own requests to both builds, bucket by bucket, and what was expected."""

    def __init__(self, seen: View, settings: Settings) -> None:
        canary, stable = seen.probes
        rate = seen.usual_of_own()
        self.expected: list[Array] = []
        self.logs: list[Array] = []
        for t in range(seen.buckets):
            b = rate.value
            block = (canary.total[t], canary.bad[t], stable.total[t], stable.bad[t])
            self.expected.append(b)
            self.logs.append(_worse(block, b, settings) if seen.many else _few(block, b))
            rate.take(block[3], block[2])


def _few(block: tuple[Array, Array, Array, Array], b: Array) -> Array:
    """One request each in a bucket: only what fails nearly always can be told."""
    bets = np.maximum(_FEW_PROBES[:, None], 1.2 * (_FEW_MARGIN + b))
    return log_e(block, np.minimum(bets, 0.999), b, 1.0, _FEW_MARGIN)


class _Guard:
    """Few failures prove nothing, unless one bucket alone is overwhelming."""

    def __init__(self, seen: View, needed: float) -> None:
        self._failed = np.zeros(seen.replications)
        self._buckets = np.zeros(seen.replications)
        self._plain = np.zeros(seen.replications, dtype=bool)
        self._needed = needed

    def take(self, failed: Array, logs: Array) -> None:
        self._failed += failed
        self._buckets += failed > 0
        alone = Reserve(len(failed), WORSE_SHARES)
        alone.bet(logs, _MOST_DISPERSION)
        self._plain |= (failed >= 3) & (alone.wealth >= self._needed)

    def passed(self, wealth: Array) -> Array:
        often = (self._failed >= 3) & (self._buckets >= 2)
        return np.where(often | self._plain, wealth, np.minimum(wealth, 1.0))


def equal(alternatives: int) -> tuple[float, ...]:
    """Return equal shares."""
    return (1 / alternatives,) * alternatives


def _worse(block: tuple[Array, Array, Array, Array], b: Array, settings: Settings) -> Array:
    rates = worse_rates(settings.absolute + settings.ratio * b)
    return log_e(block, rates, b, settings.ratio, settings.absolute)


def _latency(seen: View, index: int) -> Array:
    """Requests slower than one of stable's quantiles: users', and our own where many."""
    size = seen.replications
    tail = 1 - QUANTILES[index]
    rate, own = (Rate(np.zeros(size), np.zeros(size), prior=tail) for _ in range(2))
    wealth, course = Reserve(size, equal(len(_SLOWER))), np.ones_like(seen.canary.rows)
    learned = seen.learned
    pair = seen.probes
    shaken = np.ones(size)
    for t in range(seen.buckets):
        control = seen.controlled(t) & (seen.share < 1)
        joined = np.zeros((len(_SLOWER), size))
        nc, nb = seen.canary.rows[t], seen.stable.rows[t]
        xc, xb = seen.canary.slow[index, t], seen.stable.slow[index, t]
        trouble = control & _in_trouble(xb, nb, rate.value)
        if seen.many:
            trouble |= _in_trouble(pair[1].slow[index, t], pair[1].total[t], own.value)
        if control.any():
            logs = log_e((nc, xc, nb, xb), with_odds(rate.value, _SLOWER), rate.value)
            wandering = _wandering(learned.wander[index], nc, nb)
            dispersion = learned.dispersion_latency[index] + wandering
            joined += np.where(control[None], logs / dispersion, 0.0)
            rate.take(xb, nb, control)
        if seen.share >= 1:
            block = (nc, seen.canary.far[index, t], pair[1].total[t], pair[1].slow[index, t])
            tolerated = LOOSE[1] + LOOSE[0] * own.value
            bets = with_odds(np.minimum(tolerated, _NEARLY_ALL), _SLOWER)
            logs = log_e(block, bets, np.minimum(own.value, 0.3), *LOOSE)
            logs = logs / learned.dispersion_latency[index]
            joined += np.where(tolerated < _NEARLY_ALL, logs, 0.0)
        if seen.many:
            block = (pair[0].total[t], pair[0].slow[index, t])
            block += (pair[1].total[t], pair[1].slow[index, t])
            restless = np.maximum(learned.wander[index], _RESTLESS[index])
            dispersion = 1 + _wandering(restless, block[0], block[2])
            joined += log_e(block, with_odds(own.value, _SLOWER), own.value) / dispersion
            own.take(pair[1].slow[index, t], pair[1].total[t])
        if t >= seen.warm_up:
            wealth.bet(joined, shaken, where=control | seen.many)
            course[t] = wealth.wealth
        shaken = np.where(trouble, _SHAKEN, 1.0)
    return course


def _wandering(wander: Array, nc: Array, nb: Array) -> Array:
    """Return how much of a difference in slow requests is just two slots being two slots.

    A neighbour on the machine, a garbage collector, another mix: one slot's latency wanders from
    minute to minute, and the more requests there are, the more of the difference is that. What
    stable wandered in its past is known; a fresh slot is allowed `FRESH` times as much of it.
    """
    paired = nc * nb / np.maximum(nc + nb, 1)
    return paired * _MINUTE_BUCKETS * FRESH**2 * wander


def _silence(seen: View) -> Array:
    """Traffic that was given and does not show."""
    course = np.ones_like(seen.canary.rows)
    if seen.share >= 1:
        return course
    least = np.full(seen.replications, 0.5 * seen.share)
    rates = np.outer(_FEWER, least)
    wealth = Reserve(seen.replications, equal(len(_FEWER)))
    for t in range(seen.warm_up, seen.buckets):
        rows = seen.canary.rows[t]
        logs = log_e_alone(rows + seen.stable.rows[t], rows, rates, least)
        wealth.bet(logs, seen.learned.dispersion_traffic)
        course[t] = wealth.wealth
    return course


def _probes(seen: View, own: _Own) -> Array:
    """One request of our own per bucket, with a wide margin. Many count with the errors."""
    course = np.ones_like(seen.canary.rows)
    if seen.many:
        return course
    wealth = Reserve(seen.replications, equal(len(_FEW_PROBES)))
    for t, logs in enumerate(own.logs):
        wealth.bet(logs)
        course[t] = wealth.wealth
    return course
