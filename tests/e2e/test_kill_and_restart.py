"""SIGKILL of the whole functions process, at every kind of moment, in the middle of rollouts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import BAD, NEVER, QUICK, App, ArmLog, Log, steps, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        lock_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        changes={**QUICK, "strategy": {"steps": steps(25, 100), "bake": "1s"}},
        more_apps=(MoreApp(name="till", slots=("blue",), changes=QUICK),),
    )
    async with Village(options) as village:
        yield village


class Killer:
    """Kills host, worker and everything in them, and starts them again as the platform does."""

    def __init__(self, village: Village) -> None:
        self.kills = 0
        self._village = village
        self._one_at_a_time = asyncio.Lock()

    async def strike(self) -> None:
        """Kill now. Where it is dead already, that other stroke has met this moment, too."""
        kills = self.kills
        async with self._one_at_a_time:
            if self.kills != kills:
                return
            self._village.host.kill()
            self.kills += 1
            await self._village.host.restart()


async def accepted(village: Village) -> None:
    """Wait until a push was answered: from here on the controller has it, and nobody else."""
    before = len(village.event_grid.deliveries)

    async def look() -> bool:
        return any((d.status or 500) < 300 for d in village.event_grid.deliveries[before:])

    await until(look, what="a delivery")


async def healthy(app: App, killer: Killer) -> str:
    """Push a good build and strike on its whole way up."""
    log, arm = Log(app.village), ArmLog(app)
    taken = asyncio.create_task(accepted(app.village))
    digest = await app.push("v2")
    await taken
    await killer.strike()
    await log.saw(f"app {app.name} .*-> staging")
    await killer.strike()
    await log.saw(f"app {app.name} .*-> warming")
    await killer.strike()
    await arm.routing_write()
    await killer.strike()
    await log.saw(f"app {app.name} .*-> observing")
    await killer.strike()
    await app.reaches(digest, "succeeded")
    return digest


async def failing(app: App, killer: Killer) -> str:
    """Push a bad build and strike on its way back, and wherever it is when the other is struck."""
    log, arm = Log(app.village), ArmLog(app)
    digest = await app.push("v2", **BAD)
    await arm.routing_write()
    await log.saw(f"app {app.name} .*-> rolling_back")
    await killer.strike()
    await arm.routing_write()
    await killer.strike()
    await app.reaches(digest, "rolled_back")
    return digest


async def test_a_killed_controller_ends_each_rollout_as_if_nothing_had_happened(
    village: Village,
) -> None:
    """Killed many times: the good build arrives, the bad one goes back, users see nothing.

    Traffic only ever points to builds that were proved, and the good one's share never shrinks.
    """
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        killer = Killer(village)
        good, bad = await asyncio.gather(healthy(shop, killer), failing(till, killer))
        await shop.serves("v2")
        await till.serves("v1")

        assert len(await shop.rollouts(good)) == len(await till.rollouts(bad)) == 1
        for change in (*shop.routing.changes, *till.routing.changes):
            assert change.unproved == ()
        assert shop.routing.shares_of(good) == [25, 100]
        assert till.routing.shares_of(bad) == [50, 0]
        assert shop.failures() == till.failures("v2") == {}
        assert killer.kills >= 5
