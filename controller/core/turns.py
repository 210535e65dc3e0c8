"""An app's turns: when and where a rollout begins, and what its end leaves behind. Pure."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from controller.core.events import Supersede
from controller.core.freezes import thaw
from controller.core.machine import decide
from controller.core.migrating import stranding
from controller.core.model import (
    AppState,
    Image,
    Kind,
    Quarantined,
    Record,
    Release,
    Rollout,
    State,
)
from controller.core.plan import ALL, Routing, split
from controller.core.swapping import is_swap

_KEPT_RELEASES: Final = 10
_KEPT_QUARANTINE: Final = 50
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The app's next state and what to write down about it."""

    state: AppState
    records: tuple[Record, ...] = ()
    ended: tuple[Rollout, ...] = ()

    def then(self, following: "Change") -> "Change":
        """Return both changes as one."""
        return Change(
            state=following.state,
            records=self.records + following.records,
            ended=self.ended + following.ended,
        )


def begin(state: AppState, rollout: Rollout) -> Rollout:
    """Return *rollout* at its turn: which slot it should fill, and from when on it may.

    Whoever is pinned to a slot by cookie gets what is put there, proved or not. So the slot that
    users left longest ago comes first, and not before their cookies are over. Nor does a release
    start before a newer push had its chance, or while a freeze holds, unless a person says so. A
    way back never waits: it puts nothing new anywhere.
    """
    at = max(rollout.wake_at or rollout.created_at, rollout.created_at)
    serving = state.stable.slot if state.stable else None
    left = {slot.lower(): when for slot, when in state.left}
    free = [s for s in rollout.spec.target.slots if serving is None or s.lower() != serving.lower()]
    free.sort(key=lambda slot: left.get(slot.lower(), _LONG_AGO))
    rollout = replace(
        rollout, active=serving, preferred=tuple(free), stranding=stranding_migrations(state)
    )
    if rollout.kind is Kind.ROLLBACK:
        return replace(rollout, wake_at=at, frozen_until=None, why="")
    users_until = left.get(free[0].lower(), _LONG_AGO) if free else _LONG_AGO
    unpinned_at = _LONG_AGO
    if users_until > _LONG_AGO:
        unpinned_at = users_until + rollout.spec.strategy.pinned_for
    return _wait(rollout, at, unpinned_at)


def _wait(rollout: Rollout, at: datetime, unpinned_at: datetime) -> Rollout:
    """Return *rollout* with the time from which on it may start, and what it waits for."""
    why = ""
    if rollout.settles_at is not None and rollout.settles_at > at:
        at = rollout.settles_at
        why = f"waits for a newer push until {at.astimezone(UTC):%H:%M:%S}Z"
    if unpinned_at > at:
        at = unpinned_at
        why = f"waits until nobody can be pinned to slot {rollout.preferred[0]}"
    frozen = None if rollout.override else thaw(rollout.spec.strategy.freezes, at)
    if frozen is not None:
        at, why = frozen.at, frozen.why
    return replace(rollout, wake_at=at, frozen_until=frozen.at if frozen else None, why=why)


def stranding_migrations(state: AppState) -> tuple[str, ...]:
    """Return every migration on record that earlier releases cannot live with."""
    return tuple(dict.fromkeys(name for r in state.releases for name in r.stranded_by))


def finish(state: AppState, over: Rollout, at: datetime) -> Change:
    """Return the app after *over* ended: what it remembers, and who is next."""
    state = _remember(_note_who_left(state, over, at), over, at)
    change = Change(state=state, ended=(over,))
    for place, following in enumerate(state.queued):
        needless = _needless(state, following)
        if needless is None:
            started = begin(state, replace(following, wake_at=at))
            rest = state.queued[place + 1 :]
            return change.then(Change(state=replace(state, active=started, queued=rest)))
        command = Supersede(at=at, by="slipway", reason=needless)
        dropped = decide(following, command)
        change = change.then(Change(state=state, records=dropped.records, ended=(dropped.rollout,)))
    return change.then(Change(state=replace(state, active=None, queued=())))


def _needless(state: AppState, waiting: Rollout) -> str | None:
    """Return why a release has nothing left to do at its turn, None where it has."""
    digest = waiting.image.digest
    if waiting.kind is Kind.ROLLBACK:
        return stranded(state, digest)
    if state.stable is not None and state.stable.image.digest == digest:
        return f"{waiting.image} serves already"
    quarantined = next((q for q in state.quarantine if q.digest == digest), None)
    return f"{waiting.image} was taken back ({quarantined.reason})" if quarantined else None


def stranded(state: AppState, digest: str) -> str | None:
    """Return why an earlier release cannot run on the schema any more, None where it can."""
    release = next((r for r in state.releases if r.image.digest == digest), None)
    if release is None or not release.stranded_by:
        return None
    return (
        f"{release.image} cannot run on the schema: {', '.join(release.stranded_by)} took away "
        "what it may use"
    )


def _note_who_left(state: AppState, over: Rollout, at: datetime) -> AppState:
    """Remember which slot users were sent to until now and are sent to no more."""
    # A swap brings users back to production, whichever build it holds.
    gone = over.active if over.state is State.SUCCEEDED and not is_swap(over) else over.idle
    if not over.had_users or gone is None:
        return state
    others = tuple((slot, when) for slot, when in state.left if slot.lower() != gone.lower())
    return replace(state, left=((gone, at), *others))


def _remember(state: AppState, over: Rollout, at: datetime) -> AppState:
    return _strand(_remember_build(state, over, at), over)


def _strand(state: AppState, over: Rollout) -> AppState:
    """Mark the releases whose code the rollout took something away from, for good."""
    lost = stranding(over)
    if not lost:
        return state
    releases = tuple(
        r
        if r.image.digest == over.image.digest
        else replace(r, stranded_by=tuple(dict.fromkeys((*r.stranded_by, *lost))))
        for r in state.releases
    )
    return replace(state, releases=releases)


def _schema_head(state: AppState, over: Rollout) -> str | None:
    if over.data is not None:
        return over.data.plan.head_after
    return state.stable.schema_head if state.stable else None


def _remember_build(state: AppState, over: Rollout, at: datetime) -> AppState:
    if over.state is State.SUCCEEDED and over.idle and over.active:
        slot = over.active if is_swap(over) else over.idle
        release = Release(
            image=over.image,
            slot=slot,
            rollout=over.id,
            at=at,
            schema_head=_schema_head(state, over),
        )
        before = _release_before(state, over)
        others = [r for r in before if r.image.digest != over.image.digest]
        state = replace(
            state,
            releases=(release, *others)[:_KEPT_RELEASES],
            routing=Routing() if is_swap(over) else split(over.active, over.idle, ALL),
        )
        if over.kind is Kind.ROLLBACK and before:
            return _quarantine(state, before[0].image, over, over.reason or "rolled back", at)
        return state
    if over.state is State.ROLLED_BACK and over.kind is Kind.RELEASE:
        return _quarantine(state, over.image, over, over.undone_because, at)
    return state


def _release_before(state: AppState, over: Rollout) -> tuple[Release, ...]:
    """Return the earlier releases; the one found in the world where none is on record yet."""
    if state.releases or not over.stable_image or not over.active:
        return state.releases
    image = Image.parse(over.stable_image)
    if image is None:
        return ()
    return (Release(image=image, slot=over.active, rollout=over.id, at=over.created_at),)


def _quarantine(
    state: AppState, image: Image, over: Rollout, reason: str, at: datetime
) -> AppState:
    entry = Quarantined(image=image, rollout=over.id, reason=reason, at=at)
    others = tuple(q for q in state.quarantine if q.digest != image.digest)
    return replace(state, quarantine=(entry, *others)[:_KEPT_QUARANTINE])
