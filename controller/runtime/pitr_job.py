"""A job of kind pitr: what its arguments mean."""

from collections.abc import Mapping
from datetime import datetime

from controller.core.errors import MalformedError
from controller.core.jobs import Job
from controller.runtime.pitr_means import PitrRequest


def request_of(job: Job) -> PitrRequest:
    """Return what *job* asks for: its arguments are `at`, `new_server` and `confirm`.

    Raises:
        MalformedError: no moment is given, or none that is one everywhere.
    """
    return PitrRequest(
        app=job.app,
        at=moment_of(str(job.arguments.get("at") or "")),
        asked_at=job.asked_at,
        new_server=str(job.arguments.get("new_server") or "") or None,
        confirm=str(job.arguments.get("confirm") or ""),
        is_again=job.tries > 1,
    )


def plan_request_of(app: str, query: Mapping[str, str], now: datetime) -> PitrRequest:
    """Return what the plan of an HTTP query (`at`, `new_server`) is for.

    Raises:
        MalformedError: as `request_of`.
    """
    return PitrRequest(
        app=app,
        at=moment_of(query.get("at") or ""),
        asked_at=now,
        new_server=query.get("new_server") or None,
    )


def moment_of(text: str) -> datetime:
    """Return the moment that *text* names.

    Raises:
        MalformedError: it is no moment, or says no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise MalformedError(
            f"{text!r} is no moment with a time zone.",
            fix="Write it like 2026-11-23T07:45:00Z; seconds may have fractions.",
        )
    return moment
