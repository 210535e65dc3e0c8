"""Topics and their subscriptions, through the real client."""

import datetime as dt
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import ServiceBusError

from sandbox.servicebus import Broker, QueueSpec

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def broker() -> AsyncIterator[Broker]:
    broker = Broker([QueueSpec(name="plain")], tls=None)
    broker.add_topic("News")
    broker.add_subscription("News", QueueSpec(name="All"))
    broker.add_subscription("news", QueueSpec(name="ordered", requires_session=True))
    await broker.start()
    yield broker
    await broker.stop()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(broker: Broker) -> AsyncIterator[ServiceBusClient]:
    made = ServiceBusClient.from_connection_string(broker.connection_string, retry_total=0)
    async with made as client:
        yield client


async def take(receiver: ServiceBusReceiver) -> ServiceBusReceivedMessage:
    (message,) = await receiver.receive_messages(1, max_wait_time=5)
    await receiver.complete_message(message)
    return message


async def send(client: ServiceBusClient, message: ServiceBusMessage) -> None:
    async with client.get_topic_sender("news") as sender:
        await sender.send_messages(message)


async def test_each_subscription_gets_a_copy_of_its_own(
    broker: Broker, client: ServiceBusClient
) -> None:
    await send(client, ServiceBusMessage("hello", session_id="s", message_id="m"))
    async with client.get_subscription_receiver("news", "all") as receiver:
        assert str(await take(receiver)) == "hello"
    assert broker.queue("news/subscriptions/all").active == ()
    (other,) = broker.queue("news/subscriptions/ordered").active
    assert (other.body, other.session_id, other.message_id) == (b"hello", "s", "m")
    sessions = [name async for name in client.list_subscription_sessions("news", "ordered")]
    assert sessions == ["s"]
    async with client.get_subscription_receiver("news", "ordered", session_id="s") as receiver:
        assert str(await take(receiver)) == "hello"


async def test_a_message_without_a_session_is_a_dead_letter_where_sessions_are_required(
    broker: Broker, client: ServiceBusClient
) -> None:
    """The sender is told nothing: other subscriptions may take the message."""
    await send(client, ServiceBusMessage("lonely"))
    assert broker.queue("news/subscriptions/ordered").active == ()
    dead = ServiceBusSubQueue.DEAD_LETTER
    async with client.get_subscription_receiver("news", "ordered", sub_queue=dead) as receiver:
        letter = await take(receiver)
    assert (str(letter), letter.dead_letter_reason) == ("lonely", "Session ID is null.")
    async with client.get_subscription_receiver("news", "all") as receiver:
        assert str(await take(receiver)) == "lonely"


async def test_a_scheduled_message_waits_in_the_topic(
    broker: Broker, client: ServiceBusClient
) -> None:
    async with client.get_topic_sender("news") as sender:
        far = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
        cancelled = ServiceBusMessage("cancelled", session_id="s")
        await sender.cancel_scheduled_messages(await sender.schedule_messages(cancelled, far))
        due = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
        kept = ServiceBusMessage("kept", session_id="s")
        numbers = await sender.schedule_messages(kept, due)
    assert [m.body for m in broker.queue("news").scheduled] == [b"kept"]
    assert broker.queue("news/subscriptions/all").scheduled == ()
    async with client.get_subscription_receiver("news", "all") as receiver:
        got = await take(receiver)
    assert (str(got), got.enqueued_sequence_number) == ("kept", numbers[0])
    assert dt.datetime.now(dt.UTC) >= due


async def test_a_topic_itself_cannot_be_received_from(client: ServiceBusClient) -> None:
    with pytest.raises(ServiceBusError, match="received from by its subscriptions"):
        async with client.get_queue_receiver("news"):
            pass


async def test_only_a_topic_can_have_subscriptions(broker: Broker) -> None:
    with pytest.raises(ValueError, match="'plain' is no topic"):
        broker.add_subscription("plain", QueueSpec(name="s"))
