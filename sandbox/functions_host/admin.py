"""The host's admin API: its state, its functions, and running a timer by hand."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.functions_host.http_trigger import HttpFront
from sandbox.functions_host.worker import Function, Worker

RunNow = Callable[[Function], Awaitable[None]]


def add_admin(front: HttpFront, worker: Worker, run_timer: RunNow) -> None:
    """Serve ``/admin``. *run_timer* starts one run and returns at once."""
    by_name = {function.name.lower(): function for function in worker.functions}

    async def status(request: web.Request) -> web.Response:
        del request
        return web.json_response({"state": "Running", "version": "4.0-sandbox"})

    async def ping(request: web.Request) -> web.Response:
        del request
        return web.Response()

    async def functions(request: web.Request) -> web.Response:
        del request
        return web.json_response([_describe(function) for function in worker.functions])

    async def function(request: web.Request) -> web.Response:
        found = by_name.get(request.path.rstrip("/").rpartition("/")[2].lower())
        if found is None:
            return web.Response(status=404)
        if request.method != "POST":
            return web.json_response(_describe(found))
        if found.trigger_type != "timertrigger":
            return web.Response(status=400, text="The sandbox runs only timers by hand.")
        await run_timer(found)
        return web.Response(status=202)

    front.add("admin/host/status", status, level="admin")
    front.add("admin/host/ping", ping, level="anonymous")
    front.add("admin/functions", functions, level="admin")
    front.add("admin/functions/*", function, level="admin")


def _describe(function: Function) -> dict[str, object]:
    return {"name": function.name, "config": {"bindings": list(function.bindings)}}
