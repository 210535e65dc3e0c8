"""App Service's managed-identity endpoint, and the keys of the tenant that it belongs to.

The endpoint hands out access tokens to whoever knows the secret.

`DefaultAzureCredential` and `ManagedIdentityCredential` find it by the two variables that
`IdentityEndpoint.environment` returns. Plain HTTP, as on App Service.
"""

import hmac
from collections import Counter
from collections.abc import Collection

from aiohttp import web

from sandbox.tokens import Issuer, mint
from sandbox.web import WebServer

SYSTEM_ASSIGNED = "00000000-0000-0000-0000-000000000001"
_API_VERSION = "2019-08-01"
_SELECTORS = ("client_id", "principal_id", "object_id", "mi_res_id")


class IdentityEndpoint:
    """Serves ``GET /msi/token`` for one system-assigned and any user-assigned identities.

    ``requests`` counts tokens given by audience; ``refusals`` counts everything else. Tokens of
    ``issuer`` can be checked by the keys that ``GET /{tenant}/discovery/v2.0/keys`` shows.
    """

    def __init__(
        self,
        secret: str,
        *,
        object_id: str = SYSTEM_ASSIGNED,
        user_assigned: Collection[str] = (),
        lifetime_seconds: int = 24 * 3600,
    ) -> None:
        self.requests: Counter[str] = Counter()
        self.refusals = 0
        self.issuer = Issuer()
        self.key_requests = 0
        self._secret = secret
        self._object_id = object_id
        self._user_assigned = frozenset(user_assigned)
        self._lifetime_seconds = lifetime_seconds
        app = web.Application()
        app.router.add_get("/msi/token", self._token)
        app.router.add_get("/{tenant}/discovery/v2.0/keys", self._keys)
        self._server = WebServer(app)

    @property
    def url(self) -> str:
        """Base address. Meaningful after `start`."""
        return self._server.url

    def environment(self) -> dict[str, str]:
        """Return what App Service puts into the environment of an app with an identity."""
        return {
            "IDENTITY_ENDPOINT": f"{self._server.url}/msi/token",
            "IDENTITY_HEADER": self._secret,
        }

    async def start(self, port: int = 0) -> None:
        """Listen on *port*, or on a free one."""
        await self._server.start(port)

    async def stop(self) -> None:
        """Stop listening. Safe twice."""
        await self._server.stop()

    async def _token(self, request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get("X-IDENTITY-HEADER", ""), self._secret):
            return self._refuse(401, "The X-IDENTITY-HEADER header is missing or wrong.")
        if request.query.get("api-version") != _API_VERSION:
            return self._refuse(400, f"The api-version must be {_API_VERSION}.")
        resource = request.query.get("resource", "")
        if not resource:
            return self._refuse(400, "The parameter 'resource' is missing.")
        wanted = next((request.query[name] for name in _SELECTORS if name in request.query), None)
        if wanted not in {None, self._object_id} and wanted not in self._user_assigned:
            return self._refuse(
                400,
                "No User Assigned or Delegated Managed Identity found for specified "
                "ClientId/ResourceId/PrincipalId.",
            )
        return self._grant(resource, wanted or self._object_id)

    async def _keys(self, request: web.Request) -> web.Response:
        if request.match_info["tenant"] != self.issuer.tenant:
            return self._refuse(400, "AADSTS90002: Tenant not found.")
        self.key_requests += 1
        return web.json_response(self.issuer.keys())

    def _grant(self, resource: str, identity: str) -> web.Response:
        token, expires = mint(resource, identity, lifetime_seconds=self._lifetime_seconds)
        self.requests[resource] += 1
        return web.json_response(
            {
                "access_token": token,
                "expires_on": str(expires),  # App Service sends Unix seconds as text
                "resource": resource,
                "token_type": "Bearer",
                "client_id": identity,
            }
        )

    def _refuse(self, status: int, message: str) -> web.Response:
        self.refusals += 1
        return web.json_response({"statusCode": status, "message": message}, status=status)
