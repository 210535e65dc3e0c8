"""Log Analytics: queries for the builds of a workspace, or of a component."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from azure.monitor.query import LogsTable

from controller.adapters.azure import history_rows, kql_text, observation_rows
from controller.adapters.azure.log_query import LogQueries
from controller.adapters.bucket_grid import Grid
from controller.adapters.metric_rows import (
    OWN_METRICS,
    build_key,
    demand_counts,
    measurement,
    refused,
)
from controller.core.errors import ProviderError, QueryInvalidError
from controller.core.gate import Metric
from controller.core.telemetry import Mark
from controller.ports import BuildHistory, Measurement, Observation

_LATENESS: Final = timedelta(hours=2)  # rows older than this when they arrive are left out
_TOTAL: Final = timedelta(seconds=40)
_COMPONENT: Final = "/providers/microsoft.insights/components/"
_TABLES: Final = ("AppRequests", "AppDependencies", "AppExceptions")
_NO_EDGES: Final = (10**6,) * 3  # no bin is above
T = TypeVar("T")
Span = tuple[datetime, datetime]


class LogAnalytics:
    """Implements `Telemetry` on Azure Monitor Logs.

    Args:
        credential: aio token credential with the role Log Analytics Reader.
        endpoint: the query API.
        audience: whom tokens are for.
        total: how long one query may take altogether.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        credential: Any,
        *,
        endpoint: str = "https://api.loganalytics.io",
        audience: str = "https://api.loganalytics.io",
        total: timedelta = _TOTAL,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._queries = LogQueries(
            credential, endpoint=endpoint, audience=audience, total=total, **(options or {})
        )
        self._classic: dict[str, bool] = {}  # of components: whose names their tables have

    async def close(self) -> None:
        """Close what is open."""
        await self._queries.close()

    async def observe(
        self,
        source: str,
        *,
        builds: Sequence[Mark],
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Observation:
        """See `Telemetry.observe`."""
        parameters = _parameters(builds, probe_operations, since, until, bucket)
        query, table = await self._ask_ours(
            source, kql_text.RELEASES, parameters, _span(since, until)
        )
        rows = observation_rows.observation_rows(table)

        def read() -> Observation:
            found = observation_rows.buckets(rows, Grid(since, until, bucket))
            keys = {mark: build_key(mark) for mark in builds}
            return Observation(
                since=since,
                until=until,
                buckets={mark: found[key] for mark, key in keys.items() if key in found},
                query=query,
                newest=observation_rows.newest(rows),
                unversioned=observation_rows.unversioned(rows),
            )

        return _read(read)

    async def history(
        self,
        source: str,
        *,
        build: Mark,
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> BuildHistory:
        """See `Telemetry.history`. Two queries: what is slow must be known before it is counted."""
        parameters = _parameters([build], probe_operations, since, until, bucket)
        span = _span(since, until)
        first, table = await self._ask_ours(source, kql_text.LATENCIES, parameters, span)
        known = _read(lambda: history_rows.latencies(table))
        bins = zip((50, 90, 99), known.edges or _NO_EDGES, strict=True)
        edges = {f"Edge{percent}": f"long({index})" for percent, index in bins}
        second, cells = await self._ask_ours(
            source, kql_text.HISTORY, {**parameters, **edges}, span
        )
        return BuildHistory(
            since=since,
            until=until,
            bucket=bucket,
            cells=_read(lambda: history_rows.cells(cells, Grid(since, until, bucket))),
            edges=known.edges,
            by_session=known.by_session,
            query=f"{first}\n\n{second}",
        )

    async def measure(
        self,
        source: str,
        metric: Metric,
        *,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Measurement:
        """See `Telemetry.measure`."""
        demand_counts(metric)
        span = _span(since, until)
        try:
            if metric.query in OWN_METRICS:
                parameters = _parameters(builds, (), since, until, bucket)
                query, table = await self._ask_ours(source, metric.query, parameters, span)
            else:
                window = kql_text.window(since, until, span[0], bucket)
                named = {**window, "Builds": kql_text.keys(builds)}
                query = kql_text.lets(named) + metric.query
                table = await self._queries.ask(source, query, timespan=span)
        except QueryInvalidError as error:
            raise refused(metric, error) from error
        return measurement(
            metric,
            _read(lambda: [dict(zip(table.columns, row, strict=True)) for row in table.rows]),
            table.columns,
            builds={build_key(mark): mark for mark in builds},
            grid=Grid(since, until, bucket),
            query=query,
        )

    async def _ask_ours(
        self, source: str, name: str, parameters: kql_text.Parameters, span: Span
    ) -> tuple[str, LogsTable]:
        """Ask by the tables that the source has. Only a component may have the classic ones alone.

        Returns:
            The query that was answered, and the answer.
        """
        classic = self._classic.get(source, False)
        query = kql_text.query(name, parameters, classic=classic)
        try:
            table = await self._queries.ask(source, query, timespan=span)
        except QueryInvalidError as error:
            if classic or not _may_be_classic(source, error):
                raise
            classic = True
            query = kql_text.query(name, parameters, classic=classic)
            table = await self._queries.ask(source, query, timespan=span)
        self._classic[source] = classic
        return query, table


def _parameters(
    builds: Sequence[Mark],
    probe_operations: Sequence[str],
    since: datetime,
    until: datetime,
    bucket: timedelta,
) -> kql_text.Parameters:
    return {
        **kql_text.window(since, until, since - _LATENESS, bucket),
        "ProbeOperations": kql_text.dynamic(probe_operations),
        **kql_text.builds(builds),
    }


def _span(since: datetime, until: datetime) -> Span:
    """Return what the service may look at: rows arrive late, and clocks are off."""
    return since - _LATENESS, until + _LATENESS


def _may_be_classic(source: str, error: QueryInvalidError) -> bool:
    return _COMPONENT in source.lower() and any(table in error.what for table in _TABLES)


def _read(read: Callable[[], T]) -> T:
    """Return what *read* finds in an answer to a query of ours."""
    try:
        return read()
    except (TypeError, ValueError, OverflowError) as error:
        raise ProviderError(f"Log Analytics gave a value that is none: {error}.") from error
