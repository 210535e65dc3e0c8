"""Each fault on demand, as the real client sees it."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import (
    MessageLockLostError,
    OperationTimeoutError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusServerBusyError,
    SessionLockLostError,
)

from sandbox.servicebus import Broker, LostReply, QueueSpec, QueueView, Refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

_QUEUES = [
    QueueSpec(name="work"),
    QueueSpec(name="other"),
    QueueSpec(name="in-session", requires_session=True),
    QueueSpec(name="deduplicated", duplicate_detection_seconds=60),
]


@dataclass
class Work:
    """The queue 'work' with an open link pair; each test leaves it empty and calm."""

    broker: Broker
    client: ServiceBusClient
    sender: ServiceBusSender
    receiver: ServiceBusReceiver

    @property
    def view(self) -> QueueView:
        return self.broker.queue("work")

    async def send(self, *bodies: str) -> None:
        await self.sender.send_messages([ServiceBusMessage(body) for body in bodies])

    async def take_one(self) -> ServiceBusReceivedMessage:
        return await take_one(self.receiver)

    async def complete_one(self) -> tuple[str, int]:
        message = await self.take_one()
        await self.receiver.complete_message(message)
        return str(message), message.delivery_count or 0


async def take_one(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    (message,) = await receiver.receive_messages(1, max_wait_time=5)
    return message


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("It never came true.")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def opened() -> AsyncIterator[Work]:
    broker = Broker(_QUEUES, tls=None)
    await broker.start()
    made = ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)
    async with made as client:
        sender, receiver = client.get_queue_sender("work"), client.get_queue_receiver("work")
        async with sender, receiver:
            yield Work(broker, client, sender, receiver)
    await broker.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def work(opened: Work) -> AsyncIterator[Work]:
    yield opened
    opened.broker.faults.clear()
    assert (opened.view.active, opened.view.dead_letter) == ((), ())


@pytest.mark.parametrize("reply", [LostReply.ERROR, LostReply.SILENCE])
async def test_a_settlement_without_its_answer_was_applied_or_not(
    work: Work, reply: LostReply
) -> None:
    """The SDK settles again through the management node, and meets its own lock's end."""
    made = ServiceBusClient.from_connection_string(
        work.broker.connection_string, retry_total=1, retry_backoff_factor=0.01
    )
    async with made as client, client.get_queue_receiver("work") as receiver:
        receiver._config.timeout = 0.5  # seconds it waits for an answer; 60 otherwise
        for applied in (True, False):
            await work.send("once")
            message = await take_one(receiver)
            work.broker.faults.drop_settlements("work", applied=applied, reply=reply)
            if applied:
                with pytest.raises(MessageLockLostError):
                    await receiver.complete_message(message)
            else:
                await receiver.complete_message(message)
            assert work.view.active == ()


async def test_the_error_of_a_lost_answer_is_a_timeout(work: Work) -> None:
    await work.send("once")
    message = await work.take_one()
    work.broker.faults.drop_settlements("work", applied=True)
    with pytest.raises(OperationTimeoutError):
        await work.receiver.complete_message(message)
    assert work.view.active == ()


@pytest.mark.parametrize("applied", [True, False])
async def test_a_settlement_whose_connection_dies_was_applied_or_not(
    work: Work, *, applied: bool
) -> None:
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(work.client.get_queue_sender("in-session"))
        receiver = work.client.get_queue_receiver("in-session", session_id=f"s{applied}")
        await stack.enter_async_context(receiver)
        await sender.send_messages(ServiceBusMessage("once", session_id=f"s{applied}"))
        message = await take_one(receiver)
        work.broker.faults.drop_settlements(
            "in-session", applied=applied, reply=LostReply.DISCONNECT
        )
        with pytest.raises(ServiceBusConnectionError):
            await receiver.complete_message(message)
    view = work.broker.queue("in-session")
    left = [message.body for message in view.active if message.session_id == f"s{applied}"]
    assert left == ([] if applied else [b"once"])
    # nobody said goodbye: the session stays locked until its time is over
    assert f"s{applied}" in view.sessions_held


async def test_a_lost_message_lock_brings_the_message_again(work: Work) -> None:
    work.broker.faults.lose_message_locks("work")
    await work.send("again")
    first = await work.take_one()
    assert await work.complete_one() == ("again", 1)
    with pytest.raises(MessageLockLostError):
        await work.receiver.complete_message(first)


async def test_a_lost_session_lock_hands_the_session_to_another(work: Work) -> None:
    work.broker.faults.lose_session_locks("in-session", after_seconds=0.3)
    client = work.client
    sender = client.get_queue_sender("in-session")
    slow = client.get_queue_receiver("in-session", session_id="lost")
    async with sender, slow:
        await sender.send_messages(ServiceBusMessage("work", session_id="lost"))
        message = await take_one(slow)
        await eventually(lambda: "lost" not in work.broker.queue("in-session").sessions_held)
        with pytest.raises(SessionLockLostError):
            await slow.complete_message(message)
        async with client.get_queue_receiver("in-session", session_id="lost") as other:
            again = await take_one(other)
            assert (str(again), again.delivery_count) == ("work", 1)
            await other.complete_message(again)


async def test_a_completed_message_comes_a_second_time(work: Work) -> None:
    work.broker.faults.deliver_twice("work")
    await work.send("a", "b")
    got = sorted([await work.complete_one() for _ in range(3)])
    assert got == [("a", 0), ("a", 1), ("b", 0)]


async def test_delivery_is_held_back_while_the_delay_is_set(work: Work) -> None:
    work.broker.faults.delay_delivery("work", 0.5)
    await work.send("slow")
    work.broker.faults.delay_delivery("work", 0)
    await work.send("fast")
    assert [await work.complete_one() for _ in range(2)] == [("fast", 0), ("slow", 0)]


async def test_busy_refuses_so_many_sends_and_schedules(work: Work) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    work.broker.faults.refuse_sends("work", 2)
    with pytest.raises(ServiceBusServerBusyError):
        await work.send("x")
    with pytest.raises(ServiceBusServerBusyError):
        await work.sender.schedule_messages(ServiceBusMessage("x"), soon)
    await work.send("at last")
    assert await work.complete_one() == ("at last", 0)


async def test_an_unreachable_queue_refuses_senders_until_cleared(work: Work) -> None:
    work.broker.faults.refuse_sends("other", how=Refusal.UNREACHABLE)
    for _ in range(2):
        with pytest.raises(ServiceBusError):
            await work.client.get_queue_sender("other").__aenter__()
    await work.send("elsewhere all is well")
    await work.complete_one()
    work.broker.faults.clear("other")
    async with work.client.get_queue_sender("other") as sender:
        await sender.send_messages(ServiceBusMessage("x"))
        work.broker.faults.refuse_sends("other", 1, how=Refusal.UNREACHABLE)
        with pytest.raises(ServiceBusError):
            await sender.send_messages(ServiceBusMessage("y"))
    assert [message.body for message in work.broker.queue("other").active] == [b"x"]


async def test_a_doubled_send_is_two_messages_unless_duplicates_are_detected(work: Work) -> None:
    work.broker.faults.duplicate_sends("work")
    work.broker.faults.duplicate_sends("deduplicated")
    await work.send("twice")
    assert [await work.complete_one() for _ in range(2)] == [("twice", 0), ("twice", 0)]
    async with work.client.get_queue_sender("deduplicated") as sender:
        await sender.send_messages(ServiceBusMessage("once", message_id="m"))
    assert len(work.broker.queue("deduplicated").active) == 1


async def test_a_fault_for_an_unknown_queue_is_an_error(work: Work) -> None:
    with pytest.raises(KeyError):
        work.broker.faults.deliver_twice("wrok")
