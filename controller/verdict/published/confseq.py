"""Uniform boundaries: what a sum of deviations exceeds at no time, except with chance alpha.

Sources: Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
sequences", Annals of Statistics 49(2) 2021, arXiv 1810.08240 (propositions named below); Howard,
Ramdas, "Sequential estimation of quantiles", Bernoulli 28(3) 2022, arXiv 1906.09712. Names and
arguments are those of the package *confseq*.

Everywhere: *s* is the sum of deviations so far, *v* its intrinsic time (a sum of variances),
*v_opt* the time at which the boundary for *alpha_opt* is meant to be lowest, *alpha* the chance of
ever crossing it. ``*_log_mixture`` returns the logarithm of an e-process, ``*_mixture_bound`` the
value of *s* at which that process reaches 1 / alpha.
"""

import math
from collections.abc import Callable
from typing import Final

from controller.verdict.confidence import beta_binomial_interval
from controller.verdict.published.special import (
    bisect,
    log_gamma_p,
    log_gamma_q,
    log_incomplete_beta,
    log_normal_cdf,
    zeta,
)

_DOUBLINGS: Final = 50
_LEAST_BETA: Final = 1e-3


def bernoulli_confidence_interval(
    num_successes: float, num_trials: float, alpha: float, t_opt: float, alpha_opt: float = 0.05
) -> tuple[float, float]:
    """Return the confidence sequence that the judge shows, under its published name."""
    return beta_binomial_interval(
        num_successes, num_trials, alpha=alpha, t_opt=t_opt, alpha_opt=alpha_opt
    )


def best_rho(v: float, alpha: float, is_one_sided: bool = False) -> float:  # noqa: FBT001, FBT002
    """Return the normal mixture's precision that is best at time *v* (section 3.5 there)."""
    twice = 2 * math.log(1 / (2 * alpha if is_one_sided else alpha))
    return v / (twice + math.log1p(twice))


def normal_log_mixture(
    s: float,
    v: float,
    v_opt: float,
    alpha_opt: float = 0.05,
    is_one_sided: bool = True,  # noqa: FBT001, FBT002 - as the package
) -> float:
    """Return the normal mixture: proposition 4 (two-sided) and 5 (one-sided)."""
    rho = best_rho(v_opt, alpha_opt, is_one_sided)
    two_sided = 0.5 * math.log(rho / (v + rho)) + s * s / (2 * (v + rho))
    if not is_one_sided:
        return two_sided
    return two_sided + math.log(2) + log_normal_cdf(s / math.sqrt(v + rho))


def normal_mixture_bound(
    v: float,
    alpha: float,
    v_opt: float,
    alpha_opt: float = 0.05,
    is_one_sided: bool = True,  # noqa: FBT001, FBT002 - as the package
) -> float:
    """Return the boundary of `normal_log_mixture`."""
    if is_one_sided:
        return _bound(lambda s: normal_log_mixture(s, v, v_opt, alpha_opt), v, alpha)
    rho = best_rho(v_opt, alpha_opt)
    return math.sqrt((v + rho) * (math.log1p(v / rho) + 2 * math.log(1 / alpha)))


def gamma_exponential_log_mixture(
    s: float, v: float, v_opt: float, c: float, alpha_opt: float = 0.05
) -> float:
    """Return the gamma-exponential mixture, for sub-exponential scale *c* (proposition 8)."""
    square = c * c
    rho = best_rho(v_opt, alpha_opt, is_one_sided=True) / square
    shape, moved = v / square + rho, (c * s + v) / square
    return (
        _gamma_constant(rho)
        - log_gamma_p(rho, rho)
        + math.lgamma(shape)
        + log_gamma_p(shape, moved + rho)
        - shape * math.log(moved + rho)
        + moved
    )


def gamma_exponential_mixture_bound(
    v: float, alpha: float, v_opt: float, c: float, alpha_opt: float = 0.05
) -> float:
    """Return the boundary of `gamma_exponential_log_mixture`."""
    return _bound(lambda s: gamma_exponential_log_mixture(s, v, v_opt, c, alpha_opt), v, alpha)


def gamma_poisson_log_mixture(
    s: float, v: float, v_opt: float, c: float, alpha_opt: float = 0.05
) -> float:
    """Return the gamma-Poisson mixture, for sub-Poisson scale *c* (proposition 9)."""
    square = c * c
    rho = best_rho(v_opt, alpha_opt, is_one_sided=True) / square
    rate = v / square + rho
    shape = s / c + rate
    return (
        _gamma_constant(rho)
        - log_gamma_q(rho, rho)
        + math.lgamma(shape)
        + log_gamma_q(shape, rate)
        - shape * math.log(rate)
        + v / square
    )


def gamma_poisson_mixture_bound(
    v: float, alpha: float, v_opt: float, c: float, alpha_opt: float = 0.05
) -> float:
    """Return the boundary of `gamma_poisson_log_mixture`."""
    return _bound(lambda s: gamma_poisson_log_mixture(s, v, v_opt, c, alpha_opt), v, alpha)


def beta_binomial_log_mixture(
    s: float,
    v: float,
    v_opt: float,
    g: float,
    h: float,
    alpha_opt: float = 0.05,
    is_one_sided: bool = True,  # noqa: FBT001, FBT002 - as the package
) -> float:
    """Return the beta-binomial mixture: proposition 6 (two-sided) and 7 (one-sided).

    Deviations lie between -*g* and *h* (sub-Bernoulli).
    """
    span = g + h
    prior = max(best_rho(v_opt, alpha_opt, is_one_sided) - g * h, _LEAST_BETA * g * h)
    end = h / span if is_one_sided else 1.0
    a, b = (prior + v - g * s) / (g * span), (prior + v + h * s) / (h * span)
    return (
        v / (g * h) * math.log(span)
        - (v + h * s) / (h * span) * math.log(g)
        - (v - g * s) / (g * span) * math.log(h)
        + log_incomplete_beta(a, b, end)
        - log_incomplete_beta(prior / (g * span), prior / (h * span), end)
    )


def beta_binomial_mixture_bound(
    v: float,
    alpha: float,
    v_opt: float,
    g: float,
    h: float,
    alpha_opt: float = 0.05,
    is_one_sided: bool = True,  # noqa: FBT001, FBT002 - as the package
) -> float:
    """Return the boundary of `beta_binomial_log_mixture`; at most what *s* can be at all."""

    def over(s: float) -> float:
        log = beta_binomial_log_mixture(s, v, v_opt, g, h, alpha_opt, is_one_sided)
        return log - math.log(1 / alpha)

    most = v / g
    return bisect(over, 0.0, most) if over(most) >= 0 else most


def poly_stitching_bound(
    v: float, alpha: float, v_min: float, c: float = 0.0, s: float = 1.4, eta: float = 2.0
) -> float:
    """Return the polynomial stitched boundary (theorem 1, equation 10).

    *v_min* is the time from which on it is meant to be low, *c* the sub-gamma scale, *s* spreads
    the chance of error over epochs, each *eta* times as long as the one before.
    """
    first, second = _stitches(eta)
    time = max(v, v_min)
    log = s * math.log(math.log(eta * time / v_min))
    log += math.log(zeta(s) / math.log(eta) ** s) + math.log(1 / alpha)
    linear = second * c * log
    return math.sqrt(first * first * time * log + linear * linear) + linear


def double_stitching_bound(
    quantile_p: float,
    t: float,
    alpha: float,
    t_opt: float,
    delta: float = 0.5,
    s: float = 1.4,
    eta: float = 2.0,
) -> float:
    """Return the boundary of a count around any quantile (arXiv 1906.09712, theorem 3).

    As a count, not as a share: divided by *t* it is how far the *quantile_p* quantile may be off.
    *delta* is the spacing of the quantiles it is stitched over, the rest as in
    `poly_stitching_bound`.
    """
    first, second = _stitches(eta)
    time = max(t, t_opt)
    odds = math.log(quantile_p / (1 - quantile_p))
    widest = quantile_p
    if quantile_p < 0.5:  # noqa: PLR2004 - the median
        moved = odds + 2 * delta * math.sqrt(t_opt * eta / time)
        widest = min(0.5, 1 / (1 + math.exp(-moved)))
    variance = widest * (1 - widest)
    place = math.sqrt(time / t_opt) * abs(odds) / (2 * delta) + 1
    sum_of = 2 * zeta(s)
    log = s * math.log(math.log(eta * time / t_opt)) + s * math.log(place)
    log += math.log(sum_of * (sum_of + 1) / (alpha * math.log(eta) ** s))
    linear = second * (1 - 2 * quantile_p) / 3 * log
    return (
        delta * math.sqrt(eta * time * variance / t_opt)
        + math.sqrt(first * first * variance * time * log + linear * linear)
        + linear
    )


def _stitches(eta: float) -> tuple[float, float]:
    return (eta**0.25 + eta**-0.25) / math.sqrt(2), (math.sqrt(eta) + 1) / 2


def _gamma_constant(rho: float) -> float:
    return rho * math.log(rho) - math.lgamma(rho)


def _bound(log_mixture: Callable[[float], float], v: float, alpha: float) -> float:
    """Return where *log_mixture* reaches ``ln(1 / alpha)``, above 0."""
    needed = math.log(1 / alpha)
    high = v
    for _ in range(_DOUBLINGS):
        if log_mixture(high) > needed:
            return bisect(lambda s: log_mixture(s) - needed, 0.0, high)
        high *= 2
    raise ValueError(f"the mixture does not reach 1 / {alpha} at time {v}")
