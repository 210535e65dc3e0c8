"""What comes over the queues: done, rejected with its reason, or delivered again."""

import json
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import TransientError
from controller.core.model import State
from controller.entry.queue import on_command, on_observe
from controller.runtime.messages import REJECTED_QUEUE
from tests.runtime.kit import SHOP, House, digest

GOOD: dict[str, Any] = {
    "v": 1,
    "command": "submit",
    "app": "shop",
    "image": {"registry": "registry.test", "repository": "shop", "digest": digest(2)},
}


async def command(
    house: House, body: Any, *, session: str | None = SHOP, deliveries: int = 1, name: str = "m1"
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    await on_command(
        raw,
        session=session,
        deliveries=deliveries,
        message_id=name,
        engine=house.engine,
        bus=house.bus,
    )


MALFORMED: list[tuple[str, Any, str | None, str]] = [
    ("not-json", b"{", SHOP, "body"),
    ("nothing", b"", SHOP, "body"),
    ("deep", b"[" * 200_000, SHOP, "body"),
    ("list", [GOOD], SHOP, "body"),
    ("no-command", {"app": "shop"}, SHOP, "body"),
    ("unknown-command", GOOD | {"command": "explode"}, SHOP, "explode"),
    ("unknown-field", GOOD | {"force": True}, SHOP, "force"),
    ("future-version", GOOD | {"v": 2}, SHOP, "submit.v"),
    ("no-app", {"command": "abort"}, SHOP, "app"),
    ("odd-app", GOOD | {"app": "Shop!"}, "Shop!", "app"),
    ("short-digest", GOOD | {"image": {"digest": "sha256:1"}}, SHOP, "digest"),
    ("rollback-without-reason", {"command": "rollback", "app": "shop"}, SHOP, "reason"),
    ("endless-reason", {"command": "abort", "app": "shop", "reason": "x" * 2001}, SHOP, "reason"),
    ("another-apps-session", GOOD, "bank", "session 'bank'"),
    ("unknown-app", GOOD | {"app": "ghost"}, "ghost", "no app 'ghost'"),
]


@pytest.mark.parametrize(
    ("body", "session", "why"), [pytest.param(*case, id=name) for name, *case in MALFORMED]
)
async def test_what_can_never_be_handled_is_put_aside_with_its_reason(
    body: Any, session: str | None, why: str
) -> None:
    """The worker cannot dead-letter: the message is copied, told of, and completed."""
    house = House()

    await command(house, body, session=session)

    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert kept.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert why in kept.properties["reason"]
    assert kept.properties["fix"]
    assert kept.properties["code"] in {"SW301", "SW302"}
    assert kept.properties["queue"] == "rollouts"
    assert kept.properties["session"] == session
    assert kept.properties["message_id"] == "m1"
    assert await house.rollouts() == []


async def test_the_reason_never_outgrows_a_message_property() -> None:
    house = House()
    odd = GOOD | {f"field-{n}-{'x' * 500}": 1 for n in range(50)}

    await command(house, odd)

    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert len(kept.properties["reason"]) <= 1000


@pytest.mark.parametrize("operation", ["load", "save", "send"])
async def test_what_may_pass_is_raised_and_delivered_again(operation: str) -> None:
    house = House()
    house.weather.script(operation, Fault.TRANSIENT)

    with pytest.raises(TransientError):
        await command(house, GOOD)
    await command(house, GOOD, deliveries=2)
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]
    assert house.bus.waiting(REJECTED_QUEUE) == []


async def test_if_it_cannot_be_put_aside_it_comes_again() -> None:
    house = House()
    house.weather.script("send", Fault.TRANSIENT)

    with pytest.raises(TransientError):
        await command(house, b"rubbish")
    await command(house, b"rubbish", deliveries=2)

    assert len(house.bus.waiting(REJECTED_QUEUE)) == 1


async def test_a_pipelines_message_without_an_id_is_named_by_its_message() -> None:
    """Delivered again it is the same order; the next message is another one."""
    house = House()
    for name in ("m1", "m1", "m2"):
        await command(house, GOOD, name=name)

    kinds = [r.kind for r in await house.records()]
    assert kinds.count("submitted") == 1
    assert kinds.count("ignored") == 1


async def test_a_message_without_a_session_is_taken_for_its_app() -> None:
    house = House()
    await command(house, GOOD, session=None)

    assert len(await house.rollouts()) == 1


@pytest.mark.parametrize("body", [b"{", b"{}", b'{"command": "poll", "workspace": ""}', b"[]"])
async def test_a_poll_that_is_none_is_put_aside(body: bytes) -> None:
    house = House()

    await on_observe(body, session="w", message_id="m1", observer=house.observer, bus=house.bus)

    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert kept.properties["queue"] == "observations"


async def test_a_poll_that_meets_bad_weather_is_delivered_again() -> None:
    house = House()
    house.weather.script("load_watch", Fault.TRANSIENT)
    body = b'{"command": "poll", "workspace": "w", "due": "2026-01-01T00:00:00Z"}'

    with pytest.raises(TransientError):
        await on_observe(body, session="w", message_id="m1", observer=house.observer, bus=house.bus)

    assert house.bus.waiting(REJECTED_QUEUE) == []
