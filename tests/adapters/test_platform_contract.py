"""What every `TargetPlatform` keeps, asked of the memory twin and of App Service's adapter."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    SiteMissingError,
    SlotMissingError,
)
from controller.core.plan import Percent, Routing, SlotName, split
from tests.adapters.stands import (
    BLUE,
    GREEN,
    HEALTH,
    PRODUCTION,
    TARGET,
    MemoryStand,
    Stand,
    digest,
    image,
    sandbox_stand,
    until_answers,
    url,
)


@pytest.fixture(params=["memory", "sandbox", "sitecontainers"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stand]:
    if request.param == "memory":
        yield MemoryStand()
        return
    site_containers = request.param == "sitecontainers"
    async with sandbox_stand(tmp_path, site_containers=site_containers) as real:
        yield real


async def stage_new(stand: Stand) -> bool:
    return await stand.platform.stage(
        TARGET, BLUE, image=image("new"), release=digest("new"), request_id="rollout/1/stage"
    )


async def test_a_site_is_read_with_production_and_every_configured_slot(stand: Stand) -> None:
    """Slots, hosts, images and what the build reports to telemetry; no setting's value."""
    view = await stand.platform.read(TARGET)

    assert set(view.slots) == {PRODUCTION, BLUE, GREEN}
    assert len({slot.host for slot in view.slots.values()}) == 3
    assert view.host == view.slots[PRODUCTION].host
    assert (view.routing, view.problems, view.warnings) == (Routing(), (), ())
    for slot in view.slots.values():
        assert (slot.image, slot.release, slot.telemetry_release) == (image("old"), None, "1.0")
        assert slot.running
        assert "GREETING" in slot.setting_names
    hosts = await stand.platform.hosts(TARGET)
    assert hosts.public == view.host
    assert dict(hosts.slots) == {name: slot.host for name, slot in view.slots.items()}


async def test_staging_twice_writes_once(stand: Stand) -> None:
    """The second call finds everything as wanted, and other slots never notice."""
    assert await stage_new(stand) is False
    writes = stand.writes()
    assert await stage_new(stand) is True

    assert stand.writes() == writes
    view = await stand.platform.read(TARGET)
    blue = view.slots[BLUE]
    assert (blue.image, blue.release, blue.telemetry_release) == (
        image("new"),
        digest("new"),
        digest("new"),
    )
    assert "GREETING" in blue.setting_names
    assert view.slots[GREEN].image == view.slots[PRODUCTION].image == image("old")


async def test_the_old_build_answers_until_the_new_one_proves_itself(stand: Stand) -> None:
    """Nothing fails meanwhile, and a 200 alone never meant the new build."""
    await stage_new(stand)

    answers = await until_answers(stand, BLUE, digest("new"))

    assert {answer.status for answer in answers} == {200}
    assert answers[0].release is None


async def test_routing_is_written_once_read_back_and_cleared(stand: Stand) -> None:
    """A goal that is true already costs no write; going back leaves no rule behind."""
    goal = Routing(((BLUE, Percent(10)), (GREEN, Percent(90))))
    assert set((await stand.platform.route(TARGET, goal, request_id="r/1")).shares) == set(
        goal.shares
    )
    writes = stand.writes()
    await stand.platform.route(TARGET, goal, request_id="r/2")
    assert stand.writes() == writes
    assert (await stand.platform.read(TARGET)).routing.leader == GREEN

    assert await stand.platform.route(TARGET, Routing(), request_id="r/3") == Routing()
    assert (await stand.platform.read(TARGET)).routing == Routing()


async def test_traffic_follows_the_rules_and_a_cookie_overrides_them(stand: Stand) -> None:
    """100 % to a slot reaches it; a client pinned to production stays there."""
    await stage_new(stand)
    await until_answers(stand, BLUE, digest("new"))
    await stand.platform.route(TARGET, split(PRODUCTION, BLUE, Percent(100)), request_id="r/1")
    public = url(await stand.platform.hosts(TARGET), PRODUCTION)

    plain = await stand.prober.ready(public, HEALTH)
    pinned = await stand.prober.ready(public, HEALTH, cookie=("x-ms-routing-name", "self"))

    assert plain.release == digest("new")
    assert (pinned.status, pinned.release) == (200, None)


async def test_what_does_not_exist_is_named(stand: Stand) -> None:
    """A missing slot and a missing site are told apart; both cannot be waited for."""
    elsewhere = replace(TARGET, site="another")
    nowhere = SlotName("purple")
    with pytest.raises(SlotMissingError, match="purple"):
        await stand.platform.read(replace(TARGET, slots=(BLUE, nowhere)))
    with pytest.raises(SlotMissingError, match="purple"):
        await stand.platform.stage(
            TARGET, nowhere, image=image("new"), release="r", request_id="r/1"
        )
    with pytest.raises(SlotMissingError, match="purple"):
        await stand.platform.route(
            TARGET, split(PRODUCTION, nowhere, Percent(10)), request_id="r/1"
        )
    with pytest.raises(SiteMissingError, match="another"):
        await stand.platform.read(elsewhere)
    with pytest.raises(SiteMissingError, match="another"):
        await stand.platform.route(elsewhere, Routing(), request_id="r/1")


@pytest.mark.parametrize("fault", [Fault.LOST_RESPONSE, Fault.CUT_SHORT])
async def test_a_write_that_landed_without_a_word_is_found_by_the_next_call(
    stand: Stand, fault: Fault
) -> None:
    """Whatever was half done, calling again completes it, and then it is true."""
    stand.strike("stage", fault)
    with pytest.raises(BusyError):
        await stage_new(stand)

    await stage_new(stand)

    assert await stage_new(stand) is True
    await until_answers(stand, BLUE, digest("new"))


async def test_a_lost_answer_to_a_routing_write_is_found_by_the_next_call(stand: Stand) -> None:
    """The rules landed: the second call writes nothing."""
    goal = split(PRODUCTION, BLUE, Percent(10))
    stand.strike("route", Fault.LOST_RESPONSE)
    with pytest.raises(BusyError):
        await stand.platform.route(TARGET, goal, request_id="r/1")
    writes = stand.writes()

    assert await stand.platform.route(TARGET, goal, request_id="r/1") == goal
    assert stand.writes() == writes


async def test_throttling_says_when_to_come_back_and_nothing_happened(stand: Stand) -> None:
    stand.strike("stage", Fault.THROTTLED)
    with pytest.raises(BusyError) as caught:
        await stage_new(stand)

    assert caught.value.retry_after == timedelta(seconds=7)
    assert (await stand.platform.read(TARGET)).slots[BLUE].image == image("old")


@pytest.mark.parametrize("operation", ["stage", "route", "read"])
async def test_a_refusal_is_permanent_and_an_outage_is_not(stand: Stand, operation: str) -> None:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "stage": lambda: stage_new(stand),
        "route": lambda: stand.platform.route(
            TARGET, split(PRODUCTION, BLUE, Percent(10)), request_id="r/1"
        ),
        "read": lambda: stand.platform.read(TARGET),
    }
    stand.strike(operation, Fault.PERMANENT)
    with pytest.raises(AccessDeniedError, match="role"):
        await calls[operation]()
    stand.strike(operation, Fault.TRANSIENT)
    with pytest.raises(BusyError):
        await calls[operation]()
    await calls[operation]()


async def test_instances_and_the_end_of_the_log_are_told(stand: Stand) -> None:
    await stage_new(stand)
    await until_answers(stand, BLUE, digest("new"))

    assert list(await stand.platform.instances(TARGET, BLUE)) == ["READY"]
    assert list(await stand.platform.instances(TARGET, PRODUCTION)) == ["READY"]
    log = await stand.platform.log_tail(TARGET, BLUE, lines=2)
    assert log
    assert len(log.splitlines()) <= 2
