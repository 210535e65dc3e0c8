"""Harbor: its own format and CloudEvents, whose ``data`` is the other's ``event_data``.

Source: goharbor.io/docs, "Configure Webhook Notifications". The host stands only within
``resource_url``; of what was pushed by digest, ``tag`` repeats the digest.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from controller.core.errors import MalformedError
from controller.entry.http import json_value
from controller.entry.registries.artifacts import judge
from controller.entry.registries.pushes import Ignored, Notice, header
from controller.entry.registries.reading import (
    Digest,
    Loose,
    Text,
    incomplete,
    moment,
    of_each,
    validated,
)

_PUSHES: Final = frozenset({"push_artifact", "harbor.artifact.pushed"})


class _Resource(Loose):
    digest: Annotated[Digest | None, BeforeValidator(lambda value: value or None)] = None
    tag: Annotated[Text, Field(max_length=140, pattern=r"^\S*$")] = ""
    url: Text = Field(default="", alias="resource_url")


class _Repository(Loose):
    name: Text = ""
    namespace: Text = ""
    full_name: Text = Field(default="", alias="repo_full_name")


class _Data(Loose):
    resources: list[Any] | None = None
    repository: _Repository | None = None


class _Event(Loose):
    kind: Text = Field(alias="type", min_length=1)
    id: Text = ""  # CloudEvents only
    source: Text = ""  # likewise
    time: Any = None
    occur_at: Any = None
    data: Any = None
    event_data: Any = None


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:
    """Return what the webhook says of each artifact in it.

    Raises:
        MalformedError: not such a webhook, or nothing of it is understood.
    """
    said = json_value(body)
    kind = header(headers, "ce-type")
    if kind:  # CloudEvents' binary mode
        names = {name: header(headers, f"ce-{name}") for name in ("id", "source", "time")}
        said = {**names, "type": kind, "data": said}
    event = validated(_Event, said)
    if event.kind.lower() not in _PUSHES:
        return (Ignored(reason=f"{event.kind} is not a push", event_id=event.id),)
    data = validated(_Data, event.event_data if event.data is None else event.data)
    if not data.resources:
        return (Ignored(reason="the push names no artifact", event_id=event.id),)
    repository = data.repository or _Repository()
    return of_each(data.resources, lambda resource: _resource(resource, repository, event))


def _resource(said: object, repository: _Repository, event: _Event) -> Notice:
    resource = validated(_Resource, said)
    host, path = _parts_of(resource.url)
    name = repository.full_name or f"{repository.namespace}/{repository.name}".strip("/") or path
    if not host or not name:
        raise incomplete("names no registry or no repository: see resource_url")
    if path and path.lower() != name.lower():
        raise MalformedError(
            f"The push contradicts itself: {path!r} in resource_url, {name!r} as repository.",
            fix="Send the event as the registry wrote it.",
        )
    what = resource.tag or resource.digest
    return judge(
        registry=host,
        repository=name,
        digest=resource.digest,
        tag=resource.tag,
        event_id=f"{host}{event.source}#{event.id}#{what}" if event.id else "",
        pushed_at=moment(event.time, event.occur_at),
    )


def _parts_of(url: str) -> tuple[str, str]:
    """Return host and repository of ``host[:port]/repository[:tag][@digest]``."""
    bare = url.rpartition("://")[2].partition("@")[0]
    host, _, path = bare.partition("/")
    return host, path.partition(":")[0]
