"""Sessions, through the real client: one holder at a time, in order, with state."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from sandbox.servicebus import Broker, QueueSpec
from sandbox.servicebus.entity import Queue
from sandbox.servicebus.faults import QueueFaults
from sandbox.servicebus.message import StoredMessage
from sandbox.servicebus.sessions import SessionQueue
from sandbox.servicebus.timers import Timers

pytestmark = pytest.mark.asyncio(loop_scope="module")

_QUEUES = [
    QueueSpec(name="rollouts", requires_session=True, lock_seconds=30, max_delivery_count=3),
    QueueSpec(name="hasty", requires_session=True, lock_seconds=1),
    QueueSpec(name="listed", requires_session=True),
    QueueSpec(name="plain"),
]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def broker() -> AsyncIterator[Broker]:
    broker = Broker(_QUEUES, tls=None)
    await broker.start()
    yield broker
    await broker.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(broker: Broker) -> AsyncIterator[ServiceBusClient]:
    made = ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)
    async with made as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sender(client: ServiceBusClient) -> AsyncIterator[ServiceBusSender]:
    async with client.get_queue_sender("rollouts") as sender:
        yield sender


Hold = Callable[..., ServiceBusReceiver]


@pytest.fixture
def hold(client: ServiceBusClient) -> Hold:
    """Return a receiver for a session by id, or for the next one without."""

    def receiver(session_id: str | None = None, queue: str = "rollouts") -> ServiceBusReceiver:
        wanted = session_id or NEXT_AVAILABLE_SESSION
        return client.get_queue_receiver(queue, session_id=wanted, max_wait_time=5)

    return receiver


def message(body: str, session_id: str) -> ServiceBusMessage:
    return ServiceBusMessage(body, session_id=session_id)


async def take_one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    (got,) = await receiver.receive_messages(1, max_wait_time=5)
    return got


async def complete_all(receiver: ServiceBusReceiver, count: int) -> list[tuple[str, int]]:
    """Complete *count* messages one by one; return bodies and delivery counts."""
    done: list[tuple[str, int]] = []
    for _ in range(count):
        got = await take_one(receiver)
        done.append((str(got), got.delivery_count or 0))
        await receiver.complete_message(got)
    return done


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("It never came true.")


async def test_a_session_has_one_holder_an_order_a_lock_and_a_state(
    broker: Broker, sender: ServiceBusSender, hold: Hold
) -> None:
    await sender.send_messages([message(f"A{n}", "A") for n in range(4)] + [message("B0", "B")])
    async with hold("A") as receiver:
        assert broker.queue("rollouts").sessions_held == ("A",)
        with pytest.raises(SessionCannotBeLockedError):
            await hold("A").__aenter__()

        first = await take_one(receiver)
        assert (str(first), first.session_id) == ("A0", "A")
        await receiver.abandon_message(first)
        assert await complete_all(receiver, 4) == [("A0", 1), ("A1", 0), ("A2", 0), ("A3", 0)]

        end = receiver.session.locked_until_utc
        assert end is not None
        await asyncio.sleep(0.01)
        assert await receiver.session.renew_lock() > end
        assert await receiver.session.get_state() is None
        await receiver.session.set_state(b"half done")
        assert await receiver.session.get_state() == b"half done"
    assert broker.queue("rollouts").session_states == {"A": b"half done"}
    async with hold() as receiver:  # A's state remains, but only B has messages
        assert receiver.session.session_id == "B"
        assert await complete_all(receiver, 1) == [("B0", 0)]
    async with hold("A") as receiver:
        assert await receiver.session.get_state() == b"half done"
        await receiver.session.set_state(None)
    assert broker.queue("rollouts").session_states == {}


async def test_wrong_kinds_of_receivers_and_messages_are_refused(
    client: ServiceBusClient, sender: ServiceBusSender
) -> None:
    with pytest.raises(ServiceBusError, match="SessionId was not set"):
        await sender.send_messages(ServiceBusMessage("x"))
    with pytest.raises(ServiceBusError, match="non-sessionful"):
        await client.get_queue_receiver("rollouts").__aenter__()
    with pytest.raises(ServiceBusError, match="sessionful"):
        await client.get_queue_receiver("plain", session_id="A").__aenter__()


async def test_waiting_for_a_session_ends_with_a_message_or_a_timeout(
    client: ServiceBusClient, sender: ServiceBusSender, hold: Hold
) -> None:
    async def next_session() -> str:
        async with hold() as receiver:
            assert await complete_all(receiver, 1) == [("late", 0)]
            return str(receiver.session.session_id)

    waiting = asyncio.create_task(next_session())
    await asyncio.sleep(0.7)  # long enough for its attach to arrive
    await sender.send_messages(message("late", "L"))
    assert await waiting == "L"

    impatient = client.get_queue_receiver(
        "rollouts", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=0.5
    )
    with pytest.raises(OperationTimeoutError):
        await impatient.__aenter__()


async def test_a_closed_receiver_hands_its_session_over_at_once_and_uncounted(
    sender: ServiceBusSender, hold: Hold
) -> None:
    await sender.send_messages([message("H0", "H"), message("H1", "H")])
    async with hold("H") as receiver:
        assert str(await take_one(receiver)) == "H0"  # and it leaves without a verdict
    async with hold() as receiver:
        assert receiver.session.session_id == "H"
        assert await complete_all(receiver, 2) == [("H0", 0), ("H1", 0)]


async def test_an_expired_session_goes_to_another_receiver_and_counts(
    broker: Broker, client: ServiceBusClient, hold: Hold
) -> None:
    async with client.get_queue_sender("hasty") as sender, hold("S", "hasty") as slow:
        await sender.send_messages(message("work", "S"))
        got = await take_one(slow)
        await eventually(lambda: not broker.queue("hasty").sessions_held)
        assert broker.queue("hasty").counters.locks_lost == 1
        slow.session._locked_until_utc = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
        with pytest.raises(SessionLockLostError):
            await slow.complete_message(got)
        async with hold("S", "hasty") as other:
            assert await complete_all(other, 1) == [("work", 1)]


class Idle:
    """A receiver that holds a session and does nothing with it."""

    connected, credit, deletes_on_receipt = True, 0, False

    def __init__(self) -> None:
        self.lost = False

    def deliver(self, message: StoredMessage, token: uuid.UUID) -> None:
        raise AssertionError("It has no credit.")

    def session_granted(self, session_id: str, locked_until_ms: int) -> None:
        self.lost = False

    def session_lost(self) -> None:
        self.lost = True

    def session_refused(self, condition: str, description: str) -> None:
        raise AssertionError(description)


async def test_an_idle_receiver_is_told_a_little_after_its_session_went_to_another() -> None:
    timers, spec = Timers(), QueueSpec(name="q", requires_session=True, lock_seconds=0.1)
    queue = SessionQueue(spec, timers, QueueFaults(), Queue(spec, timers, QueueFaults()))
    timers.start(asyncio.get_running_loop())
    first, second = Idle(), Idle()
    queue.accept(first, "S")
    await eventually(lambda: queue.counters.locks_lost == 1)
    queue.accept(second, "S")
    assert not first.lost
    await eventually(lambda: first.lost)
    timers.stop()


async def test_scheduled_messages_wait_and_poison_goes_to_the_dead_letter_queue(
    broker: Broker, client: ServiceBusClient, sender: ServiceBusSender, hold: Hold
) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.5)
    await sender.schedule_messages(message("wake", "W"), soon)
    (waiting,) = broker.queue("rollouts").scheduled
    assert waiting.session_id == "W"
    assert waiting.scheduled_for == pytest.approx(soon.timestamp(), abs=0.001)
    async with hold() as receiver:
        assert receiver.session.session_id == "W"
        for _ in range(3):
            await receiver.abandon_message(await take_one(receiver))
    async with client.get_queue_receiver("rollouts", sub_queue="deadletter") as dead_letters:
        dead = await take_one(dead_letters)
        assert (str(dead), dead.session_id) == ("wake", "W")
        assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
        await dead_letters.complete_message(dead)


async def test_workers_share_sessions_and_each_session_keeps_its_order(
    sender: ServiceBusSender, client: ServiceBusClient
) -> None:
    names = [f"P{number}" for number in range(6)]
    await sender.send_messages([message(f"{turn}", name) for turn in range(5) for name in names])
    seen: dict[str, list[str]] = {}

    async def work() -> None:
        while sum(len(turns) for turns in seen.values()) < 30:
            receiver = client.get_queue_receiver(
                "rollouts", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=1
            )
            try:
                async with receiver:
                    while got := await receiver.receive_messages(1, max_wait_time=0.2):
                        seen.setdefault(got[0].session_id or "", []).append(str(got[0]))
                        await receiver.complete_message(got[0])
            except OperationTimeoutError:
                return

    await asyncio.gather(*(work() for _ in range(3)))
    assert seen == {name: ["0", "1", "2", "3", "4"] for name in names}


async def test_sessions_with_messages_or_a_state_can_be_listed(
    client: ServiceBusClient, hold: Hold
) -> None:
    async with client.get_queue_sender("listed") as sender, hold("three", "listed") as receiver:
        await sender.send_messages([message("1", "one"), message("2", "two")])
        before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
        await receiver.session.set_state(b"x")
    every = [session async for session in client.list_queue_sessions("listed")]
    assert every == ["one", "three", "two"]
    changed = client.list_queue_sessions("listed", state_updated_after=before)
    assert [session async for session in changed] == ["three"]
