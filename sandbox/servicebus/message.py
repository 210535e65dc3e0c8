"""A message as the broker stores it."""

import uuid
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from sandbox.servicebus.codec import Typed, as_int, as_text, decode_value
from sandbox.servicebus.sections import (
    Entries,
    Section,
    data_of,
    entries_of,
    entry,
    first,
    header_section,
    map_section,
    split,
    value_of,
)
from sandbox.servicebus.sections import field as field_of

_MAX_TTL_MS = 0xFFFF_FFFF


class MessageState(Enum):
    """The values are ``x-opt-message-state`` on the wire."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


class Receiver(Protocol):
    """Whoever a queue hands messages to."""

    @property
    def connected(self) -> bool: ...
    @property
    def credit(self) -> int:
        """Messages it still wants now."""
        ...

    @property
    def deletes_on_receipt(self) -> bool: ...
    def deliver(self, message: "StoredMessage", token: uuid.UUID) -> None: ...


class SessionReceiver(Receiver, Protocol):
    """A receiver which may hold a session."""

    def session_granted(self, session_id: str, locked_until_ms: int) -> None: ...
    def session_lost(self) -> None: ...
    def session_refused(self, condition: str, description: str) -> None: ...


@dataclass(slots=True)
class Lock:
    """The right to settle one message."""

    token: uuid.UUID
    until_ms: int


@dataclass(slots=True, eq=False, kw_only=True)
class StoredMessage:
    """One message. *bare* is what the sender wrote, properties onwards, untouched."""

    bare: bytes
    delivery_annotations: bytes = b""
    annotations: Entries = field(default_factory=dict[str, tuple[bytes, bytes]])
    durable: bool = False
    priority: int = 4
    ttl_ms: int | None = None
    message_id: object = None
    session_id: str | None = None
    scheduled_ms: int = 0  # not before this Unix time
    sequence_number: int = 0
    first_sequence_number: int = 0  # before activation or dead-lettering gave it another
    enqueued_ms: int = 0
    expires_ms: int | None = None
    delivery_count: int = 0
    state: MessageState = MessageState.ACTIVE
    lock: Lock | None = None
    gone: bool = False
    comes_again: bool = False  # a fault: complete it, and it is delivered once more

    def copy(self) -> "StoredMessage":
        """Return an independent twin without a lock."""
        return replace(self, annotations=dict(self.annotations), lock=None, gone=False)

    def encode(self, *, peeked: bool = False) -> bytes:
        """Return the message as a receiver gets it."""
        annotations = dict(self.annotations)
        stamps: dict[str, object] = {
            "x-opt-enqueued-time": Typed("timestamp", self.enqueued_ms),
            "x-opt-sequence-number": self.sequence_number,
            "x-opt-message-state": Typed("int", self.state.value),
        }
        if self.first_sequence_number:
            stamps["x-opt-enqueue-sequence-number"] = self.first_sequence_number
        if self.lock and not peeked:
            stamps["x-opt-locked-until"] = Typed("timestamp", self.lock.until_ms)
        for key, value in stamps.items():
            annotations[key] = entry(key, value, symbol=True)
        header = header_section(
            durable=self.durable,
            priority=self.priority,
            ttl_ms=self.ttl_ms,
            delivery_count=self.delivery_count,
        )
        described = map_section(Section.ANNOTATIONS, annotations)
        return header + self.delivery_annotations + described + self.bare

    def properties(self) -> dict[str, object]:
        """Return the application properties, decoded."""
        raw = entries_of(first(split(self.bare), Section.APPLICATION_PROPERTIES))
        return {key: decode_value(value) for key, (_, value) in raw.items()}

    def body(self) -> bytes:
        """Return the data sections joined; for a value body its text or binary."""
        sections = split(self.bare)
        data = [data_of(raw) for code, raw in sections if code is Section.DATA]
        if data:
            return b"".join(data)
        value = value_of(first(sections, Section.VALUE))
        return value if isinstance(value, bytes) else (as_text(value) or "").encode()


def parse(raw: bytes) -> StoredMessage:
    """Return what a sender sent. Raises `DecodeError` for bytes that are no message."""
    sections = split(raw)
    for code, part in sections:
        _check(code, part)
    header = value_of(first(sections, Section.HEADER))
    annotations = entries_of(first(sections, Section.ANNOTATIONS))
    properties = value_of(first(sections, Section.PROPERTIES))
    scheduled = annotations.get("x-opt-scheduled-enqueue-time")
    ttl_ms = field_of(header, 2)
    return StoredMessage(
        bare=b"".join(part for code, part in sections if code >= Section.PROPERTIES),
        delivery_annotations=first(sections, Section.DELIVERY_ANNOTATIONS) or b"",
        annotations=annotations,
        durable=bool(field_of(header, 0)),
        priority=as_int(field_of(header, 1), 4) & 0xFF,
        ttl_ms=None if ttl_ms is None else as_int(ttl_ms) & _MAX_TTL_MS,
        message_id=field_of(properties, 0),
        session_id=as_text(field_of(properties, 10)),
        scheduled_ms=as_int(decode_value(scheduled[1])) if scheduled else 0,
    )


def _check(code: Section, raw: bytes) -> None:
    """Decode a section once, so that whoever reads it later need not expect an error."""
    if code is Section.DATA:
        data_of(raw)
    elif code in {Section.ANNOTATIONS, Section.APPLICATION_PROPERTIES}:
        for _, value in entries_of(raw).values():
            decode_value(value)
    else:
        decode_value(raw)


def dead_lettered(
    message: StoredMessage, *, source: str, reason: str | None, description: str | None
) -> StoredMessage:
    """Return the twin of *message* that goes to the dead-letter queue."""
    twin = message.copy()
    sections = split(message.bare)
    properties = entries_of(first(sections, Section.APPLICATION_PROPERTIES))
    told = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
    properties |= {key: entry(key, value) for key, value in told.items() if value}
    before = b"".join(raw for code, raw in sections if code < Section.APPLICATION_PROPERTIES)
    after = b"".join(raw for code, raw in sections if code > Section.APPLICATION_PROPERTIES)
    twin.bare = before + map_section(Section.APPLICATION_PROPERTIES, properties) + after
    key = "x-opt-deadletter-source"
    twin.annotations[key] = entry(key, source, symbol=True)
    twin.ttl_ms = twin.expires_ms = None  # nothing expires in a dead-letter queue
    twin.scheduled_ms = 0
    twin.state = MessageState.ACTIVE
    return twin
