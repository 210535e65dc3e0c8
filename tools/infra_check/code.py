"""What Slipway's code needs of its environment, both ways: settings, actions, queues, doors.

Read off the code itself: `Settings.read` with a mapping that notes what it is asked for, the
decorators of function_app.py, and the SDK's own request builders for each operation that the
adapters call.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Final

from controller.core.errors import ConfigurationError
from controller.settings import Settings
from tools.infra_check.deployment import Deployment, Finding, Resource
from tools.infra_check.values import text_of

ROOT: Final = Path(__file__).resolve().parents[2]

# Read by the Functions host or an SDK, not by Slipway's own code (docs/settings.md).
HOST_SETTINGS: Final[Mapping[str, str]] = {
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "the host and the exporter sign in by it",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "where the log goes",
    "AZURE_CLIENT_ID": "which identity the SDK takes",
    "AZURE_TOKEN_CREDENTIALS": "that it tries no other",
    "AzureWebJobsStorage__clientId": "the host's own storage",
    "AzureWebJobsStorage__credential": "the host's own storage",
    "FUNCTIONS_EXTENSION_VERSION": "the host, of the container variant",
    "FUNCTIONS_WORKER_RUNTIME": "the worker, of the container variant",
    "ServiceBus__clientId": "the triggers",
    "ServiceBus__credential": "the triggers",
    "WEBSITES_ENABLE_APP_SERVICE_STORAGE": "the container variant keeps nothing on disk",
    "WEBSITES_PORT": "where the image listens",
}
# Read, and rightly in no template.
UNSET: Final[Mapping[str, str]] = {
    "AzureWebJobsStorage__blobServiceUri": "follows from the account's name in Azure",
    "AzureWebJobsStorage__tableServiceUri": "follows from the account's name in Azure",
    "SLIPWAY_CA_FILE": "a private authority: an environment's own affair",
    "ServiceBus": "an emulator's connection string",
}
# Needed without a call of the adapters that shows it.
INDIRECT: Final[Mapping[str, str]] = {
    "Microsoft.Web/sites/operationresults/read": "a long operation's Location",
    "Microsoft.Web/sites/slots/operationresults/read": "a long operation's Location",
    "Microsoft.DBforPostgreSQL/locations/azureAsyncOperation/read": "a long operation's address",
    "Microsoft.DBforPostgreSQL/locations/operationResults/read": "a long operation's address",
    "Microsoft.Network/virtualNetworks/subnets/join/action": "a restored server in the network",
    "Microsoft.Network/privateDnsZones/join/action": "a restored server in the network",
}
# Called on a scope above the group, where a group's role cannot reach: the code does without.
BEYOND: Final[Mapping[str, str]] = {
    "Microsoft.DBforPostgreSQL/checkNameAvailability/action": (
        "asked of the subscription; a refusal is passed over, as making the server tells, too"
    ),
}
_SECRET_ACTIONS: Final[Mapping[str, str]] = {
    "backup_secret": "Microsoft.KeyVault/vaults/secrets/backup/action",
    "list_properties_of_secret_versions": "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
    "restore_secret_backup": "Microsoft.KeyVault/vaults/secrets/restore/action",
    "recover": "Microsoft.KeyVault/vaults/secrets/recover/action",  # by a request of its own
}
_WEB: Final = "azure.mgmt.web.operations._operations"
_POSTGRESQL: Final = "azure.mgmt.postgresqlflexibleservers.operations._operations"
_SITES: Final = frozenset({"_operations", "web_apps"})  # how the adapters call sites' operations


class _Noting(dict[str, str]):
    """A mapping that remembers what it was asked for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(given)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A queue as function_app.py listens to it."""

    queue: str
    has_sessions: bool


@cache
def function_app() -> ast.Module:
    """Return function_app.py as a tree."""
    return ast.parse((ROOT / "function_app.py").read_text(encoding="utf-8"))


def settings_read() -> frozenset[str]:
    """Return the names of all settings that Slipway's code reads."""
    noting = _Noting({})
    with suppress(ConfigurationError):  # nothing is set: it is asked for all the same
        Settings.read(noting)
    placeholders = {
        name
        for node in ast.walk(function_app())
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in re.findall(r"%(\w+)%", node.value)
    }
    return frozenset(noting.asked | placeholders)


def settings_given(app: Resource) -> dict[str, str]:
    """Return the settings of the Function App, with likely values for what Azure alone knows."""
    given = app.properties.get("siteConfig", {}).get("appSettings", [])
    return {text_of(each["name"]): _likely(text_of(each["value"])) for each in given}


def _likely(value: str) -> str:
    value = re.sub(r"«[^«»]*primaryEndpoints\.(\w+)»", r"https://a.\1.core.windows.net/", value)
    value = re.sub(r"«[^«»]*vaultUri»", "https://v.vault.azure.net/", value)
    value = re.sub(r"«[^«»]*clientId»", "00000000-0000-4000-8000-0000000000c1", value)
    return value.replace("«", "").replace("»", "")


@cache
def actions_called() -> frozenset[str]:
    """Return the actions of Resource Manager that the adapters' calls need."""
    return frozenset(
        action
        for path in (ROOT / "controller/adapters/azure").glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        for action in _actions_of(node)
    )


def _actions_of(node: ast.Attribute) -> Iterator[str]:
    receiver = node.value
    group = receiver.attr if isinstance(receiver, ast.Attribute) else ""
    sdk = _WEB if group in _SITES else _POSTGRESQL
    name = f"{'web_apps' if group in _SITES else group}_{node.attr.removeprefix('begin_')}"
    builder = getattr(importlib.import_module(sdk), f"build_{name}_request", None)
    if builder is not None:
        yield _action(builder)


def _action(builder: Any) -> str:
    """Return the action that a request needs, by its method and its path."""
    parameters = inspect.signature(builder).parameters.values()
    given = {
        each.name: "NAME"
        for each in parameters
        if each.default is inspect.Parameter.empty and each.kind is not each.VAR_KEYWORD
    }
    request = builder(**given)
    path = request.url.partition("?")[0].rpartition("/providers/")[2].split("/")
    provider, rest = path[0], path[1:]
    if request.method == "POST":
        kinds, verb = rest[:-1], rest[-1]
        return "/".join([provider, *kinds[::2], verb, "action"])
    verb = {"GET": "read", "HEAD": "read", "DELETE": "delete"}.get(request.method, "write")
    return "/".join([provider, *rest[::2], verb])


@cache
def secret_actions_called() -> frozenset[str]:
    """Return the data actions on secrets that keeping them needs, beside reading values."""
    tree = ast.parse(
        (ROOT / "controller/adapters/azure/vault_secrets.py").read_text(encoding="utf-8")
    )
    names = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute)}
    names |= {each.name for each in ast.walk(tree) if isinstance(each, ast.AsyncFunctionDef)}
    return frozenset(action for name, action in _SECRET_ACTIONS.items() if name in names)


@cache
def triggers() -> frozenset[Trigger]:
    """Return the queues that function_app.py listens to."""
    return frozenset(
        Trigger(_argument(node, "queue_name"), bool(_argument(node, "is_sessions_enabled")))
        for node in ast.walk(function_app())
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "service_bus_queue_trigger"
    )


def _argument(call: ast.Call, name: str) -> Any:
    return next(
        (each.value.value for each in call.keywords
         if each.arg == name and isinstance(each.value, ast.Constant)),
        None,
    )  # fmt: skip


@cache
def functions() -> frozenset[str]:
    """Return the names of all functions in function_app.py."""
    tree = function_app()
    return frozenset(e.name for e in ast.walk(tree) if isinstance(e, ast.AsyncFunctionDef))


def check_code(deployment: Deployment, *, everything: bool) -> Iterator[Finding]:
    """Yield what the code needs and does not find, and what is given that it does not need.

    Args:
        deployment: what to look at.
        everything: whether the parameters ask for all that there is; then "no more" is checked of
            the roles, too, which are smaller where something is left out.
    """
    for app in deployment.declared("Microsoft.Web/sites"):
        if "functionapp" in text_of(app.body.get("kind")):
            yield from _settings(app)
    for role in deployment.declared("Microsoft.Authorization/roleDefinitions"):
        yield from _role(role, everything=everything)
    yield from _queues(deployment)
    for each in deployment.declared("Microsoft.EventGrid/systemTopics/eventSubscriptions"):
        target = str(each.properties.get("destination", {}).get("properties", {}).get("resourceId"))
        if target.rpartition("/")[2] not in functions():
            yield Finding(
                each.path, each.line, f"function_app.py has no {target.rpartition('/')[2]}"
            )


def _settings(app: Resource) -> Iterator[Finding]:
    given, read = settings_given(app), settings_read()
    names = [text_of(each["name"]) for each in app.properties["siteConfig"]["appSettings"]]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield Finding(app.path, app.line, f"setting {name} is there twice")
    for name in sorted(read - given.keys() - UNSET.keys()):
        yield Finding(app.path, app.line, f"the code reads setting {name}, which is not given")
    for name in sorted(given.keys() - read - HOST_SETTINGS.keys()):
        yield Finding(app.path, app.line, f"setting {name} is given, and nothing reads it")
    try:
        Settings.read(given)
    except ConfigurationError as error:
        yield Finding(app.path, app.line, f"Slipway refuses these settings: {error}")


def _role(role: Resource, *, everything: bool) -> Iterator[Finding]:
    permissions = role.properties.get("permissions", [])
    allowed = {a for each in permissions for a in each.get("actions", [])}
    data = {a for each in permissions for a in each.get("dataActions", [])}
    if allowed:
        wanted = (actions_called() | INDIRECT.keys()) - BEYOND.keys()
        yield from _compared(role, allowed, wanted, everything=everything)
    if data:
        yield from _compared(role, data, secret_actions_called(), everything=True)
    for action in sorted(allowed | data):
        if "*" in action:
            yield Finding(role.path, role.line, f"{action} allows more than is called")


def _compared(
    role: Resource, allowed: set[str], wanted: frozenset[str] | set[str], *, everything: bool
) -> Iterator[Finding]:
    lower = {each.lower() for each in allowed}
    for action in sorted(allowed):
        if not any(fnmatch(each.lower(), action.lower()) for each in wanted):
            yield Finding(role.path, role.line, f"{action} is allowed, and nothing calls it")
    for action in sorted(wanted):
        if everything and not any(fnmatch(action.lower(), each) for each in lower):
            yield Finding(role.path, role.line, f"the code calls {action}, which is not allowed")


def _queues(deployment: Deployment) -> Iterator[Finding]:
    declared = {
        text_of(each.name): each
        for each in deployment.declared("Microsoft.ServiceBus/namespaces/queues")
    }
    wanted = {each.queue: each.has_sessions for each in triggers()} | {"rejected": False}
    place = next(iter(declared.values()), None)
    for name in sorted(wanted.keys() - declared.keys()):
        path, line = (place.path, place.line) if place else (next(iter(deployment.files)), 1)
        yield Finding(path, line, f"function_app.py listens to queue {name}, which is not declared")
    for name, queue in declared.items():
        if name not in wanted:
            yield Finding(queue.path, queue.line, f"nothing uses queue {name}")
            continue
        for what in _misfits(queue.properties, has_sessions=wanted[name]):
            yield Finding(queue.path, queue.line, f"queue {name} {what}")


def _misfits(properties: Mapping[str, Any], *, has_sessions: bool) -> Iterator[str]:
    if properties.get("requiresSession") is not has_sessions:
        yield "needs sessions" if has_sessions else "must not have sessions"
    if not has_sessions:
        return
    if properties.get("requiresDuplicateDetection") is not True:
        yield "does not detect duplicates: a repeated command would be handled twice"
    if properties.get("deadLetteringOnMessageExpiration") is not True:
        yield "loses what expires"
    if not re.fullmatch(r"PT(30S|[1-5]M)", text_of(properties.get("lockDuration"))):
        yield f"has a lock of {properties.get('lockDuration')}: 30 s to 5 min"
    if int(properties.get("maxDeliveryCount") or 0) < 10:  # noqa: PLR2004 - scale-in counts, too
        yield "gives a message up after fewer than ten deliveries"
