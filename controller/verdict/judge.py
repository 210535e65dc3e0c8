"""The judge: all closed buckets of a rollout in, one judgement out.

It compares the new build with the stable one *at the same time*, may be asked as often as one
likes, says so when it cannot tell, and lets a healthy build through as soon as that is shown.
docs/judge.md explains it with pictures. It is stateless and deterministic: any judgement can be
computed again from the question that was kept with it.
"""

from collections.abc import Sequence
from typing import Final

from controller.core.events import Label, Number
from controller.core.gate import Criticality
from controller.verdict import platform, surroundings
from controller.verdict.arms import A_MOMENT, Control, control_of
from controller.verdict.buckets import Totals, total
from controller.verdict.course import course_of, signals_of
from controller.verdict.evidence import Evidence, Weighed
from controller.verdict.health import Health
from controller.verdict.memory import Memory
from controller.verdict.question import Course, Judgement, Pair, Question
from controller.verdict.sentences import effect_of, lacking, opposed, ratio, told_of, weakness

__all__ = ["JUDGE", "Judgement", "Question", "arm_numbers", "judge"]

JUDGE: Final = "evidence-gate/1"
_PERCENTILES: Final = (50, 90, 95, 99)


def judge(
    question: Question, *, with_course: bool = False, memory: Memory | None = None
) -> Judgement:
    """Return what the evidence says now. Pure; the same question gets the same answer.

    Args:
        question: everything that the judgement depends on.
        with_course: with every signal and how the evidence came to be, for people; it takes longer.
        memory: of this rollout, where it is judged again and again: saves time, changes nothing.
    """
    evidence, health = (Memory() if memory is None else memory).look(question)
    step = [p for p in question.pairs if _is_of_step(question, p)]
    canary, stable = evidence.canary, evidence.stable
    if len(step) < len(question.pairs):
        canary, stable = total(pair.canary for pair in step), _stable_of(step)
    label, reason = _decide(question, evidence, health, canary, stable)
    return Judgement(
        label=label,
        reason=f"{reason}{_doubts(question)}" if label is Label.HEALTHY else reason,
        numbers=_numbers(question, evidence, health, canary, stable),
        judge=JUDGE,
        signals=signals_of(question, evidence, health) if with_course else (),
        course=course_of(question, evidence, health) if with_course else Course(),
    )


def _is_of_step(question: Question, pair: Pair) -> bool:
    return question.step_since is None or pair.start >= question.step_since


def _stable_of(pairs: Sequence[Pair]) -> Totals | None:
    arms = [pair.stable for pair in pairs if pair.stable is not None]
    return total(arms) if arms else None


def _decide(
    q: Question, evidence: Evidence, health: Health, canary: Totals, stable: Totals | None
) -> tuple[Label, str]:
    counted = _broken_on_platform(q, is_stable=False)
    same = _broken_on_platform(q, is_stable=True)
    blamed = _blamed(q, evidence)
    # Platform metrics excuse what nothing but the past was there to compare with.
    excused = bool(same) and (not blamed or evidence.stable is None)
    if (blamed or counted) and not excused:
        return Label.REGRESSED, f"{blamed or counted}{weakness(q)}"
    if q.provider_silence > q.provider_grace:
        told = f": {q.provider_error}" if q.provider_error else ""
        seconds = q.provider_silence.total_seconds()
        return Label.PROVIDER_UNAVAILABLE, f"no telemetry answer for {seconds:.0f} s{told}"
    if blamed or counted:
        said = f"the stable build suffers too ({same}; new: {blamed or counted})"
        return Label.AMBIENT_INCIDENT, said
    if suffering := surroundings.suffering(q):
        return Label.AMBIENT_INCIDENT, f"the stable build suffers: {suffering}"
    return _without_blame(q, evidence, health, canary, stable)


def _without_blame(
    q: Question, evidence: Evidence, health: Health, canary: Totals, stable: Totals | None
) -> tuple[Label, str]:
    is_late = q.max_observation is not None and q.elapsed >= q.max_observation
    unread = _unread(q)
    if unread and is_late:
        return Label.PROVIDER_UNAVAILABLE, unread
    lacks = unread or _limits_broken(q, canary) or lacking(q, evidence, health, canary)
    if lacks is None:
        if q.elapsed >= q.min_observation:
            return Label.HEALTHY, effect_of(q, evidence, health, canary, stable)
        left = (q.min_observation - q.elapsed).total_seconds()
        return Label.CONTINUE, f"healthy so far; looked at for another {left:.0f} s"
    if is_late:
        seen = f"{canary.requests} requests seen in {q.elapsed.total_seconds():.0f} s"
        return Label.INSUFFICIENT_DATA, f"{seen}: {lacks}"
    return Label.CONTINUE, lacks


def _blamed(q: Question, evidence: Evidence) -> str | None:
    """Return why the new build is to be taken back, with numbers."""
    critical = evidence.critical(q.gate.alpha)
    if critical is not None:
        needed = 1 / (q.gate.alpha * critical.weight)
        shown = f"evidence {ratio(critical.peak)} (takes back at {ratio(needed)})"
        return f"{told_of(q, evidence, critical.name)}; {shown}"
    if evidence.peak < evidence.threshold:
        return None
    leading = max(
        (s for s in evidence.signals if s.weight > 0 and not s.decides_alone),
        key=lambda s: s.weight * s.peak,
    )
    shown = f"evidence {ratio(evidence.peak)} (takes back at {ratio(evidence.threshold)})"
    told = f"{told_of(q, evidence, leading.name)}; {shown}"
    return f"{told}{_looseness(q)}{_contradiction(q, evidence, leading)}"


def _looseness(q: Question) -> str:
    """Return what stands in for users of the stable build, where it has none."""
    before = q.pairs[-1 - A_MOMENT : -1]
    control = control_of(q.pairs[-1], was_probed=any(pair.probes for pair in before))
    if control is Control.PAST:
        return " by comparison with its past, a looser claim"
    if control is Control.STABLE or q.pairs[-1].share < 1:
        return ""
    return " beside what the stable build answered us, a looser claim"


def _contradiction(q: Question, evidence: Evidence, leading: Weighed) -> str:
    """Return which signals say the opposite, where something speaks clearly for the build."""
    others = opposed(q, evidence, leading)
    return f"; {others}" if others else ""


def _unread(q: Question) -> str | None:
    """Return which critical metric gives no answer: nothing passes without it."""
    for metric in q.gate.metrics:
        error = q.metric_errors.get(metric.name)
        if error and metric.criticality is Criticality.CRITICAL:
            return f"metric {metric.name} gives no answer: {error}"
    return None


def _limits_broken(q: Question, canary: Totals) -> str | None:
    """Return which absolute limit the step's own figures break: such a build is not healthy."""
    limits = q.limits
    if canary.rows < limits.min_requests:
        return None
    rate = canary.error_rate
    if rate is not None and rate > limits.error_rate_max:
        return f"error rate {rate:.1%} is over the limit of {limits.error_rate_max:.1%}"
    latency = canary.percentile(limits.latency_percentile)
    if latency is not None and latency > limits.latency_ms_max:
        name = f"p{limits.latency_percentile}"
        return f"{name} {latency:.0f} ms is over the limit of {limits.latency_ms_max:.0f} ms"
    return None


def _broken_on_platform(q: Question, *, is_stable: bool) -> str | None:
    """Return which limit a slot breaks by the platform's own count."""
    evidence = q.platform
    if evidence is None:
        return None
    seen = evidence.stable if is_stable else evidence.canary
    told = platform.broken(evidence.limits, seen)
    slot = evidence.stable_slot if is_stable else evidence.slot
    return f"platform metrics of slot {slot}: {told}" if told else None


def _doubts(q: Question) -> str:
    """Return what a person should know of a good verdict."""
    error = q.platform.error if q.platform else None
    unread = f"; platform metrics are not known: {error}" if error else ""
    silent = sorted(q.metric_errors)
    dumb = f"; metrics without an answer: {', '.join(silent)}" if silent else ""
    return f"{weakness(q)}{unread}{dumb}"


def _numbers(
    q: Question, evidence: Evidence, health: Health, canary: Totals, stable: Totals | None
) -> dict[str, Number]:
    numbers: dict[str, Number] = {
        "elapsed_s": round(q.elapsed.total_seconds(), 3),
        "provider_silence_s": round(q.provider_silence.total_seconds(), 3),
        "evidence": _figure(evidence.peak),
        "evidence_needed": _figure(evidence.threshold),
        "health": _figure(health.now),
        "health_needed": _figure(1 / q.gate.beta),
        **{f"canary_{name}": value for name, value in arm_numbers(canary).items()},
        "limit_error_rate": q.limits.error_rate_max,
        f"limit_p{q.limits.latency_percentile}_ms": q.limits.latency_ms_max,
        "limit_min_requests": q.limits.min_requests,
    }
    if q.newest_age is not None:
        numbers["telemetry_age_s"] = round(q.newest_age.total_seconds(), 3)
    if weakness(q):
        numbers["identified_by"] = str(q.identified_by)
    if q.platform is not None:
        numbers |= platform.numbers(q.platform)
    if stable is not None:
        numbers |= {f"stable_{name}": value for name, value in arm_numbers(stable).items()}
    return numbers


def _figure(value: float) -> float:
    """Four digits, whatever the size."""
    return float(f"{value:.4g}")


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
