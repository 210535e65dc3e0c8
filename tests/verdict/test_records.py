"""Kept evidence can be read again, years later, and leads to the same word."""

import copy
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import MalformedError
from controller.core.events import Label
from controller.verdict.judge import JUDGE
from controller.verdict.records import judge_again, judgement_from, question_from

SAMPLES = Path(__file__).parent / "samples"
SAMPLE = json.loads((SAMPLES / "evidence-gate-1.json").read_text(encoding="utf-8"))


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document: dict[str, Any] = copy.deepcopy(SAMPLE)
    change(document)
    return document


def test_a_kept_decision_is_computed_again_to_the_same_word_and_numbers() -> None:
    """The sample is never written anew: a judge that says otherwise needs a new name."""
    kept, again = judgement_from(SAMPLE), judge_again(SAMPLE)

    assert kept.judge == JUDGE
    assert (again.label, again.reason, again.numbers) == (kept.label, kept.reason, kept.numbers)
    assert (len(again.signals), len(again.course.starts), len(again.course.canary_rate)) == (
        9,
        6,
        6,
    )
    assert kept.label is Label.REGRESSED


def test_a_question_is_read_with_its_types() -> None:
    question = question_from(SAMPLE)

    assert question.elapsed == timedelta(seconds=90)
    assert question.pairs[0].start.utcoffset() == timedelta(0)
    assert question.pairs[0].canary.latency.keys() <= set(range(-40, 400))
    assert question.pairs[0].probes is not None
    assert question.pairs[0].probes[0].histogram == {73: 1}
    assert question.learned is not None
    assert question.learned.edges == (67, 93, 119)
    assert question.gate.metrics[1].kind == "histogram"
    assert question.platform is not None
    assert question.platform.canary is not None
    again = json.loads(json.dumps(asdict(question), default=_as_kept))
    assert question_from({"question": again}) == question


def _as_kept(value: Any) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value.isoformat()


def test_the_sample_has_something_of_everything() -> None:
    assert all(SAMPLE["question"][name] for name in ("learned", "platform", "metric_errors"))


def test_a_field_that_was_added_later_means_what_was_true_before() -> None:
    older = changed(lambda d: d["question"].pop("step_since"))

    assert question_from(older) == replace(question_from(SAMPLE), step_since=None)


# fmt: off
ODD: list[tuple[str, Callable[[dict[str, Any]], object], str]] = [
    ("no question", lambda d: d.pop("question"), "it has no 'question'"),
    ("a field is missing", lambda d: d["question"].pop("elapsed"), "question lacks 'elapsed'"),
    ("deep down", lambda d: d["question"]["gate"]["tolerance"].pop("error_ratio"),
     "question.gate.tolerance lacks 'error_ratio'"),
    ("an unknown field", lambda d: d["question"].update(colour="red"), "unknown field 'colour'"),
    ("a text as number", lambda d: d["question"].update(elapsed="90"),
     "question.elapsed must be a number, not '90'"),
    ("true as number", lambda d: d["question"]["limits"].update(min_requests=True),
     "question.limits.min_requests must be a whole number, not True"),
    ("a fraction as count", lambda d: d["question"]["pairs"][1]["canary"].update(rows=1.5),
     "question.pairs[1].canary.rows must be a whole number, not 1.5"),
    ("no number", lambda d: d["question"].update(elapsed=float("nan")), "must be a number"),
    ("an unknown word", lambda d: d["question"].update(phase="lunch"),
     "question.phase must be one of canary, bake, not 'lunch'"),
    ("a list as word", lambda d: d["question"].update(phase=[]), "must be one of canary, bake"),
    ("a bin that is none", lambda d: d["question"]["pairs"][0]["canary"].update(latency={"a": 1}),
     "must be whole numbers as keys, not 'a'"),
    ("no zone", lambda d: d["question"]["pairs"][0].update(start="2026-01-01T00:00:00"),
     "question.pairs[0].start must be a time with its zone"),
    ("no time", lambda d: d["question"]["pairs"][0].update(start="noon"), "must be a time"),
    ("three probes", lambda d: d["question"]["pairs"][0]["probes"].append({}),
     "question.pairs[0].probes must be a list of 2"),
    ("null", lambda d: d["question"].update(limits=None), "question.limits must be an object"),
    ("a text as list", lambda d: d["question"].update(pairs="many"), "must be a list, not 'many'"),
    ("a list as object", lambda d: d["question"].update(metric_errors=[1] * 99),
     "question.metric_errors must be an object, not [1, 1"),
]
# fmt: on


@pytest.mark.parametrize(
    ("change", "said"), [pytest.param(change, said, id=name) for name, change, said in ODD]
)
def test_what_is_odd_is_named_and_never_becomes_a_default(
    change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        question_from(changed(change))

    assert said in caught.value.what
    assert len(caught.value.what) < 200


@pytest.mark.parametrize("document", [None, [], "evidence", 5, {}])
def test_what_is_no_document_at_all_is_said_to_be_none(document: object) -> None:
    for read in (question_from, judgement_from, judge_again):
        with pytest.raises(MalformedError):
            read(document)


@pytest.mark.parametrize("name", ["evidence-gate/99", "limits/1", None, ["evidence-gate/1"]])
def test_another_judges_evidence_is_not_judged_by_ours(name: object) -> None:
    with pytest.raises(MalformedError, match=f"this Slipway has {JUDGE}"):
        judge_again(changed(lambda d: d["judgement"].update(judge=name)))


def test_what_is_only_shown_may_come_from_a_newer_or_an_older_slipway() -> None:
    """A judgement may hold more than we know, and an old one lacks signals and course."""
    newer = changed(lambda d: d["judgement"].update(mood="good"))
    older = {"label": "healthy", "reason": "fine", "numbers": {"rows": 5}, "judge": "limits/1"}

    assert judgement_from(newer) == judgement_from(SAMPLE)
    read = judgement_from({"judgement": older})
    assert (read.label, read.signals, read.numbers) == (Label.HEALTHY, (), {"rows": 5})
    assert isinstance(read.numbers["rows"], int)
    assert judgement_from(older) == read
