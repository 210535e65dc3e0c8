"""Service Bus triggers: pumps that receive, invoke, and settle.

A function with sessions has ``maxConcurrentSessions`` pumps. Each waits for the next session that
is free, works through its messages one at a time, and lets it go when none has come for
``sessionIdleTimeout``. Return completes the message; an exception abandons it, and the broker
delivers it again at once or dead-letters it.

Within a pump one coroutine uses the receiver: the client's objects are not safe for two.
"""

import asyncio
import logging
from dataclasses import dataclass

from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import OperationTimeoutError, ServiceBusError

from sandbox.functions_host.configuration import HostConfiguration
from sandbox.functions_host.renewal import Renewal
from sandbox.functions_host.service_bus_metadata import message_data, trigger_metadata
from sandbox.functions_host.worker import Function, FunctionFailedError, Worker

_log = logging.getLogger("host.service_bus")

# Opening a receiver takes the client about half a second, closing one as long, so an accept stays
# pending this long before it is renewed; the pumps' waits differ so that they never lapse together.
_ACCEPT_SECONDS = 30.0
_ACCEPT_STAGGER_SECONDS = 3.0
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 10.0
_PLAIN_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueTrigger:
    """A function and the queue that starts it."""

    function: Function
    client: ServiceBusClient
    queue_name: str
    sessions: bool


class Pump:
    """One receiver's endless loop. `busy` while user code runs for it."""

    def __init__(
        self, trigger: QueueTrigger, worker: Worker, configuration: HostConfiguration, number: int
    ) -> None:
        self._trigger = trigger
        self._worker = worker
        self._configuration = configuration
        self._accept_seconds = _ACCEPT_SECONDS + number * _ACCEPT_STAGGER_SECONDS
        self._stopping = False
        self.busy = False

    def finish(self) -> None:
        """Take no further message."""
        self._stopping = True

    async def run(self) -> None:
        """Receive until told to finish. No failure of the namespace ends it."""
        backoff = _FIRST_BACKOFF_SECONDS
        work = self._one_session if self._trigger.sessions else self._plain
        while not self._stopping:
            try:
                await work()
                backoff = _FIRST_BACKOFF_SECONDS
            except OperationTimeoutError:
                backoff = _FIRST_BACKOFF_SECONDS  # no session became free: ask again
            except Exception as error:  # noqa: BLE001 - a broker that is down or odd never ends a pump
                _log.warning(
                    "%s: %s: %s; again in %.1f s",
                    self._trigger.queue_name,
                    type(error).__name__,
                    error,
                    backoff,
                )
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)

    async def _one_session(self) -> None:
        """Hold one session until it is idle, lost, or the host stops."""
        receiver = self._trigger.client.get_queue_receiver(
            self._trigger.queue_name,
            session_id=NEXT_AVAILABLE_SESSION,
            max_wait_time=self._accept_seconds,
        )
        async with receiver:
            session = receiver.session
            renewal = Renewal(
                session.renew_lock,
                locked_until=session.locked_until_utc,
                # Counted from the accept, as .NET's processor does: a session kept busy for
                # longer loses its lock, its current message is delivered again.
                give_up_after_seconds=self._configuration.lock_renewal_seconds,
            )
            _log.debug("%s: holds session %s", self._trigger.queue_name, session.session_id)
            while not self._stopping:
                message = await self._next_of_session(receiver, renewal)
                if message is None:
                    return
                await self._handle(receiver, message, renewal)

    async def _next_of_session(
        self, receiver: ServiceBusReceiver, renewal: Renewal
    ) -> ServiceBusReceivedMessage | None:
        """Return the session's next message, or None after ``sessionIdleTimeout`` without one."""
        loop = asyncio.get_running_loop()
        idle_at = loop.time() + self._configuration.session_idle_seconds
        while (left := idle_at - loop.time()) > 0:
            await renewal.renew_if_due()
            wait_seconds = max(min(left, renewal.seconds_until_due()), 0.1)
            messages = await receiver.receive_messages(
                max_message_count=1, max_wait_time=wait_seconds
            )
            if messages:
                return messages[0]
        return None

    async def _plain(self) -> None:
        receiver = self._trigger.client.get_queue_receiver(
            self._trigger.queue_name, max_wait_time=_PLAIN_WAIT_SECONDS
        )
        async with receiver:
            while not self._stopping:
                for message in await receiver.receive_messages(max_message_count=1):
                    await self._handle(receiver, message, self._message_renewal(receiver, message))

    def _message_renewal(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage
    ) -> Renewal:
        return Renewal(
            lambda: receiver.renew_message_lock(message),
            locked_until=message.locked_until_utc,
            give_up_after_seconds=self._configuration.lock_renewal_seconds,
        )

    async def _handle(
        self, receiver: ServiceBusReceiver, message: ServiceBusReceivedMessage, renewal: Renewal
    ) -> None:
        """Invoke the function and settle *message* by its outcome."""
        self.busy = True
        try:
            succeeded = await self._invoke(message, renewal)
            settle = receiver.complete_message if succeeded else receiver.abandon_message
            await settle(message)
        except ServiceBusError as error:
            # Nothing is lost: the broker delivers the message again when its lock ends.
            _log.warning("%s: cannot settle: %s", self._trigger.queue_name, error)
            if self._trigger.sessions:
                raise
        finally:
            self.busy = False

    async def _invoke(self, message: ServiceBusReceivedMessage, renewal: Renewal) -> bool:
        function = self._trigger.function
        data = message_data(message, str(function.trigger.get("dataType") or ""))
        invocation = asyncio.create_task(
            self._worker.invoke(function, data, metadata=trigger_metadata(message))
        )
        try:
            await renewal.keep_while(invocation)
            await invocation
        except FunctionFailedError:
            return False
        finally:
            invocation.cancel()
        return True


class Pumps:
    """All pumps of the host."""

    def __init__(
        self, triggers: list[QueueTrigger], worker: Worker, configuration: HostConfiguration
    ) -> None:
        self._pumps = [
            Pump(trigger, worker, configuration, number)
            for trigger in triggers
            for number in range(
                configuration.max_concurrent_sessions
                if trigger.sessions
                else configuration.max_concurrent_calls
            )
        ]
        self._tasks: dict[Pump, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin to receive, in the background."""
        self._tasks = {pump: asyncio.create_task(pump.run()) for pump in self._pumps}

    async def stop(self, *, grace_seconds: float) -> None:
        """Take no further message; let running functions end within *grace_seconds*."""
        for pump in self._pumps:
            pump.finish()
        busy = {task for pump, task in self._tasks.items() if pump.busy}
        if busy:
            await asyncio.wait(busy, timeout=grace_seconds)
        for task in self._tasks.values():
            task.cancel()
