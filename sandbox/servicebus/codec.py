"""AMQP 1.0 values as bytes and back (OASIS AMQP 1.0, part 1: types).

Decoding is strict about lengths and depth, because a broker reads bytes from anybody. It
gives plain Python values; encoding needs to be told the width of a number: see `Typed`.
"""

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import cast

_MAX_DEPTH = 32  # nested lists, maps and descriptors
_MAX_ARRAY = 65_536  # elements; an element may occupy no bytes at all, so size is no bound


class DecodeError(ValueError):
    """The bytes are not an AMQP value."""


class Symbol(str):
    """A string from a constrained domain: condition names, annotation keys."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Typed:
    """A number with its wire type, such as ``Typed("uint", 5)``. A bare ``int`` is a long."""

    kind: str
    value: int


@dataclass(frozen=True, slots=True)
class Array:
    """Elements of one wire type: a key of `_NUMBERS`, ``string`` or ``uuid``."""

    kind: str
    values: Sequence[object]


_NUMBERS = {
    "ubyte": (0x50, ">B"),
    "ushort": (0x60, ">H"),
    "uint": (0x70, ">I"),
    "int": (0x71, ">i"),
    "ulong": (0x80, ">Q"),
    "long": (0x81, ">q"),
    "timestamp": (0x83, ">q"),
}

# Constructor -> struct format. Small unsigned and signed forms share the wide forms' meaning.
_FORMATS = {
    0x50: ">B", 0x51: ">b", 0x52: ">B", 0x53: ">B", 0x54: ">b", 0x55: ">b", 0x56: ">?",
    0x60: ">H", 0x61: ">h",
    0x70: ">I", 0x71: ">i", 0x72: ">f", 0x73: ">I",
    0x80: ">Q", 0x81: ">q", 0x82: ">d", 0x83: ">q",
}  # fmt: skip
_CONSTANTS: dict[int, object] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}  # by the constructor's upper half
_ONE_BYTE_SIZE = frozenset({0xA, 0xC, 0xE})
_FOUR_BYTE_SIZE = frozenset({0xB, 0xD, 0xF})


# ---- decoding


def decode(data: bytes, position: int = 0) -> tuple[object, int]:
    """Return the value that starts at *position*, and where it ends."""
    try:
        return _decode(data, position, _MAX_DEPTH)
    except DecodeError:
        raise
    except (IndexError, struct.error, ValueError, TypeError) as error:
        # cut short, not ASCII, or a map with a list for a key
        raise DecodeError(f"Not an AMQP value at byte {position}: {error}") from error


def decode_value(data: bytes, position: int = 0) -> object:
    """Return the value at *position* without its descriptor, if it has one."""
    value, _ = decode(data, position)
    return value.value if isinstance(value, Described) else value


def end_of(data: bytes, position: int) -> int:
    """Return where the value at *position* ends, without decoding it."""
    try:
        return _end_of(data, position, _MAX_DEPTH)
    except (IndexError, struct.error) as error:
        raise DecodeError(f"A value at byte {position} is cut short.") from error


def _end_of(data: bytes, position: int, depth: int) -> int:
    if depth == 0:
        raise DecodeError("Values are nested too deeply.")
    constructor = data[position]
    position += 1
    if constructor == 0:
        return _end_of(data, _end_of(data, position, depth - 1), depth - 1)
    if constructor >> 4 in _WIDTHS:
        return _checked(data, position + _WIDTHS[constructor >> 4])
    start, size = _size(data, position, constructor)
    return _checked(data, start + size)


def _checked(data: bytes, end: int) -> int:
    if end > len(data):
        raise DecodeError(f"A value ends at byte {end}, its buffer at {len(data)}.")
    return end


def _size(data: bytes, position: int, constructor: int) -> tuple[int, int]:
    """Return where the content of a variable-width value starts, and its length."""
    if constructor >> 4 in _ONE_BYTE_SIZE:
        return position + 1, data[position]
    if constructor >> 4 in _FOUR_BYTE_SIZE:
        return position + 4, int(struct.unpack_from(">I", data, position)[0])
    raise DecodeError(f"Unknown constructor 0x{constructor:02x}.")


def _decode(data: bytes, position: int, depth: int) -> tuple[object, int]:
    if depth == 0:
        raise DecodeError("Values are nested too deeply.")
    constructor = data[position]
    if constructor == 0:
        descriptor, position = _decode(data, position + 1, depth - 1)
        value, position = _decode(data, position, depth - 1)
        return Described(descriptor, value), position
    return _decode_content(constructor, data, position + 1, depth)


def _decode_content(constructor: int, data: bytes, position: int, depth: int) -> tuple[object, int]:
    if constructor >> 4 in _WIDTHS:
        return _decode_fixed(constructor, data, position)
    start, size = _size(data, position, constructor)
    end = _checked(data, start + size)
    kind = constructor & 0x0F
    if constructor >> 4 in {0xA, 0xB}:
        return _decode_text(kind, data[start:end]), end
    if constructor >> 4 in {0xE, 0xF}:
        return _decode_array(data[position:end], constructor, depth - 1), end
    items = _decode_items(data[position:end], constructor, depth - 1)
    if kind == 1:
        return dict(zip(items[::2], items[1::2], strict=True)), end
    return items, end


def _decode_fixed(constructor: int, data: bytes, position: int) -> tuple[object, int]:
    end = _checked(data, position + _WIDTHS[constructor >> 4])
    if constructor in _CONSTANTS:
        return _CONSTANTS[constructor], end
    if constructor in _FORMATS:
        return struct.unpack_from(_FORMATS[constructor], data, position)[0], end
    if constructor == 0x45:
        return [], end
    if constructor == 0x98:
        return uuid.UUID(bytes=data[position:end]), end
    if constructor in {0x74, 0x84, 0x94}:
        return data[position:end], end  # decimals: nobody here computes with them
    raise DecodeError(f"Unknown constructor 0x{constructor:02x}.")


def _decode_text(kind: int, content: bytes) -> object:
    if kind == 0:
        return content
    if kind == 1:
        # pyamqp writes binary keys as strings which are no UTF-8: lossless, so that an
        # answer may repeat them.
        return content.decode("utf-8", "surrogateescape")
    if kind == 3:
        return Symbol(content.decode("ascii"))
    raise DecodeError(f"Unknown kind {kind} of text.")


def _count(data: bytes, constructor: int) -> tuple[int, int]:
    """Return the number of elements of a compound, and where the first one starts."""
    if constructor >> 4 in _ONE_BYTE_SIZE:
        return data[1], 2
    return int(struct.unpack_from(">I", data, 4)[0]), 8


def _decode_items(data: bytes, constructor: int, depth: int) -> list[object]:
    count, position = _count(data, constructor)
    if count > len(data):
        raise DecodeError(f"{count} elements cannot be in {len(data)} bytes.")
    items: list[object] = []
    for _ in range(count):
        item, position = _decode(data, position, depth)
        items.append(item)
    return items


def _decode_array(data: bytes, constructor: int, depth: int) -> list[object]:
    count, position = _count(data, constructor)
    if count > _MAX_ARRAY:
        raise DecodeError(f"An array of {count} elements is too long.")
    if data[position] == 0:  # elements share a descriptor, which nobody here needs
        position = _end_of(data, position + 1, depth)
    element = data[position]
    position += 1
    items: list[object] = []
    for _ in range(count):
        item, position = _decode_content(element, data, position, depth)
        items.append(item)
    return items


# ---- encoding


@singledispatch
def encode(value: object) -> bytes:
    """Return *value* as bytes. Widths are the widest ones, except where `Typed` says more."""
    raise TypeError(f"AMQP has no type for {type(value).__name__}.")


@encode.register
def _(value: None) -> bytes:  # noqa: ARG001 - the type is all there is to say
    return b"\x40"


@encode.register
def _(value: bool) -> bytes:  # noqa: FBT001 - singledispatch has one positional parameter
    return b"\x41" if value else b"\x42"


@encode.register
def _(value: int) -> bytes:
    return b"\x81" + struct.pack(">q", value)


@encode.register
def _(value: float) -> bytes:
    return b"\x82" + struct.pack(">d", value)


@encode.register
def _(value: Typed) -> bytes:
    constructor, layout = _NUMBERS[value.kind]
    return bytes([constructor]) + struct.pack(layout, value.value)


@encode.register
def _(value: Symbol) -> bytes:
    return _variable(0xA3, value.encode("ascii"))


@encode.register
def _(value: str) -> bytes:
    return _variable(0xA1, value.encode("utf-8", "surrogateescape"))


@encode.register
def _(value: bytes) -> bytes:
    return _variable(0xA0, value)


@encode.register
def _(value: uuid.UUID) -> bytes:
    return b"\x98" + value.bytes


@encode.register
def _(value: Described) -> bytes:
    descriptor = value.descriptor
    if isinstance(descriptor, int):
        return bytes([0x00, 0x53, descriptor]) + encode(value.value)
    return b"\x00" + encode(descriptor) + encode(value.value)


@encode.register(list)
@encode.register(tuple)
def _(value: Sequence[object]) -> bytes:
    if not value:
        return b"\x45"
    return compound(0xD0, len(value), b"".join(encode(item) for item in value))


@encode.register(dict)
def _(value: Mapping[object, object]) -> bytes:
    body = b"".join(encode(key) + encode(item) for key, item in value.items())
    return compound(0xD1, 2 * len(value), body)


@encode.register
def _(value: Array) -> bytes:
    if value.kind == "string":
        texts = [str(item).encode() for item in value.values]
        body = b"\xb1" + b"".join(struct.pack(">I", len(text)) + text for text in texts)
    elif value.kind == "uuid":
        body = b"\x98" + b"".join(cast("uuid.UUID", item).bytes for item in value.values)
    else:
        constructor, layout = _NUMBERS[value.kind]
        body = bytes([constructor]) + b"".join(struct.pack(layout, item) for item in value.values)
    return compound(0xF0, len(value.values), body)


def compound(constructor: int, count: int, body: bytes) -> bytes:
    """Return a list, map or array from its encoded elements."""
    return bytes([constructor]) + struct.pack(">II", len(body) + 4, count) + body


def _variable(short: int, content: bytes) -> bytes:
    if len(content) < 256:
        return bytes([short, len(content)]) + content
    return bytes([short + 0x10]) + struct.pack(">I", len(content)) + content


# ---- reading decoded values: a peer's field may hold any type


def as_int(value: object, default: int = 0) -> int:
    """Return *value* if it is a whole number, else *default*."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def as_text(value: object) -> str | None:
    """Return a string for a string, symbol or binary; ``None`` for anything else."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else None


def as_list(value: object) -> list[object]:
    """Return a list's or array's elements; nothing for anything else."""
    if isinstance(value, Described):
        value = value.value
    return cast("list[object]", value) if isinstance(value, list) else []


def as_map(value: object) -> dict[str, object]:
    """Return a map with its keys as text; nothing for anything else.

    pyamqp writes some keys as symbols, some as strings and some as binary.
    """
    if isinstance(value, Described):
        value = value.value
    if not isinstance(value, dict):
        return {}
    entries = cast("dict[object, object]", value)
    return {as_text(key) or str(key): item for key, item in entries.items()}
