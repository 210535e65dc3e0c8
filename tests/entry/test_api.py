"""The HTTP API: every route, every error in one form."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import (
    CommandRefusedError,
    ConfigurationError,
    MalformedError,
    SlipwayError,
    TransientError,
    UnknownAppError,
    UnknownRolloutError,
)
from controller.core.events import Label
from controller.core.model import State
from controller.core.plan import Freeze
from controller.entry.api import COMMANDS
from controller.entry.http import MAX_BODY_BYTES, Request, Response, refuse
from controller.runtime.messages import parse_command
from controller.verdict.judge import JUDGE
from controller.verdict.records import judge_again, judgement_from, turn_of
from tests.entry.kit import Doors, error_of
from tests.runtime.kit import SECOND, Habit, digest, image, spec, submit

REFERENCE = image(3).reference


def doors() -> Doors:
    return Doors(spec())


async def order(api: Doors, command: str, body: Any = None, *, app: str = "shop") -> Response:
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    request = Request(method="POST", route={"app": app, "command": command}, body=raw)
    try:
        return await api.api.command(request)
    except SlipwayError as error:
        return refuse(error)


async def get(api: Doors, door: str, **route: str) -> Response:
    try:
        response: Response = await getattr(api.api, door)(Request(route=route))
    except SlipwayError as error:
        return refuse(error)
    json.loads(response.text())  # goes out as JSON
    return response


# --- Reading --------------------------------------------------------------------------------------


async def test_health_says_that_the_configuration_can_be_read() -> None:
    healthy = await get(doors(), "health")

    assert healthy.status == 200
    assert healthy.body["status"] == "ok"
    assert healthy.body["apps"] == 1


async def test_health_is_503_where_the_configuration_is_broken() -> None:
    api = doors()
    api.house.configuration.broken = True

    assert (await get(api, "health")).status == 503


async def test_an_app_that_nothing_happened_to_is_idle() -> None:
    (view,) = (await get(doors(), "list_apps")).body["apps"]

    assert (view["app"], view["state"], view["rollout"], view["weight"]) == (
        "shop",
        "idle",
        None,
        0,
    )
    assert view["stable"] is None


@pytest.mark.parametrize("state", [State.OBSERVING, State.BAKING])
async def test_what_runs_can_be_seen_from_every_side(state: State) -> None:
    api = doors()
    await api.house.send(submit(2))
    running = await api.house.run_to(state)
    api.house.let_users_ask_until(api.house.clock.now())

    (listed,) = (await get(api, "list_apps")).body["apps"]
    detail = (await get(api, "get_app", app="shop")).body
    rollout = (await get(api, "get_rollout", id=running.id)).body

    assert listed["state"] == state
    assert listed["weight"] == (50 if state is State.OBSERVING else 100)
    assert [r["id"] for r in detail["rollouts"]] == [running.id]
    assert rollout["is_over"] is False
    assert rollout["numbers"].keys() == {"canary", "stable"}
    assert rollout["events"][0]["kind"] == "submitted"
    assert [e["sequence"] for e in rollout["events"]] == sorted(
        e["sequence"] for e in rollout["events"]
    )


async def test_what_is_over_shows_its_numbers_and_why() -> None:
    api = doors()
    api.house.habits[digest(2)] = Habit(failing=0.5)
    await api.house.send(submit(2))
    await api.house.run()
    (over,) = await api.house.rollouts()

    rollout = (await get(api, "get_rollout", id=over.id)).body
    detail = (await get(api, "get_app", app="shop")).body

    assert rollout["state"] == "rolled_back"
    assert rollout["numbers"]["canary"]["failed"] > 0
    assert detail["quarantine"][0]["digest"] == digest(2)
    assert "error rate" in detail["quarantine"][0]["reason"]


@pytest.mark.parametrize(
    ("door", "route", "code"),
    [
        ("get_app", {"app": "ghost"}, "SW302"),
        ("get_app", {}, "SW302"),
        ("get_rollout", {"id": "ghost"}, "SW303"),
        ("get_rollout", {}, "SW303"),
    ],
)
async def test_what_is_not_there_is_404(door: str, route: dict[str, str], code: str) -> None:
    answer = await get(doors(), door, **route)

    assert answer.status == 404
    assert error_of(answer)["code"] == code


# --- What the judge thinks ------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "later"), [(State.OBSERVING, 50), (State.BAKING, 20)])
async def test_what_is_being_judged_is_explained(state: State, later: int) -> None:
    """The present word with its signals and its whole course; it decides nothing."""
    api = doors()
    await api.house.send(submit(2))
    running = await api.house.run_to(state)
    await api.house.run_for(later * SECOND)

    rollout = (await get(api, "get_rollout", id=running.id)).body
    told = judgement_from(rollout["explanation"])

    assert told.judge == JUDGE
    assert told.signals[0].name == "errors"
    assert len(told.course.starts) == len(told.course.canary_rate) > 0
    assert rollout["state"] == state
    json.dumps(rollout, allow_nan=False)


async def test_what_is_over_has_no_explanation() -> None:
    api = doors()
    await api.house.send(submit(2))
    await api.house.run()
    (over,) = await api.house.rollouts()

    assert (await get(api, "get_rollout", id=over.id)).body["explanation"] is None


async def test_a_judge_that_cannot_be_asked_hides_no_rollout() -> None:
    api = doors()
    await api.house.send(submit(2))
    running = await api.house.run_to(State.OBSERVING)

    api.house.weather.script("load_watch", Fault.TRANSIENT)
    answer = await get(api, "get_rollout", id=running.id)

    assert (answer.status, answer.body["explanation"]) == (200, None)


async def test_what_a_decision_was_made_from_can_be_fetched_and_judged_again() -> None:
    api = doors()
    api.house.habits[digest(2)] = Habit(failing=0.5)
    await api.house.send(submit(2))
    await api.house.run()
    (over,) = await api.house.rollouts()
    events = (await get(api, "get_rollout", id=over.id)).body["events"]
    ((place, event),) = [(e["evidence"], e) for e in events if e["evidence"]]

    document = (await get(api, "get_evidence", id=over.id, turn=str(turn_of(place)))).body

    again = judge_again(document)
    assert document == json.loads(await api.house.evidence.read(place) or b"")
    assert (again.label, again.numbers) == (Label.REGRESSED, event["numbers"])
    assert again.reason in event["why"]


@pytest.mark.parametrize(
    ("turn", "status", "code", "said"),
    [
        ("999", 404, "SW303", "Turns with evidence: none."),
        ("soon", 400, "SW301", "ends in its turn's number"),
        ("-1", 400, "SW301", "ends in its turn's number"),
        ("1" * 99, 400, "SW301", "ends in its turn's number"),
    ],
)
async def test_evidence_that_is_not_there_is_told(
    turn: str, status: int, code: str, said: str
) -> None:
    api = doors()
    await api.house.send(submit(2))
    running = await api.house.run_to(State.OBSERVING)

    answer = await get(api, "get_evidence", id=running.id, turn=turn)

    assert (answer.status, answer.body["error"]["code"]) == (status, code)
    assert said in answer.body["error"]["fix"]


# --- Orders ---------------------------------------------------------------------------------------

BODIES: dict[str, dict[str, Any]] = {
    "deploy": {"image": REFERENCE},
    "rollback": {"reason": "broken", "to": "v1"},
    "retry": {"digest": digest(3)},
}


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_becomes_a_message_to_its_apps_session(command: str) -> None:
    api = doors()

    answer = await order(api, command, BODIES.get(command))

    assert answer.status == 202
    assert answer.headers["Location"] == "/api/apps/shop"
    (message,) = api.queued()
    sent = parse_command(message.body, session="shop")
    assert answer.body == {
        "accepted": True,
        "command": command,
        "app": "shop",
        "id": sent.model_dump()["id"],
        "status_url": "/api/apps/shop",
    }
    assert message.session == "shop"
    assert sent.model_dump()["by"] == "api"


async def test_who_and_why_come_with_the_order() -> None:
    api = doors()
    said = {"by": "ann", "reason": "checkout is broken", "id": "incident-7"}

    await order(api, "abort", said)
    await order(api, "abort", said)

    (body,) = api.bodies()
    assert said.items() <= body.items()


async def test_a_tag_is_resolved_when_it_is_said() -> None:
    api = doors()

    assert (await order(api, "deploy", {"tag": "v3"})).status == 202

    (body,) = api.bodies()
    assert (body["image"]["digest"], body["image"]["tag"]) == (digest(3), "v3")


async def test_an_order_does_what_it_says() -> None:
    api = doors()
    await order(api, "deploy", {"tag": "v3"})
    await api.house.run()
    await order(api, "rollback", {"reason": "no", "by": "ann"})
    await api.house.run()

    assert [state for _, state in await api.house.ends()] == [State.SUCCEEDED] * 2
    assert (await get(api, "list_apps")).body["apps"][0]["stable"]["digest"] == digest(1)


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("not-json", "abort", b"{", 400, "JSON"),
    ("not-utf-8", "abort", b'{"by": "\xff"}', 400, "JSON"),
    ("list", "abort", [], 400, "list"),
    ("text", "abort", "now", 400, "str"),
    ("null", "abort", b"null", 400, "NoneType"),
    ("deep", "abort", b"[" * 100_000, 400, "JSON"),
    ("deep-object", "abort", b'{"a":' * 100_000, 400, "JSON"),
    ("long-number", "abort", b'{"by": ' + b"1" * 5000 + b"}", 400, ""),
    ("unknown-field", "abort", {"force": "yes"}, 400, "force"),
    ("another-commands-field", "abort", {"image": REFERENCE}, 400, "image"),
    ("number", "abort", {"by": 7}, 400, "by must be text"),
    ("nan", "abort", b'{"by": NaN}', 400, "by must be text"),
    ("null-field", "abort", {"by": None}, 400, "by must be text"),
    ("list-field", "deploy", {"image": [REFERENCE]}, 400, "image must be text"),
    ("flag-as-text", "deploy", {"image": REFERENCE, "override": "true"}, 400, "true or false"),
    ("no-reason", "deploy", {"image": REFERENCE, "override": True}, 400, "override: Value error"),
    (
        "blank-reason",
        "deploy",
        {"image": REFERENCE, "override": True, "reason": " "},
        400,
        "reason",
    ),
    ("retry-by-rollout", "retry", {"digest": digest(3), "rollout": "r"}, 400, "does not know"),
    ("endless-name", "abort", {"by": "a" * 201}, 400, "by"),
    ("endless-reason", "abort", {"reason": "a" * 2001}, 400, "reason"),
    ("empty-id", "abort", {"id": ""}, 400, "id"),
    ("torn-text", "abort", b'{"by": "\\ud800"}', 400, "by"),
    ("neither", "deploy", {}, 400, "either"),
    ("both", "deploy", {"image": REFERENCE, "tag": "v3"}, 400, "either"),
    ("by-tag-in-image", "deploy", {"image": "registry.test/shop:v3"}, 400, "sha256"),
    ("short-digest", "deploy", {"image": "registry.test/shop@sha256:12"}, 400, "sha256"),
    ("no-such-tag", "deploy", {"tag": "v77"}, 409, "v77"),
    ("odd-tag", "deploy", {"tag": "../../secrets"}, 400, "tag"),
    ("tag-with-query", "deploy", {"tag": "v1?x=y"}, 400, "tag"),
    ("torn-tag", "deploy", b'{"tag": "\\ud800"}', 400, "tag"),
    ("empty-tag", "deploy", {"tag": ""}, 400, "tag"),
    ("endless-tag", "deploy", {"tag": "v" * 129}, 400, "tag"),
    ("no-reason", "rollback", {}, 400, "reason"),
    ("empty-reason", "rollback", {"reason": ""}, 400, "reason"),
    ("no-digest", "retry", {}, 400, "digest"),
    ("odd-digest", "retry", {"digest": "v3"}, 400, "digest"),
    ("unknown-command", "explode", {}, 404, "explode"),
    ("too-large", "abort", b" " * (MAX_BODY_BYTES + 1), 413, "large"),
]


@pytest.mark.parametrize(
    ("command", "body", "status", "said"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
async def test_each_refusal_says_what_and_what_to_do(
    command: str, body: Any, status: int, said: str
) -> None:
    api = doors()

    answer = await order(api, command, body)

    assert answer.status == status
    assert said in error_of(answer)["message"]
    assert api.queued() == []
    json.loads(answer.text())


async def test_an_unknown_app_is_404_and_the_known_ones_are_named() -> None:
    answer = await order(doors(), "abort", app="ghost")

    assert answer.status == 404
    assert "shop" in error_of(answer)["fix"]


@pytest.mark.parametrize(
    ("operation", "command", "body"),
    [("send", "abort", None), ("digest_of", "deploy", {"tag": "v3"})],
)
async def test_what_may_pass_is_503(operation: str, command: str, body: Any) -> None:
    api = doors()
    api.house.weather.script(operation, Fault.TRANSIENT)

    answer = await order(api, command, body)

    assert answer.status == 503
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MalformedError("w", fix="f"), 400),
        (UnknownAppError("w", fix="f"), 404),
        (UnknownRolloutError("w", fix="f"), 404),
        (CommandRefusedError("w", fix="f"), 409),
        (TransientError("w"), 503),
        (ConfigurationError("w", fix="f"), 503),
        (SlipwayError("w", fix="f"), 500),
    ],
)
def test_every_kind_of_error_has_its_status(error: SlipwayError, status: int) -> None:
    answer = refuse(error)

    assert answer.status == status
    assert error_of(answer)["code"] == error.code
    assert ("Retry-After" in answer.headers) == (status == 503)


async def test_a_foreign_image_is_accepted_and_then_refused_in_the_record() -> None:
    api = doors()
    foreign = REFERENCE.replace("registry.test", "evil.test")

    assert (await order(api, "deploy", {"image": foreign})).status == 202
    await api.house.run()

    assert await api.house.rollouts() == []
    (refused,) = [r for r in await api.house.records() if r.kind == "refused"]
    assert "takes images from registry.test/shop" in refused.why


async def test_a_freeze_can_be_seen_and_overridden_with_a_reason() -> None:
    """Who waits for it is told until when and why; who overrides it is written down."""
    freeze = Freeze(cron="0 0 1 * *", duration=timedelta(days=2), reason="audit")
    base = spec()
    api = Doors(replace(base, strategy=replace(base.strategy, freezes=(freeze,))))
    await order(api, "deploy", {"image": image(3).reference})
    await api.house.settle()

    waiting = (await get(api, "get_app", app="shop")).body
    assert waiting["frozen_until"] == "2026-01-03T00:00:00+00:00"
    assert "Sat 2026-01-03 00:00 UTC: audit" in waiting["why"]
    frozen = (await get(api, "get_rollout", id=waiting["rollout"])).body
    assert (frozen["state"], frozen["frozen_until"]) == ("queued", waiting["frozen_until"])

    body = {"image": image(4).reference, "override": True, "reason": "customers cannot pay"}
    await order(api, "deploy", body)
    await api.house.settle()
    running = (await get(api, "get_app", app="shop")).body
    begun = (await get(api, "get_rollout", id=running["rollout"])).body
    assert (begun["override"], begun["frozen_until"]) == ("customers cannot pay", None)
    assert begun["state"] not in {"queued", "rejected"}


async def test_an_order_for_another_rollout_does_nothing_and_its_refusal_names_the_order() -> None:
    api = doors()
    await api.house.send(submit(2))
    await api.house.run_to(State.OBSERVING)
    named = {"rollout": "20260101T000000000-shop-0000dead-1", "id": "late", "reason": "bad"}

    for command in ("abort", "rollback", "promote"):
        await order(api, command, named)
    await api.house.settle()

    assert (await api.house.active()) is not None
    events = (await get(api, "get_app", app="shop")).body["events"]
    refused = [e for e in events if e["order"] == "late"]
    assert [e["kind"] for e in refused] == ["refused"] * 3
    assert all("meant for rollout 20260101T000000000-shop-0000dead-1" in e["why"] for e in refused)
