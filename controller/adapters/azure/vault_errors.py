"""What Blob Storage answers about backups, in our words."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError

from controller.core.errors import (
    AccessDeniedError,
    ConfigurationError,
    PermanentError,
    TransientError,
)

_DENIED: Final = frozenset({401, 403})

_MISNAMED: Final = frozenset({"OutOfRangeInput", "InvalidResourceName", "InvalidUri"})

# Error codes of what may not be deleted or overwritten, and why.
KEPT: Final[Mapping[str, str]] = {
    "BlobImmutableDueToPolicy": "an immutability policy or a legal hold is on it",
    "BlobImmutableDueToLegalHold": "a legal hold is on it",
    "ImmutabilityPolicyDeleteOnLockedPolicy": "a locked immutability policy is on it",
    "LeaseIdMissing": "somebody holds a lease on it",
}


def code_of(error: HttpResponseError) -> str:
    """Return the service's own code; empty where it gave none."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


@contextmanager
def translated(what: str) -> Generator[None]:
    """Turn the SDK's errors into ours."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code in _DENIED:
            raise AccessDeniedError(
                f"Blob storage refuses us ({what}): {error.status_code}.",
                fix="Give Slipway's identity the role Storage Blob Data Contributor.",
            ) from error
        if code_of(error) in KEPT:
            raise PermanentError(
                f"Blob storage does not overwrite {what}: {KEPT[code_of(error)]}.",
                fix="Begin a new set; what is locked there stays.",
            ) from error
        if code_of(error) in _MISNAMED:
            raise ConfigurationError(
                f"Blob storage knows no such name ({what}): {code_of(error)}.",
                fix="A container's name has 3 to 63 of a-z, 0-9 and '-'.",
            ) from error
        raise TransientError(f"Blob storage answered {error.status_code} ({what}).") from error
    except (AzureError, OSError, TimeoutError) as error:
        raise TransientError(f"Blob storage does not answer ({what}): {error}.") from error
