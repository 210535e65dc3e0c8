# ruff: noqa: E501 - a row of a table is one line
"""Backups from a terminal: what is ordered, what is shown, and following a job to its end."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]
SET = "20261123T020000Z-shop-1a2b"
OLDER = "20261122T020000Z-shop-3c4d"
JOB = "shop-backup-20261123T101500Z-0a1b2c3d"
ACCEPTED = {
    "accepted": True,
    "job": JOB,
    "app": "shop",
    "kind": "backup",
    "status_url": f"/api/jobs/{JOB}",
}


def job(*steps: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": JOB,
        "app": "shop",
        "kind": "backup",
        "state": "running",
        "by": "ann",
        "why": "before the sale",
        "asked_at": "2026-11-23T10:15:00+00:00",
        "begun_at": "2026-11-23T10:15:01+00:00",
        "ended_at": None,
        "tries": 1,
        "steps": [{"at": f"2026-11-23T10:15:{n:02}+00:00", "text": text} for n, text in enumerate(steps, 2)],
        "result": {},
        "error": "",
    } | changed  # fmt: skip


def backup_set(**changed: Any) -> dict[str, Any]:
    data_at = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    return {
        "id": SET,
        "begun_at": data_at,
        "condition": "complete",
        "verified": True,
        "suspect": False,
        "data_at": data_at,
        "reason": "every night",
        "requested_by": "timer",
        "release": "sha256:" + "ab" * 32,
        "migration_head": "003_amount",
        "stored_bytes": 1_234_567,
        "encrypted": True,
        "parts": [{"name": "database", "kind": "database", "plain_bytes": 4_000_000}],
        "last_mark": {"at": "2026-11-23T04:00:00+00:00", "by": "drill", "passed": True, "how": "restored and compared", "problems": []},
        "problem": None,
        "immutable_until": None,
    } | changed  # fmt: skip


def sets(*found: dict[str, Any], **changed: Any) -> dict[str, Any]:
    newest = next((each["data_at"] for each in found if each["verified"]), None)
    return {
        "app": "shop",
        "rpo_seconds": 86_400,
        "rto_seconds": 3_600,
        "newest_verified_at": newest,
        "within_rpo": True if newest else None,
        "backups": list(found),
    } | changed


def plan(**changed: Any) -> dict[str, Any]:
    return {
        "set_id": SET,
        "app": "shop",
        "target": "shopdb",
        "data_at": "2026-11-23T02:00:01+00:00",
        "restores_database": True,
        "dump_bytes": 1_000_000,
        "tables": 4,
        "rows": 1200,
        "overwrites": True,
        "size_now": 9_000_000,
        "head_then": "003_amount",
        "head_now": "003_amount",
        "is_done": False,
        "notes": ["Sequences moved on."],
    } | changed


# --- Orders --------------------------------------------------------------------------------------

# fmt: off
ORDERS = [
    (["create", "shop", "--reason", "sale"],                          "create",  {"reason": "sale"}),
    (["create", "shop", "--id", "o-1"],                               "create",  {"reason": "", "id": "o-1"}),
    (["verify", SET],                                                 "verify",  {"reason": "", "set": SET}),
    (["verify", "shop", SET],                                         "verify",  {"reason": "", "set": SET}),
    (["drill", "shop"],                                               "drill",   {"reason": ""}),
    (["prune", "shop"],                                               "prune",   {"reason": "", "apply": False}),
    (["prune", "shop", "--apply"],                                    "prune",   {"reason": "", "apply": True}),
    (["restore", SET, "--confirm", "shopdb"],                         "restore", {"reason": "", "set": SET, "confirm": "shopdb"}),
    (["restore", SET, "--confirm", "copy", "--target", "copy", "--parts", "database,state", "--across-heads", "--without-safety"],
     "restore", {"reason": "", "set": SET, "confirm": "copy", "target": "copy", "parts": "database,state", "across_heads": True, "without_safety": True}),
]
# fmt: on


@pytest.mark.parametrize(("line", "command", "body"), ORDERS)
def test_each_order_is_sent_once_with_who_and_why(
    controller: Any, slipway: Run, line: list[str], command: str, body: dict[str, Any]
) -> None:
    controller.says(f"POST /api/apps/shop/backups/{command}", (202, ACCEPTED))

    status, out, _ = slipway("backup", *line, "--by", "ann")

    assert status == 0
    sent = [(name, content) for name, _, content in controller.requests]
    assert sent == [(f"POST /api/apps/shop/backups/{command}", body | {"by": "ann"})]
    assert out.splitlines() == [
        f"Accepted: {command} of app shop (job {JOB}).",
        f"Follow it: slipway backup jobs {JOB} --wait",
    ]


def test_an_order_as_json_is_the_apis_answer(controller: Any, slipway: Run) -> None:
    controller.says("POST /api/apps/shop/backups/create", (202, ACCEPTED))

    assert json.loads(slipway("backup", "create", "shop", "--json")[1]) == ACCEPTED


def test_waiting_prints_each_step_once_and_what_came_of_it(controller: Any, slipway: Run) -> None:
    controller.says("POST /api/apps/shop/backups/create", (202, ACCEPTED))
    last = job("dumping the database", "uploaded 2 blocks")["steps"]  # the first one goes
    done = {"set": SET, "bytes": 1_234_567, "parts": 4, "seconds": 12.5}
    controller.says(
        f"GET /api/jobs/{JOB}",
        (200, job(state="waiting", tries=0)),
        (200, job(state="waiting", tries=0)),
        (200, job("dumping the database")),
        (200, job(steps=last)),
        (200, job(state="succeeded", result=done, steps=[*last[1:], {"at": "", "text": "sealed"}])),
    )

    status, out, _ = slipway("backup", "create", "shop", "--wait", "--interval", "100ms")

    assert status == 0
    lines = out.splitlines()
    assert lines[1] == "10:15:00 waiting in the queue"
    assert [line.split(" ", 1)[1] for line in lines[2:5]] == ["dumping the database", "uploaded 2 blocks", "sealed"]  # fmt: skip
    assert lines[6:] == [
        f"Job {JOB} succeeded",
        f"Set      {SET}",
        "Bytes    1.23 MB",
        "Parts    4",
        "Seconds  12.5 s",
    ]


def test_a_try_that_stops_is_told_and_the_job_goes_on(controller: Any, slipway: Run) -> None:
    controller.says("POST /api/apps/shop/backups/drill", (202, ACCEPTED))
    controller.says(
        f"GET /api/jobs/{JOB}",
        (200, job("restoring", error="SW100: The connection was lost.")),
        (503, {"error": {"code": "SW100", "message": "Busy.", "fix": "Wait."}}),
        (200, job("restoring", "restoring again", tries=2)),
        (200, job("restoring", "restoring again", state="succeeded", tries=2)),
    )

    status, out, err = slipway("backup", "drill", "shop", "--wait", "--interval", "100ms")

    assert status == 0
    assert "Not done at try 1: SW100: The connection was lost. It goes on by itself." in out
    assert out.count("restoring again") == 1
    assert "SW100: Busy. Looking again." in err


@pytest.mark.parametrize(
    "end",
    [
        job(state="failed", error="SW223: Table orders had 12 rows; it has 11."),
        job(state="succeeded", result={"passed": False, "problems": ["Table orders is missing."]}),
    ],
)
def test_waiting_for_what_fails_exits_with_1_and_says_why(
    controller: Any, slipway: Run, end: dict[str, Any]
) -> None:
    controller.says("POST /api/apps/shop/backups/drill", (202, ACCEPTED))
    controller.says(f"GET /api/jobs/{JOB}", (200, end))

    status, out, _ = slipway("backup", "drill", "shop", "--wait")

    assert status == 1
    assert "Table orders" in out


def test_waiting_as_json_is_one_document_per_line_and_change(controller: Any, slipway: Run) -> None:
    controller.says("POST /api/apps/shop/backups/create", (202, ACCEPTED))
    views = [job("a"), job("a"), job("a", "b", state="succeeded")]
    controller.says(f"GET /api/jobs/{JOB}", *((200, view) for view in views))

    status, out, _ = slipway("backup", "create", "shop", "--wait", "--json", "--interval", "100ms")

    assert status == 0
    assert [json.loads(line) for line in out.splitlines()] == [ACCEPTED, views[0], views[2]]


def test_waiting_ends_at_its_limit_and_the_job_goes_on(controller: Any, slipway: Run) -> None:
    controller.says(f"GET /api/jobs/{JOB}", (200, job("a")))

    status, _, err = slipway("backup", "jobs", JOB, "--wait", "--limit", "200ms", "--interval", "100ms")  # fmt: skip

    assert status == 1
    assert f"it goes on. Follow it again: slipway backup jobs {JOB} --wait" in err


# --- Sets ----------------------------------------------------------------------------------------


def test_list_says_first_whether_the_promise_holds(controller: Any, slipway: Run) -> None:
    bad = backup_set(
        id=OLDER, verified=False, condition="incomplete", data_at=None, encrypted=False
    )
    controller.says("GET /api/apps/shop/backups", (200, sets(backup_set(), bad)))

    status, out, _ = slipway("backup", "list", "shop")

    lines = out.splitlines()
    assert status == 0
    assert lines[0].endswith("3 h ago: within the RPO of 24 h.")
    assert lines[1].split() == ["ID", "DATA", "AT", "AGE", "VERIFIED", "SIZE", "ENCRYPTED", "HEAD", "WHY"]  # fmt: skip
    assert lines[2].split()[0] == SET
    assert "3 h" in lines[2]
    assert lines[2].split()[-7:] == ["yes", "1.23", "MB", "yes", "003_amount", "every", "night"]
    assert "no: incomplete" in lines[3]


@pytest.mark.parametrize(
    ("answer", "said", "status"),
    [
        (sets, "No backup set was verified yet: nothing is known to restore.", 1),
        (lambda: sets(backup_set(verified=False)), "No backup set was verified yet", 1),
        (lambda: sets(backup_set(), within_rpo=False, rpo_seconds=3600), "3 h ago: NOT within the RPO of 60 min.", 1),
        (lambda: sets(backup_set(), within_rpo=None, rpo_seconds=None), "3 h ago; no RPO is set.", 1),
        (lambda: sets(backup_set()), "within the RPO of 24 h.", 0),
    ],
)  # fmt: skip
def test_check_exits_with_1_unless_the_promise_holds(
    controller: Any, slipway: Run, answer: Callable[[], dict[str, Any]], said: str, status: int
) -> None:
    controller.says("GET /api/apps/shop/backups", (200, answer()))  # its ages begin here

    got, out, _ = slipway("backup", "list", "shop", "--check")

    assert got == status
    assert said in out.splitlines()[0]
    assert slipway("backup", "list", "shop")[0] == 0


def test_show_finds_a_set_by_its_id_or_the_newest_verified_of_an_app(
    controller: Any, slipway: Run
) -> None:
    doubtful = backup_set(suspect=True)
    good = backup_set(id=OLDER)
    controller.says("GET /api/apps/shop/backups", (200, sets(doubtful, good)))

    by_id, out, _ = slipway("backup", "show", SET)
    by_app = slipway("backup", "show", "shop", "--json")

    assert by_id == 0
    assert "Verified      no: suspect" in out
    assert "database  database  4 MB" in out
    assert json.loads(by_app[1])["id"] == OLDER
    assert slipway("backup", "show", "20200101T000000Z-shop-1a2b")[0] == 4


def test_a_set_id_with_a_slip_is_told_and_nothing_is_asked(controller: Any, slipway: Run) -> None:
    status, _, err = slipway("backup", "verify", "20261123T0200Z-shop-1a2b")

    assert (status, controller.requests) == (2, [])
    assert "is no backup set's id" in err


# --- Restoring -----------------------------------------------------------------------------------


def test_restore_without_confirmation_shows_the_plan_and_what_to_type(
    controller: Any, slipway: Run
) -> None:
    path = f"GET /api/apps/shop/backups/{SET}/plan"
    controller.says(path, (200, plan()))

    status, out, err = slipway("backup", "restore", SET, "--target", "shopdb")

    assert status == 4
    assert [name for name, _, _ in controller.requests] == [path]  # nothing is ordered
    assert "shopdb, which is there (9 MB) and is exchanged for it" in out
    assert "what came after is lost" in out
    assert "4 tables, 1200 rows, 1 MB dumped" in out
    assert err.splitlines() == [
        f"Nothing was done. To restore it: slipway backup restore {SET} --confirm shopdb --target shopdb --wait"
    ]


def test_a_restore_across_heads_is_named_and_never_typed_by_us(
    controller: Any, slipway: Run
) -> None:
    controller.says(f"GET /api/apps/shop/backups/{SET}/plan", (200, plan(head_now="004_channel")))

    status, out, err = slipway("backup", "restore", SET)

    assert status == 4
    assert "003_amount; there is 004_channel now" in out
    first, second = err.splitlines()
    assert "--across-heads" not in first
    assert "The schema will be that of 003_amount." in second
    assert "add --across-heads" in second


def test_restore_of_an_app_means_its_newest_verified_set(controller: Any, slipway: Run) -> None:
    """What to type names the set that was shown, not whichever is the newest by then."""
    controller.says("GET /api/apps/shop/backups", (200, sets(backup_set(verified=False), backup_set(id=OLDER))))  # fmt: skip
    controller.says(f"GET /api/apps/shop/backups/{OLDER}/plan", (200, plan(set_id=OLDER)))

    status, out, err = slipway("backup", "restore", "shop", "--json")

    assert (status, json.loads(out)["set_id"]) == (4, OLDER)
    assert f"slipway backup restore {OLDER} --confirm shopdb --wait" in err


@pytest.mark.parametrize(("app", "name"), [("web", SET), ("shop", "latest")])
def test_a_set_that_is_not_the_apps_is_told_and_nothing_is_asked(
    controller: Any, slipway: Run, app: str, name: str
) -> None:
    status, _, err = slipway("backup", "restore", app, name, "--confirm", "shopdb")

    assert (status, controller.requests) == (2, [])
    assert "slipway backup list" in err


def test_restore_of_an_app_without_a_verified_set_is_refused(controller: Any, slipway: Run) -> None:
    controller.says("GET /api/apps/shop/backups", (200, sets(backup_set(verified=False))))

    status, _, err = slipway("backup", "restore", "shop", "--confirm", "shopdb")

    assert status == 4
    assert "App shop has no verified set." in err


def test_a_refusal_is_told_as_the_controller_says_it(controller: Any, slipway: Run) -> None:
    error = {
        "code": "SW300",
        "message": "--confirm is 'shop'; it overwrites 'shopdb'.",
        "fix": "Type that.",
    }
    controller.says("POST /api/apps/shop/backups/restore", (409, {"error": error}))

    status, _, err = slipway("backup", "restore", SET, "--confirm", "shop")

    assert status == 4
    assert err == "slipway: SW300: --confirm is 'shop'; it overwrites 'shopdb'. Type that.\n"


# --- Jobs ----------------------------------------------------------------------------------------


def test_jobs_lists_those_of_an_app_newest_first(controller: Any, slipway: Run) -> None:
    controller.says("GET /api/apps/shop/jobs", (200, {"jobs": [job("dumping"), job("a", "sealed", state="succeeded")]}))  # fmt: skip

    status, out, _ = slipway("backup", "jobs", "shop")

    lines = out.splitlines()
    assert status == 0
    assert lines[1].endswith("ann  dumping")
    assert lines[2].endswith("ann  sealed")


def test_one_job_shows_its_steps_and_what_a_clearing_out_would_do(
    controller: Any, slipway: Run
) -> None:
    result = {"applied": False, "removed": [OLDER], "kept": {SET: "daily"}, "refused": [["20260101T000000Z-shop-1a2b", "locked"]]}  # fmt: skip
    controller.says(f"GET /api/jobs/{JOB}", (200, job("decided", kind="prune", state="succeeded", result=result)))  # fmt: skip

    status, out, _ = slipway("backup", "jobs", JOB)

    assert status == 0
    assert "10:15:02 decided" in out
    assert [line.split()[1:] for line in out.splitlines()[-4:-1]] == [
        ["not", "touched", "locked"],
        ["would", "go"],
        ["stays", "daily"],
    ]
    assert out.splitlines()[-1] == "Nothing was removed: --apply does it."


def test_a_job_that_is_not_there_is_told(controller: Any, slipway: Run) -> None:
    assert slipway("backup", "jobs", "nobody")[0] == 4


# --- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["backup", "restor"], "slipway: there is no verb 'restor'. Did you mean 'restore'? See: slipway backup --help"),
        (["bakup"], "there is no verb 'bakup'. Did you mean 'backup'? See: slipway --help"),
        (["backup"], "say what: one of create, list, show, verify, restore,"),
        (["backup", "restore"], "the following arguments are required: SET|APP See: slipway backup restore --help"),
    ],
)  # fmt: skip
def test_a_wrong_word_gets_the_nearest_right_one(slipway: Run, line: list[str], said: str) -> None:
    status, out, err = slipway(*line)

    assert (status, out) == (2, "")
    assert said in err


def test_the_help_of_a_group_lists_its_verbs(slipway: Run) -> None:
    status, out, _ = slipway("backup", "--help")

    assert status == 0
    assert "restore restore a set; shows the plan first" in " ".join(out.split())  # as aligned
