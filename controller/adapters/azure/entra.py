"""Who calls, by the Entra token that a secure webhook sends.

PyJWT checks signature and times; the keys come from the tenant's own key endpoint, are kept, and
are asked for again when a token names one that is not among them.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

import aiohttp
import jwt

from controller.adapters.clock import SystemClock
from controller.adapters.sessions import open_session
from controller.core.errors import CallerRefusedError, TransientError

log = logging.getLogger("slipway.entra")

AUTHORITY: Final = "https://login.microsoftonline.com"
ACTION_GROUPS: Final = "461e8683-5575-4561-ac7f-899cc907d62a"  # AzNS AAD Webhook, in every tenant
ROLE: Final = "ActionGroupsSecureWebhook"

_OLDER_ISSUERS: Final = {"login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn"}
_OLDER_ISSUER: Final = "https://sts.windows.net"  # of v1 tokens
_ALGORITHMS: Final = ("RS256",)  # the only one that Entra signs with; never what the token says
_LEEWAY: Final = timedelta(minutes=2)
_FRESH: Final = timedelta(hours=12)
_STALE: Final = timedelta(days=2)  # how long old keys serve while the endpoint is away
_NOT_SOONER: Final = timedelta(seconds=30)  # after which an unknown key is asked for again
_TIMEOUT: Final = aiohttp.ClientTimeout(total=4)  # an action group waits ten seconds
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 50
_LONGEST_TOKEN: Final = 16 * 1024
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class _Keys:
    """The tenant's keys by their name, and when they were read."""

    by_name: Mapping[str, jwt.PyJWK]
    at: datetime


class EntraCallers:
    """Implements `Callers`. No token ever appears in a log or an error.

    Args:
        tenant: whose tokens are accepted (a GUID).
        audiences: application id URI and client id of the API that the webhook is for.
        applications: client ids that may call.
        role: application role that the caller must have been given.
        authority: address of the login service in this cloud.
        ca_file: PEM file of a certificate authority to trust beside the public ones.
        now: the clock.
    """

    def __init__(
        self,
        tenant: str,
        audiences: Collection[str],
        *,
        applications: Collection[str] = (ACTION_GROUPS,),
        role: str = ROLE,
        authority: str = AUTHORITY,
        ca_file: Path | None = None,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        bare = {audience.rstrip("/") for audience in audiences}
        older = _OLDER_ISSUERS.get(urlsplit(authority).hostname or "", _OLDER_ISSUER)
        self._tenant = tenant.lower()
        self._audiences = [*bare, *(f"{audience}/" for audience in bare)]
        self._applications = frozenset(each.lower() for each in applications)
        self._role = role
        self._issuers = [
            f"{authority.rstrip('/')}/{self._tenant}/v2.0",
            f"{older}/{self._tenant}/",
        ]
        self._url = f"{authority.rstrip('/')}/{self._tenant}/discovery/v2.0/keys"
        self._ca_file = ca_file
        self._now = now or SystemClock().now
        self._session: aiohttp.ClientSession | None = None
        self._keys: _Keys | None = None
        self._tried_at: datetime | None = None
        self._lock = asyncio.Lock()  # one asks, the others wait

    async def close(self) -> None:
        """Close what is open."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def check(self, token: str) -> str:
        """See `Callers.check`."""
        key = await self._key(_key_name(token))
        if key is None:
            raise _refused("it is signed by a key that the tenant does not have")
        return self._application(self._claims(token, key))

    # --- The token --------------------------------------------------------------------------------

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._audiences,
                issuer=self._issuers,
                leeway=_LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise _refused(_REASONS.get(type(error), "it is broken")) from error
        except (ValueError, TypeError, OverflowError) as error:
            raise _refused("it is broken") from error

    def _application(self, claims: Mapping[str, Any]) -> str:
        application = str(claims.get("appid") or claims.get("azp") or "").lower()
        if str(claims.get("tid") or self._tenant).lower() != self._tenant:
            raise _refused("it is of another tenant")
        if application not in self._applications:
            raise _refused("it was issued to another application")
        roles: object = claims.get("roles")
        if not isinstance(roles, list) or self._role not in cast("list[object]", roles):
            raise _refused(f"its application lacks the role {self._role}")
        return application

    # --- The keys ---------------------------------------------------------------------------------

    async def _key(self, name: str) -> jwt.PyJWK | None:
        found = self._kept(name, _FRESH)
        if found is not None:
            return found
        async with self._lock:
            found = self._kept(name, _FRESH)
            return found if found is not None else await self._asked(name)

    async def _asked(self, name: str) -> jwt.PyJWK | None:
        now = self._now()
        if self._tried_at is None or now - self._tried_at >= _NOT_SOONER:
            self._tried_at = now
            try:
                self._keys = _Keys(_read(await self._fetch()), now)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                return self._stand_in(name, error)
        return self._kept(name, _FRESH) or self._stand_in(name, None)

    def _kept(self, name: str, age: timedelta) -> jwt.PyJWK | None:
        if self._keys is None or self._now() - self._keys.at >= age:
            return None
        return self._keys.by_name.get(name)

    def _stand_in(self, name: str, because: Exception | None) -> jwt.PyJWK | None:
        """Return the key as it was read last; without a recent answer nothing can be said."""
        found = self._kept(name, _STALE)
        is_fresh = self._keys is not None and self._now() - self._keys.at < _FRESH
        if found is not None or (is_fresh and because is None):
            return found
        raise TransientError(
            f"The keys of tenant {self._tenant} cannot be read: the login service gives no "
            "answer that can be used.",
            fix="See that Slipway reaches it (SLIPWAY_ALERTS_AUTHORITY).",
        ) from because

    async def _fetch(self) -> bytes:
        if self._session is None:
            self._session = open_session(self._ca_file, _TIMEOUT)
        async with self._session.get(self._url, allow_redirects=False) as response:
            if response.status != _OK:
                raise ValueError(f"the key endpoint answered {response.status}")
            body = await response.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await response.content.readany()):
                body += more
            return body


def _read(body: bytes) -> Mapping[str, jwt.PyJWK]:
    """Return the keys that can sign tokens, by name.

    Raises:
        ValueError: it is no key set, or holds no such key.
    """
    try:
        document: Any = json.loads(body)
        found = cast("list[Any]", document["keys"])[:_MOST_KEYS]
    except (ValueError, RecursionError, TypeError, LookupError) as error:
        raise ValueError("the key endpoint answered with no key set") from error
    keys: dict[str, jwt.PyJWK] = {}
    for each in found:
        try:
            if each["kty"] == "RSA" and each.get("use", "sig") == "sig":
                keys[str(each["kid"])] = jwt.PyJWK(each, algorithm=_ALGORITHMS[0])
        except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError):
            log.warning("the key endpoint gave a key that cannot be used")
    if not keys:
        raise ValueError("the key endpoint gave no key that signs tokens")
    return keys


def _key_name(token: str) -> str:
    """Return which key the token says it is signed by; the name is all that is believed so far."""
    if len(token) > _LONGEST_TOKEN:
        raise _refused("it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise _refused("it is broken") from error
    if header.get("alg") not in _ALGORITHMS:
        raise _refused(f"it is not signed by {_ALGORITHMS[0]}")
    return str(header.get("kid") or "")


_REASONS: Final[Mapping[type[Exception], str]] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "it is by another issuer",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "it lacks a claim",
}


def _refused(why: str) -> CallerRefusedError:
    return CallerRefusedError(
        f"The token of the secure webhook is refused: {why}.",
        fix="Compare SLIPWAY_ALERTS_AUDIENCE and SLIPWAY_ALERTS_TENANT with the action group's "
        "webhook; see docs/alerts.md.",
    )
