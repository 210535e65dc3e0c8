"""What each registry's door answers: pushes, handshakes, and what is told again."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import BusyError
from controller.entry import intake as intake_module
from controller.runtime.messages import COMMANDS_QUEUE
from sandbox.registry import PushEvent, notices
from sandbox.registry.notices import Notice
from tests.entry.kit import SECRET, Doors, app, error_of
from tests.entry.registry_kit import HEARD, HUB, NAMES, OURS, post, sent, told
from tests.runtime.kit import MINUTE, SHOP, digest, spec

# --- What the sandbox's registries send -----------------------------------------------------------

RENDERED: list[tuple[str, str, Callable[[PushEvent], Notice | None]]] = [
    ("acr", "acr", notices.acr),
    ("github-package", "ghcr", notices.github(SECRET)),
    ("github-app", "ghcr", notices.github(SECRET, event_name="registry_package")),
    ("github-form", "ghcr", notices.github(SECRET, as_form=True)),
    ("harbor", "harbor", notices.harbor),
    ("harbor-cloud-events", "harbor", notices.harbor_cloud_events),
    ("distribution", "oci", notices.distribution),
    ("distribution-mixed", "oci", notices.distribution_mixed),
]
RENDERERS = pytest.mark.parametrize(
    ("registry", "render"), [pytest.param(*case, id=name) for name, *case in RENDERED]
)


@RENDERERS
async def test_a_push_of_each_registry_becomes_one_dated_command(
    registry: str, render: Callable[[PushEvent], Notice | None]
) -> None:
    doors = Doors(app(**OURS))

    answer = await sent(doors, registry, render(told()))

    assert (answer.status, answer.body["apps"]) == (202, ["shop"])
    (body,) = doors.bodies()
    assert body["image"] == {**OURS, "digest": digest(2), "tag": "v2"}
    assert body["by"] == f"webhook {registry}"
    assert body["pushed_at"] == "2026-04-25T21:39:00Z"


@RENDERERS
@pytest.mark.parametrize(
    "changes", [{"tag": None}, {"tag": "sha256-" + "0" * 64 + ".sig"}, {"action": "delete"}]
)
async def test_what_else_each_registry_tells_begins_nothing(
    registry: str, render: Callable[[PushEvent], Notice | None], changes: dict[str, Any]
) -> None:
    doors = Doors(app(**OURS))
    notice = render(told(**changes))
    if notice is None:
        assert changes["action"] == "delete"  # GitHub is silent about it
        return

    answer = await sent(doors, registry, notice)

    assert (answer.status, answer.body["accepted"]) == (200, False)
    assert answer.body["reason"]
    assert doors.queued() == []


@pytest.mark.parametrize(
    ("registry", "notice"),
    [
        ("acr", notices.acr_ping()),
        ("acr", notices.acr_chart(told())),
        ("acr", notices.acr_chart(told(action="delete"))),
        ("acr", notices.acr_quarantine(told())),
        ("ghcr", notices.github_ping(SECRET)),
    ],
)
async def test_pings_charts_and_quarantine_are_answered_with_the_reason(
    registry: str, notice: Notice
) -> None:
    answer = await sent(Doors(app(**OURS)), registry, notice)

    assert (answer.status, answer.body["accepted"]) == (200, False)


# --- Event Grid and CloudEvents over plain HTTP ---------------------------------------------------


@pytest.mark.parametrize("registry", ["acr", "harbor"])
async def test_the_handshake_of_cloud_events(registry: str) -> None:
    answer = await post(Doors(), registry, b"", HEARD, query={"key": SECRET}, method="OPTIONS")

    assert answer.status == 200
    assert answer.headers == {
        "Allow": "OPTIONS, POST",
        "WebHook-Allowed-Origin": "eventgrid.azure.net",
        "WebHook-Allowed-Rate": "120",
    }


@pytest.mark.parametrize("registry", NAMES)
async def test_the_key_covers_the_handshake_too(registry: str) -> None:
    answer = await post(Doors(), registry, b"", HEARD, method="OPTIONS")

    assert answer.status == 401
    assert "WebHook-Allowed-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"webhook-request-origin": "a\r\nb"}, None),
        ({"webhook-request-origin": "e.example"}, ("e.example", "120")),
        (
            {"webhook-request-origin": "e.example", "webhook-request-rate": "*"},
            ("e.example", "120"),
        ),
        ({"webhook-request-origin": "e.example", "webhook-request-rate": "7"}, ("e.example", "7")),
    ],
)
async def test_only_an_origin_that_is_one_is_allowed(
    headers: dict[str, str], expected: tuple[str, str] | None
) -> None:
    answer = await post(Doors(), "acr", b"", headers, query={"key": SECRET}, method="OPTIONS")

    assert answer.status == 200
    allowed = (
        answer.headers.get("WebHook-Allowed-Origin"),
        answer.headers.get("WebHook-Allowed-Rate"),
    )
    assert allowed == (expected or (None, None))


async def test_a_batch_of_events_is_several_commands_and_several_reasons() -> None:
    push = json.loads(notices.acr(told()).body)
    kind, source = "Microsoft.ContainerRegistry.ImagePushed", "/subscriptions/s"
    events = [
        {"specversion": "1.0", "type": kind, "source": source, "id": "1", "data": push},
        {"specversion": "1.0", "type": "Other.Event", "source": source, "id": "2", "data": {}},
        {"specversion": "1.0", "type": kind, "source": source, "id": "3", "data": {"action": 7}},
    ]
    doors = Doors(app(**OURS))

    answer = await post(doors, "acr", json.dumps(events).encode(), {"authorization": SECRET})

    assert answer.status == 202
    assert answer.body["images"] == [
        {
            "image": "registry.example.com/octo/shop:v2",
            "digest": digest(2),
            "apps": ["shop"],
        }
    ]
    assert [text.partition(":")[0] for text in answer.body["ignored"]] == [
        "event type 'Other.Event' is not a registry push",
        "The registry event is not understood",
    ]
    (body,) = doors.bodies()
    assert body["id"] == "/subscriptions/s#1"


async def test_more_events_than_any_registry_sends_at_once_are_refused() -> None:
    body = json.dumps({"events": [{"action": "pull"}] * 1001}).encode()

    answer = await post(Doors(), "oci", body, {"authorization": SECRET})

    assert (answer.status, error_of(answer)["code"]) == (400, "SW301")


async def test_a_long_list_of_reasons_ends() -> None:
    body = json.dumps({"events": [{"action": f"a{number}"} for number in range(90)]}).encode()

    answer = await post(Doors(), "oci", body, {"authorization": SECRET})

    assert answer.status == 200
    assert len(answer.body["ignored"]) == 51
    assert answer.body["ignored"][-1] == "and more"


# --- Docker Hub names no digest ----------------------------------------------------------------


def hub(**changes: Any) -> Notice | None:
    return notices.docker_hub(told(host="docker.io", **changes))


@pytest.mark.parametrize(
    ("source", "repository"),
    [
        (HUB, "octo/shop"),
        ({**HUB, "registry": "index.docker.io"}, "octo/shop"),
        ({**HUB, "registry": "registry-1.docker.io"}, "octo/shop"),
        ({"registry": "docker.io", "repository": "nginx"}, "nginx"),
        ({"registry": "docker.io", "repository": "library/nginx"}, "nginx"),
    ],
)
async def test_the_digest_is_what_the_tag_names_at_the_registry(
    source: dict[str, str], repository: str
) -> None:
    doors = Doors(app(**source))
    doors.house.registry.push(source["registry"], source["repository"], digest(7), "v2")

    answer = await sent(doors, "dockerhub", hub(repository=repository))

    assert answer.status == 202
    assert answer.body["images"][0]["digest"] == digest(7)
    (body,) = doors.bodies()
    assert body["image"] == {**source, "digest": digest(7), "tag": "v2"}


async def test_a_registry_that_does_not_answer_is_503_and_nothing_is_lost() -> None:
    doors = Doors(app(**HUB))
    doors.house.registry.push("docker.io", "octo/shop", digest(7), "v2")
    doors.house.weather.script("digest_of", Fault.TRANSIENT, Fault.PERMANENT)

    for code in ("SW101", "SW205"):  # away; and it turns us away, which a person sets right
        answer = await sent(doors, "dockerhub", hub())
        assert (answer.status, error_of(answer)["code"]) == (503, code)
        assert answer.headers["Retry-After"]
        assert doors.queued() == []
    assert (await sent(doors, "dockerhub", hub())).status == 202


async def test_a_registry_that_hangs_is_503_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forever(*_: str) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    doors = Doors(app(**HUB))
    monkeypatch.setattr(intake_module, "_ASK_SECONDS", 0.01)
    monkeypatch.setattr(type(doors.house.registry), "digest_of", forever)

    answer = await sent(doors, "dockerhub", hub())

    assert (answer.status, error_of(answer)["code"]) == (503, BusyError.code)


async def test_a_tag_that_is_gone_again_is_200_with_the_reason() -> None:
    answer = await sent(Doors(app(**HUB)), "dockerhub", hub())

    assert (answer.status, answer.body["accepted"]) == (200, False)
    assert "is gone again" in answer.body["reason"]


@pytest.mark.parametrize("source", [{**HUB, "tags": ("main",)}, {"registry": "ghcr.io"}])
async def test_the_registry_is_not_asked_about_what_nobody_wants(source: dict[str, Any]) -> None:
    doors = Doors(app(**source))
    doors.house.weather.script("digest_of", Fault.TRANSIENT)

    assert (await sent(doors, "dockerhub", hub())).status == 200


async def test_a_digest_of_another_kind_is_not_ordered() -> None:
    doors = Doors(app(**HUB))
    doors.house.registry.push("docker.io", "octo/shop", "sha512:" + "a" * 128, "v2")

    answer = await sent(doors, "dockerhub", hub())

    assert answer.status == 200
    assert "not a sha256 digest" in answer.body["reason"]


# --- Once ---------------------------------------------------------------------------------------


async def test_a_redelivery_of_githubs_is_taken_and_begins_no_second_rollout() -> None:
    """Same delivery id; and the same body under a forged id, which no signature covers."""
    shop = spec()
    doors = Doors(shop)
    house = doors.house
    event = told(host=shop.source.registry, repository=shop.source.repository)
    house.registry.push(shop.source.registry, shop.source.repository, digest(2), "v2")
    notice = notices.github(SECRET)(event)
    assert notice is not None

    first = await sent(doors, "ghcr", notice)
    (message,) = doors.queued()
    again = await sent(doors, "ghcr", notice)
    assert len(doors.queued()) == 1
    await house.run()
    late = await sent(doors, "ghcr", notice)
    forged = dict(notice.headers) | {"X-GitHub-Delivery": "another"}
    await house.run_for(90 * MINUTE)
    replayed = await post(doors, "ghcr", notice.body, forged)
    await house.run()

    assert [a.status for a in (first, again, late, replayed)] == [202] * 4
    assert event.id in (message.id or "")
    assert len(await house.rollouts(SHOP)) == 1
    assert list(house.bus.waiting(COMMANDS_QUEUE)) == []


async def test_two_registries_may_tell_of_one_event_id() -> None:
    doors = Doors(app(**OURS))
    event = told()

    for registry, render in (
        ("harbor", notices.harbor_cloud_events),
        ("oci", notices.distribution),
    ):
        assert (await sent(doors, registry, render(event))).status == 202

    assert len({body["id"] for body in doors.bodies()}) == 2
