"""The Event Grid extension's webhook: ``/runtime/webhooks/eventgrid?functionName=&code=``."""

import asyncio
import json
import logging
from typing import Any, cast

from aiohttp import web

from sandbox.functions_host.http_trigger import HttpFront
from sandbox.functions_host.messages import TypedData
from sandbox.functions_host.worker import Function, FunctionFailedError, Worker

_log = logging.getLogger("host.event_grid")


def add_event_grid(front: HttpFront, worker: Worker) -> None:
    """Serve the webhook for every function with an Event Grid trigger."""
    triggered = {
        function.name.lower(): function
        for function in worker.functions
        if function.trigger_type == "eventgridtrigger"
    }

    async def webhook(request: web.Request) -> web.Response:
        name = request.query.get("functionName", "")
        function = triggered.get(name.lower())
        if function is None:
            return web.Response(status=404, text=f"cannot find function: '{name}'")
        if request.method == "OPTIONS":
            return _cloud_events_handshake(request)
        return await _accept(request, worker, function)

    if triggered:
        front.add("runtime/webhooks/eventgrid", webhook, level="system")


def _cloud_events_handshake(request: web.Request) -> web.Response:
    return web.Response(
        headers={
            "WebHook-Allowed-Origin": request.headers.get("WebHook-Request-Origin", "*"),
            "WebHook-Allowed-Rate": "*",
        }
    )


async def _accept(request: web.Request, worker: Worker, function: Function) -> web.Response:
    kind = request.headers.get("aeg-event-type", "").lower()
    if kind == "unsubscribe":
        return web.Response(status=202)
    if kind not in {"subscriptionvalidation", "notification"}:
        return web.Response(status=400)
    try:
        payload: Any = json.loads(await request.read())
    except ValueError:
        return web.Response(status=400)
    events = cast("list[dict[str, Any]]", payload if isinstance(payload, list) else [payload])
    if kind == "subscriptionvalidation":
        return web.json_response({"validationResponse": events[0]["data"]["validationCode"]})
    return await _dispatch(worker, function, events)


async def _dispatch(
    worker: Worker, function: Function, events: list[dict[str, Any]]
) -> web.Response:
    """Invoke once per event, all at once, as the extension does; one failure fails the batch."""
    outcomes = await asyncio.gather(
        *(_invoke(worker, function, event) for event in events), return_exceptions=True
    )
    for outcome in outcomes:
        if isinstance(outcome, FunctionFailedError):
            return web.Response(status=500, text=str(outcome).splitlines()[0])
        if outcome is not None:
            raise outcome
    return web.Response(status=202)


async def _invoke(worker: Worker, function: Function, event: dict[str, Any]) -> None:
    metadata = {"data": TypedData(json=json.dumps(event.get("data")))}
    await worker.invoke(function, TypedData(json=json.dumps(event)), metadata=metadata)
