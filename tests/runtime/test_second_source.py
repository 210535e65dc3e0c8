"""The platform's own metrics beside telemetry: read with the poll, judged, kept, never silent."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.model import Record, State
from controller.core.plan import AppSpec, SlotName
from controller.core.telemetry import PlatformLimits
from controller.verdict.platform import Minute, broken, totals
from tests.runtime.kit import (
    BLUE,
    MINUTE,
    PRODUCTION,
    SECOND,
    SHOP,
    Habit,
    House,
    digest,
    spec,
    submit,
)

LIMITS = PlatformLimits(region="westeurope", http5xx_rate_max=0.05, min_requests=20)


def limited(limits: PlatformLimits = LIMITS, **analysis: Any) -> AppSpec:
    """Return an app that is watched for long enough that metrics come in time."""
    base = spec()
    steps = tuple(
        replace(step, min_observation=8 * MINUTE, max_observation=20 * MINUTE)
        for step in base.strategy.steps
    )
    return replace(
        base,
        strategy=replace(base.strategy, steps=steps),
        analysis=replace(base.analysis, platform_metrics=limits, **analysis),
    )


def house_with(app: AppSpec) -> House:
    return House([app])


def answers(house: House, slot: SlotName, *, http5xx: float, requests: float = 60) -> None:
    """Let the front end of *slot* count the same in each of the next minutes."""
    start = house.clock.now().replace(second=0, microsecond=0)
    target = house.configuration.specs[SHOP].target
    house.metrics.count(
        target,
        slot,
        *(Minute(start=start + m * MINUTE, requests=requests, http5xx=http5xx) for m in range(60)),
    )


async def judged(house: House) -> list[Record]:
    return [r for r in await house.records() if r.what == "Judged"]


async def test_a_build_that_reports_nothing_wrong_goes_back_by_the_platforms_count() -> None:
    """A crash, a 502 of the front end: the app reports none of it."""
    house = house_with(limited())
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    answers(house, BLUE, http5xx=30)
    answers(house, PRODUCTION, http5xx=0)
    await house.run()

    assert (await house.ends())[0][1] is State.ROLLED_BACK
    (record,) = await judged(house)
    assert "platform metrics of slot blue: 5xx rate 50.0%" in record.why
    assert record.numbers["platform_canary_http5xx_rate"] == 0.5
    assert record.numbers["canary_error_rate"] == 0


async def test_an_incident_that_both_slots_count_is_not_blamed_on_the_build() -> None:
    house = house_with(limited())
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    answers(house, BLUE, http5xx=30)
    answers(house, PRODUCTION, http5xx=30)

    held = await house.run_to(State.HELD, State.ROLLED_BACK)

    assert held.state is State.HELD
    assert held.why.startswith("ambient_incident")


async def test_what_the_platform_counts_proves_no_health() -> None:
    """Nobody reports anything; the front end's good answers do not stand in for that."""
    house = house_with(limited())
    for number in (1, 2):
        house.habits[digest(number)] = Habit(silent=True)
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    answers(house, BLUE, http5xx=0, requests=6000)

    held = await house.run_to(State.HELD)

    assert held.why.startswith("insufficient_data")


async def test_a_provider_that_is_away_stays_so_but_a_count_that_is_broken_still_counts() -> None:
    house = house_with(limited())
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.weather.script("observe", *(Fault.TRANSIENT,) * 500)
    answers(house, BLUE, http5xx=60)
    answers(house, PRODUCTION, http5xx=0)
    held = await house.run_to(State.HELD)
    assert held.why.startswith("provider_unavailable")

    await house.run_to(State.ROLLING_BACK, State.ROLLED_BACK)

    assert "platform metrics of slot blue" in (await judged(house))[-1].why


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.THROTTLED, Fault.PERMANENT])
async def test_metrics_that_cannot_be_read_are_said_and_hold_nothing_up(fault: Fault) -> None:
    """In the reason and in the numbers of each decision."""
    house = house_with(limited())
    house.weather.script("metrics", *(fault,) * 1000)
    await house.send(submit(2))
    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED
    for record in await judged(house):
        assert "platform metrics are not known" in record.why
        assert record.numbers["platform_error"]


async def test_a_decision_can_be_computed_again_from_its_evidence() -> None:
    """The sums that were judged are in the document, limits and all."""
    house = house_with(limited())
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    answers(house, BLUE, http5xx=30)
    await house.run()
    (record,) = await judged(house)
    assert record.evidence is not None
    body = await house.evidence.read(record.evidence)
    assert body is not None
    kept = json.loads(body)["question"]["platform"]

    canary = kept["canary"]
    again = totals(
        [
            Minute(
                start=datetime.fromisoformat(canary["since"]),
                requests=canary["requests"],
                http5xx=canary["http5xx"],
            )
        ],
        since=datetime.fromisoformat(canary["since"]),
        until=datetime.fromisoformat(canary["until"]),
    )
    limits = PlatformLimits(
        region=kept["limits"]["region"],
        http5xx_rate_max=kept["limits"]["http5xx_rate_max"],
        min_requests=kept["limits"]["min_requests"],
    )
    told = broken(limits, again)
    assert told is not None
    assert told in record.why


async def test_each_slot_is_read_at_most_twice_a_minute() -> None:
    """There is one new number in a minute."""
    house = house_with(limited())
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    await house.run_for(4 * MINUTE)  # nothing is complete before
    before = house.metrics.reads

    await house.run_for(4 * MINUTE)

    assert 2 * 4 <= house.metrics.reads - before <= 2 * 2 * 4 + 2


async def test_minutes_from_before_the_build_was_watched_are_not_its_own() -> None:
    """Whatever served in that slot before failed; the new build does not."""
    house = house_with(limited())
    answers(house, BLUE, http5xx=60)
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    answers(house, BLUE, http5xx=0)
    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED


async def test_an_app_without_limits_reads_none() -> None:
    house = House()
    await house.send(submit(2))
    await house.run()

    assert house.metrics.reads == 0
    for record in await judged(house):
        assert not [name for name in record.numbers if "platform" in name]


# --- Telemetry that lags --------------------------------------------------------------------------


async def test_old_telemetry_that_arrives_now_makes_nothing_healthy() -> None:
    """Rows of an hour ago, as after an outage of ingestion: the state ends undecided."""
    house = House()
    report = house.telemetry.report

    def late(workspace: str, *rows: Any) -> None:
        old = timedelta(hours=1)
        report(workspace, *(replace(row, generated=row.ingested - old) for row in rows))

    house.telemetry.report = late  # type: ignore[method-assign]
    await house.send(submit(2))

    held = await house.run_to(State.HELD)

    assert held.why.startswith("insufficient_data")
    assert "s old" in held.why
    assert (await judged(house))[-1].numbers["telemetry_age_s"] >= 3600  # type: ignore[operator]


async def test_trouble_with_the_evidence_store_is_logged_once_per_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a person is waited for each poll meets it again."""
    base = spec()
    house = House([replace(base, analysis=replace(base.analysis, poll=5 * SECOND))])
    for number in (1, 2):
        house.habits[digest(number)] = Habit(failing=1.0)
    await house.send(submit(2))
    await house.run_to(State.HELD)
    for number in (1, 2):
        house.habits[digest(number)] = Habit()
    house.weather.script("keep", *(Fault.TRANSIENT,) * 10_000)
    caplog.clear()

    await house.run_for(8 * MINUTE)

    said = [r for r in caplog.records if "cannot be kept" in r.message]
    assert len(said) == 1
    assert all(r.exc_info is None for r in said)
