"""The whole way forth and back with the real SDK, real sockets, real processes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from controller.activities import check_ready, restore, route, stage
from controller.core.effects import CheckReady, Restore, Route, Stage
from controller.core.events import Done, NotYet, ReadyChecked, Reply, Smoke
from controller.core.plan import Percent, SmokeTest, split
from tests.activities.kit import Clock, key
from tests.adapters.stands import (
    BLUE,
    HEALTH,
    PRODUCTION,
    TARGET,
    SandboxStand,
    digest,
    image,
    sandbox_stand,
)

CLOCK = Clock()
SMOKE = SmokeTest(method="GET", path="/", expect_body='"release"')
PATIENT = replace(HEALTH, smoke_tests=(SMOKE,), request_timeout=timedelta(seconds=10))


@pytest.fixture(params=["classic", "sitecontainers"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SandboxStand]:
    async with sandbox_stand(tmp_path, site_containers=request.param == "sitecontainers") as real:
        yield real


async def until_done(ask: Callable[[], Awaitable[Reply]]) -> list[Reply]:
    """Ask again and again as the engine would, without its pauses."""
    replies: list[Reply] = []
    async with asyncio.timeout(30):
        while not replies or isinstance(replies[-1], NotYet):
            replies.append(await ask())
            await asyncio.sleep(0.05)
    assert isinstance(replies[-1], Done), replies[-1]
    return replies


async def bring_up(stand: SandboxStand) -> None:
    """STAGING and WARMING of "new" on blue."""
    staging = Stage(
        key=key("stage"), target=TARGET, slot=BLUE, image=image("new"), release=digest("new")
    )
    assert isinstance(await stage.perform(staging, stand.platform, CLOCK), Done)
    look = CheckReady(
        key=key("check_ready"),
        target=TARGET,
        slot=BLUE,
        release=digest("new"),
        health=PATIENT,
        streak=0,
        needed=1,
    )
    async with asyncio.timeout(30):
        while True:
            reply = await check_ready.perform(look, stand.platform, stand.prober, CLOCK)
            assert isinstance(reply, ReadyChecked), reply
            if reply.ready:
                break
            assert "answers 200" in reply.detail  # the old container, all the while
            await asyncio.sleep(0.05)
    assert reply.smoke is Smoke.PASSED


def shifting(weight: int) -> Route:
    return Route(
        key=key("route"),
        target=TARGET,
        routing=split(PRODUCTION, BLUE, Percent(weight)),
        canary=BLUE,
        release=digest("new"),
        stable_release="1.0",
        health=PATIENT,
    )


RESTORE = Restore(
    key=key("restore"),
    target=TARGET,
    stable=PRODUCTION,
    stable_image=image("old"),
    stable_release="1.0",
    bad=BLUE,
    bad_release=digest("new"),
    health=PATIENT,
)


@pytest.mark.parametrize("cookie", ["respected", "ignored"])
async def test_a_pinned_user_is_brought_back_too(stand: SandboxStand, cookie: str) -> None:
    """Without a rule the cookie may still lead to the bad slot: it must lead to a good build."""
    stand.service.front_door.absent_rule_cookie = (
        "respected" if cookie == "respected" else "ignored"
    )
    await bring_up(stand)
    replies = await until_done(
        lambda: route.perform(shifting(50), stand.platform, stand.prober, CLOCK)
    )
    assert len(replies) <= 3
    public = stand.site.url()
    async with aiohttp.ClientSession(cookies={"x-ms-routing-name": "blue"}) as user:
        async with user.get(public) as answer:
            assert answer.headers["x-image"] == "new"

        replies = await until_done(
            lambda: restore.perform(RESTORE, stand.platform, stand.prober, CLOCK)
        )

        async with user.get(public) as answer:
            assert answer.headers["x-image"] == "old"
    assert all("stable serves 100 %" in str(reply) for reply in replies)
    assert stand.site.slot("blue").app_settings["SLIPWAY_RELEASE"] == "1.0"
    assert stand.service.traffic.failed(public=True) == 0


async def test_routing_is_proved_only_once_the_front_door_obeys(stand: SandboxStand) -> None:
    await bring_up(stand)
    stand.service.faults.routing_delay_seconds = 0.5

    replies = await until_done(
        lambda: route.perform(shifting(100), stand.platform, stand.prober, CLOCK)
    )

    assert len(replies) > 1
    bodies = [entry.body for entry in stand.service.log if entry.method == "PATCH"]
    rules = [body for body in bodies if "experiments" in body["properties"]]
    assert len(rules) == 1


async def test_a_build_that_cannot_be_pulled_explains_itself(stand: SandboxStand) -> None:
    """The old container goes on answering; once it is gone, the log says why nothing comes."""
    staging = Stage(
        key=key("stage"), target=TARGET, slot=BLUE, image=image("gone"), release=digest("gone")
    )
    await stage.perform(staging, stand.platform, CLOCK)
    await stand.site.settled(["blue"])
    look = CheckReady(
        key=key("check_ready"),
        target=TARGET,
        slot=BLUE,
        release=digest("gone"),
        health=PATIENT,
        streak=0,
        needed=1,
    )
    alive = await check_ready.perform(look, stand.platform, stand.prober, CLOCK)
    stand.site.slot("blue").stop()
    stand.site.slot("blue").start()
    await stand.site.settled(["blue"])
    dead = await check_ready.perform(look, stand.platform, stand.prober, CLOCK)

    assert isinstance(alive, ReadyChecked)
    assert isinstance(dead, ReadyChecked)
    assert "the old container still serves" in alive.detail
    assert "answers 503" in dead.detail
    assert "not found" in dead.detail
    assert len(dead.detail) <= 500


async def test_an_image_that_lands_late_is_found_before_its_answers_are_believed(
    tmp_path: Path,
) -> None:
    """An older write puts "old" under the identity of "new": it answers by the right name."""
    async with sandbox_stand(tmp_path) as stand:
        await bring_up(stand)
        blue = stand.site.slot("blue")
        blue.apply_config({**blue.config, "linuxFxVersion": f"DOCKER|{image('old')}"})
        assert await stand.site.settled()
        look = CheckReady(
            key=key("check_ready"),
            target=TARGET,
            slot=BLUE,
            release=digest("new"),
            health=PATIENT,
            streak=0,
            needed=1,
            image=image("new"),
        )

        reply = await check_ready.perform(look, stand.platform, stand.prober, CLOCK)

        assert isinstance(reply, ReadyChecked)
        assert not reply.ready
        assert "put right" in reply.detail
        assert blue.image == image("new")
        assert await stand.site.settled()
        reply = await check_ready.perform(look, stand.platform, stand.prober, CLOCK)
        assert isinstance(reply, ReadyChecked)
        assert reply.ready


async def test_what_lands_in_the_bad_slot_after_the_rollback_is_repaired_when_asked_again(
    tmp_path: Path,
) -> None:
    """The bad build's image lands late in the slot that was refilled: the goal still stands."""
    async with sandbox_stand(tmp_path) as stand:
        await bring_up(stand)
        await until_done(lambda: restore.perform(RESTORE, stand.platform, stand.prober, CLOCK))
        blue = stand.site.slot("blue")
        blue.apply_config({**blue.config, "linuxFxVersion": f"DOCKER|{image('new')}"})

        replies = await until_done(
            lambda: restore.perform(RESTORE, stand.platform, stand.prober, CLOCK)
        )

        assert isinstance(replies[0], NotYet)
        assert blue.image == image("old")
