"""What every `Bus` keeps, asked of the memory twin and of Service Bus's adapter on the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from azure.servicebus import TransportType
from azure.servicebus.aio import ServiceBusClient

from controller.adapters.azure.service_bus import ServiceBusBus
from controller.adapters.memory.bus import MemoryBus
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.world import Fault
from controller.core.errors import QueueUnavailableError
from controller.ports import Bus, DeadLetter, Message
from sandbox.servicebus import Broker, QueueSpec, Refusal
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")

_LIVES = 3  # deliveries before a message is dead
_QUEUES = [
    QueueSpec(
        name=name,
        requires_session=sessions,
        max_delivery_count=_LIVES,
        duplicate_detection_seconds=600,
    )
    for name, sessions in (("rollouts", True), ("observations", True), ("rejected", False))
]


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def bus(self) -> Bus: ...

    def now(self) -> datetime: ...

    async def waiting(self, queue: str) -> Sequence[tuple[str | None, str]]:
        """Return (session, body) of what can be received now."""
        ...

    async def scheduled(self, queue: str) -> Sequence[datetime]:
        """Return the times of what is not due yet."""
        ...

    async def pass_time(self, by: timedelta) -> None: ...

    async def kill(self, queue: str, session: str) -> None:
        """Receive the first message of *session* and give it back until it is dead."""
        ...

    def refuse(self, queue: str) -> None:
        """Refuse everything that is sent to *queue* until `accept`."""
        ...

    def accept(self) -> None: ...


class MemoryStand:
    """The twin."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bus = MemoryBus(self.clock, max_deliveries=_LIVES)

    def now(self) -> datetime:
        return self.clock.now()

    async def waiting(self, queue: str) -> Sequence[tuple[str | None, str]]:
        due = [m for m in self.bus.waiting(queue) if m.at is None or m.at <= self.clock.now()]
        return [(m.session, m.body.decode()) for m in due]

    async def scheduled(self, queue: str) -> Sequence[datetime]:
        return [m.at for m in self.bus.waiting(queue) if m.at and m.at > self.clock.now()]

    async def pass_time(self, by: timedelta) -> None:
        self.clock.advance(by)

    async def kill(self, queue: str, session: str) -> None:
        for _ in range(_LIVES):
            delivery = self.bus.receive(queue)
            assert delivery is not None
            assert delivery.message.session == session
            self.bus.abandon(delivery)

    def refuse(self, queue: str) -> None:
        del queue
        self.bus.weather.forecast = lambda _: Fault.TRANSIENT

    def accept(self) -> None:
        self.bus.weather.forecast = None


class SandboxStand:
    """The adapter, its SDK, over sockets."""

    def __init__(self, broker: Broker, bus: ServiceBusBus, client: ServiceBusClient) -> None:
        self.broker = broker
        self.bus = bus
        self._client = client

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def waiting(self, queue: str) -> Sequence[tuple[str | None, str]]:
        return [(m.session_id, m.body.decode()) for m in self.broker.queue(queue).active]

    async def scheduled(self, queue: str) -> Sequence[datetime]:
        times = (m.scheduled_for for m in self.broker.queue(queue).scheduled)
        return [datetime.fromtimestamp(at, UTC) for at in times]

    async def pass_time(self, by: timedelta) -> None:
        await asyncio.sleep(by.total_seconds())

    async def kill(self, queue: str, session: str) -> None:
        receiver = self._client.get_queue_receiver(queue, session_id=session)
        async with receiver:
            for _ in range(_LIVES):
                (message,) = await receiver.receive_messages(1, max_wait_time=5)
                await receiver.abandon_message(message)

    def refuse(self, queue: str) -> None:
        self.broker.faults.refuse_sends(queue, how=Refusal.UNREACHABLE)

    def accept(self) -> None:
        self.broker.faults.clear()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(authority: Authority) -> AsyncIterator[SandboxStand]:
    """One broker for the suite: opening links is what takes time."""
    broker = Broker(_QUEUES, tls=authority.server_context())
    await broker.start()
    bus = bus_for(broker, authority.ca_file)
    client = ServiceBusClient(
        broker.namespace,
        credential(),
        custom_endpoint_address=broker.endpoint_address,
        transport_type=TransportType.Amqp,
        connection_verify=str(authority.ca_file),
        retry_total=0,
    )
    try:
        yield SandboxStand(broker, bus, client)
    finally:
        await bus.close()
        await client.close()
        await broker.stop()


def credential() -> Any:
    return Credential("https://servicebus.azure.net")


def bus_for(broker: Broker, ca_file: Path, **options: Any) -> ServiceBusBus:
    return ServiceBusBus(broker.namespace, credential(), ca_file=ca_file, **options)


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest, sandbox: SandboxStand) -> Iterator[Stand]:
    yield MemoryStand() if request.param == "memory" else sandbox
    sandbox.broker.faults.clear()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A session of the test's own."""
    return str(request.node.name).replace("[", "-").rstrip("]")


def message(session: str | None, text: str = "x", queue: str = "rollouts", **more: Any) -> Message:
    return Message(queue=queue, session=session, body=text.encode(), **more)


async def bodies(stand: Stand, session: str, queue: str = "rollouts") -> list[str]:
    return [body for s, body in await stand.waiting(queue) if s == session]


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.02)


# --- Sending --------------------------------------------------------------------------------------


async def test_messages_of_a_session_are_kept_in_order(stand: Stand, name: str) -> None:
    """One call or several, to one queue or two: each session has its messages in their order."""
    await stand.bus.send(
        [
            message(name, "1"),
            message(f"{name}-other", "a"),
            message(name, "2"),
            message(name, "poll", "observations"),
        ]
    )
    await stand.bus.send([message(name, "3")])

    assert await bodies(stand, name) == ["1", "2", "3"]
    assert await bodies(stand, f"{name}-other") == ["a"]
    assert await bodies(stand, name, "observations") == ["poll"]


async def test_the_same_id_twice_is_one_message(stand: Stand, name: str) -> None:
    """Within a queue and its window; another queue knows nothing of it."""
    for text in ("first", "again"):
        await stand.bus.send([message(name, text, id=f"{name}/1")])
    await stand.bus.send([message(name, "elsewhere", "observations", id=f"{name}/1")])

    assert await bodies(stand, name) == ["first"]
    assert await bodies(stand, name, "observations") == ["elsewhere"]


async def test_a_message_for_later_waits_until_then(stand: Stand, name: str) -> None:
    """It is stored at once, and not there before its time."""
    at = stand.now() + timedelta(seconds=0.5)
    await stand.bus.send([message(name, "later", at=at)])

    assert [abs(t - at) < timedelta(milliseconds=2) for t in await stand.scheduled("rollouts")]
    assert await bodies(stand, name) == []
    await stand.pass_time(timedelta(seconds=0.6))

    async def is_there() -> bool:
        return await bodies(stand, name) == ["later"]

    await eventually(is_there)


async def test_a_time_that_has_passed_means_now(stand: Stand, name: str) -> None:
    """A wake-up that is owed since yesterday comes at once."""
    await stand.bus.send([message(name, "owed", at=stand.now() - timedelta(days=1))])

    assert await bodies(stand, name) == ["owed"]


async def test_sending_nothing_does_nothing(stand: Stand) -> None:
    """An empty list is fine."""
    before = await stand.waiting("rollouts")
    await stand.bus.send([])

    assert await stand.waiting("rollouts") == before


async def test_a_queue_that_takes_nothing_is_said_so_and_works_again(
    stand: Stand, name: str
) -> None:
    """The error is ours, and the link mends by itself."""
    await stand.bus.send([message(name, "before")])
    stand.refuse("rollouts")
    with pytest.raises(QueueUnavailableError):
        await stand.bus.send([message(name, "lost")])
    stand.accept()
    await stand.bus.send([message(name, "after")])

    assert await bodies(stand, name) == ["before", "after"]


# --- Dead letters ---------------------------------------------------------------------------------


async def test_dead_letters_are_moved_and_told(stand: Stand, name: str) -> None:
    """With reason, session and id; the copy in 'rejected' says where it came from; once."""
    await stand.bus.send([message(name, "poison", "observations", id=f"{name}/p")])
    await stand.kill("observations", name)

    taken = await stand.bus.take_dead_letters("observations", limit=50)

    letter = next(one for one in taken if one.session == name)
    assert letter == DeadLetter(
        queue="observations",
        session=name,
        body=b"poison",
        reason="MaxDeliveryCountExceeded",
        description=letter.description,
        deliveries=_LIVES,
        id=f"{name}/p",
    )
    assert letter.description
    assert "poison" in [body for _, body in await stand.waiting("rejected")]
    assert await stand.bus.take_dead_letters("observations", limit=50) == []


async def test_no_more_dead_letters_are_taken_than_asked_for(stand: Stand, name: str) -> None:
    """The rest waits for the next time."""
    for number in range(2):
        await stand.bus.send([message(f"{name}-{number}", f"poison {number}")])
        await stand.kill("rollouts", f"{name}-{number}")

    taken = [await stand.bus.take_dead_letters("rollouts", limit=1) for _ in range(2)]

    assert [[letter.body for letter in some] for some in taken] == [[b"poison 0"], [b"poison 1"]]


# --- Service Bus alone ----------------------------------------------------------------------------


async def test_a_message_bears_what_other_tools_look_at(sandbox: SandboxStand, name: str) -> None:
    """Content type, subject, id and application properties arrive as sent."""
    sent = message(
        name, json.dumps({"v": 1}), id=f"{name}/1", subject="tick", properties={"by": "us"}
    )
    await sandbox.bus.send([sent])

    receiver = sandbox._client.get_queue_receiver("rollouts", session_id=name)
    async with receiver:
        (got,) = await receiver.receive_messages(1, max_wait_time=5)
        await receiver.complete_message(got)
    assert (got.content_type, got.subject, got.message_id) == (
        "application/json",
        "tick",
        f"{name}/1",
    )
    assert got.application_properties == {b"by": b"us"}


async def test_many_messages_to_one_session_are_split_into_batches(
    sandbox: SandboxStand, name: str
) -> None:
    """More than a message may hold is still one call."""
    texts = [f"{number:04d}" + "x" * 20_000 for number in range(30)]
    await sandbox.bus.send([message(name, text) for text in texts])

    assert await bodies(sandbox, name) == texts


async def test_callers_at_once_do_not_disturb_each_other(sandbox: SandboxStand, name: str) -> None:
    """The SDK's senders are not coroutine-safe; ours are."""
    await asyncio.gather(*(sandbox.bus.send([message(name, str(number))]) for number in range(40)))

    assert sorted(await bodies(sandbox, name)) == sorted(str(number) for number in range(40))


async def test_a_link_that_died_unnoticed_is_replaced(sandbox: SandboxStand, name: str) -> None:
    """The first send after a cut of the network succeeds."""
    await sandbox.bus.send([message(name, "before")])
    sandbox.broker.drop_connections()
    await sandbox.bus.send([message(name, "after")])

    assert await bodies(sandbox, name) == ["before", "after"]


async def test_a_namespace_that_is_silent_is_given_up_in_time(authority: Authority) -> None:
    """A webhook can still answer: the whole call is bounded, whatever hangs."""
    connections: list[asyncio.StreamWriter] = []

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    bus = ServiceBusBus(
        f"127.0.0.1:{port}",
        credential(),
        ca_file=authority.ca_file,
        total=timedelta(seconds=0.5),
    )
    async with asyncio.timeout(8):  # a webhook's sender waits ten seconds
        for _ in range(2):
            with pytest.raises(QueueUnavailableError):
                await bus.send([message("shop")])

    assert connections
    await bus.close()
    for writer in connections:
        writer.close()
    server.close()


async def test_an_emulators_connection_string_is_enough() -> None:
    """Plain AMQP, no identity: what developers have on their machines."""
    broker = Broker(_QUEUES, tls=None)
    await broker.start()
    bus = ServiceBusBus.from_connection_string(broker.connection_string)
    await bus.send([message("shop", "hello")])

    assert [m.body for m in broker.queue("rollouts").active] == [b"hello"]
    await bus.close()
    await broker.stop()


async def test_a_queue_that_is_missing_is_unavailable(sandbox: SandboxStand) -> None:
    """Nothing else can be told from here; the log and the error name it."""
    with pytest.raises(QueueUnavailableError, match="nowhere"):
        await sandbox.bus.send([message("shop", queue="nowhere")])
    with pytest.raises(QueueUnavailableError, match="nowhere"):
        await sandbox.bus.take_dead_letters("nowhere", limit=1)
