"""A registry's webhook and its events: what is answered, in which order it is looked at."""

import hmac
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import ConfigurationError, QueueUnavailableError
from controller.entry import shared_secret, webhooks
from controller.entry.http import MAX_BODY_BYTES
from tests.entry.kit import DIGEST, SECRET, TOPIC, Doors, app, error_of, push
from tests.runtime.kit import digest

PUSHED = "Microsoft.ContainerRegistry.ImagePushed"


async def event(doors: Doors, data: Any, *, kind: str = PUSHED, name: str = "e1") -> None:
    await webhooks.image_pushed(
        event_type=kind, data=data, event_id=name, source=TOPIC, intake=doors.intake
    )


# --- Answers --------------------------------------------------------------------------------------


async def test_a_push_is_accepted_and_becomes_one_command() -> None:
    doors = Doors()

    answer = await doors.webhook(push())

    image = {"image": "contoso.azurecr.io/shop:v2", "digest": DIGEST, "apps": ["shop"]}
    assert (answer.status, answer.body) == (
        202,
        {"accepted": True, "apps": ["shop"], "images": [image], "ignored": []},
    )
    (message,) = doors.queued()
    assert message.session == "shop"
    assert message.subject == "submit"
    (body,) = doors.bodies()
    assert body["image"] == {
        "registry": "contoso.azurecr.io",
        "repository": "shop",
        "digest": DIGEST,
        "tag": "v2",
    }
    assert body["by"] == "webhook acr"


async def test_what_nobody_wants_is_200_with_the_reason() -> None:
    doors = Doors()

    answer = await doors.webhook(push(repository="other"))

    assert answer.status == 200
    assert answer.body["accepted"] is False
    assert "no app takes images" in answer.body["reason"]
    assert doors.queued() == []


async def test_a_ping_is_200() -> None:
    assert (await Doors().webhook({"id": "1", "action": "ping"})).status == 200


SHARED = {"x-slipway-secret": SECRET}
REFUSED: list[tuple[str, Any, str, dict[str, str], int, str]] = [
    ("not-json", b"{", "acr", SHARED, 400, "SW301"),
    ("no-body", b"", "acr", SHARED, 400, "SW301"),
    ("not-utf-8", b'"\xff"', "acr", SHARED, 400, "SW301"),
    ("deep", b"[" * 100_000, "acr", SHARED, 400, "SW301"),
    ("list", [push()], "acr", SHARED, 400, "SW301"),
    ("half-a-push", {"action": "push"}, "acr", SHARED, 400, "SW301"),
    ("endless-tag", push(tag="v" * 129), "acr", SHARED, 400, "SW301"),
    ("no-secret", push(), "acr", {}, 401, "SW307"),
    ("wrong-secret", push(), "acr", {"x-slipway-secret": SECRET + "x"}, 401, "SW307"),
    ("empty-secret", push(), "acr", {"x-slipway-secret": ""}, 401, "SW307"),
    ("odd-secret", push(), "acr", {"x-slipway-secret": "h\u00fcsh"}, 401, "SW307"),
    ("torn-secret", push(), "acr", {"x-slipway-secret": "\udce4"}, 401, "SW307"),
    ("unknown-registry", push(), "nexus", SHARED, 404, "SW304"),
    ("too-large", b" " * (MAX_BODY_BYTES + 1), "acr", SHARED, 413, "SW305"),
]


@pytest.mark.parametrize(
    ("body", "registry", "headers", "status", "code"),
    [pytest.param(*case, id=name) for name, *case in REFUSED],
)
async def test_each_refusal_has_its_status_and_says_what_to_do(
    body: Any, registry: str, headers: dict[str, str], status: int, code: str
) -> None:
    doors = Doors()

    answer = await doors.webhook(body, registry=registry, headers=headers)

    assert answer.status == status
    assert error_of(answer)["code"] == code
    assert doors.queued() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x-slipway-secret": SECRET},
        {"authorization": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"x-slipway-secret": SECRET, "authorization": "Basic other"},
    ],
)
async def test_the_secret_comes_in_either_header(headers: dict[str, str]) -> None:
    assert (await Doors().webhook(push(), headers=headers)).status == 202


@pytest.mark.parametrize("value", [None, ""])
async def test_a_secret_that_is_not_set_lets_nobody_in(value: str | None) -> None:
    """An empty secret would be matched by a request without one."""
    doors = Doors()
    doors.secrets.put("webhook-acr", value)

    answer = await doors.webhook(push(), headers={})

    assert answer.status == 503
    assert error_of(answer)["code"] == "SW306"
    assert "webhook-acr" in error_of(answer)["message"]
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("operation", ["secret", "send"])
async def test_what_may_pass_is_503_so_that_the_sender_comes_back(operation: str) -> None:
    doors = Doors()
    doors.house.weather.script(operation, Fault.TRANSIENT)

    answer = await doors.webhook(push())

    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert (await doors.webhook(push())).status == 202


async def test_a_configuration_that_cannot_be_read_is_503() -> None:
    doors = Doors()
    doors.house.configuration.broken = True

    assert (await doors.webhook(push())).status == 503


async def test_the_checks_stand_in_order() -> None:
    """Nobody learns from a body what the secret would have kept from him."""
    doors = Doors()

    too_large = b" " * (MAX_BODY_BYTES + 1)
    assert (await doors.webhook(too_large, registry="nexus")).status == 404
    assert (await doors.webhook(too_large, headers={})).status == 413
    assert (await doors.webhook(b"{", headers={})).status == 401
    doors.secrets.put("webhook-acr", None)
    assert (await doors.webhook(b"{", headers={})).status == 503


async def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(shared_secret, "hmac", type("hmac", (), {"compare_digest": compare}))
    await Doors().webhook(push(), headers={"authorization": "Bearer guess"})

    assert (b"guess", SECRET.encode()) in compared


async def test_a_push_told_twice_is_one_message() -> None:
    doors = Doors()
    for _ in range(3):
        assert (await doors.webhook(push())).status == 202

    assert len(doors.queued()) == 1


# --- Event Grid -----------------------------------------------------------------------------------


async def test_an_event_is_one_command() -> None:
    doors = Doors()
    for _ in range(2):
        await event(doors, push())

    (body,) = doors.bodies()
    assert body["by"] == "event grid"
    assert body["id"].endswith("#e1")


async def test_one_event_reaches_every_app_that_wants_it() -> None:
    """The registry's resource id makes event ids long: a message id still tells apps apart."""
    doors = Doors(app("one"), app("two"), app("three"))

    await event(doors, push())

    assert sorted(m.session or "" for m in doors.queued()) == ["one", "three", "two"]


async def test_two_events_of_one_registry_are_two_commands() -> None:
    doors = Doors()
    await event(doors, push(), name="e1")
    await event(doors, push(digest=digest(3), tag="v3"), name="e2")

    assert len(doors.queued()) == 2


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (PUSHED, None),
        (PUSHED, {"action": "push"}),
        (PUSHED, push(tag="v" * 500)),
        ("Microsoft.Storage.BlobCreated", {}),
        ("Microsoft.ContainerRegistry.ImageDeleted", {}),
    ],
)
async def test_an_event_that_is_not_understood_is_done_with(kind: str, data: Any) -> None:
    """Raising would make Event Grid send it again for a day."""
    doors = Doors()

    await event(doors, data, kind=kind)

    assert doors.queued() == []


async def test_what_may_pass_is_raised_so_that_event_grid_comes_back() -> None:
    doors = Doors()
    doors.house.weather.script("send", Fault.TRANSIENT)
    with pytest.raises(QueueUnavailableError):
        await event(doors, push())
    doors.house.configuration.broken = True
    with pytest.raises(ConfigurationError):
        await event(doors, push())
