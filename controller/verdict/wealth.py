"""What a sequence of bets has won, and the rate that the next bet expects."""

import math
from collections.abc import Sequence
from typing import Final

HALF_LIFE_BUCKETS: Final = 40  # ten minutes of buckets of 15 s
DECAY: Final = 2 ** (-1 / HALF_LIFE_BUCKETS)
_FIRST_STAKE: Final = 0.75
# Of a stake, to the alternatives of `worse_rates`: a small regression needs every bit of it, a
# large one wins anyway.
WORSE_SHARES: Final = (0.16, 0.30, 0.22, 0.12, 0.07, 0.04, 0.03, 0.03, 0.03)
_MOST: Final = 1e250  # wealth is capped: a lower wealth proves less, never more
_MOST_LOG: Final = 575.0
_LEAST_LOG: Final = -700.0
_HISTORY_WEIGHT: Final = 50.0  # requests of prior knowledge without any history
_MOST_HISTORY: Final = 2000.0  # history weighs no more than this, so that today can correct it
_LEAST_RATE: Final = 1e-5
_MOST_RATE: Final = 0.999


class Reserve:
    """Wealth of a mixture of bets that keeps cash for bets that begin later.

    A regression may begin after ten minutes. By then whatever was bet at the start is lost; the
    reserve starts anew in every bucket, with a share that was decided before the bucket was seen.
    So the wealth stays an e-process. It is a mixture over start times (Shin, Ramdas, Rinaldo,
    "E-detectors", 2022).
    """

    __slots__ = ("_bets", "_cash", "_shares", "_stake")

    def __init__(self, shares: Sequence[float]) -> None:
        """Take what share of each stake goes to which alternative; they sum to 1."""
        self._cash = 1.0
        self._shares = shares
        self._bets = [0.0] * len(shares)
        self._stake = _FIRST_STAKE

    @property
    def wealth(self) -> float:
        """E : 1 against the hypothesis."""
        return min(self._cash + sum(self._bets), _MOST)

    def bet(self, logs: Sequence[float], dispersion: float = 1.0) -> None:
        """Take one bucket: ``ln S`` per alternative, tempered by the *dispersion* (>= 1)."""
        stake = self._stake * self._cash
        self._bets = [
            min((bet + stake * share) * _exp(log / dispersion), _MOST)
            for bet, share, log in zip(self._bets, self._shares, logs, strict=True)
        ]
        self._cash *= 1.0 - self._stake
        self._stake = 1.0 - DECAY


class Mean:
    """Wealth of bets that all stand from the first bucket on, each with its share of the stake."""

    __slots__ = ("_logs", "_shares")

    def __init__(self, shares: Sequence[float]) -> None:
        """Take what share of the stake goes to which alternative; they sum to 1."""
        self._logs = [0.0] * len(shares)
        self._shares = shares

    @property
    def wealth(self) -> float:
        """E : 1 against the hypothesis."""
        both = zip(self._shares, self._logs, strict=True)
        return min(sum(share * _exp(log) for share, log in both), _MOST)

    def bet(self, logs: Sequence[float], dispersion: float = 1.0) -> None:
        """Take one bucket, as `Reserve.bet`."""
        self._logs = [
            min(total + log / dispersion, _MOST_LOG)
            for total, log in zip(self._logs, logs, strict=True)
        ]


class Rate:
    """The rate that is expected of the next bucket, from history and from what was seen so far.

    Older buckets count less (half of it after 40). It is asked before each bucket is taken in.
    """

    __slots__ = ("_base", "_seen", "_shown", "_weight")

    def __init__(self, events: float = 0.0, trials: float = 0.0, *, prior: float = 0.01) -> None:
        self._base = (events + prior * _HISTORY_WEIGHT) / (trials + _HISTORY_WEIGHT)
        self._weight = min(trials + _HISTORY_WEIGHT, _MOST_HISTORY)
        self._shown = self._seen = 0.0

    @property
    def value(self) -> float:
        """The expected rate, inside (0, 1)."""
        rate = (self._base * self._weight + self._shown) / (self._weight + self._seen)
        return min(max(rate, _LEAST_RATE), _MOST_RATE)

    def take(self, events: float, trials: float) -> None:
        """Learn from one bucket."""
        self._shown = DECAY * self._shown + events
        self._seen = DECAY * self._seen + trials


def equal(alternatives: int) -> tuple[float, ...]:
    """Return equal shares."""
    return (1 / alternatives,) * alternatives


def worse_rates(tolerated: float) -> list[float]:
    """Return what a build beyond the tolerance may fail at: from a little worse to nearly always.

    Args:
        tolerated: the highest rate within the tolerance, inside (0, 1).
    """
    first, last = 1.5 * tolerated, 0.95
    if first >= 0.9 * last:
        room = 0.999 - tolerated
        return [min(1.2 * tolerated, tolerated + room / 9)] + [
            tolerated + room * step / 9 for step in range(1, 9)
        ]
    factor = (last / first) ** (1 / 7)
    return [1.2 * tolerated] + [first * factor**step for step in range(8)]


def with_odds(rate: float, factor: float) -> float:
    """Return the probability whose odds are *factor* times those of *rate*."""
    odds = factor * rate / (1.0 - rate)
    return odds / (1.0 + odds)


def _exp(log: float) -> float:
    return math.exp(min(max(log, _LEAST_LOG), _MOST_LOG))
