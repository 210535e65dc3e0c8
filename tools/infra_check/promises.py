"""What Slipway promises of an environment, held against what the templates make.

What a deployment must leave alone (image, settings, routing rules), what keeps an app reachable and
closed, who may do what, what is watched, kept and locked.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

from tools.infra_check.deployment import Deployment, Finding, Resource
from tools.infra_check.looking import SITES, Told, at, is_controller, of_type, short, slots_of
from tools.infra_check.promises_access import check_access
from tools.infra_check.promises_alerts import check_alerts
from tools.infra_check.values import Runtime, text_of

_SLIPWAYS: Final = frozenset(  # what a release owns, in a slot's siteConfig
    {
        "appSettings",
        "connectionStrings",
        "experiments",
        "linuxFxVersion",
        "windowsFxVersion",
    }
)
_TRAVELS: Final = frozenset(
    {"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES", "DOCKER_CUSTOM_IMAGE_NAME"}
)
_SLOT: Final[Mapping[str, Any]] = {
    "acrUseManagedIdentityCreds": True,
    "alwaysOn": True,
    "ftpsState": "Disabled",
    "http20Enabled": True,
    "remoteDebuggingEnabled": False,
}
_TLS: Final = frozenset({"1.2", "1.3"})
# By type: the property's path, and what it has to be.
_CLOSED: Final[Mapping[str, Mapping[str, Any]]] = {
    "Microsoft.Cache/redisEnterprise": {"minimumTlsVersion": "1.2"},
    "Microsoft.Cache/redisEnterprise/databases": {
        "accessKeysAuthentication": "Disabled",
        "clientProtocol": "Encrypted",
    },
    "Microsoft.ContainerRegistry/registries": {
        "adminUserEnabled": False,
        "anonymousPullEnabled": False,
    },
    "Microsoft.DBforPostgreSQL/flexibleServers": {"authConfig.activeDirectoryAuth": "Enabled"},
    "Microsoft.KeyVault/vaults": {
        "enablePurgeProtection": True,
        "enableRbacAuthorization": True,
        "enableSoftDelete": True,
    },
    "Microsoft.OperationalInsights/workspaces": {"features.disableLocalAuth": True},
    "Microsoft.ServiceBus/namespaces": {"disableLocalAuth": True, "minimumTlsVersion": "1.2"},
    "Microsoft.Storage/storageAccounts": {
        "allowBlobPublicAccess": False,
        "allowSharedKeyAccess": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
    },
    "Microsoft.Storage/storageAccounts/blobServices/containers": {"publicAccess": "None"},
}
# What is written to diagnostics, whoever deploys.
_DIAGNOSED: Final = (
    "Microsoft.Cache/redisEnterprise",
    "Microsoft.ContainerRegistry/registries",
    "Microsoft.DBforPostgreSQL/flexibleServers",
    "Microsoft.KeyVault/vaults",
    "Microsoft.ServiceBus/namespaces",
    "Microsoft.Web/sites",
    "Microsoft.Web/sites/slots",
)
_LOCKED: Final = (
    "Microsoft.ContainerRegistry/registries",
    "Microsoft.KeyVault/vaults",
    "Microsoft.ServiceBus/namespaces",
    "Microsoft.Storage/storageAccounts",
    "Microsoft.Web/sites",
)


def check_promises(deployment: Deployment, parameters: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what an environment with these parameters lacks, or has too much of."""
    main = next(iter(deployment.files))
    told = chain(
        _left_alone(deployment),
        _slots(deployment, parameters),
        _closed(deployment),
        _reachable(deployment),
        _plan(deployment),
        _autoscale(deployment),
        _database(deployment, parameters),
        _telemetry(deployment),
        _diagnostics(deployment),
        _locks(deployment, parameters),
        check_access(deployment),
        _backups(deployment),
        _containers(deployment),
        check_alerts(deployment, parameters),
        _twice(deployment),
    )
    for resource, what in told:
        place = (resource.path, resource.line) if resource else (main, 1)
        yield Finding(*place, what)


# -- the app


def _left_alone(deployment: Deployment) -> Told:
    for slot in slots_of(deployment):
        declared = slot.properties.get("siteConfig")
        for name in sorted(_SLIPWAYS & set(declared if isinstance(declared, Mapping) else ())):
            yield slot, f"{short(slot)} declares siteConfig.{name}, which a release owns"
    for resource in deployment.resources:
        kind = resource.type.rpartition("/")[2]
        if resource.type.startswith("Microsoft.Web/sites") and not resource.is_existing:
            if kind == "sitecontainers":
                yield resource, "a template declares sitecontainers, which a release owns"
            if kind == "config" and resource.name != "slotConfigNames":
                yield resource, f"config {text_of(resource.name)} replaces what a release owns"
            sticky = resource.properties.get("appSettingNames") or []
            for name in sorted(_TRAVELS & set(sticky if isinstance(sticky, list) else ())):
                yield resource, f"{name} is sticky, but has to travel with the image"


def _slots(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    found = slots_of(deployment)
    names = {text_of(each.name) for each in found if each.type.endswith("/slots")}
    wanted = set(parameters.get("slotNames", ["blue", "green"]))
    if names != wanted:
        yield None, f"the slots are {', '.join(sorted(names))}, not {', '.join(sorted(wanted))}"
    plans = {text_of(each.properties.get("serverFarmId")) for each in found}
    if len(plans) != 1:
        yield None, "site and slots are on several plans"
    policies = {
        (each.id.partition("/basicPublishing")[0], text_of(each.name)): each.properties.get("allow")
        for kind in SITES
        for each in deployment.declared(f"{kind}/basicPublishingCredentialsPolicies")
    }
    for slot in found:
        yield from _slot(slot)
        for door in ("ftp", "scm"):
            if policies.get((slot.id, door)) is not False:
                yield slot, f"{short(slot)} takes passwords at {door}"


def _slot(slot: Resource) -> Told:
    what = short(slot)
    if "SystemAssigned" not in text_of((slot.body.get("identity") or {}).get("type")):
        yield slot, f"{what} has no identity of its own"
    if slot.properties.get("httpsOnly") is not True:
        yield slot, f"{what} answers without TLS"
    configuration = slot.properties.get("siteConfig") or {}
    for name, value in _SLOT.items():
        if configuration.get(name) != value:
            yield slot, f"{what}: siteConfig.{name} is {configuration.get(name)!r}, not {value!r}"
    for name in ("minTlsVersion", "scmMinTlsVersion"):
        if configuration.get(name) not in _TLS:
            yield slot, f"{what}: siteConfig.{name} is {configuration.get(name)!r}, not 1.2 or 1.3"
    if not text_of(configuration.get("healthCheckPath")).startswith("/"):
        yield slot, f"{what} has no health check"


def _plan(deployment: Deployment) -> Told:
    plans = {text_of(each.properties.get("serverFarmId")) for each in slots_of(deployment)}
    found = [each for each in deployment.declared("Microsoft.Web/serverfarms") if each.id in plans]
    if not found:
        yield None, "the app has no plan"
    for plan in found:
        if plan.properties.get("reserved") is not True:
            yield plan, "the plan is not for Linux"
        size = text_of((plan.body.get("sku") or {}).get("name"))
        if not re.fullmatch(r"S[1-3]|P[0-5]m?v[2-4]|I[1-6]m?v2", size):
            yield plan, f"a plan of size {size} has no slots: Standard, Premium or Isolated"
        if (plan.body.get("sku") or {}).get("capacity", 0) < 2:  # noqa: PLR2004 - the plan of two
            yield plan, "the plan has fewer than two instances"


def _autoscale(deployment: Deployment) -> Told:
    plans = {text_of(each.properties.get("serverFarmId")) for each in slots_of(deployment)}
    found = deployment.declared("Microsoft.Insights/autoscalesettings")
    if not found:
        yield None, "nothing scales the plan"
    for setting in found:
        if text_of(setting.properties.get("targetResourceUri")) not in plans:
            yield setting, "autoscale stands on what is not the app's plan"
        for profile in setting.properties.get("profiles", []):
            capacity = {key: text_of(value) for key, value in profile["capacity"].items()}
            if capacity["minimum"] != "2" or int(capacity["maximum"]) < 2:  # noqa: PLR2004 - as above
                yield setting, f"autoscale goes from {capacity['minimum']} to {capacity['maximum']}"
            directions = {rule["scaleAction"]["direction"] for rule in profile["rules"]}
            if directions != {"Increase", "Decrease"}:
                yield setting, "autoscale goes one way only"
            limits = {
                rule["scaleAction"]["direction"]: rule["metricTrigger"]["threshold"]
                for rule in profile["rules"]
            }
            if limits.get("Increase", 0) <= 2 * limits.get("Decrease", 100):
                yield setting, "autoscale swings: one more and one less are too close"


def _database(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    for server in deployment.declared("Microsoft.DBforPostgreSQL/flexibleServers"):
        wanted = "Enabled" if parameters.get("databasePasswordLogin") else "Disabled"
        if at(server, "authConfig.passwordAuth") != wanted:
            yield server, f"passwords of the database are not {wanted}"
        password = server.properties.get("administratorLoginPassword")
        if password is not None and not isinstance(password, Runtime):
            yield server, "the database's password is a text"
    if not deployment.declared("Microsoft.DBforPostgreSQL/flexibleServers/administrators"):
        yield None, "nobody of Entra administers the database"


def _telemetry(deployment: Deployment) -> Told:
    workspaces = {
        each.id for each in deployment.declared("Microsoft.OperationalInsights/workspaces")
    }
    for each in deployment.declared("Microsoft.Insights/components"):
        if text_of(each.properties.get("WorkspaceResourceId")) not in workspaces:
            yield each, "Application Insights has no workspace"


# -- closed, kept, watched


def _closed(deployment: Deployment) -> Told:
    for vault in deployment.declared("Microsoft.KeyVault/vaults"):
        if vault.properties.get("accessPolicies"):
            yield vault, f"{short(vault)} has access policies beside its roles"
    for resource in deployment.resources:
        if resource.is_existing:
            continue
        for path, value in _CLOSED.get(resource.type, {}).items():
            if at(resource, path) != value:
                yield (
                    resource,
                    f"{short(resource)}: {path} is {at(resource, path)!r}, not {value!r}",
                )


def _reachable(deployment: Deployment) -> Told:
    endpoints = {
        text_of(each["properties"]["privateLinkServiceId"])
        for endpoint in deployment.declared("Microsoft.Network/privateEndpoints")
        for each in endpoint.properties["privateLinkServiceConnections"]
    }
    for resource in deployment.resources:
        is_closed = resource.properties.get("publicNetworkAccess") == "Disabled"
        if is_closed and resource.id not in endpoints:
            yield resource, f"{short(resource)} is closed, and has no private endpoint"


def _diagnostics(deployment: Deployment) -> Told:
    told = {
        each.id.partition("/providers/Microsoft.Insights/diagnosticSettings")[0]
        for each in deployment.declared("Microsoft.Insights/diagnosticSettings")
    }
    for resource in of_type(deployment, _DIAGNOSED):
        if resource.id not in told and f"{resource.id}/default" not in told:
            yield resource, f"{short(resource)} has no diagnostic settings"


def _locks(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    locks = deployment.declared("Microsoft.Authorization/locks")
    for lock in locks:
        if lock.properties.get("level") != "CanNotDelete":
            yield lock, "a lock is not CanNotDelete: ReadOnly would keep a release from its slot"
    if not parameters.get("lockResources", True):
        return
    held = {each.id.partition("/providers/Microsoft.Authorization/locks")[0] for each in locks}
    for resource in of_type(deployment, _LOCKED):
        if resource.id not in held and not is_controller(resource):
            yield resource, f"{short(resource)} can be deleted: it has no lock"


def _containers(deployment: Deployment) -> Told:
    """What the Function App is told to read is declared."""
    kind = "Microsoft.Storage/storageAccounts/blobServices/containers"
    names = {text_of(each.name) for each in deployment.declared(kind)}
    for app in deployment.declared("Microsoft.Web/sites"):
        if not is_controller(app):
            continue
        told = [text_of(at(app, "functionAppConfig.deployment.storage.value"))]
        for each in at(app, "siteConfig.appSettings") or []:
            if each["name"] == "SLIPWAY_CONFIG":
                told.append(text_of(each["value"]).removesuffix("»").removesuffix("/apps.yaml"))
            if each["name"] == "SLIPWAY_BACKUP_URL":
                told.append(text_of(each["value"]))
        for address in filter(None, told):
            container = re.split(r"[/»]", address.rstrip("»"))[-1]
            if container not in names:
                yield app, f"container {container} is declared nowhere"


def _backups(deployment: Deployment) -> Told:
    kept = {
        each.id.partition("/blobServices")[0]
        for each in deployment.declared(
            "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies"
        )
    }
    if not kept:
        yield None, "no container keeps backup sets from being removed"
    for service in deployment.declared("Microsoft.Storage/storageAccounts/blobServices"):
        if at(service, "deleteRetentionPolicy.enabled") is not True:
            yield service, "a removed blob is gone at once"
        account = service.id.partition("/blobServices")[0]
        if account in kept and service.properties.get("isVersioningEnabled") is not True:
            yield service, "backup sets have no versions"


def _twice(deployment: Deployment) -> Told:
    seen: set[str] = set()
    for resource in deployment.resources:
        if not resource.is_existing and resource.id.lower() in seen:
            yield resource, f"{short(resource)} is declared twice"
        if not resource.is_existing:
            seen.add(resource.id.lower())
