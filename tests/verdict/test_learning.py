"""What stable's past teaches: sums, and how clumped each kind of trouble is."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.core.gate import Learned
from controller.ports import HistoryCell
from controller.verdict.learning import BUCKET, GROUPS, learn

SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=1)
EDGES = (80, 100, 120)


@st.composite
def cell(draw: st.DrawFn) -> HistoryCell:
    rows = draw(st.integers(0, 10**9))
    part = st.integers(0, rows)
    sessions = draw(part)
    return HistoryCell(
        start=SINCE + BUCKET * draw(st.integers(0, 239)),
        group=draw(st.integers(0, GROUPS - 1)),
        rows=rows,
        failed_rows=draw(part),
        slow=(draw(part), draw(part), draw(part)),
        sessions=sessions,
        failing_sessions=draw(st.integers(0, sessions)),
    )


def taught(cells: list[HistoryCell], *, by_session: bool = True) -> Learned:
    return learn(cells, since=SINCE, until=UNTIL, edges=EDGES, by_session=by_session)


def hour(failures_each: int = 1, seed: int = 3) -> list[HistoryCell]:
    """An hour at ten requests a second, of which one in a hundred begins a clump of failures."""
    dice = random.Random(seed)  # noqa: S311 - a simulation
    cells: list[HistoryCell] = []
    for index in range(240):
        for group in range(GROUPS):
            failing = sum(dice.random() < 0.01 for _ in range(15))
            cells.append(
                HistoryCell(
                    start=SINCE + BUCKET * index,
                    group=group,
                    rows=15,
                    failed_rows=failing * failures_each,
                    slow=tuple(sum(dice.random() < q for _ in range(15)) for q in (0.5, 0.1, 0.01)),
                    sessions=12,
                    failing_sessions=failing,
                )
            )
    return cells


@given(
    cells=st.lists(cell(), max_size=9),
    by_session=st.booleans(),
    dice=st.randoms(use_true_random=False),
)
def test_it_depends_on_the_counts_alone(
    *, cells: list[HistoryCell], by_session: bool, dice: random.Random
) -> None:
    """Whatever the counts are: sums are right, dispersions in range, and order does not matter."""
    found = taught(cells, by_session=by_session)
    mixed = list(cells)
    dice.shuffle(mixed)

    assert taught(mixed, by_session=by_session) == found
    assert found.rows == sum(cell.rows for cell in cells)
    assert found.failed_rows == sum(cell.failed_rows for cell in cells)
    assert found.edges == EDGES
    assert 1 <= found.dispersion_errors <= 30
    assert 1 <= found.dispersion_sessions <= 30
    assert all(1 <= each <= 50 for each in (*found.dispersion_latency, found.dispersion_traffic))


def test_an_ordinary_hour_is_hardly_clumped() -> None:
    """Independent failures, slowness and even traffic leave the evidence nearly whole."""
    found = taught(hour())

    assert found.dispersion_errors < 1.3
    assert found.dispersion_sessions == found.dispersion_errors
    assert all(each < 1.2 for each in found.dispersion_latency)
    assert found.dispersion_traffic < 1.6
    assert found.by_session
    assert (found.rows, found.sessions) == (36_000, 28_800)
    assert found.failed_rows == found.failing_sessions == sum(c.failed_rows for c in hour())


def test_retries_clump_rows_but_not_sessions() -> None:
    """Eight failures per failing session: rows are worth an eighth, sessions are worth one."""
    found = taught(hour(failures_each=8))

    assert found.dispersion_errors == pytest.approx(8, rel=0.25)
    assert found.dispersion_sessions < 1.3


def test_without_sessions_clumps_are_bounded() -> None:
    """Nobody can tell who failed: no sessions are known, and clumps show in the course of time."""
    spread = [
        replace(each, failed_rows=1 if each.start.minute % 10 == 0 else 0, sessions=0)
        for each in hour()
    ]
    found = taught(spread, by_session=False)

    assert taught(spread).dispersion_errors < 1.1  # all groups alike: a shock, or one who retries
    assert found.dispersion_errors == 8.0
    assert found.dispersion_traffic == 3.0
    assert (found.sessions, found.failing_sessions, found.dispersion_sessions) == (None, None, 1.0)
    assert not found.by_session


def test_buckets_without_rows_count_as_buckets_without_failures() -> None:
    """A build that is asked seldom fails in few buckets: the silence between them is known too."""
    cells = [
        HistoryCell(start=SINCE + BUCKET * index, group=0, rows=4, failed_rows=4)
        for index in range(0, 240, 24)
    ]

    assert taught(cells, by_session=False).dispersion_errors > 3


def test_a_minute_is_a_block_of_latency() -> None:
    """Four buckets make a block: what evens out within a minute is not clumped."""
    dice = random.Random(8)  # noqa: S311 - a simulation
    cells = [
        HistoryCell(
            start=SINCE + BUCKET * index,
            group=group,
            rows=100,
            failed_rows=0,
            slow=(50, 10, 4 if (index + group) % 4 == 0 else 0),
        )
        for index in range(240)
        for group in range(GROUPS)
    ]
    dice.shuffle(cells)

    assert taught(cells).dispersion_latency[2] == 1.0


def test_what_lies_outside_does_not_count() -> None:
    """Cells before and after the past that was asked for are left out."""
    inside = hour()
    late, early = (replace(inside[0], start=start) for start in (UNTIL, SINCE - BUCKET))

    assert taught([early, *inside, late]) == taught(inside)


def test_nothing_is_learned_from_nothing() -> None:
    """No rows give no rate, and dispersions of somebody who knows nothing."""
    found = taught([])

    assert (found.rows, found.failed_rows) == (0, 0)
    assert found.dispersion_errors == 2.0
    assert found.dispersion_latency == (1.2, 1.2, 1.2)
    assert found.dispersion_traffic == 3.0
