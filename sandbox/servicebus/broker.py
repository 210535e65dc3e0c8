"""The broker: queues, and topics with subscriptions, behind one port on 127.0.0.1."""

import asyncio
import re
import ssl
from collections.abc import Sequence
from dataclasses import replace

from sandbox import tokens
from sandbox.servicebus.connection import Connection, listener
from sandbox.servicebus.endpoints import (
    DisconnectedError,
    ReceiverEndpoint,
    SenderEndpoint,
    refuse_by_fault,
)
from sandbox.servicebus.entity import Queue, QueueSpec
from sandbox.servicebus.errors import NOT_ALLOWED, NOT_FOUND, UNAUTHORIZED, RefusedError
from sandbox.servicebus.faults import Faults, QueueFaults, Refusal
from sandbox.servicebus.links import Link
from sandbox.servicebus.requests import (
    ManagementEndpoint,
    RepliesEndpoint,
    TokenEndpoint,
)
from sandbox.servicebus.sessions import SessionQueue
from sandbox.servicebus.shared_access import (
    EVERY_RIGHT,
    Right,
    SharedAccessRule,
    entity_of,
    is_signature,
    rights_by_signature,
)
from sandbox.servicebus.timers import Timers
from sandbox.servicebus.topics import Topic
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
    *tls* it is an emulator, which takes any token: see `connection_string`. With rules for
    *shared_access* their signatures are taken too, and tokens are checked in either case.

    Messages live in memory, across `stop` and `start`. One event loop owns the broker, its
    faults and its views.
    """

    def __init__(
        self,
        queues: Sequence[QueueSpec],
        *,
        tls: ssl.SSLContext | None,
        check_tokens: bool = True,
        shared_access: Sequence[SharedAccessRule] = (),
    ) -> None:
        self.port = 0
        self._tls = tls
        self.shared_access = list(shared_access)
        self._check_tokens = bool(shared_access) or (check_tokens and tls is not None)
        self._timers = Timers()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._queues: dict[str, Queue] = {}
        self.faults = Faults()
        for spec in queues:
            self.add_queue(spec)

    # ---- entities

    def add_queue(self, spec: QueueSpec) -> None:
        """Create a queue, with its dead-letter queue."""
        self._add(spec)

    def add_topic(self, name: str) -> None:
        """Create a topic without subscriptions: what is sent to it is gone."""
        topic = Topic(QueueSpec(name=name), self._timers, self.faults.add(name))
        self._queues[name.lower()] = topic

    def add_subscription(self, topic: str, spec: QueueSpec) -> None:
        """Create a subscription; its faults and its view go by "<topic>/Subscriptions/<name>"."""
        parent = self._queues[topic.lower()]
        if not isinstance(parent, Topic):
            raise ValueError(f"'{topic}' is no topic.")  # noqa: TRY004 - a wrong name, not type
        name = f"{topic}/Subscriptions/{spec.name}"
        parent.subscriptions.append(self._add(replace(spec, name=name)))

    def _add(self, spec: QueueSpec) -> Queue:
        letters_spec = QueueSpec(
            name=f"{spec.name}/$DeadLetterQueue",
            lock_seconds=spec.lock_seconds,
            max_message_bytes=spec.max_message_bytes,
        )
        letters = Queue(letters_spec, self._timers, QueueFaults())
        kind = SessionQueue if spec.requires_session else Queue
        queue = kind(spec, self._timers, self.faults.add(spec.name), letters)
        self._queues[spec.name.lower()] = queue
        self._queues[spec.name.lower() + _DEAD_LETTER] = letters
        return queue

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
                link.endpoint = TokenEndpoint(link, replies, self._authorize)
            else:
                queue = self._find(link, path.removesuffix(_MANAGEMENT))
                link.endpoint = ManagementEndpoint(link, replies, queue)
        link.accept(max_message_bytes=_ANY_NODE_BYTES)

    def _attach_to_queue(self, link: Link, queue: Queue) -> None:
        needed = Right.LISTEN if link.to_client else Right.SEND
        if self._check_tokens and needed not in link.session.connection.rights:
            raise RefusedError(UNAUTHORIZED, f"'{needed}' claim(s) are required to do this.")
        if link.to_client:
            if isinstance(queue, Topic):
                raise RefusedError(NOT_ALLOWED, "A topic is received from by its subscriptions.")
            receiver = ReceiverEndpoint(link, queue)
            link.endpoint = receiver
            receiver.attach()
            return
        if queue.faults.send_refusal is Refusal.UNREACHABLE:
            refuse_by_fault(queue, link)
        link.endpoint = SenderEndpoint(link, queue)
        link.accept(max_message_bytes=queue.spec.max_message_bytes)

    def _find(self, link: Link, path: str) -> Queue:
        if self._check_tokens and not link.session.connection.rights:
            raise RefusedError(
                UNAUTHORIZED, f"Unauthorized access to '{path}': no valid token was shown."
            )
        return self._entity(path)

    def _entity(self, path: str) -> Queue:
        queue = self._queues.get(path)
        if queue is None:
            raise RefusedError(NOT_FOUND, f"The messaging entity '{path}' could not be found.")
        return queue

    def _authorize(self, token: str, audience: str) -> frozenset[Right]:
        """Return what a token allows, or refuse it; an emulator takes any."""
        entity = entity_of(audience).removesuffix(_MANAGEMENT)
        if entity:
            self._entity(entity)  # the service looks this up first, and so must the answer
        if not self._check_tokens:
            return EVERY_RIGHT
        if is_signature(token):
            return rights_by_signature(token, entity, self.shared_access)
        try:
            tokens.check_token(token, AUDIENCE)
        except tokens.TokenRefusedError as error:
            raise RefusedError(UNAUTHORIZED, str(error)) from error
        return EVERY_RIGHT


def _path(address: str) -> str:
    """Return the entity's path: addresses may be URLs, and case does not matter."""
    return re.sub(r"^(amqps?|sb)://[^/]+/", "", address).strip("/").lower()
