"""Blobs: the evidence that decisions were made from, and apps.yaml by URL."""

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient, BlobServiceClient

from controller.core.errors import AccessDeniedError, ConfigurationError, TransientError

_DENIED: Final = frozenset({401, 403})
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
        self._service = BlobServiceClient(endpoint, credential=credential, **(options or {}))
        self._container = self._service.get_container_client(container)
        self._ready = False

    async def close(self) -> None:
        """Close what is open."""
        await self._service.close()

    async def keep(self, path: str, document: bytes) -> str:
        """See `EvidenceStore.keep`. What is there already stays as it is."""
        try:
            await self._ensure_container()
            await self._container.get_blob_client(path).upload_blob(
                document,
                overwrite=False,
                content_settings=ContentSettings(content_type="application/json"),
            )
        except ResourceExistsError:
            pass
        except HttpResponseError as error:
            raise _error(path, error) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise TransientError(f"The evidence store does not answer: {error}.") from error
        return f"{self._container.container_name}/{path}"

    async def read(self, path: str) -> bytes | None:
        """See `EvidenceStore.read`."""
        name = path.removeprefix(f"{self._container.container_name}/")
        try:
            stream = await self._container.get_blob_client(name).download_blob()
            return await stream.readall()
        except ResourceNotFoundError:
            return None
        except HttpResponseError as error:
            raise _error(path, error) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise TransientError(f"The evidence store does not answer: {error}.") from error

    async def _ensure_container(self) -> None:
        if not self._ready:
            with contextlib.suppress(ResourceExistsError):
                await self._container.create_container()
            self._ready = True


class BlobText:
    """Reads one text blob, asking for its bytes only when they changed."""

    def __init__(
        self, url: str, credential: Any, *, options: Mapping[str, Any] | None = None
    ) -> None:
        self._url = url
        self._client = BlobClient.from_blob_url(url, credential=credential, **(options or {}))
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
        try:
            return await self._read()
        except ResourceModifiedError:
            return self._text
        except ResourceNotFoundError as error:
            raise ConfigurationError(
                f"There is no blob {self._url}.", fix="Upload apps.yaml there."
            ) from error
        except HttpResponseError as error:
            if error.status_code == 304:  # noqa: PLR2004 - not modified
                return self._text
            raise _error(self._url, error) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"{self._url} is not UTF-8 text: {error}.", fix="Upload apps.yaml as text."
            ) from error
        except (AzureError, OSError, TimeoutError) as error:
            raise TransientError(f"{self._url} does not answer: {error}.") from error

    async def _read(self) -> str:
        known: dict[str, Any] = {}
        if self._etag is not None:
            known = {"etag": self._etag, "match_condition": MatchConditions.IfModified}
        stream = await self._client.download_blob(**known)
        if stream.size > _MAX_CONFIGURATION:
            raise ConfigurationError(
                f"{self._url} has {stream.size} bytes.", fix="apps.yaml has at most 1 MiB."
            )
        text = str(await stream.readall(), "utf-8")
        self._text, self._etag = text, stream.properties.etag
        return text


def _error(what: str, error: HttpResponseError) -> Exception:
    if error.status_code in _DENIED:
        return AccessDeniedError(
            f"Blob storage refuses us ({what}): {error.status_code}.",
            fix="Give Slipway's identity the role Storage Blob Data Contributor.",
        )
    return TransientError(f"Blob storage answered {error.status_code} ({what}).")
