"""What migrations, backups and drills ask of the world, in our words."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from controller.core.backup_plan import BackupSpec
from controller.core.data import DatabaseSpec, ServerName
from controller.core.jobs import Job
from controller.core.model import Image
from controller.core.plan import AppSpec, SlotName, Target
from controller.migrations.bundle import (
    Applied as Applied,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.migrations.bundle import BundleFormat, Kind, Migration
from controller.migrations.catalog import Schema
from controller.recovery.facts import (
    DatabaseFacts as DatabaseFacts,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.recovery.facts import (
    TableFacts as TableFacts,  # noqa: PLC0414 - same
)
from controller.recovery.manifest import Encryption, Manifest, Part, PartKind, WrappedKey
from controller.recovery.names import SetId
from controller.recovery.sets import Mark, StoredSet
from controller.recovery.site import (
    SiteExport as SiteExport,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.recovery.site import (
    SlotExport as SlotExport,  # noqa: PLC0414 - same
)

Tell = Callable[[str], Awaitable[None]]  # how work says what it does

# --- One database ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where a database is and who we are there. The password is never part of it."""

    host: str
    port: int
    database: str
    user: str
    sslmode: str = "require"
    options: Mapping[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One statement that ran."""

    text: str
    seconds: float
    rows: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationOrder:
    """Whose migrations run, and who said so: the history keeps it."""

    bundle: str  # its hash
    format: BundleFormat
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One migration that ran, up or down."""

    migration: str
    statements: tuple[Timed, ...]  # those of this time: a resumed one has fewer
    seconds: float
    tries: int = 1  # more where a lock was not to be had at once


@dataclass(frozen=True, slots=True, kw_only=True)
class NotTried:
    """A statement that a rehearsal cannot run."""

    migration: str
    text: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWait:
    """A statement that waited for a lock."""

    migration: str
    text: str
    lock: str  # "AccessExclusiveLock on public.orders"
    blocked_by: tuple[str, ...]  # who held it, in words
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRun:
    """What migrations took on a copy, where they ran for real."""

    of: str  # the backup set that it was restored from
    statements: int
    seconds: float
    longest: Timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What came of running migrations without keeping what they did."""

    ran: tuple[Ran, ...]
    not_tried: tuple[NotTried, ...] = ()
    waits: tuple[LockWait, ...] = ()
    failure: str | None = None  # why it stopped; None: all that can be tried ran
    copy: CopyRun | None = None  # None: on no copy

    @property
    def passed(self) -> bool:
        """Tell whether nothing failed."""
        return self.failure is None


class DatabaseReader(Protocol):
    """The database of an app, as it is."""

    async def history(self) -> tuple[Applied, ...]:
        """Return what is applied, oldest first; with what stopped half way.

        Of Alembic's revisions the current one is there, and those before it that we applied.

        Raises:
            TransientError, AccessDeniedError, PermanentError: as all methods do.
        """
        ...

    async def schema(self) -> Schema:
        """Return its tables as the catalogue tells them, with estimates of their rows.

        No table is read, and none is waited for.
        """
        ...

    async def facts(self) -> DatabaseFacts:
        """Return what a restored database has to equal, as of one snapshot."""
        ...


class Database(DatabaseReader, Protocol):
    """The database of an app: looked at, and changed by migrations."""

    async def rehearse(self, migrations: Sequence[Migration], *, by: str) -> Rehearsal:
        """Run all that a transaction can hold in one, and roll it back.

        What it locks stays locked until then. Sequences that it moved stay ahead: PostgreSQL
        never takes a value back. Nothing else is left.

        Raises:
            TakesTooLongError: it was stopped at its limit, and rolled back.
            TransientError: a lock was not to be had.
        """
        ...

    async def apply(
        self, migrations: Sequence[Migration], order: MigrationOrder
    ) -> tuple[Ran, ...]:
        """Apply those of *migrations* that are not, in order; one that stopped half way goes on.

        Only one applies at a time. A migration that may run in a transaction is applied with its
        row in the history, or not at all; of another one, all up to some statement.

        Raises:
            TransientError: a lock was not to be had, or the connection was lost: ask again.
            BusyError: somebody else migrates; the message says who.
            PermanentError: a statement failed; the message says which and why.
        """
        ...

    async def undo(self, migrations: Sequence[Migration], order: MigrationOrder) -> tuple[Ran, ...]:
        """Run the down scripts of those of *migrations* that are applied, newest first.

        Raises:
            PermanentError: one of them has none (nothing was changed), or as `apply`.
        """
        ...


# --- Backup sets: encryption -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PartLabel:
    """Which part of which set some bytes are; encryption binds them to it."""

    set_id: SetId
    name: str


class KeyHolder(Protocol):
    """Wraps keys so that only this holder can use them. The key itself never leaves it."""

    async def wrap(self, key: bytes, *, context: bytes) -> WrappedKey:
        """Return *key* wrapped; it opens in the same *context* only.

        Raises:
            ConfigurationError: there is no key to wrap with, or it is not of the right form.
            TransientError: it cannot be read now.
        """
        ...

    async def unwrap(self, wrapped: WrappedKey, *, context: bytes) -> bytes:
        """Return the key.

        Raises:
            BackupKeyError: it was wrapped by another holder, in another context, or changed.
            TransientError: our key cannot be read now.
        """
        ...


class Sealer(Protocol):
    """Encrypts parts as they stream by, and manifests' hashes so that nobody can forge them."""

    async def seal(
        self, label: PartLabel, plain: AsyncIterator[bytes]
    ) -> tuple[Encryption, AsyncIterator[bytes]]:
        """Return how it is encrypted, and the encrypted stream (in flat memory)."""
        ...

    def open(
        self, label: PartLabel, encryption: Encryption, stored: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Return the plain stream. Each piece is authentic when it is handed out.

        Raises:
            BackupDamagedError: while it is read: changed, cut short, reordered, of another part
                or set.
            BackupKeyError: our key does not open it.
        """
        ...

    async def sign(self, set_id: SetId, sha256: str) -> WrappedKey:
        """Return the seal of a manifest's hash."""
        ...

    async def check(self, set_id: SetId, sha256: str, seal: WrappedKey) -> None:
        """Return if *seal* is ours and of this hash.

        Raises:
            BackupDamagedError: it is of another hash.
            BackupKeyError: our key does not open it.
        """
        ...


# --- Backup sets: where they are kept ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every byte of a set was read and compared with what its manifest says."""

    set_id: SetId
    manifest_sha256: str  # of what was compared with; empty where it cannot be read
    parts: int  # found as they were written
    plain_bytes: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether the set can be restored."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What came of removing a set."""

    set_id: SetId
    removed: tuple[str, ...]  # paths
    refused: Mapping[str, str]  # path -> why the vault keeps it; the rest is removed later

    @property
    def is_gone(self) -> bool:
        """Tell whether nothing of the set is left."""
        return not self.refused


class VaultReader(Protocol):
    """Finds backup sets and reads them."""

    async def sets(self, app: str | None = None) -> tuple[StoredSet, ...]:
        """Return the sets of *app*, or all, oldest first: incomplete and unreadable ones, too."""
        ...

    async def manifest(self, set_id: SetId) -> Manifest:
        """Return the manifest, its seal checked.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
            BackupDamagedError: it was changed, is of another set, or is not sealed though a key
                is configured.
            BackupKeyError: our key does not open its seal.
        """
        ...

    def open_part(self, manifest: Manifest, name: str) -> AsyncIterator[bytes]:
        """Return the part as it was put in.

        The last piece is handed out only when the hashes of all that is stored and all that it
        opened to are the manifest's: who reads to the end has the whole. Close it when you stop
        earlier (``contextlib.aclosing``).

        Raises:
            BackupMissingError: while it is read: there is no such part.
            BackupDamagedError: it is not what was written. What was handed out of a part that is
                not encrypted may be wrong; of an encrypted one, it is right but not all.
            BackupKeyError: our key does not open it.
        """
        ...

    async def verify(self, set_id: SetId) -> Verification:
        """Read every byte of the set and say what is wrong. Writes nothing.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
        """
        ...


class VaultWriter(Protocol):
    """Makes backup sets, and takes them away."""

    @property
    def encrypts(self) -> bool:
        """Tell whether what is put cannot be read without a key."""
        ...

    async def put_part(
        self,
        label: PartLabel,
        plain: AsyncIterator[bytes],
        *,
        kind: PartKind,
        content_type: str = "application/octet-stream",
    ) -> Part:
        """Keep the stream, encrypted where a key is configured. An earlier try is overwritten.

        *plain* is closed when this returns or raises.

        Raises:
            CommandRefusedError: the set is finished.
        """
        ...

    async def parts(self, set_id: SetId) -> tuple[Part, ...]:
        """Return the parts that are whole already: after a crash, only the others are put."""
        ...

    async def finish(self, manifest: Manifest) -> Manifest:
        """Write the manifest, with its hash and seal: from now on the set is offered.

        Finishing again with the same changes nothing.

        Raises:
            BackupDamagedError: a part in the vault is not the one that the manifest names.
            CommandRefusedError: the set was finished with another manifest.
        """
        ...

    async def mark(self, set_id: SetId, mark: Mark) -> None:
        """Keep beside the set what came of looking at it. The same mark twice is one.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
        """
        ...

    async def remove(self, set_id: SetId) -> Removal:
        """Take the set away, its manifest first. What is immutable is named and stays."""
        ...


class Vault(VaultReader, VaultWriter, Protocol):
    """Where backup sets are kept."""


# --- Backup sets: what goes into them ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseLogin:
    """A database and the way in. Only *address* may be shown."""

    address: DatabaseAddress
    password: str = field(repr=False)

    def to(self, database: str) -> "DatabaseLogin":
        """Return the login to another database of the same server."""
        return replace(self, address=replace(self.address, database=database))


class Dumper(Protocol):
    """Turns a database into bytes and back, without ever holding the whole."""

    def dump(
        self, address: DatabaseAddress, password: str, *, snapshot: str | None = None
    ) -> AsyncGenerator[bytes]:
        """Return the dump as it is made; who reads slowly slows it down.

        It is whole only if it ends without an error. Close it when you stop earlier.

        Args:
            address: of the database.
            password: of its user; it is shown nowhere.
            snapshot: name of an exported one; None: as of now.

        Raises:
            TransientError: while or after it is read: the connection was lost, the server stops.
            AccessDeniedError: the password is wrong, or a right is missing.
            PermanentError: the programs are missing or too old, or the server refused.
        """
        ...

    async def restore(
        self,
        address: DatabaseAddress,
        password: str,
        stream: AsyncIterator[bytes],
        *,
        with_rights: bool = True,
    ) -> None:
        """Restore a dump into an empty database. *stream* is read to its end, and closed.

        Everything belongs to the user of *address* afterwards. Without *with_rights* nobody else
        is given what the dump says: roles that it names need not exist.

        Raises:
            Whatever *stream* raises; else as `dump`. What is in the database then is of no use.
        """
        ...


class Snapshot(Protocol):
    """One moment of a database, for as long as it is held."""

    @property
    def name(self) -> str:
        """What `Dumper.dump` takes."""
        ...

    async def facts(self) -> DatabaseFacts:
        """Return what a restored database has to equal, as of this moment."""
        ...

    async def head(self) -> str | None:
        """Return the last migration that is applied; None where there is no history."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseView:
    """One database as its server tells it."""

    size_bytes: int  # 0 where we may not know
    note: str = ""  # its comment: what we made it for, where we did


class DatabaseServer(Protocol):
    """The databases of one server. *login* leads to any of them, or to one that is not there."""

    def snapshot(self, login: DatabaseLogin) -> AbstractAsyncContextManager[Snapshot]:
        """Hold this moment of the database that *login* leads to.

        Raises:
            TransientError, AccessDeniedError.
            PermanentError: there is no such database.
        """
        ...

    async def databases(self, login: DatabaseLogin) -> Mapping[str, DatabaseView]:
        """Return all databases by their names."""
        ...

    async def create(
        self, login: DatabaseLogin, *, like: str | None = None, note: str = ""
    ) -> None:
        """Make the database of *login*, empty, with encoding and locale of *like*.

        *note* stays with it, whatever it is called later.

        Raises:
            AccessDeniedError: we may not.
        """
        ...

    async def drop(self, login: DatabaseLogin) -> None:
        """Remove the database of *login* and end its sessions; one that is gone is removed."""
        ...

    async def exchange(self, login: DatabaseLogin, *, new: str, kept_as: str) -> None:
        """Give *new* the name of the database of *login*, which is called *kept_as* then.

        Both or neither; sessions in them end. A database that is not there needs no other name.

        Raises:
            AccessDeniedError: they are not ours to rename.
            TransientError: sessions in them could not be ended.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSubject:
    """One app with all that is backed up of it."""

    app: AppSpec
    backup: BackupSpec
    database: DatabaseLogin | None = None  # None: it has none
    scratch: DatabaseLogin | None = None  # server for drills; None: the database's own


class ImageKeeper(Protocol):
    """Copies images between registries."""

    async def copy(self, image: Image, to: str) -> Image:
        """Copy *image* with all that belongs to it, and return what it is called there.

        All platforms, and what is attached: signatures, bills of materials, migrations. What is
        there already is not sent again, so that a second call goes on.

        Args:
            image: by digest.
            to: ``registry/beginning``; the image's repository comes behind it.

        Raises:
            TransientError: one of the registries does not answer now.
            AccessDeniedError, PermanentError: one of them refuses, or an image is damaged.
        """
        ...

    async def place(self, image: Image, target: Image) -> None:
        """Copy *image* as `copy` does, to the very repository of *target*."""
        ...


class BackupSubjects(Protocol):
    """Knows what belongs to an app."""

    async def subject(self, app: str) -> BackupSubject:
        """Return it, passwords looked up now.

        Raises:
            UnknownAppError: there is no such app.
            TransientError: a password cannot be had now.
        """
        ...


class SiteExporter(Protocol):
    """Reads all of a site's configuration."""

    async def export(self, target: Target) -> SiteExport:
        """Return it as it is now.

        Raises:
            SiteMissingError, SlotMissingError, AccessDeniedError, BusyError.
        """
        ...


class SiteImporter(Protocol):
    """Writes a site's configuration: goals, each the whole of what it names.

    No error shows a value. *request_id* marks a request in the platform's log.

    Raises:
        SiteMissingError, SlotMissingError, AccessDeniedError, BusyError, PermanentError: as all
            methods do. What was asked for may have happened all the same.
    """

    async def put_settings(
        self, target: Target, slot: SlotName, settings: Mapping[str, str], *, request_id: str
    ) -> None:
        """Let the slot have these app settings and no others. It restarts."""
        ...

    async def put_connection_strings(
        self,
        target: Target,
        slot: SlotName,
        strings: Mapping[str, tuple[str, str]],
        *,
        request_id: str,
    ) -> None:
        """Let the slot have these connection strings (type, value) and no others. It restarts."""
        ...

    async def put_configuration(
        self, target: Target, slot: SlotName, properties: Mapping[str, object], *, request_id: str
    ) -> None:
        """Let the slot's web configuration have these values; whatever else it has stays."""
        ...

    async def put_sticky(
        self, target: Target, names: Mapping[str, Sequence[str]], *, request_id: str
    ) -> None:
        """Let the site keep these names with their slots in a swap, by what they name."""
        ...


class SecretState(StrEnum):
    """Whether a secret is in its vault."""

    THERE = "there"
    DELETED = "deleted"  # softly: it can be recovered
    GONE = "gone"


class SecretVault(Protocol):
    """Holds secrets. No value is ever asked for.

    All raise `TransientError`, `AccessDeniedError`, or `PermanentError` where it is refused.
    """

    async def state(self, name: str) -> SecretState:
        """Return whether the secret is there."""
        ...

    async def restore(self, name: str, blob: bytes) -> None:
        """Bring back what the vault's own backup holds; a secret that is there stays as it is."""
        ...

    async def recover(self, name: str) -> None:
        """Take the secret's deletion back. It may be there only after a while."""
        ...


class PartExporter(Protocol):
    """Something else that goes into a set: Slipway's own rows, the secrets of a Key Vault."""

    def export(self, app: AppSpec, tell: Tell) -> AsyncGenerator[bytes]:
        """Return it, piece by piece. What it cannot hold is told: a set is to have no secret gaps.

        Raises:
            TransientError, AccessDeniedError: while it is read.
        """
        ...


# --- What a rollout asks of its app's database -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleName:
    """What a release's bundle is found by."""

    image: str  # registry/repository@sha256:...
    tag: str | None = None
    sha256: str | None = None  # of the one that was planned for; None: whichever is there


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingMigration:
    """One migration of a bundle that is not wholly applied, and what it does."""

    id: str
    kind: Kind  # the worst of its statements
    has_down: bool
    old_build_lives: bool = True  # whatever its kind is
    because: str = ""  # what makes it of that kind, for people

    @property
    def is_breaking(self) -> bool:
        """Tell whether the stable build may miss something after it."""
        return self.kind in {Kind.CONTRACT, Kind.IRREVERSIBLE} or not self.old_build_lives


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFacts:
    """What a release's bundle and the database say of each other."""

    bundle: str | None  # sha256; None: the release carries none
    pending: tuple[PendingMigration, ...] = ()  # oldest first
    head_before: str | None = None  # last that is applied
    head_after: str | None = None  # what the release's code needs
    ahead: tuple[str, ...] = ()  # applied, and not known to the bundle
    errors: tuple[str, ...] = ()  # why it must not run: lint, a script that changed after it ran
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataProgress:
    """How far a piece of work on a database came in one call."""

    is_done: bool
    detail: str
    retry_after: timedelta | None = None  # while it goes on


class Migrations(Protocol):
    """Knows what releases change in a database, and does it. Each call takes seconds.

    All raise `TransientError` where bundle or database cannot be reached now, `PermanentError`
    where that cannot help: no access, a script that fails, another bundle than the one named.
    """

    async def look(self, database: DatabaseSpec, bundle: BundleName) -> SchemaFacts:
        """Return what is pending, and what speaks against it. Changes nothing."""
        ...

    async def rehearse(
        self,
        database: DatabaseSpec,
        bundle: BundleName,
        ids: Sequence[str],
        *,
        app: str,
        rollout: str,
    ) -> Rehearsal:
        """Run *ids* on the database in a transaction that is rolled back, in seconds.

        What it locks stays locked until then: it is to be the last question of all. *app* and
        *rollout* are who asks.

        Raises:
            TransientError: also while a copy is made and tried.
            TakesTooLongError: it was stopped, and rolled back. Asking again locks again.
        """
        ...

    async def apply(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """Go on applying *ids*, oldest first. What is applied already is not applied again.

        *rollout* is who the database's history says it was.
        """
        ...

    async def revert(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """Go on taking *ids* back, newest first. What is not applied is passed over."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePointOrder:
    """What a restore point is made for. The same order twice is one restore point."""

    app: str
    rollout: str
    release: str  # digest
    head: str | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePointProgress:
    """How far a restore point is."""

    id: str | None  # it exists and was read back; None: not yet
    detail: str = ""
    retry_after: timedelta | None = None


class RestorePoints(Protocol):
    """Makes what a database can be brought back from."""

    async def take(self, database: DatabaseSpec, order: RestorePointOrder) -> RestorePointProgress:
        """Go on making it, and say how far it is. Each call takes seconds.

        Raises:
            TransientError: database or vault cannot be reached now.
            PermanentError: it cannot be made, or what was written does not verify.
        """
        ...


# --- Maintenance ---------------------------------------------------------------------------------


class JobStore(Protocol):
    """Keeps jobs of maintenance, so that people can watch them and the next process goes on."""

    async def keep_job(self, job: Job) -> None:
        """Write *job*, whatever was there under its id.

        Raises:
            TransientError: it cannot be written now.
        """
        ...

    async def job(self, job_id: str) -> Job | None:
        """Return the job, None where there is none."""
        ...

    async def jobs(self, app: str, *, limit: int) -> Sequence[Job]:
        """Return the latest jobs of *app*, newest first."""
        ...

    async def forget_jobs(self, app: str, *, before: datetime) -> int:
        """Remove jobs of *app* that ended, and were asked for before a time; return how many."""
        ...


# --- The database service's own backups ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformServer:
    """A database server as its platform tells it."""

    name: ServerName
    host: str  # fully qualified; empty while it is made
    state: str  # "Ready" where nothing is under way
    location: str
    tier: str  # "Burstable", "GeneralPurpose", "MemoryOptimized"
    size: str  # "Standard_D2ds_v5"
    version: str  # major version of PostgreSQL
    storage_gb: int
    storage_type: str  # "Premium_LRS", "PremiumV2_LRS"; empty where it is not told
    high_availability: str  # "Disabled", "SameZone", "ZoneRedundant"
    retention_days: int
    is_geo_redundant: bool
    earliest_restore: datetime | None  # None: there is no backup yet
    is_private: bool  # it is in a virtual network; that cannot be changed by a restore
    role: str = "Primary"  # or that of a read replica
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    made_for: str = ""  # mark of the order by which Slipway made it

    @property
    def is_ready(self) -> bool:
        """Tell whether it serves, and nothing is under way."""
        return self.state.lower() == "ready" and bool(self.host)

    @property
    def no_backups_because(self) -> str:
        """Why the platform takes no backups on demand of it; empty where it does."""
        if self.tier.lower() == "burstable":
            return "servers of tier Burstable take no backups on demand"
        if self.storage_type.lower().startswith("premiumv2"):
            return "servers on Premium SSD v2 take no backups on demand"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSurroundings:
    """What belongs to a server and is no data of it: a restore may leave it behind."""

    firewall_rules: Mapping[str, tuple[str, str]] = field(
        default_factory=dict[str, tuple[str, str]]
    )  # name -> first and last address
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])  # those somebody set
    administrators: tuple[str, ...] = ()  # of Microsoft Entra
    private_endpoints: tuple[str, ...] = ()
    replicas: tuple[str, ...] = ()
    virtual_endpoints: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()  # which of these the platform does not tell


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformBackup:
    """One of the platform's backups of a server."""

    name: str
    kind: str  # "Full": the platform's own; "Customer On-Demand"
    completed_at: datetime | None  # None: under way

    @property
    def is_on_demand(self) -> bool:
        """Tell whether somebody asked for it; only such a one can be deleted."""
        return self.kind.lower() == "customer on-demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRestore:
    """A new server is to be what another one was. The same order twice is one server."""

    source: ServerName
    new: str  # its name, beside the source
    at: datetime

    @property
    def new_name(self) -> ServerName:
        """Return where it will be."""
        return replace(self.source, name=self.new)

    @property
    def mark(self) -> str:
        """Return what the new server is known by."""
        return f"{self.source.name}@{self.at.astimezone(UTC).isoformat()}"


class PlatformReader(Protocol):
    """Reads what a database service tells of its servers.

    All methods raise `BusyError` where it does not answer now, else `PermanentError`.
    """

    async def server(self, name: ServerName) -> PlatformServer | None:
        """Return the server, None where there is none."""
        ...

    async def surroundings(self, name: ServerName) -> ServerSurroundings:
        """Return what belongs to it."""
        ...

    async def backups(self, name: ServerName) -> tuple[PlatformBackup, ...]:
        """Return its backups, oldest first."""
        ...

    async def objection_to(self, name: ServerName) -> str:
        """Return why no new server can be called so; empty where it can."""
        ...


class DatabasePlatform(PlatformReader, Protocol):
    """A database service that backs its servers up itself. Each call takes seconds."""

    async def take_backup(self, name: ServerName, backup: str) -> PlatformBackup | None:
        """Go on towards a backup of this name, and return it once it is complete.

        Where seven are there, Slipway's oldest one goes first; one that somebody else asked for
        never does.

        Raises:
            PermanentError: this server takes none, or there is no room and none is ours.
        """
        ...

    async def restore(self, order: ServerRestore) -> PlatformServer | None:
        """Go on towards the server of *order*, and return it once it is ready.

        Raises:
            PermanentError: a server of this name is there and is not of this order, or the
                platform refuses.
        """
        ...
