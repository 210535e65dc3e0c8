"""A flexible server on loopback, and Slipway's client of it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.flexible_server import FlexibleServers
from controller.core.data import ServerName
from sandbox.app_service import AppService, FlexibleServer
from sandbox.app_service.database_servers import DatabaseServers
from sandbox.tls import Authority
from tests.sandbox.app_service_kit import Credential

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = "rg-data"
NAME = ServerName(subscription=SUBSCRIPTION, resource_group=GROUP, name="shop-db")


@dataclass(slots=True)
class Stand:
    """What a test drives, and what it looks at."""

    service: AppService
    authority: Authority
    server: FlexibleServer

    @property
    def databases(self) -> DatabaseServers:
        return self.service.databases

    @asynccontextmanager
    async def platform(self) -> AsyncGenerator[FlexibleServers]:
        """A new process: it knows nothing of what an earlier one did."""
        made = FlexibleServers(
            Credential(),
            arm_endpoint=self.service.arm_url,
            connection_options=connection_options(self.authority.ca_file),
        )
        try:
            yield made
        finally:
            await made.close()

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[PostgreSQLManagementClient]:
        """The SDK's client as it comes, but for how long it waits between polls."""
        async with PostgreSQLManagementClient(
            Credential(),
            SUBSCRIPTION,
            base_url=self.service.arm_url,
            credential_scopes=["https://management.azure.com/.default"],
            polling_interval=0,
            **connection_options(self.authority.ca_file),
        ) as made:
            yield made

    def writes(self) -> list[str]:
        """The requests that change something, as "METHOD name"."""
        return [
            f"{each.method} {each.path.rpartition('/')[2]}"
            for each in self.service.log
            if each.method in {"PUT", "DELETE", "PATCH"}
        ]


@asynccontextmanager
async def a_stand(authority: Authority, directory: Path, **changes: Any) -> AsyncGenerator[Stand]:
    """Yield Resource Manager with one flexible server."""
    service = AppService(authority, work_directory=directory)
    service.arm.provider.retry_after_seconds = None
    await service.start()
    wanted = {
        "subscription": SUBSCRIPTION,
        "resource_group": GROUP,
        "name": NAME.name,
        "tags": {"team": "shop"},
        **changes,
    }
    server = service.databases.add(FlexibleServer(**wanted))
    try:
        yield Stand(service, authority, server)
    finally:
        await service.stop()
