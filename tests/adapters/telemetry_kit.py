"""Two stands for what `Telemetry` keeps: the memory twin, and Log Analytics on the sandbox."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.monitor import LogAnalytics
from controller.adapters.memory.telemetry import (
    MemoryTelemetry,
    Reported,
    ReportedCall,
    ReportedException,
    ReportedRequest,
)
from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.gate import Metric, MetricKind
from controller.core.telemetry import Mark
from controller.ports import BuildHistory, Measurement, Observation, Telemetry
from controller.verdict.buckets import Bucket, Counts
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


Answered = Mapping[str, object]  # one row of an answer


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def telemetry(self) -> Telemetry: ...

    async def report(self, *rows: Reported) -> None:
        """Let rows become visible, each at its time."""
        ...

    def strike(self, fault: Fault) -> None:
        """Let the next query meet *fault*; a lost response is a partial one."""
        ...

    def saying(self, rows: Sequence[Answered]) -> str:
        """Return a metric's query that answers with *rows*."""
        ...


class MemoryStand:
    """The twin."""

    def __init__(self) -> None:
        self.telemetry = MemoryTelemetry()

    async def report(self, *rows: Reported) -> None:
        self.telemetry.report(WORKSPACE, *rows)

    def strike(self, fault: Fault) -> None:
        struck = [fault]

        def forecast(_: str) -> Fault | None:
            return struck.pop() if struck else None

        self.telemetry.weather.forecast = forecast

    def saying(self, rows: Sequence[Answered]) -> str:
        text = f"script {len(self.telemetry.scripts)}"

        def script(*_: object) -> Sequence[Answered]:
            return rows

        self.telemetry.scripts[text] = script
        return text


class SandboxStand:
    """The adapter, its SDK, its query, over sockets."""

    def __init__(self, monitor: Monitor, authority: Authority) -> None:
        self.monitor = monitor
        self.telemetry = adapter(monitor.query_url, authority)

    async def report(self, *rows: Reported) -> None:
        for row in rows:
            table, columns = _stored(row)
            await self.monitor.insert(WORKSPACE, table, [columns], ingested_at=row.ingested)

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

    def saying(self, rows: Sequence[Answered]) -> str:
        prints = [
            "print " + ", ".join(f"{name} = {_literal(value)}" for name, value in row.items())
            for row in rows
        ]
        return f"union {', '.join(f'({one})' for one in prints)}"


def _stored(row: Reported) -> tuple[str, Mapping[str, object]]:
    columns: dict[str, object] = {
        "AppVersion": row.release,
        "AppRoleName": row.role,
        "AppRoleInstance": row.instance,
        "TimeGenerated": row.generated or row.ingested,
        "OperationName": row.operation,
        "OperationId": row.operation_id,
        "SyntheticSource": row.synthetic,
    }
    if isinstance(row, ReportedException):
        return "AppExceptions", columns
    columns |= {"Id": row.id, "Name": row.operation}
    if isinstance(row, ReportedCall):
        return "AppDependencies", columns | {"Success": row.success, "DependencyType": row.kind}
    assert isinstance(row, ReportedRequest)
    return "AppRequests", columns | {
        "ResultCode": row.code,
        "Success": row.success,
        "DurationMs": row.milliseconds,
        "ItemCount": row.count,
        "SessionId": row.session,
        "UserId": row.user,
    }


def _literal(value: object) -> str:
    """Return *value* in KQL."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, datetime):
        return f"datetime({value.isoformat()})"
    if isinstance(value, float):
        return f"real({'nan' if math.isnan(value) else value})"
    return "long(null)" if value is None else f"long({value})"


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


def call(seconds: float = 1, release: str = BLUE, **more: Any) -> ReportedCall:
    return ReportedCall(release=release, ingested=at(seconds), **more)


def thrown(seconds: float = 1, release: str = BLUE, **more: Any) -> ReportedException:
    return ReportedException(release=release, ingested=at(seconds), **more)


async def history(
    telemetry: Telemetry,
    *,
    build: str | Mark = BLUE,
    since: float = 0,
    until: float = 60,
    workspace: str = WORKSPACE,
    probes: Sequence[str] = (PROBE,),
) -> BuildHistory:
    return await telemetry.history(
        workspace,
        build=Mark(name=build) if isinstance(build, str) else build,
        probe_operations=probes,
        since=at(since),
        until=at(until),
        bucket=SIZE,
    )


async def measure(
    telemetry: Telemetry,
    query: str,
    *,
    kind: MetricKind = MetricKind.COUNTS,
    builds: Sequence[str | Mark] = RELEASES,
    since: float = 0,
    until: float = 60,
    workspace: str = WORKSPACE,
) -> Measurement:
    return await telemetry.measure(
        workspace,
        Metric(name="the-metric", query=query, kind=kind),
        builds=[Mark(name=b) if isinstance(b, str) else b for b in builds],
        since=at(since),
        until=at(until),
        bucket=SIZE,
    )


def counted(measurement: Measurement, build: str | Mark = BLUE) -> list[tuple[float, Counts]]:
    """Return the buckets of *build*, by their second."""
    mark = Mark(name=build) if isinstance(build, str) else build
    return [((start - T0).total_seconds(), c) for start, c in measurement.buckets.get(mark, ())]


def only(observation: Observation, build: str | Mark = BLUE) -> Bucket:
    (bucket,) = of(observation, build)
    return bucket


def of(observation: Observation, build: str | Mark = BLUE) -> Sequence[Bucket]:
    return observation.buckets[Mark(name=build) if isinstance(build, str) else build]
