"""What Azure Container Registry says, and what we make of it."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.core.errors import MalformedError
from controller.entry.registries import acr
from controller.entry.registries.pushes import Ignored, Push

DIGEST = "sha256:" + "ab" * 32
TOPIC = (
    "/subscriptions/0/resourceGroups/rg/providers/Microsoft.ContainerRegistry/registries/Contoso"
)
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def data(**target: Any) -> dict[str, Any]:
    """Return the inner object of a push, in the shape that ACR documents."""
    return {
        "id": "31c51664-e5bd-416a-a5df-e5206bc47ed0",
        "timestamp": "2026-04-25T21:39:47.276585742Z",
        "action": "push",
        "target": {
            "mediaType": MANIFEST,
            "size": 3023,
            "digest": DIGEST,
            "length": 3023,
            "repository": "shop",
            "tag": "v1",
        }
        | target,
        "request": {
            "id": "7c66f28b-de19-40a4-821c-6f5f6c0003a4",
            "host": "Contoso.azurecr.io",
            "method": "PUT",
            "useragent": "docker/28.0.0 os/linux arch/amd64",
        },
    }


def without(target: dict[str, Any], *path: str) -> dict[str, Any]:
    changed = copy.deepcopy(target)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return changed


def event(body: object, kind: str = "Microsoft.ContainerRegistry.ImagePushed") -> Push | Ignored:
    notice = acr.parse_event(kind, body, event_id="e1", source=TOPIC)
    assert isinstance(notice, Push | Ignored)
    return notice


def webhook(body: object) -> Push | Ignored:
    (notice,) = acr.parse({}, json.dumps(body).encode())
    assert isinstance(notice, Push | Ignored)
    return notice


@pytest.mark.parametrize(
    "kind", ["Microsoft.ContainerRegistry.ImagePushed", "ImagePushed", "imagepushed", ""]
)
def test_a_push_is_a_push_under_every_printed_name(kind: str) -> None:
    pushed = event(data(), kind)

    assert isinstance(pushed, Push)
    assert (pushed.registry, pushed.repository, pushed.digest, pushed.tag) == (
        "contoso.azurecr.io",
        "shop",
        DIGEST,
        "v1",
    )


def test_the_event_id_is_unique_per_registry() -> None:
    pushed = event(data())

    assert pushed.event_id == f"{TOPIC.lower()}#e1"


def test_an_index_is_deployable() -> None:
    assert isinstance(event(data(mediaType=INDEX)), Push)


IGNORED: list[tuple[str, Callable[[], Push | Ignored], str]] = [
    ("untagged", lambda: event(without(data(), "target", "tag")), "without a tag"),
    ("empty-tag", lambda: event(data(tag="")), "without a tag"),
    ("null-tag", lambda: event(data(tag=None)), "without a tag"),
    ("signature", lambda: event(data(tag="sha256-" + "0" * 64 + ".sig")), "signature"),
    ("attestation", lambda: event(data(tag="sha256-" + "0" * 64 + ".att")), "signature"),
    ("sbom", lambda: event(data(tag="sha256-" + "0" * 64 + ".sbom")), "signature"),
    ("referrers-tag", lambda: event(data(tag="sha256-" + "0" * 64)), "signature"),
    ("helm", lambda: event(data(mediaType="application/vnd.acr.helm.chart")), "not a container"),
    ("delete", lambda: event(data() | {"action": "delete"}), "action 'delete'"),
    ("chart", lambda: event(data(), "Microsoft.ContainerRegistry.ChartPushed"), "not an image"),
    ("deleted", lambda: event({}, "Microsoft.ContainerRegistry.ImageDeleted"), "not an image"),
    ("foreign", lambda: event({}, "Microsoft.Storage.BlobCreated"), "not a registry push"),
    ("ping", lambda: webhook({"id": "1", "timestamp": "t", "action": "ping"}), "ping"),
    ("quarantine", lambda: webhook(data() | {"action": "quarantine"}), "quarantine"),
]


@pytest.mark.parametrize(
    ("say", "reason"), [pytest.param(*case, id=name) for name, *case in IGNORED]
)
def test_what_is_not_deployable_is_ignored_with_its_reason(
    say: Callable[[], Push | Ignored], reason: str
) -> None:
    notice = say()

    assert isinstance(notice, Ignored)
    assert reason in notice.reason


MALFORMED: list[tuple[str, object]] = [
    ("nothing", None),
    ("text", "push"),
    ("list", [data()]),
    ("no-target", without(data(), "target")),
    ("null-target", data() | {"target": None}),
    ("no-action", without(data(), "action")),
    ("short-digest", data(digest="sha256:abc")),
    ("no-digest", without(data(), "target", "digest")),
    ("no-repository", without(data(), "target", "repository")),
    ("number-as-tag", data(tag=7)),
]


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in MALFORMED])
def test_a_push_that_lacks_what_a_push_has_is_refused_with_words(body: object) -> None:
    with pytest.raises(MalformedError) as refused:
        event(body)

    assert refused.value.fix


def test_a_connected_registrys_event_names_its_parent_through_the_topic() -> None:
    pushed = event(without(data(), "request"))

    assert isinstance(pushed, Push)
    assert pushed.registry == "contoso.azurecr.io"


def test_a_webhook_without_a_host_is_refused() -> None:
    with pytest.raises(MalformedError, match="names no registry"):
        webhook(without(data(), "request"))
