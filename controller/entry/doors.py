"""Between the shapes that the Functions worker hands us and what stands behind the doors.

What a door needs is imported when it is first used, so that the worker indexes and starts fast.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Literal, cast

import azure.functions as func

from controller.core.errors import SlipwayError
from controller.runtime.log_context import install
from controller.wiring import house, start_telemetry

if TYPE_CHECKING:
    from controller.entry.http import Request, Response
    from controller.entry.maintenance import Timers

log = logging.getLogger("slipway.doors")

_ALERT_SECONDS: Final = 8  # an action group waits ten
# What hangs must not hold its session: the host's own limit is that of the longest dump.
_HANGS_SECONDS: Final = 600

ApiDoor = Literal["health", "list_apps", "get_app", "get_rollout", "get_evidence", "command"]
DataDoor = Literal["order_backup", "list_backups", "plan_restore", "list_jobs", "get_job"]


def open_telemetry(environment: Mapping[str, str]) -> None:
    """Begin the controller's own telemetry, where it is configured; logs name their rollout."""
    install()
    if start_telemetry(environment):
        log.info("own telemetry goes to Application Insights")


# --- HTTP ---------------------------------------------------------------------------------------


async def registry_webhook(request: func.HttpRequest) -> func.HttpResponse:
    """See `controller.entry.webhooks.registry_webhook`."""
    from controller.entry.intake import Intake
    from controller.entry.webhooks import registry_webhook as handle

    async def handler(plain: Request) -> Response:
        home = house()
        intake = Intake(configuration=home.configuration, bus=home.bus, registry=home.registry)
        return await handle(plain, intake, home.secrets)

    return await _answer(request, handler)


async def api(request: func.HttpRequest, door: ApiDoor) -> func.HttpResponse:
    """See `controller.entry.api.Api`."""
    from controller.entry.api import Api

    async def handler(plain: Request) -> Response:
        home = house()
        behind = Api(
            store=home.store,
            history=home.history,
            buckets=home.buckets,
            bus=home.bus,
            registry=home.registry,
            configuration=home.configuration,
            explainer=home.explainer,
        )
        doors: dict[ApiDoor, Callable[[Request], Awaitable[Response]]] = {
            "health": behind.health,
            "list_apps": behind.list_apps,
            "get_app": behind.get_app,
            "get_rollout": behind.get_rollout,
            "get_evidence": behind.get_evidence,
            "command": behind.command,
        }
        return await doors[door](plain)

    return await _answer(request, handler)


async def data(request: func.HttpRequest, door: DataDoor) -> func.HttpResponse:
    """See `controller.entry.maintenance.MaintenanceApi`."""
    from controller.entry.maintenance import MaintenanceApi

    async def handler(plain: Request) -> Response:
        home = house()
        behind = MaintenanceApi(
            configuration=home.configuration,
            maintainer=home.data.maintainer,
            jobs=home.jobs,
            clock=home.clock,
            backups=home.data.backups,
            pitr=home.data.pitr,
        )
        doors: dict[DataDoor, Callable[[Request], Awaitable[Response]]] = {
            "order_backup": behind.order,
            "list_backups": behind.list_backups,
            "plan_restore": behind.plan,
            "list_jobs": behind.list_jobs,
            "get_job": behind.get_job,
        }
        return await doors[door](plain)

    return await _answer(request, handler)


async def alert(request: func.HttpRequest) -> func.HttpResponse:
    """See `controller.entry.alerts.AlertDoor`. Whatever goes wrong is 503: Azure sends it again."""
    from controller.entry.alerts import AlertDoor, unforeseen

    async def handler(plain: Request) -> Response:
        home = house()
        door = AlertDoor(
            configuration=home.configuration,
            bus=home.bus,
            secrets=home.secrets,
            callers=home.callers,
        )
        async with asyncio.timeout(_ALERT_SECONDS):
            return await door.take(plain)

    return await _answer(request, handler, on_bug=unforeseen)


async def notify(request: func.HttpRequest) -> func.HttpResponse:
    """See `controller.entry.notifications.NotificationDoor`."""
    from controller.entry.alerts import unforeseen
    from controller.entry.notifications import NotificationDoor

    async def handler(plain: Request) -> Response:
        home = house()
        door = NotificationDoor(
            secrets=home.secrets, callers=home.callers, notifiers=home.notifiers
        )
        async with asyncio.timeout(_ALERT_SECONDS):
            return await door.take(plain)

    return await _answer(request, handler, on_bug=unforeseen)


async def _answer(
    request: func.HttpRequest,
    handler: Callable[[Request], Awaitable[Response]],
    *,
    on_bug: Callable[[], Response] | None = None,
) -> func.HttpResponse:
    """Run *handler* on the worker's request; every error becomes an answer."""
    from controller.entry.http import problem, refuse

    try:
        response = await handler(_plain(request))
    except SlipwayError as error:
        response = refuse(error)
    except Exception:
        log.exception("%s %s failed", request.method, request.url.partition("?")[0])
        fix = "See the function's log; try again."
        plain = problem(500, "SW500", "Slipway failed on this request.", fix)
        response = on_bug() if on_bug else plain
    return func.HttpResponse(
        response.text(),
        status_code=response.status,
        headers=dict(response.headers),
        mimetype="application/json",
    )


def _plain(request: func.HttpRequest) -> Request:
    from controller.entry.http import Request

    headers = cast("Mapping[str, str]", request.headers)
    return Request(
        method=request.method,
        headers={name.lower(): value for name, value in headers.items()},
        query=dict(request.params),
        route=dict(request.route_params),
        body=request.get_body() or b"",
    )


# --- Messages, events, timers -------------------------------------------------------------------


async def image_pushed(event: func.EventGridEvent) -> None:
    """See `controller.entry.webhooks.image_pushed`."""
    from controller.entry.intake import Intake
    from controller.entry.webhooks import image_pushed as handle

    home = house()
    event_type, data, event_id, source = _event_parts(event)
    intake = Intake(configuration=home.configuration, bus=home.bus, registry=home.registry)
    await handle(event_type=event_type, data=data, event_id=event_id, source=source, intake=intake)


def _event_parts(event: func.EventGridEvent) -> tuple[str, object, str, str]:
    """Return type, data, id and source of an event in either schema.

    The worker hands over a ``CloudEvent`` where the delivery is in that schema (its attributes are
    ``type`` and ``source``), or, in older versions, an ``EventGridEvent`` without a type.
    """
    event_type = getattr(event, "event_type", None) or getattr(event, "type", None) or ""
    source = getattr(event, "topic", None) or getattr(event, "source", None) or ""
    return event_type, event.get_json(), event.id or "", source


async def command_message(message: func.ServiceBusMessage) -> None:
    """See `controller.entry.queue.on_command`."""
    from controller.entry.queue import on_command

    home = house()
    async with asyncio.timeout(_HANGS_SECONDS):
        await on_command(
            message.get_body(),
            session=message.session_id,
            deliveries=message.delivery_count or 1,
            message_id=message.message_id or "",
            engine=home.engine,
            bus=home.bus,
        )


async def observe_message(message: func.ServiceBusMessage) -> None:
    """See `controller.entry.queue.on_observe`."""
    from controller.entry.queue import on_observe

    home = house()
    async with asyncio.timeout(_HANGS_SECONDS):
        await on_observe(
            message.get_body(),
            session=message.session_id,
            message_id=message.message_id or "",
            observer=home.observer,
            bus=home.bus,
        )


async def maintenance_message(message: func.ServiceBusMessage) -> None:
    """See `controller.entry.maintenance.on_job`."""
    from controller.entry.maintenance import on_job

    await on_job(
        message.get_body(),
        session=message.session_id,
        deliveries=message.delivery_count or 1,
        message_id=message.message_id or "",
        maintainer=house().data.maintainer,
    )


async def back_up(timer: func.TimerRequest) -> None:
    """See `controller.entry.maintenance.Timers.back_up`."""
    asked = await _timers().back_up()
    log.info("backups%s: %s", " (past due)" if timer.past_due else "", ", ".join(asked) or "none")


async def drill(timer: func.TimerRequest) -> None:
    """See `controller.entry.maintenance.Timers.drill`."""
    asked = await _timers().drill()
    log.info("drills%s: %s", " (past due)" if timer.past_due else "", ", ".join(asked) or "none")


def _timers() -> Timers:
    from controller.entry.maintenance import Timers

    home = house()
    return Timers(
        configuration=home.configuration, maintainer=home.data.maintainer, clock=home.clock
    )


async def sweep(timer: func.TimerRequest) -> None:
    """See `controller.runtime.sweeper.Sweeper`."""
    swept = await house().sweeper.sweep()
    log.info("sweep%s: %s", " (past due)" if timer.past_due else "", swept)
