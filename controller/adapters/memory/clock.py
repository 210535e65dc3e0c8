"""Time that passes only when told to."""

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Tells the time it was set to. It never goes back."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        """See `Clock.now`."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Let *by* pass and return the new time."""
        return self.set(self._now + by)

    def set(self, at: datetime) -> datetime:
        """Let it be *at*; a time that is past already changes nothing. Return the time."""
        self._now = max(self._now, at)
        return self._now
