"""The broker: queues behind one port on 127.0.0.1."""

import asyncio
import re
import ssl
from collections.abc import Sequence

from sandbox import tokens
from sandbox.servicebus.connection import Connection, listener
from sandbox.servicebus.endpoints import (
    DisconnectedError,
    ReceiverEndpoint,
    SenderEndpoint,
    refuse_by_fault,
)
from sandbox.servicebus.entity import Queue, QueueSpec
from sandbox.servicebus.errors import NOT_FOUND, UNAUTHORIZED, RefusedError
from sandbox.servicebus.faults import Faults, QueueFaults, Refusal
from sandbox.servicebus.links import Link
from sandbox.servicebus.requests import (
    ManagementEndpoint,
    RepliesEndpoint,
    TokenEndpoint,
)
from sandbox.servicebus.sessions import SessionQueue
from sandbox.servicebus.timers import Timers
from sandbox.servicebus.view import QueueView, view_of

AUDIENCE = "https://servicebus.azure.net"
_HOST = "127.0.0.1"
_TOKENS = "$cbs"
_MANAGEMENT = "/$management"
_DEAD_LETTER = "/$deadletterqueue"
_ANY_NODE_BYTES = 4 << 20  # request nodes take what any queue takes, wrapped


class Broker:
    """An AMQP 1.0 broker which the real Service Bus client takes for the service.

    With *tls* it is a namespace for ``ServiceBusClient(broker.namespace, credential,
    connection_verify=ca_file)``, provided it listens on 5671 (else see `endpoint_address`);
    *check_tokens* decides whether a token must be valid and meant for Service Bus. Without
    *tls* it is an emulator: see `connection_string`.

    Messages live in memory, across `stop` and `start`. One event loop owns the broker, its
    faults and its views.
    """

    def __init__(
        self,
        queues: Sequence[QueueSpec],
        *,
        tls: ssl.SSLContext | None,
        check_tokens: bool = True,
    ) -> None:
        self.port = 0
        self._tls = tls
        self._check_tokens = check_tokens and tls is not None
        self._timers = Timers()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._queues: dict[str, Queue] = {}
        by_queue = {spec.name.lower(): QueueFaults() for spec in queues}
        self.faults = Faults(by_queue)
        for spec in queues:
            self._add(spec, by_queue[spec.name.lower()])

    def _add(self, spec: QueueSpec, faults: QueueFaults) -> None:
        letters_spec = QueueSpec(
            name=f"{spec.name}/$DeadLetterQueue",
            lock_seconds=spec.lock_seconds,
            max_message_bytes=spec.max_message_bytes,
        )
        letters = Queue(letters_spec, self._timers, QueueFaults())
        kind = SessionQueue if spec.requires_session else Queue
        self._queues[spec.name.lower()] = kind(spec, self._timers, faults, letters)
        self._queues[spec.name.lower() + _DEAD_LETTER] = letters

    # ---- life

    async def start(self, port: int = 0) -> None:
        """Listen on *port*; on 0 a free one or, after a `stop`, the one it had."""
        loop = asyncio.get_running_loop()
        make = listener(self._attach, self._connections)
        self._server = await loop.create_server(make, _HOST, port or self.port, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._timers.start(loop)
        for queue in self._queues.values():
            queue.resume()

    async def stop(self) -> None:
        """Cut every connection and close the port. Locks run on; messages stay."""
        self._timers.stop()
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    # ---- looking at it

    @property
    def namespace(self) -> str:
        """The value for ``ServiceBus__fullyQualifiedNamespace``."""
        return f"{_HOST}:{self.port}"

    @property
    def endpoint_address(self) -> str:
        """The client's ``custom_endpoint_address``.

        Over TLS pyamqp takes no port from the namespace: without this it goes to 5671. With
        it, ``transport_type=TransportType.Amqp`` is needed too, or it tries WebSockets.
        """
        return f"sb://{self.namespace}"

    @property
    def connection_string(self) -> str:
        """The emulator's connection string, for a broker without TLS."""
        return (
            f"Endpoint=sb://{self.namespace};SharedAccessKeyName=RootManageSharedAccessKey;"
            "SharedAccessKey=SAS_KEY_VALUE;UseDevelopmentEmulator=true;"
        )

    def queue(self, name: str) -> QueueView:
        """Return what is in a queue now."""
        return view_of(self._queues[name.lower()])

    def drop_connections(self) -> None:
        """Cut every connection once, as a network does; the broker goes on."""
        for connection in list(self._connections):
            connection.abort()

    # ---- links

    def _attach(self, link: Link) -> None:
        """Lead a new link to what its address names, or refuse it."""
        path = _path(link.address)
        try:
            if path == _TOKENS or path.endswith(_MANAGEMENT):
                self._attach_to_node(link, path)
            else:
                self._attach_to_queue(link, self._find(link, path))
        except RefusedError as refusal:
            link.refuse(refusal.condition, refusal.description)
        except DisconnectedError:
            return

    def _attach_to_node(self, link: Link, path: str) -> None:
        waiting = link.session.reply_links.setdefault(path, [])
        if link.to_client:
            link.endpoint = RepliesEndpoint(link)
            waiting.append(link)
        else:
            partner = waiting.pop().endpoint if waiting else None
            replies = partner if isinstance(partner, RepliesEndpoint) else None
            if path == _TOKENS:
                link.endpoint = TokenEndpoint(link, replies, self._problem_with)
            else:
                queue = self._find(link, path.removesuffix(_MANAGEMENT))
                link.endpoint = ManagementEndpoint(link, replies, queue)
        link.accept(max_message_bytes=_ANY_NODE_BYTES)

    def _attach_to_queue(self, link: Link, queue: Queue) -> None:
        if link.to_client:
            receiver = ReceiverEndpoint(link, queue)
            link.endpoint = receiver
            receiver.attach()
            return
        if queue.faults.send_refusal is Refusal.UNREACHABLE:
            refuse_by_fault(queue, link)
        link.endpoint = SenderEndpoint(link, queue)
        link.accept(max_message_bytes=queue.spec.max_message_bytes)

    def _find(self, link: Link, path: str) -> Queue:
        if self._check_tokens and not link.session.connection.authorized:
            raise RefusedError(
                UNAUTHORIZED, f"Unauthorized access to '{path}': no valid token was shown."
            )
        queue = self._queues.get(path)
        if queue is None:
            raise RefusedError(NOT_FOUND, f"The messaging entity '{path}' could not be found.")
        return queue

    def _problem_with(self, token: str) -> str | None:
        """Return why a token is refused; without TLS any will do."""
        if not self._check_tokens:
            return None
        try:
            tokens.check_token(token, AUDIENCE)
        except tokens.TokenRefusedError as error:
            return str(error)
        return None


def _path(address: str) -> str:
    """Return the entity's path: addresses may be URLs, and case does not matter."""
    return re.sub(r"^(amqps?|sb)://[^/]+/", "", address).strip("/").lower()
