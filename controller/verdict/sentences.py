"""Verdicts in words that a tired person understands, with the numbers."""

from collections.abc import Mapping
from typing import Final

from controller.core.events import Label
from controller.core.telemetry import IdentifyBy
from controller.verdict.arms import QUANTILES
from controller.verdict.buckets import Totals
from controller.verdict.detectable import rate_noticed_by_now
from controller.verdict.evidence import Evidence, Weighed
from controller.verdict.health import Health
from controller.verdict.question import Phase, Question

_LEAST: Final = 0.0005
_MANY: Final = 100  # shown without decimals
_LOTS: Final = 1e6  # shown as a power of ten
HEADLINES: Final[Mapping[Label, str]] = {
    Label.HEALTHY: "as good as it has to be",
    Label.REGRESSED: "worse than it may be",
    Label.INSUFFICIENT_DATA: "too little was seen to tell",
    Label.PROVIDER_UNAVAILABLE: "telemetry does not answer",
    Label.AMBIENT_INCIDENT: "something is wrong that is not its doing",
    Label.CONTINUE: "still being watched",
}
_TESTS: Final = {
    "errors": "errors",
    "latency_limit": "latency within its limit",
    **{f"latency_p{percent}": f"p{percent}" for percent in QUANTILES},
}
SIGNALS: Final = {
    "silence": "its traffic does not show",
    "probes": "our own requests fail",
    "latency_limit": "slower than its limit",
    **_TESTS,
}


def told_of(question: Question, evidence: Evidence, name: str) -> str:
    """Return what signal *name* shows: both builds' figures since the first users."""
    canary, stable = evidence.canary, evidence.stable
    if name == "errors":
        own = _probes(question) if _probes_blame(question) else ""
        users = _errors(question, canary, stable) if canary.requests else ""
        return "; ".join(filter(None, (users, own))) or _errors(question, canary, stable)
    if name == "silence":
        return _silence(question, canary, stable)
    if name == "probes":
        return _probes(question)
    if name == "latency_limit":
        limits = question.limits
        percent, limit = limits.latency_percentile, limits.latency_ms_max
        return f"p{percent} {_ms(canary.percentile(percent))}, limit {limit:.0f} ms"
    for which in QUANTILES:
        if name == f"latency_p{which}":
            return _latency(which, canary, stable)
    return _metric(question, name)


def _errors(question: Question, canary: Totals, stable: Totals | None) -> str:
    own = f"error rate {percent(canary.error_rate)} of {canary.requests} requests"
    if stable is not None:
        return f"{own}, stable {percent(stable.error_rate)} of {stable.requests}"
    learned = question.learned
    if learned is not None and learned.rows:
        return f"{own}, before it {percent(learned.failed_rows / learned.rows)}"
    return f"{own}, limit {percent(question.limits.error_rate_max)}"


def _latency(which: int, canary: Totals, stable: Totals | None) -> str:
    own = canary.percentile(which)
    if stable is None:
        return f"p{which} {_ms(own)}"
    its = stable.percentile(which)
    times = f"{own / its:.1f}x: " if own and its else ""
    return f"p{which} {times}{_ms(own)}, stable {_ms(its)}"


def _silence(question: Question, canary: Totals, stable: Totals | None) -> str:
    requests = canary.requests + (stable.requests if stable else 0)
    share = canary.requests / requests if requests else 0.0
    wanted = min((p.share for p in question.pairs if p.share > 0), default=0.0)
    shown = f"{percent(share)} of the requests that telemetry shows are the new build's"
    return f"its traffic does not show: {shown}, it was given {percent(wanted)} or more"


def _probes(question: Question) -> str:
    rounds = [pair.probes for pair in question.pairs if pair.probes is not None]
    figures = [
        f"{sum(each[arm].bad for each in rounds)} of {sum(each[arm].total for each in rounds)}"
        for arm in (0, 1)
    ]
    return f"our own requests fail: {figures[0]}, at the stable build {figures[1]}"


def _probes_blame(question: Question) -> bool:
    """Whether the new build fails more of our own requests than the stable one does."""
    rounds = [pair.probes for pair in question.pairs if pair.probes is not None]
    return sum(each[0].bad for each in rounds) > sum(each[1].bad for each in rounds)


def _metric(question: Question, name: str) -> str:
    found = [pair.metrics[name] for pair in question.pairs if name in pair.metrics]
    shares: list[str] = []
    for arm in (0, 1):
        seen = sum(each[arm].total for each in found)
        bad = sum(each[arm].bad for each in found)
        shares.append(f"{percent(bad / seen if seen else None)} of {seen}")
    return f"metric {name}: bad {shares[0]}, stable {shares[1]}"


def effect_of(
    question: Question, evidence: Evidence, health: Health, canary: Totals, stable: Totals | None
) -> str:
    """Return why the build counts as healthy."""
    need = 1 / question.gate.beta
    if question.phase is Phase.BAKE:
        own = f"nothing speaks against it over {canary.requests} requests"
        rates = f"error rate {percent(canary.error_rate)}"
        return f"{own}: {rates}; evidence against it {ratio(evidence.now)}"
    shown = (
        f"acceptable at {ratio(health.now)} (needs {ratio(need)}) over {canary.requests} requests"
    )
    rates = f"error rate {percent(canary.error_rate)}"
    if stable is not None and stable.rows:
        rates = f"{rates}, stable {percent(stable.error_rate)}"
        for which in (50, 99):
            ours, its = canary.percentile(which), stable.percentile(which)
            if ours and its:
                rates = f"{rates}; p{which} {ours / its:.2f}x"
    return f"{shown}: {rates}; evidence against it {ratio(evidence.now)}"


def lacking(question: Question, evidence: Evidence, health: Health, canary: Totals) -> str | None:
    """Return what is missing before the build counts as healthy; None where nothing is.

    In the bake it has been shown to be acceptable step by step; there it is only watched.
    """
    least, needed = question.limits.min_requests, 1 / question.gate.beta
    if canary.rows < least:
        return f"{canary.rows} of {least} requests seen"
    if stale := _staleness(question):
        return stale
    if evidence.now >= question.gate.suspicious:
        leading = max(evidence.signals, key=lambda s: s.weight * s.course[-1])
        return (
            f"suspicious: evidence {ratio(evidence.now)} against it (takes back at "
            f"{ratio(evidence.threshold)}), {told_of(question, evidence, leading.name)}"
        )
    if question.phase is Phase.CANARY and health.now < needed:
        shown = f"{_TESTS[health.weakest]} shown at {ratio(health.now)}, {ratio(needed)} needed"
        return f"not enough data yet: {shown}{_noticed(question, evidence)}"
    return None


def _noticed(question: Question, evidence: Evidence) -> str:
    rate = rate_noticed_by_now(question) if evidence.stable is not None else None
    if rate is None:
        return ""
    return f"; an error rate above {percent(rate)} would have been noticed by now"


def _staleness(q: Question) -> str | None:
    """Return how far behind telemetry is, where that is too far; clocks that are off look alike."""
    if q.newest_age is None or q.stale_after is None or q.newest_age <= q.stale_after:
        return None
    age, most = (span.total_seconds() for span in (q.newest_age, q.stale_after))
    return f"the newest telemetry is {age:.0f} s old, {most:.0f} s at most wanted"


def opposed(question: Question, evidence: Evidence, leading: Weighed) -> str:
    """Return the signals that do not see it, where they had the chance."""
    rounds = [pair.probes for pair in question.pairs if pair.probes is not None]
    sent = sum(each[0].total for each in rounds)
    bad = sum(each[0].bad for each in rounds)
    if leading.name in {"errors", "silence"} and sent and not bad:
        return f"yet all {sent} requests of our own to it went well"
    errors = next(s for s in evidence.signals if s.name == "errors")
    if leading.name == "probes" and errors.peak < 1:
        return "yet its users' error rate shows nothing"
    return ""


def weakness(q: Question) -> str:
    """Return what makes the comparison weaker than it should be."""
    if q.identified_by == IdentifyBy.VERSION:
        return ""
    return f" (builds told apart by {str(q.identified_by).replace('_', ' ')} only)"


def percent(rate: float | None) -> str:
    """Return a rate as people read it."""
    if rate is None:
        return "unknown"
    return f"{rate:.1%}" if rate >= _LEAST or rate == 0 else f"{rate:.3%}"


def ratio(value: float) -> str:
    """Return evidence as odds."""
    shown = (
        f"{value:.1f}" if value < _MANY else f"{value:,.0f}" if value < _LOTS else f"{value:.0e}"
    )
    return f"{shown.removesuffix('.0')} : 1"


def _ms(latency: float | None) -> str:
    return "unknown" if latency is None else f"{latency:.0f} ms"
