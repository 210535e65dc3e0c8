"""Counts and percentiles: what is kept of the telemetry is enough to judge by."""

import math
from datetime import UTC, datetime

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.verdict.buckets import (
    MIN_LATENCY_MS,
    Bucket,
    Totals,
    bin_middle,
    latency_bin,
    percentile,
    total,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
latencies = st.floats(MIN_LATENCY_MS, 600_000)
percents = st.sampled_from((1, 50, 90, 95, 99, 99.9, 100))
counts = st.dictionaries(st.integers(-40, 240), st.integers(1, 10**9), max_size=6)
buckets = st.builds(
    Bucket,
    start=st.just(T0),
    rows=st.integers(0, 10**9),
    requests=st.integers(0, 10**9),
    failed_rows=st.integers(0, 10**9),
    failed=st.integers(0, 10**9),
    failures=st.dictionaries(st.sampled_from(("500", "503", "0")), st.integers(1, 9)),
    latency=counts,
)


def histogram(values: list[float]) -> dict[int, int]:
    found: dict[int, int] = {}
    for value in values:
        place = latency_bin(value)
        found[place] = found.get(place, 0) + 1
    return found


def exact(values: list[float], percent: float) -> float:
    """The nearest-rank percentile."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@given(st.lists(latencies, min_size=1, max_size=200), percents)
def test_a_percentile_is_within_five_percent_of_the_exact_one(
    values: list[float], percent: float
) -> None:
    read = percentile(histogram(values), percent)

    assert read is not None
    assert read == pytest.approx(exact(values, percent), rel=0.05)


@given(latencies)
def test_a_bin_holds_what_is_near_its_middle(value: float) -> None:
    assert bin_middle(latency_bin(value)) == pytest.approx(value, rel=0.03)


@given(latencies, latencies)
def test_a_slower_answer_never_falls_into_a_faster_bin(one: float, other: float) -> None:
    slow, fast = max(one, other), min(one, other)
    assert latency_bin(slow) >= latency_bin(fast)


@pytest.mark.parametrize("value", [0.0, -5.0, 0.0999, MIN_LATENCY_MS])
def test_what_is_faster_than_the_least_counts_as_the_least(value: float) -> None:
    assert latency_bin(value) == latency_bin(MIN_LATENCY_MS)


@pytest.mark.parametrize(("value", "place"), [(1, 0), (10, 40), (100, 80), (1000, 120), (9.99, 39)])
def test_bins_are_forty_to_a_decade(value: float, place: int) -> None:
    assert latency_bin(value) == place


@given(st.lists(latencies, min_size=1, max_size=50))
def test_percentiles_rise_with_the_percent(values: list[float]) -> None:
    read = [percentile(histogram(values), p) or 0 for p in (1, 50, 90, 99, 100)]
    assert read == sorted(read)


def test_an_empty_histogram_has_no_percentile() -> None:
    assert percentile({}, 95) is None
    assert Totals().percentile(95) is None


@pytest.mark.parametrize(
    ("failed", "requests", "rate"), [(0, 0, None), (0, 10, 0.0), (1, 4, 0.25), (4, 4, 1.0)]
)
def test_the_error_rate_is_failures_per_request(
    failed: int, requests: int, rate: float | None
) -> None:
    assert Totals(failed=failed, requests=requests).error_rate == rate


@given(st.lists(buckets, max_size=8))
def test_totals_are_sums(given_buckets: list[Bucket]) -> None:
    sums = total(given_buckets)

    for name in ("rows", "requests", "failed", "failed_rows"):
        assert getattr(sums, name) == sum(getattr(b, name) for b in given_buckets)
    for name in ("failures", "latency"):
        together = [getattr(b, name) for b in given_buckets]
        keys = {key for each in together for key in each}
        assert getattr(sums, name) == {k: sum(e.get(k, 0) for e in together) for k in keys}


@given(st.lists(buckets, max_size=8), st.integers(0, 8))
def test_it_does_not_matter_how_time_is_cut(given_buckets: list[Bucket], cut: int) -> None:
    """Sums over two spans are the sums over both at once, in any order."""
    first, second = total(given_buckets[:cut]), total(given_buckets[cut:])
    whole = total(reversed(given_buckets))

    assert whole.rows == first.rows + second.rows
    for place in whole.latency:
        apart = first.latency.get(place, 0) + second.latency.get(place, 0)
        assert whole.latency[place] == apart


@given(st.lists(buckets, max_size=4))
def test_summing_changes_no_bucket(given_buckets: list[Bucket]) -> None:
    before = [(dict(b.failures), dict(b.latency)) for b in given_buckets]
    total(given_buckets)

    assert [(dict(b.failures), dict(b.latency)) for b in given_buckets] == before
