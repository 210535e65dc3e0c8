"""Service Bus triggers (and the timer) of the Functions host, against the sandbox's broker.

One broker and one host serve the module; every test has its own session ids.
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from sandbox import tokens
from sandbox.functions_host import FunctionsHost
from sandbox.servicebus import Broker, QueueSpec
from sandbox.servicebus.faults import LostReply
from sandbox.tls import create_authority
from sandbox.web import WebServer
from tests.sandbox.functions_host_support import ECHO, NEVER, Client, echo_settings, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUES = (
    QueueSpec(name="sessions", requires_session=True, lock_seconds=2, max_delivery_count=3),
    QueueSpec(name="plain", lock_seconds=2, max_delivery_count=3),
)

# What the extension emits and no more: the app's message has just these beside its body.
METADATA = [
    "ApplicationProperties",
    "DeliveryCount",
    "EnqueuedTime",
    "EnqueuedTimeUtc",
    "ExpiresAt",
    "ExpiresAtUtc",
    "Label",
    "LockToken",
    "MessageId",
    "SequenceNumber",
    "SessionId",
    "Subject",
    "UserProperties",
]


@dataclass
class World:
    """A broker, a host on it, and a sender per queue."""

    broker: Broker
    host: FunctionsHost
    client: Client
    senders: dict[str, ServiceBusSender]

    async def send(self, session_id: str, *bodies: str, **properties: str) -> None:
        await self.senders["sessions"].send_messages(
            [
                ServiceBusMessage(
                    body, session_id=session_id, message_id=f"{session_id}-{n}", **properties
                )
                for n, body in enumerate(bodies)
            ]
        )

    async def ends(self, session_id: str, count: int = 1) -> list[str]:
        """Return the bodies that the function has finished, once there are *count*."""
        records = await self.client.wait_for("session ends", count, session_id=session_id)
        return [record["body"] for record in records]

    async def story(self, *session_ids: str) -> list[tuple[str, str]]:
        """Return (session, "begins" or "ends") in the order it happened."""
        _, text = await self.client.call("GET", "/api/records")
        return [
            (record["session_id"], record["kind"].removeprefix("session "))
            for record in json.loads(text)
            if record.get("session_id") in session_ids
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    broker = Broker(QUEUES, tls=None)
    await broker.start()
    host = FunctionsHost(
        ECHO,
        settings=echo_settings(
            ServiceBus=broker.connection_string,
            TICK="* * * * * *",
            TICK_TAKES="1.2",
            AzureFunctionsJobHost__functionTimeout="00:00:20",
        ),
    )
    try:
        await host.start()
        async with (
            aiohttp.ClientSession() as http,
            ServiceBusClient.from_connection_string(broker.connection_string) as bus,
            bus.get_queue_sender("sessions") as sessions,
            bus.get_queue_sender("plain") as plain,
        ):
            yield World(broker, host, Client(host, http), {"sessions": sessions, "plain": plain})
    finally:
        host.kill()
        await broker.stop()


async def test_a_message_arrives_with_the_extension_s_binding_data(world: World) -> None:
    await world.send("meta", "hello", subject="greeting")
    await world.ends("meta")

    [seen] = await world.client.wait_for("session begins", session_id="meta")
    assert seen["body"] == "hello"
    assert seen["message_id"] == "meta-0"
    assert seen["delivery_count"] == 1, "the .NET host counts from 1"
    assert seen["subject"] == "greeting"
    assert seen["enqueued_is_naive"]
    assert seen["locked_until"] is None
    assert seen["metadata"] == METADATA


async def test_a_session_is_served_in_order_and_completed(world: World) -> None:
    bodies = [f"m{n}" for n in range(10)]
    await world.send("order", *bodies)

    assert await world.ends("order", 10) == bodies
    await until(lambda: gone(world, "order"), what="completion")


async def test_one_at_a_time_in_a_session_many_sessions_at_once(world: World) -> None:
    await world.send("left", "sleep 0.5", "sleep 0.5")
    await world.send("right", "sleep 0.5", "sleep 0.5")
    await world.ends("left", 2)
    await world.ends("right", 2)

    for session in ("left", "right"):
        story = [what for _, what in await world.story(session)]
        assert story == ["begins", "ends", "begins", "ends"]
    first_end = [what for _, what in await world.story("left", "right")].index("ends")
    assert first_end == 2, "both sessions had begun before one ended"


async def test_an_exception_abandons_until_the_message_is_dead_lettered(world: World) -> None:
    await world.send("poison", "fail", "after")

    assert await world.ends("poison") == ["after"], "the rest of the session goes on"
    tries = await world.client.wait_for("session begins", 4, session_id="poison")
    assert [(t["body"], t["delivery_count"]) for t in tries] == [
        ("fail", 1),
        ("fail", 2),
        ("fail", 3),
        ("after", 1),
    ]
    assert [m.session_id for m in world.broker.queue("sessions").dead_letter] == ["poison"]


async def test_a_lock_is_renewed_while_the_function_runs(world: World) -> None:
    """The function takes longer than the lock lasts and is called once."""
    await world.send("long", "sleep 3.5")
    await world.ends("long")
    await until(lambda: gone(world, "long"), what="completion")

    [begin] = await world.client.wait_for("session begins", session_id="long")
    assert begin["delivery_count"] == 1


async def test_an_idle_session_makes_room_for_others(world: World) -> None:
    """More sessions than maxConcurrentSessions: each is served after another went idle."""
    names = [f"crowd{n}" for n in range(7)]
    for name in names:
        await world.send(name, "x")

    for name in names:
        assert await world.ends(name) == ["x"]


async def test_a_lost_session_lock_means_delivered_again(world: World) -> None:
    world.broker.faults.lose_session_locks("sessions", after_seconds=0.2)
    await world.send("lost", "sleep 0.6")

    begins = await world.client.wait_for("session begins", 2, session_id="lost")
    assert [begin["delivery_count"] for begin in begins] == [1, 2]
    await until(lambda: gone(world, "lost"), what="completion")


@pytest.mark.parametrize("reply", [LostReply.ERROR, LostReply.DISCONNECT])
async def test_a_lost_acknowledgement_means_delivered_again(world: World, reply: LostReply) -> None:
    session = f"ack-{reply.value}"
    world.broker.faults.drop_settlements("sessions", applied=False, reply=reply)
    await world.send(session, "x")

    begins = await world.client.wait_for("session begins", 2, session_id=session)
    assert begins[0]["message_id"] == begins[1]["message_id"]
    await until(lambda: gone(world, session), what="completion")


async def test_a_queue_without_sessions(world: World) -> None:
    """Complete on return; abandon on exception until dead-lettered; the lock is renewed."""
    await world.senders["plain"].send_messages(
        [ServiceBusMessage(body) for body in ("fine", "sleep 2.5", "fail")]
    )

    async def settled() -> bool:
        queue = world.broker.queue("plain")
        return not queue.active and bool(queue.dead_letter)

    await until(settled)
    seen = [(r["body"], r["delivery_count"]) for r in await world.client.records("plain")]
    assert sorted(seen) == [("fail", 1), ("fail", 2), ("fail", 3), ("fine", 1), ("sleep 2.5", 1)]
    assert [m.body for m in world.broker.queue("plain").dead_letter] == [b"fail"]


async def test_a_timer_never_overlaps_itself(world: World) -> None:
    """It is due every second and takes 1.2: occurrences are skipped, runs never meet."""
    await world.client.wait_for("tick ended", 2)

    _, text = await world.client.call("GET", "/api/records")
    kinds = [r["kind"] for r in json.loads(text) if r["kind"].startswith("tick")]
    for kind, expected in zip(kinds, itertools.cycle(["tick", "tick ended"]), strict=False):
        assert kind == expected


async def test_the_host_outlives_the_namespace(world: World) -> None:
    """The broker goes away for a while; the host answers, and works on when it is back."""
    await world.broker.stop()
    assert (await world.client.call("GET", "/api/echo/literal"))[0] == 200
    await until(lambda: printed(world.host, "again in"))
    await world.broker.start()

    async with anew(world) as again:
        await again.send("back", "x")
        assert await world.ends("back") == ["x"]


async def test_killed_while_a_function_runs_the_message_comes_again(world: World) -> None:
    """SIGKILL takes host and app; after the restart the message is delivered, counted twice."""
    async with anew(world) as again:
        await again.send("killed", "sleep 0.7")
        await world.client.wait_for("session begins", session_id="killed")
        world.host.kill()
    await world.host.restart()

    [begin] = await world.client.wait_for("session begins", session_id="killed")
    assert begin["delivery_count"] == 2
    assert await world.ends("killed") == ["sleep 0.7"]


async def test_stopping_lets_a_running_function_end(world: World) -> None:
    async with anew(world) as again:
        await again.send("stopped", "sleep 0.4", "not yet")
        await world.client.wait_for("session begins", session_id="stopped")
        await world.host.stop()

    left = [m.body for m in world.broker.queue("sessions").active if m.session_id == "stopped"]
    assert left == [b"not yet"], "the running one was completed, the next not begun"
    await world.host.restart()
    assert await world.ends("stopped") == ["not yet"]


async def test_tls_and_a_managed_identity(tmp_path: Path) -> None:
    """`<NAME>__fullyQualifiedNamespace`: DefaultAzureCredential, our authority, any port."""
    authority = create_authority(tmp_path)
    broker = Broker(QUEUES, tls=authority.server_context())
    identity = WebServer(identity_endpoint())
    await broker.start()
    await identity.start()
    settings = echo_settings(
        ServiceBus__fullyQualifiedNamespace=broker.namespace,
        IDENTITY_ENDPOINT=f"{identity.url}/msi/token",
        IDENTITY_HEADER="secret",
        TICK=NEVER,
    )
    del settings["ServiceBus"]
    host = FunctionsHost(ECHO, settings=settings, ca_file=authority.ca_file)
    try:
        await host.start()
        async with (
            aiohttp.ClientSession() as http,
            ServiceBusClient(
                broker.namespace,
                AnyToken(),
                custom_endpoint_address=f"sb://{broker.namespace}",
                transport_type=TransportType.Amqp,
                connection_verify=str(authority.ca_file),
            ) as bus,
            bus.get_queue_sender("sessions") as sender,
        ):
            await sender.send_messages(ServiceBusMessage("x", session_id="tls"))
            [seen] = await Client(host, http).wait_for("session ends", session_id="tls")
            assert seen["body"] == "x"
    finally:
        host.kill()
        await identity.stop()
        await broker.stop()


class AnyToken:
    """A credential that mints its own tokens."""

    async def get_token(self, *scopes: str, **_options: object) -> AccessToken:
        resource = scopes[0].removesuffix("/.default")
        return AccessToken(*tokens.mint(resource, "the test"))

    async def close(self) -> None: ...

    async def __aexit__(self, *_problem: object) -> None: ...


def identity_endpoint() -> web.Application:
    async def token(request: web.Request) -> web.Response:
        access_token, expires = tokens.mint(request.query["resource"], "functions-host")
        return web.json_response(
            {
                "access_token": access_token,
                "expires_on": str(expires),
                "resource": request.query["resource"],
                "token_type": "Bearer",
            }
        )

    app = web.Application()
    app.router.add_get("/msi/token", token)
    return app


async def gone(world: World, session_id: str) -> bool:
    return not [m for m in world.broker.queue("sessions").active if m.session_id == session_id]


async def printed(host: FunctionsHost, text: str) -> bool:
    return text in host.output


@asynccontextmanager
async def anew(world: World) -> AsyncIterator[World]:
    """A new sender, where the module's has lost its connection with the broker.

    Closing one takes the client long enough for a short function to end: stay inside meanwhile.
    """
    async with (
        ServiceBusClient.from_connection_string(world.broker.connection_string) as bus,
        bus.get_queue_sender("sessions") as sender,
    ):
        yield replace(world, senders={"sessions": sender})
