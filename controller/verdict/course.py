"""How the evidence came to be: signals with both builds' figures, and their course over time."""

from collections.abc import Sequence
from typing import Final

from controller.verdict.arms import QUANTILES
from controller.verdict.buckets import Bucket, Totals
from controller.verdict.confidence import beta_binomial_interval
from controller.verdict.evidence import Evidence
from controller.verdict.health import Health
from controller.verdict.question import Course, Question, Signal

_ALPHA: Final = 0.05
_MOST_POINTS: Final = 60

Interval = tuple[float, float]


def signals_of(question: Question, evidence: Evidence, health: Health) -> tuple[Signal, ...]:
    """Return every signal with what it shows of both builds."""
    canary, stable = evidence.canary, evidence.stable
    found: list[Signal] = []
    for weighed in evidence.signals:
        own, its, unit = _figures(question, weighed.name, canary, stable)
        found.append(
            Signal(
                name=weighed.name,
                weight=weighed.weight,
                evidence=weighed.course[-1] if weighed.course else 1.0,
                health=health.tests.get(weighed.name),
                canary=own,
                stable=its,
                canary_interval=_interval(canary) if weighed.name == "errors" else None,
                stable_interval=_interval(stable) if weighed.name == "errors" and stable else None,
                unit=unit,
                note=question.metric_errors.get(weighed.name, ""),
            )
        )
    return tuple(found)


def _figures(
    question: Question, name: str, canary: Totals, stable: Totals | None
) -> tuple[float | None, float | None, str]:
    if name == "errors":
        return canary.error_rate, stable.error_rate if stable else None, "rate"
    for percent in QUANTILES:
        if name == f"latency_p{percent}":
            its = stable.percentile(percent) if stable else None
            return canary.percentile(percent), its, "ms"
    if name == "latency_limit":
        return canary.percentile(question.limits.latency_percentile), None, "ms"
    if name == "silence":
        return _share(canary, stable), None, "share"
    pairs = question.pairs
    if name == "probes":
        found = [pair.probes for pair in pairs if pair.probes is not None]
    else:
        found = [pair.metrics[name] for pair in pairs if name in pair.metrics]
    shares = [
        sum(each[arm].bad for each in found) / seen
        if (seen := sum(each[arm].total for each in found))
        else None
        for arm in (0, 1)
    ]
    return shares[0], shares[1], "rate"


def _share(canary: Totals, stable: Totals | None) -> float | None:
    requests = canary.requests + (stable.requests if stable else 0)
    return canary.requests / requests if requests else None


def _interval(seen: Totals) -> Interval | None:
    return beta_binomial_interval(seen.failed_rows, seen.rows, alpha=_ALPHA) if seen.rows else None


def course_of(question: Question, evidence: Evidence, health: Health) -> Course:
    """Return the evidence over time, and the builds' rates with their intervals."""
    pairs = question.pairs
    kept = _thinned(len(pairs))
    rates = (
        _rates([pair.canary for pair in pairs], kept),
        _rates([pair.stable for pair in pairs], kept),
    )
    return Course(
        starts=tuple(pairs[index].start for index in kept),
        evidence=tuple(evidence.course[index] for index in kept),
        health=tuple(health.course[index] for index in kept),
        threshold=evidence.threshold,
        health_threshold=1 / question.gate.beta,
        canary_rate=tuple(rate for rate, _, _ in rates[0]),
        canary_low=tuple(low for _, low, _ in rates[0]),
        canary_high=tuple(high for _, _, high in rates[0]),
        stable_rate=tuple(rate for rate, _, _ in rates[1]),
        stable_low=tuple(low for _, low, _ in rates[1]),
        stable_high=tuple(high for _, _, high in rates[1]),
    )


_Point = tuple[float | None, float | None, float | None]


def _thinned(count: int) -> list[int]:
    """Return the indices to show: all of few, evenly spread of many, always the last."""
    step = -(-count // _MOST_POINTS) or 1
    return sorted(set(range(count - 1, -1, -step)))


def _rates(buckets: Sequence[Bucket | None], kept: Sequence[int]) -> list[_Point]:
    wanted = set(kept)
    rows = failed = requests = failures = 0
    found: list[_Point] = []
    for index, bucket in enumerate(buckets):
        if bucket is not None:
            rows, failed = rows + bucket.rows, failed + bucket.failed_rows
            requests, failures = requests + bucket.requests, failures + bucket.failed
        if index in wanted:
            found.append(_point(rows, failed, requests, failures))
    return found


def _point(rows: int, failed: int, requests: int, failures: int) -> _Point:
    if not rows or not requests:
        return None, None, None
    low, high = beta_binomial_interval(failed, rows, alpha=_ALPHA)
    return failures / requests, low, high
