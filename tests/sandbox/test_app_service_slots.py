"""Slots are processes: what starts, what keeps serving meanwhile, and what is left in the log."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from azure.mgmt.web import models

from tests.sandbox.app_service_kit import GROUP, SITE, World, docker, running, until


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


async def container_log(world: World, slot: str = "blue") -> str:
    chunks = await world.arm.web_apps.get_web_site_container_logs_slot(GROUP, SITE, slot)
    assert chunks is not None
    return b"".join([chunk async for chunk in chunks]).decode()


async def test_a_slot_runs_its_image_with_settings_and_platform_variables(tmp_path: Path) -> None:
    """The process sees the image's Env, over it the settings, over both the platform."""
    settings = {"GREETING": "hello", "PORT": "1", "RELEASE": "from settings"}
    async with running(tmp_path, settings=settings) as world:
        _, page = await world.get(world.site.url("blue"))

        seen = page["environment"]
        assert (seen["GREETING"], seen["RELEASE"]) == ("hello", "from settings")
        assert seen["PORT"] == seen["WEBSITES_PORT"] != "1"
        assert (seen["WEBSITE_SITE_NAME"], seen["WEBSITE_SLOT_NAME"]) == (SITE, "blue")
        assert seen["WEBSITE_HOSTNAME"] == world.site.host("blue")
        assert "VIRTUAL_ENV" not in seen
        assert (await world.get(world.site.url()))[1]["environment"]["WEBSITE_SLOT_NAME"] == (
            "Production"
        )


async def test_the_old_container_answers_until_the_new_one_is_up(world: World) -> None:
    """A 200 right after the image change is the old build's."""
    new = world.image("new", START_DELAY="0.4")
    answer = await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(new))
    assert answer.linux_fx_version == f"DOCKER|{new}"
    assert await world.release("blue") == "old"

    assert await world.site.settled()
    assert await world.release("blue") == "new"
    assert world.site.slot("blue").running_digest == new.partition("@")[2]


async def test_a_container_that_never_answers_changes_nothing_for_clients(world: World) -> None:
    """The start limit ends the attempt; the old container serves on; the log says why."""
    settings = {"MUTE": "1", "WEBSITES_CONTAINER_START_TIME_LIMIT": "0.5"}
    await world.arm.web_apps.update_application_settings_slot(
        GROUP, SITE, "blue", models.StringDictionary(properties=settings)
    )

    assert not await world.site.settled()
    assert await world.release("blue") == "old"
    log = await container_log(world)
    assert "didn't respond to HTTP pings on port: " in log
    assert "failing site start" in log
    slot = await world.arm.web_apps.get_slot(GROUP, SITE, "blue")
    assert slot.state == "Running"  # there is no flip of the state


async def test_a_container_that_exits_fails_its_start_at_once(world: World) -> None:
    """The default limit of 230 seconds is not waited for when the process is gone."""
    broken = world.image("broken", CRASH="1")
    await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(broken))

    assert not await world.site.settled()
    assert await world.release("blue") == "old"
    log = await container_log(world)
    assert "release broken starts" in log
    assert "has exited with code 7" in log


async def test_an_image_that_is_not_there_changes_nothing_for_clients(world: World) -> None:
    """The pull fails, the log says so, the old container serves."""
    missing = f"{world.registry.host}/shop@sha256:{'0' * 64}"
    await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(missing))

    assert not await world.site.settled()
    assert await world.release("blue") == "old"
    assert "Image pull failed" in await container_log(world)


async def test_of_several_quick_changes_the_last_one_wins(world: World) -> None:
    """Starts that were overtaken are killed; one new process is left."""
    web_apps = world.arm.web_apps
    slow = world.image("slow", START_DELAY="30")
    await web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(slow))
    runner = world.site.slot("blue").runner
    await until(lambda: runner.starts == 2)  # the slow one is under way
    for release in ("second", "last"):
        image = world.image(release)
        await web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(image))

    assert await world.site.settled()
    assert await world.release("blue") == "last"
    assert runner.starts == 3  # old, slow, last: the second was overtaken before it started
    await until(lambda: len(runner._containers) == 1)


async def test_restart_brings_a_new_process(world: World) -> None:
    before = (await world.get(world.site.url()))[1]["pid"]
    await world.arm.web_apps.restart(GROUP, SITE)

    assert await world.site.settled()
    assert (await world.get(world.site.url()))[1]["pid"] != before


async def test_a_stopped_slot_answers_503_until_it_is_started(world: World) -> None:
    """The front door answers for it, and the instance says STOPPED."""
    web_apps = world.arm.web_apps
    await web_apps.stop_slot(GROUP, SITE, "blue")
    status, page = await world.get(world.site.url("blue"))
    assert (status, "stopped" in page["html"]) == (503, True)
    assert (await web_apps.get_slot(GROUP, SITE, "blue")).state == "Stopped"
    instances = [
        item async for item in web_apps.list_instance_identifiers_slot(GROUP, SITE, "blue")
    ]
    assert [item.state for item in instances] == ["STOPPED"]

    await web_apps.start_slot(GROUP, SITE, "blue")
    assert await world.site.settled()
    assert await world.release("blue") == "old"
    assert world.service.traffic.failed(slot="blue", reason="stopped") == 1


async def test_a_container_that_dies_is_started_again(world: World) -> None:
    """Until then the slot has nothing to answer with: 502 for the victims, then 503."""
    before = (await world.get(world.site.url("blue")))[1]["pid"]
    status, _ = await world.get(f"{world.site.url('blue')}/crash")
    assert status == 502

    async with asyncio.timeout(15):
        while (answer := await world.get(world.site.url("blue")))[0] != 200:
            assert answer[0] in {502, 503}  # 502 until the death is noticed
            await asyncio.sleep(0.05)
    assert answer[1]["pid"] != before
    assert "has exited with code 3" in await container_log(world)


async def test_instances_name_the_container(world: World) -> None:
    """READY with a container whose name changes with each start; by its id, too."""
    web_apps = world.arm.web_apps

    async def names() -> list[str]:
        found = [
            item async for item in web_apps.list_instance_identifiers_slot(GROUP, SITE, "blue")
        ]
        assert [item.state for item in found] == ["READY"]
        again = await web_apps.get_instance_info_slot(GROUP, SITE, str(found[0].name), "blue")
        assert list(again.containers or {}) == list(found[0].containers or {})
        return list(found[0].containers or {})

    before = await names()
    await web_apps.restart_slot(GROUP, SITE, "blue")
    assert await world.site.settled()
    assert before != await names()


async def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    """Every process is gone, also the one that had not answered yet."""
    async with running(tmp_path) as world:
        slow = world.image("slow", START_DELAY="30")
        await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(slow))
        runners = [slot.runner for slot in world.site.slots.values()]
        await until(lambda: len(runners[1]._containers) == 2)
        pids = [box.process.pid for runner in runners for box in runner._containers]
    assert len(pids) == 3
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]  # noqa: ASYNC240 - quick


_ORPHAN = """
import asyncio, pathlib, sys
from tests.sandbox import app_service_kit
from tests.sandbox.app_service_kit import running

app_service_kit.PRELOAD.clear()

async def main():
    async with running(pathlib.Path(sys.argv[1]), slots=()) as world:
        print(world.site.production.runner.active.process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_containers_die_with_the_sandbox(tmp_path: Path) -> None:
    """Even when it is killed and can clean up nothing."""
    sandbox = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ORPHAN, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert sandbox.stdout is not None
    container = Path("/proc") / (await sandbox.stdout.readline()).decode().strip() / "cmdline"
    assert "app.py" in container.read_text()
    sandbox.kill()
    await sandbox.wait()

    def gone() -> bool:
        return not container.exists() or "app.py" not in container.read_text()

    await until(gone)


async def test_a_request_longer_than_the_stop_limit_is_cut(tmp_path: Path) -> None:
    """The old container may finish its requests for so long, and no longer."""
    settings = {"WEBSITES_CONTAINER_STOP_TIME_LIMIT": "0.3"}
    async with running(tmp_path, settings=settings) as world:
        long_request = asyncio.create_task(world.get(f"{world.site.url('blue')}/?seconds=30"))
        runner = world.site.slot("blue").runner
        assert runner.active is not None
        await until(lambda: runner.active is not None and runner.active.in_flight == 1)
        await world.arm.web_apps.restart_slot(GROUP, SITE, "blue")

        assert (await long_request)[0] == 502
        assert await world.site.settled()
        assert await world.release("blue") == "old"


async def test_site_containers_take_effect_with_a_restart(tmp_path: Path) -> None:
    """Mode sitecontainers: the main container's image runs, but only after a restart."""
    async with running(tmp_path, site_containers=True, settings={"SECRET": "s"}) as world:
        web_apps = world.arm.web_apps
        config = await web_apps.get_configuration_slot(GROUP, SITE, "blue")
        assert str(config.linux_fx_version).lower() == "sitecontainers"
        boxes = [box async for box in web_apps.list_site_containers_slot(GROUP, SITE, "blue")]
        assert [(box.name, box.is_main, box.target_port) for box in boxes] == [
            ("main", True, "8080")
        ]
        box = models.SiteContainer(
            image=world.image("new"),
            is_main=True,
            target_port="8080",
            environment_variables=[models.EnvironmentVariable(name="RENAMED", value="SECRET")],
        )
        await web_apps.create_or_update_site_container_slot(GROUP, SITE, "blue", "main", box)
        assert await world.site.settled()
        assert await world.release("blue") == "old"

        await web_apps.restart_slot(GROUP, SITE, "blue")
        assert await world.site.settled()
        _, page = await world.get(world.site.url("blue"))
        assert (page["release"], page["environment"]["RENAMED"]) == ("new", "s")
        shown = await web_apps.get_site_container_slot(GROUP, SITE, "blue", "main")
        assert shown.image == box.image
        await web_apps.create_or_update_site_container_slot(GROUP, SITE, "blue", "otel", box)
        await web_apps.delete_site_container_slot(GROUP, SITE, "blue", "otel")
        await web_apps.delete_site_container_slot(GROUP, SITE, "blue", "otel")  # 204
        assert list(world.site.slot("blue").containers) == ["main"]
