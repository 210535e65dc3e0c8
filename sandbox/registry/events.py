"""What a registry says about a push: ACR's Event Grid event and ACR's own webhook."""

import asyncio
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp

Json = dict[str, Any]
Action = Literal["push", "delete"]

_RETRY_SECONDS = (0.2, 1.0, 5.0)
_ANSWER_SECONDS = 10.0


def _new_id() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True, kw_only=True)
class PushEvent:
    """A manifest came or went. Each pushed platform and each signature is an event of its own."""

    action: Action
    media_type: str
    size: int  # bytes of the manifest
    digest: str
    repository: str
    tag: str | None  # None when pushed by digest
    host: str  # the registry's login server
    user_agent: str
    id: str = field(default_factory=_new_id)
    request_id: str = field(default_factory=_new_id)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


def event_type(event: PushEvent) -> str:
    """Return the type as Event Grid names it."""
    kind = {"push": "ImagePushed", "delete": "ImageDeleted"}[event.action]
    return f"Microsoft.ContainerRegistry.{kind}"


def subject(event: PushEvent) -> str:
    """Return "repository:tag", or the repository alone where no tag is involved."""
    return f"{event.repository}:{event.tag}" if event.tag else event.repository


def event_grid_data(event: PushEvent) -> Json:
    """Return the ``data`` of the Event Grid event, which is also the webhook's whole body."""
    target: Json = {"mediaType": event.media_type}
    if event.action == "push":
        target |= {"size": event.size, "length": event.size}
    target |= {"digest": event.digest, "repository": event.repository}
    if event.tag is not None:
        target["tag"] = event.tag
    return {
        "id": event.id,
        "timestamp": event.timestamp.isoformat().replace("+00:00", "Z"),
        "action": event.action,
        "target": target,
        "request": {
            "id": event.request_id,
            "host": event.host,
            "method": {"push": "PUT", "delete": "DELETE"}[event.action],
            "useragent": event.user_agent,
        },
    }


def webhook_body(event: PushEvent) -> Json:
    """Return the body of ACR's own webhook."""
    return event_grid_data(event)


def ping_body() -> Json:
    """Return what ACR sends when somebody asks it to try the webhook."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return {"id": _new_id(), "timestamp": stamp, "action": "ping"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt. *status* is None when no answer came."""

    body: Json
    status: int | None


class WebhookSender:
    """Posts each event as ACR does. An instance is a listener: ``registry.on_push.append(it)``.

    *headers* are what one configures on the webhook: ACR signs nothing. Anything but 2xx is
    tried again after each of *retry_seconds*; ``deliveries`` lists every attempt.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry_seconds: Sequence[float] = _RETRY_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self._url = url
        self._headers = {"User-Agent": "AzureContainerRegistry/1.0", **(headers or {})}
        self._waits = tuple(retry_seconds)
        self._tls = tls

    async def __call__(self, event: PushEvent) -> None:
        """Deliver *event*, or give up after the last attempt."""
        await self.send(webhook_body(event))

    async def ping(self) -> bool:
        """Send a ``ping``; return whether it was accepted."""
        return await self.send(ping_body())

    async def send(self, body: Json) -> bool:
        """Post *body* until it is accepted; return whether it was."""
        connector = aiohttp.TCPConnector(ssl=self._tls or True)
        limit = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
            for wait in (0.0, *self._waits):
                await asyncio.sleep(wait)
                if await self._attempt(session, body):
                    return True
        return False

    async def _attempt(self, session: aiohttp.ClientSession, body: Json) -> bool:
        status = None
        try:
            async with session.post(self._url, json=body, headers=self._headers) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            pass  # no answer is an attempt like any other
        self.deliveries.append(Delivery(body, status))
        return status is not None and 200 <= status < 300
