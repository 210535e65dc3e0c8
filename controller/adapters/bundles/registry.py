"""Bundles that are attached to images in their registry."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast

from controller.adapters.bundles.artifact import (
    ARTIFACT_TYPE,
    EMPTY,
    INDEX_TYPE,
    MANIFEST_TYPE,
    Layer,
    added,
    built,
    bundles_in,
    digest_of,
    fallback_tag,
    layers,
    made_at,
    newest,
    unpacked,
)
from controller.adapters.registry_calls import (
    MISSING,
    MOST_BYTES,
    OK,
    Answer,
    RegistryCalls,
    absolute,
    check,
)
from controller.core.errors import BusyError, MalformedError, PermanentError
from controller.core.model import Image
from controller.migrations.shapes import is_list, is_mapping

_MOST_PAGES: Final = 20
_MOST_BUNDLES: Final = 100  # of one image
_REMEMBERED: Final = 8  # bundles: each call of a migration asks again
_AT_ONCE: Final = 8
_TRIES: Final = 5  # of a list that others write, too
_ACCEPTED: Final = frozenset({400, MISSING, 405, 501})  # registries that know no referrers
_MANIFESTS: Final = (
    f"{INDEX_TYPE}, {MANIFEST_TYPE}, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class RegistryBundles:
    """Finds and attaches bundles.

    Args:
        calls: sends the requests.
    """

    def __init__(self, calls: RegistryCalls) -> None:
        self._calls = calls
        self._read: OrderedDict[str, Mapping[str, bytes]] = OrderedDict()  # by artifact's digest

    async def close(self) -> None:
        """Close what is open."""
        await self._calls.close()

    async def files(self, image: Image) -> Mapping[str, bytes] | None:
        """Return the files of the newest bundle of *image*, None where it carries none.

        Raises:
            MalformedError: it cannot be read.
            AccessDeniedError, BusyError, PermanentError: as the registry answers.
        """
        found = await self._attached(image)
        if found is None:
            return None
        known = self._read.get(f"{image.digest} {found}")
        if known is None:
            known = self._read[f"{image.digest} {found}"] = await self._files(image, found)
            while len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        return known

    async def _files(self, image: Image, bundle: str) -> Mapping[str, bytes]:
        answer = await self._get(image, f"manifests/{bundle}", MANIFEST_TYPE)
        named = layers(answer.body, bundle, image.digest)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(layer: Layer) -> Mapping[str, bytes]:
            async with gate:
                return await self._file(image, layer)

        files: dict[str, bytes] = {}
        for each in await asyncio.gather(*(one(layer) for layer in named)):
            if twice := files.keys() & each.keys():
                raise MalformedError(
                    f"The bundle has two files named {min(twice)}.", fix="Attach it again."
                )
            files |= each
        return files

    async def _attached(self, image: Image) -> str | None:
        path = f"referrers/{image.digest}"
        params: Mapping[str, str] | None = {"artifactType": ARTIFACT_TYPE}
        rows: list[Any] = []
        for _ in range(_MOST_PAGES):
            answer = await self._calls.call(
                "GET",
                image.registry,
                image.repository,
                path,
                headers={"Accept": INDEX_TYPE},
                params=params,
            )
            if answer.status in _ACCEPTED:
                return await self._by_fallback(image)
            check(answer, image.registry, f"list what is attached to {image.repository}")
            found = _listed(answer)
            if found is None:
                return await self._by_fallback(image)
            rows += found
            following = _next(answer, image)
            if following is None:
                bundles = bundles_in({"manifests": rows}, image.digest)
                # It may have been attached before the registry, or a copy of it, learnt to list.
                return await self._newest(image, bundles) or await self._by_fallback(image)
            path, params = following, None
        raise PermanentError(
            f"More is attached to {image.digest} than {_MOST_PAGES} pages list.",
            fix="Remove old signatures and bundles of that image.",
        )

    async def _by_fallback(self, image: Image) -> str | None:
        answer = await self._calls.call(
            "GET",
            image.registry,
            image.repository,
            f"manifests/{fallback_tag(image.digest)}",
            headers={"Accept": INDEX_TYPE},
        )
        if answer.status == MISSING:
            return None
        check(answer, image.registry, f"list what is attached to {image.repository}")
        index = _json(answer, f"what is attached to {image.digest}")
        return await self._newest(image, bundles_in(index, image.digest))

    async def _newest(self, image: Image, bundles: dict[str, datetime | None]) -> str | None:
        """Return the one that counts. Where lists leave their times out, manifests tell them."""
        if len(bundles) > _MOST_BUNDLES:
            raise PermanentError(
                f"{len(bundles)} bundles are attached to {image.digest}.", fix="Remove old ones."
            )
        if len(bundles) > 1:
            for digest in [digest for digest, at in bundles.items() if at is None]:
                answer = await self._get(image, f"manifests/{digest}", MANIFEST_TYPE)
                bundles[digest] = made_at(_json(answer, digest))
        return newest(bundles)

    async def _file(self, image: Image, layer: Layer) -> Mapping[str, bytes]:
        path, most = f"blobs/{layer.digest}", layer.size + 1
        answer = await self._get(image, path, "*/*", most_bytes=most)
        if digest_of(answer.body) != layer.digest:
            raise BusyError(f"File {layer.name} of the bundle did not arrive as it was sent.")
        if layer.is_packed:
            return unpacked(layer.name, answer.body)
        return {layer.name: answer.body}

    async def _get(
        self, image: Image, path: str, accept: str, *, most_bytes: int = MOST_BYTES
    ) -> Answer:
        answer = await self._calls.call(
            "GET",
            image.registry,
            image.repository,
            path,
            headers={"Accept": accept},
            most_bytes=most_bytes,
        )
        check(answer, image.registry, f"read the migrations of {image.repository}")
        return answer

    # --- Attaching ----------------------------------------------------------------------------

    async def attach(self, image: Image, files: Mapping[str, bytes], *, at: datetime) -> str:
        """Attach *files* as the bundle of *image*; return the artifact's digest.

        The same files at the same time are the same artifact. The newest one counts.

        Raises:
            AccessDeniedError: we may not push there.
            PermanentError: there is no such image, or the registry refuses.
            BusyError: the registry does not answer.
        """
        subject = await self._subject(image)
        content, row = built(files, subject, at.isoformat())
        for blob in {digest_of(each): each for each in (EMPTY, *files.values())}.values():
            await self._upload(image, blob)
        answer = await self._put(image, row["digest"], MANIFEST_TYPE, content)
        if answer.headers.get("OCI-Subject") is None:  # it does not list what is attached
            await self._list(image, row)
        return str(row["digest"])

    async def _subject(self, image: Image) -> dict[str, Any]:
        answer = await self._calls.call(
            "GET",
            image.registry,
            image.repository,
            f"manifests/{image.digest}",
            headers={"Accept": _MANIFESTS},
        )
        if answer.status == MISSING:
            raise PermanentError(
                f"{image.reference} is not in the registry.", fix="Push the image first."
            )
        check(answer, image.registry, f"read {image.repository}")
        kind = answer.headers.get("Content-Type", MANIFEST_TYPE).partition(";")[0]
        return {"mediaType": kind, "digest": image.digest, "size": len(answer.body)}

    async def _upload(self, image: Image, blob: bytes) -> None:
        digest = digest_of(blob)
        there = await self._calls.call("HEAD", image.registry, image.repository, f"blobs/{digest}")
        if there.status == OK:
            return
        doing = f"push to {image.repository}"
        begun = await self._calls.call(
            "POST", image.registry, image.repository, "blobs/uploads/", data=b""
        )
        check(begun, image.registry, doing)
        where = absolute(begun.headers.get("Location", ""), image.registry)
        ended = await self._calls.call(
            "PUT",
            image.registry,
            image.repository,
            f"{where}{'&' if '?' in where else '?'}digest={digest}",
            headers={"Content-Type": "application/octet-stream"},
            data=blob,
        )
        check(ended, image.registry, doing)

    async def _put(self, image: Image, reference: str, kind: str, content: bytes) -> Answer:
        answer = await self._calls.call(
            "PUT",
            image.registry,
            image.repository,
            f"manifests/{reference}",
            headers={"Content-Type": kind},
            data=content,
        )
        check(answer, image.registry, f"push to {image.repository}")
        return answer

    async def _list(self, image: Image, row: dict[str, Any]) -> None:
        """Add *row* to the tag that lists what is attached, and see that it stays there.

        Registries know no condition on a write: who attaches in the same moment may write over
        our row. Then it is added again.
        """
        for _ in range(_TRIES):
            known = await self._index(image)
            await self._put(image, fallback_tag(image.digest), INDEX_TYPE, added(known, row))
            if str(row["digest"]).encode() in (await self._index(image) or b""):
                return
        raise BusyError(f"Others attach to {image.reference} at the same time.")

    async def _index(self, image: Image) -> bytes | None:
        answer = await self._calls.call(
            "GET",
            image.registry,
            image.repository,
            f"manifests/{fallback_tag(image.digest)}",
            headers={"Accept": INDEX_TYPE},
        )
        if answer.status == MISSING:
            return None
        check(answer, image.registry, f"read {image.repository}")
        return answer.body


def _json(answer: Answer, what: str) -> dict[str, Any]:
    try:
        found: Any = json.loads(answer.body)
    except ValueError as error:
        raise BusyError(f"The registry's answer about {what} is no JSON.") from error
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _listed(answer: Answer) -> list[Any] | None:
    """Return the rows of a list; None where it is a page for people, as some registries show."""
    try:
        found: object = json.loads(answer.body)
    except ValueError:
        return None
    rows = found.get("manifests") if is_mapping(found) else None
    return rows if is_list(rows) else None


def _next(answer: Answer, image: Image) -> str | None:
    """Return the address of the next page, on the same registry."""
    target, _, rest = answer.headers.get("Link", "").partition(";")
    if 'rel="next"' not in rest or not target.startswith("<"):
        return None
    return absolute(target[1:].rstrip(">"), image.registry)
