"""What the Service Bus extension tells the worker about a message beside its body."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage

from sandbox.functions_host.messages import TypedData

_FOREVER = dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=dt.UTC)
_ZONELESS = "%Y-%m-%dT%H:%M:%S.%f"


def trigger_metadata(message: ServiceBusReceivedMessage) -> dict[str, TypedData]:
    """Return exactly what extension 5.x emits; nulls are skipped, as the host does.

    Not among it, hence None in the function: LockedUntil, TimeToLive, ScheduledEnqueueTimeUtc,
    State, EnqueuedSequenceNumber, DeadLetterReason (that one is an application property). The
    ...Utc values are .NET DateTimes of no stated kind, hence naive datetimes in Python.
    DeliveryCount starts at 1 there and at 0 in the Python client.
    """
    enqueued = message.enqueued_time_utc or _FOREVER
    expires = message.expires_at_utc or _FOREVER
    properties = _plain(message.application_properties or {})
    values: dict[str, object] = {
        "DeliveryCount": (message.delivery_count or 0) + 1,
        "ExpiresAtUtc": _zoneless(expires),
        "ExpiresAt": _zoneless(expires) + "+00:00",
        "EnqueuedTimeUtc": _zoneless(enqueued),
        "EnqueuedTime": _zoneless(enqueued) + "+00:00",
        "SequenceNumber": message.sequence_number,
        "ApplicationProperties": properties,
        "UserProperties": properties,  # without it the worker cannot tell one message from many
    }
    texts: dict[str, object] = {
        "DeadLetterSource": message.dead_letter_source,
        "LockToken": message.lock_token,
        "MessageId": message.message_id,
        "ContentType": message.content_type,
        "ReplyTo": message.reply_to,
        "To": message.to,
        "Subject": message.subject,
        "Label": message.subject,
        "CorrelationId": message.correlation_id,
        "SessionId": message.session_id,
        "ReplyToSessionId": message.reply_to_session_id,
        "PartitionKey": message.partition_key,
    }
    return {name: TypedData(json=json.dumps(value)) for name, value in values.items()} | {
        name: TypedData(string=str(value)) for name, value in texts.items() if value is not None
    }


def message_data(message: ServiceBusReceivedMessage, data_type: str) -> TypedData:
    """Return the body as the host hands it over: text, unless the binding says binary."""
    body = b"".join(message.body)
    if data_type.lower() == "binary":
        return TypedData(bytes=body)
    return TypedData(string=body.decode("utf-8", errors="replace"))


def _zoneless(moment: dt.datetime) -> str:
    """Return *moment* as .NET writes a DateTime without a zone."""
    return moment.strftime(_ZONELESS)


def _plain(properties: Mapping[Any, Any]) -> dict[str, object]:
    """AMQP allows bytes, symbols and times; JSON does not."""
    return {str(_value(name)): _value(value) for name, value in properties.items()}


def _value(value: object) -> object:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return value if isinstance(value, int | float | bool | str | None) else str(value)
