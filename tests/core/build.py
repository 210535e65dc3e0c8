"""Rollouts and specs for tests of the core."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.core.effects import EffectKey
from controller.core.machine import decide
from controller.core.model import AppState, Image, Rollout, RolloutId, State
from controller.core.plan import (
    Analysis,
    AppId,
    AppSpec,
    Deadlines,
    Health,
    Limits,
    Percent,
    SlotName,
    Source,
    Step,
    Strategy,
    Target,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
APP = AppId("shop")
BLUE, GREEN = SlotName("blue"), SlotName("green")
TARGET = Target(subscription="s", resource_group="rg", site="shop", slots=(BLUE, GREEN))


def digest(n: int) -> str:
    return f"sha256:{n:064x}"


def image(n: int) -> Image:
    return Image(registry="r.io", repository="shop", digest=digest(n), tag=f"v{n}")


def step(weight: int) -> Step:
    return Step(weight=Percent(weight), min_observation=MINUTE, max_observation=5 * MINUTE)


def strategy(*weights: int, **changes: Any) -> Strategy:
    return replace(Strategy(steps=tuple(step(w) for w in weights), bake=10 * MINUTE), **changes)


def spec(plan: Strategy | None = None, **changes: Any) -> AppSpec:
    base = AppSpec(
        id=APP,
        target=TARGET,
        source=Source(registry="r.io", repository="shop"),
        strategy=plan or strategy(10, 50, 100),
        analysis=Analysis(workspace="ws", limits=Limits(min_requests=10)),
        health=Health(consecutive=2),
        deadlines=Deadlines(),
    )
    return replace(base, **changes)


def rollout(state: State = State.QUEUED, **changes: Any) -> Rollout:
    base = Rollout(
        id=RolloutId("20260101T000000000-shop-00000002-1"),
        image=image(2),
        spec=spec(),
        created_at=T0,
        entered_at=T0,
        deadline=T0 + 10 * MINUTE,
        wake_at=T0,
        state=state,
        active=SlotName("production"),
        idle=BLUE,
        stable_image="r.io/shop@" + digest(1),
        stable_release=digest(1),
    )
    return replace(base, **changes)


def awaiting(r: Rollout) -> EffectKey:
    """Return the key that *r* waits for, asking for one where the state would have asked."""
    assert r.awaiting is not None
    return r.awaiting.key


def app(**changes: Any) -> AppState:
    return replace(AppState(app=APP), **changes)


__all__ = [n for n in dir() if not n.startswith("_")] + ["decide"]
