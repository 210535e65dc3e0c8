"""Service Bus: commands, wake-ups, dead letters.

Opening a sender takes half a second, so each queue's is opened once and kept; the SDK's senders
are not coroutine-safe, so a lock stands around each.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.servicebus import (
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusSubQueue,
    TransportType,
)
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.exceptions import MessageSizeExceededError, ServiceBusError

from controller.core.errors import QueueUnavailableError
from controller.ports import DeadLetter, Message

log = logging.getLogger("slipway.bus")

REJECTED: Final = "rejected"
_TOTAL: Final = timedelta(seconds=8)  # a webhook's sender waits ten
_GROUP_SECONDS: Final = 0.05  # more for each further session that one call sends to
_CLOSE_SECONDS: Final = 2.0
_RECEIVE_WAIT: Final = 1.0  # seconds to wait for the first dead letter
_UNREACHABLE: Final = (ServiceBusError, AzureError, OSError, TimeoutError, ValueError)
Group = Sequence[ServiceBusMessage]


class ServiceBusBus:
    """Implements `Bus`.

    Args:
        namespace: ``name.servicebus.windows.net``; with a port, the SDK is told to use that
            address as it stands (it forgets ports otherwise).
        credential: aio token credential with the roles Data Sender and Data Receiver.
        connection: a connection string, as an emulator has it, instead of the two above.
        ca_file: a certificate authority to trust instead of the public ones.
        total: how long one call may take altogether.
    """

    def __init__(
        self,
        namespace: str,
        credential: AsyncTokenCredential | None,
        *,
        connection: str | None = None,
        ca_file: Path | None = None,
        total: timedelta = _TOTAL,
    ) -> None:
        self._make = _client_factory(namespace, credential, connection, ca_file)
        self._client: ServiceBusClient | None = None
        self._total = total.total_seconds()
        self._links: dict[str, _Link] = {}

    @classmethod
    def from_connection_string(
        cls, connection: str, *, ca_file: Path | None = None, total: timedelta = _TOTAL
    ) -> "ServiceBusBus":
        """Return one for a connection string."""
        return cls("", None, connection=connection, ca_file=ca_file, total=total)

    async def close(self) -> None:
        """Close what is open."""
        for link in self._links.values():
            await link.close()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _open(self) -> ServiceBusClient:
        if self._client is None:
            self._client = self._make()
        return self._client

    # --- Sending ----------------------------------------------------------------------------------

    async def send(self, messages: Sequence[Message]) -> None:
        """See `Bus.send`."""
        groups: dict[tuple[str, str | None], list[ServiceBusMessage]] = {}
        for message in messages:
            # A batch bears one session id on its envelope, so it never spans sessions.
            groups.setdefault((message.queue, message.session), []).append(_outgoing(message))
        try:
            async with asyncio.timeout(self._total + _GROUP_SECONDS * len(groups)):
                for (queue, _), group in groups.items():
                    await self._link(queue).send(group)
        except _UNREACHABLE as error:
            queues = ", ".join(sorted({queue for queue, _ in groups}))
            raise QueueUnavailableError(
                f"Service Bus did not take everything for {queues}: {type(error).__name__}.",
                fix="Send it again: the same message twice counts once.",
            ) from error

    def _link(self, queue: str) -> "_Link":
        if queue not in self._links:
            self._links[queue] = _Link(lambda: self._open().get_queue_sender(queue))
        return self._links[queue]

    # --- Dead letters -----------------------------------------------------------------------------

    async def take_dead_letters(self, queue: str, *, limit: int) -> Sequence[DeadLetter]:
        """See `Bus.take_dead_letters`. What was taken before an error is returned all the same."""
        taken: list[DeadLetter] = []
        try:
            async with asyncio.timeout(self._total + _RECEIVE_WAIT):
                await self._take_into(taken, queue, limit)
        except (QueueUnavailableError, *_UNREACHABLE) as error:
            if not taken:
                raise QueueUnavailableError(
                    f"The dead letters of queue {queue!r} cannot be read: {type(error).__name__}."
                ) from error
            log.warning("queue %s: only %s dead letters were taken: %s", queue, len(taken), error)
        return taken

    async def _take_into(self, taken: list[DeadLetter], queue: str, limit: int) -> None:
        dead_letters = self._open().get_queue_receiver(
            queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER
        )
        async with dead_letters as receiver:
            # There is hardly ever one. A peek says so at once; to receive is to wait for one.
            if not await receiver.peek_messages(max_message_count=1):
                return
            for message in await receiver.receive_messages(
                max_message_count=limit, max_wait_time=_RECEIVE_WAIT
            ):
                letter = await self._take(queue, receiver, message)
                taken.append(letter)  # one by one: an error keeps what came before

    async def _take(
        self, queue: str, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage
    ) -> DeadLetter:
        """Copy first, then complete: a crash in between leaves one copy too many, never too few."""
        letter = _incoming(queue, message)
        properties = {
            "queue": queue,
            "session": letter.session or "",
            "message_id": letter.id or "",
            "reason": letter.reason,
            "description": letter.description,
        }
        name = f"{queue}/{message.sequence_number}"
        copy = Message(
            queue=REJECTED, session=None, body=letter.body, id=name, properties=properties
        )
        await self.send([copy])
        await receiver.complete_message(message)
        return letter


class _Link:
    """One queue's sender: opened when first used, kept, opened anew after an error."""

    def __init__(self, make: Callable[[], ServiceBusSender]) -> None:
        self._make = make
        self._sender: ServiceBusSender | None = None
        self._lock = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    async def send(self, group: Group) -> None:
        """Send; once more on a fresh link, since a kept one may have died unnoticed."""
        async with self._lock:
            was_kept = self._sender is not None
            try:
                await self._send_now(group)
            except (ServiceBusError, AzureError, OSError):
                if not was_kept:
                    raise
                await self._send_now(group)

    async def _send_now(self, group: Group) -> None:
        sender = self._sender = self._sender or self._make()
        try:
            if len(group) == 1:
                await sender.send_messages(group[0])
            else:
                await _send_in_batches(sender, group)
        except BaseException:  # cancelled half-way it is of no more use, either
            self._sender = None
            self._close_later(sender)
            raise

    def _close_later(self, sender: ServiceBusSender) -> None:
        """Close it behind the caller's back: a dead link takes its time, and nobody need wait."""
        task = asyncio.create_task(_close(sender))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close what is open."""
        async with self._lock:
            sender, self._sender = self._sender, None
            if sender is not None:
                self._close_later(sender)
        await asyncio.gather(*self._closing)


async def _send_in_batches(sender: ServiceBusSender, group: Group) -> None:
    batch = await sender.create_message_batch()
    for message in group:
        try:
            batch.add_message(message)
        except MessageSizeExceededError:
            await sender.send_messages(batch)
            batch = await sender.create_message_batch()
            batch.add_message(message)
    await sender.send_messages(batch)


async def _close(sender: ServiceBusSender) -> None:
    with suppress(*_UNREACHABLE):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await sender.close()


def _client_factory(
    namespace: str,
    credential: AsyncTokenCredential | None,
    connection: str | None,
    ca_file: Path | None,
) -> Callable[[], ServiceBusClient]:
    options: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.2}
    if ca_file is not None:
        options["connection_verify"] = str(ca_file)
    if connection is not None:
        return lambda: ServiceBusClient.from_connection_string(connection, **options)
    if credential is None:
        raise ValueError("Service Bus needs a credential or a connection string")
    if ":" in namespace:
        options["custom_endpoint_address"] = f"sb://{namespace}"
        options["transport_type"] = TransportType.Amqp
    return lambda: ServiceBusClient(namespace, credential, **options)


def _outgoing(message: Message) -> ServiceBusMessage:
    properties: dict[Any, Any] = dict(message.properties)
    return ServiceBusMessage(
        message.body,
        session_id=message.session,
        message_id=message.id,
        scheduled_enqueue_time_utc=message.at,
        subject=message.subject,
        content_type="application/json",
        application_properties=properties or None,
    )


def _incoming(queue: str, message: ServiceBusReceivedMessage) -> DeadLetter:
    properties: Mapping[Any, Any] = message.application_properties or {}
    texts = {_text(key): _text(value) for key, value in properties.items()}
    body: Iterable[bytes] = message.body
    return DeadLetter(
        queue=queue,
        session=message.session_id,
        body=b"".join(body),
        reason=message.dead_letter_reason or texts.get("DeadLetterReason", ""),
        description=message.dead_letter_error_description
        or texts.get("DeadLetterErrorDescription", ""),
        deliveries=message.delivery_count or 0,
        id=message.message_id,
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
