"""How much worse a build may be where the comparison is loose, and when to trust it less."""

from typing import Final

from controller.core.gate import Margin
from controller.verdict.arms import bins
from controller.verdict.confidence import chernoff_upper
from controller.verdict.question import Pair, Question

# Where there is no concurrent user of stable the claim is looser: with the usual margins ordinary
# drift over the day would be blamed on the new build.
LOOSE: Final = Margin(error_ratio=3.0, error_absolute=0.02, latency_ratio=2.0)
LOOSE_BINS: Final = bins(LOOSE.latency_ratio)
LEAST_FAILURES: Final = 3
SHAKEN: Final = 3.0  # dispersion on top, where stable just failed far more often than usual
_TROUBLE: Final = 0.01  # of stable, beyond three times its usual rate
BOUND_ALPHA: Final = 0.02 / 8
_MANY_PROBES: Final = 10  # per bucket: enough to be counted like users


def past_bound(question: Question) -> float:
    """Return the error rate that no build may exceed where nothing runs beside it."""
    limit, learned = question.limits.error_rate_max, question.learned
    if learned is None or not learned.rows:
        return inside(limit)
    usual = chernoff_upper(learned.failed_rows, learned.rows, BOUND_ALPHA)
    return inside(min(limit, LOOSE.error_ratio * usual + LOOSE.error_absolute))


def inside(rate: float) -> float:
    """Return *rate* kept away from never and always."""
    return min(max(rate, 1e-5), 0.99)


def is_shaken(failed: float, total: float, usual: float) -> bool:
    """Whether the stable build is in trouble: then failures come in clumps, whatever was learned.

    It is asked of the bucket before, so that no bucket weighs its own luck.
    """
    return failed >= LEAST_FAILURES and failed > total * (LOOSE.error_ratio * usual + _TROUBLE)


def are_many(pair: Pair) -> bool:
    """Whether there are requests of our own enough to count like users."""
    return pair.probes is not None and min(p.total for p in pair.probes) >= _MANY_PROBES
