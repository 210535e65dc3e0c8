"""Backup sets on Blob Storage: staged blocks up, ranges down, in flat memory."""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobProperties, ContentSettings, StorageErrorCode
from azure.storage.blob.aio import BlobClient, BlobServiceClient, ExponentialRetry

from controller.adapters.azure.vault_errors import KEPT, code_of, translated
from controller.adapters.backup_vault import BackupVault
from controller.adapters.shelf import Entry, Opened
from controller.adapters.streams import ByteReader
from controller.core.errors import BackupDamagedError, PermanentError
from controller.ports_data import Sealer

BLOCK_BYTES: Final = 4 << 20  # the SDK holds each about three times
_AT_ONCE: Final = 3  # blocks on their way; each is in memory until it has arrived
_MOST_BLOCKS: Final = 50_000  # of one blob
_BAD_REQUEST: Final = 400
_GONE: Final = frozenset({404, 412})
_LISTED: Final = ("metadata", "uncommittedblobs")
_LOCKS: Final = ("immutabilitypolicy", "legalhold")


class BlobVault(BackupVault):
    """Implements `Vault` in one container.

    Args:
        endpoint: blob service URL of the storage account.
        credential: aio token credential with the role Storage Blob Data Contributor.
        container: its name; created when it is first written to.
        sealer: encrypts what is put and opens what is read; None: nothing is encrypted.
        block_bytes: of one staged block; a part has at most 50,000 (4 MiB each: 195 GiB).
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        endpoint: str,
        credential: Any,
        *,
        container: str = "backups",
        sealer: Sealer | None = None,
        block_bytes: int = BLOCK_BYTES,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._service = BlobServiceClient(
            endpoint, credential=credential, **{**_patience(block_bytes), **(options or {})}
        )
        super().__init__(BlobShelf(self._service, container, block_bytes), sealer)

    async def close(self) -> None:
        """Close what is open."""
        await self._service.close()


class BlobShelf:
    """Implements `Shelf` in one container."""

    def __init__(self, service: BlobServiceClient, container: str, block_bytes: int) -> None:
        self._container = service.get_container_client(container)
        self._block_bytes = block_bytes
        self._ready = False

    async def put(
        self,
        path: str,
        stream: AsyncIterator[bytes],
        content_type: str,
        describe: Callable[[], Awaitable[Mapping[str, str]]],
    ) -> None:
        """See `Shelf.put`. Blocks that never became a blob are dropped by Azure in a week.

        A block's id is the try it belongs to and its number: what two writers at once stage is
        never mixed, and the later of them to commit wins whole or fails.
        """
        blob = self._container.get_blob_client(path)
        with translated(path):
            await self._ensure_container()
        blocks = await self._stage(blob, path, stream)
        metadata = dict(await describe())
        with translated(path):
            await blob.commit_block_list(
                blocks,
                content_settings=ContentSettings(content_type=content_type),
                metadata=metadata,
            )

    async def _stage(
        self, blob: BlobClient, path: str, stream: AsyncIterator[bytes]
    ) -> list[BlobBlock]:
        attempt = os.urandom(4).hex()
        staged: list[BlobBlock] = []
        under_way: set[asyncio.Task[None]] = set()
        try:
            async with aclosing(ByteReader(stream).pieces(self._block_bytes)) as pieces:
                async for piece, _ in pieces:
                    if not piece:
                        continue  # an empty blob has no blocks
                    name = _block_id(path, attempt, len(staged))
                    if len(under_way) >= _AT_ONCE:
                        under_way = await _one_less(under_way)
                    under_way.add(asyncio.create_task(_stage_block(blob, path, name, piece)))
                    staged.append(BlobBlock(block_id=name))
            while under_way:
                under_way = await _one_less(under_way)
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)
        return staged

    async def create(self, path: str, document: bytes) -> bool:
        """See `Shelf.create`."""
        with translated(path):
            await self._ensure_container()
            try:
                await self._container.get_blob_client(path).upload_blob(
                    document,
                    overwrite=False,  # If-None-Match: *
                    content_settings=ContentSettings(content_type="application/json"),
                )
            except ResourceExistsError as error:
                if code_of(error) not in {*KEPT, StorageErrorCode.BLOB_ALREADY_EXISTS.value}:
                    raise  # the container is being deleted
                return False
        return True

    async def open(self, path: str) -> Opened | None:
        """See `Shelf.open`. The blob that is opened is the one that is read to its end."""
        blob = self._container.get_blob_client(path)
        with translated(path):
            try:
                properties = await blob.get_blob_properties()
            except ResourceNotFoundError:
                return None
        return Opened(
            size=properties.size,
            metadata=properties.metadata or {},
            stream=_download(blob, path, properties, self._block_bytes),
        )

    async def entries(self, prefix: str) -> list[Entry]:
        """See `Shelf.entries`."""
        with translated(prefix):
            try:
                return await self._entries(prefix, (*_LISTED, *_LOCKS))
            except ResourceNotFoundError:
                return []  # no container yet
            except HttpResponseError as error:
                if error.status_code != _BAD_REQUEST:
                    raise
            return await self._entries(prefix, _LISTED)  # an account that knows no locks

    async def _entries(self, prefix: str, include: tuple[str, ...]) -> list[Entry]:
        blobs = self._container.list_blobs(name_starts_with=prefix, include=list(include))
        return [_entry(blob) async for blob in blobs]

    async def delete(self, entry: Entry) -> str | None:
        """See `Shelf.delete`."""
        blob = self._container.get_blob_client(entry.path)
        with translated(entry.path):
            try:
                if not entry.is_whole:
                    await blob.commit_block_list([])  # what is not a blob cannot be deleted
                await blob.delete_blob(delete_snapshots="include")
            except ResourceNotFoundError:
                return None
            except HttpResponseError as error:
                if code_of(error) not in KEPT:
                    raise
                return KEPT[code_of(error)]
        return None

    async def _ensure_container(self) -> None:
        if not self._ready:
            with suppress(ResourceExistsError):
                await self._container.create_container()
            self._ready = True


def _patience(block_bytes: int) -> dict[str, Any]:
    """Blocks take their time; a few retries, and no request larger than a block."""
    return {
        "retry_policy": ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=4),
        "connection_timeout": 5,
        "read_timeout": 60,
        "max_single_get_size": block_bytes,
        "max_chunk_get_size": block_bytes,
    }


# --- Up -------------------------------------------------------------------------------------------


def _block_id(path: str, attempt: str, number: int) -> str:
    if number >= _MOST_BLOCKS:
        raise PermanentError(
            f"{path} needs more than {_MOST_BLOCKS} blocks.", fix="Use larger blocks."
        )
    return f"{attempt}-{number:08d}"


async def _stage_block(blob: BlobClient, path: str, name: str, data: bytes) -> None:
    with translated(path):
        await blob.stage_block(name, data, length=len(data))


async def _one_less(under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait for one to end; raise if it failed."""
    done, left = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return left


# --- Down -----------------------------------------------------------------------------------------


async def _download(
    blob: BlobClient, path: str, properties: BlobProperties, size: int
) -> AsyncGenerator[bytes]:
    """Read the blob by ranges, the next ones while one is used."""
    waiting: deque[asyncio.Task[bytes]] = deque()
    try:
        for start in range(0, properties.size, size):
            length = min(size, properties.size - start)
            task = asyncio.create_task(_range(blob, path, properties.etag, start, length))
            waiting.append(task)
            if len(waiting) >= _AT_ONCE:
                yield await waiting.popleft()
        while waiting:
            yield await waiting.popleft()
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _range(blob: BlobClient, path: str, etag: str, start: int, length: int) -> bytes:
    conditions: Any = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    with translated(path):
        try:
            download: Any = blob.download_blob  # its overloads do not take a mapping
            stream = await download(start, length, **conditions)
            return bytes(await stream.readall())
        except HttpResponseError as error:
            if error.status_code not in _GONE:
                raise
            raise BackupDamagedError(
                f"{path} was changed or removed while it was read.", fix="Begin again."
            ) from error


def _entry(blob: BlobProperties) -> Entry:
    """Blocks without a blob are listed as one that is empty; ours never lack their metadata."""
    policy = blob.immutability_policy
    return Entry(
        path=blob.name,
        size=blob.size or 0,
        written_at=blob.last_modified,
        metadata=blob.metadata or {},
        is_whole=bool(blob.etag and (blob.size or blob.metadata)),
        immutable_until=policy.expiry_time if policy else None,
        has_legal_hold=bool(blob.has_legal_hold),
    )
