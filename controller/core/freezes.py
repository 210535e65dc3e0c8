"""When a rollout may start: the first time that lies in no freeze. Pure.

A freeze fires by the clock on the wall of its zone and lasts for real time. Where clocks go
forward over it, it fires when they have; where they go back, it fires the first time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.core.plan import Freeze

HORIZON: Final = timedelta(days=366)  # freezes that join up for longer have no end
_MAX_LINKS: Final = 1000  # freezes that may join up; reading the cron of each takes its time
_MINUTE: Final = timedelta(minutes=1)
_MAX_GAP: Final = 25 * 60  # minutes that a clock ever jumped, and some
_REFERENCE: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thaw:
    """The end of all freezes that hold at a time, one after the other."""

    at: datetime  # UTC
    reasons: tuple[str, ...] = ()  # why it is frozen until then
    zone: str = "UTC"  # of the freeze that ends last
    is_found: bool = True  # False: no end within the horizon, *at* is where the search ended

    @property
    def why(self) -> str:
        """What whoever waits is told."""
        local = self.at.astimezone(ZoneInfo(self.zone))
        said = f": {'; '.join(self.reasons)}" if self.reasons else ""
        return f"waits for the end of a freeze, {local:%a %Y-%m-%d %H:%M} {self.zone}{said}"


def thaw(freezes: Sequence[Freeze], at: datetime) -> Thaw | None:
    """Return the end of the freezes that hold at *at*; None where none does."""
    end, zone = at.astimezone(UTC), "UTC"
    reasons: list[str] = []
    for _ in range(_MAX_LINKS):
        holding = [(until, f) for f in freezes if (until := _held_until(f, end)) is not None]
        if not holding:
            return Thaw(at=end, reasons=tuple(reasons), zone=zone) if end > at else None
        reasons += [f.reason for _, f in holding if f.reason and f.reason not in reasons]
        end, zone = max((until, f.timezone) for until, f in holding)
        if end - at > HORIZON:
            break
    return Thaw(at=end, reasons=tuple(reasons), zone=zone, is_found=False)


def problem_with_cron(cron: str) -> str | None:
    """Return what is wrong with *cron*, None where nothing is."""
    from croniter import croniter  # noqa: PLC0415 - most apps have no freeze; it costs a cold start

    try:
        croniter(cron, _REFERENCE.replace(tzinfo=None)).get_next(datetime)
    except (ValueError, KeyError, TypeError) as error:
        return str(error)
    return None


def is_zone(name: str) -> bool:
    """Return whether *name* is a time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def never_ends(freezes: Sequence[Freeze]) -> bool:
    """Return whether somebody who waits for the end of these would wait in vain.

    Asked for the first of each month of a year, as a freeze may begin in any of them.
    """
    begins = (_REFERENCE.replace(month=month) for month in range(1, 13))
    found = (thaw(freezes, begin) for begin in begins)
    return any(end is not None and not end.is_found for end in found)


def _held_until(freeze: Freeze, at: datetime) -> datetime | None:
    """Return when *freeze* ends, if it holds at *at*. Its last start ends last."""
    start = next((s for s in _starts_before(freeze, at) if s <= at), None)
    if start is None or start + freeze.duration <= at:
        return None
    return start + freeze.duration


def _starts_before(freeze: Freeze, at: datetime) -> Iterator[datetime]:
    """Yield the times at which it fired, the last first; some may be a little after *at*."""
    from croniter import croniter  # noqa: PLC0415 - see `problem_with_cron`

    zone = ZoneInfo(freeze.timezone)
    local = at.astimezone(zone)
    wall = local.replace(tzinfo=None, fold=0)
    if local.fold:  # the hour that comes twice: its later walls were on the clock before
        first = local.replace(fold=0).utcoffset() or timedelta()
        wall += first - (local.utcoffset() or timedelta())
    schedule = croniter(freeze.cron, wall + _MINUTE / 60)
    earliest = wall - freeze.duration - timedelta(days=2)
    while True:
        try:
            fired = schedule.get_prev(datetime)
        except ValueError:  # not within the years that the library looks through
            return
        yield _instant(fired, zone)
        if fired < earliest:
            return


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return when the clock of *zone* showed *wall*; where it jumped over it: when it had."""
    for _ in range(_MAX_GAP):
        instant = wall.replace(tzinfo=zone).astimezone(UTC)
        if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
            return instant
        wall += _MINUTE
    raise AssertionError(f"the clocks of {zone} jumped for more than a day")
