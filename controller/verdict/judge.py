"""The first judge: absolute limits with a minimum sample, and honest names for not knowing.

It compares the new build with fixed limits, not with the stable build; stable only tells whether
an incident hits both. It is stateless: all closed buckets of the step in, one judgement out, so
that any judgement can be computed again from what was kept with it.

Where the platform's own metrics are looked at, they can blame a build, too, and excuse it with the
stable one; alone they never prove it healthy, since they come late and as sums.

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
from controller.core.telemetry import IdentifyBy
from controller.verdict import platform
from controller.verdict.buckets import Bucket, Totals, total
from controller.verdict.platform import PlatformEvidence

JUDGE: Final = "absolute-limits/2"
_PERCENTILES: Final = (50, 90, 95, 99)
_ABOUT_AS_BAD: Final = 0.5  # of the new build's rate or latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Everything that one judgement depends on.

    ``canary`` and ``stable`` are the closed buckets of the current step; ``stable`` is None where
    no concurrent build is known. ``provider_silence`` is the time since telemetry last answered,
    ``newest_age`` the age of the newest request that anybody in the workspace reported.
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
    newest_age: timedelta | None = None  # None: not known
    stale_after: timedelta | None = None  # older than this, telemetry lags too far to trust
    identified_by: str = IdentifyBy.VERSION
    platform: PlatformEvidence | None = None  # None: not asked for


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
    reported, counted = _broken(q.limits, canary), _broken_on_platform(q.platform, is_stable=False)
    blame = reported or counted
    if blame and (same := _stable_suffers(q, stable)):
        return Label.AMBIENT_INCIDENT, f"the stable build suffers too ({same}; new build: {blame})"
    alike = _suffers_alike(q.limits, canary, stable) if reported and stable else None
    if blame and not alike:
        return Label.REGRESSED, f"{blame}{_weakness(q)}"
    if q.provider_silence > q.provider_grace:
        told = f": {q.provider_error}" if q.provider_error else ""
        seconds = q.provider_silence.total_seconds()
        return Label.PROVIDER_UNAVAILABLE, f"no telemetry answer for {seconds:.0f} s{told}"
    if alike:
        both = f"the stable build may suffer too ({alike}; new build: {blame})"
        return (Label.AMBIENT_INCIDENT if _is_late(q) else Label.CONTINUE), both
    return _without_blame(q, canary)


def _without_blame(q: Question, canary: Totals) -> tuple[Label, str]:
    """Return whether enough was seen, of late enough, to call the build healthy."""
    least = q.limits.min_requests
    lacks = f"{least} needed" if canary.rows < least else _staleness(q)
    if not lacks and q.elapsed >= q.min_observation:
        return Label.HEALTHY, f"within its limits over {canary.requests} requests{_doubts(q)}"
    if lacks and _is_late(q):
        seen = f"{canary.rows} requests seen in {q.elapsed.total_seconds():.0f} s"
        return Label.INSUFFICIENT_DATA, f"{seen}, {lacks}"
    stale = f"; {lacks}" if lacks and canary.rows >= least else ""
    return Label.CONTINUE, f"{canary.rows} of {least} requests seen{stale}"


def _stable_suffers(q: Question, stable: Totals | None) -> str | None:
    told = _broken(q.limits, stable) if stable is not None else None
    return told or _broken_on_platform(q.platform, is_stable=True)


def _suffers_alike(limits: Limits, canary: Totals, stable: Totals) -> str | None:
    """Return how the few requests of the stable build look about as bad; None if they do not.

    Then nobody can tell yet whose fault it is. That is waited for, up to the state's end, and
    counts as an incident then: a person decides, and the traffic does not grow meanwhile. Where
    stable looks clearly better, or has nothing at all, waiting would only hurt users.
    """
    if not 0 < stable.rows < limits.min_requests:
        return None
    own, its = stable.error_rate or 0.0, canary.error_rate or 0.0
    if own > limits.error_rate_max and own >= its * _ABOUT_AS_BAD:
        return f"error rate {own:.1%} over only {stable.requests} requests"
    slow, slower = (seen.percentile(limits.latency_percentile) or 0.0 for seen in (stable, canary))
    if slow > limits.latency_ms_max and slow >= slower * _ABOUT_AS_BAD:
        return f"p{limits.latency_percentile} {slow:.0f} ms over only {stable.requests} requests"
    return None


def _is_late(q: Question) -> bool:
    return q.max_observation is not None and q.elapsed >= q.max_observation


def _staleness(q: Question) -> str | None:
    """Return how far behind telemetry is, where that is too far; clocks that are off look alike."""
    if q.newest_age is None or q.stale_after is None or q.newest_age <= q.stale_after:
        return None
    age, most = (span.total_seconds() for span in (q.newest_age, q.stale_after))
    return f"the newest telemetry is {age:.0f} s old, {most:.0f} s at most wanted"


def _broken_on_platform(evidence: PlatformEvidence | None, *, is_stable: bool) -> str | None:
    """Return which limit a slot breaks by the platform's own count."""
    if evidence is None:
        return None
    seen = evidence.stable if is_stable else evidence.canary
    told = platform.broken(evidence.limits, seen)
    slot = evidence.stable_slot if is_stable else evidence.slot
    return f"platform metrics of slot {slot}: {told}" if told else None


def _weakness(q: Question) -> str:
    if q.identified_by == IdentifyBy.VERSION:
        return ""
    return f" (builds told apart by {q.identified_by.replace('_', ' ')} only)"


def _doubts(q: Question) -> str:
    """Return what a person should know of a good verdict."""
    error = q.platform.error if q.platform else None
    unread = f"; platform metrics are not known: {error}" if error else ""
    return f"{_weakness(q)}{unread}"


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
    if q.newest_age is not None:
        numbers["telemetry_age_s"] = round(q.newest_age.total_seconds(), 3)
    if q.identified_by != IdentifyBy.VERSION:
        numbers["identified_by"] = str(q.identified_by)
    if q.platform is not None:
        numbers |= platform.numbers(q.platform)
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
