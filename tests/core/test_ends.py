"""A rollout that nobody speaks to ends: no road of facts alone leads in a circle."""

from collections.abc import Iterable
from dataclasses import fields, replace
from itertools import product
from operator import attrgetter
from typing import Any

import pytest

from controller.core.data import BackupKind, DatabaseSpec, DataPlan, OnRollback, WayBack
from controller.core.effects import (
    BackupDatabase,
    BeginSwap,
    CheckReady,
    Effect,
    EffectKey,
    FollowSwap,
    Preflight,
    PrepareSwap,
)
from controller.core.events import (
    Alerted,
    Done,
    Event,
    Failed,
    Judged,
    Label,
    NotYet,
    PreflightPassed,
    ReadyChecked,
    Smoke,
    SwapBegun,
    SwapChecked,
    SwapUndone,
    Tick,
)
from controller.core.machine import decide
from controller.core.model import ENDS, Rollout, State
from controller.core.plan import (
    PRODUCTION,
    Approval,
    ApprovalPoint,
    ExpiryAction,
    HeldTraffic,
    Hold,
    NoEvidence,
    NoEvidenceAction,
    StrategyKind,
)
from tests.core.build import BLUE, MINUTE, SECOND, T0, rollout, spec, strategy

DEADLINE = T0 + 60 * MINUTE
KEY = EffectKey("rollout/0/effect")

HOLDS = [Hold(traffic=t, on_expiry=e) for t, e in product(HeldTraffic, ExpiryAction)]
APPROVALS = [
    Approval(point=ApprovalPoint.NEVER),
    *(
        Approval(point=point, on_expiry=expiry)
        for point in (ApprovalPoint.BEFORE_CANARY, ApprovalPoint.BEFORE_FULL)
        for expiry in ExpiryAction
    ),
]
PLANS = [
    pytest.param(
        strategy(*weights, bake=MINUTE, hold=hold, approval=approval),
        id=f"{weights}-{hold.traffic}-{hold.on_expiry}-{approval.point}-{approval.on_expiry}",
    )
    for weights in ((), (10, 100))
    for hold in HOLDS
    for approval in APPROVALS
] + [
    pytest.param(
        strategy(*weights, bake=MINUTE, hold=hold, kind=StrategyKind.SWAP),
        id=f"swap-{weights}-{hold.traffic}-{hold.on_expiry}",
    )
    for weights in ((), (10,))
    for hold in HOLDS
]


DATA = [
    pytest.param(
        strategy(10, bake=MINUTE, kind=kind),
        DatabaseSpec(connection="db", on_rollback=OnRollback.DOWN, backup=backup),
        DataPlan(bundle="b", pending=("1",), has_down=True, way_back=way_back),
        id=f"{kind}-{backup}-{way_back}",
    )
    for kind in StrategyKind
    for backup in (BackupKind.NONE, BackupKind.DUMP)
    for way_back in WayBack
]


def facts(r: Rollout, data: DataPlan | None = None) -> Iterable[Event]:
    """Return everything that judge, platform and time could say to *r*."""
    for label in Label:
        yield Judged(at=T0, label=label, reason="said so", judge="test/1")
    yield Tick(at=r.wake_at or T0)
    yield Tick(at=DEADLINE)
    yield Alerted(at=T0, rule="errors", detail="it burns")
    if r.awaiting is None:
        return
    yield Done(at=T0, key=KEY)
    yield Failed(at=T0, key=KEY, reason="refused")
    yield NotYet(at=T0, key=KEY, detail="busy", retry_after=SECOND)
    if isinstance(r.awaiting, Preflight):
        yield PreflightPassed(
            at=T0,
            key=KEY,
            active=PRODUCTION,
            idle=BLUE,
            stable_image="i",
            stable_release="1",
            data=data,
        )
    yield from swap_facts(r)
    if isinstance(r.awaiting, CheckReady):
        for ready, smoke in ((True, Smoke.PASSED), (True, Smoke.FAILED), (False, Smoke.NOT_RUN)):
            yield ReadyChecked(at=T0, key=KEY, ready=ready, smoke=smoke)


def swap_facts(r: Rollout) -> Iterable[Event]:
    if isinstance(r.awaiting, PrepareSwap):
        yield SwapChecked(at=T0, key=KEY, needed=True)
        yield SwapChecked(at=T0, key=KEY, needed=False)
    if isinstance(r.awaiting, BeginSwap):
        yield SwapBegun(at=T0, key=KEY, token="t")
        yield SwapBegun(at=T0, key=KEY, token=None)
    if isinstance(r.awaiting, FollowSwap):
        yield SwapUndone(at=T0, key=KEY, detail="allocation changed")


# What only counts or tells; two rollouts that differ in nothing else behave alike.
_TELLS = {"turn", "entered_at", "ask_at", "ended_at", "verdict", "why", "undone_because"}
_TOLD_APART = {"deadline", "wake_at", "awaiting", "spec"}
_SAME = attrgetter(*sorted({each.name for each in fields(Rollout)} - _TELLS - _TOLD_APART))


def timeless(r: Rollout) -> Rollout:
    """Return *r* without what only counts or tells."""
    return replace(
        r,
        turn=0,
        entered_at=T0,
        deadline=None if r.deadline is None else DEADLINE,
        wake_at=None if r.wake_at is None else T0 + MINUTE,
        ask_at=None,
        ended_at=None,
        verdict=None,
        why="",
        undone_because="",
        awaiting=keyless(r.awaiting),
    )


def keyless(awaiting: Effect | None) -> Effect | None:
    if isinstance(awaiting, BackupDatabase):
        return replace(awaiting, key=KEY, since=T0)
    return None if awaiting is None else replace(awaiting, key=KEY)


class Roads:
    """Every rollout that facts lead to from *start*, with where each leads, by number."""

    def __init__(self, start: Rollout, data: DataPlan | None = None) -> None:
        self.rollouts: list[Rollout] = []
        self.ways: list[set[int]] = []
        self._numbers: dict[Any, int] = {}
        self._spec = start.spec
        self._number(start)
        for number, r in enumerate(self.rollouts):  # it grows meanwhile
            following = {self._number(decide(r, fact).rollout) for fact in facts(r, data)}
            self.ways.append(following - {number})

    def _number(self, r: Rollout) -> int:
        assert r.spec is self._spec
        alike = (r.deadline is None, r.wake_at is None, keyless(r.awaiting), _SAME(r))
        number = self._numbers.setdefault(alike, len(self.rollouts))
        if number == len(self.rollouts):
            self.rollouts.append(timeless(r))
        return number

    @property
    def dead_ends(self) -> set[State]:
        return {r.state for r, ways in zip(self.rollouts, self.ways, strict=True) if not ways}

    def circles(self) -> list[str]:
        """Return each step from one state to another from which there is a road back."""
        circle = self._circles()
        return [
            f"{r.state} -> {self.rollouts[following].state}"
            for number, r in enumerate(self.rollouts)
            for following in self.ways[number]
            if circle[following] == circle[number] and self.rollouts[following].state is not r.state
        ]

    def _circles(self) -> list[int]:
        """Return for each rollout the circle it lies on: it leads to all there, and they to it."""
        back: list[set[int]] = [set() for _ in self.ways]
        for number, ways in enumerate(self.ways):
            for following in ways:
                back[following].add(number)
        circle = [-1] * len(self.ways)
        for last in reversed(self._in_order_of_return()):
            waiting = [last]
            while waiting:
                here = waiting.pop()
                if circle[here] < 0:
                    circle[here] = last
                    waiting += [each for each in back[here] if circle[each] < 0]
        return circle

    def _in_order_of_return(self) -> list[int]:
        """Return all in the order in which a walk along the ways has left them for good."""
        order: list[int] = []
        seen = {0}
        path = [(0, iter(self.ways[0]))]
        while path:
            here, ways = path[-1]
            following = next((each for each in ways if each not in seen), None)
            if following is None:
                order.append(here)
                path.pop()
            else:
                seen.add(following)
                path.append((following, iter(self.ways[following])))
        return order


def test_a_circle_is_found() -> None:
    """The search itself: two steps between two states, and one within a state beside them."""
    roads = Roads(rollout(spec=spec(strategy(10))))
    assert roads.circles() == []
    first, second = 0, min(roads.ways[0])
    roads.ways[second].add(first)

    found = [roads.rollouts[number].state for number in (first, second)]
    assert f"{found[0]} -> {found[1]}" in roads.circles()
    assert f"{found[1]} -> {found[0]}" in roads.circles()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("action", NoEvidenceAction)
def test_no_road_of_facts_leads_in_a_circle(plan: Any, action: NoEvidenceAction) -> None:
    """Each state that was left by a fact is left for good, and an end can be reached."""
    base = spec(plan)
    actions = NoEvidence(
        insufficient_data=action, provider_unavailable=action, ambient_incident=action
    )
    start = rollout(spec=replace(base, analysis=replace(base.analysis, on_no_evidence=actions)))

    roads = Roads(start)

    assert roads.circles() == []
    assert {r.state for r in roads.rollouts} & ENDS
    assert roads.dead_ends <= ENDS


@pytest.mark.parametrize(("plan", "database", "data"), DATA)
def test_no_road_of_facts_through_a_database_leads_in_a_circle(
    plan: Any, database: DatabaseSpec, data: DataPlan
) -> None:
    """The down scripts are tried once on each way back, whatever becomes of them."""
    roads = Roads(rollout(spec=spec(plan, database=database)), data)

    assert roads.circles() == []
    assert roads.dead_ends <= ENDS
    migrated = [
        r for r in roads.rollouts if r.data is not None and r.data.begun and r.state in ENDS
    ]
    assert {r.state for r in migrated} >= {State.SUCCEEDED, State.ROLLED_BACK}
