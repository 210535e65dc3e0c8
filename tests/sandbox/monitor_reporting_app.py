"""A short-lived app that reports to Azure Monitor with Microsoft's OpenTelemetry distribution.

Run by a test as a process of its own, since OpenTelemetry's providers are global.
usage: python monitor_reporting_app.py GOOD BAD
"""

import logging
import sys
from typing import Any

from azure.monitor.opentelemetry import configure_azure_monitor
from opentelemetry import metrics, trace
from opentelemetry.trace import SpanKind, Status, StatusCode


def main() -> None:
    good, bad = int(sys.argv[1]), int(sys.argv[2])
    configure_azure_monitor(
        logger_name="shop",
        disable_offline_storage=True,
        enable_live_metrics=False,
        enable_performance_counters=False,
        instrumentation_options={name: {"enabled": False} for name in INSTRUMENTATIONS},
    )
    tracer = trace.get_tracer("shop")
    for number in range(good + bad):
        serve(tracer, number, 503 if number >= good else 200)
    metrics.get_meter("shop").create_counter("orders").add(3)
    logging.getLogger("shop").warning("stock is low")
    providers: tuple[Any, ...] = (trace.get_tracer_provider(), metrics.get_meter_provider())
    for provider in providers:
        provider.force_flush()
    logging.shutdown()


INSTRUMENTATIONS = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)


def serve(tracer: trace.Tracer, number: int, code: int) -> None:
    attributes: dict[str, str | int] = {
        "http.request.method": "GET",
        "http.route": "/orders",
        "url.path": "/orders",
        "url.scheme": "http",
        "server.address": "shop.example",
        "http.response.status_code": code,
        "session.id": f"session-{number % 3}",
    }
    with tracer.start_as_current_span(
        "GET /orders", kind=SpanKind.SERVER, attributes=attributes
    ) as span:
        with tracer.start_as_current_span(
            "SELECT", kind=SpanKind.CLIENT, attributes={"db.system": "postgresql"}
        ):
            pass
        if code >= 500:
            span.record_exception(RuntimeError("no stock"))
            span.set_status(Status(StatusCode.ERROR))


main()
