"""Six labels, each at its edge; the same question, the same answer."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.events import Label
from controller.core.plan import Limits
from controller.core.telemetry import PlatformLimits
from controller.verdict.buckets import Bucket, latency_bin
from controller.verdict.judge import JUDGE, Question, judge
from controller.verdict.platform import PlatformEvidence, SlotTotals

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LIMITS = Limits(error_rate_max=0.05, latency_percentile=95, latency_ms_max=1000, min_requests=20)
FAST, SLOW = latency_bin(50.0), latency_bin(1500.0)


def seen(rows: int, *, failed: int = 0, slow: int = 0, weight: int = 1) -> list[Bucket]:
    """Return *rows* requests, each standing for *weight*, in one bucket."""
    latency = {FAST: (rows - slow) * weight, SLOW: slow * weight}
    return [
        Bucket(
            start=T0,
            rows=rows,
            requests=rows * weight,
            failed_rows=failed,
            failed=failed * weight,
            latency={place: count for place, count in latency.items() if count},
        )
    ]


def question(**changes: Any) -> Question:
    """Return a healthy step, well past its least observation."""
    base = Question(
        limits=LIMITS,
        canary=seen(100),
        stable=seen(100),
        elapsed=90 * SECOND,
        min_observation=60 * SECOND,
        max_observation=300 * SECOND,
        provider_silence=10 * SECOND,
        provider_grace=120 * SECOND,
    )
    return replace(base, **changes)


QUIET = {"canary": seen(19)}
LATE = {"elapsed": 300 * SECOND}
SILENT = {"provider_silence": 121 * SECOND}
STALE = {"newest_age": 171 * SECOND, "stale_after": 170 * SECOND}


def platform(
    *, requests: float | None, http5xx: float = 0, stable_http5xx: float = 0
) -> dict[str, Any]:
    """Return what both slots' front ends counted; None: it could not be read."""

    def counted(bad: float) -> SlotTotals | None:
        if requests is None:
            return None
        return SlotTotals(since=T0, until=T0, minutes=1, requests=requests, http5xx=bad)

    return {
        "platform": PlatformEvidence(
            limits=PlatformLimits(region="r", http5xx_rate_max=0.05, min_requests=20),
            slot="blue",
            stable_slot="production",
            canary=counted(http5xx),
            stable=counted(stable_http5xx),
            error="403" if requests is None else None,
        )
    }


L = Label
# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, dict[str, Any], Label]] = [
    # id                      changes                                                      label
    ("fine",                  {},                                                          L.HEALTHY),
    ("just-long-enough",      {"elapsed": 60 * SECOND},                                    L.HEALTHY),
    ("too-short",             {"elapsed": 60 * SECOND - timedelta(milliseconds=1)},        L.CONTINUE),
    ("just-enough",           {"canary": seen(20)},                                        L.HEALTHY),
    ("one-too-few",           QUIET,                                                       L.CONTINUE),
    ("too-few-and-late",      QUIET | LATE,                                                L.INSUFFICIENT_DATA),
    ("too-few-nearly-late",   QUIET | {"elapsed": 300 * SECOND - timedelta(milliseconds=1)}, L.CONTINUE),
    ("enough-and-late",       LATE,                                                        L.HEALTHY),
    ("nothing-and-late",      {"canary": []} | LATE,                                       L.INSUFFICIENT_DATA),
    ("nothing-yet",           {"canary": []},                                              L.CONTINUE),
    ("nothing-without-end",   {"canary": [], "max_observation": None, "elapsed": timedelta(days=9)}, L.CONTINUE),
    ("at-the-error-limit",    {"canary": seen(100, failed=5)},                             L.HEALTHY),
    ("over-the-error-limit",  {"canary": seen(100, failed=6)},                             L.REGRESSED),
    ("over-it-at-once",       {"canary": seen(20, failed=2), "elapsed": SECOND},           L.REGRESSED),
    ("over-it-in-too-few",    {"canary": seen(19, failed=19)},                             L.CONTINUE),
    ("all-fail-too-few-late", {"canary": seen(19, failed=19)} | LATE,                      L.INSUFFICIENT_DATA),
    ("slow-tail-within",      {"canary": seen(100, slow=5)},                               L.HEALTHY),
    ("slow-tail-beyond",      {"canary": seen(100, slow=6)},                               L.REGRESSED),
    ("one-row-for-many",      {"canary": seen(2, failed=2, weight=1000)},                  L.CONTINUE),
    ("sampled-and-enough",    {"canary": seen(20, failed=2, weight=1000)},                 L.REGRESSED),
    ("both-fail",             {"canary": seen(100, failed=50), "stable": seen(100, failed=50)}, L.AMBIENT_INCIDENT),
    ("both-suffer-otherwise", {"canary": seen(100, failed=50), "stable": seen(100, slow=50)}, L.AMBIENT_INCIDENT),
    ("stable-alone-fails",    {"stable": seen(100, failed=50)},                            L.HEALTHY),
    ("stable-few-but-alike",  {"canary": seen(100, failed=50), "stable": seen(19, failed=19)}, L.CONTINUE),
    ("alike-to-the-end",      LATE | {"canary": seen(100, failed=50), "stable": seen(19, failed=19)}, L.AMBIENT_INCIDENT),
    ("alike-and-silent",      SILENT | {"canary": seen(100, failed=50), "stable": seen(19, failed=19)}, L.PROVIDER_UNAVAILABLE),
    ("alike-at-half-the-rate", {"canary": seen(100, failed=50), "stable": seen(4, failed=1)},  L.CONTINUE),
    ("stable-few-and-better", {"canary": seen(100, failed=50), "stable": seen(5, failed=1)},  L.REGRESSED),
    ("stable-few-and-fine",   {"canary": seen(100, failed=50), "stable": seen(19)},            L.REGRESSED),
    ("stable-few-but-slow",   {"canary": seen(100, slow=50), "stable": seen(3, slow=3)},       L.CONTINUE),
    ("fails-and-stable-slow", {"canary": seen(100, failed=50), "stable": seen(3, slow=3)},     L.CONTINUE),
    ("stable-saw-nothing",    {"canary": seen(100, failed=50), "stable": []},              L.REGRESSED),
    ("first-release-fails",   {"canary": seen(100, failed=50), "stable": None},            L.REGRESSED),
    ("first-release-fine",    {"stable": None},                                            L.HEALTHY),
    ("provider-in-grace",     {"provider_silence": 120 * SECOND},                          L.HEALTHY),
    ("provider-past-grace",   SILENT,                                                      L.PROVIDER_UNAVAILABLE),
    ("silent-and-late",       QUIET | LATE | SILENT,                                       L.PROVIDER_UNAVAILABLE),
    ("silent-but-known-bad",  SILENT | {"canary": seen(100, failed=50)},                   L.REGRESSED),
    ("fresh-enough",          {"newest_age": 170 * SECOND, "stale_after": 170 * SECOND},       L.HEALTHY),
    ("stale",                 STALE,                                                       L.CONTINUE),
    ("stale-and-late",        STALE | LATE,                                                L.INSUFFICIENT_DATA),
    ("stale-but-known-bad",   STALE | {"canary": seen(100, failed=50)},                    L.REGRESSED),
    ("age-not-known",         {"newest_age": None, "stale_after": SECOND},                 L.HEALTHY),
    ("platform-fine",         platform(requests=100),                                      L.HEALTHY),
    ("platform-never-proves", QUIET | LATE | platform(requests=9000),                      L.INSUFFICIENT_DATA),
    ("platform-blames",       platform(requests=100, http5xx=6),                           L.REGRESSED),
    ("platform-blames-alone", {"canary": []} | platform(requests=100, http5xx=100),        L.REGRESSED),
    ("platform-while-silent", SILENT | platform(requests=100, http5xx=6),                  L.REGRESSED),
    ("platform-fine-silent",  SILENT | platform(requests=100),                             L.PROVIDER_UNAVAILABLE),
    ("platform-too-few",      platform(requests=19, http5xx=19),                           L.HEALTHY),
    ("platform-both",         platform(requests=100, http5xx=9, stable_http5xx=9),         L.AMBIENT_INCIDENT),
    ("platform-excuses",      platform(requests=100, stable_http5xx=9) | {"canary": seen(100, failed=50)}, L.AMBIENT_INCIDENT),
    ("telemetry-excuses",     platform(requests=100, http5xx=9) | {"stable": seen(100, failed=50)}, L.AMBIENT_INCIDENT),
    ("platform-stable-alone", platform(requests=100, stable_http5xx=9),                    L.HEALTHY),
    ("platform-not-read",     platform(requests=None),                                     L.HEALTHY),
    ("silent-in-an-incident", SILENT | {"canary": seen(100, failed=50), "stable": seen(100, failed=50)}, L.AMBIENT_INCIDENT),
]
# fmt: on


@pytest.mark.parametrize(
    ("changes", "label"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_the_label(changes: dict[str, Any], label: Label) -> None:
    """Each question gets the label that the table says, with a reason for a tired person."""
    judgement = judge(question(**changes))

    assert judgement.label is label
    assert judgement.reason


def test_every_label_has_its_case() -> None:
    assert {label for *_, label in CASES} == set(Label)


def test_the_reason_names_value_and_limit() -> None:
    assert judge(question(canary=seen(100, failed=12))).reason == (
        "error rate 12.0% over 100 requests, limit 5.0%"
    )
    slow = judge(question(canary=seen(100, slow=50))).reason
    assert slow.startswith("p95 15")
    assert slow.endswith("ms over 100 requests, limit 1000 ms")


def test_the_reason_tells_what_the_provider_said() -> None:
    told = judge(question(**SILENT, provider_error="429 Too Many Requests"))

    assert told.reason == "no telemetry answer for 121 s: 429 Too Many Requests"


def test_what_the_platform_says_is_named_with_its_slot_and_numbers() -> None:
    """Also that it could not be read: never silently."""
    told = judge(question(canary=[], **platform(requests=100, http5xx=12)))

    assert told.reason == (
        "platform metrics of slot blue: 5xx rate 12.0% over 100 requests, limit 5.0%"
    )
    assert told.numbers["platform_canary_http5xx_rate"] == 0.12
    assert told.numbers["platform_stable_http5xx"] == 0
    assert told.numbers["limit_platform_http5xx_rate"] == 0.05
    unread = judge(question(**platform(requests=None)))
    assert unread.numbers["platform_error"] == "403"
    assert unread.reason.endswith("; platform metrics are not known: 403")
    assert not [name for name in judge(question()).numbers if "platform" in name]


def test_builds_that_are_told_apart_by_place_are_judged_with_that_said() -> None:
    weak = {"identified_by": "role_name"}

    assert judge(question(**weak)).numbers["identified_by"] == "role_name"
    for asked in (question(**weak), question(**weak, canary=seen(100, failed=50))):
        assert judge(asked).reason.endswith("(builds told apart by role name only)")
    assert "identified_by" not in judge(question()).numbers


def test_stale_telemetry_is_named_with_its_age() -> None:
    told = judge(question(**STALE))

    assert told.reason == (
        "100 of 20 requests seen; the newest telemetry is 171 s old, 170 s at most wanted"
    )
    assert told.numbers["telemetry_age_s"] == 171


def test_the_numbers_are_those_that_it_was_decided_by() -> None:
    numbers = judge(question(canary=seen(100, failed=6))).numbers

    assert numbers["canary_requests"] == 100
    assert numbers["canary_failed"] == 6
    assert numbers["canary_error_rate"] == 0.06
    assert numbers["canary_p95_ms"] == pytest.approx(50, rel=0.05)
    assert numbers["stable_error_rate"] == 0.0
    assert numbers["limit_error_rate"] == 0.05
    assert numbers["limit_p95_ms"] == 1000
    assert numbers["limit_min_requests"] == 20
    assert numbers["elapsed_s"] == 90.0
    assert numbers["provider_silence_s"] == 10.0


def test_no_stable_build_no_stable_numbers() -> None:
    numbers = judge(question(stable=None)).numbers

    assert not [name for name in numbers if name.startswith("stable_")]


def test_without_requests_there_is_no_rate_not_a_rate_of_zero() -> None:
    numbers = judge(question(canary=[])).numbers

    assert numbers["canary_error_rate"] is None
    assert numbers["canary_p95_ms"] is None


def test_the_judge_names_itself() -> None:
    assert judge(question()).judge == JUDGE


# --- Whatever is asked ----------------------------------------------------------------------------

big = st.integers(0, 10**9)


@st.composite
def arms(draw: st.DrawFn) -> list[Bucket]:
    arm: list[Bucket] = []
    for _ in range(draw(st.integers(0, 4))):
        requests = draw(big)
        latency = draw(st.dictionaries(st.integers(-40, 300), big, max_size=4))
        failed = draw(st.integers(0, requests))
        rows = draw(st.integers(0, requests))
        arm.append(Bucket(start=T0, rows=rows, requests=requests, failed=failed, latency=latency))
    return arm


times = st.timedeltas(timedelta(0), timedelta(days=30))
questions = st.builds(
    Question,
    limits=st.builds(
        Limits,
        error_rate_max=st.floats(0, 1),
        latency_percentile=st.integers(1, 100),
        latency_ms_max=st.floats(1, 1e6),
        min_requests=st.integers(1, 10**6),
    ),
    canary=arms(),
    stable=st.none() | arms(),
    elapsed=times,
    min_observation=times,
    max_observation=st.none() | times,
    provider_silence=times,
    provider_grace=times,
    provider_error=st.none() | st.text(max_size=20),
)


@given(questions)
def test_every_question_gets_an_answer_of_plain_numbers(asked: Question) -> None:
    """No exception, no NaN, no infinity, for counts up to a thousand million."""
    judgement = judge(asked)

    assert judgement.reason
    for value in judgement.numbers.values():
        assert value is None or isinstance(value, str) or math.isfinite(value)


@given(questions)
def test_the_same_question_gets_the_same_answer(asked: Question) -> None:
    assert judge(asked) == judge(replace(asked))


@given(questions)
def test_healthy_needs_evidence(asked: Question) -> None:
    """No evidence is not success."""
    judgement = judge(asked)

    if judgement.label is Label.HEALTHY:
        assert sum(b.rows for b in asked.canary) >= asked.limits.min_requests
        assert asked.elapsed >= asked.min_observation
        assert asked.provider_silence <= asked.provider_grace


@given(st.integers(1, 5000), st.data())
def test_more_failures_never_look_better(rows: int, data: st.DataObject) -> None:
    """Once blamed, a build with more failures is still blamed."""
    few = data.draw(st.integers(0, rows))
    more = data.draw(st.integers(few, rows))

    with_few = judge(question(canary=seen(rows, failed=few))).label
    with_more = judge(question(canary=seen(rows, failed=more))).label

    if with_few is Label.REGRESSED:
        assert with_more is Label.REGRESSED
    if with_more is Label.HEALTHY:
        assert with_few is Label.HEALTHY


@given(st.integers(0, 300), st.integers(0, 300))
def test_more_slow_answers_never_look_better(few: int, more: int) -> None:
    few, more = min(few, more), max(few, more)
    with_few = judge(question(canary=seen(300, slow=few))).label

    assert with_few is Label.HEALTHY or (
        judge(question(canary=seen(300, slow=more))).label is Label.REGRESSED
    )
