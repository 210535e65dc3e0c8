"""What backups are made with, and what is asked of them."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controller.core.backup_plan import PartKind
from controller.ports import Clock, Registry, StateStore, TargetPlatform
from controller.ports_data import (
    BackupSubjects,
    DatabaseServer,
    Dumper,
    ImageKeeper,
    PartExporter,
    SiteExporter,
    Vault,
)
from controller.recovery.names import SetId
from controller.recovery.retention import Retention
from controller.runtime.backups_parts import PartPlan, PartRestorer

DATABASE: Final = "database"  # name of the part with the dump
DATABASE_FACTS: Final = "database-facts"  # of the part with what it has to equal


def mark_of(job: str) -> str:
    """Return what names everything that *job* makes: whoever does it again finds it."""
    return hashlib.sha256(job.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupMeans:
    """The ports behind backups. What is None is left out of the sets."""

    vault: Vault
    subjects: BackupSubjects
    clock: Clock
    version: str  # of Slipway
    dumper: Dumper | None = None
    server: DatabaseServer | None = None
    registry: Registry | None = None
    copier: ImageKeeper | None = None
    store: StateStore | None = None
    platform: TargetPlatform | None = None
    sites: SiteExporter | None = None
    # By the name of their part: Slipway's rows, what its evidence is, secrets of a Key Vault.
    exporters: tuple[tuple[PartKind, PartExporter], ...] = field(default=())
    restorers: tuple[PartRestorer, ...] = ()  # in the order in which parts are restored


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """Somebody wants a set. The same job twice is one set."""

    app: str
    job: str
    why: str
    by: str
    at: datetime  # when it was asked for; a repeat says the same
    also: tuple[PartKind, ...] = ()  # parts beside those that the app's sets hold


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """Somebody wants a set back. The same job twice restores once."""

    set_id: SetId
    job: str
    by: str
    at: datetime
    target: str | None = None  # database on the app's server; None: the app's own
    confirm: str = ""  # has to be the target's name
    # None: the whole set. Of that, what cannot be restored is told and left; a part that is named
    # and cannot be restored refuses the whole.
    parts: tuple[PartKind, ...] | None = (PartKind.DATABASE,)
    across_heads: bool = False  # the schema may become another one than the code knows
    without_safety: bool = False  # what is there is not worth a backup, or cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restore would do."""

    set_id: SetId
    app: str
    target: str  # to be confirmed: the database's name; without a database the app's
    data_at: datetime  # what came after is lost
    restores_database: bool = False
    dump_bytes: int = 0
    tables: int = 0
    rows: int = 0
    overwrites: bool = False  # a database of this name is there
    is_own: bool = False  # and it is the one that the app uses
    size_now: int = 0  # of that, in bytes
    head_then: str | None = None
    head_now: str | None = None
    is_done: bool = False  # this job restored the database already
    parts: tuple[PartPlan, ...] = ()  # those beside the database
    notes: tuple[str, ...] = ()

    @property
    def crosses_heads(self) -> bool:
        """Tell whether the schema will be another one."""
        return self.overwrites and self.head_then != self.head_now


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What came of a restore."""

    set_id: SetId
    target: str
    restored_at: datetime
    seconds: float
    tables: int
    rows: int
    kept_as: str | None = None  # what the database that was there is called now
    safety_set: SetId | None = None  # backup of it
    parts: tuple[str, ...] = ()  # that were asked for
    done: tuple[str, ...] = ()  # what was written beside the database, a line each
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillRequest:
    """Somebody wants to know whether the newest set can be restored."""

    app: str
    job: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was decided, and what came of it."""

    retention: Retention
    applied: bool
    removed: tuple[SetId, ...] = ()
    refused: tuple[tuple[SetId, str], ...] = ()  # why the vault keeps it


FORGOTTEN: Final = timedelta(hours=24)  # a scratch database that old was left by a killed drill
