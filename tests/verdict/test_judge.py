"""Six labels, each at its edge; the same question, the same answer."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.events import Label
from controller.core.gate import Criticality, Gate, Learned, Metric
from controller.core.plan import Limits
from controller.core.telemetry import PlatformLimits
from controller.verdict.buckets import Bucket, Counts, latency_bin
from controller.verdict.judge import JUDGE, judge
from controller.verdict.memory import Memory
from controller.verdict.platform import PlatformEvidence, SlotTotals
from controller.verdict.question import Pair, Phase, Question

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND, BUCKET = timedelta(seconds=1), timedelta(seconds=15)
FAST, SLOW = latency_bin(50.0), latency_bin(1500.0)
LIMITS = Limits(error_rate_max=0.05, latency_percentile=95, latency_ms_max=2000, min_requests=50)
LEARNED = Learned(since=T0, until=T0, rows=50_000, failed_rows=500, edges=(FAST, FAST, FAST))


def arm(at: int, rows: int, failed: int = 0, slow: int = 0, weight: int = 1) -> Bucket:
    """Return *rows* requests, each standing for *weight*."""
    latency = {place: n for place, n in {FAST: rows - slow, SLOW: slow}.items() if n}
    return Bucket(
        start=T0 + at * BUCKET,
        rows=rows,
        requests=rows * weight,
        failed_rows=failed,
        failed=failed * weight,
        latency={place: n * weight for place, n in latency.items()},
        latency_rows=latency if weight > 1 else None,
    )


def pairs(
    count: int = 12,
    *,
    canary: tuple[int, ...] = (150, 1),
    stable: tuple[int, ...] | None = (1350, 13),
    share: float = 0.1,
    probes: tuple[Counts, Counts] | None = None,
    since: int = 0,
    **more: Any,
) -> list[Pair]:
    """Return *count* buckets that are all alike; arms are (rows, failed, slow, weight)."""
    return [
        Pair(
            start=T0 + at * BUCKET,
            canary=arm(at, *canary),
            stable=arm(at, *stable) if stable is not None else None,
            share=share,
            probes=probes,
            **more,
        )
        for at in range(since, since + count)
    ]


def question(**changes: Any) -> Question:
    """Return a healthy step of three minutes, well past its least observation."""
    base = Question(
        limits=LIMITS,
        learned=LEARNED,
        pairs=pairs(),
        elapsed=180 * SECOND,
        min_observation=120 * SECOND,
        max_observation=1800 * SECOND,
        provider_silence=10 * SECOND,
        provider_grace=120 * SECOND,
    )
    return replace(base, **changes)


GOOD, BAD = Counts(total=1), Counts(total=1, bad=1)
LATE = {"elapsed": 1800 * SECOND}
SILENT = {"provider_silence": 121 * SECOND}
STALE = {"newest_age": 171 * SECOND, "stale_after": 170 * SECOND}
FAILING = {"pairs": pairs(4, canary=(150, 8))}
QUIET = {"pairs": pairs(canary=(6, 0), stable=(54, 0))}
BAKE = {"phase": Phase.BAKE}
ALONE: dict[str, Any] = {"stable": None, "share": 1.0}


def platform(*, http5xx: float | None, stable_http5xx: float = 0) -> dict[str, Any]:
    """Return what both slots' front ends counted of 100; None: it could not be read."""

    def counted(bad: float) -> SlotTotals | None:
        if http5xx is None:
            return None
        return SlotTotals(since=T0, until=T0, minutes=1, requests=100, http5xx=bad)

    limits = PlatformLimits(region="r", http5xx_rate_max=0.05, min_requests=20)
    return {
        "platform": PlatformEvidence(
            limits=limits,
            slot="blue",
            stable_slot="production",
            canary=counted(http5xx or 0),
            stable=counted(stable_http5xx),
            error="403" if http5xx is None else None,
        )
    }


def metric(criticality: Criticality, bad: int) -> dict[str, Any]:
    """Return a metric of which the new build is bad *bad* times in 100, and stable never."""
    gate = Gate(metrics=(Metric(name="pay", query="q", criticality=criticality),))
    seen = {"pay": (Counts(total=100, bad=bad), Counts(total=900))}
    return {"gate": gate, "pairs": pairs(metrics=seen)}


L = Label
# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, dict[str, Any], Label]] = [
    # id                       changes                                                        label
    ("fine",                   {},                                                            L.HEALTHY),
    ("just-long-enough",       {"elapsed": 120 * SECOND},                                     L.HEALTHY),
    ("too-short",              {"elapsed": 119 * SECOND},                                     L.CONTINUE),
    ("too-little-shown",       QUIET,                                                         L.CONTINUE),
    ("too-little-and-late",    QUIET | LATE,                                                  L.INSUFFICIENT_DATA),
    ("nothing-yet",            {"pairs": []},                                                 L.CONTINUE),
    ("nothing-and-late",       {"pairs": []} | LATE,                                          L.INSUFFICIENT_DATA),
    ("nothing-without-end",    {"pairs": [], "max_observation": None} | {"elapsed": timedelta(days=9)}, L.CONTINUE),
    ("fails-more",             FAILING,                                                       L.REGRESSED),
    ("within-tolerance",       {"pairs": pairs(40, stable=(1350, 12), canary=(150, 1))},      L.HEALTHY),
    ("three-accidents-once",   {"pairs": pairs(1, canary=(15, 3), stable=(135, 0))},          L.CONTINUE),
    ("all-fail-in-one-bucket", {"pairs": pairs(1, canary=(150, 150))},                        L.REGRESSED),
    ("slow",                   {"pairs": pairs(8, canary=(150, 1, 90))},                      L.REGRESSED),
    ("slow-only-at-first",     {"pairs": [*pairs(3, canary=(150, 1, 150)), *pairs(20, since=3)]}, L.HEALTHY),
    ("silent",                 {"pairs": pairs(canary=(0,))},                                 L.REGRESSED),
    ("silent-in-first-minute", {"pairs": pairs(4, canary=(0,))},                              L.CONTINUE),
    ("both-silent",            {"pairs": pairs(canary=(0,), stable=(0,))} | LATE,             L.INSUFFICIENT_DATA),
    ("share-was-raised",       {"pairs": [*pairs(4), *pairs(12, since=4, share=0.5)]},        L.HEALTHY),
    ("both-fail",              {"pairs": pairs(canary=(150, 30), stable=(1350, 270))},        L.AMBIENT_INCIDENT),
    ("stable-alone-fails",     {"pairs": pairs(canary=(150, 1), stable=(1350, 270))},         L.AMBIENT_INCIDENT),
    ("three-times-as-usual",   {"pairs": pairs(canary=(150, 6), stable=(1350, 50))},          L.AMBIENT_INCIDENT),
    ("worse-in-an-outage",     {"pairs": pairs(canary=(150, 90), stable=(1350, 270))},        L.REGRESSED),
    ("stable-reports-nothing", {"pairs": pairs(canary=(150, 30), stable=(0,))} | LATE,        L.INSUFFICIENT_DATA),
    ("first-release-fine",     {"pairs": pairs(**ALONE), "learned": None},                    L.HEALTHY),
    ("first-release-fails",    {"pairs": pairs(canary=(150, 30), **ALONE), "learned": None},  L.REGRESSED),
    ("first-release-slow",     {"pairs": pairs(canary=(150, 0, 90), **ALONE), "learned": None, "limits": replace(LIMITS, latency_ms_max=1000.0)}, L.REGRESSED),
    ("bake-fine",              {"pairs": pairs(canary=(150, 1), stable=(0,), share=1.0)} | BAKE, L.HEALTHY),
    ("bake-fails",             {"pairs": pairs(canary=(150, 30), stable=(0,), share=1.0)} | BAKE, L.REGRESSED),
    ("bake-fails-as-old-does", {"pairs": pairs(canary=(150, 30), stable=(0,), share=1.0, probes=(Counts(total=15, bad=3),) * 2)} | BAKE, L.CONTINUE),
    ("bake-with-pinned-users", {"pairs": pairs(canary=(1400, 100), stable=(100, 1), share=1.0)} | BAKE, L.REGRESSED),
    ("probes-fail",            {"pairs": pairs(8, canary=(2, 0), stable=(18, 0), probes=(BAD, GOOD))}, L.REGRESSED),
    ("probes-fail-alike",      {"pairs": pairs(8, canary=(2, 0), stable=(18, 0), probes=(BAD, BAD))}, L.CONTINUE),
    ("many-probes-fail",       {"pairs": pairs(4, canary=(2, 0), stable=(18, 0), probes=(Counts(total=75, bad=15), Counts(total=75)))}, L.REGRESSED),
    ("metric-critical",        metric(Criticality.CRITICAL, 20),                              L.REGRESSED),
    ("metric-normal",          metric(Criticality.NORMAL, 20),                                L.REGRESSED),
    ("metric-dry-run",         metric(Criticality.DRY_RUN, 20),                               L.HEALTHY),
    ("metric-fine",            metric(Criticality.CRITICAL, 0),                               L.HEALTHY),
    ("critical-unread",        metric(Criticality.CRITICAL, 0) | {"metric_errors": {"pay": "400"}}, L.CONTINUE),
    ("critical-unread-late",   metric(Criticality.CRITICAL, 0) | {"metric_errors": {"pay": "400"}} | LATE, L.PROVIDER_UNAVAILABLE),
    ("normal-unread",          metric(Criticality.NORMAL, 0) | {"metric_errors": {"pay": "400"}}, L.HEALTHY),
    ("provider-in-grace",      {"provider_silence": 120 * SECOND},                            L.HEALTHY),
    ("provider-past-grace",    SILENT,                                                        L.PROVIDER_UNAVAILABLE),
    ("silent-but-known-bad",   SILENT | FAILING,                                              L.REGRESSED),
    ("fresh-enough",           {"newest_age": 170 * SECOND, "stale_after": 170 * SECOND},     L.HEALTHY),
    ("stale",                  STALE,                                                         L.CONTINUE),
    ("stale-and-late",         STALE | LATE,                                                  L.INSUFFICIENT_DATA),
    ("stale-but-known-bad",    STALE | FAILING,                                               L.REGRESSED),
    ("platform-fine",          platform(http5xx=0),                                           L.HEALTHY),
    ("platform-blames",        platform(http5xx=6),                                           L.REGRESSED),
    ("platform-while-silent",  SILENT | platform(http5xx=6),                                  L.REGRESSED),
    ("platform-both",          platform(http5xx=9, stable_http5xx=9),                         L.AMBIENT_INCIDENT),
    ("platform-excuses-alone", platform(http5xx=9, stable_http5xx=9) | {"pairs": pairs(canary=(150, 30), **ALONE)}, L.AMBIENT_INCIDENT),
    ("platform-not-beside",    platform(http5xx=9, stable_http5xx=9) | FAILING,               L.REGRESSED),
    ("platform-not-read",      platform(http5xx=None),                                        L.HEALTHY),
    ("over-its-limit-alone",   {"limits": replace(LIMITS, error_rate_max=0.005)},             L.AMBIENT_INCIDENT),
]
# fmt: on


@pytest.mark.parametrize(
    ("changes", "label"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_each_label_at_its_edge(changes: dict[str, Any], label: Label) -> None:
    judgement = judge(question(**changes))

    assert judgement.label is label, judgement.reason


SAID: list[tuple[dict[str, Any], str]] = [
    (FAILING, "error rate 5.3% of 600 requests, stable 1.0% of 5400; evidence"),
    (FAILING, "takes back at 50 : 1"),
    ({"pairs": pairs(8, canary=(150, 1, 90))}, "p50 31.6x: 1540 ms, stable 49 ms"),
    ({"pairs": pairs(canary=(0,))}, "its traffic does not show: 0.0% of the requests"),
    ({"pairs": pairs(4, canary=(150, 75), probes=(GOOD, GOOD))}, "yet all 4 requests of our own"),
    ({"pairs": pairs(canary=(150, 30), **ALONE)} | BAKE, "a looser claim"),
    (QUIET, "not enough data yet"),
    (QUIET, "would have been noticed by now"),
    ({}, "acceptable at"),
    ({"identified_by": "role_name"}, "(builds told apart by role name only)"),
    (platform(http5xx=None), "platform metrics are not known: 403"),
    (metric(Criticality.CRITICAL, 20), "metric pay: bad 20.0% of 1200, stable 0.0% of 10800"),
    (
        {"pairs": pairs(canary=(150, 30), stable=(1350, 270))},
        "the stable build suffers: error rate",
    ),
    (SILENT | {"provider_error": "429"}, "no telemetry answer for 121 s: 429"),
    (STALE, "the newest telemetry is 171 s old, 170 s at most wanted"),
    ({"pairs": []}, "0 of 50 requests seen"),
    (
        {
            "pairs": pairs(
                4, canary=(0,), stable=(0,), probes=(Counts(total=75, bad=15), Counts(total=75))
            )
        },
        "our own requests fail: 60 of 300, at the stable build 0 of 300; evidence",
    ),
]


@pytest.mark.parametrize(("changes", "words"), SAID)
def test_a_tired_person_is_told_with_numbers(changes: dict[str, Any], words: str) -> None:
    assert words in judge(question(**changes)).reason


def test_every_number_behind_it_is_there() -> None:
    numbers = judge(question()).numbers

    for name in ("evidence", "evidence_needed", "health", "canary_error_rate", "stable_p99_ms"):
        assert name in numbers
    assert numbers["canary_requests"] == 1800
    assert judge(question()).judge == JUDGE


def test_the_course_shows_how_it_came() -> None:
    judgement = judge(question(**FAILING), with_course=True)

    assert len(judgement.course.evidence) == len(judgement.course.starts) == 4
    assert judgement.course.evidence[-1] >= judgement.course.threshold
    errors = next(signal for signal in judgement.signals if signal.name == "errors")
    assert errors.canary_interval is not None
    assert errors.canary_interval[0] < 32 / 600 < errors.canary_interval[1]


def test_a_sampled_row_is_one_observation_whatever_it_stands_for() -> None:
    """Ten rows for a thousand requests show what ten rows show."""
    few = judge(question(pairs=pairs(canary=(15, 1), stable=(135, 1))))
    heavy = judge(question(pairs=pairs(canary=(15, 1, 0, 100), stable=(135, 1, 0, 100))))

    assert heavy.numbers["evidence"] == few.numbers["evidence"]
    assert heavy.numbers["canary_requests"] == 100 * 180


def test_eight_failures_of_one_session_are_one_piece_of_evidence() -> None:
    learned = replace(LEARNED, by_session=True, sessions=50_000, failing_sessions=60)

    def seen(at: int, rows: int, failed: int, failing: int) -> Bucket:
        return replace(
            arm(at, rows, failed), sessions=rows - failed + failing, failing_sessions=failing
        )

    counted = [
        Pair(
            start=T0 + n * BUCKET, canary=seen(n, 150, 8, 1), stable=seen(n, 1350, 8, 1), share=0.1
        )
        for n in range(4)
    ]

    by_session = judge(question(pairs=counted, learned=learned)).numbers["evidence"]
    by_row = judge(question(pairs=counted)).numbers["evidence"]

    assert isinstance(by_session, float)
    assert isinstance(by_row, float)
    assert by_session < 50 < by_row


def test_evidence_carries_over_to_the_next_step_and_health_does_not() -> None:
    step = {"step_since": T0 + 12 * BUCKET}
    bad_before = [*pairs(4, canary=(150, 8)), *pairs(10, since=12)]
    good_before = [*pairs(12), *pairs(1, since=12)]

    assert judge(question(pairs=bad_before, **step)).label is Label.REGRESSED
    assert judge(question(pairs=good_before, **step)).label is Label.CONTINUE


def test_a_memory_changes_no_answer() -> None:
    """Asked at each bucket with what was weighed before, or from nothing: the same word."""
    course = [*pairs(6), *pairs(10, since=6, canary=(150, 4, 9)), *pairs(8, since=16, share=0.5)]
    memory = Memory()

    for count in range(len(course) + 1):
        asked = question(pairs=course[:count], elapsed=count * BUCKET)
        assert judge(asked, memory=memory) == judge(asked)
    other = question(pairs=course[3:])
    assert judge(other, memory=memory) == judge(other)


COUNTS = st.integers(0, 10**9)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), max_size=6), st.booleans())
def test_any_counts_get_an_answer_with_finite_numbers(
    counts: list[tuple[int, int, int, int]],
    has_past: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    seen = [
        Pair(
            start=T0 + n * BUCKET,
            canary=arm(n, max(a, b), min(a, b), min(a, b)),
            stable=arm(n, max(c, d), min(c, d), min(c, d)),
            share=0.1,
        )
        for n, (a, b, c, d) in enumerate(counts)
    ]
    judgement = judge(question(pairs=seen, learned=LEARNED if has_past else None), with_course=True)

    numbers = [n for n in judgement.numbers.values() if isinstance(n, float)]
    assert all(math.isfinite(n) for n in numbers)
    assert all(math.isfinite(each) for each in judgement.course.evidence)


@given(st.integers(0, 20), st.integers(0, 20))
def test_more_failures_never_speak_for_a_build(few: int, more: int) -> None:
    low, high = sorted((few, more))

    def evidence(failed: int) -> float:
        value = judge(question(pairs=pairs(6, canary=(150, failed)))).numbers["evidence"]
        assert isinstance(value, float)
        return value

    # A build that fails less than it may is no more suspicious for failing a little more.
    assert evidence(high) >= min(evidence(low), 1.0) * 0.5
    if low >= 3:
        assert evidence(high) >= evidence(low)
