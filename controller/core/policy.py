"""What one app does with what arrives: which push becomes a rollout, and what an end leaves behind.

`apply` takes an order of a person or a registry, `line.advance` a fact for the running rollout.
Both return the app's next state, what to write down, and the rollouts that ended on the way.
"""

from dataclasses import replace
from typing import Final

from controller.core import alerts, pushes
from controller.core.alerts import AlertOrder
from controller.core.errors import CommandRefusedError
from controller.core.events import Abort, Command, Promote
from controller.core.freezes import thaw
from controller.core.line import advance, drop_waiting, enqueue, note
from controller.core.machine import decide
from controller.core.model import (
    AppState,
    Image,
    Kind,
    Release,
    Rollout,
    State,
)
from controller.core.orders import Order as PlainOrder
from controller.core.orders import Retry, RollBack, Submit
from controller.core.plan import AppSpec, NewPushPolicy
from controller.core.turns import Change, stranded

Order = PlainOrder | AlertOrder


def apply(state: AppState, spec: AppSpec, order: Order, *, rollout: str | None = None) -> Change:
    """Return what *order* makes of the app. A refusal is a change that only writes it down.

    Args:
        state: the app.
        spec: the app as configured.
        order: what is asked for.
        rollout: the rollout that the order is meant for; it does nothing to another one.
    """
    forgotten = alerts.forget_old(state, order.at)
    return forgotten.then(_apply(forgotten.state, spec, order, rollout))


def _apply(state: AppState, spec: AppSpec, order: Order, rollout: str | None) -> Change:
    waiting = next((r for r in state.queued if r.id == rollout), None)
    try:
        if waiting is not None and isinstance(order, Abort):
            return _abort_waiting(state, waiting, order)
        if rollout is not None:
            _check_meant(state, order, rollout)
        return _take(state, spec, order)
    except CommandRefusedError as refusal:
        return note(state, order, "refused", f"{refusal.what} {refusal.fix}")


def _take(state: AppState, spec: AppSpec, order: Order) -> Change:
    match order:
        case Submit():
            return _pushed(state, spec, order) if order.pushed else _submit(state, spec, order)
        case RollBack():
            return _roll_back(state, spec, order)
        case Retry():
            return _retry(state, spec, order)
        case AlertOrder():
            return _alert(state, spec, order)
        case _:
            return _command(state, order)


def _check_meant(state: AppState, order: Order, rollout: str) -> None:
    """An order that comes late must not hit whoever runs by then."""
    serves = state.stable is not None and state.stable.rollout == rollout
    if state.active is None and isinstance(order, RollBack) and serves:
        return
    if state.active is None or state.active.id != rollout:
        runs = f"{state.active.id} is under way" if state.active else "no rollout is under way"
        raise CommandRefusedError(
            f"The order is meant for rollout {rollout}; {runs}.",
            fix="See what became of that one; give the order again for the one that is meant.",
        )


def _abort_waiting(state: AppState, waiting: Rollout, order: Abort) -> Change:
    decision = decide(waiting, order)
    queued = tuple(r for r in state.queued if r.id != waiting.id)
    return Change(
        state=replace(state, queued=queued), records=decision.records, ended=(decision.rollout,)
    )


# --- Orders --------------------------------------------------------------------------------------


def _pushed(state: AppState, spec: AppSpec, order: Submit) -> Change:
    """Take a registry's notice, which may be a repetition, and remember it."""
    _check_source(spec, order.image)
    memory = spec.source.remember
    try:
        change = _submit(state, spec, order)
    except CommandRefusedError as refusal:
        change = note(state, order, "refused", f"{refusal.what} {refusal.fix}")
    accepted = any(r.kind not in {"ignored", "refused"} for r in change.records)
    is_known = bool(memory)
    told = pushes.remember(change.state, order, accepted=accepted) if is_known else change.state
    return replace(change, state=told)


def _submit(state: AppState, spec: AppSpec, order: Submit) -> Change:
    digest = order.image.digest
    _check_source(spec, order.image)
    memory = spec.source.remember
    is_back = pushes.is_moved_back(state, order, memory)
    state = pushes.name(state, order.image)
    quarantined = next((q for q in state.quarantine if q.digest == digest), None)
    if quarantined:
        why = f"{order.image} was taken back ({quarantined.reason}); say retry to try it again"
        return note(state, order, "ignored", why)
    running = [r for r in (state.active, *state.queued) if r is not None]
    twin = next((r for r in running if r.image.digest == digest and not r.superseded), None)
    serves = state.stable is not None and state.stable.image.digest == digest
    overtaken = running if serves and twin is None else _behind(state, twin)
    if is_back and overtaken:
        return _back_to(state, spec, order, is_running=twin is not None)
    if twin:
        return note(state, order, "ignored", f"{order.image} is on its way as {twin.id}")
    if serves:
        return note(state, order, "ignored", f"{order.image} serves already")
    objection = pushes.objection(state, order, memory) if order.pushed else None
    if objection:
        return note(state, order, "ignored", objection)
    return enqueue(state, spec, order, Kind.RELEASE)


def _behind(state: AppState, twin: Rollout | None) -> list[Rollout]:
    """Return the releases that wait for the end of *twin*."""
    runs = twin is not None and twin is state.active
    return [r for r in state.queued if r.kind is Kind.RELEASE] if runs else []


def _back_to(state: AppState, spec: AppSpec, order: Submit, *, is_running: bool) -> Change:
    """Follow a tag that was moved back to what serves or runs, away from a newer build.

    What serves already needs no rollout, should it still serve when its turn comes.
    """
    if is_running and spec.strategy.new_push is NewPushPolicy.SUPERSEDE:
        return drop_waiting(state, order, f"{order.image} was pushed again")
    return enqueue(state, spec, order, Kind.RELEASE)


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
        return note(state, order, "ignored", f"{way_back.image} is on its way as {way_back.id}")
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
    _check_schema(state, release)
    quarantine = tuple(q for q in state.quarantine if q.digest != release.image.digest)
    submit = Submit(at=order.at, image=release.image, by=order.by, reason=order.reason)
    return enqueue(replace(state, quarantine=quarantine), spec, submit, Kind.ROLLBACK)


def _check_schema(state: AppState, release: Release) -> None:
    """Code is not rolled back past a schema that it cannot run on."""
    objection = stranded(state, release.image.digest)
    if objection is None:
        return
    fits = next((r.image for r in state.releases[1:] if not r.stranded_by), None)
    nearest = f"Roll back to {fits}, which does; or " if fits else ""
    advice = (
        f"{nearest}take those migrations back (`slipway migrations rollback`) or restore the "
        f"backup from before them, then deploy {release.image.reference}: preflight looks at "
        "the schema itself."
    )
    raise CommandRefusedError(f"{objection}.", fix=advice[:1].upper() + advice[1:])


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
    if isinstance(command, Promote):
        state = _override_freeze(state, state.active, command)
    return advance(state, command)


def _override_freeze(state: AppState, active: Rollout, order: Promote) -> AppState:
    """Note the reason for which a rollout starts into a freeze. There has to be one."""
    if active.state is not State.QUEUED or active.kind is not Kind.RELEASE:
        return state
    frozen = thaw(active.spec.strategy.freezes, order.at)
    if frozen is None or active.override:
        return state
    if not order.reason.strip():
        raise CommandRefusedError(
            f"Rollout {active.id} {frozen.why}.", fix="Promote it with a reason, or wait."
        )
    return replace(state, active=replace(active, override=order.reason))


def _alert(state: AppState, spec: AppSpec, order: AlertOrder) -> Change:
    taken = alerts.take(state, spec, order)
    change, active = taken.change, taken.change.state.active
    if active is not None:
        heard = replace(change.state, active=alerts.informed(active, change.state, order.at))
        change = replace(change, state=heard)
    return change.then(advance(change.state, taken.fact)) if taken.fact else change
