"""Orders, wake-ups, conflicts: what the engine owes whatever arrives."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import ConfigurationError, TransientError, UnknownAppError
from controller.core.events import NotYet
from controller.core.model import Record, State
from controller.core.plan import Approval, ApprovalPoint, Hold
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    REJECTED_QUEUE,
    ObservedBody,
    OrderBody,
    RollbackBody,
    TickBody,
)
from tests.runtime.kit import (
    MINUTE,
    SECOND,
    SHOP,
    Habit,
    House,
    Ports,
    Striker,
    digest,
    spec,
    submit,
)


def order(command: str, **changes: Any) -> OrderBody:
    return OrderBody.model_validate({"app": SHOP, "command": command, "by": "ann"} | changes)


def approving() -> Any:
    base = spec()
    approval = Approval(point=ApprovalPoint.BEFORE_CANARY)
    return replace(base, strategy=replace(base.strategy, approval=approval))


# --- Wake-ups -------------------------------------------------------------------------------------


async def test_no_state_is_left_without_its_wake_up() -> None:
    """After every single message the app's next tick is on the queue, due when it should be."""
    house = House([approving()])
    await house.send(submit(2))
    seen: set[State] = set()
    for _ in range(200):
        while await house.deliver_one():
            await house.assert_awake()
        active = await house.active()
        if active is None:
            break
        if active.state is State.APPROVAL and active.state not in seen:
            await house.send(order("approve"))
        seen.add(active.state)
        due = house.bus.next_due()
        assert due is not None
        house.let_users_ask_until(due)

    assert seen == {State.WARMING, State.APPROVAL, State.OBSERVING, State.BAKING}
    assert (await house.ends())[0][1] is State.SUCCEEDED


async def test_an_early_wake_up_is_owed_again() -> None:
    """A clock that runs ahead in the queue's house must not put a rollout to sleep."""
    house = House([approving()])
    await house.send(submit(2))
    waiting = await house.run_to(State.APPROVAL)

    for _ in range(3):
        house.clock.advance(SECOND)
        await house.engine.handle(TickBody(app=SHOP, rollout=waiting.id, turn=waiting.turn))

    ticks = [t for t in house.wake_ups() if t.turn == waiting.turn]
    assert len(ticks) == 1 + 3
    assert await house.active() == waiting


async def test_a_stale_wake_up_changes_nothing_and_owes_nothing() -> None:
    house = House([approving()])
    await house.send(submit(2))
    waiting = await house.run_to(State.APPROVAL)
    before, saves = house.wake_ups(), house.store.saves

    for turn in (0, waiting.turn - 1, waiting.turn + 1):
        await house.engine.handle(TickBody(app=SHOP, rollout=waiting.id, turn=turn))
    await house.engine.handle(TickBody(app=SHOP, rollout="another", turn=waiting.turn))

    assert house.wake_ups() == before
    assert house.store.saves == saves


async def test_a_tick_without_a_name_wakes_whatever_runs() -> None:
    house = House([approving()])
    await house.send(submit(2))
    waiting = await house.run_to(State.APPROVAL)
    before = len(house.wake_ups())

    house.clock.advance(SECOND)
    await house.engine.handle(TickBody(app=SHOP))

    assert len(house.wake_ups()) == before + 1
    assert await house.active() == waiting


async def test_a_tick_for_an_app_without_a_rollout_does_nothing() -> None:
    house = House()

    await house.engine.handle(TickBody(app=SHOP, rollout="gone", turn=3))
    await house.engine.handle(TickBody(app="nobody"))

    assert house.store.saves == 0


# --- Once, in effect ------------------------------------------------------------------------------


async def test_the_same_order_again_is_not_taken_twice() -> None:
    house = House()
    for _ in range(3):
        await house.engine.handle(submit(2))

    assert len(await house.rollouts()) == 1
    assert [r.kind for r in await house.records()].count("submitted") == 1


async def test_the_same_digest_under_another_id_is_recorded_and_ignored() -> None:
    house = House()
    await house.engine.handle(submit(2))
    await house.engine.handle(submit(2, id="other"))

    assert len(await house.rollouts()) == 1
    assert "on its way" in next(r for r in await house.records() if r.kind == "ignored").why


async def test_one_id_under_two_commands_is_two_orders() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)

    await house.engine.handle(order("pause", id="same"))
    await house.engine.handle(order("resume", id="same"))

    assert [r.what for r in await house.records()].count("Pause") == 1
    assert [r.what for r in await house.records()].count("Resume") == 1


async def test_news_for_a_rollout_that_is_over_change_nothing() -> None:
    house = House()
    await house.send(submit(2))
    await house.run()
    before = await house.state()

    (over,) = await house.rollouts()
    await house.engine.handle(ObservedBody(app=SHOP, rollout=over.id, workspace="workspace"))

    assert await house.state() == before


# --- Conflicts ------------------------------------------------------------------------------------


class Meddler:
    """Somebody else who saves the app's state just before the controller does."""

    def __init__(self, store: Any, times: int, skip: int = 0) -> None:
        self._store, self.times, self.skip = store, times, skip

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def save(self, loaded: Any, state: Any, records: Any, **more: Any) -> Any:
        if self.skip > 0:
            self.skip -= 1
        elif self.times > 0:
            self.times -= 1
            current = await self._store.load(state.app)
            note = Record(at=records[0].at, rollout=None, kind="drift", what="sweep", why="noted")
            changed = replace(current.state, sequence=current.state.sequence + 1)
            await self._store.save(current, changed, [note])
        return await self._store.save(loaded, state, records, **more)


def meddled(times: int, skip: int = 0) -> House:
    def wrap(ports: Ports) -> Ports:
        return replace(ports, store=Meddler(ports.store, times, skip))

    return House(wrap=wrap)


@pytest.mark.parametrize("skip", range(12))
async def test_a_concurrent_writer_is_met_by_deciding_again(skip: int) -> None:
    """Whichever save meets it, nothing of either writer is lost, and the next tick is owed."""
    house = meddled(2, skip)
    await house.send(submit(2))
    for _ in range(60):
        while await house.deliver_one():
            await house.assert_awake()
        due = house.bus.next_due()
        if due is None:
            break
        house.let_users_ask_until(due)

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED]
    await house.assert_chained()
    assert [r.kind for r in await house.records()].count("drift") == 2


async def test_conflicts_are_met_a_bounded_number_of_times() -> None:
    house = meddled(1000)

    with pytest.raises(TransientError, match="conflict 5 times"):
        await house.engine.handle(submit(2))

    assert await house.rollouts() == []


# --- What nobody foresaw --------------------------------------------------------------------------


class Broken:
    """A port with a bug."""

    def __init__(self, port: Any, *operations: str) -> None:
        self._port, self.operations = port, operations

    def __getattr__(self, name: str) -> Any:
        if name in self.operations:
            return self._fail
        return getattr(self._port, name)

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise KeyError("properties")


@pytest.mark.parametrize(
    ("port", "operation", "end"),
    [
        ("platform", "read", State.REJECTED),
        ("platform", "stage", State.ROLLED_BACK),
        ("prober", "smoke", State.SUCCEEDED),
        ("telemetry", "observe", State.REJECTED),
    ],
)
async def test_a_bug_in_an_activity_counts_as_not_yet_until_the_deadline(
    port: str, operation: str, end: State
) -> None:
    broken: list[Broken] = []

    def wrap(ports: Ports) -> Ports:
        broken.append(Broken(getattr(ports, port), operation))
        return replace(ports, **{port: broken[0]})

    house = House(wrap=wrap)
    await house.send(submit(2))
    await house.run_for(12 * MINUTE)
    broken[0].operations = ()
    await house.run()

    assert [state for _, state in await house.ends()] == [end]
    tries = [r for r in await house.records() if r.what == NotYet.__name__]
    assert all("KeyError" in r.why for r in tries)
    assert bool(tries) == (end is not State.SUCCEEDED)


@pytest.mark.parametrize("operation", ["buckets", "keep"])
async def test_a_bug_before_the_judge_does_not_outlast_the_deadline(operation: str) -> None:
    """A rollout whose evidence cannot be read or kept is held for a human, not for ever."""

    def wrap(ports: Ports) -> Ports:
        return replace(
            ports,
            store=Broken(ports.store, operation),
            evidence=Broken(ports.evidence, operation),
        )

    base = spec()
    house = House(
        [replace(base, strategy=replace(base.strategy, hold=Hold(limit=3 * MINUTE)))], wrap=wrap
    )
    await house.send(submit(2))
    await house.run()

    assert [state for _, state in await house.ends()] == [State.ROLLED_BACK]
    assert State.HELD in await house.way()


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.LOST_RESPONSE])
async def test_a_bad_build_goes_back_also_where_its_evidence_cannot_be_kept(fault: Fault) -> None:
    house = House()
    house.habits[digest(2)] = Habit(failing=1.0)
    house.weather.script("keep", *(fault,) * 500)
    await house.send(submit(2))
    await house.run()

    way = await house.way()
    assert way[-2:] == [State.ROLLING_BACK, State.ROLLED_BACK]
    assert State.HELD not in way
    (judged,) = [r for r in await house.records() if r.what == "Judged"]
    assert judged.evidence is None
    assert judged.numbers["canary_failed"]


async def test_a_good_build_waits_until_its_evidence_can_be_kept() -> None:
    """What cannot be re-computed later is not decided now, where nothing burns."""
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.weather.script("keep", *(Fault.TRANSIENT,) * 2)
    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED
    judged = [r for r in await house.records() if r.what == "Judged"]
    assert all(r.evidence for r in judged)


# --- The configuration under a rollout ------------------------------------------------------------


async def test_a_configuration_that_breaks_does_not_stop_what_runs() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.configuration.broken = True

    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED


@pytest.mark.parametrize("trouble", ["broken", "vanished"])
@pytest.mark.parametrize(
    "body", [order("abort"), RollbackBody(app=SHOP, by="ann", reason="bad")], ids=["abort", "back"]
)
async def test_people_reach_a_rollout_whose_configuration_is_gone(
    trouble: str, body: OrderBody | RollbackBody
) -> None:
    """A rollout carries its own copy: what it accepted can be called off by it."""
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    if trouble == "broken":
        house.configuration.broken = True
    else:
        house.configuration.specs = {}

    await house.send(body)
    house.clock.advance(MINUTE)
    await house.settle()

    assert (await house.ends())[0][1] in {State.ROLLED_BACK, State.ROLLING_BACK}
    await house.run()
    assert (await house.ends())[0][1] is State.ROLLED_BACK


async def test_a_push_for_an_app_that_is_gone_is_rejected_with_words() -> None:
    house = House()
    await house.send(submit(2, app="ghost"))
    await house.settle()

    (rejected,) = house.bus.waiting(REJECTED_QUEUE)
    assert "ghost" in rejected.properties["reason"]
    with pytest.raises(UnknownAppError, match="ghost"):
        await house.engine.handle(submit(2, app="ghost"))


async def test_a_push_while_the_configuration_is_broken_is_not_taken_and_not_forgotten() -> None:
    house = House()
    house.configuration.broken = True

    with pytest.raises(ConfigurationError):
        await house.engine.handle(submit(2))
    house.configuration.broken = False
    await house.engine.handle(submit(2))

    assert len(await house.rollouts()) == 1


async def test_a_new_configuration_does_not_move_the_ground_under_a_rollout() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.configuration.specs[spec().id] = spec(SHOP, 1, 2, 3, 4)

    await house.run()

    assert (await house.way()).count(State.SHIFTING) == 1


# --- Counted --------------------------------------------------------------------------------------


async def test_a_rollout_costs_a_bounded_number_of_calls() -> None:
    """Messages, transactions and platform calls of one good rollout: constants of its plan."""
    striker = Striker()
    house = House(wrap=striker.between)
    await house.send(submit(2))
    await house.run()

    calls = striker.calls
    assert house.bus.sent[COMMANDS_QUEUE] <= 20
    assert house.store.saves <= 25
    assert sum(c.startswith("platform.") for c in calls) <= 20
    assert calls.count("telemetry.observe") <= 12


async def test_a_busy_platform_is_asked_when_it_says_and_not_sooner() -> None:
    house = House()
    house.weather.script("stage", Fault.THROTTLED)
    await house.engine.handle(submit(2))
    busy = await house.active()
    assert busy is not None
    assert busy.ask_at == house.clock.now() + timedelta(seconds=7)
    writes = list(house.world.writes)

    await house.engine.handle(TickBody(app=SHOP))

    assert house.world.writes == writes
