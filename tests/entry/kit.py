"""Doors over memory twins."""

import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

from controller.adapters.memory.secrets import MemorySecrets
from controller.core.plan import AppSpec, Source
from controller.entry.api import Api
from controller.entry.http import Request, Response
from controller.entry.intake import Intake
from controller.entry.webhooks import registry_webhook
from controller.ports import Message
from controller.runtime.explainer import Explainer
from controller.runtime.messages import COMMANDS_QUEUE
from tests.runtime.kit import House, digest, spec

SECRET = "hush"
DIGEST = digest(2)
TOPIC = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/a-resource-group-with-a-name"
    "/providers/Microsoft.ContainerRegistry/registries/Contoso"
)


def app(name: str = "shop", **source: Any) -> AppSpec:
    base = Source(registry="contoso.azurecr.io", repository="shop")
    return replace(spec(name), source=replace(base, **source))


def push(**target: Any) -> dict[str, Any]:
    """Return a push as Azure Container Registry's own webhook says it."""
    return {
        "id": "31c51664-e5bd-416a-a5df-e5206bc47ed0",
        "timestamp": "2026-04-25T21:39:47.276585742Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": DIGEST,
            "repository": "shop",
            "tag": "v2",
        }
        | target,
        "request": {"host": "contoso.azurecr.io"},
    }


def signed(registry: str, body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Return the header by which a registry proves that it knows the secret."""
    if registry != "ghcr":
        return {"authorization": secret}
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"x-hub-signature-256": f"sha256={signature}"}


class Doors:
    """Webhook, events and API of one house."""

    def __init__(self, *specs: AppSpec) -> None:
        self.house = House(specs or (app(),))
        self.intake = Intake(
            configuration=self.house.configuration,
            bus=self.house.ports.bus,
            registry=self.house.registry,
        )
        self.secrets = MemorySecrets({"webhook-acr": SECRET}, weather=self.house.weather)
        self.explainer = Explainer(
            buckets=self.house.store,
            evidence=self.house.evidence,
            history=self.house.store,
            clock=self.house.clock,
        )
        self.api = Api(
            store=self.house.store,
            history=self.house.store,
            buckets=self.house.store,
            bus=self.house.ports.bus,
            registry=self.house.registry,
            configuration=self.house.configuration,
            explainer=self.explainer,
        )

    async def webhook(
        self,
        body: Any,
        *,
        registry: str = "acr",
        headers: dict[str, str] | None = None,
    ) -> Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(
            method="POST",
            headers={"x-slipway-secret": SECRET} if headers is None else headers,
            route={"registry": registry},
            body=raw,
        )
        return await registry_webhook(request, self.intake, self.secrets)

    def queued(self) -> list[Message]:
        return list(self.house.bus.waiting(COMMANDS_QUEUE))

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.queued()]


def error_of(response: Response) -> dict[str, str]:
    """Return the error of an answer, in the one form that all errors have."""
    error: dict[str, str] = response.body["error"]
    assert set(error) == {"code", "message", "fix"}
    assert all(error.values())
    return error
