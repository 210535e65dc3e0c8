"""Every fault strikes as described, once, and the real client shows it as it shows Azure's."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.mgmt.web import models

from sandbox.app_service import ArmError
from tests.sandbox.app_service_kit import (
    GROUP,
    SITE,
    World,
    client,
    ramp,
    running,
    until,
    web_config,
)

PATCH = "^PATCH .*/config/web$"
DOWN = ArmError(503, "ServiceUnavailable", "The service is unavailable.")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path, slots=()) as world:
        yield world


async def always_on(world: World) -> bool:
    return bool((await world.arm.web_apps.get_configuration(GROUP, SITE)).always_on)


async def patch(world: World, *, value: bool = True) -> None:
    await world.arm.web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=value))


async def test_an_error_before_the_effect_changes_nothing(world: World) -> None:
    world.service.faults.refuse(PATCH, DOWN)
    with pytest.raises(HttpResponseError) as failure:
        await patch(world)
    assert (failure.value.status_code, failure.value.error.code) == (503, "ServiceUnavailable")  # type: ignore[union-attr]
    assert not await always_on(world)
    await patch(world)  # struck once
    assert await always_on(world)
    assert [entry.fault for entry in world.service.log if entry.method == "PATCH"] == [
        "refused",
        None,
    ]


async def test_an_error_after_the_effect_hides_that_it_happened(world: World) -> None:
    world.service.faults.fail_after_effect(PATCH, DOWN)
    with pytest.raises(HttpResponseError):
        await patch(world)
    assert await always_on(world)


async def test_the_older_error_dialect_reaches_the_client_unparsed(world: World) -> None:
    """`error` is None then: whoever wants the message reads the response."""
    legacy = ArmError(500, "InternalError", "There was a conflict.", legacy=True)
    world.service.faults.refuse(PATCH, legacy)
    with pytest.raises(HttpResponseError) as failure:
        await patch(world)
    assert failure.value.error is None or failure.value.error.code is None
    assert failure.value.response is not None
    assert failure.value.response.json()["Message"] == "There was a conflict."


@pytest.mark.parametrize("retry_after", [None, 3])
async def test_throttling_comes_with_retry_after_or_without(
    world: World, retry_after: int | None
) -> None:
    world.service.faults.throttle(PATCH, retry_after_seconds=retry_after)
    with pytest.raises(HttpResponseError) as failure:
        await patch(world)
    assert failure.value.status_code == 429
    assert failure.value.response is not None
    expected = None if retry_after is None else str(retry_after)
    assert failure.value.response.headers.get("Retry-After") == expected


async def test_a_client_that_retries_sends_a_post_again(world: World) -> None:
    """Why retries are off for whatever changes something: one call, three restarts."""
    world.service.faults.fail_after_effect("POST .*/restart$", DOWN, count=2)
    async with client(
        world.service, world.authority, retry_total=3, retry_backoff_factor=0.01
    ) as eager:
        await eager.web_apps.restart(GROUP, SITE)
    assert [entry.status for entry in world.service.log] == [503, 503, 200]


async def test_a_lost_response_may_have_taken_effect(world: World) -> None:
    world.service.faults.lose_response(PATCH)
    with pytest.raises((ServiceResponseError, ServiceRequestError)):
        await patch(world)
    assert await always_on(world)
    assert world.service.log[0].status is None


async def test_a_lost_request_has_not(world: World) -> None:
    world.service.faults.lose_request(PATCH)
    with pytest.raises((ServiceResponseError, ServiceRequestError)):
        await patch(world)
    assert not await always_on(world)


async def test_a_slow_effect_lands_over_a_later_write(world: World) -> None:
    """Both writes are answered with success; the first one's effect comes last."""
    world.service.faults.slow_effect(PATCH, 0.3)
    first = await world.arm.web_apps.update_configuration(
        GROUP, SITE, ramp(world.site, production=70)
    )
    assert first.experiments is not None
    assert [rule.reroute_percentage for rule in first.experiments.ramp_up_rules or []] == [70]
    await world.arm.web_apps.update_configuration(GROUP, SITE, ramp(world.site, production=10))
    assert [rule.percentage for rule in world.site.router.rules] == [10]

    await until(lambda: [rule.percentage for rule in world.site.router.rules] == [70])


async def test_a_delay_is_waited_and_nothing_else(world: World) -> None:
    world.service.faults.delay(PATCH, 0.05)
    await patch(world)
    assert await always_on(world)
    assert [entry.fault for entry in world.service.log] == ["delayed", None]


async def test_a_busy_site_refuses_changes_and_lets_itself_be_read(world: World) -> None:
    world.service.faults.busy(SITE, 0.3)
    with pytest.raises(ResourceExistsError) as refusal:
        await patch(world)
    assert refusal.value.response is not None
    assert "another operation is in progress" in refusal.value.response.json()["Message"]
    assert not await always_on(world)

    async def accepted() -> bool:
        try:
            await patch(world)
        except ResourceExistsError:
            return False
        return True

    await until(accepted)
    assert await always_on(world)


async def test_a_slot_prepared_for_swap_is_locked_until_it_is_reset(tmp_path: Path) -> None:
    async with running(tmp_path) as world:
        await locked_until_reset(world)


async def locked_until_reset(world: World) -> None:
    web_apps = world.arm.web_apps
    world.service.faults.prepare_for_swap(SITE, "blue")
    settings = models.StringDictionary(properties={"A": "1"})
    with pytest.raises(ResourceExistsError) as refusal:
        await web_apps.update_application_settings_slot(GROUP, SITE, "blue", settings)
    assert refusal.value.response is not None
    assert "prepared for swap" in refusal.value.response.json()["Message"]
    with pytest.raises(ResourceExistsError):
        await web_apps.begin_swap_slot(
            GROUP, SITE, "blue", models.CsmSlotEntity(target_slot="production", preserve_vnet=True)
        )
    await patch(world)  # production is not locked

    await web_apps.reset_slot_configuration_slot(GROUP, SITE, "blue")
    await web_apps.update_application_settings_slot(GROUP, SITE, "blue", settings)


async def test_clear_ends_what_would_strike_for_ever(world: World) -> None:
    world.service.faults.refuse(PATCH, DOWN, count=None)
    for _ in range(3):
        with pytest.raises(HttpResponseError):
            await patch(world)
    world.service.faults.clear()
    await patch(world)
    assert await always_on(world)
