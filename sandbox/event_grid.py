"""Event Grid on loopback: at-least-once, unordered delivery of events to webhooks.

Both schemas with their handshakes, batches, the documented retry schedule, and faults on demand.
Not reproduced: the manual handshake by ``validationUrl``, Entra-signed delivery, filters, the
days-long delayed delivery to an endpoint that keeps failing.
"""

import asyncio
import contextlib
import datetime as dt
import json
import secrets
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp

Schema = Literal["EventGridSchema", "CloudEventSchemaV1_0"]

_ORIGIN = "eventgrid.azure.net"
_SUCCESS = frozenset({200, 201, 202, 203, 204})
_HOPELESS = frozenset({400, 413})  # never delivered again

# Source: Azure documentation, "Event Grid message delivery and retry".
_RETRY_SECONDS = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200)
_LEAST_SECONDS = {401: 300, 403: 300, 404: 300, 408: 120, 503: 30}
_MOST_ATTEMPTS = 30
_TIME_TO_LIVE_SECONDS = 24 * 3600
_RESPONSE_SECONDS = 30


class SubscriptionRefusedError(Exception):
    """The endpoint did not prove that it wants events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One attempt. *status* is None if no answer came; *attempt* counts from 1."""

    subscription: str
    event_ids: tuple[str, ...]
    attempt: int
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was given up, with the reason that Event Grid would store."""

    subscription: str
    event_id: str
    reason: str
    attempts: int
    last_status: int | None


@dataclass(slots=True, kw_only=True)
class Faults:
    """What the real service may do at any time, on demand. Change them while it runs.

    *deliver_twice*: send each batch again after it was accepted. *out_of_order*: hold events for
    *window_seconds* and send the last first. *delay_seconds*: before each first attempt.
    """

    deliver_twice: bool = False
    out_of_order: bool = False
    window_seconds: float = 0.1
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    id: str
    source: str
    subject: str
    type: str
    time: str
    data: Mapping[str, object]

    def in_event_grid_schema(self) -> dict[str, object]:
        return {
            "id": self.id,
            "topic": self.source,
            "subject": self.subject,
            "eventType": self.type,
            "eventTime": self.time,
            "data": self.data,
            "dataVersion": "1.0",
            "metadataVersion": "1",
        }

    def in_cloud_events_schema(self) -> dict[str, object]:
        return {
            "id": self.id,
            "source": self.source,
            "subject": self.subject,
            "type": self.type,
            "time": self.time,
            "data": self.data,
            "specversion": "1.0",
        }


@dataclass(slots=True, kw_only=True)
class _Subscription:
    name: str
    endpoint: str
    schema: Schema
    batch_size: int
    pending: list[_Event] = field(default_factory=list[_Event])
    flushing: bool = False

    def body(self, events: list[_Event]) -> bytes:
        """Return the request body: an array, except for a CloudEvent that goes alone."""
        if self.schema == "EventGridSchema":
            return json.dumps([event.in_event_grid_schema() for event in events]).encode()
        documents = [event.in_cloud_events_schema() for event in events]
        return json.dumps(documents if self.batch_size > 1 else documents[0]).encode()

    def headers(self, events: list[_Event], attempt: int) -> dict[str, str]:
        common = {
            "aeg-subscription-name": self.name.upper(),
            "aeg-delivery-count": str(attempt - 1),
            "aeg-event-type": "Notification",
        }
        if len(events) == 1:
            common["aeg-output-event-id"] = events[0].id
        if self.schema == "EventGridSchema":
            return common | {
                "Content-Type": "application/json; charset=utf-8",
                "aeg-data-version": "1.0",
                "aeg-metadata-version": "1",
            }
        kind = "cloudevents-batch+json" if self.batch_size > 1 else "cloudevents+json"
        return common | {
            "Content-Type": f"application/{kind}; charset=utf-8",
            "WebHook-Request-Origin": _ORIGIN,
        }


class EventGrid:
    """Topics and webhook subscriptions; every event goes to every subscription.

    *retry_scale* shortens the retry schedule and the time to live (0.001: 10 ms instead of 10 s).
    *tls* is the context for https endpoints. `deliveries` holds every attempt, `dead_letters` what
    was given up, `faults` may be changed at any time.
    """

    def __init__(self, *, retry_scale: float = 1.0, tls: ssl.SSLContext | None = None) -> None:
        self._retry_scale = retry_scale
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._subscriptions: dict[str, _Subscription] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.deliveries: list[Delivery] = []
        self.dead_letters: list[DeadLetter] = []
        self.faults = Faults()

    async def subscribe(
        self, name: str, endpoint: str, *, schema: Schema, max_events_per_batch: int = 1
    ) -> None:
        """Validate *endpoint* by the handshake of *schema*, then deliver to it.

        Raises:
            SubscriptionRefusedError: it did not answer as the handshake asks.
        """
        shake_hands = self._by_event if schema == "EventGridSchema" else self._by_options
        try:
            await shake_hands(name, endpoint)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SubscriptionRefusedError(
                f"Webhook validation handshake failed for {name}: {error!r}"
            ) from error
        self._subscriptions[name] = _Subscription(
            name=name, endpoint=endpoint, schema=schema, batch_size=max_events_per_batch
        )

    async def publish(
        self,
        *,
        source: str,
        subject: str,
        event_type: str,
        data: Mapping[str, object],
        event_id: str | None = None,
    ) -> str:
        """Accept an event and return its id. Delivery happens in the background."""
        event = _Event(
            id=event_id or str(uuid.uuid4()),
            source=source,
            subject=subject,
            type=event_type,
            time=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
            data=dict(data),
        )
        for subscription in self._subscriptions.values():
            subscription.pending.append(event)
            if not subscription.flushing:
                subscription.flushing = True
                self._start(self._flush(subscription))
        return event.id

    async def idle(self) -> None:
        """Return when nothing is on its way any more, retries included."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Drop what is on its way. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _by_event(self, name: str, endpoint: str) -> None:
        """Shake hands as the Event Grid schema does: POST a code, want it back with 200."""
        code = str(uuid.uuid4())
        event = _Event(
            id=str(uuid.uuid4()),
            source="/subscriptions/00000000-0000-0000-0000-000000000001",
            subject="",
            type="Microsoft.EventGrid.SubscriptionValidationEvent",
            time=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"),
            data={"validationCode": code, "validationUrl": _validation_url(name)},
        )
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "aeg-subscription-name": name.upper(),
            "aeg-delivery-count": "0",
            "aeg-data-version": "1",
            "aeg-metadata-version": "1",
            "aeg-event-type": "SubscriptionValidation",
        }
        body = json.dumps([event.in_event_grid_schema() | {"dataVersion": "1"}]).encode()
        async with self._http().post(endpoint, data=body, headers=headers) as response:
            text = await response.text()
        with contextlib.suppress(ValueError, TypeError, KeyError):
            # 202 would promise a manual validation, which needs a person; only 200 counts.
            if response.status == 200 and json.loads(text)["validationResponse"] == code:
                return
        raise SubscriptionRefusedError(
            f"{name}: the endpoint answered the validation event with {response.status}: {text}"
        )

    async def _by_options(self, name: str, endpoint: str) -> None:
        """Shake hands as CloudEvents does: OPTIONS, want our origin allowed."""
        headers = {
            "WebHook-Request-Origin": _ORIGIN,
            "WebHook-Request-Callback": _validation_url(name),
            "WebHook-Request-Rate": "120",
        }
        async with self._http().options(endpoint, headers=headers) as response:
            allowed = response.headers.get("WebHook-Allowed-Origin", "")
        if response.status != 200 or allowed not in {_ORIGIN, "*"}:
            raise SubscriptionRefusedError(
                f"{name}: the endpoint answered OPTIONS with {response.status} "
                f"and WebHook-Allowed-Origin {allowed!r}"
            )

    async def _flush(self, subscription: _Subscription) -> None:
        """Send what has gathered since it was scheduled, in batches."""
        if self.faults.out_of_order:
            await asyncio.sleep(self.faults.window_seconds)
        events, subscription.pending = subscription.pending, []
        subscription.flushing = False
        if self.faults.out_of_order:
            events.reverse()
        size = subscription.batch_size
        for start in range(0, len(events), size):
            self._start(self._deliver(subscription, events[start : start + size]))
            if self.faults.out_of_order:
                await self._answered(len(self.deliveries))

    async def _answered(self, attempts_before: int) -> None:
        """Wait, briefly, until another attempt was answered: the reversed order must show."""
        for _ in range(100):
            if len(self.deliveries) > attempts_before:
                return
            await asyncio.sleep(0.005)

    async def _deliver(self, subscription: _Subscription, events: list[_Event]) -> None:
        """Attempt until accepted, hopeless, or too old."""
        loop = asyncio.get_running_loop()
        too_late_at = loop.time() + _TIME_TO_LIVE_SECONDS * self._retry_scale
        await asyncio.sleep(self.faults.delay_seconds)
        for attempt in range(1, _MOST_ATTEMPTS + 1):
            status = await self._attempt(subscription, events, attempt)
            if status in _SUCCESS:
                if self.faults.deliver_twice:
                    await self._attempt(subscription, events, attempt)
                return
            if status in _HOPELESS:
                self._give_up(subscription, events, "NotRetriable", attempt, status)
                return
            pause = self._retry_scale * _pause_seconds(attempt, status)
            if loop.time() + pause > too_late_at:
                self._give_up(subscription, events, "TimeToLiveExceeded", attempt, status)
                return
            await asyncio.sleep(pause)
        self._give_up(subscription, events, "MaxDeliveryAttemptsExceeded", _MOST_ATTEMPTS, None)

    async def _attempt(
        self, subscription: _Subscription, events: list[_Event], attempt: int
    ) -> int | None:
        status: int | None = None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._http().post(
                subscription.endpoint,
                data=subscription.body(events),
                headers=subscription.headers(events, attempt),
                allow_redirects=False,
            ) as response:
                status = response.status
        ids = tuple(event.id for event in events)
        self.deliveries.append(
            Delivery(subscription=subscription.name, event_ids=ids, attempt=attempt, status=status)
        )
        return status

    def _give_up(
        self,
        subscription: _Subscription,
        events: list[_Event],
        reason: str,
        attempts: int,
        status: int | None,
    ) -> None:
        self.dead_letters += [
            DeadLetter(
                subscription=subscription.name,
                event_id=event.id,
                reason=reason,
                attempts=attempts,
                last_status=status,
            )
            for event in events
        ]

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._tls or True),
                timeout=aiohttp.ClientTimeout(total=_RESPONSE_SECONDS),
                headers={"User-Agent": "Microsoft-Azure-EventGrid (sandbox)"},
            )
        return self._session

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _pause_seconds(attempt: int, status: int | None) -> float:
    """Return how long to wait after failed *attempt* (from 1), unscaled."""
    scheduled = _RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS)) - 1]
    return max(scheduled, _LEAST_SECONDS.get(status or 0, 0))


def _validation_url(name: str) -> str:
    token = secrets.token_hex(8)
    return f"https://rp-sandbox.{_ORIGIN}:553/eventsubscriptions/{name}/validate?token={token}"
