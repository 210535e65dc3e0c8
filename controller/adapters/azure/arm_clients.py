"""The SDK's clients of Resource Manager: one per subscription, shared by all who drive sites."""

from collections.abc import Mapping
from typing import Any, Final

from azure.core.credentials_async import AsyncTokenCredential
from azure.mgmt.web.aio import WebSiteManagementClient

from controller.adapters.azure.arm_site import ArmSlot
from controller.core.plan import SlotName, Target

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30  # the SDK's own 300 would outlive the handler that waits


class ArmClients:
    """Made when first asked for, kept until `close`.

    Args:
        credential: needs the role Website Contributor on each site.
        arm_endpoint: Resource Manager of the cloud in use.
        audience: whom its tokens are for.
        connection_options: keywords of the SDK's client, such as ``connection_verify`` or
            ``transport`` (see `credentials.connection_options`).
    """

    def __init__(
        self,
        credential: AsyncTokenCredential,
        *,
        arm_endpoint: str = "https://management.azure.com",
        audience: str = "https://management.azure.com",
        connection_options: Mapping[str, Any] = {},
    ) -> None:
        self._credential = credential
        self._arm_endpoint = arm_endpoint
        self._audience = audience
        self._connection_options = connection_options
        self._clients: dict[str, WebSiteManagementClient] = {}

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    @property
    def endpoint(self) -> str:
        """Where Resource Manager is."""
        return self._arm_endpoint

    def slot(self, target: Target, name: SlotName) -> ArmSlot:
        """Return the calls of one slot."""
        return ArmSlot(self.client(target).web_apps, target, name)

    def client(self, target: Target) -> WebSiteManagementClient:
        """Return the client of the subscription of *target*."""
        client = self._clients.get(target.subscription)
        if client is None:
            client = self._clients[target.subscription] = self._made(target.subscription)
        return client

    def _made(self, subscription: str) -> WebSiteManagementClient:
        options: dict[str, Any] = {
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
            **self._connection_options,
            # The SDK repeats POST and PATCH after a 5xx, and anything after Retry-After. Only the
            # engine may repeat: it reads the world before it acts again.
            "retry_total": 0,
        }
        return WebSiteManagementClient(
            self._credential,
            subscription,
            base_url=self._arm_endpoint,
            credential_scopes=[f"{self._audience.rstrip('/')}/.default"],
            **options,
        )
