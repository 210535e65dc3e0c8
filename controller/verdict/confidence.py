"""Intervals that hold at every look, and bounds of rates known from the past.

A usual 95 % interval is right at one look that was planned. A *confidence sequence* is right at
all looks at once: the chance that it ever misses the true rate is at most alpha. Source: Howard,
Ramdas, McAuliffe, Sekhon, Annals of Statistics 49(2) 2021, arXiv 1810.08240, Proposition 6 (the
two-sided beta-binomial mixture), as ``bernoulli_confidence_interval`` of the package *confseq*.
"""

import math
from functools import lru_cache
from typing import Final

_ROUNDS: Final = 60
_CLOSE: Final = 1e-10  # relative; what is left after such a step is far less
_FARTHEST: Final = 20.0  # that one step may go, as a logarithm
_HALF_LOG_TAU: Final = 0.5 * math.log(2 * math.pi)
_SERIES_FROM: Final = 10.0  # above, five terms of Stirling's series are exact in double precision
_GOLDEN: Final = (math.sqrt(5) - 1) / 2
_LEAST_PRIOR: Final = 1e-3  # of one trial


def beta_binomial_interval(
    successes: float,
    trials: float,
    *,
    alpha: float = 0.05,
    t_opt: float = 1000.0,
    alpha_opt: float = 0.05,
) -> tuple[float, float]:
    """Return a confidence sequence of a rate: it holds at every look at once.

    Args:
        successes: events seen so far, 0..trials.
        trials: all seen so far, >= 0. Without any the answer is (0, 1).
        alpha: the chance of ever missing the true rate, inside (0, 1).
        t_opt: trials at which the interval is meant to be narrowest.
        alpha_opt: the alpha for which ``t_opt`` is tuned.

    Returns:
        Lower and upper bound of the rate, ``0 <= lower <= successes / trials <= upper <= 1``.
    """
    if trials <= 0:
        return 0.0, 1.0
    successes = min(max(successes, 0.0), trials)
    if successes > trials / 2:  # close to 1 the distance from 1 is what needs its digits
        lower, upper = beta_binomial_interval(
            trials - successes, trials, alpha=alpha, t_opt=t_opt, alpha_opt=alpha_opt
        )
        return 1.0 - upper, 1.0 - lower
    mixture = _Mixture(successes, trials, _prior_trials(t_opt, alpha_opt))
    needed = math.log(1 / alpha)
    upper = _upper_end(trials - successes, mixture, needed)
    return _lower_end(successes, mixture, needed), upper


def chernoff_upper(failures: float, trials: float, alpha: float) -> float:
    """Return U >= failures / trials with ``trials * KL(failures / trials || U) = ln(1 / alpha)``.

    A rate above U would show so few failures with a probability of at most *alpha*. 1.0 where
    there were no trials, or nothing but failures.
    """
    if trials <= 0 or failures >= trials:
        return 1.0
    needed = math.log(1 / alpha)
    if failures <= 0:
        return -math.expm1(-needed / trials)
    rate = failures / trials
    inside, outside = rate, 1.0
    _, bound = _wilson(failures, trials, 2 * needed)
    for _ in range(_ROUNDS):  # Newton, kept inside the bracket
        if not inside < bound < outside:
            bound = (inside + outside) / 2
        over = _surprise(failures, trials, bound) - needed
        if over < 0:
            inside = bound
        else:
            outside = bound
        step = over * bound * (1 - bound) / (trials * bound - failures)
        bound -= step
        if abs(step) <= _CLOSE * bound:
            break
    return min(max(bound, inside), outside)


def _surprise(successes: float, trials: float, rate: float) -> float:
    """Return ``trials * KL(successes / trials || rate)``, for counts inside (0, trials)."""
    off = successes / trials - rate
    return successes * math.log1p(off / rate) + (trials - successes) * math.log1p(
        -off / (1.0 - rate)
    )


def empirical_process_lil_bound(t: float, alpha: float, t_min: float, A: float = 0.85) -> float:  # noqa: N803 - the paper's name
    """Return how far an empirical distribution function of *t* values is off, at every look.

    At any time from *t_min* on and at any value at once, with a chance of at most *alpha* to be
    wrong. Infinite before *t_min*. Source: Howard, Ramdas, "Sequential estimation of quantiles",
    Bernoulli 28(3) 2022, arXiv 1906.09712, Theorem 2; as confseq's function of this name.

    Args:
        t: values seen.
        alpha: the chance of ever being wrong, inside (0, 1).
        t_min: values from which on it must hold, >= 1.
        A: how fast it narrows, > 1 / sqrt(2): the smaller, the wider it begins.
    """
    if t < t_min:
        return math.inf
    return A * math.sqrt((math.log1p(math.log(t / t_min)) + _lil_constant(alpha, A)) / t)


@lru_cache(maxsize=64)
def _lil_constant(alpha: float, speed: float) -> float:
    """Return the smallest constant C for which the bound's error is *alpha*."""
    low, high = 0.0, 5.0
    while _lil_error(high, speed) > alpha:
        low, high = high, 2 * high
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if _lil_error(middle, speed) > alpha:
            low = middle
        else:
            high = middle
    return high


def _lil_error(constant: float, speed: float) -> float:
    """Return the chance of error at *constant*, for the best spacing of the epochs of time."""
    low, high = 1.0, 2 * speed * speed
    for _ in range(_ROUNDS):  # up to the spacing at which the argument of the proof ends
        middle = (low + high) / 2
        if math.sqrt(middle / 2) + math.sqrt(2 * (middle - 1) / constant) < speed:
            low = middle
        else:
            high = middle
    low, high = 1.0, low
    for _ in range(2 * _ROUNDS):  # golden section: one minimum in between
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _lil_error_at(constant, speed, left) < _lil_error_at(constant, speed, right):
            high = right
        else:
            low = left
    return _lil_error_at(constant, speed, (low + high) / 2)


def _lil_error_at(constant: float, speed: float, spacing: float) -> float:
    square = 2 / spacing * (speed - math.sqrt(2 * (spacing - 1) / constant)) ** 2
    if square <= 1 or spacing <= 1:
        return math.inf
    return 4 * math.exp(-square * constant) * (1 + 1 / ((square - 1) * math.log(spacing)))


def _prior_trials(t_opt: float, alpha_opt: float) -> float:
    """Return the weight of the mixture that is narrowest at *t_opt* trials (section 3.5 there)."""
    twice = 2 * math.log(1 / alpha_opt)
    return max(t_opt / (twice + math.log1p(twice)) - 1, _LEAST_PRIOR)


def _lower_end(successes: float, mixture: "_Mixture", needed: float) -> float:
    """Return the rate below the observed one at which ``ln M`` reaches *needed*."""
    if successes <= 1:  # M never reaches what is needed, however small the rate is
        return 0.0
    inside, outside = mixture.observed, 0.0
    bound, _ = mixture.guesses(needed)
    for _ in range(_ROUNDS):  # Newton on a logarithmic scale, kept inside the bracket
        if not outside < bound < inside:
            bound = (inside + outside) / 2 if outside else inside / 16
        over, slope = mixture.at(bound)
        over -= needed
        inside, outside = (bound, outside) if over < 0 else (inside, bound)
        step = over / (slope * bound) if slope else 0.0
        bound *= math.exp(-min(max(step, -_FARTHEST), _FARTHEST))
        if abs(step) <= _CLOSE:
            break
    return min(max(bound, outside), inside)


def _upper_end(failures: float, mixture: "_Mixture", needed: float) -> float:
    """Return the rate above the observed one at which ``ln M`` reaches *needed*."""
    if failures <= 1:
        return 1.0
    inside, outside = mixture.observed, 1.0
    _, bound = mixture.guesses(needed)
    for _ in range(_ROUNDS):
        if not inside < bound < outside:
            bound = (inside + outside) / 2
        over, slope = mixture.at(bound)
        over -= needed
        inside, outside = (bound, outside) if over < 0 else (inside, bound)
        step = over / slope if slope else 0.0
        bound -= step
        if abs(step) <= _CLOSE * bound:
            break
    return min(max(bound, inside), outside)


class _Mixture:
    """``ln M``, the evidence of the counts against a rate, and about its slope.

    ``M = B(prior rate + x, prior (1 - rate) + n - x) / B(prior rate, prior (1 - rate))
    / rate^x / (1 - rate)^(n - x)``: a bet on another rate, spread around it as a beta distribution
    worth *prior* trials. Written so that what is large cancels before it is computed: counts of
    1e9 leave ten digits.
    """

    __slots__ = ("_constant", "_prior", "_successes", "_trials", "observed")

    def __init__(self, successes: float, trials: float, prior: float) -> None:
        self._successes, self._trials, self._prior = successes, trials, prior
        self.observed = successes / trials
        total = prior + trials
        self._constant = 0.5 * math.log(total / prior) + _remainder(prior) - _remainder(total)

    def guesses(self, needed: float) -> tuple[float, float]:
        """Return about where both ends lie."""
        width = 2 * needed + math.log1p(self._trials / self._prior)
        return _wilson(self._successes, self._trials, width)

    def at(self, rate: float) -> tuple[float, float]:
        """Return ``ln M`` against *rate*, inside (0, 1), and its slope good to a few percent."""
        prior, trials, rest = self._prior, self._trials, 1.0 - rate
        a0, b0 = prior * rate, prior * rest
        a, b = a0 + self._successes, b0 + trials - self._successes
        off = (self._successes - trials * rate) / (prior + trials)  # posterior mean less rate
        more, less = math.log1p(off / rate), math.log1p(-off / rest)
        value = self._constant + a * more + b * less + 0.5 * math.log(a0 / a * (b0 / b))
        value += _remainder(a) + _remainder(b) - _remainder(a0) - _remainder(b0)
        slope = more - less + 0.5 / b - 0.5 / a
        # The slope of the remainders is about -1 / (12 z^2 + 2 z), for small and for large z.
        slope += 1 / (a0 * (12 * a0 + 2)) - 1 / (b0 * (12 * b0 + 2))
        slope += 1 / (b * (12 * b + 2)) - 1 / (a * (12 * a + 2))
        return value, prior * slope + (0.5 - a) / rate - (0.5 - b) / rest


def _wilson(successes: float, trials: float, square: float) -> tuple[float, float]:
    """Return the Wilson interval for a normal quantile whose square is *square*: a first guess."""
    share, rate = square / trials, successes / trials
    middle = rate + share / 2
    upper = (middle + math.sqrt(share * (rate * (1 - rate) + share / 4))) / (1 + share)
    return rate * rate / ((1 + share) * upper), upper


def _remainder(z: float) -> float:
    """Return what Stirling's formula leaves of ``ln Gamma(z)``, for z > 0."""
    if z < _SERIES_FROM:
        return math.lgamma(z) - (z - 0.5) * math.log(z) + z - _HALF_LOG_TAU
    square = 1 / (z * z)
    tail = 1 / 1260 - square * (1 / 1680 - square / 1188)
    return (1 / 12 - square * (1 / 360 - square * tail)) / z
