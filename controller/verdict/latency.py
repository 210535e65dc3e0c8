"""Slower requests as evidence against the new build: at stable's own quantiles, or at the limit."""

from datetime import timedelta
from typing import Final

from controller.verdict.arms import (
    QUANTILES,
    Control,
    Seen,
    bins,
    latency_edges,
    probe_edges,
)
from controller.verdict.buckets import latency_bin
from controller.verdict.confidence import chernoff_upper
from controller.verdict.evariable import Block, log_e, log_e_alone
from controller.verdict.margins import (
    BOUND_ALPHA,
    LOOSE,
    LOOSE_BINS,
    SHAKEN,
    are_many,
    inside,
    is_shaken,
)
from controller.verdict.question import Question
from controller.verdict.wealth import WORSE_SHARES, Rate, Reserve, equal, with_odds, worse_rates

_SLOWER: Final = (1.4, 2.5, 8.0)  # odds of being slow, times these
_NEARLY_ALL: Final = 0.9
_FRESH: Final = 3.0  # times as much as stable's may the latency of a fresh slot wander
# What it does at least at p50, p90, p99: a slot whose latency wanders by 3 %. The few users of a
# quiet app may not have taught it, and of our own requests there may be many.
_RESTLESS: Final = (0.0016, 0.0009, 0.0002)
_LEARNED_BY: Final = timedelta(minutes=1)  # that wandering; within it, it hardly changes


class Latency:
    """Requests slower than a quantile of stable's own."""

    def __init__(self, question: Question, index: int) -> None:
        learned, edges, own = question.learned, latency_edges(question), probe_edges(question)
        self._question = question
        self._edge = edges[index] if edges else None
        self._own_edge = own[index] if own else None
        self._slack = bins(question.gate.tolerance.latency_ratio)
        tail = 1 - QUANTILES[index] / 100
        self._bound = tail
        if learned is not None and learned.rows:
            self._bound = chernoff_upper(round(tail * learned.rows), learned.rows, BOUND_ALPHA)
        self._dispersion = learned.dispersion_latency[index] if learned else 1.0
        known = learned.wander[index] if learned else 0.0
        fresh = _FRESH**2 * max(_LEARNED_BY / question.bucket, 1.0)
        self._wander, self._own_wander = fresh * known, fresh * max(known, _RESTLESS[index])
        self._rate, self._own_rate = Rate(prior=tail), Rate(prior=tail)
        self._wealth = Reserve(equal(len(_SLOWER)))
        self._shaken = 1.0

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        return self._wealth.wealth

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        in_trouble = self._in_trouble(seen)
        users = self._of_users(seen)
        own = self._of_probes(seen)
        if seen.is_warm and (users or own):
            nothing = [0.0] * len(_SLOWER)
            both = zip(users or nothing, own or nothing, strict=True)
            self._wealth.bet([user + probe for user, probe in both], self._shaken)
        self._shaken = SHAKEN if in_trouble else 1.0

    def _in_trouble(self, seen: Seen) -> bool:
        found = False
        if self._edge is not None and seen.control is Control.STABLE:
            stable = seen.stable_slow
            found = is_shaken(stable.above(self._edge), stable.total, self._rate.value)
        if self._own_edge is not None and seen.probes_slow is not None and are_many(seen.pair):
            asked = seen.probes_slow[1]
            slow = asked.above(self._own_edge)
            found = found or is_shaken(slow, asked.total, self._own_rate.value)
        return found

    def _of_users(self, seen: Seen) -> list[float]:
        if self._edge is None:
            return []
        own, beside = seen.canary_slow, seen.stable_slow
        if seen.control is Control.STABLE:
            slow = own.above(self._edge + self._slack)
            block = Block(own.total, slow, beside.total, beside.above(self._edge))
            logs = _tempered(block, self._rate.value, self._dispersion, self._wander)
            self._rate.take(block.xb, block.nb)
            return logs
        slow = own.above(self._edge + LOOSE_BINS)
        if seen.control is Control.PROBES:
            return self._beside_probes(seen, own.total, slow)
        if seen.control is Control.PAST and self._question.learned is not None:
            bound = inside(self._bound)
            rates = [with_odds(bound, odds) for odds in _SLOWER]
            return [log_e_alone(own.total, slow, a, bound) / self._dispersion for a in rates]
        return []

    def _beside_probes(self, seen: Seen, total: int, slow: int) -> list[float]:
        """Compare users with our requests to stable: each with what was usual of its kind.

        What is usual of ours is known from few, so that many more of the users' may be slow.
        """
        b, (ratio, absolute) = self._own_rate.value, (LOOSE.error_ratio, LOOSE.error_absolute)
        tolerated = absolute + ratio * b
        if self._own_edge is None or seen.probes_slow is None or tolerated >= _NEARLY_ALL:
            return []
        stable = seen.probes_slow[1]
        block = Block(total, slow, stable.total, stable.above(self._own_edge))
        rates = [with_odds(tolerated, odds) for odds in _SLOWER]
        return [log_e(block, a, b, ratio, absolute) / self._dispersion for a in rates]

    def _of_probes(self, seen: Seen) -> list[float]:
        """Return the bets on our own requests: of their own, as their mix is another one."""
        if self._own_edge is None or seen.probes_slow is None or not are_many(seen.pair):
            return []
        canary, stable = seen.probes_slow
        slow = canary.above(self._own_edge + self._slack)
        block = Block(canary.total, slow, stable.total, stable.above(self._own_edge))
        b = self._own_rate.value
        self._own_rate.take(block.xb, block.nb)
        return _tempered(block, b, 1.0, self._own_wander)


def _tempered(block: Block, b: float, dispersion: float, wander: float) -> list[float]:
    """Return the bets, tempered by how much of a difference is two slots being two slots.

    A neighbour on the machine, a garbage collector, another mix: the more requests there are, the
    more of the difference between two slots is that.
    """
    paired = block.nc * block.nb / max(block.nc + block.nb, 1)
    phi = dispersion + paired * wander
    return [log_e(block, with_odds(b, odds), b) / phi for odds in _SLOWER]


class SlowerThanLimit:
    """Requests slower than the absolute limit, where nothing runs beside the new build."""

    def __init__(self, question: Question) -> None:
        limits = question.limits
        self._question = question
        self._edge = latency_bin(limits.latency_ms_max)
        self._bound = 1 - limits.latency_percentile / 100
        self._dispersion = max(question.learned.dispersion_latency) if question.learned else 1.0
        self._wealth = Reserve(WORSE_SHARES)

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        return self._wealth.wealth

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        if seen.control is not Control.PAST:
            return
        if not seen.is_warm:
            return
        total, slow = seen.canary_slow.total, seen.canary_slow.above(self._edge)
        if total:
            rates = worse_rates(self._bound)
            logs = [log_e_alone(total, slow, a, self._bound) for a in rates]
            self._wealth.bet(logs, self._dispersion)
