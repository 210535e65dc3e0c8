"""Service Bus connections from app settings, resolved as the real host does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential
from azure.servicebus import TransportType
from azure.servicebus.aio import ServiceBusClient

from sandbox.functions_host.configuration import HostConfigurationError

_AMQPS_PORT = 5671

# The pumps do their own retrying: a client that retries inside one call holds no accept open
# while it waits between attempts.
_NO_RETRY = 0


def service_bus_client(
    name: str, settings: Mapping[str, str], ca_file: Path | None
) -> ServiceBusClient:
    """Return a client for connection *name*: a connection string, or identity-based settings.

    Raises:
        HostConfigurationError: no setting says where the namespace is.
    """
    for prefix in (name, f"AzureWebJobs{name}"):
        if connection_string := settings.get(prefix):
            return ServiceBusClient.from_connection_string(
                connection_string, retry_total=_NO_RETRY, **_trust(ca_file)
            )
        if namespace := settings.get(f"{prefix}__fullyQualifiedNamespace"):
            return ServiceBusClient(
                namespace,
                _credential(prefix, settings),
                retry_total=_NO_RETRY,
                **_endpoint(namespace),
                **_trust(ca_file),
            )
    raise HostConfigurationError(
        f"Service Bus connection '{name}' has no settings: "
        f"set {name} or {name}__fullyQualifiedNamespace."
    )


def _credential(
    prefix: str, settings: Mapping[str, str]
) -> DefaultAzureCredential | ManagedIdentityCredential:
    if settings.get(f"{prefix}__credential", "").lower() == "managedidentity":
        return ManagedIdentityCredential(client_id=settings.get(f"{prefix}__clientId"))
    return DefaultAzureCredential()


def _endpoint(namespace: str) -> dict[str, Any]:
    """Say where to connect if the namespace names a port.

    With TLS the client always goes to 5671 and drops any other port from the name; a custom
    endpoint over plain AMQP is its one way to another.
    """
    host, _, port = namespace.partition(":")
    if not port or int(port) == _AMQPS_PORT:
        return {}
    return {
        "custom_endpoint_address": f"sb://{host}:{port}",
        "transport_type": TransportType.Amqp,
    }


def _trust(ca_file: Path | None) -> dict[str, Any]:
    """SSL_CERT_FILE means nothing to this client: the authority is an argument."""
    return {} if ca_file is None else {"connection_verify": str(ca_file)}
