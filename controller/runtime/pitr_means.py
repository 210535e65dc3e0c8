"""What a restore to a point in time is made with, what is asked of it, and what it says."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.ports import Clock
from controller.ports_data import BackupSubjects, DatabasePlatform, DatabaseServer


@dataclass(frozen=True, slots=True, kw_only=True)
class PitrMeans:
    """The ports behind it."""

    platform: DatabasePlatform
    subjects: BackupSubjects
    clock: Clock
    server: DatabaseServer | None = None  # None: what was made is not looked into


@dataclass(frozen=True, slots=True, kw_only=True)
class PitrRequest:
    """Somebody wants a server as the app's was. The same moment and name twice is one server."""

    app: str
    at: datetime
    asked_at: datetime
    new_server: str | None = None  # None: the source's name with the time
    confirm: str = ""  # has to be the new server's name
    is_again: bool = False  # an earlier try may have asked for it


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """Something of the old server that the new one does not have by itself."""

    what: str
    items: tuple[str, ...]  # each; empty: Slipway cannot read what there is
    act: str  # what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class PitrPlan:
    """What a restore would do, and what speaks against it. Nothing was changed."""

    app: str
    source: str
    new_server: str
    at: datetime
    earliest: datetime | None
    carried_over: tuple[str, ...]  # "tier GeneralPurpose, Standard_D2ds_v5"
    left_behind: tuple[LeftBehind, ...]
    objections: tuple[str, ...] = ()  # it would be refused
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PitrNotYet:
    """The platform is at it."""

    detail: str
    retry_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found in the new server's database, beside what is in the old one's now."""

    tables: int
    rows: int
    head_then: str | None
    head_now: str | None
    differences: tuple[str, ...]  # between then and now; they are what the restore is for


@dataclass(frozen=True, slots=True, kw_only=True)
class PitrReport:
    """The new server is there. Nothing uses it yet."""

    source: str
    new_server: str
    host: str
    at: datetime
    looked: Looked | None
    not_looked_because: str  # why nobody looked into it; empty: somebody did
    left_behind: tuple[LeftBehind, ...]
    cut_over: tuple[str, ...]  # steps for people, in their order
