"""Wall-clock callbacks which survive a restart of the broker."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable


def now_ms() -> int:
    """Return Unix time in milliseconds, the unit of AMQP timestamps."""
    return int(time.time() * 1000)


class Timers:
    """A queue of callbacks by due time (Unix milliseconds).

    Between `stop` and `start` nothing runs; what fell due meanwhile runs at once on
    `start`. Callbacks cannot be cancelled: each looks whether it still means something.
    """

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arm()

    def stop(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._loop = self._handle = None

    def at(self, due_ms: int, callback: Callable[[], None]) -> None:
        """Call *callback* once *due_ms* has passed."""
        heapq.heappush(self._due, (due_ms, next(self._order), callback))
        if self._due[0][0] == due_ms:
            self._arm()

    def soon(self, callback: Callable[[], None]) -> None:
        """Call *callback* after the frames at hand; never, if the broker is stopped."""
        if self._loop:
            self._loop.call_soon(callback)

    def _arm(self) -> None:
        if self._handle:
            self._handle.cancel()
            self._handle = None
        if self._loop and self._due:
            wait_ms = max(0, self._due[0][0] - now_ms()) + 1
            self._handle = self._loop.call_later(wait_ms / 1000, self._run)

    def _run(self) -> None:
        now = now_ms()
        try:
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
        finally:
            self._arm()
