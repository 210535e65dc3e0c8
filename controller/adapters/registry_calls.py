"""Calls of the OCI distribution API, with the bearer challenge that guards it.

Azure Container Registry trades an Entra token for one of its own. Other registries hand out
anonymous tokens for public images, and want a login for the rest.
"""

import base64
import hashlib
import json
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError

from controller.adapters.sessions import open_session
from controller.core.errors import AccessDeniedError, BusyError, PermanentError
from controller.ports import Secrets

AUDIENCE: Final = "https://containerregistry.azure.net"
MOST_BYTES: Final = 4 * 1024 * 1024  # of a manifest; registries must accept at least that (OCI)
OK: Final = 200
MISSING: Final = 404
_AZURE: Final = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_API: Final = "registry-1.docker.io"
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_REFUSED: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})
_UNAUTHORIZED, _FORBIDDEN = 401, 403
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_STREAM: Final = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=60)
_PIECE: Final = 1 << 18  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a registry said. *body* is cut off at the limit that was given."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_ok(self) -> bool:
        """Tell whether it is a success."""
        return self.status // 100 == OK // 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One blob in one repository."""

    registry: str
    repository: str
    digest: str
    size: int | None = None


class RegistryCalls:
    """Sends requests to registries, logged in where they ask for it.

    Args:
        credential: for Azure Container Registry; None where there is none.
        azure_hosts: registries beside ``*.azurecr.*`` that may be given our Entra token. No other
            host ever sees it: whoever holds it can speak to Azure's registries in our name.
        logins: where the other registries' logins are, each under its `login_name`.
        audience: whom that token is for.
        ca_file: PEM file of a certificate authority to trust beside the public ones.
    """

    def __init__(
        self,
        credential: AsyncTokenCredential | None,
        *,
        azure_hosts: frozenset[str] = frozenset(),
        logins: Secrets | None = None,
        audience: str = AUDIENCE,
        ca_file: Path | None = None,
    ) -> None:
        self._credential = credential
        self._azure_hosts = azure_hosts
        self._logins = logins
        self._scope = f"{audience.rstrip('/')}/.default"
        self._ca_file = ca_file
        self._session: aiohttp.ClientSession | None = None
        self._granted: dict[tuple[str, str, bool], str] = {}  # by registry, repository, writing

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        registry: str,
        repository: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        """Send one request under ``/v2/<repository>/``; *path* may also be a whole URL.

        What a pass was got for is asked with it again, until the registry wants another one.

        Raises:
            BusyError: the registry does not answer.
            AccessDeniedError: it asks for credentials that we cannot give.
        """
        url = path if path.startswith("https://") else _url(registry, repository, path)
        key = (registry, repository, method not in {"GET", "HEAD"})
        sent: dict[str, Any] = {"headers": headers, "params": params, "data": data}
        try:
            granted = self._granted.get(key)
            answer = await self._request(method, url, granted, most_bytes=most_bytes, **sent)
            if answer.status != _UNAUTHORIZED:
                return answer
            challenge = answer.headers.get("WWW-Authenticate", "")
            granted = self._granted[key] = await self._pass(registry, challenge)
            return await self._request(method, url, granted, most_bytes=most_bytes, **sent)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise BusyError(f"Registry {registry} does not answer: {said}.") from error

    async def pipe(self, source: Blob, target: Blob) -> None:
        """Copy a blob that *target* lacks, in flat memory; its bytes are compared on the way.

        Raises:
            BusyError: one of both does not answer, or does not keep what it was sent.
            AccessDeniedError, PermanentError: one of both refuses, or the source's is damaged.
        """
        doing = f"push to {target.repository}"
        begun = await self.call(
            "POST", target.registry, target.repository, "blobs/uploads/", data=b""
        )
        check(begun, target.registry, doing)
        where = begun.headers.get("Location", "")
        granted = self._granted.get((target.registry, target.repository, True))
        url = absolute(where, target.registry)
        url = f"{url}{'&' if '?' in url else '?'}digest={target.digest}"
        # A first look also fetches the pass that the stream is asked for with.
        path = f"blobs/{source.digest}"
        seen = await self.call("HEAD", source.registry, source.repository, path)
        check(seen, source.registry, f"read {source.repository}")
        headers = self._with_pass(source, writing=False)
        try:
            async with self._open().get(
                _url(source.registry, source.repository, path), headers=headers, timeout=_STREAM
            ) as found:
                if found.status != OK:
                    raise BusyError(f"Registry {source.registry} answered {found.status}.")
                put = {"Content-Type": "application/octet-stream"}
                if granted is not None:
                    put["Authorization"] = granted
                if source.size is not None:
                    put["Content-Length"] = str(source.size)
                body = _hashed(found.content, source)
                async with self._open().put(url, data=body, headers=put, timeout=_STREAM) as kept:
                    answer = Answer(status=kept.status, headers=kept.headers, body=b"")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise BusyError(f"Blob {source.digest} was not copied: {said}.") from error
        check(answer, target.registry, doing)

    def _with_pass(self, blob: Blob, *, writing: bool) -> dict[str, str]:
        granted = self._granted.get((blob.registry, blob.repository, writing))
        return {"Authorization": granted} if granted else {}

    async def _pass(self, registry: str, challenge: str) -> str:
        """Answer the registry's challenge with credentials for just what it asks."""
        scheme = challenge.partition(" ")[0].lower()
        asked = dict(_PARAMETER.findall(challenge))
        wanted = {name: asked[name] for name in ("service", "scope") if name in asked}
        is_bearer = scheme == "bearer" and asked.get("realm", "").startswith("https://")
        if is_bearer and self._credential is not None and self._is_azure(registry):
            return f"Bearer {await self._azure_token(registry, self._credential, wanted)}"
        login = await self._login(registry)
        if is_bearer:
            answer = await self._request("GET", asked["realm"], login, params=wanted)
            return f"Bearer {_token_in(answer, registry)}"
        if scheme == "basic" and login:
            return login
        raise _denied(registry, "asks for credentials that Slipway cannot give")

    async def _login(self, registry: str) -> str | None:
        """Return the header that logs in, None where no login is kept."""
        name = login_name(registry)
        kept = (await self._logins.get(name) or "").strip() if self._logins else ""
        if not kept:
            return None
        if ":" not in kept:
            raise AccessDeniedError(
                f"The secret {name!r} is not of the form USER:PASSWORD.",
                fix="Put it into Key Vault again; see docs/registries/README.md.",
            )
        return f"Basic {base64.b64encode(kept.encode()).decode()}"

    async def _azure_token(
        self, registry: str, credential: AsyncTokenCredential, wanted: Mapping[str, str]
    ) -> str:
        """Trade our Entra token for the registry's refresh token, and that for an access token."""
        try:
            entra = await credential.get_token(self._scope)
        except AzureError as error:
            raise BusyError(f"No token for {registry} was to be had: {error}.") from error
        base = f"https://{registry}/oauth2"
        form = {"grant_type": "access_token", "service": registry, "access_token": entra.token}
        refresh = _token_in(await self._request("POST", f"{base}/exchange", data=form), registry)
        form = {"grant_type": "refresh_token", "refresh_token": refresh, **wanted}
        return _token_in(await self._request("POST", f"{base}/token", data=form), registry)

    def _is_azure(self, registry: str) -> bool:
        return registry in self._azure_hosts or registry.endswith(_AZURE)

    async def _request(
        self,
        method: str,
        url: str,
        authorization: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        data: bytes | Mapping[str, str] | None = None,
        most_bytes: int = MOST_BYTES,
    ) -> Answer:
        sent = dict(headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization
        async with self._open().request(
            method, url, headers=sent, params=params, data=data
        ) as response:
            body = await response.content.read(most_bytes)
            while len(body) < most_bytes and (more := await response.content.readany()):
                body += more
            return Answer(status=response.status, headers=response.headers, body=body)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = open_session(self._ca_file, _TIMEOUT)
        return self._session


async def _hashed(stream: aiohttp.StreamReader, blob: Blob) -> AsyncGenerator[bytes]:
    """Yield what *stream* holds; raise where it is not the blob that was asked for."""
    digest = hashlib.sha256()
    async for piece in stream.iter_chunked(_PIECE):
        digest.update(piece)
        yield piece
    if f"sha256:{digest.hexdigest()}" != blob.digest:
        raise PermanentError(
            f"Registry {blob.registry} holds blob {blob.digest} with other bytes.",
            fix="Push the image again.",
        )


def absolute(where: str, registry: str) -> str:
    """Return an address that *registry* answered with, on its own host.

    Raises:
        BusyError: it said none.
        PermanentError: it leads to another host, which shall not get our pass.
    """
    if not where:
        raise BusyError(f"Registry {registry} did not say where to upload to.")
    parts, host = urlsplit(where), api_host(registry)
    if parts.netloc and parts.netloc != host:
        raise PermanentError(
            f"Registry {registry} sends us to {parts.netloc}.",
            fix="Name the registry by the host that it answers under.",
        )
    query = f"?{parts.query}" if parts.query else ""
    return f"https://{host}{parts.path}{query}"


def login_name(registry: str) -> str:
    """Return the name of the secret that holds a registry's login, as USER:PASSWORD."""
    host = "docker.io" if registry in _DOCKER_HUB else registry
    return f"registry-{re.sub(r'[^0-9a-z]+', '-', host.lower())}"


def api_host(registry: str) -> str:
    """Return the host that answers for *registry*: Docker Hub's API has one of its own."""
    return _DOCKER_HUB_API if registry in _DOCKER_HUB else registry


def _url(registry: str, repository: str, path: str) -> str:
    """Docker Hub has a namespace for images that have none."""
    if registry in _DOCKER_HUB:
        repository = repository if "/" in repository else f"library/{repository}"
    return f"https://{api_host(registry)}/v2/{repository}/{path}"


def check(answer: Answer, registry: str, doing: str) -> None:
    """Raise what a status means; return where it is a success.

    Raises:
        AccessDeniedError, PermanentError, BusyError.
    """
    status = answer.status
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise _denied(registry, f"answered {status} to a request to {doing}")
    if status in _REFUSED and status not in _BUSY:
        raise PermanentError(
            f"Registry {registry} answered {status} to a request to {doing}.",
            fix="Check the repository and reference.",
        )
    if not answer.is_ok:
        wait = answer.headers.get("Retry-After", "")
        raise BusyError(
            f"Registry {registry} answered {status} to a request to {doing}.",
            retry_after=timedelta(seconds=int(wait)) if wait.isdecimal() else None,
        )


def _denied(registry: str, what: str) -> AccessDeniedError:
    return AccessDeniedError(
        f"Registry {registry} {what}.",
        fix="For Azure Container Registry give Slipway's identity the role AcrPull (Container "
        "Registry Repository Reader where the registry uses ABAC). For others put USER:PASSWORD "
        f"into Key Vault as secret {login_name(registry)!r}, or make the image public.",
    )


def _token_in(answer: Answer, registry: str) -> str:
    """Return the token in an answer of a token service."""
    check(answer, registry, "get a token")
    try:
        found: Any = json.loads(answer.body)
    except ValueError:
        found = None
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    for name in ("access_token", "refresh_token", "token"):
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    raise BusyError(f"Registry {registry} answered without a token.")
