"""Refusals as Azure words them: one class, one factory for each refusal."""

import uuid
from typing import Any

Json = dict[str, Any]


class ArmError(Exception):
    """An answer of 400 or more.

    Microsoft.Web speaks two dialects: Resource Manager's ``{"error": {...}}`` and its own older
    ``{"Code": ..., "Message": ...}``. *legacy* chooses the second.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        legacy: bool = False,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.legacy = legacy
        self.headers = headers or {}

    def body(self) -> Json:
        """Return the JSON body in this error's dialect."""
        if not self.legacy:
            return {"error": {"code": self.code, "message": self.message}}
        entity = {"Code": self.code, "Message": self.message}
        return {
            "Code": self.code,
            "Message": self.message,
            "Target": None,
            "Details": [{"Message": self.message}, {"Code": self.code}, {"ErrorEntity": entity}],
            "Innererror": None,
        }


def token_refused(reason: str) -> ArmError:
    """No token, a broken one, or one for another audience."""
    challenge = (
        'Bearer authorization_uri="https://login.microsoftonline.com/common", '
        f'error="invalid_token", error_description="{reason}"'
    )
    headers = {"WWW-Authenticate": challenge}
    return ArmError(
        401, "AuthenticationFailed", f"Authentication failed. {reason}", headers=headers
    )


def api_version_missing() -> ArmError:
    """Every Resource Manager request names its api-version."""
    return ArmError(
        400,
        "MissingApiVersionParameter",
        "The api-version query parameter (?api-version=) is required for all requests.",
    )


def resource_group_missing(name: str) -> ArmError:
    """The resource group holds nothing here."""
    return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")


def resource_missing(kind: str, group: str) -> ArmError:
    """*kind* is the path below the providers segment, e.g. Microsoft.Web/sites/shop."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{kind}' under resource group '{group}' was not found. For more details "
        "please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def not_found(what: str) -> ArmError:
    """Something below a site that does not exist; the provider itself answers."""
    return ArmError(404, "NotFound", f"Cannot find {what}.", legacy=True)


def bad_request(message: str) -> ArmError:
    """The provider does not accept this."""
    return ArmError(400, "BadRequest", message, legacy=True)


def operation_in_progress(site: str, slot: str, operation: str | None = None) -> ArmError:
    """Another operation holds the site; *operation* is its id."""
    return ArmError(
        409,
        "Conflict",
        "Cannot modify this site because another operation is in progress. Details: "
        f"Id: {operation or uuid.uuid4()}, OperationName: SwapSiteSlots, SiteName: {site}, "
        f"SlotName: {slot}, "
        "ServerFarmName: , GeoOperationId: (null)",
        legacy=True,
    )


def prepared_for_swap() -> ArmError:
    """A swap with preview, or one that failed half way, locked the slot."""
    return ArmError(
        409,
        "Conflict",
        "The slot cannot be changed because its configuration settings have been prepared for "
        "swap.",
        legacy=True,
    )


def allocation_changed(site: str, slot: str) -> ArmError:
    """Instances came or went while the slots were swapped. Worth another try."""
    return bad_request(
        f"Cannot swap slots for site '{site}' because the allocation of VM instances for "
        f"'{slot}' slot has changed during the swap process. Please retry the swap operation."
    )


def swap_ping_failed(site: str, slot: str) -> ArmError:
    """The slot's app does not answer: the app's fault, a retry does not help."""
    return bad_request(
        f"Cannot swap slots for site '{site}' because the '{slot}' slot did not respond to "
        "http ping."
    )


def swap_worker_failed(site: str, slot: str) -> ArmError:
    """The slot's container does not start with the other slot's settings."""
    return bad_request(
        f"Cannot swap slots for site '{site}' because the worker process for '{slot}' slot "
        "could not be started."
    )


def throttled(operation: str, retry_after_seconds: int | None) -> ArmError:
    """Too many requests; Resource Manager does not always say when to come back."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return ArmError(
        429,
        "SubscriptionRequestsThrottled",
        f"Number of requests for subscription and operation '{operation}' exceeded the backend "
        f"storage limit. Please try again after '{retry_after_seconds or 6}' seconds.",
        headers=headers,
    )


def server_is_busy(server: str) -> ArmError:
    """A database server does one thing at a time."""
    return ArmError(
        409,
        "ServerIsBusy",
        f"Cannot complete operation while server '{server}' is busy processing another operation. "
        "Try again later.",
    )


def internal_server_error() -> ArmError:
    """What Microsoft.DBforPostgreSQL says to a second backup, of the same name or meanwhile."""
    return ArmError(
        500,
        "InternalServerError",
        f"An unexpected error occured while processing the request. Tracking ID: '{uuid.uuid4()}'",
    )


def no_backup_on_demand(server: str) -> ArmError:
    """The tier or the storage does not allow it. The wording is ours."""
    return ArmError(
        400,
        "FeatureNotSupported",
        f"On-demand backups are not supported for the configuration of server '{server}'.",
    )


def bad_parameter(message: str) -> ArmError:
    """Microsoft.DBforPostgreSQL does not accept this. The wordings are ours."""
    return ArmError(400, "InvalidParameterValue", message)
