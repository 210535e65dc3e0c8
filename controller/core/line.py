"""Who is next: how a new rollout begins, takes another's place, waits behind it, or is refused.

With a delay configured a push waits for a newer one: whatever is submitted within the window of a
rollout takes its place, and a push inherits the beginning of the window. Orders do not wait.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from controller.core import alerts
from controller.core.errors import CommandRefusedError
from controller.core.events import Event, Supersede, Tick
from controller.core.machine import decide
from controller.core.model import ENDS, AppState, Kind, Record, Rollout, RolloutId, State
from controller.core.orders import Submit
from controller.core.plan import AppSpec, NewPushPolicy
from controller.core.turns import Change, begin, finish

_KEPT_ATTEMPTS: Final = 50
_MAX_QUEUED: Final = 10


def advance(state: AppState, event: Event) -> Change:
    """Return what *event* makes of the running rollout and, where it ends, of the app."""
    if state.active is None:
        return Change(state=state)
    waits_on = _waits_on(state, state.active, event)
    if waits_on is not None:
        return waits_on
    decision = decide(state.active, event)
    rollout = alerts.informed(decision.rollout, state, event.at)
    change = Change(state=replace(state, active=rollout), records=decision.records)
    if decision.rollout.is_over:
        change = change.then(finish(change.state, decision.rollout, event.at))
    return change


def enqueue(state: AppState, spec: AppSpec, order: Submit, kind: Kind) -> Change:
    """Return the app with a rollout for *order*: begun, or waiting.

    Raises:
        CommandRefusedError: the policy for new pushes says no, or too many wait.
    """
    attempt = dict(state.attempts).get(order.image.digest, 0) + 1
    others = tuple((d, n) for d, n in state.attempts if d != order.image.digest)
    attempts = ((order.image.digest, attempt), *others)[:_KEPT_ATTEMPTS]
    rollout = _new_rollout(spec, order, kind, attempt)
    unsettled = _unsettled(state, order.at) if kind is Kind.RELEASE else ()
    if order.pushed and kind is Kind.RELEASE:
        rollout = _settle(rollout, unsettled)
    state = replace(state, attempts=attempts)
    submitted = _submitted(rollout)
    if state.active is None:
        return Change(state=replace(state, active=begin(state, rollout)), records=(submitted,))
    if kind is Kind.ROLLBACK:  # a person's way back waits only for what is being undone
        return Change(state=replace(state, queued=(rollout, *state.queued)), records=(submitted,))
    if unsettled and spec.strategy.new_push is not NewPushPolicy.SUPERSEDE:
        return _take_place(state, unsettled, rollout, submitted)
    return _wait_in_line(state, state.active, rollout, submitted)


def drop_waiting(state: AppState, order: Submit, reason: str) -> Change:
    """Return the app without the releases that wait behind the one that runs."""
    command = Supersede(at=order.at, by=order.by, reason=reason)
    kept = tuple(r for r in state.queued if r.kind is Kind.ROLLBACK)
    return _end_waiting(replace(state, queued=kept), state.queued, command)


def note(state: AppState, order: object, kind: str, why: str) -> Change:
    """Return the app as it is, with a record of what *order* came to."""
    rollout = state.active.id if state.active and state.active.state not in ENDS else None
    record = Record(
        at=getattr(order, "at"),  # noqa: B009 - any order or command
        rollout=rollout,
        kind=kind,
        what=type(order).__name__,
        why=why,
        by=getattr(order, "by", ""),
    )
    return Change(state=state, records=(record,))


# --- Waiting for a newer push --------------------------------------------------------------------


def _waits_on(state: AppState, active: Rollout, event: Event) -> Change | None:
    """Return the app whose next rollout may not start although its time came, else None.

    The wake-up may be late, and a freeze may have begun meanwhile.
    """
    is_due = active.wake_at is None or active.wake_at <= event.at
    if not isinstance(event, Tick) or active.state is not State.QUEUED or not is_due:
        return None
    again = begin(state, replace(active, wake_at=event.at))
    if again.wake_at is None or again.wake_at <= event.at:
        return None
    again = replace(again, turn=active.turn + 1)
    waits = Record(at=event.at, rollout=active.id, kind="waits", what="Tick", why=again.why)
    return Change(state=replace(state, active=again), records=(waits,))


def _unsettled(state: AppState, at: datetime) -> tuple[Rollout, ...]:
    """Return the releases that still wait for a push such as one at *at*."""
    waiting = (state.active, *state.queued)
    return tuple(
        r
        for r in waiting
        if r and r.state is State.QUEUED and r.settles_at is not None and at < r.settles_at
    )


def _settle(new: Rollout, unsettled: tuple[Rollout, ...]) -> Rollout:
    """Return *new* with the time until which it waits for a newer push."""
    delay = new.spec.strategy.delay
    if not delay.quiet:
        return new
    since = min((r.burst_since for r in unsettled if r.burst_since), default=new.created_at)
    until = min(new.created_at + delay.quiet, since + delay.limit)
    return replace(new, burst_since=since, settles_at=max(until, new.created_at))


def _take_place(
    state: AppState, unsettled: tuple[Rollout, ...], new: Rollout, submitted: Record
) -> Change:
    """Put *new* where the first of *unsettled* stood; they end."""
    command = _supersede_by(new)
    gone = {r.id for r in unsettled}
    first = next(r.id for r in unsettled)
    active = state.active if state.active and state.active.id not in gone else None
    queued = tuple(
        new if r.id == first else r for r in state.queued if r.id not in gone or r.id == first
    )
    change = Change(state=replace(state, active=active, queued=queued), records=(submitted,))
    change = change.then(_end_waiting(change.state, unsettled, command))
    if active is None:
        begun = replace(change.state, active=begin(change.state, new))
        return change.then(Change(state=begun))
    return change


# --- Waiting behind another ----------------------------------------------------------------------


def _wait_in_line(state: AppState, active: Rollout, new: Rollout, submitted: Record) -> Change:
    policy = new.spec.strategy.new_push
    if policy is NewPushPolicy.REJECT:
        raise CommandRefusedError(
            f"{new.image} was not accepted: {active.id} is {active.state}.",
            fix="Push again when it has ended, or choose another new_push policy.",
        )
    if policy is NewPushPolicy.QUEUE:
        if len(state.queued) >= _MAX_QUEUED:
            raise CommandRefusedError(
                f"{new.image} was not accepted: {len(state.queued)} rollouts wait already.",
                fix="Push again when the queue is shorter.",
            )
        return Change(state=replace(state, queued=(*state.queued, new)), records=(submitted,))
    return _supersede(state, new, submitted)


def _supersede(state: AppState, new: Rollout, submitted: Record) -> Change:
    command = _supersede_by(new)
    kept = tuple(r for r in state.queued if r.kind is Kind.ROLLBACK)
    change = Change(state=replace(state, queued=(*kept, new)), records=(submitted,))
    change = change.then(_end_waiting(change.state, state.queued, command))
    try:
        _check_makes_room(state.active)
        return change.then(advance(change.state, command))
    except CommandRefusedError as refusal:  # past promotion, or already on its way back
        waits = f"{new.id} waits for {state.active.id if state.active else 'nobody'}: "
        return change.then(note(change.state, command, "ignored", waits + refusal.what))


def _supersede_by(new: Rollout) -> Supersede:
    return Supersede(at=new.created_at, by=new.by, reason=f"{new.image} was pushed")


def _end_waiting(state: AppState, waiting: Sequence[Rollout], command: Supersede) -> Change:
    """Return the app as it is, with the ends of the releases among *waiting*."""
    decisions = [decide(r, command) for r in waiting if r.kind is Kind.RELEASE]
    return Change(
        state=state,
        records=tuple(record for d in decisions for record in d.records),
        ended=tuple(d.rollout for d in decisions),
    )


def _check_makes_room(active: Rollout | None) -> None:
    """A push does not call a person's way back off: what serves now is bad."""
    if active is not None and active.kind is Kind.ROLLBACK:
        raise CommandRefusedError(
            f"Rollout {active.id} goes back to an earlier release.", fix="Wait for its end."
        )


def _submitted(rollout: Rollout) -> Record:
    return Record(
        at=rollout.created_at,
        rollout=rollout.id,
        kind="submitted",
        what=str(rollout.kind),
        why=f"{rollout.image}{f': {rollout.reason}' if rollout.reason else ''}",
        by=rollout.by,
        state_to=State.QUEUED,
    )


def _new_rollout(spec: AppSpec, order: Submit, kind: Kind, attempt: int) -> Rollout:
    at = order.at
    stamp = f"{at:%Y%m%dT%H%M%S}{at.microsecond // 1000:03d}"
    short = order.image.digest.removeprefix("sha256:")[:8]
    return Rollout(
        id=RolloutId(f"{stamp}-{spec.id}-{short}-{attempt}"),
        image=order.image,
        spec=spec,
        created_at=at,
        entered_at=at,
        deadline=None,
        wake_at=at,
        kind=kind,
        by=order.by,
        reason=order.reason,
        override=order.reason if order.override else "",
    )
