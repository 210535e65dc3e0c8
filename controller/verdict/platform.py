"""App Service's own metrics of a slot: what its front ends counted, whether the app reports or not.

They see what telemetry cannot: a crash, a front end's 502, a build that never answers. They come
minutes late and as sums, so they can blame a build and never prove one healthy.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.core.events import Number
from controller.core.telemetry import PlatformLimits

MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What one slot's metrics say of ``[start, start + 1 min)``. None: not known."""

    start: datetime
    requests: float | None = None
    http5xx: float | None = None
    response_seconds: float | None = None  # mean
    health_percent: float | None = None  # HealthCheckStatus; only where a grain of it starts


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotTotals:
    """Sums over complete minutes of one slot."""

    since: datetime
    until: datetime  # no minute from here on counts yet
    minutes: int = 0  # those with any number in them
    requests: float = 0.0
    http5xx: float = 0.0
    timed_requests: float = 0.0  # those whose response time is known
    seconds: float = 0.0  # of all of these together
    health_percent: float | None = None  # newest

    @property
    def http5xx_rate(self) -> float | None:
        """Answers of 500 and above per request, 0..1; None without requests."""
        return min(self.http5xx / self.requests, 1.0) if self.requests else None

    @property
    def response_ms(self) -> float | None:
        """Mean response time; None where none is known."""
        return self.seconds / self.timed_requests * 1000 if self.timed_requests else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformEvidence:
    """Both slots of a rollout, as the judge sees them."""

    limits: PlatformLimits
    slot: str
    stable_slot: str
    canary: SlotTotals | None = None  # None: never read
    stable: SlotTotals | None = None
    age: timedelta | None = None  # since they were read
    error: str | None = None  # why they could not be read the last time


def totals(minutes: Iterable[Minute], *, since: datetime, until: datetime) -> SlotTotals:
    """Return the sums over the minutes that lie wholly in ``[since, until)``.

    A minute that counts requests and names no 5xx had none: the metric leaves out such minutes.
    One that names neither is not known and adds nothing.
    """
    count, requests, http5xx, timed, seconds = 0, 0.0, 0.0, 0.0, 0.0
    health: float | None = None
    for minute in sorted(minutes, key=lambda each: each.start):
        if minute.start < since or minute.start + MINUTE > until:
            continue
        asked = minute.requests if minute.requests is not None else minute.http5xx or 0.0
        known = (minute.requests, minute.http5xx, minute.response_seconds, minute.health_percent)
        count += any(number is not None for number in known)
        requests += asked
        http5xx += minute.http5xx or 0.0
        if minute.response_seconds is not None:
            timed += asked
            seconds += asked * minute.response_seconds
        if minute.health_percent is not None:
            health = minute.health_percent
    return SlotTotals(
        since=since,
        until=until,
        minutes=count,
        requests=requests,
        http5xx=http5xx,
        timed_requests=timed,
        seconds=seconds,
        health_percent=health,
    )


def broken(limits: PlatformLimits, seen: SlotTotals | None) -> str | None:
    """Return which limit a slot breaks, with numbers; None where none, or too little was seen."""
    if seen is None:
        return None
    health, least = seen.health_percent, limits.health_check_min
    if health is not None and least is not None and health < least:
        return f"health check {health:.0f} %, at least {least:.0f} % wanted"
    if seen.requests < limits.min_requests:
        return None
    rate, most = seen.http5xx_rate, limits.http5xx_rate_max
    if rate is not None and most is not None and rate > most:
        return f"5xx rate {rate:.1%} over {seen.requests:.0f} requests, limit {most:.1%}"
    mean, longest = seen.response_ms, limits.response_time_ms_max
    if mean is not None and longest is not None and mean > longest:
        return (
            f"mean response time {mean:.0f} ms over {seen.timed_requests:.0f} requests, "
            f"limit {longest:.0f} ms"
        )
    return None


def numbers(evidence: PlatformEvidence) -> dict[str, Number]:
    """Return the figures for the record, also those that say that there are none."""
    age = evidence.age
    found: dict[str, Number] = {
        "platform_age_s": None if age is None else round(age.total_seconds(), 3),
        "platform_error": evidence.error,
    }
    for name, seen in (("canary", evidence.canary), ("stable", evidence.stable)):
        if seen is not None:
            found |= {f"platform_{name}_{key}": value for key, value in _figures(seen).items()}
    limits = evidence.limits
    wanted: dict[str, Number] = {
        "limit_platform_http5xx_rate": limits.http5xx_rate_max,
        "limit_platform_response_ms": limits.response_time_ms_max,
        "limit_platform_health_percent": limits.health_check_min,
    }
    return found | {name: limit for name, limit in wanted.items() if limit is not None}


def _figures(seen: SlotTotals) -> dict[str, Number]:
    rate, mean = seen.http5xx_rate, seen.response_ms
    return {
        "minutes": seen.minutes,
        "requests": seen.requests,
        "http5xx": seen.http5xx,
        "http5xx_rate": None if rate is None else round(rate, 6),
        "response_ms": None if mean is None else round(mean, 1),
        "health_percent": seen.health_percent,
    }
