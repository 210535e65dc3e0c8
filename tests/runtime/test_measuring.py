"""Metrics beside requests: once per poll, for the same time, and never in the observation's way."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from controller.adapters.memory.telemetry import ReportedCall
from controller.adapters.memory.world import Fault
from controller.adapters.metric_rows import build_key
from controller.core.gate import Criticality, Metric, Synthetic
from controller.core.model import State
from controller.core.plan import AppSpec
from controller.core.telemetry import Mark
from controller.ports import Measurement, StoredBucket
from controller.runtime.merging import merged_measurement
from controller.runtime.witness import ask
from controller.verdict.buckets import Counts
from tests.runtime.kit import EASY, MINUTE, SECOND, SHOP, WORKSPACE, House, digest, spec, submit

CALLS = Metric(name="calls", query="dependencies", criticality=Criticality.DRY_RUN)
OWN = Metric(name="own", query="AppMetrics | own", criticality=Criticality.DRY_RUN)


def measured(*metrics: Metric, sources: tuple[str, ...] = ()) -> AppSpec:
    base = spec()
    gate = replace(EASY, metrics=metrics, synthetic=Synthetic(per_poll=0))
    analysis = replace(base.analysis, gate=gate, additional_workspaces=sources)
    return replace(base, analysis=analysis)


def call(house: House, number: int, seconds: float, *, ok: bool, source: str = WORKSPACE) -> None:
    at = house.clock.now() + seconds * SECOND
    row = ReportedCall(release=digest(number), ingested=at, success=ok)
    house.telemetry.report(source, row)


async def observing(app: AppSpec) -> House:
    house = House([app])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    return house


async def pairs_of(house: House) -> list[StoredBucket]:
    (rollout,) = await house.rollouts()
    return list(await house.store.buckets(SHOP, rollout.id))


async def test_each_pair_has_what_its_metrics_counted() -> None:
    """Both builds, bucket by bucket; a bucket in which nothing was counted is zero of zero."""
    house = await observing(measured(CALLS))
    call(house, 2, 16, ok=False)
    call(house, 2, 17, ok=True)
    call(house, 1, 17, ok=True)
    await house.run_for(MINUTE)

    found = [pair.metrics["calls"] for pair in await pairs_of(house)]
    assert [f for f in found if f[0].total] == [(Counts(total=2, bad=1), Counts(total=1))]
    assert found.count((Counts(), Counts())) == len(found) - 1


async def test_a_metric_that_is_away_loses_neither_observation_nor_other_metrics() -> None:
    """What is missing is said to the judge, and is no zero."""
    house = await observing(measured(CALLS, OWN))  # nobody can run OWN's query
    await house.run_for(MINUTE)

    pairs = await pairs_of(house)
    assert sum(pair.canary.rows for pair in pairs) > 0
    assert all(set(pair.metrics) == {"calls"} for pair in pairs)
    (rollout,) = await house.rollouts()
    watch = await house.store.load_watch(WORKSPACE)
    asked = ask(rollout, house.clock.now(), pairs, watch)
    assert set(asked.metric_errors) == {"own"}
    assert "'own'" in asked.metric_errors["own"]
    assert watch.last_error is None


async def test_a_metric_that_came_back_is_no_more_said_to_be_away() -> None:
    house = await observing(measured(CALLS))
    house.weather.forecast = lambda asked: Fault.TRANSIENT if asked == "measure" else None
    await house.run_for(MINUTE)
    away = (await house.store.load_watch(WORKSPACE)).watching[0].metric_errors
    house.weather.forecast = None
    await house.run_for(MINUTE / 2)
    back = (await house.store.load_watch(WORKSPACE)).watching[0].metric_errors

    assert [name for name, _ in away] == ["calls"]
    assert back == ()


async def test_metrics_of_all_sources_are_added_up() -> None:
    house = await observing(measured(CALLS, sources=("second",)))
    call(house, 2, 16, ok=False)
    call(house, 2, 16, ok=False, source="second")
    await house.run_for(MINUTE)

    counted = sum(pair.metrics["calls"][0].bad for pair in await pairs_of(house))
    assert counted == 2


async def test_a_query_of_ones_own_is_asked_for_the_window_of_the_observation() -> None:
    """Of both builds, in the same buckets: windows touch, and none is asked twice."""
    house = House([measured(OWN)])
    windows: list[tuple[datetime, datetime]] = []

    def own(
        builds: Sequence[Mark], since: datetime, until: datetime, bucket: timedelta
    ) -> Iterable[Mapping[str, Any]]:
        if len(builds) == 2:  # not PREFLIGHT's look at the stable build alone
            windows.append((since, until))
        starts = [since + n * bucket for n in range((until - since) // bucket)]
        return [
            {"Build": build_key(mark), "Bucket": start, "Total": 3, "Bad": 1}
            for mark in builds
            for start in starts
        ]

    house.telemetry.scripts[OWN.query] = own
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    await house.run_for(MINUTE)

    assert len(windows) >= 3
    assert all(before[1] == after[0] for before, after in pairwise(windows))
    counted = [pair.metrics["own"] for pair in await pairs_of(house)]
    assert all(each == (Counts(total=3, bad=1), Counts(total=3, bad=1)) for each in counted)


async def test_the_evidence_holds_what_was_learned_and_measured() -> None:
    """Whoever computes a judgement again needs nothing else."""
    house = House([measured(CALLS)])
    house.let_users_ask_until(house.clock.now() + 30 * MINUTE)
    await house.send(submit(2))
    await house.run()

    (rollout,) = await house.rollouts()
    assert rollout.state is State.SUCCEEDED
    assert rollout.learned is not None
    assert rollout.learned.rows > 500
    (passed, *_) = [r for r in await house.records() if r.what == "Judged"]
    assert passed.evidence is not None
    body = await house.evidence.read(passed.evidence)
    assert body is not None
    question = json.loads(body)["question"]
    assert question["learned"]["rows"] == rollout.learned.rows
    assert question["gate"]["metrics"][0]["name"] == "calls"
    assert all("calls" in pair["metrics"] for pair in question["pairs"])
    assert {pair["share"] for pair in question["pairs"]} == {0.5}


def test_measurements_are_summed_by_build_and_bucket() -> None:
    """Histograms, too; the queries stand below each other, each once."""
    one, two = Mark(name="a"), Mark(name="b")
    at = House([]).clock.now()
    first = Measurement(buckets={one: [(at, Counts(total=2, bad=1, histogram={1: 2}))]}, query="q")
    second = Measurement(
        buckets={
            one: [
                (at, Counts(total=3, bad=0, histogram={1: 1, 2: 2})),
                (at + MINUTE, Counts(total=1)),
            ],
            two: [(at, Counts(total=4))],
        },
        query="q",
    )

    both = merged_measurement([first, second])

    assert both.query == "q"
    assert dict(both.buckets) == {
        one: [
            (at, Counts(total=5, bad=1, histogram={1: 3, 2: 2})),
            (at + MINUTE, Counts(total=1)),
        ],
        two: [(at, Counts(total=4))],
    }
