"""What Resource Manager's refusals mean where a flexible server of PostgreSQL is asked for."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from controller.adapters.azure.arm_answer import message, retry_after, whole_text
from controller.core.data import ServerName
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PermanentError,
    SlipwayError,
)

ACTIONS: Final = (
    "Microsoft.DBforPostgreSQL/flexibleServers/read, .../flexibleServers/*/read, "
    ".../flexibleServers/backups/write and .../backups/delete on the server, and for restores "
    ".../flexibleServers/write on its resource group (docs/azure.md)"
)
_NOT_FOUND: Final = 404
_DENIED: Final = frozenset({401, 403})
_LATER: Final = frozenset({408, 409, 412, 429})
# Texts that say more than their status, and what helps.
_FINAL: Final = (
    (
        r"ScopeLocked|following scope\(s\) are locked",
        "Remove the lock from the server or its group, or make room for backups by hand.",
    ),
    (
        r"RequestDisallowedBy|disallowed by policy",
        "A policy forbids it, no role helps: exempt the server, or make it fit the policy.",
    ),
    (
        r"deny assignment",
        "A deny assignment forbids it, no role helps: exclude Slipway's identity from it.",
    ),
    (
        r"NameAlreadyExists|name .{0,90}already (in use|used|exists)",
        "Choose another name: those of servers are unique in all of Azure.",
    ),
    (
        r"QuotaExceeded|exceed.{0,60}quota",
        "Raise the subscription's quota of cores in the region, or remove what is not needed.",
    ),
    (
        r"MissingSubscriptionRegistration|SubscriptionNotRegistered",
        "Register the provider: az provider register --namespace Microsoft.DBforPostgreSQL.",
    ),
    (
        r"ReadOnlyDisabledSubscription|subscription .* disabled",
        "Enable the subscription again (billing, spending limit).",
    ),
)


@contextmanager
def flexible_server_errors(name: ServerName, doing: str) -> Generator[None]:
    """Turn the SDK's errors into ours. *doing* completes "while ..." for people."""
    try:
        yield
    except HttpResponseError as error:
        raise _translated(error, name, doing) from error
    except AzureError as error:  # the request or its answer was lost on the way
        raise BusyError(f"Resource Manager did not answer while {doing}: {error}.") from error


def is_missing(error: HttpResponseError) -> bool:
    """Tell whether there simply is no such thing."""
    return error.status_code == _NOT_FOUND


def _translated(error: HttpResponseError, name: ServerName, doing: str) -> SlipwayError:
    said, status = message(error), error.status_code
    answered = f"Resource Manager answered {status or 'nothing'} while {doing}: {said}"
    if isinstance(error, ClientAuthenticationError) and error.response is None:
        return BusyError(f"Slipway's identity gave no token while {doing}: {said}")
    if _is_later(error):
        is_busy = re.search(r"Server(Is)?Busy|is busy", whole_text(error), re.IGNORECASE)
        kind = OperationInProgressError if is_busy else BusyError
        return kind(answered, retry_after=retry_after(error))
    advice = _advice(error)
    if advice is None and status in _DENIED:
        advice = f"Give Slipway's identity {ACTIONS}: {name.resource_id}."
        return AccessDeniedError(answered, fix=advice)
    if status == _NOT_FOUND:
        return PermanentError(answered, fix="Correct the app's database.server.")
    return PermanentError(answered, fix=advice or "Correct what it names.")


def _is_later(error: HttpResponseError) -> bool:
    """Tell whether asking again may help; whether anything happened is for the world to tell.

    A second backup meanwhile, or one of the same name, is answered with 500.
    """
    status = error.status_code or 0
    if status // 100 != 4:  # noqa: PLR2004 - classes of answers: lost, odd, or a fault of theirs
        return True
    is_passing = status in _LATER or "ExpiredAuthenticationToken" in whole_text(error)
    return is_passing and _advice(error) is None


def _advice(error: HttpResponseError) -> str | None:
    text = whole_text(error)
    found = (advice for pattern, advice in _FINAL if re.search(pattern, text, re.IGNORECASE))
    return next(found, None)
