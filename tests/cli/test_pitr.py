"""``slipway backup pitr``: the plan first, then the order, and what people do with the result."""

from collections.abc import Callable
from typing import Any

AT = "2026-11-23T07:45:00Z"
PLAN = "GET /api/apps/shop/backups/pitr/plan"
ORDER = "POST /api/apps/shop/backups/pitr"
JOB = "shop-pitr-20261123T090000Z-0123abcd"
LEFT = [
    {"what": "firewall rules", "items": ["office: 198.51.100.1"], "act": "Make them."},
    {"what": "what Slipway cannot read", "items": [], "act": "Compare both servers."},
]  # fmt: skip
A_PLAN = {
    "app": "shop",
    "source": "shop-db",
    "new_server": "shop-db-202611230745",
    "at": AT,
    "earliest": "2026-11-20T00:00:00Z",
    "carried_over": ["PostgreSQL 17", "tags"],
    "left_behind": LEFT,
    "objections": [],
    "notes": ["it stays with public access"],
}
Run = Callable[..., tuple[int, str, str]]


def test_without_a_confirmation_it_shows_the_plan_and_what_to_type(
    controller: Any, slipway: Run
) -> None:
    controller.says(PLAN, (200, A_PLAN))

    status, out, remarks = slipway("backup", "pitr", "shop", "--at", AT)

    assert status == 4
    assert "shop-db-202611230745" in out
    assert "- firewall rules: Make them.\n    office: 198.51.100.1" in out
    assert (
        f"slipway backup pitr shop --at {AT} --new-server shop-db-202611230745 "
        "--confirm shop-db-202611230745 --wait"
    ) in remarks
    assert [name for name, _, _ in controller.requests] == [PLAN]


def test_what_speaks_against_it_is_said_and_nothing_to_type(controller: Any, slipway: Run) -> None:
    controller.says(PLAN, (200, A_PLAN | {"objections": ["it has not come yet"]}))

    status, out, remarks = slipway("backup", "pitr", "shop", "--at", AT)

    assert status == 4
    assert "it has not come yet" in out
    assert "--confirm" not in remarks


def test_confirmed_it_is_ordered_and_its_steps_are_for_people(
    controller: Any, slipway: Run
) -> None:
    accepted = {"accepted": True, "job": JOB, "app": "shop", "kind": "pitr", "status_url": "/"}
    result = {
        "source": "shop-db",
        "new_server": "shop-db-2",
        "host": "shop-db-2.postgres.database.azure.com",
        "at": AT,
        "looked": {
            "tables": 4,
            "rows": 2000,
            "head_then": "0007",
            "head_now": "0008",
            "differences": ["table public.orders: 5 rows then, 3 now"],
        },
        "not_looked_because": "",
        "left_behind": LEFT,
        "cut_over": ["Look at the data.", "Stop the app."],
    }
    done = {"id": JOB, "app": "shop", "kind": "pitr", "state": "succeeded", "result": result}
    controller.says(ORDER, (202, accepted))
    controller.says(f"GET /api/jobs/{JOB}", (200, done))

    status, out, _ = slipway(
        "backup", "pitr", "shop", "--at", AT, "--new-server", "shop-db-2",
        "--confirm", "shop-db-2", "--reason", "orders were deleted", "--by", "ann", "--wait",
    )  # fmt: skip

    assert status == 0
    sent = next(body for name, _, body in controller.requests if name == ORDER)
    assert sent == {
        "at": AT,
        "new_server": "shop-db-2",
        "confirm": "shop-db-2",
        "reason": "orders were deleted",
        "by": "ann",
    }
    assert "4 tables, 2000 rows, head 0007" in out
    assert "table public.orders: 5 rows then, 3 now" in out
    assert "1. Look at the data.\n2. Stop the app." in out


def test_a_server_that_could_not_be_looked_into_says_why(controller: Any, slipway: Run) -> None:
    result = {"new_server": "n", "looked": None, "not_looked_because": "no route", "cut_over": []}
    done = {"id": JOB, "app": "shop", "kind": "pitr", "state": "succeeded", "result": result}
    controller.says(f"GET /api/jobs/{JOB}", (200, done))

    status, out, _ = slipway("backup", "jobs", JOB)

    assert status == 0
    assert "not looked into: no route" in out
