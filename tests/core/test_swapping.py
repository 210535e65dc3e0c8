"""A swap is prepared, sent once and followed; the way back is the same road in the other direction."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.effects import (
    BeginSwap,
    FollowSwap,
    PrepareSwap,
    Restore,
    Route,
    Stage,
    SwapEffect,
    Watch,
)
from controller.core.events import (
    Abort,
    Alerted,
    Done,
    Event,
    Failed,
    Judged,
    Label,
    NotYet,
    ReadyChecked,
    Resume,
    Smoke,
    SwapBegun,
    SwapChecked,
    SwapUndone,
    Tick,
)
from controller.core.machine import decide
from controller.core.model import AppState, Kind, Rollout, State, SwapProgress, SwapStage
from controller.core.plan import PRODUCTION, Routing, StrategyKind
from controller.core.swapping import MAX_TRIES
from controller.core.turns import finish
from tests.core.build import BLUE, MINUTE, SECOND, T0, app, digest, rollout, spec, strategy

S = State
SWAP = spec(strategy(10, kind=StrategyKind.SWAP))
AT = T0 + SECOND
LATE = T0 + 60 * MINUTE


def swapping(
    state: State, stage: SwapStage, *, kind: Kind = Kind.RELEASE, **progress: Any
) -> Rollout:
    """Return a rollout whose swap is at *stage* and that awaits the effect with key ``k``."""
    r = rollout(state, spec=SWAP, kind=kind, swap=SwapProgress(stage=stage, **progress))
    awaited = Stage(
        key="k",  # type: ignore[arg-type]
        target=r.spec.target,
        slot=BLUE,
        image=r.image.reference,
        release=r.image.digest,
    )
    return replace(r, awaiting=awaited)


def reply(kind: type[Any], **fields: Any) -> Event:
    event: Event = kind(at=AT, key="k", **fields)
    return event


NEEDED = reply(SwapChecked, needed=True)
TRUE_ALREADY = reply(SwapChecked, needed=False)
BEGUN = reply(SwapBegun, token="t")
UNDONE = reply(SwapUndone, detail="allocation changed")
BUSY = reply(NotYet, detail="409", retry_after=SECOND)
PREPARING, SENDING, FOLLOWING, OVER = SwapStage

# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, Rollout, Event, State, SwapStage, type[Any]]] = [
    # id                   given                                         when                         then            stage      asks
    ("needed",             swapping(S.PROMOTING, PREPARING),             NEEDED,                      S.PROMOTING,    SENDING,   BeginSwap),
    ("true-already",       swapping(S.PROMOTING, PREPARING),             TRUE_ALREADY,                S.PROMOTING,    OVER,      Route),
    ("not-now",            swapping(S.PROMOTING, PREPARING),             BUSY,                        S.PROMOTING,    PREPARING, PrepareSwap),
    ("taken",              swapping(S.PROMOTING, SENDING, sent_at=T0),   BEGUN,                       S.PROMOTING,    FOLLOWING, FollowSwap),
    ("refused",            swapping(S.PROMOTING, SENDING, tries=1),      BUSY,                        S.PROMOTING,    PREPARING, PrepareSwap),
    ("refused-for-good",   swapping(S.PROMOTING, SENDING, touched=True), reply(Failed, reason="403"), S.ROLLING_BACK, PREPARING, PrepareSwap),
    ("runs",               swapping(S.PROMOTING, FOLLOWING, sent_at=T0), BUSY,                        S.PROMOTING,    FOLLOWING, FollowSwap),
    ("ended",              swapping(S.PROMOTING, FOLLOWING, sent_at=T0), reply(Done),                 S.PROMOTING,    OVER,      Route),
    ("undone",             swapping(S.PROMOTING, FOLLOWING, tries=1),    UNDONE,                      S.PROMOTING,    PREPARING, PrepareSwap),
    ("undone-too-often",   swapping(S.PROMOTING, FOLLOWING, tries=MAX_TRIES, touched=True), UNDONE,   S.ROLLING_BACK, PREPARING, PrepareSwap),
    ("too-long",           swapping(S.PROMOTING, FOLLOWING, touched=True), Tick(at=LATE),             S.ROLLING_BACK, PREPARING, PrepareSwap),
    ("never-sent",         swapping(S.PROMOTING, PREPARING),             Tick(at=LATE),               S.ROLLING_BACK, OVER,      Restore),
    ("earlier-release",    swapping(S.PROMOTING, FOLLOWING, kind=Kind.ROLLBACK, sent_at=T0), reply(Done), S.PROMOTING, OVER,     Restore),
    ("proved",             swapping(S.PROMOTING, OVER, touched=True),    reply(Done),                 S.BAKING,       OVER,      Watch),
    ("back-needed",        swapping(S.ROLLING_BACK, PREPARING, back=True), NEEDED,                    S.ROLLING_BACK, SENDING,   BeginSwap),
    ("back-not-needed",    swapping(S.ROLLING_BACK, PREPARING, back=True), TRUE_ALREADY,              S.ROLLING_BACK, OVER,      Restore),
    ("back-taken",         swapping(S.ROLLING_BACK, SENDING, back=True, sent_at=T0), BEGUN,                       S.ROLLING_BACK, FOLLOWING, FollowSwap),
    ("back-refused",       swapping(S.ROLLING_BACK, SENDING, back=True), BUSY,                        S.ROLLING_BACK, PREPARING, PrepareSwap),
    ("back-ended",         swapping(S.ROLLING_BACK, FOLLOWING, back=True, sent_at=T0), reply(Done),   S.ROLLING_BACK, OVER,      Restore),
    ("back-cannot-help",   swapping(S.ROLLING_BACK, PREPARING, back=True), reply(Failed, reason="no"), S.ROLLING_BACK, OVER,     Restore),
    ("back-undone",        swapping(S.ROLLING_BACK, FOLLOWING, back=True, tries=1), UNDONE,           S.ROLLING_BACK, PREPARING, PrepareSwap),
    ("back-given-up",      swapping(S.ROLLING_BACK, FOLLOWING, back=True, tries=MAX_TRIES), UNDONE,   S.ROLLING_BACK, OVER,      Restore),
    ("back-late-sending",  swapping(S.ROLLING_BACK, SENDING, back=True, sent_at=T0), Tick(at=LATE),   S.ROLLING_BACK, FOLLOWING, FollowSwap),
]
# fmt: on


@pytest.mark.parametrize(
    ("given", "when", "then", "stage", "asks"),
    [pytest.param(*case, id=name) for name, *case in CASES],
)
def test_next_part(
    given: Rollout, when: Event, then: State, stage: SwapStage, asks: type[Any]
) -> None:
    """Each reply leads to the next part of the swap, there and back, and asks for just that."""
    after = decide(given, when).rollout

    assert after.state is then
    assert after.swap is not None
    assert after.swap.stage is stage
    assert type(after.awaiting) is asks


def goal_of(r: Rollout) -> Any:
    assert isinstance(r.awaiting, SwapEffect)
    return r.awaiting.goal


def test_a_bad_build_in_production_is_swapped_back() -> None:
    """What went to production by a swap comes back by one, with the direction turned."""
    baking = swapping(S.BAKING, OVER, touched=True)

    after = decide(baking, Judged(at=AT, label=Label.REGRESSED, reason="bad", judge="t/1")).rollout

    assert goal_of(after).back
    assert goal_of(after).slot == BLUE


def test_after_a_hold_the_bake_looks_at_the_swap_again_and_still_knows_the_way_back() -> None:
    """A resumed bake re-asks for its swap; an abort right then must still swap back."""
    resumed = replace(swapping(S.HELD, OVER, touched=True), held_from=S.BAKING, awaiting=None)
    promoting = decide(resumed, Resume(at=AT, by="ann")).rollout
    aborted = decide(promoting, Abort(at=AT, by="ann")).rollout

    assert type(promoting.awaiting) is PrepareSwap
    assert type(aborted.awaiting) is PrepareSwap
    assert goal_of(aborted).back


def test_a_way_back_waits_for_a_swap_whose_end_nobody_saw() -> None:
    """The earlier request's token and age go along, so that nothing lands behind our back."""
    sent = swapping(S.PROMOTING, FOLLOWING, token="t", sent_at=T0, touched=True)

    after = decide(sent, Abort(at=T0 + MINUTE, by="ann")).rollout

    assert isinstance(after.awaiting, PrepareSwap)
    assert (after.awaiting.token, after.awaiting.sent_for) == ("t", MINUTE)


def test_giving_a_swap_back_up_pages_and_restores_in_place_at_once() -> None:
    """Users have the bad build: the stable image goes into production without a pause."""
    stuck = swapping(S.ROLLING_BACK, FOLLOWING, back=True, tries=1, touched=True)

    decision = decide(stuck, reply(Failed, reason="the slot holds something else"))

    assert [record.kind for record in decision.records] == ["page"]
    assert isinstance(decision.rollout.awaiting, Restore)
    assert decision.rollout.awaiting.in_place
    assert decision.rollout.ask_at == AT


def test_a_refused_request_counts_for_nothing() -> None:
    """A busy site may refuse any number of requests; only swaps that were given up are counted."""
    r = swapping(S.PROMOTING, PREPARING)
    for _ in range(MAX_TRIES + 2):
        r = decide(replace_key(r), NEEDED).rollout
        r = decide(replace_key(r), BUSY).rollout

    assert r.state is S.PROMOTING
    assert r.swap is not None
    assert r.swap.tries == 0


def replace_key(r: Rollout) -> Rollout:
    assert r.awaiting is not None
    return replace(r, awaiting=replace(r.awaiting, key="k"))  # type: ignore[arg-type]


def test_a_new_request_is_not_taken_for_one_that_was_begun() -> None:
    """`asked` belongs to one effect; the next turn's effect is asked afresh."""
    sent = replace(swapping(S.PROMOTING, SENDING, tries=1), asked=True)

    assert not decide(sent, BUSY).rollout.asked


def test_the_swap_has_its_own_deadline_and_what_follows_the_usual_one() -> None:
    """A swap may take the platform half an hour; proving the public host does not."""
    ready = swapping(S.WARMING, OVER)
    ready = replace(ready, swap=None, streak=1, kind=Kind.ROLLBACK)
    proved = ReadyChecked(at=AT, key="k", ready=True, smoke=Smoke.PASSED)  # type: ignore[arg-type]

    promoting = decide(ready, proved).rollout
    ended = decide(swapping(S.PROMOTING, FOLLOWING, sent_at=T0), reply(Done)).rollout

    assert promoting.deadline == AT + SWAP.deadlines.swapping
    assert ended.deadline == AT + SWAP.deadlines.promoting


def test_while_baking_no_rule_may_send_users_to_the_old_build() -> None:
    """After a swap production holds the new build, and the watch keeps every rule away."""
    watching = decide(swapping(S.PROMOTING, OVER, touched=True), reply(Done)).rollout.awaiting

    assert isinstance(watching, Watch)
    assert watching.routing == Routing()


def test_the_record_says_that_production_serves() -> None:
    """After a swap the release is in production, and the slot is what users may be pinned to."""
    over = replace(swapping(S.SUCCEEDED, OVER), had_users=True, ended_at=AT)

    state: AppState = finish(app(active=over), over, AT).state

    assert state.stable is not None
    assert state.stable.slot == PRODUCTION
    assert state.routing == Routing()
    assert state.left == ((BLUE, AT),)


@pytest.mark.parametrize(
    "state", [S.STAGING, S.WARMING, S.OBSERVING, S.PROMOTING, S.BAKING, S.HELD]
)
def test_an_alert_takes_a_release_back_and_leaves_a_way_back_alone(state: State) -> None:
    """A way back is the cure; what an alert may have caught is only what is new."""
    alert = Alerted(at=AT, rule="errors", detail="Sev1 on shop")
    release, way_back = rollout(state), rollout(state, kind=Kind.ROLLBACK)

    taken_back = decide(release, alert).rollout

    assert taken_back.state is S.ROLLING_BACK
    assert taken_back.undone_because == "alert 'errors' fired: Sev1 on shop"
    assert decide(way_back, alert).rollout == way_back


def test_what_a_done_says_is_written_down_while_the_reason_stays() -> None:
    """A watch that put the traffic back says so in the audit, and a hold keeps its own reason."""
    held = replace(rollout(S.HELD, held_from=S.OBSERVING, why="too quiet"))
    asked = decide(held, Tick(at=T0)).rollout
    assert asked.awaiting is not None

    decision = decide(asked, Done(at=AT, key=asked.awaiting.key, detail="traffic was blue 50 %"))

    assert decision.records[0].why == "traffic was blue 50 %"
    assert decision.rollout.why == "too quiet"


def test_digest_of_the_swap_is_the_rollouts() -> None:
    """The goal names the staged build to the letter: it tells where the build is."""
    after = decide(swapping(S.PROMOTING, PREPARING), BUSY).rollout

    assert goal_of(after).release == digest(2)
    assert after.ask_at == AT + timedelta(seconds=1)
