"""Bad weather on demand, per queue.

Each fault is armed by a call and used up by the events it names; `Faults.clear` disarms.
Arming takes effect at once for what happens next, never for what already happened.
"""

from dataclasses import dataclass, field
from enum import StrEnum


class LostReply(StrEnum):
    """How a lost acknowledgement looks to the client."""

    ERROR = "error"  # an answer with com.microsoft:timeout; the client may try again
    DISCONNECT = "disconnect"  # the connection dies before the answer
    SILENCE = "silence"  # no answer: the client gives up after its own time limit (60 s)


class Refusal(StrEnum):
    """How a refused send looks to the client."""

    BUSY = "busy"  # com.microsoft:server-busy, the service's throttling
    UNREACHABLE = "unreachable"  # the connection dies, again and again


@dataclass(frozen=True, slots=True)
class LostSettlement:
    """A settlement whose acknowledgement is lost, after it was *applied* or before."""

    applied: bool
    reply: LostReply


@dataclass(slots=True)
class QueueFaults:
    """What is armed for one queue. Durations in seconds."""

    settlements: list[LostSettlement] = field(default_factory=list[LostSettlement])
    message_locks: list[float] = field(default_factory=list[float])  # lost after
    session_locks: list[float] = field(default_factory=list[float])  # lost after
    second_deliveries: int = 0
    second_sends: int = 0
    delivery_delay: float = 0.0
    send_refusal: Refusal | None = None
    sends_to_refuse: int | None = 0  # None: until cleared

    def next_settlement(self) -> LostSettlement | None:
        return self.settlements.pop(0) if self.settlements else None

    def next_message_lock(self) -> float | None:
        """Return after how many seconds the lock now taken is to be lost, if so."""
        return self.message_locks.pop(0) if self.message_locks else None

    def next_session_lock(self) -> float | None:
        return self.session_locks.pop(0) if self.session_locks else None

    def next_is_delivered_twice(self) -> bool:
        if self.second_deliveries == 0:
            return False
        self.second_deliveries -= 1
        return True

    def next_is_sent_twice(self) -> bool:
        if self.second_sends == 0:
            return False
        self.second_sends -= 1
        return True

    def next_send_refusal(self) -> Refusal | None:
        """Return how to refuse the send at hand, if so."""
        if self.sends_to_refuse is None:
            return self.send_refusal
        if self.sends_to_refuse == 0:
            return None
        self.sends_to_refuse -= 1
        return self.send_refusal


class Faults:
    """The switchboard: every method arms one fault for the queue named first."""

    def __init__(self) -> None:
        self._by_queue: dict[str, QueueFaults] = {}

    def add(self, queue: str) -> QueueFaults:
        """Return the faults of a new queue, none of them armed."""
        return self._by_queue.setdefault(queue.lower(), QueueFaults())

    def _of(self, queue: str) -> QueueFaults:
        return self._by_queue[queue.lower()]

    def drop_settlements(
        self,
        queue: str,
        count: int = 1,
        *,
        applied: bool,
        reply: LostReply = LostReply.ERROR,
    ) -> None:
        """Lose the acknowledgements of the next *count* settlements.

        A settlement is a complete, abandon, defer or dead-letter, on the receiver's link or
        through the management node (where the SDK repeats one that got no answer, which
        uses up another). *applied* says whether it took effect before its reply was lost.
        """
        self._of(queue).settlements += [LostSettlement(applied, LostReply(reply))] * count

    def lose_message_locks(self, queue: str, count: int = 1, *, after_seconds: float = 0) -> None:
        """Lose the next *count* message locks, *after_seconds* after the delivery.

        The message comes again with its delivery count raised; the old lock token is dead.
        For queues without sessions: in the others the session's lock is what can be lost.
        """
        self._of(queue).message_locks += [after_seconds] * count

    def lose_session_locks(self, queue: str, count: int = 1, *, after_seconds: float = 0) -> None:
        """Lose the locks of the next *count* sessions accepted.

        The time runs from the session's first delivery, so that there is work to lose. The
        receiver is detached and another may take the session.
        """
        self._of(queue).session_locks += [after_seconds] * count

    def deliver_twice(self, queue: str, count: int = 1) -> None:
        """Deliver the next *count* messages again although their first copy was completed."""
        self._of(queue).second_deliveries += count

    def delay_delivery(self, queue: str, seconds: float) -> None:
        """Hold back every message sent from now on for *seconds*; zero ends it."""
        self._of(queue).delivery_delay = seconds

    def refuse_sends(
        self, queue: str, count: int | None = None, *, how: Refusal = Refusal.BUSY
    ) -> None:
        """Refuse the next *count* sends (``None``: until `clear`), scheduling included.

        A batch is one send, and each retry of the SDK another. With
        `Refusal.UNREACHABLE` an attempt to open a sender is refused and counted as well.
        """
        faults = self._of(queue)
        faults.sends_to_refuse, faults.send_refusal = count, Refusal(how)

    def duplicate_sends(self, queue: str, count: int = 1) -> None:
        """Enqueue the next *count* messages twice, as after a sender's needless retry.

        Both copies have the same message id: duplicate detection sees through it.
        """
        self._of(queue).second_sends += count

    def clear(self, queue: str | None = None) -> None:
        """Disarm everything, for one queue or for all."""
        for name, faults in self._by_queue.items():
            if queue is None or name == queue.lower():
                calm = QueueFaults()
                for attribute in QueueFaults.__slots__:
                    setattr(faults, attribute, getattr(calm, attribute))
