"""Copies an image to another registry, by digest, with all that belongs to it."""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, cast

from controller.adapters.bundles.artifact import INDEX_TYPE, added, fallback_tag
from controller.adapters.registry_calls import (
    MISSING,
    OK,
    Answer,
    Blob,
    RegistryCalls,
    absolute,
    check,
)
from controller.core.errors import BusyError, MalformedError, PermanentError
from controller.core.model import Image

_MANIFESTS: Final = (
    f"{INDEX_TYPE}, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_AT_ONCE: Final = 3  # blobs
_MOST_ATTACHED: Final = 200
_MOST_PAGES: Final = 20

Json = dict[str, Any]


class ImageCopier:
    """Implements `ImageKeeper`. What the target has already is not sent again.

    Args:
        calls: sends the requests, to both registries.
    """

    def __init__(self, calls: RegistryCalls) -> None:
        self._calls = calls

    async def copy(self, image: Image, to: str) -> Image:
        """See `ImageKeeper.copy`."""
        registry, _, prefix = to.strip("/").partition("/")
        repository = f"{prefix}/{image.repository}" if prefix else image.repository
        target = Image(registry=registry, repository=repository, digest=image.digest)
        await self._manifest(image, target, image.digest)
        for digest in await self._attached(image):
            row = await self._manifest(image, target, digest)
            if row is not None:
                await self._list(target, row)
        there = await self._head(target, f"manifests/{image.digest}")
        if there.status != OK:
            raise BusyError(f"{target.reference} was copied and is not there.")
        return target

    async def _manifest(self, source: Image, target: Image, digest: str) -> Json | None:
        """Copy a manifest after all that it names; return what the target does not list itself."""
        if (await self._head(target, f"manifests/{digest}")).status == OK:
            return None
        path = f"manifests/{digest}"
        answer = await self._get(source, path, _MANIFESTS)
        if f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
            raise PermanentError(
                f"{source.registry}/{source.repository} holds {digest} with other bytes.",
                fix="Push the image again.",
            )
        document = _document(answer.body, digest)
        for child in _digests(document.get("manifests")):
            await self._manifest(source, target, child)
        layers = cast("list[Json]", [document.get("config"), *(document.get("layers") or ())])
        await self._blobs(source, target, layers)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        made = await self._calls.call(
            "PUT",
            target.registry,
            target.repository,
            path,
            headers={"Content-Type": kind},
            data=answer.body,
        )
        check(made, target.registry, f"push to {target.repository}")
        if "subject" not in document or made.headers.get("OCI-Subject") is not None:
            return None
        row: Json = {"mediaType": kind, "digest": digest, "size": len(answer.body)}
        said = {
            name: document[name] for name in ("artifactType", "annotations") if name in document
        }
        return row | said

    async def _blobs(self, source: Image, target: Image, rows: Sequence[Json]) -> None:
        """Copy what is missing. A layer that is fetched from elsewhere by contract stays there."""
        wanted = {str(row["digest"]): row for row in rows if row and not row.get("urls")}
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(digest: str, size: object) -> None:
            async with gate:
                if (await self._head(target, f"blobs/{digest}")).status == OK:
                    return
                known = size if isinstance(size, int) else None
                await self._calls.pipe(
                    Blob(
                        registry=source.registry,
                        repository=source.repository,
                        digest=digest,
                        size=known,
                    ),
                    Blob(registry=target.registry, repository=target.repository, digest=digest),
                )

        try:
            async with asyncio.TaskGroup() as group:
                for digest, row in wanted.items():
                    group.create_task(one(digest, row.get("size")))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _attached(self, image: Image) -> list[str]:
        """Return the digests of signatures, bills of materials and bundles of an image."""
        found: list[str] = []
        path = f"referrers/{image.digest}"
        for _ in range(_MOST_PAGES):
            answer = await self._raw(image, path, INDEX_TYPE)
            if answer.status != OK or answer.headers.get("Content-Type", "").startswith("text/"):
                break
            found += _digests(_document(answer.body, path).get("manifests"))
            link, _, rest = answer.headers.get("Link", "").partition(";")
            if 'rel="next"' not in rest:
                break
            path = absolute(link.strip("<>"), image.registry)
        listed = await self._raw(image, f"manifests/{fallback_tag(image.digest)}", INDEX_TYPE)
        if listed.status == OK:
            found += _digests(_document(listed.body, "its fallback tag").get("manifests"))
        if len(found) > _MOST_ATTACHED:
            raise PermanentError(
                f"{len(found)} artifacts are attached to {image.digest}.", fix="Remove old ones."
            )
        return list(dict.fromkeys(found))

    async def _list(self, target: Image, row: Json) -> None:
        """Name *row* under the fallback tag of a registry that does not list what is attached."""
        path = f"manifests/{fallback_tag(target.digest)}"
        there = await self._raw(target, path, INDEX_TYPE)
        index = added(there.body if there.status == OK else None, row)
        made = await self._calls.call(
            "PUT",
            target.registry,
            target.repository,
            path,
            headers={"Content-Type": INDEX_TYPE},
            data=index,
        )
        check(made, target.registry, f"push to {target.repository}")

    async def _head(self, image: Image, path: str) -> Answer:
        answer = await self._calls.call(
            "HEAD", image.registry, image.repository, path, headers={"Accept": _MANIFESTS}
        )
        if answer.status != MISSING:
            check(answer, image.registry, f"look into {image.repository}")
        return answer

    async def _raw(self, image: Image, path: str, accept: str) -> Answer:
        return await self._calls.call(
            "GET", image.registry, image.repository, path, headers={"Accept": accept}
        )

    async def _get(self, image: Image, path: str, accept: str) -> Answer:
        answer = await self._raw(image, path, accept)
        check(answer, image.registry, f"read {image.repository}")
        return answer


def _document(content: bytes, what: str) -> Json:
    try:
        found: object = json.loads(content)
    except ValueError as error:
        raise MalformedError(f"{what} is no JSON.", fix="Push the image again.") from error
    return cast("Json", found) if isinstance(found, dict) else {}


def _digests(rows: object) -> list[str]:
    listed = cast("list[object]", rows) if isinstance(rows, list) else []
    return [str(cast("Json", row)["digest"]) for row in listed if isinstance(row, dict)]
