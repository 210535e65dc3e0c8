"""What the broker refuses, in the words of Service Bus (condition names are the wire's)."""

from sandbox.servicebus.codec import Described, Symbol

NOT_FOUND = "amqp:not-found"
NOT_ALLOWED = "amqp:not-allowed"
NOT_IMPLEMENTED = "amqp:not-implemented"
UNAUTHORIZED = "amqp:unauthorized-access"
DECODE_ERROR = "amqp:decode-error"
INTERNAL_ERROR = "amqp:internal-error"
MESSAGE_TOO_LARGE = "amqp:link:message-size-exceeded"
ARGUMENT_ERROR = "com.microsoft:argument-error"
MESSAGE_NOT_FOUND = "com.microsoft:message-not-found"
MESSAGE_LOCK_LOST = "com.microsoft:message-lock-lost"
SERVER_BUSY = "com.microsoft:server-busy"
SESSION_CANNOT_BE_LOCKED = "com.microsoft:session-cannot-be-locked"
SESSION_LOCK_LOST = "com.microsoft:session-lock-lost"
TIMEOUT = "com.microsoft:timeout"

_ERROR = 0x1D  # descriptor of the AMQP type "error"


class RefusedError(Exception):
    """The broker will not do this. The client sees *condition* and *description*."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(f"{condition}: {description}")
        self.condition = condition
        self.description = description


def amqp_error(condition: str, description: str) -> Described:
    """Return the wire form. Its third field must not be null: pyamqp indexes it unasked."""
    return Described(_ERROR, [Symbol(condition), description, {Symbol("source"): "sandbox"}])
