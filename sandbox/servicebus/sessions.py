"""A queue with sessions: one receiver at a time per session id, in order.

The lock belongs to the session, not to its messages: they are locked as long as it is. A
session exists as soon as a message names it or its state is set, and stays while either
is there.
"""

import heapq
import uuid
from dataclasses import dataclass, field

from sandbox.servicebus.entity import Queue, QueueSpec, ReadyHeap, Settlement
from sandbox.servicebus.errors import (
    NOT_ALLOWED,
    SESSION_CANNOT_BE_LOCKED,
    SESSION_LOCK_LOST,
    TIMEOUT,
    RefusedError,
)
from sandbox.servicebus.faults import QueueFaults
from sandbox.servicebus.message import Lock, Receiver, SessionReceiver, StoredMessage
from sandbox.servicebus.timers import Timers, now_ms

# Microsoft's tests wait on a link somewhat longer than its session's lock lasts, and are told
# nothing: the service does not detach the link the moment the lock ends.
_EXPIRY_UNTOLD_MS = 2000
_EVERY_SESSION_MS = 253_402_300_000_000  # "updated since" at the end of time: SDK for "all"


@dataclass(slots=True, eq=False)
class MessageSession:
    """One session id."""

    id: str
    ready: ReadyHeap = field(default_factory=list[int])
    holder: SessionReceiver | None = None
    locked_until_ms: int = 0
    state: bytes | None = None
    updated_ms: int = 0
    lost_after: float | None = None  # a fault: seconds from the first delivery


class SessionQueue(Queue):
    """A queue whose messages all bear a session id."""

    def __init__(
        self, spec: QueueSpec, timers: Timers, faults: QueueFaults, dead_letter: Queue
    ) -> None:
        super().__init__(spec, timers, faults, dead_letter)
        self.sessions: dict[str, MessageSession] = {}
        self._held: dict[str, MessageSession] = {}
        self._waiting: list[SessionReceiver] = []  # for any session, in order of arrival

    def check(self, message: StoredMessage) -> None:
        if message.session_id is None:
            raise RefusedError(
                NOT_ALLOWED,
                "The SessionId was not set on a message, and it cannot be sent to the entity. "
                "Entities that have session support enabled can only receive messages that "
                "have the SessionId set to a valid value.",
            )

    def session(self, session_id: str) -> MessageSession:
        """Return the session, made on first mention."""
        return self.sessions.setdefault(session_id, MessageSession(session_id, updated_ms=now_ms()))

    def _heap_of(self, message: StoredMessage) -> ReadyHeap:
        return self.session(message.session_id or "").ready

    # ---- who holds which session

    def accept(self, receiver: SessionReceiver, session_id: str) -> None:
        """Give *receiver* a session by name, or refuse because another holds it."""
        session = self.session(session_id)
        if session.holder is not None:
            raise RefusedError(
                SESSION_CANNOT_BE_LOCKED,
                f"The requested session '{session_id}' cannot be accepted. It may be locked "
                "by another receiver.",
            )
        self._grant(session, receiver)

    def accept_next(self, receiver: SessionReceiver, wait_ms: int) -> None:
        """Give *receiver* any free session with a message, now or within *wait_ms*."""
        self._waiting.append(receiver)
        self._timers.at(now_ms() + wait_ms, lambda: self._stop_waiting(receiver))
        self.dispatch()

    def _stop_waiting(self, receiver: SessionReceiver) -> None:
        if receiver in self._waiting:
            self._waiting.remove(receiver)
            receiver.session_refused(
                TIMEOUT,
                "The operation did not complete within the allotted timeout: no session is "
                "available.",
            )

    def _grant(self, session: MessageSession, receiver: SessionReceiver) -> None:
        session.holder = receiver
        self._held[session.id] = session
        session.locked_until_ms = now_ms() + self.lock_ms
        session.lost_after = self.faults.next_session_lock()
        self._watch_session(session, receiver)
        receiver.session_granted(session.id, session.locked_until_ms)
        self.wake()

    def _watch_session(self, session: MessageSession, holder: SessionReceiver) -> None:
        def look() -> None:
            if session.holder is not holder:
                return
            if session.locked_until_ms > now_ms():
                self._timers.at(session.locked_until_ms, look)
            else:
                self._lose_session(session, holder, untold_ms=_EXPIRY_UNTOLD_MS)

        self._timers.at(session.locked_until_ms, look)

    def _lose_session(
        self, session: MessageSession, holder: SessionReceiver, *, untold_ms: int = 0
    ) -> None:
        """Take the session away at once, and detach its holder then or a little later."""
        if session.holder is holder:
            self.counters.locks_lost += 1
            self._release(session, failed=True)
            if untold_ms:
                self._timers.at(now_ms() + untold_ms, holder.session_lost)
            else:
                holder.session_lost()

    def _release(self, session: MessageSession, *, failed: bool) -> None:
        session.holder = None
        self._held.pop(session.id, None)
        for message in [m for m in self._locked.values() if m.session_id == session.id]:
            self._unlock(message, failed=failed)
        empty = not any(m.session_id == session.id for m in self.messages.values())
        if empty and session.state is None:
            self.sessions.pop(session.id, None)
        self.wake()

    def remove_receiver(self, receiver: Receiver, *, orderly: bool) -> None:
        self._waiting = [waiting for waiting in self._waiting if waiting is not receiver]
        if orderly:
            for session in [s for s in self._held.values() if s.holder is receiver]:
                self._release(session, failed=False)

    # ---- delivery

    def dispatch(self) -> None:
        while self._waiting and (session := self._next_session()):
            self._grant(session, self._waiting.pop(0))
        for session in list(self._held.values()):
            holder = session.holder
            while holder and holder.connected and holder.credit > 0:
                message = self._next(session.ready)
                if message is None:
                    break
                heapq.heappop(session.ready)
                self._deliver(holder, message)

    def _next_session(self) -> MessageSession | None:
        """Return the free session whose first message is the oldest."""
        free = (session for session in self.sessions.values() if session.holder is None)
        heads = [(head.sequence_number, s) for s in free if (head := self._next(s.ready))]
        return min(heads, key=lambda pair: pair[0])[1] if heads else None

    def _deliver(self, receiver: Receiver, message: StoredMessage) -> None:
        super()._deliver(receiver, message)
        session = self.session(message.session_id or "")
        holder = session.holder
        if holder and session.lost_after is not None:
            due = now_ms() + int(session.lost_after * 1000)
            session.lost_after = None
            self._timers.at(due, lambda: self._lose_session(session, holder))

    def _watch_lock(self, lock: Lock) -> None:
        """The session's lock is the one that ends."""

    # ---- under the session's lock

    def held(self, session_id: str) -> MessageSession:
        """Return a session which a live receiver holds, or refuse: its lock is lost."""
        session = self.sessions.get(session_id)
        if session is None or session.holder is None or not session.holder.connected:
            raise RefusedError(SESSION_LOCK_LOST, "The session lock was lost.")
        return session

    def settle(
        self,
        token: uuid.UUID,
        how: Settlement,
        reason: str | None = None,
        description: str | None = None,
    ) -> None:
        message = self._locked.get(token)
        if message is None:
            raise RefusedError(
                SESSION_LOCK_LOST,
                "The session lock has expired on the session, or the message was settled.",
            )
        self.held(message.session_id or "")
        super().settle(token, how, reason, description)

    def renew_session(self, session_id: str) -> int:
        """Prolong a session's lock; return its new end."""
        session = self.held(session_id)
        session.locked_until_ms = now_ms() + self.lock_ms
        return session.locked_until_ms

    def set_state(self, session_id: str, state: bytes | None) -> None:
        session = self.held(session_id)
        session.state, session.updated_ms = state, now_ms()

    def list_sessions(self, updated_since_ms: int) -> list[str]:
        """Return sessions with messages or a state, or those whose state changed since."""
        stored = [session for session in self.sessions.values() if session.state is not None]
        if updated_since_ms >= _EVERY_SESSION_MS:
            with_messages = {message.session_id or "" for message in self.messages.values()}
            return sorted(with_messages | {session.id for session in stored})
        return sorted(session.id for session in stored if session.updated_ms >= updated_since_ms)
