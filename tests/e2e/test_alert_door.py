"""Alerts through the whole village: an action group, the real door, a rollout that goes back."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio

from sandbox.alerts import ActionGroup
from sandbox.tokens import Issuer
from sandbox.village import ALERTS_AUDIENCE, APP, WEBHOOK_SECRET, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Json, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

RULE = "shop-5xx"
CHANGES: Mapping[str, Any] = {**QUICK, "alerts": {"rules": ["shop-*"]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(cookie_seconds=2, sweep_schedule=NEVER, slots=("blue",), changes=CHANGES)
    async with Village(options) as village:
        yield village


async def firing(shop: App) -> list[Json]:
    found: list[Json] = (await shop.view())["firing"]
    return found


async def test_an_alert_ends_a_rollout_and_lets_none_start_until_it_is_resolved(
    village: Village,
) -> None:
    """By secure webhook, on a build that the judge finds nothing against."""
    group = village.action_group(secure=True)
    slot = f"{village.resource_id()}/slots/blue"
    async with kept_well(village, APP), under_load(village) as shop:
        good = await shop.push("v2")
        await shop.reaches(good, "observing")
        fired = await group.fire(RULE, slot)
        back = await shop.reaches(good, "rolled_back")
        await shop.serves("v1")

        kept_away = await shop.push("v3")
        rejected = await shop.reaches(kept_away, "rejected")
        fires = await firing(shop)

        await group.resolve(fired)

        async def quiet() -> bool:
            return await firing(shop) == []

        await until(quiet, what="the alert is resolved")
        last = await shop.push("v4")
        await shop.reaches(last, "succeeded")
        await shop.serves("v4")

        assert [d.statuses for d in group.deliveries] == [(202,), (202,)]
        (why,) = [e["why"] for e in back["events"] if e["what"] == "Alerted"]
        assert f"alert {RULE!r} fired: on sites/shop/slots/blue" in why
        assert "Total Http5xx was 42, more than 10 over 5 min" in why
        assert f"Alert {RULE!r} on sites/shop/slots/blue since" in rejected["why"]
        assert [(f["rule"], f["resource"]) for f in fires] == [(RULE, slot.lower())]
        assert shop.failures() == {}


async def test_only_those_who_may_are_heard(village: Village) -> None:
    """And what is said to others tells them what to do, and never a secret."""
    url = f"{village.host.url}/api/alerts"
    site = village.resource_id()
    stranger = ActionGroup(url, issuer=Issuer(), audience=ALERTS_AUDIENCE)
    elsewhere = ActionGroup(url, issuer=village.identity.issuer, audience="api://other")
    groups = (ActionGroup(url), ActionGroup(url, key="wrong"), stranger, elsewhere)

    answers = [(await group.fire(RULE, site)).delivery for group in groups]
    foreign = (await village.action_group().fire("other-5xx", f"{site}-not")).delivery

    assert [a.statuses for a in answers] == [(401,)] * 4
    assert [a.answer["error"]["code"] for a in answers] == ["SW307", "SW307", "SW309", "SW309"]
    assert all(WEBHOOK_SECRET not in str(a.answer) for a in answers)
    assert foreign.statuses == (200,)
    assert "no app has" in foreign.answer["reason"]


async def test_an_alert_survives_a_queue_that_is_away(village: Village) -> None:
    """The door answers 503, the one answer after which the action group comes again."""
    group = village.action_group()
    group.scale = 0.1
    async with under_load(village, rate=None) as shop:
        await village.broker.stop()
        early = await group.post(b"{")  # what is wrong for good is not tried again

        async def come_back() -> bool:
            refused = village.host.output.count("alert: SW103")
            if refused:
                await village.broker.start()
            return refused > 0

        waiting = until(come_back, what="a refused alert")
        fired = group.fire(RULE, village.resource_id())
        delivered, _ = await asyncio.gather(fired, waiting)
        seen = await shop.event("alert", "no rollout is under way")
        await group.resolve(delivered)

        assert early.statuses == (400,)
        assert delivered.delivery.arrived
        assert delivered.delivery.statuses[0] == 503
        assert RULE in seen["why"]
