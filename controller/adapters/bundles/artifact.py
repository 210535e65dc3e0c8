"""A migration bundle as an OCI artifact, attached to the image that needs it.

Its manifest has the artifact type `ARTIFACT_TYPE`, the image's manifest (or index) as subject, and
one layer per file whose annotation ``org.opencontainers.image.title`` is the file's name: what
``oras attach --artifact-type ... IMAGE db/001_orders.up.sql ...`` makes, too. A folder, which
``oras`` packs into one layer (``io.deis.oras.content.unpack``), is read as the files in it.

Where a registry has no referrers API, the tag ``sha256-<hex>`` of the image's digest is an index
of what is attached (the fallback of the distribution specification).
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from controller.core.errors import MalformedError
from controller.migrations.reading import LARGEST_BUNDLE

ARTIFACT_TYPE: Final = "application/vnd.slipway.migrations.v1"
FILE_TYPE: Final = "application/vnd.slipway.migrations.file.v1"
TITLE: Final = "org.opencontainers.image.title"
CREATED: Final = "org.opencontainers.image.created"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE: Final = "application/vnd.oci.empty.v1+json"
EMPTY: Final = b"{}"
_UNPACK: Final = "io.deis.oras.content.unpack"
_MOST_FILES: Final = 20_000
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_FIX: Final = "Attach the bundle again: slipway migrations push."

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One file of an artifact, or one folder packed into one."""

    digest: str
    size: int
    name: str
    is_packed: bool


def digest_of(content: bytes) -> str:
    """Return the digest of *content* as registries spell it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fallback_tag(digest: str) -> str:
    """Return the tag that lists what is attached to *digest* where there is no referrers API."""
    return digest.replace(":", "-")


def bundles_in(index: object, digest: str) -> dict[str, datetime | None]:
    """Return the bundles among what is attached to *digest*, and when they were made.

    Not every registry tells the latter: `made_at` tells it of a bundle's own manifest.

    Raises:
        MalformedError: the list cannot be understood.
    """
    return {
        str(row["digest"]): made_at(row)
        for row in _rows(index, "manifests", f"what is attached to {digest}")
        if row.get("artifactType") == ARTIFACT_TYPE and _DIGEST.fullmatch(str(row.get("digest")))
    }


def made_at(row: Json) -> datetime | None:
    """Return when a manifest, or a row about one, says that it was made; None: it does not."""
    notes: Any = row.get("annotations")
    said = cast("Json", notes).get(CREATED) if isinstance(notes, dict) else None
    try:
        at = datetime.fromisoformat(str(said))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def newest(bundles: Mapping[str, datetime | None]) -> str | None:
    """Return the bundle that counts: the one made last, the one of unknown age never before."""
    return max(bundles, key=lambda digest: (bundles[digest] or _LONG_AGO, digest), default=None)


def layers(content: bytes, digest: str, subject: str) -> tuple[Layer, ...]:
    """Return the files that an artifact's manifest names.

    Raises:
        MalformedError: it is not the manifest of a bundle for *subject*, or too much.
    """
    what = f"Bundle {digest}"
    if digest_of(content) != digest:
        raise MalformedError(f"{what} is not what its digest says.", fix=_FIX)
    try:
        found: object = json.loads(content)
    except ValueError as error:
        raise MalformedError(f"{what} has a manifest that is no JSON.", fix=_FIX) from error
    manifest = cast("Json", found) if isinstance(found, dict) else {}
    about: Any = manifest.get("subject")
    named = cast("Json", about).get("digest") if isinstance(about, dict) else None
    if named != subject:
        raise MalformedError(f"{what} is attached to {named}, not to {subject}.", fix=_FIX)
    read = tuple(_layer(row, what) for row in _rows(manifest, "layers", what))
    if len({layer.name for layer in read}) != len(read):
        raise MalformedError(f"{what} has two files of one name.", fix=_FIX)
    if sum(layer.size for layer in read) > LARGEST_BUNDLE or len(read) > _MOST_FILES:
        raise MalformedError(
            f"{what} is larger than {LARGEST_BUNDLE} bytes.", fix="Squash old migrations."
        )
    return read


def unpacked(name: str, content: bytes) -> Mapping[str, bytes]:
    """Return the files of a folder that was packed; their names are without the folder's.

    Raises:
        MalformedError: it is no archive, leads out of itself, or unpacks to too much.
    """
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            plain = stream.read(LARGEST_BUNDLE + (1 << 20))
        if len(plain) > LARGEST_BUNDLE:
            raise MalformedError(f"{name} unpacks to too much.", fix="Squash old migrations.")
        with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
            files = _members(archive)
    except (OSError, EOFError, zlib.error, ValueError, tarfile.TarError) as error:
        raise MalformedError(f"{name} cannot be unpacked: {error}.", fix=_FIX) from error
    if not files:
        raise MalformedError(f"{name} holds no files.", fix=_FIX)
    return files


def _members(archive: tarfile.TarFile) -> Mapping[str, bytes]:
    """Return what is in the one folder of an archive. Names are all that is used of paths."""
    files: dict[str, bytes] = {}
    for member in archive:
        name = member.name.rpartition("/")[2]
        if member.isdir() or name.startswith("."):
            continue
        if not member.isfile() or member.issparse():  # the latter: gigabytes of zeros
            raise MalformedError(f"{name} is a link, or a sparse file.", fix=_FIX)
        stream = archive.extractfile(member)
        if name in files or stream is None:
            raise MalformedError(f"The bundle has two files named {name}.", fix=_FIX)
        files[name] = stream.read()
    return files


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return *files* as one archive. The same files give the same bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)  # owner and time stay 0
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def built(files: Mapping[str, bytes], subject: Json, created: str) -> tuple[bytes, Json]:
    """Return the manifest of an artifact of *files* for *subject*, and its row in an index."""
    annotations = {CREATED: created}
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY), "size": len(EMPTY)},
        "layers": [
            {
                "mediaType": FILE_TYPE,
                "digest": digest_of(content),
                "size": len(content),
                "annotations": {TITLE: name},
            }
            for name, content in sorted(files.items())
        ],
        "subject": subject,
        "annotations": annotations,
    }
    content = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    row: Json = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": digest_of(content),
        "size": len(content),
        "annotations": annotations,
    }
    return content, row


def added(index: bytes | None, row: Json) -> bytes:
    """Return the fallback tag's index with *row* in it, once.

    Raises:
        MalformedError: what is there is no index.
    """
    rows: list[Json] = []
    if index is not None:
        try:
            rows = _rows(json.loads(index), "manifests", "the index of what is attached")
        except ValueError as error:
            raise MalformedError("The fallback tag is no index.", fix="Remove the tag.") from error
    kept = [each for each in rows if each.get("digest") != row["digest"]]
    made: Json = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, row]}
    return json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


def _rows(document: object, name: str, what: str) -> list[Json]:
    found: Any = cast("Json", document).get(name) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise MalformedError(f"{what} cannot be understood: it has no {name}.", fix=_FIX)
    rows = cast("list[object]", found)
    return [cast("Json", row) for row in rows if isinstance(row, dict)]


def _layer(row: Json, what: str) -> Layer:
    notes: Any = row.get("annotations")
    said = cast("Json", notes) if isinstance(notes, dict) else {}
    digest, size, title = row.get("digest"), row.get("size"), said.get(TITLE)
    if not _DIGEST.fullmatch(str(digest)) or not isinstance(size, int) or size < 0:
        raise MalformedError(f"{what} names a layer that is none.", fix=_FIX)
    name = str(title or "").rpartition("/")[2]
    if not name:
        raise MalformedError(f"{what} has a file without a name ({TITLE}).", fix=_FIX)
    return Layer(digest=str(digest), size=size, name=name, is_packed=said.get(_UNPACK) == "true")
