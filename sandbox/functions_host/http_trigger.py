"""The host's HTTP front: functions with an HTTP trigger, the admin API, extensions' webhooks."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate

from aiohttp import web
from multidict import MultiMapping

from sandbox.functions_host.configuration import HostConfiguration
from sandbox.functions_host.keys import Keys
from sandbox.functions_host.messages import NullableString, RpcHttp, RpcHttpCookie, TypedData
from sandbox.functions_host.routes import Route, compile_route
from sandbox.functions_host.worker import Function, FunctionFailedError, Worker

_log = logging.getLogger("host.http")

Handler = Callable[[web.Request], Awaitable[web.Response]]

_LARGEST_BODY_BYTES = 100 * 1024 * 1024
_SAME_SITE = {1: "Lax", 2: "Strict", 3: "None"}


@dataclass(frozen=True, slots=True)
class _Endpoint:
    route: Route
    function: Function
    methods: frozenset[str]  # empty: every method
    level: str


class HttpFront:
    """One application for everything the host serves.

    It does not use aiohttp's router: the real host answers 404, never 405, to a wrong method,
    ignores case, and prefers literal segments over parameters whatever the order of definition.
    """

    def __init__(self, worker: Worker, configuration: HostConfiguration, keys: Keys) -> None:
        self._worker = worker
        self._keys = keys
        self._prefix = configuration.route_prefix
        self._special: dict[str, Handler] = {"": _home}
        self._endpoints = sorted(
            (self._endpoint(f) for f in worker.functions if f.trigger_type == "httptrigger"),
            key=lambda endpoint: endpoint.route.precedence,
        )
        self.app = web.Application(client_max_size=_LARGEST_BODY_BYTES)
        self.app.router.add_route("*", "/{path:.*}", self._serve)

    def add(self, path: str, handler: Handler, *, level: str) -> None:
        """Serve *path* (no leading slash; a trailing ``*`` matches the rest) by *handler*."""

        async def guarded(request: web.Request) -> web.Response:
            if not self._keys.allow(request, level):
                return web.Response(status=401)
            return await handler(request)

        self._special[path.lower()] = guarded

    async def _serve(self, request: web.Request) -> web.Response:
        path = request.path.lstrip("/")
        special = self._special_handler(path.lower().rstrip("/"))
        if special is not None:
            return await special(request)
        for endpoint, values in self._matches(path, request.method):
            if not self._keys.allow(request, endpoint.level):
                return web.Response(status=401)
            return await self._call(endpoint.function, request, values)
        return web.Response(status=404)

    def _special_handler(self, path: str) -> Handler | None:
        parent = path.rpartition("/")[0] + "/*"
        return self._special.get(path) or self._special.get(parent)

    def _matches(self, path: str, method: str) -> list[tuple[_Endpoint, dict[str, str]]]:
        found: list[tuple[_Endpoint, dict[str, str]]] = []
        for endpoint in self._endpoints:
            if not endpoint.methods or method in endpoint.methods:
                values = endpoint.route.match(path.rstrip("/"))
                if values is not None:
                    found.append((endpoint, values))
        return found

    def _endpoint(self, function: Function) -> _Endpoint:
        binding = function.trigger
        template = str(binding.get("route") or function.name).strip("/")
        return _Endpoint(
            compile_route(f"{self._prefix}/{template}"),
            function,
            frozenset(str(method).upper() for method in binding.get("methods") or ()),
            str(binding.get("authLevel") or "function").lower(),
        )

    async def _call(
        self, function: Function, request: web.Request, values: Mapping[str, str]
    ) -> web.Response:
        try:
            response = await self._worker.invoke(
                function,
                TypedData(http=await _to_rpc(request, values)),
                trace_parent=request.headers.get("traceparent", ""),
            )
        except FunctionFailedError:
            return web.Response(status=500)
        returned = response.return_value
        kind = None if returned is None else returned.WhichOneof("data")
        if returned is None or kind is None:
            return web.Response(status=204)
        if isinstance(content := getattr(returned, kind), RpcHttp):
            return _from_rpc(content)
        return web.Response(text=str(content))


async def _home(request: web.Request) -> web.Response:
    """Answer the platform's ping of the root, as the real host's welcome page does."""
    del request
    return web.Response(text="Your Functions 4.0 app is up and running (sandbox)")


async def _to_rpc(request: web.Request, values: Mapping[str, str]) -> RpcHttp:
    """Turn a request into what the worker gets.

    The host copies a body only when Content-Length is given and not 0: a chunked upload arrives
    empty. Header names are lower-cased, repeated values joined, empty query values left out.
    """
    body = await request.read()
    has_body = bool(request.content_length)
    return RpcHttp(
        method=request.method,
        url=f"{request.scheme}://{request.host}{request.path_qs}",
        headers={name.lower(): value for name, value in _joined(request.headers).items()},
        query={name: value for name, value in _joined(request.query).items() if value},
        params=values,
        body=TypedData(bytes=body) if has_body else TypedData(),
    )


def _joined(values: "MultiMapping[str]") -> dict[str, str]:
    return {name: ",".join(values.getall(name)) for name in dict.fromkeys(values)}


def _from_rpc(http: RpcHttp) -> web.Response:
    body: object = getattr(http.body, http.body.WhichOneof("data") or "", b"")
    response = web.Response(
        status=int(http.status_code or 200),
        body=body.encode() if isinstance(body, str) else body,
        headers=http.headers,
    )
    for cookie in http.cookies or []:
        _set_cookie(response, cookie)
    return response


def _set_cookie(response: web.Response, cookie: RpcHttpCookie) -> None:
    response.set_cookie(
        cookie.name,
        cookie.value,
        domain=_text(cookie.domain),
        path=_text(cookie.path) or "/",
        secure=cookie.secure.value if cookie.secure else None,
        httponly=cookie.http_only.value if cookie.http_only else None,
        expires=formatdate(cookie.expires.value.seconds, usegmt=True) if cookie.expires else None,
        max_age=int(cookie.max_age.value) if cookie.max_age else None,
        samesite=_SAME_SITE.get(cookie.same_site),
    )


def _text(value: NullableString | None) -> str | None:
    return value.value if value else None
