"""The life of one rollout: prose first, then one table, then the function that reads it.

A push is QUEUED until the app is free, its burst is over, no freeze stands and no client can still
be pinned to the slot to fill (a person may say promote to begin now). PREFLIGHT asks the world
whether the rollout can start and which slot is idle; nothing is touched before that is known.
Where the release carries migrations, BACKUP makes a restore point and MIGRATING applies them while
the stable build serves on. STAGING puts image and identity on the idle slot, WARMING proves that
*this* build answers there. Then, step by step, SHIFTING gives it a share of the traffic and
OBSERVING lets the judge look at its telemetry. After the last step PROMOTING makes the split final
and BAKING keeps watching while the previous build stays warm.

Every road back leads through ROLLING_BACK, which has one goal (stable serves everyone, also those
pinned to the bad slot) and does not end before the goal is true. Where the evidence is missing the
rollout is HELD: a human decides, or the configured action does when nobody comes. A rollout that
touched nothing yet is simply REJECTED or SUPERSEDED.

A rollback to an earlier release walks the same road without canary and bake: its PROMOTING asks
for the same goal as ROLLING_BACK, with the earlier release as the stable one.

Under strategy `swap` production always serves in the end. PROMOTING first exchanges slot and
production, ROLLING_BACK first exchanges them back where a swap was sent. A second request would
undo the first, so a swap is prepared, sent once and followed, each a turn of its own.

A schema is only ever expanded under the stable build's feet, so a way back keeps it, or undoes it
last. Where a release took something away, the down scripts run before anything else goes back.

An alert that fires on what the rollout touches takes it back from any state that touched anything.

Each state awaits at most one effect. A reply to another key is late or repeated and changes
nothing. Facts without a row are ignored and recorded; commands without a row are refused.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, cast

from controller.core import guards as g
from controller.core import migrating as mg
from controller.core import swapping as sw
from controller.core.asks import (
    ask_backup,
    ask_hold,
    ask_migrate,
    ask_preflight,
    ask_promote,
    ask_ready,
    ask_restore,
    ask_route,
    ask_stage,
    ask_swap,
    ask_watch,
    ask_watch_if_serving,
)
from controller.core.data_rows import BACK_FIRST, BACK_LAST, FORWARD
from controller.core.errors import CommandRefusedError
from controller.core.events import (
    COMMANDS,
    REPLIES,
    Abort,
    Alerted,
    Approve,
    Done,
    Event,
    Failed,
    Judged,
    NotYet,
    Pause,
    PreflightFailed,
    PreflightPassed,
    Promote,
    ReadyChecked,
    Reject,
    Resume,
    Supersede,
    SwapBegun,
    SwapChecked,
    SwapUndone,
    Tick,
)
from controller.core.gate import Exposure
from controller.core.model import ENDS, Record, Rollout, State
from controller.core.row import Row
from controller.core.schedule import deadline, past_rollback_deadline, schedule
from controller.core.words import explain, record, verb, verdict, with_aftermath

S = State


_UNTOUCHED = (S.QUEUED, S.PREFLIGHT, S.BACKUP)
_NO_USERS_YET = (S.MIGRATING, S.STAGING, S.WARMING)
_IN_CANARY = (S.APPROVAL, S.SHIFTING, S.OBSERVING)
_ASKS_AGAIN = (
    (S.PREFLIGHT, ask_preflight),
    (S.BACKUP, ask_backup),
    (S.MIGRATING, ask_migrate),
    (S.STAGING, ask_stage),
    (S.WARMING, ask_ready),
    (S.SHIFTING, ask_route),
    (S.OBSERVING, ask_watch),
    (S.PROMOTING, ask_promote),
    (S.BAKING, ask_watch),
    (S.HELD, ask_hold),
    (S.APPROVAL, ask_watch_if_serving),
    (S.ROLLING_BACK, ask_restore),
)
_ON_THE_WAY = (S.MIGRATING, S.STAGING, S.WARMING, S.SHIFTING, S.PROMOTING)
_SWAPPING = (S.PROMOTING, S.ROLLING_BACK)
_BLAMED_BY_ALERTS = (*_NO_USERS_YET, *_IN_CANARY, S.HELD, S.PROMOTING, S.BAKING)

_ROWS = (  # no annotation: each row's guard and ask are checked against its event
    Row(S.QUEUED, Tick, S.PREFLIGHT, ask_preflight, when=g.its_turn_has_come),
    Row(S.QUEUED, Promote, S.PREFLIGHT, ask_preflight),
    *FORWARD,
    Row(S.PREFLIGHT, PreflightPassed, S.STAGING, ask_stage, change=g.learn),
    Row(S.PREFLIGHT, PreflightFailed, S.REJECTED),
    *(Row(s, Failed, S.REJECTED) for s in (S.PREFLIGHT, S.BACKUP)),
    *(Row(s, Tick, S.REJECTED, when=g.past_deadline) for s in (S.PREFLIGHT, S.BACKUP)),
    Row(S.STAGING, Done, S.WARMING, ask_ready),
    Row(S.WARMING, ReadyChecked, S.APPROVAL, when=g.proved_and_approval_first),
    Row(S.WARMING, ReadyChecked, S.PROMOTING, ask_promote, when=g.proved_and_no_canary),
    Row(S.WARMING, ReadyChecked, S.SHIFTING, ask_route, when=g.proved),
    Row(S.WARMING, ReadyChecked, S.ROLLING_BACK, ask_restore, when=g.smoke_failed),
    Row(S.WARMING, ReadyChecked, S.WARMING, ask_ready, change=g.count_streak),
    Row(S.SHIFTING, Done, S.OBSERVING, ask_watch),
    Row(S.OBSERVING, Done, S.OBSERVING),
    Row(S.OBSERVING, Failed, S.HELD, ask_hold, change=g.hold),
    Row(S.OBSERVING, Judged, S.ROLLING_BACK, ask_restore, when=g.regressed),
    Row(
        S.OBSERVING,
        Judged,
        S.APPROVAL,
        ask_watch,
        when=g.passed_and_approval_next,
        change=g.next_step,
    ),
    Row(S.OBSERVING, Judged, S.PROMOTING, ask_promote, when=g.passed_last_step),
    Row(S.OBSERVING, Judged, S.SHIFTING, ask_route, when=g.passed, change=g.next_step),
    Row(S.OBSERVING, Judged, S.HELD, ask_hold, when=g.no_evidence, change=g.hold),
    Row(S.OBSERVING, Tick, S.HELD, ask_hold, when=g.past_deadline, change=g.hold),
    Row(S.OBSERVING, Tick, S.OBSERVING, ask_watch, when=g.watch_is_due),
    Row(S.OBSERVING, Pause, S.HELD, ask_hold, change=g.pause),
    Row(S.OBSERVING, Promote, S.PROMOTING, ask_promote),
    Row(S.APPROVAL, Done, S.APPROVAL),
    Row(S.APPROVAL, Failed, S.APPROVAL),
    Row(S.APPROVAL, Approve, S.PROMOTING, ask_promote, when=g.approved_after_last_step),
    Row(S.APPROVAL, Approve, S.SHIFTING, ask_route),
    Row(S.APPROVAL, Reject, S.ROLLING_BACK, ask_restore),
    Row(S.APPROVAL, Judged, S.ROLLING_BACK, ask_restore, when=g.known_regressed),
    Row(S.APPROVAL, Tick, S.HELD, ask_hold, when=g.approval_expires_to_hold, change=g.hold),
    Row(
        S.APPROVAL,
        Tick,
        S.PROMOTING,
        ask_promote,
        when=g.approval_expires_to_go_on_after_last_step,
    ),
    Row(S.APPROVAL, Tick, S.SHIFTING, ask_route, when=g.approval_expires_to_go_on),
    Row(S.APPROVAL, Tick, S.ROLLING_BACK, ask_restore, when=g.past_deadline),
    Row(S.APPROVAL, Tick, S.APPROVAL, ask_watch_if_serving, when=g.watch_is_due),
    *BACK_FIRST,
    *(
        Row(s, SwapChecked, s, ask_swap, when=sw.swap_is_needed, change=sw.send_swap)
        for s in _SWAPPING
    ),
    Row(S.PROMOTING, SwapChecked, S.PROMOTING, ask_promote, change=sw.swap_is_over),
    Row(S.ROLLING_BACK, SwapChecked, S.ROLLING_BACK, ask_restore, change=sw.swap_is_over),
    *(Row(s, SwapBegun, s, ask_swap, change=sw.follow_swap) for s in _SWAPPING),
    Row(S.PROMOTING, SwapUndone, S.ROLLING_BACK, ask_restore, when=sw.swap_was_tried_enough),
    Row(
        S.ROLLING_BACK,
        SwapUndone,
        S.ROLLING_BACK,
        ask_restore,
        when=sw.swap_was_tried_enough,
        change=sw.give_swap_up,
    ),
    *(Row(s, SwapUndone, s, ask_swap, change=sw.prepare_swap_again) for s in _SWAPPING),
    *(
        Row(s, NotYet, s, ask_swap, when=sw.swap_was_refused, change=sw.take_refusal)
        for s in _SWAPPING
    ),
    Row(
        S.PROMOTING,
        Done,
        S.PROMOTING,
        ask_promote,
        when=sw.swap_is_under_way,
        change=sw.swap_is_over,
    ),
    Row(
        S.ROLLING_BACK,
        Done,
        S.ROLLING_BACK,
        ask_restore,
        when=sw.swap_is_under_way,
        change=sw.swap_is_over,
    ),
    Row(
        S.ROLLING_BACK,
        Failed,
        S.ROLLING_BACK,
        ask_restore,
        when=sw.swap_is_under_way,
        change=sw.give_swap_up,
    ),
    Row(S.PROMOTING, Done, S.SUCCEEDED, when=g.needs_no_bake),
    Row(S.PROMOTING, Done, S.BAKING, ask_watch),
    Row(S.BAKING, Done, S.BAKING),
    Row(S.BAKING, Failed, S.HELD, ask_hold, change=g.hold),
    Row(S.BAKING, Judged, S.ROLLING_BACK, ask_restore, when=g.regressed),
    Row(S.BAKING, Judged, S.SUCCEEDED, when=g.passed),
    Row(S.BAKING, Judged, S.HELD, ask_hold, when=g.no_evidence, change=g.hold),
    Row(S.BAKING, Tick, S.HELD, ask_hold, when=g.past_deadline, change=g.hold),
    Row(S.BAKING, Tick, S.BAKING, ask_watch, when=g.watch_is_due),
    Row(S.BAKING, Pause, S.HELD, ask_hold, change=g.pause),
    Row(S.BAKING, Promote, S.SUCCEEDED),
    Row(S.BAKING, Abort, S.ROLLING_BACK, ask_restore),
    Row(S.HELD, Done, S.HELD),
    Row(S.HELD, Failed, S.HELD),
    Row(S.HELD, Judged, S.ROLLING_BACK, ask_restore, when=g.known_regressed),
    Row(S.HELD, Judged, S.SUCCEEDED, when=g.evidence_came_back_while_baking),
    Row(
        S.HELD,
        Judged,
        S.APPROVAL,
        ask_watch,
        when=g.evidence_came_back_and_approval_next,
        change=g.next_step,
    ),
    Row(S.HELD, Judged, S.PROMOTING, ask_promote, when=g.evidence_came_back_at_last_step),
    Row(S.HELD, Judged, S.SHIFTING, ask_route, when=g.evidence_came_back, change=g.next_step),
    Row(S.HELD, Resume, S.PROMOTING, ask_promote, when=g.held_while_baking),
    Row(S.HELD, Resume, S.APPROVAL, ask_watch_if_serving, when=g.held_while_approving),
    Row(S.HELD, Resume, S.SHIFTING, ask_route),
    Row(S.HELD, Approve, S.SUCCEEDED, when=g.held_while_baking),
    Row(S.HELD, Approve, S.PROMOTING, ask_promote, when=g.held_while_approving_the_end),
    Row(S.HELD, Approve, S.SHIFTING, ask_route, when=g.held_while_approving),
    Row(S.HELD, Approve, S.PROMOTING, ask_promote, when=g.at_last_step),
    Row(S.HELD, Approve, S.SHIFTING, ask_route, change=g.next_step),
    Row(S.HELD, Promote, S.SUCCEEDED, when=g.held_while_baking),
    Row(S.HELD, Promote, S.PROMOTING, ask_promote),
    Row(S.HELD, Reject, S.ROLLING_BACK, ask_restore),
    Row(S.HELD, Abort, S.ROLLING_BACK, ask_restore),
    Row(S.HELD, Tick, S.ROLLING_BACK, ask_restore, when=g.hold_expires_while_approving),
    Row(S.HELD, Tick, S.SUCCEEDED, when=g.hold_expires_while_baking),
    Row(
        S.HELD,
        Tick,
        S.APPROVAL,
        ask_watch_if_serving,
        when=g.hold_expires_and_approval_next,
        change=g.next_step,
    ),
    Row(S.HELD, Tick, S.PROMOTING, ask_promote, when=g.hold_expires_at_last_step),
    Row(S.HELD, Tick, S.SHIFTING, ask_route, when=g.hold_expires_to_go_on, change=g.next_step),
    Row(S.HELD, Tick, S.ROLLING_BACK, ask_restore, when=g.past_deadline),
    Row(S.HELD, Tick, S.HELD, ask_hold, when=g.watch_is_due),
    Row(S.HELD, Supersede, S.ROLLING_BACK, ask_restore, change=g.supersede),
    Row(S.PROMOTING, Abort, S.ROLLING_BACK, ask_restore),
    *BACK_LAST,
    Row(S.ROLLING_BACK, Done, S.SUPERSEDED, when=g.makes_room),
    Row(S.ROLLING_BACK, Done, S.ROLLED_BACK),
    Row(S.ROLLING_BACK, Failed, S.ROLLING_BACK, ask_restore),
    Row(
        S.ROLLING_BACK,
        Tick,
        S.ROLLING_BACK,
        ask_restore,
        when=g.past_deadline,
        change=sw.stop_sending,
    ),
    *(
        Row(s, Alerted, S.ROLLING_BACK, ask_restore, when=g.puts_something_new_there)
        for s in _BLAMED_BY_ALERTS
    ),
    *(Row(s, NotYet, s, ask) for s, ask in _ASKS_AGAIN),
    *(Row(s, Failed, S.ROLLING_BACK, ask_restore) for s in _ON_THE_WAY),
    *(Row(s, Tick, S.ROLLING_BACK, ask_restore, when=g.past_deadline) for s in _ON_THE_WAY),
    *(Row(s, Abort, S.REJECTED) for s in _UNTOUCHED),
    *(Row(s, Supersede, S.SUPERSEDED) for s in _UNTOUCHED),
    *(Row(s, Abort, S.ROLLING_BACK, ask_restore) for s in _NO_USERS_YET + _IN_CANARY),
    *(
        Row(s, Supersede, S.ROLLING_BACK, ask_restore, change=g.supersede)
        for s in _NO_USERS_YET + _IN_CANARY
    ),
)
TABLE: Final = cast("tuple[Row[Any], ...]", _ROWS)
_ROWS_OF: Final[dict[tuple[State, type[Event]], list[Row[Any]]]] = {}
for _row in TABLE:
    _ROWS_OF.setdefault((_row.source, _row.on), []).append(_row)


@dataclass(frozen=True, slots=True)
class Decision:
    """The next rollout and what to write down about it. ``row`` is the row that was taken."""

    rollout: Rollout
    records: tuple[Record, ...] = ()
    row: Row[Any] | None = None

    @property
    def changed(self) -> bool:
        """Whether there is anything to save."""
        return self.row is not None


def decide(r: Rollout, event: Event) -> Decision:
    """Return the next rollout and the records of how it got there. Pure and total.

    Raises:
        CommandRefusedError: a command that has no row. Nothing changes.
    """
    if isinstance(event, REPLIES) and (r.awaiting is None or event.key != r.awaiting.key):
        awaited = r.awaiting.key if r.awaiting else "nothing"
        why = f"reply to {event.key} is late or repeated; awaiting {awaited}"
        return Decision(r, (record(r, event, "ignored", why),))
    for row in _ROWS_OF.get((r.state, type(event)), ()):
        if row.when is None or row.when(r, event):
            return _take(r, event, row)
    if isinstance(event, COMMANDS):
        raise CommandRefusedError(
            f"Rollout {r.id} is {r.state}; it cannot {verb(event)}.", fix=_advice(r)
        )
    return Decision(r)


def _take(r: Rollout, event: Event, row: Row[Any]) -> Decision:
    moved = row.change(r, event) if row.change else r
    stays = row.to is r.state
    moved = replace(
        moved if stays else _entering(moved, row.to),
        state=row.to,
        turn=r.turn + 1,
        why=r.why if stays and isinstance(event, Done | Tick) else explain(event) or r.why,
        awaiting=None,
        asked=False,
        entered_at=r.entered_at if stays else event.at,
        verdict=verdict(r, event),
        ended_at=event.at if row.to in ENDS else None,
    )
    if row.to in {S.SHIFTING, S.PROMOTING}:
        moved = replace(moved, had_users=True, exposed_at=r.exposed_at or event.at)
    if isinstance(event, Done) and row.to in {S.OBSERVING, S.BAKING, S.HELD}:
        moved = _exposed(moved, event, moved.weight / 100)
    if row.to is S.PROMOTING and not stays and sw.is_swap(r):
        moved = _exposed(moved, event, 0.0)
    if row.to is S.ROLLING_BACK and not stays:
        moved = replace(moved, undone_because=moved.why)
    if row.source is S.HELD and not stays:
        moved = replace(moved, held_from=None, paused=False)
    if row.source is S.ROLLING_BACK and row.to in ENDS:
        moved = replace(moved, why=with_aftermath(moved, moved.why))
    part_ended = sw.is_swapping(r) and not sw.is_swapping(moved)
    part_ended = part_ended or mg.is_another_part(r, moved)
    if not stays or part_ended or past_rollback_deadline(r, event):
        moved = replace(moved, deadline=deadline(moved, event.at))
    moved = replace(moved, awaiting=row.ask(moved, event) if row.ask else None)
    moved = schedule(moved, event, stays=stays and not part_ended)
    kind = "page" if _is_page(r, event, row) else "transition"
    said = event.detail if isinstance(event, Done) and not moved.is_over else ""
    return Decision(moved, (record(moved, event, kind, said or moved.why, came_from=r.state),), row)


def _entering(r: Rollout, to: State) -> Rollout:
    """Remember what the rollout sets out to do in another state."""
    if to is S.PROMOTING:
        return sw.towards(r)
    if to is S.ROLLING_BACK:
        return mg.backwards(sw.backwards(r))
    return mg.forwards(r) if to is S.MIGRATING else r


def _exposed(r: Rollout, event: Event, share: float) -> Rollout:
    """Remember since when users have this share of the new build: it was just read back.

    On the way to a swap the rules go first, and nobody sees when the builds change places: until
    the end of it none is counted on.
    """
    known = r.exposures[-1].share if r.exposures else 0.0
    if share == known:
        return r
    return replace(r, exposures=(*r.exposures, Exposure(since=event.at, share=share)))


def _is_page(r: Rollout, event: Event, row: Row[Any]) -> bool:
    stuck = r.state is S.ROLLING_BACK and (
        isinstance(event, Failed)
        or past_rollback_deadline(r, event)
        or row.change is sw.give_swap_up
    )
    asks_for_help = row.to is S.HELD and r.state is not S.HELD and not isinstance(event, Pause)
    return stuck or asks_for_help


def _advice(r: Rollout) -> str:
    if r.is_over:
        return "It is over; deploy an image, or roll the app back to go to an earlier release."
    if r.state is S.ROLLING_BACK:
        return "It is already on its way back; wait for it, then deploy again."
    rows = (row for row in TABLE if row.source is r.state and row.on in COMMANDS)
    allowed = sorted({row.on.__name__.lower() for row in rows} - {"supersede"})
    return f"It can now: {', '.join(allowed)}." if allowed else "Wait for its next state."
