"""Durations as people write them: "90s", "5m", "1h30m", "500ms", or plain seconds."""

import re
from datetime import timedelta
from typing import Final

LONGEST: Final = timedelta(days=30)
PATTERN: Final = (
    r"^(?=[0-9])([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?"
    r"([0-9]{1,9}(\.[0-9]{1,6})?s)?([0-9]{1,9}ms)?$"
)
_PART: Final = re.compile(r"([0-9.]+)(ms|d|h|m|s)")
_UNITS: Final = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}


def parse_duration(value: object) -> timedelta:
    """Return the duration that *value* names: a text with units, or a number of seconds.

    Raises:
        ValueError: not a duration, or longer than 30 days; the text says which.
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 <= value <= LONGEST.total_seconds():  # also what is not a number
            raise ValueError("is not between 0 and 30 days, in seconds")
        return timedelta(seconds=value)
    if not isinstance(value, str) or not re.fullmatch(PATTERN, value):
        raise ValueError('is not a duration such as "90s", "5m", "1h30m" or "500ms"')
    total = sum((float(n) * _UNITS[unit] for n, unit in _PART.findall(value)), timedelta())
    if total > LONGEST:
        raise ValueError("is longer than 30 days")
    return total


def format_duration(duration: timedelta) -> str:
    """Return *duration* the way it is written in apps.yaml; `parse_duration` reads it back."""
    rest = duration // timedelta(milliseconds=1)
    parts: list[str] = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
