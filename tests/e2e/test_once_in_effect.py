"""Everything arrives twice, all the time; what comes of it is as if it had come once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import BAD, NEVER, QUICK, App, steps, under_load
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ALWAYS = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue", "green"),
        changes={**QUICK, "strategy": {"steps": steps(50, shortest="4s"), "bake": "1s"}},
        more_apps=(MoreApp(name="till", changes=QUICK),),
    )
    async with Village(options) as village:
        village.event_grid.faults.deliver_twice = True
        for queue in ("rollouts", "observations"):
            village.broker.faults.deliver_twice(queue, ALWAYS)
            village.broker.faults.duplicate_sends(queue, ALWAYS)
        yield village


async def newer_push(app: App) -> tuple[str, str]:
    """Push a good build, another one while the first is watched, and that one again."""
    first = await app.push("v2")
    await app.reaches(first, "observing")
    second = await app.push("v3")
    await app.reaches(first, "superseded")
    assert await app.push("v3") == second
    await app.event("ignored", "on its way")
    await app.reaches(second, "succeeded")
    assert await app.push("v3") == second
    await app.event("ignored", "serves already")
    return first, second


async def taken_back(app: App) -> str:
    """Push a bad build; push it again; say retry; think better of it."""
    digest = await app.push("v2", **BAD)
    await app.reaches(digest, "rolled_back")
    assert await app.push("v2", **BAD) == digest
    await app.event("ignored", "say retry")
    await app.order("retry", digest=digest, by="ann", reason="the database is back")
    await app.reaches(digest, "warming", "shifting", "observing")
    await app.order("abort", by="ann", reason="it is not")
    await app.reaches(digest, "rolled_back")
    return digest


async def odd(app: App) -> list[str]:
    """Return why orders were ignored or refused: an order that counts twice would be among them."""
    events = (await app.view())["events"]
    orders = {"Submit", "Retry", "Abort"}
    return [e["why"] for e in events if e["kind"] in {"ignored", "refused"} and e["what"] in orders]


async def test_one_rollout_per_push_and_order_however_often_they_are_delivered(
    village: Village,
) -> None:
    """A newer push takes over; what serves, is on its way or was taken back begins nothing.

    Every event, command, wake-up and poll is sent twice and each copy delivered twice.
    """
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        (first, second), bad = await asyncio.gather(newer_push(shop), taken_back(till))
        await shop.serves("v3")
        await till.serves("v1")

        begun = [r["image"]["digest"] for r in (await shop.view())["rollouts"]]
        assert begun == [second, first]
        assert [r["state"] for r in await till.rollouts(bad)] == ["rolled_back"] * 2
        assert [len(await odd(app)) for app in (shop, till)] == [2, 1]  # those waited for above
        assert shop.routing.shares_of(first)[:2] == [50, 0]
        assert shop.routing.shares_of(second)[-2:] == [50, 100]
        for change in (*shop.routing.changes, *till.routing.changes):
            assert change.unproved == ()
        assert shop.failures() == till.failures("v2") == {}
        rollouts = village.broker.queue("rollouts")
        assert rollouts.counters.duplicates_discarded > 0
        assert rollouts.dead_letter == ()
