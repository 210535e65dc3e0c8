"""Two streams of yes and no, given how many events both have together.

Given a block's total, the events of stream a follow Fisher's noncentral hypergeometric
distribution (FNCH): its only parameter is the odds ratio, and neither stream's rate matters. So no
rate has to be guessed. Source: Turner, Ly, Grünwald, arXiv 2106.02693, section 4; names and
arguments are those of the R package *safestats* (``savi2x2``), in snake case.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

from controller.verdict.published.special import bisect, log_sum

_WIDEST = 700.0  # log odds beyond which nothing changes any more


def fnch_log_partition(na: int, nb: int, total_successes: int, log_odds: float) -> float:
    """Return ``ln sum choose(na, k) choose(nb, total - k) odds^k`` over all possible k."""
    return log_sum(_terms(na, nb, total_successes, log_odds)[1])


def log_likelihood_fnch(ya: int, yb: int, na: int, nb: int, log_odds: float) -> float:
    """Return ``ln`` of the probability of *ya* events in a, given ``ya + yb`` in both."""
    ways = _log_choose(na, ya) + _log_choose(nb, yb) + ya * log_odds
    return ways - fnch_log_partition(na, nb, ya + yb, log_odds)


def solve_ump_log_odds(
    na: int, nb: int, total_successes: int, alpha: float, alternative: str
) -> float | None:
    """Return the log odds at which the bet's divergence from even odds is ``ln(1 / alpha)``.

    None where no odds diverge so far. *alternative*: ``greater`` (a's odds are) or ``less``.
    """
    sign = 1.0 if alternative == "greater" else -1.0
    even = fnch_log_partition(na, nb, total_successes, 0.0)

    def missing(size: float) -> float:
        log_odds = sign * size
        events, logs = _terms(na, nb, total_successes, log_odds)
        partition = log_sum(logs)
        mean = math.fsum(k * math.exp(log - partition) for k, log in zip(events, logs, strict=True))
        return log_odds * mean - partition + even - math.log(1 / alpha)

    return sign * bisect(missing, 0.0, _WIDEST) if missing(_WIDEST) > 0 else None


def savi_2x2_test_stat_ump(
    ya: int, yb: int, na: int, nb: int, alpha: float, alternative: str = "twoSided"
) -> float:
    """Return the e-value of one block for the bet of `solve_ump_log_odds`, or of both averaged."""
    sides = ("greater", "less") if alternative == "twoSided" else (alternative,)
    total = 0.0
    for side in sides:
        log_odds = solve_ump_log_odds(na, nb, ya + yb, alpha, side) or 0.0
        total += math.exp(_log_ratio(ya, yb, na, nb, log_odds))
    return total / len(sides)


def log_e_value_vec_2x2_log_odds_grow(
    ya: Sequence[int],
    yb: Sequence[int],
    na: Sequence[int],
    nb: Sequence[int],
    log_odds_min: float,
    alternative: str = "greater",
) -> list[float]:
    """Return ``ln`` of the e-value after every block, for a bet on fixed log odds.

    *alternative*: ``greater`` bets on *log_odds_min*, ``less`` on its negative, ``twoSided`` on
    both with half the money each.
    """
    greater = _sums(ya, yb, na, nb, log_odds_min)
    if alternative == "greater":
        return greater
    less = _sums(ya, yb, na, nb, -log_odds_min)
    if alternative == "less":
        return less
    return [log_sum([x, y]) - math.log(2) for x, y in zip(greater, less, strict=True)]


def log_e_value_vec_2x2_log_odds_e_gauss(
    ya: Sequence[int],
    yb: Sequence[int],
    na: Sequence[int],
    nb: Sequence[int],
    log_odds_grid: Sequence[float],
    mean: float = 0.0,
    sd: float = 1.0,
) -> list[float]:
    """Return ``ln`` of the e-value after every block, for a normal mixture on a grid."""
    weights = [-(((x - mean) / sd) ** 2) / 2 for x in log_odds_grid]
    total = log_sum(weights)
    processes = [_sums(ya, yb, na, nb, log_odds) for log_odds in log_odds_grid]
    return [
        log_sum([weight - total + log for weight, log in zip(weights, logs, strict=True)])
        for logs in zip(*processes, strict=True)
    ]


def _sums(
    ya: Sequence[int], yb: Sequence[int], na: Sequence[int], nb: Sequence[int], log_odds: float
) -> list[float]:
    blocks = zip(ya, yb, na, nb, strict=True)
    return list(accumulate(_log_ratio(*block, log_odds) for block in blocks))


def _log_ratio(ya: int, yb: int, na: int, nb: int, log_odds: float) -> float:
    return log_likelihood_fnch(ya, yb, na, nb, log_odds) - log_likelihood_fnch(ya, yb, na, nb, 0.0)


def _terms(na: int, nb: int, total: int, log_odds: float) -> tuple[list[int], list[float]]:
    """Return all possible events of a, and ``ln`` of how much each weighs."""
    events = list(range(max(0, total - nb), min(na, total) + 1))
    return events, [_log_choose(na, k) + _log_choose(nb, total - k) + k * log_odds for k in events]


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
