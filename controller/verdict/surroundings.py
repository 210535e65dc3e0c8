"""Whether something is wrong that is not the new build's doing: stable suffers as well."""

from datetime import timedelta
from typing import Final

from controller.verdict.buckets import Totals, total
from controller.verdict.question import Question

_RECENT: Final = timedelta(minutes=5)
_RECENT_BUCKETS: Final = 20  # no more than these: five minutes of 15 s
_TIMES_USUAL: Final = 3.0
_POINTS: Final = 0.01


def suffering(question: Question) -> str | None:
    """Return what the stable build suffers from lately, with numbers; None where it does well.

    Its last five minutes (twenty buckets, where those are shorter) are held against its own past
    and against the absolute limits. Such a time proves no build healthy; against a build speaks
    only what is worse than stable even then.
    """
    arms = [pair.stable for pair in question.pairs if pair.stable is not None]
    if not arms:
        return None
    newest = arms[-1].start
    recent = min(_RECENT, _RECENT_BUCKETS * question.bucket)
    seen = total(arm for arm in arms if arm.start > newest - recent)
    if seen.rows < question.limits.min_requests or seen.error_rate is None:
        return None
    return _failing(question, seen, seen.error_rate) or _slow(question, seen)


def _failing(question: Question, seen: Totals, rate: float) -> str | None:
    limits, learned = question.limits, question.learned
    told = f"error rate {rate:.1%} over {seen.requests} requests"
    if rate > limits.error_rate_max:
        return f"{told}, limit {limits.error_rate_max:.1%}"
    usual = learned.failed_rows / learned.rows if learned and learned.rows else None
    if usual is not None and rate > _TIMES_USUAL * usual and rate > usual + _POINTS:
        return f"{told}, usually {usual:.2%}"
    return None


def _slow(question: Question, seen: Totals) -> str | None:
    limits = question.limits
    latency = seen.percentile(limits.latency_percentile)
    if latency is None or latency <= limits.latency_ms_max:
        return None
    name = f"p{limits.latency_percentile}"
    return f"{name} {latency:.0f} ms, limit {limits.latency_ms_max:.0f} ms"
