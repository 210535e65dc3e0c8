"""The data half of a rollout as data: an app's database, what is to run on it, how far that is.

A connection string never is part of it: only the name under which the vault knows it.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class BackupKind(StrEnum):
    """What is made before a migration begins. The values are stored."""

    NONE = "none"
    DUMP = "dump"  # a logical dump into the vault, read back
    PLATFORM = "platform"  # the database service's own backup on demand


class ContractPolicy(StrEnum):
    """What becomes of a release that takes away what the stable build may use."""

    REFUSE = "refuse"
    ALLOW = "allow"  # where down scripts lead back


class OnRollback(StrEnum):
    """What a rollback does with a schema that the stable build can live with."""

    KEEP = "keep"  # the stable build runs on the expanded schema
    DOWN = "down"  # the down scripts run, where all are there


class DryRun(StrEnum):
    """Where PREFLIGHT runs the migrations without keeping what they do."""

    NONE = "none"
    TARGET = "target"  # on the app's database, in a transaction that is rolled back
    COPY = "copy"  # before that, on a copy restored from the newest verified backup set


class BundleSource(StrEnum):
    """Where the migrations of a release are found."""

    IMAGE = "image"  # attached to the image's digest, in its registry
    BLOB = "blob"  # in a blob container, under the digest or the tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundles:
    """Where the migrations of a release are found."""

    source: BundleSource = BundleSource.IMAGE
    url: str | None = None  # of the blob container
    prefix: str = ""  # of the blobs' names


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerName:
    """An Azure Database for PostgreSQL flexible server, where the database is on one."""

    subscription: str
    resource_group: str
    name: str

    @property
    def resource_id(self) -> str:
        """Return its id in Resource Manager."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.DBforPostgreSQL/flexibleServers/{self.name}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSpec:
    """The database that an app's builds share, and what may be done to it."""

    connection: str  # name of the secret that holds the connection string
    server: ServerName | None = None  # the platform's; None: not on one, or nobody said
    bundles: Bundles = Bundles()
    contract: ContractPolicy = ContractPolicy.REFUSE
    on_rollback: OnRollback = OnRollback.KEEP
    backup: BackupKind = BackupKind.DUMP
    accept: tuple[str, ...] = ()  # rules of the lint that people looked at: CODE, CODE@MIGRATION
    dry_run: DryRun = DryRun.TARGET
    lock_timeout: timedelta = timedelta(seconds=5)  # of each statement, then it is tried again
    statement_timeout: timedelta = timedelta(minutes=15)


class WayBack(StrEnum):
    """What the stable build needs before it may serve alone again. The values are stored."""

    OPEN = "open"  # nothing: it can live with what is pending
    DOWN = "down"  # the down scripts, first
    NONE = "none"  # there is no way: such a release is refused


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """What a release's migrations will do to the database. Made by PREFLIGHT, then it stands."""

    bundle: str  # sha256 of the bundle that was looked at
    pending: tuple[str, ...] = ()  # ids of migrations to run, oldest first
    head_before: str | None = None
    head_after: str | None = None
    way_back: WayBack = WayBack.OPEN
    has_down: bool = False  # all that is pending can be taken back by script
    breaking: tuple[str, ...] = ()  # of those pending, the ones that the stable build may miss
    reasons: tuple[str, ...] = ()  # why the way back is what it is
    dry_run: str = ""  # what came of it, in words; empty: there was none


@dataclass(frozen=True, slots=True, kw_only=True)
class DataStep:
    """How far a rollout is with its database."""

    plan: DataPlan
    restore_point: str | None = None  # made before anything ran
    begun: bool = False  # something of it may be applied
    applied: bool = False  # all of it was
    undoing: bool = False  # the down scripts are what is awaited
    reverted: bool = False  # nothing of it is applied any more
    kept_because: str = ""  # why they were given up
