"""All signals together: one number against the new build, under one budget of error."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.gate import Criticality, Metric
from controller.verdict.arms import QUANTILES, Seen
from controller.verdict.buckets import Totals, total
from controller.verdict.latency import Latency, SlowerThanLimit
from controller.verdict.question import Pair, Question
from controller.verdict.signals import Errors, Measured, Probes, Process, Silence

_ERRORS: Final = 0.5
_QUANTILE: Final = 0.09  # each of three
_LIMIT: Final = 0.03
_SILENCE: Final = 0.1
_PROBES: Final = 0.1


@dataclass(slots=True)
class Weighed:
    """One signal, its share of the error budget, and its evidence after each pair."""

    name: str
    weight: float
    process: Process
    metric: Metric | None = None
    course: list[float] = field(default_factory=list[float])

    @property
    def peak(self) -> float:
        """The strongest that its evidence ever was: what the guarantee is about."""
        return max(self.course, default=1.0)

    @property
    def decides_alone(self) -> bool:
        """Whether it is a metric that takes a release back by its own budget."""
        return self.metric is not None and self.metric.criticality is Criticality.CRITICAL


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that speaks against the new build."""

    signals: list[Weighed]
    course: list[float]  # joint evidence after each pair
    threshold: float  # of the joint evidence
    canary: Totals  # since the first users
    stable: Totals | None  # None: it had none beside

    @property
    def now(self) -> float:
        """Joint evidence by the last pair."""
        return self.course[-1] if self.course else 1.0

    @property
    def peak(self) -> float:
        """The strongest that it ever was."""
        return max(self.course, default=1.0)

    def critical(self, alpha: float) -> Weighed | None:
        """Return the critical metric that passed its own threshold."""
        return next(
            (s for s in self.signals if s.decides_alone and s.peak * alpha * s.weight >= 1.0), None
        )


class Scales:
    """All signals while the buckets pass by. What was weighed once need not be weighed again."""

    def __init__(self, question: Question) -> None:
        self._signals = _signals(question)
        # A critical metric's budget is its own: it is spent there and missing here.
        self._joint = [s for s in self._signals if s.weight > 0 and not s.decides_alone]
        self._course: list[float] = []
        self._threshold = 1.0 / question.gate.alpha

    def take(self, seen: Seen) -> None:
        """Take the next pair of buckets."""
        for signal in self._signals:
            signal.process.take(seen)
            signal.course.append(signal.process.evidence)
        self._course.append(sum(s.weight * s.course[-1] for s in self._joint))

    def read(self, pairs: Sequence[Pair]) -> Evidence:
        """Return the evidence by now; *pairs* are all that was taken.

        A weighted mean of e-processes is an e-process, whatever they have to do with each other; so
        the chance that a build within tolerance ever reaches ``1 / alpha`` is alpha at most.
        """
        arms = [pair.stable for pair in pairs if pair.stable is not None]
        return Evidence(
            signals=self._signals,
            course=self._course,
            threshold=self._threshold,
            canary=total(pair.canary for pair in pairs),
            stable=total(arms) if any(arm.rows for arm in arms) else None,
        )


def _signals(question: Question) -> list[Weighed]:
    metrics = question.gate.metrics
    deciding = [m for m in metrics if m.criticality is not Criticality.DRY_RUN]
    rest = 1.0 - sum(metric.share for metric in deciding)
    found = [Weighed("errors", rest * _ERRORS, Errors(question, rest * _ERRORS))]
    for index, percent in enumerate(QUANTILES):
        found.append(Weighed(f"latency_p{percent}", rest * _QUANTILE, Latency(question, index)))
    found += [
        Weighed("latency_limit", rest * _LIMIT, SlowerThanLimit(question)),
        Weighed("silence", rest * _SILENCE, Silence(question)),
        Weighed("probes", rest * _PROBES, Probes()),
    ]
    for metric in metrics:
        weight = 0.0 if metric.criticality is Criticality.DRY_RUN else metric.share
        found.append(Weighed(metric.name, weight, Measured(question, metric), metric))
    return found
