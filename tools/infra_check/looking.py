"""Finding one's way among the resources of a deployment."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from tools.infra_check.deployment import Deployment, Resource
from tools.infra_check.values import text_of

SITES: Final = ("Microsoft.Web/sites", "Microsoft.Web/sites/slots")

Told: TypeAlias = Iterator[tuple[Resource | None, str]]


def is_controller(resource: Resource) -> bool:
    """Tell the Function App from the app's site."""
    return "functionapp" in text_of(resource.body.get("kind"))


def slots_of(deployment: Deployment) -> list[Resource]:
    """Return the app's site and its slots."""
    found = [each for kind in SITES for each in deployment.declared(kind)]
    return [each for each in found if not is_controller(each)]


def at(resource: Resource, path: str) -> Any:
    """Return the property at a dotted path; None where there is none."""
    value: Any = resource.properties
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def short(resource: Resource) -> str:
    """Return how people call it."""
    return f"{resource.type.rpartition('/')[2]} {text_of(resource.name)}"


def of_type(deployment: Deployment, kinds: Iterable[str]) -> list[Resource]:
    """Return what is made of these types."""
    return [each for kind in kinds for each in deployment.declared(kind)]
