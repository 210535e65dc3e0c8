"""What a run of the templates comes to: resources, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.infra_check.nodes import BicepFile
from tools.infra_check.values import EvaluationError, Runtime, text_of


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, and where."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One resource as Azure would be asked for it."""

    type: str
    api: str
    name: str | Runtime
    id: str
    body: Mapping[str, Any]
    is_existing: bool
    path: Path
    line: int

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties; none where it has none."""
        found = self.body.get("properties")
        return found if isinstance(found, Mapping) else {}


@dataclass(slots=True)
class Deployment:
    """All that a run came to."""

    resources: list[Resource] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    reads: list[tuple[Resource, str, Path, int]] = field(default_factory=list)  # x.properties.NAME
    files: dict[Path, BicepFile] = field(default_factory=dict)

    def declared(self, kind: str) -> list[Resource]:
        """Return what is made of that type, in whatever file."""
        return [each for each in self.resources if each.type == kind and not each.is_existing]


class Properties(Mapping[str, Any]):
    """What Azure tells of a resource: each name that is asked for is noted, to be looked up."""

    def __init__(self, resource: Resource, deployment: Deployment, path: Path, line: int) -> None:
        self._resource = resource
        self._reads = deployment.reads
        self._place = path, line

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __getitem__(self, name: str) -> Any:
        self._reads.append((self._resource, name, *self._place))
        return Runtime(f"{self._resource.id}.{name}")

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class Identity(Mapping[str, Any]):
    """Who a resource is to others: known once it is there."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def __getitem__(self, name: str) -> Any:
        kind = (self._resource.body.get("identity") or {}).get("type", "")
        if "SystemAssigned" not in kind:
            raise EvaluationError(f"{text_of(self._resource.name)} has no identity of its own")
        if name not in {"principalId", "tenantId"}:
            raise KeyError(name)
        return Runtime(f"{name} of {self._resource.id}")

    def __iter__(self) -> Any:
        return iter(("principalId", "tenantId"))

    def __len__(self) -> int:
        return 2
