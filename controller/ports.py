"""The door frames: what the controller needs of the world, in its own words.

Each port has at most five methods. Adapters translate both ways, errors included: what may pass
is a `TransientError`, what cannot is a `PermanentError`; anything else is a bug.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from controller.core.gate import Metric
from controller.core.model import AppState, Record, Rollout, RolloutId
from controller.core.plan import AppId, AppSpec, Health, Routing, SlotName, SmokeTest, Target
from controller.core.telemetry import Mark, PlatformLimits
from controller.verdict.buckets import Bucket, Counts
from controller.verdict.platform import Minute, SlotTotals

# --- The platform that runs the app -----------------------------------------------------------


class PullMeans(StrEnum):
    """By what a slot gets its image out of the registry."""

    IDENTITY = "identity"
    PASSWORD = "password"  # noqa: S105 - no secret
    ANONYMOUS = "anonymous"  # configured so
    NOTHING = "nothing"  # nothing is configured


@dataclass(frozen=True, slots=True)
class PullAccess:
    """A slot's right to pull."""

    means: PullMeans
    registry: str | None = None  # the one that a password is for, where that is said


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotView:
    """One slot as the platform describes it now."""

    name: SlotName
    host: str  # default host name, the one that ramp rules must name
    image: str | None  # registry/repository@digest or :tag; None where it is not a container
    release: str | None  # value of the release identity setting
    telemetry_release: str | None  # service.version that the build reports to telemetry
    running: bool  # the site's state, not a proof of life
    setting_names: frozenset[str]  # names of its app settings, values never leave the adapter
    trouble: str | None = None  # why it is not running, where starting it is not the remedy
    pull: PullAccess | None = None  # None: not known
    health_check_path: str | None = None  # what the platform itself asks; None: nothing
    start_limit: timedelta | None = None  # how long the platform waits for a container to answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteView:
    """The site, its configured slots, its routing: the world as it is."""

    host: str  # public host name
    scheme: str  # https, but for a sandbox
    slots: Mapping[SlotName, SlotView]  # production included, keyed as configured
    routing: Routing
    sticky_names: frozenset[str]
    problems: tuple[str, ...] = ()  # what makes it unfit: Windows, code app, foreign rules, ...
    warnings: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()  # speaks against a new build, but must not stop a way back
    swap_problems: tuple[str, ...] = ()  # what makes it unfit for swaps only


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Where a site and its slots answer. Default host names: they do not change by a deployment."""

    scheme: str  # https, but for a sandbox
    public: str  # the site's own; production answers here, too
    slots: Mapping[SlotName, str]  # production included, keyed as configured


class Addresses(Protocol):
    """Knows where slots answer, and how requests are split between them."""

    async def hosts(self, target: Target) -> Hosts:
        """Return the host names; cheap, asked before every probe.

        Raises:
            SiteMissingError, SlotMissingError, AccessDeniedError, BusyError.
        """
        ...

    async def routing(self, target: Target) -> Routing:
        """Return the split as it is now; cheap, asked at every heartbeat of a watched rollout.

        Raises:
            SiteMissingError, SlotMissingError, AccessDeniedError, BusyError (also: the rules name
            something that is none of the configured slots).
        """
        ...


class TargetPlatform(Addresses, Protocol):
    """Runs several versions of one app in slots and splits live requests between them."""

    async def read(self, target: Target) -> SiteView:
        """Return the site as it is now.

        Raises:
            SiteMissingError, SlotMissingError, AccessDeniedError, BusyError.
        """
        ...

    async def stage(
        self, target: Target, slot: SlotName, *, image: str, release: str, request_id: str
    ) -> bool:
        """Make *slot* run *image* under the identity *release*; other settings stay.

        Returns:
            True when nothing had to be written, False when a write was made (and read back);
            the build then still has to start. Calling again with the same values is harmless.

        Raises:
            SlotMissingError, AccessDeniedError, BusyError (also: another operation is running).
        """
        ...

    async def route(self, target: Target, routing: Routing, *, request_id: str) -> Routing:
        """Make the site split its traffic so and return what was read back.

        Raises:
            SlotMissingError, AccessDeniedError, BusyError.
        """
        ...

    async def instances(self, target: Target, slot: SlotName) -> Sequence[str]:
        """Return the state of each instance of *slot*: READY, STOPPED or UNKNOWN."""
        ...

    async def log_tail(self, target: Target, slot: SlotName, *, lines: int) -> str:
        """Return the last *lines* of the slot's container log; empty where there is none."""
        ...


class SwapOutcome(StrEnum):
    """How a swap that was asked for stands."""

    RUNNING = "running"
    ENDED = "ended"  # the platform says that it is done; what it did is for the world to tell
    UNDONE = "undone"  # given up for a reason that is the platform's own: asking again may help
    REFUSED = "refused"  # given up because the build did not come up: asking again does not help


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapStatus:
    """What the platform answers about a swap."""

    outcome: SwapOutcome
    detail: str = ""
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapView:
    """What can be seen of swaps at a site without asking for one."""

    operation: str | None  # id of the operation that is in progress on site or slot, whoever began
    swapped_at: datetime | None  # end of the last swap that the site remembers
    swapped_slots: tuple[SlotName, ...] = ()  # the two that it exchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingDifference:
    """A setting that stays with its slot when builds are exchanged."""

    name: str
    explanation: str  # what that means for the build that arrives


class SlotSwapper(Protocol):
    """Exchanges what a slot and production hold. `TargetPlatform` tells what they hold."""

    async def look(self, target: Target, slot: SlotName) -> SwapView:
        """Return what is in progress and what was done last.

        Raises:
            SiteMissingError, SlotMissingError, AccessDeniedError, BusyError.
        """
        ...

    async def differences(self, target: Target, slot: SlotName) -> Sequence[SettingDifference]:
        """Return the sticky settings by which *slot* and production differ.

        A swap restarts the build under the other slot's values before it moves: these are what it
        will meet for the first time then.
        """
        ...

    async def begin(self, target: Target, slot: SlotName, *, request_id: str) -> str:
        """Ask once for the exchange of *slot* and production; return a token for `follow`.

        Raises:
            OperationInProgressError: refused, nothing happens: another one runs.
            PreparedForSwapError: refused, an earlier swap left a lock (see `unlock`).
            PermanentError: refused for good.
            BusyError: not known whether it was taken: no answer, or one that says nothing (5xx).
        """
        ...

    async def follow(self, target: Target, slot: SlotName, token: str) -> SwapStatus:
        """Ask once how the swap of *token* stands.

        A token that means nothing here has ENDED: the slots tell what it did.

        Raises:
            AccessDeniedError: Slipway may not ask.
            BusyError: no answer now.
        """
        ...

    async def unlock(self, target: Target, slot: SlotName, *, request_id: str) -> None:
        """Undo the first half of a swap: *slot* and production take changes again.

        Raises:
            BusyError: another operation is in progress.
        """
        ...


# --- Asking a build ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a build answered to one request."""

    status: int | None  # None: no answer
    release: str | None  # identity it proved, None where it showed none
    body_excerpt: str = ""
    elapsed_ms: float = 0.0
    error: str | None = None  # why there was no answer


class Prober(Protocol):
    """Sends single HTTP requests to a build. Never raises: a failure is an answer."""

    async def ready(
        self, base_url: str, health: Health, *, cookie: tuple[str, str] | None = None
    ) -> Answer:
        """Ask the readiness path once, optionally with one cookie."""
        ...

    async def smoke(self, base_url: str, test: SmokeTest, *, timeout: timedelta) -> Answer:
        """Run one smoke test; `Answer.error` says what was not as expected, else None."""
        ...

    async def get(
        self, url: str, *, timeout: timedelta, cookie: tuple[str, str] | None = None
    ) -> Answer:
        """Ask *url* once, marked as no user's request; `Answer.release` is None."""
        ...


class Registry(Protocol):
    """Holds images."""

    async def digest_of(self, registry: str, repository: str, reference: str) -> str | None:
        """Return the digest that *reference* (tag or digest) names, None where it is absent.

        Raises:
            AccessDeniedError, BusyError.
        """
        ...


# --- Telemetry ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What became visible in ``[since, until)`` of ingestion time, for every build asked for.

    ``buckets`` holds only closed, non-empty buckets; one that is absent saw nothing.
    """

    since: datetime
    until: datetime
    buckets: Mapping[Mark, Sequence[Bucket]]  # oldest first
    query: str  # the text that was run
    newest: datetime | None  # newest row's own time, whoever sent it: how far telemetry has come
    # Rows that say no version, by the cloud role that sent them: nobody can tell their build.
    unversioned: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCell:
    """Rows of one tenth of a build's sessions in one bucket of its past."""

    start: datetime
    group: int  # 0..9, by a hash of the session, else of the operation
    rows: int
    failed_rows: int
    slow: tuple[int, int, int] = (0, 0, 0)  # rows above each of BuildHistory.edges
    sessions: int = 0
    failing_sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildHistory:
    """What one build did in ``[since, until)``, before anybody compared it with another."""

    since: datetime
    until: datetime
    bucket: timedelta
    cells: Sequence[HistoryCell]
    edges: tuple[int, int, int] | None  # bins of p50, p90, p99; None: no latency was reported
    by_session: bool  # rows name sessions (at least half of them do)
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a metric's query said of each build: buckets by their start, oldest first."""

    buckets: Mapping[Mark, Sequence[tuple[datetime, Counts]]]
    query: str


class Telemetry(Protocol):
    """Reads what the builds reported about themselves."""

    async def observe(
        self,
        source: str,
        *,
        builds: Sequence[Mark],
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Observation:
        """Return the buckets of *builds* that closed in ``[since, until)``, by one query.

        *source* is a workspace's id, or the ARM id of a workspace or a component.

        Raises:
            ProviderError: no answer, a partial answer, throttled: evidence is missing.
            QueryInvalidError, AccessDeniedError: it would never answer.
        """
        ...

    async def history(
        self,
        source: str,
        *,
        build: Mark,
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> BuildHistory:
        """Return what *build* did in ``[since, until)`` of ingestion time.

        Raises:
            ProviderError, QueryInvalidError, AccessDeniedError: as `observe`.
        """
        ...

    async def measure(
        self,
        source: str,
        metric: Metric,
        *,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Measurement:
        """Return what the query of *metric* counts for *builds* in ``[since, until)``.

        Raises:
            ProviderError, QueryInvalidError, AccessDeniedError: as `observe`.
        """
        ...


class PlatformMetrics(Protocol):
    """Reads what the platform's front ends counted, app or no app."""

    async def read(
        self,
        target: Target,
        slot: SlotName,
        *,
        region: str,
        since: datetime,
        until: datetime,
        with_health: bool,
    ) -> Sequence[Minute]:
        """Return the minutes of *slot* that began in ``[since, until)``, oldest first.

        A number that is missing is not known: it is never zero. The health check's are read only
        *with_health*; they come every five minutes, for sites that have one.

        Raises:
            ProviderError: no answer, one that cannot be read, throttled.
            AccessDeniedError, QueryInvalidError: it would never answer.
        """
        ...


# --- What is kept --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An app's state with the version under which it may be saved."""

    state: AppState
    etag: str | None  # None: nothing is stored yet


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One audit line as stored: chained to the one before by its hash."""

    sequence: int  # per app, from 1
    record: Record
    previous_hash: str
    hash: str  # sha256 over previous_hash and the record's canonical form


class StateStore(Protocol):
    """Keeps each app's state and audit, changed together or not at all."""

    async def load(self, app: AppId) -> Loaded:
        """Return the app's state; a new one where nothing is stored."""
        ...

    async def save(
        self,
        loaded: Loaded,
        state: AppState,
        records: Sequence[Record],
        *,
        ended: Sequence[Rollout] = (),
        seen: str | None = None,
    ) -> Loaded:
        """Save *state*, its rollouts (active, queued and *ended*) and *records* in one transaction.

        *seen* marks a delivery as handled. Returns what to save on next.

        Raises:
            ConflictError: somebody saved since *loaded*; nothing was written.
        """
        ...

    async def was_seen(self, app: AppId, key: str) -> bool:
        """Return whether a delivery with this key was handled before."""
        ...


class History(Protocol):
    """Reads what was recorded, for people."""

    async def rollout(self, rollout: str) -> Rollout | None:
        """Return one rollout, also one that ended."""
        ...

    async def rollouts(self, app: AppId, *, limit: int) -> Sequence[Rollout]:
        """Return the app's latest rollouts, newest first."""
        ...

    async def under_way(self) -> Sequence[AppId]:
        """Return the apps that have a rollout under way, also those no longer configured."""
        ...

    async def audit(self, app: AppId, *, rollout: str | None, limit: int) -> Sequence[AuditRow]:
        """Return audit rows, oldest first; the last *limit* of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AppMemory:
    """All that is remembered of one app."""

    state: AppState
    rollouts: tuple[Rollout, ...] = ()  # newest first
    audit: tuple[AuditRow, ...] = ()  # oldest first


class AppMemoryKeeper(Protocol):
    """Takes what another table remembered of an app."""

    async def adopt(self, memory: AppMemory, record: Record) -> None:
        """Write *memory* where nothing is stored of the app yet; *record* is its next audit line.

        What an earlier call left half written is written over. The state comes last: an app has
        its history whole or not at all.

        Raises:
            ConflictError: something is stored of it. It is left as it is.
            MalformedError: the audit is not one unbroken chain from its first line.
            TransientError: it cannot be written now; again goes on.
        """
        ...


class AppMemoryReader(Protocol):
    """Understands how an app's memory is kept in backup sets."""

    async def read(self, lines: AsyncIterator[bytes]) -> AppMemory:
        """Return what *lines* say.

        Raises:
            MalformedError: they are not what Slipway wrote.
            NewerFormError: a newer Slipway wrote them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBucket:
    """Both arms of one closed bucket of a rollout."""

    start: datetime
    canary: Bucket
    stable: Bucket | None
    # Requests of our own at the time of the poll that closed it: (new build, stable build).
    probes: tuple[Counts, Counts] | None = None
    # How old the newest row was, whoever sent it, when this closed: how late telemetry comes.
    lag: timedelta = timedelta(0)
    # Metric's name to (new build, stable build). Absent: its query gave no answer.
    metrics: Mapping[str, tuple[Counts, Counts]] = field(
        default_factory=dict[str, tuple[Counts, Counts]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformWatch:
    """What the platform's metrics of a rollout's two slots said so far."""

    target: Target
    limits: PlatformLimits
    slot: SlotName  # of the new build
    stable_slot: SlotName
    since: datetime  # the new build was first watched there
    canary: SlotTotals | None = None  # None: never read
    stable: SlotTotals | None = None
    read_at: datetime | None = None  # of the last answer
    error: str | None = None  # why the last read gave none


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeWatch:
    """What is asked of a rollout's two slots at each poll."""

    target: Target
    slot: SlotName  # of the new build
    stable_slot: SlotName
    path: str
    per_poll: int  # requests to each
    timeout: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """One app's place in its workspace's observation."""

    app: AppId
    rollout: str
    release: str
    stable_release: str | None
    probe_operations: tuple[str, ...]
    poll: timedelta
    bucket: timedelta
    settle: timedelta
    since: datetime  # observation of this rollout began
    until: datetime  # lease: not observed after this unless asked again
    mark: Mark | None = None  # None: stored before there were any; the release is it
    stable_mark: Mark | None = None
    sources: tuple[str, ...] = ()  # what is asked; none: the workspace that the watch is named for
    platform: PlatformWatch | None = None
    probing: ProbeWatch | None = None  # None: nothing is asked
    metrics: tuple[Metric, ...] = ()
    # Metric's name to why its last query gave none.
    metric_errors: tuple[tuple[str, str], ...] = ()

    @property
    def marks(self) -> tuple[Mark, Mark | None]:
        """What tells the new and the stable build."""
        if self.mark is not None:
            return self.mark, self.stable_mark
        stable = Mark(name=self.stable_release) if self.stable_release else None
        return Mark(name=self.release), stable


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceWatch:
    """How far one workspace's observation has come. Guarded by its ETag."""

    workspace: str
    cursor: datetime | None = None  # ingestion time up to which buckets are stored
    next_poll: datetime | None = None  # a poll message is on its way for this time
    last_success: datetime | None = None
    last_error: str | None = None
    query: str | None = None  # text of the last query, kept as evidence
    newest: datetime | None = None  # newest row's own time that was ever seen
    watching: tuple[Watching, ...] = field(default=())
    etag: str | None = None


class BucketStore(Protocol):
    """Keeps the evidence: closed buckets per rollout, and who is being watched."""

    async def put(self, app: AppId, rollout: str, buckets: Sequence[StoredBucket]) -> None:
        """Store closed buckets; storing one again writes the same row."""
        ...

    async def buckets(self, app: AppId, rollout: str) -> Sequence[StoredBucket]:
        """Return all stored buckets of a rollout, oldest first."""
        ...

    async def load_watch(self, workspace: str) -> WorkspaceWatch:
        """Return the workspace's watch; an empty one where nothing is stored."""
        ...

    async def save_watch(self, watch: WorkspaceWatch) -> WorkspaceWatch:
        """Save it if nobody else did since it was loaded.

        Raises:
            ConflictError: load again and merge.
        """
        ...


class Housekeeping(Protocol):
    """Removes what only served to work. Never a record, a rollout, or kept evidence."""

    async def prune(
        self, app: AppId, *, before: datetime, keep: Sequence[RolloutId], limit: int
    ) -> int:
        """Remove marks written, and buckets of rollouts that began, before a time.

        Args:
            app: whose.
            before: that time.
            keep: rollouts that are under way, however long ago they began.
            limit: most marks, and most buckets, that are removed now.

        Returns:
            How many rows were removed. Who is slower than another finds less, or nothing.
        """
        ...


class EvidenceStore(Protocol):
    """Keeps what a decision was made from, for re-computation."""

    async def keep(self, path: str, document: bytes) -> str:
        """Store *document* under *path* (written once) and return where it is."""
        ...

    async def read(self, path: str) -> bytes | None:
        """Return a kept document."""
        ...


# --- Messages and secrets ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message to a queue. Ordered and exclusive per session."""

    queue: str
    session: str | None
    body: bytes  # JSON
    id: str | None = None  # duplicates within the queue's window are dropped
    at: datetime | None = None  # delivered not before
    subject: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that the platform gave up on."""

    queue: str
    session: str | None
    body: bytes
    reason: str
    description: str
    deliveries: int
    id: str | None = None


class Bus(Protocol):
    """Carries commands and wake-ups."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Send or schedule *messages*; on return they are stored.

        Raises:
            QueueUnavailableError: none or only some were taken; sending again is safe.
        """
        ...

    async def take_dead_letters(self, queue: str, *, limit: int) -> Sequence[DeadLetter]:
        """Move up to *limit* dead letters to the queue ``rejected`` and return them."""
        ...


class Secrets(Protocol):
    """Knows secrets by name."""

    async def get(self, name: str) -> str | None:
        """Return the current value, None where there is none.

        Raises:
            TransientError: the vault cannot be reached.
        """
        ...


class Callers(Protocol):
    """Knows by its token who calls."""

    async def check(self, token: str) -> str:
        """Return the application that *token* was issued to.

        Raises:
            CallerRefusedError: it is forged, expired, or not for us, or not by one we expect.
            TransientError: the issuer's keys cannot be had now.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What people are told, where they talk."""

    title: str
    lines: tuple[str, ...] = ()  # plain text, each a fact
    is_over: bool = False  # what they were told of before has passed


class Notifier(Protocol):
    """Tells people. The same notice may come twice."""

    async def tell(self, notice: Notice) -> None:
        """Post it.

        Raises:
            TransientError: the channel cannot be reached, or wants to be left alone for a while.
            PermanentError: the channel refuses it, or its address is none.
        """
        ...


class Configuration(Protocol):
    """The apps under our care."""

    async def apps(self) -> Mapping[AppId, AppSpec]:
        """Return every configured app.

        Raises:
            ConfigurationError: it cannot be read or is wrong; the message names the place.
        """
        ...


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the current time, aware, UTC."""
        ...
