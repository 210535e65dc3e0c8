"""A rollout that nobody speaks to ends: no road of facts alone leads in a circle."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from controller.core.data import BackupKind, DatabaseSpec, DataPlan, OnRollback, WayBack
from controller.core.effects import (
    BackupDatabase,
    BeginSwap,
    CheckReady,
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


def timeless(r: Rollout) -> Rollout:
    """Return *r* without what only counts or tells: two that behave alike are equal."""
    awaiting = r.awaiting
    if awaiting is not None:
        awaiting = replace(awaiting, key=KEY)
    if isinstance(awaiting, BackupDatabase):
        awaiting = replace(awaiting, since=T0)
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
        awaiting=awaiting,
    )


def reachable(start: Rollout, data: DataPlan | None = None) -> dict[Rollout, set[Rollout]]:
    """Return every rollout that facts lead to, with where each leads."""
    ways: dict[Rollout, set[Rollout]] = {}
    waiting = [timeless(start)]
    while waiting:
        r = waiting.pop()
        if r not in ways:
            ways[r] = {timeless(decide(r, fact).rollout) for fact in facts(r, data)} - {r}
            waiting += ways[r]
    return ways


def circles(ways: Mapping[Rollout, set[Rollout]]) -> list[str]:
    """Return each step from one state to another from which there is a road back."""

    def leads(start: Rollout, goal: Rollout) -> bool:
        seen, waiting = {start}, [start]
        while waiting:
            for following in ways[waiting.pop()] - seen:
                seen.add(following)
                waiting.append(following)
        return goal in seen

    return [
        f"{r.state} -> {following.state}"
        for r, all_following in ways.items()
        for following in all_following
        if following.state is not r.state and leads(following, r)
    ]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("action", NoEvidenceAction)
def test_no_road_of_facts_leads_in_a_circle(plan: Any, action: NoEvidenceAction) -> None:
    """Each state that was left by a fact is left for good, and an end can be reached."""
    base = spec(plan)
    actions = NoEvidence(
        insufficient_data=action, provider_unavailable=action, ambient_incident=action
    )
    start = rollout(spec=replace(base, analysis=replace(base.analysis, on_no_evidence=actions)))

    ways = reachable(start)

    assert circles(ways) == []
    assert {r.state for r in ways} & ENDS
    assert all(r.state in ENDS for r, following in ways.items() if not following)


@pytest.mark.parametrize(("plan", "database", "data"), DATA)
def test_no_road_of_facts_through_a_database_leads_in_a_circle(
    plan: Any, database: DatabaseSpec, data: DataPlan
) -> None:
    """The down scripts are tried once on each way back, whatever becomes of them."""
    ways = reachable(rollout(spec=spec(plan, database=database)), data)

    assert circles(ways) == []
    assert all(r.state in ENDS for r, following in ways.items() if not following)
    migrated = [r for r in ways if r.data is not None and r.data.begun and r.state in ENDS]
    assert {r.state for r in migrated} >= {State.SUCCEEDED, State.ROLLED_BACK}
