"""The first judge: absolute limits with a minimum sample, and honest names for not knowing.

It compares the new build with fixed limits, not with the stable build; stable only tells whether
an incident hits both. It is stateless: all closed buckets of the step in, one judgement out, so
that any judgement can be computed again from what was kept with it.

It sees a build that breaks its limits with enough traffic to tell. It does not see a regression
below the limits, and it does not account for looking often: with a small minimum sample and a
limit close to the usual error rate it will sometimes blame a good build.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controller.core.events import Label, Number
from controller.core.plan import Limits
from controller.verdict.buckets import Bucket, Totals, total

JUDGE: Final = "absolute-limits/1"
_PERCENTILES: Final = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything that one judgement depends on.

    ``canary`` and ``stable`` are the closed buckets of the current step; ``stable`` is None where
    no concurrent build is known. ``provider_silence`` is the time since telemetry last answered.
    """

    limits: Limits
    canary: Sequence[Bucket]
    stable: Sequence[Bucket] | None
    elapsed: timedelta
    min_observation: timedelta
    max_observation: timedelta | None  # None: no end, as while a human is asked
    provider_silence: timedelta
    provider_grace: timedelta
    provider_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A label, a sentence for a tired person, and the numbers behind it."""

    label: Label
    reason: str
    numbers: dict[str, Number]
    judge: str = JUDGE


def judge(question: Question) -> Judgement:
    """Return what the evidence says now. Pure; the same question gets the same answer."""
    canary = total(question.canary)
    stable = total(question.stable) if question.stable is not None else None
    label, reason = _decide(question, canary, stable)
    return Judgement(label=label, reason=reason, numbers=_numbers(question, canary, stable))


def _decide(q: Question, canary: Totals, stable: Totals | None) -> tuple[Label, str]:
    broken = _broken(q.limits, canary)
    if broken and stable is not None and (same := _broken(q.limits, stable)):
        return Label.AMBIENT_INCIDENT, f"the stable build suffers too ({same}; new build: {broken})"
    if broken:
        return Label.REGRESSED, broken
    if q.provider_silence > q.provider_grace:
        told = f": {q.provider_error}" if q.provider_error else ""
        seconds = q.provider_silence.total_seconds()
        return Label.PROVIDER_UNAVAILABLE, f"no telemetry answer for {seconds:.0f} s{told}"
    enough = canary.rows >= q.limits.min_requests
    if enough and q.elapsed >= q.min_observation:
        return Label.HEALTHY, f"within its limits over {canary.requests} requests"
    if q.max_observation is not None and q.elapsed >= q.max_observation:
        seen = f"{canary.rows} requests seen in {q.elapsed.total_seconds():.0f} s"
        return Label.INSUFFICIENT_DATA, f"{seen}, {q.limits.min_requests} needed"
    return Label.CONTINUE, f"{canary.rows} of {q.limits.min_requests} requests seen"


def _broken(limits: Limits, seen: Totals) -> str | None:
    """Return which limit is broken, with numbers; None where none is or too little was seen."""
    if seen.rows < limits.min_requests:  # sampled requests stand for many, but were seen once
        return None
    rate = seen.error_rate
    if rate is not None and rate > limits.error_rate_max:
        return (
            f"error rate {rate:.1%} over {seen.requests} requests, "
            f"limit {limits.error_rate_max:.1%}"
        )
    latency = seen.percentile(limits.latency_percentile)
    if latency is not None and latency > limits.latency_ms_max:
        return (
            f"p{limits.latency_percentile} {latency:.0f} ms over {seen.requests} requests, "
            f"limit {limits.latency_ms_max:.0f} ms"
        )
    return None


def _numbers(q: Question, canary: Totals, stable: Totals | None) -> dict[str, Number]:
    numbers: dict[str, Number] = {
        "elapsed_s": round(q.elapsed.total_seconds(), 3),
        "provider_silence_s": round(q.provider_silence.total_seconds(), 3),
        **{f"canary_{name}": value for name, value in arm_numbers(canary).items()},
        "limit_error_rate": q.limits.error_rate_max,
        f"limit_p{q.limits.latency_percentile}_ms": q.limits.latency_ms_max,
        "limit_min_requests": q.limits.min_requests,
    }
    if stable is not None:
        numbers |= {f"stable_{name}": value for name, value in arm_numbers(stable).items()}
    return numbers


def arm_numbers(seen: Totals) -> dict[str, Number]:
    """Return the figures of one build as people read them: rates 0..1, latencies in ms."""
    rate = seen.error_rate
    figures: dict[str, Number] = {
        "rows": seen.rows,
        "requests": seen.requests,
        "failed": seen.failed,
        "error_rate": None if rate is None else round(rate, 6),
    }
    for percent in _PERCENTILES:
        latency = seen.percentile(percent)
        figures[f"p{percent}_ms"] = None if latency is None else round(latency, 1)
    return figures
