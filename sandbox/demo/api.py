"""The controller's HTTP API as a person with curl uses it."""

from typing import Any

import aiohttp

from sandbox.functions_host import FunctionsHost

Json = dict[str, Any]


class Api:
    """Asks the Functions host with its key. Answers that fail are None: the host may be away."""

    def __init__(self, host: FunctionsHost) -> None:
        self._host = host
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str) -> Json | None:
        """Return the JSON at *path*, None where there is no good answer."""
        try:
            async with self._http().get(f"{self._host.url}/api/{path}") as answer:
                found: Json | None = await answer.json() if answer.status == 200 else None
                return found
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def post(self, path: str, body: Json) -> tuple[int, Json]:
        """Post *body* and return status and answer."""
        async with self._http().post(f"{self._host.url}/api/{path}", json=body) as answer:
            return answer.status, await answer.json()

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                headers={"x-functions-key": self._host.host_key},
                timeout=aiohttp.ClientTimeout(total=10),
            )
        return self._session
