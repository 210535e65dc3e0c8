"""The registry's own webhook and Event Grid's doors: what they answer, and what begins nothing."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from sandbox.registry import ImageSpec, PushEvent, RegistryClient
from sandbox.registry.notices import acr, acr_ping
from sandbox.tokens import mint
from sandbox.village import APP, WEBHOOK_SECRET, Options, Village
from tests.e2e.kit import NEVER, QUICK, Json, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

GOOD: Mapping[str, str] = {"Authorization": WEBHOOK_SECRET}
MEBIBYTE = 1 << 20
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        webhook=True,
        changes={**QUICK, "strategy": {"steps": QUICK["strategy"]["steps"], "bake": "0s"}},
    )
    async with Village(options) as village:
        yield village


def push_event(village: Village, **changes: Any) -> PushEvent:
    facts: Json = {
        "action": "push",
        "media_type": OCI_MANIFEST,
        "size": 500,
        "digest": "sha256:" + "ab" * 32,
        "repository": APP,
        "tag": "v9",
        "host": village.registry.host,
        "user_agent": "docker",
    }
    return PushEvent(**{**facts, **changes})


async def post(
    village: Village, body: bytes, headers: Mapping[str, str] = GOOD, *, registry: str = "acr"
) -> tuple[int, Json, Mapping[str, str]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{village.host.url}/api/webhooks/{registry}", data=body, headers=headers
        ) as answer,
    ):
        return answer.status, await answer.json(), answer.headers


def sent(village: Village) -> int:
    return village.broker.queue("rollouts").counters.sends


async def test_what_is_no_push_is_answered_with_why_and_enqueues_nothing(village: Village) -> None:
    """Secret, size, form and registry are checked; a ping is told why nothing begins."""
    good = acr(push_event(village)).body
    misshapen = json.dumps({"action": "push", "target": {"repository": APP}}).encode()
    before = sent(village)

    answers = [
        (await post(village, good, {}))[:2],
        (await post(village, good, {"Authorization": "wrong"}))[:2],
        (await post(village, good, {"X-Slipway-Secret": WEBHOOK_SECRET + "x"}))[:2],
        (await post(village, b"{not json"))[:2],
        (await post(village, misshapen))[:2],
        (await post(village, b"[]"))[:2],
        (await post(village, b" " * (MEBIBYTE + 1)))[:2],
        (await post(village, good, registry="nexus"))[:2],
        (await post(village, acr_ping().body))[:2],
    ]

    assert [status for status, _ in answers] == [401, 401, 401, 400, 400, 400, 413, 404, 200]
    for _, body in answers[:-1]:
        assert body["error"]["code"].startswith("SW")
        assert body["error"]["fix"]
        assert WEBHOOK_SECRET not in json.dumps(body)
    assert answers[-1][1] == {
        "accepted": False,
        "reason": "action 'ping' is not an image push",
        "ignored": ["action 'ping' is not an image push"],
    }
    assert sent(village) == before


async def test_signatures_children_charts_and_deletions_begin_nothing(village: Village) -> None:
    """What else happens in a registry is heard and left alone, by webhook and by Event Grid."""
    heard: list[PushEvent] = []

    async def hear(event: PushEvent) -> None:
        heard.append(event)

    village.registry.on_push.append(hear)
    before = sent(village)
    token, _ = mint("https://containerregistry.azure.net", "somebody")
    async with RegistryClient(
        village.registry.host, ca_file=village.authority.ca_file, token=token
    ) as client:
        spec = ImageSpec(files={"a": b"1"}, entrypoint=("python", "a"), env={})
        index = await client.push_index(APP, "latest", [spec], attestations=True)
        await client.sign(APP, index)
        await client.attach(APP, index, "application/spdx+json", b"{}")
        await client.delete(APP, index)
    await village.registry.settled()
    chart = "application/vnd.cncf.helm.config.v1+json"
    events: list[tuple[str, Json]] = [
        ("ImageDeleted", json.loads(acr(push_event(village, action="delete", tag=None)).body)),
        ("ChartPushed", json.loads(acr(push_event(village, media_type=chart)).body)),
        ("ImagePushed", json.loads(acr(push_event(village, tag=None)).body)),
    ]
    for kind, data in events:
        event_type = f"Microsoft.ContainerRegistry.{kind}"
        await village.event_grid.publish(
            source="/subscriptions/s", subject=APP, event_type=event_type, data=data
        )
    await village.event_grid.idle()

    actions = [(event.action, event.tag and event.tag.rpartition(".")[2]) for event in heard]
    assert actions == [
        *[("push", None)] * 2,
        ("push", "latest"),
        ("push", "sig"),
        ("push", None),
        ("delete", None),
    ]
    assert {delivery.status for delivery in village.event_grid.deliveries} == {202}
    assert sent(village) == before
    assert village.host.output.count("push ignored") >= len(heard) + len(events)


async def test_a_push_survives_a_queue_that_is_away(village: Village) -> None:
    """While Service Bus is down the sender hears 503 with Retry-After; its next try rolls out."""
    async with kept_well(village, APP), under_load(village) as shop:
        await village.broker.stop()
        status, body, headers = await post(village, acr(push_event(village)).body)
        digest = await shop.push("v2")
        refused = village.host.output.count("webhook acr: SW103")

        async def refused_again() -> bool:
            return village.host.output.count("webhook acr: SW103") > refused

        await until(refused_again, what="a refused delivery")
        await village.broker.start()
        rollout = await shop.reaches(digest, "succeeded")
        await shop.serves("v2")

        assert (status, body["error"]["code"]) == (503, "SW103")
        assert int(headers["Retry-After"]) > 0
        assert rollout["by"] == "webhook acr"
        assert len((await shop.view())["rollouts"]) == 1
        assert shop.failures() == {}
