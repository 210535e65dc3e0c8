"""Slots whose image stands in a site container: what is written, what is left, what is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.core.errors import BusyError, PermanentError
from controller.ports import PullAccess, PullMeans, SiteView
from sandbox.app_service import Slot, errors
from tests.adapters.stands import (
    BLUE,
    TARGET,
    SandboxStand,
    digest,
    image,
    sandbox_stand,
    until_answers,
)

WRITES = {"PATCH", "PUT"}


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SandboxStand]:
    async with sandbox_stand(tmp_path, site_containers=True) as real:
        yield real


async def stage_new(stand: SandboxStand) -> bool:
    return await stand.platform.stage(
        TARGET, BLUE, image=image("new"), release=digest("new"), request_id="rollout/1/stage"
    )


def blue(stand: SandboxStand) -> Slot:
    return stand.site.slot("blue")


async def test_the_main_container_gets_the_image_and_keeps_all_else(stand: SandboxStand) -> None:
    """Port, volumes, identity, its own variables: none of them is ours; no sidecar is touched."""
    kept = {
        "isMain": True,
        "targetPort": "8081",
        "authType": "SystemIdentity",
        "volumeMounts": [{"volumeSubPath": "/a", "containerMountPath": "/b"}],
        "environmentVariables": [{"name": "SALUTE", "value": "GREETING"}],
        "inheritAppSettingsAndConnectionStrings": True,
        "somethingNew": {"of": "Azure's"},
    }
    sidecar = {"image": "registry.test/proxy:1", "isMain": False, "targetPort": "9090"}
    blue(stand).containers = {"proxy": dict(sidecar), "web": {"image": image("old"), **kept}}

    assert await stage_new(stand) is False

    written = blue(stand).containers
    times = {"createdTime", "lastModifiedTime"}
    assert written["proxy"] == sidecar
    assert {k: v for k, v in written["web"].items() if k not in times} == {
        "image": image("new"),
        **kept,
    }
    assert blue(stand).config["linuxFxVersion"] == "sitecontainers"


async def test_the_image_comes_first_and_the_restart_last(stand: SandboxStand) -> None:
    """A written container runs from the next restart on, and by then knows who it is."""
    await stage_new(stand)

    changes = [
        f"{request.method} {request.path.rpartition('/blue/')[2]}"
        for request in stand.service.log
        if request.method in WRITES or request.path.endswith("/restart")
    ]
    assert changes == ["PUT sitecontainers/main", "PUT config/appsettings", "POST restart"]
    await until_answers(stand, BLUE, digest("new"))
    assert await stage_new(stand) is True


async def test_a_container_that_inherits_nothing_is_shown_its_identity(
    stand: SandboxStand,
) -> None:
    """Two variables are added, each once; what it had stays."""
    main = blue(stand).containers["main"]
    own = {"name": "SALUTE", "value": "GREETING"}
    main |= {"inheritAppSettingsAndConnectionStrings": False, "environmentVariables": [own]}

    await stage_new(stand)

    await until_answers(stand, BLUE, digest("new"))
    assert await stage_new(stand) is True
    assert blue(stand).containers["main"]["environmentVariables"] == [
        own,
        {"name": "SLIPWAY_RELEASE", "value": "SLIPWAY_RELEASE"},
        {"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "OTEL_RESOURCE_ATTRIBUTES"},
    ]


@pytest.mark.parametrize(
    ("containers", "said"),
    [
        pytest.param({}, "no main site container", id="none"),
        pytest.param({"a": {"isMain": False}}, "no main site container", id="sidecars only"),
        pytest.param({"a": {"isMain": True}, "b": {"isMain": True}}, r"2 main .*a, b", id="two"),
        pytest.param(
            {
                "a": {
                    "isMain": True,
                    "environmentVariables": [{"name": "SLIPWAY_RELEASE", "value": "OTHER"}],
                }
            },
            "SLIPWAY_RELEASE",
            id="identity hidden",
        ),
    ],
)
async def test_what_has_no_one_place_for_an_image_is_refused_and_not_written(
    stand: SandboxStand, containers: dict[str, dict[str, Any]], said: str
) -> None:
    blue(stand).containers = {n: {"image": image("old"), **c} for n, c in containers.items()}
    before = stand.writes()

    (problem,) = (await stand.platform.read(TARGET)).problems
    assert problem.startswith("Slot blue ")
    with pytest.raises(PermanentError, match=said):
        await stage_new(stand)
    assert stand.writes() == before


async def test_a_container_write_that_lands_late_is_not_taken_for_done(
    stand: SandboxStand,
) -> None:
    """No identity is written while the old image still reads back."""
    stand.service.faults.slow_effect("^PUT .*/sitecontainers/", 60)

    with pytest.raises(BusyError, match="still reads"):
        await stage_new(stand)

    assert "SLIPWAY_RELEASE" not in blue(stand).app_settings


async def test_another_operation_keeps_the_container_as_it_is(stand: SandboxStand) -> None:
    busy = errors.operation_in_progress("shop", "blue")
    stand.service.faults.refuse("^PUT .*/sitecontainers/", busy)

    with pytest.raises(BusyError, match="another operation"):
        await stage_new(stand)

    assert blue(stand).image == image("old")


async def test_the_legacy_mirror_of_the_image_is_left_alone_and_warned_of(
    stand: SandboxStand,
) -> None:
    """It means nothing here, but portal tooling would make the slot classic by it."""
    blue(stand).app_settings["DOCKER_CUSTOM_IMAGE_NAME"] = "old"

    view = await stand.platform.read(TARGET)
    await stage_new(stand)

    assert [warning for warning in view.warnings if "DOCKER_CUSTOM_IMAGE_NAME" in warning]
    assert blue(stand).app_settings["DOCKER_CUSTOM_IMAGE_NAME"] == "old"


# --- Both ways in one site ------------------------------------------------------------------------


async def test_each_slot_goes_its_own_way_whatever_the_case_of_the_word(
    stand: SandboxStand,
) -> None:
    """A warning for everybody; a problem for those who would swap them."""
    green = stand.site.slot("green")
    green.config["linuxFxVersion"] = f"docker|{image('old')}"
    blue(stand).config["linuxFxVersion"] = "SiteContainers"

    view = await stand.platform.read(TARGET)
    await stage_new(stand)
    await stand.platform.stage(
        TARGET, TARGET.slots[1], image=image("new"), release=digest("new"), request_id="r/1"
    )

    assert view.problems == ()
    assert {slot.image for slot in view.slots.values()} == {image("old")}
    assert "green: classic" in view.warnings[0]
    assert "linuxFxVersion" in view.swap_problems[0]
    assert blue(stand).containers["main"]["image"] == image("new")
    assert green.config["linuxFxVersion"] == f"DOCKER|{image('new')}"


async def test_slots_that_are_alike_may_be_swapped(stand: SandboxStand) -> None:
    assert (await stand.platform.read(TARGET)).swap_problems == ()


# --- The right to pull ----------------------------------------------------------------------------

CLIENT = "11111111-2222-3333-4444-555555555555"
ASSIGNED = {
    "type": "SystemAssigned, UserAssigned",
    "userAssignedIdentities": {"/subscriptions/s/pull": {"clientId": CLIENT.upper()}},
}


async def with_right(stand: SandboxStand, identity: Any, **fields: Any) -> SiteView:
    blue(stand).identity = identity
    blue(stand).containers["main"] |= fields
    return await stand.platform.read(TARGET)


@pytest.mark.parametrize(
    ("fields", "means"),
    [
        ({"authType": "Anonymous"}, PullMeans.ANONYMOUS),
        ({"authType": None}, PullMeans.ANONYMOUS),
        ({"authType": "SystemIdentity"}, PullMeans.IDENTITY),
        (
            {"authType": "UserAssigned", "userManagedIdentityClientId": CLIENT},
            PullMeans.IDENTITY,
        ),
        ({"authType": "UserCredentials", "passwordSecret": "x"}, PullMeans.PASSWORD),
    ],
)
async def test_a_containers_right_to_pull_is_told(
    stand: SandboxStand, fields: dict[str, Any], means: PullMeans
) -> None:
    view = await with_right(stand, ASSIGNED, **fields)

    registry = "registry.test" if means is PullMeans.PASSWORD else None
    assert view.slots[BLUE].pull == PullAccess(means, registry)
    assert view.objections == ()


@pytest.mark.parametrize(
    ("identity", "fields", "said"),
    [
        (None, {"authType": "SystemIdentity"}, "but has none"),
        ({"type": "UserAssigned"}, {"authType": "SystemIdentity"}, "but has none"),
        (ASSIGNED, {"authType": "UserAssigned"}, "names none"),
        (
            {"type": "SystemAssigned"},
            {"authType": "UserAssigned", "userManagedIdentityClientId": CLIENT},
            "not assigned to it",
        ),
        (ASSIGNED, {"authType": "UserCredentials", "userName": "x"}, "cannot be read back"),
    ],
)
async def test_a_right_that_the_slot_does_not_have_is_objected_to(
    stand: SandboxStand, identity: Any, fields: dict[str, Any], said: str
) -> None:
    (objection,) = (await with_right(stand, identity, **fields)).objections

    assert objection.startswith("Slot blue ")
    assert said in objection
