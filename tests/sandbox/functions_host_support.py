"""What the tests of the Functions host share."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from sandbox.functions_host import FunctionsHost

ECHO = Path(__file__).parent / "function_apps" / "echo"
NEVER = "0 0 0 1 1 *"  # once a year

T = TypeVar("T")


def connection_string(namespace: str) -> str:
    return (
        f"Endpoint=sb://{namespace};SharedAccessKeyName=Root;SharedAccessKey=secret;"
        "UseDevelopmentEmulator=true;"
    )


def echo_settings(**more: str) -> dict[str, str]:
    """Settings under which the echo app starts; its namespace is a port nobody listens on."""
    return {
        "ServiceBus": connection_string("127.0.0.1:9"),
        "SESSION_QUEUE": "sessions",
        "TICK": NEVER,
    } | more


async def until(
    condition: Callable[[], Awaitable[T | None]], *, seconds: float = 30, what: str = "it"
) -> T:
    """Ask until the answer is true, at most *seconds*."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if answer := await condition():
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {seconds} s")


class Client:
    """Talks to the echo app."""

    def __init__(self, host: FunctionsHost, session: aiohttp.ClientSession) -> None:
        self.host = host
        self._session = session

    async def call(self, method: str, path: str, **kwargs: Any) -> tuple[int, str]:
        async with self._session.request(method, self.host.url + path, **kwargs) as response:
            return response.status, await response.text()

    async def records(self, kind: str) -> list[dict[str, Any]]:
        _, text = await self.call("GET", "/api/records")
        return [record for record in json.loads(text) if record["kind"] == kind]

    async def wait_for(self, kind: str, count: int = 1, **facts: object) -> list[dict[str, Any]]:
        """Return the records of *kind* with these *facts*, once there are *count*."""

        async def enough() -> list[dict[str, Any]] | None:
            found = [r for r in await self.records(kind) if facts.items() <= r.items()]
            return found if len(found) >= count else None

        return await until(enough, what=f"{count} x {kind} {facts}")
