"""Keeping a lock while user code runs, without a second coroutine on the receiver."""

import asyncio
import datetime as dt
import logging
import math
from collections.abc import Awaitable, Callable

from azure.servicebus.exceptions import ServiceBusError

_log = logging.getLogger("host.service_bus")

_LARGEST_MARGIN_SECONDS = 10.0  # .NET renews that early, or at half time of a shorter lock


class Renewal:
    """Renews one lock when it falls due, for a limited time."""

    def __init__(
        self,
        renew: Callable[[], Awaitable[dt.datetime]],
        *,
        locked_until: dt.datetime | None,
        give_up_after_seconds: float,
    ) -> None:
        self._renew = renew
        self._loop = asyncio.get_running_loop()
        self._give_up_at = self._loop.time() + give_up_after_seconds
        self._due_at = math.inf
        self._plan(locked_until)

    def seconds_until_due(self) -> float:
        """Return how long the lock can be left alone (0 if it is due, infinite if given up)."""
        return max(self._due_at - self._loop.time(), 0.0)

    async def renew_if_due(self) -> None:
        """Renew now if it is time.

        A failure is logged and ends the renewing; whether the lock was lost shows at settlement.
        """
        if self.seconds_until_due() > 0:
            return
        try:
            self._plan(await self._renew())
        except (ServiceBusError, ValueError) as error:
            _log.warning("cannot renew a lock: %s", error)
            self._due_at = math.inf

    async def keep_while(self, work: "asyncio.Task[object]") -> None:
        """Keep the lock until *work* is done, however it ends."""
        while not work.done():
            wait_seconds = self.seconds_until_due()
            timeout = None if math.isinf(wait_seconds) else wait_seconds
            await asyncio.wait({work}, timeout=timeout)
            if not work.done():
                await self.renew_if_due()

    def _plan(self, locked_until: dt.datetime | None) -> None:
        self._due_at = math.inf
        if locked_until is None:
            return
        lasts = (locked_until - dt.datetime.now(dt.UTC)).total_seconds()
        due_at = self._loop.time() + max(lasts - min(lasts / 2, _LARGEST_MARGIN_SECONDS), 0.0)
        if due_at < self._give_up_at:
            self._due_at = due_at
