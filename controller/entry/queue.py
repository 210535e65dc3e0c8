"""Messages from the two queues.

The Functions worker cannot dead-letter: returning completes a message, raising abandons it at
once and without delay. So what can never be handled is copied to queue ``rejected`` with its
reason and completed; only what may pass is raised.
"""

import logging
from typing import Final

from controller.core.errors import MalformedError, SlipwayError, UnknownAppError
from controller.ports import Bus, Message
from controller.runtime.engine import Engine
from controller.runtime.messages import REJECTED_QUEUE, parse_command, parse_poll
from controller.runtime.observer import Observer

log = logging.getLogger("slipway.queue")

_MAX_REASON: Final = 1000


async def on_command(
    body: bytes, *, session: str | None, deliveries: int, message_id: str, engine: Engine, bus: Bus
) -> None:
    """Handle one message of queue ``rollouts``.

    Raises:
        TransientError: deliver it again.
    """
    try:
        command = parse_command(body, session=session, message_id=message_id)
        await engine.handle(command, redelivered=deliveries > 1)
    except (MalformedError, UnknownAppError) as error:
        await _reject("rollouts", body, session, message_id, error, bus)


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
        await _reject("observations", body, session, message_id, error, bus)
        return
    await observer.poll(poll)


async def _reject(
    queue: str,
    body: bytes,
    session: str | None,
    message_id: str,
    error: SlipwayError,
    bus: Bus,
) -> None:
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
