"""Access tokens as the sandbox's identity endpoint mints them and every server checks them."""

import time

import jwt

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
