"""PostgreSQL's table locks: the eight modes of the manual, and who waits for whom.

Source: PostgreSQL manual, 13.3.1 "Table-Level Locks", table 13.2.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class LockMode(IntEnum):
    """A table-level lock mode. The numbers are PostgreSQL's own, weakest first."""

    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    def __str__(self) -> str:
        return self.name.replace("_", " ")

    @property
    def stops_reads(self) -> bool:
        """Tell whether a SELECT waits for who holds it."""
        return self is LockMode.ACCESS_EXCLUSIVE

    @property
    def stops_writes(self) -> bool:
        """Tell whether an INSERT, UPDATE or DELETE waits for who holds it."""
        return self >= LockMode.SHARE

    @property
    def pg_locks_name(self) -> str:
        """Return the mode as the view pg_locks spells it."""
        return self.name.title().replace("_", "") + "Lock"


# Mode -> the modes that wait for it (table 13.2, row by row).
_CONFLICTS: Final = {
    1: {8},
    2: {7, 8},
    3: {5, 6, 7, 8},
    4: {4, 5, 6, 7, 8},
    5: {3, 4, 6, 7, 8},
    6: {3, 4, 5, 6, 7, 8},
    7: {2, 3, 4, 5, 6, 7, 8},
    8: {1, 2, 3, 4, 5, 6, 7, 8},
}


def conflict(held: LockMode, wanted: LockMode) -> bool:
    """Tell whether who wants *wanted* waits while another one holds *held*."""
    return int(wanted) in _CONFLICTS[int(held)]


@dataclass(frozen=True, slots=True, order=True)
class TableLock:
    """A lock that a statement takes on a table that others use."""

    relation: str  # as in SQL, without "public."
    mode: LockMode
