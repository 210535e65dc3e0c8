"""Notices of a few pushes, over and over, in any order, through the real doors."""

import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

from controller.adapters.memory.clock import START
from controller.adapters.memory.world import Fault
from controller.core.model import State
from controller.core.plan import AppId
from controller.entry.intake import Intake
from controller.entry.registries.pushes import Push
from tests.runtime.kit import MINUTE, REGISTRY, SECOND, House, digest, spec, steps

PUSHES = 8  # per app: images 2 to 9
APPS = ("shop", "till", "blog")
NEWEST = PUSHES + 1
_READS = frozenset({"read", "hosts", "instances", "log_tail"})


@dataclass
class Replayed:
    """What came of it."""

    events: int
    rollouts: Counter[str] = field(default_factory=Counter[str])  # by app and digest
    ends: Counter[State] = field(default_factory=Counter[State])
    serving: dict[str, str] = field(default_factory=dict[str, str])  # release, by app
    reads: int = 0  # of the platform
    writes: int = 0
    cpu_seconds: float = 0.0  # of the doors and the engine

    @property
    def duplicates(self) -> int:
        """Rollouts beyond the first of a digest."""
        return sum(count - 1 for count in self.rollouts.values())

    @property
    def calls_per_rollout(self) -> float:
        """Reads and writes of the platform, per rollout."""
        return (self.reads + self.writes) / self.rollouts.total()


async def replay(events: int, *, seed: int = 7) -> Replayed:
    """Tell of the pushes *events* times and let everything come to rest."""
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    quick = tuple(replace(s, min_observation=15 * SECOND) for s in steps(50))
    plain = spec().strategy
    strategy = replace(plain, steps=quick, bake=15 * SECOND, pinned_for=MINUTE)
    house = House([spec(app, strategy=strategy) for app in APPS], breath=15 * SECOND)
    calls: Counter[str] = Counter()

    def count(operation: str) -> Fault | None:
        calls[operation] += 1
        return None

    house.weather.forecast = count
    intake = Intake(configuration=house.configuration, bus=house.bus, registry=house.registry)
    result = Replayed(events=events)
    for number in range(events):
        started = time.process_time()
        await intake.take([_notice(dice, number)], by="replay")
        if dice.random() < 0.5:
            await house.deliver_one()
        result.cpu_seconds += time.process_time() - started
        if number % max(events // 50, 1) == 0:
            await house.run_for(MINUTE)
    await house.run()
    result.reads = sum(times for name, times in calls.items() if name in _READS)
    result.writes = len(house.world.writes)
    for app in map(AppId, APPS):
        for rollout in await house.rollouts(app):
            result.rollouts[f"{app} {rollout.image.digest}"] += 1
            result.ends[rollout.state] += 1
        ((_, result.serving[app]),) = house.users_get(app).values()
        await house.assert_chained(app)
    return result


def _notice(dice: random.Random, number: int) -> Push:
    """Return a notice of one of the pushes: any tag, any channel, any id."""
    image = dice.randint(2, NEWEST)
    tag = dice.choice(["latest", f"v{image}"])
    channel = dice.choice(["webhook", "event-grid", f"by-hand-{number}"])
    skew = timedelta(milliseconds=dice.randint(0, 900))  # channels and tags differ a little
    return Push(
        registry=REGISTRY,
        repository=dice.choice(APPS),
        digest=digest(image),
        tag=tag,
        event_id=f"{channel}/{image}/{tag}",
        pushed_at=START - timedelta(days=1) + image * 10 * MINUTE + skew,
    )
