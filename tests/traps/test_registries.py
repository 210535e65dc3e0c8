"""Event Grid at the door for registries, over sockets; and what an event cannot tell."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from controller.adapters.memory.world import Fault
from controller.entry.http import Request
from controller.entry.webhooks import registry_webhook
from controller.runtime.messages import COMMANDS_QUEUE
from sandbox.event_grid import EventGrid, Schema, SubscriptionRefusedError
from sandbox.web import WebServer
from tests.entry.kit import SECRET, TOPIC, Doors, app, push

PUSHED = "Microsoft.ContainerRegistry.ImagePushed"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
SCHEMAS = pytest.mark.parametrize("schema", ["EventGridSchema", "CloudEventSchemaV1_0"])
FAST = 0.0001


class Endpoint:
    """The door behind HTTP, as the Functions worker puts it there."""

    def __init__(self) -> None:
        self.doors = Doors()
        served = web.Application()
        served.router.add_route("*", "/api/webhooks/{registry}", self._take)
        self.server = WebServer(served)

    async def _take(self, request: web.Request) -> web.Response:
        plain = Request(
            method=request.method,
            headers={name.lower(): value for name, value in request.headers.items()},
            query=dict(request.query),
            route=dict(request.match_info),
            body=await request.read(),
        )
        answer = await registry_webhook(plain, self.doors.intake, self.doors.secrets)
        return web.Response(
            text=answer.text(),
            status=answer.status,
            headers=dict(answer.headers),
            content_type="application/json",
        )

    def url(self, key: str = SECRET) -> str:
        return f"{self.server.url}/api/webhooks/acr?key={key}"


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


async def publish(grid: EventGrid, data: dict[str, Any], event_id: str = "e1") -> None:
    await grid.publish(
        source=TOPIC, subject="shop:v2", event_type=PUSHED, data=data, event_id=event_id
    )


async def settled(grid: EventGrid) -> list[int | None]:
    await asyncio.wait_for(grid.idle(), 30)
    return [delivery.status for delivery in grid.deliveries]


@SCHEMAS
async def test_event_grid_subscribes_with_the_key_and_not_without(
    grid: EventGrid, endpoint: Endpoint, schema: Schema
) -> None:
    """The key stands in the address, which both handshakes use."""
    with pytest.raises(SubscriptionRefusedError, match="401"):
        await grid.subscribe("s", endpoint.url("wrong"), schema=schema)

    await grid.subscribe("s", endpoint.url(), schema=schema)
    await publish(grid, push())

    assert await settled(grid) == [202]
    assert len(endpoint.doors.queued()) == 1


@SCHEMAS
async def test_event_grid_delivers_twice_and_one_command_is_queued(
    grid: EventGrid, endpoint: Endpoint, schema: Schema
) -> None:
    grid.faults.deliver_twice = True
    await grid.subscribe("s", endpoint.url(), schema=schema)

    await publish(grid, push())

    assert await settled(grid) == [202, 202]
    assert [message.queue for message in endpoint.doors.queued()] == [COMMANDS_QUEUE]


@SCHEMAS
async def test_event_grid_comes_again_after_503_and_never_after_400(
    grid: EventGrid, endpoint: Endpoint, schema: Schema
) -> None:
    """What may pass is 503; what will never be understood is 400, which dead-letters at once."""
    endpoint.doors.house.weather.script("send", Fault.TRANSIENT)
    await grid.subscribe("s", endpoint.url(), schema=schema)

    await publish(grid, push())
    assert await settled(grid) == [503, 202]
    await publish(grid, {"action": "push"}, "e2")

    assert await settled(grid) == [503, 202, 400]
    assert [(letter.event_id, letter.reason) for letter in grid.dead_letters] == [
        ("e2", "NotRetriable")
    ]
    assert len(endpoint.doors.queued()) == 1


@pytest.mark.parametrize(("tag", "apps"), [("chart-1.2.0", ()), ("v2", ("shop",))])
async def test_a_chart_that_is_told_as_a_plain_manifest_is_kept_away_by_its_tag_alone(
    tag: str, apps: tuple[str, ...]
) -> None:
    """ACR's event does not tell the configuration, by which a chart could be known."""
    doors = Doors(app(tags=("v*",)))

    answer = await doors.webhook(push(tag=tag, mediaType=OCI_MANIFEST))

    assert tuple(answer.body.get("apps", ())) == apps


async def test_a_host_that_somebody_made_up_reaches_no_app() -> None:
    """The host comes with the request; only a registry that an app names counts."""
    doors = Doors()

    answer = await doors.webhook(push() | {"request": {"host": "contoso.azurecr.io.evil.example"}})

    assert (answer.status, answer.body["accepted"]) == (200, False)
    assert doors.queued() == []
