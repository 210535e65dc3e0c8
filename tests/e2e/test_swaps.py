"""Strategy swap, and others' writes, on the whole village: one exchange, and the split stays."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.app_service.swap_weather import SwapWeather
from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import NEVER, QUICK, App, Log, steps, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

DESK = "desk"
# Longer than a watched rollout waits before it looks at its routing again.
LONG_STEP = "36s"
SWAP = f"^POST .*/sites/{DESK}/slots/staging/slotsswap$"


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
                "steps": [{"weight": 50, "min_observation": "1s", "max_observation": "3m"}],
                "bake": "1s",
            },
        },
    )
    options = Options(
        cookie_seconds=3,
        lock_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        changes={
            **QUICK,
            "strategy": {"steps": [*steps(30), *steps(60, shortest=LONG_STEP)], "bake": "1s"},
        },
        more_apps=(desk,),
    )
    async with Village(options) as village:
        yield village


def answers_to_swaps(app: App, *, since: int) -> list[int | None]:
    """Return how the requests for a swap since that many requests were answered; None: lost."""
    log = app.village.app_service.log[since:]
    return [r.status for r in log if r.method == "POST" and r.path.endswith("/slotsswap")]


async def test_a_controller_killed_in_the_middle_of_a_swap_swaps_no_second_time(
    village: Village,
) -> None:
    """SIGKILL once the request is out, and again while it runs: one request, users see nothing."""
    async with kept_well(village, DESK), under_load(village, DESK) as desk:
        gate, began = asyncio.Event(), len(village.app_service.log)
        village.app_service.faults.next_swap(DESK, SwapWeather(gate=gate))
        log = Log(village)
        digest = await desk.push("v2")

        async def is_sent() -> bool:
            return answers_to_swaps(desk, since=began) != []

        await until(is_sent, what="the swap")
        await _killed(village)
        gate.set()
        await log.saw(f"app {DESK} .*FollowSwap|app {DESK} .*promoting -> promoting")
        await _killed(village)
        await desk.reaches(digest, "succeeded")
        await desk.serves("v2")

        assert answers_to_swaps(desk, since=began) == [202]
        assert len(await desk.rollouts(digest)) == 1
        assert desk.failures() == {}


async def _killed(village: Village) -> None:
    village.host.kill()
    await village.host.restart()


async def test_what_others_do_and_what_lands_late_changes_no_end(village: Village) -> None:
    """Operations of somebody else, a lost answer, a late rule: each rollout ends as it should."""
    async with (
        kept_well(village, DESK, APP),
        under_load(village, DESK) as desk,
        under_load(village, APP) as shop,
    ):
        await asyncio.gather(_others_come_first(desk), _a_rule_lands_late(shop))

        assert desk.failures() == shop.failures() == {}


async def _others_come_first(desk: App) -> None:
    """Somebody holds the site while the slot is filled, and when the swap is asked for.

    Refused, it is asked for again. Where the other operation was that very swap, it is done.
    """
    service = desk.village.app_service
    faults = service.faults
    write = f"^PUT .*/sites/{DESK}/slots/staging/config/appsettings$"
    spent = [faults.meanwhile(each, lambda: faults.busy(DESK, 2)) for each in (write, SWAP)]
    assert await _release(desk, "v3") == [409, 202]
    assert [fault.left for fault in spent] == [0, 0]

    faults.meanwhile(SWAP, lambda: service.somebody_swaps(DESK, "staging"))
    assert await _release(desk, "v4") == [409]

    faults.next_swap(DESK, SwapWeather(lose_answer=True))
    assert await _release(desk, "v5") == [None]


async def _release(desk: App, version: str) -> list[int | None]:
    began = len(desk.village.app_service.log)
    digest = await desk.push(version)
    await desk.reaches(digest, "succeeded")
    await desk.serves(version)
    assert len(await desk.rollouts(digest)) == 1
    return answers_to_swaps(desk, since=began)


async def _a_rule_lands_late(shop: App) -> None:
    """The first step's write takes effect in the second step's watch, over what that one wrote."""
    landed, log = asyncio.Event(), Log(shop.village)
    shop.village.app_service.faults.slow_effect(f"^PATCH .*/sites/{APP}/config/web$", until=landed)
    digest = await shop.push("v2")
    await log.saw(f"app {APP} .* shifting -> observing")
    await log.saw(f"app {APP} .* shifting -> observing")
    await log.saw(f"app {APP} .* Done observing")  # the split was found as it should be
    landed.set()
    await log.saw(f"site {APP}: traffic was .*blue 30 %, put back to .*blue 60 %")
    await shop.reaches(digest, "succeeded")
    await shop.serves("v2")

    assert shop.routing.shares_of(digest) == [30, 60, 30, 60, 100]
