"""The machine against a world that lies, repeats, forgets and stands still.

The simulated platform obeys goals (sometimes without saying so, sometimes late) behind a queue
that delivers everything any number of times in any order. Whatever happens, the invariants of
the design hold, and the search takes every row of the table to say so.
"""

from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from controller.core.data import (
    BackupKind,
    DatabaseSpec,
    DataPlan,
    OnRollback,
    WayBack,
)
from controller.core.effects import (
    BackupDatabase,
    BeginSwap,
    CheckReady,
    Effect,
    FollowSwap,
    Migrate,
    Preflight,
    PrepareSwap,
    Restore,
    RevertData,
    Route,
    Stage,
    Swapped,
    Watch,
)
from controller.core.errors import CommandRefusedError
from controller.core.events import (
    Abort,
    Alerted,
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
    Reject,
    Resume,
    Smoke,
    Supersede,
    SwapBegun,
    SwapChecked,
    SwapUndone,
    Tick,
)
from controller.core.machine import TABLE, Decision, decide
from controller.core.model import ENDS, Kind, Rollout, State
from controller.core.plan import (
    PRODUCTION,
    Approval,
    ApprovalPoint,
    ExpiryAction,
    HeldTraffic,
    Hold,
    NoEvidence,
    NoEvidenceAction,
    Percent,
    Routing,
    SlotName,
    StrategyKind,
)
from controller.core.row import Row
from tests.core.build import BLUE, MINUTE, SECOND, T0, digest, rollout, spec, strategy

NEW, OLD = digest(2), digest(1)
TAKEN: set[int] = set()  # rows by their place in the table
ROW_AT = {id(row): place for place, row in enumerate(TABLE)}
BEFORE_STAGING = {State.QUEUED, State.PREFLIGHT, State.BACKUP, State.MIGRATING}
COMMANDS = (Approve, Reject, Pause, Resume, Promote, Abort, Supersede)
WAITS = ("no time", "until woken", "past the deadline")
TROUBLES = (*COMMANDS, *Label, *WAITS, Alerted, "done", "failed", "not yet", "smoke", "undone")

MIGRATIONS = ("0001_add", "0002_drop")
DATABASES = tuple(
    DatabaseSpec(connection="db", backup=backup, on_rollback=on_rollback)
    for backup in (BackupKind.DUMP, BackupKind.NONE)
    for on_rollback in OnRollback
)
DATA_PLANS = (
    DataPlan(bundle="b", pending=MIGRATIONS, has_down=True),
    DataPlan(bundle="b", pending=MIGRATIONS),
    DataPlan(
        bundle="b",
        pending=MIGRATIONS,
        has_down=True,
        way_back=WayBack.DOWN,
        breaking=MIGRATIONS[1:],
    ),
    DataPlan(bundle="b"),  # all of it is applied already
)
NO_DATA = (None, None)
DATA = tuple(product(DATABASES, DATA_PLANS))
# On the way there what happens on a rollback makes no difference, and backwards the backup none.
FORWARD_DATA = tuple((d, p) for d, p in DATA if d.on_rollback is OnRollback.DOWN and p.has_down)
BACKWARD_DATA = tuple((d, p) for d, p in DATA if d.backup is BackupKind.NONE and p.pending)

plans = st.builds(
    strategy,
    st.sampled_from((10, 20)),
    st.sampled_from((50, 100)),
    bake=st.sampled_from((timedelta(0), 10 * MINUTE)),
    kind=st.sampled_from(StrategyKind),
    approval=st.builds(
        Approval, point=st.sampled_from(ApprovalPoint), on_expiry=st.sampled_from(ExpiryAction)
    ),
    hold=st.builds(
        Hold, traffic=st.sampled_from(HeldTraffic), on_expiry=st.sampled_from(ExpiryAction)
    ),
)
no_evidence = st.builds(
    NoEvidence,
    insufficient_data=st.sampled_from(NoEvidenceAction),
    provider_unavailable=st.sampled_from(NoEvidenceAction),
    ambient_incident=st.sampled_from(NoEvidenceAction),
)


class World(RuleBasedStateMachine):
    """A platform that obeys, behind a queue that repeats. Bad weather is drawn with each rule."""

    def __init__(self) -> None:
        super().__init__()
        self.now: datetime = T0
        self.routing = Routing()
        self.images = {PRODUCTION: OLD, BLUE: "nothing"}
        self.swap_lands = False  # a swap was taken and did not take place yet
        self.proved: set[SlotName] = {PRODUCTION}
        self.plan: DataPlan | None = None
        self.applied: list[str] = []
        self.applied_unsaved = False  # a migration ran without the restore point that was wanted
        self.restore_point = False
        self.replies: list[Event] = []
        self.rollout: Rollout = rollout()

    @initialize(
        plan=plans,
        actions=no_evidence,
        kind=st.sampled_from((Kind.RELEASE, Kind.RELEASE, Kind.RELEASE, Kind.ROLLBACK)),
        good_moves=st.integers(0, 18),
        troubles=st.lists(st.sampled_from(TROUBLES), max_size=3),
        data=st.sampled_from((NO_DATA, *DATA)),
    )
    def start(
        self,
        plan: Any,
        actions: NoEvidence,
        kind: Kind,
        good_moves: int,
        troubles: list[Any],
        data: Any,
    ) -> None:
        """Walk some way in good weather first: trouble must meet every state, not the first."""
        self.start_on(plan, actions, kind, good_moves, troubles, data=data)

    def start_on(
        self,
        plan: Any,
        actions: NoEvidence,
        kind: Kind,
        good_moves: int,
        troubles: list[Any],
        *,
        data: tuple[DatabaseSpec | None, DataPlan | None] = NO_DATA,
    ) -> None:
        database, self.plan = data if kind is Kind.RELEASE else NO_DATA
        base = spec(plan, database=database)
        self.rollout = rollout(
            spec=replace(base, analysis=replace(base.analysis, on_no_evidence=actions)), kind=kind
        )

        for _ in range(good_moves):
            self.goes_well()
        for trouble in troubles:
            self.meets(trouble)

    def fork(self) -> "World":
        """Return a world that goes its own way from here."""
        twin = copy(self)
        twin.images, twin.proved = dict(self.images), set(self.proved)
        twin.replies, twin.applied = list(self.replies), list(self.applied)
        return twin

    def meets(self, trouble: Any) -> None:
        if isinstance(trouble, Label):
            self.tell(Judged(at=self.now, label=trouble, reason="said so", judge="t/1"))
        elif trouble in COMMANDS:
            self.tell(trouble(at=self.now, by="ann", reason="because"))
        elif trouble is Alerted:
            self.tell(Alerted(at=self.now, rule="errors", detail="it burns"))
        elif trouble in WAITS:
            self.wait(trouble)
        elif self.rollout.awaiting is not None:
            smoke = Smoke.FAILED if trouble == "smoke" else Smoke.PASSED
            outcome = "done" if trouble == "smoke" else trouble
            self.run(outcome=outcome, half_done=False, lost=False, smoke=smoke)

    def goes_well(self) -> None:
        if self.rollout.awaiting is not None:
            self.run(outcome="done", half_done=False, lost=False, smoke=Smoke.PASSED)
        elif self.rollout.state is State.APPROVAL:
            self.tell(Approve(at=self.now, by="ann"))
        elif self.rollout.state is State.QUEUED:
            self.tell(Tick(at=self.now))
        else:
            self.tell(Judged(at=self.now, label=Label.HEALTHY, reason="fine", judge="t/1"))

    # --- What happens -------------------------------------------------------------------------

    def tell(self, event: Event) -> None:
        before = self.rollout
        refusal: CommandRefusedError | None = None
        try:
            decision: Decision | None = decide(before, event)
        except CommandRefusedError as refused:
            refusal = refused
            decision = None
        if decision is None:
            assert isinstance(event, COMMANDS)
            assert refusal is not None
            assert refusal.fix
            return
        if decision.row is not None:
            TAKEN.add(ROW_AT[id(decision.row)])
            assert decision.rollout.turn == before.turn + 1
            assert decision.records
        else:
            assert decision.rollout == before
        self.rollout = decision.rollout

    @precondition(lambda self: self.rollout.awaiting is not None)
    @rule(
        outcome=st.sampled_from(("done", "done", "done", "done", "not yet", "failed", "undone")),
        half_done=st.booleans(),
        lost=st.booleans(),
        smoke=st.sampled_from((Smoke.PASSED, Smoke.PASSED, Smoke.FAILED)),
    )
    def awaited_effect_runs(
        self, *, outcome: str, half_done: bool, lost: bool, smoke: Smoke
    ) -> None:
        self.run(outcome=outcome, half_done=half_done, lost=lost, smoke=smoke)

    def run(self, *, outcome: str, half_done: bool, lost: bool, smoke: Smoke) -> None:
        """*half_done*: the write landed but the answer says otherwise; *lost*: nobody hears."""
        effect = self.rollout.awaiting
        assert effect is not None
        self.now += SECOND
        if outcome == "undone" and not isinstance(effect, FollowSwap):
            outcome = "done"
        if isinstance(effect, BeginSwap):
            self.send_once(effect, refused=outcome in {"failed", "not yet"}, at_once=half_done)
        elif isinstance(effect, Migrate | RevertData) and outcome != "done":
            self.run_some(effect, 1 if half_done else 0)
        elif outcome == "done" or half_done:
            self.obey(effect)
        reply = self.answer(effect, outcome, smoke)
        self.replies.append(reply)
        if not lost:
            self.tell(reply)

    def send_once(self, effect: BeginSwap, *, refused: bool, at_once: bool) -> None:
        """Do as the engine does: say that it is sent, then send it; what was said is not resent."""
        if self.rollout.asked or refused:
            return
        self.rollout = replace(self.rollout, asked=True)
        self.swap_lands = True
        if at_once:
            self.swap_takes_place()

    def run_some(self, effect: Migrate | RevertData, most: int) -> None:
        """Run *most* of the scripts that are still to run."""
        is_up = isinstance(effect, Migrate)
        ids = effect.migrations if is_up else tuple(reversed(effect.migrations))
        left = [name for name in ids if (name in self.applied) != is_up]
        for name in left[:most]:
            if is_up:
                self.applied.append(name)
                wanted = effect.database.backup is not BackupKind.NONE
                self.applied_unsaved |= wanted and not self.restore_point
            else:
                self.applied.remove(name)

    def swap_takes_place(self) -> None:
        """Exchange the builds, if a swap is on its way; a build keeps its proof."""
        if not self.swap_lands:
            return
        self.swap_lands = False
        self.images = {PRODUCTION: self.images[BLUE], BLUE: self.images[PRODUCTION]}
        names = {PRODUCTION: BLUE, BLUE: PRODUCTION}
        self.proved = {names[slot] for slot in self.proved}

    def obey(self, effect: Effect) -> None:
        match effect:
            case PrepareSwap():
                self.swap_takes_place()  # it looks until nothing can land any more
                if not self.is_true(effect.goal):
                    self.routing = Routing()
            case FollowSwap():
                self.swap_takes_place()
            case BackupDatabase() | Migrate() | RevertData():
                self.obey_about_data(effect)
            case Stage():
                self.images[effect.slot] = effect.release
                self.proved.discard(effect.slot)
            case Route():
                self.routing = effect.routing
            case Restore():
                self.restore(effect)
            case _:
                pass

    def restore(self, effect: Restore) -> None:
        everyone = ((effect.stable, Percent(100)),)
        self.routing = Routing() if effect.stable == PRODUCTION else Routing(everyone)
        if effect.in_place:
            self.images[effect.stable] = str(effect.stable_release)
        if effect.bad is not None and effect.stable_release is not None:
            self.images[effect.bad] = effect.stable_release

    def obey_about_data(self, effect: BackupDatabase | Migrate | RevertData) -> None:
        if isinstance(effect, BackupDatabase):
            self.restore_point = True
        else:
            self.run_some(effect, len(effect.migrations))

    def answer(  # noqa: PLR0911 - one answer per kind of effect
        self, effect: Effect, outcome: str, smoke: Smoke
    ) -> Event:
        key = effect.key
        if outcome == "failed" and isinstance(effect, Preflight):
            return PreflightFailed(at=self.now, key=key, reasons=("no such image",))
        if outcome == "failed":
            return Failed(at=self.now, key=key, reason="refused")
        if outcome == "not yet":
            return NotYet(at=self.now, key=key, detail="busy", retry_after=SECOND)
        if isinstance(effect, Preflight):
            return PreflightPassed(
                at=self.now,
                key=key,
                active=PRODUCTION,
                idle=BLUE,
                stable_image="r.io/shop@" + OLD,
                stable_release=OLD,
                data=self.plan,
            )
        if isinstance(effect, CheckReady):
            if smoke is Smoke.PASSED and self.images[effect.slot] == effect.release:
                self.proved.add(effect.slot)
            complete = effect.streak + 1 >= effect.needed
            return ReadyChecked(
                at=self.now,
                key=key,
                ready=True,
                smoke=smoke if complete else Smoke.NOT_RUN,
            )
        if isinstance(effect, PrepareSwap | BeginSwap | FollowSwap):
            return self.answer_about_swap(effect, outcome)
        assert isinstance(
            effect, Stage | Route | Restore | Watch | BackupDatabase | Migrate | RevertData
        )
        return Done(at=self.now, key=key)

    def answer_about_swap(
        self, effect: PrepareSwap | BeginSwap | FollowSwap, outcome: str
    ) -> Event:
        key = effect.key
        if isinstance(effect, BeginSwap):
            return SwapBegun(at=self.now, key=key, token="t")
        if outcome == "undone" and isinstance(effect, FollowSwap):
            self.swap_lands = False
            return SwapUndone(at=self.now, key=key, detail="allocation changed")
        self.obey(effect)
        if self.is_true(effect.goal):
            is_check = isinstance(effect, PrepareSwap)
            done = Done(at=self.now, key=key)
            return SwapChecked(at=self.now, key=key, needed=False) if is_check else done
        if isinstance(effect, FollowSwap):
            return SwapUndone(at=self.now, key=key, detail="no trace of it")
        holder = PRODUCTION if effect.goal.back else BLUE
        if self.images[holder] != NEW:
            return Failed(at=self.now, key=key, reason="a swap would not help")
        return SwapChecked(at=self.now, key=key, needed=True)

    def is_true(self, goal: Swapped) -> bool:
        wanted, other = (BLUE, PRODUCTION) if goal.back else (PRODUCTION, BLUE)
        return self.images[wanted] == NEW and self.images[other] != NEW

    @precondition(lambda self: isinstance(self.rollout.awaiting, Preflight))
    @rule()
    def preflight_breaks(self) -> None:
        assert self.rollout.awaiting is not None
        self.tell(Failed(at=self.now, key=self.rollout.awaiting.key, reason="no access"))

    @precondition(lambda self: self.replies)
    @rule(data=st.data())
    def any_reply_arrives_again(self, data: st.DataObject) -> None:
        self.tell(data.draw(st.sampled_from(self.replies)))

    @rule(label=st.sampled_from(Label))
    def judge_speaks(self, label: Label) -> None:
        self.tell(Judged(at=self.now, label=label, reason="said so", judge="test/1"))

    @rule(command=st.sampled_from(COMMANDS))
    def person_speaks(self, command: Any) -> None:
        self.tell(command(at=self.now, by="ann", reason="because"))

    @rule()
    def alert_fires(self) -> None:
        self.meets(Alerted)

    @rule(wait=st.sampled_from(WAITS))
    def time_passes(self, wait: str) -> None:
        self.wait(wait)

    def wait(self, wait: str) -> None:
        due = self.rollout.wake_at if wait == "until woken" else self.rollout.deadline
        if wait != "no time" and due is not None:
            self.now = max(self.now, due)
        self.tell(Tick(at=self.now))

    # --- What must hold ---------------------------------------------------------------------------

    @invariant()
    def the_new_build_never_serves_unproved(self) -> None:
        """Traffic only points where the build in the slot proved itself, or the old build is."""
        for slot in (PRODUCTION, BLUE):
            if self.routing.of(slot) > 0:
                assert slot in self.proved or self.images[slot] == OLD

    @invariant()
    def shares_always_add_to_everyone(self) -> None:
        assert self.routing.of(PRODUCTION) + self.routing.of(BLUE) == 100

    @invariant()
    def every_state_that_lasts_has_a_deadline_and_a_wake_up(self) -> None:
        r = self.rollout
        if r.state in ENDS:
            assert r.awaiting is None
            assert r.wake_at is None
            assert r.ended_at is not None
        else:
            assert r.wake_at is not None
            assert r.state is State.QUEUED or r.deadline is not None

    @invariant()
    def rolled_back_means_stable_serves_everyone_and_the_bad_slot_is_refilled(self) -> None:
        if self.rollout.state is State.ROLLED_BACK and self.rollout.kind is Kind.RELEASE:
            assert self.routing.of(PRODUCTION) == 100
            data = self.rollout.data
            untouched = data is not None and data.begun and not data.applied
            blue = "nothing" if untouched else OLD
            assert self.images == {
                PRODUCTION: OLD,
                BLUE: blue,
            }  # a swap that lands late is harmless

    @invariant()
    def untouched_means_nothing_was_touched(self) -> None:
        if self.rollout.state is State.REJECTED:
            assert self.routing.of(BLUE) == 0
            assert self.images[BLUE] == "nothing"
            assert self.applied == []

    @invariant()
    def nobody_is_served_by_a_build_whose_schema_does_not_exist(self) -> None:
        """Only taking back what the stable build misses may take it from the bad one."""
        r = self.rollout
        pending = self.plan.pending if self.plan else ()
        is_missing = set(self.applied) != set(pending)
        taking_back = r.data is not None and r.data.plan.way_back is WayBack.DOWN
        for slot in (PRODUCTION, BLUE):
            if self.routing.of(slot) > 0 and self.images[slot] == NEW and is_missing:
                assert r.kind is Kind.ROLLBACK or (r.state is State.ROLLING_BACK and taking_back)
        if r.state not in {*BEFORE_STAGING, State.ROLLING_BACK, *ENDS} or (
            r.state is State.SUCCEEDED
        ):
            assert not is_missing

    @invariant()
    def the_stable_build_never_serves_alone_without_what_was_taken_from_it(self) -> None:
        """Where the down scripts fail somebody was paged, and it is said at the end."""
        r = self.rollout
        if r.data is None or r.data.plan.way_back is not WayBack.DOWN or r.data.kept_because:
            return
        over = r.state in {State.ROLLED_BACK, State.SUPERSEDED}
        goes_back = r.state is State.ROLLING_BACK
        if over or (goes_back and isinstance(r.awaiting, Restore | PrepareSwap)):
            assert self.applied == []

    @invariant()
    def nothing_runs_before_there_is_a_way_back(self) -> None:
        assert not self.applied_unsaved

    @invariant()
    def what_stays_in_the_database_is_what_was_configured_and_it_is_said(self) -> None:
        r = self.rollout
        if r.state not in {State.ROLLED_BACK, State.SUPERSEDED} or r.data is None:
            return
        database = r.spec.database
        assert database is not None
        keeps = database.on_rollback is OnRollback.KEEP or not r.data.plan.has_down
        must_go = r.data.plan.way_back is WayBack.DOWN or not keeps
        if must_go and not r.data.kept_because:
            assert self.applied == []
        if r.data.begun:
            assert all(name in r.why for name in r.data.plan.pending) or "WARNING" in r.why
        if self.applied:
            assert not r.data.reverted

    @invariant()
    def succeeded_means_the_new_build_serves_everyone(self) -> None:
        if self.rollout.state is State.SUCCEEDED:
            is_swap = self.rollout.spec.strategy.kind is StrategyKind.SWAP
            serving = PRODUCTION if is_swap else BLUE
            assert self.routing.of(serving) == 100
            assert self.images[serving] == NEW
            assert not self.swap_lands


def describe(row: Row[Any]) -> str:
    guard = f" [{row.when.__name__}]" if row.when else ""
    return f"{row.source} -- {row.on.__name__}{guard} --> {row.to}"


def check(world: World) -> None:
    """Hold every invariant, as hypothesis does after each rule."""
    world.the_new_build_never_serves_unproved()
    world.shares_always_add_to_everyone()
    world.every_state_that_lasts_has_a_deadline_and_a_wake_up()
    world.rolled_back_means_stable_serves_everyone_and_the_bad_slot_is_refilled()
    world.untouched_means_nothing_was_touched()
    world.nobody_is_served_by_a_build_whose_schema_does_not_exist()
    world.the_stable_build_never_serves_alone_without_what_was_taken_from_it()
    world.nothing_runs_before_there_is_a_way_back()
    world.what_stays_in_the_database_is_what_was_configured_and_it_is_said()
    world.succeeded_means_the_new_build_serves_everyone()


def plan_of(
    point: ApprovalPoint,
    expiry: ExpiryAction,
    *weights: int,
    kind: StrategyKind = StrategyKind.ROUTE,
) -> Any:
    return strategy(
        *weights,
        kind=kind,
        approval=Approval(point=point, on_expiry=expiry),
        hold=Hold(traffic=HeldTraffic.FROZEN, on_expiry=expiry),
    )


SWEPT = (
    (plan_of(ApprovalPoint.NEVER, ExpiryAction.PROCEED, 10, 100), Kind.RELEASE),
    (plan_of(ApprovalPoint.BEFORE_CANARY, ExpiryAction.PROCEED, 10), Kind.RELEASE),
    (plan_of(ApprovalPoint.BEFORE_CANARY, ExpiryAction.HOLD, 10), Kind.RELEASE),
    (plan_of(ApprovalPoint.BEFORE_FULL, ExpiryAction.PROCEED, 10), Kind.RELEASE),
    (plan_of(ApprovalPoint.BEFORE_FULL, ExpiryAction.HOLD, 10), Kind.RELEASE),
    (plan_of(ApprovalPoint.BEFORE_FULL, ExpiryAction.ROLL_BACK, 10, 100), Kind.RELEASE),
    (plan_of(ApprovalPoint.NEVER, ExpiryAction.ROLL_BACK, 10), Kind.ROLLBACK),
    (
        plan_of(ApprovalPoint.NEVER, ExpiryAction.ROLL_BACK, 10, kind=StrategyKind.SWAP),
        Kind.RELEASE,
    ),
    (plan_of(ApprovalPoint.NEVER, ExpiryAction.ROLL_BACK, kind=StrategyKind.SWAP), Kind.ROLLBACK),
)
LONGEST_GOOD_WAY = 13
SWAP_BEGINS, SWAP_IS_OVER = 7, 16  # moves of the good way; before them both strategies are alike
DATA_IS_READY = 6  # moves of the good way; from then on nothing is new but the way back
PLATFORM_GIVES_UP = ("undone",) * 20


def sweep_pairs_of_trouble() -> None:
    """Let every pair of troubles meet every point of the good way."""
    for plan, kind in SWEPT:
        is_swap = plan.kind is StrategyKind.SWAP
        way = range(SWAP_BEGINS, SWAP_IS_OVER) if is_swap else range(LONGEST_GOOD_WAY)
        troubles_met = TROUBLES if is_swap else tuple(t for t in TROUBLES if t != "undone")
        for good_moves in way:
            so_far = World()
            so_far.start_on(plan, NoEvidence(), kind, good_moves, [])
            for first in troubles_met:
                once = so_far.fork()
                once.meets(first)
                for second in troubles_met:
                    world = once.fork()
                    for trouble in (second, "done", "until woken"):
                        world.meets(trouble)
                    check(world)


def sweep_long_roads_of_swaps() -> None:
    """Let swaps fail for good from some point on, be refused, and be looked at again."""
    roads = (
        PLATFORM_GIVES_UP,
        (Abort, *PLATFORM_GIVES_UP),
        (Abort, "failed", "done"),
        (Abort, "done", "not yet", *("done",) * 5),
        (Pause, Resume, "done", "done", Abort, *("done",) * 5),
    )
    for (plan, kind), good_moves, road in product(SWEPT, range(SWAP_IS_OVER), roads):
        world = World()
        world.start_on(plan, NoEvidence(), kind, good_moves, list(road))
        check(world)


def sweep_pairs_of_trouble_with_data() -> None:
    """Let every pair of troubles meet every point of the way to a migrated database."""
    plan = plan_of(ApprovalPoint.NEVER, ExpiryAction.ROLL_BACK, 10)
    troubles_met = tuple(t for t in TROUBLES if t != "undone" and not isinstance(t, Label))
    for data, good_moves in product(FORWARD_DATA, range(1, DATA_IS_READY)):
        so_far = World()
        so_far.start_on(plan, NoEvidence(), Kind.RELEASE, good_moves, [], data=data)
        for first in troubles_met:
            once = so_far.fork()
            once.meets(first)
            for second in troubles_met:
                world = once.fork()
                for trouble in (second, "done", "until woken"):
                    world.meets(trouble)
                    check(world)


def sweep_roads_back_with_data() -> None:
    """Let every way back meet the down scripts' every end."""
    kinds = (StrategyKind.ROUTE, StrategyKind.SWAP)
    plans = [plan_of(ApprovalPoint.NEVER, ExpiryAction.ROLL_BACK, 10, kind=kind) for kind in kinds]
    ends = ("done", "failed", "not yet", "past the deadline")
    begins = (Abort, Supersede, Alerted, "failed")
    moves = range(2, LONGEST_GOOD_WAY + 4)
    for plan, data, good_moves, begin in product(plans, BACKWARD_DATA, moves, begins):
        so_far = World()
        so_far.start_on(plan, NoEvidence(), Kind.RELEASE, good_moves, [begin], data=data)
        for first, second in product(ends, ends):
            world = so_far.fork()
            for trouble in (first, second, "done", "done", "done", "done"):
                world.meets(trouble)
                check(world)


def break_preflight() -> None:
    world = World()
    world.start_on(strategy(10), NoEvidence(), Kind.RELEASE, 1, [])
    world.preflight_breaks()
    check(world)


def test_any_order_is_safe_and_every_row_is_taken() -> None:
    """The invariants hold, and the search took every row of the table to say so."""
    TAKEN.clear()
    sweep_pairs_of_trouble()
    sweep_long_roads_of_swaps()
    sweep_pairs_of_trouble_with_data()
    sweep_roads_back_with_data()
    break_preflight()
    run_state_machine_as_test(
        World,
        settings=settings(max_examples=90, stateful_step_count=30, derandomize=True, deadline=None),
    )

    missed = [describe(row) for place, row in enumerate(TABLE) if place not in TAKEN]
    assert missed == []
