"""Minutes of a slot's metrics become sums; which limit they break; nothing is made of nothing."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.telemetry import PlatformLimits
from controller.verdict.platform import (
    Minute,
    PlatformEvidence,
    SlotTotals,
    broken,
    numbers,
    totals,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def at(minutes: float) -> datetime:
    return T0 + minutes * MINUTE


def minute(start: float, **known: float) -> Minute:
    return Minute(start=at(start), **known)


def summed(*minutes: Minute, since: float = 0, until: float = 10) -> SlotTotals:
    return totals(minutes, since=at(since), until=at(until))


def test_only_whole_minutes_of_the_window_count() -> None:
    """The minute in which the build came, and those not complete yet, do not."""
    seen = summed(*(minute(m, requests=1) for m in range(-2, 12)), since=0.5, until=4.5)

    assert (seen.minutes, seen.requests) == (3, 3)


def test_a_minute_of_which_nothing_is_known_adds_nothing() -> None:
    seen = summed(minute(0), minute(1))

    assert (seen.minutes, seen.requests, seen.http5xx_rate, seen.response_ms) == (0, 0, None, None)


def test_no_5xx_beside_requests_is_none_and_requests_may_be_left_out() -> None:
    """The metric leaves out minutes without any."""
    assert summed(minute(0, requests=90), minute(1, requests=10, http5xx=5)).http5xx_rate == 0.05
    assert summed(minute(0, http5xx=5)).http5xx_rate == 1.0


def test_the_mean_response_time_is_weighted_by_requests() -> None:
    """And by those alone whose time is known."""
    seen = summed(
        minute(0, requests=90, response_seconds=0.1),
        minute(1, requests=10, response_seconds=1.1),
        minute(2, requests=500),
    )

    assert seen.response_ms == pytest.approx(200)


def test_the_newest_health_counts() -> None:
    assert summed(minute(5, health_percent=100), minute(0, health_percent=0)).health_percent == 100


LIMITS: dict[str, Any] = {
    "http5xx_rate_max": 0.05,
    "response_time_ms_max": 500,
    "health_check_min": 100,
}
# fmt: off
# ruff: noqa: E501 - a table reads better than it wraps
CASES: list[tuple[str, dict[str, float], dict[str, float], str | None]] = [
    # id               the minute                                     limits        said
    ("fine",           {"requests": 100, "http5xx": 5, "response_seconds": 0.5, "health_percent": 100}, LIMITS, None),
    ("5xx",            {"requests": 100, "http5xx": 6},               LIMITS,       "5xx rate 6.0% over 100 requests, limit 5.0%"),
    ("slow",           {"requests": 100, "response_seconds": 0.6},    LIMITS,       "mean response time 600 ms over 100 requests, limit 500 ms"),
    ("too-few",        {"requests": 19, "http5xx": 19, "response_seconds": 9}, LIMITS, None),
    ("few-but-sick",   {"requests": 1, "health_percent": 50},         LIMITS,       "health check 50 %, at least 100 % wanted"),
    ("not-limited",    {"requests": 100, "http5xx": 99, "response_seconds": 9, "health_percent": 0}, {}, None),
    ("nothing-known",  {},                                            LIMITS,       None),
]
# fmt: on


@pytest.mark.parametrize(
    ("known", "limits", "said"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_what_is_broken(known: dict[str, float], limits: Any, said: str | None) -> None:
    wanted = PlatformLimits(region="r", min_requests=20, **limits)

    assert broken(wanted, summed(minute(0, **known))) == said


def test_what_was_never_read_breaks_nothing() -> None:
    assert broken(PlatformLimits(region="r", **LIMITS), None) is None


def test_the_numbers_say_what_is_known_and_that_it_is_not() -> None:
    limits = PlatformLimits(region="r", http5xx_rate_max=0.05)
    told = numbers(
        PlatformEvidence(
            limits=limits,
            slot="blue",
            stable_slot="production",
            canary=summed(minute(0, requests=10, http5xx=1)),
            age=timedelta(seconds=20),
        )
    )
    never = numbers(PlatformEvidence(limits=limits, slot="b", stable_slot="p", error="403"))

    assert told["platform_canary_http5xx_rate"] == 0.1
    assert (told["platform_age_s"], told["platform_error"]) == (20, None)
    assert told["limit_platform_http5xx_rate"] == 0.05
    assert "limit_platform_response_ms" not in told
    assert (never["platform_age_s"], never["platform_error"]) == (None, "403")
    assert not [name for name in never if "canary" in name]


number = st.none() | st.floats(0, 1e9)
minutes = st.builds(
    Minute,
    start=st.integers(-5, 20).map(at),
    requests=number,
    http5xx=number,
    response_seconds=number,
    health_percent=st.none() | st.floats(0, 100),
)


@given(st.lists(minutes, max_size=20))
def test_sums_are_finite_and_a_rate_is_a_rate(found: list[Minute]) -> None:
    """Counts of a front end may disagree: more errors than requests are all of them."""
    seen = summed(*found)

    assert seen.http5xx_rate is None or 0 <= seen.http5xx_rate <= 1
    assert seen.response_ms is None or math.isfinite(seen.response_ms)
