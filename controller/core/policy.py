"""What one app does with what arrives: which push becomes a rollout, and what an end leaves behind.

`apply` takes an order of a person or a registry, `advance` a fact for the running rollout. Both
return the app's next state, what to write down, and the rollouts that ended on the way.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controller.core.errors import CommandRefusedError
from controller.core.events import Abort, Command, Event, Supersede
from controller.core.machine import decide
from controller.core.model import (
    ENDS,
    AppState,
    Image,
    Kind,
    Record,
    Release,
    Rollout,
    RolloutId,
    State,
)
from controller.core.plan import AppSpec, NewPushPolicy
from controller.core.turns import Change, begin, finish

_KEPT_ATTEMPTS: Final = 50
_MAX_QUEUED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Roll this image out."""

    at: datetime
    image: Image
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Go back: out of the running rollout, or to an earlier release."""

    at: datetime
    by: str
    reason: str
    to: str | None = None  # tag, digest (or its beginning), or rollout id


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Lift the quarantine of a digest and roll it out again."""

    at: datetime
    digest: str
    by: str
    reason: str = ""


Order = Submit | RollBack | Retry | Command


def apply(state: AppState, spec: AppSpec, order: Order) -> Change:
    """Return what *order* makes of the app. A refusal is a change that only writes it down."""
    try:
        match order:
            case Submit():
                return _submit(state, spec, order)
            case RollBack():
                return _roll_back(state, spec, order)
            case Retry():
                return _retry(state, spec, order)
            case _:
                return _command(state, order)
    except CommandRefusedError as refusal:
        return _note(state, order, "refused", f"{refusal.what} {refusal.fix}")


def advance(state: AppState, event: Event) -> Change:
    """Return what *event* makes of the running rollout and, where it ends, of the app."""
    if state.active is None:
        return Change(state=state)
    decision = decide(state.active, event)
    change = Change(state=replace(state, active=decision.rollout), records=decision.records)
    if decision.rollout.is_over:
        change = change.then(finish(change.state, decision.rollout, event.at))
    return change


# --- Orders --------------------------------------------------------------------------------------


def _submit(state: AppState, spec: AppSpec, order: Submit) -> Change:
    digest = order.image.digest
    _check_source(spec, order.image)
    quarantined = next((q for q in state.quarantine if q.digest == digest), None)
    if quarantined:
        why = f"{order.image} was taken back ({quarantined.reason}); say retry to try it again"
        return _note(state, order, "ignored", why)
    running = [r for r in (state.active, *state.queued) if r is not None]
    twin = next((r for r in running if r.image.digest == digest and not r.superseded), None)
    if twin:
        return _note(state, order, "ignored", f"{order.image} is on its way as {twin.id}")
    if state.stable and state.stable.image.digest == digest:
        return _note(state, order, "ignored", f"{order.image} serves already")
    return _enqueue(state, spec, order, Kind.RELEASE)


def _check_source(spec: AppSpec, image: Image) -> None:
    wanted = f"{spec.source.registry}/{spec.source.repository}"
    given = f"{image.registry}/{image.repository}"
    if given.lower() != wanted.lower():
        raise CommandRefusedError(
            f"App {spec.id} takes images from {wanted}, not from {given}.",
            fix="Change the app's source in apps.yaml, or name the right app.",
        )


def _roll_back(state: AppState, spec: AppSpec, order: RollBack) -> Change:
    if state.active is None:
        return _roll_back_to(state, spec, order)
    way_back = _way_back(state, order)
    if way_back:
        return _note(state, order, "ignored", f"{way_back.image} is on its way as {way_back.id}")
    elsewhere = order.to is not None and not _is_stable(state, order.to)
    try:
        change = _command(state, Abort(at=order.at, by=order.by, reason=order.reason))
    except CommandRefusedError:  # on its way back already: what is asked for comes after
        if not elsewhere:
            raise
        change = Change(state=state)
    if not elsewhere:
        return change
    return change.then(_roll_back_to(change.state, spec, order))


def _way_back(state: AppState, order: RollBack) -> Rollout | None:
    """Return the rollout that does already what is asked for.

    Whoever says "roll back" twice wants it badly, and does not mean to undo the first.
    """
    going = (r for r in (state.active, *state.queued) if r and r.kind is Kind.ROLLBACK)
    wanted = _find_release(state, order.to).image.digest if order.to else None
    for rollout in going:
        is_meant = rollout is state.active if wanted is None else rollout.image.digest == wanted
        if is_meant and rollout.state is not State.ROLLING_BACK:
            return rollout
    return None


def _roll_back_to(state: AppState, spec: AppSpec, order: RollBack) -> Change:
    release = _find_release(state, order.to)
    if _is_stable(state, release.image.digest) and state.active is None:
        raise CommandRefusedError(
            f"{release.image} serves already.", fix="Name another release with 'to'."
        )
    quarantine = tuple(q for q in state.quarantine if q.digest != release.image.digest)
    submit = Submit(at=order.at, image=release.image, by=order.by, reason=order.reason)
    return _enqueue(replace(state, quarantine=quarantine), spec, submit, Kind.ROLLBACK)


def _is_stable(state: AppState, name: str) -> bool:
    return state.stable is not None and _names(name, state.stable)


def _find_release(state: AppState, name: str | None) -> Release:
    earlier = state.releases[1:]
    candidates = state.releases if name else earlier[:1]
    found = next((r for r in candidates if name is None or _names(name, r)), None)
    if found:
        return found
    known = ", ".join(r.image.tag or r.image.digest[7:19] for r in earlier) or "none"
    raise CommandRefusedError(
        f"App {state.app} has no earlier release{f' {name!r}' if name else ''}.",
        fix=f"Releases that served before: {known}. Others can only be deployed.",
    )


_MIN_DIGEST_PREFIX: Final = 6


def _names(name: str, release: Release) -> bool:
    digest = release.image.digest
    bare = name.removeprefix("sha256:")
    is_prefix = len(bare) >= _MIN_DIGEST_PREFIX and digest.removeprefix("sha256:").startswith(bare)
    return name in {release.image.tag, release.rollout, digest} or is_prefix


def _retry(state: AppState, spec: AppSpec, order: Retry) -> Change:
    held = next((q for q in state.quarantine if q.digest == order.digest), None)
    image = held.image if held else _image_of(spec, order.digest)
    quarantine = tuple(q for q in state.quarantine if q.digest != order.digest)
    submit = Submit(at=order.at, image=image, by=order.by, reason=order.reason or "retry")
    return _submit(replace(state, quarantine=quarantine), spec, submit)


def _image_of(spec: AppSpec, digest: str) -> Image:
    return Image(registry=spec.source.registry, repository=spec.source.repository, digest=digest)


def _command(state: AppState, command: Command) -> Change:
    if state.active is None:
        raise CommandRefusedError(
            f"App {state.app} has no rollout under way.",
            fix="Roll back to an earlier release, or deploy an image.",
        )
    return advance(state, command)


# --- The queue -----------------------------------------------------------------------------------


def _enqueue(state: AppState, spec: AppSpec, order: Submit, kind: Kind) -> Change:
    attempt = dict(state.attempts).get(order.image.digest, 0) + 1
    rollout = _new_rollout(spec, order, kind, attempt)
    others = tuple((d, n) for d, n in state.attempts if d != order.image.digest)
    state = replace(state, attempts=((order.image.digest, attempt), *others)[:_KEPT_ATTEMPTS])
    submitted = Record(
        at=order.at,
        rollout=rollout.id,
        kind="submitted",
        what=str(kind),
        why=f"{order.image}{f': {order.reason}' if order.reason else ''}",
        by=order.by,
        state_to=State.QUEUED,
    )
    if state.active is None:
        return Change(state=replace(state, active=begin(state, rollout)), records=(submitted,))
    if kind is Kind.ROLLBACK:  # a person's way back waits only for what is being undone
        return Change(state=replace(state, queued=(rollout, *state.queued)), records=(submitted,))
    return _wait_in_line(state, state.active, rollout, submitted)


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
    command = Supersede(at=new.created_at, by=new.by, reason=f"{new.image} was pushed")
    kept = tuple(r for r in state.queued if r.kind is Kind.ROLLBACK)
    change = Change(state=replace(state, queued=(*kept, new)), records=(submitted,))
    for waiting in (r for r in state.queued if r.kind is not Kind.ROLLBACK):
        decision = decide(waiting, command)
        change = change.then(
            Change(state=change.state, records=decision.records, ended=(decision.rollout,))
        )
    try:
        _check_makes_room(state.active)
        return change.then(advance(change.state, command))
    except CommandRefusedError as refusal:  # past promotion, or already on its way back
        waits = f"{new.id} waits for {state.active.id if state.active else 'nobody'}: "
        note = _note(change.state, command, "ignored", waits + refusal.what)
        return change.then(note)


def _check_makes_room(active: Rollout | None) -> None:
    """A push does not call a person's way back off: what serves now is bad."""
    if active is not None and active.kind is Kind.ROLLBACK:
        raise CommandRefusedError(
            f"Rollout {active.id} goes back to an earlier release.", fix="Wait for its end."
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
    )


def _note(state: AppState, order: Order, kind: str, why: str) -> Change:
    rollout = state.active.id if state.active and state.active.state not in ENDS else None
    record = Record(
        at=order.at,
        rollout=rollout,
        kind=kind,
        what=type(order).__name__,
        why=why,
        by=order.by,
    )
    return Change(state=state, records=(record,))
