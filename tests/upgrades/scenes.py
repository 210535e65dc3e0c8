"""Rollouts that are cut off in each state: what lies in table and queues when a process ends there.

The controller runs over a world in memory, its store may be a real one. The same scene always comes
to the same place, so that what an older version left can be put where the present one would be.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from controller.adapters.memory.database import MemoryBundle, MemoryMigration
from controller.adapters.memory.world import Weather
from controller.core.data import DatabaseSpec
from controller.core.model import AppState, Rollout, State, SwapStage
from controller.core.plan import Approval, ApprovalPoint, AppSpec, SlotName, StrategyKind
from controller.migrations.bundle import Kind
from controller.runtime.messages import OrderBody, RetryBody, RollbackBody
from tests.runtime.kit import (
    MINUTE,
    SECOND,
    SHOP,
    Habit,
    House,
    Killed,
    Ports,
    digest,
    spec,
    steps,
    submit,
)

S = State
BAD, SILENT = Habit(failing=0.5), Habit(silent=True)
When = Callable[[AppState, Sequence[Rollout]], bool]


class Stop:
    """Stands before a store, and ends the process once, after the save that *when* waits for.

    Args:
        when: what the saved state looks like.
        store: the store; None: the one that the house has.
    """

    def __init__(self, when: When, store: Any = None) -> None:
        self.when = when
        self.store = store
        self.fired = False
        self.weather = Weather()

    def between(self, ports: Ports) -> Ports:
        self.store = self.store or ports.store
        return replace(ports, store=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def save(self, loaded: Any, state: AppState, records: Any, **more: Any) -> Any:
        saved = await self.store.save(loaded, state, records, **more)
        if not self.fired and self.when(state, more.get("ended", ())):
            self.fired = True
            raise Killed("the process ends here")
        return saved


def quick(**changes: Any) -> AppSpec:
    """Return an app whose rollouts take one step."""
    base = spec()
    short = tuple(replace(each, min_observation=15 * SECOND) for each in steps(50))
    strategy = replace(base.strategy, steps=short, bake=10 * SECOND)
    return replace(base, strategy=replace(strategy, **changes))


def with_database(*migrations: MemoryMigration) -> Callable[[Stop], House]:
    def build(stop: Stop) -> House:
        house = house_of(replace(quick(), database=DatabaseSpec(connection="shop-db")))(stop)
        house.database.bundles[digest(2)] = MemoryBundle(migrations=migrations)
        return house

    return build


def swapping(stop: Stop) -> House:
    base = quick(kind=StrategyKind.SWAP)
    app = replace(base, target=replace(base.target, slots=(SlotName("staging"),)))
    house = house_of(app)(stop)
    house.world.site(app.target).sticky = frozenset()
    return house


def house_of(
    app: AppSpec | None = None, habits: Mapping[str, Habit] | None = None
) -> Callable[[Stop], House]:
    def build(stop: Stop) -> House:
        house = House([app or quick()], wrap=stop.between, habits=dict(habits or {}))
        house.store = stop  # type: ignore[assignment]  # reads what the controller wrote
        return house

    return build


async def a_push(house: House) -> None:
    await house.send(submit(2))


async def pushes_behind(house: House) -> None:
    """A second build waits behind the first, and a third takes its place."""
    await house.send(submit(2))
    await house.run_to(S.OBSERVING)
    await house.send(submit(3))
    await house.settle()
    await house.send(submit(4))


async def a_pause(house: House) -> None:
    await house.send(submit(2))
    await house.run_to(S.OBSERVING)
    await house.send(order("pause"))


def order(command: str) -> OrderBody:
    given = {"app": SHOP, "command": command, "by": "ann", "id": command, "reason": "seen"}
    return OrderBody.model_validate(given)


BACK = RollbackBody(app=SHOP, id="back", by="ann", reason="customers call")
AGAIN = RetryBody(app=SHOP, id="again", by="ann", reason="mended", digest=digest(2))


_PLAIN = house_of()


@dataclass(frozen=True)
class Scene:
    """How to come to a place, what that place is, and what people do from there."""

    name: str
    when: When
    house: Callable[[Stop], House] = _PLAIN
    begin: Callable[[House], Awaitable[None]] = a_push
    then: Sequence[Any] = field(default=())

    async def reach(self, store: Any = None) -> House:
        """Return the house as the process ends; *store* keeps its state, if given."""
        stop = Stop(self.when, store)
        house = self.house(stop)
        await self.begin(house)
        for _ in range(5_000):
            if stop.fired:
                return house
            if not await house.deliver_one():
                due = house.bus.next_due()
                assert due is not None, f"{self.name} is never reached"
                house.let_users_ask_until(due)
        raise AssertionError(f"{self.name} is never reached")

    async def finish(self, house: House) -> list[list[str]]:
        """Let another process go on to the end; return how each rollout ended."""
        if self.then:
            await house.run_for(timedelta(minutes=1))
            await house.send(*self.then)
        await house.run()
        return [[tag, str(state)] for tag, state in await house.ends()]


def at(state: State) -> When:
    return lambda saved, _: saved.active is not None and saved.active.state is state


def over(state: State) -> When:
    return lambda _, ended: any(each.state is state for each in ended)


def swap_at(stage: SwapStage) -> When:
    def is_there(saved: AppState, _: Sequence[Rollout]) -> bool:
        swap = saved.active.swap if saved.active else None
        return swap is not None and swap.stage is stage

    return is_there


ADD = MemoryMigration(id="0001_add")
DROP = MemoryMigration(id="0002_drop", kind=Kind.CONTRACT)
BEFORE = Approval(point=ApprovalPoint.BEFORE_CANARY, limit=60 * MINUTE)

SCENES = {
    scene.name: scene
    for scene in (
        Scene("queued", at(S.QUEUED)),
        Scene("waiting_behind", lambda saved, _: bool(saved.queued), begin=pushes_behind),
        Scene("preflight", at(S.PREFLIGHT)),
        Scene("backup", at(S.BACKUP), with_database(ADD)),
        Scene("migrating", at(S.MIGRATING), with_database(ADD)),
        Scene("staging", at(S.STAGING)),
        Scene("warming", at(S.WARMING)),
        Scene(
            "approval", at(S.APPROVAL), house_of(quick(approval=BEFORE)), then=[order("approve")]
        ),
        Scene("shifting", at(S.SHIFTING)),
        Scene("observing", at(S.OBSERVING)),
        Scene("promoting", at(S.PROMOTING)),
        Scene("swap_sending", swap_at(SwapStage.SENDING), swapping),
        Scene("swap_following", swap_at(SwapStage.FOLLOWING), swapping),
        Scene("baking", at(S.BAKING)),
        Scene(
            "held",
            at(S.HELD),
            house_of(habits={digest(1): SILENT, digest(2): SILENT}),
            then=[order("abort")],
        ),
        Scene("paused", at(S.HELD), begin=a_pause, then=[order("resume")]),
        Scene("rolling_back", at(S.ROLLING_BACK), house_of(habits={digest(2): BAD})),
        Scene("succeeded", over(S.SUCCEEDED), then=[BACK]),
        Scene("rolled_back", over(S.ROLLED_BACK), house_of(habits={digest(2): BAD}), then=[AGAIN]),
        Scene("rejected", over(S.REJECTED), with_database(DROP), then=[AGAIN]),
        Scene("superseded", over(S.SUPERSEDED), begin=pushes_behind),
    )
}
