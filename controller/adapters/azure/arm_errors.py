"""What Resource Manager's refusals mean to us: one table, and what is raised for each row.

docs/arm-errors.md is made from `TABLE`. A row counts when the status fits and its pattern occurs
in the answer; the first one that counts decides. The class of the SDK's exception never does: a
409 comes as ResourceExistsError, or as nothing special.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from controller.adapters.azure.arm_answer import message, retry_after, whole_text
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PermanentError,
    PreparedForSwapError,
    SiteMissingError,
    SlipwayError,
    SlotMissingError,
)
from controller.core.plan import PRODUCTION, SlotName, Target

ROLE: Final = "Website Contributor"
SLOT_LIMITS: Final = (
    "Slots need the plan Standard (5 of them), Premium or Isolated (20); Free, Shared and Basic "
    "have none"
)
_AGAIN: Final = "Nothing to do: Slipway tries again."


class Meaning(StrEnum):
    """What has to happen next."""

    LATER = "later"  # ask again; whether anything happened is for the world to tell
    WAIT = "wait"  # refused, another operation runs: nothing happened
    LOCKED = "locked"  # refused, a swap was begun and never ended: nothing happened
    APP = "app"  # the build's own fault: asking again does not help
    ROLE = "role"  # Slipway's identity may not
    MISSING = "missing"  # there is no such thing
    OURS = "ours"  # whoever runs the site has to change something


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One row. *advice* may name ``{site}``; *example* is an answer as it was seen in life."""

    statuses: str  # such as "409", "403 409", "4xx"
    pattern: str  # regular expression, searched without regard to case; empty: any text
    meaning: Meaning
    advice: str
    example: str = ""

    def covers(self, status: int, text: str) -> bool:
        """Whether this row speaks of such an answer."""
        wanted = self.statuses.split()
        fits = str(status) in wanted or f"{status // 100}xx" in wanted
        return fits and re.search(self.pattern, text, re.IGNORECASE) is not None


def _row(statuses: str, pattern: str, meaning: Meaning, advice: str, example: str = "") -> Refusal:
    return Refusal(
        statuses=statuses, pattern=pattern, meaning=meaning, advice=advice, example=example
    )


M = Meaning
_PENDING: Final = (
    _row(
        "4xx",
        r"prepared for swap",
        M.LOCKED,
        "Slipway tries again; if no swap is under way, cancel the one that was left half done: "
        "az webapp deployment slot swap --action reset.",
        "The slot cannot be changed because its configuration settings have been prepared for "
        "swap.",
    ),
    _row(
        "4xx",
        r"another operation is in progress|AnotherOperationInProgress",
        M.WAIT,
        _AGAIN,
        "Cannot modify this site because another operation is in progress. Details: Id: ..., "
        "OperationName: SwapSiteSlots, ...",
    ),
    _row(
        "4xx",
        r"allocation of VM instances for .* has changed",
        M.LATER,
        "Slipway tries again. Scaling during a swap causes it: freeze autoscale meanwhile.",
        "Cannot swap slots for site 'shop' because the allocation of VM instances for 'blue' "
        "slot has changed during the swap process. Please retry the swap operation.",
    ),
)
_BUILD: Final = (
    _row(
        "4xx",
        r"did not respond to http ping",
        M.APP,
        "Read the slot's container log: the build does not answer its warm-up path.",
        "Cannot swap slots for site 'shop' because the 'blue' slot did not respond to http ping.",
    ),
    _row(
        "4xx",
        r"worker process for .* could not be started",
        M.APP,
        "Read the slot's container log: the build does not start under the other slot's settings.",
        "Cannot swap slots for site 'shop' because the worker process for 'blue' slot could not "
        "be started.",
    ),
    _row(
        "4xx",
        r"application initialization in .* (too long|failed)",
        M.APP,
        "Read the slot's container log: the build does not become warm in time.",
        "Cannot swap slots for site 'shop' because the application initialization in 'blue' slot "
        "either took too long or failed.",
    ),
)
_PERMISSION: Final = (
    _row(
        "4xx",
        r"ScopeLocked|following scope\(s\) are locked",
        M.OURS,
        "Remove the resource lock from the site, its group or its subscription; a lock against "
        "deletion may stay, one against writing may not.",
        "ScopeLocked: The scope '...' cannot perform write operation because following scope(s) "
        "are locked: '...'. Please remove the lock and try again.",
    ),
    _row(
        "4xx",
        r"RequestDisallowedBy(Policy|Azure)|disallowed by policy",
        M.OURS,
        "A policy forbids it, no role helps: exempt the site, or make it fit the policy that the "
        "answer names.",
        "RequestDisallowedByPolicy: Resource 'shop' was disallowed by policy.",
    ),
    _row(
        "403",
        r"DenyAssignmentAuthorizationFailed|deny assignment",
        M.OURS,
        "A deny assignment forbids it (a managed application or a deployment stack): no role "
        "helps. Exclude Slipway's identity from it.",
        "DenyAssignmentAuthorizationFailed: ... access is denied because of the deny assignment "
        "with name '...'",
    ),
    _row(
        "403",
        r"LinkedAuthorizationFailed",
        M.ROLE,
        "The site is linked to a second resource, where Slipway's identity needs the action that "
        "the answer names. For the plan it is Microsoft.Web/serverfarms/join/action, of the role "
        "'Web Plan Contributor'.",
        "LinkedAuthorizationFailed: The client has permission to perform action "
        "'Microsoft.Web/sites/config/write' on scope '...', however the current tenant is not "
        "authorized, or it does not have permission to perform action "
        "'Microsoft.Web/serverfarms/join/action' on the linked scope(s) '...'",
    ),
    _row(
        "4xx",
        r"subscription .* (is )?disabled|SubscriptionDisabled|ReadOnlyDisabledSubscription",
        M.OURS,
        "Enable the subscription again (billing, spending limit).",
        "ReadOnlyDisabledSubscription: The subscription '...' is disabled and therefore marked as "
        "read only. You cannot perform any write actions on this subscription until it is "
        "re-enabled.",
    ),
    _row(
        "4xx",
        r"MissingSubscriptionRegistration|SubscriptionNotRegistered",
        M.OURS,
        "Register the provider: az provider register --namespace Microsoft.Web.",
        "MissingSubscriptionRegistration: The subscription is not registered to use namespace "
        "'Microsoft.Web'.",
    ),
    _row(
        "401",
        r"ExpiredAuthenticationToken|access token expir",
        M.LATER,
        "Nothing to do: Slipway asks for a new token.",
        "ExpiredAuthenticationToken: The access token expiry UTC time '...' is earlier than "
        "current UTC time '...'.",
    ),
)
_SITE: Final = (
    _row(
        "4xx",
        r"number of slots allowed|maximum number of .{0,30}slots|does(n't| not) support .{0,30}"
        r"slots|slots? .{0,40}not (supported|allowed|available) .{0,40}(tier|sku|plan)",
        M.OURS,
        f"{SLOT_LIMITS}. Scale the plan up, or delete a slot.",
        "Cannot complete the operation because the site will exceed the number of slots allowed "
        "for the 'Basic' SKU.",
    ),
    _row(
        "403 409",
        r"AdminDisabled|site[^.]{0,60} (is |has been )?(disabled|suspended)|app[^.]{0,60} is "
        r"disabled",
        M.OURS,
        "The site is disabled: enable it. If Azure did so, the portal says why.",
        "Forbidden: This web app is disabled. (403 Site Disabled)",
    ),
    _row(
        "403 409",
        r"QuotaExceeded|exceeded .{0,30}quota|quota .{0,40}exceeded",
        M.OURS,
        "The plan's quota is used up: scale up, or wait until it is counted anew.",
        "QuotaExceeded: The site has exceeded its CPU quota.",
    ),
    _row(
        "4xx",
        r"slot .{0,80}is stopped|because the .{0,80} is stopped",
        M.OURS,
        "Start the slot, then retry.",
        "Cannot swap slots for site 'shop' because the 'blue' slot is stopped.",
    ),
    _row(
        "404",
        r"SubscriptionNotFound",
        M.MISSING,
        "Correct the subscription in the app's target, or give Slipway's identity a role in it.",
        "SubscriptionNotFound: The subscription '...' could not be found.",
    ),
    _row(
        "404",
        r"ResourceGroupNotFound",
        M.MISSING,
        "Correct the resource group in the app's target.",
        "ResourceGroupNotFound: Resource group 'shop-group' could not be found.",
    ),
)
_BY_STATUS: Final = (
    _row(
        "401 403",
        "",
        M.ROLE,
        f"Give Slipway's identity the role '{ROLE}' on {{site}}. A new role needs some minutes.",
        "AuthorizationFailed: The client '...' does not have authorization to perform action "
        "'Microsoft.Web/sites/config/write' over scope '...'.",
    ),
    _row("404", "", M.MISSING, "See SW201 and SW202."),
    _row(
        "408 409 412",
        "",
        M.LATER,
        _AGAIN,
        "Conflict: There was a conflict. No available instances to satisfy this request. Please "
        "retry your request later.",
    ),
    _row(
        "429",
        "",
        M.LATER,
        _AGAIN,
        "SubscriptionRequestsThrottled: Number of requests for subscription '...' and operation "
        "'...' exceeded the backend storage limit. Please try again after '6' seconds.",
    ),
    _row("4xx", "", M.OURS, "Correct what it names, then retry."),
    _row("5xx", "", M.LATER, _AGAIN, "ServiceUnavailable: The service is unavailable."),
)
TABLE: Final[tuple[Refusal, ...]] = (*_PENDING, *_BUILD, *_PERMISSION, *_SITE, *_BY_STATUS)
_PASSING: Final[Mapping[Meaning, type[BusyError]]] = {
    M.LATER: BusyError,
    M.WAIT: OperationInProgressError,
    M.LOCKED: PreparedForSwapError,
}
_ANYTHING_ELSE: Final = _row("", "", M.LATER, _AGAIN)


def classify(error: HttpResponseError) -> Refusal:
    """Return the row of an answer. One that is none (no status, or a success) means later."""
    status, text = error.status_code, whole_text(error)
    if status is None:
        return _ANYTHING_ELSE
    return next((row for row in TABLE if row.covers(status, text)), _ANYTHING_ELSE)


@contextmanager
def arm_errors(target: Target, slot: SlotName, doing: str) -> Generator[None]:
    """Turn the SDK's errors into ours. *doing* completes "while ..." for people."""
    try:
        yield
    except HttpResponseError as error:
        raise translated(error, target, slot, doing) from error
    except AzureError as error:  # the request or its answer was lost on the way
        raise BusyError(f"Resource Manager did not answer while {doing}: {error}.") from error


def translated(
    error: HttpResponseError, target: Target, slot: SlotName, doing: str
) -> SlipwayError:
    """Return what we raise for the SDK's *error*."""
    if isinstance(error, ClientAuthenticationError) and error.response is None:
        # It never came to a request: the identity gave no token.
        return BusyError(f"Slipway's identity gave no token while {doing}: {message(error)}")
    row, said = classify(error), message(error)
    advice = row.advice.format(site=target.resource_id)
    answered = f"Resource Manager answered {error.status_code or 'nothing'} while {doing}: {said}"
    if row.meaning in _PASSING:
        return _PASSING[row.meaning](answered, fix=advice, retry_after=retry_after(error))
    if row.meaning is Meaning.ROLE:
        return AccessDeniedError(answered, fix=advice)
    if row.meaning is Meaning.MISSING:
        return _missing(target, slot, said, advice if row.pattern else None)
    return PermanentError(
        f"App Service refused with {error.status_code} while {doing}: {said}", fix=advice
    )


def _missing(target: Target, slot: SlotName, said: str, advice: str | None) -> SlipwayError:
    if advice is not None:  # not even the place where the site should be
        return SiteMissingError(f"There is no site {target.site!r}: {said}", fix=advice)
    if slot.lower() == PRODUCTION:
        return SiteMissingError(
            f"There is no site {target.site!r} in resource group {target.resource_group!r}, or "
            "Slipway may not see it.",
            fix=f"Correct the app's target, or give the role '{ROLE}' on the site.",
        )
    return SlotMissingError(
        f"Site {target.site!r} has no slot {slot!r}.",
        fix=f"Create it, or name one that exists in the app's slots. {SLOT_LIMITS}.",
    )
