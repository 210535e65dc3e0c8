"""How bad a build would have to be to be noticed, and how soon: what the judge cannot see."""

import math
from collections.abc import Sequence
from typing import Final

from controller.core.gate import Gate, Learned
from controller.verdict.arms import failing_sessions, failures
from controller.verdict.evariable import Block, log_e
from controller.verdict.question import Question
from controller.verdict.wealth import Rate

_COST: Final = math.log(9 / 0.75) - 0.7  # of betting on nine alternatives at once
_ROUNDS: Final = 40
_LEAST_BUCKETS: Final = 2
_ERRORS: Final = 0.5


def rate_noticed_by_now(question: Question) -> float | None:
    """Return the error rate (0..1) above which the new build would stand accused by now.

    None where the requests seen so far could not convict a build that fails always.
    """
    block, usual, dispersion = _seen(question)
    gate = question.gate
    low, high = gate.tolerance.error_absolute + gate.tolerance.error_ratio * usual, 0.999
    if low >= high or not _convicts(block, high, usual, gate, dispersion):
        return None
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if _convicts(block, middle, usual, gate, dispersion):
            high = middle
        else:
            low = middle
    return high


def seconds_to_notice(
    rate: float,
    *,
    usual: float,
    requests_per_second: float,
    share: float,
    gate: Gate | None = None,
    dispersion: float = 1.0,
    bucket_seconds: float = 15.0,
) -> float:
    """Return the expected time until a build that fails at *rate* is taken back; inf for never.

    Args:
        rate: of the new build, 0..1.
        usual: of the stable build, 0..1.
        requests_per_second: of both builds together.
        share: of the new build, 0..1.
        gate: the judge's settings.
        dispersion: how clumped failures are, >= 1.
        bucket_seconds: length of a bucket.
    """
    settings = gate or Gate()
    nc = requests_per_second * share * bucket_seconds
    nb = requests_per_second * (1 - share) * bucket_seconds
    tolerance = settings.tolerance
    usual = min(max(usual, 1e-5), 0.999)
    if rate <= tolerance.error_absolute + tolerance.error_ratio * usual:
        return math.inf
    block = Block(nc, rate * nc, nb, usual * nb)
    gain = log_e(block, min(rate, 0.999), usual, tolerance.error_ratio, tolerance.error_absolute)
    if gain <= 0:
        return math.inf
    buckets = dispersion * _needed(settings) / gain
    return bucket_seconds * max(math.ceil(buckets), _LEAST_BUCKETS)


def _needed(gate: Gate) -> float:
    reserved = sum(metric.share for metric in gate.metrics)
    return math.log(1 / (gate.alpha * _ERRORS * (1 - reserved))) + _COST


def _convicts(block: Block, rate: float, usual: float, gate: Gate, dispersion: float) -> bool:
    tolerance = gate.tolerance
    failing = Block(block.nc, rate * block.nc, block.nb, usual * block.nb)
    log = log_e(failing, rate, usual, tolerance.error_ratio, tolerance.error_absolute)
    return log / dispersion >= _needed(gate)


def _seen(question: Question) -> tuple[Block, float, float]:
    learned = question.learned
    sessions = [failing_sessions(pair, learned) for pair in question.pairs]
    if learned is not None and sessions and all(each is not None for each in sessions):
        block = _sum([each for each in sessions if each is not None])
        return block, _usual(learned, block, by_session=True), learned.dispersion_sessions
    block = _sum([failures(pair) for pair in question.pairs])
    dispersion = learned.dispersion_errors if learned else 1.0
    return block, _usual(learned, block, by_session=False), dispersion


def _usual(learned: Learned | None, block: Block, *, by_session: bool) -> float:
    if learned is None:
        rate = Rate()
    elif by_session:
        rate = Rate(learned.failing_sessions or 0, learned.sessions or 0)
    else:
        rate = Rate(learned.failed_rows, learned.rows)
    rate.take(block.xb, block.nb)
    return rate.value


def _sum(blocks: Sequence[Block]) -> Block:
    return (
        Block(*(sum(values) for values in zip(*blocks, strict=True)))
        if blocks
        else Block(0, 0, 0, 0)
    )
