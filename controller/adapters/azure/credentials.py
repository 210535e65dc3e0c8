"""Who we are at Azure: one credential for every client."""

from pathlib import Path
from typing import Any

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import DefaultAzureCredential

from controller.adapters.tls import trust


def default_credential(ca_file: Path | None = None) -> AsyncTokenCredential:
    """Return the process's credential. It caches its tokens: make one and give it to everybody.

    In Azure that is the managed identity (``AZURE_CLIENT_ID`` names a user-assigned one); on a
    developer's machine whatever ``DefaultAzureCredential`` finds. Nothing is asked of the network
    before the first token. *ca_file* is trusted beside the public authorities.
    """
    return DefaultAzureCredential(**connection_options(ca_file))


def connection_options(ca_file: Path | None) -> dict[str, Any]:
    """Return keywords for one aio SDK client so that it trusts *ca_file*, too.

    A transport of its own, because the SDK's ``connection_verify`` replaces the public roots, and
    builds a new TLS context (so a new connection) for every single request. Call it inside the
    event loop; the client closes the transport.
    """
    if ca_file is None:
        return {}
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(ca_file)),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=True,
    )
    return {"transport": AioHttpTransport(session=session)}
