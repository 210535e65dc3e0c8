"""Durations: what is read, what is refused, and that writing and reading agree."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1d", 86400),
        ("1.5s", 1.5),
        ("0s", 0),
        (90, 90),
        (0.25, 0.25),
    ],
)
def test_reads_texts_and_plain_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    ["5", "", "5 m", "m", "-5s", "5m1h", "1h30", "\u0665m", "5m\n", "31d", "999999h", True,
     None, [], {}, -1, 1e12, float("nan"), float("inf"), 10**400],
)  # fmt: skip
def test_refuses_everything_else(written: object) -> None:
    with pytest.raises(ValueError, match="is "):
        parse_duration(written)


@given(st.timedeltas(min_value=timedelta(0), max_value=LONGEST))
def test_what_is_written_is_read_back(duration: timedelta) -> None:
    rounded = duration - duration % timedelta(milliseconds=1)

    assert parse_duration(format_duration(rounded)) == rounded
