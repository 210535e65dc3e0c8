"""Resource Manager's smaller traps, over sockets: silence, an empty log, limits of its own."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from controller.adapters.azure.app_service import AppServicePlatform
from controller.adapters.azure.arm_clients import ArmClients
from controller.core.errors import BusyError
from controller.core.plan import SlotName
from sandbox.app_service.container import ContainerLog
from tests.adapters.stands import BLUE, PRODUCTION, TARGET, Credential, SandboxStand, sandbox_stand


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SandboxStand]:
    async with sandbox_stand(tmp_path) as real:
        yield real


async def test_a_silent_resource_manager_is_an_outage(stand: SandboxStand, tmp_path: Path) -> None:
    """Left alone the SDK waits five minutes, longer than any handler of ours may run."""
    stand.service.faults.delay("^POST .*/containerlogs$", 3)
    clients = ArmClients(
        Credential(),
        arm_endpoint=stand.service.arm_url,
        connection_options={
            "connection_verify": str(tmp_path / "tls" / "ca.pem"),
            "read_timeout": 0.2,
        },
    )
    try:
        with pytest.raises(BusyError, match="did not answer"):
            await AppServicePlatform(clients).log_tail(TARGET, BLUE, lines=5)
    finally:
        await clients.close()


async def test_no_token_leaves_over_plain_http(stand: SandboxStand) -> None:
    """The SDK itself refuses; the sandbox has TLS because of it."""
    before = len(stand.service.log)
    clients = ArmClients(Credential(), arm_endpoint=stand.service.arm_url.replace("https", "http"))
    try:
        with pytest.raises(BusyError, match="non-TLS"):
            await AppServicePlatform(clients).hosts(TARGET)
    finally:
        await clients.close()

    assert len(stand.service.log) == before


@pytest.mark.parametrize("slot", [BLUE, PRODUCTION])
async def test_a_log_that_was_never_written_is_empty(stand: SandboxStand, slot: SlotName) -> None:
    """It comes as 204 without a body, for which the SDK returns None instead of an iterator."""
    stand.site.slot(slot).runner.log = ContainerLog()

    assert await stand.platform.log_tail(TARGET, slot, lines=5) == ""
    assert stand.service.log[-1].status == 204


async def test_a_limit_on_listing_settings_alone_stops_the_read(stand: SandboxStand) -> None:
    """Settings are secrets, so listing them is a POST under a limit of its own."""
    stand.service.faults.throttle("^POST .*/config/appsettings/list$", retry_after_seconds=11)

    with pytest.raises(BusyError, match="429") as caught:
        await stand.platform.read(TARGET)

    assert caught.value.retry_after == timedelta(seconds=11)


async def test_rules_alone_are_read_without_listing_settings(stand: SandboxStand) -> None:
    """What is asked often must not use up the limit on secrets."""
    await stand.platform.hosts(TARGET)
    before = len(stand.service.log)

    await stand.platform.routing(TARGET)

    assert [request.method for request in stand.service.log[before:]] == ["GET"]
