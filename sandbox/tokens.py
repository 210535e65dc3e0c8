"""Access tokens as the sandbox's identity endpoint mints them and every server checks them."""

import base64
import time
import uuid
from collections.abc import Collection
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

_KEY = "loopback-signing-key-which-is-not-a-secret"
TENANT = "00000000-0000-0000-0000-00000000aaaa"


class TokenRefusedError(Exception):
    """The request carries no token, a broken one, or one for somebody else."""


def mint(resource: str, object_id: str, *, lifetime_seconds: int = 3600) -> tuple[str, int]:
    """Return a JWT for *resource* (its ``aud``) and its expiry (Unix seconds)."""
    now = int(time.time())
    expires = now + lifetime_seconds
    claims = {
        "aud": resource,
        "iss": f"https://sts.windows.net/{TENANT}/",
        "oid": object_id,
        "sub": object_id,
        "appid": object_id,
        "tid": TENANT,
        "iat": now,
        "nbf": now,
        "exp": expires,
    }
    return jwt.encode(claims, _KEY, "HS256"), expires


def check(authorization: str | None, audience: str) -> dict[str, object]:
    """Return the claims of a ``Bearer`` header meant for *audience*.

    A trailing slash on either side is ignored, as Entra ID does.

    Raises:
        TokenRefusedError: missing, malformed, expired, or for another audience.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenRefusedError("The 'Authorization' header is missing or not a bearer token.")
    return check_token(token, audience)


def check_token(token: str, audience: str) -> dict[str, object]:
    """As `check`, for a bare token (Service Bus sends one in ``put-token``)."""
    try:
        claims: dict[str, object] = jwt.decode(
            token, _KEY, algorithms=["HS256"], options={"verify_aud": False}
        )
    except jwt.PyJWTError as error:
        raise TokenRefusedError(f"The access token is invalid: {error}") from error
    if str(claims.get("aud", "")).rstrip("/") != audience.rstrip("/"):
        raise TokenRefusedError(
            f"The access token is for {claims.get('aud')!r}, not for {audience!r}."
        )
    return claims


class Issuer:
    """Signs tokens for applications as Entra ID does, so that others can check them by its keys."""

    def __init__(self, tenant: str = TENANT) -> None:
        self.tenant = tenant
        self._name = uuid.uuid4().hex
        self._made: rsa.RSAPrivateKey | None = None

    @property
    def _key(self) -> rsa.RSAPrivateKey:
        """Made when first needed: it takes its time."""
        if self._made is None:
            self._made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._made

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one is no longer published."""
        self._name, self._made = uuid.uuid4().hex, None

    def keys(self) -> dict[str, Any]:
        """Return the key set as the key endpoint shows it."""
        public = self._key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "kid": self._name,
            "x5t": self._name,
            "n": _number(public.n),
            "e": _number(public.e),
        }
        return {"keys": [key]}

    def mint(
        self,
        audience: str,
        application: str,
        *,
        roles: Collection[str] = (),
        lifetime_seconds: float = 3600,
        **changes: Any,
    ) -> str:
        """Return a token of version 1.0 for *application*; a change to None removes a claim."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{self.tenant}/",
            "iat": now,
            "nbf": now,
            "exp": now + int(lifetime_seconds),
            "appid": application,
            "appidacr": "2",
            "oid": str(uuid.uuid5(uuid.NAMESPACE_OID, application)),
            "roles": list(roles),
            "tid": self.tenant,
            "ver": "1.0",
            **changes,
        }
        given = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(given, self._key, "RS256", headers={"kid": self._name})


def _number(value: int) -> str:
    length = (value.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(value.to_bytes(length)).rstrip(b"=").decode()
