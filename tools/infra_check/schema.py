"""Holds resources against SDK models of their types: names, kinds, choices, what must be there."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from tools.infra_check.deployment import Deployment, Finding, Resource
from tools.infra_check.values import Runtime, text_of

_SHOWN: Final = 8  # of what can be chosen
SCHEMA: Final = Path(__file__).with_name("schema.json")
_KINDS: Final[Mapping[str, Any]] = {
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
}
# Azure gives these where they are left out, or Bicep writes them from elsewhere.
_GIVEN: Final = frozenset({("Microsoft.Web/sites/config", "location")})


@cache
def schema() -> dict[str, Any]:
    """Return schema.json, which `record` wrote."""
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


def check_schema(deployment: Deployment) -> Iterator[Finding]:
    """Yield each property that its type does not have, each value that it does not take."""
    for resource in deployment.resources:
        described = schema()["types"].get(resource.type)
        if described is None:
            yield Finding(
                resource.path, resource.line, f"{resource.type} is no type in schema.json"
            )
        elif not resource.is_existing:
            for what in _of_model(described["model"], resource.body, ""):
                yield Finding(resource.path, resource.line, f"{resource.type}: {what}")
    for resource, name, path, line in deployment.reads:
        if not _tells(resource, name):
            yield Finding(path, line, f"{resource.type} has no properties.{name}")


def _tells(resource: Resource, name: str) -> bool:
    described = schema()["types"].get(resource.type)
    if described is None:
        return True
    entry = schema()["models"][described["model"]]["properties"].get("properties", {})
    model = entry.get("is", {}).get("model", "")
    told = _TOLD.get(resource.type, frozenset())
    return name in schema()["models"].get(model, {}).get("properties", {}) or name in told


# What these tell, though their models for writing do not name it.
_TOLD: Final[Mapping[str, frozenset[str]]] = {
    "Microsoft.Storage/storageAccounts": frozenset({"primaryEndpoints"}),
}


def _of_model(name: str, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Runtime):
        return
    if not isinstance(value, Mapping):
        yield f"{path or 'the body'} is {text_of(value)!r}, no object"
        return
    model = schema()["models"][name]
    if kinds := model.get("kinds"):
        chosen = value.get(model["by"])
        if chosen not in kinds:
            yield f"{path}.{model['by']} is {chosen!r}, none of {', '.join(sorted(kinds))}"
            return
        yield from _of_kind(model["by"], name, kinds[chosen], value, path)
        return
    yield from _properties(model["properties"], value, path)


def _of_kind(by: str, base: str, name: str, value: Mapping[str, Any], path: str) -> Iterator[str]:
    """A kind has its own properties beside those of its base."""
    models = schema()["models"]
    own = models[name]["properties"] if name != base else {}
    common = {key: entry for key, entry in models[base]["properties"].items() if key != by}
    yield from _properties({**common, **own, by: {"is": "string"}}, value, path)


def _properties(wanted: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, inner in value.items():
        where = f"{path}.{key}" if path else key
        entry = wanted.get(key)
        if entry is None:
            close = next((each for each in wanted if each.lower() == key.lower()), None)
            yield f"there is no {where}" + (f"; it is called {close}" if close else "")
        elif entry.get("read_only"):
            yield f"{where} can only be read"
        elif inner is not None:
            yield from _of_entry(entry["is"], inner, where)
    for key, entry in wanted.items():
        if entry.get("required") and value.get(key) is None:
            yield f"{path + '.' if path else ''}{key} is missing"


def _of_entry(kind: Any, value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Runtime) or kind == "any":
        return
    if isinstance(kind, str):
        is_kind = isinstance(value, _KINDS[kind]) and not (
            isinstance(value, bool) and kind != "boolean"
        )
        if not is_kind:
            yield f"{path} is {text_of(value)!r}, no {kind}"
    elif "one_of" in kind:
        if not any(text_of(value) == text_of(each) for each in kind["one_of"]):
            close = next((e for e in kind["one_of"] if str(e).lower() == str(value).lower()), None)
            hint = f"; it is spelt {close}" if close else f", none of {_some(kind['one_of'])}"
            yield f"{path} is {text_of(value)!r}{hint}"
    elif "model" in kind:
        yield from _of_model(kind["model"], value, path)
    elif "list" in kind:
        yield from _of_list(kind["list"], value, path)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _of_entry(kind["map"], inner, f"{path}.{key}")
    else:
        yield f"{path} is {text_of(value)!r}, no object"


def _of_list(kind: Any, value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path} is {text_of(value)!r}, no list"
        return
    for at, inner in enumerate(value):
        yield from _of_entry(kind, inner, f"{path}[{at}]")


def _some(choices: list[Any]) -> str:
    shown = ", ".join(map(text_of, choices[:_SHOWN]))
    return shown + (", ..." if len(choices) > _SHOWN else "")
