"""What restores the parts of a set that are not the database: one restorer for each kind."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Protocol

from controller.core.backup_plan import PartKind
from controller.ports_data import BackupSubject
from controller.recovery.manifest import Manifest
from controller.runtime.backups_tell import Tell


@dataclass(frozen=True, slots=True, kw_only=True)
class PartPlan:
    """What restoring one part would do."""

    kind: PartKind
    summary: str  # one line: what comes back, and to where
    changes: tuple[str, ...] = ()  # what would be written, a line each; none: it is as it was
    notes: tuple[str, ...] = ()  # what is left alone, and why
    refusal: str = ""  # why it cannot be restored; empty: it can


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWanted:
    """A part of a set, and whose it is."""

    manifest: Manifest
    subject: BackupSubject
    open: Callable[[], AsyncGenerator[bytes]]  # its plain bytes, checked as they are read


class PartRestorer(Protocol):
    """Brings one kind of part back. What it writes are goals: twice is once."""

    @property
    def kind(self) -> PartKind:
        """Which parts it restores."""
        ...

    async def plan(self, wanted: PartWanted) -> PartPlan:
        """Return what `restore` would do. Changes nothing.

        Raises:
            BackupDamagedError, BackupKeyError: the part cannot be read.
            TransientError: what is there now cannot be read now.
        """
        ...

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        """Write what differs, read it back, and return what was done, a line each.

        Raises:
            RestoreFailedError: what is there afterwards is not what the set holds.
            CommandRefusedError: its plan has a refusal.
            TransientError: something does not answer now; asking again goes on.
        """
        ...
