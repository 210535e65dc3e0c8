"""Blobs: the evidence that decisions were made from, and apps.yaml by URL."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.storage.blob import ContentSettings, StorageErrorCode
from azure.storage.blob.aio import (
    BlobClient,
    BlobServiceClient,
    ExponentialRetry,
    StorageStreamDownloader,
)

from controller.adapters.evidence_names import beside
from controller.core.errors import AccessDeniedError, ConfigurationError, TransientError

_DENIED: Final = frozenset({401, 403})
_NOT_MODIFIED: Final = 304
_MAX_CONFIGURATION: Final = 1 << 20


class BlobEvidence:
    """Implements `EvidenceStore` in one container; each document is written once.

    Args:
        endpoint: blob service URL of the storage account.
        credential: aio token credential with the role Storage Blob Data Contributor.
        container: its name; created when it is first used.
        options: keywords for the client, such as a transport.
    """

    def __init__(
        self,
        endpoint: str,
        credential: Any,
        *,
        container: str = "evidence",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._service = BlobServiceClient(
            endpoint, credential=credential, **{**_patience(), **(options or {})}
        )
        self._container = self._service.get_container_client(container)
        self._ready = False

    async def close(self) -> None:
        """Close what is open."""
        await self._service.close()

    async def keep(self, path: str, document: bytes) -> str:
        """See `EvidenceStore.keep`. What is there already stays as it is."""
        with _translated(path):
            await self._ensure_container()
            if not await self._create(path, document) and await self._download(path) != document:
                path = beside(path, document)
                await self._create(path, document)
        return f"{self._container.container_name}/{path}"

    async def _create(self, path: str, document: bytes) -> bool:
        """Return False where something has that name."""
        try:
            await self._container.get_blob_client(path).upload_blob(
                document,
                overwrite=False,
                content_settings=ContentSettings(content_type="application/json"),
            )
        except ResourceExistsError as error:
            if getattr(error, "error_code", None) != StorageErrorCode.BLOB_ALREADY_EXISTS:
                raise  # the container is being deleted
            return False
        return True

    async def read(self, path: str) -> bytes | None:
        """See `EvidenceStore.read`."""
        with _translated(path):
            return await self._download(path.removeprefix(f"{self._container.container_name}/"))

    async def _download(self, path: str) -> bytes | None:
        try:
            stream = await self._container.get_blob_client(path).download_blob()
            return await stream.readall()
        except ResourceNotFoundError:
            return None

    async def _ensure_container(self) -> None:
        if not self._ready:
            with suppress(ResourceExistsError):
                await self._container.create_container()
            self._ready = True


class BlobText:
    """Reads one text blob, asking for its bytes only when they changed."""

    def __init__(
        self, url: str, credential: Any, *, options: Mapping[str, Any] | None = None
    ) -> None:
        self._url = url
        self._client = BlobClient.from_blob_url(
            url, credential=credential, **{**_patience(), **(options or {})}
        )
        self._etag: str | None = None
        self._text = ""

    async def close(self) -> None:
        """Close what is open."""
        await self._client.close()

    async def read(self) -> str:
        """Return the blob's text.

        Raises:
            ConfigurationError: it is not there, too large, or not text.
            TransientError: the store does not answer.
        """
        with _translated(self._url):
            try:
                return await self._read()
            except ResourceNotFoundError as error:
                raise ConfigurationError(
                    f"There is no blob {self._url}.", fix="Upload apps.yaml there."
                ) from error
            except UnicodeDecodeError as error:
                raise ConfigurationError(
                    f"{self._url} is not UTF-8 text: {error}.", fix="Upload apps.yaml as text."
                ) from error

    async def _read(self) -> str:
        known: dict[str, Any] = {}
        if self._etag is not None:
            known = {"etag": self._etag, "match_condition": MatchConditions.IfModified}
        try:
            stream = await self._download(known)
        except HttpResponseError as error:
            if error.status_code == _NOT_MODIFIED:
                return self._text
            raise
        if stream.size > _MAX_CONFIGURATION:
            raise ConfigurationError(
                f"{self._url} has {stream.size} bytes.", fix="apps.yaml has at most 1 MiB."
            )
        text = (await stream.readall()).decode("utf-8")
        self._text, self._etag = text, stream.properties.etag
        return text

    async def _download(self, conditions: Mapping[str, Any]) -> StorageStreamDownloader[bytes]:
        download: Any = self._client.download_blob  # its overloads do not take a mapping
        stream: StorageStreamDownloader[bytes] = await download(**conditions)
        return stream


def _patience() -> dict[str, Any]:
    """Few and quick retries: the storage SDK's own wait for a minute and more."""
    retries = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=2)
    return {"retry_policy": retries, "connection_timeout": 5, "read_timeout": 20}


@contextmanager
def _translated(what: str) -> Generator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    except HttpResponseError as error:
        raise _error(what, error) from error
    except (AzureError, OSError, TimeoutError) as error:
        raise TransientError(f"Blob storage does not answer ({what}): {error}.") from error


def _error(what: str, error: HttpResponseError) -> Exception:
    if error.status_code in _DENIED:
        return AccessDeniedError(
            f"Blob storage refuses us ({what}): {error.status_code}.",
            fix="Give Slipway's identity the role Storage Blob Data Contributor.",
        )
    return TransientError(f"Blob storage answered {error.status_code} ({what}).")
