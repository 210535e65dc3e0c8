"""The second programme: a swap that goes well, one that must be undone, one that breaks, an alert.

The app `desk` runs in site containers, takes over by swap, and is pushed through GitHub's webhook.
"""

from sandbox.app_service.errors import allocation_changed
from sandbox.app_service.swap_weather import SwapWeather
from sandbox.demo.script import Act, Programme
from sandbox.village import APP, MoreApp, Options, Village

DESK = "desk"
ALERT_RULE = "shop-errors"

_STEPS = [{"weight": 50, "min_observation": "3s", "max_observation": "40s"}]
_ANALYSIS = {"judge": {"acceptance": {"error_absolute": 0.03}}}  # shown by 100 good answers
_DESK_CONFIGURATION = {
    "strategy": {"kind": "swap", "steps": _STEPS, "bake": "8s"},
    "analysis": _ANALYSIS,
    "deadlines": {"swapping": "60s"},
}
_SHOP_CONFIGURATION = {
    "strategy": {"steps": _STEPS, "bake": "30s"},
    "analysis": _ANALYSIS,
    "alerts": {"rules": ["shop-*"]},
}


def swap_breaks_half_way(village: Village) -> None:
    """The next swap is given up, and leaves both slots locked."""
    error = allocation_changed(DESK, "staging")
    weather = SwapWeather(error=error, leaves_prepared=True)
    village.app_service.faults.next_swap(DESK, weather)


async def alert_fires(village: Village) -> None:
    """Azure Monitor tells of errors on the site."""
    await village.action_group().fire(ALERT_RULE, village.resource_id(APP))


SWAP = Programme(
    name="swap",
    report="demo-swap-report.json",
    rate=100.0,
    options=Options(
        slots=("blue", "green"),
        changes=_SHOP_CONFIGURATION,
        more_apps=(
            MoreApp(
                name=DESK,
                slots=("staging",),
                site_containers=True,
                channel="ghcr",
                place=True,
                changes=_DESK_CONFIGURATION,
            ),
        ),
    ),
    acts=(
        Act(
            app=DESK,
            title="desk v2 is healthy and takes over by swap",
            short="desk v2 swapped",
            version="v2",
            expect_state="succeeded",
            expect_serving="v2",
        ),
        Act(
            app=DESK,
            title="desk v3 fails only under production's own setting",
            short="desk v3 swapped back",
            version="v3",
            behaviour={"error_rate": 0.3, "breaks_where": "production"},
            expect_state="rolled_back",
            expect_serving="v2",
            expect_why="swapped: production holds",
            may_fail_for_users=True,
        ),
        Act(
            app=DESK,
            title="the platform breaks desk v4's swap half way",
            short="desk v4 swapped again",
            version="v4",
            before=swap_breaks_half_way,
            expect_state="succeeded",
            expect_serving="v4",
            expect_why="allocation of VM instances",
        ),
        Act(
            app=APP,
            title="an alert fires while shop v2 bakes",
            short="shop v2 alert",
            version="v2",
            meanwhile=alert_fires,
            expect_state="rolled_back",
            expect_serving="v1",
            expect_why=ALERT_RULE,
        ),
    ),
)
