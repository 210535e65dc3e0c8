"""What people read of a judgement: exact words, stable JSON, and a chart that anything can draw."""

import json
import math
import re
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.events import Label
from controller.verdict.chart import Chart
from controller.verdict.explain import chart, contradiction, document, leading, text
from controller.verdict.question import Course, Judgement, Signal
from controller.verdict.records import judgement_from
from controller.verdict.sparkline import sparkline
from controller.verdict.svg import svg

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def errors(**changes: Any) -> Signal:
    base = Signal(
        name="errors",
        weight=0.5,
        evidence=121.0,
        health=0.1,
        canary=0.052,
        stable=0.01,
        canary_interval=(0.039, 0.069),
        stable_interval=(0.008, 0.0123),
    )
    return replace(base, **changes)


def slow(percent: int, **changes: Any) -> Signal:
    base = Signal(
        name=f"latency_p{percent}",
        weight=0.09,
        evidence=0.4,
        health=33.0,
        canary=780.4,
        stable=410.0,
        unit="ms",
    )
    return replace(base, **changes)


SHARE = Signal(
    name="silence", weight=0.1, evidence=0.2, health=None, canary=0.1, stable=None, unit="share"
)


def course(evidence: tuple[float, ...], health: tuple[float, ...]) -> Course:
    count = len(evidence)
    return Course(
        starts=tuple(T0 + timedelta(seconds=15 * index) for index in range(count)),
        evidence=evidence,
        health=health,
        canary_rate=tuple(0.05 for _ in range(count)),
        canary_low=tuple(0.03 for _ in range(count)),
        canary_high=tuple(0.08 for _ in range(count)),
        stable_rate=tuple(0.01 for _ in range(count)),
        stable_low=tuple(0.005 for _ in range(count)),
        stable_high=tuple(0.02 for _ in range(count)),
    )


def judged(label: Label, reason: str, **changes: Any) -> Judgement:
    return replace(
        Judgement(label=label, reason=reason, numbers={}, judge="evidence-gate/1"), **changes
    )


REGRESSED = judged(
    Label.REGRESSED,
    "error rate 5.2% of 1200 requests, stable 1.0% of 10800; evidence 61 : 1 (takes back at "
    "50 : 1)",
    numbers={"evidence": 61.0, "health": 0.04},
    signals=(errors(), slow(50, canary=52.0, stable=50.0), slow(99), SHARE),
    course=course((1.0, 0.8, 3.1, 17.0, 61.0), (1.0, 0.7, 0.3, 0.1, 0.04)),
)
HEALTHY = judged(
    Label.HEALTHY,
    "acceptable at 24 : 1 (needs 20 : 1) over 2400 requests: error rate 1.0%, stable 1.0%",
    numbers={"evidence": 1.7, "health": 24.0},
    signals=(
        errors(evidence=0.3, health=24.0, canary=0.01, canary_interval=(0.006, 0.016)),
        slow(50, canary=52.0, stable=50.0),
        slow(90, canary=99.0, stable=101.0),
        slow(99, evidence=0.9),
        SHARE,
        Signal(
            name="exceptions",
            weight=0.0,
            evidence=2.0,
            health=None,
            canary=0.002,
            stable=0.001,
            note="shown only",
        ),
    ),
    course=course((1.0, 1.7, 0.6), (1.0, 4.0, 24.0)),
)
INSUFFICIENT = judged(
    Label.INSUFFICIENT_DATA,
    "40 requests seen in 1800 s: not enough data yet: errors shown at 1.3 : 1, 20 : 1 needed; "
    "an error rate above 38.0% would have been noticed by now",
    numbers={"evidence": 1.0, "health": 1.3},
    signals=(
        errors(evidence=0.9, health=1.3, canary=0.0, canary_interval=(0.0, 0.187)),
        slow(99, evidence=1.0, health=1.0, canary=None, stable=None),
    ),
    course=course((1.0, 0.95), (1.0, 1.3)),
)
AMBIENT = judged(
    Label.AMBIENT_INCIDENT,
    "the stable build suffers: error rate 19.4% over 7200 requests, limit 5.0%",
    numbers={"evidence": 1.0, "health": 0.8},
    signals=(
        errors(
            evidence=0.6,
            health=0.8,
            canary=0.189,
            stable=0.194,
            canary_interval=(0.148, 0.235),
            stable_interval=(0.179, 0.211),
        ),
    ),
    course=course((1.0, 0.6), (1.0, 0.8)),
)
SILENT = judged(
    Label.PROVIDER_UNAVAILABLE,
    "no telemetry answer for 300 s: 429 Too Many Requests",
    numbers={"evidence": 1.0, "health": 1.0},
)
WATCHED = judged(
    Label.CONTINUE,
    "suspicious: evidence 8.5 : 1 against it (takes back at 50 : 1), p99 1.9x: 780 ms, "
    "stable 410 ms",
    numbers={"evidence": 8.5, "health": 0.2},
    signals=(errors(evidence=0.7, health=31.0, canary=0.01), slow(99, evidence=94.0, health=0.2)),
    course=course((1.0, 2.0, 8.5), (1.0, 0.5, 0.2)),
)
ALL = (REGRESSED, HEALTHY, INSUFFICIENT, AMBIENT, SILENT, WATCHED)

TEXTS = {
    Label.REGRESSED: """\
REGRESSED: worse than it may be

  error rate 5.2% of 1200 requests, stable 1.0% of 10800; evidence 61 : 1 (takes back at
  50 : 1)

Against it       evidence 61 : 1 (takes back at 50 : 1)  ▁▁▃▆█
That it is good  evidence 0 : 1 (needs 20 : 1)           ▁▁▁▁▁
They disagree    against it errors 121 : 1; yet acceptable p50 33 : 1, p99 33 : 1

Signal                New build            Stable build         Against it  That it is good
errors                5.2% (3.9% to 6.9%)  1.0% (0.8% to 1.2%)  121 : 1     0.1 : 1
p50                   52 ms                50 ms                0.4 : 1     33 : 1
p99                   780 ms               410 ms               0.4 : 1     33 : 1
its share of traffic  10.0%                -                    0.2 : 1     -

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
    Label.HEALTHY: """\
HEALTHY: as good as it has to be

  acceptable at 24 : 1 (needs 20 : 1) over 2400 requests: error rate 1.0%, stable 1.0%

Against it       evidence 0.6 : 1 (takes back at 50 : 1), 1.7 : 1 at most  ▁▁▁
That it is good  evidence 24 : 1 (needs 20 : 1)                            ▁▄█
Not ruled out    an error rate of up to 1.6%

Signal                New build            Stable build         Against it  That it is good
errors                1.0% (0.6% to 1.6%)  1.0% (0.8% to 1.2%)  0.3 : 1     24 : 1
p99                   780 ms               410 ms               0.9 : 1     33 : 1
p50                   52 ms                50 ms                0.4 : 1     33 : 1
p90                   99 ms                101 ms               0.4 : 1     33 : 1
its share of traffic  10.0%                -                    0.2 : 1     -
Less telling: metric exceptions

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
    Label.INSUFFICIENT_DATA: """\
INSUFFICIENT DATA: too little was seen to tell

  40 requests seen in 1800 s: not enough data yet: errors shown at 1.3 : 1, 20 : 1
  needed; an error rate above 38.0% would have been noticed by now

Against it       evidence 0.9 : 1 (takes back at 50 : 1), 1 : 1 at most  ▁▁
That it is good  evidence 1.3 : 1 (needs 20 : 1)                         ▁▁
Not ruled out    an error rate of up to 18.7%

Signal  New build             Stable build         Against it  That it is good
errors  0.0% (0.0% to 18.7%)  1.0% (0.8% to 1.2%)  0.9 : 1     1.3 : 1

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
    Label.AMBIENT_INCIDENT: """\
AMBIENT INCIDENT: something is wrong that is not its doing

  the stable build suffers: error rate 19.4% over 7200 requests, limit 5.0%

Against it       evidence 0.6 : 1 (takes back at 50 : 1), 1 : 1 at most  ▁▁
That it is good  evidence 0.8 : 1 (needs 20 : 1)                         ▁▁
Not ruled out    an error rate of up to 23.5%

Signal  New build               Stable build            Against it  That it is good
errors  18.9% (14.8% to 23.5%)  19.4% (17.9% to 21.1%)  0.6 : 1     0.8 : 1

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
    Label.PROVIDER_UNAVAILABLE: """\
PROVIDER UNAVAILABLE: telemetry does not answer

  no telemetry answer for 300 s: 429 Too Many Requests

Against it       evidence 1 : 1 (takes back at 50 : 1)
That it is good  evidence 1 : 1 (needs 20 : 1)

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
    Label.CONTINUE: """\
CONTINUE: still being watched

  suspicious: evidence 8.5 : 1 against it (takes back at 50 : 1), p99 1.9x: 780 ms,
  stable 410 ms

Against it       evidence 8.5 : 1 (takes back at 50 : 1)  ▁▂▄
That it is good  evidence 0.2 : 1 (needs 20 : 1)          ▁▁▁
Not ruled out    an error rate of up to 6.9%
They disagree    against it p99 94 : 1; yet acceptable errors 31 : 1

Signal  New build            Stable build         Against it  That it is good
p99     780 ms               410 ms               94 : 1      0.2 : 1
errors  1.0% (3.9% to 6.9%)  1.0% (0.8% to 1.2%)  0.7 : 1     31 : 1

Judged by evidence-gate/1. Intervals hold at every look with 95 %.
""",
}


@pytest.mark.parametrize("judgement", ALL, ids=lambda j: j.label.value)
def test_a_tired_person_reads_exactly_this(judgement: Judgement) -> None:
    assert text(judgement).splitlines() == TEXTS[judgement.label].splitlines()


def test_who_weighs_most_against_the_build_comes_first() -> None:
    assert [s.name for s in leading(REGRESSED)] == [
        "errors",
        "latency_p50",
        "latency_p99",
        "silence",
    ]
    assert leading(WATCHED)[0].name == "latency_p99"


def test_signals_disagree_only_where_one_speaks_against_and_one_for_it() -> None:
    assert contradiction(WATCHED) == "against it p99 94 : 1; yet acceptable errors 31 : 1"
    assert contradiction(HEALTHY) == ""
    assert contradiction(AMBIENT) == ""


# --- JSON -----------------------------------------------------------------------------------------

KEYS = {
    "label",
    "reason",
    "judge",
    "numbers",
    "signals",
    "course",
    "evidence",
    "health",
    "leading",
    "contradiction",
}


@pytest.mark.parametrize("judgement", ALL, ids=lambda j: j.label.value)
def test_the_document_has_the_same_keys_always_and_can_be_read_again(judgement: Judgement) -> None:
    told = json.loads(json.dumps(document(judgement), allow_nan=False))

    assert set(told) == KEYS
    assert set(told["course"]) == set(asdict(Course()))
    assert judgement_from(told) == judgement


def test_the_document_says_what_matters_first() -> None:
    told = document(REGRESSED)

    assert told["evidence"] == {"now": 61.0, "peak": 61.0, "needed": 50.0}
    assert told["health"] == {"now": 0.04, "needed": 20.0}
    assert told["leading"][0] == "errors"
    assert told["course"]["starts"][1] == "2026-01-01T00:00:15+00:00"


# --- Odd numbers ----------------------------------------------------------------------------------

ODD = st.sampled_from([0.0, 1e-300, 0.00049, 1.0, 49.999, 1e6, 1e250, math.inf, math.nan])
UNKNOWN = ODD | st.none()


@st.composite
def odd_judgements(draw: st.DrawFn) -> Judgement:
    count = draw(st.integers(0, 4))
    some = st.tuples(*[ODD] * count)
    rates = st.tuples(*[UNKNOWN] * count) | st.just(())
    signals = st.builds(
        Signal,
        name=st.sampled_from(["errors", "latency_p99", "<metric & co>\x1b[31m"]),
        weight=st.sampled_from([0.0, 0.5]),
        evidence=ODD,
        health=UNKNOWN,
        canary=UNKNOWN,
        stable=UNKNOWN,
        canary_interval=st.none() | st.tuples(ODD, ODD),
        unit=st.sampled_from(["rate", "ms", "share"]),
    )
    return Judgement(
        label=draw(st.sampled_from(list(Label))),
        reason=draw(st.text(max_size=300)),
        numbers=draw(st.dictionaries(st.sampled_from(["evidence", "health"]), UNKNOWN)),
        judge="evidence-gate/1",
        signals=tuple(draw(st.lists(signals, max_size=7))),
        course=Course(
            starts=tuple(T0 + timedelta(seconds=15 * index) for index in range(count)),
            evidence=draw(some),
            health=draw(some),
            canary_rate=draw(rates),
            canary_low=draw(rates),
            canary_high=draw(rates),
            stable_rate=draw(rates),
        ),
    )


@given(odd_judgements())
def test_whatever_the_numbers_it_is_told_and_drawn(judgement: Judgement) -> None:
    """No exception, no ``nan`` in what is shown, JSON that every parser takes, XML that parses."""
    shown = text(judgement).replace(judgement.reason, "")
    assert not re.search(r"\b(nan|inf)\b", shown)
    json.dumps(document(judgement), allow_nan=False)
    drawn = svg(chart(judgement))
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    paths = [path.get("d", "") for path in root.iter(f"{SVG}path")]
    assert not [path for path in paths if "nan" in path or "inf" in path]


# --- Charts ---------------------------------------------------------------------------------------


def texts_of(drawn: str) -> list[str]:
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_a_chart_has_evidence_health_and_both_builds_rates() -> None:
    drawn = chart(REGRESSED)

    against, good, rates = drawn.panels
    assert drawn.title == "Regressed: worse than it may be"
    assert drawn.x.ticks[:2] == ((0.0, "0:00"), (15.0, "0:15"))
    assert (against.threshold, good.threshold, rates.threshold) == (50.0, 20.0, None)
    assert against.y.is_logarithmic
    assert against.series[0].points[-1] == (60.0, 61.0)
    assert [series.name for series in rates.series] == ["new", "stable"]
    assert rates.series[0].band[0] == (0.0, 0.03, 0.08)
    assert rates.y.ticks == ((0.0, "0%"), (0.05, "5%"), (0.1, "10%"))


def test_what_was_not_kept_has_no_panel() -> None:
    bare = replace(REGRESSED.course, canary_rate=(), stable_rate=())

    assert len(chart(replace(REGRESSED, course=bare)).panels) == 2
    assert chart(SILENT).panels == ()
    assert "Nothing was seen yet." in texts_of(svg(chart(SILENT)))


def test_the_picture_says_in_words_what_it_shows_and_needs_nothing_from_elsewhere() -> None:
    drawn = svg(chart(REGRESSED))
    root = ET.fromstring(drawn)  # noqa: S314 - our own

    title, told = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "Regressed: worse than it may be"
    assert told is not None
    assert REGRESSED.reason in (told.text or "")
    assert "Evidence against the new build: now 61 : 1 (taken back at 50 : 1)" in (told.text or "")
    assert (root.get("role"), root.get("aria-labelledby")) == ("img", "title desc")
    assert "prefers-color-scheme: dark" in drawn
    assert "<script" not in drawn
    assert drawn.count("http") == 1  # the name space


def test_everything_is_drawn_within_its_picture() -> None:
    """Evidence of 1e250 lies on the upper edge; labels that would touch are moved apart."""
    strong = replace(REGRESSED.course, evidence=(1.0, 1e250, 1e-250, 49.0, 50.0))
    root = ET.fromstring(svg(chart(replace(REGRESSED, course=strong))))  # noqa: S314
    width, height = float(root.get("width", "")), float(root.get("height", ""))

    placed = [(float(t.get("x", "")), float(t.get("y", ""))) for t in root.iter(f"{SVG}text")]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in placed)
    beside = sorted(y for x, y in placed if x > 600)
    assert all(b - a >= 13 for a, b in pairwise(beside))


@pytest.mark.parametrize(
    ("minutes", "last", "unit"),
    [(1, "1:00", "min:s"), (30, "30:00", "min:s"), (600, "10", "h"), (60 * 24 * 20, "480", "h")],
)
def test_time_is_told_in_a_few_round_numbers(minutes: int, last: str, unit: str) -> None:
    starts = (T0, T0 + timedelta(minutes=minutes))
    drawn: Chart = chart(replace(SILENT, course=Course(starts=starts, evidence=(1.0, 1.0))))

    assert len(drawn.x.ticks) <= 8
    assert [said for _, said in drawn.x.ticks][-1] == last
    assert drawn.x.label.endswith(f"({unit})")


# --- Sparklines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([], ""),
        ([1.0], "▁"),
        ([0.0, math.nan, 1.0, 7.1, 49.9, 50.0, 1e250, math.inf], "▁▁▁▄▇███"),
        ([1.0] * 89 + [50.0], "▁" * 29 + "█"),
        ([1.0, 60.0] + [1.0] * 60, None),
    ],
    ids=["nothing", "one", "odd", "many", "a peak"],
)
def test_a_sparkline_is_short_and_hides_no_peak(values: list[float], shown: str | None) -> None:
    line = sparkline(values, full=50.0)

    assert len(line) <= 30
    if shown is None:
        assert "█" in line
    else:
        assert line == shown
