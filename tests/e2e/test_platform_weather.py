"""Resource Manager at its worst, on the way up and on the way back. Pushes come as CloudEvents."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.app_service.errors import ArmError, operation_in_progress
from sandbox.app_service.faults import Fault
from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import BAD, NEVER, QUICK, App, Log, steps, under_load
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        sweep_schedule=NEVER,
        event_schema="CloudEventSchemaV1_0",
        slots=("blue",),
        changes={**QUICK, "strategy": {"steps": steps(30, 100), "bake": "1s"}},
        more_apps=(MoreApp(name="till", slots=("blue",), changes=QUICK),),
    )
    async with Village(options) as village:
        yield village


def broken() -> ArmError:
    return ArmError(500, "InternalServerError", "There was an internal server error.")


async def up(app: App, spent: list[Fault]) -> str:
    """Push a good build into a busy, throttling, forgetful platform."""
    faults, site = app.village.app_service.faults, f"/sites/{app.name}"
    faults.busy(app.name, 4)
    digest_of = app.push("v2")
    spent += [
        faults.throttle(rf"^GET .*{site}$", retry_after_seconds=1),
        faults.lose_response(rf"^PUT .*{site}/slots/\w+/config/appsettings$"),
        faults.lose_response(rf"^PATCH .*{site}/config/web$"),
        faults.slow_effect(rf"^PATCH .*{site}/config/web$", 1.5),
    ]
    digest = await digest_of
    await app.reaches(digest, "succeeded")
    return digest


async def back(app: App, spent: list[Fault]) -> str:
    """Push a bad build; while it is watched, prepare the worst for its way back."""
    faults, site, log = app.village.app_service.faults, f"/sites/{app.name}", Log(app.village)
    spent.append(faults.fail_after_effect(rf"^PATCH .*{site}/slots/\w+/config/web$", broken()))
    digest = await app.push("v2", **BAD)
    await log.saw(f"app {app.name} .*-> observing")
    conflict = operation_in_progress(app.name, "production")
    spent += [
        faults.refuse(rf"^PATCH .*{site}/config/web$", conflict),
        faults.lose_response(rf"^PATCH .*{site}/config/web$"),
        faults.throttle(rf"^PATCH .*{site}/slots/\w+/config/web$", retry_after_seconds=1),
        faults.fail_after_effect(rf"^PUT .*{site}/slots/\w+/config/appsettings$", broken()),
    ]
    await app.reaches(digest, "rolled_back")
    return digest


async def test_each_rollout_ends_right_whatever_the_platform_answers(village: Village) -> None:
    """Busy, throttled, broken after the effect, answers lost, effects late: users see nothing."""
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        spent: list[Fault] = []
        good, bad = await asyncio.gather(up(shop, spent), back(till, spent))
        await shop.serves("v2")
        await till.serves("v1")

        assert [fault.name for fault in spent if fault.left] == []
        assert shop.routing.shares_of(good) == [30, 100]
        assert till.routing.shares_of(bad) == [50, 0]
        for change in (*shop.routing.changes, *till.routing.changes):
            assert change.unproved == ()
        assert till.site.slot("blue").running_digest == village.registry.digest("till", "v1")
        assert shop.failures() == till.failures("v2") == {}
