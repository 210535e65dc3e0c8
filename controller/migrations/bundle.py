"""A migration bundle: the ordered changes of the database that one release needs.

A bundle is plain files. Whatever it was made of (SQL files with a manifest, EF Core's idempotent
script, Alembic's ``--sql`` output), it is read into this form, and everything after works on it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class BundleFormat(StrEnum):
    """What the files of a bundle were made by. The values are stored."""

    SQL = "sql"  # manifest.yaml with NNN_name.up.sql and NNN_name.down.sql
    EF_CORE = "ef-core"  # dotnet ef migrations script --idempotent
    ALEMBIC = "alembic"  # alembic upgrade BASE:HEAD --sql


class Kind(StrEnum):
    """What a statement does to what the old build relies on. The values are stored."""

    EXPAND = "expand"  # adds what the old build does not see
    DATA = "data"  # changes rows
    CONTRACT = "contract"  # takes away or narrows what the old build may use
    IRREVERSIBLE = "irreversible"  # what it takes away is gone: no down script brings it back


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One SQL statement as the parser cut it out of its file."""

    text: str  # without the trailing semicolon
    line: int  # of its first word in its file, from 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema. Its id is what the history in the database says."""

    id: str
    up: tuple[Statement, ...]
    down: tuple[Statement, ...] | None  # None: there is no way back by script
    sha256: str  # of the bytes of the up script: a migration that ran must not change
    transactional: bool = True  # False: a statement in it refuses to run inside a transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """All migrations that a release knows of, oldest first, as one artifact."""

    format: BundleFormat
    migrations: tuple[Migration, ...]
    sha256: str  # of the whole bundle: what a plan and an approval are about
    engine: str = "postgresql"
    base: str | None = None  # the migration it starts from; None: an empty database

    @property
    def head(self) -> str | None:
        """The schema that the release's code needs."""
        return self.migrations[-1].id if self.migrations else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One migration as the database remembers it."""

    id: str
    sha256: str | None  # None: not known, as in a history that EF Core or Alembic wrote
    applied_at: datetime | None
    statements_done: int  # of the up script, where it stopped half way outside a transaction
    is_whole: bool = True
    statements_undone: int = 0  # of the down script, where that stopped half way
