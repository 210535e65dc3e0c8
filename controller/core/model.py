"""The nouns: an image, a rollout of it, and everything one app remembers."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NewType

from controller.core.data import DataStep
from controller.core.effects import Effect
from controller.core.events import Label
from controller.core.gate import Exposure, Learned
from controller.core.plan import AppId, AppSpec, HeldTraffic, Percent, Routing, SlotName, Step

RolloutId = NewType("RolloutId", str)

_REFERENCE = re.compile(r"([^/@\s]+)/([^@\s]+)@(sha256:[0-9a-f]{64})")


class State(StrEnum):
    """Where a rollout stands. The values are stored; renaming one is a migration."""

    QUEUED = "queued"
    PREFLIGHT = "preflight"
    BACKUP = "backup"
    MIGRATING = "migrating"
    STAGING = "staging"
    WARMING = "warming"
    APPROVAL = "approval"
    SHIFTING = "shifting"
    OBSERVING = "observing"
    PROMOTING = "promoting"
    BAKING = "baking"
    HELD = "held"
    ROLLING_BACK = "rolling_back"
    SUCCEEDED = "succeeded"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"


ENDS = frozenset({State.SUCCEEDED, State.ROLLED_BACK, State.REJECTED, State.SUPERSEDED})
WATCHED = frozenset({State.OBSERVING, State.BAKING, State.HELD, State.APPROVAL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container image, by digest; the tag is only what people call it."""

    registry: str
    repository: str
    digest: str  # sha256:<64 hex>
    tag: str | None = None

    @property
    def reference(self) -> str:
        """What App Service pulls."""
        return f"{self.registry}/{self.repository}@{self.digest}"

    def __str__(self) -> str:
        name = f"{self.repository}:{self.tag}" if self.tag else self.repository
        return f"{name} ({self.digest[7:19]})"

    @staticmethod
    def parse(reference: str, *, tag: str | None = None) -> "Image | None":
        """Return the image of ``registry/repository@sha256:...``; None for any other form."""
        found = _REFERENCE.fullmatch(reference)
        if not found:
            return None
        registry, repository, digest = found.groups()
        return Image(registry=registry, repository=repository, digest=digest, tag=tag)


class SwapStage(StrEnum):
    """How far a swap is. The values are stored."""

    PREPARING = "preparing"
    SENDING = "sending"
    FOLLOWING = "following"
    OVER = "over"  # true of the world, not needed, or given up


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapProgress:
    """The swap that the rollout is at: towards its build, or back."""

    stage: SwapStage = SwapStage.PREPARING
    back: bool = False  # it brings the stable build back
    token: str | None = None
    sent_at: datetime | None = None
    tries: int = 0  # requests sent so far in this direction
    touched: bool = False  # one was sent, or found done: going back needs another
    given_up: bool = False  # no swap brings the stable build back; it is put there itself


class Kind(StrEnum):
    """Why there is a rollout. The values are stored."""

    RELEASE = "release"
    ROLLBACK = "rollback"  # back to a release that served before: no canary, no bake


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judge's last word, kept for people to see."""

    label: Label
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One image on its way to production."""

    id: RolloutId
    image: Image
    spec: AppSpec  # frozen at acceptance
    created_at: datetime
    entered_at: datetime  # when the current state began
    deadline: datetime | None  # when the current state must end
    wake_at: datetime | None  # next tick that is owed to this rollout
    kind: Kind = Kind.RELEASE
    by: str = ""
    reason: str = ""  # why it was asked for
    state: State = State.QUEUED
    step: int = 0  # index into the strategy's steps
    turn: int = 0  # accepted events so far
    awaiting: Effect | None = None  # the one effect whose reply this state waits for
    ask_at: datetime | None = None  # earliest time to perform it
    asked: bool = False  # the awaited effect, one that may be performed only once, was begun
    streak: int = 0  # ready answers in a row
    swap: SwapProgress | None = None  # strategy swap, from PROMOTING on
    frozen_until: datetime | None = None  # end of the freeze that it waits for
    settles_at: datetime | None = None  # a newer push until then takes its place
    burst_since: datetime | None = None  # first push of those whose place it took
    override: str = ""  # why a person lets it start into a freeze or a firing alert
    preferred: tuple[SlotName, ...] = ()  # slots that it may fill, best first
    had_users: bool = False  # traffic was pointed at it
    exposed_at: datetime | None = None  # since when
    exposures: tuple[Exposure, ...] = ()  # what share it had since when, as it was read back
    learned: Learned | None = None  # what the stable build was like before, from PREFLIGHT
    active: SlotName | None = None  # slot of the stable build, from PREFLIGHT
    idle: SlotName | None = None  # slot that this rollout fills
    stable_image: str | None = None
    stable_release: str | None = None
    warnings: tuple[str, ...] = ()
    data: DataStep | None = None  # what it does to the app's database, from PREFLIGHT
    stranding: tuple[str, ...] = ()  # migrations of earlier releases that took something away
    held_from: State | None = None
    paused: bool = False  # held by a person: only a person lets it go
    superseded: bool = False
    verdict: Verdict | None = None
    why: str = ""  # why it is in this state
    undone_because: str = ""  # why it went back, where it did
    ended_at: datetime | None = None

    @property
    def app(self) -> AppId:
        """The app that it belongs to."""
        return self.spec.id

    @property
    def is_over(self) -> bool:
        """Whether it reached an end."""
        return self.state in ENDS

    @property
    def current_step(self) -> Step:
        """The step it is at."""
        return self.spec.strategy.steps[self.step]

    @property
    def weight(self) -> Percent:
        """Share of live requests that the new build is meant to take now."""
        shifted = {State.SHIFTING, State.OBSERVING, State.APPROVAL, State.HELD}
        if self.state in {State.PROMOTING, State.BAKING, State.SUCCEEDED}:
            return Percent(100)
        is_asked = State.APPROVAL in {self.state, self.held_from}  # nothing was shifted yet
        if self.state not in shifted or (is_asked and self.step == 0):
            return Percent(0)
        if self.held_from is State.BAKING:
            return Percent(100)
        if self.state is State.HELD and self.spec.strategy.hold.traffic is HeldTraffic.RETURNED:
            return Percent(0)
        step = self.step - 1 if is_asked else self.step
        return self.spec.strategy.steps[step].weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A build that served everyone."""

    image: Image
    slot: SlotName
    rollout: RolloutId
    at: datetime
    schema_head: str | None = None  # last migration when it began to serve; None: not known
    stranded_by: tuple[str, ...] = ()  # migrations since then that its code cannot live with


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """A digest that was taken back; nobody gets it again until someone says retry."""

    image: Image
    rollout: RolloutId
    reason: str
    at: datetime

    @property
    def digest(self) -> str:
        """The digest that nobody gets."""
        return self.image.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A push that a registry told of: what is told again is known by it."""

    digest: str
    tag: str | None
    at: datetime  # the registry's time, else ours
    is_exact: bool  # it is the registry's
    accepted: bool  # it became a rollout

    @property
    def name(self) -> str:
        """What people call it."""
        return self.tag or self.digest[7:19]


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringAlert:
    """An alert that fired and was not resolved yet."""

    id: str  # originAlertId, else alertId: what the resolving notice names, too
    rule: str
    resource: str  # ARM id, lower case
    fired_at: datetime
    detail: str = ""
    until: datetime | None = None  # forgotten then, if nobody resolved it


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """All that one app remembers. Saved as a whole, guarded by one ETag."""

    app: AppId
    active: Rollout | None = None
    queued: tuple[Rollout, ...] = ()  # oldest first
    releases: tuple[Release, ...] = ()  # newest first; [0] serves now
    quarantine: tuple[Quarantined, ...] = ()
    attempts: tuple[tuple[str, int], ...] = ()  # digest, rollouts so far; newest first
    pushes: tuple[Pushed, ...] = ()  # told of lately, newest first
    left: tuple[tuple[SlotName, datetime], ...] = ()  # when users were last sent to a slot
    routing: Routing | None = None  # what traffic should be when no rollout runs
    firing: tuple[FiringAlert, ...] = ()  # newest first
    resolved: tuple[tuple[str, datetime], ...] = ()  # alert, its latest firing that is over
    sequence: int = 0  # audit rows written so far

    @property
    def stable(self) -> Release | None:
        """The release that serves now, where Slipway put it there."""
        return self.releases[0] if self.releases else None

    @property
    def no_way_back_before(self) -> RolloutId | None:
        """The rollout of the oldest release that the schema still fits; None: all of them."""
        fitting = [r.rollout for r in self.releases if not r.stranded_by]
        return fitting[-1] if fitting and len(fitting) < len(self.releases) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of the audit: who, what, why, with the numbers."""

    at: datetime
    rollout: RolloutId | None
    kind: str  # "transition" | "refused" | "ignored" | "page" | "submitted" | "drift" | ...
    what: str
    why: str = ""
    by: str = ""
    state_from: State | None = None
    state_to: State | None = None
    numbers: dict[str, float | int | str | None] = field(
        default_factory=dict[str, float | int | str | None]
    )
    evidence: str | None = None
    evidence_hash: str | None = None
    order: str = ""  # id of the order that brought it about
