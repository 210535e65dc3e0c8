"""A push client: what ``docker push``, ``docker buildx`` and ``cosign`` do, over HTTP."""

import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from yarl import URL

from sandbox.registry.image import BuiltImage, ImageSpec, build, canonical, descriptor
from sandbox.registry.media_types import (
    COSIGN_PAYLOAD,
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    IN_TOTO,
    OCI_CONFIG,
    OCI_EMPTY,
    OCI_INDEX,
    OCI_MANIFEST,
)
from sandbox.registry.store import digest_of
from sandbox.tokens import TENANT

Json = dict[str, Any]

_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_ACTIONS = "pull,push"


class PushError(Exception):
    """The registry refused; the message holds its answer."""


async def push_image(
    registry_host: str,
    repository: str,
    tag: str,
    *,
    files: Mapping[str, bytes],
    entrypoint: Sequence[str],
    env: Mapping[str, str],
    ca_file: Path,
    token: str,
) -> str:
    """Push a linux/amd64 image and return its digest; equal input gives an equal digest.

    *token* is an Entra token for ``https://containerregistry.azure.net``.
    """
    spec = ImageSpec(files=files, entrypoint=entrypoint, env=env)
    async with RegistryClient(registry_host, ca_file=ca_file, token=token) as client:
        return await client.push(repository, tag, spec)


class RegistryClient:
    """Pushes to one registry. Use as an asynchronous context manager."""

    def __init__(
        self,
        host: str,
        *,
        ca_file: Path,
        token: str,
        user_agent: str = "docker/28.0.0 os/linux arch/amd64",
    ) -> None:
        self._base = URL(f"https://{host}")
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._entra_token = token
        self._user_agent = user_agent
        self._access_tokens: dict[str, str] = {}  # by repository
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls),
            headers={"User-Agent": self._user_agent},
            timeout=aiohttp.ClientTimeout(total=60),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def push(self, repository: str, tag: str | None, spec: ImageSpec) -> str:
        """Push one image, by digest where *tag* is None; return its digest."""
        image = build(spec)
        await self._push_blobs(repository, image.blobs)
        reference = tag or image.digest
        return await self.put_manifest(repository, reference, OCI_MANIFEST, image.manifest)

    async def push_index(
        self, repository: str, tag: str, specs: Sequence[ImageSpec], *, attestations: bool = False
    ) -> str:
        """Push a multi-architecture image as ``docker buildx`` does; return the index's digest.

        Each platform's manifest goes first, by digest. With *attestations* each gets a companion
        manifest for the platform unknown/unknown.
        """
        children: list[Json] = []
        for spec in specs:
            image = build(spec)
            await self.push(repository, None, spec)
            platform = {"architecture": spec.architecture, "os": "linux"}
            child = descriptor(OCI_MANIFEST, image.manifest)
            children.append({**child, "platform": platform})
            if attestations:
                children.append(await self._push_attestation(repository, image.digest))
        index = canonical({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children})
        return await self.put_manifest(repository, tag, OCI_INDEX, index)

    async def sign(self, repository: str, digest: str) -> str:
        """Push what ``cosign sign`` leaves behind: the tag ``sha256-<hex>.sig``."""
        payload = canonical({"critical": {"image": {"docker-manifest-digest": digest}}})
        layer = descriptor(COSIGN_PAYLOAD, payload)
        layer["annotations"] = {"dev.cosignproject.cosign/signature": "not a real signature"}
        tag = digest.replace(":", "-") + ".sig"
        image = _artifact(OCI_CONFIG, canonical({"architecture": "", "os": ""}), payload, layer)
        return await self._push_built(repository, tag, image)

    async def attach(self, repository: str, digest: str, artifact_type: str, content: bytes) -> str:
        """Push an artifact whose subject is *digest* (an SBOM, say); return its own digest."""
        subject = await self.resolve(repository, digest)
        image = _artifact(
            OCI_EMPTY,
            b"{}",
            content,
            descriptor(artifact_type, content),
            {"artifactType": artifact_type, "subject": subject},
        )
        return await self._push_built(repository, image.digest, image)

    async def attach_files(
        self, repository: str, digest: str, artifact_type: str, files: Mapping[str, bytes]
    ) -> str:
        """Push an artifact of several files, as ``oras attach`` does; return its own digest."""
        layers: list[Json] = []
        for name, content in files.items():
            title = {"org.opencontainers.image.title": name}
            layers.append({**descriptor(artifact_type, content), "annotations": title})
        manifest = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": artifact_type,
                "config": descriptor(OCI_EMPTY, b"{}"),
                "layers": layers,
                "subject": await self.resolve(repository, digest),
            }
        )
        blobs = {digest_of(content): content for content in (b"{}", *files.values())}
        image = BuiltImage(manifest, blobs)
        return await self._push_built(repository, image.digest, image)

    async def put_manifest(
        self, repository: str, reference: str, media_type: str, content: bytes
    ) -> str:
        """Push a manifest whose blobs are there; return the digest the registry computed."""
        path = f"/v2/{repository}/manifests/{reference}"
        headers = {"Content-Type": media_type}
        answer, _ = await self._call("PUT", path, repository, data=content, headers=headers)
        return answer.headers["Docker-Content-Digest"]

    async def resolve(self, repository: str, reference: str) -> Json:
        """Return the descriptor (mediaType, digest, size) of a tag or digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        accept = {"Accept": f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"}
        answer, _ = await self._call("HEAD", path, repository, headers=accept)
        return {
            "mediaType": answer.content_type,
            "digest": answer.headers["Docker-Content-Digest"],
            "size": int(answer.headers["Content-Length"]),
        }

    async def delete(self, repository: str, reference: str) -> None:
        """Delete a tag, or a manifest with its tags."""
        path = f"/v2/{repository}/manifests/{reference}"
        await self._call("DELETE", path, repository)

    async def _push_attestation(self, repository: str, digest: str) -> Json:
        statement = canonical({"_type": "https://in-toto.io/Statement/v1", "subject": [digest]})
        config = canonical({"architecture": "unknown", "os": "unknown"})
        image = _artifact(OCI_CONFIG, config, statement, descriptor(IN_TOTO, statement))
        await self._push_built(repository, image.digest, image)
        return {
            **descriptor(OCI_MANIFEST, image.manifest),
            "platform": {"architecture": "unknown", "os": "unknown"},
            "annotations": {
                "vnd.docker.reference.digest": digest,
                "vnd.docker.reference.type": "attestation-manifest",
            },
        }

    async def _push_built(self, repository: str, reference: str, image: BuiltImage) -> str:
        await self._push_blobs(repository, image.blobs)
        return await self.put_manifest(repository, reference, OCI_MANIFEST, image.manifest)

    async def _push_blobs(self, repository: str, blobs: Mapping[str, bytes]) -> None:
        """Upload what is not there yet."""
        for digest, content in blobs.items():
            there, _ = await self._call(
                "HEAD", f"/v2/{repository}/blobs/{digest}", repository, expect={200, 404}
            )
            if there.status == 200:
                continue
            begun, _ = await self._call("POST", f"/v2/{repository}/blobs/uploads/", repository)
            place = self._base.join(URL(begun.headers["Location"])).update_query(digest=digest)
            await self._call("PUT", place.path_qs, repository, data=content)

    async def _call(
        self,
        method: str,
        path: str,
        repository: str,
        *,
        expect: set[int] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send, answering the registry's challenge once."""
        answer, body = await self._send(method, path, repository, data, headers)
        if answer.status == 401:
            challenge = answer.headers.get("WWW-Authenticate", "")
            self._access_tokens[repository] = await self._authenticate(challenge, method)
            answer, body = await self._send(method, path, repository, data, headers)
        if answer.status not in (expect or {200, 201, 202, 204}):
            raise PushError(f"{method} {path} answered {answer.status}: {body[:300]!r}")
        return answer, body

    async def _send(
        self,
        method: str,
        path: str,
        repository: str,
        data: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        sent = dict(headers or {})
        if repository in self._access_tokens:
            sent["Authorization"] = f"Bearer {self._access_tokens[repository]}"
        url = self._base.join(URL(path))
        async with self._opened().request(method, url, data=data, headers=sent) as answer:
            return answer, await answer.read()

    async def _authenticate(self, challenge: str, method: str) -> str:
        """Return an access token for what the challenge asks, plus what a push needs."""
        asked = dict(_PARAMETER.findall(challenge))
        kind, _, rest = asked.get("scope", "").partition(":")
        actions = "delete" if method == "DELETE" else _ACTIONS
        exchange = {
            "grant_type": "access_token",
            "service": asked.get("service", ""),
            "tenant": TENANT,
            "access_token": self._entra_token,
        }
        refresh = await self._form("/oauth2/exchange", exchange, "refresh_token")
        token = {
            "grant_type": "refresh_token",
            "service": asked.get("service", ""),
            "scope": f"{kind}:{rest.rpartition(':')[0]}:{actions}",
            "refresh_token": refresh,
        }
        return await self._form("/oauth2/token", token, "access_token")

    async def _form(self, path: str, form: Mapping[str, str], key: str) -> str:
        async with self._opened().post(self._base.join(URL(path)), data=form) as answer:
            if answer.status != 200:
                raise PushError(f"{path} answered {answer.status}: {await answer.text()}")
            body: Json = await answer.json()
        return str(body[key])

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise PushError("Use RegistryClient as an asynchronous context manager.")
        return self._session


def _artifact(
    config_type: str, config: bytes, content: bytes, layer: Json, more: Json | None = None
) -> BuiltImage:
    """Make a one-layer manifest of something that is not a runnable image."""
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(config_type, config),
            "layers": [layer],
            **(more or {}),
        }
    )
    return BuiltImage(manifest, {digest_of(one): one for one in (config, content)})
