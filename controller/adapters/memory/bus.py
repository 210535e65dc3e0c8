"""Queues in memory, on a clock that tests can move.

`MemoryBus` is the port; whoever plays the Functions host calls `receive`, and `complete` or
`abandon`, and asks `next_due` how far the clock may jump.
"""

import heapq
import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.adapters.memory.world import Fault, Weather
from controller.core.errors import QueueUnavailableError
from controller.ports import Clock, DeadLetter, Message

REJECTED: Final = "rejected"


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One message in somebody's hands. Its session is theirs until it is settled."""

    message: Message
    deliveries: int  # this one included
    number: int


class _Queue:
    """What is in one queue: sessions in the order in which they became ready."""

    def __init__(self) -> None:
        self.scheduled: list[tuple[datetime, int, Delivery]] = []
        self.ready: OrderedDict[str, deque[Delivery]] = OrderedDict()
        self.held: set[str] = set()
        self.seen: OrderedDict[str, datetime] = OrderedDict()
        self.dead: deque[DeadLetter] = deque()

    def activate(self, delivery: Delivery) -> None:
        self.ready.setdefault(_session(delivery), deque()).append(delivery)

    def fall_due(self, now: datetime) -> None:
        while self.scheduled and self.scheduled[0][0] <= now:
            self.activate(heapq.heappop(self.scheduled)[2])

    def take(self) -> Delivery | None:
        free = next((name for name in self.ready if name not in self.held), None)
        if free is None:
            return None
        waiting = self.ready[free]
        delivery = waiting.popleft()
        del self.ready[free]
        if waiting:  # behind the others: no app starves the rest
            self.ready[free] = waiting
        self.held.add(free)
        delivery.deliveries += 1
        return delivery

    def put_back(self, delivery: Delivery) -> None:
        self.ready.setdefault(_session(delivery), deque()).appendleft(delivery)


class MemoryBus:
    """Implements `Bus`.

    Args:
        clock: whose time decides what is due.
        max_deliveries: a message given back this often becomes a dead letter.
        duplicate_window: a message id that was sent this long ago or less is dropped.
        weather: faults of the operations ``send`` and ``take_dead_letters``. A lost response means
            that the messages are there and the sender is told otherwise.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_deliveries: int = 10,
        duplicate_window: timedelta = timedelta(minutes=10),
        weather: Weather | None = None,
    ) -> None:
        self.weather = weather or Weather()
        self.sent: Counter[str] = Counter()  # messages taken, by queue; duplicates left out
        self._clock = clock
        self._max_deliveries = max_deliveries
        self._window = duplicate_window
        self._queues: dict[str, _Queue] = {}
        self._numbers = itertools.count(1)

    # --- Bus --------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message]) -> None:
        """See `Bus.send`."""
        fault = self.weather.take("send") if messages else None
        if fault is None or fault is Fault.LOST_RESPONSE:
            for message in messages:
                self._enqueue(message)
        if fault is not None:
            raise QueueUnavailableError(f"Queue {messages[0].queue!r} took no message: {fault}.")

    async def take_dead_letters(self, queue: str, *, limit: int) -> Sequence[DeadLetter]:
        """See `Bus.take_dead_letters`."""
        if self.weather.take("take_dead_letters"):
            raise QueueUnavailableError(f"The dead letters of {queue!r} cannot be read.")
        dead = self._of(queue).dead
        taken = [dead.popleft() for _ in range(min(limit, len(dead)))]
        for letter in taken:
            self._enqueue(_copy(letter))
        return taken

    # --- The other end ----------------------------------------------------------------------------

    def receive(self, queue: str) -> Delivery | None:
        """Return the next message of a session that nobody holds, None where there is none.

        The session is held until `complete` or `abandon`.
        """
        found = self._of(queue)
        found.fall_due(self._clock.now())
        return found.take()

    def complete(self, delivery: Delivery) -> None:
        """The message was handled; its session is free."""
        self._of(delivery.message.queue).held.discard(_session(delivery))

    def abandon(self, delivery: Delivery, *, description: str = "") -> None:
        """Give the message back; it comes again at once, or is dead after too many deliveries."""
        queue = self._of(delivery.message.queue)
        queue.held.discard(_session(delivery))
        if delivery.deliveries < self._max_deliveries:
            queue.put_back(delivery)
            return
        message = delivery.message
        queue.dead.append(
            DeadLetter(
                queue=message.queue,
                session=message.session,
                body=message.body,
                reason="MaxDeliveryCountExceeded",
                description=description
                or f"Message could not be consumed after {delivery.deliveries} delivery attempts.",
                deliveries=delivery.deliveries,
                id=message.id,
            )
        )

    def next_due(self) -> datetime | None:
        """Return when the next message can be received: now, later, or never (None)."""
        now = self._clock.now()
        times: list[datetime] = []
        for queue in self._queues.values():
            queue.fall_due(now)
            if any(name not in queue.held for name in queue.ready):
                return now
            times += [queue.scheduled[0][0]] if queue.scheduled else []
        return min(times, default=None)

    def waiting(self, queue: str) -> Sequence[Message]:
        """Return what can be received or is scheduled, for a look; nothing is taken."""
        found = self._of(queue)
        ready = [d.message for waiting in found.ready.values() for d in waiting]
        return [*ready, *(delivery.message for _, _, delivery in sorted(found.scheduled))]

    def _of(self, queue: str) -> _Queue:
        return self._queues.setdefault(queue, _Queue())

    def _enqueue(self, message: Message) -> None:
        queue, now = self._of(message.queue), self._clock.now()
        if self._is_duplicate(queue, message, now):
            return
        self.sent[message.queue] += 1
        delivery = Delivery(message=message, deliveries=0, number=next(self._numbers))
        if message.at is not None and message.at > now:
            heapq.heappush(queue.scheduled, (message.at, delivery.number, delivery))
        else:
            queue.activate(delivery)

    def _is_duplicate(self, queue: _Queue, message: Message, now: datetime) -> bool:
        while queue.seen and next(iter(queue.seen.values())) + self._window < now:
            queue.seen.popitem(last=False)
        if message.id is None:
            return False
        if message.id in queue.seen:
            return True
        queue.seen[message.id] = now
        return False


def _session(delivery: Delivery) -> str:
    """A message without a session is alone with itself."""
    session = delivery.message.session
    return session if session is not None else f"/{delivery.number}"


def _copy(letter: DeadLetter) -> Message:
    properties = {
        "queue": letter.queue,
        "session": letter.session or "",
        "message_id": letter.id or "",
        "reason": letter.reason,
        "description": letter.description,
    }
    return Message(queue=REJECTED, session=None, body=letter.body, properties=properties)
