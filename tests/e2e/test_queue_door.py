"""The queue as pipelines use it: what cannot be understood is set aside, what can is obeyed."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from controller.entry.queue import MAX_REPEATS
from sandbox.servicebus.view import MessageView
from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Json, steps, under_load, until
from tests.e2e.records import Somebody, kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

REFRESH_SECONDS = 0.5  # how long the controller trusts what it read of apps.yaml


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    watched = {"steps": steps(50, shortest="60s"), "bake": "1s"}
    agreed = {
        "steps": steps(50, 100, shortest="2s"),
        "bake": "60s",
        "approval": {"point": "before_full"},
    }
    options = Options(
        cookie_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        settings={"SLIPWAY_CONFIG_REFRESH_SECONDS": str(REFRESH_SECONDS)},
        changes={**QUICK, "strategy": watched},
        more_apps=(MoreApp(name="till", slots=("blue",), changes={**QUICK, "strategy": agreed}),),
    )
    async with Village(options) as village:
        yield village


class Pipeline:
    """Sends messages as somebody's pipeline does, with the vendor's client."""

    def __init__(self, village: Village, sender: ServiceBusSender) -> None:
        self._village = village
        self._sender = sender

    async def send(self, body: bytes | Json, *, session: str, message_id: str) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = ServiceBusMessage(text, session_id=session, message_id=message_id)
        await self._sender.send_messages(message)

    async def order(self, app: str, command: str, **fields: Any) -> None:
        """Send an order without an id: its message names it."""
        body = {"v": 1, "command": command, "app": app, "by": "pipeline 7", **fields}
        await self.send(body, session=app, message_id=f"{app}-{command}-{len(fields)}")

    async def submit(self, app: App, version: str) -> str:
        """Push under a tag that begins nothing, then submit the image by digest."""
        digest = await self._village.push(f"build-{version}", app=app.name)
        image = {
            "registry": self._village.registry.host,
            "repository": app.name,
            "digest": digest,
            "tag": version,
        }
        await self.order(app.name, "submit", image=image, reason="release train")
        return digest


@pytest_asyncio.fixture(loop_scope="module")
async def pipeline(village: Village) -> AsyncIterator[Pipeline]:
    client = ServiceBusClient(
        village.broker.namespace,
        Somebody(),
        custom_endpoint_address=village.broker.endpoint_address,
        transport_type=TransportType.Amqp,
        connection_verify=str(village.authority.ca_file),
    )
    async with client, client.get_queue_sender("rollouts") as sender:
        yield Pipeline(village, sender)


async def rejected(village: Village, message_id: str) -> MessageView:
    """Return the copy in queue ``rejected`` of the message with that id."""

    async def look() -> MessageView | None:
        copies = village.broker.queue("rejected").active
        return next((m for m in copies if m.properties.get("message_id") == message_id), None)

    return await until(look, what=f"{message_id} in queue rejected")


async def test_what_cannot_be_understood_is_set_aside_with_its_reason(
    village: Village, pipeline: Pipeline
) -> None:
    """Not JSON, another schema, an unknown app, another app's session: handled once, kept."""
    rollouts = village.broker.queue("rollouts")
    bad: dict[str, tuple[bytes | Json, str]] = {
        "no-json": (b"\x00{", APP),
        "no-schema": ({"v": 1, "command": "deploy", "app": APP}, APP),
        "newer-schema": ({"v": 2, "command": "pause", "app": APP}, APP),
        "one-field-too-many": ({"v": 1, "command": "pause", "app": APP, "force": True}, APP),
        "no-such-app": ({"v": 1, "command": "pause", "app": "ghost"}, "ghost"),
        "wrong-session": ({"v": 1, "command": "pause", "app": "till"}, APP),
    }
    for message_id, (body, session) in bad.items():
        await pipeline.send(body, session=session, message_id=message_id)
    copies = {message_id: await rejected(village, message_id) for message_id in bad}

    for message_id, (body, session) in bad.items():
        copy = copies[message_id]
        assert copy.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
        assert copy.properties["session"] == session
        assert copy.properties["queue"] == "rollouts"
        assert str(copy.properties["code"]).startswith("SW30")
        assert copy.properties["reason"]
        assert copy.properties["fix"]

    async def quiet() -> bool:
        return village.broker.queue("rollouts").active == ()

    await until(quiet, what="an empty queue")
    after = village.broker.queue("rollouts")
    assert after.counters.deliveries - rollouts.counters.deliveries == len(bad)
    assert after.dead_letter == ()


async def watched(app: App, pipeline: Pipeline) -> None:
    """Hold it, let it go, and bring it home before its time."""
    digest = await pipeline.submit(app, "v2")
    await app.reaches(digest, "observing")
    await pipeline.order(app.name, "pause", reason="lunch")
    held = await app.reaches(digest, "held")
    assert (held["why"], held["weight"]) == ("pause by pipeline 7: lunch", 50)
    await pipeline.order(app.name, "resume")
    await app.reaches(digest, "observing")
    await pipeline.order(app.name, "promote", reason="looks fine")
    done = await app.reaches(digest, "succeeded")
    assert (done["by"], done["reason"]) == ("pipeline 7", "release train")


async def agreed(app: App, pipeline: Pipeline) -> None:
    """Wait for a person before everyone gets it; then take it back all the same."""
    digest = await pipeline.submit(app, "v2")
    waiting = await app.reaches(digest, "approval")
    assert waiting["weight"] == 50
    await pipeline.order(app.name, "approve", reason="seen by ann")
    await app.reaches(digest, "baking")
    await pipeline.order(app.name, "abort", reason="seen by bob")
    back = await app.reaches(digest, "rolled_back")
    assert [e["by"] for e in back["events"] if e["by"]] == ["pipeline 7"] * 3


async def test_a_pipeline_submits_pauses_resumes_promotes_approves_and_aborts(
    village: Village, pipeline: Pipeline
) -> None:
    """Each order is one message with the vendor's client; users notice nothing."""
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        await asyncio.gather(watched(shop, pipeline), agreed(till, pipeline))
        await shop.serves("build-v2")
        await till.serves("v1")

        assert shop.failures() == till.failures() == {}
        assert village.broker.queue("rollouts").dead_letter == ()


async def test_an_order_that_fails_waits_and_what_fails_for_hours_is_found_and_told(
    village: Village, pipeline: Pipeline
) -> None:
    """Orders that cannot be handled, here for want of a readable apps.yaml.

    One is tried again later and is done. The other's name says that it was tried for hours: the
    platform gives up on it, the sweep moves it to queue ``rejected``, the app's audit says so.
    """
    good = village.apps_file.read_text()
    async with under_load(village, APP, rate=None) as shop:
        village.apps_file.write_text("apps: [")
        await asyncio.sleep(REFRESH_SECONDS)
        order = {"v": 1, "command": "pause", "app": APP, "by": "ann"}
        await pipeline.send(order, session=APP, message_id="patient")
        last = f"unlucky/again/{MAX_REPEATS}"
        await pipeline.send(order, session=APP, message_id=last)

        async def given_up() -> bool:
            return bool(village.broker.queue("rollouts").dead_letter)

        await until(given_up, what="a dead letter")
        village.apps_file.write_text(good)
        await asyncio.sleep(REFRESH_SECONDS)
        await sweep(village)
        copy = await rejected(village, last)
        page = await shop.event("page", "'pause' was given up after 10 deliveries")

        await shop.event("refused", "no rollout under way")
        assert json.loads(copy.body) == order
        assert copy.properties["reason"] == "MaxDeliveryCountExceeded"
        assert page["what"] == "sweep"
        assert village.broker.queue("rollouts").dead_letter == ()


async def sweep(village: Village) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"{village.host.url}/admin/functions/sweep"
        headers = {"x-functions-key": village.host.master_key}
        async with session.post(url, json={}, headers=headers) as answer:
            assert answer.status == 202
