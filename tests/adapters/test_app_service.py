"""What only App Service has: the wire, its two error dialects, and what makes a site unfit."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest

from controller.adapters.azure.app_service import AppServicePlatform
from controller.adapters.azure.arm_clients import ArmClients
from controller.core.errors import AccessDeniedError, BusyError, PermanentError
from controller.core.plan import Percent, Routing, split
from controller.ports import SiteView
from sandbox.app_service import ArmError, errors
from sandbox.app_service.arm import ArmRequest
from tests.adapters.stands import (
    BLUE,
    GREEN,
    PRODUCTION,
    TARGET,
    Credential,
    SandboxStand,
    digest,
    image,
    sandbox_stand,
)

TEN = split(PRODUCTION, BLUE, Percent(10))


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SandboxStand]:
    async with sandbox_stand(tmp_path) as real:
        yield real


async def stage_new(stand: SandboxStand) -> bool:
    return await stand.platform.stage(
        TARGET, BLUE, image=image("new"), release=digest("new"), request_id="rollout/1/stage"
    )


def changes(stand: SandboxStand) -> list[ArmRequest]:
    return [
        request
        for request in stand.service.log
        if request.method in {"PATCH", "PUT"} or request.path.endswith("/restart")
    ]


async def test_the_image_is_written_before_its_identity(stand: SandboxStand) -> None:
    """The other way round the old image would restart and claim to be the new release."""
    await stage_new(stand)

    assert [(r.method, r.path.rpartition("/")[2]) for r in changes(stand)] == [
        ("PATCH", "web"),
        ("PUT", "appsettings"),
        ("POST", "restart"),
    ]


async def test_no_build_ever_claims_an_identity_that_is_not_its_own(stand: SandboxStand) -> None:
    """Between the two writes the new image may show the old identity, never the reverse."""
    stand.service.faults.refuse("^PUT .*/appsettings$", errors.operation_in_progress("shop", "b"))
    with pytest.raises(BusyError):
        await stage_new(stand)
    blue = stand.site.slot("blue")

    assert blue.image == image("new")
    assert "SLIPWAY_RELEASE" not in blue.app_settings
    assert await stage_new(stand) is False
    assert blue.app_settings["SLIPWAY_RELEASE"] == digest("new")


async def test_changes_are_minimal_and_marked_by_their_cause(stand: SandboxStand) -> None:
    """A PATCH names what changes and nothing else; one intention has one id, also when repeated."""
    await stage_new(stand)
    await stand.platform.route(TARGET, TEN, request_id="rollout/2/route")

    patch, settings, _, rules = changes(stand)
    assert patch.body == {"properties": {"linuxFxVersion": f"DOCKER|{image('new')}"}}
    host = stand.site.host("blue")
    rule = {"name": "blue", "actionHostName": host, "reroutePercentage": 10.0}
    assert rules.body == {"properties": {"experiments": {"rampUpRules": [rule]}}}
    assert settings.body["properties"] == {
        "GREETING": "hello",
        "SLIPWAY_RELEASE": digest("new"),
        "OTEL_RESOURCE_ATTRIBUTES": f"team=shop,service.version={digest('new')}",
    }
    marks = [request.client_request_id for request in changes(stand)]
    assert marks[:3] == [str(uuid5(NAMESPACE_URL, "rollout/1/stage"))] * 3
    assert marks[3] == str(uuid5(NAMESPACE_URL, "rollout/2/route"))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(errors.operation_in_progress("shop", "blue"), id="409 legacy"),
        pytest.param(errors.throttled("POST", 6), id="429 with Retry-After"),
        pytest.param(errors.throttled("POST", None), id="429 without"),
        pytest.param(ArmError(500, "InternalServerError", "Oops.", legacy=True), id="500 legacy"),
        pytest.param(ArmError(503, "ServiceUnavailable", "Later."), id="503 arm"),
    ],
)
async def test_a_change_is_sent_once_whatever_is_answered(
    stand: SandboxStand, error: ArmError
) -> None:
    """The SDK would repeat some of these; the engine must read the world before it does."""
    stand.service.faults.refuse("^(PATCH|PUT|POST) .*/config/web$", error, count=None)

    with pytest.raises(BusyError, match=error.code) as caught:
        await stand.platform.route(TARGET, TEN, request_id="r/1")

    assert error.message in str(caught.value)
    assert len(changes(stand)) == 1


async def test_a_slot_prepared_for_swap_comes_with_advice(stand: SandboxStand) -> None:
    stand.service.faults.prepare_for_swap("shop", "blue")

    with pytest.raises(BusyError, match="action reset"):
        await stage_new(stand)


async def test_a_bad_request_is_permanent_and_says_what_app_service_said(
    stand: SandboxStand,
) -> None:
    stand.service.faults.refuse("^PATCH", errors.bad_request("The parameter is invalid."))

    with pytest.raises(PermanentError, match="The parameter is invalid"):
        await stage_new(stand)


async def test_an_effect_that_lands_late_is_not_taken_for_done(stand: SandboxStand) -> None:
    """Success without the effect: what reads back decides, and no identity is written meanwhile."""
    stand.service.faults.slow_effect("^PATCH .*/config/web$", 60)

    with pytest.raises(BusyError, match="still reads"):
        await stage_new(stand)

    assert len(changes(stand)) == 1


async def test_a_token_for_somebody_else_is_refused_with_advice(
    stand: SandboxStand, tmp_path: Path
) -> None:
    clients = ArmClients(
        Credential("https://vault.azure.net"),
        arm_endpoint=stand.service.arm_url,
        connection_options={"connection_verify": str(tmp_path / "tls" / "ca.pem")},
    )
    try:
        with pytest.raises(AccessDeniedError, match="Website Contributor"):
            await AppServicePlatform(clients).read(TARGET)
    finally:
        await clients.close()


async def test_nobody_listening_is_an_outage() -> None:
    clients = ArmClients(Credential(), arm_endpoint="https://127.0.0.1:9")
    try:
        with pytest.raises(BusyError, match="did not answer"):
            await AppServicePlatform(clients).read(TARGET)
    finally:
        await clients.close()


async def test_host_names_cost_nothing_once_they_are_known(stand: SandboxStand) -> None:
    """Asked before every probe; a slot's default host name does not change by a deployment."""
    await stand.platform.hosts(TARGET)
    before = len(stand.service.log)

    await stand.platform.hosts(TARGET)

    assert len(stand.service.log) == before


async def rules(stand: SandboxStand, *entries: dict[str, Any]) -> SiteView:
    config = stand.site.production.config
    config["experiments"] = {"rampUpRules": list(entries)}
    return await stand.platform.read(TARGET)


def rule(name: str, host: str, percent: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "actionHostName": host, "reroutePercentage": percent, **more}


async def test_rules_are_told_by_host_whatever_its_case_then_by_name(stand: SandboxStand) -> None:
    blue = stand.site.host("blue")
    for one in (rule("elsewhere", blue.upper(), 30.0), rule("BLUE", "old.host.test", 30.0)):
        view = await rules(stand, one)
        assert (view.routing.of(BLUE), view.problems) == (30, ())


async def test_rules_that_are_not_ours_or_do_not_add_up_are_problems(stand: SandboxStand) -> None:
    blue, green = stand.site.host("blue"), stand.site.host("green")
    foreign = await rules(stand, rule("purple", "purple.test", 5.0))
    too_much = await rules(stand, rule("blue", blue, 70.0), rule("green", green, 70.0))

    assert "purple.test" in foreign.problems[0]
    assert "do not add up" in too_much.problems[0]
    assert (await stand.platform.route(TARGET, Routing(), request_id="r/1")) == Routing()
    assert (await stand.platform.read(TARGET)).problems == ()


async def test_rules_that_move_by_themselves_are_a_problem_and_fractions_a_warning(
    stand: SandboxStand,
) -> None:
    """Nothing starts under either unseen, and whoever has to go back replaces both."""
    blue = stand.site.host("blue")
    view = await rules(stand, rule("blue", blue, 10.5, changeStep=5.0))

    assert view.routing == TEN
    assert len(view.warnings) == 1
    assert "moves by itself" in view.objections[0]
    assert view.problems == ()
    await stand.platform.route(TARGET, TEN, request_id="r/1")
    written = stand.site.production.config["experiments"]["rampUpRules"]
    assert written == [rule("blue", blue, 10.0)]


def fx(version: str) -> Callable[[SandboxStand], None]:
    def change(stand: SandboxStand) -> None:
        stand.site.slot("green").config["linuxFxVersion"] = version

    return change


def setting(name: str, value: str) -> Callable[[SandboxStand], None]:
    def change(stand: SandboxStand) -> None:
        stand.site.slot("green").app_settings[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(fx("PYTHON|3.12"), "runs code", id="code app"),
        pytest.param(fx(""), "names no container image", id="nothing"),
        pytest.param(fx("COMPOSE|dmVyc2lvbg=="), "Docker Compose", id="compose"),
        pytest.param(fx("COMPOSE|dmVyc2lvbg=="), "31 March 2027", id="compose ends"),
        pytest.param(fx("SiteContainers"), "no main site container", id="sidecars"),
        pytest.param(setting("DOCKER_ENABLE_CI", "True"), "past Slipway", id="webhook of its own"),
        pytest.param(
            setting("OTEL_RESOURCE_ATTRIBUTES", "@Microsoft.KeyVault(SecretUri=x)"),
            "another store",
            id="attributes in a vault",
        ),
    ],
)
async def test_what_makes_a_slot_unfit_is_said_of_that_slot(
    stand: SandboxStand, change: Callable[[SandboxStand], None], said: str
) -> None:
    change(stand)

    problems = (await stand.platform.read(TARGET)).problems

    assert len(problems) == 1
    assert problems[0].startswith("Slot green ")
    assert said in problems[0]


async def test_identity_settings_that_stay_with_their_slot_are_warned_of(
    stand: SandboxStand,
) -> None:
    stand.site.sticky["appSettingNames"] = ["SLIPWAY_RELEASE", "COLOUR"]

    view = await stand.platform.read(TARGET)

    assert view.sticky_names == {"SLIPWAY_RELEASE", "COLOUR"}
    assert len(view.warnings) == 1
    assert view.warnings[0].startswith("SLIPWAY_RELEASE is a slot setting")


async def test_a_stopped_slot_is_not_running(stand: SandboxStand) -> None:
    stand.site.slot("green").stop()

    slots = (await stand.platform.read(TARGET)).slots

    assert (slots[GREEN].running, slots[BLUE].running) == (False, True)
    assert list(await stand.platform.instances(TARGET, GREEN)) == ["STOPPED"]
