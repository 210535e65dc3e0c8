"""Functions that the published tests need and `math` lacks, as logarithms: nothing underflows."""

import math
from collections.abc import Callable
from typing import Final

_EPSILON: Final = 1e-16
_TINY: Final = 1e-300
_MOST_TERMS: Final = 1_000_000
_ROUNDS: Final = 200
_MOST_LOG: Final = 709.0


def bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where *function* changes its sign between *low* and *high*, to double precision."""
    sign = function(low) > 0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if (function(middle) > 0) is sign:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def exp(log: float) -> float:
    """Return ``e^log``; infinite where no float holds it."""
    return math.exp(log) if log < _MOST_LOG else math.inf


def log_sum(logs: list[float]) -> float:
    """Return ``ln sum exp`` of *logs*."""
    most = max(logs)
    if math.isinf(most):
        return most
    return most + math.log(math.fsum(math.exp(log - most) for log in logs))


def x_log_y(x: float, y: float) -> float:
    """Return ``x ln y``, which is 0 for x = 0 even where y is."""
    if x == 0:
        return 0.0
    return x * math.log(y) if y > 0 else -math.inf


def log_beta(a: float, b: float) -> float:
    """Return ``ln B(a, b)``."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def log_incomplete_beta(a: float, b: float, x: float) -> float:
    """Return ``ln`` of the integral of ``t^(a-1) (1-t)^(b-1)`` from 0 to *x* (not normalised)."""
    if x >= 1:
        return log_beta(a, b)
    front = a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return front - math.log(a) + math.log(_beta_fraction(a, b, x))
    # Beyond its bulk the rest is the smaller part, and its fraction is the one that converges.
    whole = log_beta(a, b)
    rest = front - math.log(b) + math.log(_beta_fraction(b, a, 1 - x)) - whole
    return whole + math.log1p(-math.exp(rest))


def log_gamma_p(a: float, x: float) -> float:
    """Return ``ln P(a, x)``: the regularised incomplete gamma function, from 0 to *x*."""
    if x < a + 1:
        return _log_gamma_series(a, x)
    return math.log1p(-math.exp(_log_gamma_fraction(a, x)))


def log_gamma_q(a: float, x: float) -> float:
    """Return ``ln Q(a, x)``: the regularised incomplete gamma function, from *x* on."""
    if x < a + 1:
        return math.log1p(-math.exp(_log_gamma_series(a, x)))
    return _log_gamma_fraction(a, x)


def zeta(s: float) -> float:
    """Return the Riemann zeta function for s > 1, by Euler and Maclaurin's formula."""
    count = 20
    total: float = math.fsum(math.pow(n, -s) for n in range(1, count))
    total += math.pow(count, 1 - s) / (s - 1) + 0.5 * math.pow(count, -s)
    term = s * math.pow(count, -s - 1)
    for order, bernoulli in ((2, 1 / 6), (4, -1 / 30), (6, 1 / 42), (8, -1 / 30), (10, 5 / 66)):
        total += bernoulli / math.factorial(order) * term
        term *= (s + order - 1) * (s + order) / (count * count)
    return total


def log_normal_cdf(x: float) -> float:
    """Return ``ln`` of the standard normal distribution function."""
    lower = 0.5 * math.erfc(-x / math.sqrt(2))
    return math.log(lower) if lower > 0 else -math.inf


def _log_gamma_series(a: float, x: float) -> float:
    if x <= 0:
        return -math.inf
    term = total = 1 / a
    for n in range(1, _MOST_TERMS):
        term *= x / (a + n)
        total += term
        if term < total * _EPSILON:
            break
    return a * math.log(x) - x - math.lgamma(a) + math.log(total)


def _log_gamma_fraction(a: float, x: float) -> float:
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    product = d
    for n in range(1, _MOST_TERMS):  # Lentz's method
        factor = -n * (n - a)
        b += 2
        d = 1 / _away_from_zero(factor * d + b)
        c = _away_from_zero(b + factor / c)
        product *= c * d
        if abs(c * d - 1) < _EPSILON * 8:
            break
    return a * math.log(x) - x - math.lgamma(a) + math.log(product)


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    product = d
    for n in range(1, _MOST_TERMS):  # Lentz's method, two terms at a time
        even = n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n))
        odd = -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1))
        for factor in (even, odd):
            d = 1 / _away_from_zero(1 + factor * d)
            c = _away_from_zero(1 + factor / c)
            product *= c * d
        if abs(c * d - 1) < _EPSILON * 8:
            break
    return product


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
