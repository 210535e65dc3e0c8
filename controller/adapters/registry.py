"""Image registries by the OCI distribution API, with the bearer challenge that guards it.

Azure Container Registry trades an Entra token for one of its own. Other registries hand out
anonymous tokens for public images, and want a login for the rest.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError

from controller.adapters.tls import trust
from controller.core.errors import AccessDeniedError, BusyError, PermanentError
from controller.ports import Secrets

AUDIENCE: Final = "https://containerregistry.azure.net"
_AZURE: Final = (".azurecr.io", ".azurecr.cn", ".azurecr.us")
_DOCKER_HUB: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_API: Final = "registry-1.docker.io"
_MANIFESTS: Final = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)
_PARAMETER: Final = re.compile(r'(\w+)="([^"]*)"')
_REFUSED: Final = range(400, 500)
_BUSY: Final = frozenset({408, 429})
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15)
_OK, _UNAUTHORIZED, _FORBIDDEN, _MISSING = 200, 401, 403, 404
_MANIFEST_BYTES: Final = 4 * 1024 * 1024  # what registries must accept at least (OCI)


class OciRegistry:
    """Asks registries which digest a reference names.

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

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def digest_of(self, registry: str, repository: str, reference: str) -> str | None:
        """See `Registry`."""
        try:
            return await self._digest_of(registry, repository, reference)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = str(error) or type(error).__name__
            raise BusyError(f"Registry {registry} does not answer: {said}.") from error

    async def _digest_of(self, registry: str, repository: str, reference: str) -> str | None:
        url = _manifest_url(registry, repository, reference)
        status, headers, _ = await self._request("HEAD", url)
        granted: str | None = None
        if status == _UNAUTHORIZED:
            granted = await self._pass(registry, headers.get("WWW-Authenticate", ""))
            status, headers, _ = await self._request("HEAD", url, granted)
        if status == _MISSING:
            return None
        _check(status, headers, registry, f"read {repository}")
        digest = headers.get("Docker-Content-Digest")
        if digest:
            return digest
        # The header is optional for registries; the digest is that of the bytes.
        status, headers, body = await self._request("GET", url, granted)
        _check(status, headers, registry, f"read {repository}")
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

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
            status, headers, body = await self._request("GET", asked["realm"], login, params=wanted)
            return f"Bearer {_token_in(status, headers, body, registry)}"
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
        status, headers, body = await self._request("POST", f"{base}/exchange", form=form)
        refresh = _token_in(status, headers, body, registry)
        form = {"grant_type": "refresh_token", "refresh_token": refresh, **wanted}
        status, headers, body = await self._request("POST", f"{base}/token", form=form)
        return _token_in(status, headers, body, registry)

    def _is_azure(self, registry: str) -> bool:
        return registry in self._azure_hosts or registry.endswith(_AZURE)

    async def _request(
        self,
        method: str,
        url: str,
        authorization: str | None = None,
        *,
        params: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": _MANIFESTS} if params is None and form is None else {}
        if authorization is not None:
            headers["Authorization"] = authorization
        async with self._open().request(
            method, url, headers=headers, params=params, data=form
        ) as response:
            body = await response.content.read(_MANIFEST_BYTES)
            while len(body) < _MANIFEST_BYTES and (more := await response.content.readany()):
                body += more
            return response.status, response.headers, body

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trust(self._ca_file)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_TIMEOUT,
                trust_env=True,
            )
        return self._session


def login_name(registry: str) -> str:
    """Return the name of the secret that holds a registry's login, as USER:PASSWORD."""
    host = "docker.io" if registry in _DOCKER_HUB else registry
    return f"registry-{re.sub(r'[^0-9a-z]+', '-', host.lower())}"


def _manifest_url(registry: str, repository: str, reference: str) -> str:
    """Docker Hub's API has a host of its own, and a namespace for images that have none."""
    if registry in _DOCKER_HUB:
        repository = repository if "/" in repository else f"library/{repository}"
        registry = _DOCKER_HUB_API
    return f"https://{registry}/v2/{repository}/manifests/{reference}"


def _check(status: int, headers: Mapping[str, str], registry: str, doing: str) -> None:
    """Raise what a status means; return where it is 200."""
    if status in {_UNAUTHORIZED, _FORBIDDEN}:
        raise _denied(registry, f"answered {status} to a request to {doing}")
    if status in _REFUSED and status not in _BUSY:
        raise PermanentError(
            f"Registry {registry} answered {status} to a request to {doing}.",
            fix="Check the repository and reference.",
        )
    if status != _OK:
        wait = headers.get("Retry-After", "")
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


def _token_in(status: int, headers: Mapping[str, str], body: bytes, registry: str) -> str:
    """Return the token in an answer of a token service."""
    _check(status, headers, registry, "get a token")
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = None
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    for name in ("access_token", "refresh_token", "token"):
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value
    raise BusyError(f"Registry {registry} answered without a token.")
