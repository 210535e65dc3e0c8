"""AMQP 1.0 frames: bytes of a connection in, performatives out (part 2: transport)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from sandbox.servicebus.codec import DecodeError, Described, as_int, as_list, decode, encode

MAX_FRAME_BYTES = 65_536  # what Service Bus announces
MIN_FRAME_BYTES = 512  # the least a peer may announce
_AMQP, _SASL = 0, 3


class Performative(IntEnum):
    OPEN = 0x10
    BEGIN = 0x11
    ATTACH = 0x12
    FLOW = 0x13
    TRANSFER = 0x14
    DISPOSITION = 0x15
    DETACH = 0x16
    END = 0x17
    CLOSE = 0x18
    SASL_MECHANISMS = 0x40
    SASL_INIT = 0x41
    SASL_OUTCOME = 0x44


@dataclass(frozen=True, slots=True)
class ProtocolHeader:
    """The eight bytes that open a layer: ``AMQP``, the layer, the version."""

    raw: bytes

    @property
    def starts_sasl(self) -> bool:
        return self.raw[4] == _SASL


@dataclass(frozen=True, slots=True)
class Frame:
    """One performative. *fields* may be shorter than the standard's list: absent is null."""

    channel: int
    performative: int
    fields: list[object]
    payload: bytes

    def get(self, index: int) -> object:
        return self.fields[index] if index < len(self.fields) else None

    def number(self, index: int, default: int = 0) -> int:
        """Return an unsigned field of at most 32 bits, as all of them are."""
        value = self.get(index)
        return default if value is None else as_int(value, default) & 0xFFFF_FFFF


class FrameReader:
    """Cuts a byte stream into headers and frames. Knows nothing of sockets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header_next = True

    def expect_header(self) -> None:
        """A new protocol header follows (after SASL)."""
        self._header_next = True

    def feed(self, data: bytes) -> Iterator[ProtocolHeader | Frame]:
        """Yield what *data* completes. Empty frames (heartbeats) are swallowed.

        Raises:
            DecodeError: the stream is not AMQP; nothing after it can be understood.
        """
        self._buffer += data
        while (part := self._header() if self._header_next else self._frame()) is not None:
            if isinstance(part, ProtocolHeader) or part.fields or part.performative:
                yield part

    def _header(self) -> ProtocolHeader | None:
        if len(self._buffer) < 8:
            return None
        raw = bytes(self._buffer[:8])
        if raw[:4] != b"AMQP" or raw[4] not in {_AMQP, _SASL} or raw[5:] != b"\x01\x00\x00":
            raise DecodeError(f"{raw!r} is not an AMQP 1.0 protocol header.")
        del self._buffer[:8]
        self._header_next = False
        return ProtocolHeader(raw)

    def _frame(self) -> Frame | None:
        if len(self._buffer) < 8:
            return None
        size, offset, _, channel = struct.unpack_from(">IBBH", self._buffer)
        body = offset * 4
        if not 8 <= body <= size <= MAX_FRAME_BYTES:
            raise DecodeError(f"A frame of {size} bytes with its body at {body} is malformed.")
        if len(self._buffer) < size:
            return None
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        if size == body:
            return Frame(channel, 0, [], b"")
        return _parse(channel, raw, body)


def _parse(channel: int, raw: bytes, body: int) -> Frame:
    described, end = decode(raw, body)
    if not isinstance(described, Described) or not isinstance(described.descriptor, int):
        raise DecodeError("A frame does not hold a performative.")
    return Frame(channel, described.descriptor, as_list(described.value), raw[end:])


def encode_frame(
    channel: int, performative: Performative, fields: list[object], payload: bytes = b""
) -> bytes:
    """Return one frame; trailing nulls are left out, as the standard allows."""
    while fields and fields[-1] is None:
        fields = fields[:-1]
    body = encode(Described(int(performative), fields)) + payload
    kind = 1 if performative >= Performative.SASL_MECHANISMS else 0
    return struct.pack(">IBBH", len(body) + 8, 2, kind, channel) + body
