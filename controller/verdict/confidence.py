"""Intervals that hold at every look, and bounds of rates known from the past."""

import math
from typing import Final

_ROUNDS: Final = 60


def beta_binomial_interval(
    successes: float, trials: float, *, alpha: float = 0.05, t_opt: float = 1000.0
) -> tuple[float, float]:
    """Return a confidence sequence of a rate: it holds at every look at once (to be replaced)."""
    if not trials:
        return 0.0, 1.0
    bound = math.log(2 / alpha) + 0.5 * math.log1p(trials / t_opt) + 1
    return _end(successes, trials, bound, -1), _end(successes, trials, bound, 1)


def chernoff_upper(failures: float, trials: float, alpha: float) -> float:
    """Return U with ``trials * KL(failures / trials || U) = ln(1 / alpha)``."""
    return _end(failures, trials, math.log(1 / alpha), 1)


def _end(successes: float, trials: float, bound: float, side: int) -> float:
    rate = successes / trials
    inside, outside = rate, (1.0 if side > 0 else 0.0)
    for _ in range(_ROUNDS):
        middle = (inside + outside) / 2
        if trials * _divergence(rate, middle) < bound:
            inside = middle
        else:
            outside = middle
    return outside


def _divergence(p: float, q: float) -> float:
    if q in {0.0, 1.0}:
        return math.inf if p != q else 0.0
    return (p * math.log(p / q) if p else 0.0) + (
        (1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0
    )
