"""AMQP values, sections and frames as bytes. The vendor's own codec is the second opinion."""

import datetime as dt
import random
import uuid

import pytest
from azure.servicebus._pyamqp._decode import decode_payload
from azure.servicebus._pyamqp._encode import encode_payload, encode_value
from azure.servicebus._pyamqp.message import Header, Message, Properties
from hypothesis import given
from hypothesis import strategies as st

from sandbox.servicebus import sections
from sandbox.servicebus.codec import (
    Array,
    DecodeError,
    Described,
    Symbol,
    Typed,
    decode,
    encode,
    end_of,
)
from sandbox.servicebus.frames import (
    Frame,
    FrameReader,
    Performative,
    ProtocolHeader,
    encode_frame,
)
from sandbox.servicebus.message import MessageState, dead_lettered, parse
from sandbox.servicebus.sections import Section

# ---- values

# fmt: off
WIRE = [
    # id            value                           bytes, by the standard
    ("null",        None,                           "40"),
    ("true",        True,                           "41"),
    ("false",       False,                          "42"),
    ("long",        -2,                             "81fffffffffffffffe"),
    ("double",      1.5,                            "823ff8000000000000"),
    ("ubyte",       Typed("ubyte", 7),              "5007"),
    ("ushort",      Typed("ushort", 7),             "600007"),
    ("uint",        Typed("uint", 7),               "7000000007"),
    ("int",         Typed("int", -1),               "71ffffffff"),
    ("ulong",       Typed("ulong", 7),              "800000000000000007"),
    ("timestamp",   Typed("timestamp", 1000),       "8300000000000003e8"),
    ("string",      "hé",                           "a10368c3a9"),
    ("symbol",      Symbol("hi"),                   "a3026869"),
    ("binary",      b"\x00\xff",                    "a00200ff"),
    ("uuid",        uuid.UUID(int=1),               "9800000000000000000000000000000001"),
    ("empty-list",  [],                             "45"),
    ("list",        [True, None],                   "d000000006000000024140"),
    ("map",         {"a": True},                    "d10000000800000002a1016141"),
    ("described",   Described(0x24, []),            "00532445"),
    ("longs",       Array("long", [1]),             "f00000000d00000001810000000000000001"),
]
SHORT_FORMS = [
    ("small-uint",  "5205",                         5),
    ("uint-zero",   "43",                           0),
    ("small-ulong", "5309",                         9),
    ("ulong-zero",  "44",                           0),
    ("small-int",   "54ff",                         -1),
    ("small-long",  "55fe",                         -2),
    ("byte",        "51ff",                         -1),
    ("short",       "61ffff",                       -1),
    ("boolean",     "5601",                         True),
    ("float",       "723fc00000",                   1.5),
    ("char",        "7300000041",                   0x41),
    ("short-list",  "c0020141",                     [True]),
    ("short-map",   "c10502a1016141",               {"a": True}),
    ("short-array", "e00402500102",                 [1, 2]),
]
BROKEN = [
    ("nothing",             ""),
    ("unknown",             "ff"),
    ("unknown-fixed",       "5a00"),
    ("cut-long",            "8100"),
    ("cut-string",          "a10568"),
    ("cut-size",            "b100"),
    ("cut-list",            "d0000000"),
    ("not-ascii",           "a301ff"),
    ("odd-map",             "c1020140"),
    ("list-as-key",         "c10302" + "4540"),
    ("more-than-fits",      "d000000004ffffffff"),
    ("endless-array",       "f000000005ffffffff40"),
    ("descriptor-alone",    "00"),
]
# fmt: on


def ids(cases: list[tuple[object, ...]]) -> list[object]:
    return [pytest.param(*case, id=str(name)) for name, *case in cases]


@pytest.mark.parametrize(("value", "wire"), ids(list(WIRE)))
def test_values_have_the_bytes_of_the_standard(value: object, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert encode(value) == data
    assert end_of(data + b"rest", 0) == len(data)
    plain = value.value if isinstance(value, Typed) else value
    plain = list(plain.values) if isinstance(plain, Array) else plain
    assert decode(data + b"rest") == (plain, len(data))


@pytest.mark.parametrize(("wire", "value"), ids(list(SHORT_FORMS)))
def test_short_forms_are_read(wire: str, value: object) -> None:
    data = bytes.fromhex(wire)
    assert decode(data) == (value, len(data))


@pytest.mark.parametrize("wire", [pytest.param(wire, id=name) for name, wire in BROKEN])
def test_broken_values_raise_one_kind_of_error(wire: str) -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex(wire))


def test_nesting_has_a_limit() -> None:
    for nested in (b"\x00" * 5000, b"\xc0\xff\x01" * 5000):
        with pytest.raises(DecodeError, match=r"nested|cut short|ends at"):
            decode(nested)
        with pytest.raises(DecodeError):
            end_of(b"\x00" * 5000, 0)


@given(st.binary(max_size=200))
def test_noise_is_a_value_or_a_decode_error(noise: bytes) -> None:
    try:
        _, end = decode(noise)
    except DecodeError:
        return
    assert end == end_of(noise, 0) <= len(noise)


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.uuids()
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_VALUES)
def test_what_is_encoded_decodes_to_itself(value: object) -> None:
    data = encode(value)
    assert decode(data) == (value, len(data))
    assert end_of(data, 0) == len(data)


_SIZES = (0, 1, 255, 256, 70_000)
_TEXTS = [(kind, "x" * size) for kind in ("STRING", "SYMBOL") for size in _SIZES]
_NUMBERS = [
    (kind, number)
    for kind, bits in (("UBYTE", 8), ("USHORT", 16), ("UINT", 32), ("ULONG", 64))
    for number in (0, 1, 2 ** (bits - 1), 2**bits - 1)
] + [
    (kind, number)
    for kind, bits in (("BYTE", 8), ("SHORT", 16), ("INT", 32), ("LONG", 64), ("TIMESTAMP", 64))
    for number in (0, -1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
]


@pytest.mark.parametrize(("kind", "value"), [*_TEXTS, *_NUMBERS])
def test_the_vendors_encoding_is_read(kind: str, value: str | int) -> None:
    output = bytearray()
    encode_value(output, {"TYPE": kind, "VALUE": value})
    assert decode(bytes(output)) == (value, len(output))


# ---- messages


def vendor_message(**parts: object) -> bytes:
    output = bytearray()
    encode_payload(output, Message(**parts))
    return bytes(output)


def test_a_stored_message_reads_back_with_the_vendors_decoder() -> None:
    stored = parse(
        vendor_message(
            header=Header(durable=True, ttl=60_000),
            properties=Properties(message_id="m", group_id="app"),
            message_annotations={"x-mine": 1},
            application_properties={b"binary key": "v"},
            data=[b"body"],
        )
    )
    assert (stored.message_id, stored.session_id) == ("m", "app")
    assert (stored.durable, stored.ttl_ms, stored.body()) == (True, 60_000, b"body")
    stored.sequence_number, stored.enqueued_ms, stored.delivery_count = 7, 1_000, 2
    stored.state = MessageState.SCHEDULED

    read = decode_payload(memoryview(stored.encode()))
    assert read.header.delivery_count == 2
    assert read.header.ttl == 60_000
    annotations = read.message_annotations
    assert annotations[b"x-opt-sequence-number"] == 7
    assert annotations[b"x-opt-enqueued-time"] == 1_000
    assert annotations[b"x-opt-message-state"] == 2
    assert read.application_properties == {b"binary key": b"v"}


def test_what_the_sender_wrote_is_handed_back_byte_for_byte() -> None:
    bare = vendor_message(
        properties=Properties(message_id=uuid.UUID(int=5), creation_time=dt_ms(2026)),
        application_properties={b"\xff\x00": 1.5, "k": uuid.UUID(int=1)},
        data=[b"one", b"two"],
        footer={"f": 1},
    )
    stored = parse(bare)
    assert stored.bare == bare
    assert stored.encode().endswith(bare)
    assert stored.body() == b"onetwo"


def dt_ms(year: int) -> int:
    return int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


def test_a_dead_letter_gains_its_reason_and_loses_its_time_to_live() -> None:
    raw = vendor_message(
        header=Header(ttl=5), application_properties={"k": "v"}, data=[b"body"], footer={"f": 1}
    )
    twin = dead_lettered(parse(raw), source="queue", reason="R", description=None)
    assert twin.properties() == {"k": "v", "DeadLetterReason": "R"}
    assert (twin.ttl_ms, twin.body()) == (None, b"body")
    assert [code for code, _ in sections.split(twin.bare)] == [
        Section.APPLICATION_PROPERTIES,
        Section.DATA,
        Section.FOOTER,
    ]
    read = decode_payload(memoryview(twin.encode()))
    assert read.message_annotations[b"x-opt-deadletter-source"] == b"queue"


@pytest.mark.parametrize("raw", [b"\x01", b"\x00\x53\x10\x45", b"\x00\x53\x75\xa0\x05x", b"\x00"])
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        parse(raw)


@given(st.binary(max_size=100))
def test_noise_is_a_message_or_a_decode_error(noise: bytes) -> None:
    for raw in (noise, b"\x00\x53\x72" + noise, b"\x00\x53\x74\xc1" + noise):
        try:
            parse(raw)
        except DecodeError:
            continue


# ---- frames


def test_a_stream_is_cut_the_same_however_it_arrives() -> None:
    frame = encode_frame(3, Performative.FLOW, [Typed("uint", 1), None, True, None], b"tail")
    heartbeat = b"\x00\x00\x00\x08\x02\x00\x00\x00"
    stream = b"AMQP\x00\x01\x00\x00" + frame + heartbeat + frame
    dice = random.Random(1)  # noqa: S311 - the same cuts each time
    for _ in range(50):
        reader = FrameReader()
        parts: list[ProtocolHeader | Frame] = []
        rest = stream
        while rest:
            size = dice.randrange(1, len(rest) + 1)
            parts += reader.feed(rest[:size])
            rest = rest[size:]
        expected = Frame(3, Performative.FLOW, [1, None, True], b"tail")
        assert parts == [ProtocolHeader(b"AMQP\x00\x01\x00\x00"), expected, expected]


_HEADER = b"AMQP\x00\x01\x00\x00"
# fmt: off
NO_STREAMS = [
    ("http",            b"GET / HTTP/1.1\r\n"),
    ("amqp-0-9",        b"AMQP\x00\x00\x09\x01"),
    ("endless-frame",   _HEADER + b"\xff\xff\xff\xff\x02\x00\x00\x00"),
    ("body-in-header",  _HEADER + b"\x00\x00\x00\x08\x01\x00\x00\x00"),
    ("no-performative", _HEADER + b"\x00\x00\x00\x09\x02\x00\x00\x00\x40"),
]
# fmt: on


@pytest.mark.parametrize("stream", [pytest.param(raw, id=name) for name, raw in NO_STREAMS])
def test_a_stream_that_is_not_amqp_is_refused(stream: bytes) -> None:
    with pytest.raises(DecodeError):
        list(FrameReader().feed(stream))
