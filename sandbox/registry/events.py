"""A manifest came or went, and how ACR says so through Event Grid."""

import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

Json = dict[str, Any]
Action = Literal["push", "delete"]


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
