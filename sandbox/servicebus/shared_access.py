"""Who may do what: shared access signatures, and what any accepted token allows.

A signature is ``SharedAccessSignature sr=<uri>&sig=<hmac>&se=<expiry>&skn=<rule>``: HMAC-SHA256
by the rule's key over the lines *sr* and *se*, both as they are written in the token.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from sandbox.servicebus.errors import UNAUTHORIZED, RefusedError

_SCHEME = "SharedAccessSignature "


class Right(StrEnum):
    """What a link needs. `Manage` is for the administration API, which is not here."""

    SEND = "Send"
    LISTEN = "Listen"


EVERY_RIGHT = frozenset(Right)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedAccessRule:
    """A named key, of the namespace or of one *entity*, and what it allows."""

    name: str
    key: str
    rights: frozenset[Right] = EVERY_RIGHT
    entity: str = ""


def is_signature(token: str) -> bool:
    return token.startswith(_SCHEME)


def rights_by_signature(
    token: str, entity: str, rules: Sequence[SharedAccessRule]
) -> frozenset[Right]:
    """Return what a signature allows on *entity*, a path in lower case.

    Raises:
        RefusedError: unknown rule, wrong key, expired, or meant for another entity.
    """
    pairs = [part.partition("=") for part in token.removeprefix(_SCHEME).split("&")]
    parts = {name: value for name, _, value in pairs}
    resource, expiry = parts.get("sr", ""), parts.get("se", "")
    name, signature = unquote(parts.get("skn", "")), unquote(parts.get("sig", ""))
    for rule in rules:
        if rule.name == name and _is_signed(rule.key, resource, expiry, signature):
            break
    else:
        raise RefusedError(UNAUTHORIZED, "InvalidSignature: The token has an invalid signature.")
    if not expiry.isdigit() or int(expiry) < time.time():
        raise RefusedError(UNAUTHORIZED, "ExpiredToken: The token is expired.")
    if not (_covers(entity_of(unquote(resource)), entity) and _covers(rule.entity, entity)):
        raise RefusedError(UNAUTHORIZED, f"InvalidAudience: The token is not for '{entity}'.")
    return rule.rights


def _is_signed(key: str, resource: str, expiry: str, signature: str) -> bool:
    digest = hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    return hmac.compare_digest(base64.b64encode(digest), signature.encode())


def _covers(scope: str, entity: str) -> bool:
    """A scope covers what is below it; the empty one is the namespace."""
    scope = scope.lower()
    return not scope or entity == scope or entity.startswith(f"{scope}/")


def entity_of(uri: str) -> str:
    """Return the path a token's URI names, in lower case; empty for the namespace."""
    return uri.partition("://")[2].partition("/")[2].strip("/").lower()
