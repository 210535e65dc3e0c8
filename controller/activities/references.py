"""Image references as people and platforms write them."""

from dataclasses import dataclass, replace
from typing import Final

DOCKER_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({"index.docker.io", "registry-1.docker.io"})  # portals write these


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """``registry/repository[:tag][@digest]``, with Docker Hub's abbreviations written out."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def pinned(self, digest: str) -> "Reference":
        """Return the same image by digest."""
        return replace(self, tag=None, digest=digest)

    def __str__(self) -> str:
        name = f"{self.registry}/{self.repository}"
        return f"{name}@{self.digest}" if self.digest else f"{name}:{self.tag}"


def parse(text: str) -> Reference:
    """Split an image reference. The digest wins over a tag; neither means ``latest``."""
    name, _, digest = text.partition("@")
    head, slash, rest = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost"):
        registry, path = head.lower(), rest
    else:
        registry, path = DOCKER_HUB, name
    if registry in _HUB_NAMES or registry == DOCKER_HUB:
        registry, path = DOCKER_HUB, path if "/" in path else f"library/{path}"
    repository, _, tag = path.partition(":")
    if digest:
        return Reference(registry=registry, repository=repository, digest=digest)
    return Reference(registry=registry, repository=repository, tag=tag or "latest")


def is_same(one: str | None, other: str) -> bool:
    """Whether both name the same image *by digest*; a tag proves nothing."""
    if one is None:
        return False
    first, second = parse(one), parse(other)
    return first.digest is not None and first == second
