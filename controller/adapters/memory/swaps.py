"""Swaps in the world in memory: what holds a site, what locks its slots, how a swap goes.

What takes time takes *looks*, as everywhere in that world: each time somebody asks how things
stand, a swap comes one look closer to its end.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.core.plan import PRODUCTION, SlotName
from controller.ports import SwapOutcome

if TYPE_CHECKING:
    from controller.adapters.memory.world import MemorySlot

_FIRST_END: Final = datetime(2026, 1, 1, tzinfo=UTC)  # the world has no clock: ends are counted


class SwapEnding(StrEnum):
    """How a swap that was taken ends."""

    DONE = "done"
    UNDONE = "undone"  # the platform gave up for a reason of its own
    REFUSED = "refused"  # the build did not come up
    LEFT_LOCKED = "left_locked"  # given up half way: both slots stay locked


OUTCOMES: Final = {
    SwapEnding.DONE: SwapOutcome.ENDED,
    SwapEnding.UNDONE: SwapOutcome.UNDONE,
    SwapEnding.REFUSED: SwapOutcome.REFUSED,
    SwapEnding.LEFT_LOCKED: SwapOutcome.UNDONE,
}


@dataclass(slots=True, kw_only=True)
class MemoryOperation:
    """Something that holds the whole site until it ends: a swap, or (no *slot*) anything else."""

    id: str
    looks_left: int
    slot: SlotName | None = None
    ending: SwapEnding = SwapEnding.DONE
    outcome: SwapOutcome = SwapOutcome.RUNNING


@dataclass(slots=True)
class SiteSwaps:
    """What a site knows of its swaps."""

    running: MemoryOperation | None = None
    late: deque[tuple[int, MemoryOperation]] = field(
        default_factory=deque[tuple[int, MemoryOperation]]
    )  # accepted, but not begun: looks until then
    by_id: dict[str, MemoryOperation] = field(default_factory=dict[str, MemoryOperation])
    locked: set[str] = field(default_factory=set[str])  # "prepared for swap", in lower case
    ended: int = 0
    swapped_slots: tuple[SlotName, ...] = ()

    @property
    def swapped_at(self) -> datetime | None:
        """When the last swap ended."""
        return _FIRST_END + timedelta(seconds=self.ended) if self.ended else None

    def is_locked(self, slot: SlotName) -> bool:
        """Whether *slot* refuses changes until it is unlocked."""
        return slot.lower() in self.locked

    def lock(self, slot: SlotName) -> None:
        """Leave *slot* and production "prepared for swap"."""
        self.locked |= {slot.lower(), PRODUCTION}

    def take(self, operation: MemoryOperation, *, after: int = 0) -> None:
        """Begin *operation*, or hold it back for *after* looks."""
        self.by_id[operation.id] = operation
        if after:
            self.late.append((after, operation))
        else:
            self._begin(operation)

    def pass_look(self) -> MemoryOperation | None:
        """Let one look pass; return the operation that comes to its end by it."""
        if self.running is None:
            self._let_late_ones_begin()
            return None
        if self.running.looks_left > 0:
            self.running.looks_left -= 1
            return None
        ended, self.running = self.running, None
        return ended

    def _let_late_ones_begin(self) -> None:
        waiting = [(looks - 1, operation) for looks, operation in self.late]
        self.late = deque((looks, operation) for looks, operation in waiting if looks > 0)
        for looks, operation in waiting:
            if looks <= 0:
                self._begin(operation)

    def _begin(self, operation: MemoryOperation) -> None:
        """A late one that finds another running, or a lock, comes to nothing."""
        is_barred = operation.slot is not None and self.is_locked(operation.slot)
        if self.running is not None or is_barred:
            operation.outcome = SwapOutcome.UNDONE
        else:
            self.running = operation


def exchange(one: "MemorySlot", other: "MemorySlot", sticky: frozenset[str]) -> None:
    """Let the two slots hold what the other one held; sticky settings stay."""
    for name in (
        "image",
        "release",
        "telemetry_release",
        "serving",
        "starting",
        "looks_left",
        "log",
    ):
        mine, theirs = getattr(one, name), getattr(other, name)
        setattr(one, name, theirs)
        setattr(other, name, mine)
    mine, theirs = one.settings, other.settings
    one.settings = _arriving(theirs, mine, sticky)
    other.settings = _arriving(mine, theirs, sticky)


def _arriving(
    travelling: dict[str, str], staying: dict[str, str], sticky: frozenset[str]
) -> dict[str, str]:
    moved = {name: value for name, value in travelling.items() if name not in sticky}
    return moved | {name: value for name, value in staying.items() if name in sticky}
