"""What the stable build's past teaches: rates, thresholds, and how clumped its trouble is.

It is learned once, before the new build has its first user, and frozen: what happens during the
rollout must not move the thresholds by which the rollout is judged.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from controller.core.gate import Learned
from controller.verdict import dispersion

GROUPS: Final = 10
BUCKET: Final = timedelta(seconds=15)
BLOCK: Final = timedelta(seconds=60)  # of latency and traffic: a bucket holds too few
_LEAST_TRAFFIC: Final = 3.0  # dispersion, where nobody can tell sessions


class Cell(Protocol):
    """Rows of one tenth of a build's sessions in one bucket of its past."""

    @property
    def start(self) -> datetime:
        """When the bucket began."""
        ...

    @property
    def group(self) -> int:
        """0..9, by a hash of the session."""
        ...

    @property
    def rows(self) -> int:
        """Stored rows."""
        ...

    @property
    def failed_rows(self) -> int:
        """Those that failed."""
        ...

    @property
    def slow(self) -> tuple[int, int, int]:
        """Those slower than the bins of p50, p90, p99."""
        ...

    @property
    def sessions(self) -> int:
        """Distinct sessions."""
        ...

    @property
    def failing_sessions(self) -> int:
        """Those of them in which something failed."""
        ...


class _Sums:
    """Counts of one bucket or block, by group."""

    __slots__ = ("failed", "failing", "rows", "sessions", "slow")

    def __init__(self) -> None:
        self.rows = [0] * GROUPS
        self.failed = [0] * GROUPS
        self.sessions = [0] * GROUPS
        self.failing = [0] * GROUPS
        self.slow = [[0] * GROUPS for _ in range(3)]

    def add(self, cell: Cell) -> None:
        """Count *cell* in."""
        group = cell.group % GROUPS
        self.rows[group] += cell.rows
        self.failed[group] += cell.failed_rows
        self.sessions[group] += cell.sessions
        self.failing[group] += cell.failing_sessions
        for slow, count in zip(self.slow, cell.slow, strict=True):
            slow[group] += count


def learn(
    cells: Iterable[Cell],
    *,
    since: datetime,
    until: datetime,
    edges: tuple[int, int, int],
    by_session: bool,
) -> Learned:
    """Return what *cells* teach of a build, whatever their order.

    Args:
        cells: counts per bucket of 15 s and tenth of the sessions; cells without rows may lack.
        since: when the past that was looked at begins; cells outside it do not count.
        until: when it ends.
        edges: the bins of p50, p90 and p99 of latency that ``slow`` refers to.
        by_session: rows name sessions, so groups are groups of sessions. Else a group is a mix of
            everybody's requests: clumps of failures are bounded by their course over time instead.
    """
    inside = [cell for cell in cells if since <= cell.start < until]
    buckets, blocks = _summed(inside, since, BUCKET), _summed(inside, since, BLOCK)
    failed = [bucket.failed for bucket in buckets]
    failing = [bucket.failing for bucket in buckets]
    rows = [block.rows for block in blocks]
    p50, p90, p99 = (
        dispersion.of_exceedances([block.slow[index] for block in blocks], rows)
        for index in range(3)
    )
    of_errors, of_traffic = dispersion.of_failures(failed), dispersion.of_traffic(rows)
    if not by_session:
        of_errors = max(of_errors, dispersion.bounded_by_time(_by_time(failed, until - since)))
        of_traffic = max(of_traffic, _LEAST_TRAFFIC)
    return Learned(
        since=since,
        until=until,
        rows=sum(cell.rows for cell in inside),
        failed_rows=sum(cell.failed_rows for cell in inside),
        edges=edges,
        dispersion_errors=of_errors,
        dispersion_latency=(p50, p90, p99),
        dispersion_traffic=of_traffic,
        wander=(_wander(blocks, 0), _wander(blocks, 1), _wander(blocks, 2)),
        sessions=sum(cell.sessions for cell in inside) if by_session else None,
        failing_sessions=sum(cell.failing_sessions for cell in inside) if by_session else None,
        dispersion_sessions=dispersion.of_failures(failing) if by_session else 1.0,
        by_session=by_session,
    )


def _wander(blocks: Sequence[_Sums], index: int) -> float:
    slow = [sum(block.slow[index]) for block in blocks]
    return dispersion.wander_of(slow, [sum(block.rows) for block in blocks])


def _summed(cells: Iterable[Cell], since: datetime, span: timedelta) -> list[_Sums]:
    """Return the sums per *span* with any cell, oldest first."""
    sums: defaultdict[int, _Sums] = defaultdict(_Sums)
    for cell in cells:
        sums[(cell.start - since) // span].add(cell)
    return [sums[index] for index in sorted(sums)]


def _by_time(failed: Sequence[Sequence[int]], span: timedelta) -> list[int]:
    """Return failures per bucket, with zeros for the buckets of *span* in which nothing came."""
    totals = [sum(groups) for groups in failed]
    return totals + [0] * max(-(-span // BUCKET) - len(totals), 0)
