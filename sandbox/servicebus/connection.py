"""One client connection: the layers, then the frames, then whose fault it was."""

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from sandbox.servicebus.codec import DecodeError, Symbol, Typed
from sandbox.servicebus.errors import DECODE_ERROR, INTERNAL_ERROR, amqp_error
from sandbox.servicebus.frames import (
    MAX_FRAME_BYTES,
    MIN_FRAME_BYTES,
    Frame,
    FrameReader,
    Performative,
    ProtocolHeader,
    encode_frame,
)
from sandbox.servicebus.links import Link, Session
from sandbox.servicebus.shared_access import Right

_LOG = logging.getLogger(__name__)
_AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
_IDLE_TIMEOUT_MS = 240_000  # announced; the service's value
_MECHANISMS = ("ANONYMOUS", "MSSBCBS", "PLAIN", "EXTERNAL")


class Connection(asyncio.Protocol):
    """Reads frames, keeps the sessions, writes answers in batches.

    Whatever a client sends, the worst that happens is the end of its own connection.
    """

    def __init__(self, attach: Callable[[Link], None], open_connections: "set[Connection]") -> None:
        self._attach = attach
        self._open_connections = open_connections
        self._reader = FrameReader()
        self._sessions: dict[int, Session] = {}
        self._outgoing: list[bytes] = []
        self._transport: asyncio.Transport | None = None
        self.peer_frame_bytes = MIN_FRAME_BYTES
        self.rights: frozenset[Right] = frozenset()  # by a token, through the $cbs node

    # ---- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._open_connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._open_connections.discard(self)
        self._end_sessions(orderly=False)

    def data_received(self, data: bytes) -> None:
        if not self._alive():
            return
        try:
            for part in self._reader.feed(data):
                if isinstance(part, ProtocolHeader):
                    self._header(part)
                else:
                    self._frame(part)
                if not self._alive():  # closed or aborted by what was just read
                    return
        except DecodeError as error:
            _LOG.info("A client spoke no AMQP: %s", error)
            self._fail(DECODE_ERROR, str(error))
        except Exception:  # noqa: BLE001 - one client's frame must not end the broker
            _LOG.exception("The broker failed on a frame")
            self._fail(INTERNAL_ERROR, "The broker failed; its log says why.")

    def _alive(self) -> bool:
        return self._transport is not None

    # ---- out

    def send(
        self, channel: int, performative: Performative, fields: list[object], payload: bytes = b""
    ) -> None:
        """Queue a frame; all of one turn of the event loop leave together."""
        if self._transport is None:
            return
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outgoing.append(encode_frame(channel, performative, fields, payload))

    def _flush(self) -> None:
        data, self._outgoing = b"".join(self._outgoing), []
        if self._transport and data:
            self._transport.write(data)

    def close(self) -> None:
        """Say what is queued, then close."""
        self._flush()
        if self._transport:
            self._transport.close()
            self._transport = None

    def abort(self) -> None:
        """Die as a network does: nothing more is said, and what was queued is lost."""
        self._outgoing = []
        if self._transport:
            self._transport.abort()
            self._transport = None
        self._end_sessions(orderly=False)

    def _fail(self, condition: str, description: str) -> None:
        self.send(0, Performative.CLOSE, [amqp_error(condition, description)])
        self._end_sessions(orderly=False)
        self.close()

    def _end_sessions(self, *, orderly: bool) -> None:
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            session.drop_all(orderly=orderly)

    # ---- in

    def _header(self, header: ProtocolHeader) -> None:
        self._flush()
        if self._transport:
            self._transport.write(header.raw)
        if header.starts_sasl:
            names = [Symbol(name) for name in _MECHANISMS]
            self.send(0, Performative.SASL_MECHANISMS, [names])

    def _frame(self, frame: Frame) -> None:
        if frame.performative == Performative.SASL_INIT:
            # Any identity will do here: rights come from tokens, see the $cbs node.
            self.send(0, Performative.SASL_OUTCOME, [Typed("ubyte", 0)])
            self._reader.expect_header()
        elif frame.performative == Performative.OPEN:
            self._open(frame)
        elif frame.performative == Performative.BEGIN:
            self._begin(frame)
        elif frame.performative == Performative.END:
            self._end(frame)
        elif frame.performative == Performative.CLOSE:
            self._end_sessions(orderly=True)
            self.send(0, Performative.CLOSE, [])
            self.close()
        elif session := self._sessions.get(frame.channel):
            session.handle(frame, self._attach)

    def _open(self, frame: Frame) -> None:
        wanted = frame.number(2, MAX_FRAME_BYTES)
        self.peer_frame_bytes = max(MIN_FRAME_BYTES, min(wanted, MAX_FRAME_BYTES))
        fields: list[object] = [
            "sandbox",
            None,
            Typed("uint", MAX_FRAME_BYTES),
            Typed("ushort", 255),
            Typed("uint", _IDLE_TIMEOUT_MS),
        ]
        self.send(0, Performative.OPEN, fields)

    def _begin(self, frame: Frame) -> None:
        if old := self._sessions.pop(frame.channel, None):
            old.drop_all(orderly=False)
        session = self._sessions[frame.channel] = Session(self, frame.channel, frame)
        session.begin()

    def _end(self, frame: Frame) -> None:
        if session := self._sessions.pop(frame.channel, None):
            session.drop_all(orderly=True)
            self.send(frame.channel, Performative.END, [])


def listener(
    attach: Callable[[Link], None], open_connections: set[Connection]
) -> Callable[[], Connection]:
    """Return what `asyncio.loop.create_server` wants: a maker of connections."""
    return lambda: Connection(attach, open_connections)
