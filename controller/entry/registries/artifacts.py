"""Which of the things that a registry holds can be deployed: images under a tag, nothing else."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from controller.entry.registries.pushes import (
    Ignored,
    Notice,
    Push,
    canonical_host,
    canonical_repository,
)

MANIFESTS: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
CONFIGS: Final = frozenset(
    {
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
    }
)
_TELLING: Final = re.compile(r"\.config\.|^application/vnd\.oci\.empty\.|\+config\b")
_SIGNATURE: Final = re.compile(r"sha256-[0-9a-f]{64}(\.[\w.-]+)?", re.IGNORECASE)
_DIGEST: Final = re.compile(r"sha(256|512):[0-9a-f]+", re.IGNORECASE)


def judge(
    *,
    registry: str,
    repository: str,
    digest: str | None,
    tag: str,
    event_id: str = "",
    media_type: str = "",
    parts: Sequence[str] = (),
    pushed_at: datetime | None = None,
) -> Notice:
    """Return the push, or why it is none.

    Args:
        registry: its host, in any form.
        repository: within the registry.
        digest: of the manifest; None where the registry does not tell.
        tag: empty where it was pushed by digest; some registries repeat the digest here.
        event_id: the registry's own; without one the push is named by what it says.
        media_type: of the manifest, where it is told.
        parts: media types of what the manifest names, its configuration among them.
        pushed_at: by the registry's clock.
    """
    host = canonical_host(registry)
    name = canonical_repository(host, repository)
    tag = "" if _DIGEST.fullmatch(tag) else tag
    at = pushed_at.isoformat() if pushed_at else ""
    event_id = event_id or f"{host}/{name}:{tag}@{digest or ''}#{at}"
    if reason := _not_deployable(repository, digest, tag, bare(media_type), parts):
        return Ignored(reason=reason, event_id=event_id)
    return Push(
        registry=host,
        repository=name,
        digest=digest,
        tag=tag,
        event_id=event_id,
        media_type=media_type,
        pushed_at=pushed_at,
    )


def _not_deployable(
    repository: str, digest: str | None, tag: str, media_type: str, parts: Sequence[str]
) -> str | None:
    name = f"{repository}@{digest[7:19]}" if digest else f"{repository}:{tag}"
    if media_type and media_type not in MANIFESTS | CONFIGS:
        return f"{name} is {media_type}, not a container image"
    if not tag:
        return f"{name} was pushed without a tag: a child of an index, or an attestation"
    if _SIGNATURE.fullmatch(tag):
        return f"{repository}:{tag} is a signature or attestation of another image"
    odd = next((p for p in map(bare, parts) if _TELLING.search(p) and p not in CONFIGS), None)
    if odd:
        return f"{repository}:{tag} is made of {odd}: not a container image"
    if digest and not digest.startswith("sha256:"):
        return f"{repository}:{tag} is named by {digest.partition(':')[0]}; only sha256 is possible"
    return None


def bare(media_type: str) -> str:
    """Return a media type without its parameters."""
    return media_type.partition(";")[0].strip().lower()
