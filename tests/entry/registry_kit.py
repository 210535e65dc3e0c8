"""Deliveries to the registries' doors."""

from datetime import UTC, datetime
from typing import Any

from controller.adapters.memory.secrets import MemorySecrets
from controller.entry.http import Request, Response
from controller.entry.webhooks import REGISTRIES, registry_webhook
from sandbox.registry import PushEvent
from sandbox.registry.media_types import OCI_INDEX
from sandbox.registry.notices import Notice
from tests.entry.kit import SECRET, Doors
from tests.runtime.kit import digest

NAMES = sorted(REGISTRIES)
HEARD = {"webhook-request-origin": "eventgrid.azure.net", "webhook-request-rate": "120"}
HUB = {"registry": "docker.io", "repository": "octo/shop"}
OURS = {"registry": "registry.example.com", "repository": "octo/shop"}


def told(**changes: Any) -> PushEvent:
    facts: dict[str, Any] = {
        "action": "push",
        "media_type": OCI_INDEX,
        "size": 500,
        "digest": digest(2),
        "repository": "octo/shop",
        "tag": "v2",
        "host": "registry.example.com",
        "user_agent": "docker",
        "timestamp": datetime(2026, 4, 25, 21, 39, tzinfo=UTC),
    }
    return PushEvent(**(facts | changes))


async def post(
    doors: Doors,
    registry: str,
    body: bytes,
    headers: dict[str, str],
    *,
    query: dict[str, str] | None = None,
    method: str = "POST",
    secret: str | None = SECRET,
) -> Response:
    kept = {f"webhook-{name}": secret for name in NAMES} if secret is not None else {}
    request = Request(
        method=method,
        headers={name.lower(): value for name, value in headers.items()},
        query=query or {},
        route={"registry": registry},
        body=body,
    )
    return await registry_webhook(request, doors.intake, MemorySecrets(kept))


async def sent(doors: Doors, registry: str, notice: Notice | None, **more: Any) -> Response:
    assert notice is not None
    headers = dict(notice.headers)
    headers |= {} if registry == "ghcr" else {"Authorization": SECRET}
    return await post(doors, registry, notice.body, headers, **more)
