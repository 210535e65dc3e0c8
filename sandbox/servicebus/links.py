"""AMQP sessions and links, the server's side (part 2 of the standard, sections 2.5 to 2.7).

A `Link` carries messages one way. What they mean is the business of its `Endpoint`.
Leniencies are those of the service: pyamqp repeats delivery ids when used concurrently, for
instance, and the service does not mind.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.servicebus.codec import (
    Described,
    Symbol,
    Typed,
    as_int,
    as_list,
    as_map,
    as_text,
)
from sandbox.servicebus.errors import amqp_error
from sandbox.servicebus.frames import Frame, Performative

if TYPE_CHECKING:
    from sandbox.servicebus.connection import Connection

ACCEPTED, REJECTED, RELEASED, MODIFIED = 0x24, 0x25, 0x26, 0x27
_SOURCE, _TARGET = 0x28, 0x29
_CREDIT = 1000  # for a client that sends; topped up when a fifth is left
_WINDOW = 5000  # transfers a session may receive before the next flow frame


def accepted() -> Described:
    return Described(ACCEPTED, [])


def rejected(condition: str, description: str) -> Described:
    return Described(REJECTED, [amqp_error(condition, description)])


class Endpoint:
    """What a link leads to. The defaults do nothing."""

    def credit_changed(self) -> None:
        """The client wants more messages."""

    def message(self, payload: bytes, message_format: int) -> Described | None:
        """Take a message; return the delivery state to answer, ``None`` for silence."""
        del payload, message_format
        return accepted()

    def settled(self, tag: bytes, state: Described | None) -> Described | None:
        """Take the client's verdict on a delivery; return the state to confirm with."""
        del tag
        return state

    def detached(self, *, orderly: bool) -> None:
        """The link is gone: *orderly* by detach, or because the connection died."""
        del orderly


class Link:
    """One link, from the attach on. ``to_client`` says which way messages go."""

    def __init__(self, session: "Session", attach: Frame) -> None:
        self.session = session
        self.endpoint = Endpoint()
        self.name = as_text(attach.get(0)) or ""
        self.handle = attach.number(1)
        self.to_client = bool(attach.get(2))
        self.sender_settles = attach.number(3, 2)
        self.receiver_settles = attach.number(4)
        self.source = as_list(attach.get(5))
        self.target = as_list(attach.get(6))
        self.properties = as_map(attach.get(13))
        self.open = False
        self.credit = 0
        self.delivery_count = attach.number(9)
        self.max_message_bytes = 0
        self._granted = 0
        self._incoming: _Incoming | None = None

    @property
    def address(self) -> str:
        """The node this link leads to, as the client spells it."""
        terminus = self.source if self.to_client else self.target
        return (as_text(terminus[0]) or "") if terminus else ""

    @property
    def filters(self) -> dict[str, object]:
        """The source's filter set, with the values' descriptors taken off."""
        filters = as_map(self.source[7]) if len(self.source) > 7 else {}
        return {
            key: value.value if isinstance(value, Described) else value
            for key, value in filters.items()
        }

    # ---- answers to the attach

    def accept(
        self,
        *,
        filters: dict[object, object] | None = None,
        properties: dict[object, object] | None = None,
        max_message_bytes: int = 0,
    ) -> None:
        """Attach; to a client that sends, give credit."""
        self.open = True
        self.max_message_bytes = max_message_bytes
        self._send_attach(
            Described(_SOURCE, _terminus(self.source, filters)),
            Described(_TARGET, _terminus(self.target, None)),
            properties,
        )
        if not self.to_client:
            self._grant()

    def refuse(self, condition: str, description: str) -> None:
        """Attach without the terminus asked for, then detach with the error (2.6.3).

        With a terminus the client would believe in the link and fail only at its next call.
        """
        source = None if self.to_client else Described(_SOURCE, _terminus(self.source, None))
        target = Described(_TARGET, _terminus(self.target, None)) if self.to_client else None
        self._send_attach(source, target, None)
        self.detach(condition, description)

    def _send_attach(
        self,
        source: Described | None,
        target: Described | None,
        properties: dict[object, object] | None,
    ) -> None:
        size = self.max_message_bytes
        fields: list[object] = [
            self.name,
            Typed("uint", self.handle),
            not self.to_client,
            Typed("ubyte", self.sender_settles & 0xFF),
            Typed("ubyte", self.receiver_settles & 0xFF),
            source,
            target,
            None,
            None,
            Typed("uint", 0) if self.to_client else None,
            Typed("ulong", size) if size else None,
            None,
            None,
            properties,
        ]
        if self.to_client:
            self.delivery_count = 0
        self.session.send(Performative.ATTACH, fields)

    def detach(self, condition: str, description: str) -> None:
        """Close the link from our side, for a reason."""
        self.open = False
        error = amqp_error(condition, description)
        self.session.send(Performative.DETACH, [Typed("uint", self.handle), True, error])

    # ---- messages to the client

    def transfer(self, tag: bytes, payload: bytes, *, settled: bool) -> None:
        """Send one message, in as many frames as the client's frame size asks for."""
        self.credit -= 1
        self.delivery_count = _next(self.delivery_count)
        self.session.transfer(self, tag, payload, settled=settled)

    def flow(self, frame: Frame) -> None:
        """The client states its credit, and asks to have it drained perhaps."""
        if not self.to_client:
            if frame.get(9):
                self._grant()
            return
        self.credit = as_int(frame.get(5)) + as_int(frame.get(6)) - self.delivery_count
        self.endpoint.credit_changed()
        if frame.get(8):
            self.delivery_count = _add(self.delivery_count, max(self.credit, 0))
            self.credit = 0
            self.session.flow(self, 0, drain=True)
        elif frame.get(9):
            self.session.flow(self, max(self.credit, 0))

    # ---- messages from the client

    def receive(self, frame: Frame) -> None:
        """Take one transfer frame; hand the message on when it is whole."""
        if self._incoming is None:
            self._incoming = _Incoming(frame)
        incoming = self._incoming
        incoming.extend(frame, self.max_message_bytes)
        if frame.get(5):  # more follows
            return
        self._incoming = None
        self.delivery_count = _next(self.delivery_count)
        self._granted -= 1
        if frame.get(9) or not self.open:  # aborted, or we detached meanwhile
            return
        state = self.endpoint.message(bytes(incoming.payload), incoming.message_format)
        if state is not None and not incoming.settled:
            self.session.dispose(from_sender=False, delivery_id=incoming.delivery_id, state=state)
        if self._granted <= _CREDIT // 5:
            self._grant()

    def _grant(self) -> None:
        self._granted = _CREDIT
        self.session.flow(self, _CREDIT)


class _Incoming:
    """A message whose frames are still arriving."""

    def __init__(self, frame: Frame) -> None:
        self.delivery_id = frame.number(1)
        self.message_format = frame.number(3)
        self.settled = bool(frame.get(4))
        self.payload = bytearray()

    def extend(self, frame: Frame, limit: int) -> None:
        """Add a frame's part. One beyond the limit is enough to know it is too large."""
        if not limit or len(self.payload) <= limit:
            self.payload += frame.payload


class Session:
    """One AMQP session: a channel with its links and its delivery numbers."""

    def __init__(self, connection: "Connection", channel: int, begin: Frame) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, Link] = {}
        self.reply_links: dict[str, list[Link]] = {}  # node -> links that await a partner
        self._next_incoming = begin.number(1)
        self._received = 0
        self._next_outgoing = 1  # pyamqp takes a delivery id of 0 for none
        self._unsettled: dict[int, tuple[Link, bytes]] = {}

    def send(self, performative: Performative, fields: list[object], payload: bytes = b"") -> None:
        self.connection.send(self.channel, performative, fields, payload)

    def begin(self) -> None:
        self.send(
            Performative.BEGIN,
            [
                Typed("ushort", self.channel),
                Typed("uint", self._next_outgoing),
                Typed("uint", _WINDOW),
                Typed("uint", 1 << 30),
                Typed("uint", 1023),
            ],
        )

    def flow(self, link: Link | None = None, credit: int = 0, *, drain: bool = False) -> None:
        """State our windows, and for *link* its credit."""
        fields: list[object] = [
            Typed("uint", self._next_incoming),
            Typed("uint", _WINDOW),
            Typed("uint", self._next_outgoing),
            Typed("uint", 1 << 30),
        ]
        if link is not None:
            fields += [
                Typed("uint", link.handle),
                Typed("uint", link.delivery_count),
                Typed("uint", credit),
                Typed("uint", 0),
                drain,
            ]
        self.send(Performative.FLOW, fields)

    def transfer(self, link: Link, tag: bytes, payload: bytes, *, settled: bool) -> None:
        delivery_id = self._next_outgoing
        self._next_outgoing = _next(delivery_id)
        if not settled:
            self._unsettled[delivery_id] = (link, tag)
        room = self.connection.peer_frame_bytes - 128  # for the performative
        parts = [payload[start : start + room] for start in range(0, len(payload), room)]
        for index, part in enumerate(parts):
            opening: list[object] = [Typed("uint", delivery_id), tag, Typed("uint", 0)]
            numbers = opening if index == 0 else [None, None, None]
            more = index + 1 < len(parts)
            handle = Typed("uint", link.handle)
            self.send(Performative.TRANSFER, [handle, *numbers, settled, more], part)

    def dispose(self, *, from_sender: bool, delivery_id: int, state: Described | None) -> None:
        """Tell the client a delivery's settled state."""
        number = Typed("uint", delivery_id)
        self.send(Performative.DISPOSITION, [not from_sender, number, None, True, state])

    # ---- frames of the client

    def handle(self, frame: Frame, attach: Callable[[Link], None]) -> None:
        """Act on one frame; *attach* finds the endpoint of a new link."""
        if frame.performative == Performative.ATTACH:
            self._attach(frame, attach)
        elif frame.performative == Performative.FLOW:
            self._flow(frame)
        elif frame.performative == Performative.TRANSFER:
            self._transfer(frame)
        elif frame.performative == Performative.DISPOSITION:
            self._disposition(frame)
        elif frame.performative == Performative.DETACH:
            self._detach(frame)

    def _attach(self, frame: Frame, attach: Callable[[Link], None]) -> None:
        link = Link(self, frame)
        if old := self.links.pop(link.handle, None):  # against the standard; do not leak it
            self._drop(old, orderly=False)
        self.links[link.handle] = link
        attach(link)

    def _flow(self, frame: Frame) -> None:
        link = self.links.get(frame.number(4, -1))
        if link is not None:
            link.flow(frame)
        elif frame.get(9):
            self.flow()

    def _transfer(self, frame: Frame) -> None:
        self._next_incoming = _next(self._next_incoming)
        self._received += 1
        if self._received % (_WINDOW // 5) == 0:
            self.flow()
        link = self.links.get(frame.number(0, -1))
        if link is not None and not link.to_client:
            link.receive(frame)

    def _disposition(self, frame: Frame) -> None:
        state, settled = frame.get(4), bool(frame.get(3))
        known = state if isinstance(state, Described) else None
        if not frame.get(0) or (known is None and not settled):
            return
        first, last = frame.number(1), frame.number(2, frame.number(1))
        # The range is the client's word: walk what is there, not what it claims.
        numbers = [first] if first == last else sorted(self._unsettled)
        for number in numbers:
            if first <= number <= last and number in self._unsettled:
                link, tag = self._unsettled.pop(number)
                reply = link.endpoint.settled(tag, known)
                if reply is not None and not settled:
                    self.dispose(from_sender=True, delivery_id=number, state=reply)

    def _detach(self, frame: Frame) -> None:
        link = self.links.pop(frame.number(0, -1), None)
        if link is None:
            return
        was_open = link.open
        self._drop(link, orderly=True)
        if was_open:
            self.send(Performative.DETACH, [Typed("uint", link.handle), True])

    def _drop(self, link: Link, *, orderly: bool) -> None:
        link.open = False
        for number in [n for n, (owner, _) in self._unsettled.items() if owner is link]:
            del self._unsettled[number]  # a late word on them goes unheard
        link.endpoint.detached(orderly=orderly)

    def drop_all(self, *, orderly: bool) -> None:
        """End every link: the session ended, or its connection did."""
        links, self.links = list(self.links.values()), {}
        for link in links:
            self._drop(link, orderly=orderly)


def _terminus(fields: list[object], filters: dict[object, object] | None) -> list[object]:
    """Return a source or target to answer with: the client's address, our filters."""
    address = fields[0] if fields else None
    if filters is None:
        return [address]
    return [address, None, None, None, None, None, None, filters]


def session_filter(session_id: str) -> dict[object, object]:
    return {Symbol("com.microsoft:session-filter"): session_id}


def _next(number: int) -> int:
    return _add(number, 1)


def _add(number: int, more: int) -> int:
    """AMQP's counters are 32 bits wide and start again."""
    return (number + more) & 0xFFFF_FFFF
