"""What only App Service's swaps have: the wire, the trap in the SDK, the poll, the settings."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from azure.core.exceptions import HttpResponseError
from azure.mgmt.web.aio import WebSiteManagementClient
from azure.mgmt.web.models import CsmSlotEntity

from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PermanentError,
)
from controller.ports import SwapOutcome, SwapStatus
from sandbox.app_service import ArmError, SwapWeather, errors
from tests.adapters.stands import BLUE, PRODUCTION, TARGET, Credential
from tests.adapters.swap_stands import (
    AFTER,
    BEFORE,
    SITE,
    SWAP,
    SandboxSwapStand,
    begin,
    followed,
    held,
    sandbox_swap_stand,
    until_seen,
)

POLL = "^GET .*/operationresults/"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SandboxSwapStand]:
    async with sandbox_swap_stand(tmp_path) as real:
        yield real


def eager_client(stand: SandboxSwapStand, directory: Path) -> WebSiteManagementClient:
    """Return the SDK's client as it comes, but that it waits less between its attempts."""
    return WebSiteManagementClient(
        Credential(),
        TARGET.subscription,
        base_url=stand.service.arm_url,
        credential_scopes=["https://management.azure.com/.default"],
        connection_verify=str(directory / "tls" / "ca.pem"),
        retry_backoff_factor=0.01,
        polling_interval=0.05,
    )


TAKEN_BUT = [
    pytest.param(SwapWeather(answer=ArmError(503, "ServiceUnavailable", "Later.")), id="503"),
    pytest.param(SwapWeather(answer=errors.throttled("POST", 1)), id="429 with Retry-After"),
]
ENTITY = CsmSlotEntity(target_slot="production", preserve_vnet=True)


@pytest.mark.parametrize("weather", TAKEN_BUT)
async def test_the_sdk_by_itself_would_swap_back(
    stand: SandboxSwapStand, tmp_path: Path, weather: SwapWeather
) -> None:
    """The trap: taken but answered badly, so the client sends it again, and that undoes it."""

    async def first_swap_is_over() -> None:
        await until_seen(stand, lambda view: view.swapped_at is not None and not view.operation)

    stand.service.faults.next_swap(SITE, weather)
    stand.service.faults.meanwhile(SWAP, first_swap_is_over)
    async with eager_client(stand, tmp_path) as client:
        group = TARGET.resource_group
        poller = await client.web_apps.begin_swap_slot(group, SITE, "blue", ENTITY)
        await poller.result()

    assert stand.sent() == 2
    assert await held(stand) == BEFORE


@pytest.mark.parametrize("weather", TAKEN_BUT)
async def test_the_sdk_by_itself_would_take_its_own_swap_for_somebody_elses(
    stand: SandboxSwapStand, tmp_path: Path, weather: SwapWeather
) -> None:
    """The second request meets the first one's operation: refused, it says, yet it happens."""
    gate = asyncio.Event()
    stand.service.faults.next_swap(SITE, replace(weather, gate=gate))
    async with eager_client(stand, tmp_path) as client:
        with pytest.raises(HttpResponseError, match="another operation is in progress"):
            await client.web_apps.begin_swap_slot(TARGET.resource_group, SITE, "blue", ENTITY)
    gate.set()

    assert stand.sent() == 2
    await until_seen(stand, lambda view: view.swapped_at is not None)
    assert await held(stand) == AFTER


async def test_a_swap_that_was_taken_but_answered_badly_is_sent_once(
    stand: SandboxSwapStand,
) -> None:
    """Not one of these answers means that nothing happened, and here it did happen."""
    answers = [
        ArmError(500, "InternalServerError", "Oops.", legacy=True),
        ArmError(503, "ServiceUnavailable", "Later."),
        ArmError(504, "GatewayTimeout", "Too late."),
        errors.throttled("POST", 1),
        errors.throttled("POST", None),
        ArmError(412, "PreconditionFailed", "Not so."),
        ArmError(408, "RequestTimeout", "Slow."),
    ]
    now = BEFORE
    for number, answer in enumerate(answers):
        stand.service.faults.next_swap(SITE, SwapWeather(answer=answer))
        with pytest.raises(BusyError, match=answer.code) as caught:
            await begin(stand)

        assert type(caught.value) is BusyError, answer
        await until_seen(stand, lambda view: view.operation is None)
        now = (now[1], now[0])
        assert (await held(stand), stand.sent()) == (now, number + 1), answer


async def test_the_request_names_production_as_target_and_carries_its_mark(
    stand: SandboxSwapStand,
) -> None:
    """Production is what stays up; network integration stays with its slot."""
    await followed(stand, await begin(stand))

    (request,) = [each for each in stand.service.log if each.path.endswith("/slotsswap")]
    assert request.path.endswith("/sites/shop/slots/blue/slotsswap")
    assert request.body == {"targetSlot": "production", "preserveVnet": True}
    assert request.client_request_id == str(uuid5(NAMESPACE_URL, "rollout/7/swap"))


async def test_each_question_is_one_request(stand: SandboxSwapStand) -> None:
    """No loop and no wait in it: how long is for whoever asked."""
    stand.hold()
    token = await begin(stand)
    before = len(stand.service.log)

    status = await stand.swapper.follow(TARGET, BLUE, token)

    assert status == SwapStatus(outcome=SwapOutcome.RUNNING, retry_after=timedelta(seconds=1))
    (request,) = stand.service.log[before:]
    assert (request.method, "/operationresults/" in request.path) == ("GET", True)
    await stand.swapper.look(TARGET, BLUE)
    assert len(stand.service.log) == before + 3


async def test_a_poll_that_fails_says_nothing_about_the_swap(stand: SandboxSwapStand) -> None:
    answers: list[tuple[ArmError, timedelta | None]] = [
        (errors.throttled("GET", 9), timedelta(seconds=9)),
        (ArmError(503, "ServiceUnavailable", "Later."), None),
        (ArmError(500, "InternalServerError", "Oops.", legacy=True), None),
        (ArmError(408, "RequestTimeout", "Slow."), None),
    ]
    token = await begin(stand)
    for answer, wait in answers:
        stand.service.faults.refuse(POLL, answer)
        status = await stand.swapper.follow(TARGET, BLUE, token)

        assert (status.outcome, status.retry_after) == (SwapOutcome.RUNNING, wait), answer
        assert str(answer.status) in status.detail
    assert (await followed(stand, token)).outcome is SwapOutcome.ENDED


async def test_a_poll_without_an_answer_is_an_outage(stand: SandboxSwapStand) -> None:
    stand.service.faults.lose_response(POLL, count=None)  # aiohttp itself repeats one GET
    token = await begin(stand)
    with pytest.raises(BusyError, match="did not answer"):
        await stand.swapper.follow(TARGET, BLUE, token)


async def test_a_poll_that_is_not_allowed_says_which_role(stand: SandboxSwapStand) -> None:
    stand.service.faults.refuse(POLL, ArmError(403, "AuthorizationFailed", "No."))
    token = await begin(stand)
    with pytest.raises(AccessDeniedError, match="Website Contributor"):
        await stand.swapper.follow(TARGET, BLUE, token)


async def test_an_operation_that_is_forgotten_leaves_it_to_the_slots(
    stand: SandboxSwapStand,
) -> None:
    token = await begin(stand)
    stand.service.arm.provider.operations.clear()

    status = await stand.swapper.follow(TARGET, BLUE, token)

    assert status.outcome is SwapOutcome.ENDED
    assert "the slots tell" in status.detail


async def test_how_a_swap_fails_decides_whether_asking_again_may_help(
    stand: SandboxSwapStand,
) -> None:
    conflict = ArmError(409, "Conflict", "There was a conflict.", legacy=True)
    endings = {
        SwapOutcome.UNDONE: [
            errors.allocation_changed(SITE, "blue"),
            errors.operation_in_progress(SITE, "blue"),
            errors.prepared_for_swap(),
            conflict,
            ArmError(412, "PreconditionFailed", "Not so."),
        ],
        SwapOutcome.REFUSED: [
            errors.swap_ping_failed(SITE, "blue"),
            errors.swap_worker_failed(SITE, "blue"),
            errors.bad_request("No."),
        ],
    }
    for outcome, each in ((outcome, each) for outcome, some in endings.items() for each in some):
        stand.service.faults.next_swap(SITE, SwapWeather(error=each))
        status = await followed(stand, await begin(stand))

        assert status.outcome is outcome, each
        assert each.message[:80] in status.detail
    assert await held(stand) == BEFORE


async def test_a_late_swap_that_finds_another_one_comes_to_nothing(
    stand: SandboxSwapStand,
) -> None:
    """Taken at once, begun later; meanwhile somebody else began: ours is known to be undone."""
    late, gate = asyncio.Event(), asyncio.Event()
    stand.service.faults.next_swap(SITE, SwapWeather(begins_when=late))
    token = await begin(stand)
    assert (await stand.swapper.follow(TARGET, BLUE, token)).outcome is SwapOutcome.RUNNING
    stand.service.somebody_swaps(SITE, "blue", weather=SwapWeather(gate=gate))
    late.set()

    status = await followed(stand, token)

    assert status.outcome is SwapOutcome.UNDONE
    gate.set()
    await until_seen(stand, lambda view: view.operation is None)
    assert await held(stand) == AFTER  # by the other one


async def test_a_stopped_slot_is_refused_for_good(stand: SandboxSwapStand) -> None:
    stand.site.slot("blue").stop()
    with pytest.raises(PermanentError, match="is stopped"):
        await begin(stand)


async def test_who_holds_the_site_is_said(stand: SandboxSwapStand) -> None:
    """The id in the refusal is the one that both sites show."""
    never = SwapWeather(takes_seconds=3600)
    operation = stand.service.somebody_swaps(SITE, "blue", weather=never)
    with pytest.raises(OperationInProgressError, match=operation.id):
        await begin(stand)

    assert (await stand.swapper.look(TARGET, BLUE)).operation == operation.id
    assert (await stand.swapper.look(TARGET, PRODUCTION)).operation == operation.id


async def test_an_answer_without_anything_to_ask_leaves_it_to_the_slots(
    stand: SandboxSwapStand,
) -> None:
    """A swap that was over at once, or whose answer names no place."""
    stand.service.faults.pretend(SWAP)
    token = await begin(stand)
    before = len(stand.service.log)

    assert (await stand.swapper.follow(TARGET, BLUE, token)).outcome is SwapOutcome.ENDED
    assert len(stand.service.log) == before


async def test_settings_are_compared_as_they_are_without_telling_them(
    stand: SandboxSwapStand,
) -> None:
    """App settings, connection strings, and those the platform needs to check the build."""

    def string(value: str) -> dict[str, Any]:
        return {"value": value, "type": "PostgreSQL"}

    blue, production = stand.site.slot("blue"), stand.site.production
    stand.site.sticky |= {"connectionStringNames": ["Store", "Alike"], "appSettingNames": ["SLOT"]}
    blue.connection_strings = {"Store": string("secret-1"), "Alike": string("x")}
    production.connection_strings = {"Store": string("secret-2"), "Alike": string("x")}
    blue.app_settings |= {"SLOT": "secret-3", "WEBSITE_SWAP_WARMUP_PING_PATH": "/ready"}

    found = await stand.swapper.differences(TARGET, BLUE)

    assert {each.name for each in found} == {"Store", "SLOT", "WEBSITE_SWAP_WARMUP_PING_STATUSES"}
    assert "secret" not in str(found)
