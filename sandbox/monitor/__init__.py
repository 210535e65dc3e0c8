"""The sandbox's Azure Monitor: Application Insights ingestion and Log Analytics queries."""

from sandbox.monitor.catalog import CLASSIC_TABLES
from sandbox.monitor.faults import MonitorFaults
from sandbox.monitor.metrics import METRICS_AUDIENCE
from sandbox.monitor.schema import TABLES
from sandbox.monitor.server import DEFAULT_RESOURCE, Monitor

__all__ = [
    "CLASSIC_TABLES",
    "DEFAULT_RESOURCE",
    "METRICS_AUDIENCE",
    "TABLES",
    "Monitor",
    "MonitorFaults",
]
