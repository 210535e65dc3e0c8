"""A site's configuration is written: by the twin in memory, and by the real SDK over sockets."""

import traceback
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from controller.adapters.azure.site_export import AppServiceExporter
from controller.adapters.azure.site_import import AppServiceImporter
from controller.adapters.memory.site import MemorySite
from controller.core.errors import (
    BusyError,
    OperationInProgressError,
    PermanentError,
    PreparedForSwapError,
    SiteMissingError,
    SlotMissingError,
)
from controller.core.plan import SlotName
from controller.ports_data import SiteExporter, SiteImporter
from sandbox.app_service import ArmError
from tests.adapters.stands import BLUE, GREEN, PRODUCTION, TARGET, SandboxStand, image
from tests.adapters.stands import sandbox_stand as make_stand

SETTINGS = {"GREETING": "bonjour", "API_KEY": "s3cret-word"}
STRINGS = {"Db": ("PostgreSQL", "Host=db;Password=hunter2"), "Odd": ("Custom", "x")}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxStand]:
    directory: Path = tmp_path_factory.mktemp("site-import")
    async with make_stand(directory) as stand:
        yield stand


@pytest.fixture(params=["memory", "sandbox"])
def site(request: pytest.FixtureRequest) -> tuple[SiteExporter, SiteImporter]:
    if request.param == "memory":
        twin = MemorySite(TARGET.resource_id, TARGET.slots)
        return twin, twin
    stand: SandboxStand = request.getfixturevalue("stand")
    stand.service.faults.clear()
    return AppServiceExporter(stand.clients), AppServiceImporter(stand.clients)


async def test_each_list_becomes_the_one_that_was_given_as_a_whole(
    site: tuple[SiteExporter, SiteImporter],
) -> None:
    reader, writer = site
    before = (await reader.export(TARGET)).slots
    await writer.put_settings(TARGET, BLUE, {**SETTINGS, "OLD": "x"}, request_id="r/1")
    await writer.put_settings(TARGET, BLUE, SETTINGS, request_id="r/2")
    await writer.put_connection_strings(TARGET, BLUE, STRINGS, request_id="r/3")
    await writer.put_connection_strings(TARGET, GREEN, STRINGS, request_id="r/4")
    await writer.put_connection_strings(TARGET, GREEN, {}, request_id="r/5")
    now = (await reader.export(TARGET)).slots

    assert (now["blue"].settings, now["blue"].connection_strings) == (SETTINGS, STRINGS)
    assert now["green"].connection_strings == {}
    assert now["green"].settings == before["green"].settings
    assert now["production"] == before["production"]


async def test_of_the_web_configuration_only_what_was_given_changes(
    site: tuple[SiteExporter, SiteImporter],
) -> None:
    reader, writer = site
    for slot in (PRODUCTION, BLUE):
        before = (await reader.export(TARGET)).slots[slot].configuration
        change = {"webSocketsEnabled": True, "ftpsState": "Disabled"}
        await writer.put_configuration(TARGET, slot, change, request_id="r/6")
        after = (await reader.export(TARGET)).slots[slot].configuration
        assert after == {**before, **change}


async def test_sticky_names_are_replaced_kind_by_kind(
    site: tuple[SiteExporter, SiteImporter],
) -> None:
    reader, writer = site
    first = {"app_settings": ["API_KEY"], "connection_strings": ["Db"], "storage": []}
    second = {"app_settings": [], "connection_strings": ["Db", "Odd"], "storage": ["files"]}
    for names in (first, second):
        await writer.put_sticky(TARGET, names, request_id="r/7")
        assert (await reader.export(TARGET)).site["sticky"] == names


async def test_what_is_not_there_is_named(site: tuple[SiteExporter, SiteImporter]) -> None:
    _, writer = site
    with pytest.raises(SlotMissingError):
        await writer.put_settings(TARGET, SlotName("red"), SETTINGS, request_id="r/8")
    elsewhere = replace(TARGET, site="nowhere")
    with pytest.raises(SiteMissingError):
        await writer.put_sticky(
            elsewhere,
            {"app_settings": [], "connection_strings": [], "storage": []},
            request_id="r/9",
        )


async def test_new_settings_and_connection_strings_restart_the_slot_with_its_own_build(
    stand: SandboxStand,
) -> None:
    writer = AppServiceImporter(stand.clients)
    production, blue = stand.site.production.runner, stand.site.slot("blue").runner
    untouched = production.starts
    for turn in range(2):
        starts = blue.starts
        if turn:
            await writer.put_connection_strings(TARGET, BLUE, {}, request_id="r/10")
        else:
            await writer.put_settings(TARGET, BLUE, {"GREETING": "salut"}, request_id="r/11")
        assert await stand.site.settled(["blue"])
        assert blue.starts == starts + 1
    assert blue.active is not None
    assert blue.active.wanted.environment["GREETING"] == "salut"
    assert stand.site.slot("blue").image == image("old")
    assert production.starts == untouched


async def test_a_refusal_is_ours_and_nothing_is_sent_again(stand: SandboxStand) -> None:
    writer, faults = AppServiceImporter(stand.clients), stand.service.faults
    pattern = "^PUT .*/config/connectionstrings$"
    faults.refuse(pattern, ArmError(503, "ServiceUnavailable", "Try later.", legacy=True))
    sent = len(stand.service.log)
    with pytest.raises(BusyError):
        await writer.put_connection_strings(TARGET, BLUE, STRINGS, request_id="r/12")
    assert len(stand.service.log) == sent + 1
    with faults_of_a_swap(stand), pytest.raises(PreparedForSwapError):
        await writer.put_connection_strings(TARGET, BLUE, STRINGS, request_id="r/12")
    faults.busy("shop", 60)
    with pytest.raises(OperationInProgressError):
        await writer.put_connection_strings(TARGET, BLUE, STRINGS, request_id="r/12")
    faults.clear()
    with pytest.raises(PermanentError, match="invalid type"):
        await writer.put_connection_strings(
            TARGET, BLUE, {"Db": ("Nothing", "s3cret-word")}, request_id="r/13"
        )


@contextmanager
def faults_of_a_swap(stand: SandboxStand) -> Generator[None]:
    """Somebody has begun a swap with preview, and not ended it."""
    stand.service.faults.prepare_for_swap("shop", "blue")
    yield
    stand.service.faults.reset("shop", "blue")


async def test_an_answer_that_repeats_a_value_does_not_reach_the_error(
    stand: SandboxStand,
) -> None:
    writer, faults = AppServiceImporter(stand.clients), stand.service.faults
    faults.refuse(
        "^PUT .*/config/appsettings$",
        ArmError(400, "BadRequest", "AppSetting API_KEY: 's3cret-word' is not allowed."),
    )
    with pytest.raises(PermanentError, match="API_KEY") as caught:
        await writer.put_settings(TARGET, BLUE, SETTINGS, request_id="r/14")
    said = "".join(traceback.format_exception(caught.value))
    assert "s3cret-word" not in said
    assert "'***' is not allowed" in caught.value.what
