"""A running Azure Monitor for tests, and Microsoft's client for its queries."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.monitor.query import LogsQueryPartialResult, LogsQueryResult
from azure.monitor.query.aio import LogsQueryClient

from sandbox import tokens
from sandbox.monitor import Monitor
from sandbox.monitor.query import AUDIENCE
from sandbox.tls import Authority, create_authority

WORKSPACE = "7b4c1a52-0b3e-4d61-9f0a-1f6f3f0c2a11"
OTHER = "7b4c1a52-0b3e-4d61-9f0a-1f6f3f0c2a22"
OBJECT_ID = "00000000-0000-0000-0000-0000000000c1"


class Identity(AsyncTokenCredential):
    """Hands out tokens as the sandbox's identity endpoint does."""

    def __init__(self, resource: str | None = None) -> None:
        self._resource = resource

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        resource = self._resource or scopes[0].removesuffix("/.default")
        return AccessToken(*tokens.mint(resource, OBJECT_ID))

    async def close(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass(frozen=True, slots=True)
class World:
    """A Monitor with two workspaces and a client for it."""

    monitor: Monitor
    client: LogsQueryClient
    authority: Authority

    async def ask(self, query: str, *, timespan: Any = None, **options: Any) -> list[list[Any]]:
        """Return the rows of a query that must succeed."""
        answer = await self.client.query_workspace(WORKSPACE, query, timespan=timespan, **options)
        assert isinstance(answer, LogsQueryResult), answer
        return rows(answer)


def rows(answer: LogsQueryResult | LogsQueryPartialResult | Any) -> list[list[Any]]:
    table = (answer.tables if isinstance(answer, LogsQueryResult) else answer.partial_data)[0]
    return [list(row) for row in table.rows]


def client_for(
    monitor: Monitor, authority: Authority, identity: Identity | None = None, **options: Any
) -> LogsQueryClient:
    settings = {"retry_total": 0, "connection_verify": str(authority.ca_file), **options}
    return LogsQueryClient(
        identity or Identity(), endpoint=monitor.query_url, audience=AUDIENCE, **settings
    )


@asynccontextmanager
async def running(directory: Path, **options: Any) -> AsyncGenerator[World, None]:
    authority = create_authority(directory)
    async with (
        Monitor(authority, workspaces=[WORKSPACE, OTHER], **options) as monitor,
        client_for(monitor, authority) as client,
    ):
        yield World(monitor, client, authority)


async def until(
    condition: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 30
) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.05)
