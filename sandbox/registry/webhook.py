"""Posts notices of pushes until the receiver takes them."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import aiohttp

from sandbox.registry import notices
from sandbox.registry.events import PushEvent
from sandbox.registry.notices import Notice, Renderer

_RETRY_SECONDS = (0.2, 1.0, 5.0)
_ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. *status* is None when no answer came."""

    body: bytes
    status: int | None


class WebhookSender:
    """Posts each event in one registry's form. An instance is a listener of a `Registry`.

    *headers* are those one configures on the webhook (ACR signs nothing, so a shared
    ``Authorization`` goes here). Anything but 2xx is tried again after each of *retry_seconds*;
    ``deliveries`` lists every attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        render: Renderer = notices.acr,
        headers: Mapping[str, str] | None = None,
        retry_seconds: Sequence[float] = _RETRY_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self._url = url
        self._render = render
        self._headers = dict(headers or {})
        self._waits = tuple(retry_seconds)
        self._tls = tls

    async def __call__(self, event: PushEvent) -> None:
        """Deliver *event*, or give up after the last attempt."""
        notice = self._render(event)
        if notice is not None:
            await self.send(notice)

    async def ping(self) -> bool:
        """Send ACR's ``ping``; return whether it was accepted."""
        return await self.send(notices.acr_ping())

    async def send(self, notice: Notice) -> bool:
        """Post *notice* until it is accepted; return whether it was."""
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        limit = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
            for wait in (0.0, *self._waits):
                await asyncio.sleep(wait)
                if await self._attempt(session, notice):
                    return True
        return False

    async def _attempt(self, session: aiohttp.ClientSession, notice: Notice) -> bool:
        status = None
        headers = {**notice.headers, **self._headers}
        try:
            async with session.post(self._url, data=notice.body, headers=headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            pass  # no answer is an attempt like any other
        self.deliveries.append(Delivery(notice.body, status))
        return status is not None and 200 <= status < 300
