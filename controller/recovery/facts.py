"""What a restored database has to equal, recorded when it was backed up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFacts:
    """What a restored table has to equal."""

    name: str  # schema.table
    rows: int
    checksum: str  # of all rows, whatever their order
    size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What a restored database has to equal, as of one snapshot."""

    server_version: str
    taken_at: datetime
    migration_head: str | None
    tables: Sequence[TableFacts]
    sequences: Mapping[str, int]  # name -> last value
    constraints: Sequence[str]  # "table: definition", sorted; not validated ones say so
    indexes: Sequence[str]
    extensions: Mapping[str, str]  # name -> version
    size_bytes: int = 0
