"""Dispersion: one for what is independent, m for clumps of m, and nothing for common shocks."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.verdict.dispersion import (
    bounded_by_time,
    of_exceedances,
    of_failures,
    of_traffic,
    wander_of,
)

GROUPS, BUCKETS = 10, 240
Grid = list[list[int]]
grids = st.lists(
    st.lists(st.integers(0, 10**9), min_size=GROUPS, max_size=GROUPS), min_size=0, max_size=5
)


def clumped(
    seed: int, size: float, mean: float = 0.4, shock: float = 1.0, *, varies: bool = False
) -> Grid:
    """Clumps per bucket and group; *shock* multiplies every tenth bucket of all groups."""
    dice = random.Random(seed)  # noqa: S311 - a simulation
    grid = [[0] * GROUPS for _ in range(BUCKETS)]
    for index, row in enumerate(grid):
        rate = mean * (shock if index % 10 == 0 else 1.0)
        for group in range(GROUPS):
            clumps = poisson(dice, rate)
            row[group] = sum(members(dice, size, varies=varies) for _ in range(clumps))
    return grid


def members(dice: random.Random, size: float, *, varies: bool) -> int:
    if not varies:
        return round(size)
    count = 1  # geometric: E[m^2] / E[m] = 2 size - 1
    while dice.random() > 1 / size:
        count += 1
    return count


def poisson(dice: random.Random, mean: float) -> int:
    count, left = 0, dice.expovariate(1.0)
    while left < mean:
        count, left = count + 1, left + dice.expovariate(1.0)
    return count


def together(grid: Grid) -> list[int]:
    return [sum(row) for row in grid]


@pytest.mark.parametrize("seed", range(5))
def test_independent_failures_are_not_clumped(seed: int) -> None:
    """Failures that know nothing of each other give about 1."""
    assert 1.0 <= of_failures(clumped(seed, 1)) < 1.25
    assert 1.0 <= bounded_by_time(together(clumped(seed, 1))) < 1.5


@pytest.mark.parametrize("size", [2, 4, 8, 16])
def test_clumps_of_m_give_m(size: int) -> None:
    """Each failure comes m times: evidence is to be divided by m."""
    found = of_failures(clumped(size, size))

    assert 0.85 * size < found < 1.35 * size
    assert bounded_by_time(together(clumped(size, size))) > min(0.8 * size, 7.9)


def test_clumps_that_vary_count_by_their_failures() -> None:
    """A failure drawn at random lies in a larger clump than a clump drawn at random is."""
    assert of_failures(clumped(3, 4, varies=True)) == pytest.approx(7, rel=0.3)


@pytest.mark.parametrize("shock", [5, 20, 100])
def test_a_shock_that_all_share_cancels(shock: float) -> None:
    """An outage of everybody is no clump, between groups; over time alone it cannot be told."""
    grid = clumped(1, 1, shock=shock)

    assert of_failures(grid) < 1.25
    assert bounded_by_time(together(grid)) == 8.0 or shock == 5


@given(grids, st.integers(2, 50))
def test_more_clumping_never_lowers_it(grid: Grid, times: int) -> None:
    """The same clumps with more members each give more, unless they were more even than chance."""
    more = [[count * times for count in row] for row in grid]
    before, after = of_failures(grid), of_failures(more)

    assert after >= before - 1e-9 or before <= 2.0


@given(grids)
def test_failures_in_one_place_are_the_most_clumped(grid: Grid) -> None:
    """Moving all failures of a bucket into one group never lowers it."""
    moved = [[sum(row)] + [0] * (GROUPS - 1) for row in grid]

    assert of_failures(moved) >= of_failures(grid) * (1 - 1e-9)
    assert of_traffic(moved) >= of_traffic(grid) * (1 - 1e-9)


@given(grids)
def test_no_counts_break_it(grid: Grid) -> None:
    """Zeros, single rows and counts up to 1e9 give numbers in their ranges."""
    rows = [[count + 3 for count in row] for row in grid]

    assert 1.0 <= of_failures(grid) <= 30.0
    assert 1.0 <= of_traffic(grid) <= 50.0
    assert 1.0 <= of_exceedances(grid, rows) <= 50.0
    assert 1.0 <= of_exceedances(grid, grid) <= 50.0
    assert 1.0 <= bounded_by_time(together(grid)) <= 8.0


@given(grids, st.randoms(use_true_random=False))
def test_order_does_not_matter(grid: Grid, dice: random.Random) -> None:
    """Neither the order of the buckets nor of the groups."""
    mixed = [list(row) for row in grid]
    dice.shuffle(mixed)
    names = list(range(GROUPS))
    dice.shuffle(names)
    mixed = [[row[name] for name in names] for row in mixed]

    assert of_failures(mixed) == of_failures(grid)
    assert of_traffic(mixed) == of_traffic(grid)


def test_nothing_known_is_taken_to_be_clumped() -> None:
    """Without data each is higher than what good data would give."""
    assert of_failures([]) == of_failures([[0] * GROUPS] * 9) == 2.0
    assert bounded_by_time([]) == bounded_by_time([0] * 9) == 2.0
    assert of_traffic([]) == of_traffic([[0] * GROUPS]) == 3.0
    assert of_exceedances([], []) == of_exceedances([[0, 0]], [[0, 5]]) == 1.2
    assert of_failures([[7]]) == 2.0  # one group has none beside it


def test_even_traffic_is_trusted_slowly() -> None:
    """An hour of independent requests brings traffic's 3 close to 1, sessions of ten do not."""
    minutes = clumped(4, 1, mean=6.0)[:60]
    sticky = clumped(4, 10, mean=0.6)[:60]

    assert of_traffic(minutes) == pytest.approx(1.5, abs=0.15)
    assert of_traffic(sticky) == pytest.approx((60 + 600) / 80, rel=0.25)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_slowness_that_is_drawn_at_random_is_not_clumped(share: float) -> None:
    """Requests that are slow at random give about 1, whatever the groups' sizes are."""
    dice = random.Random(6)  # noqa: S311 - a simulation
    rows = [[dice.randint(20, 200) for _ in range(GROUPS)] for _ in range(60)]
    slow = [[sum(dice.random() < share for _ in range(count)) for count in row] for row in rows]

    assert 1.0 <= of_exceedances(slow, rows) < 1.15


def test_slowness_of_one_group_is_clumped() -> None:
    """Where all slow requests are one group's, the evidence of slowness is worth far less."""
    rows = [[100] * GROUPS for _ in range(60)]
    slow = [[90] + [0] * (GROUPS - 1) for _ in range(60)]

    assert of_exceedances(slow, rows) > 30


def test_rows_of_another_shape_are_refused() -> None:
    """Slow requests and all requests must be of the same blocks."""
    with pytest.raises(ValueError, match="zip"):
        of_exceedances([[1, 2]], [[1, 2], [3, 4]])


def test_slowness_that_wanders_shows_beyond_chance() -> None:
    """A slot that is slower for some minutes moves a share more than chance does."""
    rows = [1000] * 60
    steady = [100 + (7 if block % 3 else -8) for block in range(60)]
    wandering = [100 + (60 if block % 10 < 5 else -60) for block in range(60)]

    assert wander_of(steady, rows) == 0.0
    assert wander_of(wandering, rows) == pytest.approx(0.0036 / 0.09, rel=0.1)
    assert wander_of([], []) == wander_of([0], [5]) == wander_of([3], [5]) == 0.0
    assert wander_of([0, 3, 0], [0, 5, 0]) == 0.0


def test_wandering_needs_as_many_blocks_of_both() -> None:
    with pytest.raises(ValueError, match="zip"):
        wander_of([1, 2], [3])
