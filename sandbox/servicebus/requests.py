"""The request/response nodes: ``$cbs`` for tokens, ``<queue>/$management`` for the rest.

A client attaches a link to receive answers, then one to send requests; several such pairs
may share an AMQP session, so a request link takes the newest answer link without a partner.
"""

import logging
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.servicebus.codec import (
    Array,
    DecodeError,
    Described,
    Symbol,
    Typed,
    as_int,
    as_list,
    as_map,
    as_text,
    encode,
)
from sandbox.servicebus.endpoints import (
    DisconnectedError,
    put_all,
    refuse_by_fault,
    settle,
)
from sandbox.servicebus.entity import Queue, Settlement
from sandbox.servicebus.errors import (
    ARGUMENT_ERROR,
    DECODE_ERROR,
    MESSAGE_NOT_FOUND,
    NOT_IMPLEMENTED,
    RefusedError,
)
from sandbox.servicebus.links import Endpoint, Link, accepted, rejected
from sandbox.servicebus.sections import Section, field, first, split, value_of
from sandbox.servicebus.sessions import SessionQueue
from sandbox.servicebus.shared_access import Right

_LOG = logging.getLogger(__name__)

Body = dict[str, object]
Authorize = Callable[[str, str], frozenset[Right]]  # by a token, for an audience


@dataclass(frozen=True, slots=True)
class Request:
    """One request, taken apart."""

    id: object
    properties: Body
    value: object

    @property
    def body(self) -> Body:
        return as_map(self.value)


def parse_request(payload: bytes) -> Request:
    sections = split(payload)
    return Request(
        id=field(value_of(first(sections, Section.PROPERTIES)), 0),
        properties=as_map(value_of(first(sections, Section.APPLICATION_PROPERTIES))),
        value=value_of(first(sections, Section.VALUE)),
    )


class RepliesEndpoint(Endpoint):
    """The link on which a client awaits answers."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def reply(self, request: Request, body: object, properties: Mapping[str, object]) -> None:
        sections = (
            Described(Section.PROPERTIES, [None, None, None, None, None, request.id]),
            Described(Section.APPLICATION_PROPERTIES, dict(properties)),
            Described(Section.VALUE, body),
        )
        payload = b"".join(encode(section) for section in sections)
        self._link.transfer(uuid.uuid4().bytes, payload, settled=True)


class _RequestEndpoint(Endpoint, ABC):
    """A link with requests, each answered on its partner."""

    def __init__(self, link: Link, replies: RepliesEndpoint | None) -> None:
        self._link = link
        self._replies = replies

    def message(self, payload: bytes, message_format: int) -> Described | None:
        del message_format
        try:
            request = parse_request(payload)
            body, properties = self._answer(request)
        except DecodeError as error:
            _LOG.warning("A request cannot be understood: %s in %s", error, payload.hex())
            return rejected(DECODE_ERROR, str(error))
        except DisconnectedError:
            return None
        if self._replies:
            self._replies.reply(request, body, properties)
        return accepted()

    @abstractmethod
    def _answer(self, request: Request) -> tuple[object, dict[str, object]]:
        """Return the answer's body and its application properties."""


class TokenEndpoint(_RequestEndpoint):
    """``$cbs``: the client shows its token before it attaches to anything else."""

    def __init__(self, link: Link, replies: RepliesEndpoint | None, authorize: Authorize) -> None:
        super().__init__(link, replies)
        self._authorize = authorize

    def _answer(self, request: Request) -> tuple[object, dict[str, object]]:
        token, audience = as_text(request.value), as_text(request.properties.get("name"))
        try:
            rights = self._authorize(token or "", audience or "")
        except RefusedError as refusal:
            return None, {
                "status-code": Typed("int", _status(refusal.condition)),
                "status-description": refusal.description,
            }
        self._link.session.connection.rights = rights
        return None, {"status-code": Typed("int", 202), "status-description": "Accepted"}


class ManagementEndpoint(_RequestEndpoint):
    """``<queue>/$management``: what cannot be said with deliveries and dispositions."""

    def __init__(self, link: Link, replies: RepliesEndpoint | None, queue: Queue) -> None:
        super().__init__(link, replies)
        self._queue = queue
        self._operations: dict[str, Callable[[Body], Body | None]] = {
            "schedule-message": self._schedule,
            "cancel-scheduled-message": self._cancel_scheduled,
            "peek-message": self._peek,
            "receive-by-sequence-number": self._receive_deferred,
            "update-disposition": self._update_disposition,
            "renew-lock": self._renew_lock,
            "renew-session-lock": self._renew_session_lock,
            "get-session-state": self._get_session_state,
            "set-session-state": self._set_session_state,
            "get-message-sessions": self._get_message_sessions,
        }

    def _answer(self, request: Request) -> tuple[object, dict[str, object]]:
        name = (as_text(request.properties.get("operation")) or "").split(":")[-1]
        operation = self._operations.get(name, _unknown_operation)
        try:
            body = operation(request.body)
        except RefusedError as refusal:
            return None, {
                "statusCode": Typed("int", _status(refusal.condition)),
                "statusDescription": refusal.description,
                "errorCondition": Symbol(refusal.condition),
            }
        if body is None:
            return None, {
                "statusCode": Typed("int", 204),
                "statusDescription": "NoContent",
                "errorCondition": Symbol(MESSAGE_NOT_FOUND),
            }
        return body, {"statusCode": Typed("int", 200), "statusDescription": "OK"}

    # ---- messages

    def _schedule(self, body: Body) -> Body:
        refuse_by_fault(self._queue, self._link)
        parts = [as_map(message).get("message") for message in as_list(body.get("messages"))]
        numbers = put_all(self._queue, [part for part in parts if isinstance(part, bytes)])
        return {"sequence-numbers": Array("long", numbers)}

    def _cancel_scheduled(self, body: Body) -> Body:
        self._queue.cancel_scheduled(_numbers(body))
        return {}

    def _peek(self, body: Body) -> Body | None:
        messages = self._queue.peek(
            as_int(body.get("from-sequence-number")),
            as_int(body.get("message-count"), 1),
            as_text(body.get("session-id")),
        )
        peeked = [{"message": message.encode(peeked=True)} for message in messages]
        return {"messages": peeked} if peeked else None

    def _receive_deferred(self, body: Body) -> Body:
        delete = as_int(body.get("receiver-settle-mode"), 1) == 0
        taken = self._queue.take_deferred(_numbers(body), delete=delete)
        return {
            "messages": [
                {"message": message.encode(), "lock-token": token} for message, token in taken
            ]
        }

    def _update_disposition(self, body: Body) -> Body:
        try:
            how = Settlement(as_text(body.get("disposition-status")) or "")
        except ValueError as error:
            raise RefusedError(ARGUMENT_ERROR, str(error)) from error
        reason = as_text(body.get("deadletter-reason"))
        description = as_text(body.get("deadletter-description"))
        for token in _tokens(body):
            settle(self._queue, self._link, token, how, reason, description)
        return {}

    def _renew_lock(self, body: Body) -> Body:
        tokens = _tokens(body)
        until_ms = self._queue.renew(tokens)
        return {"expirations": Array("timestamp", [until_ms] * len(tokens))}

    # ---- sessions

    def _session(self, body: Body) -> tuple[SessionQueue, str]:
        session_id = as_text(body.get("session-id"))
        if not isinstance(self._queue, SessionQueue) or session_id is None:
            raise RefusedError(ARGUMENT_ERROR, "This needs a session, on a queue that has them.")
        return self._queue, session_id

    def _renew_session_lock(self, body: Body) -> Body:
        queue, session_id = self._session(body)
        return {"expiration": Typed("timestamp", queue.renew_session(session_id))}

    def _get_session_state(self, body: Body) -> Body:
        queue, session_id = self._session(body)
        return {"session-state": queue.held(session_id).state}

    def _set_session_state(self, body: Body) -> Body:
        queue, session_id = self._session(body)
        state = body.get("session-state")
        queue.set_state(session_id, state if isinstance(state, bytes) else None)
        return {}

    def _get_message_sessions(self, body: Body) -> Body | None:
        if not isinstance(self._queue, SessionQueue):
            raise RefusedError(ARGUMENT_ERROR, "This queue has no sessions.")
        skip = as_int(body.get("skip"))
        every = self._queue.list_sessions(as_int(body.get("last-updated-time")))
        page = every[skip : skip + as_int(body.get("top"), 100)]
        if not page:
            return None
        return {"skip": Typed("int", skip + len(page)), "sessions-ids": Array("string", page)}


def _unknown_operation(body: Body) -> Body:
    raise RefusedError(NOT_IMPLEMENTED, f"There is no such operation; its body was {body!r}.")


def _status(condition: str) -> int:
    """Return the HTTP-like code that goes with a condition."""
    if "unauthorized" in condition:
        return 401
    if "not-found" in condition:
        return 404
    if "lock-lost" in condition:
        return 410
    if "busy" in condition:
        return 503
    return 408 if "timeout" in condition else 400


def _numbers(body: Body) -> list[int]:
    return [as_int(number) for number in as_list(body.get("sequence-numbers"))]


def _tokens(body: Body) -> list[uuid.UUID]:
    tokens = as_list(body.get("lock-tokens"))
    return [token for token in tokens if isinstance(token, uuid.UUID)]
