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
_NO_REFERRERS: Final = frozenset({400, MISSING, 405, 501})  # registries before OCI 1.1

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
        await self.place(image, target)
        return target

    async def place(self, image: Image, target: Image) -> None:
        """See `ImageKeeper.place`."""
        await self._manifest(image, target, image.digest)
        attached = await self._attached(image)
        for digest in attached:
            await self._manifest(image, target, digest)
        await self._list_all(image, target, attached)
        there = await self._head(target, f"manifests/{image.digest}")
        if there.status != OK:
            raise BusyError(f"{target.reference} was copied and is not there.")

    async def _manifest(self, source: Image, target: Image, digest: str) -> None:
        """Copy a manifest after all that it names."""
        if (await self._head(target, f"manifests/{digest}")).status == OK:
            return
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
        found = [*(await self._referrers(image) or ()), *await self._by_fallback(image)]
        once = list(dict.fromkeys(found))
        if len(once) > _MOST_ATTACHED:
            raise PermanentError(
                f"{len(once)} artifacts are attached to {image.digest}.", fix="Remove old ones."
            )
        return once

    async def _referrers(self, image: Image) -> list[str] | None:
        """Return what the registry lists, None where it is one that does not list."""
        found: list[str] = []
        path = f"referrers/{image.digest}"
        for _ in range(_MOST_PAGES):
            answer = await self._raw(image, path, INDEX_TYPE)
            kind = answer.headers.get("Content-Type", "")
            if answer.status in _NO_REFERRERS or kind.startswith("text/"):
                return None
            check(answer, image.registry, f"list what is attached to {image.repository}")
            found += _digests(_document(answer.body, path).get("manifests"))
            link, _, rest = answer.headers.get("Link", "").partition(";")
            if 'rel="next"' not in rest:
                return found
            path = absolute(link.strip("<>"), image.registry)
        raise PermanentError(
            f"More is attached to {image.digest} than {_MOST_PAGES} pages list.",
            fix="Remove old signatures and bundles of that image.",
        )

    async def _by_fallback(self, image: Image) -> list[str]:
        answer = await self._index(image)
        if answer is None:
            return []
        return _digests(_document(answer, "its fallback tag").get("manifests"))

    async def _index(self, image: Image) -> bytes | None:
        """Return what the fallback tag names, None where there is no such tag."""
        answer = await self._raw(image, f"manifests/{fallback_tag(image.digest)}", INDEX_TYPE)
        if answer.status == MISSING:
            return None
        check(answer, image.registry, f"list what is attached to {image.repository}")
        return answer.body

    async def _list_all(self, source: Image, target: Image, attached: Sequence[str]) -> None:
        """Name what is attached under the fallback tag of a registry that does not list it.

        Looked at anew each time: an earlier try may have copied something and died then.
        """
        if not attached or await self._referrers(target) is not None:
            return
        index = await self._index(target)
        known = (
            set(_digests(_document(index, "its fallback tag").get("manifests"))) if index else ()
        )
        for digest in attached:
            if digest not in known:
                index = added(index, await self._row(source, digest))
        if index is None or known == set(attached):
            return
        made = await self._calls.call(
            "PUT",
            target.registry,
            target.repository,
            f"manifests/{fallback_tag(target.digest)}",
            headers={"Content-Type": INDEX_TYPE},
            data=index,
        )
        check(made, target.registry, f"push to {target.repository}")

    async def _row(self, source: Image, digest: str) -> Json:
        """Return what an index says of an artifact."""
        answer = await self._get(source, f"manifests/{digest}", _MANIFESTS)
        document = _document(answer.body, digest)
        kind = answer.headers.get("Content-Type", "").partition(";")[0]
        row: Json = {"mediaType": kind, "digest": digest, "size": len(answer.body)}
        names = ("artifactType", "annotations")
        return row | {name: document[name] for name in names if name in document}

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
