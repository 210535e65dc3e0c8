"""A queue: what is in it, who may settle it, when it moves.

A message is *active* (ready or locked), *scheduled* or *deferred*, until it is gone. A lock
is a random token with an end; everything that ends a lock goes through `_unlock`, which
alone counts deliveries and gives up on poison messages. Nothing here knows AMQP links: a
`Receiver` is handed messages while it has credit.
"""

import heapq
import itertools
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sandbox.servicebus.errors import (
    MESSAGE_LOCK_LOST,
    MESSAGE_NOT_FOUND,
    NOT_ALLOWED,
    RefusedError,
)
from sandbox.servicebus.faults import QueueFaults
from sandbox.servicebus.message import (
    Lock,
    MessageState,
    Receiver,
    StoredMessage,
    dead_lettered,
)
from sandbox.servicebus.timers import Timers, now_ms

ReadyHeap = list[int]  # sequence numbers; those which are no longer ready are skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSpec:
    """What a deployment says of one queue. Durations in seconds; ``None`` is off."""

    name: str
    requires_session: bool = False
    lock_seconds: float = 60
    max_delivery_count: int = 10
    duplicate_detection_seconds: float | None = None
    default_ttl_seconds: float | None = None
    dead_letter_on_expiry: bool = False
    max_message_bytes: int = 262_144


class Settlement(StrEnum):
    """The ways to end a lock. The values are those of ``update-disposition``."""

    COMPLETE = "completed"
    ABANDON = "abandoned"
    DEFER = "defered"  # the wire's spelling
    DEAD_LETTER = "suspended"
    RELEASE = "released"  # handed back unread: not counted as a delivery


@dataclass(slots=True)
class Counters:
    """Events since the broker was made."""

    sends: int = 0  # messages accepted, scheduled ones included
    duplicates_discarded: int = 0
    deliveries: int = 0
    completed: int = 0
    abandoned: int = 0
    deferred: int = 0
    dead_lettered: int = 0  # by a receiver, by expiry or by too many deliveries
    released: int = 0
    locks_lost: int = 0  # expired, or lost by a fault


class Queue:
    """One queue without sessions, or a dead-letter queue (which has none of its own)."""

    def __init__(
        self,
        spec: QueueSpec,
        timers: Timers,
        faults: QueueFaults,
        dead_letter: "Queue | None" = None,
    ) -> None:
        self.spec = spec
        self.dead_letter = dead_letter
        self.faults = faults
        self.counters = Counters()
        self.messages: dict[int, StoredMessage] = {}
        self.lock_ms = int(spec.lock_seconds * 1000)
        self._timers = timers
        self._sequence = itertools.count(1)
        self._locked: dict[uuid.UUID, StoredMessage] = {}
        self._ready: ReadyHeap = []
        self._receivers: deque[Receiver] = deque()
        self._seen_ids: OrderedDict[object, int] = OrderedDict()  # message id -> forgotten at
        self._dispatch_pending = False

    # ---- in

    def put(self, message: StoredMessage) -> int:
        """Store *message* and return its sequence number."""
        self.check(message)
        twin = message.copy() if self.faults.next_is_sent_twice() else None
        number = self._put(message)
        if twin:
            self._put(twin)
        return number

    def check(self, message: StoredMessage) -> None:
        """Refuse what this queue cannot take, before any of a batch is stored."""

    def _put(self, message: StoredMessage) -> int:
        number = next(self._sequence)
        if self._is_duplicate(message):
            self.counters.duplicates_discarded += 1
            return number  # as for any other send, but nothing bears the number
        message.first_sequence_number = message.first_sequence_number or message.sequence_number
        message.sequence_number, message.enqueued_ms = number, now_ms()
        self.messages[number] = message
        self.counters.sends += 1
        if message.scheduled_ms > message.enqueued_ms:
            message.state = MessageState.SCHEDULED
            self._timers.at(message.scheduled_ms, lambda: self._fall_due(message))
        else:
            self._activate(message)
        return number

    def _is_duplicate(self, message: StoredMessage) -> bool:
        window = self.spec.duplicate_detection_seconds
        if window is None or message.message_id is None:
            return False
        now = now_ms()
        while self._seen_ids and next(iter(self._seen_ids.values())) <= now:
            self._seen_ids.popitem(last=False)
        if message.message_id in self._seen_ids:
            return True
        self._seen_ids[message.message_id] = now + int(window * 1000)
        return False

    def _fall_due(self, message: StoredMessage) -> None:
        """Append a scheduled message as if it had been sent now: with a new number."""
        if message.gone:
            return
        del self.messages[message.sequence_number]
        message.first_sequence_number = message.sequence_number
        message.sequence_number = next(self._sequence)
        message.enqueued_ms = now_ms()
        self.messages[message.sequence_number] = message
        self._activate(message)

    def _activate(self, message: StoredMessage) -> None:
        message.state = MessageState.ACTIVE
        default_ms = int((self.spec.default_ttl_seconds or 0) * 1000)
        limits = [limit for limit in (message.ttl_ms, default_ms) if limit]
        if limits:
            message.expires_ms = message.enqueued_ms + min(limits)
            self._timers.at(message.expires_ms, lambda: self._expire(message))
        delay = self.faults.delivery_delay
        if delay:
            due = now_ms() + int(delay * 1000)
            self._timers.at(due, lambda: self._make_ready(message))
        else:
            self._make_ready(message)

    def _make_ready(self, message: StoredMessage) -> None:
        if not message.gone:
            heapq.heappush(self._heap_of(message), message.sequence_number)
            self.wake()

    def _heap_of(self, message: StoredMessage) -> ReadyHeap:  # noqa: ARG002 - sessions have one each
        return self._ready

    def _expire(self, message: StoredMessage) -> None:
        """A locked message outlives its time to live; `_next` looks again afterwards."""
        if message.gone or message.lock or message.state is not MessageState.ACTIVE:
            return
        if self.spec.dead_letter_on_expiry and self.dead_letter:
            what = "The message expired and was dead lettered."
            self._dead_letter(message, "TTLExpiredException", what)
        else:
            self._drop(message)

    # ---- out

    def add_receiver(self, receiver: Receiver) -> None:
        self._receivers.append(receiver)
        self.wake()

    def remove_receiver(self, receiver: Receiver, *, orderly: bool) -> None:  # noqa: ARG002 - sessions ask
        """Forget *receiver*. What it holds stays locked: any link may still settle it in time."""
        if receiver in self._receivers:
            self._receivers.remove(receiver)

    def wake(self) -> None:
        """Look for something to deliver, once the frames at hand are dealt with."""
        if not self._dispatch_pending:
            self._dispatch_pending = True
            self._timers.soon(self._dispatch_now)

    def resume(self) -> None:
        """Start again after the broker stood still."""
        self._dispatch_pending = False
        self.wake()

    def _dispatch_now(self) -> None:
        self._dispatch_pending = False
        self.dispatch()

    def dispatch(self) -> None:
        """Deliver what is ready, in turn to the receivers with credit."""
        while (message := self._next(self._ready)) and (receiver := self._next_receiver()):
            heapq.heappop(self._ready)
            self._deliver(receiver, message)

    def _next_receiver(self) -> Receiver | None:
        for _ in range(len(self._receivers)):
            self._receivers.rotate(-1)
            if self._receivers[-1].connected and self._receivers[-1].credit > 0:
                return self._receivers[-1]
        return None

    def _next(self, ready: ReadyHeap) -> StoredMessage | None:
        """Return the first deliverable message, which stays in the heap; drop stale entries."""
        while ready:
            message = self.messages.get(ready[0])
            if message is None or message.lock or message.state is not MessageState.ACTIVE:
                heapq.heappop(ready)
            elif message.expires_ms and message.expires_ms <= now_ms():
                heapq.heappop(ready)
                self._expire(message)
            else:
                return message
        return None

    def _deliver(self, receiver: Receiver, message: StoredMessage) -> None:
        self.counters.deliveries += 1
        if message.delivery_count == 0:  # twice, not for ever
            message.comes_again = message.comes_again or self.faults.next_is_delivered_twice()
        if receiver.deletes_on_receipt:
            receiver.deliver(message, uuid.uuid4())
            self._finish(message)
        else:
            receiver.deliver(message, self._take_lock(message).token)

    # ---- locks

    def _take_lock(self, message: StoredMessage) -> Lock:
        lock = Lock(uuid.uuid4(), now_ms() + self.lock_ms)
        message.lock = lock
        self._locked[lock.token] = message
        self._watch_lock(lock)
        fault = self.faults.next_message_lock()
        if fault is not None:
            self._timers.at(now_ms() + int(fault * 1000), lambda: self._lose_lock(lock))
        return lock

    def _watch_lock(self, lock: Lock) -> None:
        """Take the lock away when its time is over; look again if it was renewed."""

        def look() -> None:
            if lock.until_ms > now_ms():
                self._timers.at(lock.until_ms, look)
            else:
                self._lose_lock(lock)

        self._timers.at(lock.until_ms, look)

    def _lose_lock(self, lock: Lock) -> None:
        if message := self._locked.get(lock.token):
            self.counters.locks_lost += 1
            self._unlock(message, failed=True)

    def _unlock(self, message: StoredMessage, *, failed: bool) -> None:
        """End a lock without removing the message. A failed delivery counts."""
        if message.lock:
            self._locked.pop(message.lock.token, None)
            message.lock = None
        message.delivery_count += failed
        if message.state is MessageState.DEFERRED:
            return
        if message.delivery_count >= self.spec.max_delivery_count and self.dead_letter:
            limit = self.spec.max_delivery_count
            what = f"Message could not be consumed after {limit} delivery attempts."
            self._dead_letter(message, "MaxDeliveryCountExceeded", what)
        else:
            self._make_ready(message)

    def locked(self, token: uuid.UUID) -> StoredMessage:
        """Return the message locked by *token*, or refuse: the lock is lost."""
        message = self._locked.get(token)
        if message is None:
            raise RefusedError(
                MESSAGE_LOCK_LOST,
                "The lock supplied is invalid. Either the lock expired, or the message has "
                "already been removed from the queue.",
            )
        return message

    def settle(
        self,
        token: uuid.UUID,
        how: Settlement,
        reason: str | None = None,
        description: str | None = None,
    ) -> None:
        """End the lock *token* as its holder wishes."""
        message = self.locked(token)
        if how is Settlement.COMPLETE:
            self.counters.completed += 1
            self._finish(message)
        elif how is Settlement.ABANDON:
            self.counters.abandoned += 1
            self._unlock(message, failed=True)
        elif how is Settlement.RELEASE:
            self.counters.released += 1
            self._unlock(message, failed=False)
        elif how is Settlement.DEFER:
            self.counters.deferred += 1
            message.state = MessageState.DEFERRED
            self._unlock(message, failed=True)
        else:
            self._dead_letter(message, reason, description)

    def renew(self, tokens: Sequence[uuid.UUID]) -> int:
        """Prolong locks by the lock duration from now; return their new end."""
        locks = [lock for token in tokens if (lock := self.locked(token).lock)]
        until_ms = now_ms() + self.lock_ms
        for lock in locks:
            lock.until_ms = until_ms
        return until_ms

    def _finish(self, message: StoredMessage) -> None:
        if message.comes_again:
            message.comes_again = False
            message.state = MessageState.ACTIVE
            self._unlock(message, failed=True)
        else:
            self._drop(message)

    def _drop(self, message: StoredMessage) -> None:
        message.gone = True
        self.messages.pop(message.sequence_number, None)
        if message.lock:
            self._locked.pop(message.lock.token, None)
            message.lock = None

    def _dead_letter(
        self, message: StoredMessage, reason: str | None, description: str | None
    ) -> None:
        if self.dead_letter is None:
            raise RefusedError(NOT_ALLOWED, "A dead-letter queue has no dead-letter queue.")
        self.counters.dead_lettered += 1
        self._drop(message)
        twin = dead_lettered(message, source=self.spec.name, reason=reason, description=description)
        self.dead_letter.put(twin)

    # ---- the management node's questions

    def cancel_scheduled(self, numbers: Iterable[int]) -> None:
        """Remove scheduled messages: all of them, or none."""
        found = [self.messages.get(number) for number in numbers]
        scheduled = [m for m in found if m and m.state is MessageState.SCHEDULED]
        if len(scheduled) < len(found):
            raise RefusedError(MESSAGE_NOT_FOUND, "A scheduled message was not found.")
        for message in scheduled:
            self._drop(message)

    def peek(self, start: int, count: int, session_id: str | None) -> list[StoredMessage]:
        """Return messages in order of their numbers, whatever their state."""
        fitting = (
            message
            for number, message in sorted(self.messages.items())
            if number >= start and session_id in {None, message.session_id}
        )
        return list(itertools.islice(fitting, count))

    def take_deferred(
        self, numbers: Iterable[int], *, delete: bool
    ) -> list[tuple[StoredMessage, uuid.UUID]]:
        """Lock (or remove) deferred messages and return them with their lock tokens."""
        found = [self.messages.get(number) for number in numbers]
        deferred = [m for m in found if m and m.state is MessageState.DEFERRED and m.lock is None]
        if len(deferred) < len(found):
            raise RefusedError(MESSAGE_NOT_FOUND, "A deferred message was not found.")
        self.counters.deliveries += len(deferred)
        if delete:
            for message in deferred:
                self._drop(message)
            return [(message, uuid.UUID(int=0)) for message in deferred]
        return [(message, self._take_lock(message).token) for message in deferred]
