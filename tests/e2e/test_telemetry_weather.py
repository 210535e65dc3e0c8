"""No evidence is not success: no traffic, an incident of both builds, a provider that is away."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from sandbox.village import APP, MoreApp, Options, Village
from tests.e2e.kit import BAD, NEVER, QUICK, App, Json, Log, steps, under_load, until
from tests.e2e.records import kept_well

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

_RATE = 40
_HISTORY_SECONDS = 18
FOR_EVER = 1000  # longer than anybody waits


def app(name: str, strategy: Json, *, judge: Json | None = None, **more: Any) -> MoreApp:
    return MoreApp(
        name=name,
        slots=("blue",),
        changes={
            **QUICK,
            "strategy": {"steps": steps(50), "bake": "1s", **strategy},
            "analysis": {
                **QUICK["analysis"],
                "provider_grace": "5s",
                "judge": {**QUICK["analysis"]["judge"], **(judge or {})},
            },
        },
        **more,
    )


PATIENT = {"steps": steps(50, 100, shortest="4s"), "hold": {"limit": "90s"}}
IMPATIENT = {**PATIENT, "hold": {"limit": "2s", "on_expiry": "roll_back"}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def village() -> AsyncIterator[Village]:
    options = Options(
        cookie_seconds=3,
        sweep_schedule=NEVER,
        slots=("blue",),
        changes=app(APP, PATIENT).changes,
        more_apps=(
            app("till", IMPATIENT),
            app(
                "quiet",
                {
                    "steps": steps(50, longest="3s"),
                    "hold": {"limit": "2s", "on_expiry": "proceed"},
                },
            ),
            app(
                "sick",
                {"steps": steps(20), "hold": {"limit": "2s", "on_expiry": "roll_back"}},
                first_build=BAD,
            ),
            app("rain", {"hold": {"limit": "60s"}}, judge={"warm_up": "8s"}),
        ),
    )
    async with Village(options) as village:
        yield village


def moves(rollout: Json) -> list[str]:
    """Return the states that a rollout went through, each stay once."""
    states = [e["to"] for e in rollout["events"] if e["to"]]
    return [state for i, state in enumerate(states) if i == 0 or states[i - 1] != state]


def labels(rollout: Json) -> list[str]:
    """Return what the judge said where it moved the rollout."""
    judged = [e["why"] for e in rollout["events"] if e["what"] == "Judged"]
    return [why.partition(":")[0] for why in judged]


async def without_users(app: App) -> None:
    """Nobody calls: it is held twice, and the configured action goes on each time."""
    digest = await app.push("v2")
    rollout = await app.reaches(digest, "succeeded")
    assert labels(rollout) == ["insufficient_data", "insufficient_data"]
    assert moves(rollout)[-7:] == [
        *("shifting", "observing", "held", "promoting", "baking", "held", "succeeded")
    ]


async def with_an_incident(app: App) -> None:
    """Both builds fail alike: the new one is held, not blamed; nobody comes, so it goes back."""
    digest = await app.push("v2", **BAD)
    rollout = await app.reaches(digest, "rolled_back")
    assert labels(rollout) == ["ambient_incident"]
    assert moves(rollout)[-4:] == ["observing", "held", "rolling_back", "rolled_back"]


async def test_what_cannot_be_judged_is_held_and_ends_as_configured(village: Village) -> None:
    """Too little traffic, or an incident of both builds: no success, and not the build's fault."""
    async with (
        kept_well(village, "quiet", "sick"),
        under_load(village, "quiet", rate=None) as quiet,
        under_load(village, "sick") as sick,
    ):
        await asyncio.gather(without_users(quiet), with_an_incident(sick))

        assert sick.failures("v1", "v2") == {}


def begin_short_outage(village: Village) -> None:
    """Let the next queries fail, be answered in part, and late: seconds, within the grace."""
    faults = village.monitor.faults
    faults.fail_queries(500)
    faults.cut_queries()
    faults.delay_queries(0.5)


def begin_long_outage(village: Village) -> None:
    """Let queries fail and be throttled until told otherwise."""
    for _ in range(FOR_EVER):
        village.monitor.faults.fail_queries(503)
        village.monitor.faults.throttle_queries()


async def survives_a_short_outage(app: App, log: Log) -> str:
    """Push a good build and see that it gets to its second step."""
    digest = await app.push("v2")
    await log.saw(f"app {app.name} .*-> observing")
    begin_short_outage(app.village)
    await log.saw(f"app {app.name} .*-> shifting")
    await log.saw(f"app {app.name} .*-> observing")
    return digest


async def test_a_provider_that_is_away_longer_than_its_grace_holds_what_it_should_judge(
    village: Village,
) -> None:
    """A short outage changes nothing. A long one holds: one comes back, one reaches its limit."""
    async with (
        kept_well(village, APP, "till"),
        under_load(village, APP) as shop,
        under_load(village, "till") as till,
    ):
        other = asyncio.create_task(till.push("v2"))
        first = await survives_a_short_outage(shop, Log(village))
        second = await other
        begin_long_outage(village)
        held = await shop.reaches(first, "held")
        assert held["why"].startswith("provider_unavailable")
        returned = await till.reaches(second, "rolled_back")
        village.monitor.faults.clear()
        done = await shop.reaches(first, "succeeded")
        await shop.serves("v2")
        await till.serves("v1")

        assert [label for label in labels(done) if label != "healthy"] == ["provider_unavailable"]
        assert labels(returned)[-1] == "provider_unavailable"
        assert moves(returned)[-3:] == ["held", "rolling_back", "rolled_back"]
        pages = [e["to"] for e in (*done["events"], *returned["events"]) if e["kind"] == "page"]
        assert pages == ["held", "held"]
        assert shop.failures() == till.failures() == {}


async def ends_well(app: App, version: str) -> None:
    """Push a good build and see it succeed; it may be held on its way, and never goes back."""
    digest = await app.push(version)
    rollout = await app.reaches(digest, "succeeded")
    assert "rolling_back" not in moves(rollout)
    assert "regressed" not in labels(rollout)
    await app.serves(version)


async def has_a_past(app: App) -> None:
    """Wait until stable was seen for longer than the spans in which history is read."""
    enough = _RATE * _HISTORY_SECONDS

    async def look() -> bool:
        return len(app.clients.seen) >= enough

    await until(look, what="a past of the stable build")


async def test_a_good_build_gets_through_whatever_becomes_of_its_telemetry(
    village: Village,
) -> None:
    """Three of four rows sampled away and a fifth lost; then all of them late: none is blamed."""
    faults = village.monitor.faults
    async with kept_well(village, "rain"), under_load(village, "rain", rate=_RATE) as app:
        await has_a_past(app)
        try:
            faults.sampling, faults.loss_share = 4, 0.2
            await ends_well(app, "v2")
            faults.clear()
            faults.ingestion_delay_seconds = 5.0
            await ends_well(app, "v3")
        finally:
            faults.clear()

        assert app.failures() == {}
