"""Messages from the two queues.

The Functions worker cannot dead-letter: returning completes a message, raising abandons it at
once and without delay: ten deliveries are over in a fraction of a second. So what can never be
handled is copied to queue ``rejected`` with its reason and completed. What may pass is raised a few
times, and then sent again for later and completed. Only what did not pass for hours is left to the
platform, whose dead letter the sweep finds and pages for.
"""

import logging
import re
from datetime import datetime, timedelta
from typing import Final

from controller.core.errors import MalformedError, SlipwayError, UnknownAppError
from controller.ports import Bus, Message
from controller.runtime.engine import Engine
from controller.runtime.messages import (
    MAX_MESSAGE_ID,
    REJECTED_QUEUE,
    Command,
    parse_command,
    parse_poll,
    short_name,
    to_message,
)
from controller.runtime.observer import Observer

log = logging.getLogger("slipway.queue")

_MAX_REASON: Final = 1000
_QUICK_DELIVERIES: Final = 3  # at once, in the order of the session
_FIRST_PAUSE: Final = timedelta(seconds=1)  # doubled each time
_LONGEST_PAUSE: Final = timedelta(minutes=5)
MAX_REPEATS: Final = 60  # about four hours
_REPEATED: Final = re.compile(r"(.*)/again/([0-9]{1,3})", re.DOTALL)


async def on_command(
    body: bytes, *, session: str | None, deliveries: int, message_id: str, engine: Engine, bus: Bus
) -> None:
    """Handle one message of queue ``rollouts``.

    Raises:
        Exception: deliver it again.
    """
    first_name, repeats = _repeats(message_id)
    try:
        command = parse_command(body, session=session, message_id=first_name)
    except MalformedError as error:
        await reject("rollouts", body, session, message_id, error, bus)
        return
    try:
        await engine.handle(command, redelivered=deliveries > 1 or repeats > 0)
    except UnknownAppError as error:
        await reject("rollouts", body, session, message_id, error, bus)
    except Exception as error:
        if deliveries < _QUICK_DELIVERIES or repeats >= MAX_REPEATS:
            raise
        log.warning("message %s failed, repetition %s: %s", message_id, repeats + 1, error)
        later = _later(command, first_name, repeats + 1, engine.clock.now())
        await bus.send([later])


async def on_observe(
    body: bytes, *, session: str | None, message_id: str, observer: Observer, bus: Bus
) -> None:
    """Handle one message of queue ``observations``.

    Raises:
        TransientError: deliver it again.
    """
    try:
        poll = parse_poll(body)
    except MalformedError as error:
        await reject("observations", body, session, message_id, error, bus)
        return
    await observer.poll(poll)


def _repeats(message_id: str) -> tuple[str, int]:
    """Return the name that the message was first sent under, and how often it was sent again."""
    found = _REPEATED.fullmatch(message_id)
    return (found[1], int(found[2])) if found else (message_id, 0)


def _later(command: Command, first_name: str, repeat: int, now: datetime) -> Message:
    """Return *command* for later. It keeps its id, so that it is done once if it was done."""
    pause = min(_FIRST_PAUSE * 2 ** min(repeat - 1, 20), _LONGEST_PAUSE)
    suffix = f"/again/{repeat}"
    plain = to_message(command)
    first_name = first_name or plain.id or f"{command.app}/{command.command}"
    name = short_name(first_name, MAX_MESSAGE_ID - len(suffix)) + suffix
    return to_message(command, at=now + pause, message_id=name)


async def reject(
    queue: str,
    body: bytes,
    session: str | None,
    message_id: str,
    error: SlipwayError,
    bus: Bus,
) -> None:
    """Set what can never be handled aside in queue ``rejected``, with its reason."""
    log.error("queue %s: message %s was rejected: %s", queue, message_id, error)
    properties = {
        "queue": queue,
        "session": session or "",
        "message_id": message_id,
        "code": error.code,
        "reason": error.what[:_MAX_REASON],
        "fix": error.fix[:_MAX_REASON],
    }
    await bus.send([Message(queue=REJECTED_QUEUE, session=None, body=body, properties=properties)])
