"""What a registry holds: blobs, manifests and tags by repository. No HTTP here."""

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from sandbox.registry.errors import (
    RegistryError,
    blob_unknown,
    digest_invalid,
    manifest_unknown,
)

Json = dict[str, Any]

DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
_REPOSITORY = re.compile(
    r"^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$"
)
_TAG = re.compile(r"^\w[\w.-]{0,127}$", re.ASCII)


def digest_of(content: bytes) -> str:
    """Return the content's sha256 in the form ``sha256:<hex>``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """Stored bytes, exactly as they were pushed."""

    digest: str
    media_type: str
    content: bytes

    def document(self) -> Json:
        """Return the parsed form."""
        parsed: Json = json.loads(self.content)
        return parsed

    @property
    def subject(self) -> str | None:
        """Digest of the manifest that this one is about, if any."""
        subject: Json = self.document().get("subject") or {}
        return subject.get("digest")

    def descriptor(self) -> Json:
        """Return what an index or the referrers API says of this manifest."""
        document = self.document()
        config: Json = document.get("config") or {}
        kind = document.get("artifactType") or config.get("mediaType")
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": len(self.content),
            **({"artifactType": kind} if kind else {}),
            **({"annotations": document["annotations"]} if document.get("annotations") else {}),
        }


@dataclass(slots=True)
class Repository:
    """One name's content."""

    blobs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    manifests: dict[str, Manifest] = field(default_factory=dict[str, Manifest])
    tags: dict[str, str] = field(default_factory=dict[str, str])  # tag -> digest

    def find(self, reference: str) -> Manifest:
        """Return the manifest with this tag or digest.

        Raises:
            RegistryError: there is none (404).
        """
        manifest = self.manifests.get(self.tags.get(reference, reference))
        if manifest is None:
            raise manifest_unknown(reference)
        return manifest

    def add(self, reference: str, media_type: str, content: bytes) -> Manifest:
        """Store a manifest under a tag or under its digest.

        Raises:
            RegistryError: not a manifest, not its digest, or it names content not pushed (400).
        """
        manifest = Manifest(digest_of(content), media_type, content)
        if DIGEST.match(reference):
            if reference != manifest.digest:
                raise digest_invalid(f"the manifest's digest is {manifest.digest}")
        elif not _TAG.match(reference):
            raise RegistryError(400, "TAG_INVALID", f"{reference!r} is not a tag")
        self._check(manifest)
        self.manifests[manifest.digest] = manifest
        if reference != manifest.digest:
            self.tags[reference] = manifest.digest
        return manifest

    def remove(self, reference: str) -> Manifest | None:
        """Delete a tag, or a manifest with all its tags; return the manifest in that case."""
        if reference in self.tags:
            del self.tags[reference]
            return None
        manifest = self.find(reference)
        del self.manifests[manifest.digest]
        self.tags = {tag: is_ for tag, is_ in self.tags.items() if is_ != manifest.digest}
        return manifest

    def blob(self, digest: str) -> bytes:
        """Return a blob's bytes, or raise `RegistryError` (404)."""
        if digest not in self.blobs:
            raise blob_unknown(digest)
        return self.blobs[digest]

    def referrers(self, digest: str, artifact_type: str | None) -> list[Json]:
        """Return descriptors of the manifests whose subject is *digest*."""
        found = [
            manifest.descriptor()
            for manifest in self.manifests.values()
            if manifest.subject == digest
        ]
        return [one for one in found if artifact_type in {None, one.get("artifactType")}]

    def _check(self, manifest: Manifest) -> None:
        """Refuse a manifest that names what has not been pushed."""
        children, content = _named_content(_parse(manifest))
        if missing := [digest for digest in children if digest not in self.manifests]:
            raise RegistryError(400, "MANIFEST_UNKNOWN", f"the index names unknown {missing[0]}")
        if missing := [digest for digest in content if digest not in self.blobs]:
            raise RegistryError(
                400, "MANIFEST_BLOB_UNKNOWN", f"the manifest names unknown blob {missing[0]}"
            )


@dataclass(slots=True)
class Store:
    """All repositories and the unfinished uploads."""

    repositories: dict[str, Repository] = field(default_factory=dict[str, Repository])
    uploads: dict[str, bytearray] = field(default_factory=dict[str, bytearray])

    def existing(self, name: str) -> Repository:
        """Return a repository, or raise `RegistryError` (404)."""
        if name not in self.repositories:
            raise RegistryError(404, "NAME_UNKNOWN", f"repository {name} is not found")
        return self.repositories[name]

    def opened(self, name: str) -> Repository:
        """Return a repository, which the first push to it creates."""
        if not _REPOSITORY.match(name):
            raise RegistryError(400, "NAME_INVALID", f"{name!r} is not a repository name")
        return self.repositories.setdefault(name, Repository())


def _parse(manifest: Manifest) -> Json:
    try:
        document = json.loads(manifest.content)
    except ValueError as error:
        raise RegistryError(400, "MANIFEST_INVALID", "the manifest is not JSON") from error
    if not isinstance(document, dict):
        raise RegistryError(400, "MANIFEST_INVALID", "the manifest is not an object")
    parsed: Json = document  # pyright: ignore[reportUnknownVariableType]  # JSON keys are strings
    if parsed.get("schemaVersion") != 2:
        raise RegistryError(400, "MANIFEST_INVALID", "schemaVersion is not 2")
    if parsed.get("mediaType", manifest.media_type) != manifest.media_type:
        raise RegistryError(
            400, "MANIFEST_INVALID", "mediaType and the Content-Type header disagree"
        )
    return parsed


def _named_content(document: Json) -> tuple[list[str], list[str]]:
    """Return the digests of the manifests and of the blobs that *document* names."""
    try:
        children: list[Json] = document.get("manifests") or []
        blobs: list[Json] = [document["config"]] if "config" in document else []
        blobs += document.get("layers") or []
        return [one["digest"] for one in children], [one["digest"] for one in blobs]
    except (KeyError, TypeError) as error:
        raise RegistryError(400, "MANIFEST_INVALID", "a descriptor has no digest") from error
