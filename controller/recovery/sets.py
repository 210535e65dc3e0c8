"""Backup sets as a vault shows them: whole, incomplete or unreadable, and verified or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId, begun_at
from controller.recovery.reading import parsed, read, written


class Condition(StrEnum):
    """What can be said of a set without reading its parts."""

    COMPLETE = "complete"  # its manifest can be read and all parts are there in their sizes
    INCOMPLETE = "incomplete"  # no manifest: under way, or given up
    UNREADABLE = "unreadable"  # a manifest that cannot be believed, or parts that are missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Somebody looked at every byte of a set, or restored it, and says what came of it."""

    at: datetime
    by: str  # who, or which drill
    passed: bool
    how: str  # "read and compared", "restored and compared"
    problems: tuple[str, ...] = ()
    manifest_sha256: str = ""  # what was looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSet:
    """One set as it is in the vault."""

    id: SetId
    manifest: Manifest | None = None  # None: incomplete or unreadable
    problem: str | None = None  # why it cannot be offered, where that is known
    marks: Sequence[Mark] = ()  # oldest first
    last_written_at: datetime | None = None  # by the vault's clock
    stored_bytes: int = 0
    immutable_until: datetime | None = None  # of what is locked longest
    has_legal_hold: bool = False

    @property
    def begun_at(self) -> datetime:
        """When it was begun, by the clock of who made it."""
        return begun_at(self.id)

    @property
    def condition(self) -> Condition:
        """Whether it may be offered."""
        if self.problem:
            return Condition.UNREADABLE
        return Condition.INCOMPLETE if self.manifest is None else Condition.COMPLETE

    @property
    def last_mark(self) -> Mark | None:
        """What was found last, if that was about what is there now."""
        if self.manifest is None:
            return None
        about = [m for m in self.marks if m.manifest_sha256 == self.manifest.sha256]
        return max(about, key=lambda mark: mark.at, default=None)

    @property
    def is_verified(self) -> bool:
        """Tell whether somebody saw that it is whole, and nobody has seen otherwise since."""
        mark = self.last_mark
        return self.condition is Condition.COMPLETE and mark is not None and mark.passed

    @property
    def is_suspect(self) -> bool:
        """Tell whether the last look at it found something wrong."""
        mark = self.last_mark
        return mark is not None and not mark.passed


def newest_verified(sets: Sequence[StoredSet]) -> datetime | None:
    """Return the moment whose data the newest verified set brings back."""
    good = [each.manifest.data_at for each in sets if each.is_verified and each.manifest]
    return max(good, default=None)


def write_mark(mark: Mark) -> bytes:
    """Return the stored form."""
    return written(mark)


def read_mark(document: bytes) -> Mark:
    """Return the mark in its stored form.

    Raises:
        MalformedError: it is not one.
    """
    return read(Mark, parsed(document, "The mark"), "mark")
