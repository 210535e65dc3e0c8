"""What an answer of Resource Manager says, whichever dialect it speaks."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any, Final, TypeGuard, cast

from azure.core.exceptions import AzureError, HttpResponseError

_MESSAGE_LIMIT: Final = 500  # characters: it goes into the audit
_TEXT_LIMIT: Final = 20_000  # characters looked through for known texts
_DEPTH: Final = 6
_NESTED: Final = ("error", "details", "errorentity", "innererror", "innererrors")
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"<(script|style).*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)
_TRY_AGAIN: Final = re.compile(r"try again (?:after|in) '?(\d+)'? ?(second|minute)", re.IGNORECASE)


def message(error: HttpResponseError) -> str:
    """Return in one line what the answer says, for people.

    Resource Manager says ``{"error": {"code", "message", "details"}}``, the older Microsoft.Web
    ``{"Code", "Message", "Details": [..., {"ErrorEntity": {...}}]}``, a gateway on the way HTML.
    The real reason may be deep inside: everything that says something new is said.
    """
    text = _body(error)
    parts = _parts(text)
    said = _from_html(text) if parts is None else " | ".join(parts)
    return " ".join((said or str(error.message)).split())[:_MESSAGE_LIMIT]


def whole_text(error: HttpResponseError) -> str:
    """Return everything that the answer says, to look for known texts and codes."""
    return f"{message(error)} {_body(error)}"[:_TEXT_LIMIT]


def retry_after(error: HttpResponseError) -> timedelta | None:
    """Return when to come back: by header, in seconds or as a date, or by what the text says."""
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    value = headers.get("Retry-After")
    wait = None if value is None else _wait(value)
    if wait is not None:
        return wait
    found = _TRY_AGAIN.search(_body(error))
    if found is None:
        return None
    return timedelta(**{f"{found[2].lower()}s": int(found[1])})


def _wait(value: str) -> timedelta | None:
    try:
        return timedelta(seconds=max(float(value), 0.0))
    except (ValueError, OverflowError):
        pass
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return max(wait, timedelta())


def _body(error: HttpResponseError) -> str:
    try:
        return error.response.text() if error.response else ""
    except (ValueError, AttributeError, AzureError):  # lost on the way, or in no known encoding
        return ""


def _parts(text: str) -> list[str] | None:
    """Return what a JSON body says, outermost first, each thing once; None: it is not JSON."""
    try:
        body: Any = json.loads(text)
    except ValueError:
        return None
    parts: list[str] = []
    for part in _walk(body, _DEPTH):
        if part and not any(part in known for known in parts):
            parts.append(part)
    return parts


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _walk(value: Any, depth: int) -> Iterator[str]:
    if depth and _is_list(value):
        for item in value:
            yield from _walk(item, depth)
    elif depth and isinstance(value, dict):
        fields = {name.lower(): inner for name, inner in cast("dict[str, Any]", value).items()}
        said = (fields.get("code"), fields.get("message"))
        yield ": ".join(part for part in said if isinstance(part, str) and part)
        extended = fields.get("extendedcode")  # the one code that is never just "Conflict"
        yield f"ExtendedCode {extended}" if extended else ""
        for name in _NESTED:
            yield from _walk(fields.get(name), depth - 1)


def _from_html(text: str) -> str:
    """Return a page's title, else its bare words; text that is no page as it is."""
    title = _TITLE.search(text)
    return unescape(title[1] if title else _TAG.sub(" ", text)).strip()
