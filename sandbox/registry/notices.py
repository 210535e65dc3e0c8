"""A push as each registry's webhook tells it: ACR, GitHub, Docker Hub, Harbor, distribution."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.registry.events import PushEvent, event_grid_data

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is posted: exact bytes, since GitHub signs them, and the sender's own headers."""

    body: bytes
    headers: Mapping[str, str] = field(hash=False)


# Returns None where that registry would say nothing.
Renderer = Callable[[PushEvent], Notice | None]


def acr(event: PushEvent) -> Notice:
    """ACR's own webhook: the Event Grid event's data without its envelope, unsigned."""
    return _acr(event_grid_data(event))


def acr_ping() -> Notice:
    """What ACR sends when somebody tries the webhook."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return _acr({"id": str(uuid.uuid4()), "timestamp": stamp, "action": "ping"})


def github(secret: str) -> Renderer:
    """Return GitHub's ``package`` event, signed with *secret*, for the container registry."""

    def render(event: PushEvent) -> Notice | None:
        if event.action != "push":
            return None
        body = json.dumps(_github_body(event)).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "User-Agent": "GitHub-Hookshot/044aadd",
            "X-GitHub-Event": "package",
            "X-GitHub-Delivery": event.id,
            "X-Hub-Signature-256": f"sha256={signature}",
        }
        return Notice(body, {"Content-Type": "application/json", **headers})

    return render


def docker_hub(event: PushEvent) -> Notice | None:
    """Docker Hub names the tag and no digest, and is silent without a tag."""
    if event.action != "push" or event.tag is None:
        return None
    namespace, name = _split(event)
    repository = {"name": name, "namespace": namespace, "repo_name": event.repository}
    pushed = {"pushed_at": int(event.timestamp.timestamp()), "pusher": "ci", "tag": event.tag}
    return _json({"push_data": pushed, "repository": repository, "callback_url": ""})


def harbor(event: PushEvent) -> Notice:
    """Harbor puts the digest where the tag should be when there is none."""
    namespace, name = _split(event)
    separator = ":" if event.tag else "@"
    version = event.tag or event.digest
    resource = {
        "digest": event.digest,
        "tag": version,
        "resource_url": f"{event.host}/{event.repository}{separator}{version}",
    }
    repository = {"name": name, "namespace": namespace, "repo_full_name": event.repository}
    return _json(
        {
            "type": {"push": "PUSH_ARTIFACT", "delete": "DELETE_ARTIFACT"}[event.action],
            "occur_at": int(event.timestamp.timestamp()),
            "operator": "ci",
            "event_data": {"resources": [resource], "repository": repository},
        }
    )


def distribution(event: PushEvent) -> Notice:
    """The open-source registry's envelope; a deletion has digest and repository only."""
    one = event_grid_data(event)
    if event.action == "delete":
        one["target"] = {"digest": event.digest, "repository": event.repository}
    return _json({"events": [one]}, "application/vnd.docker.distribution.events.v2+json")


def _acr(body: Json) -> Notice:
    notice = _json(body)
    return Notice(notice.body, {**notice.headers, "User-Agent": "AzureContainerRegistry/1.0"})


def _json(body: Json, content_type: str = "application/json") -> Notice:
    return Notice(json.dumps(body).encode(), {"Content-Type": content_type})


def _split(event: PushEvent) -> tuple[str, str]:
    namespace, _, name = event.repository.rpartition("/")
    return namespace or "library", name


def _github_body(event: PushEvent) -> Json:
    """An untagged manifest has an empty tag name and a package URL that ends in a colon."""
    namespace, name = _split(event)
    tag = event.tag or ""
    metadata = {
        "tag": {"name": tag, "digest": event.digest},
        "manifest": {
            "digest": event.digest,
            "media_type": event.media_type,
            "size": event.size,
        },
    }
    package = {
        "id": 1,
        "name": name,
        "namespace": namespace,
        "ecosystem": "CONTAINER",
        "package_type": "CONTAINER",
        "owner": {"login": namespace},
        "package_version": {
            "id": 1,
            "version": event.digest,
            "name": event.digest,
            "container_metadata": metadata,
            "package_url": f"{event.host}/{event.repository}:{tag}",
        },
        "registry": {"name": "GitHub CONTAINER registry", "type": "CONTAINER"},
    }
    return {"action": "published", "package": package, "sender": {"login": "ci"}}
