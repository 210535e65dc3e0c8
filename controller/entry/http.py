"""Requests and answers in plain form, so that what stands behind a door needs no vendor."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from controller.core.errors import (
    BackupDamagedError,
    BackupKeyError,
    BackupMissingError,
    CommandRefusedError,
    ConfigurationError,
    MalformedError,
    SlipwayError,
    TransientError,
    UnknownAppError,
    UnknownRolloutError,
)

MAX_BODY_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request. Header names are lower case."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    route: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer; the body is JSON."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def text(self) -> str:
        """Return the body as it goes out."""
        return json.dumps(self.body)


def problem(status: int, code: str, message: str, fix: str) -> Response:
    """Return an error answer: what happened, and what to do next."""
    headers = {"Retry-After": "10"} if status == 503 else {}  # noqa: PLR2004 - HTTP's own number
    body = {"error": {"code": code, "message": message, "fix": fix}}
    return Response(status=status, body=body, headers=headers)


_STATUS: Final[tuple[tuple[type[SlipwayError], int], ...]] = (
    (MalformedError, 400),
    (UnknownAppError, 404),
    (UnknownRolloutError, 404),
    (BackupMissingError, 404),
    (BackupDamagedError, 409),
    (BackupKeyError, 409),
    (CommandRefusedError, 409),
    (TransientError, 503),
    (ConfigurationError, 503),
)


def refuse(error: SlipwayError) -> Response:
    """Return the answer that an error deserves; what may pass is 503, so that senders retry."""
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return problem(status, error.code, error.what, error.fix)


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in *body*; an empty body is an empty object.

    Raises:
        MalformedError: not JSON, or not an object.
    """
    value: object = json_value(body) if body.strip() else {}
    if not isinstance(value, dict):
        raise MalformedError(
            f"The body is a JSON {type(value).__name__}, not an object.",
            fix='Send an object such as {"reason": "..."}.',
        )
    return cast("dict[str, Any]", value)


def json_value(body: bytes) -> Any:
    """Return the JSON value in *body*.

    Raises:
        MalformedError: not JSON in UTF-8, or nested beyond reason.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedError(
            f"The body is not JSON: {error}.", fix="Send JSON in UTF-8."
        ) from error
