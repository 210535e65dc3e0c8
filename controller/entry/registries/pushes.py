"""What a registry said, in our words: a push that may be deployed, or why it may not."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

DOCKER_HUB: Final = "docker.io"
_DOCKER_HUB_NAMES: Final = frozenset(
    {DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
)
_REPLICA: Final = re.compile(r"([a-z0-9-]+)\.[a-z0-9]+\.geo\.azurecr\.(io|cn|us)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """An image was pushed under a tag."""

    registry: str  # login server, in its canonical form
    repository: str
    digest: str | None  # None: the registry does not say; ask it what the tag names
    tag: str
    event_id: str  # the registry's own id of this event: the same one twice is one push
    media_type: str = ""
    pushed_at: datetime | None = None  # by the registry's clock, aware; None: it does not say

    @property
    def name(self) -> str:
        """The image as people write it."""
        return f"{self.registry}/{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing to deploy, and why."""

    reason: str
    event_id: str = ""
    is_odd: bool = False  # a person should look: it contradicts itself, or is not understood


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """Event Grid asks whether this door wants its events; the code goes back to it."""

    code: str


Notice = Push | Ignored | Handshake


def canonical_host(host: str) -> str:
    """Return the one name of a registry: a geo-replica's is its registry's, and so on."""
    host = host.strip().lower().rstrip(".").removesuffix(":443")
    if host in _DOCKER_HUB_NAMES:
        return DOCKER_HUB
    replica = _REPLICA.fullmatch(host)
    return f"{replica[1]}.azurecr.{replica[2]}" if replica else host


def canonical_repository(host: str, repository: str) -> str:
    """Return the one name of a repository; Docker Hub's official images need no namespace."""
    repository = repository.strip("/").lower()
    is_official = canonical_host(host) == DOCKER_HUB and "/" not in repository
    return f"library/{repository}" if is_official else repository


def header(headers: Mapping[str, str], name: str) -> str:
    """Return a header's value, or nothing where it is not what a registry would send."""
    value = headers.get(name, "").strip()
    return value if value.isprintable() and len(value) <= _LONGEST_HEADER else ""


_LONGEST_HEADER: Final = 500
