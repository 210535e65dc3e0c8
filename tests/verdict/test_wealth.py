"""Bets that cannot be won by luck: the guarantee behind every verdict, by simulation."""

import math
import random
from collections.abc import Callable

import pytest

from controller.verdict.evariable import Block, log_e
from controller.verdict.wealth import (
    WORSE_SHARES,
    Mean,
    Rate,
    Reserve,
    equal,
    with_odds,
    worse_rates,
)

RUNS, BUCKETS, ALPHA = 1500, 30, 0.1
RATIO, ABSOLUTE = 1.2, 0.0005
SURE = 3.3  # standard errors: one in two thousand


def binomial(dice: random.Random, trials: int, chance: float) -> int:
    """Return successes in *trials*, by their gaps."""
    if chance <= 0:
        return 0
    found, place, log = 0, -1, math.log1p(-chance)
    while True:
        place += 1 + int(math.log(1.0 - dice.random()) / log)
        if place >= trials:
            return found
        found += 1


def shaken(dice: random.Random) -> float:
    """Return stable's rate in one bucket: mostly one percent, now and then an incident."""
    return 0.3 if dice.random() < 0.1 else 0.01


@pytest.mark.parametrize("usual", [lambda _: 0.02, shaken], ids=["steady", "shaken"])
def test_no_luck_makes_the_evidence_grow_at_the_edge_of_the_tolerance(
    usual: Callable[[random.Random], float],
) -> None:
    """Its mean stays at 1 or below, and one run in ten at most ever reaches ten."""
    dice = random.Random(4)  # noqa: S311 - no secret
    ends, crossed = [], 0
    for _ in range(RUNS):
        wealth, rate, peak = Reserve(WORSE_SHARES), Rate(200, 20_000), 0.0
        for _ in range(BUCKETS):
            p = usual(dice)
            tolerated = RATIO * rate.value + ABSOLUTE
            xc = binomial(dice, 100, min(RATIO * p + ABSOLUTE, 1.0))
            xb = binomial(dice, 300, p)
            block = Block(100, xc, 300, xb)
            wealth.bet(
                [log_e(block, a, rate.value, RATIO, ABSOLUTE) for a in worse_rates(tolerated)]
            )
            rate.take(xb, 300)
            peak = max(peak, wealth.wealth)
        ends.append(min(wealth.wealth, 1e6))
        crossed += peak >= 1 / ALPHA

    mean = sum(ends) / RUNS
    error = math.sqrt(sum((end - mean) ** 2 for end in ends) / RUNS / RUNS)
    assert mean <= 1 + SURE * error
    assert crossed / RUNS <= ALPHA + SURE * math.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_a_reserve_finds_what_begins_late_nearly_as_fast() -> None:
    """After ten minutes of nothing there is still something to bet with."""

    def needed(quiet: int) -> int:
        wealth = Reserve(equal(1))
        for _ in range(quiet):
            wealth.bet([-5.0])
        count = 0
        while wealth.wealth < 50:
            wealth.bet([2.0])
            count += 1
        return count

    assert needed(0) <= 3
    assert needed(40) <= 5


def test_wealth_is_capped_and_never_overflows() -> None:
    for wealth in (Reserve(equal(2)), Mean(equal(2))):
        for _ in range(50):
            wealth.bet([1e9, -1e9])
        assert math.isfinite(wealth.wealth)
        assert wealth.wealth > 1e200


def test_shares_are_all_of_a_stake() -> None:
    assert sum(WORSE_SHARES) == pytest.approx(1.0)
    assert len(WORSE_SHARES) == len(worse_rates(0.01))


@pytest.mark.parametrize("tolerated", [1e-5, 0.001, 0.05, 0.5, 0.7, 0.9, 0.99])
def test_every_alternative_is_worse_than_tolerated_and_possible(tolerated: float) -> None:
    assert all(tolerated < rate < 1 for rate in worse_rates(tolerated))


def test_the_expected_rate_follows_what_is_seen_and_forgets() -> None:
    rate = Rate(10, 1000)
    before = rate.value
    for _ in range(200):
        rate.take(50, 500)

    assert before < 0.02
    assert rate.value == pytest.approx(0.1, rel=0.05)
    assert Rate(0, 0).value > 0


def test_odds_are_multiplied() -> None:
    assert with_odds(0.5, 3.0) == pytest.approx(0.75)
