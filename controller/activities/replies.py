"""How an activity answers when the world says no: once, here."""

from collections.abc import Awaitable
from datetime import timedelta
from typing import Final

from controller.core.effects import Effect
from controller.core.errors import PermanentError, TransientError
from controller.core.events import Failed, NotYet, Reply
from controller.ports import Clock

RETRY: Final = timedelta(seconds=5)  # where the world does not say when to come back
SOON: Final = timedelta(seconds=2)  # something is on its way: propagation, a container start


async def answering(
    effect: Effect, clock: Clock, work: Awaitable[Reply], *, context: str = ""
) -> Reply:
    """Return what *work* replies; its errors become replies, too.

    *context* says what is true already and stands first in the reply. What is neither transient
    nor permanent was not foreseen and passes through.
    """
    try:
        return await work
    except TransientError as error:
        return not_yet(effect, clock, f"{context}{error}", retry_after=error.retry_after or RETRY)
    except PermanentError as error:
        return Failed(at=clock.now(), key=effect.key, reason=f"{context}{error}")


def not_yet(effect: Effect, clock: Clock, detail: str, *, retry_after: timedelta = SOON) -> NotYet:
    """Return the reply that the goal is not true yet."""
    return NotYet(at=clock.now(), key=effect.key, detail=detail, retry_after=retry_after)
