"""Resource Manager's surface as the real client sees it: shapes, names, refusals."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.mgmt.web import models

from tests.sandbox.app_service_kit import (
    GROUP,
    SITE,
    SUBSCRIPTION,
    Credential,
    World,
    client,
    ramp,
    running,
    web_config,
)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path, slots=("blue", "Green"), settings={"A": "1"}) as world:
        yield world


async def test_the_slot_list_has_named_slots_only_and_pages(world: World) -> None:
    """Their names are "app/slot"; production is the site, and no slot "production" can be got."""
    world.service.arm.provider.page_size = 1
    slots = [slot async for slot in world.arm.web_apps.list_slots(GROUP, SITE)]

    assert [slot.name for slot in slots] == [f"{SITE}/blue", f"{SITE}/green"]
    assert str(slots[0].id).endswith("/slots/blue")
    assert slots[0].type == "Microsoft.Web/sites/slots"
    assert slots[0].default_host_name == world.site.host("blue")
    assert [entry.path.rsplit("/", 1)[1] for entry in world.service.log] == ["slots", "slots"]
    with pytest.raises(ResourceNotFoundError):
        await world.arm.web_apps.get_slot(GROUP, SITE, "production")


async def test_names_do_not_care_about_case(world: World) -> None:
    site = await world.arm.web_apps.get("SHOP-Group", "Shop")
    assert (site.name, site.state) == (SITE, "Running")
    assert site.host_names == site.enabled_host_names == [world.site.host()]
    slot = await world.arm.web_apps.get_slot(GROUP, SITE.upper(), "BLUE")
    assert slot.name == f"{SITE}/blue"


@pytest.mark.parametrize(
    ("group", "site", "slot", "code"),
    [
        pytest.param("nowhere", SITE, None, "ResourceGroupNotFound", id="group"),
        pytest.param(GROUP, "nobody", None, "ResourceNotFound", id="site"),
        pytest.param(GROUP, SITE, "violet", "ResourceNotFound", id="slot"),
    ],
)
async def test_what_is_not_there_is_a_404_with_its_code(
    world: World, group: str, site: str, slot: str | None, code: str
) -> None:
    web_apps = world.arm.web_apps
    read = web_apps.get(group, site) if slot is None else web_apps.get_slot(group, site, slot)
    with pytest.raises(ResourceNotFoundError) as refusal:
        await read
    assert refusal.value.error is not None
    assert refusal.value.error.code == code


async def test_a_token_for_somebody_else_is_refused(world: World) -> None:
    credential = Credential("https://vault.azure.net")
    async with client(world.service, world.authority, credential=credential) as stranger:
        with pytest.raises(ClientAuthenticationError) as refusal:
            await stranger.web_apps.get(GROUP, SITE)
    assert refusal.value.status_code == 401


async def test_a_request_without_api_version_is_refused(world: World) -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Web/sites"
    token = (await Credential().get_token()).token
    async with world.http.get(
        f"{world.service.arm_url}{path}/{SITE}",
        headers={"Authorization": f"Bearer {token}"},
        ssl=world.authority.client_context(),
    ) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "MissingApiVersionParameter"


async def test_patching_config_merges_objects_and_replaces_arrays(world: World) -> None:
    """Rules left out of the array are gone; what the body does not name stays."""
    web_apps = world.arm.web_apps
    await web_apps.update_configuration(GROUP, SITE, web_config(alwaysOn=True))
    await web_apps.update_configuration(GROUP, SITE, ramp(world.site, blue=10, green=0.5))
    await web_apps.update_configuration(GROUP, SITE, ramp(world.site, green=20))
    config = await web_apps.get_configuration(GROUP, SITE)

    assert config.experiments is not None
    rules = config.experiments.ramp_up_rules or []
    assert [(rule.name, rule.reroute_percentage) for rule in rules] == [("green", 20)]
    assert config.always_on
    assert config.app_settings is None  # never shown here
    assert config.type == "Microsoft.Web/sites/config"
    assert world.site.slot("blue").runner.starts == 1  # rules restart nothing
    assert world.site.production.runner.starts == 1

    await web_apps.update_configuration(GROUP, SITE, ramp(world.site))
    assert world.site.router.rules == ()


async def test_putting_config_resets_what_it_leaves_out(world: World) -> None:
    """PUT replaces: the rules fall back to none. Another reason to PATCH."""
    web_apps = world.arm.web_apps
    version = (await web_apps.get_configuration(GROUP, SITE)).linux_fx_version
    await web_apps.update_configuration(GROUP, SITE, ramp(world.site, blue=10))
    config = await web_apps.create_or_update_configuration(
        GROUP, SITE, web_config(linuxFxVersion=version)
    )
    assert config.experiments is not None
    assert config.experiments.ramp_up_rules == []
    assert world.site.router.rules == ()
    assert world.site.production.runner.starts == 1


async def test_rules_on_a_named_slot_are_dropped(world: World) -> None:
    answer = await world.arm.web_apps.update_configuration_slot(
        GROUP, SITE, "blue", ramp(world.site, green=50)
    )
    kept = await world.arm.web_apps.get_configuration_slot(GROUP, SITE, "blue")
    for config in (answer, kept):
        assert config.experiments is not None
        assert config.experiments.ramp_up_rules == []


async def test_app_settings_are_replaced_as_a_whole_and_restart_the_slot(world: World) -> None:
    web_apps = world.arm.web_apps
    before = await web_apps.list_application_settings_slot(GROUP, SITE, "blue")
    assert before.properties == {"A": "1"}
    await web_apps.update_application_settings_slot(
        GROUP, SITE, "blue", models.StringDictionary(properties={"B": "2"})
    )

    assert await world.site.settled()
    after = await web_apps.list_application_settings_slot(GROUP, SITE, "blue")
    assert after.properties == {"B": "2"}
    _, page = await world.get(world.site.url("blue"))
    assert "A" not in page["environment"]
    assert page["environment"]["B"] == "2"
    assert world.site.production.runner.starts == 1


async def test_settings_inside_config_web_replace_the_set_too(world: World) -> None:
    """The trap of sending siteConfig.appSettings along: it is the whole set."""
    body = web_config(appSettings=[{"name": "C", "value": "3"}])
    await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", body)
    after = await world.arm.web_apps.list_application_settings_slot(GROUP, SITE, "blue")
    assert after.properties == {"C": "3"}


async def test_sticky_names_belong_to_the_site(world: World) -> None:
    names = models.SlotConfigNamesResource(app_setting_names=["SLOT"])
    await world.arm.web_apps.update_slot_configuration_names(GROUP, SITE, names)
    shown = await world.arm.web_apps.list_slot_configuration_names(GROUP, SITE)
    assert shown.app_setting_names == ["SLOT"]
    assert shown.connection_string_names == []


async def test_the_log_has_every_request_with_its_ids(world: World) -> None:
    """Whoever reads the log can find a request by the id its sender gave it."""
    wanted = "11111111-2222-3333-4444-555555555555"
    headers = {"x-ms-client-request-id": wanted}
    await world.arm.web_apps.update_configuration(
        GROUP, SITE, web_config(alwaysOn=True), headers=headers
    )
    with pytest.raises(HttpResponseError):
        await world.arm.web_apps.get_slot(GROUP, SITE, "violet")
    write, read = world.service.log
    assert (write.method, write.status, write.client_request_id) == ("PATCH", 200, wanted)
    assert write.body["properties"] == {"alwaysOn": True}
    assert write.path.endswith(f"/sites/{SITE}/config/web")
    assert (read.method, read.status, read.fault) == ("GET", 404, None)
    assert read.correlation_id != write.correlation_id
