"""What migrations, backups and drills ask of the world, in our words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

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
