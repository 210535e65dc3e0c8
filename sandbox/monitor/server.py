"""Azure Monitor on loopback: telemetry in, KQL out."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from sandbox.monitor.faults import MonitorFaults
from sandbox.monitor.ingestion import Ingestion, Resource
from sandbox.monitor.metrics import Metrics
from sandbox.monitor.query import Queries, QueryRecord
from sandbox.monitor.store import Row, Store
from sandbox.tls import Authority
from sandbox.web import WebServer

DEFAULT_RESOURCE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/sandbox"
    "/providers/Microsoft.Insights/components/sandbox"
)
_KEPT_ROWS: Final = 200_000
# What the exporter would send elsewhere: usage statistics and remote configuration.
_NO_CALLS_HOME: Final = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
}


class UnknownWorkspaceError(Exception):
    """There is no workspace of that id."""


class Monitor:
    """Application Insights' ingestion and Log Analytics' queries over *workspaces* (their ids).

    Ingestion is plain http and asks for no token, as with an instrumentation key. Queries need
    https and a token for ``https://api.loganalytics.io``, platform metrics one for
    ``https://metrics.monitor.azure.com``. Of each table the newest *kept_rows*
    are kept, over all workspaces.

    Differences from Azure: KQL is what duckdb-kql translates (no ``percentilew``, ``bin_at``,
    ``dcount_hll`` and others: answered with 400 and a text that says so); functions, saved
    queries, ``workspace()`` and ``app()`` do not exist; no client location is looked up; ingestion
    takes no time unless asked to; there is no limit on concurrent queries.
    """

    def __init__(
        self, authority: Authority, *, workspaces: Sequence[str], kept_rows: int = _KEPT_ROWS
    ) -> None:
        self.faults = MonitorFaults()
        self._workspaces = set(workspaces)
        self._store = Store(kept_rows=kept_rows)
        self._ingestion = Ingestion(self._store, self.faults)
        self._queries = Queries(self._store, self.faults, self._workspaces)
        self._ingestion_server = WebServer(self._ingestion.application())
        self._query_server = WebServer(self._queries.application(), tls=authority.server_context())
        self.metrics = Metrics(self.faults)
        self._metrics_server = WebServer(self.metrics.application(), tls=authority.server_context())

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def query_url(self) -> str:
        """The endpoint for queries, without ``/v1``. Meaningful after `start`."""
        return self._query_server.url

    @property
    def ingestion_url(self) -> str:
        """The endpoint for telemetry. Meaningful after `start`."""
        return self._ingestion_server.url

    @property
    def metrics_url(self) -> str:
        """The endpoint for platform metrics, of every region. Meaningful after `start`."""
        return self._metrics_server.url

    @property
    def denied(self) -> set[str]:
        """Object ids of identities without a role on any workspace. Add to it freely."""
        return self._queries.denied

    @property
    def classic(self) -> set[str]:
        """Components (ids in lower case) whose own scope has the classic tables only."""
        return self._queries.classic

    @property
    def queries(self) -> Sequence[QueryRecord]:
        """The newest queries received, oldest first, each item of a batch for itself."""
        return tuple(self._queries.records)

    @property
    def items_accepted(self) -> int:
        """How many telemetry items were accepted, lost and sampled ones included."""
        return self._ingestion.accepted

    async def start(self, *, query_port: int = 0, ingestion_port: int = 0) -> None:
        """Listen on the given ports, or on free ones."""
        await self._store.open()
        await self._query_server.start(query_port)
        await self._ingestion_server.start(ingestion_port)
        await self._metrics_server.start()
        await self.metrics.start()

    async def stop(self) -> None:
        """Stop listening and forget everything. Safe twice."""
        await self.metrics.stop()
        await self._metrics_server.stop()
        await self._ingestion_server.stop()
        await self._query_server.stop()
        await self._store.close()

    def connection_string(self, workspace: str, *, resource_id: str = DEFAULT_RESOURCE) -> str:
        """Return what an app needs to send its telemetry to *workspace*.

        Each pair of workspace and resource has its own instrumentation key, always the same.

        Raises:
            UnknownWorkspaceError: there is no such workspace.
        """
        self._require(workspace)
        key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{workspace}{resource_id.lower()}"))
        self._ingestion.resources[key] = Resource(key, workspace, resource_id)
        self._queries.resources.add(resource_id.lower())
        return (
            f"InstrumentationKey={key};IngestionEndpoint={self.ingestion_url}/;"
            f"LiveEndpoint={self.ingestion_url}/"
        )

    def environment(self, workspace: str, *, resource_id: str = DEFAULT_RESOURCE) -> dict[str, str]:
        """Return the variables with which an instrumented child reports here, and only here."""
        connection_string = self.connection_string(workspace, resource_id=resource_id)
        return {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection_string, **_NO_CALLS_HOME}

    async def insert(
        self,
        workspace: str,
        table: str,
        rows: Sequence[Row],
        *,
        ingested_at: dt.datetime | None = None,
    ) -> None:
        """Put *rows* into *table* directly; no fault applies to them.

        A row is a mapping of columns. Missing ones are empty, ItemCount is 1, and TimeGenerated
        is *ingested_at*, which is now unless given.

        Raises:
            UnknownColumnError, UnknownWorkspaceError: no such thing.
        """
        self._require(workspace)
        at = ingested_at or dt.datetime.now(dt.UTC)
        defaults: Mapping[str, object] = {
            "TimeGenerated": at,
            "ItemCount": 1,
            "TenantId": workspace,
            "Type": table,
            "_ResourceId": DEFAULT_RESOURCE.lower(),
        }
        for row in rows:
            self._store.add(workspace, table, {**defaults, **row}, at)
        await self._store.settle()

    async def count(self, workspace: str, table: str) -> int:
        """Return the rows of *table*, those included that are not visible yet."""
        self._require(workspace)
        return await self._store.count(workspace, table)

    def _require(self, workspace: str) -> None:
        if workspace not in self._workspaces:
            raise UnknownWorkspaceError(f"There is no workspace {workspace!r}.")
