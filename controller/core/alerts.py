"""What an alert of the platform means for an app. Pure.

An alert counts where the app lists its rule, and it is about the app's own resources. One that
counts stays *firing* until its resolving notice comes: PREFLIGHT lets no release start under it.
One that comes while a release is under way takes that release back, if the release can be to blame:
nobody gets the build yet (then any fresh alert speaks against going on, as in PREFLIGHT), or it
fired after the first users got it.

Notices come twice, late and out of order: what fires is known by id and time of firing, a
resolving notice that came first is remembered, and whatever is never resolved is forgotten.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

from controller.core.effects import Preflight
from controller.core.events import Alerted
from controller.core.model import AppState, FiringAlert, Kind, Record, Rollout, State
from controller.core.plan import PRODUCTION, AppSpec
from controller.core.turns import Change

FORGOTTEN_AFTER: Final = timedelta(hours=24)  # one that is never resolved stops no release longer
_KEPT: Final = 20
_CLOCKS_DIFFER: Final = timedelta(minutes=5)
_TEST_PREFIX: Final = "test-"
_NO_BLAME: Final = {
    State.QUEUED: "preflight will see it",
    State.PREFLIGHT: "preflight will see it",
    State.ROLLING_BACK: "it is on its way back already",
}


class Condition(StrEnum):
    """What a notice says about its alert."""

    FIRED = "fired"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOrder:
    """One notice of Azure Monitor."""

    at: datetime
    condition: Condition
    id: str  # what the firing and the resolving notice have in common
    rule: str  # empty where the notice names none
    resource: str  # ARM id, lower case; empty where the notice names none
    fired_at: datetime | None
    detail: str = ""
    by: str = "azure monitor"
    is_test: bool = False  # somebody pressed "Test action group"
    is_moment: bool = False  # of a kind that is never resolved
    harmless: str = ""  # why it tells of no fault, where it tells of none


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a notice makes of the app, and the fact for its rollout if it counts against that."""

    change: Change
    fact: Alerted | None = None


# --- Whose is it ---------------------------------------------------------------------------------


def resource_id(text: str) -> str:
    """Return an ARM id as it is compared: lower case, without a slash at its end."""
    return text.strip().rstrip("/").lower()


def owned(spec: AppSpec, resources: Sequence[str]) -> str | None:
    """Return the first of *resources* that is the app's: its site, its slots, what it lists."""
    site = resource_id(spec.target.resource_id)
    slots = (f"{site}/slots/{slot.lower()}" for slot in (*spec.target.slots, PRODUCTION))
    listed = (resource_id(each) for each in spec.alerts.resources)
    own = {site, *slots, *listed}
    return next((r for r in map(resource_id, resources) if r in own), None)


def is_listed(spec: AppSpec, rule: str) -> bool:
    """Whether the app lists *rule*."""
    return any(fnmatchcase(rule.lower(), pattern.lower()) for pattern in spec.alerts.rules)


def short_resource(resource: str) -> str:
    """Return what people call a resource: ``sites/shop/slots/blue``."""
    _, _, name = resource.partition("/providers/")
    return name.partition("/")[2] or resource


# --- A notice ------------------------------------------------------------------------------------


def take(state: AppState, spec: AppSpec, order: AlertOrder) -> Taken:
    """Return what *order* makes of the app."""
    if order.condition is Condition.RESOLVED:
        return Taken(change=_resolve(state, order))
    fired_at = order.fired_at
    reason = _no_alert_of(spec, order) or _known(state, order)
    if reason or fired_at is None:
        why = reason or "it carries no time of firing, so nobody can tell what it is about"
        return Taken(change=_note(state, order, "ignored", why))
    lasts = spec.alerts.max_age if order.is_moment else FORGOTTEN_AFTER
    alert = FiringAlert(
        id=order.id,
        rule=order.rule,
        resource=order.resource,
        fired_at=fired_at,
        detail=order.detail,
        until=fired_at + lasts,
    )
    state = _keep(state, alert, order.at)
    reason = _no_blame(state.active, spec, alert, order.at)
    if reason:
        return Taken(change=_note(state, order, "alert", reason))
    fact = Alerted(at=order.at, rule=order.rule, detail=_about(order))
    return Taken(change=Change(state=state), fact=fact)


def _no_alert_of(spec: AppSpec, order: AlertOrder) -> str:
    """Return why the app does not care, whenever it comes; empty where it does."""
    if _is_test(spec, order):
        return "it is a test of the action group"
    if owned(spec, [order.resource]) is None:
        return f"{_named(order)} is none of the app's resources; add it to alerts.resources"
    if not is_listed(spec, order.rule):
        return "the app does not list its rule in alerts.rules"
    return order.harmless


def _is_test(spec: AppSpec, order: AlertOrder) -> bool:
    """The portal calls its samples ``test-...``; a rule of one's own may be called so, too."""
    if order.is_test:
        return True
    own = [p for p in spec.alerts.rules if p.lower().startswith(_TEST_PREFIX)]
    meant = any(fnmatchcase(order.rule.lower(), pattern.lower()) for pattern in own)
    return order.rule.lower().startswith(_TEST_PREFIX) and not meant


def _known(state: AppState, order: AlertOrder) -> str:
    """Return why the notice tells nothing new; empty where it does."""
    if order.fired_at is None:
        return ""
    if any(a.id == order.id and a.fired_at >= order.fired_at for a in state.firing):
        return "it is known already"
    if any(name == order.id and fired >= order.fired_at for name, fired in state.resolved):
        return "it was resolved already"
    return ""


def _keep(state: AppState, alert: FiringAlert, at: datetime) -> AppState:
    if alert.until is not None and alert.until <= at:
        return state
    others = tuple(a for a in state.firing if a.id != alert.id)
    newest_first = sorted((alert, *others), key=lambda a: a.fired_at, reverse=True)
    return replace(state, firing=tuple(newest_first[:_KEPT]))


def _no_blame(active: Rollout | None, spec: AppSpec, alert: FiringAlert, at: datetime) -> str:
    """Return why it does not count against the running rollout; empty where it does."""
    if active is None or active.is_over:
        return "no rollout is under way"
    if active.kind is Kind.ROLLBACK:
        return f"{active.id} is a way back"
    stale = _stale(active, spec, alert.fired_at, at)
    if stale:
        return stale
    if active.state in _NO_BLAME:
        return f"{active.id} is {active.state}: {_NO_BLAME[active.state]}"
    return _other_slot(active, alert.resource)


def _stale(active: Rollout, spec: AppSpec, fired_at: datetime, at: datetime) -> str:
    said = f"it fired at {_moment(fired_at)}"
    if fired_at > at + _CLOCKS_DIFFER:
        return f"by its own words {said}, which is yet to come"
    if at - fired_at > spec.alerts.max_age:
        return f"it is stale: {said}, longer ago than alerts.max_age"
    if active.exposed_at is not None and fired_at < active.exposed_at:
        return f"it is stale: {said}, before {active.id} had users ({_moment(active.exposed_at)})"
    return ""


def _other_slot(active: Rollout, resource: str) -> str:
    """A slot that neither the new nor the stable build is in has nothing to do with the release."""
    site, found, slot = resource_id(resource).partition("/slots/")
    if not found or site != resource_id(active.spec.target.resource_id):
        return ""
    involved = {name.lower() for name in (active.active, active.idle) if name}
    return "" if slot in involved else f"{active.id} does not use slot {slot}"


def _resolve(state: AppState, order: AlertOrder) -> Change:
    """Take it off the list; an earlier firing does not take a later one with it."""
    ended = order.fired_at or order.at
    over = [a for a in state.firing if a.id == order.id and a.fired_at <= ended]
    others = tuple(a for a in state.firing if a not in over)
    earlier = tuple(each for each in state.resolved if each[0] != order.id)
    seen = max([ended, *(when for name, when in state.resolved if name == order.id)])
    state = replace(state, firing=others, resolved=((order.id, seen), *earlier)[:_KEPT])
    if over:
        return _note(state, order, "alert", "it fires no more")
    return _note(state, order, "ignored", "it is not known to fire")


# --- What fires now ------------------------------------------------------------------------------


def forget_old(state: AppState, at: datetime) -> Change:
    """Return the app without the alerts that nobody resolved in time."""
    old = [a for a in state.firing if a.until is not None and a.until <= at]
    if not old:
        return Change(state=state)
    records = tuple(
        Record(
            at=at,
            rollout=None,
            kind="alert",
            what="AlertForgotten",
            why=f"{_sentence(a)}: never resolved, forgotten",
        )
        for a in old
    )
    kept = tuple(a for a in state.firing if a not in old)
    return Change(state=replace(state, firing=kept), records=records)


def informed(rollout: Rollout, state: AppState, at: datetime) -> Rollout:
    """Return *rollout* with what fires now in its question to PREFLIGHT, if it has one."""
    asked = rollout.awaiting
    if not isinstance(asked, Preflight):
        return rollout
    firing = tuple(_sentence(a) for a in state.firing if a.until is None or a.until > at)
    return replace(rollout, awaiting=replace(asked, firing=firing))


def _sentence(alert: FiringAlert) -> str:
    said = f": {alert.detail}" if alert.detail else ""
    since = _moment(alert.fired_at)
    return f"alert {alert.rule!r} on {short_resource(alert.resource)} since {since}{said}"


def _about(order: AlertOrder) -> str:
    return f"on {_named(order)}{f': {order.detail}' if order.detail else ''}"


def _named(order: AlertOrder) -> str:
    return short_resource(order.resource) or "what it names"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _note(state: AppState, order: AlertOrder, kind: str, why: str) -> Change:
    active = state.active
    record = Record(
        at=order.at,
        rollout=active.id if active and not active.is_over else None,
        kind=kind,
        what=f"Alert{order.condition.capitalize()}",
        why=f"alert {order.rule!r} {_about(order)}; {why}",
        by=order.by,
    )
    return Change(state=state, records=(record,))
