"""A push as each registry's webhook tells it: ACR, GitHub, Docker Hub, Harbor, distribution."""

import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlencode

from sandbox.registry.events import PushEvent, event_grid_data

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Notice:
    """What is posted: exact bytes, since GitHub signs them, and the sender's own headers."""

    body: bytes
    headers: Mapping[str, str] = field(hash=False)


# Returns None where that registry would say nothing.
Renderer = Callable[[PushEvent], Notice | None]

_GITHUB_REST: Json = {"repository": {"full_name": "octo/shop"}, "sender": {"login": "ci"}}


def acr(event: PushEvent) -> Notice:
    """ACR's own webhook: the Event Grid event's data without its envelope, unsigned."""
    return _acr(event_grid_data(event))


def acr_ping() -> Notice:
    """What ACR sends when somebody tries the webhook."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return _acr({"id": str(uuid.uuid4()), "timestamp": stamp, "action": "ping"})


def acr_chart(event: PushEvent) -> Notice:
    """A Helm chart of the old kind: an action of its own, and more about the target."""
    body = event_grid_data(event)
    name, version = event.repository.rpartition("/")[2], event.tag or "1.0.0"
    body["action"] = f"chart_{event.action}"
    body["target"] |= {
        "mediaType": "application/vnd.acr.helm.chart",
        "tag": f"{name}-{version}.tgz",
        "name": name,
        "version": version,
    }
    del body["request"]
    return _acr(body)


def acr_quarantine(event: PushEvent) -> Notice:
    """An image that waits until a scanner lets it out."""
    return _acr({**event_grid_data(event), "action": "quarantine"})


def github(
    secret: str,
    *,
    event_name: Literal["package", "registry_package"] = "package",
    as_form: bool = False,
) -> Renderer:
    """Return GitHub's event for the container registry, signed with *secret*.

    A repository's webhook says ``package``, a GitHub App's ``registry_package``.
    """

    def render(event: PushEvent) -> Notice | None:
        if event.action != "push":
            return None
        body = {"action": "published", event_name: _github_package(event), **_GITHUB_REST}
        return _github(secret, event_name, event.id, body, as_form=as_form)

    return render


def github_ping(secret: str) -> Notice:
    """What GitHub sends when a webhook is made."""
    hook = {"type": "Repository", "name": "web", "active": True, "events": ["package"]}
    body = {"zen": "Design for failure.", "hook_id": 1, "hook": hook, **_GITHUB_REST}
    return _github(secret, "ping", str(uuid.uuid4()), body, as_form=False)


def docker_hub(event: PushEvent) -> Notice | None:
    """Docker Hub names the tag and no digest, and is silent without a tag."""
    if event.action != "push" or event.tag is None:
        return None
    namespace, name = _split(event)
    repository = {
        "name": name,
        "namespace": namespace,
        "owner": namespace,
        "repo_name": f"{namespace}/{name}",
        "is_official": namespace == "library",
        "is_private": False,
        "status": "Active",
    }
    pushed: Json = {
        "pushed_at": int(event.timestamp.timestamp()),
        "pusher": "ci",
        "tag": event.tag,
        "images": [],
        "media_type": event.media_type,
    }
    return _json({"push_data": pushed, "repository": repository, "callback_url": ""})


def harbor(event: PushEvent) -> Notice:
    """Harbor's own format. It puts the digest where the tag should be when there is none."""
    return _json(
        {
            "type": {"push": "PUSH_ARTIFACT", "delete": "DELETE_ARTIFACT"}[event.action],
            "occur_at": int(event.timestamp.timestamp()),
            "operator": "ci",
            "event_data": _harbor_data(event),
        }
    )


def harbor_cloud_events(event: PushEvent) -> Notice:
    """The same as a CloudEvent: time in seconds, an id of its own."""
    kind = {"push": "pushed", "delete": "deleted"}[event.action]
    body = {
        "specversion": "1.0",
        "id": event.id,
        "requestid": event.request_id,
        "source": "/projects/2/webhook/policies/15",
        "type": f"harbor.artifact.{kind}",
        "datacontenttype": "application/json",
        "time": event.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "data": _harbor_data(event),
        "operator": "ci",
    }
    return _json(body, "application/cloudevents+json")


def distribution(event: PushEvent) -> Notice:
    """The open-source registry's envelope; a deletion has digest and repository only."""
    return _envelope(_distribution_event(event))


def distribution_mixed(event: PushEvent) -> Notice:
    """An envelope as a busy registry sends it: a layer's push and a pull before what matters."""
    main = _distribution_event(event)
    layer = {"mediaType": "application/octet-stream", "digest": event.digest, "size": 9}
    layer |= {"repository": event.repository, "url": f"https://{event.host}/v2/blobs"}
    return _envelope(
        {**main, "id": str(uuid.uuid4()), "action": "push", "target": layer},
        {**main, "id": str(uuid.uuid4()), "action": "pull"},
        main,
    )


def _envelope(*events: Json) -> Notice:
    # 2.8 says v1 although the format is that of v2; so do the newer ones.
    return _json({"events": list(events)}, "application/vnd.docker.distribution.events.v1+json")


def _distribution_event(event: PushEvent) -> Json:
    one = event_grid_data(event)
    if event.action == "delete":
        one["target"] = {"digest": event.digest, "repository": event.repository}
    else:
        place = f"https://{event.host}/v2/{event.repository}/manifests/{event.digest}"
        one["target"]["url"] = place
    one["request"]["addr"] = "127.0.0.1:48126"
    return {**one, "actor": {"name": "ci"}, "source": {"addr": event.host, "instanceID": "1"}}


def _acr(body: Json) -> Notice:
    notice = _json(body)
    return Notice(notice.body, {**notice.headers, "User-Agent": "AzureContainerRegistry/1.0"})


def _json(body: Json, content_type: str = "application/json") -> Notice:
    return Notice(json.dumps(body).encode(), {"Content-Type": content_type})


def _split(event: PushEvent) -> tuple[str, str]:
    namespace, _, name = event.repository.rpartition("/")
    return namespace or "library", name


def _harbor_data(event: PushEvent) -> Json:
    namespace, name = _split(event)
    separator = ":" if event.tag else "@"
    version = event.tag or event.digest
    resource = {
        "digest": event.digest,
        "tag": version,
        "resource_url": f"{event.host}/{event.repository}{separator}{version}",
    }
    repository = {
        "date_created": int(event.timestamp.timestamp()),
        "name": name,
        "namespace": namespace,
        "repo_full_name": event.repository,
        "repo_type": "private",
    }
    return {"resources": [resource], "repository": repository}


def _github(secret: str, event_name: str, delivery: str, said: Json, *, as_form: bool) -> Notice:
    """GitHub signs the bytes that it sends, whichever content type is configured."""
    text = json.dumps(said)
    body = (urlencode({"payload": text}) if as_form else text).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    kind = "application/x-www-form-urlencoded" if as_form else "application/json"
    headers = {
        "Content-Type": kind,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event_name,
        "X-GitHub-Delivery": delivery,
        "X-GitHub-Hook-ID": "1",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    return Notice(body, headers)


def _github_package(event: PushEvent) -> Json:
    """An untagged manifest has an empty tag name and a package URL that ends in a colon."""
    namespace, name = _split(event)
    tag = event.tag or ""
    stamp = event.timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = {"digest": event.digest, "media_type": event.media_type, "size": event.size}
    version = {
        "id": 1,
        "version": event.digest,
        "name": event.digest,
        "created_at": stamp,
        "updated_at": None,
        "container_metadata": {
            "tag": {"name": tag, "digest": event.digest},
            "manifest": manifest,
        },
        "package_url": f"{event.host}/{event.repository}:{tag}",
    }
    return {
        "id": 1,
        "name": name,
        "namespace": namespace,
        "ecosystem": "CONTAINER",
        "package_type": "CONTAINER",
        "updated_at": stamp,
        "owner": {"login": namespace},
        "package_version": version,
        "registry": {"name": "GitHub CONTAINER registry", "type": "CONTAINER"},
    }
