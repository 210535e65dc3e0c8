"""Builds OCI images whose digest depends on their content alone."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.registry.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from sandbox.registry.store import digest_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSpec:
    """What goes into an image. *files* maps paths inside the image to their content."""

    files: Mapping[str, bytes] = field(hash=False)
    entrypoint: Sequence[str]
    env: Mapping[str, str] = field(hash=False, default_factory=dict[str, str])
    architecture: str = "amd64"
    labels: Mapping[str, str] = field(hash=False, default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A manifest and the blobs it names; equal input gives equal bytes."""

    manifest: bytes
    blobs: Mapping[str, bytes] = field(hash=False)  # by digest

    @property
    def digest(self) -> str:
        """Digest of the manifest."""
        return digest_of(self.manifest)


def build(spec: ImageSpec) -> BuiltImage:
    """Make a one-layer image of *spec*."""
    archive = _tar(spec.files)
    layer = _gzip(archive)
    config = canonical(
        {
            "architecture": spec.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": list(spec.entrypoint),
                "Env": [f"{name}={value}" for name, value in sorted(spec.env.items())],
                "Labels": dict(sorted(spec.labels.items())),
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
        }
    )
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, config),
            "layers": [descriptor(OCI_LAYER, layer)],
        }
    )
    return BuiltImage(manifest, {digest_of(blob): blob for blob in (config, layer)})


def canonical(document: Json) -> bytes:
    """Return the one JSON form we use, so that digests are reproducible."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def descriptor(media_type: str, content: bytes) -> Json:
    """Return how a manifest names *content*."""
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name.lstrip("/"))  # owner and time stay 0
            entry.size = len(content)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, compresslevel=6, mtime=0)
