"""Key Vault's secrets over HTTPS, as azure-keyvault-secrets speaks to them.

Differences from Azure: deletion, recovery and purge are complete at once; certificates do not
exist; a backup blob is not encrypted. Keys are in `sandbox.key_vault_keys`.
"""

import base64
import binascii
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from sandbox.key_vault_keys import KeyRefusedError, Keys
from sandbox.tls import Authority
from sandbox.tokens import TENANT, TokenRefusedError, check
from sandbox.web import WebServer

AUDIENCE = "https://vault.azure.net"
_PAGE = 25
_RETENTION_SECONDS = 90 * 24 * 3600
_CHALLENGE = (
    f'Bearer authorization="https://login.microsoftonline.com/{TENANT}", resource="{AUDIENCE}"'
)

Json = dict[str, Any]


@dataclass(slots=True)
class SecretVersion:
    """One value a secret has had. *not_before* and *expires* are Unix seconds."""

    value: str
    enabled: bool = True
    not_before: int | None = None
    expires: int | None = None
    content_type: str | None = None
    tags: dict[str, str] = field(default_factory=dict[str, str])
    version: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    updated: int = field(default_factory=lambda: int(time.time()))

    def change(self, body: Mapping[str, Any]) -> None:
        """Take over what an update request names; leave the rest."""
        attributes: Json = body.get("attributes") or {}
        self.enabled = bool(attributes.get("enabled", self.enabled))
        self.not_before = attributes.get("nbf", self.not_before)
        self.expires = attributes.get("exp", self.expires)
        self.content_type = body.get("contentType", self.content_type)
        self.tags = dict(body.get("tags") or self.tags)
        self.updated = int(time.time())

    def attributes(self) -> Json:
        """Return the wire form of the state and the dates."""
        dates = {"nbf": self.not_before, "exp": self.expires}
        return {
            "enabled": self.enabled,
            "created": self.created,
            "updated": self.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": 90,
            **{name: date for name, date in dates.items() if date is not None},
        }


@dataclass(slots=True)
class Secret:
    """A name and its versions, oldest first."""

    name: str
    versions: list[SecretVersion] = field(default_factory=list[SecretVersion])
    deleted_at: int = 0


class KeyVaultError(Exception):
    """A refusal in the form the service gives it."""

    def __init__(self, status: int, code: str, message: str, inner: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.inner = inner

    def response(self) -> web.Response:
        """Return the error body that the SDK parses."""
        error: Json = {"code": self.code, "message": str(self)}
        if self.inner:
            error["innererror"] = {"code": self.inner}
        headers = {"WWW-Authenticate": _CHALLENGE} if self.status == 401 else None
        return web.json_response({"error": error}, status=self.status, headers=headers)


class KeyVault:
    """One vault.

    ``requests`` counts by operation. An identity (object id) in ``denied`` holds no role here;
    where ``behind_firewall`` is set, nobody gets in. Azure returns the value of an expired secret;
    *refuse_expired* refuses it like a disabled one.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        secrets: Mapping[str, str] | None = None,
        refuse_expired: bool = False,
    ) -> None:
        self.secrets: dict[str, Secret] = {}  # by lower-cased name, as in Azure
        self.deleted: dict[str, Secret] = {}
        self.keys = Keys()
        self.requests: Counter[str] = Counter()
        self.denied: set[str] = set()
        self.behind_firewall = False  # nobody gets in
        self.slow_recovery = 0  # looks at a recovered secret that do not find it yet
        self._refuse_expired = refuse_expired
        app = web.Application(middlewares=[self._guard])
        app.add_routes(self._routes())
        self._server = WebServer(app, tls=authority.server_context())
        for name, value in (secrets or {}).items():
            self.put(name, value)

    @property
    def url(self) -> str:
        """Address of the vault. Meaningful after `start`."""
        return self._server.url

    async def start(self, port: int = 0) -> None:
        """Listen on *port*, or on a free one."""
        await self._server.start(port)

    async def stop(self) -> None:
        """Stop listening. Safe twice."""
        await self._server.stop()

    def put(
        self,
        name: str,
        value: str,
        *,
        enabled: bool = True,
        expires: int | None = None,
        not_before: int | None = None,
    ) -> SecretVersion:
        """Add a version behind the API's back, and return it."""
        version = SecretVersion(value, enabled=enabled, expires=expires, not_before=not_before)
        self.secrets.setdefault(name.lower(), Secret(name)).versions.append(version)
        return version

    def _routes(self) -> Iterable[web.RouteDef]:
        one, versioned = "/secrets/{name}", "/secrets/{name}/{version:[^/]*}"
        gone = "/deletedsecrets/{name}"
        return [
            web.get("/secrets", self._list, name="list"),
            web.post("/secrets/restore", self._restore, name="restore"),
            web.put(one, self._set, name="set"),
            web.delete(one, self._delete, name="delete"),
            web.get(f"{one}/versions", self._list_versions, name="list-versions"),
            web.post(f"{one}/backup", self._backup, name="backup"),
            web.get(one, self._get, name="get"),
            web.get(versioned, self._get, name="get-version"),
            web.patch(versioned, self._update, name="update"),
            web.get("/deletedsecrets", self._list_deleted, name="list-deleted"),
            web.get(gone, self._get_deleted, name="get-deleted"),
            web.post(f"{gone}/recover", self._recover, name="recover"),
            web.delete(gone, self._purge, name="purge"),
            *self.keys.routes(),
        ]

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Authenticate, count, and turn refusals into answers."""
        try:
            self._authorize(request)
            self.requests[request.match_info.route.name or "unknown"] += 1
            return await handler(request)
        except KeyVaultError as error:
            return error.response()
        except KeyRefusedError as refused:
            return KeyVaultError(*refused.args).response()

    def _authorize(self, request: web.Request) -> None:
        authorization = request.headers.get("Authorization")
        if authorization is None:
            self.requests["challenge"] += 1
            raise KeyVaultError(401, "Unauthorized", "AKV10000: Request is missing a Bearer token.")
        try:
            claims = check(authorization, AUDIENCE)
        except TokenRefusedError as error:
            raise KeyVaultError(401, "Unauthorized", f"AKV10022: {error}") from error
        if self.behind_firewall:
            raise KeyVaultError(
                403, "Forbidden", "Client address is not authorized.", "ForbiddenByFirewall"
            )
        if claims.get("oid") in self.denied:
            raise KeyVaultError(
                403, "Forbidden", "Caller is not authorized to perform action.", "ForbiddenByRbac"
            )

    async def _set(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name.lower() in self.deleted:
            raise KeyVaultError(
                409,
                "Conflict",
                f"Secret {name} is currently in a deleted but recoverable state, and its name "
                "cannot be reused; in this state, the secret can only be recovered or purged.",
                "ObjectIsDeletedButRecoverable",
            )
        body = await _body(request)
        if not isinstance(body.get("value"), str):
            raise KeyVaultError(400, "BadParameter", "The property 'value' is required.")
        version = self.put(name, body["value"])
        version.change(body)
        return web.json_response(self._bundle(name, version))

    async def _get(self, request: web.Request) -> web.Response:
        secret, version = self._find(request)
        if not version.enabled:
            raise _refused("disabled", "SecretDisabled")
        expired = version.expires is not None and version.expires <= time.time()
        if expired and self._refuse_expired:
            raise _refused("expired", "SecretExpired")
        return web.json_response(self._bundle(secret.name, version))

    async def _update(self, request: web.Request) -> web.Response:
        secret, version = self._find(request)
        version.change(await _body(request))
        return web.json_response(self._item(secret.name, version))

    async def _delete(self, request: web.Request) -> web.Response:
        secret, _ = self._find(request)
        del self.secrets[secret.name.lower()]
        secret.deleted_at = int(time.time())
        self.deleted[secret.name.lower()] = secret
        return web.json_response(self._deleted_item(secret))

    async def _get_deleted(self, request: web.Request) -> web.Response:
        return web.json_response(self._deleted_item(self._find_deleted(request)))

    async def _recover(self, request: web.Request) -> web.Response:
        secret = self._find_deleted(request)
        self.secrets[secret.name.lower()] = self.deleted.pop(secret.name.lower())
        return web.json_response(self._item(secret.name, secret.versions[-1]))

    async def _purge(self, request: web.Request) -> web.Response:
        del self.deleted[self._find_deleted(request).name.lower()]
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        items = [
            {**self._item(secret.name, secret.versions[-1]), "id": self._id(secret.name)}
            for _, secret in sorted(self.secrets.items())
        ]
        return self._page(request, items)

    async def _list_versions(self, request: web.Request) -> web.Response:
        if self.slow_recovery:
            self.slow_recovery -= 1
            return self._page(request, [])
        secret, _ = self._find(request)
        return self._page(request, [self._item(secret.name, one) for one in secret.versions])

    async def _list_deleted(self, request: web.Request) -> web.Response:
        return self._page(
            request, [self._deleted_item(secret) for _, secret in sorted(self.deleted.items())]
        )

    async def _backup(self, request: web.Request) -> web.Response:
        secret, _ = self._find(request)
        versions = [
            {**self._bundle(secret.name, one), "version": one.version} for one in secret.versions
        ]
        blob = json.dumps({"name": secret.name, "versions": versions}).encode()
        return web.json_response({"value": base64.urlsafe_b64encode(blob).decode().rstrip("=")})

    async def _restore(self, request: web.Request) -> web.Response:
        secret = _parse_backup((await _body(request)).get("value"))
        if secret.name.lower() in self.secrets | self.deleted:
            raise KeyVaultError(409, "Conflict", f"Secret {secret.name} already exists.")
        self.secrets[secret.name.lower()] = secret
        return web.json_response(self._item(secret.name, secret.versions[-1]))

    def _find(self, request: web.Request) -> tuple[Secret, SecretVersion]:
        name, wanted = request.match_info["name"], request.match_info.get("version")
        secret = self.secrets.get(name.lower())
        versions = secret.versions if secret else []
        found = [one for one in versions if not wanted or one.version == wanted]
        if secret is None or not found:
            raise _missing(name)
        return secret, found[-1]

    def _find_deleted(self, request: web.Request) -> Secret:
        name = request.match_info["name"]
        if name.lower() not in self.deleted:
            raise _missing(name)
        return self.deleted[name.lower()]

    def _id(self, name: str, version: str = "", *, kind: str = "secrets") -> str:
        return f"{self.url}/{kind}/{name}" + (f"/{version}" if version else "")

    def _item(self, name: str, version: SecretVersion) -> Json:
        """Return everything but the value."""
        return {
            "id": self._id(name, version.version),
            "attributes": version.attributes(),
            "tags": version.tags,
            **({"contentType": version.content_type} if version.content_type else {}),
        }

    def _bundle(self, name: str, version: SecretVersion) -> Json:
        return {**self._item(name, version), "value": version.value}

    def _deleted_item(self, secret: Secret) -> Json:
        return {
            **self._item(secret.name, secret.versions[-1]),
            "recoveryId": self._id(secret.name, kind="deletedsecrets"),
            "deletedDate": secret.deleted_at,
            "scheduledPurgeDate": secret.deleted_at + _RETENTION_SECONDS,
        }

    def _page(self, request: web.Request, items: list[Json]) -> web.Response:
        size = int(request.query.get("maxresults", _PAGE))
        start = int(request.query.get("$skiptoken", 0))
        rest = start + size
        following = request.url.update_query({"$skiptoken": str(rest)})
        link = f"{self.url}{following.raw_path_qs}" if rest < len(items) else None
        return web.json_response({"value": items[start:rest], "nextLink": link})


async def _body(request: web.Request) -> Json:
    try:
        body = await request.json()
    except ValueError as error:
        raise KeyVaultError(400, "BadParameter", "The request body is not JSON.") from error
    if not isinstance(body, dict):
        raise KeyVaultError(400, "BadParameter", "The request body is not an object.")
    return body  # pyright: ignore[reportUnknownVariableType]  # JSON objects have string keys


def _parse_backup(blob: object) -> Secret:
    """Return the secret a backup holds, with the version ids it had."""
    try:
        text = str(blob)
        backup: Json = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        secret = Secret(backup["name"])
        for saved in backup["versions"]:
            version = SecretVersion(
                saved["value"],
                version=saved["version"],
                created=saved["attributes"]["created"],
            )
            version.change(saved)
            secret.versions.append(version)
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise KeyVaultError(400, "BadParameter", "The backup blob is not valid.") from error
    return secret


def _missing(name: str) -> KeyVaultError:
    return KeyVaultError(
        404,
        "SecretNotFound",
        f"A secret with (name/id) {name} was not found in this key vault. If you recently deleted "
        "this secret you may be able to recover it using the correct recovery command.",
    )


def _refused(state: str, inner: str) -> KeyVaultError:
    article = "an" if state[0] in "aeiou" else "a"
    return KeyVaultError(
        403, "Forbidden", f"Operation get is not allowed on {article} {state} secret.", inner
    )
