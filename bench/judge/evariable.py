"""The product's block e-variable and its wealth, for many rollouts at once.

Counts and rates are arrays of (replications,), bets on alternatives (alternatives, replications).
A twin of ``controller/verdict/evariable.py`` and ``wealth.py``.
"""

import numpy as np
from numpy.typing import NDArray

from bench.judge.numbers import Array

DECAY = 2 ** (-1 / 40)
_FIRST_STAKE = 0.75
_MOST = 1e250
_TINY = 1e-12
_ROUNDS = 40
_CLOSE = 1e-8
# Of a stake, to the alternatives of `worse_rates`: a small regression needs every bit, a large one
# wins anyway.
WORSE_SHARES = (0.16, 0.30, 0.22, 0.12, 0.07, 0.04, 0.03, 0.03, 0.03)


def log_e(
    counts: tuple[Array, Array, Array, Array],
    a: Array,
    b: Array,
    ratio: float = 1.0,
    absolute: float = 0.0,
) -> Array:
    """Return ln S of (nc, xc, nb, xb) for the bet on *a* beside *b*; 0 without a control."""
    nc, xc, nb, xb = (each[None] for each in counts)
    b = b[None]
    known = (nc > 0) & (nb > 0)
    mc, mb = np.where(known, nc, 1.0), np.where(known, nb, 1.0)
    if ratio == 1.0 and absolute == 0.0:
        q = c = (mc * a + mb * b) / (mc + mb)
    else:
        q = balance(mc, mb, a, b, ratio, absolute)
        c = absolute + ratio * q
    found = xc * np.log(a / c) + (nc - xc) * np.log((1 - a) / (1 - c))
    found += xb * np.log(b / q) + (nb - xb) * np.log((1 - b) / (1 - q))
    return np.where(known, found, 0.0)


def log_e_alone(n: Array, x: Array, a: Array, bound: Array) -> Array:
    """Return ln S of *x* in *n* against ``p <= bound``: nothing runs beside it."""
    n, x, bound = n[None], x[None], bound[None]
    return x * np.log(a / bound) + (n - x) * np.log((1 - a) / (1 - bound))


def balance(nc: Array, nb: Array, a: Array, b: Array, ratio: float, absolute: float) -> Array:
    """Return q*: between b and (a - absolute) / ratio, where both pulls are equal."""
    meets = (a - absolute) / ratio
    most = min((1.0 - absolute) / ratio - _TINY, 1.0 - _TINY)
    low = np.maximum(np.minimum(b, meets), _TINY)
    high = np.minimum(np.maximum(b, meets), most)
    high = np.maximum(high, low)
    q = _guess(nc, nb, a, b, ratio + absolute / b)
    q = np.where((q > low) & (q < high), q, (low + high) / 2)
    shape = q.shape
    parts = [np.broadcast_to(each, shape).ravel() for each in (nc, nb, a, b, low, high)]
    found = q.ravel().copy()
    open_ = np.arange(found.size)
    for _ in range(_ROUNDS):  # each round goes on with what has not converged
        fresh, parts, done = _newton(found[open_], parts, ratio, absolute)
        found[open_] = fresh
        open_, parts = open_[~done], [each[~done] for each in parts]
        if not open_.size:
            break
    return found.reshape(shape)


def _newton(
    q: Array, parts: list[Array], ratio: float, absolute: float
) -> tuple[Array, list[Array], NDArray[np.bool_]]:
    """Return the next q, kept inside its bracket, and where it is close enough."""
    nc, nb, a, b, low, high = parts
    c = absolute + ratio * q
    pull_c, pull_b = (a - c) / (c * (1 - c)), (b - q) / (q * (1 - q))
    value = nc * ratio * pull_c + nb * pull_b
    slope = nc * ratio * ratio * (1 + pull_c * (1 - 2 * c)) / (c * (1 - c))
    slope += nb * (1 + pull_b * (1 - 2 * q)) / (q * (1 - q))
    step = np.where(slope > 0, -value / np.where(slope > 0, slope, 1.0), high)
    done = (np.abs(step) <= _CLOSE * q) | (high - low <= _CLOSE * high)
    up = value > 0
    low, high = np.where(up, q, low), np.where(up, high, q)
    fresh = q - step
    fresh = np.where((fresh >= low) & (fresh <= high), fresh, (low + high) / 2)
    return fresh, [nc, nb, a, b, low, high], done


def _guess(nc: Array, nb: Array, a: Array, b: Array, ratio: Array) -> Array:
    """Return q* of a margin without an absolute part: the root of a quadratic."""
    square = ratio * (nc + nb)
    linear = nc * (a + ratio) + nb * (1 + ratio * b)
    inside = np.maximum(linear * linear - 4 * square * (nc * a + nb * b), 0)
    return (linear - np.sqrt(inside)) / (2 * square)


class Reserve:
    """Wealth of bets of which some is kept for bets that begin later."""

    def __init__(self, replications: int, shares: tuple[float, ...]) -> None:
        """Take what share of each stake goes to which alternative."""
        self._shares = np.array(shares)[:, None]
        self._cash = np.ones(replications)
        self._stake = np.full(replications, _FIRST_STAKE)
        self._bets = np.zeros((len(shares), replications))

    @property
    def wealth(self) -> Array:
        return np.minimum(self._cash + self._bets.sum(0), _MOST)

    def bet(self, logs: Array, dispersion: Array | float = 1.0, where: Array | None = None) -> None:
        """Take ``ln S`` of one bucket, *where* there is something to bet on."""
        if where is not None and not where.any():
            return
        tempered = logs / np.asarray(dispersion)
        stake = self._stake * self._cash * self._shares
        with np.errstate(over="ignore"):  # what overflows is capped
            bets = np.minimum((self._bets + stake) * np.exp(np.clip(tempered, -700, 575)), _MOST)
        cash, stake_next = self._cash * (1 - self._stake), np.full_like(self._stake, 1 - DECAY)
        if where is None:
            self._bets, self._cash, self._stake = bets, cash, stake_next
            return
        self._bets = np.where(where[None], bets, self._bets)
        self._cash = np.where(where, cash, self._cash)
        self._stake = np.where(where, stake_next, self._stake)


class Mean:
    """Wealth of bets that all stand from the first bucket on."""

    def __init__(self, replications: int, shares: tuple[float, ...]) -> None:
        """Take what share of the stake goes to which alternative."""
        self._logs = np.zeros((len(shares), replications))
        self._shares = np.array(shares)[:, None]

    @property
    def wealth(self) -> Array:
        return (self._shares * np.exp(np.clip(self._logs, -700, 575))).sum(0)

    def bet(self, logs: Array, dispersion: Array | float = 1.0) -> None:
        self._logs = np.minimum(self._logs + logs / np.asarray(dispersion), 575.0)


class Rate:
    """The rate expected of the next bucket, from history and from what was seen."""

    def __init__(self, events: Array, trials: Array, prior: Array | float = 0.01) -> None:
        self._base = (events + prior * 50) / (trials + 50)
        self._weight = np.minimum(trials + 50, 2000)
        self._shown = np.zeros_like(self._base)
        self._seen = np.zeros_like(self._base)

    @property
    def value(self) -> Array:
        rate = (self._base * self._weight + self._shown) / (self._weight + self._seen)
        return np.clip(rate, 1e-5, 0.999)

    def take(self, events: Array, trials: Array, where: Array | None = None) -> None:
        """Learn from one bucket, *where* there was one to learn from."""
        shown, seen = DECAY * self._shown + events, DECAY * self._seen + trials
        self._shown = shown if where is None else np.where(where, shown, self._shown)
        self._seen = seen if where is None else np.where(where, seen, self._seen)


def worse_rates(tolerated: Array) -> Array:
    """Return nine rates beyond the tolerance: from a little worse to nearly always."""
    t = np.minimum(tolerated, 0.99)[None]
    steps = np.arange(8)[:, None]
    first, last = 1.5 * t, 0.95
    spread = first * (last / first) ** (steps / 7)
    room = 0.999 - t
    close = t + room * (steps + 1) / 9
    is_close = first >= 0.9 * last
    lowest = np.where(is_close, np.minimum(1.2 * t, t + room / 9), 1.2 * t)
    return np.vstack([lowest, np.where(is_close, close, spread)])


def with_odds(rate: Array, factors: tuple[float, ...]) -> Array:
    """Return the probabilities whose odds are *factors* times those of *rate*."""
    odds = np.array(factors)[:, None] * (rate / (1 - rate))
    return odds / (1 + odds)
