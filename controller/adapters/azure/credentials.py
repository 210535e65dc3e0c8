"""Who we are at Azure: one credential for every client, made when somebody first asks."""

from pathlib import Path
from typing import Any

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import DefaultAzureCredential

from controller.adapters.tls import trust


class Credentials:
    """Holds the process's credential, which caches its tokens.

    In Azure that is the managed identity (``AZURE_CLIENT_ID`` names a user-assigned one); on a
    developer's machine whatever ``DefaultAzureCredential`` finds.
    """

    def __init__(self, *, extra_authority: Path | None = None) -> None:
        self._extra_authority = extra_authority
        self._credential: DefaultAzureCredential | None = None

    def get(self) -> AsyncTokenCredential:
        """Return the credential; nothing is asked of the network before its first token."""
        if self._credential is None:
            self._credential = DefaultAzureCredential(**connection_options(self._extra_authority))
        return self._credential

    async def close(self) -> None:
        """Close its connections; `get` makes a new one afterwards."""
        credential, self._credential = self._credential, None
        if credential is not None:
            await credential.close()


def connection_options(extra_authority: Path | None) -> dict[str, Any]:
    """Return keywords for one aio SDK client so that it trusts *extra_authority*, too.

    A transport of its own, because the SDK's ``connection_verify`` replaces the public roots, and
    builds a new TLS context (so a new connection) for every single request. Call it inside the
    event loop; the client closes the transport.
    """
    if extra_authority is None:
        return {}
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(extra_authority)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=True,
    )
    return {"transport": AioHttpTransport(session=session)}
