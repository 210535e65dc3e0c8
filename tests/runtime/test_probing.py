"""Requests of our own: to both builds at each poll, bounded, counted by us, lost by nobody."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Behaviour, Fault
from controller.core.errors import BusyError
from controller.core.gate import Synthetic
from controller.core.model import State
from controller.core.plan import PRODUCTION, AppSpec, SlotName, StrategyKind, Target
from controller.ports import Answer, Hosts, ProbeWatch, StoredBucket, Watching
from controller.runtime.probing import Probing
from controller.runtime.witness import ask
from controller.verdict.buckets import Counts, latency_bin
from tests.runtime.kit import (
    BLUE,
    EASY,
    GREEN,
    MINUTE,
    SECOND,
    SHOP,
    Habit,
    House,
    digest,
    image,
    spec,
    submit,
)

TARGET = Target(subscription="s", resource_group="g", site="shop", slots=(BLUE, GREEN))
T0 = House([]).clock.now()


@dataclass
class Slots:
    """Answers as told by host, and notes what was asked and how much at once."""

    hangs: frozenset[str] = frozenset()
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    away: bool = False
    asked: list[tuple[str, tuple[str, str] | None]] = field(
        default_factory=list[tuple[str, tuple[str, str] | None]]
    )
    at_once: Counter[str] = field(default_factory=Counter[str])
    most: Counter[str] = field(default_factory=Counter[str])

    async def hosts(self, target: Target) -> Hosts:
        if self.away:
            raise BusyError("Throttled.")
        names = {PRODUCTION: target.site, **{s: f"{target.site}-{s}" for s in target.slots}}
        return Hosts(scheme="https", public=target.site, slots=names)

    async def routing(self, target: Target) -> Any:
        raise AssertionError(f"nobody asks how {target.site} is split")

    async def ready(self, *_: Any, **__: Any) -> Answer:
        raise AssertionError("readiness is another question")

    smoke = ready

    async def get(
        self, url: str, *, timeout: timedelta, cookie: tuple[str, str] | None = None
    ) -> Answer:
        assert timeout == 5 * SECOND
        self.asked.append((url, cookie))
        host = url.split("/")[2]
        self.at_once[host] += 1
        self.most[host] = max(self.most[host], self.at_once[host])
        try:
            await (asyncio.Event().wait() if host in self.hangs else asyncio.sleep(0))
        finally:
            self.at_once[host] -= 1
        return self.answers.get(host, Answer(status=200, release=None, elapsed_ms=20.0))


def watching(per_poll: int = 3, *, poll: timedelta = 15 * SECOND, **changes: Any) -> Watching:
    watch = ProbeWatch(
        target=TARGET,
        slot=BLUE,
        stable_slot=PRODUCTION,
        path="/deep?x=1",
        per_poll=per_poll,
        timeout=5 * SECOND,
    )
    return Watching(
        app=SHOP,
        rollout="r",
        release=digest(2),
        stable_release=digest(1),
        probe_operations=(),
        poll=poll,
        bucket=15 * SECOND,
        settle=SECOND,
        since=T0,
        until=T0 + MINUTE,
        probing=replace(watch, **changes),
    )


async def sent(slots: Slots, *watched: Watching) -> Any:
    return await Probing(addresses=slots, prober=slots).send(watched)


# --- One round ------------------------------------------------------------------------------------


async def test_each_slot_is_asked_by_its_own_host() -> None:
    """Production's host obeys the split, so that a cookie has to lead past it."""
    slots = Slots()

    await sent(slots, watching(2))

    assert Counter(slots.asked) == {
        ("https://shop-blue/deep?x=1", None): 2,
        ("https://shop/deep?x=1", ("x-ms-routing-name", "self")): 2,
    }


async def test_no_answer_and_server_errors_are_bad_and_whatever_answers_took_its_time() -> None:
    slots = Slots(
        answers={
            "shop": Answer(status=404, release=None, elapsed_ms=100.0),
            "shop-blue": Answer(status=None, release=None, error="refused"),
        }
    )

    ((canary, stable),) = (await sent(slots, watching(4))).values()

    assert canary == Counts(total=4, bad=4)
    assert stable == Counts(total=4, bad=0, histogram={latency_bin(100.0): 4})
    slots.answers["shop"] = Answer(status=500, release=None, elapsed_ms=1.0)
    assert (await sent(slots, watching(4)))["r"][1].bad == 4


async def test_a_build_is_asked_five_times_at_once_and_one_that_hangs_takes_only_its_own() -> None:
    """What is open when the time of the poll is over says nothing; the other build's all count."""
    slots = Slots(hangs=frozenset({"shop-blue"}))

    ((canary, stable),) = (await sent(slots, watching(75, poll=timedelta(seconds=0.3)))).values()

    assert canary == Counts()
    assert stable.total == 75
    assert (slots.most["shop"], slots.most["shop-blue"]) == (5, 5)
    assert slots.at_once.total() == 0


async def test_who_hangs_altogether_gives_no_evidence() -> None:
    slots = Slots(hangs=frozenset({"shop", "shop-blue"}))

    assert await sent(slots, watching(poll=timedelta(seconds=0.1))) == {}


async def test_slots_that_cannot_be_found_now_are_asked_with_the_next_poll() -> None:
    assert await sent(Slots(away=True), watching()) == {}


async def test_nothing_is_asked_where_nothing_is_wanted() -> None:
    slots = Slots()

    assert await sent(slots, replace(watching(), probing=None)) == {}
    assert await Probing().send([watching()]) == {}
    assert slots.asked == []


# --- What becomes of it ---------------------------------------------------------------------------


def probed(per_poll: int = 2, **changes: Any) -> AppSpec:
    base = spec(**changes)
    gate = replace(EASY, synthetic=Synthetic(per_poll=per_poll))
    return replace(base, analysis=replace(base.analysis, gate=gate))


async def stored(house: House) -> list[StoredBucket]:
    (rollout,) = await house.rollouts()
    return list(await house.store.buckets(SHOP, rollout.id))


async def test_probes_are_kept_with_the_newest_pair_of_their_poll() -> None:
    """One round per poll, of both builds; none of it is counted as a user's."""
    house = House([probed()])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    await house.run_for(MINUTE)

    pairs = await stored(house)
    found = [pair.probes for pair in pairs if pair.probes is not None]
    assert len(found) >= 4
    assert {(c.total, c.bad, s.total, s.bad) for c, s in found} == {(2, 0, 2, 0)}
    assert found[0][0].histogram == {latency_bin(10.0): 2}


async def test_silence_of_telemetry_loses_no_probe() -> None:
    """While it gives no answer each round is kept as a pair of its own, beside what comes later."""
    house = House([probed()])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.weather.script("observe", *[Fault.TRANSIENT] * 3)
    await house.run_for(75 * SECOND)

    pairs = await stored(house)
    alone = [p for p in pairs if not p.canary.rows and p.stable is None]
    assert len(alone) >= 3
    assert all(p.probes is not None for p in alone)
    rounds = sum(p.probes[0].total for p in pairs if p.probes) // 2
    assert rounds == sum(p.probes is not None for p in pairs)
    assert sum(p.canary.rows for p in pairs) > 0
    assert len({p.start for p in pairs}) == len(pairs)


async def test_a_build_that_answers_nobody_goes_back_by_probes_alone() -> None:
    """Nobody uses the app, so telemetry says nothing."""
    house = House([probed(75)])
    house.habits = {digest(n): Habit(silent=True) for n in (1, 2)}
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.world.behaviours[image(2).reference] = Behaviour(probe_status=503)
    await house.run()

    assert (await house.ends())[0][1] is State.ROLLED_BACK
    (rollout,) = await house.rollouts()
    assert rollout.undone_because.startswith("regressed")
    assert all(not pair.canary.rows for pair in await stored(house))


async def test_probes_of_a_swap_follow_the_builds_and_rest_while_they_change_places() -> None:
    """The platform restarts the build that is to move: nobody's fault, so it is not counted."""
    base = probed(2)
    strategy = replace(base.strategy, kind=StrategyKind.SWAP, bake=2 * MINUTE)
    house = House([replace(base, strategy=strategy)])
    await house.send(submit(2))
    rollout = await house.run_to(State.BAKING)
    await house.settle()

    watch = await house.store.load_watch(base.analysis.observation)
    probing = watch.watching[0].probing
    assert probing is not None
    assert (probing.slot, probing.stable_slot) == (PRODUCTION, SlotName("blue"))

    exchanged = next(each for each in rollout.exposures if each.share == 0)
    pair = (await stored(house))[-1]
    during = replace(pair, start=exchanged.since, probes=(Counts(total=2, bad=2), Counts(total=2)))
    asked = ask(rollout, house.clock.now(), [during], watch)
    assert [each.probes for each in asked.pairs] == [None]


@pytest.mark.parametrize("per_poll", [0, 2])
async def test_the_watch_says_what_is_to_be_asked(per_poll: int) -> None:
    house = House([probed(per_poll)])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)

    (watched,) = (await house.store.load_watch("workspace")).watching
    assert (watched.probing is None) == (per_poll == 0)
    if watched.probing:
        assert watched.probing.path == "/health/ready"


@pytest.mark.parametrize(("per_poll", "alone"), [(2, 20), (75, 75)])
async def test_where_nobody_uses_the_stable_build_it_is_asked_more(
    per_poll: int, alone: int
) -> None:
    house = House([probed(per_poll)])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    (watched,) = (await house.store.load_watch("workspace")).watching
    assert watched.probing is not None
    assert watched.probing.per_poll == per_poll

    await house.run_to(State.BAKING)
    await house.settle()

    (watched,) = (await house.store.load_watch("workspace")).watching
    assert watched.probing is not None
    assert watched.probing.per_poll == alone
