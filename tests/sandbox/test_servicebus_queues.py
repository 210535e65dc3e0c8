"""Queues without sessions, through the real client. One open link pair serves many claims."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusClient as SyncClient
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import (
    AutoLockRenewer,
    ServiceBusClient,
    ServiceBusReceiver,
    ServiceBusSender,
)
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageNotFoundError,
    MessageSizeExceededError,
    ServiceBusAuthenticationError,
)

from sandbox.servicebus import Broker, QueueSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")

_QUEUES = [
    QueueSpec(name="Plain", lock_seconds=2, max_delivery_count=3, max_message_bytes=1 << 20),
    QueueSpec(name="renewed", lock_seconds=4),  # the SDK's renewer is too slow for less
    QueueSpec(name="short-lived", default_ttl_seconds=0.3, dead_letter_on_expiry=True),
    QueueSpec(name="forgetful", default_ttl_seconds=0.1),
    QueueSpec(name="deduplicated", duplicate_detection_seconds=20),
    QueueSpec(name="small", max_message_bytes=4096),
]


@dataclass
class Plain:
    """The queue 'plain' with an open sender and receiver; each test leaves it empty."""

    broker: Broker
    client: ServiceBusClient
    sender: ServiceBusSender
    receiver: ServiceBusReceiver

    async def send(self, *messages: ServiceBusMessage | str) -> None:
        await self.sender.send_messages(
            [ServiceBusMessage(m) if isinstance(m, str) else m for m in messages]
        )

    async def take(self, count: int = 1) -> list[ServiceBusReceivedMessage]:
        taken: list[ServiceBusReceivedMessage] = []
        while len(taken) < count:
            more = await self.receiver.receive_messages(count - len(taken), max_wait_time=5)
            assert more, f"only {len(taken)} of {count} messages came"
            taken += more
        return taken

    async def take_one(self) -> ServiceBusReceivedMessage:
        return (await self.take())[0]

    async def complete(self, *messages: ServiceBusReceivedMessage) -> None:
        for message in messages:
            await self.receiver.complete_message(message)

    async def dead_letter(self) -> ServiceBusReceivedMessage:
        dead = ServiceBusSubQueue.DEAD_LETTER
        async with self.client.get_queue_receiver("plain", sub_queue=dead) as receiver:
            (message,) = await receiver.receive_messages(1, max_wait_time=5)
            await receiver.complete_message(message)
            return message


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
async def opened(broker: Broker, client: ServiceBusClient) -> AsyncIterator[Plain]:
    sender, receiver = client.get_queue_sender("plain"), client.get_queue_receiver("plain")
    async with sender, receiver:
        yield Plain(broker, client, sender, receiver)


@pytest_asyncio.fixture(loop_scope="module")
async def plain(opened: Plain) -> AsyncIterator[Plain]:
    yield opened
    left = opened.broker.queue("plain")
    assert (left.active, left.scheduled, left.dead_letter) == ((), (), ())


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def test_a_message_arrives_with_all_its_properties(plain: Plain) -> None:
    properties = {
        "whole": 1,
        "real": 1.5,
        "text": "x",
        "id": uuid.UUID(int=3),
        "when": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "flag": True,
        b"binary": b"\x00\x01",
    }
    sent = ServiceBusMessage(
        b"hello",
        message_id="m1",
        subject="subject",
        correlation_id="c",
        content_type="application/json",
        reply_to="back",
        to="there",
        application_properties=properties,
    )
    await plain.send(sent)
    got = await plain.take_one()
    assert b"".join(got.body) == b"hello"
    assert (got.message_id, got.subject, got.correlation_id) == ("m1", "subject", "c")
    assert (got.content_type, got.reply_to, got.to) == ("application/json", "back", "there")
    assert got.delivery_count == 0
    assert got.application_properties is not None
    assert {k if isinstance(k, str) else k.decode() for k in got.application_properties} == {
        k if isinstance(k, str) else k.decode() for k in properties
    }
    assert got.enqueued_time_utc is not None
    assert abs(got.enqueued_time_utc - now()) < dt.timedelta(seconds=30)
    assert got.locked_until_utc is not None
    assert got.locked_until_utc - got.enqueued_time_utc >= dt.timedelta(seconds=2)
    await plain.complete(got)


async def test_messages_keep_their_order_alone_in_lists_and_in_batches(plain: Plain) -> None:
    batch = await plain.sender.create_message_batch()
    for number in range(40):
        batch.add_message(ServiceBusMessage(f"{number}"))
    await plain.sender.send_messages(batch)
    await plain.send("40", "41")
    await plain.sender.send_messages(ServiceBusMessage("42"))
    got = await plain.take(43)
    assert [str(message) for message in got] == [str(number) for number in range(43)]
    numbers = [message.sequence_number or 0 for message in got]
    assert numbers == sorted(set(numbers))
    await plain.complete(*got)


async def test_a_scheduled_message_comes_on_time_and_a_cancelled_one_never(plain: Plain) -> None:
    cancelled, far = ServiceBusMessage("cancelled"), now() + dt.timedelta(hours=1)
    unwanted = await plain.sender.schedule_messages(cancelled, far)
    assert [m.body for m in plain.broker.queue("plain").scheduled] == [b"cancelled"]
    await plain.sender.cancel_scheduled_messages(unwanted)
    due = now() + dt.timedelta(seconds=0.8)
    numbers = await plain.sender.schedule_messages(ServiceBusMessage("kept"), due)

    later = ServiceBusMessage("by a property")
    later.scheduled_enqueue_time_utc = due + dt.timedelta(seconds=0.2)
    await plain.sender.send_messages(later)
    await plain.send("at once")

    got = await plain.take(3)
    assert [str(message) for message in got] == ["at once", "kept", "by a property"]
    assert now() >= due
    # activation appends: a new number, behind what was sent meanwhile
    assert (got[1].sequence_number or 0) > (got[0].sequence_number or 0)
    assert got[1].enqueued_sequence_number == numbers[0]
    assert plain.broker.queue("plain").scheduled == ()
    await plain.complete(*got)


async def test_cancelling_what_is_not_scheduled_is_not_found(plain: Plain) -> None:
    with pytest.raises(MessageNotFoundError):
        await plain.sender.cancel_scheduled_messages(999_999)


async def test_abandoning_counts_and_the_last_time_dead_letters(plain: Plain) -> None:
    await plain.send(ServiceBusMessage("poison", message_id="p", application_properties={"k": "v"}))
    for expected in range(3):
        got = await plain.take_one()
        assert got.delivery_count == expected
        await plain.receiver.abandon_message(got)
    (seen,) = plain.broker.queue("plain").dead_letter
    assert (seen.body, seen.properties["DeadLetterReason"]) == (
        b"poison",
        "MaxDeliveryCountExceeded",
    )
    dead = await plain.dead_letter()
    assert (str(dead), dead.message_id) == ("poison", "p")
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert dead.dead_letter_source == "Plain"
    assert (dead.application_properties or {})[b"k"] == b"v"


async def test_a_dead_letter_keeps_reason_and_description(plain: Plain) -> None:
    await plain.send("broken")
    got = await plain.take_one()
    await plain.receiver.dead_letter_message(got, reason="R", error_description="D")
    dead = await plain.dead_letter()
    assert (dead.dead_letter_reason, dead.dead_letter_error_description) == ("R", "D")


async def test_a_deferred_message_comes_only_when_called_by_number(plain: Plain) -> None:
    await plain.send("later", "next")
    later, following = await plain.take(2)
    await plain.receiver.defer_message(later)
    await plain.complete(following)
    (waiting,) = plain.broker.queue("plain").deferred
    assert waiting.body == b"later"
    (called,) = await plain.receiver.receive_deferred_messages(later.sequence_number or 0)
    assert str(called) == "later"
    await plain.complete(called)
    assert plain.broker.queue("plain").deferred == ()
    with pytest.raises(MessageNotFoundError):
        await plain.receiver.receive_deferred_messages(later.sequence_number or 0)


async def test_peeking_takes_nothing(plain: Plain) -> None:
    await plain.send("a", "b", "c")
    peeked = await plain.receiver.peek_messages(10)
    assert [str(message) for message in peeked] == ["a", "b", "c"]
    got = await plain.take(3)
    assert [message.delivery_count for message in got] == [0, 0, 0]
    await plain.complete(*got)
    assert await plain.receiver.peek_messages(10) == []


async def test_a_renewed_lock_lasts_and_an_expired_one_is_lost(plain: Plain) -> None:
    await plain.send("renewed", "expired")
    renewed, expired = await plain.take(2)
    await asyncio.sleep(1)  # half of the locks' time
    before = renewed.locked_until_utc
    assert before is not None
    assert await plain.receiver.renew_message_lock(renewed) > before
    again = await plain.take_one()  # waits for the other's lock to expire
    assert (str(again), again.delivery_count) == ("expired", 1)
    # Past its lock the client refuses by its own clock; ask the broker what it thinks.
    expired._expiry = now() + dt.timedelta(seconds=60)
    with pytest.raises(MessageLockLostError):
        await plain.complete(expired)
    await plain.complete(renewed, again)
    assert plain.broker.queue("plain").counters.locks_lost == 1


async def test_the_clients_auto_renewer_prolongs_a_lock(client: ServiceBusClient) -> None:
    renewer = AutoLockRenewer(max_lock_renewal_duration=20)
    receiver = client.get_queue_receiver("renewed", auto_lock_renewer=renewer)
    async with renewer, receiver, client.get_queue_sender("renewed") as sender:
        await sender.send_messages(ServiceBusMessage("long work"))
        (message,) = await receiver.receive_messages(1, max_wait_time=5)
        first_end = message.locked_until_utc
        for _ in range(200):
            if message.locked_until_utc != first_end:
                break
            await asyncio.sleep(0.05)
        assert message.locked_until_utc != first_end
        await receiver.complete_message(message)


async def test_a_message_of_many_frames_arrives_whole(plain: Plain) -> None:
    body = bytes(range(256)) * 3500  # 896,000 bytes in frames of 65,536
    await plain.send(ServiceBusMessage(body))
    got = await plain.take_one()
    assert b"".join(got.body) == body, "the body differs"
    await plain.complete(got)


async def test_receive_and_delete_needs_no_settlement(plain: Plain) -> None:
    await plain.send("1", "2")
    receiver = plain.client.get_queue_receiver("plain", receive_mode="receiveanddelete")
    async with receiver:
        got = await receiver.receive_messages(2, max_wait_time=5)
        while len(got) < 2:
            got += await receiver.receive_messages(1, max_wait_time=5)
    assert [str(message) for message in got] == ["1", "2"]


async def test_a_closing_receiver_gives_back_what_nobody_saw_and_keeps_the_rest_locked(
    plain: Plain,
) -> None:
    """The SDK releases what it prefetched, uncounted; the service does nothing of itself."""
    await plain.send(*(str(number) for number in range(6)))
    async with plain.client.get_queue_receiver("plain", prefetch_count=4) as other:
        (first,) = await other.receive_messages(1, max_wait_time=5)
        assert str(first) == "0"
    got = await plain.take(6)
    assert [(str(m), m.delivery_count) for m in got] == [
        *((str(number), 0) for number in range(1, 6)),
        ("0", 1),  # once its lock had ended
    ]
    await plain.complete(*got)


async def test_a_message_can_be_settled_although_its_link_is_gone(plain: Plain) -> None:
    await plain.send("orphan")
    async with plain.client.get_queue_receiver("plain") as other:
        (orphan,) = await other.receive_messages(1, max_wait_time=5)
        await other._handler._link.detach()
        await other.complete_message(orphan)  # the SDK goes through the management node
    assert plain.broker.queue("plain").active == ()


async def test_the_blocking_client_works_as_well(plain: Plain) -> None:
    def exchange() -> str:
        made = SyncClient.from_connection_string(plain.broker.connection_string, retry_total=0)
        with made as client, client.get_queue_sender("plain") as sender:
            sender.send_messages(ServiceBusMessage("blocking"))
            with client.get_queue_receiver("plain") as receiver:
                (message,) = receiver.receive_messages(1, max_wait_time=5)
                receiver.complete_message(message)
                return str(message)

    # the module's receiver has no credit while it does not receive
    assert await asyncio.to_thread(exchange) == "blocking"


async def test_an_expired_message_is_dead_lettered_or_dropped(
    broker: Broker, client: ServiceBusClient
) -> None:
    async def send_to(queue: str) -> None:
        async with client.get_queue_sender(queue) as sender:
            await sender.send_messages(ServiceBusMessage("t"))

    await asyncio.gather(send_to("short-lived"), send_to("forgetful"))
    async with client.get_queue_receiver("short-lived", sub_queue="deadletter") as receiver:
        (dead,) = await receiver.receive_messages(1, max_wait_time=5)
        await receiver.complete_message(dead)
    assert dead.dead_letter_reason == "TTLExpiredException"
    forgotten = broker.queue("forgetful")
    assert (forgotten.active, forgotten.dead_letter) == ((), ())


async def test_duplicates_are_discarded_scheduled_ones_too(
    broker: Broker, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("deduplicated") as sender:
        for _ in range(3):
            await sender.send_messages(ServiceBusMessage("x", message_id="same"))
        due = now() + dt.timedelta(seconds=30)
        first = await sender.schedule_messages(ServiceBusMessage("y", message_id="later"), due)
        again = await sender.schedule_messages(ServiceBusMessage("y", message_id="later"), due)
        await sender.send_messages(ServiceBusMessage("y", message_id="later"))
    queue = broker.queue("deduplicated")
    assert [message.message_id for message in queue.active] == ["same"]
    assert [message.message_id for message in queue.scheduled] == ["later"]
    assert queue.counters.duplicates_discarded == 4
    assert first != again  # a number each, but nothing bears the second


async def test_what_a_queue_cannot_take_is_refused_whole(
    broker: Broker, client: ServiceBusClient
) -> None:
    async with client.get_queue_sender("small") as sender:
        with pytest.raises(MessageSizeExceededError):
            await sender.send_messages(ServiceBusMessage(b"z" * 200_000))
        await sender.send_messages(ServiceBusMessage(b"fits"))
    assert [message.body for message in broker.queue("small").active] == [b"fits"]


async def test_an_unknown_queue_is_refused_with_its_token(client: ServiceBusClient) -> None:
    """The service looks for the entity when a token is put; the SDK calls that authentication."""
    for opened in (client.get_queue_sender("nowhere"), client.get_queue_receiver("nowhere")):
        with pytest.raises(ServiceBusAuthenticationError) as caught:
            async with opened:
                pass
        assert "404" in str(caught.value.inner_exception)
        assert "could not be found" in str(caught.value.inner_exception)
