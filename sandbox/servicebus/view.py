"""A look at a queue, for tests and the demo: values, taken at one moment."""

from dataclasses import dataclass, replace

from sandbox.servicebus.codec import as_text
from sandbox.servicebus.entity import Counters, Queue
from sandbox.servicebus.message import MessageState, StoredMessage
from sandbox.servicebus.sessions import SessionQueue


@dataclass(frozen=True, slots=True)
class MessageView:
    """One message. Times are Unix seconds; *scheduled_for* is 0 for "at once"."""

    body: bytes
    session_id: str | None
    message_id: str | None
    sequence_number: int
    delivery_count: int
    locked: bool
    enqueued_at: float
    scheduled_for: float
    properties: dict[str, object]  # application properties; a dead letter's reason is here


@dataclass(frozen=True, slots=True)
class QueueView:
    """What is in a queue. *active* counts locked messages in, as Azure's metric does."""

    name: str
    active: tuple[MessageView, ...]
    scheduled: tuple[MessageView, ...]
    deferred: tuple[MessageView, ...]
    dead_letter: tuple[MessageView, ...]
    sessions_held: tuple[str, ...]
    session_states: dict[str, bytes]
    counters: Counters


def view_of(queue: Queue) -> QueueView:
    sessions = queue.sessions.values() if isinstance(queue, SessionQueue) else ()
    dead = queue.dead_letter
    return QueueView(
        name=queue.spec.name,
        active=_messages(queue, MessageState.ACTIVE),
        scheduled=_messages(queue, MessageState.SCHEDULED),
        deferred=_messages(queue, MessageState.DEFERRED),
        dead_letter=_messages(dead, MessageState.ACTIVE) if dead else (),
        sessions_held=tuple(session.id for session in sessions if session.holder),
        session_states={s.id: s.state for s in sessions if s.state is not None},
        counters=replace(queue.counters),
    )


def _messages(queue: Queue, state: MessageState) -> tuple[MessageView, ...]:
    ordered = sorted(queue.messages.values(), key=lambda message: message.sequence_number)
    return tuple(_message(message) for message in ordered if message.state is state)


def _message(message: StoredMessage) -> MessageView:
    return MessageView(
        body=message.body(),
        session_id=message.session_id,
        message_id=as_text(message.message_id),
        sequence_number=message.sequence_number,
        delivery_count=message.delivery_count,
        locked=message.lock is not None,
        enqueued_at=message.enqueued_ms / 1000,
        scheduled_for=message.scheduled_ms / 1000,
        properties=message.properties(),
    )
