"""Which apps want a push."""

from typing import Any

import pytest

from controller.entry.intake import Taken
from controller.entry.registries.pushes import Ignored, Push
from tests.entry.kit import DIGEST, Doors, app

CASES: list[tuple[str, dict[str, Any], str, bool]] = [
    ("any-tag", {}, "v1.2.3", True),
    ("glob", {"tags": ("v*",)}, "v1", True),
    ("no-glob", {"tags": ("v*",)}, "latest", False),
    ("second-glob", {"tags": ("v*", "release-*")}, "release-7", True),
    ("whole-tag", {"tags": ("v1",)}, "v10", False),
    ("one-character", {"tags": ("v?",)}, "v1", True),
    ("characters", {"tags": ("v[0-9]*",)}, "vnext", False),
    ("case-counts", {"tags": ("v*",)}, "V1", False),
    ("ignored", {"ignore_tags": ("*-dev",)}, "v1-dev", False),
    ("not-ignored", {"ignore_tags": ("*-dev",)}, "v1", True),
    ("ignored-beats-wanted", {"tags": ("v*",), "ignore_tags": ("v0*",)}, "v0.9", False),
    ("registry-case", {"registry": "Contoso.AzureCR.io"}, "v1", True),
    ("repository-case", {"repository": "Shop"}, "v1", True),
    ("other-registry", {"registry": "fabrikam.azurecr.io"}, "v1", False),
    ("other-repository", {"repository": "shop2"}, "v1", False),
    ("repository-is-no-glob", {"repository": "sho*"}, "v1", False),
]


def pushed(tag: str, **changes: Any) -> Push:
    fields = {
        "registry": "contoso.azurecr.io",
        "repository": "shop",
        "digest": DIGEST,
        "tag": tag,
        "event_id": "e1",
    }
    return Push(**(fields | changes))


@pytest.mark.parametrize(
    ("source", "tag", "wanted"), [pytest.param(*case, id=name) for name, *case in CASES]
)
async def test_an_app_wants_what_its_source_says(
    source: dict[str, Any], tag: str, *, wanted: bool
) -> None:
    doors = Doors(app(**source))

    taken = await doors.intake.take([pushed(tag)], by="test")

    assert taken.apps == (("shop",) if wanted else ())
    assert bool(taken.ignored) != wanted
    assert len(doors.queued()) == len(taken.apps)


async def test_the_command_names_the_registry_as_configured() -> None:
    """So that the image's reference is the one that the app's identity may pull."""
    doors = Doors(app(registry="Contoso.AzureCR.io"))

    await doors.intake.take([pushed("v1")], by="test")

    assert doors.bodies()[0]["image"]["registry"] == "Contoso.AzureCR.io"


async def test_several_apps_each_get_their_own() -> None:
    doors = Doors(app("live", tags=("v*",)), app("next"), app("old", tags=("old-*",)))

    taken = await doors.intake.take([pushed("v1")], by="test")

    assert taken.apps == ("live", "next")
    assert len({m.id for m in doors.queued()}) == 2
    assert [m.session for m in doors.queued()] == ["live", "next"]


async def test_every_app_that_says_no_says_why() -> None:
    doors = Doors(app("one", tags=("a*",)), app("two", ignore_tags=("v*",)))

    taken = await doors.intake.take([pushed("v1")], by="test")

    assert "app one: tag 'v1' matches none of a*" in taken.reason
    assert "app two: tag 'v1' is ignored by 'v*'" in taken.reason


async def test_a_push_without_an_event_id_is_named_by_its_digest() -> None:
    doors = Doors()

    await doors.intake.take([pushed("v1", event_id="")], by="test")

    assert doors.bodies()[0]["id"] == DIGEST


@pytest.mark.parametrize("length", [1, 128, 200, 5000])
async def test_a_message_id_fits_the_queue_and_tells_events_and_apps_apart(length: int) -> None:
    """Service Bus takes 128 characters; what is cut off must not be what tells two apart."""
    doors = Doors(app("a" * 40), app("b" * 40))
    names = ("x" + "0" * (length - 1), "y" + "0" * (length - 1))

    for name in names:
        await doors.intake.take([pushed("v1", event_id=name)], by="test")

    assert len(doors.queued()) == 4
    assert all(m.id and len(m.id) <= 128 for m in doors.queued())
    assert all(len(body["id"]) <= 200 for body in doors.bodies())
    assert len({body["id"] for body in doors.bodies()}) == 2


async def test_what_the_registry_calls_no_push_is_ignored_with_its_reason() -> None:
    doors = Doors()

    taken = await doors.intake.take([Ignored(reason="a ping")], by="test")

    assert taken == Taken(ignored=("a ping",))
    assert doors.queued() == []
