"""The database's part in a rollout: what runs, what is undone, and what is not gone back to."""

from dataclasses import replace
from typing import Any

import pytest

from controller.core.data import (
    BackupKind,
    DatabaseSpec,
    DataPlan,
    DataStep,
    OnRollback,
    WayBack,
)
from controller.core.effects import (
    BackupDatabase,
    Migrate,
    Preflight,
    PrepareSwap,
    Restore,
    RevertData,
    Stage,
)
from controller.core.events import (
    Abort,
    Alerted,
    Done,
    Event,
    Failed,
    NotYet,
    PreflightPassed,
    Promote,
    Supersede,
    Tick,
)
from controller.core.line import advance
from controller.core.machine import decide
from controller.core.model import AppState, Kind, Release, Rollout, RolloutId, State, SwapProgress
from controller.core.orders import RollBack
from controller.core.plan import PRODUCTION, StrategyKind
from controller.core.policy import apply
from controller.core.turns import begin
from tests.core.build import (
    BLUE,
    MINUTE,
    SECOND,
    T0,
    app,
    digest,
    image,
    rollout,
    spec,
    strategy,
)

S = State
LATER = T0 + 10 * MINUTE
ADDS = DataPlan(
    bundle="b" * 64, pending=("0001", "0002"), head_before=None, head_after="0002", has_down=True
)
ADDS_FOR_GOOD = replace(ADDS, has_down=False)
TAKES = replace(ADDS, way_back=WayBack.DOWN, breaking=("0002",))
NOTHING = DataPlan(bundle="b" * 64, head_before="0002", head_after="0002")
DUMPED = spec(database=DatabaseSpec(connection="shop-db"))
UNSAVED = spec(database=DatabaseSpec(connection="shop-db", backup=BackupKind.NONE))
DOWN = spec(database=DatabaseSpec(connection="shop-db", on_rollback=OnRollback.DOWN))


def waiting(state: State, plan: DataPlan = ADDS, **changes: Any) -> Rollout:
    """Return a rollout whose data step is as far as *state* says, that awaits key ``k``."""
    begun = state not in {S.PREFLIGHT, S.BACKUP}
    data = DataStep(plan=plan, begun=begun, applied=begun and state is not S.MIGRATING)
    known = {"data": None if state is S.PREFLIGHT else data, "spec": DUMPED}
    effect = Stage(key="k", target=spec().target, slot=BLUE, image="i", release="r")  # type: ignore[arg-type]
    return rollout(state, **{"awaiting": effect, **known, **changes})


def undoing(plan: DataPlan, **changes: Any) -> Rollout:
    r = waiting(S.ROLLING_BACK, plan, spec=DOWN)
    assert r.data is not None
    return replace(r, data=replace(r.data, undoing=True), **changes)


def reply(kind: type[Any], **fields: Any) -> Event:
    event: Event = kind(at=T0 + SECOND, key="k", **fields)
    return event


def passed(plan: DataPlan | None) -> Event:
    return reply(
        PreflightPassed,
        active=PRODUCTION,
        idle=BLUE,
        stable_image="r.io/shop@" + digest(1),
        stable_release=digest(1),
        data=plan,
    )


def person(kind: type[Any]) -> Event:
    event: Event = kind(at=T0 + SECOND, by="ann", reason="because")
    return event


def not_yet() -> Event:
    return reply(NotYet, detail="3 of 9 GB", retry_after=SECOND)


ALERT = Alerted(at=T0, rule="errors", detail="it burns")

# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, Rollout, Event, State, type[Any] | None]] = [
    # id                     given                                when                          then              asks
    ("saved-first",          waiting(S.PREFLIGHT),                passed(ADDS),                 S.BACKUP,         BackupDatabase),
    ("not-saved",            waiting(S.PREFLIGHT, spec=UNSAVED),  passed(ADDS),                 S.MIGRATING,      Migrate),
    ("nothing-pending",      waiting(S.PREFLIGHT),                passed(NOTHING),              S.STAGING,        Stage),
    ("no-bundle",            waiting(S.PREFLIGHT),                passed(None),                 S.STAGING,        Stage),
    ("no-database",          waiting(S.PREFLIGHT, spec=spec()),   passed(ADDS),                 S.STAGING,        Stage),
    ("saved",                waiting(S.BACKUP),                   reply(Done, detail="point"),  S.MIGRATING,      Migrate),
    ("saving",               waiting(S.BACKUP),                   not_yet(),                    S.BACKUP,         BackupDatabase),
    ("cannot-save",          waiting(S.BACKUP),                   reply(Failed, reason="full"), S.REJECTED,       None),
    ("saves-too-long",       waiting(S.BACKUP),                   Tick(at=LATER),               S.REJECTED,       None),
    ("aborted-saving",       waiting(S.BACKUP),                   person(Abort),                S.REJECTED,       None),
    ("overtaken-saving",     waiting(S.BACKUP),                   person(Supersede),            S.SUPERSEDED,     None),
    ("alert-while-saving",   waiting(S.BACKUP),                   ALERT,                        S.REJECTED,       None),
    ("migrated",             waiting(S.MIGRATING),                reply(Done),                  S.STAGING,        Stage),
    ("migrating",            waiting(S.MIGRATING),                not_yet(),                    S.MIGRATING,      Migrate),
    ("cannot-migrate",       waiting(S.MIGRATING),                reply(Failed, reason="no"),   S.ROLLING_BACK,   Restore),
    ("migrates-too-long",    waiting(S.MIGRATING),                Tick(at=LATER),               S.ROLLING_BACK,   Restore),
    ("aborted-migrating",    waiting(S.MIGRATING),                person(Abort),                S.ROLLING_BACK,   Restore),
    ("overtaken-migrating",  waiting(S.MIGRATING),                person(Supersede),            S.ROLLING_BACK,   Restore),
    ("alert-while-migrating", waiting(S.MIGRATING),               ALERT,                        S.ROLLING_BACK,   Restore),
    ("took-half",            waiting(S.MIGRATING, TAKES),         reply(Failed, reason="no"),   S.ROLLING_BACK,   RevertData),
    ("took-then-bad",        waiting(S.BAKING, TAKES),            person(Abort),                S.ROLLING_BACK,   RevertData),
    ("given-back",           undoing(TAKES),                      reply(Done),                  S.ROLLING_BACK,   Restore),
    ("giving-back",          undoing(TAKES),                      not_yet(),                    S.ROLLING_BACK,   RevertData),
    ("cannot-give-back",     undoing(TAKES),                      reply(Failed, reason="no"),   S.ROLLING_BACK,   Restore),
    ("gives-back-too-long",  undoing(TAKES),                      Tick(at=LATER),               S.ROLLING_BACK,   Restore),
    ("kept",                 waiting(S.ROLLING_BACK),             reply(Done),                  S.ROLLED_BACK,    None),
    ("undone-after-users",   waiting(S.ROLLING_BACK, spec=DOWN),  reply(Done),                  S.ROLLING_BACK,   RevertData),
    ("no-down-scripts",      waiting(S.ROLLING_BACK, ADDS_FOR_GOOD, spec=DOWN), reply(Done),    S.ROLLED_BACK,    None),
    ("undone",               undoing(ADDS),                       reply(Done),                  S.ROLLED_BACK,    None),
    ("undone-made-room",     undoing(ADDS, superseded=True),      reply(Done),                  S.SUPERSEDED,     None),
    ("cannot-undo",          undoing(ADDS),                       reply(Failed, reason="no"),   S.ROLLED_BACK,    None),
    ("cannot-undo-made-room", undoing(ADDS, superseded=True),     reply(Failed, reason="no"),   S.SUPERSEDED,     None),
    ("undoes-too-long",      undoing(ADDS),                       Tick(at=LATER),               S.ROLLED_BACK,    None),
    ("undoes-too-long-made-room", undoing(ADDS, superseded=True), Tick(at=LATER),               S.SUPERSEDED,     None),
]
# fmt: on


@pytest.mark.parametrize(
    ("given", "when", "then", "asks"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_next_state(given: Rollout, when: Event, then: State, asks: type[Any] | None) -> None:
    """Each listed event leads where the table says, and asks for just that."""
    decision = decide(given, when)

    assert decision.rollout.state is then
    assert type(decision.rollout.awaiting) is (asks or type(None))


# --- What is asked for ----------------------------------------------------------------------------


def test_a_restore_point_is_asked_for_under_one_time_however_often() -> None:
    """So that a backup that was cut off goes on, and no second one is begun."""
    first = decide(waiting(S.PREFLIGHT), passed(ADDS)).rollout
    assert first.awaiting is not None
    busy = NotYet(at=T0 + MINUTE, key=first.awaiting.key, detail="1 GB", retry_after=SECOND)
    again = decide(first, busy).rollout

    assert isinstance(first.awaiting, BackupDatabase)
    assert isinstance(again.awaiting, BackupDatabase)
    assert first.awaiting.since == again.awaiting.since == T0 + SECOND
    assert again.why == "1 GB"


def test_what_is_applied_and_taken_back_is_what_was_planned() -> None:
    """The bundle's hash and the ids go with every request: another bundle is not what was read."""
    migrate = decide(waiting(S.BACKUP), reply(Done, detail="point-7")).rollout
    revert = decide(waiting(S.ROLLING_BACK, spec=DOWN), reply(Done)).rollout

    for r, kind in ((migrate, Migrate), (revert, RevertData)):
        assert isinstance(r.awaiting, kind)
        assert (r.awaiting.bundle, r.awaiting.migrations) == (ADDS.bundle, ADDS.pending)
        assert (r.awaiting.image, r.awaiting.tag) == (image(2).reference, "v2")
    assert migrate.data is not None
    assert migrate.data.restore_point == "point-7"


def test_a_slot_that_was_never_touched_is_not_refilled() -> None:
    """While it migrates nothing was staged: the earlier release stays warm where it is."""
    early = decide(waiting(S.MIGRATING), person(Abort)).rollout.awaiting
    late = decide(waiting(S.STAGING), person(Abort)).rollout.awaiting

    assert isinstance(early, Restore)
    assert isinstance(late, Restore)
    assert (early.bad, late.bad) == (None, BLUE)


def test_a_swap_back_waits_for_what_the_stable_build_misses() -> None:
    """The down scripts, then the swap, then what every way back asks for."""
    swap = replace(DOWN, strategy=replace(strategy(10), kind=StrategyKind.SWAP))
    r = waiting(S.BAKING, TAKES, spec=swap, swap=SwapProgress(touched=True))
    r = decide(r, person(Abort)).rollout
    assert isinstance(r.awaiting, RevertData)
    r = decide(r, Done(at=T0, key=r.awaiting.key)).rollout

    assert isinstance(r.awaiting, PrepareSwap)
    assert r.awaiting.goal.back


def test_each_part_of_a_way_back_has_a_deadline_of_its_own() -> None:
    undo = decide(waiting(S.ROLLING_BACK, spec=DOWN), reply(Done)).rollout
    assert undo.deadline == T0 + SECOND + DOWN.deadlines.migrating

    restore = decide(undoing(TAKES), reply(Done)).rollout
    assert restore.deadline == T0 + SECOND + DOWN.deadlines.rolling_back


def test_a_failed_undoing_asks_for_the_stable_build_at_once() -> None:
    """Users do not wait while nobody repairs a script."""
    r = decide(undoing(TAKES), reply(Failed, reason="syntax")).rollout

    assert r.ask_at == T0 + SECOND


# --- What is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "when", "kind", "says"),
    [
        (
            waiting(S.ROLLING_BACK),
            reply(Done, detail="served"),
            "transition",
            "served; the expanded schema stays, the stable build runs on it: 0001, 0002",
        ),
        (undoing(ADDS), reply(Done), "transition", "taken back from the database: 0001, 0002"),
        (
            undoing(ADDS),
            reply(Failed, reason="locked"),
            "page",
            "failed: locked; the expanded schema stays, the stable build runs on it: 0001, 0002 (locked)",
        ),
        (undoing(ADDS), Tick(at=LATER), "page", "the down scripts did not end within 0:30:00"),
    ],
    ids=["kept", "undone", "failed", "late"],
)
def test_an_end_says_what_became_of_the_database(
    given: Rollout, when: Event, kind: str, says: str
) -> None:
    decision = decide(given, when)

    assert says in decision.rollout.why
    assert [(r.kind, r.why) for r in decision.records] == [(kind, decision.rollout.why)]


def test_what_could_not_be_given_back_is_paged_once_and_said_at_the_end() -> None:
    failed = decide(undoing(TAKES), reply(Failed, reason="syntax"))
    assert [r.kind for r in failed.records] == ["page"]
    assert failed.rollout.awaiting is not None

    end = decide(failed.rollout, Done(at=T0, key=failed.rollout.awaiting.key, detail="served"))

    assert end.rollout.state is S.ROLLED_BACK
    assert "WARNING: the stable build may miss what 0002 took away" in end.rollout.why
    assert "syntax" in end.rollout.why


def test_a_rollout_that_migrated_nothing_says_nothing_of_it() -> None:
    data = DataStep(plan=NOTHING)

    end = decide(waiting(S.ROLLING_BACK, data=data), reply(Done, detail="served")).rollout

    assert end.why == "served"


# --- What is not gone back to ---------------------------------------------------------------------


def released(*numbers: int) -> AppState:
    releases = tuple(
        Release(image=image(n), slot=BLUE, rollout=RolloutId(f"r{n}"), at=T0) for n in numbers
    )
    return app(releases=releases)


def finished(state: AppState, plan: DataPlan | None, number: int = 3, **data: Any) -> AppState:
    """Return the app after image *number* was rolled out with *plan* applied."""
    step = DataStep(plan=plan, begun=True, applied=True, **data) if plan else None
    r = waiting(S.BAKING, image=image(number), data=step, id=RolloutId(f"r{number}"))
    return advance(replace(state, active=r), person(Promote)).state


def back_to(name: str | None) -> RollBack:
    return RollBack(at=LATER, by="ann", reason="worse", to=name)


def test_no_rollback_goes_past_a_migration_that_took_something_away() -> None:
    """It is refused, naming the migration and what else there is to do."""
    state = finished(released(2, 1), TAKES)
    assert [r.stranded_by for r in state.releases] == [(), ("0002",), ("0002",)]
    assert state.no_way_back_before == "r3"

    for name in (None, "v2", "v1"):
        change = apply(state, DUMPED, back_to(name))
        (record,) = change.records
        assert record.kind == "refused"
        assert "0002 took away what it may use" in record.why
        assert "slipway migrations rollback" in record.why
        assert change.state == state


def test_what_only_added_something_can_be_gone_back_from() -> None:
    """The earlier build runs on the expanded schema."""
    state = finished(released(2, 1), ADDS)
    assert state.no_way_back_before is None
    assert [r.schema_head for r in state.releases] == ["0002", None, None]

    change = apply(state, DUMPED, back_to(None))

    assert change.state.active is not None
    assert change.state.active.image == image(2)


def test_a_later_release_can_be_gone_back_from_to_the_one_that_took_it() -> None:
    """Only what is older than the migration is out of reach, and the nearest that fits is named."""
    state = finished(finished(released(2, 1), TAKES), ADDS, number=4)

    to_3 = apply(state, DUMPED, back_to(None))
    to_2 = apply(state, DUMPED, back_to("v2"))

    assert to_3.state.active is not None
    assert to_3.state.active.image == image(3)
    assert to_2.state.active is None
    assert "Roll back to shop:v3" in to_2.records[0].why


def test_the_release_found_in_the_world_is_out_of_reach_too() -> None:
    """The first rollout on record knows what served before it only from PREFLIGHT."""
    state = finished(app(), TAKES)

    assert [(r.image.digest, r.stranded_by) for r in state.releases] == [
        (digest(3), ()),
        (digest(1), ("0002",)),
    ]


def test_what_was_given_back_strands_nobody() -> None:
    state = released(1)
    r = undoing(TAKES, image=image(2))
    back = advance(replace(state, active=r), reply(Done))
    assert back.state.active is not None
    assert back.state.active.awaiting is not None
    end = advance(back.state, Done(at=T0, key=back.state.active.awaiting.key))

    assert end.state.active is None
    assert [r.stranded_by for r in end.state.releases] == [()]


def test_what_could_not_be_given_back_strands_whoever_serves() -> None:
    """Nothing is gone back to that was not built for the schema of now."""
    state = released(1)
    r = waiting(S.ROLLING_BACK, TAKES)
    assert r.data is not None
    r = replace(r, data=replace(r.data, kept_because="syntax"))

    end = advance(replace(state, active=r), reply(Done))

    assert [r.stranded_by for r in end.state.releases] == [("0002",)]


def test_a_rollback_that_waits_is_dropped_where_its_release_was_stranded() -> None:
    """The end of the running one may take away what the waiting one needs."""
    state = replace(
        released(2, 1),
        queued=(rollout(kind=Kind.ROLLBACK, image=image(1), id=RolloutId("back")),),
    )

    end = finished(state, TAKES)

    assert end.active is None
    assert end.queued == ()


def test_preflight_of_any_release_hears_what_is_gone() -> None:
    """A push of an older build is stopped by the schema itself, as its bundle tells."""
    state = finished(released(2, 1), TAKES)
    r = begin(state, rollout(spec=DUMPED))
    asked = decide(replace(r, wake_at=T0), Tick(at=T0)).rollout.awaiting

    assert isinstance(asked, Preflight)
    assert asked.stranding == ("0002",)
    assert asked.database == DUMPED.database


def test_a_way_back_carries_no_migrations() -> None:
    """It must start while the database is away."""
    asked = decide(rollout(spec=DUMPED, kind=Kind.ROLLBACK), Tick(at=T0)).rollout.awaiting

    assert isinstance(asked, Preflight)
    assert asked.database is None


def test_a_schema_outlives_a_rollback_of_the_code() -> None:
    state = finished(released(1), ADDS)
    r = waiting(S.PROMOTING, kind=Kind.ROLLBACK, image=image(1), data=None)

    end = advance(replace(state, active=r), reply(Done)).state

    assert end.releases[0].image == image(1)
    assert end.releases[0].schema_head == "0002"
