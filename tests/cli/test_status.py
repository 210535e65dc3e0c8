"""Reading and watching: what is printed, for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]


def test_apps_lists_what_serves(controller: Any, slipway: Run, app: dict[str, Any]) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app]}))

    status, out, _ = slipway("apps")

    assert status == 0
    assert out.splitlines()[0].split() == ["APP", "SITE", "SERVES", "SLOT", "SINCE", "STATE"]
    assert "shop  contoso-shop  v1      blue  2026-01-02 03:04:05Z  idle" in out


@pytest.mark.parametrize("verb", ["apps", "status"])
def test_json_is_the_apis_own(
    controller: Any, slipway: Run, app: dict[str, Any], verb: str
) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app], "new": "ü"}))

    status, out, _ = slipway(verb, "--json")

    assert (status, json.loads(out)) == (0, {"apps": [app], "new": "ü"})


def test_the_key_comes_from_the_environment_as_the_functions_header(
    controller: Any, slipway: Run
) -> None:
    controller.says("GET /api/apps", (200, {"apps": []}))

    slipway("apps")

    assert controller.requests[0][1]["x-functions-key"] == "k3y"


def test_status_shows_an_app_or_a_rollout(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make
) -> None:
    controller.says("GET /api/apps/shop", (200, app))
    controller.says("GET /api/rollouts/r1", (200, rollout()))

    shown = slipway("status", "shop")[1]
    assert "Serves      v1 (sha256:abababababab) in blue" in shown
    assert "Alerts      shop-5xx since 2026-01-02 03:04:05Z: Sev1, Platform: Total" in shown
    out = slipway("status", "r1")[1]
    assert "Image     shop:v2 (sha256:abababababab)" in out
    assert "new    12        0           3.142   9" in out
    assert "queued > preflight" in out


def test_status_of_all_names_the_rules_that_fire(
    controller: Any, slipway: Run, app: dict[str, Any]
) -> None:
    controller.says("GET /api/apps", (200, {"apps": [app]}))

    header, row = slipway("status")[1].splitlines()

    assert row[header.index("ALERTS") :].startswith("shop-5xx")


def test_status_of_nobody_says_so(controller: Any, slipway: Run) -> None:
    status, out, err = slipway("status", "shpo")

    assert (status, out) == (4, "")
    assert err == "slipway: There is no app and no rollout 'shpo'. Look at the list.\n"


@pytest.mark.parametrize(("end", "expected"), [("succeeded", 0), ("rolled_back", 1)])
def test_watch_prints_each_change_and_ends_with_the_rollout(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make, end: str, expected: int
) -> None:
    """Also through a moment in which the controller is away."""
    controller.says("GET /api/apps/shop", (200, app | {"rollout": "r1"}))
    controller.says(
        "GET /api/rollouts/r1",
        (200, rollout()),
        (503, {"error": {"code": "SW100", "message": "Busy.", "fix": "Wait."}}),
        (200, rollout()),
        (200, rollout(state=end, is_over=True, why="because")),
    )

    status, out, err = slipway("status", "shop", "--watch", "--interval", "100ms")

    assert status == expected
    assert out.splitlines() == [
        "03:05:06 observing, 10 % (step 1 of 3): 12 of 50 requests seen",
        f"03:05:06 {end}: because",
    ]
    assert "SW100: Busy. Looking again." in err


def test_watch_as_json_is_one_document_per_line(
    controller: Any, slipway: Run, rollout: Make
) -> None:
    end = rollout(state="succeeded", is_over=True)
    controller.says("GET /api/rollouts/r1", (200, rollout()), (200, rollout()), (200, end))

    out = slipway("status", "r1", "--watch", "--json", "--interval", "100ms")[1]

    assert [json.loads(line) for line in out.splitlines()] == [rollout(), end]


def test_watch_of_what_is_over_tells_how_it_ended(
    controller: Any, slipway: Run, rollout: Make
) -> None:
    controller.says("GET /api/rollouts/r1", (200, rollout(state="rejected", is_over=True)))

    assert slipway("status", "r1", "--watch")[0] == 1


def test_watch_stops_at_its_limit(controller: Any, slipway: Run, rollout: Make) -> None:
    controller.says("GET /api/rollouts/r1", (200, rollout()))

    status, _, err = slipway("status", "r1", "--watch", "--interval", "0.1", "--limit", "200ms")

    assert status == 1
    assert "it goes on. Follow it again: slipway status r1 --watch" in err


def test_watch_gives_up_on_a_controller_that_stays_away(
    controller: Any, slipway: Run, rollout: Make
) -> None:
    controller.says("GET /api/rollouts/r1", (200, rollout()), (500, b""))

    status, _, err = slipway("status", "r1", "--watch", "--interval", "100ms")

    assert status == 5
    assert err.count("Looking again.") == 9


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({}, "pending: 0001, 0002"),
        ({"begun": True, "restore_point": "p7"}, "begun: 0001, 0002; restore point p7"),
        ({"begun": True, "applied": True}, "applied: 0001, 0002"),
        ({"begun": True, "applied": True, "reverted": True}, "taken back: 0001, 0002"),
    ],
)
def test_status_says_how_far_the_database_is(
    controller: Any, slipway: Run, rollout: Make, data: dict[str, Any], shown: str
) -> None:
    view = rollout() | {"data": {"pending": ["0001", "0002"], **data}}
    controller.says("GET /api/rollouts/r1", (200, view))

    (line,) = [row for row in slipway("status", "r1")[1].splitlines() if row.startswith("Data")]
    assert line.removeprefix("Data").strip() == shown
