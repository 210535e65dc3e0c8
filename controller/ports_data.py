"""What migrations, backups and drills ask of the world, in our words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.core.data import DatabaseSpec
from controller.migrations.bundle import Kind
from controller.recovery.facts import (
    DatabaseFacts as DatabaseFacts,  # noqa: PLC0414 - ports speak of it, the pure part owns it
)
from controller.recovery.facts import (
    TableFacts as TableFacts,  # noqa: PLC0414 - same
)

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
class Applied:
    """One migration as the database remembers it."""

    id: str
    sha256: str | None  # None: not known, as in a history that EF Core or Alembic wrote
    applied_at: datetime | None
    statements_done: int  # of the up script, where it stopped half way outside a transaction
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One statement that ran."""

    text: str
    seconds: float
    rows: int | None


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
