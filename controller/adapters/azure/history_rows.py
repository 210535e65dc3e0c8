"""From the rows that queries/latencies.kql and queries/history.kql answer with to a history."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from azure.monitor.query import LogsTable

from controller.adapters.azure.observation_rows import Row, table_rows
from controller.adapters.bucket_grid import Grid
from controller.ports import HistoryCell
from controller.verdict.histogram import Edges, edges_of

_GROUPS: Final = 10
_LATENCIES: Final = ("LatencyBin", "Rows", "SessionRows")
_CELLS: Final = (
    "Bucket",
    "Group",
    "Rows",
    "FailedRows",
    "Slow50",
    "Slow90",
    "Slow99",
    "Sessions",
    "FailingSessions",
)


class Latencies(NamedTuple):
    """What must be known before slow rows can be counted."""

    edges: Edges | None
    by_session: bool


def latencies(table: LogsTable) -> Latencies:
    """Read the answer to latencies.kql."""
    found = table_rows(table, _LATENCIES)
    all_rows = sum(int(row["Rows"]) for row in found)
    in_sessions = sum(int(row["SessionRows"]) for row in found)
    histogram = {
        int(row["LatencyBin"]): int(row["Rows"]) for row in found if row["LatencyBin"] is not None
    }
    return Latencies(
        edges=edges_of(histogram),
        by_session=0 < all_rows <= 2 * in_sessions,
    )


def cells(table: LogsTable, grid: Grid) -> Sequence[HistoryCell]:
    """Read the answer to history.kql, oldest first.

    Raises:
        TypeError, ValueError: a value in it is none.
    """
    found = [_cell(row, grid) for row in table_rows(table, _CELLS)]
    return sorted(found, key=lambda cell: (cell.start, cell.group))


def _cell(row: Row, grid: Grid) -> HistoryCell:
    group = int(row["Group"])
    if not 0 <= group < _GROUPS:
        raise ValueError(f"there is no group {group}")
    return HistoryCell(
        start=grid.start_of(row["Bucket"]),
        group=group,
        rows=int(row["Rows"]),
        failed_rows=int(row["FailedRows"]),
        slow=(int(row["Slow50"]), int(row["Slow90"]), int(row["Slow99"])),
        sessions=int(row["Sessions"]),
        failing_sessions=int(row["FailingSessions"]),
    )
