"""Azure Monitor's metrics data plane: `POST /subscriptions/{s}/metrics:getBatch`.

Numbers are put in by tests, or counted by a source such as a front door. A minute about which
nothing is known has no number: not zero.
"""

import asyncio
import contextlib
import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from sandbox.monitor.faults import MonitorFaults
from sandbox.tokens import TokenRefusedError, check

METRICS_AUDIENCE: Final = "https://metrics.monitor.azure.com"
_NAMESPACES: Final = frozenset({"microsoft.web/sites", "microsoft.web/sites/slots"})
_COARSE: Final = frozenset({"HealthCheckStatus"})  # no grain below five minutes
_UNITS: Final = {"HttpResponseTime": "Seconds"}
_GRAINS: Final = {"PT1M": 1, "PT5M": 5}
_SAMPLE_SECONDS: Final = 0.5
_KEPT_RECORDS: Final = 1000
_MINUTE: Final = dt.timedelta(minutes=1)
Json = dict[str, Any]
Counted = Mapping[tuple[str, str], float]  # (resource id, metric) -> total so far
_TEXTS: Final = {403: "AuthorizationFailed", 429: "TooManyRequests"}


@dataclass(slots=True)
class _Point:
    """Measurements of one metric in one minute."""

    total: float = 0.0
    count: int = 0

    def aggregations(self) -> dict[str, float]:
        return {"total": self.total, "average": self.total / self.count}


@dataclass(frozen=True, slots=True)
class MetricsRecord:
    """A request that was received, and how it was answered."""

    resources: tuple[str, ...]
    namespace: str
    names: tuple[str, ...]
    status: int


class MetricsError(Exception):
    """A refusal in the form the service gives it."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@dataclass(slots=True)
class Metrics:
    """Metrics by resource. An identity (object id) in `denied` may read none.

    `sources` are asked for their totals twice a second; what came since goes to that minute.
    """

    faults: MonitorFaults
    denied: set[str] = field(default_factory=set[str])
    sources: list[Callable[[], Counted]] = field(default_factory=list[Callable[[], Counted]])
    records: deque[MetricsRecord] = field(
        default_factory=lambda: deque[MetricsRecord](maxlen=_KEPT_RECORDS)
    )
    _points: dict[tuple[str, str], dict[dt.datetime, _Point]] = field(
        default_factory=dict[tuple[str, str], dict[dt.datetime, _Point]]
    )
    _last: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    _sampler: asyncio.Task[None] | None = None

    def application(self) -> web.Application:
        """Return the API as a web application."""
        app = web.Application()
        app.router.add_post("/subscriptions/{subscription}/metrics:getBatch", self._get_batch)
        return app

    def put(self, resource: str, at: dt.datetime, **values: float) -> None:
        """Measure *values* (metric=number) of *resource* in the minute of *at*."""
        minute = at.astimezone(dt.UTC).replace(second=0, microsecond=0)
        for name, value in values.items():
            points = self._points.setdefault((resource.lower(), name), {})
            point = points.setdefault(minute, _Point())
            point.total += value
            point.count += 1

    async def start(self) -> None:
        """Begin to sample the sources."""
        self._sampler = asyncio.create_task(self._sample_for_ever())

    async def stop(self) -> None:
        """End that. Safe twice."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampler

    async def _sample_for_ever(self) -> None:
        while True:
            self._sample()
            await asyncio.sleep(_SAMPLE_SECONDS)

    def _sample(self) -> None:
        now = dt.datetime.now(dt.UTC)
        for source in self.sources:
            for (resource, name), total in source().items():
                before = self._last.get((resource, name), 0.0)
                self._last[resource, name] = total
                if total > before:
                    self.put(resource, now, **{name: total - before})

    async def _get_batch(self, request: web.Request) -> web.Response:
        query = request.query
        names = tuple(query.get("metricnames", "").split(","))
        namespace = query.get("metricnamespace", "")
        resources: tuple[str, ...] = ()
        try:
            self._authorize(request)
            await self._strike()
            resources = tuple((await request.json())["resourceids"])
            body = self._answer(resources, namespace, names, query)
            status, headers = 200, dict[str, str]()
        except MetricsError as error:
            status, headers = error.status, error.headers
            body = {"error": {"code": error.code, "message": str(error)}}
        self.records.append(MetricsRecord(resources, namespace, names, status))
        return web.json_response(body, status=status, headers=headers)

    def _authorize(self, request: web.Request) -> None:
        try:
            claims = check(request.headers.get("Authorization", ""), METRICS_AUDIENCE)
        except TokenRefusedError as error:
            raise MetricsError(401, "InvalidAuthenticationToken", str(error)) from error
        if claims.get("oid") in self.denied:
            raise MetricsError(
                403,
                "AuthorizationFailed",
                "The client does not have authorization to perform action "
                "'microsoft.insights/metrics/read' over the subscription's scope.",
            )

    async def _strike(self) -> None:
        fault = self.faults.next_metrics()
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault.hangs:
            await asyncio.Event().wait()  # until the client gives up, or the server stops
        if fault.status != 200:
            after = fault.retry_after_seconds
            headers = {} if after is None else {"Retry_After": f"{after:g}"}
            code = _TEXTS.get(fault.status, "ServiceError")
            raise MetricsError(fault.status, code, "As planned.", **headers)

    def _answer(
        self,
        resources: Iterable[str],
        namespace: str,
        names: tuple[str, ...],
        query: Mapping[str, str],
    ) -> Json:
        if namespace.lower() not in _NAMESPACES:
            raise MetricsError(400, "BadRequest", f"Unknown metric namespace {namespace!r}.")
        interval = query.get("interval", "PT1M")
        minutes = _GRAINS.get(interval)
        if minutes is None or (minutes < 5 and _COARSE & set(names)):
            raise MetricsError(400, "BadRequest", f"Time grain {interval} is not supported.")
        start, end = (dt.datetime.fromisoformat(query[key]) for key in ("starttime", "endtime"))
        values = [
            {
                "starttime": query["starttime"],
                "endtime": query["endtime"],
                "interval": interval,
                "namespace": namespace,
                "resourceregion": "sandbox",
                "resourceid": resource,
                "value": [
                    self._metric(resource, name, start, end, minutes * _MINUTE) for name in names
                ],
            }
            for resource in resources
        ]
        return {"values": values}

    def _metric(
        self, resource: str, name: str, start: dt.datetime, end: dt.datetime, grain: dt.timedelta
    ) -> Json:
        code = self.faults.metric_errors.get(name, "Success")
        visible = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=self.faults.metrics_delay_seconds)
        points = self._points.get((resource.lower(), name), {})
        data: list[Json] = []
        at = _floor(start, grain)
        while at < end:
            found = [p for m, p in points.items() if at <= m < at + grain and m <= visible]
            whole = _Point(sum(p.total for p in found), sum(p.count for p in found))
            numbers = whole.aggregations() if whole.count else {}
            data.append({"timeStamp": at.isoformat().replace("+00:00", "Z"), **numbers})
            at += grain
        return {
            "id": f"{resource}/providers/Microsoft.Insights/metrics/{name}",
            "type": "Microsoft.Insights/metrics",
            "name": {"value": name, "localizedValue": name},
            "displayDescription": name,
            "unit": _UNITS.get(name, "Count"),
            "timeseries": [{"metadatavalues": [], "data": data}] if code == "Success" else [],
            "errorCode": code,
        }


def _floor(at: dt.datetime, grain: dt.timedelta) -> dt.datetime:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (at - midnight) // grain * grain
