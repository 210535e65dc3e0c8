"""The ends of links which lead to a queue: one to send to it, one to receive from it."""

import uuid
from collections.abc import Sequence

from sandbox.servicebus.codec import (
    DecodeError,
    Described,
    Symbol,
    as_int,
    as_list,
    as_map,
    as_text,
)
from sandbox.servicebus.entity import Queue, Settlement
from sandbox.servicebus.errors import (
    ARGUMENT_ERROR,
    DECODE_ERROR,
    MESSAGE_TOO_LARGE,
    NOT_ALLOWED,
    SERVER_BUSY,
    SESSION_LOCK_LOST,
    TIMEOUT,
    RefusedError,
)
from sandbox.servicebus.faults import LostReply, Refusal
from sandbox.servicebus.links import (
    ACCEPTED,
    MODIFIED,
    REJECTED,
    Endpoint,
    Link,
    accepted,
    rejected,
    session_filter,
)
from sandbox.servicebus.message import StoredMessage, parse
from sandbox.servicebus.sections import BATCH_FORMAT, Section, data_of, split
from sandbox.servicebus.sessions import SessionQueue

_SESSION_FILTER = "com.microsoft:session-filter"
_DEFAULT_SESSION_WAIT_MS = 65_300
_TICKS_AT_UNIX_EPOCH = 621_355_968_000_000_000  # .NET counts 100 ns from the year 1
_TICKS_PER_MS = 10_000


class DisconnectedError(Exception):
    """A fault has cut the connection: there is nobody to answer."""


def refuse_by_fault(queue: Queue, link: Link) -> None:
    """Fail a send if the weather says so."""
    refusal = queue.faults.next_send_refusal()
    if refusal is Refusal.UNREACHABLE:
        link.session.connection.abort()
        raise DisconnectedError
    if refusal is Refusal.BUSY:
        raise RefusedError(SERVER_BUSY, "The request was terminated because the entity is busy.")


class SenderEndpoint(Endpoint):
    """The client sends messages to a queue."""

    def __init__(self, link: Link, queue: Queue) -> None:
        self._link = link
        self._queue = queue

    def message(self, payload: bytes, message_format: int) -> Described | None:
        try:
            refuse_by_fault(self._queue, self._link)
            self._store(payload, message_format)
        except RefusedError as refusal:
            return rejected(refusal.condition, refusal.description)
        except DecodeError as error:
            return rejected(DECODE_ERROR, str(error))
        except DisconnectedError:
            return None
        return accepted()

    def _store(self, payload: bytes, message_format: int) -> None:
        _check_size(self._queue, payload)  # a batch as a whole, too
        parts = [payload]
        if message_format == BATCH_FORMAT:
            parts = [data_of(raw) for code, raw in split(payload) if code is Section.DATA]
        put_all(self._queue, parts)


def put_all(queue: Queue, parts: Sequence[bytes]) -> list[int]:
    """Store messages, all or none; return their sequence numbers."""
    for part in parts:
        _check_size(queue, part)
    messages = [parse(part) for part in parts]
    for message in messages:
        queue.check(message)
    return [queue.put(message) for message in messages]


def _check_size(queue: Queue, payload: bytes) -> None:
    limit = queue.spec.max_message_bytes
    if len(payload) > limit:
        raise RefusedError(
            MESSAGE_TOO_LARGE,
            f"The received message (size:{len(payload)} bytes) exceeds the limit "
            f"({limit} bytes) currently allowed on the link.",
        )


class ReceiverEndpoint(Endpoint):
    """The client receives from a queue, perhaps holding one of its sessions."""

    def __init__(self, link: Link, queue: Queue) -> None:
        self._link = link
        self._queue = queue

    def attach(self) -> None:
        """Answer the attach now, or when a session is free."""
        queue, link = self._queue, self._link
        wants_session = _SESSION_FILTER in link.filters
        if not isinstance(queue, SessionQueue):
            if wants_session:
                raise RefusedError(
                    NOT_ALLOWED,
                    "A sessionful message receiver cannot be created on an entity that does "
                    "not require sessions.",
                )
            link.accept()
            queue.add_receiver(self)
        elif wants_session:
            self._attach_to_session(queue)
        else:
            raise RefusedError(
                NOT_ALLOWED,
                "It is not possible for an entity that requires sessions to create a "
                "non-sessionful message receiver.",
            )

    def _attach_to_session(self, queue: SessionQueue) -> None:
        wanted = self._link.filters[_SESSION_FILTER]
        if wanted is None:
            wait_ms = as_int(self._link.properties.get("com.microsoft:timeout"))
            queue.accept_next(self, wait_ms or _DEFAULT_SESSION_WAIT_MS)
        elif (session_id := as_text(wanted)) is not None:
            queue.accept(self, session_id)
        else:
            raise RefusedError(ARGUMENT_ERROR, "The session filter must be a string.")

    # ---- as the queue's Receiver

    @property
    def connected(self) -> bool:
        return self._link.open

    @property
    def credit(self) -> int:
        return self._link.credit

    @property
    def deletes_on_receipt(self) -> bool:
        return self._link.sender_settles == 1

    def deliver(self, message: StoredMessage, token: uuid.UUID) -> None:
        # The delivery tag is the lock token in .NET's byte order.
        self._link.transfer(token.bytes_le, message.encode(), settled=self.deletes_on_receipt)

    def session_granted(self, session_id: str, locked_until_ms: int) -> None:
        ticks = _TICKS_AT_UNIX_EPOCH + locked_until_ms * _TICKS_PER_MS
        self._link.accept(
            filters=session_filter(session_id),
            properties={Symbol("com.microsoft:locked-until-utc"): ticks},
        )

    def session_lost(self) -> None:
        if self._link.open:
            what = "The session lock has expired on the session."
            self._link.detach(SESSION_LOCK_LOST, what)

    def session_refused(self, condition: str, description: str) -> None:
        self._link.refuse(condition, description)

    # ---- as the link's Endpoint

    def credit_changed(self) -> None:
        self._queue.dispatch()

    def detached(self, *, orderly: bool) -> None:
        self._queue.remove_receiver(self, orderly=orderly)

    def settled(self, tag: bytes, state: Described | None) -> Described | None:
        if len(tag) != 16:
            return accepted()
        how, reason, description = _settlement(state)
        try:
            settle(self._queue, self._link, uuid.UUID(bytes_le=tag), how, reason, description)
        except RefusedError as refusal:
            return rejected(refusal.condition, refusal.description)
        except DisconnectedError:
            return None
        if how is Settlement.DEAD_LETTER:
            return Described(REJECTED, [])  # with an error it would mean that we refuse
        return state or accepted()


def _settlement(state: Described | None) -> tuple[Settlement, str | None, str | None]:
    """Return what a delivery state asks for, with a dead letter's reason and description."""
    if state is None:
        return Settlement.RELEASE, None, None
    if state.descriptor == ACCEPTED:
        return Settlement.COMPLETE, None, None
    fields = as_list(state)
    if state.descriptor == MODIFIED:
        undeliverable_here = len(fields) > 1 and bool(fields[1])
        return (Settlement.DEFER if undeliverable_here else Settlement.ABANDON), None, None
    if state.descriptor == REJECTED:
        error = [*(as_list(fields[0]) if fields else []), None, None, None]
        told = as_map(error[2])
        description = as_text(told.get("DeadLetterErrorDescription")) or as_text(error[1])
        return Settlement.DEAD_LETTER, as_text(told.get("DeadLetterReason")), description
    return Settlement.RELEASE, None, None


def settle(
    queue: Queue,
    link: Link,
    token: uuid.UUID,
    how: Settlement,
    reason: str | None,
    description: str | None,
) -> None:
    """Settle, and lose the acknowledgement if the weather says so."""
    lost = None if how is Settlement.RELEASE else queue.faults.next_settlement()
    if lost is None or lost.applied:
        queue.settle(token, how, reason, description)
    if lost is None:
        return
    if lost.reply is LostReply.ERROR:
        raise RefusedError(TIMEOUT, "The operation did not complete within the allotted time.")
    if lost.reply is LostReply.DISCONNECT:
        link.session.connection.abort()
    raise DisconnectedError
