"""What a swap does to settings, told from the settings alone."""

import pytest

from controller.adapters.azure.swap_settings import SlotSettings, StickyNames, differences
from controller.core.plan import SlotName

PATH, STATUSES = "WEBSITE_SWAP_WARMUP_PING_PATH", "WEBSITE_SWAP_WARMUP_PING_STATUSES"
WARM = {PATH: "/ready", STATUSES: "200,202"}
NOTHING = StickyNames(frozenset())


def found(
    here: dict[str, str],
    there: dict[str, str],
    *sticky: str,
    told: tuple[str, ...] = (),
) -> dict[str, str]:
    """Return explanations by name."""
    all_of_them = differences(
        SlotName("blue"),
        SlotSettings(here),
        SlotSettings(there),
        StickyNames(frozenset(sticky)),
        told,
    )
    assert len({each.name for each in all_of_them}) == len(all_of_them)
    return {each.name: each.explanation for each in all_of_them}


def test_slots_that_are_alike_have_no_difference() -> None:
    assert found(WARM | {"SLOT": "x", "FREE": "1"}, {"SLOT": "x", "FREE": "2"}, "SLOT") == {}


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        pytest.param({"SLOT": "a"}, {"SLOT": "b"}, "differs and stays", id="differs"),
        pytest.param({"SLOT": "a"}, {}, "in slot blue only", id="only here"),
        pytest.param({}, {"SLOT": "b"}, "in production only", id="only there"),
        pytest.param({"slot": "a"}, {"SLOT": "b"}, "differs and stays", id="other case"),
    ],
)
def test_each_kind_of_difference_says_what_the_build_will_meet(
    here: dict[str, str], there: dict[str, str], said: str
) -> None:
    explanations = found(WARM | here, there, "SLOT")

    assert {name.upper() for name in explanations} == {"SLOT"}
    assert said in "".join(explanations.values())


def test_versions_of_extensions_stay_without_being_marked() -> None:
    name = "FUNCTIONS_EXTENSION_VERSION"

    assert set(found(WARM | {name: "~3"}, {name: "~4"})) == {name}


def test_what_only_the_platform_tells_counts_where_it_stays() -> None:
    """It lists what travels, too; that is the swap's purpose, no difference."""
    explanations = found(WARM, {}, "MOUNT", told=("MOUNT", "linuxFxVersion"))

    assert set(explanations) == {"MOUNT"}
    assert "App Service says" in explanations["MOUNT"]


def test_without_warm_up_settings_any_answer_counts_as_warm() -> None:
    explanations = found({}, WARM)

    assert set(explanations) == {PATH, STATUSES}
    assert "counts as warm" in explanations[STATUSES]


@pytest.mark.parametrize("statuses", ["200, 503", "200-599", "5xx", "500", "599"])
def test_a_server_error_that_counts_as_warm_is_told(statuses: str) -> None:
    assert "500 or more" in found(WARM | {STATUSES: statuses}, {})[STATUSES]


@pytest.mark.parametrize("statuses", ["200", "200,202, 404", "200-499", "2xx"])
def test_other_statuses_are_no_concern(statuses: str) -> None:
    assert found(WARM | {STATUSES: statuses}, {}) == {}


def test_a_sticky_warm_up_setting_is_productions_during_the_swap() -> None:
    """The slot's own one is gone by the time when the platform pings."""
    explanations = found(WARM, {}, STATUSES)

    assert set(explanations) == {STATUSES}
    assert "counts as warm" in explanations[STATUSES]
    assert found(WARM, WARM, STATUSES) == {}
