"""Application Insights' ingestion endpoint: `POST /v2.1/track`."""

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from aiohttp import web

from sandbox.monitor.envelopes import Columns, EnvelopeError, instrumentation_key, rows
from sandbox.monitor.faults import MonitorFaults
from sandbox.monitor.store import Store

_LARGEST_BODY: Final = 64 << 20  # after decompression
_NOT_WATCHED: Final = {"x-ms-qps-subscribed": "false"}


@dataclass(frozen=True, slots=True)
class Resource:
    """One Application Insights resource; its instrumentation key is its identity."""

    key: str
    workspace: str
    resource_id: str

    def stamp(self, columns: Columns) -> Columns:
        """Return *columns* with what the service adds about itself."""
        subscription = self.resource_id.strip("/").split("/")[1:2]
        return {
            **columns,
            "ResourceGUID": self.key,
            "TenantId": self.workspace,
            "_ResourceId": self.resource_id.lower(),
            "_SubscriptionId": "".join(subscription),
        }


class Ingestion:
    """Takes telemetry of the resources in `resources` (by instrumentation key)."""

    def __init__(self, store: Store, faults: MonitorFaults) -> None:
        self.resources: dict[str, Resource] = {}
        self.received = 0
        self.accepted = 0
        self._store = store
        self._faults = faults

    def application(self) -> web.Application:
        """Return the endpoint as a web application."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        for version in ("v2.1", "v2"):
            app.router.add_post(f"/{{slashes:/?}}{version}/track", self._track)
        # Live Metrics asks whether somebody watches: nobody does.
        app.router.add_post("/QuickPulseService.svc/{call}", _live_metrics)
        return app

    async def _track(self, request: web.Request) -> web.Response:
        if self._faults.ingestion_answers:
            return _answer(self._faults.ingestion_answers.popleft(), 0, 0, [])
        try:
            envelopes = _parse(await request.read())  # aiohttp has decompressed it
        except (ValueError, RecursionError):
            return _answer(400, 0, 0, [_error(0, "Invalid JSON")])
        errors = list(self._take(envelopes))
        await self._store.settle()
        accepted = len(envelopes) - len(errors)
        self.received += len(envelopes)
        self.accepted += accepted
        status = 200 if not errors else 206 if accepted else 400
        return _answer(status, len(envelopes), accepted, errors)

    def _take(self, envelopes: list[object]) -> Iterable[dict[str, object]]:
        """Store what is valid and yield the others' errors."""
        delay = dt.timedelta(seconds=self._faults.ingestion_delay_seconds)
        ingested_at = dt.datetime.now(dt.UTC) + delay
        for index, envelope in enumerate(envelopes):
            resource = self.resources.get(instrumentation_key(envelope).lower())
            if resource is None:
                yield _error(index, "Invalid instrumentation key")
                continue
            try:
                self._store_one(resource, envelope, ingested_at)
            except EnvelopeError as error:
                yield _error(index, str(error))

    def _store_one(self, resource: Resource, envelope: object, at: dt.datetime) -> None:
        table, found = rows(envelope)
        weight = self._faults.kept_weight()
        if not weight:
            return
        skew = dt.timedelta(seconds=self._faults.clock_skew_seconds)
        for each in found * self._faults.copies:
            columns = {**each, "TimeGenerated": cast("dt.datetime", each["TimeGenerated"]) + skew}
            if table != "AppMetrics":  # metrics are never sampled
                columns["ItemCount"] = cast("int", columns["ItemCount"]) * weight
            self._store.add(resource.workspace, table, resource.stamp(columns), at)


async def _live_metrics(_: web.Request) -> web.Response:
    return web.Response(headers=_NOT_WATCHED)


def _parse(body: bytes) -> list[object]:
    """Return the envelopes of a JSON array, of one object, or of one object per line."""
    text = body.decode().strip()
    if text.startswith("["):
        array: list[object] = json.loads(text)
        return array
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def _error(index: int, message: str) -> dict[str, object]:
    return {"index": index, "statusCode": 400, "message": message}


def _answer(
    status: int, received: int, accepted: int, errors: list[dict[str, object]]
) -> web.Response:
    body: dict[str, Any] = {
        "itemsReceived": received,
        "itemsAccepted": accepted,
        "appId": None,
        "errors": errors,
    }
    return web.json_response(body, status=status)
