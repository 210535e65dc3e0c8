"""Azure Container Registry: its Event Grid events (both schemas) and its native webhooks.

All three carry the same inner object: ``action``, ``target``, ``request``.
Source: learn.microsoft.com/azure/event-grid/event-schema-container-registry and
learn.microsoft.com/azure/container-registry/container-registry-webhook-reference.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from controller.core.errors import MalformedError
from controller.entry.registries.pushes import Ignored, Notice, Push

M = TypeVar("M", bound=BaseModel)

_IMAGE_PUSHED: Final = "Microsoft.ContainerRegistry.ImagePushed"
_PUSHES: Final = frozenset({_IMAGE_PUSHED.lower(), "imagepushed"})
_OURS: Final = re.compile(
    r"(microsoft\.containerregistry\.)?(image|chart)(pushed|deleted)", re.IGNORECASE
)
_SIGNATURE: Final = re.compile(r"sha256-[0-9a-f]{64}(\.(sig|att|sbom|cosign))?", re.IGNORECASE)
_MANIFESTS: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
    }
)
_REGISTRY_IN_TOPIC: Final = re.compile(
    r"/providers/Microsoft\.ContainerRegistry/registries/([A-Za-z0-9]+)", re.IGNORECASE
)


def _none_as_empty(value: object) -> object:
    return "" if value is None else value


_Text = Annotated[str, BeforeValidator(_none_as_empty)]


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # registries add fields freely


class _Target(_Loose):
    repository: str = Field(min_length=1, max_length=255)
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    tag: Annotated[_Text, Field(max_length=128)] = ""
    media_type: _Text = Field(default="", alias="mediaType")


class _Request(_Loose):
    host: _Text = ""


class _Inner(_Loose):
    id: _Text = ""
    action: str = Field(min_length=1)
    target: dict[str, Any] | None = None
    request: _Request | None = None


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
    if not _OURS.fullmatch(event_type):
        return Ignored(
            reason=f"event type {event_type!r} is not a registry push", event_id=event_id
        )
    if event_type.lower() not in _PUSHES:
        return Ignored(reason=f"{event_type}: not an image push", event_id=event_id)
    return _parse_inner(data, event_id=f"{source.lower()}#{event_id}", source=source)


def parse_webhook(body: object) -> Notice:
    """Return what a native webhook says; ping and other actions are ignored with a reason.

    Raises:
        MalformedError: not such a body.
    """
    return _parse_inner(body, event_id="", source="")


def _parse_inner(data: object, *, event_id: str, source: str) -> Notice:
    inner = _validated(_Inner, data)
    event_id = event_id or inner.id
    if inner.action.lower() != "push":
        return Ignored(reason=f"action {inner.action!r} is not an image push", event_id=event_id)
    target = _validated(_Target, inner.target)
    host = (inner.request.host if inner.request else "") or _host_from(source)
    if not host:
        raise MalformedError(
            "The push names no registry: request.host and the topic are both missing.",
            fix="Send the event as the registry wrote it.",
        )
    if reason := _not_deployable(target):
        return Ignored(reason=reason, event_id=event_id)
    return Push(
        registry=host.lower(),
        repository=target.repository,
        digest=target.digest,
        tag=target.tag,
        event_id=event_id,
        media_type=target.media_type,
    )


def _not_deployable(target: _Target) -> str | None:
    name = f"{target.repository}@{target.digest[7:19]}"
    if target.media_type and target.media_type.split(";")[0].strip().lower() not in _MANIFESTS:
        return f"{name} is {target.media_type}, not a container image"
    if not target.tag:
        return f"{name} was pushed without a tag: a child of an index, or an attestation"
    if _SIGNATURE.fullmatch(target.tag):
        return f"{target.repository}:{target.tag} is a signature or attestation of another image"
    return None


def _host_from(source: str) -> str:
    """A connected registry's events carry no host; the topic names the parent registry."""
    found = _REGISTRY_IN_TOPIC.search(source)
    return f"{found.group(1).lower()}.azurecr.io" if found else ""


def _validated(model: type[M], data: object) -> M:
    if not isinstance(data, Mapping):
        raise MalformedError(
            f"Expected a JSON object, got {type(data).__name__}.",
            fix="Send the event as the registry wrote it.",
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:5]
        )
        raise MalformedError(
            f"The registry event is not understood: {problems}.",
            fix="Send the event as the registry wrote it.",
        ) from error
