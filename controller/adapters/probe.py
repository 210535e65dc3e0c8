"""Single requests to a build. What comes back is an answer, also when nothing comes back."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import aiohttp

from controller import __version__
from controller.adapters.tls import trust
from controller.core.plan import Health, Identity, IdentityKind, SmokeTest
from controller.ports import Answer

_BODY_BYTES: Final = 64 * 1024
_EXCERPT: Final = 200  # characters
_AGENT: Final = {"User-Agent": f"Slipway-Probe/{__version__}"}
# What SDKs of Application Insights know as App Service's own ping, and report as synthetic.
_NO_USER: Final = {"User-Agent": f"Slipway-Probe/{__version__} (AlwaysOn)"}


@dataclass(frozen=True, slots=True)
class _Response:
    """What is kept of a response."""

    answer: Answer
    headers: Mapping[str, str]
    body: bytes  # at most _BODY_BYTES


class HttpProber:
    """Asks over HTTP(S). Keeps neither cookies nor connections from one request to the next.

    A kept connection could outlive the instance that it leads to. Redirects are not followed:
    a build that sends us elsewhere is not the one that answers.

    Args:
        ca_file: PEM file of a certificate authority to trust beside the public ones.
    """

    def __init__(self, *, ca_file: Path | None = None) -> None:
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ready(
        self, base_url: str, health: Health, *, cookie: tuple[str, str] | None = None
    ) -> Answer:
        """See `Prober`."""
        headers = {"Cookie": "=".join(cookie)} if cookie else {}
        url = _join(base_url, health.readiness_path)
        response = await self._send("GET", url, headers, health.request_timeout)
        return replace(response.answer, release=_release(health.identity, response))

    async def smoke(self, base_url: str, test: SmokeTest, *, timeout: timedelta) -> Answer:
        """See `Prober`."""
        url = _join(base_url, test.path)
        response = await self._send(test.method, url, dict(test.headers), timeout)
        return replace(response.answer, error=_unexpected(test, response))

    async def get(
        self, url: str, *, timeout: timedelta, cookie: tuple[str, str] | None = None
    ) -> Answer:
        """See `Prober`."""
        headers = {**_NO_USER, **({"Cookie": "=".join(cookie)} if cookie else {})}
        return (await self._send("GET", url, headers, timeout)).answer

    async def _send(
        self, method: str, url: str, headers: Mapping[str, str], timeout: timedelta
    ) -> _Response:
        limit = aiohttp.ClientTimeout(total=timeout.total_seconds())
        started = time.perf_counter()
        try:
            async with self._open().request(
                method, url, headers={**_AGENT, **headers}, allow_redirects=False, timeout=limit
            ) as response:
                body = await _bounded(response)
                status, got = response.status, response.headers
        # ValueError: a URL or host name that cannot be; OSError: sockets and TLS.
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            why = _why(error, timeout)
            return _Response(Answer(status=None, release=None, error=why), {}, b"")
        answer = Answer(
            status=status,
            release=None,
            body_excerpt=body[: _EXCERPT * 4].decode(errors="replace")[:_EXCERPT],
            elapsed_ms=(time.perf_counter() - started) * 1000,
        )
        return _Response(answer, got, body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trust(self._ca_file), force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def _join(base_url: str, path: str) -> str:
    return f"{base_url.rstrip('/')}/{path.lstrip('/')}"


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    """Read the body up to our limit; what is beyond tells nothing about readiness."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= _BODY_BYTES:
            break
    return bytes(body[:_BODY_BYTES])


def _why(error: Exception, timeout: timedelta) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout.total_seconds():g} s"
    return str(error) or type(error).__name__


def _release(identity: Identity, response: _Response) -> str | None:
    """Return the identity that the answer shows in the configured place."""
    if identity.kind is IdentityKind.HEADER:
        return response.headers.get(identity.name) or None
    if identity.kind is IdentityKind.JSON:
        return _field(response.body, identity.name)
    return None


def _field(body: bytes, dotted: str) -> str | None:
    """Return a text field of a JSON body, ``a.b`` for nested ones."""
    try:
        value: Any = json.loads(body)
    except ValueError:
        return None
    for name in dotted.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(name)
    return value if isinstance(value, str) and value else None


def _unexpected(test: SmokeTest, response: _Response) -> str | None:
    """Return what is not as the test expects, None when all is."""
    answer = response.answer
    if answer.status is None:
        return answer.error
    if answer.status != test.expect_status:
        return f"expected status {test.expect_status}, got {answer.status}: {answer.body_excerpt}"
    if test.expect_body is not None and test.expect_body.encode() not in response.body:
        return f"expected {test.expect_body!r} in the body, got: {answer.body_excerpt}"
    return None
