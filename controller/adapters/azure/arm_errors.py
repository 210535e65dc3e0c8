"""What Resource Manager's refusals mean to us."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

from azure.core.exceptions import AzureError, HttpResponseError

from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    PermanentError,
    SiteMissingError,
    SlipwayError,
    SlotMissingError,
)
from controller.core.plan import PRODUCTION, SlotName, Target

ROLE: Final = "Website Contributor"
_DENIED: Final = frozenset({401, 403})
_MISSING: Final = 404
_BUSY: Final = frozenset({408, 409, 429})
_CLIENT_ERRORS: Final = range(400, 500)
_MESSAGE_LIMIT: Final = 500  # characters: it goes into the audit
_PREPARED: Final = "prepared for swap"


@contextmanager
def arm_errors(target: Target, slot: SlotName, doing: str) -> Generator[None]:
    """Turn the SDK's errors into ours. *doing* completes "while ..." for people."""
    try:
        yield
    except HttpResponseError as error:
        raise _translated(error, target, slot, doing) from error
    except AzureError as error:  # the request or its answer was lost on the way
        raise BusyError(f"Resource Manager did not answer while {doing}: {error}.") from error


def _translated(
    error: HttpResponseError, target: Target, slot: SlotName, doing: str
) -> SlipwayError:
    # By status, never by class: a 409 comes as ResourceExistsError, or as nothing special.
    status = error.status_code
    said = message(error)
    if status in _DENIED:
        return AccessDeniedError(
            f"Resource Manager answered {status} while {doing}: {said}",
            fix=f"Give Slipway's identity the role {ROLE!r} on {target.resource_id}.",
        )
    if status == _MISSING:
        return _missing(target, slot)
    if status in _CLIENT_ERRORS and status not in _BUSY:
        return PermanentError(
            f"App Service refused with {status} while {doing}: {said}",
            fix="Correct what it names, then retry.",
        )
    busy = BusyError(
        f"Resource Manager answered {status or 'nothing'} while {doing}: {said}",
        retry_after=retry_after(error),
    )
    if _PREPARED in said:
        busy.fix = (
            "Slipway tries again; if no swap is under way, cancel the one that was left half "
            "done: az webapp deployment slot swap --action reset."
        )
    return busy


def _missing(target: Target, slot: SlotName) -> SlipwayError:
    if slot.lower() == PRODUCTION:
        return SiteMissingError(
            f"There is no site {target.site!r} in resource group {target.resource_group!r}, or "
            "Slipway may not see it.",
            fix=f"Correct the app's target, or give the role {ROLE!r} on the site.",
        )
    return SlotMissingError(
        f"Site {target.site!r} has no slot {slot!r}.",
        fix="Create it, or name one that exists in the app's slots.",
    )


def message(error: HttpResponseError) -> str:
    """Return in one line what the body says, whichever of Microsoft.Web's two dialects it speaks.

    Resource Manager says ``{"error": {"code", "message"}}``, the older ``{"Code", "Message"}``.
    """
    try:
        body: Any = json.loads(error.response.text()) if error.response else None
    except (ValueError, AttributeError, AzureError):
        body = None
    said = _said(cast("dict[str, Any]", body)) if isinstance(body, dict) else ""
    return " ".join((said or str(error.message)).split())[:_MESSAGE_LIMIT]


def _said(body: Mapping[str, Any]) -> str:
    inner: Any = body.get("error")
    fields = cast("dict[str, Any]", inner) if isinstance(inner, dict) else body
    lower = {name.lower(): value for name, value in fields.items()}
    parts = (lower.get("code"), lower.get("message"))
    return ": ".join(str(part) for part in parts if part)


def retry_after(error: HttpResponseError) -> timedelta | None:
    """Return what the answer says about when to come back: seconds, or a date."""
    headers: Mapping[str, str] = getattr(error.response, "headers", None) or {}
    value = headers.get("Retry-After")
    if value is None:
        return None
    try:
        return timedelta(seconds=max(float(value), 0.0))
    except ValueError:
        pass
    try:
        wait = parsedate_to_datetime(value) - datetime.now(UTC)
    except (ValueError, TypeError):
        return None
    return max(wait, timedelta())
