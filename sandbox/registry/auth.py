"""ACR's way to a token: challenge, Entra token -> refresh token -> access token for a scope.

A caller without an access token gets 401 and where to ask. ``POST /oauth2/exchange`` turns an
Entra token into a refresh token, ``POST /oauth2/token`` turns that into an access token for some
repositories and actions. What the identity may not do is left out of it without a word.
"""

import base64
import time
from collections.abc import Iterable
from typing import Any

import jwt
from aiohttp import web

from sandbox.registry.errors import RegistryError
from sandbox.tokens import TokenRefusedError, check_token

Json = dict[str, Any]

ENTRA_AUDIENCES = ("https://containerregistry.azure.net", "https://management.azure.com")
_KEY = "registry-signing-key-which-is-not-a-secret"
_REFRESH_SECONDS = 3 * 3600
_ANYTHING = frozenset({"pull", "push", "delete", "metadata_read", "*"})


class TokenService:
    """Issues and checks the registry's own tokens.

    ``grants`` limits identities (by object id) to actions; who is not listed may do everything.
    ``logins`` are passwords by user, as registries other than ACR know them; they may pull.
    """

    def __init__(self, *, anonymous_pull: bool, access_token_seconds: int) -> None:
        self.host = ""  # known once the registry listens
        self.anonymous_pull = anonymous_pull
        self.grants: dict[str, frozenset[str]] = {}
        self.logins: dict[str, str] = {}
        self._access_token_seconds = access_token_seconds

    async def exchange(self, request: web.Request) -> web.Response:
        """Answer ``POST /oauth2/exchange``."""
        form = await request.post()
        if form.get("grant_type") != "access_token":
            raise RegistryError(400, "UNSUPPORTED", "grant_type must be access_token")
        self._check_service(form.get("service"))
        object_id = _entra_identity(str(form.get("access_token", "")))
        claims = {"grant_type": "refresh_token", "sub": object_id}
        return web.json_response({"refresh_token": self._sign(claims, _REFRESH_SECONDS)})

    async def token(self, request: web.Request) -> web.Response:
        """Answer ``POST /oauth2/token``."""
        form = await request.post()
        if form.get("grant_type") != "refresh_token":
            raise RegistryError(400, "UNSUPPORTED", "grant_type must be refresh_token")
        self._check_service(form.get("service"))
        refresh = self._verify(str(form.get("refresh_token", "")), "refresh_token")
        allowed = self.grants.get(refresh["sub"], _ANYTHING)
        scopes = " ".join(str(one) for one in form.getall("scope", []))
        return self._grant(scopes.split(), allowed)

    async def anonymous_token(self, request: web.Request) -> web.Response:
        """Answer ``GET /oauth2/token``: for anonymous pulls, or with a login."""
        if not self.anonymous_pull and not self._knows(request):
            raise self.unauthorized()
        self._check_service(request.query.get("service"))
        scopes = " ".join(request.query.getall("scope", []))
        return self._grant(scopes.split(), frozenset({"pull"}))

    def platform_token(self, lifetime_seconds: int = 24 * 3600) -> str:
        """Return an access token that pulls everything, as App Service's agent would hold."""
        entry = {"type": "repository", "name": "*", "actions": ["pull"]}
        return self._sign({"grant_type": "access_token", "access": [entry]}, lifetime_seconds)

    def authorize(
        self, request: web.Request, kind: str = "", name: str = "", action: str = ""
    ) -> None:
        """Let the request pass if its token allows *action*; without *kind* any token does.

        Raises:
            RegistryError: 401 with a challenge that says what to ask for.
        """
        scope = f"{kind}:{name}:{action}" if kind else ""
        header = request.headers.get("Authorization", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise self.unauthorized(scope)
        try:
            claims = self._verify(token, "access_token")
        except RegistryError as error:
            raise self.unauthorized(scope, "invalid_token") from error
        if kind and not _allows(claims.get("access") or [], kind, name, action):
            raise self.unauthorized(scope, "insufficient_scope")

    def unauthorized(self, scope: str = "", error: str = "") -> RegistryError:
        """Return the 401 with its challenge."""
        parts = [f'realm="https://{self.host}/oauth2/token"', f'service="{self.host}"']
        parts += [f'scope="{scope}"'] if scope else []
        parts += [f'error="{error}"'] if error else []
        challenge = {"WWW-Authenticate": "Bearer " + ",".join(parts)}
        return RegistryError(401, "UNAUTHORIZED", "authentication required", headers=challenge)

    def _knows(self, request: web.Request) -> bool:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return False
        user, _, password = base64.b64decode(rest).decode().partition(":")
        return user in self.logins and self.logins[user] == password

    def _grant(self, scopes: Iterable[str], allowed: frozenset[str]) -> web.Response:
        access = [_limited(scope, allowed) for scope in scopes]
        claims = {"grant_type": "access_token", "access": access}
        token = self._sign(claims, self._access_token_seconds)
        return web.json_response({"access_token": token})

    def _check_service(self, service: object) -> None:
        if service != self.host:
            raise RegistryError(400, "UNSUPPORTED", f"service must be {self.host}")

    def _sign(self, claims: Json, lifetime_seconds: int) -> str:
        now = int(time.time())
        dates = {"iat": now, "exp": now + lifetime_seconds}
        issuer = {"iss": "Azure Container Registry", "aud": self.host}
        return jwt.encode({**claims, **dates, **issuer}, _KEY, "HS256")

    def _verify(self, token: str, grant_type: str) -> Json:
        try:
            claims: Json = jwt.decode(token, _KEY, algorithms=["HS256"], audience=self.host)
        except jwt.PyJWTError as error:
            raise RegistryError(401, "UNAUTHORIZED", f"the token is invalid: {error}") from error
        if claims.get("grant_type") != grant_type:
            raise RegistryError(401, "UNAUTHORIZED", f"this is not a token for {grant_type}")
        return claims


def _entra_identity(token: str) -> str:
    """Return the object id of an Entra token meant for registries or Resource Manager."""
    refusal = ""
    for audience in ENTRA_AUDIENCES:
        try:
            return str(check_token(token, audience)["oid"])
        except TokenRefusedError as error:
            refusal = str(error)
    raise RegistryError(401, "UNAUTHORIZED", refusal)


def _limited(scope: str, allowed: frozenset[str]) -> Json:
    """Return the access entry for a scope, less what is not allowed."""
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    kept = [action for action in actions.split(",") if action in allowed]
    return {"type": kind, "name": name, "actions": kept}


def _allows(access: list[Json], kind: str, name: str, action: str) -> bool:
    return any(
        entry["type"] == kind
        and entry["name"] in {name, "*"}
        and {action, "*"} & set(entry["actions"])
        for entry in access
    )
