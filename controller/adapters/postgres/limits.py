"""How long migrations may wait and run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """In seconds, but for *tries*."""

    lock: float = 5.0  # who waits for a lock, makes all others wait behind it
    statement: float = 300.0  # inside a transaction
    alone: float = 3600.0  # outside of one: an index that is built concurrently
    turn: float = 30.0  # for whoever else migrates this database
    rehearsal: float = 120.0  # in all: what a dry run locked stays locked until its end
    tries: int = 5  # where a lock was not to be had
    pause: float = 1.0  # before the second try; it doubles each time
    longest_pause: float = 15.0

    def pause_after(self, tries: int) -> float:
        """Return how long to let others work after *tries* in vain."""
        return min(self.pause * 2.0 ** (tries - 1), self.longest_pause)
