"""Connections: TLS and tokens, restarts, sudden deaths, and clients that speak rubbish."""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Self

import pytest
import pytest_asyncio
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusMessage, TransportType
from azure.servicebus._pyamqp.error import TokenAuthFailure
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusConnectionError, ServiceBusError

from sandbox import tokens
from sandbox.servicebus import Broker, QueueSpec
from sandbox.servicebus.codec import Described, Symbol, Typed, encode
from sandbox.servicebus.frames import Frame, FrameReader, Performative, encode_frame
from sandbox.tls import Authority, create_authority

_SPECS = [
    QueueSpec(name="plain", lock_seconds=4),
    QueueSpec(name="in-session", requires_session=True, lock_seconds=4),
]
_HEADER = b"AMQP\x00\x01\x00\x00"


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("It never came true.")


@pytest_asyncio.fixture
async def broker() -> AsyncIterator[Broker]:
    broker = Broker(_SPECS, tls=None)
    await broker.start()
    yield broker
    await broker.stop()


def emulator(broker: Broker) -> ServiceBusClient:
    return ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)


# ---- TLS and tokens


class Identity:
    """A credential that gets tokens as a managed identity does: for the scope's resource."""

    def __init__(self, *, resource: str | None = None) -> None:
        self._resource = resource

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        resource = self._resource or scopes[0].removesuffix("/.default")
        return AccessToken(*tokens.mint(resource, "somebody"))

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture
async def secured(authority: Authority) -> AsyncIterator[Broker]:
    broker = Broker(_SPECS, tls=authority.server_context())
    await broker.start()
    yield broker
    await broker.stop()


def secured_client(broker: Broker, authority: Authority, identity: Identity) -> ServiceBusClient:
    """Over TLS the client ignores the namespace's port; an address alone means WebSockets."""
    return ServiceBusClient(
        broker.namespace,
        identity,
        transport_type=TransportType.Amqp,
        custom_endpoint_address=broker.endpoint_address,
        connection_verify=str(authority.ca_file),
        retry_total=0,
    )


async def test_a_token_for_service_bus_opens_a_tls_connection(
    secured: Broker, authority: Authority
) -> None:
    client = secured_client(secured, authority, Identity())
    async with client, client.get_queue_sender("plain") as sender:
        await sender.send_messages(ServiceBusMessage("secret"))
        async with client.get_queue_receiver("plain") as receiver:
            (message,) = await receiver.receive_messages(1, max_wait_time=5)
            await receiver.renew_message_lock(message)
            await receiver.complete_message(message)
    assert str(message) == "secret"
    assert secured.queue("plain").counters.completed == 1


async def test_a_token_for_somebody_else_is_refused(secured: Broker, authority: Authority) -> None:
    stranger = Identity(resource="https://storage.azure.com")
    async with secured_client(secured, authority, stranger) as client:
        with pytest.raises(ServiceBusConnectionError) as raised:
            await client.get_queue_sender("plain").__aenter__()
    # With an endpoint address of its own the SDK calls any refused token a connection error.
    cause = raised.value.inner_exception
    assert isinstance(cause, TokenAuthFailure)
    assert cause.status_code == 401
    assert b"storage.azure.com" in cause.status_description


async def test_without_any_token_no_queue_can_be_attached(
    secured: Broker, authority: Authority
) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", secured.port, ssl=authority.client_context()
    )
    writer.write(handshake() + attach_frame("plain"))
    frames = await read_frames(reader, 4)
    writer.close()
    refused = frames[-1]
    assert refused.performative == Performative.DETACH
    error = refused.get(2)
    assert isinstance(error, Described)
    assert "amqp:unauthorized-access" in str(error.value)


def handshake() -> bytes:
    opening = encode_frame(0, Performative.OPEN, ["test", "127.0.0.1"])
    window = Typed("uint", 100)
    begin = encode_frame(0, Performative.BEGIN, [None, Typed("uint", 0), window, window])
    return _HEADER + opening + begin


def attach_frame(queue: str) -> bytes:
    """A client's attach to receive from *queue*."""
    source, target = Described(0x28, [queue]), Described(0x29, ["here"])
    fields: list[object] = ["link", Typed("uint", 0), True, None, None, source, target]
    return encode_frame(0, Performative.ATTACH, fields)


async def read_frames(stream: asyncio.StreamReader, count: int) -> list[Frame]:
    """Return the next frames, without the protocol header."""
    cutter, frames = FrameReader(), list[Frame]()
    async with asyncio.timeout(10):
        while len(frames) < count:
            data = await stream.read(65_536)
            assert data, "the broker closed the connection"
            frames += [part for part in cutter.feed(data) if isinstance(part, Frame)]
    return frames


# ---- restarts and deaths


async def test_a_restart_on_the_same_port_keeps_messages(broker: Broker) -> None:
    port = broker.port
    async with emulator(broker) as client:
        async with client.get_queue_sender("plain") as sender:
            await sender.send_messages(ServiceBusMessage("kept"))
        for _ in range(2):
            await broker.stop()
            await broker.start()
        assert broker.port == port
        async with client.get_queue_receiver("plain") as receiver:
            (message,) = await receiver.receive_messages(1, max_wait_time=5)
            await receiver.complete_message(message)
    assert str(message) == "kept"


async def test_a_stopped_broker_is_not_reachable(broker: Broker) -> None:
    await broker.stop()
    async with emulator(broker) as client:
        with pytest.raises(ServiceBusError):
            await client.get_queue_sender("plain").__aenter__()


_VICTIM = """
import sys, time
from azure.servicebus import ServiceBusClient
client = ServiceBusClient.from_connection_string(sys.argv[1], retry_total=0)
plain = client.get_queue_receiver("plain").__enter__()
session = client.get_queue_receiver("in-session", session_id="s").__enter__()
for receiver in (plain, session):
    assert receiver.receive_messages(1, max_wait_time=5)
print("holding", flush=True)
time.sleep(60)
"""


async def test_a_killed_receiver_keeps_its_locks_until_they_expire(broker: Broker) -> None:
    async with emulator(broker) as client:
        async with client.get_queue_sender("plain") as sender:
            await sender.send_messages(ServiceBusMessage("p"))
        async with client.get_queue_sender("in-session") as sender:
            await sender.send_messages(ServiceBusMessage("s", session_id="s"))

        victim = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _VICTIM, broker.connection_string, stdout=asyncio.subprocess.PIPE
        )
        assert victim.stdout is not None
        assert await victim.stdout.readline() == b"holding\n"
        victim.send_signal(signal.SIGKILL)
        await victim.wait()

        await eventually(lambda: not broker._connections)
        assert broker.queue("in-session").sessions_held == ("s",)
        await eventually(lambda: not broker.queue("in-session").sessions_held)
        await eventually(lambda: not broker.queue("plain").active[0].locked)
        for queue in ("plain", "in-session"):
            (message,) = broker.queue(queue).active
            assert (message.delivery_count, message.locked) == (1, False)


# ---- rubbish


def rubbish(dice: random.Random) -> bytes:
    """Bytes a broker may be sent, from pure noise to frames with one thing wrong."""
    noise = dice.randbytes(dice.randrange(1, 300))
    frames = bytearray(handshake() + attach_frame("plain"))
    kind = dice.randrange(5)
    if kind == 0:
        return noise
    if kind == 1:
        return _HEADER + noise
    if kind == 2:  # a well-formed frame around noise
        body = b"\x00\x53" + bytes([dice.randrange(0x10, 0x19)]) + noise
        return handshake() + (len(body) + 8).to_bytes(4) + b"\x02\x00\x00\x00" + body
    if kind == 3:  # a few flipped bytes
        for _ in range(dice.randrange(1, 4)):
            frames[dice.randrange(8, len(frames))] = dice.randrange(256)
        return bytes(frames)
    fields = [dice.choice([None, True, -1, 1 << 40, "x", b"x", [], {}]) for _ in range(14)]
    odd = encode_frame(0, Performative(dice.randrange(0x10, 0x19)), list[object](fields))
    return bytes(frames) + odd + noise


async def offend(port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(10):
            await reader.read()
    except ConnectionError:
        pass  # it hung up on us, as it may
    finally:
        writer.close()


async def test_rubbish_ends_its_own_connection_only(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    dice = random.Random(20_261_122)  # noqa: S311 - the same rubbish each time
    async with emulator(broker) as client, client.get_queue_sender("plain") as sender:
        for _ in range(300):
            await offend(broker.port, rubbish(dice))
        await sender.send_messages(ServiceBusMessage("still here"))
        assert [message.body for message in broker.queue("plain").active] == [b"still here"]
    surprises = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert surprises == []  # each was foreseen, none caught by the last resort


async def test_a_deeply_nested_value_and_a_huge_count_are_refused(broker: Broker) -> None:
    deep = b"\x00\x53\x10" + b"\xc0\xff\x01" * 20_000
    many = b"\x00\x53\x10\xf0\x00\x00\x00\x06\xff\xff\xff\xff\x40\x00"
    for body in (deep, many):
        await offend(
            broker.port, _HEADER + (len(body) + 8).to_bytes(4) + b"\x02\x00\x00\x00" + body
        )
    async with emulator(broker) as client, client.get_queue_sender("plain") as sender:
        await sender.send_messages(ServiceBusMessage("still here"))


async def test_a_message_that_is_no_message_is_rejected(broker: Broker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    fields: list[object] = [
        "link",
        Typed("uint", 0),
        False,
        None,
        None,
        Described(0x28, ["here"]),
        Described(0x29, ["plain"]),
    ]
    transfer: list[object] = [Typed("uint", 0), Typed("uint", 7), b"tag", Typed("uint", 0), False]
    writer.write(
        handshake()
        + encode_frame(0, Performative.ATTACH, fields)
        + encode_frame(0, Performative.TRANSFER, transfer, b"no AMQP at all")
    )
    frames = await read_frames(reader, 5)
    writer.close()
    answer = frames[-1]
    assert (answer.performative, answer.number(1)) == (Performative.DISPOSITION, 7)
    assert encode(Symbol("amqp:decode-error")) in encode(answer.get(4))
