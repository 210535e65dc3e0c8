"""What a metric of the stable build was before the rollout."""

from collections.abc import Sequence
from typing import Final

from controller.core.gate import Direction, LearnedMetric, Metric, MetricKind
from controller.verdict.arms import Tail
from controller.verdict.buckets import Counts
from controller.verdict.dispersion import bounded_by_time
from controller.verdict.histogram import added, bin_of

_HIGH: Final = 90  # percentile beyond which a value counts as bad
_LOW: Final = 10


def learn_metric(metric: Metric, past: Sequence[Counts], *, buckets: int) -> LearnedMetric | None:
    """Return what *metric* was; None where nothing was counted.

    Args:
        metric: what was asked for.
        past: its counts per bucket; those without any may lack.
        buckets: how many there were in all.
    """
    if metric.kind is MetricKind.HISTOGRAM:
        return _of_values(metric, past, buckets)
    total = sum(each.total for each in past)
    if not total:
        return None
    bad = [each.bad for each in past]
    return LearnedMetric(
        name=metric.name, total=total, bad=sum(bad), dispersion=_dispersion(bad, buckets)
    )


def _of_values(metric: Metric, past: Sequence[Counts], buckets: int) -> LearnedMetric | None:
    is_high = metric.direction is Direction.HIGHER_IS_WORSE
    values = added(each.histogram for each in past)
    if not sum(values.values()):
        return None
    edge = bin_of(values, _HIGH if is_high else _LOW)
    tails = [Tail(each.histogram) for each in past]
    bad = [t.above(edge) if is_high else t.total - t.above(edge - 1) for t in tails]
    return LearnedMetric(
        name=metric.name,
        total=sum(tail.total for tail in tails),
        bad=sum(bad),
        edge=edge,
        dispersion=_dispersion(bad, buckets),
    )


def _dispersion(bad: Sequence[int], buckets: int) -> float:
    """Whoever counts here names no sessions: clumps are bounded by their course over time."""
    return bounded_by_time([*bad, *[0] * max(buckets - len(bad), 0)])
