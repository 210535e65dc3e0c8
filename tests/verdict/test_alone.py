"""Everybody is on the new build: what there is to compare with, and what is blamed on nobody."""

from typing import Any

import pytest

from controller.core.events import Label
from controller.verdict.arms import A_MOMENT
from controller.verdict.buckets import Counts, latency_bin
from controller.verdict.judge import judge
from controller.verdict.question import Pair, Phase
from tests.verdict.test_judge import BUCKET, pairs, question

USUAL, MUCH_SLOWER = latency_bin(20.0), latency_bin(90.0)
BAKE: dict[str, Any] = {"phase": Phase.BAKE}


def own(bad: int = 0, *, of: int = 20, slow: int = 0) -> Counts:
    """Return requests of ours to one build."""
    bins = {USUAL: of - slow, MUCH_SLOWER: slow}
    return Counts(total=of, bad=bad, histogram={place: n for place, n in bins.items() if n})


def alone(
    count: int, canary: tuple[int, ...], probes: tuple[Counts, Counts] | None, since: int = 0
) -> list[Pair]:
    """Return buckets in which stable has no users."""
    return pairs(count, canary=canary, stable=(0,), share=1.0, probes=probes, since=since)


GOOD = alone(8, (1500, 15), (own(), own()))


@pytest.mark.parametrize(
    ("buckets", "failing", "answers"),
    [(1, 1500, 20), (2, 1500, 0), (5, 450, 0), (3, 450, 6)],
    ids=["all", "all-of-users", "a-third-of-users", "a-third"],
)
def test_a_build_that_breaks_is_blamed_where_stable_answers_us(
    buckets: int, failing: int, answers: int
) -> None:
    broken = alone(buckets, (1500, failing), (own(answers), own()), since=8)

    verdict = judge(question(pairs=[*GOOD, *broken], **BAKE))

    assert verdict.label is Label.REGRESSED, verdict.reason
    assert "beside what the stable build answered us, a looser claim" in verdict.reason


@pytest.mark.parametrize("slow", [0, 600, 1500])
def test_what_shakes_both_builds_is_blamed_on_neither(slow: int) -> None:
    """A fifth of everything fails, and all of it takes long: our requests to stable, too."""
    probes = (own(4, slow=20 * slow // 1500), own(4, slow=20 * slow // 1500))
    shaken = alone(40, (1500, 300, slow), probes, since=8)

    verdict = judge(question(pairs=[*GOOD, *shaken], **BAKE))

    assert verdict.label in {Label.CONTINUE, Label.AMBIENT_INCIDENT}, verdict.reason


def test_users_who_wait_while_stable_answers_us_as_ever_are_evidence() -> None:
    slow = alone(12, (1500, 15, 1500), (own(), own()), since=8)

    verdict = judge(question(pairs=[*GOOD, *slow], **BAKE))

    assert verdict.label is Label.REGRESSED
    assert "p50" in verdict.reason or "p90" in verdict.reason or "p99" in verdict.reason


def test_a_bucket_without_our_requests_is_no_reason_to_trust_the_past() -> None:
    """A poll that came late closes buckets that it asked nobody in: an outage begins there."""
    unasked = alone(A_MOMENT, (1500, 300), None, since=8)
    asked = alone(1, (1500, 300), (own(4), own(4)), since=8 + A_MOMENT)

    verdict = judge(question(pairs=[*GOOD, *unasked, *asked], **BAKE))

    assert verdict.label is not Label.REGRESSED, verdict.reason


def test_where_stable_is_never_asked_the_past_has_to_do() -> None:
    broken = alone(2, (1500, 450), None)

    verdict = judge(question(pairs=broken, **BAKE))

    assert verdict.label is Label.REGRESSED
    assert "a looser claim" in verdict.reason


def test_telemetry_that_comes_late_is_no_silence_until_it_had_time_to_come() -> None:
    """Two minutes late: of the first two minutes nothing can be seen, and stable is always seen."""
    late = {"lag": 8 * BUCKET}
    waited = pairs(12, canary=(0,), **late)
    dead = pairs(20, canary=(0,), **late)

    assert judge(question(pairs=waited)).label is Label.CONTINUE
    assert judge(question(pairs=dead)).label is Label.REGRESSED
    assert judge(question(pairs=pairs(12, canary=(0,)))).label is Label.REGRESSED


def test_a_slow_start_that_is_told_late_is_still_a_slow_start() -> None:
    late = {"lag": 8 * BUCKET}
    cold = pairs(3, canary=(150, 1, 150), since=8, **late)
    rest = pairs(20, since=11, **late)

    verdict = judge(question(pairs=[*pairs(8, canary=(0,), **late), *cold, *rest]))

    assert verdict.label is Label.HEALTHY, verdict.reason


def test_of_a_handful_of_requests_no_quantile_is_read() -> None:
    """Without a past what is slow is learned in the warm-up: one odd second must not say it."""
    few = pairs(4, canary=(2, 0), stable=(6, 0, 0))
    rest = pairs(20, canary=(150, 1, 30), stable=(1350, 13, 270), since=4)

    verdict = judge(question(pairs=[*few, *rest], learned=None), with_course=True)

    assert {s.name for s in verdict.signals if s.evidence > 1} <= {"errors"}
    assert verdict.label is Label.HEALTHY, verdict.reason
