"""What the query of a metric may answer with, and how it becomes counts.

The query may be anybody's, so nothing in its answer is taken on trust: one odd row, and the whole
answer is none. The message names the metric and says what is odd.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from controller.adapters.bucket_grid import Grid
from controller.core.errors import QueryInvalidError
from controller.core.gate import Metric, MetricKind
from controller.core.telemetry import Mark
from controller.ports import Measurement
from controller.verdict.buckets import Counts

OWN_METRICS: Final = frozenset({"dependencies", "exceptions"})  # queries by name
COLUMNS: Final[Mapping[MetricKind, tuple[str, ...]]] = {
    MetricKind.COUNTS: ("Build", "Bucket", "Total", "Bad"),
    MetricKind.HISTOGRAM: ("Build", "Bucket", "Bin", "Total"),
}
_LAST_BIN: Final = 40 * 310  # beyond what a real number can be
_LARGEST: Final = 2**53  # a real number is exact up to here
_SHOWN: Final = 100
Row = Mapping[str, Any]


class _OddError(Exception):
    """What is odd, as the end of a sentence about the metric's query."""


class _Cell(NamedTuple):
    build: Mark
    start: datetime
    bin: int | None
    total: int
    bad: int


def measurement(
    metric: Metric,
    rows: Iterable[Row],
    columns: Sequence[str],
    *,
    builds: Mapping[str, Mark],
    grid: Grid,
    query: str,
) -> Measurement:
    """Return what *rows* say of *builds* (by what ``Build`` calls them).

    Raises:
        QueryInvalidError: they are not what a metric's query must answer with.
    """
    try:
        _demand(COLUMNS[metric.kind], columns)
        cells = [_cell(metric.kind, row, builds, grid) for row in rows]
        return Measurement(buckets=_buckets(cells), query=query)
    except _OddError as odd:
        raise _invalid(metric, f"The query of metric {metric.name!r} {odd}.") from odd


def build_key(mark: Mark) -> str:
    """Return what queries call a build: the `Key` of queries/by_any.kql, a string in `Builds`."""
    return "|".join((str(mark.by.value), mark.name, *([mark.role] if mark.role else [])))


def demand_counts(metric: Metric) -> None:
    """Refuse a histogram of one of our own metrics.

    Raises:
        QueryInvalidError: it asks for one.
    """
    if metric.query in OWN_METRICS and metric.kind is not MetricKind.COUNTS:
        raise QueryInvalidError(
            f"Metric {metric.name!r}: {metric.query} counts; it has no histogram.",
            fix="Set its kind to counts.",
        )


def refused(metric: Metric, error: QueryInvalidError) -> QueryInvalidError:
    """Return what *error* means for a metric: a query of ours is right, so the source is wrong."""
    what = f"Metric {metric.name!r}: {error.what}"
    if metric.query in OWN_METRICS:
        return QueryInvalidError(what, fix=error.fix)
    return _invalid(metric, what)


def _invalid(metric: Metric, what: str) -> QueryInvalidError:
    wanted = ", ".join(COLUMNS[metric.kind])
    return QueryInvalidError(
        what, fix=f"Correct its query: it must return {wanted}, as described for {metric.kind}."
    )


def _demand(wanted: Sequence[str], columns: Sequence[str]) -> None:
    if missing := [name for name in wanted if name not in columns]:
        raise _OddError(f"has no column {', '.join(missing)}")


def _cell(kind: MetricKind, row: Row, builds: Mapping[str, Mark], grid: Grid) -> _Cell:
    build = builds.get(row["Build"]) if isinstance(row["Build"], str) else None
    if build is None:
        raise _OddError(f"names a build that is not in Builds: {_shown(row['Build'])}")
    try:
        start = grid.start_of(row["Bucket"])
    except (TypeError, ValueError, OverflowError) as error:
        raise _OddError(f"is off the grid of From and BucketSize: {error}") from error
    total = _count(row, "Total")
    if kind is MetricKind.HISTOGRAM:
        return _Cell(build, start, _bin(row), total, 0)
    bad = _count(row, "Bad")
    if bad > total:
        raise _OddError(f"counts more Bad ({bad}) than Total ({total})")
    return _Cell(build, start, None, total, bad)


def _count(row: Row, name: str) -> int:
    number = _whole(row, name)
    if not 0 <= number <= _LARGEST:
        raise _OddError(f"has a {name} that is no count: {_shown(row[name])}")
    return number


def _bin(row: Row) -> int:
    number = _whole(row, "Bin")
    if abs(number) > _LAST_BIN:
        raise _OddError(f"has a Bin that no value can be in: {number}")
    return number


def _whole(row: Row, name: str) -> int:
    """A real number may be whole, too: what a sum over reals gives."""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise _OddError(f"has a {name} that is no whole number: {_shown(value)}")
    return int(value)


def _buckets(cells: Sequence[_Cell]) -> dict[Mark, list[tuple[datetime, Counts]]]:
    by_bucket: dict[tuple[Mark, datetime], dict[int | None, _Cell]] = {}
    for cell in cells:
        bins = by_bucket.setdefault((cell.build, cell.start), {})
        if cell.bin in bins:
            of_bin = "" if cell.bin is None else f" and bin {cell.bin}"
            raise _OddError(f"has two rows for {cell.build} at {cell.start}{of_bin}")
        bins[cell.bin] = cell
    found: dict[Mark, list[tuple[datetime, Counts]]] = {}
    for (build, start), bins in sorted(by_bucket.items(), key=lambda item: item[0][1]):
        found.setdefault(build, []).append((start, _counts(bins)))
    return found


def _counts(bins: Mapping[int | None, _Cell]) -> Counts:
    return Counts(
        total=sum(cell.total for cell in bins.values()),
        bad=sum(cell.bad for cell in bins.values()),
        histogram={place: cell.total for place, cell in bins.items() if place is not None},
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
