"""Swaps at their worst, each on demand, seen through the real client."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.mgmt.web import models

from sandbox.app_service import ArmError, SwapWeather, errors
from tests.sandbox.app_service_kit import GROUP, SITE, World, docker, running, until, web_config

TO_PRODUCTION = models.CsmSlotEntity(target_slot="production", preserve_vnet=True)
SWAP = "^POST .*/slotsswap$"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path, slot_release="new") as world:
        yield world


async def post(world: World) -> None:
    await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)


async def swap(world: World) -> None:
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    await poller.result()


async def patch(world: World) -> None:
    await world.arm.web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))


async def operations(world: World) -> tuple[str | None, str | None]:
    """Return what site and slot show as in progress."""
    site = await world.arm.web_apps.get(GROUP, SITE)
    slot = await world.arm.web_apps.get_slot(GROUP, SITE, "blue")
    return site.in_progress_operation_id, slot.in_progress_operation_id


async def idle(world: World) -> bool:
    return await operations(world) == (None, None)


def told(error: HttpResponseError) -> str:
    assert error.response is not None
    return str(error.response.json()["Message"])


async def test_a_running_swap_shows_its_operation_on_both_slots_and_refuses_the_rest(
    world: World,
) -> None:
    """The refusal names the same operation; when it is over, nothing shows any more."""
    gate = asyncio.Event()
    world.service.faults.next_swap(SITE, SwapWeather(gate=gate))
    await post(world)

    site, slot = await operations(world)
    assert site == slot is not None
    for change in (
        post(world),
        patch(world),
        world.arm.web_apps.reset_slot_configuration_slot(GROUP, SITE, "blue"),
        world.arm.web_apps.reset_production_slot_config(GROUP, SITE),
    ):
        with pytest.raises(ResourceExistsError) as refusal:
            await change
        assert site in told(refusal.value)
    assert await world.release() == "old"
    gate.set()
    await until(lambda: idle(world))
    assert await world.release() == "new"
    await patch(world)


async def test_a_busy_site_shows_an_operation_too(world: World) -> None:
    world.service.faults.busy(SITE, 60)

    site, slot = await operations(world)
    assert site == slot is not None
    with pytest.raises(ResourceExistsError) as refusal:
        await post(world)
    assert site in told(refusal.value)


async def test_a_slow_swap_takes_its_time_before_anything_moves(world: World) -> None:
    world.service.faults.next_swap(SITE, SwapWeather(takes_seconds=3600))
    await post(world)
    assert await world.site.settled()

    assert not await idle(world)
    assert await world.release() == "old"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ArmError(503, "ServiceUnavailable", "Later."), id="503"),
        pytest.param(errors.throttled("POST", 5), id="429 with Retry-After"),
        pytest.param(errors.throttled("POST", None), id="429 without"),
        pytest.param(ArmError(412, "PreconditionFailed", "Not so."), id="412"),
        pytest.param(None, id="no answer"),
    ],
)
async def test_a_swap_may_take_place_whatever_its_request_is_answered(
    world: World, answer: ArmError | None
) -> None:
    world.service.faults.next_swap(SITE, SwapWeather(answer=answer, lose_answer=answer is None))
    with pytest.raises(AzureError) as failure:
        await post(world)

    status = getattr(failure.value, "status_code", None)
    assert status == (None if answer is None else answer.status)
    await until(lambda: idle(world))
    assert await world.release() == "new"


async def test_a_late_swap_shows_nothing_until_it_begins(world: World) -> None:
    """Its own operation is in progress from the start, though no site shows it."""
    late = asyncio.Event()
    world.service.faults.next_swap(SITE, SwapWeather(begins_when=late))
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)

    assert await operations(world) == (None, None)
    assert await world.release() == "old"
    late.set()
    await poller.result()
    assert await world.release() == "new"


async def test_a_late_swap_lands_over_what_was_written_meanwhile(world: World) -> None:
    """Nobody was told that it is on its way, so nobody is stopped."""
    late = asyncio.Event()
    world.service.faults.next_swap(SITE, SwapWeather(begins_when=late))
    await post(world)
    other = world.image("other")
    await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(other))
    late.set()

    async def landed() -> bool:
        return await world.release() == "other"

    await until(landed)


async def test_a_late_swap_that_finds_another_one_is_not_done_as_well(world: World) -> None:
    late, gate = asyncio.Event(), asyncio.Event()
    world.service.faults.next_swap(SITE, SwapWeather(begins_when=late))
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    first = world.service.somebody_swaps(SITE, "blue", weather=SwapWeather(gate=gate))
    late.set()

    with pytest.raises(HttpResponseError) as failure:
        await poller.result()
    assert first.id in told(failure.value)
    gate.set()
    await until(lambda: first.state == "Succeeded")
    assert await world.release() == "new"


async def test_a_swap_that_is_left_half_way_locks_both_slots(world: World) -> None:
    """Not even the same swap goes on; each reset unlocks its own slot."""
    web_apps = world.arm.web_apps
    error = errors.swap_ping_failed(SITE, "blue")
    world.service.faults.next_swap(SITE, SwapWeather(error=error, leaves_prepared=True))
    with pytest.raises(HttpResponseError) as failure:
        await swap(world)
    assert told(failure.value) == error.message
    assert await operations(world) == (None, None)

    await web_apps.reset_slot_configuration_slot(GROUP, SITE, "blue")
    for change in (patch(world), post(world)):
        with pytest.raises(ResourceExistsError) as refusal:
            await change
        assert "prepared for swap" in told(refusal.value)
    await web_apps.reset_production_slot_config(GROUP, SITE)
    assert await world.site.settled()
    await swap(world)
    assert await world.release() == "new"


async def test_what_is_left_half_way_runs_with_the_other_slots_settings_until_reset(
    world: World,
) -> None:
    world.site.sticky["appSettingNames"] = ["PLACE"]
    blue = world.site.slot("blue")
    blue.apply_settings({"PLACE": "blue"})
    world.site.production.app_settings["PLACE"] = "production"
    assert await world.site.settled()
    weather = SwapWeather(error=errors.allocation_changed(SITE, "blue"), leaves_prepared=True)
    world.service.faults.next_swap(SITE, weather)
    with pytest.raises(HttpResponseError):
        await swap(world)

    async def place() -> str:
        _status, page = await world.get(world.site.url("blue"))
        return str(page["environment"]["PLACE"])

    assert await place() == "production"
    await world.arm.web_apps.reset_slot_configuration_slot(GROUP, SITE, "blue")
    assert await world.site.settled()
    assert await place() == "blue"


async def test_somebody_else_swaps_without_a_request_of_ours(world: World) -> None:
    gate = asyncio.Event()
    operation = world.service.somebody_swaps(SITE, "blue", weather=SwapWeather(gate=gate))
    assert (await operations(world)) == (operation.id, operation.id)
    gate.set()

    await until(lambda: operation.state == "Succeeded")
    assert await world.release() == "new"
    assert not any(request.path.endswith("/slotsswap") for request in world.service.log)


async def test_somebody_else_comes_between_two_requests(world: World) -> None:
    """What was looked at before is not true any more when the next request arrives."""
    faults = world.service.faults
    faults.meanwhile(SWAP, lambda: world.service.somebody_swaps(SITE, "blue"))
    assert await idle(world)
    with pytest.raises(ResourceExistsError):
        await post(world)

    await until(lambda: idle(world))
    assert await world.release() == "new"
    await swap(world)
    assert await world.release() == "old"


async def test_a_success_may_mean_nothing(world: World) -> None:
    """Answered 200 at once, and nothing was done: only looking tells."""
    world.service.faults.pretend(SWAP)
    await swap(world)

    assert await world.release() == "old"
    assert (await world.arm.web_apps.get(GROUP, SITE)).slot_swap_status is None


async def test_connection_strings_travel_unless_they_are_sticky(world: World) -> None:
    blue, production = world.site.slot("blue"), world.site.production
    world.site.sticky["connectionStringNames"] = ["Stays"]
    for slot in (blue, production):
        slot.connection_strings = {
            name: {"value": slot.name, "type": "Custom"} for name in ("Stays", "Travels")
        }
    await swap(world)

    found = await world.arm.web_apps.list_connection_strings(GROUP, SITE)
    assert found.properties is not None
    assert {name: pair.value for name, pair in found.properties.items()} == {
        "Stays": "production",
        "Travels": "blue",
    }
