"""SIGKILL of the whole functions process, at every kind of moment, in the middle of rollouts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import QUICK, App, ArmLog, Log, steps, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PLAN = {"steps": steps(25, 60, 100), "bake": "1s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        lock_seconds=4,
        slots=("blue", "green"),
        changes={**QUICK, "strategy": PLAN},
        more_apps=(MoreApp(name="till", changes=QUICK),),
    )
    async with Village(options) as village:
        yield village


async def strike(village: Village) -> None:
    """Kill host, worker and everything in them, now; then start again as the platform does."""
    village.host.kill()
    await village.host.restart()


async def accepted(village: Village) -> None:
    """Wait until the push was answered: from here on the controller has it, and nobody else."""
    before = len(village.event_grid.deliveries)

    async def look() -> bool:
        return any((d.status or 500) < 300 for d in village.event_grid.deliveries[before:])

    await until(look, what="a delivery")


async def healthy(app: App) -> str:
    """Push a good build and strike on its whole way up."""
    village, log, arm = app.village, Log(app.village), ArmLog(app)
    of_app = rf"app {app.name} .*"
    taken = asyncio.create_task(accepted(village))
    digest = await app.push("v2")
    await taken
    await strike(village)
    await log.saw(rf"{of_app}-> staging")
    await strike(village)
    await log.saw(rf"{of_app}-> warming")
    await strike(village)
    await arm.routing_write()
    await strike(village)
    await log.saw(rf"{of_app}-> observing")
    await strike(village)
    await log.saw(rf"{of_app}-> promoting")
    await strike(village)
    await app.reaches(digest, "succeeded")
    return digest


async def failing(app: App) -> str:
    """Push a bad build and strike on its way back."""
    village, log, arm = app.village, Log(app.village), ArmLog(app)
    digest = await app.push("v2", error_rate=0.4)
    await log.saw(rf"app {app.name} .*-> rolling_back")
    await strike(village)
    await arm.routing_write()
    await strike(village)
    await app.reaches(digest, "rolled_back")
    return digest


async def test_a_killed_controller_ends_each_rollout_as_if_nothing_had_happened(
    village: Village,
) -> None:
    """Killed eight times: the good build arrives, the bad one goes back, users see nothing.

    Traffic only ever points to builds that were proved, and the good one's share never shrinks.
    """
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        good, bad = await asyncio.gather(healthy(shop), failing(till))
        await shop.serves("v2")
        await till.serves("v1")

        assert len(await shop.rollouts(good)) == len(await till.rollouts(bad)) == 1
        assert [change.unproved for change in (*shop.routing.changes, *till.routing.changes)] == [
            ()
        ] * (len(shop.routing.changes) + len(till.routing.changes))
        assert shop.routing.shares_of(good) == [25, 60, 100]
        assert till.routing.shares_of(bad) == [50, 0]
        assert shop.failures() == till.failures("v2") == {}
