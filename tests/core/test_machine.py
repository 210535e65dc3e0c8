"""Each listed event leads where the table says, and asks for just that."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.diagram import mermaid, table
from controller.core.effects import CheckReady, Restore, Route, Stage, Watch
from controller.core.errors import CommandRefusedError
from controller.core.events import (
    Abort,
    Approve,
    Done,
    Event,
    Failed,
    Judged,
    Label,
    NotYet,
    Pause,
    PreflightFailed,
    PreflightPassed,
    Promote,
    ReadyChecked,
    Resume,
    Smoke,
    Supersede,
    Tick,
)
from controller.core.machine import TABLE, decide
from controller.core.model import ENDS, Kind, Rollout, State
from controller.core.plan import (
    PRODUCTION,
    Approval,
    ApprovalPoint,
    HeldTraffic,
    Hold,
    NoEvidence,
    NoEvidenceAction,
)
from tests.core.build import BLUE, GREEN, MINUTE, SECOND, T0, digest, rollout, spec, strategy

S = State
LATER = T0 + 10 * MINUTE


def waiting(state: State, **changes: Any) -> Rollout:
    """Return a rollout in *state* that awaits the effect with key ``k``."""
    r = rollout(state, **changes)
    effect = Stage(
        key="k",  # type: ignore[arg-type]
        target=r.spec.target,
        slot=BLUE,
        image=r.image.reference,
        release=r.image.digest,
    )
    return replace(r, awaiting=effect)


def reply(kind: type[Any], **fields: Any) -> Event:
    event: Event = kind(at=T0 + SECOND, key="k", **fields)
    return event


def judged(label: Label) -> Judged:
    return Judged(at=T0 + MINUTE, label=label, reason="said so", judge="test/1")


def person(kind: type[Any]) -> Event:
    event: Event = kind(at=T0 + SECOND, by="ann", reason="because")
    return event


def passed() -> Event:
    return reply(
        PreflightPassed,
        active=PRODUCTION,
        idle=BLUE,
        stable_image="r.io/shop@" + digest(1),
        stable_release=digest(1),
    )


READY = {"ready": True, "smoke": Smoke.PASSED}
FIRST = spec(strategy(10, 100, approval=Approval(point=ApprovalPoint.BEFORE_CANARY)))
FULL = spec(strategy(10, approval=Approval(point=ApprovalPoint.BEFORE_FULL)))
NO_BAKE = spec(strategy(10, 100, bake=timedelta(0)))
RETURNED = spec(strategy(10, 100, hold=Hold(traffic=HeldTraffic.RETURNED)))

# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, Rollout, Event, State, type[Any] | None]] = [
    # id                     given                                when                               then             asks
    ("its-turn",             rollout(S.QUEUED),                   Tick(at=T0),                       S.PREFLIGHT,     None),
    ("may-start",            waiting(S.PREFLIGHT),                passed(),                          S.STAGING,       Stage),
    ("may-not-start",        waiting(S.PREFLIGHT),                reply(PreflightFailed, reasons=("no",)), S.REJECTED, None),
    ("no-access",            waiting(S.PREFLIGHT),                reply(Failed, reason="403"),       S.REJECTED,      None),
    ("staged",               waiting(S.STAGING),                  reply(Done),                       S.WARMING,       CheckReady),
    ("stage-busy",           waiting(S.STAGING),                  reply(NotYet, detail="409", retry_after=SECOND), S.STAGING, Stage),
    ("stage-broken",         waiting(S.STAGING),                  reply(Failed, reason="gone"),      S.ROLLING_BACK,  Restore),
    ("stage-too-long",       waiting(S.STAGING),                  Tick(at=LATER),                    S.ROLLING_BACK,  Restore),
    ("first-answer",         waiting(S.WARMING),                  reply(ReadyChecked, ready=True),   S.WARMING,       CheckReady),
    ("last-answer",          waiting(S.WARMING, streak=1),        reply(ReadyChecked, **READY),      S.SHIFTING,      Route),
    ("smoke-failed",         waiting(S.WARMING, streak=1),        reply(ReadyChecked, ready=True, smoke=Smoke.FAILED), S.ROLLING_BACK, Restore),
    ("ask-before-canary",    waiting(S.WARMING, streak=1, spec=FIRST), reply(ReadyChecked, **READY), S.APPROVAL,      None),
    ("rollback-skips-canary", waiting(S.WARMING, kind=Kind.ROLLBACK), reply(ReadyChecked, **READY),  S.PROMOTING,     Restore),
    ("never-ready",          waiting(S.WARMING),                  Tick(at=LATER),                    S.ROLLING_BACK,  Restore),
    ("approved",             rollout(S.APPROVAL, spec=FIRST),     person(Approve),                   S.SHIFTING,      Route),
    ("approved-last",        rollout(S.APPROVAL, spec=FULL, step=1), person(Approve),                S.PROMOTING,     Route),
    ("approval-expires",     rollout(S.APPROVAL, spec=FIRST),     Tick(at=LATER),                    S.ROLLING_BACK,  Restore),
    ("shifted",              waiting(S.SHIFTING),                 reply(Done),                       S.OBSERVING,     Watch),
    ("shift-fails",          waiting(S.SHIFTING),                 reply(Failed, reason="no slot"),   S.ROLLING_BACK,  Restore),
    ("watched",              waiting(S.OBSERVING),                reply(Done),                       S.OBSERVING,     None),
    ("step-passed",          rollout(S.OBSERVING),                judged(Label.HEALTHY),             S.SHIFTING,      Route),
    ("last-step-passed",     rollout(S.OBSERVING, step=2),        judged(Label.HEALTHY),             S.PROMOTING,     Route),
    ("ask-before-full",      rollout(S.OBSERVING, spec=FULL),     judged(Label.HEALTHY),             S.APPROVAL,      Watch),
    ("regressed",            rollout(S.OBSERVING),                judged(Label.REGRESSED),           S.ROLLING_BACK,  Restore),
    ("too-quiet",            rollout(S.OBSERVING),                judged(Label.INSUFFICIENT_DATA),   S.HELD,          Watch),
    ("provider-down",        rollout(S.OBSERVING),                judged(Label.PROVIDER_UNAVAILABLE), S.HELD,         Watch),
    ("both-suffer",          rollout(S.OBSERVING),                judged(Label.AMBIENT_INCIDENT),    S.HELD,          Watch),
    ("held-returns-traffic", rollout(S.OBSERVING, spec=RETURNED), judged(Label.AMBIENT_INCIDENT),    S.HELD,          Route),
    ("no-word-in-time",      rollout(S.OBSERVING),                Tick(at=LATER),                    S.HELD,          Watch),
    ("paused",               rollout(S.OBSERVING),                person(Pause),                     S.HELD,          Watch),
    ("promoted-early",       rollout(S.OBSERVING),                person(Promote),                   S.PROMOTING,     Route),
    ("aborted",              rollout(S.OBSERVING),                person(Abort),                     S.ROLLING_BACK,  Restore),
    ("promoted",             waiting(S.PROMOTING),                reply(Done),                       S.BAKING,        Watch),
    ("no-bake",              waiting(S.PROMOTING, spec=NO_BAKE),  reply(Done),                       S.SUCCEEDED,     None),
    ("rolled-back-to",       waiting(S.PROMOTING, kind=Kind.ROLLBACK), reply(Done),                  S.SUCCEEDED,     None),
    ("baked",                rollout(S.BAKING),                   judged(Label.HEALTHY),             S.SUCCEEDED,     None),
    ("bad-after-all",        rollout(S.BAKING),                   judged(Label.REGRESSED),           S.ROLLING_BACK,  Restore),
    ("bake-unknown",         rollout(S.BAKING),                   judged(Label.INSUFFICIENT_DATA),   S.HELD,          Watch),
    ("abort-while-baking",   rollout(S.BAKING),                   person(Abort),                     S.ROLLING_BACK,  Restore),
    ("resumed",              rollout(S.HELD, held_from=S.OBSERVING), person(Resume),                 S.SHIFTING,      Route),
    ("resumed-bake",         rollout(S.HELD, held_from=S.BAKING), person(Resume),                    S.PROMOTING,     Route),
    ("evidence-back",        rollout(S.HELD, held_from=S.OBSERVING), judged(Label.HEALTHY),          S.SHIFTING,      Route),
    ("evidence-back-at-last", rollout(S.HELD, step=2, held_from=S.OBSERVING), judged(Label.HEALTHY), S.PROMOTING,    Route),
    ("evidence-back-to-ask", rollout(S.HELD, spec=FULL, held_from=S.OBSERVING), judged(Label.HEALTHY), S.APPROVAL,   Watch),
    ("evidence-back-at-bake", rollout(S.HELD, held_from=S.BAKING), judged(Label.HEALTHY),            S.SUCCEEDED,     None),
    ("nobody-was-there",     rollout(S.HELD, spec=RETURNED, held_from=S.OBSERVING), judged(Label.HEALTHY), S.HELD,   None),
    ("held-and-regressed",   rollout(S.HELD, held_from=S.OBSERVING), judged(Label.REGRESSED),        S.ROLLING_BACK,  Restore),
    ("hold-expires",         rollout(S.HELD, held_from=S.OBSERVING), Tick(at=LATER),                 S.ROLLING_BACK,  Restore),
    ("restored",             waiting(S.ROLLING_BACK),             reply(Done),                       S.ROLLED_BACK,   None),
    ("made-room",            waiting(S.ROLLING_BACK, superseded=True), reply(Done),                  S.SUPERSEDED,    None),
    ("restore-fails",        waiting(S.ROLLING_BACK),             reply(Failed, reason="403"),       S.ROLLING_BACK,  Restore),
    ("restore-takes-long",   waiting(S.ROLLING_BACK),             Tick(at=LATER),                    S.ROLLING_BACK,  Restore),
    ("superseded-early",     waiting(S.PREFLIGHT),                person(Supersede),                 S.SUPERSEDED,    None),
    ("superseded-late",      rollout(S.OBSERVING),                person(Supersede),                 S.ROLLING_BACK,  Restore),
]
# fmt: on


@pytest.mark.parametrize(
    ("given", "when", "then", "asks"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_next_state(given: Rollout, when: Event, then: State, asks: type[Any] | None) -> None:
    """Each listed event leads where the table says, and asks for just that."""
    decision = decide(given, when)

    assert decision.rollout.state is then
    if asks is None:
        assert decision.rollout.awaiting is None or then is S.PREFLIGHT
    else:
        assert type(decision.rollout.awaiting) is asks


@pytest.mark.parametrize("label", [Label.CONTINUE])
def test_nothing_to_say_changes_nothing(label: Label) -> None:
    """A judgement without a decision is not even a turn."""
    r = rollout(S.OBSERVING)

    assert decide(r, judged(label)).rollout == r


def test_a_late_reply_changes_nothing_and_is_recorded() -> None:
    """A reply to another key is late or repeated."""
    r = waiting(S.STAGING)

    decision = decide(r, Done(at=T0, key="other"))  # type: ignore[arg-type]

    assert decision.rollout == r
    assert [record.kind for record in decision.records] == ["ignored"]


def test_what_was_seen_while_held_counts_for_the_step() -> None:
    """Else a quiet app is held, seen, and looked at again from nothing, for ever."""
    held = rollout(S.HELD, step=0, held_from=S.OBSERVING)

    assert decide(held, judged(Label.HEALTHY)).rollout.step == 1


@pytest.mark.parametrize(
    ("step", "weight"), [(0, 0), (1, 10), (2, 100)], ids=["before-canary", "between", "at-the-end"]
)
def test_a_hold_that_began_as_an_approval_says_what_users_get(step: int, weight: int) -> None:
    """An approval stands before its step: nothing of it was shifted when it expired to a hold."""
    plan = spec(strategy(10, 100))

    for state in (S.APPROVAL, S.HELD):
        held_from = S.APPROVAL if state is S.HELD else None
        assert rollout(state, spec=plan, step=step, held_from=held_from).weight == weight


def test_an_odd_command_is_refused_with_advice() -> None:
    """A command without a row changes nothing and says what is possible."""
    with pytest.raises(CommandRefusedError, match="it cannot resume") as refused:
        decide(rollout(S.WARMING), person(Resume))

    assert "abort" in refused.value.fix


def test_a_person_who_pauses_is_not_overruled_by_the_judge() -> None:
    """Only a person lets go what a person holds; a regression still rolls back."""
    held = decide(rollout(S.OBSERVING), person(Pause)).rollout

    assert decide(held, judged(Label.HEALTHY)).rollout.state is S.HELD
    assert decide(held, judged(Label.REGRESSED)).rollout.state is S.ROLLING_BACK


@pytest.mark.parametrize(
    ("action", "then"),
    [
        (NoEvidenceAction.HOLD, S.HELD),
        (NoEvidenceAction.PROCEED, S.SHIFTING),
        (NoEvidenceAction.ROLL_BACK, S.ROLLING_BACK),
    ],
)
@pytest.mark.parametrize(
    "label", [Label.INSUFFICIENT_DATA, Label.PROVIDER_UNAVAILABLE, Label.AMBIENT_INCIDENT]
)
def test_each_way_of_not_knowing_has_its_own_action(
    label: Label, action: NoEvidenceAction, then: State
) -> None:
    """No evidence is not success: the configured action decides, per kind."""
    base = spec()
    actions = NoEvidence(**{label.value: action})
    r = rollout(
        S.OBSERVING, spec=replace(base, analysis=replace(base.analysis, on_no_evidence=actions))
    )

    assert decide(r, judged(label)).rollout.state is then


def test_the_split_is_computed_from_the_plan_for_named_and_production_stable() -> None:
    """Shares add to everyone whether the stable build is in production or in a named slot."""
    route = decide(waiting(S.WARMING, streak=1), reply(ReadyChecked, **READY)).rollout.awaiting
    named = waiting(S.WARMING, streak=1, active=BLUE, idle=GREEN)
    both = decide(named, reply(ReadyChecked, **READY)).rollout.awaiting

    assert isinstance(route, Route)
    assert route.routing.shares == ((BLUE, 10),)
    assert isinstance(both, Route)
    assert both.routing.shares == ((BLUE, 90), (GREEN, 10))


def test_a_rollback_that_cannot_finish_pages_and_keeps_trying() -> None:
    """Past its deadline a rollback gets a new one and a page; it never gives up."""
    decision = decide(waiting(S.ROLLING_BACK), Tick(at=LATER))

    assert [record.kind for record in decision.records] == ["page"]
    assert decision.rollout.deadline is not None
    assert decision.rollout.deadline > LATER


def test_the_wake_up_is_the_next_thing_that_is_due() -> None:
    """A busy platform is asked again after its own pause, not sooner, and never past a deadline."""
    busy = reply(NotYet, detail="429", retry_after=timedelta(seconds=7))
    r = decide(waiting(S.STAGING), busy).rollout

    assert r.ask_at == busy.at + timedelta(seconds=7)
    assert r.wake_at == r.ask_at


def test_a_watch_that_is_being_asked_for_is_not_asked_for_again() -> None:
    """While the watch's reply is awaited a tick changes nothing, however late it comes."""
    asked = decide(rollout(S.HELD, held_from=S.OBSERVING, deadline=LATER), Tick(at=T0)).rollout

    assert type(asked.awaiting) is Watch
    assert decide(asked, Tick(at=T0 + SECOND)).rollout == asked


def test_the_same_decision_asks_under_the_same_key() -> None:
    """Deciding again after a crash gives the same key; the next turn gives another."""
    first, again = (decide(waiting(S.STAGING), reply(Done)).rollout for _ in range(2))

    assert first.awaiting == again.awaiting
    assert first.awaiting is not None
    assert first.awaiting.key.split("/")[1] == "1"


def test_every_end_is_an_end_and_every_other_state_has_a_way_on() -> None:
    """No row leaves an end; every other state can be left and has a deadline row or a reply."""
    sources = {row.source for row in TABLE}

    assert sources == set(State) - ENDS


def test_guarded_rows_stand_before_the_unguarded_one() -> None:
    """An unguarded row catches everything: none may stand behind it for the same event."""
    caught: set[tuple[State, str]] = set()
    for row in TABLE:
        key = (row.source, row.on.__name__)
        assert key not in caught, f"{key} can never be reached again"
        if row.when is None:
            caught.add(key)


def test_the_picture_names_every_state() -> None:
    """The drawn machine and the list come from the table."""
    assert all(state.name in mermaid() for state in State)
    assert len(table().splitlines()) == len(TABLE) + 2
