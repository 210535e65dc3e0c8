"""Key Vault's keys over HTTPS: RSA keys that wrap, unwrap, sign and verify, and never leave.

Differences from Azure: RSA-OAEP-256 and PS256 alone; no deletion; keys are made behind the API.
"""

import base64
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

Json = dict[str, Any]
OPERATIONS = ("wrapKey", "unwrapKey", "sign", "verify")

_SHA256 = hashes.SHA256()
_OAEP = padding.OAEP(mgf=padding.MGF1(_SHA256), algorithm=_SHA256, label=None)
_PSS = padding.PSS(mgf=padding.MGF1(_SHA256), salt_length=_SHA256.digest_size)
_HASHED = utils.Prehashed(_SHA256)


@dataclass(slots=True)
class KeyVersion:
    """One version of a key."""

    enabled: bool = True
    version: str = field(default_factory=lambda: uuid.uuid4().hex)
    private: rsa.RSAPrivateKey = field(
        default_factory=lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )


class KeyRefusedError(Exception):
    """A refusal: status, code, words, inner code."""


class Keys:
    """The keys of one vault, by name; versions oldest first. ``calls`` counts by operation."""

    def __init__(self) -> None:
        self.keys: dict[str, list[KeyVersion]] = {}
        self.calls: dict[str, int] = {}

    def put(self, name: str) -> KeyVersion:
        """Add a version, and return it."""
        made = KeyVersion()
        self.keys.setdefault(name.lower(), []).append(made)
        return made

    def routes(self) -> Iterable[web.RouteDef]:
        """Return what belongs into the vault's application."""
        one, versioned = "/keys/{name}", "/keys/{name}/{version:[^/]*}"
        return [
            web.get(one, self._get, name="get-key"),
            web.get(versioned, self._get, name="get-key-version"),
            web.post(f"{versioned}/{{operation:[a-z]+}}", self._operate, name="use-key"),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        name, found = self._find(request)
        public = found.private.public_key().public_numbers()
        key = {
            "kid": f"{request.url.origin()}/keys/{name}/{found.version}",
            "kty": "RSA",
            "key_ops": list(OPERATIONS),
            "n": _text(public.n.to_bytes((public.n.bit_length() + 7) // 8, "big")),
            "e": _text(public.e.to_bytes(3, "big")),
        }
        attributes = {"enabled": found.enabled, "created": 1, "updated": 1}
        return web.json_response({"key": key, "attributes": attributes})

    async def _operate(self, request: web.Request) -> web.Response:
        name, found = self._find(request)
        operation = request.match_info["operation"]
        self.calls[operation] = self.calls.get(operation, 0) + 1
        if not found.enabled:
            words = f"Operation {operation} is not allowed on a disabled key."
            raise KeyRefusedError(403, "Forbidden", words, "KeyDisabled")
        body: Json = await request.json()
        try:
            answer = _answer(found.private, operation, body)
        except ValueError as error:
            raise KeyRefusedError(400, "BadParameter", "The parameter is wrong.", "") from error
        kid = f"{request.url.origin()}/keys/{name}/{found.version}"
        return web.json_response({"kid": kid, **answer})

    def _find(self, request: web.Request) -> tuple[str, KeyVersion]:
        name, wanted = request.match_info["name"], request.match_info.get("version")
        versions = self.keys.get(name.lower(), [])
        found = [each for each in versions if not wanted or each.version == wanted]
        if not found:
            words = f"A key with (name/id) {name} was not found in this key vault."
            raise KeyRefusedError(404, "KeyNotFound", words, "")
        return name, found[-1]


def _answer(private: rsa.RSAPrivateKey, operation: str, body: Json) -> Json:
    if body.get("alg") != {"sign": "PS256", "verify": "PS256"}.get(operation, "RSA-OAEP-256"):
        raise ValueError("another algorithm")
    value = _bytes(body["value"])
    match operation:
        case "wrapkey":
            return {"value": _text(private.public_key().encrypt(value, _OAEP))}
        case "unwrapkey":
            return {"value": _text(private.decrypt(value, _OAEP))}
        case "sign":
            return {"value": _text(private.sign(value, _PSS, _HASHED))}
        case "verify":
            return {"value": _is_signed(private, _bytes(body["digest"]), value)}
        case _:
            raise ValueError(operation)


def _is_signed(private: rsa.RSAPrivateKey, digest: bytes, signature: bytes) -> bool:
    try:
        private.public_key().verify(signature, digest, _PSS, _HASHED)
    except InvalidSignature:
        return False
    return True


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
