"""The signals: what may speak against the new build, each as an e-process over the buckets."""

from collections.abc import Callable
from typing import Final, Protocol

from controller.core.gate import Direction, Learned, LearnedMetric, Margin, Metric, MetricKind
from controller.verdict.arms import Control, Seen, Tail, failing_sessions, failures
from controller.verdict.buckets import Counts
from controller.verdict.evariable import Block, log_e, log_e_alone
from controller.verdict.margins import (
    LEAST_FAILURES,
    LOOSE,
    SHAKEN,
    are_many,
    is_shaken,
    past_bound,
)
from controller.verdict.question import Pair, Question
from controller.verdict.wealth import WORSE_SHARES, Rate, Reserve, equal, worse_rates

LEAST_BUCKETS: Final = 2
MOST_DISPERSION: Final = 30.0
_UNKNOWN_TRAFFIC: Final = 3.0  # dispersion where nothing was learned
_FEWER: Final = (0.02, 0.2, 0.5)  # of the least share that traffic must have
_FEW_PROBES: Final = (0.4, 0.97)
_FEW_PROBES_MARGIN: Final = 0.05
_PROBE_PRIOR: Final = 0.01


class Process(Protocol):
    """One signal while the buckets pass by."""

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        ...

    def take(self, seen: Seen) -> None:
        """Take the next bucket."""
        ...


class Errors:
    """Failed requests, or failing sessions where telemetry knows them."""

    def __init__(self, question: Question, weight: float) -> None:
        learned = question.learned
        self._margin = question.gate.tolerance
        self._learned = learned
        self._bound = past_bound(question)
        self._needed = 1.0 / (question.gate.alpha * weight) if weight else 0.0
        self._wealth = Reserve(WORSE_SHARES)
        self._rows = _rate(learned, lambda past: (past.failed_rows, past.rows))
        self._sessions = _rate(learned, lambda past: (past.failing_sessions, past.sessions))
        self._probes = Rate(prior=_PROBE_PRIOR)
        self._failed = 0.0
        self._buckets = 0
        self._is_plain = False  # one bucket alone was overwhelming
        self._shaken = 1.0

    @property
    def evidence(self) -> float:
        """E : 1; at most 1 until failures came often enough not to be one accident."""
        often = self._failed >= LEAST_FAILURES and self._buckets >= LEAST_BUCKETS
        return self._wealth.wealth if often or self._is_plain else min(self._wealth.wealth, 1.0)

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        pair = seen.pair
        block, rate, dispersion = self._units(pair)
        users, own = self._of_users(seen, block, rate.value), self._of_probes(pair)
        if users or own:
            nothing = [0.0] * len(WORSE_SHARES)
            both = list(zip(users or nothing, own or nothing, strict=True))
            joined = [(user / dispersion + probe) / self._shaken for user, probe in both]
            self._wealth.bet(joined)
            bad = pair.probes[0].bad if own and pair.probes is not None else 0
            # As clumped as learned or thirty times: whichever is worse is what counts alone.
            self._note((block.xc if users else 0) + bad, [log * dispersion for log in joined])
        own_rate, asked = self._probes.value, pair.probes[1] if pair.probes else Counts()
        in_trouble = is_shaken(block.xb, block.nb, rate.value)
        in_trouble = in_trouble or is_shaken(asked.bad, asked.total, own_rate)
        self._shaken = SHAKEN if in_trouble else 1.0
        if pair.stable is not None:
            rate.take(block.xb, block.nb)
        if pair.probes is not None:
            self._probes.take(asked.bad, asked.total)

    def _of_users(self, seen: Seen, block: Block, b: float) -> list[float]:
        if block.nc <= 0:
            return []
        if seen.control is Control.STABLE:
            return self._against(block, b, self._margin)
        if seen.control is Control.PROBES and seen.pair.probes is not None:
            stable = seen.pair.probes[1]
            beside = Block(block.nc, block.xc, stable.total, stable.bad)
            return self._against(beside, self._probes.value, LOOSE)
        if seen.control is Control.PAST:
            rates = worse_rates(self._bound)
            return [log_e_alone(block.nc, block.xc, a, self._bound) for a in rates]
        return []

    def _of_probes(self, pair: Pair) -> list[float]:
        """Return the bets on our own requests, where they are many: with odds of their own.

        They are another mix than users', so the two are not added up; their odds are multiplied.
        """
        if pair.probes is None or not are_many(pair):
            return []
        canary, stable = pair.probes
        block = Block(canary.total, canary.bad, stable.total, stable.bad)
        return self._against(block, self._probes.value, self._margin)

    def _units(self, pair: Pair) -> tuple[Block, Rate, float]:
        sessions = failing_sessions(pair, self._learned)
        if sessions is not None and self._learned is not None:
            return sessions, self._sessions, self._learned.dispersion_sessions
        dispersion = self._learned.dispersion_errors if self._learned else 1.0
        return failures(pair), self._rows, dispersion

    @staticmethod
    def _against(block: Block, b: float, margin: Margin) -> list[float]:
        ratio, absolute = margin.error_ratio, margin.error_absolute
        rates = worse_rates(absolute + ratio * b)
        return [log_e(block, a, b, ratio, absolute) for a in rates]

    def _note(self, failed: float, logs: list[float]) -> None:
        self._failed += failed
        self._buckets += failed > 0
        if failed >= LEAST_FAILURES and not self._is_plain:
            alone = Reserve(WORSE_SHARES)
            alone.bet(logs, MOST_DISPERSION)
            self._is_plain = alone.wealth >= self._needed


class Silence:
    """Traffic that should reach the new build and does not show in telemetry.

    It is compared with the smallest share that was configured so far: cookies pin users, so that
    what a build has lags behind a share that was raised.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._share = 1.0
        learned = question.learned
        self._dispersion = learned.dispersion_traffic if learned else _UNKNOWN_TRAFFIC
        self._wealth = Reserve(equal(len(_FEWER)))

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        return self._wealth.wealth

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        pair = seen.pair
        if pair.stable is None or not 0 < pair.share < 1:
            return
        self._share = min(self._share, pair.share)
        if not seen.is_warm:
            return
        least = self._question.gate.silence_share * self._share
        block = _traffic(pair)
        logs = [
            log_e_alone(block.nc + block.nb, block.nc, fewer * least, least) for fewer in _FEWER
        ]
        self._wealth.bet(logs, self._dispersion)


def _traffic(pair: Pair) -> Block:
    """Return both arms' traffic: in the proportion of requests, in the number of rows.

    Sampling may differ between the arms, so rows do not show the share; but a row is one piece of
    evidence, whatever it stands for.
    """
    if pair.stable is None:
        return Block(pair.canary.rows, 0, 0, 0)
    requests = pair.canary.requests + pair.stable.requests
    rows = pair.canary.rows + pair.stable.rows
    scale = rows / requests if requests else 0.0
    return Block(pair.canary.requests * scale, 0, pair.stable.requests * scale, 0)


class Probes:
    """Few requests of our own to both builds at the same time. Many count with the errors."""

    def __init__(self) -> None:
        self._rate = Rate(prior=_PROBE_PRIOR)
        self._wealth = Reserve(equal(len(_FEW_PROBES)))

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        return self._wealth.wealth

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        pair = seen.pair
        if pair.probes is None:
            return
        canary, stable = pair.probes
        block, b = Block(canary.total, canary.bad, stable.total, stable.bad), self._rate.value
        if not are_many(pair):  # only a build that fails often, or always, shows in one or two
            least = 1.2 * (_FEW_PROBES_MARGIN + b)
            rates = [min(max(a, least), 0.999) for a in _FEW_PROBES]
            self._wealth.bet([log_e(block, a, b, 1.0, _FEW_PROBES_MARGIN) for a in rates])
        self._rate.take(block.xb, block.nb)


class Measured:
    """A metric beyond requests, by a query of its own."""

    def __init__(self, question: Question, metric: Metric) -> None:
        past = _learned_metric(question, metric.name)
        self._metric = metric
        self._edge = past.edge if past else None
        self._dispersion = past.dispersion if past else 1.0
        self._rate = Rate(past.bad, past.total) if past else Rate()
        self._wealth = Reserve(WORSE_SHARES)

    @property
    def evidence(self) -> float:
        """E : 1 against the new build."""
        return self._wealth.wealth

    def take(self, seen: Seen) -> None:
        """See `Process`."""
        block = metric_block(self._metric, self._edge, seen.pair)
        if block is None:
            return
        ratio, absolute = self._metric.ratio, self._metric.absolute
        b = min(self._rate.value, 0.98 / ratio - absolute)
        rates = worse_rates(absolute + ratio * b)
        self._wealth.bet([log_e(block, a, b, ratio, absolute) for a in rates], self._dispersion)
        self._rate.take(block.xb, block.nb)


def metric_block(metric: Metric, edge: int | None, pair: Pair) -> Block | None:
    """Return the counts of *metric* in both arms; None where it said nothing."""
    found = pair.metrics.get(metric.name)
    if found is None:
        return None
    canary, stable = found
    if metric.kind is MetricKind.COUNTS:
        return Block(canary.total, canary.bad, stable.total, stable.bad)
    if edge is None:
        return None
    high = metric.direction is Direction.HIGHER_IS_WORSE
    counts: list[int] = []
    for tail in (Tail(canary.histogram), Tail(stable.histogram)):
        bad = tail.above(edge) if high else tail.total - tail.above(edge - 1)
        counts += [tail.total, bad]
    return Block(*counts)


def _learned_metric(question: Question, name: str) -> LearnedMetric | None:
    past = question.learned.metrics if question.learned else ()
    return next((metric for metric in past if metric.name == name), None)


def _rate(
    learned: Learned | None, counts: Callable[[Learned], tuple[int | None, int | None]]
) -> Rate:
    events, trials = counts(learned) if learned else (0, 0)
    return Rate(events or 0, trials or 0)
