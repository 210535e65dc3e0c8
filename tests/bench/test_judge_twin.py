"""The simulated judge and the product's weigh the same counts alike, bucket by bucket."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from bench.judge import health, slipway
from bench.judge import history as simulated
from bench.judge.numbers import Array
from bench.judge.scenarios import chosen_cells
from bench.judge.traffic import Rollouts, Side, simulate
from controller.core.gate import Learned
from controller.core.plan import Limits
from controller.verdict.buckets import Bucket, Counts
from controller.verdict.memory import Memory
from controller.verdict.question import Pair, Question

START = datetime(2026, 1, 5, tzinfo=UTC)
QUANTILES = range(3)


def _histogram(total: float, above: Mapping[int, float]) -> dict[int, int]:
    """Return a histogram with so many rows above each bin."""
    found: dict[int, int] = {}
    place, left = 0, total
    for edge in sorted(above):
        found[place] = found.get(place, 0) + int(left - above[edge])
        place, left = edge + 1, above[edge]
    found[place] = found.get(place, 0) + int(left)
    return {index: count for index, count in found.items() if count}


def _bucket(
    side: Side, t: int, which: int, edges: Array, slacks: tuple[int, int, int], *, named: bool
) -> Bucket:
    above: dict[int, float] = {}
    for counts, slack in zip((side.slow, side.near, side.far), slacks, strict=True):
        above |= {int(edges[q]) + slack: counts[q, t, which] for q in QUANTILES}
    rows, failed = int(side.rows[t, which]), int(side.failed[t, which])
    return Bucket(
        start=START + t * timedelta(seconds=15),
        rows=rows,
        requests=rows,
        failed_rows=failed,
        failed=failed,
        latency=_histogram(rows, above),
        sessions=int(side.sessions[t, which]) if named else None,
        failing_sessions=int(side.failing[t, which]) if named else None,
    )


def _pairs(rollouts: Rollouts, which: int) -> list[Pair]:
    edges, named = rollouts.learned.edges[:, which], rollouts.learned.by_session
    pairs: list[Pair] = []
    for t in range(len(rollouts.canary.rows)):
        canary = _bucket(rollouts.canary, t, which, edges, (2, 5, 12), named=named)
        stable = _bucket(rollouts.stable, t, which, edges, (0, -1, 5), named=named)
        new, old = (
            Counts(total=int(own.total[t, which]), bad=int(own.bad[t, which]))
            for own in rollouts.own
        )
        pairs.append(
            Pair(
                start=canary.start,
                canary=canary,
                stable=stable,
                share=rollouts.cell.share,
                lag=timedelta(seconds=15 * rollouts.cell.scenario.delay),
                probes=(new, old),
            )
        )
    return pairs


def _learned(past: simulated.Learned, which: int) -> Learned:
    def three(values: Array) -> tuple[float, float, float]:
        return float(values[0]), float(values[1]), float(values[2])

    p50, p90, p99 = (int(edge) for edge in past.edges[:, which])
    return Learned(
        since=START - timedelta(hours=1),
        until=START,
        rows=int(past.rows[which]),
        failed_rows=int(past.failed[which]),
        edges=(p50, p90, p99),
        dispersion_errors=float(past.dispersion_errors[which]),
        dispersion_latency=three(past.dispersion_latency[:, which]),
        dispersion_traffic=float(past.dispersion_traffic[which]),
        wander=three(past.wander[:, which]),
        by_session=past.by_session,
        sessions=int(past.sessions[which]) if past.by_session else None,
        failing_sessions=int(past.failing[which]) if past.by_session else None,
        dispersion_sessions=float(past.dispersion_sessions[which]),
    )


def _question(rollouts: Rollouts, which: int) -> Question:
    return Question(
        limits=Limits(),
        learned=_learned(rollouts.learned, which),
        pairs=_pairs(rollouts, which),
        elapsed=timedelta(minutes=30),
        min_observation=timedelta(minutes=2),
        max_observation=None,
        provider_silence=timedelta(),
        provider_grace=timedelta(minutes=5),
    )


@pytest.mark.parametrize(
    "name",
    [
        "null 1 % | 10/s | 10 %",
        "x2 at 1 % | 100/s | 10 %",
        "p99 x2, the rest as before | 100/s | 10 %",
        "clumped errors, x5 at 1 % | 100/s | 10 %",
        "slot noise | 1000/s | 50 %",
        "leak from minute 10 | 1/s | 10 %",
        "x2 at 1 % | 10/s | 90 %",
        "silent from minute 10 | 10/s | 10 %",
        "100 % failing | 10/s | 100 %",
        "leak from minute 10 | 100/s | 100 %",
        "50 % failing, 120 s late | 100/s | 10 %",
    ],
)
def test_both_judges_find_the_same_evidence_in_every_bucket(name: str) -> None:
    (cell,) = chosen_cells(name)
    rollouts = simulate(cell, 2, np.random.default_rng(3))
    seen = slipway.view(rollouts)
    ours, errors, sound = slipway.evidence(seen), health.errors(seen), health.health(seen)
    for which in range(2):
        evidence, healthy = Memory().look(_question(rollouts, which))
        for signal in evidence.signals:
            if cell.split == 100 and signal.name.startswith("latency"):
                continue  # what of our own requests is slow the simulation draws, and does not read
            assert signal.course == pytest.approx(ours[signal.name][:, which], rel=1e-6), (
                signal.name
            )
        if cell.split == 100:
            assert healthy.tests["errors"] == pytest.approx(errors[-1, which], rel=1e-6)
        else:
            assert healthy.course == pytest.approx(sound[:, which], rel=1e-6)
            assert evidence.course == pytest.approx(ours["joint"][:, which], rel=1e-6)
