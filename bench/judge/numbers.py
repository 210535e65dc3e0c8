"""Small pieces of statistics that NumPy does not have."""

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS_PER_DECADE = 40  # of a latency histogram, as in the product
_Z = np.linspace(-9.0, 9.0, 18_001)
_ABOVE = np.array([0.5 * math.erfc(z / math.sqrt(2)) for z in _Z])


def above(z: Array) -> Array:
    """Return how much of a standard normal lies above *z*."""
    return np.interp(z, _Z, _ABOVE)


def normal_quantile(share: Array) -> Array:
    """Return z with *share* of a standard normal below it."""
    return np.interp(share, 1.0 - _ABOVE, _Z)


def edge_ms(bins: Array) -> Array:
    """Return the milliseconds above which a latency lies above histogram bin *bins*."""
    return 10.0 ** ((bins + 1.0) / BINS_PER_DECADE)


def bin_of(milliseconds: Array) -> Array:
    """Return the histogram bins of latencies."""
    return np.floor(np.log10(np.maximum(milliseconds, 0.1)) * BINS_PER_DECADE)


def chernoff_upper(failures: Array, trials: Array, alpha: float) -> Array:
    """Return U with ``trials * KL(failures / trials || U) = ln(1 / alpha)``."""
    rate = failures / trials
    low, high = rate, np.ones_like(rate)
    for _ in range(50):
        middle = (low + high) / 2
        inside = trials * divergence(rate, middle) < math.log(1 / alpha)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high


def divergence(p: Array, q: Array) -> Array:
    """Return the Kullback-Leibler divergence of two coins."""
    q = np.clip(q, 1e-15, 1 - 1e-15)
    first = p * np.log(np.where(p > 0, p, 1.0) / q)
    return first + (1 - p) * np.log(np.where(p < 1, 1 - p, 1.0) / (1 - q))


def log_gamma(x: Array) -> Array:
    """Return ln Gamma of positive numbers (Stirling's series beyond 8)."""
    shift = np.zeros_like(x)
    y = np.array(x, dtype=float)
    for _ in range(8):
        small = y < 8
        shift = shift + np.where(small, np.log(np.where(small, y, 1.0)), 0.0)
        y = np.where(small, y + 1, y)
    series = 1 / (12 * y) - 1 / (360 * y**3) + 1 / (1260 * y**5)
    return (y - 0.5) * np.log(y) - y + 0.5 * math.log(2 * math.pi) + series - shift


def log_beta(a: Array, b: Array) -> Array:
    """Return ln B(a, b)."""
    return log_gamma(a) + log_gamma(b) - log_gamma(a + b)


def window_sum(values: Array, width: int) -> Array:
    """Return sums over the last *width* rows, fewer at the start."""
    sums = np.cumsum(values, axis=0)
    sums[width:] = sums[width:] - sums[:-width].copy()
    return sums


def first_time(hit: NDArray[np.bool_], seconds: float) -> Array:
    """Return when each column is first true (end of its row, seconds); inf for never."""
    when = (np.argmax(hit, axis=0) + 1) * seconds
    return np.where(hit.any(axis=0), when, np.inf)
