"""Evidence for the new build: that it is not unacceptably worse. Each step asks anew.

The hypothesis is turned round: "it is beyond acceptance", for errors and for each quantile. A step
is passed when the *smallest* of the wealths is large, so that a build that is beyond acceptance in
any of them passes with probability beta at most, without any correction for asking four times.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.verdict.arms import (
    QUANTILES,
    Control,
    Seen,
    bins,
    control_of,
    failing_sessions,
    failures,
    latency_edges,
    probe_edges,
    warm_since,
)
from controller.verdict.buckets import latency_bin
from controller.verdict.evariable import Block, log_e, log_e_alone
from controller.verdict.margins import LOOSE_BINS, are_many, past_bound
from controller.verdict.question import Pair, Question
from controller.verdict.wealth import Mean, Rate

# Of the stake, to "like stable" (most builds are) and "halfway to what is just acceptable".
_SHARES: Final = (0.8, 0.2)
_NEVER_AT_ONE: Final = 0.999
_FEW: Final = 1e-5


class Sound:
    """Errors within acceptance."""

    name = "errors"

    def __init__(self, question: Question) -> None:
        learned = question.learned
        self._margin = question.gate.acceptance
        self._learned = learned
        self._bound = past_bound(question)
        self._rows = Rate(learned.failed_rows, learned.rows) if learned else Rate()
        sessions = (learned.failing_sessions or 0, learned.sessions or 0) if learned else (0, 0)
        self._sessions = Rate(*sessions)
        self._own = Rate()
        self._by_rows, self._by_sessions = Mean(_SHARES), Mean(_SHARES)

    @property
    def wealth(self) -> float:
        """E : 1 that it is acceptable.

        Where sessions are known, by sessions and by requests, half of the stake on each: sessions
        tell more where one client fails again and again, requests where each client sends many.
        """
        learned = self._learned
        if learned is None or not learned.by_session:
            return self._by_rows.wealth
        return (self._by_rows.wealth + self._by_sessions.wealth) / 2

    def take(self, seen: Seen, *, counts: bool) -> None:
        """Take the next bucket; before the step it only teaches what to expect."""
        learned, pair = self._learned, seen.pair
        own = self._of_probes(pair)
        by_rows = learned.dispersion_errors if learned else 1.0
        rows, sessions = failures(pair), failing_sessions(pair, learned)
        if counts:
            self._by_rows.bet(self._joined(seen, rows, self._rows, by_rows, own))
        if counts and sessions is not None and learned is not None:
            by_sessions = learned.dispersion_sessions
            joined = self._joined(seen, sessions, self._sessions, by_sessions, own)
            self._by_sessions.bet(joined)
        elif counts:
            self._by_sessions.bet(self._joined(seen, rows, self._rows, by_rows, own))
        if pair.stable is not None:
            self._rows.take(rows.xb, rows.nb)
            if sessions is not None:
                self._sessions.take(sessions.xb, sessions.nb)

    def _joined(
        self, seen: Seen, block: Block, rate: Rate, dispersion: float, own: list[float]
    ) -> list[float]:
        """Return the bets on users, tempered, with those on our own requests."""
        logs = [0.0, 0.0]
        if seen.control is Control.STABLE and block.nc > 0:
            logs = self._beside(block, rate.value)
        elif seen.control in {Control.PAST, Control.PROBES} and block.nc > 0:
            expected = min(rate.value, self._bound / 2)
            rates = (expected, math.sqrt(expected * self._bound))
            logs = [log_e_alone(block.nc, block.xc, a, self._bound) for a in rates]
        return [log / dispersion + more for log, more in zip(logs, own, strict=True)]

    def _of_probes(self, pair: Pair) -> list[float]:
        if pair.probes is None or not are_many(pair):
            return [0.0, 0.0]
        canary, stable = pair.probes
        block = Block(canary.total, canary.bad, stable.total, stable.bad)
        logs = self._beside(block, self._own.value)
        self._own.take(block.xb, block.nb)
        return logs

    def _beside(self, block: Block, b: float) -> list[float]:
        ratio, absolute = self._margin.error_ratio, self._margin.error_absolute
        worst = min(absolute + ratio * b, _NEVER_AT_ONE)
        rates = (b, math.sqrt(b * worst))
        return [log_e(block, a, b, ratio, absolute) for a in rates]


class Quick:
    """A quantile of the latency within acceptance."""

    def __init__(self, question: Question, index: int) -> None:
        learned, edges, own = question.learned, latency_edges(question), probe_edges(question)
        self._question = question
        self.name = f"latency_p{QUANTILES[index]}"
        self._learned = learned
        # The quantile's own bin counts as slow here: where all answers take equally long, nothing
        # would lie above it, and nothing could be shown to be no more than that.
        self._edge = edges[index] - 1 if edges else None
        self._own_edge = own[index] - 1 if own else None
        self._slack = bins(question.gate.acceptance.latency_ratio)
        self._tail = 1 - QUANTILES[index] / 100
        self._dispersion = learned.dispersion_latency[index] if learned else 1.0
        # How many of stable's requests are slower than T, and than what is just acceptable.
        self._at, self._beyond = Rate(prior=self._tail), Rate(prior=self._tail / 4)
        self._own_at, self._own_beyond = Rate(prior=self._tail), Rate(prior=self._tail / 4)
        self._wealth = Mean(_SHARES)

    @property
    def is_known(self) -> bool:
        """Whether there is anything to compare with."""
        return self._edge is not None

    @property
    def wealth(self) -> float:
        """E : 1 that it is acceptable."""
        return self._wealth.wealth

    def take(self, seen: Seen, *, counts: bool) -> None:
        """See `Sound.take`."""
        users, own = self._of_users(seen), self._of_probes(seen)
        if counts and seen.is_warm:
            self._wealth.bet(
                [log / self._dispersion + more for log, more in zip(users, own, strict=True)]
            )

    def _of_users(self, seen: Seen) -> list[float]:
        if self._edge is None:
            return [0.0, 0.0]
        control, own, beside = seen.control, seen.canary_slow, seen.stable_slow
        if control is Control.STABLE:
            slow = own.above(self._edge + self._slack)
            block = Block(own.total, slow, beside.total, beside.above(self._edge))
            logs = _acceptable(block, self._at, self._beyond)
            self._at.take(block.xb, block.nb)
            self._beyond.take(beside.above(self._edge + self._slack), block.nb)
            return logs
        if control in {Control.PAST, Control.PROBES} and self._learned is not None:
            slow = own.above(self._edge + LOOSE_BINS)
            rates = (self._tail / 16, self._tail / 4)
            return [log_e_alone(own.total, slow, max(a, _FEW), self._tail) for a in rates]
        return [0.0, 0.0]

    def _of_probes(self, seen: Seen) -> list[float]:
        if self._own_edge is None or seen.probes_slow is None or not are_many(seen.pair):
            return [0.0, 0.0]
        canary, stable = seen.probes_slow
        slow = canary.above(self._own_edge + self._slack)
        block = Block(canary.total, slow, stable.total, stable.above(self._own_edge))
        logs = _acceptable(block, self._own_at, self._own_beyond)
        self._own_at.take(block.xb, block.nb)
        self._own_beyond.take(stable.above(self._own_edge + self._slack), block.nb)
        return logs


class WithinLimit:
    """The absolute limit of latency, where there is nothing else to say that it is quick."""

    name = "latency_limit"

    def __init__(self, question: Question) -> None:
        limits = question.limits
        self._edge = latency_bin(limits.latency_ms_max)
        self._bound = 1 - limits.latency_percentile / 100
        self._wealth = Mean(_SHARES)

    @property
    def wealth(self) -> float:
        """E : 1 that it is acceptable."""
        return self._wealth.wealth

    def take(self, seen: Seen, *, counts: bool) -> None:
        """See `Sound.take`."""
        total, slow = seen.canary_slow.total, seen.canary_slow.above(self._edge)
        if counts and total:
            rates = (self._bound / 16, self._bound / 4)
            self._wealth.bet([log_e_alone(total, slow, a, self._bound) for a in rates])


Test = Sound | Quick | WithinLimit


def is_compared(question: Question) -> bool:
    """Whether the step has anything to compare the build with, beside the absolute limits."""
    since = question.step_since
    return question.learned is not None or any(
        control_of(pair) is Control.STABLE
        for pair in question.pairs
        if since is None or pair.start >= since
    )


def _tests_of(question: Question) -> Sequence[Test]:
    wanted = [i for i, percent in enumerate(QUANTILES) if percent in question.gate.quantiles]
    quick = [Quick(question, index) for index in wanted]
    # During the warm-up of a build whose predecessor has no past, thresholds may still be learned.
    may_be_known = warm_since(question) is None or all(test.is_known for test in quick)
    if is_compared(question) and may_be_known:
        return [Sound(question), *quick]
    return [Sound(question), WithinLimit(question)]


@dataclass(frozen=True, slots=True)
class Health:
    """Evidence that the new build is acceptable, in the current step."""

    course: list[float]  # the smallest wealth after each pair
    tests: dict[str, float]  # name -> its wealth now

    @property
    def now(self) -> float:
        """The smallest wealth: what a step is passed by."""
        return self.course[-1] if self.course else 1.0

    @property
    def weakest(self) -> str:
        """What is least shown."""
        return min(self.tests, key=lambda name: self.tests[name])


class Checkup:
    """All tests of health while the buckets pass by."""

    def __init__(self, question: Question) -> None:
        self._since = question.step_since
        self._tests = _tests_of(question)
        self._course: list[float] = []

    def take(self, seen: Seen) -> None:
        """Take the next pair; what lies before the step only teaches what to expect."""
        counts = self._since is None or seen.pair.start >= self._since
        for test in self._tests:
            test.take(seen, counts=counts)
        self._course.append(min(test.wealth for test in self._tests))

    def read(self) -> Health:
        """Return the evidence of health by now."""
        return Health(course=self._course, tests={test.name: test.wealth for test in self._tests})


def _acceptable(block: Block, at: Rate, beyond: Rate) -> list[float]:
    b = at.value
    expected = min(beyond.value, 0.98 * b)
    return [log_e(block, a, b) for a in (expected, math.sqrt(expected * b))]
