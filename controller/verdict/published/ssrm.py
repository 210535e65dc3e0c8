"""Counts per arm against fixed shares: a sequential multinomial test.

Source: Lindon, Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022, arXiv
2011.03567. Under M0 each unit falls into an arm with the given probabilities; M1 draws them from
a Dirichlet distribution. The Bayes factor of M1 over M0 is an e-process. Names and arguments are
those of Optimizely's package *ssrm* (``ssrm_test``).
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from controller.verdict.published.special import bisect, exp, x_log_y


class Posterior(NamedTuple):
    """What both models say of the counts so far."""

    log_marginal_likelihood_M1: float  # noqa: N815 - the package's name
    log_marginal_likelihood_M0: float  # noqa: N815 - the package's name
    posterior_M1: tuple[float, ...]  # noqa: N815 - the package's name
    posterior_M0: tuple[float, ...]  # noqa: N815 - the package's name


def multinomial_sequential_p_value(
    counts: Sequence[float], probabilities: Sequence[float], concentration: float = 100.0
) -> float:
    """Return the p-value of *counts* at this look, valid at every look: min(1, 1 / Bayes factor).

    Args:
        counts: units per arm so far.
        probabilities: what share each arm should have; they sum to 1.
        concentration: how tightly the alternative lies around *probabilities*.
    """
    return math.exp(-max(multinomial_log_bayes_factor(counts, probabilities, concentration), 0.0))


def sequential_p_value(
    counts: Sequence[float],
    assignment_probabilities: Sequence[float],
    dirichlet_alpha: Sequence[float] | None = None,
) -> float:
    """Return the same for any Dirichlet parameter, as Netflix's article writes it.

    *dirichlet_alpha*: None stands for 100 times the probabilities.
    """
    alpha = dirichlet_alpha or [100 * each for each in assignment_probabilities]
    alternative = log_posterior_predictive(counts, alpha)
    null = multinomiallogpmf(counts, sum(counts), assignment_probabilities)
    return math.exp(min(null - alternative, 0.0))


def multinomial_log_bayes_factor(
    counts: Sequence[float], probabilities: Sequence[float], concentration: float = 100.0
) -> float:
    """Return ``ln`` of the Bayes factor against *probabilities*, at these counts."""
    alpha = [probability * concentration for probability in probabilities]
    alternative = log_posterior_predictive(counts, alpha)
    return alternative - multinomiallogpmf(counts, sum(counts), probabilities)


def multinomiallogpmf(x: Sequence[float], n: float, p: Sequence[float]) -> float:
    """Return ``ln`` of the probability of the counts *x*, *n* in all, at probabilities *p*."""
    return math.lgamma(n + 1) + math.fsum(
        x_log_y(count, probability) - math.lgamma(count + 1)
        for count, probability in zip(x, p, strict=True)
    )


def log_posterior_predictive(n: Sequence[float], alpha: Sequence[float]) -> float:
    """Return ``ln`` of the probability of the counts *n* if shares are Dirichlet(*alpha*)."""
    total, weight = sum(n), sum(alpha)
    arms = math.fsum(
        _log_rising(weighted, count) - math.lgamma(count + 1)
        for weighted, count in zip(alpha, n, strict=True)
    )
    return math.lgamma(total + 1) + arms - _log_rising(weight, total)


def sequential_posteriors(
    data: Sequence[Sequence[float]],
    null_probabilities: Sequence[float],
    dirichlet_probability: Sequence[float] | None = None,
    dirichlet_concentration: float = 10000.0,
) -> list[Posterior]:
    """Return both models' marginal likelihoods and posteriors after every row of *data*.

    Args:
        data: units per arm, one row per look: ``[[1, 0], [0, 1]]`` or ``[[10, 12], [14, 3]]``.
        null_probabilities: what share each arm should have; they sum to 1.
        dirichlet_probability: the mean of the alternative; None: the null's.
        dirichlet_concentration: how tightly it lies around that mean.

    Raises:
        TypeError: a count is not a whole number.
    """
    if not all(float(count).is_integer() for row in data for count in row):
        raise TypeError("counts are whole numbers")
    null = tuple(null_probabilities)
    mean = null if dirichlet_probability is None else tuple(dirichlet_probability)
    begin = Posterior(0.0, 0.0, tuple(m * dirichlet_concentration for m in mean), null)
    return list(accumulate(data, _updated, initial=begin))[1:]


def bayes_factor(posterior: Posterior) -> float:
    """Return the Bayes factor of a mismatch; infinite where no float holds it."""
    log = posterior.log_marginal_likelihood_M1 - posterior.log_marginal_likelihood_M0
    return exp(log)


def posterior_probability(posterior_odds: float) -> float:
    """Return the probability of a mismatch at these odds."""
    if math.isinf(posterior_odds):
        return 1.0 if posterior_odds > 0 else 0.0
    return posterior_odds / (1.0 + posterior_odds)


def sequential_bayes_factors(
    data: Sequence[Sequence[float]],
    null_probabilities: Sequence[float],
    dirichlet_probability: Sequence[float] | None = None,
    dirichlet_concentration: float = 10000.0,
) -> list[float]:
    """Return the Bayes factor after every row. Arguments: `sequential_posteriors`."""
    posteriors = sequential_posteriors(
        data, null_probabilities, dirichlet_probability, dirichlet_concentration
    )
    return [bayes_factor(posterior) for posterior in posteriors]


def sequential_posterior_probabilities(
    data: Sequence[Sequence[float]],
    null_probabilities: Sequence[float],
    dirichlet_probability: Sequence[float] | None = None,
    dirichlet_concentration: float = 10000.0,
    prior_odds: float = 1.0,
) -> list[float]:
    """Return the probability of a mismatch after every row. *prior_odds*: before any."""
    factors = sequential_bayes_factors(
        data, null_probabilities, dirichlet_probability, dirichlet_concentration
    )
    return [posterior_probability(factor * prior_odds) for factor in factors]


def sequential_p_values(
    data: Sequence[Sequence[float]],
    null_probabilities: Sequence[float],
    dirichlet_probability: Sequence[float] | None = None,
    dirichlet_concentration: float = 10000.0,
) -> list[float]:
    """Return the p-value after every row: the least of 1 and of all 1 / Bayes factor so far.

    The first value is that before any data, 1, as the package has it: one more than rows.
    """
    factors = sequential_bayes_factors(
        data, null_probabilities, dirichlet_probability, dirichlet_concentration
    )
    inverse = [1 / factor if factor > 0 else math.inf for factor in factors]
    return list(accumulate(inverse, min, initial=1.0))


def srm_test(data: Sequence[Sequence[float]], null_probabilities: Sequence[float]) -> float:
    """Return the probability of a mismatch after all of *data*, with even odds before."""
    return sequential_posterior_probabilities(data, null_probabilities)[-1]


def get_bayes_factor_threshold(
    y: Sequence[float], dirichlet_alpha: Sequence[float], alpha: float
) -> float:
    """Return c: shares p with ``sum y_i ln p_i >= c`` are the confidence set of level 1 - alpha."""
    counts = math.lgamma(sum(y) + 1) - math.fsum(math.lgamma(count + 1) for count in y)
    return log_posterior_predictive(y, dirichlet_alpha) + math.log(alpha) - counts


def confidence_sequence(
    data: Sequence[Sequence[float]],
    null_probabilities: Sequence[float],
    coverage: float,
    dirichlet_probability: Sequence[float] | None = None,
    dirichlet_concentration: float = 10000.0,
) -> list[tuple[float, float]]:
    """Return the interval of the first of two arms' share after every row, never wider again.

    The first one is that before any data, (0, 1). *coverage* is the chance of never missing the
    true share. Other arguments: `sequential_posteriors`.
    """
    posteriors = sequential_posteriors(
        data, null_probabilities, dirichlet_probability, dirichlet_concentration
    )
    first, second, found = 0.0, 0.0, [(0.0, 1.0)]
    for row, posterior in zip(data, posteriors, strict=True):
        first, second = first + row[0], second + row[1]
        log = posterior.log_marginal_likelihood_M1 - posterior.log_marginal_likelihood_M0
        null = posterior.posterior_M0
        least = log + x_log_y(first, null[0]) + x_log_y(second, null[1]) + math.log(1 - coverage)
        found.append(_tightened(found[-1], first, second, least))
    return found


def _tightened(
    before: tuple[float, float], first: float, second: float, least: float
) -> tuple[float, float]:
    def over(share: float) -> float:
        return x_log_y(first, share) + x_log_y(second, 1 - share) - least

    low, high = before
    seen = min(max(first / (first + second), low), high) if first + second else low
    if over(seen) <= 0:
        return before
    return (
        low if over(low) > 0 else bisect(over, low, seen),
        high if over(high) > 0 else bisect(over, seen, high),
    )


def _updated(before: Posterior, row: Sequence[float]) -> Posterior:
    null = before.log_marginal_likelihood_M0
    if sum(row) > 0:
        null += multinomiallogpmf(row, sum(row), before.posterior_M0)
    return Posterior(
        before.log_marginal_likelihood_M1 + log_posterior_predictive(row, before.posterior_M1),
        null,
        tuple(weight + count for weight, count in zip(before.posterior_M1, row, strict=True)),
        before.posterior_M0,
    )


def _log_rising(weight: float, count: float) -> float:
    """Return ``ln(Gamma(weight + count) / Gamma(weight))``; an arm of no weight has no counts."""
    if count == 0:
        return 0.0
    return math.lgamma(weight + count) - math.lgamma(weight) if weight > 0 else -math.inf
