"""Slot swaps: what travels, what stays, how they fail, and what a failure leaves behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.mgmt.web import models

from sandbox.app_service.errors import allocation_changed
from tests.sandbox.app_service_kit import (
    GROUP,
    SITE,
    World,
    docker,
    ramp,
    running,
    until,
    web_config,
)

TO_PRODUCTION = models.CsmSlotEntity(target_slot="Production", preserve_vnet=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Blue has "new"; SLOT is sticky, COLOUR is not."""
    async with running(tmp_path, slot_release="new") as world:
        world.site.sticky["appSettingNames"] = ["SLOT"]
        for slot, name in (
            (world.site.production, "production"),
            (world.site.slot("blue"), "blue"),
        ):
            slot.apply_settings({"SLOT": name, "COLOUR": f"of {name}"})
        assert await world.site.settled()
        yield world


async def settings(world: World, slot: str) -> tuple[str, str]:
    """Return SLOT and COLOUR as the answering process sees them."""
    _, page = await world.get(world.site.url(slot))
    return page["environment"]["SLOT"], page["environment"]["COLOUR"]


async def swap(world: World) -> None:
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    assert poller.status() == "InProgress"
    await poller.result()
    assert poller.status() == "Succeeded"


async def test_a_swap_moves_image_and_settings_but_not_the_sticky_ones(world: World) -> None:
    """The image travels; the rules stay and now lead to the old build."""
    web_apps = world.arm.web_apps
    await web_apps.update_configuration(GROUP, SITE, ramp(world.site, blue=100))
    await swap(world)

    assert (await world.release("blue"), await settings(world, "blue")) == (
        "old",
        ("blue", "of production"),
    )
    pinned = {"x-ms-routing-name": "self"}
    _, page = await world.get(world.site.url(), cookies=pinned)
    assert (page["release"], page["environment"]["SLOT"]) == ("new", "production")
    assert page["environment"]["COLOUR"] == "of blue"
    assert (await world.get(world.site.url()))[1]["release"] == "old"
    production = await web_apps.get_configuration(GROUP, SITE)
    assert str(production.linux_fx_version).endswith(str(world.site.production.running_digest))
    status = (await web_apps.get(GROUP, SITE)).slot_swap_status
    assert status is not None
    assert (status.source_slot_name, status.destination_slot_name) == ("blue", "production")


async def test_the_promoted_process_keeps_its_old_slot_name(world: World) -> None:
    """It was warmed before the switch: slot names lie after a swap."""
    await swap(world)
    _, page = await world.get(world.site.url())
    assert page["environment"]["WEBSITE_SLOT_NAME"] == "blue"


async def test_no_client_sees_a_swap(world: World) -> None:
    """The target answers throughout."""
    done = False
    statuses: set[int] = set()

    async def load() -> None:
        while not done:
            statuses.add((await world.get(world.site.url()))[0])

    clients = [asyncio.create_task(load()) for _ in range(4)]
    await swap(world)
    done = True
    await asyncio.gather(*clients)
    assert statuses == {200}
    assert world.service.traffic.failed() == 0


async def test_a_swap_says_when_to_ask_again(world: World) -> None:
    """Location and Retry-After come with the 202 and with every poll of a running swap."""
    world.service.arm.provider.retry_after_seconds = 1
    said: list[tuple[int, str | None, bool]] = []

    def note(response: Any) -> None:
        headers = response.http_response.headers
        said.append(
            (
                response.http_response.status_code,
                headers.get("Retry-After"),
                "/operationresults/" in headers.get("Location", ""),
            )
        )

    poller = await world.arm.web_apps.begin_swap_slot(
        GROUP, SITE, "blue", TO_PRODUCTION, raw_response_hook=note
    )
    await poller.result()
    assert said[0] == (202, "1", True)
    assert said[-1] == (200, None, False)


async def test_a_swap_can_be_resumed_by_its_token(world: World) -> None:
    """A second client polls to the end what the first one began; one POST was sent."""
    web_apps = world.arm.web_apps
    poller = await web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION, polling=True)
    token = poller.continuation_token()
    resumed = await web_apps.begin_swap_slot(
        GROUP, SITE, "blue", TO_PRODUCTION, continuation_token=token
    )
    await resumed.result()

    assert await world.release() == "new"
    posts = [entry for entry in world.service.log if entry.path.endswith("/slotsswap")]
    assert len(posts) == 1


async def test_while_a_swap_runs_the_site_cannot_be_changed(world: World) -> None:
    """409 in the older dialect, which the client does not parse into an error."""
    web_apps = world.arm.web_apps
    world.site.slot("blue").app_settings["START_DELAY"] = "1"  # makes the swap take a second
    poller = await web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    with pytest.raises(ResourceExistsError) as second:
        await web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    with pytest.raises(ResourceExistsError):
        await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))
    assert second.value.response is not None
    body = second.value.response.json()
    assert body["Code"] == "Conflict"
    assert "another operation is in progress" in body["Message"]
    await poller.result()


async def test_a_build_that_does_not_start_with_the_targets_settings_undoes_the_swap(
    world: World,
) -> None:
    """The swap fails while polled, production never changed, the slot gets its settings back."""
    world.site.sticky["appSettingNames"].append("CRASH")
    world.site.production.app_settings["CRASH"] = "1"  # not applied to the running process
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    with pytest.raises(HttpResponseError) as failure:
        await poller.result()

    assert failure.value.status_code == 400
    assert "could not be started" in str(failure.value.response.json()["Message"])  # type: ignore[union-attr]
    assert await world.site.settled()
    assert (await world.release(), await world.release("blue")) == ("old", "new")
    assert await settings(world, "blue") == ("blue", "of blue")
    assert "CRASH" not in world.site.slot("blue").app_settings


async def test_any_status_is_warm_unless_the_settings_name_some(world: World) -> None:
    """A 500 at the warm-up path passes; with WEBSITE_SWAP_WARMUP_PING_STATUSES it does not."""
    blue = world.site.slot("blue")
    ping = {"WEBSITE_SWAP_WARMUP_PING_PATH": "/warm", "STATUS_warm": "500"}
    blue.apply_settings(
        blue.app_settings | ping | {"WEBSITE_SWAP_WARMUP_PING_STATUSES": "200, 202"}
    )
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    with pytest.raises(HttpResponseError) as failure:
        await poller.result()
    assert "did not respond to http ping" in failure.value.response.json()["Message"]  # type: ignore[union-attr]

    blue.apply_settings(
        {key: value for key, value in blue.app_settings.items() if key != "SLOT"}
        | {"WEBSITE_SWAP_WARMUP_PING_STATUSES": ""}
    )
    await swap(world)
    assert await world.release() == "new"


async def test_changed_allocation_fails_the_swap_once(world: World) -> None:
    world.service.faults.allocation_changed(SITE, "blue")
    poller = await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    with pytest.raises(HttpResponseError) as failure:
        await poller.result()
    assert failure.value.status_code == 400
    assert failure.value.response is not None
    assert failure.value.response.json()["Message"] == allocation_changed(SITE, "blue").message
    assert await world.release() == "old"

    await swap(world)
    assert await world.release() == "new"


async def test_a_swap_that_was_accepted_but_answered_503_did_happen(world: World) -> None:
    """Sending it again would swap back: read first, then decide."""
    error = allocation_changed(SITE, "blue")
    error.status = 503
    world.service.faults.fail_after_effect("slotsswap", error)
    with pytest.raises(HttpResponseError) as failure:
        await world.arm.web_apps.begin_swap_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    assert failure.value.status_code == 503

    async def swapped() -> bool:
        return (await world.arm.web_apps.get(GROUP, SITE)).slot_swap_status is not None

    await until(swapped)
    assert await world.release() == "new"


async def test_preview_locks_both_slots_and_the_swap_completes_it(world: World) -> None:
    """Phase one: the slot runs with production's sticky settings; config writes are refused."""
    web_apps = world.arm.web_apps
    await web_apps.apply_slot_configuration_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    assert await world.site.settled()
    assert await settings(world, "blue") == ("production", "of blue")
    assert await world.release() == "old"
    image = world.image("other")
    with pytest.raises(ResourceExistsError):
        await web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(image))
    with pytest.raises(ResourceExistsError) as refusal:
        await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))
    assert "prepared for swap" in refusal.value.response.json()["Message"]  # type: ignore[union-attr]

    await swap(world)
    assert await world.release() == "new"
    await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))


async def test_resetting_both_slots_cancels_a_preview(world: World) -> None:
    """Each reset unlocks its own slot, and the source gets its settings back."""
    web_apps = world.arm.web_apps
    await web_apps.apply_slot_configuration_slot(GROUP, SITE, "blue", TO_PRODUCTION)
    await web_apps.reset_slot_configuration_slot(GROUP, SITE, "blue")
    with pytest.raises(ResourceExistsError):
        await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))
    await web_apps.reset_production_slot_config(GROUP, SITE)
    await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))

    assert await world.site.settled()
    assert await settings(world, "blue") == ("blue", "of blue")


async def test_differences_tell_what_a_swap_would_change(world: World) -> None:
    """The image, and the settings that travel; sticky ones only when one slot lacks them."""
    blue = world.site.slot("blue")
    world.site.sticky["appSettingNames"].append("ONLY_HERE")
    blue.app_settings |= {"ONLY_HERE": "1", "FRESH": "2"}
    found = [
        item
        async for item in world.arm.web_apps.list_slot_differences_slot(
            GROUP, SITE, "blue", TO_PRODUCTION
        )
    ]
    told = {(item.setting_type, item.setting_name): item.diff_rule for item in found}
    assert told == {
        ("General", "linuxFxVersion"): "SettingsWillBeModifiedInDestination",
        ("AppSetting", "COLOUR"): "SettingsWillBeModifiedInDestination",
        ("AppSetting", "FRESH"): "SettingsWillBeAddedToDestination",
        ("AppSetting", "ONLY_HERE"): "SlotSettingsMissing",
    }
    fresh = next(item for item in found if item.setting_name == "FRESH")
    assert (fresh.value_in_current_slot, fresh.value_in_target_slot) == ("2", None)


async def test_a_swap_with_a_slot_that_is_not_there_is_refused(world: World) -> None:
    nowhere = models.CsmSlotEntity(target_slot="violet", preserve_vnet=True)
    with pytest.raises(HttpResponseError) as refusal:
        await world.arm.web_apps.begin_swap_slot_with_production(GROUP, SITE, nowhere)
    assert refusal.value.status_code == 404
