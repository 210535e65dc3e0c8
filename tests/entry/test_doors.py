"""The doors with what the Functions worker really hands over."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import azure.functions as func
import pytest
from azure.functions.servicebus import ServiceBusMessage

from controller import wiring
from controller.adapters.memory.world import Fault
from controller.core.errors import QueueUnavailableError, TransientError
from controller.core.model import State
from controller.entry import doors
from controller.runtime.messages import OBSERVATIONS_QUEUE, REJECTED_QUEUE
from tests.entry.kit import SECRET, TOPIC, Doors, app, push
from tests.runtime.kit import spec, submit

PUSHED = "Microsoft.ContainerRegistry.ImagePushed"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Doors], Doors]:
    """Put a house of memory twins behind the doors."""

    def put(behind: Doors) -> Doors:
        house = behind.house
        home = SimpleNamespace(
            configuration=house.configuration,
            bus=house.bus,
            secrets=behind.secrets,
            store=house.store,
            history=house.store,
            buckets=house.store,
            registry=house.registry,
            explainer=behind.explainer,
            engine=house.engine,
            observer=house.observer,
            sweeper=house.sweeper,
        )
        monkeypatch.setattr(doors, "house", lambda: home)
        return behind

    return put


def request(
    method: str, url: str, *, route: dict[str, str], body: bytes = b"", **headers: str
) -> func.HttpRequest:
    return func.HttpRequest(method, url, headers=headers, params={}, route_params=route, body=body)


def message(body: bytes, **changes: Any) -> func.ServiceBusMessage:
    """Return a message as the worker decodes it."""
    given: dict[str, Any] = {
        "body": body,
        "application_properties": {},
        "message_id": "m1",
        "user_properties": {},
        "session_id": "shop",
        "delivery_count": 1,
    }
    return cast("func.ServiceBusMessage", ServiceBusMessage(**(given | changes)))


def told(answer: func.HttpResponse) -> Any:
    assert answer.mimetype == "application/json"
    return json.loads(answer.get_body())


# --- HTTP -----------------------------------------------------------------------------------------


async def test_a_webhook_through_its_door(opened: Callable[[Doors], Doors]) -> None:
    behind = opened(Doors())
    body = json.dumps(push()).encode()

    answer = await doors.registry_webhook(
        request(
            "POST",
            "https://slipway.test/api/webhooks/acr",
            route={"registry": "acr"},
            body=body,
            Authorization=SECRET,
        )
    )

    assert answer.status_code == 202
    assert told(answer)["apps"] == ["shop"]
    assert len(behind.queued()) == 1


@pytest.mark.parametrize(
    ("door", "route", "status"),
    [
        ("health", {}, 200),
        ("list_apps", {}, 200),
        ("get_app", {"app": "shop"}, 200),
        ("get_app", {"app": "ghost"}, 404),
        ("get_rollout", {"id": "ghost"}, 404),
    ],
)
async def test_reading_through_the_door(
    opened: Callable[[Doors], Doors], door: doors.ApiDoor, route: dict[str, str], status: int
) -> None:
    opened(Doors())

    answer = await doors.api(request("GET", "https://slipway.test/api", route=route), door)

    assert answer.status_code == status
    assert told(answer)


async def test_an_order_through_the_door(opened: Callable[[Doors], Doors]) -> None:
    behind = opened(Doors(spec()))
    order = request(
        "POST",
        "https://slipway.test/api/apps/shop/deploy",
        route={"app": "shop", "command": "deploy"},
        body=b'{"tag": "v2"}',
    )

    answer = await doors.api(order, "command")

    assert answer.status_code == 202
    assert answer.headers["Location"] == "/api/apps/shop"
    assert len(behind.queued()) == 1


@pytest.mark.parametrize("fault", [Fault.TRANSIENT])
async def test_bad_weather_is_503_with_a_time_to_come_back(
    opened: Callable[[Doors], Doors], fault: Fault
) -> None:
    behind = opened(Doors())
    behind.house.weather.script("load", fault)

    answer = await doors.api(request("GET", "https://slipway.test/api/apps", route={}), "list_apps")

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


async def test_a_bug_is_500_without_its_insides(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Any:
        raise KeyError("the vault's password is swordfish")

    monkeypatch.setattr(doors, "house", broken)

    url = "https://slipway.test/api/apps?code=a-function-key"
    answer = await doors.api(request("GET", url, route={}), "list_apps")

    assert answer.status_code == 500
    assert told(answer)["error"]["code"] == "SW500"
    assert b"swordfish" not in answer.get_body()
    assert "a-function-key" not in caplog.text


async def test_missing_settings_are_503_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "house", lambda: wiring.House(wiring.Settings.read({})))

    answer = await doors.api(request("GET", "https://slipway.test/api", route={}), "health")

    assert answer.status_code == 503
    assert "SLIPWAY_CONFIG is not set" in told(answer)["error"]["message"]


# --- Events ---------------------------------------------------------------------------------------


def classic(kind: str = PUSHED) -> func.EventGridEvent:
    return func.EventGridEvent(
        id="e1",
        data=push(),
        topic=TOPIC,
        subject="shop:v2",
        event_type=kind,
        event_time=datetime(2026, 1, 1, tzinfo=UTC),
        data_version="1.0",
    )


def cloud(kind: str = PUSHED) -> func.EventGridEvent:
    event = func.CloudEvent(
        id="e1",
        source=TOPIC,
        type=kind,
        subject="shop:v2",
        data=push(),
        time=datetime(2026, 1, 1, tzinfo=UTC),
        specversion="1.0",
    )
    return cast("func.EventGridEvent", event)


@pytest.mark.parametrize("make", [classic, cloud])
async def test_an_event_of_either_schema_is_the_same_push(
    opened: Callable[[Doors], Doors], make: Callable[[], func.EventGridEvent]
) -> None:
    behind = opened(Doors(app("one"), app("two")))

    await doors.image_pushed(make())
    await doors.image_pushed(classic())

    assert [m.session for m in behind.queued()] == ["one", "two"]
    assert {body["id"][-3:] for body in behind.bodies()} == {"#e1"}


@pytest.mark.parametrize("make", [classic, cloud])
async def test_other_events_are_done_with(
    opened: Callable[[Doors], Doors], make: Callable[[str], func.EventGridEvent]
) -> None:
    behind = opened(Doors())

    await doors.image_pushed(make("Microsoft.ContainerRegistry.ImageDeleted"))

    assert behind.queued() == []


async def test_an_event_that_cannot_be_queued_is_raised(
    opened: Callable[[Doors], Doors],
) -> None:
    opened(Doors()).house.weather.script("send", Fault.TRANSIENT)

    with pytest.raises(QueueUnavailableError):
        await doors.image_pushed(classic())


# --- Messages and timers --------------------------------------------------------------------------


async def test_a_command_message_moves_its_app(opened: Callable[[Doors], Doors]) -> None:
    house = opened(Doors(spec())).house

    await doors.command_message(message(submit(2).model_dump_json().encode()))
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]


async def test_a_command_message_in_the_wrong_session_is_put_aside(
    opened: Callable[[Doors], Doors],
) -> None:
    house = opened(Doors(spec())).house

    await doors.command_message(message(submit(2).model_dump_json().encode(), session_id="bank"))

    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert kept.properties["message_id"] == "m1"


async def test_a_second_delivery_owes_the_wake_up_again(opened: Callable[[Doors], Doors]) -> None:
    house = opened(Doors(spec())).house
    await house.send(submit(2))
    await house.run_to(State.WARMING)
    before = len(house.wake_ups())

    await doors.command_message(message(submit(2).model_dump_json().encode(), delivery_count=2))

    assert len(house.wake_ups()) == before + 1


async def test_a_transient_failure_is_the_hosts_to_repeat(opened: Callable[[Doors], Doors]) -> None:
    opened(Doors(spec())).house.weather.script("load", Fault.TRANSIENT)

    with pytest.raises(TransientError):
        await doors.command_message(message(submit(2).model_dump_json().encode()))


async def test_a_poll_message_asks_the_workspace(opened: Callable[[Doors], Doors]) -> None:
    house = opened(Doors(spec())).house
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    due = house.polls()[0]
    house.clock.set(due.at or house.clock.now())

    await doors.observe_message(message(due.body, session_id="workspace", message_id=due.id))

    assert len(house.bus.waiting(OBSERVATIONS_QUEUE)) == 2  # this one's twin, and the next
    assert [m for m in house.bus.waiting("rollouts") if m.subject == "observed"]


async def test_the_timer_sweeps(
    opened: Callable[[Doors], Doors], caplog: pytest.LogCaptureFixture
) -> None:
    opened(Doors(spec()))
    late = cast("func.TimerRequest", SimpleNamespace(past_due=True))

    with caplog.at_level("INFO"):
        await doors.sweep(late)

    assert "sweep (past due)" in caplog.text
