"""The sequential test that two streams have the same quantile.

Source: Howard, Ramdas, "Sequential estimation of quantiles with applications to A/B testing and
best-arm identification", Bernoulli 28(3) 2022, arXiv 1906.09712, Theorem 5; as the package
*confseq*'s ``quantile_ab_p_value``.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from controller.verdict.published.confseq import beta_binomial_log_mixture

_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_ROUNDS: Final = 80


def quantile_ab_p_value(
    a_values: Sequence[float],
    b_values: Sequence[float],
    quantile_p: float,
    t_opt: float,
    alpha_opt: float = 0.05,
) -> float:
    """Return the p-value, valid at every look, that both streams share their *quantile_p* quantile.

    Args:
        a_values: what was seen of one stream.
        b_values: of the other.
        quantile_p: inside (0, 1); 0.5 compares medians.
        t_opt: values per stream at which the test is meant to be strongest.
        alpha_opt: the alpha for which ``t_opt`` is tuned.
    """
    arms = sorted(
        (_Arm(values, quantile_p, t_opt, alpha_opt) for values in (a_values, b_values)),
        key=lambda arm: arm.upper,
    )
    first, second = arms
    places = {first.upper, second.lower}
    places.update(x for x in second.values if first.upper < x <= second.lower)
    least = min(first.log_mixture(x) + second.log_mixture(x) for x in places)
    return min(1.0, math.exp(-least))


class _Arm:
    """One stream: the evidence against every value as its quantile."""

    def __init__(
        self, values: Sequence[float], quantile: float, t_opt: float, alpha_opt: float
    ) -> None:
        self.values = sorted(values)
        self._quantile, self._t_opt, self._alpha_opt = quantile, t_opt, alpha_opt
        size = len(self.values)
        self._best = self._least_evident()  # the share below that speaks least against it
        self.lower = self.values[max(math.ceil(self._best * size) - 1, 0)]
        self.upper = self.values[min(math.floor(self._best * size), size - 1)]

    def log_mixture(self, x: float) -> float:
        """Return the least evidence against *x* as the quantile."""
        size = len(self.values)
        if x < self.lower:
            return self._against(bisect_right(self.values, x) / size)
        if x > self.upper:
            return self._against(bisect_left(self.values, x) / size)
        return self._against(self._best)

    def _against(self, below: float) -> float:
        size, p = len(self.values), self._quantile
        variance = p * (1 - p)
        return beta_binomial_log_mixture(
            (below - p) * size,
            variance * size,
            self._t_opt * variance,
            p,
            1 - p,
            self._alpha_opt,
            is_one_sided=False,
        )

    def _least_evident(self) -> float:
        low, high = 0.0, 1.0
        for _ in range(_ROUNDS):  # golden section: the evidence is convex in the share
            left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
            if self._against(left) < self._against(right):
                high = right
            else:
                low = left
        return (low + high) / 2
