"""Event Grid: handshakes, both schemas, retries, dead letters, faults; over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from azure.functions import CloudEvent, EventGridEvent
from azure.functions.eventgrid import EventGridEventInConverter
from azure.functions.meta import Datum

from sandbox.event_grid import EventGrid, SubscriptionRefusedError
from sandbox.web import WebServer

FAST = 0.0001  # the schedule's 10 s become 1 ms, its 24 h 8.64 s
SOURCE = "/subscriptions/s/resourceGroups/r/providers/Microsoft.ContainerRegistry/registries/demo"
PUSHED = "Microsoft.ContainerRegistry.ImagePushed"


class Endpoint:
    """A webhook. It shakes hands unless told otherwise, and answers events by script, then 200."""

    def __init__(self) -> None:
        self.handshake_status = 200
        self.allowed_origin = "eventgrid.azure.net"
        self.answer_code: str | None = None  # None: the right one
        self.script: list[int] = []
        self.requests: list[tuple[dict[str, str], Any]] = []
        self.handshakes: list[tuple[dict[str, str], Any]] = []
        app = web.Application()
        app.router.add_route("OPTIONS", "/hook", self._options)
        app.router.add_route("POST", "/hook", self._post)
        self.server = WebServer(app)

    @property
    def url(self) -> str:
        return f"{self.server.url}/hook?code=key"

    @property
    def event_ids(self) -> list[str]:
        return [event["id"] for _, events in self.requests for event in listed(events)]

    async def _options(self, request: web.Request) -> web.Response:
        self.handshakes.append((dict(request.headers), None))
        return web.Response(
            status=self.handshake_status, headers={"WebHook-Allowed-Origin": self.allowed_origin}
        )

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.json()
        if request.headers["aeg-event-type"] == "SubscriptionValidation":
            self.handshakes.append((dict(request.headers), body))
            code = self.answer_code or body[0]["data"]["validationCode"]
            return web.json_response({"validationResponse": code}, status=self.handshake_status)
        self.requests.append((dict(request.headers), body))
        return web.Response(status=self.script.pop(0) if self.script else 200)


def listed(body: Any) -> list[dict[str, Any]]:
    return body if isinstance(body, list) else [body]


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.server.start()
    yield endpoint
    await endpoint.server.stop()


@pytest.fixture
async def grid() -> AsyncIterator[EventGrid]:
    grid = EventGrid(retry_scale=FAST)
    yield grid
    await grid.stop()
    await grid.stop()


async def publish(grid: EventGrid, event_id: str = "e1") -> str:
    return await grid.publish(
        source=SOURCE,
        subject="shop:v1",
        event_type=PUSHED,
        data={"action": "push"},
        event_id=event_id,
    )


async def settled(grid: EventGrid) -> None:
    await asyncio.wait_for(grid.idle(), 30)


async def test_the_event_grid_handshake(grid: EventGrid, endpoint: Endpoint) -> None:
    """A validation event is posted in an array; its code must come back with 200."""
    await grid.subscribe("acr-push", endpoint.url, schema="EventGridSchema")

    [(headers, body)] = endpoint.handshakes
    assert headers["aeg-subscription-name"] == "ACR-PUSH"
    assert body[0]["eventType"] == "Microsoft.EventGrid.SubscriptionValidationEvent"
    assert body[0]["data"]["validationUrl"].startswith("https://")


async def test_the_cloud_events_handshake(grid: EventGrid, endpoint: Endpoint) -> None:
    """OPTIONS names the origin, a callback and a rate; the origin must be allowed."""
    await grid.subscribe("acr-push", endpoint.url, schema="CloudEventSchemaV1_0")

    [(headers, _)] = endpoint.handshakes
    assert headers["WebHook-Request-Origin"] == "eventgrid.azure.net"
    assert headers["WebHook-Request-Rate"] == "120"
    assert "WebHook-Request-Callback" in headers


# fmt: off
REFUSALS = [
    # id              schema                   change
    ("202",           "EventGridSchema",       {"handshake_status": 202}),
    ("401",           "EventGridSchema",       {"handshake_status": 401}),
    ("wrong-code",    "EventGridSchema",       {"answer_code": "another"}),
    ("wrong-origin",  "CloudEventSchemaV1_0",  {"allowed_origin": "example.com"}),
    ("404",           "CloudEventSchemaV1_0",  {"handshake_status": 404}),
]
# fmt: on


@pytest.mark.parametrize(
    ("schema", "change"), [pytest.param(*case, id=name) for name, *case in REFUSALS]
)
async def test_an_endpoint_that_does_not_validate_gets_no_events(
    grid: EventGrid, endpoint: Endpoint, schema: Any, change: dict[str, Any]
) -> None:
    for name, value in change.items():
        setattr(endpoint, name, value)

    with pytest.raises(SubscriptionRefusedError):
        await grid.subscribe("s", endpoint.url, schema=schema)

    await publish(grid)
    await settled(grid)
    assert endpoint.requests == []


async def test_nobody_listens(grid: EventGrid) -> None:
    with pytest.raises(SubscriptionRefusedError):
        await grid.subscribe("s", "http://127.0.0.1:9/hook", schema="EventGridSchema")


async def test_an_event_in_the_event_grid_schema(grid: EventGrid, endpoint: Endpoint) -> None:
    """It comes in an array, with the documented headers, and azure.functions understands it."""
    await grid.subscribe("acr-push", endpoint.url, schema="EventGridSchema")
    await publish(grid)
    await settled(grid)

    [(headers, body)] = endpoint.requests
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["aeg-event-type"] == "Notification"
    assert headers["aeg-delivery-count"] == "0"
    assert (headers["aeg-data-version"], headers["aeg-metadata-version"]) == ("1.0", "1")
    event = decoded(body[0])
    assert isinstance(event, EventGridEvent)
    assert (event.id, event.topic, event.subject) == ("e1", SOURCE, "shop:v1")
    assert (event.event_type, event.get_json()) == (PUSHED, {"action": "push"})
    assert event.event_time is not None


async def test_an_event_in_the_cloud_events_schema(grid: EventGrid, endpoint: Endpoint) -> None:
    """It comes alone, with the documented content type, and azure.functions understands it."""
    await grid.subscribe("acr-push", endpoint.url, schema="CloudEventSchemaV1_0")
    await publish(grid)
    await settled(grid)

    [(headers, body)] = endpoint.requests
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert headers["WebHook-Request-Origin"] == "eventgrid.azure.net"
    event = decoded(body)
    assert isinstance(event, CloudEvent)
    assert (event.id, event.source, event.type) == ("e1", SOURCE, PUSHED)


@pytest.mark.parametrize(
    ("schema", "content_type"),
    [
        ("EventGridSchema", "application/json; charset=utf-8"),
        ("CloudEventSchemaV1_0", "application/cloudevents-batch+json; charset=utf-8"),
    ],
)
async def test_batches(grid: EventGrid, endpoint: Endpoint, schema: Any, content_type: str) -> None:
    """Events that wait together travel together, up to the limit; each exactly once here."""
    await grid.subscribe("s", endpoint.url, schema=schema, max_events_per_batch=2)
    for number in range(5):
        await publish(grid, f"e{number}")
    await settled(grid)

    assert sorted(len(body) for _, body in endpoint.requests) == [1, 2, 2]
    assert sorted(endpoint.event_ids) == ["e0", "e1", "e2", "e3", "e4"]
    assert {headers["Content-Type"] for headers, _ in endpoint.requests} == {content_type}


async def test_failures_are_retried_until_success(grid: EventGrid, endpoint: Endpoint) -> None:
    """Anything but success, 400 and 413 is tried again, counted in the header and recorded."""
    endpoint.script = [500, 404, 503, 302, 202]
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    await publish(grid)
    await settled(grid)

    counts = [headers["aeg-delivery-count"] for headers, _ in endpoint.requests]
    assert counts == ["0", "1", "2", "3", "4"]
    assert [(d.attempt, d.status) for d in grid.deliveries] == [
        (1, 500),
        (2, 404),
        (3, 503),
        (4, 302),
        (5, 202),
    ]
    assert {d.event_ids for d in grid.deliveries} == {("e1",)}
    assert grid.dead_letters == []


@pytest.mark.parametrize("status", [200, 201, 202, 203, 204])
async def test_success(grid: EventGrid, endpoint: Endpoint, status: int) -> None:
    endpoint.script = [status]
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    await publish(grid)
    await settled(grid)

    assert [d.status for d in grid.deliveries] == [status]


@pytest.mark.parametrize("status", [400, 413])
async def test_hopeless_answers_dead_letter_at_once(
    grid: EventGrid, endpoint: Endpoint, status: int
) -> None:
    endpoint.script = [status]
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    await publish(grid)
    await settled(grid)

    [letter] = grid.dead_letters
    assert (letter.event_id, letter.attempts, letter.last_status) == ("e1", 1, status)
    assert len(endpoint.requests) == 1


async def test_a_dead_endpoint_ends_in_a_dead_letter(endpoint: Endpoint) -> None:
    """Nobody answers any more: after the (scaled) time to live the event is given up."""
    grid = EventGrid(retry_scale=FAST / 10)
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    await endpoint.server.stop()
    await publish(grid)
    await settled(grid)

    await grid.stop()
    [letter] = grid.dead_letters
    assert letter.reason == "TimeToLiveExceeded"
    assert letter.last_status is None
    assert letter.attempts == len(grid.deliveries) > 5


async def test_faults_deliver_twice(grid: EventGrid, endpoint: Endpoint) -> None:
    grid.faults.deliver_twice = True
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    await publish(grid)
    await settled(grid)

    assert endpoint.event_ids == ["e1", "e1"]


async def test_faults_out_of_order(grid: EventGrid, endpoint: Endpoint) -> None:
    grid.faults.out_of_order = True
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    for number in range(3):
        await publish(grid, f"e{number}")
    await settled(grid)

    assert endpoint.event_ids == ["e2", "e1", "e0"]


async def test_faults_delay(grid: EventGrid, endpoint: Endpoint) -> None:
    """A delayed event arrives after one that was published later without delay."""
    await grid.subscribe("s", endpoint.url, schema="EventGridSchema")
    grid.faults.delay_seconds = 1
    await publish(grid, "late")
    await asyncio.sleep(0.05)  # its delivery has begun, so it has read the delay
    grid.faults.delay_seconds = 0
    await publish(grid, "early")
    await settled(grid)

    assert endpoint.event_ids == ["early", "late"]


async def test_every_subscription_gets_every_event(grid: EventGrid, endpoint: Endpoint) -> None:
    await grid.subscribe("one", endpoint.url, schema="EventGridSchema")
    await grid.subscribe("two", endpoint.url, schema="CloudEventSchemaV1_0")
    event_id = await grid.publish(source=SOURCE, subject="s", event_type=PUSHED, data={})
    await settled(grid)

    assert {(d.subscription, d.event_ids) for d in grid.deliveries} == {
        ("one", (event_id,)),
        ("two", (event_id,)),
    }


def decoded(event: dict[str, Any]) -> EventGridEvent | CloudEvent:
    """Convert as the Functions worker does."""
    return EventGridEventInConverter.decode(Datum(json.dumps(event), "json"), trigger_metadata=None)
