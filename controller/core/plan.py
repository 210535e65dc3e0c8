"""What one app asks for: where it runs, how it rolls out, what counts as healthy.

An `AppSpec` is frozen into each rollout when it is accepted, so that a change of the
configuration never moves the ground under a rollout in flight.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import NewType

from controller.core.backup_plan import BackupSpec
from controller.core.data import DatabaseSpec
from controller.core.gate import Gate
from controller.core.telemetry import IdentifyBy, Mark, PlatformLimits

AppId = NewType("AppId", str)
SlotName = NewType("SlotName", str)
Percent = NewType("Percent", int)  # 0..100, share of live requests

PRODUCTION = SlotName("production")  # the site itself; never listed among its slots
ALL = Percent(100)
NONE = Percent(0)
REMEMBER = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One App Service site and the named slots that take turns."""

    subscription: str
    resource_group: str
    site: str
    slots: tuple[SlotName, ...]

    @property
    def resource_id(self) -> str:
        """ARM id of the site."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.Web/sites/{self.site}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Which pushes concern the app. Patterns are shell globs."""

    registry: str  # login server, such as contoso.azurecr.io
    repository: str
    tags: tuple[str, ...] = ("*",)
    ignore_tags: tuple[str, ...] = ()
    remember: timedelta = REMEMBER  # a push that is told of again within this time is no new one


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One share of traffic and how long it is looked at."""

    weight: Percent
    min_observation: timedelta
    max_observation: timedelta


class ApprovalPoint(StrEnum):
    """Where a named person must agree."""

    NEVER = "never"
    BEFORE_CANARY = "before_canary"
    BEFORE_FULL = "before_full"


class NewPushPolicy(StrEnum):
    """What a push does while another rollout of the app is running."""

    SUPERSEDE = "supersede"
    QUEUE = "queue"
    REJECT = "reject"


class NoEvidenceAction(StrEnum):
    """What to do when the judge cannot tell."""

    HOLD = "hold"
    PROCEED = "proceed"
    ROLL_BACK = "roll_back"


class HeldTraffic(StrEnum):
    """Where the traffic stays while a human is asked."""

    FROZEN = "frozen"
    RETURNED = "returned"


class ExpiryAction(StrEnum):
    """What happens when nobody answers in time."""

    ROLL_BACK = "roll_back"
    HOLD = "hold"
    PROCEED = "proceed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """How long a rollout waits for a human, where its traffic is, and what happens then."""

    traffic: HeldTraffic = HeldTraffic.FROZEN
    limit: timedelta = timedelta(hours=4)
    on_expiry: ExpiryAction = ExpiryAction.ROLL_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Whether, where and how long a named person is asked."""

    point: ApprovalPoint = ApprovalPoint.NEVER
    limit: timedelta = timedelta(hours=24)
    on_expiry: ExpiryAction = ExpiryAction.ROLL_BACK


class StrategyKind(StrEnum):
    """How a build becomes the one that everybody gets."""

    ROUTE = "route"  # named slots take turns; the ramp-up rules end at 100 %
    SWAP = "swap"  # production always serves in the end: a slot swap moves the build there


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A time in which no rollout starts: every time *cron* fires, for *duration*."""

    cron: str  # five fields: minute hour day month weekday
    duration: timedelta
    timezone: str = "UTC"  # IANA name, such as Europe/Berlin
    reason: str = ""  # shown to whoever waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """How long a push waits for a newer one, so that a burst becomes one rollout."""

    quiet: timedelta = timedelta()  # starts when no push has come for so long
    limit: timedelta = timedelta(minutes=10)  # since the first push of the burst, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """The canary steps, the bake after them, and the rules around."""

    steps: tuple[Step, ...]
    bake: timedelta
    kind: StrategyKind = StrategyKind.ROUTE
    freezes: tuple[Freeze, ...] = ()
    delay: Delay = Delay()
    approval: Approval = Approval()
    hold: Hold = Hold()
    new_push: NewPushPolicy = NewPushPolicy.SUPERSEDE
    # The platform pins clients to a slot by cookie for an hour, also past the rule that sent them
    # there. A slot is not filled with an unproved build while somebody may still be pinned to it.
    pinned_for: timedelta = timedelta(hours=1)


class IdentityKind(StrEnum):
    """Where a build says which build it is."""

    HEADER = "header"
    JSON = "json"
    NONE = "none"  # weaker proof: instance state and container start


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How an answer proves the build that gave it."""

    kind: IdentityKind = IdentityKind.HEADER
    name: str = "x-release-digest"  # header name, or dotted JSON field


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTest:
    """One request against the new build before any user sees it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    expect_status: int = 200
    expect_body: str | None = None  # must occur in the body


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a build must answer before it may take traffic."""

    readiness_path: str = "/health/ready"
    identity: Identity = Identity()
    consecutive: int = 3  # ready answers in a row
    interval: timedelta = timedelta(seconds=5)
    request_timeout: timedelta = timedelta(seconds=5)
    smoke_tests: tuple[SmokeTest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Absolute limits that a healthy build keeps."""

    error_rate_max: float = 0.05  # failed / requests, 0..1
    latency_percentile: int = 95
    latency_ms_max: float = 2000.0
    min_requests: int = 50  # fewer decide nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEvidence:
    """The configured action for each way of not knowing."""

    insufficient_data: NoEvidenceAction = NoEvidenceAction.HOLD
    provider_unavailable: NoEvidenceAction = NoEvidenceAction.HOLD
    ambient_incident: NoEvidenceAction = NoEvidenceAction.HOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Where telemetry is, how often it is read, what it must show."""

    workspace: str  # Log Analytics workspace id (GUID), or ARM id of a component or workspace
    limits: Limits = Limits()
    gate: Gate = field(default_factory=Gate)
    poll: timedelta = timedelta(seconds=15)
    bucket: timedelta = timedelta(seconds=15)
    settle: timedelta = timedelta(seconds=20)  # a bucket closes this long after its end
    provider_grace: timedelta = timedelta(minutes=2)  # silence of the provider that is tolerated
    on_no_evidence: NoEvidence = NoEvidence()
    additional_workspaces: tuple[str, ...] = ()  # more of the same, where builds report apart
    identify_by: IdentifyBy = IdentifyBy.VERSION
    role_name: str | None = None  # cloud role of the app in every slot; None: any
    slot_names: tuple[tuple[SlotName, str], ...] = ()  # how slots call themselves, if not as usual
    platform_metrics: PlatformLimits | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """Everything that is asked, each with a query of its own."""
        return (self.workspace, *self.additional_workspaces)

    @property
    def observation(self) -> str:
        """Name of the observation that this app shares with all that have the same sources.

        A workspace's id, else a hash: an ARM id fits neither a key of a table nor a session's name.
        """
        if len(self.sources) == 1 and "/" not in self.workspace:
            return self.workspace
        joined = "\n".join(sorted(source.lower() for source in self.sources))
        return f"sources-{hashlib.sha256(joined.encode()).hexdigest()[:32]}"

    def mark(self, release: str | None, site: str, slot: SlotName) -> Mark | None:
        """Return what tells the build *release* in *slot* of *site*; None where nothing does."""
        if self.identify_by is IdentifyBy.VERSION:
            return Mark(name=release, role=self.role_name) if release else None
        usual = site if slot.lower() == PRODUCTION else f"{site}-{slot}"
        names = {name.lower(): own for name, own in self.slot_names}
        return Mark(
            name=names.get(slot.lower(), usual),
            by=self.identify_by,
            role=self.role_name if self.identify_by is IdentifyBy.ROLE_INSTANCE else None,
        )

    @property
    def lag(self) -> timedelta:
        """Return how long after it happened something is seen at the latest.

        Its bucket has to end and to settle, and then a poll has to come by.
        """
        return self.bucket + self.settle + self.poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Time limit per state that is not bounded by the strategy itself."""

    preflight: timedelta = timedelta(minutes=5)
    backup: timedelta = timedelta(hours=1)
    migrating: timedelta = timedelta(minutes=30)  # also: the down scripts
    staging: timedelta = timedelta(minutes=10)
    warming: timedelta = timedelta(minutes=10)
    shifting: timedelta = timedelta(minutes=5)
    promoting: timedelta = timedelta(minutes=5)
    swapping: timedelta = timedelta(minutes=45)  # a swap that fails may take the platform 30
    rolling_back: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """Which fired alerts end a rollout of the app. Without rules none does."""

    rules: tuple[str, ...] = ()  # shell globs of alert rule names, compared without case
    resources: tuple[str, ...] = ()  # ARM ids beside the site and its slots: component, plan, ...
    max_age: timedelta = timedelta(minutes=15)  # one that fired earlier is recorded only


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSpec:
    """Everything Slipway knows about one app from its configuration."""

    id: AppId
    target: Target
    source: Source
    strategy: Strategy
    analysis: Analysis
    health: Health = Health()
    deadlines: Deadlines = Deadlines()
    alerts: Alerts = Alerts()
    database: DatabaseSpec | None = None
    backup: BackupSpec | None = None  # None: nothing but what migrations need is backed up


@dataclass(frozen=True, slots=True)
class Routing:
    """Share of live requests per slot; production takes what is left, so the sum is 100.

    ``shares`` holds only named slots with more than 0 %: a rule of 0 % still honours cookies,
    an absent rule is the cleaner goal.
    """

    shares: tuple[tuple[SlotName, Percent], ...] = field(default=())

    def __post_init__(self) -> None:
        total = sum(share for _, share in self.shares)
        names = [name.lower() for name, _ in self.shares]
        if total > ALL or any(not 0 < share <= ALL for _, share in self.shares):
            raise ValueError(f"routing shares must be 1..100 and sum to at most 100: {self.shares}")
        if len(set(names)) != len(names) or PRODUCTION in names:
            raise ValueError(f"routing names each named slot once: {self.shares}")

    def of(self, slot: SlotName) -> Percent:
        """Return the share that *slot* takes."""
        if slot.lower() == PRODUCTION:
            return Percent(ALL - sum(share for _, share in self.shares))
        return next((s for name, s in self.shares if name.lower() == slot.lower()), NONE)

    @property
    def leader(self) -> SlotName:
        """The slot that takes most; production where it ties."""
        best = max(self.shares, key=lambda item: item[1], default=(PRODUCTION, NONE))
        return best[0] if best[1] > self.of(PRODUCTION) else PRODUCTION

    def __str__(self) -> str:
        parts = [f"{name} {share} %" for name, share in self.shares]
        rest = self.of(PRODUCTION)
        return ", ".join(([f"production {rest} %"] if rest else []) + parts)


def split(stable: SlotName, canary: SlotName, weight: Percent) -> Routing:
    """Return the routing that gives *canary* its *weight* and *stable* the rest."""
    wanted = ((stable, Percent(ALL - weight)), (canary, weight))
    return Routing(tuple((s, p) for s, p in wanted if p > 0 and s.lower() != PRODUCTION))
