"""Where buckets start, and what a time in an answer must be to be one of these."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

_EXACTNESS: Final = timedelta(milliseconds=1)  # how exactly a bucket must start where one does


class Grid(NamedTuple):
    """Buckets of *size* that fill ``[since, until)``."""

    since: datetime
    until: datetime
    size: timedelta

    def start_of(self, at: object) -> datetime:
        """Return the bucket start that *at* is meant to be, in UTC.

        Raises:
            TypeError: it is no time.
            ValueError: no bucket starts there.
        """
        found = moment(at)
        start = self.since + round((found - self.since) / self.size) * self.size
        if not self.since <= start < self.until or abs(found - start) > _EXACTNESS:
            raise ValueError(f"no bucket starts at {found}")
        return start


def moment(value: object) -> datetime:
    """Return *value* in UTC.

    Raises:
        TypeError: it is no time.
    """
    if not isinstance(value, datetime):  # the SDK hands on what it cannot read
        raise TypeError(f"{value!r} is no time")
    return value.astimezone(UTC)
