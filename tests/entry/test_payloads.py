"""What each registry's deliveries come to: recorded ones, and many that differ from them."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from controller.adapters.memory.secrets import MemorySecrets
from controller.core.errors import MalformedError
from controller.entry.http import Request, Response
from controller.entry.registries.pushes import Handshake, Ignored, Push
from controller.entry.webhooks import REGISTRIES, registry_webhook
from tests.entry.kit import SECRET, Doors, app, signed
from tests.entry.payload_files import Payload, expected_apps, payloads
from tests.runtime.kit import digest

ALL = payloads()
EACH = pytest.mark.parametrize("payload", ALL, ids=lambda payload: payload.id)


def short(push: Push) -> str:
    return f"{push.name}@{push.digest[7:19] if push.digest else '?'}"


async def post(doors: Doors, payload: Payload) -> Response:
    secrets = MemorySecrets({f"webhook-{name}": SECRET for name in REGISTRIES})
    request = Request(
        method="POST",
        route={"registry": payload.registry},
        headers={**payload.headers, **signed(payload.registry, payload.body)},
        body=payload.body,
    )
    return await registry_webhook(request, doors.intake, secrets)


@EACH
def test_a_payload_is_judged_as_its_file_says(payload: Payload) -> None:
    """Pushes in their order, the reasons of the rest, or that it is refused."""
    if "refused" in payload.expect:
        with pytest.raises(MalformedError) as refused:
            payload.notices()
        assert refused.value.code == payload.expect["refused"]
        return
    notices = payload.notices()
    ignored = [notice for notice in notices if isinstance(notice, Ignored)]
    pushes = [notice for notice in notices if isinstance(notice, Push)]

    assert [short(push) for push in pushes] == payload.expect.get("pushes", [])
    assert [n.code for n in notices if isinstance(n, Handshake)] == (
        [payload.expect["handshake"]] if "handshake" in payload.expect else []
    )
    for reason in payload.expect.get("ignored", ()):
        assert any(reason in each.reason for each in ignored), ignored
    assert bool(ignored) == bool(payload.expect.get("ignored"))
    assert any(each.is_odd for each in ignored) == payload.expect.get("odd", False)
    if "at" in payload.expect:
        assert [p.pushed_at and p.pushed_at.isoformat()[:-6] for p in pushes] == [
            payload.expect["at"]
        ]


@EACH
async def test_the_door_answers_each_payload_as_it_should(payload: Payload) -> None:
    """202 with the apps, 200 with every reason, or 400; nothing else reaches the queue."""
    doors = Doors(
        *(
            app(f"app-{number}", registry=host, repository=repository)
            for number, (host, repository) in enumerate(dict.fromkeys(expected_apps(payload)))
        )
    )
    for host, repository in expected_apps(payload):
        for push in payload.notices():
            if isinstance(push, Push):
                doors.house.registry.push(host, repository, digest(9), push.tag)

    answer = await post(doors, payload)

    if "refused" in payload.expect:
        assert (answer.status, answer.body["error"]["code"]) == (400, payload.expect["refused"])
    elif "handshake" in payload.expect:
        assert (answer.status, answer.body) == (
            200,
            {"validationResponse": payload.expect["handshake"]},
        )
    elif payload.expect.get("pushes"):
        assert answer.status == 202
        assert answer.body["apps"]
        assert len(answer.body["images"]) == len(payload.expect["pushes"])
    else:
        assert (answer.status, answer.body["accepted"]) == (200, False)
        assert answer.body["reason"]
    for reason in payload.expect.get("ignored", ()):
        assert any(reason in each for each in answer.body["ignored"])
    assert len(doors.queued()) == len(payload.expect.get("pushes", ()))


def test_every_registry_has_recorded_payloads_of_each_outcome() -> None:
    """At least one that is rolled out, one that is not, and one that is refused."""
    assert len(ALL) > 100
    for registry in REGISTRIES:
        mine = [payload.expect for payload in ALL if payload.registry == registry]
        assert any(expect.get("pushes") for expect in mine)
        assert any(expect.get("ignored") for expect in mine)
        assert any(expect.get("refused") for expect in mine)


@EACH
def test_the_same_delivery_twice_is_the_same_event(payload: Payload) -> None:
    if "refused" in payload.expect:
        return
    first, again = payload.notices(), payload.notices()

    pushes = [notice for notice in first if isinstance(notice, Push)]
    assert first == again
    assert all(push.event_id for push in pushes)
    assert len({push.event_id for push in pushes}) == len(pushes)


_ODD: list[Any] = [None, 7, -1.5, True, "", "x", [], {}, [[]], {"a": 1}, "\ud800", "a\nb", 1e308]


@pytest.mark.parametrize(
    "payload",
    [p for p in ALL if p.expect.get("pushes") and not p.body.startswith(b"payload=")],
    ids=lambda payload: payload.id,
)
async def test_a_wrong_type_in_any_field_is_an_answer_never_a_failure(payload: Payload) -> None:
    """Each field in turn becomes something else; the door says 200, 202 or 400, and why."""
    doors = Doors()
    statuses: set[int] = set()
    for changed in each_field_odd(json.loads(payload.body)):
        answer = await post(doors, replace(payload, body=json.dumps(changed).encode()))
        assert answer.text()
        statuses.add(answer.status)

    assert {400} < statuses <= {200, 202, 400}


def each_field_odd(document: Any) -> Iterator[Any]:
    """Yield the document once per field and odd value; of a list its first two elements count."""
    if isinstance(document, dict):
        entries: list[tuple[Any, Any]] = list(document.items())
    else:
        entries = list(enumerate(document[:2])) if isinstance(document, list) else []
    for key, value in entries:
        for other in chain(_ODD, each_field_odd(value)):
            changed = copy.copy(document)
            changed[key] = other
            yield changed
