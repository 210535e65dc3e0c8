"""Service Bus: commands, wake-ups, dead letters.

Opening a sender takes half a second, so each queue's is opened once and kept; the SDK's senders
are not coroutine-safe, so a lock stands around each.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
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
from azure.servicebus.exceptions import ServiceBusError

from controller.core.errors import QueueUnavailableError
from controller.ports import DeadLetter, Message

log = logging.getLogger("slipway.bus")

REJECTED: Final = "rejected"
_TOTAL: Final = timedelta(seconds=8)  # a webhook's sender waits ten
_RECEIVE_WAIT: Final = 2.0  # seconds to wait for the first dead letter
_UNREACHABLE: Final = (ServiceBusError, AzureError, OSError, TimeoutError, ValueError)


class ServiceBusBus:
    """Implements `Bus`.

    Args:
        namespace: ``name.servicebus.windows.net``; with a port, the SDK is told to use that
            address as it stands (it forgets ports otherwise).
        credential: aio token credential with the roles Data Sender and Data Receiver.
        ca_file: a certificate authority to trust instead of the public ones.
        total: how long one call may take altogether.
    """

    def __init__(
        self,
        namespace: str,
        credential: AsyncTokenCredential,
        *,
        ca_file: Path | None = None,
        total: timedelta = _TOTAL,
    ) -> None:
        options: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.2}
        if ca_file is not None:
            options["connection_verify"] = str(ca_file)
        if ":" in namespace:
            options["custom_endpoint_address"] = f"sb://{namespace}"
            options["transport_type"] = TransportType.Amqp
        self._make = lambda: ServiceBusClient(namespace, credential, **options)
        self._client: ServiceBusClient | None = None
        self._total = total.total_seconds()
        self._senders: dict[str, ServiceBusSender] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    @classmethod
    def from_connection_string(
        cls, connection: str, *, ca_file: Path | None = None, total: timedelta = _TOTAL
    ) -> "ServiceBusBus":
        """Return one for a connection string, as an emulator has it."""
        self = cls.__new__(cls)
        options: dict[str, Any] = {"retry_total": 1, "retry_backoff_factor": 0.2}
        if ca_file is not None:
            options["connection_verify"] = str(ca_file)
        self._make = lambda: ServiceBusClient.from_connection_string(connection, **options)
        self._client = None
        self._total = total.total_seconds()
        self._senders = {}
        self._locks = {}
        return self

    async def close(self) -> None:
        """Close what is open."""
        for queue in list(self._senders):
            await self._drop(queue)
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def send(self, messages: Sequence[Message]) -> None:
        """See `Bus.send`."""
        for queue in dict.fromkeys(message.queue for message in messages):
            await self._send(queue, [_outgoing(m) for m in messages if m.queue == queue])

    async def _send(self, queue: str, messages: list[ServiceBusMessage]) -> None:
        try:
            async with asyncio.timeout(self._total):
                async with self._locks.setdefault(queue, asyncio.Lock()):
                    await self._send_now(queue, messages)
        except _UNREACHABLE as error:
            await self._drop(queue)
            raise QueueUnavailableError(
                f"Queue {queue!r} took no message: {type(error).__name__}.",
                fix="Send it again: the same message twice counts once.",
            ) from error

    async def _send_now(self, queue: str, messages: list[ServiceBusMessage]) -> None:
        """Send; once more on a fresh link, since a kept one may have died unnoticed."""
        kept = queue in self._senders
        try:
            await self._sender(queue).send_messages(messages)
        except (ServiceBusError, AzureError, OSError):
            await self._drop(queue)
            if not kept:
                raise
            await self._sender(queue).send_messages(messages)

    def _sender(self, queue: str) -> ServiceBusSender:
        if queue not in self._senders:
            self._senders[queue] = self._open().get_queue_sender(queue)
        return self._senders[queue]

    def _open(self) -> ServiceBusClient:
        if self._client is None:
            self._client = self._make()
        return self._client

    async def _drop(self, queue: str) -> None:
        sender = self._senders.pop(queue, None)
        if sender is None:
            return
        try:
            async with asyncio.timeout(2):
                await sender.close()
        except _UNREACHABLE as error:
            log.debug("queue %s: its old link did not close: %s", queue, error)

    async def take_dead_letters(self, queue: str, *, limit: int) -> Sequence[DeadLetter]:
        """See `Bus.take_dead_letters`."""
        taken: list[DeadLetter] = []
        try:
            receiver = self._open().get_queue_receiver(
                queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER
            )
            async with receiver:
                waiting = await receiver.receive_messages(
                    max_message_count=limit, max_wait_time=_RECEIVE_WAIT
                )
                taken += [await self._take(queue, receiver, message) for message in waiting]
        except _UNREACHABLE as error:
            raise QueueUnavailableError(
                f"The dead letters of queue {queue!r} cannot be read: {type(error).__name__}."
            ) from error
        return taken

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
        copy = Message(queue=REJECTED, session=None, body=letter.body, properties=properties)
        await self.send([copy])
        await receiver.complete_message(message)
        return letter


def _outgoing(message: Message) -> ServiceBusMessage:
    return ServiceBusMessage(
        message.body,
        session_id=message.session,
        message_id=message.id,
        scheduled_enqueue_time_utc=message.at,
        subject=message.subject,
        content_type="application/json",
        application_properties={**message.properties} or None,
    )


def _incoming(queue: str, message: ServiceBusReceivedMessage) -> DeadLetter:
    properties: Mapping[Any, Any] = message.application_properties or {}
    texts = {_text(key): _text(value) for key, value in properties.items()}
    return DeadLetter(
        queue=queue,
        session=message.session_id,
        body=b"".join(message.body),
        reason=message.dead_letter_reason or texts.get("DeadLetterReason", ""),
        description=message.dead_letter_error_description
        or texts.get("DeadLetterErrorDescription", ""),
        deliveries=message.delivery_count or 0,
        id=message.message_id,
    )


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
