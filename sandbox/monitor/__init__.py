"""The sandbox's Azure Monitor: Application Insights ingestion and Log Analytics queries."""

from sandbox.monitor.faults import MonitorFaults
from sandbox.monitor.schema import TABLES
from sandbox.monitor.server import DEFAULT_RESOURCE, Monitor

__all__ = ["DEFAULT_RESOURCE", "TABLES", "Monitor", "MonitorFaults"]
