"""What exists in Azure, as far as the templates name it: API versions, roles, metrics, names.

From Microsoft's documentation and the Azure Verified Modules, looked up on 2026-08-20.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from tools.infra_check.deployment import Deployment, Finding, Resource
from tools.infra_check.values import Runtime, kind_of, known, text_of

API_VERSIONS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(versions.split())
    for kind, versions in {
        "Microsoft.Authorization/locks": "2020-05-01",
        "Microsoft.Authorization/roleAssignments": "2022-04-01",
        "Microsoft.Authorization/roleDefinitions": "2022-04-01",
        "Microsoft.Cache/redisEnterprise": "2025-07-01",
        "Microsoft.ContainerRegistry/registries": "2025-11-01",
        "Microsoft.DBforPostgreSQL/flexibleServers": "2025-08-01",
        "Microsoft.EventGrid/systemTopics": "2025-02-15",
        "Microsoft.Insights/actionGroups": "2023-01-01",
        "Microsoft.Insights/autoscalesettings": "2022-10-01",
        "Microsoft.Insights/components": "2020-02-02",
        "Microsoft.Insights/diagnosticSettings": "2021-05-01-preview",  # the one in use everywhere
        "Microsoft.Insights/metricAlerts": "2018-03-01 2026-01-01",
        "Microsoft.Insights/scheduledQueryRules": "2023-12-01 2026-03-01",
        "Microsoft.KeyVault/vaults": "2024-11-01 2026-02-01",
        "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
        "Microsoft.Network/networkSecurityGroups": "2025-05-01 2025-09-01",
        "Microsoft.Network/privateDnsZones": "2024-06-01",
        "Microsoft.Network/privateEndpoints": "2025-05-01 2025-09-01",
        "Microsoft.Network/virtualNetworks": "2025-05-01 2025-09-01",
        "Microsoft.OperationalInsights/workspaces": "2025-07-01 2026-03-01",
        "Microsoft.ServiceBus/namespaces": "2024-01-01 2026-01-01",
        "Microsoft.Storage/storageAccounts": "2024-01-01 2025-01-01 2026-04-01",
        "Microsoft.Web/serverfarms": "2024-04-01 2024-11-01 2025-03-01",
        "Microsoft.Web/sites": "2024-04-01 2024-11-01 2025-03-01",
    }.items()
}
RETIRED: Final[Mapping[str, str]] = {
    "Microsoft.Cache/redis": "is being retired; use Microsoft.Cache/redisEnterprise",
}
ROLES: Final[Mapping[str, str]] = {
    "7f951dda-4ed3-4680-a7ca-43fe172d538d": "AcrPull",
    "b93aa761-3e63-49ed-ac28-beffa264f7ac": "Container Registry Repository Reader",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "12338af0-0e69-4776-bea7-57ae8d297424": "Key Vault Crypto User",
    "73c42c96-874c-492b-b04d-ab87d138a893": "Log Analytics Reader",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "43d0d8ad-25c7-4714-9337-8ba259a9fe05": "Monitoring Reader",
    "090c5cfd-751d-490a-894a-3ce6f1109419": "Azure Service Bus Data Owner",
    "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0": "Azure Service Bus Data Receiver",
    "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39": "Azure Service Bus Data Sender",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
}
METRICS: Final[Mapping[str, frozenset[str]]] = {
    kind: frozenset(names.split())
    for kind, names in {
        # A site has neither CpuPercentage nor MemoryPercentage: the plan has.
        "Microsoft.Web/serverfarms": "CpuPercentage MemoryPercentage HttpQueueLength",
        "Microsoft.Web/sites": "HealthCheckStatus Http5xx HttpResponseTime Requests",
        "Microsoft.Web/sites/slots": "HealthCheckStatus Http5xx HttpResponseTime Requests",
        "Microsoft.Insights/components": "requests/failed requests/duration requests/count",
        "Microsoft.ServiceBus/namespaces": "DeadletteredMessages ActiveMessages ServerErrors",
    }.items()
}
AGGREGATIONS: Final[Mapping[str, str]] = {
    "CpuPercentage": "Average",
    "MemoryPercentage": "Average",
    "HealthCheckStatus": "Average",
    "requests/failed": "Count",
    "requests/duration": "Average",
    "DeadletteredMessages": "Average",
}
_NAMES: Final[Mapping[str, str]] = {
    "Microsoft.Cache/redisEnterprise": r"[A-Za-z0-9](-?[A-Za-z0-9]){0,59}",
    "Microsoft.ContainerRegistry/registries": r"[A-Za-z0-9]{5,50}",
    "Microsoft.DBforPostgreSQL/flexibleServers": r"[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])",
    "Microsoft.Insights/components": r".{1,260}",
    "Microsoft.KeyVault/vaults": r"[A-Za-z](-?[A-Za-z0-9]){2,23}",
    "Microsoft.ManagedIdentity/userAssignedIdentities": r"[A-Za-z0-9][A-Za-z0-9_-]{2,127}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
    "Microsoft.ServiceBus/namespaces": r"[A-Za-z](-?[A-Za-z0-9]){5,49}",
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Web/serverfarms": r"[A-Za-z0-9-]{1,60}",
    # A slot's host is SITE-SLOT, which App Service cuts at 59; two Function Apps that are alike in
    # their first 32 letters share a host id.
    "Microsoft.Web/sites": r"[A-Za-z0-9](-?[A-Za-z0-9]){1,31}",
    "Microsoft.Web/sites/slots": r"[A-Za-z0-9](-?[A-Za-z0-9]){1,18}",
}
# What a private endpoint can lead to, by the type of its resource.
_GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "Microsoft.Cache/redisEnterprise": frozenset({"redisEnterprise"}),
    "Microsoft.ContainerRegistry/registries": frozenset({"registry"}),
    "Microsoft.DBforPostgreSQL/flexibleServers": frozenset({"postgresqlServer"}),
    "Microsoft.KeyVault/vaults": frozenset({"vault"}),
    "Microsoft.ServiceBus/namespaces": frozenset({"namespace"}),
    "Microsoft.Storage/storageAccounts": frozenset({"blob", "file", "queue", "table"}),
}
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOMENTS: Final = frozenset(
    {"PT1M", "PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT6H", "PT12H", "P1D"}
)


def check_known(deployment: Deployment) -> Iterator[Finding]:
    """Yield what does not exist, or is called otherwise."""
    for resource in deployment.resources:
        for what in _of_resource(resource, deployment):
            yield Finding(resource.path, resource.line, what)


def _of_resource(resource: Resource, deployment: Deployment) -> Iterator[str]:
    yield from _version(resource)
    if resource.is_existing:
        return
    yield from _name(resource)
    if resource.type == "Microsoft.Authorization/roleAssignments":
        yield from _role(resource, deployment)
    if resource.type == "Microsoft.Insights/metricAlerts":
        yield from _metric_alert(resource)
    if resource.type == "Microsoft.Insights/scheduledQueryRules":
        yield from _windows(resource)
    if resource.type == "Microsoft.Network/privateEndpoints":
        for each in resource.properties["privateLinkServiceConnections"]:
            yield from _groups(each["properties"])
    if resource.type == "Microsoft.Insights/autoscalesettings":
        for profile in resource.properties.get("profiles", []):
            for rule in profile.get("rules", []):
                trigger = rule.get("metricTrigger", {})
                yield from _metric(trigger.get("metricNamespace"), trigger.get("metricName"))


def _groups(link: Mapping[str, Any]) -> Iterator[str]:
    kind = kind_of(text_of(link["privateLinkServiceId"]))
    for group in link["groupIds"]:
        if group not in _GROUPS.get(kind, frozenset()):
            yield f"{kind} has no private endpoint of group {group}"


def _version(resource: Resource) -> Iterator[str]:
    if why := RETIRED.get(resource.type):
        yield f"{resource.type}: {why}"
        return
    root = "/".join(resource.type.split("/")[:2])
    versions = API_VERSIONS.get(root)
    if versions is None:
        yield f"{resource.type} is not in the list of types with known API versions"
    elif resource.api not in versions:
        yield f"{resource.type}@{resource.api}: known versions are {', '.join(sorted(versions))}"


def _name(resource: Resource) -> Iterator[str]:
    pattern = _NAMES.get(resource.type)
    if pattern and known(resource.name) and not re.fullmatch(pattern, text_of(resource.name)):
        yield f"{resource.name!r} cannot be the name of a {resource.type}: {pattern}"


def _role(resource: Resource, deployment: Deployment) -> Iterator[str]:
    role = text_of(resource.properties.get("roleDefinitionId"))
    own = {each.id for each in deployment.declared("Microsoft.Authorization/roleDefinitions")}
    guid = role.rpartition("/")[2]
    if role not in own and not (
        guid in ROLES and "/providers/Microsoft.Authorization/roleDefinitions/" in role
    ):
        yield f"{role!r} is no role that these templates assign"
    if resource.properties.get("principalType") != "ServicePrincipal":
        yield "principalType has to be 'ServicePrincipal': new identities replicate late"
    if not _GUID.fullmatch(text_of(resource.name)):
        yield f"{text_of(resource.name)!r}: the name of a role assignment is a guid()"


def _metric_alert(resource: Resource) -> Iterator[str]:
    criteria = resource.properties.get("criteria")
    for each in criteria.get("allOf", []) if isinstance(criteria, Mapping) else []:
        yield from _metric(each.get("metricNamespace"), each.get("metricName"))
        wanted = AGGREGATIONS.get(text_of(each.get("metricName")))
        if wanted and each.get("timeAggregation") != wanted:
            yield f"{each['metricName']} is told as {wanted}, not {each.get('timeAggregation')}"
        for scope in resource.properties.get("scopes", []):
            if not _is_of(text_of(scope), text_of(each.get("metricNamespace"))):
                yield f"{text_of(scope)} is no {each.get('metricNamespace')}"
    yield from _windows(resource)


def _windows(resource: Resource) -> Iterator[str]:
    for name in ("evaluationFrequency", "windowSize"):
        if resource.properties.get(name) not in _MOMENTS:
            yield f"{name} is {resource.properties.get(name)!r}, none of {sorted(_MOMENTS)}"


def _metric(namespace: Any, name: Any) -> Iterator[str]:
    if isinstance(namespace, Runtime) or isinstance(name, Runtime):
        return
    if name not in METRICS.get(text_of(namespace), frozenset()):
        yield f"{namespace} has no metric {name}"


def _is_of(identity: str, kind: str) -> bool:
    """Tell whether an id's type is *kind*; of what Azure alone knows it is not told."""
    if "/providers/" not in identity:
        return identity.startswith("«")
    return kind_of(identity).lower() == kind.lower()
