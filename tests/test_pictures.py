"""The pictures that are drawn from code tell of all of it, or are not drawn."""

from xml.etree import ElementTree as ET

import pytest

from controller.core.model import State
from tools import pictures

SVG = "{http://www.w3.org/2000/svg}"


def words(drawing: str) -> set[str]:
    root = ET.fromstring(drawing)  # noqa: S314 - our own
    return {text.text or "" for text in root.iter(f"{SVG}text")}


def test_every_state_is_in_the_picture() -> None:
    assert {state.name for state in State} <= words(pictures.state_machine())


@pytest.mark.parametrize("draw", [pictures.rollout, pictures.path, pictures.state_machine])
def test_nothing_is_drawn_outside_of_the_ground(draw: object) -> None:
    assert callable(draw)
    root = ET.fromstring(str(draw()))  # noqa: S314 - our own
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for box in root.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", 0)) <= width - float(box.attrib["width"])
        assert 0 <= float(box.get("y", 0)) <= height - float(box.attrib["height"])


def test_a_way_that_the_table_has_and_the_picture_has_not_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(pictures._WAYS, (State.HELD, State.SUCCEEDED))

    with pytest.raises(ValueError, match="HELD to SUCCEEDED"):
        pictures.state_machine()


def test_a_way_that_the_picture_has_and_the_table_has_not_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(pictures._WAYS, (State.QUEUED, State.SUCCEEDED), [(0, 0), (1, 1)])

    with pytest.raises(ValueError, match="QUEUED to SUCCEEDED"):
        pictures.state_machine()


def test_a_state_that_is_not_drawn_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(pictures._ROAD, State.SUPERSEDED)

    with pytest.raises(ValueError, match="SUPERSEDED"):
        pictures.state_machine()
