"""Event Grid triggers of the Functions host, fed by the sandbox's Event Grid."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from sandbox.event_grid import EventGrid, Schema, SubscriptionRefusedError
from sandbox.functions_host import FunctionsHost
from tests.sandbox.functions_host_support import ECHO, Client, echo_settings


@pytest.fixture(scope="module")
def host() -> Iterator[FunctionsHost]:
    host = FunctionsHost(ECHO, settings=echo_settings())
    asyncio.run(host.start())
    yield host
    host.kill()


@pytest.fixture
async def client(host: FunctionsHost) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(host, session)


@pytest.fixture
async def grid() -> AsyncIterator[EventGrid]:
    grid = EventGrid(retry_scale=0.00001)
    yield grid
    await grid.stop()


async def publish(grid: EventGrid, event_id: str, **data: object) -> None:
    await grid.publish(source="/s", subject="a:b", event_type="T", data=data, event_id=event_id)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [("EventGridSchema", "EventGridEvent"), ("CloudEventSchemaV1_0", "CloudEvent")],
)
@pytest.mark.parametrize("batch", [1, 10])
async def test_an_event_reaches_the_function(
    client: Client, grid: EventGrid, schema: Schema, kind: str, batch: int
) -> None:
    """The handshake succeeds; each event of a batch is one invocation; the answer is 202."""
    endpoint = client.host.event_grid_endpoint("on_event")
    await grid.subscribe("s", endpoint, schema=schema, max_events_per_batch=batch)
    ids = [f"{kind}-{batch}-{number}" for number in range(3)]
    for event_id in ids:
        await publish(grid, event_id, n=1)
    await grid.idle()

    seen = [r for r in await client.records("event") if r["id"] in ids]
    assert sorted(record["id"] for record in seen) == ids
    assert {record["type"] for record in seen} == {kind}
    assert all(record["data"] == {"n": 1} for record in seen)
    assert {delivery.status for delivery in grid.deliveries} == {202}
    assert len(grid.deliveries) == (3 if batch == 1 else 1)


async def test_a_function_that_raises_is_called_again(client: Client, grid: EventGrid) -> None:
    """500 makes Event Grid repeat the whole batch, the events that succeeded included."""
    endpoint = client.host.event_grid_endpoint("on_event")
    await grid.subscribe("s", endpoint, schema="EventGridSchema", max_events_per_batch=2)
    await publish(grid, "good")
    await publish(grid, "bad", fail=True)
    await grid.idle()

    attempts = len(grid.deliveries)
    seen = [record["id"] for record in await client.records("event")]
    assert attempts > 3
    assert {delivery.status for delivery in grid.deliveries} == {500}
    assert seen.count("good") == seen.count("bad") == attempts
    assert {letter.event_id for letter in grid.dead_letters} == {"good", "bad"}


NOTIFICATION = {"aeg-event-type": "Notification"}
ON_EVENT = "functionName=on_event"

# fmt: off
ANSWERS = [
    # id                  method     query                headers                            status
    ("unknown-function",  "POST",    "functionName=none", NOTIFICATION,                       404),
    ("no-function",       "POST",    "",                  NOTIFICATION,                       404),
    ("no-event-type",     "POST",    ON_EVENT,            {},                                 400),
    ("unknown-type",      "POST",    ON_EVENT,            {"aeg-event-type": "Else"},         400),
    ("not-json",          "POST",    ON_EVENT,            NOTIFICATION,                       400),
    ("unsubscribe",       "POST",    ON_EVENT,            {"aeg-event-type": "Unsubscribe"},  202),
    ("handshake",         "OPTIONS", ON_EVENT,            {"WebHook-Request-Origin": "me"},   200),
]
# fmt: on


@pytest.mark.parametrize(
    ("method", "query", "headers", "status"),
    [pytest.param(*case, id=name) for name, *case in ANSWERS],
)
async def test_the_webhook_answers_as_the_extension(
    client: Client, method: str, query: str, headers: dict[str, str], status: int
) -> None:
    path = f"/runtime/webhooks/eventgrid?{query}&code={client.host.eventgrid_key}"
    answer, _ = await client.call(method, path, headers=headers, data=b"{")

    assert answer == status


@pytest.mark.parametrize("schema", ["EventGridSchema", "CloudEventSchemaV1_0"])
async def test_a_wrong_key_refuses_the_subscription(
    client: Client, grid: EventGrid, schema: Schema
) -> None:
    """The handshake is under the same key: the host key does not open an extension's webhook."""
    endpoint = client.host.event_grid_endpoint("on_event")
    wrong = endpoint.replace(client.host.eventgrid_key, client.host.host_key)

    with pytest.raises(SubscriptionRefusedError, match="401"):
        await grid.subscribe("s", wrong, schema=schema)
