"""Any registry that sends the notifications of CNCF Distribution: GitLab's, or one's own.

One envelope mixes pushes, pulls, mounts and deletions of manifests and blobs. The sender repeats
an envelope until it is taken, and sends nothing else meanwhile.
Source: distribution.github.io/distribution/about/notifications.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from controller.entry.http import json_value
from controller.entry.registries.artifacts import MANIFESTS, bare, judge
from controller.entry.registries.pushes import Ignored, Notice
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


class _Part(Loose):
    media_type: Text = Field(default="", alias="mediaType")


class _Glance(_Part):
    """Enough to tell blobs apart, whatever else they lack."""

    repository: Text = ""


class _Target(Loose):
    repository: Repository
    digest: Digest
    tag: Tag = ""
    media_type: Text = Field(default="", alias="mediaType")
    url: Text = ""
    references: list[_Part] | None = None


class _Request(Loose):
    host: Text = ""


class _Event(Loose):
    id: Text = ""
    action: Text = Field(min_length=1)
    timestamp: Any = None
    target: dict[str, Any] | None = None
    request: _Request | None = None


class _Envelope(Loose):
    events: list[Any]


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:  # noqa: ARG001 - one form for all
    """Return what each event of the envelope says.

    Raises:
        MalformedError: it is no envelope.
    """
    # An event that nobody understands must be taken, too: its sender would repeat it for ever and
    # hold every later push back.
    envelope = validated(_Envelope, json_value(body))
    return of_each(envelope.events, _event, may_all_be_odd=True)


def _event(said: object) -> Notice:
    event = validated(_Event, said)
    if event.action.lower() != "push":
        return Ignored(reason=f"action {event.action!r} is not a push", event_id=event.id)
    glance = validated(_Glance, event.target)
    if glance.media_type and bare(glance.media_type) not in MANIFESTS:
        what = f"a part of {glance.repository} is {glance.media_type}, not a container image"
        return Ignored(reason=what, event_id=event.id)
    target = validated(_Target, event.target)
    host = (event.request.host if event.request else "") or _host_in(target.url)
    if not host:
        raise incomplete("names no registry: request.host and target.url are both missing")
    if not target.media_type and "/manifests/" not in target.url:
        what = f"{target.repository}@{target.digest[7:19]} is not said to be a manifest"
        return Ignored(reason=what, event_id=event.id)
    return judge(
        registry=host,
        repository=target.repository,
        digest=target.digest,
        tag=target.tag,
        event_id=f"{host.lower()}#{event.id}" if event.id else "",
        media_type=target.media_type,
        parts=[part.media_type for part in target.references or ()],
        pushed_at=moment(event.timestamp),
    )


def _host_in(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
