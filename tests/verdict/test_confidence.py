"""Intervals that hold at every look: published values, and no count that breaks them."""

import math
import random

import hypothesis.strategies as st
import pytest
from hypothesis import assume, given

from controller.verdict.confidence import (
    beta_binomial_interval,
    chernoff_upper,
    empirical_process_lil_bound,
)

alphas = st.floats(1e-6, 0.5)
trials = st.one_of(st.integers(1, 100), st.integers(1, 10**9))


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    seen = draw(trials)
    return draw(st.one_of(st.integers(0, min(seen, 20)), st.integers(0, seen))), seen


# confseq, test/uniform_boundaries_unittest.cpp, BernoulliConfidenceIntervalTest (5e-6: printed
# with five or six digits, cut off)
CASES = [
    (700, 1000, 100, 0.651629, 0.745949),
    (15, 50, 50, 0.129556, 0.511896),
    (5, 50, 50, 0.013021, 0.269264),
    (1, 50, 50, 0.0, 0.13489),
    (1, 2, 50, 0.0, 1.0),
    (100, 200, 1, 0.328923, 0.671076),
    (0, 1, 50, 0.0, 1.0),
    (1, 1, 50, 0.0, 1.0),
]


@pytest.mark.parametrize(("successes", "seen", "t_opt", "low", "high"), CASES)
def test_published_intervals(
    successes: int, seen: int, t_opt: float, low: float, high: float
) -> None:
    """The package's own tests hold."""
    found = beta_binomial_interval(successes, seen, alpha=0.05, t_opt=t_opt)

    assert found == pytest.approx((low, high), abs=2e-6)


@given(counts(), alphas, st.floats(1, 1e6))
def test_an_interval_contains_the_rate(seen: tuple[int, int], alpha: float, t_opt: float) -> None:
    """Whatever the counts, the interval is a proper one around what was observed."""
    low, high = beta_binomial_interval(*seen, alpha=alpha, t_opt=t_opt)

    assert 0.0 <= low <= seen[0] / seen[1] <= high <= 1.0


@given(counts(), alphas)
def test_both_ends_meet_the_definition(seen: tuple[int, int], alpha: float) -> None:
    """An end inside (0, 1) is where the mixture martingale reaches 1 / alpha."""
    successes, total = seen
    assume(total <= 10**5)  # beyond, this plain formula has lost its digits
    for end in beta_binomial_interval(successes, total, alpha=alpha):
        if 0.0 < end < 1.0 - 1e-9:
            reached = plain_log_mixture(successes, total, end)
            assert reached == pytest.approx(math.log(1 / alpha), abs=1e-4)


def plain_log_mixture(successes: int, total: int, rate: float) -> float:
    twice = 2 * math.log(20)
    weight = 1000 / (twice + math.log1p(twice)) - 1
    a, b = weight * rate, weight * (1 - rate)
    return (
        (math.lgamma(a + successes) - math.lgamma(a))
        + (math.lgamma(b + total - successes) - math.lgamma(b))
        - (math.lgamma(weight + total) - math.lgamma(weight))
        - successes * math.log(rate)
        - (total - successes) * math.log1p(-rate)
    )


@given(counts(), alphas)
def test_an_interval_mirrors(seen: tuple[int, int], alpha: float) -> None:
    """Successes and failures are treated alike."""
    successes, total = seen
    low, high = beta_binomial_interval(successes, total, alpha=alpha)

    assert beta_binomial_interval(total - successes, total, alpha=alpha) == pytest.approx(
        (1 - high, 1 - low), abs=1e-9
    )


@given(counts(), alphas)
def test_an_interval_rises_with_its_events(seen: tuple[int, int], alpha: float) -> None:
    """One more event never lowers an end."""
    successes, total = seen
    assume(successes < total)
    low, high = beta_binomial_interval(successes, total, alpha=alpha)
    next_low, next_high = beta_binomial_interval(successes + 1, total, alpha=alpha)

    assert next_low >= low * (1 - 1e-9)
    assert next_high >= high * (1 - 1e-9)


@given(counts(), alphas)
def test_an_interval_widens_with_confidence(seen: tuple[int, int], alpha: float) -> None:
    """A smaller alpha never gives a narrower interval."""
    low, high = beta_binomial_interval(*seen, alpha=alpha)
    wide_low, wide_high = beta_binomial_interval(*seen, alpha=alpha / 2)

    assert wide_low <= low * (1 + 1e-9)
    assert wide_high >= high * (1 - 1e-9)


def test_no_trials_tell_nothing() -> None:
    """Without trials every rate is possible."""
    assert beta_binomial_interval(0, 0) == (0.0, 1.0)
    assert chernoff_upper(0, 0, 0.01) == 1.0


def test_the_interval_holds_at_every_look() -> None:
    """Looked at ever again for 2,000 trials, it misses the true rate in few of many runs."""
    dice = random.Random(5)  # noqa: S311 - a simulation
    missed = 0
    for _ in range(60):
        successes, out = 0, False
        for total in range(1, 2001):
            successes += dice.random() < 0.02
            if total % 10 == 0 and not out:
                low, high = beta_binomial_interval(successes, total, alpha=0.1, t_opt=500)
                out = not low <= 0.02 <= high
        missed += out

    assert missed <= 12  # six are expected at most, and twelve in one of a hundred such tests


@given(counts(), alphas)
def test_a_chernoff_bound_meets_its_definition(seen: tuple[int, int], alpha: float) -> None:
    """N KL(X/N || U) = ln(1/alpha), above the rate."""
    failures, total = seen
    bound = chernoff_upper(failures, total, alpha)

    assert failures / total <= bound <= 1.0
    if 0 < failures < total and bound < 1 - 1e-6 and total <= 10**6:
        rate = failures / total
        distance = rate * math.log(rate / bound) + (1 - rate) * math.log((1 - rate) / (1 - bound))
        assert total * distance == pytest.approx(math.log(1 / alpha), rel=1e-4, abs=1e-6)


@given(counts(), alphas)
def test_a_chernoff_bound_rises_with_failures(seen: tuple[int, int], alpha: float) -> None:
    """One more failure never lowers it."""
    failures, total = seen
    assume(failures < total)

    assert chernoff_upper(failures + 1, total, alpha) >= chernoff_upper(failures, total, alpha) * (
        1 - 1e-9
    )


def test_a_chernoff_bound_without_failures_is_closed() -> None:
    """(1 - U)^N = alpha."""
    assert chernoff_upper(0, 100, 0.05) == pytest.approx(1 - 0.05**0.01, rel=1e-12)


def test_the_bound_of_the_whole_distribution() -> None:
    """The package's own value holds, and the paper's closed form is never below it."""
    assert empirical_process_lil_bound(1000, 0.05, 100, 0.85) == pytest.approx(0.08204769, abs=1e-7)
    assert empirical_process_lil_bound(1000, 0.05, 1) == pytest.approx(0.085806, abs=1e-6)
    closed = 0.85 * math.sqrt(
        (math.log(math.log(math.e * 1000)) + 0.8 * math.log(1612 / 0.05)) / 1000
    )
    assert closed == pytest.approx(0.086569, abs=1e-6)
    assert closed >= empirical_process_lil_bound(1000, 0.05, 1)
    assert empirical_process_lil_bound(99, 0.05, 100) == math.inf
