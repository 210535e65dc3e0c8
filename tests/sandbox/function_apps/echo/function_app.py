"""A function of every trigger type the host has. Each writes down what it was given."""

import asyncio
import json
import logging
import os
import threading
from typing import Any

import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

RECORDS: list[dict[str, Any]] = []


def record(kind: str, **facts: Any) -> None:
    RECORDS.append({"kind": kind, **facts})
    logging.getLogger("echo").info("%s %s", kind, facts)


@app.route(route="records", methods=["GET"])
async def records(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(RECORDS), mimetype="application/json")


@app.route(route="echo/{name:alpha}/{number:int?}", methods=["GET", "POST"])
async def echo(req: func.HttpRequest) -> func.HttpResponse:
    facts = {
        "method": req.method,
        "url": req.url,
        "route": dict(req.route_params),
        "query": dict(req.params),
        "headers": dict(req.headers),
        "body": req.get_body().decode(),
    }
    response = func.HttpResponse(json.dumps(facts), status_code=201, mimetype="application/json")
    response.headers.add("x-echo", "yes")
    response.headers.add("Set-Cookie", "a=1; Path=/api; HttpOnly; SameSite=Lax")
    response.headers.add("Set-Cookie", "b=2; Max-Age=60")
    return response


@app.route(route="echo/literal", methods=["GET"])
def literal(req: func.HttpRequest) -> str:
    return "the literal wins"


@app.route(route="files/{*path}", methods=["GET"])
def files(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(req.route_params.get("path", "nothing"))


@app.route(route="settings", methods=["GET"])
def settings(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(dict(os.environ)), mimetype="application/json")


@app.route(route="guarded", auth_level=func.AuthLevel.FUNCTION)
def guarded(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("function level")


@app.route(route="restricted", auth_level=func.AuthLevel.ADMIN)
def restricted(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("admin level")


@app.route(route="boom")
async def boom(req: func.HttpRequest) -> func.HttpResponse:
    raise LookupError("boom as asked")


@app.route(route="gives-up")
async def gives_up(req: func.HttpRequest) -> func.HttpResponse:
    raise asyncio.CancelledError


@app.route(route="slow")
async def slow(req: func.HttpRequest) -> func.HttpResponse:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        record("cancelled")
        raise
    return func.HttpResponse("too late")


@app.function_name("ticking")
@app.timer_trigger(arg_name="timer", schedule="%TICK%")
async def ticking(timer: func.TimerRequest) -> None:
    record("tick", past_due=timer.past_due)
    await asyncio.sleep(float(os.environ.get("TICK_TAKES", "0")))
    record("tick ended")


@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
def yearly(timer: func.TimerRequest) -> None:
    record("yearly", past_due=timer.past_due, thread=threading.current_thread().name)


def message_facts(message: func.ServiceBusMessage) -> dict[str, Any]:
    return {
        "body": message.get_body().decode(),
        "message_id": message.message_id,
        "session_id": message.session_id,
        "delivery_count": message.delivery_count,
        "sequence_number": message.sequence_number,
        "subject": message.subject,
        "properties": message.application_properties,
        "enqueued_is_naive": message.enqueued_time_utc.tzinfo is None,
        "locked_until": message.locked_until,
        "metadata": sorted(message.metadata or {}),
    }


async def act(message: func.ServiceBusMessage) -> None:
    verb, _, argument = message.get_body().decode().partition(" ")
    if verb == "fail":
        raise LookupError("failed as asked")
    if verb == "sleep":
        await asyncio.sleep(float(argument))


@app.service_bus_queue_trigger(
    arg_name="message",
    queue_name="%SESSION_QUEUE%",
    connection="ServiceBus",
    is_sessions_enabled=True,
)
async def on_session(message: func.ServiceBusMessage) -> None:
    record("session begins", **message_facts(message))
    await act(message)
    record("session ends", body=message.get_body().decode(), session_id=message.session_id)


@app.service_bus_queue_trigger(arg_name="message", queue_name="plain", connection="ServiceBus")
async def on_plain(message: func.ServiceBusMessage) -> None:
    record("plain", **message_facts(message))
    await act(message)


@app.event_grid_trigger(arg_name="event")
async def on_event(event: func.EventGridEvent) -> None:
    data = event.get_json()
    record("event", id=event.id, type=type(event).__name__, data=data)
    if data.get("fail"):
        raise LookupError("failed as asked")
