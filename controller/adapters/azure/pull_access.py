"""By what right a slot pulls its image. Managed identities never move in a swap: each has its own.

A container that cannot be pulled is found out at its next start only, which may be an instance
that is added at night.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from azure.mgmt.web.models import Site, SiteContainerProperties

from controller.adapters.azure.container_image import registry_of
from controller.adapters.azure.slot_parts import SlotParts
from controller.ports import PullAccess, PullMeans

_SERVER: Final = "DOCKER_REGISTRY_SERVER_URL"
_USER: Final = "DOCKER_REGISTRY_SERVER_USERNAME"
_PASSWORD: Final = "DOCKER_REGISTRY_SERVER_PASSWORD"  # noqa: S105 - a setting's name
_SYSTEM: Final = "systemassigned"


@dataclass(frozen=True, slots=True)
class AccessRead:
    """A slot's right, and why it is none; a problem completes a sentence about the slot."""

    access: PullAccess
    problems: tuple[str, ...] = ()


def of_site(parts: SlotParts) -> AccessRead:
    """Return the right of a classic container: by site config, else by settings."""
    configuration, settings = parts.configuration, parts.settings
    if configuration.acr_use_managed_identity_creds:
        client = configuration.acr_user_managed_identity_id
        return _by_identity(parts.site, client, "acrUserManagedIdentityID")
    server = _host(settings.get(_SERVER, ""))
    if settings.get(_USER) or settings.get(_PASSWORD):
        return AccessRead(PullAccess(PullMeans.PASSWORD, server))
    return AccessRead(PullAccess(PullMeans.ANONYMOUS if server else PullMeans.NOTHING, server))


def of_container(parts: SlotParts, container: SiteContainerProperties) -> AccessRead:
    """Return the right of a site container. The site's own configuration does not apply to it."""
    kind = str(getattr(container.auth_type, "value", container.auth_type) or "").lower()
    if kind == "systemidentity":
        return _by_identity(parts.site, None, "authType")
    if kind == "userassigned":
        client = container.user_managed_identity_client_id
        if not client:
            problem = "pulls by a user-assigned identity but names none. " + _advice("its")
            return AccessRead(PullAccess(PullMeans.IDENTITY), (problem,))
        return _by_identity(parts.site, client, "userManagedIdentityClientId")
    if kind == "usercredentials":
        registry = registry_of(str(container.image or ""))
        problems = () if container.password_secret else (_NOT_READABLE,)
        return AccessRead(PullAccess(PullMeans.PASSWORD, registry), problems)
    return AccessRead(PullAccess(PullMeans.ANONYMOUS))


_NOT_READABLE: Final = (
    "has a main site container with a registry password that cannot be read back, so writing an "
    "image would lose it. Let it pull by a managed identity (authType SystemIdentity or "
    "UserAssigned)."
)


def network_differences(parts: Mapping[str, SlotParts]) -> list[str]:
    """Return a warning where some slots pull through their virtual network and some do not."""
    over = sorted(name for name, each in parts.items() if _pulls_over_network(each))
    if not over or len(over) == len(parts):
        return []
    said = f"only {', '.join(over)} pulls images through its virtual network"
    return [f"{said}: the registry must be within reach of the other slots, too"]


def _pulls_over_network(parts: SlotParts) -> bool:
    properties = parts.site.properties
    if properties is None:
        return False
    routing = properties.outbound_vnet_routing
    by_routing = routing is not None and bool(routing.image_pull_traffic)
    by_setting = parts.settings.get("WEBSITE_PULL_IMAGE_OVER_VNET", "").lower() in {"true", "1"}
    return by_routing or by_setting or bool(properties.get("vnetImagePullEnabled"))


def _by_identity(site: Site, client_id: str | None, where: str) -> AccessRead:
    access = PullAccess(PullMeans.IDENTITY)
    if not client_id:
        if _has_system_identity(site):
            return AccessRead(access)
        problem = f"pulls by its system-assigned identity but has none. {_advice('its')}"
        return AccessRead(access, (problem,))
    known = _client_ids(site)
    if client_id.lower() in known:
        return AccessRead(access)
    if "/" in client_id:
        problem = f"names its identity in {where} by a resource id. Name it by its client id."
        return AccessRead(access, (problem,))
    problem = f"pulls by the identity {client_id}, which is not assigned to it. {_advice('that')}"
    return AccessRead(access, (problem,))


def _advice(which: str) -> str:
    return (
        f"Assign {which} identity to this very slot, with AcrPull on the registry: identities do "
        "not move in a swap."
    )


def _has_system_identity(site: Site) -> bool:
    kind = site.identity.type if site.identity else None
    spelt = str(getattr(kind, "value", kind) or "")
    return _SYSTEM in spelt.lower()


def _client_ids(site: Site) -> frozenset[str]:
    assigned = (site.identity.user_assigned_identities or {}) if site.identity else {}
    return frozenset(str(each.client_id).lower() for each in assigned.values() if each.client_id)


def _host(server: str) -> str | None:
    """Return the registry that a setting such as ``https://index.docker.io/v1`` means."""
    text = server.strip()
    if not text:
        return None
    host = urlsplit(text if "//" in text else f"//{text}").netloc
    return registry_of(f"{host}/") if host else None
