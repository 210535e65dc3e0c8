"""Bundles in a blob container: files under the image's digest, or under its tag.

``<prefix>sha256-<hex>/001_orders.up.sql``, or one ``<prefix>sha256-<hex>.tar.gz``, which wins; the
same with the tag where there is nothing under the digest. We write the latter: it is there as a
whole or not at all, whereas of files that somebody still uploads a rollout might see half. Give
such a folder a manifest, and upload that first.
"""

import asyncio
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.blob.aio import ContainerClient

from controller.adapters.bundles.artifact import fallback_tag, packed, unpacked
from controller.core.errors import AccessDeniedError, MalformedError, TransientError
from controller.migrations.reading import LARGEST_BUNDLE

_DENIED: Final = frozenset({401, 403})
_CLIENT_ERRORS: Final = range(400, 500)
_MOST_FILES: Final = 20_000
_AT_ONCE: Final = 8
_PACKED: Final = ".tar.gz"


class ContainerBundles:
    """Finds and keeps bundles in containers.

    Args:
        credential: aio token credential with the role Storage Blob Data Reader, to push
            Contributor.
        options: keywords for a client, such as a transport; called for each.
    """

    def __init__(self, credential: Any, options: Any = dict) -> None:
        self._credential = credential
        self._options = options

    async def files(
        self, url: str, prefix: str, digest: str, tag: str | None
    ) -> Mapping[str, bytes] | None:
        """Return the files of the bundle under *digest*, or else under *tag*; None: none.

        Raises:
            MalformedError: it is too large, or cannot be unpacked.
            AccessDeniedError, TransientError: as the storage account answers.
        """
        async with self._client(url) as container:
            for name in filter(None, (fallback_tag(digest), tag)):
                found = await _under(container, url, f"{prefix}{name}")
                if found:
                    return found
        return None

    async def keep(self, url: str, prefix: str, name: str, files: Mapping[str, bytes]) -> None:
        """Write *files* under *name*: a digest, or a tag. They are there at once, or not at all.

        Raises:
            AccessDeniedError, TransientError: as the storage account answers.
        """
        path = f"{prefix}{fallback_tag(name)}{_PACKED}"
        async with self._client(url) as container:
            try:
                await container.upload_blob(path, packed(files), overwrite=True)
            except AzureError as error:
                raise _translated(error, url, "write") from error

    def _client(self, url: str) -> ContainerClient:
        return ContainerClient.from_container_url(
            url, credential=self._credential, retry_total=3, **self._options()
        )


async def _under(container: ContainerClient, url: str, path: str) -> Mapping[str, bytes] | None:
    try:
        packed = await _read(container, f"{path}{_PACKED}")
        if packed is not None:
            return unpacked(f"{path}{_PACKED}", packed)
        found = [(blob.name, int(blob.size)) async for blob in container.list_blobs(f"{path}/")]
        if sum(size for _, size in found) > LARGEST_BUNDLE or len(found) > _MOST_FILES:
            raise MalformedError(
                f"The bundle {path} is larger than {LARGEST_BUNDLE} bytes.",
                fix="Squash old migrations.",
            )
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> bytes:
            async with gate:
                content = await _read(container, name)
            if content is None:
                raise TransientError(f"{name} went away while the bundle was read.")
            return content

        names = {PurePosixPath(name).name: name for name, _ in found}
        if len(names) < len(found):
            raise MalformedError(
                f"The bundle {path} has two files of one name.", fix="Put all into one folder."
            )
        contents = await asyncio.gather(*map(one, names.values()))
        return dict(zip(names, contents, strict=True))
    except AzureError as error:
        raise _translated(error, url, "read") from error


async def _read(container: ContainerClient, name: str) -> bytes | None:
    try:
        stream = await container.download_blob(name, length=LARGEST_BUNDLE + 1, offset=0)
        return await stream.readall()
    except ResourceNotFoundError:
        return None
    except HttpResponseError as error:
        if error.status_code == 416:  # noqa: PLR2004 - a range of an empty blob
            return b""
        raise


def _translated(error: AzureError, url: str, doing: str) -> Exception:
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if status in _DENIED:
        role = "Storage Blob Data Reader" if doing == "read" else "Storage Blob Data Contributor"
        return AccessDeniedError(
            f"We may not {doing} the migrations in {url}.",
            fix=f"Give this identity the role {role} on the container.",
        )
    if status == 404:  # noqa: PLR2004 - HTTP's own number
        return MalformedError(f"There is no container {url}.", fix="Make it, or correct its name.")
    if status in _CLIENT_ERRORS:
        return MalformedError(f"{url} answered {status}.", fix="Check its URL in apps.yaml.")
    return TransientError(f"{url} does not answer: {type(error).__name__}.")
