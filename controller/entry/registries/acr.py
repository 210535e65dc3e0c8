"""Azure Container Registry: Event Grid's events, both schemas, and its own webhooks.

All carry the same inner object: ``action``, ``target``, ``request``.
Source: learn.microsoft.com/azure/event-grid/event-schema-container-registry,
learn.microsoft.com/azure/container-registry/container-registry-webhook-reference and
learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from pydantic import AliasChoices, Field

from controller.entry.http import json_value
from controller.entry.registries.artifacts import judge
from controller.entry.registries.pushes import Handshake, Ignored, Notice, header
from controller.entry.registries.reading import (
    Digest,
    Loose,
    Repository,
    Tag,
    Text,
    incomplete,
    moment,
    of_each,
    validated,
)

_IMAGE_PUSHED: Final = "Microsoft.ContainerRegistry.ImagePushed"
_PUSHES: Final = frozenset({_IMAGE_PUSHED.lower(), "imagepushed"})
_OURS: Final = re.compile(
    r"(microsoft\.containerregistry\.)?(image|chart)(pushed|deleted)", re.IGNORECASE
)
_ENVELOPES: Final = ("eventType", "specversion")
_VALIDATION: Final = "microsoft.eventgrid.subscriptionvalidationevent"
_FAREWELLS: Final = frozenset({"subscriptiondeletion", "unsubscribe"})
_REGISTRY_IN_TOPIC: Final = re.compile(
    r"/providers/Microsoft\.ContainerRegistry/registries/([A-Za-z0-9]+)", re.IGNORECASE
)


class _Target(Loose):
    repository: Repository
    digest: Digest
    tag: Tag = ""
    media_type: Text = Field(default="", alias="mediaType")


class _Request(Loose):
    host: Text = ""


class _Inner(Loose):
    id: Text = ""
    action: Text = Field(min_length=1)
    timestamp: Any = None
    target: dict[str, Any] | None = None
    request: _Request | None = None


class _Event(Loose):
    id: Text = ""
    kind: Text = Field(default="", validation_alias=AliasChoices("eventType", "type"))
    source: Text = Field(default="", validation_alias=AliasChoices("topic", "source"))
    data: Any = None


class _Validation(Loose):
    code: str = Field(alias="validationCode", min_length=1, max_length=200)


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:
    """Return what a request says: a native webhook, or Event Grid's events in any form.

    Raises:
        MalformedError: nothing of it is understood.
    """
    if header(headers, "aeg-event-type").lower() in _FAREWELLS:
        return (Ignored(reason="Event Grid's subscription was deleted"),)
    said = json_value(body)
    kind = header(headers, "ce-type")
    if kind:
        source, event_id = header(headers, "ce-source"), header(headers, "ce-id")
        return (parse_event(kind, said, event_id=event_id, source=source),)
    if isinstance(said, list):
        if not said:
            raise incomplete("is an empty list")
        return of_each(cast("Iterable[Any]", said), _event)
    if isinstance(said, dict) and any(name in said for name in _ENVELOPES):
        return (_event(cast("Mapping[str, Any]", said)),)
    return (_parse_inner(cast("object", said), event_id="", source=""),)


def parse_event(event_type: str, data: object, *, event_id: str, source: str) -> Notice:
    """Return what an Event Grid event (either schema) says.

    Args:
        event_type: ``eventType`` or ``type``, in the long or the short printed form.
        data: the event's ``data``.
        event_id: the event's id; with *source* it is unique.
        source: ``topic`` or ``source``, the registry's resource id.

    Raises:
        MalformedError: a push event that lacks what a push has.
    """
    event_type = event_type.strip() or _IMAGE_PUSHED  # older workers lose a CloudEvent's type
    if event_type.lower() == _VALIDATION:
        return Handshake(code=validated(_Validation, data).code)
    if not _OURS.fullmatch(event_type):
        return Ignored(
            reason=f"event type {event_type!r} is not a registry push", event_id=event_id
        )
    if event_type.lower() not in _PUSHES:
        return Ignored(reason=f"{event_type}: not an image push", event_id=event_id)
    unique = f"{source.lower()}#{event_id}" if event_id else ""
    return _parse_inner(data, event_id=unique, source=source)


def _event(said: object) -> Notice:
    event = validated(_Event, said)
    return parse_event(event.kind, event.data, event_id=event.id, source=event.source)


def _parse_inner(data: object, *, event_id: str, source: str) -> Notice:
    inner = validated(_Inner, data)
    event_id = event_id or inner.id
    if inner.action.lower() != "push":
        return Ignored(reason=f"action {inner.action!r} is not an image push", event_id=event_id)
    target = validated(_Target, inner.target)
    host = (inner.request.host if inner.request else "") or _host_from(source)
    if not host:
        raise incomplete("names no registry: request.host and the topic are both missing")
    return judge(
        registry=host,
        repository=target.repository,
        digest=target.digest,
        tag=target.tag,
        event_id=event_id,
        media_type=target.media_type,
        pushed_at=moment(inner.timestamp),
    )


def _host_from(source: str) -> str:
    """A connected registry's events carry no host; the topic names the parent registry."""
    found = _REGISTRY_IN_TOPIC.search(source)
    return f"{found.group(1).lower()}.azurecr.io" if found else ""
