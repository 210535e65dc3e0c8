"""How a sender proves that it knows the secret: by saying it, or by signing what it sends.

Comparisons take the same time wherever the first difference is, and nothing here is logged.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from controller.entry.http import Request

SECRET_HEADERS: Final = ("x-slipway-secret", "authorization")
ADDRESS_FIELD: Final = "key"
SIGNATURE_HEADER: Final = "x-hub-signature-256"


def says_it(request: Request, expected: str) -> bool:
    """Whether the request holds the secret: in its address, else in one of the headers.

    ``Authorization`` may hold it bare, after a scheme, or as the password of ``Basic``.
    """
    matches = [_same(given, expected) for given in _given(request)]
    return any(matches)


def signs_with_it(request: Request, expected: str) -> bool:
    """Whether GitHub's signature is right for the bytes that came, form or JSON."""
    signature = hmac.new(expected.encode(), request.body, sha256).hexdigest()
    given = request.headers.get(SIGNATURE_HEADER, "").strip().lower()
    return _same(given, f"sha256={signature}")


def _given(request: Request) -> Iterator[str]:
    if ADDRESS_FIELD in request.query:
        yield request.query[ADDRESS_FIELD].strip()
        return
    given = next((request.headers[h] for h in SECRET_HEADERS if h in request.headers), "").strip()
    yield given
    scheme, _, rest = given.partition(" ")
    if scheme.lower() == "basic":
        yield _password(rest)
    elif rest:
        yield rest.strip()


def _password(credentials: str) -> str:
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), expected.encode())
