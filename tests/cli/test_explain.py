"""``slipway explain``: the controller's word or a file's, as text, JSON and a chart."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from controller.verdict.explain import document, text
from controller.verdict.records import judge_again, judgement_from

SAMPLE_FILE = Path(__file__).parents[1] / "verdict" / "samples" / "evidence-gate-1.json"
SAMPLE: dict[str, Any] = json.loads(SAMPLE_FILE.read_text(encoding="utf-8"))
PRESENT = document(judge_again(SAMPLE))
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def over(rollout: Make) -> dict[str, Any]:
    places = [None, "evidence/shop/r1/5.json", "evidence/shop/r1/9-0123456789ab.json"]
    return rollout() | {
        "app": "shop",
        "explanation": None,
        "events": [{"sequence": n, "evidence": place} for n, place in enumerate(places)],
    }


def test_what_the_judge_says_now_is_told(
    controller: Any, slipway: Run, app: dict[str, Any], over: dict[str, Any]
) -> None:
    controller.says("GET /api/apps/shop", (200, app | {"rollout": "r1"}))
    controller.says("GET /api/rollouts/r1", (200, over | {"explanation": PRESENT}))

    status, out, err = slipway("explain", "shop")

    assert (status, err) == (0, "")
    assert out == f"Rollout r1 of app shop, now\n\n{text(judgement_from(PRESENT))}\n"
    assert "REGRESSED: worse than it may be" in out


def test_of_what_is_over_the_last_decision_is_told(
    controller: Any, slipway: Run, app: dict[str, Any], over: dict[str, Any]
) -> None:
    """It is computed again from the kept document, and found to be the same."""
    controller.says("GET /api/apps/shop", (200, app | {"rollouts": [{"id": "r1"}, {"id": "r0"}]}))
    controller.says("GET /api/rollouts/r1", (200, over))
    controller.says("GET /api/rollouts/r1/evidence/9", (200, SAMPLE))

    status, out, err = slipway("explain", "shop")

    first, _, rest = out.partition("\n\n")
    assert (status, err) == (0, "")
    assert first == ("Rollout r1 of app shop, as decided in turn 9; computed again, it is the same")
    assert rest.rstrip("\n") == text(judge_again(SAMPLE))


def test_one_turn_is_told_as_asked_even_while_it_runs(
    controller: Any, slipway: Run, over: dict[str, Any]
) -> None:
    controller.says("GET /api/rollouts/r1", (200, over | {"explanation": PRESENT}))
    controller.says("GET /api/rollouts/r1/evidence/5", (200, SAMPLE))

    status, out, _ = slipway("explain", "shop", "r1", "--turn", "5", "--json")

    assert (status, json.loads(out)) == (0, json.loads(json.dumps(PRESENT)))


def test_a_file_needs_no_controller(controller: Any, slipway: Run, tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"

    status, out, err = slipway("explain", "--file", str(SAMPLE_FILE), "--svg", str(chart))

    assert (status, err, controller.requests) == (0, "", [])
    assert out.startswith(f"{SAMPLE_FILE}; computed again, it is the same\n\nREGRESSED")
    drawn = ET.fromstring(chart.read_text(encoding="utf-8"))  # noqa: S314 - our own
    assert drawn.tag.endswith("svg")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"judge": "limits/1"}, "shown as it was kept. The judge of this evidence was 'limits/1'"),
        ({"label": "healthy"}, "computed again, the same evidence gives another answer: regressed"),
    ],
)
def test_that_a_decision_cannot_be_confirmed_is_said(
    slipway: Run, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """What was decided is shown; that we would not say so today goes beside it."""
    kept = copy.deepcopy(SAMPLE)
    kept["judgement"].update(change | {"reason": "as it was kept"})
    file = tmp_path / "evidence.json"
    file.write_text(json.dumps(kept), encoding="utf-8")

    status, out, err = slipway("explain", "--file", str(file))

    assert status == 0
    assert "as it was kept" in out
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (["explain"], 2, "Give an APP, or --file FILE."),
        (["explain", "shop", "--file", "x"], 2, "Give one or the other."),
        (["explain", "--file", "x", "--turn", "1"], 2, "Give one or the other."),
        (["explain", "shop", "--turn", "soon"], 2, "'soon' is not a turn's number"),
        (["explain", "--file", "no-such-file"], 2, "no-such-file cannot be read"),
        (["explain", "--file", __file__], 2, "cannot be read"),
        (["explain", "--file", str(SAMPLE_FILE), "--svg", "/no/where.svg"], 2, "Name another file"),
        (["explain", "shop"], 4, "Nothing was judged in rollout r1"),
        (["explain", "shop", "r1", "--turn", "7"], 4, "No /api/rollouts/r1/evidence/7."),
        (["explain", "other", "r1"], 2, "Rollout r1 is of app shop, not of other."),
        (["explain", "empty"], 4, "App empty has no rollout yet."),
        (["explain", "ghost"], 4, "No /api/apps/ghost."),
    ],
)
def test_what_cannot_be_explained_is_told_in_one_line(
    controller: Any,
    slipway: Run,
    app: dict[str, Any],
    rollout: Make,
    arguments: list[str],
    expected: int,
    said: str,
) -> None:
    controller.says("GET /api/apps/shop", (200, app | {"rollout": "r1"}))
    controller.says("GET /api/apps/empty", (200, app | {"rollout": None, "rollouts": []}))
    controller.says("GET /api/rollouts/r1", (200, rollout() | {"app": "shop"}))

    status, out, err = slipway(*arguments)

    assert (status, out) == (expected, "")
    assert said in err
    assert "Traceback" not in err
