"""Waiting for the rollout of a push, and mirroring its outcome."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]
DIGEST = "sha256:" + "cd" * 32
QUICK = ("--interval", "0.1", "--appear", "0.4")


@pytest.fixture
def of_push(rollout: Make) -> Make:
    def make(**changed: Any) -> dict[str, Any]:
        image = {"reference": f"r.io/shop@{DIGEST}", "repository": "shop", "digest": DIGEST}
        return rollout(**({"image": image, "id": "r2"} | changed))

    return make


@pytest.mark.parametrize(("end", "expected"), [("succeeded", 0), ("rolled_back", 1)])
def test_it_waits_for_the_rollout_of_the_digest_and_mirrors_its_end(
    controller: Any, slipway: Run, app: Any, of_push: Make, end: str, expected: int
) -> None:
    controller.says(
        "GET /api/apps/shop",
        (200, app),
        (503, {"error": {"message": "A moment."}}),
        (200, app | {"rollout": "r2"}),
    )
    over = (200, of_push(state=end, is_over=True))
    controller.says("GET /api/rollouts/r2", (200, of_push()), (200, of_push()), over)

    status, out, _ = slipway("wait", "shop", "--digest", DIGEST, *QUICK)

    assert status == expected
    assert end in out.splitlines()[-1]


def test_the_outcome_is_on_the_page_of_the_job(
    controller: Any,
    slipway: Run,
    of_push: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    end = of_push(state="rolled_back", is_over=True, why="p95 slow")
    controller.says("GET /api/rollouts/r2", (200, end))

    assert slipway("wait", "shop", "--rollout", "r2", *QUICK)[0] == 1
    assert "### Slipway: shop rolled_back" in page.read_text()
    assert "- p95 slow" in page.read_text()


def test_a_digest_that_serves_already_is_a_success(controller: Any, slipway: Run, app: Any) -> None:
    serving = app | {"stable": app["stable"] | {"digest": DIGEST}}
    controller.says("GET /api/apps/shop", (200, serving))

    status, out, err = slipway("wait", "shop", "--digest", DIGEST, "--json", *QUICK)

    assert (status, json.loads(out)["state"]) == (0, "succeeded")
    assert "serves app shop already" in err


def test_an_earlier_success_of_the_digest_does_not_stand_for_this_push(
    controller: Any, slipway: Run, app: Any, of_push: Make
) -> None:
    before = of_push(id="r1", state="succeeded", is_over=True)
    controller.says(
        "GET /api/apps/shop",
        (200, app | {"rollouts": [before]}),
        (200, app | {"rollouts": [before], "queued": ["r2"]}),
    )
    controller.says("GET /api/rollouts/r2", (200, of_push(state="rejected", is_over=True)))

    assert slipway("wait", "shop", "--digest", DIGEST, *QUICK)[0] == 1


def test_a_rollout_that_was_over_before_the_first_look_is_believed_when_time_is_up(
    controller: Any, slipway: Run, app: Any, of_push: Make
) -> None:
    over = of_push(state="rejected", is_over=True)
    controller.says("GET /api/apps/shop", (200, app | {"rollouts": [over]}))
    controller.says("GET /api/rollouts/r2", (200, over))

    status, out, _ = slipway("wait", "shop", "--digest", DIGEST, *QUICK)

    assert (status, "rejected" in out) == (1, True)


def test_a_digest_in_quarantine_fails_at_once(
    controller: Any, slipway: Run, app: Any, of_push: Make
) -> None:
    held = [{"digest": DIGEST, "rollout": "r2", "reason": "p95 slow", "at": ""}]
    controller.says("GET /api/apps/shop", (200, app | {"quarantine": held}))
    over = of_push(state="rolled_back", is_over=True)
    controller.says("GET /api/rollouts/r2", (200, over))

    assert slipway("wait", "shop", "--digest", DIGEST, "--interval", "0.1")[0] == 1
    assert sum(name == "GET /api/apps/shop" for name, *_ in controller.requests) == 1


def test_a_push_that_nothing_comes_of_fails_and_says_where_to_look(
    controller: Any, slipway: Run, app: Any
) -> None:
    controller.says("GET /api/apps/shop", (200, app))

    status, _, err = slipway("wait", "shop", "--digest", DIGEST, *QUICK)

    assert status == 1
    assert f"No rollout of {DIGEST} of app shop began within" in err
    assert "slipway status shop" in err


def test_a_rollout_that_goes_on_beyond_the_limit_fails_and_goes_on(
    controller: Any, slipway: Run, app: Any, of_push: Make
) -> None:
    controller.says("GET /api/apps/shop", (200, app | {"rollout": "r2"}))
    controller.says("GET /api/rollouts/r2", (200, of_push()))

    status, _, err = slipway("wait", "shop", "--digest", DIGEST, "--limit", "0.3", *QUICK)

    assert (status, "it goes on" in err) == (1, True)


def test_a_rollout_of_another_app_is_refused(controller: Any, slipway: Run, of_push: Make) -> None:
    controller.says("GET /api/rollouts/r2", (200, of_push(app="api")))

    status, _, err = slipway("wait", "shop", "--rollout", "r2")

    assert (status, "is of app api, not of shop" in err) == (2, True)
