"""The app inside the sandbox's images: ``python app.py``, one file, nothing of ours imported.

It listens on 127.0.0.1:$PORT. ``GET /`` says who it is, ``GET /work`` is what customers ask for,
``/health/live`` and ``/health/ready`` are for probes. Every answer carries ``x-release-digest``
(from $SLIPWAY_RELEASE, which the controller sets) and ``x-app-version``; a failure of /work says
in ``x-demo-cause`` what it comes of: ``usual``, ``build`` or ``dependency``.

With a database ``POST /work`` places an order, {"token": a UUID, "customer": 1, "cents": 100}, and
answers when it is committed; ``GET /work`` reads the newest. A database that is away is a failure
of the dependency; one that has not the columns that this build needs, of the build.

How it behaves is baked into its image by variables:

    DEMO_VERSION              shown as x-app-version
    DEMO_ERROR_RATE           share of /work that fails with 500 once ready, 0..1
    DEMO_LATENCY_MS           median time /work takes; spread is lognormal
    DEMO_LATENCY_SIGMA        width of that spread; 0 makes every answer take the median
    DEMO_TAIL                 "0.05,4": this share of /work takes so many times as long
    DEMO_LEAK                 "0.2,12,10": besides, the share that fails rises from 0 to 0.2,
                              beginning 12 seconds after readiness, over 10 seconds
    DEMO_READY_AFTER_SECONDS  /health/ready answers 503 that long
    DEMO_NEVER_READY          /health/ready answers 503 for ever
    DEMO_CRASH_ON_START       the process ends before it listens
    DEMO_CRASH_AFTER_SECONDS  the process ends that long after it listens
    DEMO_HIDE_IDENTITY        no identity headers
    DEMO_NEEDS                "customer,cents": the columns of `orders` it reads and writes
    DEMO_SEED                 makes chance repeatable

What is no build's doing comes by settings of the slot:

    DEMO_DATABASE             connection string of the PostgreSQL that all builds share
    DEMO_USUAL_ERROR_RATE     share of /work that fails besides, as it does every day, 0..1
    DEMO_DEPENDENCY           a file; while there is one, it holds the share of /work that fails
                              because something that the app depends on does

With $APPLICATIONINSIGHTS_CONNECTION_STRING each request becomes a row of AppRequests, except
those whose path matches $OTEL_PYTHON_EXCLUDED_URLS (default: the health probes). AppVersion is
``service.version`` of $OTEL_RESOURCE_ATTRIBUTES, SessionId the cookie ``demo-session``.
"""

import asyncio
import math
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from aiohttp import web

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer
    from psycopg import AsyncConnection
    from psycopg.sql import Composed

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FINISH_SECONDS = 4.0  # for requests under way; App Service kills after five
_FLUSH_SECONDS = 3.0
_SESSION_COOKIE = "demo-session"
_CAUSE_HEADER = "x-demo-cause"
_CONNECTIONS = 4  # of one build to its database
_DATABASE_SECONDS = 5.0  # for one piece of work, connecting included
_MADE_BY_THE_BUILD: Mapping[str, str | int] = {"currency": "EUR", "channel": "web", "amount": 0}

# What the Azure Monitor distribution would otherwise do besides exporting requests: none of it
# is wanted on a loopback, and some of it calls out to the internet.
_TELEMETRY_DEFAULTS = {
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "azure_app_service",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_PYTHON_EXCLUDED_URLS": "/health/",
    "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",  # the distribution's own: 5 per second
}
_INSTRUMENTATIONS = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How this build behaves; see the module's docstring."""

    version: str
    usual_error_rate: float
    error_rate: float
    latency_ms: float
    latency_sigma: float
    tail: tuple[float, float]  # share, times as long
    leak: tuple[float, float, float]  # share of errors in the end, seconds until it begins, to rise
    ready_after_seconds: float
    crash_after_seconds: float
    never_ready: bool
    crash_on_start: bool
    hide_identity: bool
    needs: tuple[str, ...]  # columns of `orders`
    seed: int | None


def read_behaviour(variables: Mapping[str, str]) -> Behaviour:
    """Return the behaviour that the image's variables ask for; nonsense raises ValueError."""

    def number(name: str, default: float = 0.0) -> float:
        return float(variables.get(name) or default)

    def numbers(name: str, default: str) -> list[float]:
        return [float(part) for part in (variables.get(name) or default).split(",")]

    def flag(name: str) -> bool:
        return variables.get(name, "").lower() in {"1", "true", "yes"}

    # A fault that only one place brings out: a setting that stays with its slot has this value.
    where = variables.get("DEMO_BREAKS_WHERE")
    is_here = not where or where == variables.get("DEMO_PLACE")
    tail_share, tail_times = numbers("DEMO_TAIL", "0,1")
    leaked, leak_after, leak_over = numbers("DEMO_LEAK", "0,0,0")
    seed = variables.get("DEMO_SEED")
    return Behaviour(
        version=variables.get("DEMO_VERSION", "unknown"),
        usual_error_rate=number("DEMO_USUAL_ERROR_RATE"),
        error_rate=number("DEMO_ERROR_RATE") if is_here else 0.0,
        latency_ms=number("DEMO_LATENCY_MS"),
        latency_sigma=number("DEMO_LATENCY_SIGMA", 0.25),
        tail=(tail_share, tail_times),
        leak=(leaked, leak_after, leak_over),
        ready_after_seconds=number("DEMO_READY_AFTER_SECONDS"),
        crash_after_seconds=number("DEMO_CRASH_AFTER_SECONDS"),
        never_ready=flag("DEMO_NEVER_READY"),
        crash_on_start=flag("DEMO_CRASH_ON_START"),
        hide_identity=flag("DEMO_HIDE_IDENTITY"),
        needs=tuple((variables.get("DEMO_NEEDS") or "customer,cents").split(",")),
        seed=int(seed) if seed else None,
    )


class Telemetry:
    """Records each request as a server span, if a connection string is set."""

    def __init__(self) -> None:
        self._tracer: Tracer | None = None
        self._provider: TracerProvider | None = None
        self._excluded: re.Pattern[str] | None = None

    def configure(self) -> None:
        """Set up the exporter. Costs half a second of imports, so only where it is wanted."""
        if not os.environ.get("APPLICATIONINSIGHTS_CONNECTION_STRING"):
            return
        for name, value in _TELEMETRY_DEFAULTS.items():
            os.environ.setdefault(name, value)
        from azure.monitor.opentelemetry import (  # noqa: PLC0415 - slow
            configure_azure_monitor,  # pyright: ignore[reportUnknownVariableType]  # untyped **kwargs
        )
        from opentelemetry import trace  # noqa: PLC0415 - slow
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - slow

        configure_azure_monitor(
            enable_live_metrics=False,
            enable_performance_counters=False,
            disable_offline_storage=True,
            instrumentation_options={name: {"enabled": False} for name in _INSTRUMENTATIONS},
        )
        provider = trace.get_tracer_provider()
        self._provider = provider if isinstance(provider, TracerProvider) else None
        self._tracer = trace.get_tracer("demo")
        excluded = os.environ["OTEL_PYTHON_EXCLUDED_URLS"]
        self._excluded = re.compile("|".join(excluded.split(","))) if excluded else None

    def begin(self, request: web.Request) -> "Span | None":
        """Return the request's span, or None when it is not to be recorded."""
        if self._tracer is None or (self._excluded and self._excluded.search(request.path)):
            return None
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - loaded by configure

        return self._tracer.start_span(
            f"{request.method} {request.path}", kind=SpanKind.SERVER, attributes=_describe(request)
        )

    def end(self, span: "Span | None", status: int) -> None:
        """Finish *span*. The exporter itself takes no 5xx for a failure: the span must say so."""
        if span is None:
            return
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 - loaded by configure

        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        span.end()

    def flush(self) -> None:
        """Send what is left, within a bound."""
        if self._provider is not None:
            worker = threading.Thread(target=self._provider.shutdown, daemon=True)
            worker.start()
            worker.join(_FLUSH_SECONDS)


def _describe(request: web.Request) -> dict[str, str | int]:
    host, _, port = request.host.partition(":")
    known: dict[str, str | int | None] = {
        "http.request.method": request.method,
        "url.scheme": request.scheme,
        "url.path": request.path,
        "url.query": request.query_string or None,
        "server.address": host,
        "server.port": port or None,
        "client.address": request.remote,
        "user_agent.original": request.headers.get("User-Agent"),
        "session.id": request.cookies.get(_SESSION_COOKIE),  # the exporter makes it SessionId
    }
    resource = request.match_info.route.resource
    if resource is not None:
        known["http.route"] = resource.canonical
    return {name: value for name, value in known.items() if value is not None}


class DatabaseAwayError(Exception):
    """It cannot be reached, or it broke off."""


class Orders:
    """The table `orders`, by way of few connections that are made anew when they break."""

    def __init__(self, url: str, columns: Sequence[str]) -> None:
        from psycopg import sql  # noqa: PLC0415 - most builds have no database

        self._url = url
        self._columns = columns
        self._idle: list[AsyncConnection[Any]] = []
        self._turns = asyncio.Semaphore(_CONNECTIONS)
        names = [sql.Identifier(name) for name in ("token", *columns)]
        self._insert = sql.SQL("INSERT INTO orders ({}) VALUES ({}) RETURNING id").format(
            sql.SQL(", ").join(names), sql.SQL(", ").join([sql.Placeholder()] * len(names))
        )
        newest: LiteralString = "SELECT id, {} FROM orders ORDER BY id DESC LIMIT 1"
        self._newest = sql.SQL(newest).format(sql.SQL(", ").join(names))

    async def place(self, order: Mapping[str, Any]) -> int:
        """Commit *order* and return its number.

        Raises:
            DatabaseAwayError: whether it is committed is not known.
            psycopg.Error: the database does not take it.
        """
        known = {**_MADE_BY_THE_BUILD, **order}
        row = await self._ask(self._insert, [known[name] for name in ("token", *self._columns)])
        return int(row[0]) if row else 0

    async def newest(self) -> dict[str, str]:
        """Return the newest order; empty where there is none. Raises as `place` does."""
        row = await self._ask(self._newest, [])
        names = ("id", "token", *self._columns)
        return dict(zip(names, map(str, row), strict=True)) if row else {}

    async def close(self) -> None:
        """Hang up."""
        while self._idle:
            await self._idle.pop().close()

    async def _ask(self, query: "Composed", values: list[Any]) -> tuple[Any, ...] | None:
        from psycopg import OperationalError  # noqa: PLC0415 - loaded by __init__

        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._turns:
                return await self._ask_now(query, values)
        except (OperationalError, OSError, TimeoutError) as error:
            raise DatabaseAwayError(type(error).__name__) from error

    async def _ask_now(self, query: "Composed", values: list[Any]) -> tuple[Any, ...] | None:
        from psycopg import AsyncConnection  # noqa: PLC0415 - loaded by __init__

        while self._idle and self._idle[-1].closed:
            self._idle.pop()
        connection = self._idle.pop() if self._idle else None
        if connection is None:  # not prepared: a migration changes what a statement means
            connection = await AsyncConnection.connect(
                self._url, autocommit=True, prepare_threshold=None
            )
        try:
            cursor = await connection.execute(query, values)
            row = await cursor.fetchone()
        except BaseException:
            await connection.close()
            raise
        self._idle.append(connection)
        return row


class App:
    """The handlers and what they share."""

    def __init__(self, behaviour: Behaviour, telemetry: Telemetry) -> None:
        self._behaviour = behaviour
        self._telemetry = telemetry
        self._dice = random.Random(behaviour.seed)
        self._release = os.environ.get("SLIPWAY_RELEASE", "")
        self._dependency = os.environ.get("DEMO_DEPENDENCY", "")
        database = os.environ.get("DEMO_DATABASE", "")
        self._orders = Orders(database, behaviour.needs) if database else None
        self._ready_at = math.inf
        self._served = 0
        self._in_flight = 0
        self._identity: dict[str, str] = {}
        if not behaviour.hide_identity:
            self._identity = {"x-app-version": behaviour.version}
            if self._release:
                self._identity["x-release-digest"] = self._release

    def web_application(self) -> web.Application:
        """Return what to serve."""
        app = web.Application(middlewares=[self._observe])
        app.router.add_get("/", self._who)
        app.router.add_get("/work", self._work)
        app.router.add_post("/work", self._work)
        app.router.add_get("/health/live", self._live)
        app.router.add_get("/health/ready", self._ready)
        app.on_cleanup.append(self._hang_up)
        return app

    def listening(self) -> None:
        """Note that start-up is over: from here the clock of readiness runs."""
        if not self._behaviour.never_ready:
            self._ready_at = time.monotonic() + self._behaviour.ready_after_seconds

    @web.middleware
    async def _observe(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        span = self._telemetry.begin(request)
        self._in_flight += 1
        status = 500
        try:
            answer = await handler(request)
        except web.HTTPException as refusal:  # aiohttp's own 404 and 405
            status = refusal.status
            refusal.headers.update(self._identity)
            raise
        else:
            status = answer.status
            answer.headers.update(self._identity)
            return answer
        finally:
            self._in_flight -= 1
            self._served += 1
            self._telemetry.end(span, status)

    async def _who(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "app": "demo",
                "version": self._behaviour.version,
                "served": self._served,
                "in_flight": self._in_flight - 1,
            }
        )

    async def _work(self, request: web.Request) -> web.Response:
        await self._take_time()
        cause = self._cause_of_failure()
        order: dict[str, Any] = {}
        if not cause and self._orders is not None:
            order, cause = await self._order(request, self._orders)
        if cause:
            headers = {_CAUSE_HEADER: cause}
            return web.json_response({"error": "the work failed"}, status=500, headers=headers)
        return web.json_response({"done": True, "version": self._behaviour.version, "order": order})

    async def _order(self, request: web.Request, orders: Orders) -> tuple[dict[str, Any], str]:
        """Return the order that was placed or read, and else the cause of the failure."""
        from psycopg import Error  # noqa: PLC0415 - loaded by Orders

        try:
            if request.method != "POST":
                return await orders.newest(), ""
            return {"id": await orders.place(await request.json())}, ""
        except DatabaseAwayError:
            return {}, "dependency"
        except Error as error:
            print(f"the database refuses: {type(error).__name__}", flush=True)
            return {}, "build"

    async def _hang_up(self, _: web.Application) -> None:
        if self._orders is not None:
            await self._orders.close()

    def _cause_of_failure(self) -> str:
        """Throw the dice for each of the causes; empty for work that is done."""
        behaviour = self._behaviour
        if self._happens(_share_in(self._dependency)):
            return "dependency"
        if self._happens(behaviour.usual_error_rate):
            return "usual"
        ready_for = time.monotonic() - self._ready_at
        if ready_for >= 0 and self._happens(behaviour.error_rate + self._leaked(ready_for)):
            return "build"
        return ""

    def _happens(self, share: float) -> bool:
        return share > 0 and self._dice.random() < share

    def _leaked(self, ready_for: float) -> float:
        """Return the share of errors that has leaked after so many seconds."""
        share, after, over = self._behaviour.leak
        leaking = ready_for - after
        if leaking < 0:
            return 0.0
        return share if leaking >= over else share * leaking / over

    async def _take_time(self) -> None:
        """Sleep the drawn latency."""
        share, times = self._behaviour.tail
        milliseconds = self._behaviour.latency_ms
        milliseconds *= self._dice.lognormvariate(0, self._behaviour.latency_sigma)
        if self._happens(share):
            milliseconds *= times
        if milliseconds > 0:
            await asyncio.sleep(milliseconds / 1000)

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, _: web.Request) -> web.Response:
        ready = time.monotonic() >= self._ready_at
        return web.json_response({"ready": ready}, status=200 if ready else 503)


def _share_in(file: str) -> float:
    """Return the share that *file* holds; 0 where there is none, or half of one."""
    if not file:
        return 0.0
    try:
        with open(file, encoding="ascii") as text:  # noqa: PTH123 - on every request: cheap
            return float(text.read() or 0)
    except OSError:
        return 0.0


async def serve(app: App, port: int, crash_after_seconds: float) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(app.web_application(), access_log=None, shutdown_timeout=_FINISH_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    app.listening()
    if crash_after_seconds:
        loop.call_later(crash_after_seconds, _crash, "crashing on demand, later")
    print(f"listening on 127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


def _crash(reason: str) -> None:
    print(f"fatal: {reason}", file=sys.stderr, flush=True)
    os._exit(1)


def main() -> None:
    """Run as the image's entry point."""
    behaviour = read_behaviour(os.environ)
    if behaviour.crash_on_start:
        _crash("crashing on demand, at start")
    telemetry = Telemetry()
    telemetry.configure()
    port = int(os.environ.get("PORT", "8000"))
    asyncio.run(serve(App(behaviour, telemetry), port, behaviour.crash_after_seconds))
    telemetry.flush()
    print("stopped", flush=True)
    os._exit(0)  # an exporter that still waits for a dead endpoint must not hold up the platform


if __name__ == "__main__":
    main()
