"""The sections of an AMQP message, kept as the bytes the sender chose.

The service adds annotations and dead-letter properties but must hand everything else back
unchanged, down to the encoding (a client may use binary keys, for instance), so a message is
cut into sections and its maps into encoded entries, never decoded and encoded again.
"""

import struct
from enum import IntEnum

from sandbox.servicebus.codec import (
    DecodeError,
    Symbol,
    Typed,
    as_list,
    compound,
    decode_value,
    encode,
    end_of,
)

BATCH_FORMAT = 0x80013700  # each data section is a whole message

Entries = dict[str, tuple[bytes, bytes]]  # key as text -> (encoded key, encoded value)


class Section(IntEnum):
    HEADER = 0x70
    DELIVERY_ANNOTATIONS = 0x71
    ANNOTATIONS = 0x72
    PROPERTIES = 0x73
    APPLICATION_PROPERTIES = 0x74
    DATA = 0x75
    SEQUENCE = 0x76
    VALUE = 0x77
    FOOTER = 0x78


def split(message: bytes) -> list[tuple[Section, bytes]]:
    """Return the sections of *message* in order, each with its bytes."""
    sections: list[tuple[Section, bytes]] = []
    position = 0
    while position < len(message):
        code = _section_code(message, position)
        end = end_of(message, position)
        sections.append((code, message[position:end]))
        position = end
    return sections


def _section_code(message: bytes, position: int) -> Section:
    start = message[position : position + 10]
    try:
        if start[:2] == b"\x00\x53":
            return Section(start[2])
        if start[:2] == b"\x00\x80":
            return Section(struct.unpack(">Q", start[2:])[0])
    except (IndexError, ValueError, struct.error) as error:
        raise DecodeError(f"No message section starts at byte {position}.") from error
    raise DecodeError(f"No message section starts at byte {position}.")


def first(sections: list[tuple[Section, bytes]], wanted: Section) -> bytes | None:
    """Return the bytes of the first section of that kind."""
    return next((raw for code, raw in sections if code is wanted), None)


def value_of(section: bytes | None) -> object:
    """Return a section's content decoded; ``None`` if there is no section."""
    return decode_value(section) if section else None


def data_of(section: bytes) -> bytes:
    """Return the payload of a data section."""
    value = decode_value(section)
    if not isinstance(value, bytes):
        raise DecodeError("A data section holds something other than binary.")
    return value


def entries_of(section: bytes | None) -> Entries:
    """Return the entries of a map section without decoding their values."""
    if not section:
        return {}
    start = end_of(section, 1)  # behind the descriptor
    constructor = section[start]
    if constructor not in {0xC1, 0xD1}:
        raise DecodeError("A section of annotations or properties is not a map.")
    wide = constructor == 0xD1
    try:
        count = struct.unpack_from(">I", section, start + 5)[0] if wide else section[start + 2]
    except (struct.error, IndexError) as error:
        raise DecodeError("A map is cut short.") from error
    position = start + (9 if wide else 3)
    entries: Entries = {}
    for _ in range(count // 2):
        middle = end_of(section, position)
        end = end_of(section, middle)
        key = decode_value(section, position)
        text = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
        entries[text] = (section[position:middle], section[middle:end])
        position = end
    return entries


def entry(key: str, value: object, *, symbol: bool = False) -> tuple[bytes, bytes]:
    """Return an encoded entry; annotation keys are symbols, property keys strings."""
    return encode(Symbol(key) if symbol else key), encode(value)


def map_section(code: Section, entries: Entries) -> bytes:
    """Return a map section; nothing if there is nothing to say."""
    if not entries:
        return b""
    body = b"".join(key + value for key, value in entries.values())
    return bytes([0x00, 0x53, code]) + compound(0xD1, 2 * len(entries), body)


def header_section(
    *, durable: bool, priority: int, ttl_ms: int | None, delivery_count: int
) -> bytes:
    """Return a header. The client insists on a delivery count, zero included."""
    fields = [
        durable,
        Typed("ubyte", priority),
        None if ttl_ms is None else Typed("uint", ttl_ms),
        None,
        Typed("uint", delivery_count),
    ]
    return bytes([0x00, 0x53, Section.HEADER]) + encode(fields)


def field(fields: object, index: int) -> object:
    """Return one field of a decoded header or properties list; absent is ``None``."""
    items = as_list(fields)
    return items[index] if index < len(items) else None
