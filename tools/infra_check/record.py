"""Records what each resource type may hold, from the models of Azure's SDKs: schema.json.

    python -m tools.infra_check.record

Each type is read from the release of the SDK that speaks the API version which the templates name,
or the nearest one; it says which. Needs a package index, and so is no part of the tests: those read
what it wrote.
"""

import enum
import importlib
import json
import re
import subprocess
import sys
import tempfile
import typing
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = Path(__file__).with_name("schema.json")

# Release of the SDK, its module and API version, then class by resource type.
SOURCES: Final[tuple[tuple[str, str, str, dict[str, str]], ...]] = (
    (
        "azure-mgmt-web==10.1.0",
        "azure.mgmt.web.models",
        "2025-03-01",
        {
            "Microsoft.Web/serverfarms": "AppServicePlan",
            "Microsoft.Web/sites": "Site",
            "Microsoft.Web/sites/slots": "Site",
            "Microsoft.Web/sites/config": "SlotConfigNamesResource",
            "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
                "CsmPublishingCredentialsPoliciesEntity"
            ),
            "Microsoft.Web/sites/slots/basicPublishingCredentialsPolicies": (
                "CsmPublishingCredentialsPoliciesEntity"
            ),
        },
    ),
    (
        "azure-mgmt-containerregistry==15.0.0",
        "azure.mgmt.containerregistry.models",
        "2025-11-01",
        {
            "Microsoft.ContainerRegistry/registries": "Registry",
            "Microsoft.ContainerRegistry/registries/replications": "Replication",
        },
    ),
    (
        "azure-mgmt-redisenterprise==3.1.0",
        "azure.mgmt.redisenterprise.models",
        "2025-07-01",
        {
            "Microsoft.Cache/redisEnterprise": "Cluster",
            "Microsoft.Cache/redisEnterprise/databases": "Database",
            "Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments": (
                "AccessPolicyAssignment"
            ),
        },
    ),
    (
        "azure-mgmt-postgresqlflexibleservers==2.0.0",
        "azure.mgmt.postgresqlflexibleservers.models",
        "2025-08-01",
        {
            "Microsoft.DBforPostgreSQL/flexibleServers": "Server",
            "Microsoft.DBforPostgreSQL/flexibleServers/administrators": (
                "AdministratorMicrosoftEntraAdd"
            ),
            "Microsoft.DBforPostgreSQL/flexibleServers/configurations": "Configuration",
            "Microsoft.DBforPostgreSQL/flexibleServers/databases": "Database",
            "Microsoft.DBforPostgreSQL/flexibleServers/firewallRules": "FirewallRule",
        },
    ),
    (
        "azure-mgmt-storage==23.1.0",
        "azure.mgmt.storage.models",
        "2025-01-01",
        {
            "Microsoft.Storage/storageAccounts": "StorageAccountCreateParameters",
            "Microsoft.Storage/storageAccounts/blobServices": "BlobServiceProperties",
            "Microsoft.Storage/storageAccounts/blobServices/containers": "BlobContainer",
            "Microsoft.Storage/storageAccounts/blobServices/containers/immutabilityPolicies": (
                "ImmutabilityPolicy"
            ),
        },
    ),
    (
        "azure-mgmt-keyvault==12.0.0",
        "azure.mgmt.keyvault.models",
        "2024-11-01",
        {
            "Microsoft.KeyVault/vaults": "VaultCreateOrUpdateParameters",
            "Microsoft.KeyVault/vaults/keys": "KeyCreateParameters",
        },
    ),
    (
        "azure-mgmt-servicebus==9.0.0",
        "azure.mgmt.servicebus.v2022_10_01_preview.models",
        "2022-10-01-preview",
        {
            "Microsoft.ServiceBus/namespaces": "SBNamespace",
            "Microsoft.ServiceBus/namespaces/queues": "SBQueue",
        },
    ),
    (
        "azure-mgmt-eventgrid==10.4.0",
        "azure.mgmt.eventgrid.models",
        "2025-02-15",
        {
            "Microsoft.EventGrid/systemTopics": "SystemTopic",
            "Microsoft.EventGrid/systemTopics/eventSubscriptions": "EventSubscription",
        },
    ),
    (
        "azure-mgmt-monitor==7.0.0",
        "azure.mgmt.monitor.models",
        "2018-03-01, 2022-10-01, 2023-01-01, 2023-12-01",
        {
            "Microsoft.Insights/metricAlerts": "MetricAlertResource",
            "Microsoft.Insights/scheduledQueryRules": "ScheduledQueryRuleResource",
            "Microsoft.Insights/actionGroups": "ActionGroupResource",
            "Microsoft.Insights/autoscalesettings": "AutoscaleSettingResource",
        },
    ),
    (
        "azure-mgmt-monitor==6.0.2",
        "azure.mgmt.monitor.v2021_05_01_preview.models",
        "2021-05-01-preview",
        {"Microsoft.Insights/diagnosticSettings": "DiagnosticSettingsResource"},
    ),
    (
        "azure-mgmt-applicationinsights==4.1.0",
        "azure.mgmt.applicationinsights.v2020_02_02.models",
        "2020-02-02",
        {"Microsoft.Insights/components": "ApplicationInsightsComponent"},
    ),
    (
        "azure-mgmt-loganalytics==14.0.0",
        "azure.mgmt.loganalytics.models",
        "2025-07-01",
        {"Microsoft.OperationalInsights/workspaces": "Workspace"},
    ),
    (
        "azure-mgmt-msi==7.1.0",
        "azure.mgmt.msi.v2024_11_30.models",
        "2024-11-30",
        {"Microsoft.ManagedIdentity/userAssignedIdentities": "Identity"},
    ),
    (
        "azure-mgmt-network==31.0.0",
        "azure.mgmt.network.models",
        "2025-07-01",
        {
            "Microsoft.Network/virtualNetworks": "VirtualNetwork",
            "Microsoft.Network/networkSecurityGroups": "NetworkSecurityGroup",
            "Microsoft.Network/privateEndpoints": "PrivateEndpoint",
            "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "PrivateDnsZoneGroup",
        },
    ),
    (
        "azure-mgmt-privatedns==2.0.0",
        "azure.mgmt.privatedns.models",
        "2024-06-01",
        {
            "Microsoft.Network/privateDnsZones": "PrivateZone",
            "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "VirtualNetworkLink",
        },
    ),
    (
        "azure-mgmt-authorization==4.0.0",
        "azure.mgmt.authorization.v2022_04_01.models",
        "2022-04-01",
        {
            "Microsoft.Authorization/roleAssignments": "RoleAssignmentCreateParameters",
            "Microsoft.Authorization/roleDefinitions": "RoleDefinition",
        },
    ),
    (
        "azure-mgmt-resource-locks==1.0.0",
        "azure.mgmt.resource.locks.models",
        "2020-05-01",
        {"Microsoft.Authorization/locks": "ManagementLockObject"},
    ),
)


class Recorder:
    """Walks the models of one module, by either of the generators' two forms.

    A property is {"is": X}, where X is a kind ("string", "integer", ...), {"list": X}, {"map": X},
    {"one_of": [values]} or {"model": name}; "required" and "read_only" where they hold.
    """

    def __init__(self, module: str, prefix: str) -> None:
        self._module = importlib.import_module(module)
        self._prefix = prefix
        self.models: dict[str, dict[str, Any]] = {}

    def model(self, cls: type) -> str:
        """Record *cls* and all that it holds. Return its name."""
        name = f"{self._prefix}.{cls.__name__}"
        if name not in self.models:
            self.models[name] = {}
            build = self._typed if any(_fields(cls)) else self._mapped
            properties = build(cls)
            self.models[name] = {"properties": dict(sorted(properties.items()))}
            self._subtypes(cls, name)
        return name

    def _subtypes(self, cls: Any, name: str) -> None:
        """A model of several kinds: which property tells them apart, and what each of them is."""
        kinds: dict[str, Any] = {}
        discriminator = ""
        if own := vars(cls).get("__mapping__"):
            kinds = {str(kind): each for kind, each in own.items() if each is not cls}
            discriminator = next(
                (field._rest_name_input or attribute)  # noqa: SLF001 - the generator's own form
                for attribute, field in _fields(cls)
                if getattr(field, "_is_discriminator", False)
            )
        for attribute, mapped in vars(cls).get("_subtype_map", {}).items():
            kinds = {kind: getattr(self._module, each) for kind, each in mapped.items()}
            discriminator = cls._attribute_map[attribute]["key"].replace("\\.", ".")
        if kinds:
            found = {kind: self.model(each) for kind, each in sorted(kinds.items())}
            self.models[name] |= {"by": discriminator, "kinds": found}

    def _typed(self, cls: Any) -> dict[str, Any]:
        hints = typing.get_type_hints(cls, vars(self._module) | {"_models": self._module})
        found: dict[str, Any] = {}
        for attribute, field in _fields(cls):
            read_only = list(field._visibility or []) == ["read"]  # noqa: SLF001 - as above
            entry: dict[str, Any] = {"read_only": True} if read_only else {}
            if not read_only:
                hint = hints.get(attribute, Any)
                entry["is"] = self._kind(hint)
                if type(None) not in typing.get_args(hint):
                    entry["required"] = True
            found[field._rest_name_input or attribute] = entry  # noqa: SLF001 - as above
        return found

    def _kind(self, hint: Any) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in {list, typing.Sequence}:
            return {"list": self._kind(arguments[0])}
        if origin is dict:
            return {"map": self._kind(arguments[1])}
        if origin is typing.Literal:
            return {"one_of": [getattr(each, "value", each) for each in arguments]}
        if arguments:  # a union: of None, text and an enumeration
            kinds = [each for each in arguments if each not in {type(None), str}]
            return self._kind(kinds[0]) if kinds else "string"
        return self._simple(hint)

    def _simple(self, hint: Any) -> Any:
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return {"one_of": [each.value for each in hint]}
        if isinstance(hint, type) and hint.__module__.startswith("azure."):
            return {"model": self.model(hint)}
        return _SIMPLE.get(getattr(hint, "__name__", ""), "any")

    def _mapped(self, cls: Any) -> dict[str, Any]:
        described = re.findall(
            r":vartype (\w+): str or\s+~[\w.]+?\.(\w+)$", cls.__doc__ or "", re.MULTILINE
        )
        enumerations = dict(described)
        found: dict[str, Any] = {}
        for attribute, entry in cls._attribute_map.items():
            if not entry["key"]:
                continue  # "and whatever else": it would let any misspelling through
            rules = cls._validation.get(attribute, {})
            kind: dict[str, Any] = {}
            if rules.get("readonly"):
                kind["read_only"] = True
            else:
                named = getattr(self._module, enumerations.get(attribute, ""), None)
                kind["is"] = self._described(entry["type"], named)
                if rules.get("required"):
                    kind["required"] = True
            path = re.split(r"(?<!\\)\.", entry["key"])
            self._put(found, [each.replace("\\.", ".") for each in path], kind, cls.__name__)
        return found

    def _put(self, found: dict[str, Any], path: list[str], kind: dict[str, Any], name: str) -> None:
        """Undo the generator's flattening: a key "properties.x" is x in a model of its own."""
        if len(path) == 1:
            found[path[0]] = kind
            return
        inner = f"{self._prefix}.{name}.{path[0]}"
        model = self.models.setdefault(inner, {"properties": {}})
        entry = found.setdefault(path[0], {"is": {"model": inner}})
        if kind.get("required"):
            entry["required"] = True
        self._put(model["properties"], path[1:], kind, f"{name}.{path[0]}")

    def _described(self, described: str, enumeration: Any) -> Any:
        if described.startswith("["):
            return {"list": self._described(described[1:-1], enumeration)}
        if described.startswith("{"):
            return {"map": self._described(described[1:-1], enumeration)}
        if isinstance(enumeration, type) and issubclass(enumeration, enum.Enum):
            return {"one_of": [each.value for each in enumeration]}
        cls = getattr(self._module, described, None)
        if isinstance(cls, type) and not issubclass(cls, enum.Enum):
            return {"model": self.model(cls)}
        return _SIMPLE.get(described, "any")


_SIMPLE: Final = {
    "str": "string",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "bool": "boolean",
    "timedelta": "string",
    "duration": "string",
    "datetime": "string",
    "iso-8601": "string",
    "rfc-1123": "string",
}


def _fields(cls: type) -> list[tuple[str, Any]]:
    return [
        (attribute, field)
        for base in reversed(cls.__mro__)
        for attribute, field in vars(base).items()
        if type(field).__name__ == "_RestField"
    ]


def record_here(index: int) -> None:
    """Print what the source of that number holds; the SDK is on the path of this process."""
    requirement, module, version, classes = SOURCES[index]
    recorder = Recorder(module, requirement.split("==", maxsplit=1)[0].removeprefix("azure-mgmt-"))
    loaded = importlib.import_module(module)
    types = {
        name: {
            "model": recorder.model(getattr(loaded, cls)),
            "source": requirement,
            "api": version,
        }
        for name, cls in classes.items()
    }
    print(json.dumps({"types": types, "models": recorder.models}))


def main() -> None:
    """Write schema.json anew."""
    types: dict[str, Any] = {}
    models: dict[str, Any] = {}
    for index, (requirement, *_) in enumerate(SOURCES):
        print(requirement, file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                 "--target", folder, requirement],
                check=True,
            )  # fmt: skip
            printed = subprocess.run(
                [sys.executable, __file__, str(index)],
                check=True,
                capture_output=True,
                text=True,
                env={"PYTHONPATH": folder},
            ).stdout
        found = json.loads(printed)
        types |= found["types"]
        models |= found["models"]
    text = json.dumps(
        {"types": dict(sorted(types.items())), "models": dict(sorted(models.items()))}, indent=1
    )
    SCHEMA.write_text(text + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        record_here(int(sys.argv[1]))
    else:
        main()
