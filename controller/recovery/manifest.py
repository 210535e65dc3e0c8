"""What a backup set holds, written last: a set without its manifest is incomplete, never offered.

The manifest carries the hash of its own canonical form, and, where parts are encrypted, that hash
sealed by the same key: who cannot open the set cannot forge what it says either.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controller.core.backup_plan import (
    PartKind as PartKind,  # noqa: PLC0414 - manifests speak of it, what is wanted names it, too
)
from controller.core.errors import MalformedError
from controller.recovery.facts import DatabaseFacts
from controller.recovery.names import SetId, app_of, check_set_id, is_begun_at, part_path
from controller.recovery.reading import parsed, read, written

SCHEMA: Final = 1
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_DAMAGED: Final = "Use another set; `slipway backup list` shows them."


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A key that only the holder of another one can use. Nothing in here is secret."""

    algorithm: str
    key_id: str  # which key opens it, as a person would look for it
    wrapped: str  # base64
    parameters: Mapping[str, str]  # what the algorithm needs beside the key


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """How a part was encrypted, before it left the process."""

    algorithm: str
    key: WrappedKey  # the part's own data key


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a set. *stored* is what lies in the vault, *plain* what was put in."""

    name: str
    kind: PartKind
    path: str  # relative to the vault
    content_type: str
    plain_bytes: int
    plain_sha256: str
    stored_bytes: int
    stored_sha256: str
    encryption: Encryption | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything that is known about a set that is whole."""

    id: SetId
    app: str
    reason: str  # why it was made, for people
    requested_by: str  # who wanted it
    started_at: datetime
    finished_at: datetime
    slipway_version: str
    release: str | None  # digest of the image that served then
    parts: tuple[Part, ...]
    database: DatabaseFacts | None = None
    schema: int = SCHEMA
    sha256: str = ""  # of everything but itself and the seal; `sealed_by_hash` sets it
    seal: WrappedKey | None = None  # that hash, wrapped

    def part(self, name: str) -> Part | None:
        """Return the part called *name*."""
        return next((each for each in self.parts if each.name == name), None)

    @property
    def is_encrypted(self) -> bool:
        """Tell whether a key is needed to read it."""
        return any(each.encryption for each in self.parts)

    @property
    def data_at(self) -> datetime:
        """The moment whose data the set brings back: what the RPO is measured from."""
        return self.database.taken_at if self.database else self.started_at


def sealed_by_hash(manifest: Manifest) -> Manifest:
    """Return the manifest with the hash of what it says.

    Raises:
        MalformedError: it contradicts itself.
    """
    _check(manifest)
    return replace(manifest, sha256=content_hash(manifest))


def content_hash(manifest: Manifest) -> str:
    """Return the SHA-256 of the canonical form, with hash and seal left out."""
    content = written(replace(manifest, sha256="", seal=None))
    return hashlib.sha256(content).hexdigest()


def write_manifest(manifest: Manifest) -> bytes:
    """Return the stored form of a manifest that has its hash."""
    return written(manifest)


def read_manifest(document: bytes) -> Manifest:
    """Return the manifest in its stored form.

    Raises:
        MalformedError: it is not one, was changed after it was written, or contradicts itself.
    """
    value = parsed(document, "The manifest")
    if value.get("schema") != SCHEMA:
        raise MalformedError(
            f"The manifest has the form {value.get('schema')!r}; this Slipway reads {SCHEMA}.",
            fix="Use the version of Slipway that wrote it, or a newer one.",
        )
    manifest = read(Manifest, value, "manifest")
    if manifest.sha256 != content_hash(manifest):
        raise MalformedError(
            f"The manifest of {manifest.id} was changed after it was written:"
            " its hash is not that of what it says.",
            fix=_DAMAGED,
        )
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    check_set_id(manifest.id)
    if problem := _contradiction(manifest):
        raise MalformedError(f"The manifest of {manifest.id} {problem}.", fix=_DAMAGED)


def _contradiction(manifest: Manifest) -> str | None:
    names = [each.name for each in manifest.parts]
    kinds_of_parts = {each.encryption is None for each in manifest.parts}
    begun = manifest.started_at.isoformat()
    checks = (
        (manifest.app != app_of(manifest.id), f"is of app {manifest.app!r}"),
        (not is_begun_at(manifest.id, manifest.started_at), f"says that it was begun at {begun}"),
        (manifest.finished_at < manifest.started_at, "ends before it begins"),
        (not names, "has no parts"),
        (len(set(names)) != len(names), "names a part twice"),
        (len(kinds_of_parts) > 1, "has encrypted parts and others that are not"),
        (manifest.seal is not None and not manifest.is_encrypted, "is sealed, its parts are not"),
    )
    problems = [said for is_so, said in checks if is_so]
    problems += filter(None, (_contradiction_in(manifest.id, part) for part in manifest.parts))
    return problems[0] if problems else None


def _contradiction_in(identity: SetId, part: Part) -> str | None:
    where = f"says of part {part.name}"
    if part.path != part_path(identity, part.name):
        return f"{where} that it is at {part.path!r}"
    if min(part.plain_bytes, part.stored_bytes) < 0:
        return f"{where} that it has less than nothing"
    if not all(_HASH.fullmatch(each) for each in (part.plain_sha256, part.stored_sha256)):
        return f"{where} no SHA-256"
    plain = (part.plain_bytes, part.plain_sha256)
    if part.encryption is None and plain != (part.stored_bytes, part.stored_sha256):
        return f"{where} that it is not encrypted and yet not what was put in"
    return None
