"""What expressions come to: JSON, or something that only Azure knows while it deploys."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SUBSCRIPTION: Final = "/subscriptions/00000000-0000-4000-8000-00000000005b"
GROUP: Final = "group"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass(frozen=True, slots=True)
class Runtime:
    """A value that is known when Azure deploys: *text* says what it is."""

    text: str
    is_secret: bool = False

    def __str__(self) -> str:
        return f"«{self.text}»"


class EvaluationError(Exception):
    """An expression cannot be worked out; the text says why."""


def is_secret(value: Any) -> bool:
    """Tell whether a secret is in *value*."""
    if isinstance(value, Runtime):
        return value.is_secret
    if isinstance(value, Mapping):
        return any(map(is_secret, value.values()))
    if isinstance(value, list):
        return any(map(is_secret, value))
    return False


def known(value: Any) -> bool:
    """Tell whether nothing of *value* waits for the deployment."""
    if isinstance(value, Mapping):
        return all(map(known, value.values()))
    if isinstance(value, list):
        return all(map(known, value))
    return not isinstance(value, Runtime)


def text_of(value: Any) -> str:
    """Return *value* as a text with holes shows it."""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, Mapping | list):
        return json.dumps(value, default=str)
    return "" if value is None else str(value)


def kind_of(identity: str) -> str:
    """Return the type in a resource's id: .../providers/A/b/NAME/c/NAME is of A/b/c."""
    parts = identity.rpartition("/providers/")[2].split("/")
    return "/".join([parts[0], *parts[1::2]])


def joined(parts: Sequence[Any]) -> str | Runtime:
    """Return an interpolated text."""
    text = "".join(map(text_of, parts))
    if all(map(known, parts)):
        return text
    return Runtime(text, is_secret=any(map(is_secret, parts)))


def _flatten(*given: Any) -> Any:
    if all(isinstance(each, str) for each in given):
        return "".join(given)
    return [item for each in given for item in (each if isinstance(each, list) else [each])]


def _take(value: Any, count: int) -> Any:
    return value[:count]


def _split(text: str, separators: Any) -> list[str]:
    found = [text]
    for each in [separators] if isinstance(separators, str) else separators:
        found = [piece for part in found for piece in part.split(each)]
    return found


def _union(*given: Any) -> Any:
    if all(isinstance(each, Mapping) for each in given):
        return {key: value for each in given for key, value in each.items()}
    return list(dict.fromkeys(item for each in given for item in each))


def _contains(container: Any, item: Any) -> bool:
    return item in container


def _format(pattern: str, *given: Any) -> str:
    return pattern.format(*map(text_of, given))


def unique(*given: Any) -> str:
    """Return 13 letters, as uniqueString does: others than Azure's, and always the same."""
    digest = hashlib.sha256("\0".join(map(text_of, given)).encode()).digest()
    return "".join(_BASE32[each % 32] for each in digest[:13])


def _guid(*given: Any) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "\0".join(map(text_of, given))))


def _resource_id(kind: str, *names: Any) -> str | Runtime:
    segments = kind.split("/")
    if len(segments) != len(names) + 1:
        raise EvaluationError(f"{kind} has {len(segments) - 1} names, not {len(names)}")
    pairs = [part for pair in zip(segments[1:], names, strict=True) for part in pair]
    return joined([f"{_group()['id']}/providers/{segments[0]}"] + [f"/{text_of(p)}" for p in pairs])


def _subscription_resource_id(kind: str, *names: Any) -> str:
    found = text_of(_resource_id(kind, *names))
    return found.replace(f"/resourceGroups/{GROUP}", "")


def _group() -> dict[str, Any]:
    name = f"{SUBSCRIPTION}/resourceGroups/{GROUP}"
    return {"id": name, "name": GROUP, "location": "westeurope", "tags": {}}


def _environment() -> dict[str, Any]:
    return {
        "name": "AzureCloud",
        "resourceManager": "https://management.azure.com/",
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
        "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    }


# By what they take: those of ANY work on values that Azure alone knows, too.
ANY: Final[Mapping[str, Any]] = {
    "guid": _guid,
    "uniqueString": unique,
    "resourceId": _resource_id,
    "subscriptionResourceId": _subscription_resource_id,
    "any": lambda value: value,
    "empty": lambda value: value is None or (not isinstance(value, Runtime) and len(value) == 0),
}
PLAIN: Final[Mapping[str, Any]] = {
    "concat": _flatten,
    "contains": _contains,
    "endsWith": lambda text, end: text.lower().endswith(end.lower()),
    "environment": _environment,
    "first": lambda value: value[0],
    "format": _format,
    "int": int,
    "items": lambda value: [{"key": k, "value": v} for k, v in sorted(value.items())],
    "join": lambda items, separator: separator.join(map(text_of, items)),
    "last": lambda value: value[-1],
    "length": len,
    "max": lambda *given: max(given),
    "min": lambda *given: min(given),
    "range": lambda first, count: list(range(first, first + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda _name=None: _group(),
    "skip": lambda value, count: value[count:],
    "split": _split,
    "startsWith": lambda text, start: text.lower().startswith(start.lower()),
    "string": text_of,
    "subscription": lambda: {"id": SUBSCRIPTION, "subscriptionId": SUBSCRIPTION.split("/")[-1]},
    "take": _take,
    "tenant": lambda: {"tenantId": "00000000-0000-4000-8000-0000000007e7"},
    "toLower": lambda text: text.lower(),
    "toUpper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "union": _union,
}
WITH_LAMBDA: Final = frozenset({"filter", "map"})
FUNCTIONS: Final = frozenset({*ANY, *PLAIN, *WITH_LAMBDA})
METHODS: Final = frozenset({"getSecret"})
DECORATORS: Final = frozenset(
    {
        "allowed",
        "batchSize",
        "description",
        "maxLength",
        "maxValue",
        "minLength",
        "minValue",
        "secure",
    }
)
