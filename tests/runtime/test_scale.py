"""Many rollouts at once in one process, and many messages for one app."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

from controller.core.model import State
from controller.core.plan import AppId, AppSpec
from controller.runtime.messages import COMMANDS_QUEUE, SubmitBody, TickBody
from tests.runtime.kit import REGISTRY, SECOND, SHOP, Habit, House, digest, spec, steps, submit

APPS = 200
EVERY_TENTH = 10  # build is bad


def crowded(number: int) -> AppSpec:
    base = spec(f"app-{number}", 50)
    quick = tuple(replace(s, min_observation=15 * SECOND) for s in steps(50))
    return replace(base, strategy=replace(base.strategy, steps=quick, bake=15 * SECOND))


def number_of(app: str) -> int:
    return int(app.removeprefix("app-"))


def new_image(number: int) -> int:
    return 100_000 + number


async def crowd(count: int) -> House:
    house = House(
        [crowded(n) for n in range(count)],
        breath=15 * SECOND,
        rows=10,
        first=lambda app: 10_000 + number_of(app),
    )
    for n in range(count):
        house.registry.push(REGISTRY, f"app-{n}", digest(new_image(n)))
        if n % EVERY_TENTH == 0:
            house.habits[digest(new_image(n))] = Habit(failing=0.5)
    await house.send(*(submit(new_image(n), f"app-{n}") for n in range(count)))
    await house.run()
    return house


async def test_hundreds_of_rollouts_at_once_all_end_as_they_should() -> None:
    """Each app ends with its own build or its old one; no app's trouble is another's."""
    house = await crowd(APPS)

    for n in range(APPS):
        app = AppId(f"app-{n}")
        is_bad = n % EVERY_TENTH == 0
        serving = 10_000 + n if is_bad else new_image(n)
        assert [s for _, s in await house.ends(app)] == [
            State.ROLLED_BACK if is_bad else State.SUCCEEDED
        ]
        assert list(house.users_get(app).values()) == [(100, digest(serving))]


async def test_the_telemetry_costs_the_same_for_a_hundred_apps_as_for_ten() -> None:
    """Beside the queries that each PREFLIGHT makes, polls alone are counted."""
    ten, hundred = await crowd(10), await crowd(100)

    asked_at_once = 3  # the trial, the last hour and, as that had nothing, the last day
    assert (
        hundred.telemetry.queries - 100 * asked_at_once
        == ten.telemetry.queries - 10 * asked_at_once
    )
    assert hundred.bus.sent[COMMANDS_QUEUE] == ten.bus.sent[COMMANDS_QUEUE] * 10


async def test_two_thousand_repeated_reordered_messages_make_no_second_rollout() -> None:
    """Submits and ticks of all ages in any order and number: each push is one rollout."""
    dice = random.Random(7)  # noqa: S311 - not for secrets
    pushes: list[SubmitBody] = [submit(n) for n in (2, 3, 4)]
    house = House()
    deliveries: list[Any] = [*pushes]
    seen: list[TickBody] = []

    for turn in range(2_000):
        body: Any
        if deliveries and turn % 400 == 0:
            body = deliveries.pop(0)
        elif seen and dice.random() < 0.5:
            body = dice.choice(seen)
        else:
            body = dice.choice(pushes[: len(pushes) - len(deliveries)])
        await house.engine.handle(body, redelivered=dice.random() < 0.5)
        if turn % 5 == 0:
            seen += [tick for tick in house.wake_ups() if tick not in seen]
        if dice.random() < 0.2:
            await house.run_for(2 * SECOND)
    await house.run()

    rollouts = await house.rollouts()
    assert Counter(r.image.digest for r in rollouts) == {digest(n): 1 for n in (2, 3, 4)}
    assert rollouts[-1].state is State.SUCCEEDED
    assert house.users_get(SHOP).popitem()[1] == (100, digest(4))
    await house.assert_chained()
