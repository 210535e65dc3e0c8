"""The front door: one listening port per host name, and the proxy behind it.

It never waits for a container and repeats no request: it picks a slot, borrows the container that
serves there, and streams both bodies through. (One exception, the HTTP client's own: a GET, PUT or
DELETE that a kept-alive connection swallowed by closing goes out once more, on a fresh one.)
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from sandbox.app_service.container import Container
from sandbox.app_service.platform import Site, Slot
from sandbox.app_service.routing import ROUTING_NAME, AbsentRuleCookie, Choice
from sandbox.app_service.traffic import Answer, Failure, Traffic

_RELEASE_HEADER = "x-release-digest"
_BACKLOG = 1024
# Hop-by-hop: they speak about one connection, not about the message (RFC 9110, 7.6.1).
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
    }
)
_STOPPED_PAGE = "<html><body><h1>Error 403 - This web app is stopped.</h1></body></html>"
_ERROR_PAGE = "<html><body><h1>:( Application Error</h1></body></html>"
_BAD_GATEWAY_PAGE = "<html><body><h1>502 - Bad Gateway</h1></body></html>"

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class FrontDoorOptions:
    """How front doors behave; may be changed while they serve."""

    cookie_seconds: float = 3600.0
    absent_rule_cookie: AbsentRuleCookie = "respected"
    stopped_status: int = 503  # 403 is reported as well


class Listener:
    """One free port of 127.0.0.1. The port is known before there is anything to serve."""

    def __init__(self) -> None:
        self.host = ""
        self.handler: Handler | None = None
        # Bodies pass as they are: a front door does not unpack them.
        server = web.Server(self._handle, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=1)

    async def start(self) -> None:
        """Listen."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=_BACKLOG).start()
        address, port = self._runner.addresses[0][:2]
        self.host = f"{address}:{port}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.handler is None:
            return web.Response(status=404, text="404 Web Site not found.")
        return await self.handler(request)


class FrontDoor:
    """Answers for one site: on its public host by the rules, on a slot's host for that slot."""

    def __init__(self, site: Site, traffic: Traffic, options: FrontDoorOptions) -> None:
        self._site = site
        self._traffic = traffic
        self._options = options

    def handler_for(self, slot: Slot) -> Handler:
        """Return what answers on *slot*'s host name."""
        if slot.is_production:
            return self._answer_by_rules

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            return await self._answer(request, slot, CIMultiDict(), public=False)

        return answer

    async def _answer_by_rules(self, request: web.BaseRequest) -> web.StreamResponse:
        choice = self._site.router.choose(
            query=request.query.get(ROUTING_NAME),
            cookie=request.cookies.get(ROUTING_NAME),
            absent_rule_cookie=self._options.absent_rule_cookie,
        )
        slot = self._site.slot_by_host(choice.host)
        if slot is None:  # a rule whose actionHostName is nobody's host name
            return self._fail(choice.host, "unknown host", 503, _ERROR_PAGE, public=True)
        cookies = self._cookies(choice) if choice.assigned else CIMultiDict[str]()
        return await self._answer(request, slot, cookies, public=True)

    async def _answer(
        self, request: web.BaseRequest, slot: Slot, cookies: CIMultiDict[str], *, public: bool
    ) -> web.StreamResponse:
        container = slot.runner.active
        if not slot.enabled:
            status = self._options.stopped_status
            return self._fail(slot.name, "stopped", status, _STOPPED_PAGE, public=public)
        if container is None:
            return self._fail(slot.name, "no container", 503, _ERROR_PAGE, public=public)
        with container.borrowed():
            try:
                upstream = await _send(request, container)
            except TimeoutError:
                return self._fail(slot.name, "timeout", 504, _BAD_GATEWAY_PAGE, public=public)
            except (aiohttp.ClientError, OSError):
                return self._fail(slot.name, "broken", 502, _BAD_GATEWAY_PAGE, public=public)
            async with upstream:
                return await self._pass_on(request, upstream, slot, cookies, public=public)

    async def _pass_on(
        self,
        request: web.BaseRequest,
        upstream: aiohttp.ClientResponse,
        slot: Slot,
        cookies: CIMultiDict[str],
        *,
        public: bool,
    ) -> web.StreamResponse:
        headers = _end_to_end(upstream.headers)
        headers.extend(cookies)
        response = web.StreamResponse(
            status=upstream.status, reason=upstream.reason, headers=headers
        )
        try:
            await _stream(request, upstream, response)
        except (aiohttp.ClientPayloadError, TimeoutError):
            # The head is out: all that is left is to break the body off, as the container did.
            self._traffic.failures[Failure(self._site.name, slot.name, "cut off", public)] += 1
            if request.transport is not None:
                request.transport.abort()
            return response
        except ConnectionError:
            pass  # the client went away: it was answered all the same
        release = upstream.headers.get(_RELEASE_HEADER)
        kind = f"{upstream.status // 100}xx"
        self._traffic.answers[Answer(self._site.name, slot.name, release, kind, public)] += 1
        return response

    def _fail(
        self, slot: str, reason: str, status: int, page: str, *, public: bool
    ) -> web.StreamResponse:
        self._traffic.failures[Failure(self._site.name, slot, reason, public)] += 1
        return web.Response(status=status, text=page, content_type="text/html")

    def _cookies(self, choice: Choice) -> CIMultiDict[str]:
        """Pin the client to its slot. Not ``Secure``: the sandbox's public host is plain HTTP."""
        attributes = f"Max-Age={round(self._options.cookie_seconds)}; Path=/; HttpOnly"
        return CIMultiDict(
            [
                ("Set-Cookie", f"{ROUTING_NAME}={choice.name}; {attributes}"),
                ("Set-Cookie", f"TipMix={choice.dice:.6f}; {attributes}"),
            ]
        )


async def _send(request: web.BaseRequest, container: Container) -> aiohttp.ClientResponse:
    """Send *request* on, body and all; return once the answer's head is here."""
    headers = _end_to_end(request.headers)
    headers["X-Forwarded-For"] = request.remote or "127.0.0.1"
    headers["X-Forwarded-Proto"] = request.scheme
    headers["X-Forwarded-Host"] = request.host
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await container.session.request(
        request.method,
        URL(f"http://127.0.0.1:{container.port}{request.raw_path}", encoded=True),
        headers=headers,
        data=request.content if request.body_exists else None,
        allow_redirects=False,
    )


async def _stream(
    request: web.BaseRequest, upstream: aiohttp.ClientResponse, response: web.StreamResponse
) -> None:
    await response.prepare(request)
    async for chunk in upstream.content.iter_any():
        await response.write(chunk)
    await response.write_eof()


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept: CIMultiDict[str] = CIMultiDict(headers)
    named = {name.strip().lower() for name in kept.get("Connection", "").split(",")}
    for name in (_HOP_BY_HOP | named) & {key.lower() for key in kept}:
        del kept[name]
    return kept
