"""Strategy swap on the whole village: whatever befalls the one request, there is one exchange."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.app_service.swap_weather import SwapWeather
from sandbox.village import MoreApp, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Log, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

DESK = "desk"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    desk = MoreApp(
        name=DESK,
        slots=("staging",),
        site_containers=True,
        channel="ghcr",
        place=True,
        changes={
            **QUICK,
            "strategy": {
                "kind": "swap",
                "steps": [{"weight": 50, "min_observation": "1s", "max_observation": "60s"}],
                "bake": "1s",
            },
        },
    )
    options = Options(
        cookie_seconds=3,
        lock_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        more_apps=(desk,),
    )
    async with Village(options) as village:
        yield village


def swaps_sent(app: App, *, since: int) -> int:
    """Return the requests for a swap since that many requests, whatever was answered."""
    log = app.village.app_service.log[since:]
    return sum(r.method == "POST" and r.path.endswith("/slotsswap") for r in log)


async def test_a_controller_killed_in_the_middle_of_a_swap_swaps_no_second_time(
    village: Village,
) -> None:
    """SIGKILL once the request is out, and again while it runs: one request, and users see nothing.

    Then the answer to the next release's request is lost: again one request, and it is live.
    """
    async with kept_well(village, DESK), under_load(village, DESK) as desk:
        gate, began = asyncio.Event(), len(village.app_service.log)
        village.app_service.faults.next_swap(DESK, SwapWeather(gate=gate))
        log = Log(village)
        digest = await desk.push("v2")

        async def is_sent() -> bool:
            return swaps_sent(desk, since=began) > 0

        await until(is_sent, what="the swap")
        await _killed(village)
        gate.set()
        await log.saw(f"app {DESK} .*FollowSwap|app {DESK} .*promoting -> promoting")
        await _killed(village)
        await desk.reaches(digest, "succeeded")
        await desk.serves("v2")
        assert swaps_sent(desk, since=began) == 1

        village.app_service.faults.next_swap(DESK, SwapWeather(lose_answer=True))
        later = len(village.app_service.log)
        second = await desk.push("v3")
        await desk.reaches(second, "succeeded")
        await desk.serves("v3")

        assert swaps_sent(desk, since=later) == 1
        assert len(await desk.rollouts(digest)) == len(await desk.rollouts(second)) == 1
        assert desk.failures() == {}


async def _killed(village: Village) -> None:
    village.host.kill()
    await village.host.restart()
