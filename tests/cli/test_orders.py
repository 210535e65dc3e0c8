# ruff: noqa: E501 - a row of a table is one line
"""Orders: what is sent, and following what comes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]
ACCEPTED = {
    "accepted": True,
    "command": "x",
    "app": "shop",
    "id": "o1",
    "status_url": "/api/apps/shop",
}

# fmt: off
ORDERS = [
    (["deploy", "shop", "--tag", "v2"],                            "deploy",   {"tag": "v2", "reason": ""}),
    (["deploy", "shop", "--image", f"r.io/shop@{DIGEST}"],         "deploy",   {"image": f"r.io/shop@{DIGEST}", "reason": ""}),
    (["deploy", "shop", "--tag", "v2", "--override", "--reason", "hotfix"], "deploy", {"tag": "v2", "override": True, "reason": "hotfix"}),
    (["rollback", "shop", "--reason", "slow", "--rollout", "r1"],  "rollback", {"reason": "slow", "rollout": "r1"}),
    (["abort", "shop", "--reason", "slow", "--rollout", "r1"],     "abort",    {"reason": "slow", "rollout": "r1"}),
    (["rollback", "shop", "--reason", "slow"],                     "rollback", {"reason": "slow"}),
    (["rollback", "shop", "--reason", "slow", "--to", "v1"],       "rollback", {"reason": "slow", "to": "v1"}),
    (["retry", "shop", "--digest", DIGEST, "--reason", "fixed"],   "retry",    {"reason": "fixed", "digest": DIGEST}),
    (["abort", "shop", "--reason", "wrong build"],                 "abort",    {"reason": "wrong build"}),
    (["approve", "shop"],                                          "approve",  {"reason": ""}),
    (["reject", "shop", "--reason", "no"],                         "reject",   {"reason": "no"}),
    (["pause", "shop"],                                            "pause",    {"reason": ""}),
    (["resume", "shop"],                                           "resume",   {"reason": ""}),
    (["promote", "shop"],                                          "promote",  {"reason": ""}),
]
# fmt: on


@pytest.mark.parametrize(("line", "command", "body"), ORDERS)
def test_each_order_is_sent_once_with_who_and_why(
    controller: Any, slipway: Run, line: list[str], command: str, body: dict[str, str]
) -> None:
    controller.says(f"POST /api/apps/shop/{command}", (202, ACCEPTED))

    status, out, _ = slipway(*line, "--by", "ann")

    assert status == 0
    assert [(name, sent) for name, _, sent in controller.requests] == [
        (f"POST /api/apps/shop/{command}", body | {"by": "ann"})
    ]
    assert out.splitlines()[0] == f"Accepted: {command} of app shop (order o1)."


def test_an_order_as_json_is_the_apis_answer(controller: Any, slipway: Run) -> None:
    controller.says("POST /api/apps/shop/pause", (202, ACCEPTED))

    assert json.loads(slipway("pause", "shop", "--json")[1]) == ACCEPTED


def test_deploy_and_wait_follows_the_rollout_that_came_of_it(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make
) -> None:
    """Not another that began at the same time."""
    controller.says("POST /api/apps/shop/deploy", (202, ACCEPTED))
    both = app | {"rollout": "r2", "queued": ["r1"]}
    controller.says("GET /api/apps/shop", (200, app), (200, app), (200, both))
    other = {"repository": "shop", "tag": "other", "digest": DIGEST}
    controller.says("GET /api/rollouts/r2", (200, rollout(id="r2", image=other)))
    controller.says(
        "GET /api/rollouts/r1", (200, rollout()), (200, rollout(state="succeeded", is_over=True))
    )

    status, out, _ = slipway("deploy", "shop", "--tag", "v2", "--wait", "--interval", "100ms")

    assert status == 0
    assert out.splitlines()[-1].startswith("03:05:06 succeeded")


def test_deploy_and_wait_tells_when_nothing_comes_of_it(
    controller: Any, slipway: Run, app: dict[str, Any]
) -> None:
    controller.says("POST /api/apps/shop/deploy", (202, ACCEPTED))
    controller.says("GET /api/apps/shop", (200, app))

    status, _, err = slipway(
        "deploy", "shop", "--tag", "v1", "--wait", "--interval", "100ms", "--limit", "300ms"
    )

    assert status == 1
    assert "no rollout of app shop came of it" in err


@pytest.mark.parametrize("kind", ["refused", "ignored"])
def test_deploy_and_wait_ends_at_once_where_the_order_is_turned_down(
    controller: Any, slipway: Run, app: dict[str, Any], kind: str
) -> None:
    """The audit names the order; what it says of another one does not count."""
    controller.says("POST /api/apps/shop/deploy", (202, ACCEPTED))
    other = {"order": "o0", "kind": "refused", "why": "another one's"}
    ours = {"order": "o1", "kind": kind, "why": "v1 was taken back; say retry"}
    controller.says("GET /api/apps/shop", (200, app), (200, app | {"events": [other, ours]}))

    status, _, err = slipway("deploy", "shop", "--tag", "v1", "--wait", "--interval", "100ms")

    assert status == 1
    assert f"The order was {kind}: v1 was taken back; say retry" in err


def test_deploy_and_wait_follows_the_rollout_that_the_audit_names(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make
) -> None:
    """Also one whose image is called otherwise by now."""
    controller.says("POST /api/apps/shop/deploy", (202, ACCEPTED))
    begun = [
        {"order": "o1", "kind": "ignored", "why": "r7 waits for r1"},
        {"order": "o1", "kind": "submitted", "rollout": "r7"},
    ]
    controller.says("GET /api/apps/shop", (200, app), (200, app | {"events": begun}))
    controller.says(
        "GET /api/rollouts/r7", (200, rollout(id="r7", state="succeeded", is_over=True))
    )

    assert slipway("deploy", "shop", "--tag", "v9", "--wait", "--interval", "100ms")[0] == 0


def test_an_override_needs_a_reason(controller: Any, slipway: Run) -> None:
    status, _, err = slipway("deploy", "shop", "--tag", "v2", "--override")

    assert status == 2
    assert "--override needs --reason" in err
    assert controller.requests == []


@pytest.mark.parametrize(("end", "expected"), [("rolled_back", 0), ("succeeded", 1)])
def test_rollback_of_a_running_rollout_waits_for_its_way_back(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make, end: str, expected: int
) -> None:
    controller.says("POST /api/apps/shop/rollback", (202, ACCEPTED))
    busy = app | {"rollout": "r1"}
    controller.says("GET /api/apps/shop", (200, busy), (200, busy), (200, app))
    controller.says("GET /api/rollouts/r1", (200, rollout(state=end, is_over=True)))

    line = ("rollback", "shop", "--reason", "slow", "--wait", "--interval", "100ms")

    assert slipway(*line)[0] == expected


def test_rollback_to_a_release_waits_for_its_rollout(
    controller: Any, slipway: Run, app: dict[str, Any], rollout: Make
) -> None:
    controller.says("POST /api/apps/shop/rollback", (202, ACCEPTED))
    controller.says("GET /api/apps/shop", (200, app), (200, app | {"rollouts": [{"id": "r1"}]}))
    over = rollout(kind="rollback", state="succeeded", is_over=True)
    controller.says("GET /api/rollouts/r1", (200, over))

    assert slipway("rollback", "shop", "--to", "v1", "--reason", "slow", "--wait")[0] == 0
