"""Two stands for what `Telemetry` keeps: the memory twin, and Log Analytics on the sandbox."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.monitor import LogAnalytics
from controller.adapters.memory.telemetry import MemoryTelemetry, ReportedRequest
from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.telemetry import Mark
from controller.ports import Observation, Telemetry
from controller.verdict.buckets import Bucket
from sandbox.monitor import Monitor
from sandbox.tls import Authority
from tests.adapters.stands import Credential

WORKSPACE = "22222222-2222-2222-2222-222222222222"
AUDIENCE = "https://api.loganalytics.io"
T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIZE = timedelta(seconds=15)
RELEASES = ("sha256:blue", "sha256:green")
BLUE, GREEN = RELEASES
PROBE = "GET /health/ready"
ME = "controller"


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def telemetry(self) -> Telemetry: ...

    async def report(self, *rows: ReportedRequest) -> None:
        """Let rows become visible, each at its time."""
        ...

    def strike(self, fault: Fault) -> None:
        """Let the next query meet *fault*; a lost response is a partial one."""
        ...


class MemoryStand:
    """The twin."""

    def __init__(self) -> None:
        self.telemetry = MemoryTelemetry()

    async def report(self, *rows: ReportedRequest) -> None:
        self.telemetry.report(WORKSPACE, *rows)

    def strike(self, fault: Fault) -> None:
        self.telemetry.weather.script("observe", fault)


class SandboxStand:
    """The adapter, its SDK, its query, over sockets."""

    def __init__(self, monitor: Monitor, authority: Authority) -> None:
        self.monitor = monitor
        self.telemetry = adapter(monitor.query_url, authority)

    async def report(self, *rows: ReportedRequest) -> None:
        for row in rows:
            columns = {
                "AppVersion": row.release,
                "AppRoleName": row.role,
                "AppRoleInstance": row.instance,
                "Id": row.id,
                "TimeGenerated": row.generated or row.ingested,
                "Name": row.operation,
                "OperationName": row.operation,
                "ResultCode": row.code,
                "Success": row.success,
                "DurationMs": row.milliseconds,
                "ItemCount": row.count,
                "SessionId": row.session,
                "SyntheticSource": row.synthetic,
            }
            await self.monitor.insert(WORKSPACE, "AppRequests", [columns], ingested_at=row.ingested)

    def strike(self, fault: Fault) -> None:
        faults = self.monitor.faults
        if fault is Fault.LOST_RESPONSE:
            faults.cut_queries()
        elif fault is Fault.THROTTLED:
            faults.throttle_queries(retry_after_seconds=THROTTLED_FOR.total_seconds())
        elif fault is Fault.PERMANENT:
            self.monitor.denied.add(ME)
        else:
            faults.fail_queries(503)


def adapter(url: str, authority: Authority, **options: Any) -> LogAnalytics:
    return LogAnalytics(
        Credential(AUDIENCE),
        endpoint=url,
        options=connection_options(authority.ca_file),
        **options,
    )


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def row(seconds: float = 1, release: str = BLUE, **more: Any) -> ReportedRequest:
    return ReportedRequest(release=release, ingested=at(seconds), **more)


async def observe(
    telemetry: Telemetry,
    *,
    since: float = 0,
    until: float = 60,
    releases: Sequence[str | Mark] = RELEASES,
    workspace: str = WORKSPACE,
    probes: Sequence[str] = (PROBE,),
) -> Observation:
    return await telemetry.observe(
        workspace,
        builds=[Mark(name=r) if isinstance(r, str) else r for r in releases],
        probe_operations=probes,
        since=at(since),
        until=at(until),
        bucket=SIZE,
    )


def only(observation: Observation, build: str | Mark = BLUE) -> Bucket:
    (bucket,) = of(observation, build)
    return bucket


def of(observation: Observation, build: str | Mark = BLUE) -> Sequence[Bucket]:
    return observation.buckets[Mark(name=build) if isinstance(build, str) else build]
