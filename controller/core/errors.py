"""What can go wrong, in two kinds: later may help, or the rollout must move on.

Every class has a stable code with an entry in docs/errors.md. A message says what happened,
to what; ``fix`` says what to do next.
"""

from datetime import timedelta
from typing import ClassVar


class SlipwayError(Exception):
    """Base class of everything Slipway raises on purpose."""

    code: ClassVar[str] = "SW000"

    def __init__(self, what: str, *, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.code}: {self.what} {self.fix}"


class TransientError(SlipwayError):
    """Trying again later may help. The runtime alone catches it and reschedules."""

    code = "SW100"

    def __init__(
        self,
        what: str,
        *,
        fix: str = "Nothing to do: Slipway tries again.",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(what, fix=fix)
        self.retry_after = retry_after


class PermanentError(SlipwayError):
    """Trying again cannot help; the rollout must move on."""

    code = "SW200"


class CommandRefusedError(SlipwayError):
    """A command that makes no sense now. Nothing was changed."""

    code = "SW300"


class MalformedError(SlipwayError):
    """A message or request that cannot be understood. Nothing was changed."""

    code = "SW301"


class UnknownAppError(SlipwayError):
    """No such app in the configuration."""

    code = "SW302"


class UnknownRolloutError(SlipwayError):
    """No such rollout is recorded."""

    code = "SW303"


class CallerRefusedError(SlipwayError):
    """A request whose token is forged, expired, or not meant for us. Nothing was changed."""

    code = "SW309"


class ConfigurationError(SlipwayError):
    """apps.yaml or a setting is wrong."""

    code = "SW400"


class ConflictError(SlipwayError):
    """Somebody else saved the app's state first. Load again and decide again."""

    code = "SW110"


class BusyError(TransientError):
    """The platform is busy or throttles us."""

    code = "SW101"


class ProviderError(TransientError):
    """The telemetry provider gave no usable answer."""

    code = "SW102"


class QueueUnavailableError(TransientError):
    """Service Bus could not take the message."""

    code = "SW103"


class OperationInProgressError(BusyError):
    """The platform refused the change, as another operation runs. Nothing happened."""

    code = "SW104"


class TakesTooLongError(TransientError):
    """What was tried was stopped at its time limit, and nothing of it is left."""

    code = "SW107"


class JobPostponedError(TransientError):
    """The job waits for something that takes its time. Nothing is wrong."""

    code = "SW106"


class PreparedForSwapError(BusyError):
    """The platform refused the change: a swap was begun and never ended. Nothing happened."""

    code = "SW105"


class SlotMissingError(PermanentError):
    """The site has no such slot."""

    code = "SW201"


class SiteMissingError(PermanentError):
    """There is no such site, or we may not see it."""

    code = "SW202"


class ImageMissingError(PermanentError):
    """The registry does not hold the image."""

    code = "SW203"


class QueryInvalidError(PermanentError):
    """The provider refuses a query: it would never give an answer."""

    code = "SW204"


class AccessDeniedError(PermanentError):
    """Slipway's identity lacks a role."""

    code = "SW205"


class BackupDamagedError(PermanentError):
    """What lies in the vault is not what was written there."""

    code = "SW220"


class BackupKeyError(PermanentError):
    """The key that is configured does not open the backup."""

    code = "SW221"


class BackupMissingError(PermanentError):
    """There is no such backup set, or it has no such part, or it was never finished."""

    code = "SW222"


class RestoreFailedError(PermanentError):
    """What was restored is not what was backed up. What was there before serves on."""

    code = "SW223"
