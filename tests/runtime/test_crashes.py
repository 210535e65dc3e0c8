"""A crash between any two I/O calls, and the outcome is as if it had not been."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.model import State
from tests.runtime.kit import SECOND, Habit, House, Killed, Striker, digest, spec, steps, submit


@dataclass(frozen=True)
class Outcome:
    """Everything that must not depend on where somebody pulled the plug."""

    ends: list[tuple[str, State]]
    way: list[State]
    users_get: dict[str, tuple[int, str]]
    slots: dict[str, tuple[str, str | None]]
    releases: list[str]
    quarantine: list[str]
    routing: str


class Unforeseen(Exception):  # noqa: N818 - it is what it says
    """A bug, or what no adapter translated."""


QUICK = spec()
QUICK = replace(
    QUICK,
    strategy=replace(
        QUICK.strategy,
        steps=tuple(replace(s, min_observation=15 * SECOND) for s in steps(50)),
        bake=10 * SECOND,
    ),
)


async def play(striker: Striker, habit: Habit) -> House:
    house = House([QUICK], wrap=striker.between)
    house.habits[digest(2)] = habit
    await house.send(submit(2))
    await house.run()
    return house


async def outcome(house: House) -> Outcome:
    await house.assert_chained()
    assert await house.active() is None
    assert house.bus.next_due() is None
    state = await house.state()
    slots = house.world.site(QUICK.target).slots.values()
    return Outcome(
        ends=await house.ends(),
        way=await house.way(),
        users_get=house.users_get(),
        slots={s.name: (s.image, s.release) for s in slots},
        releases=[r.image.digest for r in state.releases],
        quarantine=[q.digest for q in state.quarantine],
        routing=str(state.routing),
    )


async def duration(house: House) -> timedelta:
    (rollout,) = await house.rollouts()
    assert rollout.ended_at is not None
    return rollout.ended_at - rollout.created_at


_LATE = timedelta(seconds=30)  # a pause before the next try, or a poll that nobody heard of
WAYS = {"good": (Habit(), State.SUCCEEDED), "bad": (Habit(failing=0.5), State.ROLLED_BACK)}
STRIKES: dict[str, dict[str, Any]] = {
    "killed-before": {"after": False, "error": Killed},
    "killed-after": {"after": True, "error": Killed},
    "unforeseen-before": {"after": False, "error": Unforeseen},
    "unforeseen-after": {"after": True, "error": Unforeseen},
}
STRUCK = {  # which calls of all
    "killed-before": slice(0, None, 9),
    "killed-after": slice(None),
    "unforeseen-before": slice(1, None, 4),
    "unforeseen-after": slice(3, None, 4),
}


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("way", WAYS)
async def test_whatever_call_strikes_the_outcome_is_the_same(way: str, strike: str) -> None:
    """Every I/O call of a rollout in turn ends badly once; the message is delivered again.

    A kill before a call is one after the call before it: of those a few are enough. An error that
    nobody foresaw takes the same way back as a kill: every second call, before it or after.
    """
    habit, end = WAYS[way]
    counted = Striker()
    undisturbed = await play(counted, habit)
    expected, took = await outcome(undisturbed), await duration(undisturbed)
    assert [state for _, state in expected.ends] == [end]
    assert len(counted.calls) > 100

    for number, name in list(enumerate(counted.calls))[STRUCK[strike]]:
        striker = Striker(at=number, **STRIKES[strike])
        house = await play(striker, habit)

        assert len(striker.calls) > number, f"call {number} was never reached again"
        assert await outcome(house) == expected, f"call {number}: {name}"
        assert await duration(house) <= took + _LATE, f"call {number}: {name}"
