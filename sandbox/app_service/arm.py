"""Resource Manager: which request is which operation, and what every one has.

One handler per operation (`arm_sites`, `arm_config`, `arm_swaps`); this module finds it, checks
the token, lets a fault strike, and keeps the log.
"""

import asyncio
import inspect
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import web

from sandbox import tokens
from sandbox.app_service import arm_config, arm_databases, arm_sites, arm_swaps, errors, swap
from sandbox.app_service.database_servers import DatabaseServers
from sandbox.app_service.errors import ArmError, Json
from sandbox.app_service.exchange import Call, Provider, Reply
from sandbox.app_service.faults import ArmFaults, Effect, Fault
from sandbox.app_service.platform import PRODUCTION, Site, Slot
from sandbox.app_service.swap_weather import FINE, SwapWeather

_AUDIENCE = "https://management.azure.com"
_LOG_LENGTH = 100_000
_PATH = re.compile(
    r"^/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.Web/sites/(?P<site>[^/]+)(?:/slots/(?P<slot>[^/]+))?(?P<rest>/.*)?$",
    re.IGNORECASE,
)

Operation = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    rest: re.Pattern[str]
    operation: Operation
    site_only: bool


def _route(method: str, rest: str, operation: Operation, *, site_only: bool = False) -> _Route:
    return _Route(method, re.compile(f"^{rest}/?$", re.IGNORECASE), operation, site_only)


_ROUTES = (
    _route("GET", "", arm_sites.get_site),
    _route("GET", "/slots", arm_sites.list_slots, site_only=True),
    _route("POST", "/start", arm_sites.start),
    _route("POST", "/stop", arm_sites.stop),
    _route("POST", "/restart", arm_sites.restart),
    _route("GET", "/instances", arm_sites.list_instances),
    _route("GET", "/instances/(?P<instance>[^/]+)", arm_sites.get_instance),
    _route("POST", "/containerlogs", arm_sites.container_logs),
    _route("GET", "/config/web", arm_config.get_configuration),
    _route("PATCH", "/config/web", arm_config.update_configuration),
    _route("PUT", "/config/web", arm_config.replace_configuration),
    _route("POST", "/config/appsettings/list", arm_config.list_application_settings),
    _route("PUT", "/config/appsettings", arm_config.update_application_settings),
    _route("POST", "/config/connectionstrings/list", arm_config.list_connection_strings),
    _route("PUT", "/config/connectionstrings", arm_config.update_connection_strings),
    _route(
        "GET", "/config/slotConfigNames", arm_config.list_slot_configuration_names, site_only=True
    ),
    _route(
        "PUT", "/config/slotConfigNames", arm_config.update_slot_configuration_names, site_only=True
    ),
    _route("GET", "/sitecontainers", arm_config.list_site_containers),
    _route("GET", "/sitecontainers/(?P<container>[^/]+)", arm_config.get_site_container),
    _route("PUT", "/sitecontainers/(?P<container>[^/]+)", arm_config.put_site_container),
    _route("DELETE", "/sitecontainers/(?P<container>[^/]+)", arm_config.delete_site_container),
    _route("POST", "/slotsdiffs", arm_swaps.list_slot_differences),
    _route("POST", "/slotsswap", arm_swaps.swap_slots),
    _route("POST", "/applySlotConfig", arm_swaps.apply_slot_configuration),
    _route("POST", "/resetSlotConfig", arm_swaps.reset_slot_configuration),
    _route("GET", "/operationresults/(?P<operation>[^/]+)", arm_swaps.get_operation_result),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRequest:
    """One request as the log keeps it."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Json
    status: int | None  # None: the answer was lost
    client_request_id: str | None  # x-ms-client-request-id, or None when the client sent none
    correlation_id: str  # x-ms-correlation-request-id of the answer
    fault: str | None  # name of the fault that struck
    at: float = field(default_factory=time.time)  # Unix seconds, when it was answered


class Arm:
    """The HTTPS surface. `provider` holds what can be set: page size, seconds between polls."""

    def __init__(self, sites: Mapping[str, Site], faults: ArmFaults) -> None:
        self.log: list[ArmRequest] = []
        self.provider = Provider(faults)
        self.databases = DatabaseServers()
        self._sites = sites

    def application(self) -> web.Application:
        """Return the application; it takes every path, to answer 404 in Azure's words."""
        application = web.Application(client_max_size=8 * 2**20)
        application.router.add_route("*", "/{path:.*}", self._handle)
        return application

    async def stop(self) -> None:
        """End what runs beside the requests: swaps, late effects."""
        tasks = tuple(self.provider.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def begin_swap(self, source: Slot, target: Slot, weather: SwapWeather) -> swap.Operation:
        """Begin a swap that nobody asked of this server: a person's, in the portal."""
        operation = self.provider.reserve(source.site)
        arm_swaps.begin(self.provider, operation, source, target, weather)
        return operation

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault: Fault | None = None
        body: Json = {}
        try:
            _authorize(request)
            fault = self.provider.faults.take(f"{request.method} {request.path}")
            body = await _read_body(request)
            reply = await self._perform(request, body, fault)
            response = _render(reply)
        except ArmError as error:
            response = web.json_response(error.body(), status=error.status, headers=error.headers)
        return self._finish(request, body, response, fault)

    async def _perform(self, request: web.Request, body: Json, fault: Fault | None) -> Reply:
        """Do what is asked, as far as the fault lets it; raise what shall be answered instead."""
        if fault is not None and fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        if fault is not None and fault.effect is Effect.SKIPPED:
            if fault.answer is not None:
                raise fault.answer
            return Reply()
        if fault is not None and fault.meanwhile is not None:
            waiting = fault.meanwhile()
            if inspect.isawaitable(waiting):
                await waiting
        reply = await self._operate(request, body, FINE if fault is None else fault.weather)
        if reply.effect is not None:
            if fault is not None and fault.effect is Effect.LATE:
                self.provider.spawn(_later(fault, reply.effect))
            else:
                reply.effect()
        if fault is not None and fault.answer is not None:
            raise fault.answer
        return reply

    async def _operate(self, request: web.Request, body: Json, weather: SwapWeather) -> Reply:
        found = _PATH.match(request.path)
        if found is None:
            return self._operate_databases(request, body)
        site = self._site(found["subscription"], found["group"], found["site"])
        slot = _slot(site, found["slot"])
        route, arguments = _find(request.method, found["rest"] or "", named=bool(found["slot"]))
        call = Call(
            provider=self.provider,
            site=site,
            slot=slot,
            arguments=arguments,
            query=dict(request.query),
            body=body,
            base_url=f"{request.scheme}://{request.host}",
            weather=weather,
        )
        return await route.operation(call)

    def _operate_databases(self, request: web.Request, body: Json) -> Reply:
        call = arm_databases.DatabaseCall(
            servers=self.databases,
            path=request.path,
            arguments={},
            query=dict(request.query),
            body=body,
            base_url=f"{request.scheme}://{request.host}",
            retry_after_seconds=self.provider.retry_after_seconds,
        )
        reply = arm_databases.operate(call, request.method)
        if reply is None:
            raise errors.not_found(f"resource {request.path}")
        return reply

    def _site(self, subscription: str, group: str, name: str) -> Site:
        mine = [
            site
            for site in self._sites.values()
            if (site.subscription.lower(), site.resource_group.lower())
            == (subscription.lower(), group.lower())
        ]
        if not mine:
            raise errors.resource_group_missing(group)
        for site in mine:
            if site.name.lower() == name.lower():
                return site
        raise errors.resource_missing(f"Microsoft.Web/sites/{name}", group)

    def _finish(
        self, request: web.Request, body: Json, response: web.Response, fault: Fault | None
    ) -> web.StreamResponse:
        """Log the request, add what every answer carries, or lose the answer."""
        correlation = request.headers.get("x-ms-correlation-request-id") or str(uuid.uuid4())
        client_request = request.headers.get("x-ms-client-request-id")
        lost = fault is not None and fault.lose_answer
        self.log.append(
            ArmRequest(
                method=request.method,
                path=request.path,
                query=dict(request.query),
                body=body,
                status=None if lost else response.status,
                client_request_id=client_request,
                correlation_id=correlation,
                fault=None if fault is None else fault.name,
            )
        )
        del self.log[:-_LOG_LENGTH]
        if lost and request.transport is not None:
            request.transport.abort()
        response.headers["x-ms-request-id"] = str(uuid.uuid4())
        response.headers["x-ms-correlation-request-id"] = correlation
        kind = "reads" if request.method == "GET" else "writes"
        response.headers[f"x-ms-ratelimit-remaining-subscription-{kind}"] = "199"
        if client_request is not None:
            response.headers["x-ms-client-request-id"] = client_request
        return response


def _authorize(request: web.Request) -> None:
    try:
        tokens.check(request.headers.get("Authorization"), _AUDIENCE)
    except tokens.TokenRefusedError as error:
        raise errors.token_refused(str(error)) from error
    if not request.query.get("api-version"):
        raise errors.api_version_missing()


async def _read_body(request: web.Request) -> Json:
    text = await request.text()
    if not text:
        return {}
    try:
        body: Any = json.loads(text)
    except ValueError as error:
        raise _unreadable(str(error)) from error
    if not isinstance(body, dict):
        raise _unreadable("the body is not an object")
    return cast("Json", body)


def _unreadable(reason: str) -> ArmError:
    return ArmError(
        400,
        "InvalidRequestContent",
        f"The request content was invalid and could not be read: {reason}",
    )


def _slot(site: Site, name: str | None) -> Slot:
    """Return the slot of a path. "production" is no slot there, only in request bodies."""
    if name is None:
        return site.production
    if name.lower() == PRODUCTION or name.lower() not in site.slots:
        kind = f"Microsoft.Web/sites/{site.name}/slots/{name}"
        raise errors.resource_missing(kind, site.resource_group)
    return site.slot(name)


def _find(method: str, rest: str, *, named: bool) -> tuple[_Route, Mapping[str, str]]:
    """Return the route of *rest*, the path below the site or slot."""
    for route in _ROUTES:
        found = route.rest.match(rest)
        if found is not None and route.method == method and not (named and route.site_only):
            return route, found.groupdict()
    raise ArmError(
        404,
        "InvalidResourceType",
        f"The sandbox's Microsoft.Web knows no operation {method} {rest}.",
    )


def _render(reply: Reply) -> web.Response:
    if isinstance(reply.body, str):
        return web.Response(text=reply.body, status=reply.status, headers=reply.headers)
    if reply.body is None:
        return web.Response(status=reply.status, headers=reply.headers)
    return web.json_response(reply.body, status=reply.status, headers=reply.headers)


async def _later(fault: Fault, effect: Callable[[], None]) -> None:
    await asyncio.sleep(fault.late_seconds)
    if fault.late_until is not None:
        await fault.late_until.wait()
    effect()
