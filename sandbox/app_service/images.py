"""Image pulls: an OCI manifest's layers become a directory, its config says what to run there."""

import asyncio
import hashlib
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from sandbox.tls import Authority

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_REFERENCE = re.compile(
    r"^(?P<host>[^/]+)/(?P<repository>[^@:]+)(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)


class ImagePullError(Exception):
    """The registry does not have the image, does not hand it out, or sent something else."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image on disk. *digest* is that of the platform's manifest, never of an index."""

    digest: str
    directory: Path
    config: Mapping[str, Any] = field(hash=False)  # the image config's "config" object

    @property
    def command(self) -> tuple[str, ...]:
        """Entrypoint and Cmd, one after the other, as a container runtime joins them."""
        return (*(self.config.get("Entrypoint") or ()), *(self.config.get("Cmd") or ()))

    @property
    def environment(self) -> dict[str, str]:
        """The image's own variables."""
        pairs = (entry.partition("=") for entry in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    @property
    def working_directory(self) -> Path:
        """WorkingDir inside the extracted layers, else their root."""
        inner = self.directory / str(self.config.get("WorkingDir") or "").lstrip("/")
        return inner if inner.is_dir() else self.directory


class ImagePuller(Protocol):
    """Brings an image to this machine."""

    async def pull(self, reference: str) -> Image:
        """Return the image that "host/repository:tag" or "host/repository@sha256:..." names.

        Raises:
            ImagePullError: it cannot be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image reference."""

    host: str
    repository: str
    version: str  # tag or digest


def parse_reference(reference: str) -> Reference:
    """Split an image reference; the digest wins over a tag, no tag means ``latest``."""
    found = _REFERENCE.match(reference)
    if found is None:
        raise ImagePullError(f"{reference!r} is not an image reference.")
    version = found["digest"] or found["tag"] or "latest"
    return Reference(found["host"], found["repository"], version)


class RegistryPuller:
    """Pulls over HTTPS from whatever registry a reference names.

    *token_for* gives the bearer token for a registry's host, or None to pull anonymously. An
    image is kept under its digest, so that the second pull costs one manifest request.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        directory: Path,
        token_for: Callable[[str], str | None] | None = None,
    ) -> None:
        self._tls = authority.client_context()
        self._directory = directory
        self._token_for = token_for or _anonymous

    async def pull(self, reference: str) -> Image:
        """See `ImagePuller.pull`."""
        wanted = parse_reference(reference)
        token = self._token_for(wanted.host)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=self._tls)
        try:
            async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
                return await _Pull(session, wanted, self._directory).run()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ImagePullError(f"{wanted.host} does not answer: {error}") from error
        except (KeyError, ValueError, OSError) as error:
            raise ImagePullError(f"{reference} is not a usable image: {error!r}") from error


class _Pull:
    """One pull of one image."""

    def __init__(self, session: aiohttp.ClientSession, wanted: Reference, directory: Path) -> None:
        self._session = session
        self._wanted = wanted
        self._directory = directory
        self._base = f"https://{wanted.host}/v2/{wanted.repository}"

    async def run(self) -> Image:
        digest, manifest = await self._manifest(self._wanted.version)
        if manifest.get("mediaType") in _INDEXES or "manifests" in manifest:
            digest, manifest = await self._manifest(_linux_child(manifest))
        config = json.loads(await self._blob(manifest["config"]["digest"]))
        target = self._directory / digest.replace(":", "-")
        if not target.is_dir():
            layers = [await self._blob(layer["digest"]) for layer in manifest["layers"]]
            await asyncio.to_thread(_extract, layers, target)
        return Image(digest=digest, directory=target, config=config.get("config") or {})

    async def _manifest(self, version: str) -> tuple[str, dict[str, Any]]:
        accept = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        body = await self._get(f"{self._base}/manifests/{version}", accept)
        digest = _digest(body)
        if version.startswith("sha256:") and version != digest:
            raise ImagePullError(f"The registry sent {digest} for {version}.")
        return digest, json.loads(body)

    async def _blob(self, digest: str) -> bytes:
        body = await self._get(f"{self._base}/blobs/{digest}", {})
        if _digest(body) != digest:
            raise ImagePullError(f"The registry sent other bytes for {digest}.")
        return body

    async def _get(self, url: str, headers: Mapping[str, str]) -> bytes:
        async with self._session.get(url, headers=headers) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise ImagePullError(f"{url} answered {answer.status}: {body[:200]!r}")
            return body


def _anonymous(_host: str) -> str | None:
    return None


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _linux_child(index: Mapping[str, Any]) -> str:
    """Return the digest of the index's manifest for App Service's machines."""
    for child in index["manifests"]:
        platform: Mapping[str, Any] = child.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return str(child["digest"])
    raise ImagePullError("no matching manifest for linux/amd64 in the manifest list entries")


def _extract(layers: list[bytes], target: Path) -> None:
    """Unpack *layers* in order; the finished directory appears in one step."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        for layer in layers:
            with tempfile.TemporaryFile() as file:
                file.write(layer)
                file.seek(0)
                with tarfile.open(fileobj=file) as archive:
                    archive.extractall(unfinished, filter="data")
        unfinished.rename(target)
    except OSError:
        if not target.is_dir():  # else another pull of the same image finished first
            raise
    except tarfile.TarError as error:
        raise ImagePullError(f"A layer is not a tar archive: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
