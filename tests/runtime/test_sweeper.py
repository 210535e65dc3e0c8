"""What should have happened and did not is found, once, and one failure stays one failure."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.model import State
from controller.core.plan import PRODUCTION, AppId, Percent, Routing
from controller.ports import Message
from controller.runtime.messages import COMMANDS_QUEUE, OBSERVATIONS_QUEUE, REJECTED_QUEUE
from tests.runtime.kit import (
    BLUE,
    MINUTE,
    SECOND,
    SHOP,
    WORKSPACE,
    House,
    Ports,
    spec,
    submit,
)


def lose_everything(house: House, queue: str) -> int:
    """Let every message of a queue vanish, as if it had been handled."""
    lost = 0
    while house.bus.waiting(queue):
        due = house.bus.next_due()
        assert due is not None
        house.clock.set(due)
        delivery = house.bus.receive(queue)
        if delivery is None:
            break
        house.bus.complete(delivery)
        lost += 1
    return lost


async def released(*apps: str) -> House:
    """Return a house whose apps all went to image 2."""
    house = House([spec(app) for app in (apps or (SHOP,))])
    await house.send(*(submit(2, app) for app in (apps or (SHOP,))))
    await house.run()
    return house


async def drift_records(house: House, app: AppId = SHOP) -> list[str]:
    return [r.why for r in await house.records(app) if r.kind == "drift"]


def meddle(house: House, app: AppId = SHOP, share: int = 60) -> None:
    site = house.world.site(house.configuration.specs[app].target)
    house.world.write_rules(site, Routing(((BLUE, Percent(share)),)))


# --- Wake-ups -------------------------------------------------------------------------------------


async def test_a_rollout_whose_wake_up_was_lost_goes_on() -> None:
    house = House()
    house.weather.script("stage", Fault.THROTTLED)
    await house.send(submit(2))
    await house.settle()
    assert lose_everything(house, COMMANDS_QUEUE)
    house.clock.advance(2 * MINUTE)
    assert house.bus.next_due() is None  # nothing would ever happen

    swept = await house.sweeper.sweep()
    await house.run()

    assert swept.woken == (SHOP,)
    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]


async def test_a_wake_up_that_is_merely_late_is_left_alone() -> None:
    house = House()
    house.weather.script("stage", Fault.THROTTLED)
    await house.send(submit(2))
    await house.settle()
    house.clock.advance(30 * SECOND)
    before = house.bus.sent[COMMANDS_QUEUE]

    assert (await house.sweeper.sweep()).woken == ()
    assert house.bus.sent[COMMANDS_QUEUE] == before


async def test_waking_twice_does_no_harm() -> None:
    house = House()
    house.weather.script("stage", Fault.THROTTLED)
    await house.send(submit(2))
    await house.settle()
    house.clock.advance(5 * MINUTE)

    for _ in range(3):
        await house.sweeper.sweep()
        house.clock.advance(SECOND)
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]


async def test_what_runs_is_woken_also_where_the_configuration_is_broken_or_gone() -> None:
    for trouble in ("broken", "gone"):
        house = House()
        house.weather.script("stage", Fault.THROTTLED)
        await house.send(submit(2))
        await house.settle()
        lose_everything(house, COMMANDS_QUEUE)
        house.clock.advance(2 * MINUTE)
        specs = dict(house.configuration.specs)
        house.configuration.broken = trouble == "broken"
        if trouble == "gone":
            house.configuration.specs.clear()

        swept = await house.sweeper.sweep()
        await house.settle()

        assert swept.woken == (SHOP,)
        house.configuration.specs.update(specs)
        await house.run()
        assert [state for _, state in await house.ends()] == [State.SUCCEEDED]


# --- Polls ----------------------------------------------------------------------------------------


async def test_a_poll_that_was_lost_is_sent_again_once_it_is_overdue() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    assert lose_everything(house, OBSERVATIONS_QUEUE)
    house.clock.advance(90 * SECOND)

    swept = await house.sweeper.sweep()

    assert swept.restarted_polls == (WORKSPACE,)
    queries = house.telemetry.queries
    await house.settle()
    assert house.telemetry.queries == queries + 1
    assert (await house.sweeper.sweep()).restarted_polls == ()


async def test_a_workspace_that_nobody_watches_is_left_alone() -> None:
    house = await released()
    house.clock.advance(timedelta(days=1))

    assert (await house.sweeper.sweep()).restarted_polls == ()


# --- Dead letters ---------------------------------------------------------------------------------


async def given_up(house: House, body: bytes, session: str | None = SHOP) -> None:
    """Let the platform give up on a message."""
    await house.bus.send(
        [Message(queue=COMMANDS_QUEUE, session=session, body=body, id=f"m{house.bus.sent}")]
    )
    for _ in range(10):
        delivery = house.bus.receive(COMMANDS_QUEUE)
        assert delivery is not None
        house.bus.abandon(delivery)


async def test_a_dead_letter_is_kept_written_down_and_wakes_its_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    ticks = len(house.wake_ups())
    await given_up(house, b'{"command": "abort", "app": "shop"}')

    with caplog.at_level(logging.CRITICAL):
        swept = await house.sweeper.sweep()

    assert swept.dead_letters == 1
    (page,) = [r for r in await house.records() if r.kind == "page"]
    assert "command 'abort' was given up after 10 deliveries" in page.why
    (kept,) = house.bus.waiting(REJECTED_QUEUE)
    assert kept.body == b'{"command": "abort", "app": "shop"}'
    assert len(house.wake_ups()) == ticks + 1
    assert "gave up" in caplog.text
    assert (await house.sweeper.sweep()).dead_letters == 0
    await house.assert_chained()


@pytest.mark.parametrize(
    ("body", "session"),
    [(b"\xff", SHOP), (b"[1]", SHOP), (b"{}", SHOP), (b"{}", None), (b"[" * 100_000, SHOP)],
    ids=["bytes", "list", "empty", "no-session", "deep"],
)
async def test_rubbish_that_died_is_taken_too(body: bytes, session: str | None) -> None:
    house = await released()
    await given_up(house, body, session)

    assert (await house.sweeper.sweep()).dead_letters == 1
    assert len(house.bus.waiting(REJECTED_QUEUE)) == 1


async def test_a_dead_letter_for_an_app_that_never_was_is_kept_without_inventing_the_app() -> None:
    house = House()
    await given_up(house, b"{}", "ghost")

    assert (await house.sweeper.sweep()).dead_letters == 1
    assert await house.records(AppId("ghost")) == []


class Refuses:
    """A store that fails for one app, or a bus without dead letters, and works otherwise."""

    def __init__(self, port: Any, error: Exception, app: str = "") -> None:
        self._port, self._error, self._app = port, error, app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def load(self, app: AppId) -> Any:
        if app == self._app:
            raise self._error
        return await self._port.load(app)

    async def take_dead_letters(self, queue: str, *, limit: int) -> Sequence[Any]:
        if not self._app:
            raise self._error
        taken: Sequence[Any] = await self._port.take_dead_letters(queue, limit=limit)
        return taken


async def test_dead_letters_that_cannot_be_read_do_not_stop_the_sweep() -> None:
    house = await released()
    meddle(house)
    house.weather.script("take_dead_letters", Fault.TRANSIENT, Fault.TRANSIENT)

    assert (await house.sweeper.sweep()).drifted == (SHOP,)


# --- Drift ----------------------------------------------------------------------------------------


async def test_traffic_that_somebody_moved_is_told_once_a_day() -> None:
    house = await released()
    meddle(house)

    for _ in range(5):
        assert (await house.sweeper.sweep()).drifted == (SHOP,)
        house.clock.advance(MINUTE)
    assert len(await drift_records(house)) == 1
    house.clock.advance(timedelta(days=1))
    await house.sweeper.sweep()

    assert len(await drift_records(house)) == 2
    assert "blue 60 %" in (await drift_records(house))[0]
    await house.assert_chained()


async def test_a_build_that_somebody_put_where_users_are_is_told() -> None:
    """A late write, or a person, may change the image under a release that served long ago."""
    house = await released()
    state = await house.state()
    assert state.stable is not None
    serving = house.world.slot(house.configuration.specs[SHOP].target, state.stable.slot)
    serving.image = "registry.test/shop:latest"

    assert (await house.sweeper.sweep()).drifted == (SHOP,)
    assert "holds registry.test/shop:latest" in (await drift_records(house))[0]


async def test_of_many_apps_a_few_are_compared_at_a_time_and_all_of_them_in_turn() -> None:
    """A sweep's requests to Resource Manager do not grow with the number of apps."""
    names = [f"app-{number:03d}" for number in range(45)]
    house = House([spec(name) for name in names])
    for name in names:
        await house.send(submit(2, name))
    await house.run()
    for name in names:
        target = house.configuration.specs[AppId(name)].target
        house.world.write_rules(house.world.site(target), Routing())

    told: list[set[AppId]] = []
    for _ in range(3):
        told.append(set((await house.sweeper.sweep()).drifted))
        house.clock.advance(MINUTE)

    assert max(len(each) for each in told) == 20
    assert set().union(*told) == set(names)


async def test_drift_is_not_looked_for_while_a_rollout_runs_or_before_the_first() -> None:
    house = House()
    meddle(house, share=1)
    assert (await house.sweeper.sweep()).drifted == ()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    meddle(house)

    assert (await house.sweeper.sweep()).drifted == ()


async def test_all_is_well_so_nothing_is_written() -> None:
    house = await released()
    saves, sent = house.store.saves, dict(house.bus.sent)

    swept = await house.sweeper.sweep()

    assert (house.store.saves, dict(house.bus.sent)) == (saves, sent)
    assert (swept.woken, swept.drifted, swept.failed, swept.dead_letters) == ((), (), (), 0)


# --- What is old ----------------------------------------------------------------------------------


async def test_what_only_served_to_work_is_removed_after_a_month_in_small_bites() -> None:
    """Marks and buckets go; records, rollouts and kept evidence stay."""
    house = await released()
    (rollout,) = await house.rollouts()
    before = (len(await house.records()), len(house.evidence.documents))
    assert await house.store.was_seen(SHOP, "submit/push-2")
    house.clock.advance(timedelta(days=29))
    assert (await house.sweeper.sweep()).removed == 0
    house.clock.advance(timedelta(days=2))

    removed = (await house.sweeper.sweep()).removed

    assert removed > 0
    assert not await house.store.was_seen(SHOP, "submit/push-2")
    assert await house.store.buckets(SHOP, rollout.id) == []
    assert (len(await house.records()), len(house.evidence.documents)) == before
    assert [r.id for r in await house.rollouts()] == [rollout.id]
    assert (await house.sweeper.sweep()).removed == 0


async def test_every_app_gets_its_turn_of_tidying() -> None:
    house = await released(*"abcde")
    house.clock.advance(timedelta(days=31))

    for _ in range(60):
        await house.sweeper.sweep()
        house.clock.advance(MINUTE)

    assert [await house.store.was_seen(AppId(a), "submit/push-2") for a in "abcde"] == [False] * 5


async def test_tidying_that_fails_does_not_stop_the_sweep() -> None:
    house = await released()
    house.clock.advance(timedelta(days=31))
    house.weather.script("prune", Fault.TRANSIENT)
    meddle(house)

    assert (await house.sweeper.sweep()).drifted == (SHOP,)
    assert (await house.sweeper.sweep()).removed > 0


# --- One failure stays one ------------------------------------------------------------------------


async def test_an_app_that_fails_does_not_stop_the_others() -> None:
    house = await released("a", "b", "c")
    for app in ("a", "b", "c"):
        meddle(house, AppId(app))
    house.weather.script("read", Fault.TRANSIENT)

    swept = await house.sweeper.sweep()

    assert swept.failed == ("a",)
    assert swept.drifted == ("b", "c")


@pytest.mark.parametrize("error", [ValueError("row 7 is not a rollout"), KeyError("state")])
async def test_a_bug_met_by_one_app_does_not_stop_the_others(error: Exception) -> None:
    def wrap(ports: Ports) -> Ports:
        return replace(ports, store=Refuses(ports.store, error, "b"))

    house = House([spec(app) for app in ("a", "b", "c")], wrap=wrap)
    house.world.site(spec("c").target).slots[PRODUCTION].running = True
    await house.send(submit(2, "a"), submit(2, "c"))
    await house.run()
    for app in ("a", "c"):
        meddle(house, AppId(app))

    swept = await house.sweeper.sweep()

    assert swept.failed == ("b",)
    assert swept.drifted == ("a", "c")


async def test_a_workspace_that_fails_does_not_stop_the_others() -> None:
    base = spec("a")
    second = replace(base.analysis, workspace="zzz")
    house = House([base, replace(spec("b"), analysis=second)])
    await house.send(submit(2, "a"), submit(2, "b"))
    await house.run_to(State.OBSERVING, app=AppId("b"))
    lose_everything(house, OBSERVATIONS_QUEUE)
    house.clock.advance(2 * MINUTE)
    house.weather.script("load_watch", Fault.TRANSIENT)

    assert (await house.sweeper.sweep()).restarted_polls == ("zzz",)


async def test_a_dead_letter_that_cannot_be_mourned_does_not_silence_the_next() -> None:
    house = await released("a", "b")
    await given_up(house, b'{"command": "submit"}', "a")
    await given_up(house, b'{"command": "submit"}', "b")
    house.weather.script("load", Fault.TRANSIENT)

    await house.sweeper.sweep()

    pages = [r for app in ("a", "b") for r in await house.records(AppId(app)) if r.kind == "page"]
    assert len(pages) == 1
