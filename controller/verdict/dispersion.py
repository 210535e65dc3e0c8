"""How clumped failures, slow requests and traffic are: what evidence has to be divided by.

A client that tries again eight times fails eight times: eight failures, one piece of evidence.
Likelihoods of independent requests are over-confident by the size of such clumps. If clumps have m
members each, evidence to the power of 1/m is right; if they vary, ``phi = E[m^2] / E[m]`` is.

It is measured on the stable build before the rollout. Its users are hashed into groups: whatever
shakes all groups at once (an outage, the time of day) cancels inside a bucket, and what is left
between the groups is the clumping that would also be left between two builds. Little data gives a
value that is too high rather than too low: the evidence of a rollout can only become weaker by it.

Counts are given per bucket, and in it per group. All functions are exact for counts up to 1e9.
"""

import math
from collections.abc import Sequence
from typing import Final

Counts = Sequence[Sequence[int]]

MOST_OF_FAILURES: Final = 30.0
MOST_BY_TIME: Final = 8.0
_MOST: Final = 50.0
_PRIOR_FAILURES: Final = (1.5, 10.0)  # value, weight in failures
_PRIOR_TRAFFIC: Final = (3.0, 20.0)  # weight in blocks
_PRIOR_SLOW: Final = (1.2, 5.0)  # weight in blocks


def of_failures(counts: Counts) -> float:
    """Return phi of failures (or of failing sessions), 1..30.

    The variance between the groups of a bucket over the mean, summed over all buckets: an unbiased
    estimate of ``E[m^2] / E[m]`` of clumps that stay in one group. It is drawn to 1.5 and then
    raised by what so few failures leave unsure.
    """
    return _raised(math.fsum(_between(row) for row in counts), _total(counts), MOST_OF_FAILURES)


def bounded_by_time(counts: Sequence[int]) -> float:
    """Return an upper bound of phi from failures per bucket alone, 1..8.

    For apps that name no sessions: clumps cannot be told from shocks that shake all users at once,
    so both are counted. That is more than enough, and without a limit one outage in the past would
    make the judge blind.

    Args:
        counts: failures per bucket, in buckets without any also.
    """
    return _raised(_between(counts), sum(counts), MOST_BY_TIME)


def of_traffic(counts: Counts) -> float:
    """Return phi of traffic, 1..50, from requests per block and group: sessions come in clumps.

    The mean over blocks with traffic, drawn to 3 by the weight of 20 blocks.
    """
    ratios = [_between(row) / sum(row) for row in counts if sum(row) and len(row) > 1]
    return _drawn(ratios, _PRIOR_TRAFFIC)


def of_exceedances(slow: Counts, rows: Counts) -> float:
    """Return phi of slow requests, 1..50, from slow and all requests per block and group.

    If it did not matter to slowness which group a request is in, each group's slow requests would
    be a draw without replacement from the block's; phi is by how much they vary more. Mean over
    the blocks that can tell, drawn to 1.2 by the weight of 5 blocks.

    Raises:
        ValueError: *slow* and *rows* are not of the same shape.
    """
    ratios = [_spread(some, everything) for some, everything in zip(slow, rows, strict=True)]
    return _drawn([ratio for ratio in ratios if ratio is not None], _PRIOR_SLOW)


def wander_of(slow: Sequence[int], rows: Sequence[int]) -> float:
    """Return by how much the share of slow requests wanders from block to block, beyond chance.

    As a variance, in units of that of a single request, >= 0. A slot is a tenth slower for some
    minutes, and nobody did anything: groups of sessions on one slot do not show it, they all share
    it; two slots do not. Drawn to none by the weight of 5 blocks.

    Args:
        slow: slow requests per block.
        rows: all requests of the same blocks.

    Raises:
        ValueError: they are not of the same length.
    """
    blocks = [(some, count) for some, count in zip(slow, rows, strict=True) if count]
    bad, total, number = sum(slow), sum(rows), len(blocks)
    if not 0 < bad < total or number < 2:  # noqa: PLR2004 - one block has no neighbour
        return 0.0
    share = bad / total
    chance = share * (1 - share)
    apart = math.fsum((some / count - share) ** 2 * count / chance for some, count in blocks)
    weight = _PRIOR_SLOW[1]
    beyond = (apart + weight) / (number + weight) * number / (number - 1) - 1
    return max(beyond, 0.0) * number / total


def _between(counts: Sequence[int]) -> float:
    """Return the sum of squares between *counts*, times n / (n - 1): in mean n times a variance.

    Integers until the last step: nothing is lost where large numbers differ by little.
    """
    size = len(counts)
    if size < 2:  # noqa: PLR2004 - one group has nothing beside it
        return 0.0
    return (size * sum(count * count for count in counts) - sum(counts) ** 2) / (size - 1)


def _spread(slow: Sequence[int], rows: Sequence[int]) -> float | None:
    """Return observed over expected squares of one block's slow requests; None if none is due."""
    bad, total = sum(slow), sum(rows)
    squares = sum(count * count for count in rows)
    if not 0 < bad < total or squares == total * total:
        return None
    apart = math.fsum(
        ((some * total - count * bad) / total) ** 2 for some, count in zip(slow, rows, strict=True)
    )
    due = bad * (total - bad) / (total - 1) * ((total * total - squares) / (total * total))
    return apart / due


def _total(counts: Counts) -> int:
    return sum(sum(row) for row in counts if len(row) > 1)


def _raised(apart: float, events: float, most: float) -> float:
    value, weight = _PRIOR_FAILURES
    rough = (value * weight + apart) / (weight + events)
    unsure = 1 + 1 / math.sqrt(1 + events / rough)
    return min(max(1 + max(rough - 1, 0.0) * unsure, 1.0), most)


def _drawn(ratios: Sequence[float], prior: tuple[float, float]) -> float:
    value, weight = prior
    mean = (value * weight + math.fsum(ratios)) / (weight + len(ratios))
    return min(max(mean, 1.0), _MOST)
