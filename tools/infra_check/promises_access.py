"""Who may do what: the slots, and Slipway."""

import re
from typing import Final

from tools.infra_check.deployment import Deployment
from tools.infra_check.known import ROLES
from tools.infra_check.looking import Told, at, is_controller, short, slots_of
from tools.infra_check.values import kind_of, text_of

# Slipway's own roles, and on what.
_CONTROLLER: Final = frozenset(
    {
        ("Storage Blob Data Owner", "Microsoft.Storage/storageAccounts"),
        ("Storage Queue Data Contributor", "Microsoft.Storage/storageAccounts"),
        ("Storage Table Data Contributor", "Microsoft.Storage/storageAccounts"),
        ("Storage Blob Data Contributor", "Microsoft.Storage/storageAccounts"),
        ("Azure Service Bus Data Owner", "Microsoft.ServiceBus/namespaces"),
        ("Key Vault Secrets User", "Microsoft.KeyVault/vaults"),
        ("Log Analytics Reader", "Microsoft.OperationalInsights/workspaces"),
        ("Monitoring Metrics Publisher", "Microsoft.Insights/components"),
    }
)
_PULLS: Final = ("AcrPull", "Container Registry Repository Reader")


def check_access(deployment: Deployment) -> Told:
    """Yield rights that are missing, and doors that are open."""
    yield from _slot_roles(deployment)
    yield from _controller_roles(deployment)
    yield from _controller(deployment)


def _grants(deployment: Deployment) -> set[tuple[str, str, str]]:
    """Return (principal, role, id of what it is on)."""
    custom = {
        each.id: text_of(each.properties.get("roleName"))
        for each in deployment.declared("Microsoft.Authorization/roleDefinitions")
    }
    return {
        (
            text_of(each.properties.get("principalId")),
            custom.get(role, ROLES.get(role.rpartition("/")[2], role)),
            each.id.rpartition("/providers/Microsoft.Authorization/")[0],
        )
        for each in deployment.declared("Microsoft.Authorization/roleAssignments")
        for role in [text_of(each.properties.get("roleDefinitionId"))]
    }


def _slot_roles(deployment: Deployment) -> Told:
    grants = _grants(deployment)
    for slot in slots_of(deployment):
        principal = f"«principalId of {slot.id}»"
        mine = {(role, kind_of(on)) for who, role, on in grants if who == principal}
        if not any((role, "Microsoft.ContainerRegistry/registries") in mine for role in _PULLS):
            yield slot, f"{short(slot)} may not pull images"
        if ("Key Vault Secrets User", "Microsoft.KeyVault/vaults") not in mine:
            yield slot, f"{short(slot)} may not read secrets"


def _controller_roles(deployment: Deployment) -> Told:
    for identity in deployment.declared("Microsoft.ManagedIdentity/userAssignedIdentities"):
        principal = f"«{identity.id}.principalId»"
        mine = {(role, kind_of(on)) for who, role, on in _grants(deployment) if who == principal}
        for role, kind in sorted(_CONTROLLER - mine):
            yield identity, f"Slipway has no role {role} on a {kind}"
        if not any(role.startswith("Slipway ") for role, _ in mine):
            yield identity, "Slipway has no role on the group's sites"


def _controller(deployment: Deployment) -> Told:
    identities = {
        each.id for each in deployment.declared("Microsoft.ManagedIdentity/userAssignedIdentities")
    }
    found = [each for each in deployment.declared("Microsoft.Web/sites") if is_controller(each)]
    if len(found) != 1:
        yield None, f"there are {len(found)} Function Apps"
    for app in found:
        mine = set((app.body.get("identity") or {}).get("userAssignedIdentities") or {})
        if not mine & identities:
            yield app, "the Function App does not run as Slipway's identity"
        if app.properties.get("httpsOnly") is not True:
            yield app, "the Function App answers without TLS"
        image = text_of(at(app, "siteConfig.linuxFxVersion"))
        is_ours = not image.startswith("DOCKER|mcr.microsoft.com/azure-functions/")
        if image and is_ours and not re.search(r"@sha256:[0-9a-f]{64}$", image):
            yield app, f"the Function App's image {image} is named by no digest"
