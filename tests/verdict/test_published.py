"""Published values of the tests that the judge extends, each from the source that its test names.

confseq: gostevehoward/confseq, test/uniform_boundaries_unittest.cpp (values of the authors' R code,
printed with seven digits). ssrm: optimizely/ssrm, src/ssrm_test/test_ssrm_test.py. safestats:
AlexanderLyNL/safestats, tests/testthat and man pages.
"""

import math
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.verdict import published as p
from controller.verdict.evariable import Block, log_e

V_OPT, ALPHA = 100, 0.05
one_two_three = st.lists(st.integers(0, 10**6), min_size=3, max_size=3)
rates = st.floats(1e-4, 0.999)


BOUNDARIES = [
    # confseq: id, value here, value there
    ("rho", p.best_rho(V_OPT, ALPHA), 12.60056, 1e-5),
    (
        "normal-two",
        p.normal_log_mixture(10, 100, V_OPT, 0.05, is_one_sided=False),
        -0.6510052,
        1e-6,
    ),
    (
        "normal-two-bound",
        p.normal_mixture_bound(100, ALPHA, V_OPT, 0.05, is_one_sided=False),
        30.35209,
        1e-5,
    ),
    ("normal-one", p.normal_log_mixture(10, 100, V_OPT), -0.06502391, 1e-6),
    ("normal-one-bound", p.normal_mixture_bound(100, ALPHA, V_OPT), 27.66071, 1e-5),
    ("exponential", p.gamma_exponential_log_mixture(10, 100, V_OPT, 2), -0.2490165, 1e-6),
    ("exponential-bound", p.gamma_exponential_mixture_bound(100, ALPHA, V_OPT, 2), 33.02017, 1e-5),
    ("poisson", p.gamma_poisson_log_mixture(10, 100, V_OPT, 2), -0.06991219, 1e-6),
    ("poisson-bound", p.gamma_poisson_mixture_bound(100, ALPHA, V_OPT, 2), 30.1949, 1e-5),
    (
        "binomial-two",
        p.beta_binomial_log_mixture(10, 100, V_OPT, 0.2, 0.8, 0.05, is_one_sided=False),
        -0.6941012,
        1e-6,
    ),
    (
        "binomial-two-bound",
        p.beta_binomial_mixture_bound(100, ALPHA, V_OPT, 0.2, 0.8, 0.05, is_one_sided=False),
        31.4308,
        1e-5,
    ),
    ("binomial-one", p.beta_binomial_log_mixture(10, 100, V_OPT, 0.2, 0.8), -0.07134019, 1e-6),
    (
        "binomial-one-bound",
        p.beta_binomial_mixture_bound(100, ALPHA, V_OPT, 0.2, 0.8),
        28.41238,
        1e-5,
    ),
    (
        "binomial-at-its-end",
        p.beta_binomial_mixture_bound(2 * 0.2 * 0.8, 0.05, V_OPT, 0.2, 0.8),
        2 * 0.8,
        1e-6,
    ),
    ("stitching", p.poly_stitching_bound(100, ALPHA, 10, 3), 64.48755, 1e-5),
    ("stitching-negative", p.poly_stitching_bound(100, ALPHA, 10, -1), 28.99389, 1e-5),
    ("lil", p.empirical_process_lil_bound(1000, 0.05, 100, 0.85), 0.08204769, 1e-6),
    ("double-median", p.double_stitching_bound(0.5, 1000, 0.05, 100), 68.62803, 1e-5),
    ("double-high", p.double_stitching_bound(0.9, 1000, 0.05, 100), 43.72119, 1e-5),
    ("double-low", p.double_stitching_bound(0.1, 1000, 0.05, 100), 59.96521, 1e-5),
]


@pytest.mark.parametrize(
    ("here", "there", "digits"), [pytest.param(*case, id=name) for name, *case in BOUNDARIES]
)
def test_uniform_boundaries(here: float, there: float, digits: float) -> None:
    """confseq: MixtureTest, PolyStitchingTest, EmpiricalProcessLILTest, DoubleStitchingTest."""
    assert here == pytest.approx(there, abs=digits, rel=0)


@pytest.mark.parametrize("is_one_sided", [True, False])
def test_a_bound_is_where_its_mixture_reaches_its_odds(*, is_one_sided: bool) -> None:
    """Every ``*_mixture_bound`` inverts its ``*_log_mixture``."""
    for v, alpha in ((5, 0.3), (100, 0.05), (4000, 1e-4)):
        needed = pytest.approx(math.log(1 / alpha), abs=1e-9)
        s = p.normal_mixture_bound(v, alpha, V_OPT, 0.05, is_one_sided)
        assert p.normal_log_mixture(s, v, V_OPT, 0.05, is_one_sided) == needed
        s = p.beta_binomial_mixture_bound(v, alpha, V_OPT, 0.3, 0.7, 0.05, is_one_sided)
        assert p.beta_binomial_log_mixture(s, v, V_OPT, 0.3, 0.7, 0.05, is_one_sided) == needed
        s = p.gamma_exponential_mixture_bound(v, alpha, V_OPT, 0.5)
        assert p.gamma_exponential_log_mixture(s, v, V_OPT, 0.5) == needed
        s = p.gamma_poisson_mixture_bound(v, alpha, V_OPT, 0.5)
        assert p.gamma_poisson_log_mixture(s, v, V_OPT, 0.5) == needed


@pytest.mark.parametrize(
    ("quantile", "offset", "there"),
    [(0.5, 70, 0.814704), (0.5, 85, 0.0838055), (0.5, 100, 0.0054947), (0.9, 55, 0.0340463)],
)
def test_quantiles_of_two_streams(quantile: float, offset: int, there: float) -> None:
    """confseq: QuantileABTest, 1..1000 against the same moved by *offset*; in either order."""
    plain, moved = range(1, 1001), range(offset + 1, offset + 1001)

    assert p.quantile_ab_p_value(plain, moved, quantile, 100) == pytest.approx(there, abs=1e-6)
    assert p.quantile_ab_p_value(moved, plain, quantile, 100) == pytest.approx(there, abs=1e-6)


def test_the_interval_inverts_the_mixture() -> None:
    """confseq: bernoulli_confidence_interval is where the two-sided mixture reaches 1 / alpha."""
    low, high = p.bernoulli_confidence_interval(700, 1000, 0.05, 100)
    for end in (low, high):
        variance = end * (1 - end)
        reached = p.beta_binomial_log_mixture(
            700 - 1000 * end,
            1000 * variance,
            100 * variance,
            end,
            1 - end,
            0.05,
            is_one_sided=False,
        )
        assert reached == pytest.approx(math.log(20), abs=1e-8)


def test_counts_of_two_arms() -> None:
    """Netflix Technology Blog, "Sequential A/B Testing Keeps the World Streaming", part 2."""
    assert p.multinomial_sequential_p_value([100, 101], [0.5, 0.5]) == 1
    assert p.multinomial_sequential_p_value([100, 201], [0.5, 0.5]) == pytest.approx(
        5.06061172163498e-06, rel=1e-11
    )


# ssrm: test_sequential_posteriors, dirichlet_probability (1, 1, 1), concentration 1
UNITS = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
UNITS_THERE = [
    (-1.0986122886681096, -0.916290731874155, (2, 1, 1)),
    (-2.4849066497880004, -1.83258146374831, (2, 2, 1)),
    (-3.401197381662155, -2.748872195622465, (3, 2, 1)),
    (-4.499809670330265, -3.66516292749662, (3, 3, 1)),
    (-6.4457198193855785, -5.27460083993072, (3, 3, 2)),
]
ROWS = [[20, 17, 9], [18, 21, 8], [4, 6, 4], [18, 19, 11]]
ROWS_THERE = [
    (-7.028201432058012, -4.0776406466061985, (21, 18, 10)),
    (-11.947847738358888, -8.265946861099877, (39, 39, 18)),
    (-15.471401950257842, -11.610743519545139, (43, 45, 22)),
    (-19.96484521090386, -15.781031228536165, (61, 64, 33)),
]


@pytest.mark.parametrize(("data", "there"), [(UNITS, UNITS_THERE), (ROWS, ROWS_THERE)])
def test_posteriors(
    data: list[list[int]], there: list[tuple[float, float, tuple[int, ...]]]
) -> None:
    """ssrm: test_sequential_posteriors, single units and rows of counts."""
    found = p.sequential_posteriors(data, [0.4, 0.4, 0.2], [1, 1, 1], 1)

    for here, (alternative, null, posterior) in zip(found, there, strict=True):
        assert here.log_marginal_likelihood_M1 == pytest.approx(alternative, rel=1e-12)
        assert here.log_marginal_likelihood_M0 == pytest.approx(null, rel=1e-12)
        assert here.posterior_M1 == posterior
        assert here.posterior_M0 == (0.4, 0.4, 0.2)


@pytest.mark.parametrize("data", [UNITS, ROWS])
def test_a_mismatch_has_a_probability(data: list[list[int]]) -> None:
    """ssrm: test_srm_test."""
    probability = p.srm_test(data, [0.4, 0.4, 0.2])

    assert 0 <= probability <= 1
    assert probability == p.sequential_posterior_probabilities(data, [0.4, 0.4, 0.2])[-1]


def test_a_bayes_factor_may_be_more_than_a_float_holds() -> None:
    """ssrm: test_overflow."""
    posterior = p.Posterior(
        -23.585991739528254,
        -76546.65811250894,
        (88519.5, 12540.25, 13002.25),
        (0.75, 0.125, 0.125),
    )

    assert p.bayes_factor(posterior) == math.inf
    assert p.posterior_probability(p.bayes_factor(posterior)) == 1
    assert p.posterior_probability(-math.inf) == 0


@pytest.mark.parametrize(
    ("counts", "shares", "there"),
    [
        # ssrm: test_multinomiallogpmf; values by hand: n! / (x1! x2! ...) p1^x1 p2^x2 ...
        ([1, 1, 1], [1 / 3, 1 / 3, 1 / 3], math.log(6 / 27)),
        ([0, 0, 1], [0.3, 0.4, 0.3], math.log(0.3)),
        ([12, 30, 8], [0, 0, 1], -math.inf),
        (
            [10, 20, 30],
            [0.2, 0.4, 0.4],
            math.log(math.comb(60, 10) * math.comb(50, 20) * 0.2**10 * 0.4**50),
        ),
    ],
)
def test_the_probability_of_counts(counts: list[int], shares: list[float], there: float) -> None:
    """ssrm: test_multinomiallogpmf."""
    assert p.multinomiallogpmf(counts, sum(counts), shares) == pytest.approx(there, rel=1e-12)


@given(st.lists(one_two_three, min_size=1, max_size=8), st.floats(1, 1e5))
def test_looking_row_by_row_is_looking_at_once(data: list[list[int]], weight: float) -> None:
    """ssrm: test_accumulator and test_p_values_decreasing_and_in_range, for any data."""
    shares = [1 / 3, 1 / 3, 1 / 3]
    whole = [sum(column) for column in zip(*data, strict=True)]
    posterior = p.sequential_posteriors(data, shares, None, weight)[-1]
    values = p.sequential_p_values(data, shares, None, weight)

    stepwise = posterior.log_marginal_likelihood_M1 - posterior.log_marginal_likelihood_M0
    at_once = p.multinomial_log_bayes_factor(whole, shares, weight)
    assert stepwise == pytest.approx(at_once, rel=1e-6, abs=1e-5)
    assert len(values) == len(data) + 1
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)


def test_counts_are_whole_numbers() -> None:
    """ssrm: test_data_validator: 3.5 units are refused, 3.0 are not."""
    assert len(p.sequential_bayes_factors([[1.0, 3.0], [4.0, 3.0]], [0.5, 0.5])) == 2
    with pytest.raises(TypeError, match="whole numbers"):
        p.sequential_posteriors([[1, 3], [4, 3.5]], [0.5, 0.5])


def test_an_interval_of_shares_only_tightens() -> None:
    """The confidence sequence of Lindon and Malek, section 3: where its own p-value is alpha."""
    data = [[60, 40], [30, 70], [66, 34], [580, 420]]
    found = p.confidence_sequence(data, [0.5, 0.5], 0.95, None, 100)

    assert found[0] == (0.0, 1.0)
    assert all(b[0] <= a[0] <= a[1] <= b[1] for b, a in pairwise(found))
    for share in found[1]:
        alternative = p.log_posterior_predictive([60, 40], [50, 50])
        null = p.multinomiallogpmf([60, 40], 100, [share, 1 - share])
        assert alternative - null == pytest.approx(math.log(20), abs=1e-9)
    assert p.sequential_p_value([60, 40], [0.5, 0.5]) == pytest.approx(
        p.multinomial_sequential_p_value([60, 40], [0.5, 0.5])
    )
    assert p.sequential_p_value([9, 2], [0.5, 0.5], [1, 1]) == pytest.approx(
        12 * math.comb(11, 2) / 2**11
    )


def test_shares_are_in_the_confidence_set_or_are_rejected() -> None:
    """ssrm: get_bayes_factor_threshold: inside the set if and only if the p-value is over alpha."""
    counts, alpha = [60, 40], 0.05
    for share in (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.75, 0.8):
        weights = [0.5 * 100, 0.5 * 100]
        least = p.get_bayes_factor_threshold(counts, weights, alpha)
        inside = 60 * math.log(share) + 40 * math.log(1 - share) >= least
        factor = p.log_posterior_predictive(counts, weights) - p.multinomiallogpmf(
            counts, 100, [share, 1 - share]
        )
        assert inside is (math.exp(-factor) >= alpha)


def test_one_block_of_two_proportions() -> None:
    """safestats: calculateETwoProportions."""
    found = p.two_proportions_e_value(3, 100, 9, 900, 0.05, 0.01)

    assert found == pytest.approx(2.2035845685005264, rel=1e-14)
    assert found == pytest.approx(
        p.calculate_e_two_proportions(3, 100, 9, 900, 0.05, 0.01, 0.014), rel=1e-12
    )


def test_blocks_of_one_against_one() -> None:
    """safestats: the data of the manual page of safeTwoProportionsTest."""
    ya, yb = [1, 0, 1, 0, 0, 0, 1], [1, 0, 1, 1, 1, 0, 1]
    blocks = [(a, 1, b, 1) for a, b in zip(ya, yb, strict=True)]

    assert p.plugin_e_value(blocks, 0.18) == pytest.approx(1.0955046197583513, rel=1e-14)
    assert p.plugin_e_value(blocks, p.BetaPrior()) == p.plugin_e_value(blocks)
    assert p.calculate_sequential_2x2_e(ya, yb) == pytest.approx(p.plugin_e_value(blocks))
    assert p.plugin_e_value([]) == 1.0


def test_the_same_in_both_streams_proves_nothing() -> None:
    """safestats: "no difference, two-sided test, na = nb"."""
    for same in ([1] * 10, [0] * 10):
        assert p.turner_e_process(same, same, 1, 1)[-1] == pytest.approx(1, rel=1e-12)


def test_rates_are_learned_from_the_past_alone() -> None:
    """safestats: bernoulliMLTwoProportions, and "uniform Beta priors update after one success"."""
    assert p.bernoulli_ml_two_proportions(15, 26, 0.45555, 0.23232) == pytest.approx(
        15.45555 / 41.68787, rel=1e-12
    )
    uniform = p.BetaPrior(1, 1, 1, 1)
    assert p.turner_e_process([1, 1], [0, 0], 1, 1, uniform) == pytest.approx([1, 16 / 9])
    assert p.update_e_two_proportions(1, 0, 0, 1, 1, 1, uniform) == pytest.approx(
        (2 / 3, 1 / 3, 0.5)
    )


RESTRICTED = [
    ("difference", 0.25, [1.5625, 1.46484375, 1.1474712811576, 0.645452595651148]),
    (
        "logOddsRatio",
        0.7,
        [1.37527821341647, 1.33960921187147, 1.25210874368758, 0.855839806438304],
    ),
]


@pytest.mark.parametrize(("restriction", "delta", "there"), RESTRICTED)
def test_bets_on_a_distance(restriction: str, delta: float, there: list[float]) -> None:
    """safestats: "restricted Turner processes use likelihood-updated predictors"."""
    found = p.turner_e_process(
        [0, 1, 0, 1], [1, 1, 0, 0], 1, 1, p.BetaPrior(), restriction, delta, 101
    )

    assert found == pytest.approx(there, rel=1e-12)


def test_an_unknown_restriction_is_refused() -> None:
    """A misspelt restriction is no restriction by accident."""
    with pytest.raises(ValueError, match="odds"):
        p.turner_e_process([1], [0], 1, 1, None, "odds", 0.2)


@pytest.mark.parametrize(
    ("a", "b", "na", "nb"), [(0.2, 0.7, 1, 2), (0.7, 0.2, 3, 1), (0.4, 0.6, 2, 5)]
)
def test_the_closest_rates_that_lie_apart(a: float, b: float, na: int, nb: int) -> None:
    """safestats: "propDiff RIPr is feasible and stationary"."""
    rate = p.solve_one_prop_diff_ripr(a, b, na, nb, 0.2)
    other = rate + 0.2
    score = na * (rate - a) / (rate * (1 - rate)) + nb * (other - b) / (other * (1 - other))

    assert 0 < rate < other < 1
    assert score == pytest.approx(0, abs=1e-10)
    assert p.solve_one_prop_diff_ripr(0.75, 0.25, 1, 1, 0) == pytest.approx(0.5)


@pytest.mark.parametrize("log_or", [-5, -0.5, 0.5, 0.8, 5])
@pytest.mark.parametrize(
    ("a", "b", "na", "nb"), [(0.2, 0.7, 1, 2), (0.6, 0.3, 3, 1), (0.99, 0.02, 7, 5)]
)
def test_the_closest_rates_of_an_odds_ratio(
    a: float, b: float, na: int, nb: int, log_or: float
) -> None:
    """safestats: "log-odds-ratio RIPr satisfies the score equation", and at its ends."""
    rate, other = p.solve_log_or_ripr(a, b, na, nb, log_or)

    assert na * rate + nb * other == pytest.approx(na * a + nb * b, rel=1e-10)
    assert p.log_odds_ratio(rate, other) == pytest.approx(log_or, abs=1e-8)
    assert p.calculate_theta_b_from_theta_a_and_lor(rate, log_or) == pytest.approx(other, rel=1e-8)
    assert p.solve_log_or_ripr(0.2, 0.8, 1, 3, 0) == pytest.approx((0.65, 0.65))
    assert p.solve_log_or_ripr(0, 0, 1, 2, 0.8) == (0, 0)
    assert p.solve_log_or_ripr(1, 1, 1, 2, 0.8) == (1, 1)


def test_no_distance_is_the_test_of_equal_rates() -> None:
    """safestats: the process against a difference of 0 is the Turner process."""
    ya, yb = [2, 0, 1, 2, 1], [1, 1, 0, 1, 1]

    assert p.prop_diff_e_process(ya, yb, 2, 1, 0.0) == pytest.approx(
        p.turner_e_process(ya, yb, 2, 1), rel=1e-9
    )


def test_the_differences_that_are_tried() -> None:
    """safestats: "propDiff grid covers the feasible interior"."""
    sevenths = [step / 8 for step in range(1, 8)]

    assert p.prop_diff_candidate_grid(7) == [-step for step in reversed(sevenths)] + sevenths


def test_an_interval_of_a_difference() -> None:
    """safestats: "propDiff confidence sequence starts at the parameter limits", "is a prefix"."""
    assert p.prop_diff_confidence_sequence([0], [0], 1, 1, 0.05, 3) == [(-1.0, 1.0)]
    ya = [0, 0, 1, 0, 0, 0, 0, 1, 0, 0] * 6
    yb = [1, 1, 0, 1, 1, 1, 0, 1, 1, 1] * 6
    found = p.prop_diff_confidence_sequence(ya, yb, 1, 1, 0.05, 20)
    loose = p.prop_diff_confidence_sequence(ya, yb, 1, 1, 0.05, 20, None, False)  # noqa: FBT003

    assert p.prop_diff_confidence_sequence(ya[:9], yb[:9], 1, 1, 0.05, 20) == found[:9]
    assert 0.1 < found[-1][0] < 0.6 < found[-1][1] < 0.95
    assert all(a[0] >= b[0] and a[1] <= b[1] for a, b in zip(found, loose, strict=True))


def test_overwhelming_evidence_is_infinite() -> None:
    """No float holds it, and nothing breaks."""
    assert p.turner_e_process([900, 900, 900], [0, 0, 0], 900, 900)[-1] == math.inf
    assert p.two_proportions_e_value(0, 10**5, 10**5, 10**5, 0.999, 0.001) == 0.0


def test_events_given_their_total() -> None:
    """safestats: "FNCH weights are 1, 8, 4 at odds 2"."""
    found = [math.exp(p.log_likelihood_fnch(k, 2 - k, 2, 2, math.log(2))) for k in (0, 1, 2)]

    assert found == pytest.approx([1 / 13, 8 / 13, 4 / 13], rel=1e-12)
    assert p.fnch_log_partition(2, 2, 2, math.log(2)) == pytest.approx(math.log(13), rel=1e-12)


def test_the_bet_that_diverges_just_enough() -> None:
    """safestats: "UMP recovers odds 3 for a single pair"."""
    alpha = math.exp(-(0.75 * math.log(1.5) + 0.25 * math.log(0.5)))

    assert p.solve_ump_log_odds(1, 1, 1, alpha, "greater") == pytest.approx(math.log(3), rel=1e-9)
    assert p.solve_ump_log_odds(1, 1, 1, alpha, "less") == pytest.approx(-math.log(3), rel=1e-9)
    assert p.savi_2x2_test_stat_ump(1, 0, 1, 1, alpha, "greater") == pytest.approx(1.5, rel=1e-9)
    assert p.savi_2x2_test_stat_ump(1, 0, 1, 1, alpha) == pytest.approx(1.0, rel=1e-9)
    assert p.solve_ump_log_odds(1, 1, 2, 0.05, "greater") is None
    assert p.savi_2x2_test_stat_ump(1, 1, 1, 1, 0.05) == 1.0


def test_bets_on_odds_of_three() -> None:
    """safestats: "log-odds grow multiplies by 3/2 for each A-only success"."""
    ones, zeros = [1] * 5, [0] * 5
    arguments = (ones, zeros, ones, ones, math.log(3))
    greater = p.log_e_value_vec_2x2_log_odds_grow(*arguments)
    less = p.log_e_value_vec_2x2_log_odds_grow(*arguments, "less")
    both = p.log_e_value_vec_2x2_log_odds_grow(*arguments, "twoSided")

    assert [math.exp(x) for x in greater] == pytest.approx([1.5**t for t in range(1, 6)], rel=1e-12)
    assert [math.exp(x) for x in less] == pytest.approx([0.5**t for t in range(1, 6)], rel=1e-12)
    assert math.exp(both[-1]) == pytest.approx((1.5**5 + 0.5**5) / 2, rel=1e-12)


def test_a_mixture_of_odds() -> None:
    """safestats: "eGauss learns from five A-only successes"."""
    ones, zeros = [1] * 5, [0] * 5
    grid = [-8 + 0.1 * index for index in range(161)]
    found = p.log_e_value_vec_2x2_log_odds_e_gauss(ones, zeros, ones, ones, grid)

    there = [1, 1.173516143432372, 1.520548430297116, 2.105509009062085, 3.057222176662974]
    assert [math.exp(x) for x in found] == pytest.approx(there, rel=1e-10)


@given(st.integers(1, 10**6), st.integers(1, 10**6), rates, rates, st.data())
def test_ours_without_a_tolerance_is_the_published_one(
    nc: int, nb: int, a: float, b: float, data: st.DataObject
) -> None:
    """Ratio 1 and absolute 0 give the e-variable of Turner, Ly and Grünwald."""
    xc, xb = data.draw(st.integers(0, min(nc, 100))), data.draw(st.integers(0, min(nb, 100)))
    ours = log_e(Block(nc, xc, nb, xb), a, b)

    if abs(ours) < 600:
        theirs = p.two_proportions_e_value(xc, nc, xb, nb, a, b)
        assert math.log(theirs) == pytest.approx(ours, rel=1e-9, abs=1e-6)


@given(st.floats(0.001, 0.5), st.floats(0.05, 0.4), st.integers(1, 9), st.integers(1, 9), st.data())
def test_ours_with_an_absolute_tolerance_is_the_published_one(
    b: float, apart: float, nc: int, nb: int, data: st.DataObject
) -> None:
    """Ratio 1 is Turner and Grünwald's null of rates a fixed difference apart."""
    a = min(b + apart + data.draw(st.floats(0.01, 0.4)), 0.99)
    xc, xb = data.draw(st.integers(0, nc)), data.draw(st.integers(0, nb))
    null = p.solve_one_prop_diff_ripr(b, a, nb, nc, apart)
    theirs = math.log(p.calculate_e_two_proportions(xc, nc, 0, 0, a, 0.5, null + apart))
    theirs += math.log(p.calculate_e_two_proportions(xb, nb, 0, 0, b, 0.5, null))

    assert log_e(Block(nc, xc, nb, xb), a, b, 1.0, apart) == pytest.approx(theirs, abs=1e-6)


def bets() -> list[tuple[float, float, float, float]]:
    return [(0.02, 0.01, 1.0, 0.0), (0.3, 0.1, 1.2, 0.0005), (0.9, 0.01, 3.0, 0.02)]


@pytest.mark.parametrize(("a", "b", "ratio", "absolute"), bets())
@pytest.mark.parametrize(("nc", "nb"), [(1, 9), (5, 5), (7, 2)])
def test_ours_expects_no_gain_within_the_tolerance(
    a: float, b: float, ratio: float, absolute: float, nc: int, nb: int
) -> None:
    """By exact enumeration: for no rate of stable does the e-variable gain within the tolerance."""
    for step in range(1, 40):
        rate = step / 40 * min(1.0, (1 - absolute) / ratio)
        worse = absolute + ratio * rate
        mean = math.fsum(
            math.comb(nc, xc)
            * worse**xc
            * (1 - worse) ** (nc - xc)
            * math.comb(nb, xb)
            * rate**xb
            * (1 - rate) ** (nb - xb)
            * math.exp(log_e(Block(nc, xc, nb, xb), a, b, ratio, absolute))
            for xc in range(nc + 1)
            for xb in range(nb + 1)
        )
        assert mean <= 1 + 1e-9
