"""GitHub's container registry: the events ``package`` and ``registry_package``.

Source: docs.github.com/webhooks/webhook-events-and-payloads. A repository's or organisation's
webhook sends the first, a GitHub App's the second; the form is one.
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Final
from urllib.parse import parse_qs

from pydantic import BeforeValidator, Field

from controller.core.errors import MalformedError
from controller.entry.http import json_value
from controller.entry.registries.artifacts import judge
from controller.entry.registries.pushes import Ignored, Notice, header
from controller.entry.registries.reading import Loose, Tag, Text, incomplete, moment, validated

_HOST: Final = "ghcr.io"
_EVENTS: Final = frozenset({"package", "registry_package"})
_ACTIONS: Final = frozenset({"published", "updated", "create", "created"})
_CONTAINERS: Final = frozenset({"container", "docker"})
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_FORM: Final = "application/x-www-form-urlencoded"


def _mapping_or_none(value: object) -> object:
    return None if value == "" else value  # where there is nothing GitHub writes "" or null


class _Config(Loose):
    media_type: Text = ""


class _Manifest(Loose):
    digest: Text = ""
    media_type: Text = ""
    config: Annotated[_Config | None, BeforeValidator(_mapping_or_none)] = None


class _TagPart(Loose):
    name: Tag = ""
    digest: Text = ""


class _Container(Loose):
    tag: Annotated[_TagPart | None, BeforeValidator(_mapping_or_none)] = None
    manifest: Annotated[_Manifest | None, BeforeValidator(_mapping_or_none)] = None


class _Version(Loose):
    version: Text = ""
    name: Text = ""
    created_at: Any = None
    updated_at: Any = None
    package_url: Text = ""
    container: Annotated[_Container | None, BeforeValidator(_mapping_or_none)] = Field(
        default=None, alias="container_metadata"
    )


class _Registry(Loose):
    type: Text = ""


class _Owner(Loose):
    login: Text = ""


class _Package(Loose):
    name: Text = ""
    namespace: Text = ""
    package_type: Text = ""
    ecosystem: Text = ""
    updated_at: Any = None
    owner: _Owner | None = None
    registry: _Registry | None = None
    package_version: _Version | None = None

    def is_container(self) -> bool:
        """One of three fields says so; GitHub has been wrong in each."""
        told = (self.package_type, self.ecosystem, self.registry.type if self.registry else "")
        return any(each.lower() in _CONTAINERS for each in told)


class _Event(Loose):
    action: Text = Field(min_length=1)
    package: dict[str, Any] | None = None
    registry_package: dict[str, Any] | None = None


def parse(headers: Mapping[str, str], body: bytes) -> tuple[Notice, ...]:
    """Return what the webhook says. The signature is checked before, over the same bytes.

    Raises:
        MalformedError: not such a webhook.
    """
    return (_parse(headers, body),)


def _parse(headers: Mapping[str, str], body: bytes) -> Notice:
    event_id = f"github#{header(headers, 'x-github-delivery') or sha256(body).hexdigest()}"
    kind = header(headers, "x-github-event").lower()
    if not kind:
        raise incomplete("has no header X-GitHub-Event")
    if kind not in _EVENTS:
        what = "a ping" if kind == "ping" else f"event {kind!r} is not about a package"
        return Ignored(reason=what, event_id=event_id)
    event = validated(_Event, json_value(_payload(headers, body)))
    if event.action.lower() not in _ACTIONS:
        return Ignored(reason=f"action {event.action!r} publishes nothing", event_id=event_id)
    return _package(validated(_Package, event.package or event.registry_package), event_id=event_id)


def _payload(headers: Mapping[str, str], body: bytes) -> bytes:
    """Return the JSON, which a webhook may be configured to send as a form's field."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return body
    try:
        fields = parse_qs(body.decode(), max_num_fields=10, strict_parsing=True, errors="strict")
        return fields["payload"][0].encode()
    except (KeyError, ValueError) as error:
        raise MalformedError(
            "The form has no field 'payload' that can be read.",
            fix="Send the webhook as GitHub does, best with content type application/json.",
        ) from error


def _package(package: _Package, *, event_id: str) -> Notice:
    if not package.is_container():
        kind = package.package_type or package.ecosystem or "unknown"
        return Ignored(reason=f"package {package.name!r} is of type {kind}", event_id=event_id)
    version = package.package_version
    if version is None:
        raise incomplete("has no package_version")
    container = version.container or _Container()
    manifest, tag = container.manifest or _Manifest(), container.tag or _TagPart()
    host, repository = _place(package, version)
    digest, conflict = _digest(version, manifest, tag)
    if conflict and tag.name:
        what = f"{repository}:{tag.name} is told of with different digests: {conflict}"
        return Ignored(reason=what, event_id=event_id, is_odd=True)
    return judge(
        registry=host,
        repository=repository,
        digest=digest,
        tag=tag.name,
        event_id=event_id,
        media_type=manifest.media_type,
        parts=[manifest.config.media_type] if manifest.config else (),
        pushed_at=moment(version.updated_at, version.created_at, package.updated_at),
    )


def _digest(version: _Version, manifest: _Manifest, tag: _TagPart) -> tuple[str | None, str]:
    """Return the digest (None: ask the registry), and the contradiction where there is one.

    The manifest's is the truth where one of the others says the same, or none says anything.
    Without it the others must agree. What is not a whole digest says nothing, unless nothing
    else is said at all.
    """
    told = [version.version, version.name, tag.digest]
    others = [each for each in told if _DIGEST.fullmatch(each)]
    mine = manifest.digest if _DIGEST.fullmatch(manifest.digest) else None
    if mine and (mine in others or not others):
        return mine, ""
    different = list(dict.fromkeys([mine, *others] if mine else others))
    if len(different) > 1:
        return None, ", ".join(each[7:19] for each in different)
    if not different and any(each.startswith("sha256:") for each in (manifest.digest, *told)):
        raise incomplete("has no digest that is one")
    return (different[0] if different else None), ""


def _place(package: _Package, version: _Version) -> tuple[str, str]:
    """Return host and repository; an image's name has no capitals, its owner's may."""
    bare = version.package_url.rpartition("://")[2].partition("@")[0]
    host, _, path = bare.partition("/")
    repository = path.partition(":")[0]
    if host and repository:
        return host, repository.lower()
    owner = package.namespace.partition("/")[0] or (package.owner.login if package.owner else "")
    if not owner or not package.name:
        raise incomplete("names no repository: package_url, namespace and name are missing")
    return _HOST, f"{owner}/{package.name}".lower()
