"""Strategy `swap` under the whole controller: whatever strikes, one swap there and one back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.activities.swap import LANDS_WITHIN
from controller.adapters.memory.world import Fault
from controller.core.model import State
from controller.core.plan import AppSpec, Routing, SlotName, StrategyKind
from controller.runtime.messages import RollbackBody
from tests.runtime.kit import (
    PRODUCTION,
    SECOND,
    Habit,
    House,
    Killed,
    Striker,
    digest,
    image,
    spec,
    steps,
    submit,
)

STAGING = SlotName("staging")
BAD = Habit(failing=0.5)


def swapping() -> AppSpec:
    base = spec()
    strategy = replace(
        base.strategy,
        kind=StrategyKind.SWAP,
        steps=tuple(replace(s, min_observation=15 * SECOND) for s in steps(20)),
        bake=10 * SECOND,
    )
    return replace(base, strategy=strategy, target=replace(base.target, slots=(STAGING,)))


SWAP = swapping()


def house_of(app: AppSpec = SWAP, **changes: Any) -> House:
    house = House([app], **changes)
    house.world.site(SWAP.target).sticky = frozenset()
    return house


def bad_in_production(house: House) -> None:
    """Let users of the canary be fine, and those of production not: its settings break it."""
    report = house.let_users_ask_until

    def asking(at: Any) -> None:
        held = house.world.slot(SWAP.target, PRODUCTION).serving
        is_there = held is not None and held.release == digest(2)
        house.habits[digest(2)] = BAD if is_there else Habit()
        report(at)

    house.let_users_ask_until = asking  # type: ignore[method-assign]


def holds(house: House) -> dict[str, str]:
    slots = house.world.site(SWAP.target).slots.values()
    return {slot.name: slot.image for slot in slots}


NEW, OLD = image(2).reference, image(1).reference
EXCHANGED, AS_BEFORE = {PRODUCTION: NEW, STAGING: OLD}, {PRODUCTION: OLD, STAGING: OLD}


async def test_a_healthy_build_is_swapped_into_production_once() -> None:
    """Canary by rules, rules cleared, one swap, everyone served from production."""
    house = house_of()
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.SUCCEEDED)]
    assert house.world.swaps_sent == 1
    assert holds(house) == EXCHANGED
    assert house.users_get() == {PRODUCTION: (100, digest(2))}
    state = await house.state()
    assert state.stable is not None
    assert state.stable.slot == PRODUCTION
    assert state.routing == Routing()


async def test_a_build_that_is_bad_in_production_is_swapped_back() -> None:
    """Evidence of the bake takes it back: by a second swap, and the slot is refilled."""
    house = house_of()
    bad_in_production(house)
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.ROLLED_BACK)]
    assert house.world.swaps_sent == 2
    assert holds(house) == AS_BEFORE
    assert house.users_get() == {PRODUCTION: (100, digest(1))}


async def test_a_person_goes_back_by_a_swap_to_the_release_before() -> None:
    """The slot still holds the release before: one swap, and the bad one leaves the slot, too."""
    house = house_of()
    await house.send(submit(2))
    await house.run()
    await house.send(RollbackBody(app=SWAP.id, id="r", by="ann", reason="customers call"))
    await house.run()

    assert [state for _, state in await house.ends()] == [State.SUCCEEDED, State.SUCCEEDED]
    assert house.world.swaps_sent == 2
    assert holds(house) == AS_BEFORE
    assert house.users_get() == {PRODUCTION: (100, digest(1))}


# What strikes the one request for the swap -> requests sent in the end.
FAULTS = {
    Fault.TRANSIENT: 2,  # nothing happened, but nobody said so: it is looked for, then sent again
    Fault.THROTTLED: 2,
    Fault.LOST_RESPONSE: 1,
    Fault.LATE: 1,
    Fault.UNDONE: 2,
    Fault.CUT_SHORT: 3,  # the second meets the lock that the first left
    Fault.SOMEBODY_ELSE: 2,
    Fault.LOCKED: 2,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_strikes_the_request_does_not_swap_twice(fault: Fault) -> None:
    """Lost, late, refused, undone, locked: in the end there was one exchange."""
    house = house_of()
    house.weather.script("swap", fault)
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.SUCCEEDED)]
    assert holds(house) == EXCHANGED
    assert house.world.swaps_sent == FAULTS[fault]
    assert sum("swap staging" in write for write in house.world.writes) <= 2


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.PERMANENT])
async def test_a_swap_that_cannot_be_ends_where_it_began(fault: Fault) -> None:
    """The build does not come up under production's settings, or Slipway may not swap."""
    house = house_of()
    house.weather.script("swap", fault)
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.ROLLED_BACK)]
    assert holds(house) == AS_BEFORE
    assert house.users_get() == {PRODUCTION: (100, digest(1))}


@pytest.mark.parametrize("faults", [(Fault.UNDONE,) * 3, (Fault.PERMANENT,)], ids=["undone", "no"])
async def test_where_no_swap_brings_it_back_the_stable_image_is_put_there(
    faults: tuple[Fault, ...],
) -> None:
    """A platform that cannot swap does not keep users on the bad build; a human is paged."""
    house = house_of()
    bad_in_production(house)
    house.weather.script("swap", None, *faults)
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.ROLLED_BACK)]
    assert holds(house) == AS_BEFORE
    assert house.users_get() == {PRODUCTION: (100, digest(1))}
    assert "page" in {record.kind for record in await house.records()}


_LATE = LANDS_WITHIN + timedelta(minutes=1)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("is_bad", [False, True], ids=["good", "bad"])
async def test_a_kill_at_any_call_swaps_no_second_time(*, is_bad: bool, after: bool) -> None:
    """The process dies at every I/O call in turn; the outcome and the exchanges are the same.

    From just before the first request on: until then both strategies are alike. A kill before a
    call is one after the call before it: of those every third is enough.
    """
    counted = Striker()
    expected = await played(counted, is_bad=is_bad)
    begins = counted.calls.index("swapper.begin") - 6
    for number, name in list(enumerate(counted.calls))[begins :: 1 if after else 3]:
        striker = Striker(at=number, after=after, error=Killed)
        house = await played(striker, is_bad=is_bad)

        assert await house.ends() == await expected.ends(), f"call {number}: {name}"
        assert holds(house) == holds(expected), f"call {number}: {name}"
        assert house.users_get() == expected.users_get(), f"call {number}: {name}"
        assert house.world.swaps_sent == expected.world.swaps_sent, f"call {number}: {name}"


async def played(striker: Striker, *, is_bad: bool) -> House:
    house = house_of(wrap=striker.between)
    if is_bad:
        bad_in_production(house)
    await house.send(submit(2))
    await house.run()
    return house


async def test_traffic_that_somebody_moved_is_put_back_while_it_bakes() -> None:
    """A rule that lands late, or that a person writes, would send users to the old build."""
    house = house_of(replace(SWAP, strategy=replace(SWAP.strategy, bake=timedelta(minutes=5))))
    await house.send(submit(2))
    await house.run_to(State.BAKING)
    house.world.write_rules(house.world.site(SWAP.target), Routing(((STAGING, 50),)))  # type: ignore[arg-type]
    await house.run()

    assert house.users_get() == {PRODUCTION: (100, digest(2))}


async def test_a_lost_request_is_sent_again_only_when_it_can_no_longer_land() -> None:
    """Between the two requests lies the time within which the first would have shown itself."""
    house = house_of()
    house.weather.script("swap", Fault.TRANSIENT)
    await house.send(submit(2))
    await house.run()

    moves = [r for r in await house.records() if r.what == "SwapBegun"]
    assert len(moves) == 2
    assert moves[1].at - moves[0].at >= LANDS_WITHIN
