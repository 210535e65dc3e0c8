"""What the core asks of the world: goals with a key, each complete in itself.

Asking twice is harmless: a goal says what shall be true ("blue serves 10 %"), never what to
change. The key is ``<rollout>/<turn>/<name>``; a reply carries it back.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NewType

from controller.core.data import DatabaseSpec
from controller.core.plan import Analysis, AppId, Health, Identity, Routing, SlotName, Target
from controller.core.telemetry import Mark

EffectKey = NewType("EffectKey", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """Tell whether the rollout can start: slots from the world, image, settings, queries."""

    key: EffectKey
    target: Target
    image: str  # registry/repository@sha256:...
    release: str  # digest
    analysis: Analysis
    recorded_active: SlotName | None  # what our record says serves, for the drift warning
    preferred: tuple[SlotName, ...] = ()  # slots to fill, the longest without users first
    is_way_back: bool = False  # nothing that only judges or fetches a new build may stop it
    is_swap: bool = False  # production must serve, and the slot to fill must be fit for a swap
    tag: str | None = None  # what the digest was called; a tag that moved since is told
    firing: tuple[str, ...] = ()  # alerts of the app that fire now, in words
    override: str = ""  # why a person lets it start into one
    identity: Identity = field(
        default_factory=Identity
    )  # how the build proves itself, for the weaker-proof warning
    readiness_path: str | None = None  # what proves readiness, to compare the platform's own with
    warming: timedelta | None = None  # how long a build may take to become ready
    probe_operations: tuple[str, ...] = ()  # our own requests, left out of what is learned
    database: DatabaseSpec | None = None  # what its migrations are for; None: the app has none
    stranding: tuple[str, ...] = ()  # migrations that ran: no build that misses them may start
    app: str = ""
    rollout: str = ""  # who tries migrations, for the database and the job on a copy
    name: Literal["preflight"] = "preflight"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDatabase:
    """A restore point of this rollout exists, and was read back. The reply's detail is its id."""

    key: EffectKey
    app: AppId
    rollout: str
    database: DatabaseSpec
    release: str  # digest that it is made for
    head: str | None  # the schema that it holds
    since: datetime  # when it was first asked for: asking again makes no second one
    name: Literal["backup_database"] = "backup_database"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrate:
    """These migrations, of the bundle with this hash, are applied."""

    key: EffectKey
    app: AppId
    rollout: str
    database: DatabaseSpec
    image: str  # the bundle's: registry/repository@sha256:...
    tag: str | None
    bundle: str  # sha256
    migrations: tuple[str, ...]  # ids, oldest first
    name: Literal["migrate"] = "migrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevertData:
    """None of these migrations, of the bundle with this hash, is applied; newest first."""

    key: EffectKey
    app: AppId
    rollout: str
    database: DatabaseSpec
    image: str
    tag: str | None
    bundle: str
    migrations: tuple[str, ...]
    name: Literal["revert_data"] = "revert_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The slot's configuration names this image and this release identity."""

    key: EffectKey
    target: Target
    slot: SlotName
    image: str
    release: str
    is_swap: bool = False  # the slot takes part in swaps: what an earlier one left is undone
    name: Literal["stage"] = "stage"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReady:
    """Ask the slot's own host once; run the smoke tests when the streak becomes complete."""

    key: EffectKey
    target: Target
    slot: SlotName
    release: str
    health: Health
    streak: int  # ready answers so far
    needed: int  # ready answers in a row that prove the build
    image: str | None = None  # what the slot must still be configured with; None: not looked at
    name: Literal["check_ready"] = "check_ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The site splits its traffic so, read back and probed through the public host."""

    key: EffectKey
    target: Target
    routing: Routing
    canary: SlotName
    release: str  # what the canary slot must prove to be
    stable_release: str | None
    health: Health
    is_swap: bool = False  # see Stage
    name: Literal["route"] = "route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """The workspace is being observed for these releases until then."""

    key: EffectKey
    app: AppId
    rollout: str
    release: str
    stable_release: str | None
    analysis: Analysis
    probe_operations: tuple[str, ...]  # our own requests, left out of the evidence
    lease: timedelta  # how long the observation goes on without being asked again
    target: Target | None = None  # with *routing*: traffic is split so, whoever else wrote since
    routing: Routing | None = None
    mark: Mark | None = None  # what telemetry tells the new build by; None: its release
    stable_mark: Mark | None = None  # with *mark*; None: nothing to compare with
    slot: SlotName | None = None  # where the new build is now, for the platform's metrics of it
    stable_slot: SlotName | None = None
    probe_path: str | None = None  # what is asked of both slots at each poll
    probe_count: int | None = None  # how often; None: as the settings say
    name: Literal["watch"] = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """*stable* serves everyone, and whoever is pinned to *bad* gets the stable build there.

    Read back, probed through the public host plain and with the bad slot's cookie.
    """

    key: EffectKey
    target: Target
    stable: SlotName
    stable_image: str | None  # None: not known, so the bad slot cannot be refilled
    stable_release: str | None
    bad: SlotName | None  # None: no slot was touched
    bad_release: str
    health: Health
    is_swap: bool = False  # see Stage
    in_place: bool = False  # no swap brings the stable build back: put it where it shall serve
    name: Literal["restore"] = "restore"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What one swap of *slot* with production is for: who holds the new build afterwards."""

    target: Target
    slot: SlotName
    image: str  # of the rollout's build, exactly as it was staged
    release: str
    back: bool = False  # the slot shall hold it again, and production the stable build

    def __str__(self) -> str:
        return f"{self.slot} and production {'back' if self.back else ''}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareSwap:
    """Nothing stands in the way of the swap: no rules, no lock, no other operation."""

    key: EffectKey
    goal: Swapped
    token: str | None = None  # of a swap sent earlier, whose end nobody saw
    sent_for: timedelta | None = None  # time since; None: none was sent, or its end is known
    name: Literal["prepare_swap"] = "prepare_swap"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginSwap:
    """The swap was asked for exactly once: the one effect that is no goal.

    A second request would swap back. So the state says that it is about to be sent before it is
    (`once`), and where that was said already, *again* is true and nothing is sent any more.
    """

    key: EffectKey
    goal: Swapped
    again: bool = False
    once: Literal[True] = True
    name: Literal["begin_swap"] = "begin_swap"


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowSwap:
    """The swap ended, and site and slot hold what it was for."""

    key: EffectKey
    goal: Swapped
    token: str | None  # the platform's, to ask how far it is; None: only the world can tell
    sent_for: timedelta  # time since it was sent
    name: Literal["follow_swap"] = "follow_swap"


SwapEffect = PrepareSwap | BeginSwap | FollowSwap
DataEffect = BackupDatabase | Migrate | RevertData
Effect = Preflight | DataEffect | Stage | CheckReady | Route | Watch | Restore | SwapEffect
