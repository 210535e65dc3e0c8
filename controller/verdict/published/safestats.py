"""Two streams of yes and no, block by block: tests that their rates are the same.

Source: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests", arXiv
2106.02693, and Turner, Grünwald, "Exact anytime-valid confidence intervals for contingency
tables". Names and arguments are those of the R package *safestats*, in snake case. A block has
*na* and *nb* observations, *ya* and *yb* of which are events.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from controller.verdict.published.special import bisect, exp, x_log_y

REGRET_OPTIMAL: Final = 0.18  # of a beta prior for blocks of one against one
_EDGE: Final = 1e-13


class BetaPrior(NamedTuple):
    """What is believed of both rates before any data: events and other observations seen."""

    beta_a1: float = REGRET_OPTIMAL
    beta_a2: float = REGRET_OPTIMAL
    beta_b1: float = REGRET_OPTIMAL
    beta_b2: float = REGRET_OPTIMAL


class Thetas(NamedTuple):
    """Rates of both streams that a block is bet to have, and the null's closest to them."""

    theta_a: float
    theta_b: float
    theta_0: float


def two_proportions_e_value(
    xa: float, na: float, xb: float, nb: float, theta_a: float, theta_b: float
) -> float:
    """Return the e-value of one block against equal rates, for the bet (*theta_a*, *theta_b*)."""
    null = (na * theta_a + nb * theta_b) / (na + nb)
    return calculate_e_two_proportions(xa, na, xb, nb, theta_a, theta_b, null)


def calculate_e_two_proportions(
    na1: float, na: float, nb1: float, nb: float, theta_a: float, theta_b: float, theta_0: float
) -> float:
    """Return the likelihood ratio of (*theta_a*, *theta_b*) over *theta_0* for both."""
    return exp(_log_e(na1, na, nb1, nb, Thetas(theta_a, theta_b, theta_0)))


def bernoulli_ml_two_proportions(
    total_success: float, total_fail: float, prior_success: float, prior_fail: float
) -> float:
    """Return the rate that is expected after so much data."""
    success = total_success + prior_success
    return success / (success + total_fail + prior_fail)


def update_e_two_proportions(
    total_success_a: float,
    total_fail_a: float,
    total_success_b: float,
    total_fail_b: float,
    na: float,
    nb: float,
    prior: BetaPrior,
) -> Thetas:
    """Return what the next block is bet on, after these totals."""
    a = bernoulli_ml_two_proportions(total_success_a, total_fail_a, prior.beta_a1, prior.beta_a2)
    b = bernoulli_ml_two_proportions(total_success_b, total_fail_b, prior.beta_b1, prior.beta_b2)
    return Thetas(a, b, (na * a + nb * b) / (na + nb))


def log_odds_ratio(theta_a: float, theta_b: float) -> float:
    """Return ``ln`` of the odds of *theta_b* over those of *theta_a*."""
    return math.log(theta_b / (1 - theta_b) * (1 - theta_a) / theta_a)


def calculate_theta_b_from_theta_a_and_lor(theta_a: float, lor: float) -> float:
    """Return the rate whose log odds are *lor* above those of *theta_a*."""
    odds = math.exp(lor) * theta_a / (1 - theta_a)
    return odds / (1 + odds)


def plugin_e_value(
    blocks: Iterable[tuple[float, float, float, float]],
    prior: float | BetaPrior = REGRET_OPTIMAL,
) -> float:
    """Return the e-value of all *blocks* against equal rates, each bet on what came before it.

    Args:
        blocks: ``(ya, na, yb, nb)``: events and observations of both streams, oldest first.
        prior: of both rates; a number stands for all four of its parameters.
    """
    believed = prior if isinstance(prior, BetaPrior) else BetaPrior(*[prior] * 4)
    return exp(_log_products(blocks, believed)[-1])


def turner_e_process(
    ya: Sequence[float],
    yb: Sequence[float],
    na: float,
    nb: float,
    prior_parameters: BetaPrior | None = None,
    restriction: str = "none",
    delta: float = 0.0,
    grid_size: int = 1000,
) -> list[float]:
    """Return the e-value against equal rates after every block.

    Args:
        ya: events of stream a per block.
        yb: of stream b.
        na: observations of stream a in each block.
        nb: of stream b.
        prior_parameters: None: the package's default for such blocks.
        restriction: what the bet is restricted to: ``none``, or b being *delta* above a as a
            ``difference`` of rates or as a ``logOddsRatio``.
        delta: see *restriction*.
        grid_size: points of a restricted bet's posterior.
    """
    prior = prior_parameters or default_prior(na, nb)
    if restriction == "none":
        blocks = [(a, na, b, nb) for a, b in zip(ya, yb, strict=True)]
        return [exp(log) for log in _log_products(blocks, prior)]
    bet = _Restricted(prior, restriction, delta, grid_size)
    log, found = 0.0, list[float]()
    for a, b in zip(ya, yb, strict=True):
        theta_a, theta_b = bet.thetas()
        null = (na * theta_a + nb * theta_b) / (na + nb)
        log += _log_e(a, na, b, nb, Thetas(theta_a, theta_b, null))
        found.append(exp(log))
        bet.update(a, na, b, nb)
    return found


def calculate_sequential_2x2_e(
    a_sample: Sequence[float],
    b_sample: Sequence[float],
    restriction: str = "none",
    prior_values: BetaPrior | None = None,
    delta: float = 0.0,
    na: float = 1,
    nb: float = 1,
    grid_size: int = 1000,
) -> float:
    """Return the e-value after all blocks. Arguments: `turner_e_process`."""
    return turner_e_process(
        a_sample, b_sample, na, nb, prior_values, restriction, delta, grid_size
    )[-1]


def default_prior(na: float, nb: float) -> BetaPrior:
    """Return the package's prior for blocks of *na* against *nb*."""
    b = nb / na * REGRET_OPTIMAL
    return BetaPrior(beta_b1=b, beta_b2=b)


def solve_one_prop_diff_ripr(
    theta_star_a: float,
    theta_star_b: float,
    block_size_a: float,
    block_size_b: float,
    prop_diff: float,
) -> float:
    """Return the rate of a for which (rate, rate + *prop_diff*) is closest to the bet."""

    def pull(rate: float) -> float:
        other = rate + prop_diff
        return block_size_a * (theta_star_a - rate) / (rate * (1 - rate)) + block_size_b * (
            theta_star_b - other
        ) / (other * (1 - other))

    return bisect(pull, max(0.0, -prop_diff) + _EDGE, min(1.0, 1.0 - prop_diff) - _EDGE)


def solve_log_or_ripr(
    numerator_theta_a: float, numerator_theta_b: float, na: float, nb: float, log_or: float
) -> tuple[float, float]:
    """Return the rates with a log odds ratio of *log_or* that are closest to the bet.

    They expect as many events as the bet does.
    """
    events = na * numerator_theta_a + nb * numerator_theta_b
    if events <= 0 or events >= na + nb:
        return (0.0, 0.0) if events <= 0 else (1.0, 1.0)

    def missing(logit: float) -> float:
        return na * _from_logit(logit) + nb * _from_logit(logit + log_or) - events

    logit = bisect(missing, -60.0 - abs(log_or), 60.0 + abs(log_or))
    return _from_logit(logit), _from_logit(logit + log_or)


def prop_diff_e_process(
    ya: Sequence[float],
    yb: Sequence[float],
    na: float,
    nb: float,
    prop_diff: float,
    prior_parameters: BetaPrior | None = None,
) -> list[float]:
    """Return the e-value against "b's rate is *prop_diff* above a's" after every block."""
    prior = prior_parameters or default_prior(na, nb)
    blocks = [(a, na, b, nb) for a, b in zip(ya, yb, strict=True)]
    log, found = 0.0, list[float]()
    for (a, _, b, _), bet in _bets(blocks, prior):
        null = solve_one_prop_diff_ripr(bet.theta_a, bet.theta_b, na, nb, prop_diff)
        log += _log_likelihood(a, na, bet.theta_a) + _log_likelihood(b, nb, bet.theta_b)
        log -= _log_likelihood(a, na, null) + _log_likelihood(b, nb, null + prop_diff)
        found.append(exp(log))
    return found


def prop_diff_candidate_grid(grid_size: int) -> list[float]:
    """Return the differences that a confidence sequence tries: all but 0, symmetric."""
    positive = [step / (grid_size + 1) for step in range(1, grid_size + 1)]
    return [-step for step in reversed(positive)] + positive


def prop_diff_confidence_sequence(
    ya: Sequence[float],
    yb: Sequence[float],
    na: float,
    nb: float,
    alpha: float,
    grid_size: int = 100,
    prior_parameters: BetaPrior | None = None,
    running_intersection: bool = True,  # noqa: FBT001, FBT002 - as the package
) -> list[tuple[float, float]]:
    """Return the interval of b's rate less a's after every block; NaN once nothing is left.

    A difference is in it until its own e-value reaches 1 / alpha, and with *running_intersection*
    never comes back. Ends of the grid stand for -1 and 1.
    """
    grid = prop_diff_candidate_grid(grid_size)
    processes = [prop_diff_e_process(ya, yb, na, nb, step, prior_parameters) for step in grid]
    if running_intersection:
        processes = [list(accumulate(process, max)) for process in processes]
    found: list[tuple[float, float]] = []
    for values in zip(*processes, strict=True):
        left = [step for step, value in zip(grid, values, strict=True) if value < 1 / alpha]
        low, high = (left[0], left[-1]) if left else (math.nan, math.nan)
        found.append((-1.0 if low == grid[0] else low, 1.0 if high == grid[-1] else high))
    return found


def _log_e(ya: float, na: float, yb: float, nb: float, bet: Thetas) -> float:
    alternative = _log_likelihood(ya, na, bet.theta_a) + _log_likelihood(yb, nb, bet.theta_b)
    return alternative - _log_likelihood(ya + yb, na + nb, bet.theta_0)


def _log_products(
    blocks: Iterable[tuple[float, float, float, float]], prior: BetaPrior
) -> list[float]:
    log, found = 0.0, [0.0]
    for (ya, na, yb, nb), bet in _bets(blocks, prior):
        log += _log_e(ya, na, yb, nb, bet)
        found.append(log)
    return found[1:] or found


def _bets(
    blocks: Iterable[tuple[float, float, float, float]], prior: BetaPrior
) -> Iterable[tuple[tuple[float, float, float, float], Thetas]]:
    """Return each block with the bet that was placed before it was seen."""
    success_a = fail_a = success_b = fail_b = 0.0
    for ya, na, yb, nb in blocks:
        bet = update_e_two_proportions(success_a, fail_a, success_b, fail_b, na, nb, prior)
        yield (ya, na, yb, nb), bet
        success_a, fail_a = success_a + ya, fail_a + na - ya
        success_b, fail_b = success_b + yb, fail_b + nb - yb


class _Restricted:
    """A bet on rates that are *delta* apart: a posterior of one number, on a grid."""

    def __init__(self, prior: BetaPrior, restriction: str, delta: float, size: int) -> None:
        if restriction not in {"difference", "logOddsRatio"}:
            raise ValueError(f"unknown restriction {restriction!r}")
        self._by_odds, self._delta = restriction == "logOddsRatio", delta
        first, step = 1 / size, (1 - 2 / size) / (size - 1)
        grid = [first + step * index for index in range(size)]
        logs = [
            (prior.beta_a1 - 1) * math.log(x) + (prior.beta_a2 - 1) * math.log1p(-x) for x in grid
        ]
        least = 0.0 if self._by_odds else max(-delta, 0.0)
        width = 1.0 if self._by_odds else 1 - abs(delta)
        self._a = [x * width + least for x in grid]
        self._b = [self._beside(theta) for theta in self._a]
        self._weights = _normalized(logs)

    def thetas(self) -> tuple[float, float]:
        """Return both rates that are expected."""
        a = math.fsum(x * weight for x, weight in zip(self._a, self._weights, strict=True))
        return a, self._beside(a)

    def update(self, ya: float, na: float, yb: float, nb: float) -> None:
        """Learn from one block."""
        self._weights = _normalized(
            [
                _log_likelihood(ya, na, a) + _log_likelihood(yb, nb, b) + x_log_y(1.0, weight)
                for a, b, weight in zip(self._a, self._b, self._weights, strict=True)
            ]
        )

    def _beside(self, theta: float) -> float:
        if self._by_odds:
            return calculate_theta_b_from_theta_a_and_lor(theta, self._delta)
        return theta + self._delta


def _normalized(logs: Sequence[float]) -> list[float]:
    most = max(logs)
    weights = [math.exp(log - most) for log in logs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def _log_likelihood(events: float, observed: float, theta: float) -> float:
    return x_log_y(events, theta) + x_log_y(observed - events, 1 - theta)


def _from_logit(logit: float) -> float:
    if logit < 0:
        return math.exp(logit) / (1 + math.exp(logit))
    return 1 / (1 + math.exp(-logit))
