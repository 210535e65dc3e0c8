"""What is written so that a site is as a set says: pure, by name, never by value."""

from typing import Any

import pytest

from controller.adapters.azure import release_settings
from controller.core.errors import MalformedError
from controller.recovery.site import SiteDocument, SlotExport, read_site
from controller.recovery.site_check import is_reference, notes, problems
from controller.recovery.site_goal import RELEASE_OWNED, SlotGoal, slot_goal, sticky_goal
from tests.recovery.site_kit import REFERENCE, SECRETS, document, slot, stored


def read(**changes: Any) -> SiteDocument:
    return read_site(stored(document(**changes)))


def goal(now: SlotExport, found: SiteDocument | None = None) -> SlotGoal:
    found = found or read()
    return slot_goal("blue", found, found.slots["blue"], now)


def export(settings: dict[str, str] | None = None, **changes: Any) -> SlotExport:
    """Return a slot that is as the set says, but for what is given."""
    then = read().slots["blue"]
    parts: dict[str, Any] = {
        "settings": then.settings if settings is None else settings,
        "connection_strings": then.connection_strings,
        "configuration": then.configuration,
        "identity": then.identity,
    }
    return SlotExport(**parts | changes)


# --- Settings ------------------------------------------------------------------------------------


def test_a_slot_that_is_as_the_set_says_has_nothing_to_be_written() -> None:
    assert goal(export()) == SlotGoal()


def test_each_change_is_named_and_no_value_is_shown() -> None:
    then = read().slots["blue"].settings
    now = {**then, "GREETING": "now-value", "OLD": "old-value"}
    del now["API_KEY"]
    found = goal(export(now))

    assert found.changes == (
        "blue: setting API_KEY is added",
        "blue: setting GREETING is changed",
        "blue: setting OLD is removed",
    )
    assert found.settings == then
    assert found.connection_strings is None
    assert not [value for value in (*SECRETS, "now-value", "old-value") if value in repr(found)]


def test_what_a_release_owns_stays_as_it_is_now() -> None:
    """Were it the set's, the build of today would show the identity of another one."""
    mine = {
        "SLIPWAY_RELEASE": "sha256:now",
        "OTEL_RESOURCE_ATTRIBUTES": "service.version=sha256:now",
        "DOCKER_CUSTOM_IMAGE_NAME": "r.io/shop@sha256:now",
    }
    found = goal(export({**read().slots["blue"].settings, **mine}))

    assert (found.settings, found.changes) == (None, ())
    (note,) = found.notes
    assert note == (
        "blue: DOCKER_CUSTOM_IMAGE_NAME, OTEL_RESOURCE_ATTRIBUTES, SLIPWAY_RELEASE stay as they"
        " are: they are the release's"
    )
    empty = goal(export({})).settings
    assert empty is not None
    assert not empty.keys() & RELEASE_OWNED


def test_the_names_of_a_release_are_those_that_slipway_writes() -> None:
    """Two lists, in two layers: they must not part."""
    written = release_settings.with_release(
        {"DOCKER_CUSTOM_IMAGE_NAME": "old"}, image="r.io/new", release="sha256:new"
    )
    assert written.keys() == RELEASE_OWNED


def test_names_that_were_left_out_stay_as_they_are_and_are_told() -> None:
    blue = slot(connection_strings={})
    del blue["settings"]["API_KEY"]
    found = read(
        slots={"production": slot(), "blue": blue},
        left_out=["blue: setting API_KEY", "blue: connection string Db", "blue: setting GONE"],
    )
    done = goal(export({"API_KEY": "of-now", "OLD": "x"}), found)

    assert done.settings is not None
    assert done.settings["API_KEY"] == "of-now"
    assert done.connection_strings is None  # Db stays, and it is all that there is
    assert "blue: setting API_KEY is removed" not in done.changes
    assert [note for note in done.notes if "does not hold its value" in note] == [
        "blue: setting API_KEY stays as it is: the set does not hold its value",
        "blue: setting GONE is missing, and the set does not hold its value: set it by hand",
        "blue: connection string Db stays as it is: the set does not hold its value",
    ]


def test_what_pulls_the_image_is_pointed_at_before_it_is_written() -> None:
    """A password of then may not open the registry of now: the next start would fail."""
    blue = slot()
    blue["settings"]["DOCKER_REGISTRY_SERVER_PASSWORD"] = "s3cret-word"
    found = goal(export(), read(slots={"blue": blue}))
    assert found.changes == ("blue: setting DOCKER_REGISTRY_SERVER_PASSWORD is added",)
    (note,) = found.notes
    assert note.startswith("blue: DOCKER_REGISTRY_SERVER_PASSWORD changes: the slot pulls its")


def test_the_type_of_a_connection_string_counts_too() -> None:
    found = goal(export(connection_strings={"Db": ("Custom", "Host=db;Password=hunter2")}))
    assert found.changes == ("blue: connection string Db is changed",)
    assert found.connection_strings == {"Db": ("PostgreSQL", "Host=db;Password=hunter2")}


def test_sticky_names_become_the_sets_but_for_a_releases() -> None:
    now = {
        "app_settings": ("OTEL_RESOURCE_ATTRIBUTES", "OLD"),
        "connection_strings": ("Db",),
        "storage": (),
    }
    found = sticky_goal(read().sticky, now)
    assert found.names["app_settings"] == ("API_KEY", "OTEL_RESOURCE_ATTRIBUTES")
    assert found.changes == (
        "site: setting API_KEY stays with its slot in a swap",
        "site: setting OLD moves in a swap again",
    )
    assert sticky_goal(read().sticky, found.names).changes == ()


# --- Web configuration and identity ---------------------------------------------------------------


def test_only_well_known_properties_are_written_and_the_rest_is_named() -> None:
    now = {
        "alwaysOn": False,
        "healthCheckPath": None,
        "minTlsVersion": "1.2",
        "linuxFxVersion": "DOCKER|r.io/shop@sha256:now",
        "experiments": {"rampUpRules": [{"name": "blue"}]},
        "acrUseManagedIdentityCreds": True,
    }
    found = goal(export(configuration=now))
    assert found.configuration == {"alwaysOn": True, "healthCheckPath": "/ready"}
    assert found.changes == (
        "blue: configuration alwaysOn becomes true, from false",
        "blue: configuration healthCheckPath is changed",
    )
    (note,) = found.notes
    assert note == (
        "blue: differs from the set and is not written: acrUseManagedIdentityCreds, experiments"
        " (who is sent where), linuxFxVersion (the release's image)"
    )


def test_a_text_that_is_not_set_is_written_as_an_empty_one() -> None:
    """Null means "as it is" to the platform."""
    unset = slot(configuration={"healthCheckPath": None, "alwaysOn": None})
    found = read(slots={"production": slot(), "blue": unset})
    now = export(configuration={"healthCheckPath": "/ready", "alwaysOn": True})
    assert goal(now, found).configuration == {"healthCheckPath": ""}
    after = export(configuration={"healthCheckPath": None, "alwaysOn": True})
    assert goal(after, found).changes == ()


def test_an_identity_is_never_written_only_missed() -> None:
    uami = "/subscriptions/s/resourceGroups/rg/providers/x/userAssignedIdentities/puller"
    then: dict[str, Any] = {
        "type": "SystemAssigned, UserAssigned",
        "principalId": "p-then",
        "userAssignedIdentities": {uami: {}},
    }
    found = read(slots={"production": slot(), "blue": slot(identity=then)})
    lost = goal(export(), found)
    assert lost.changes == ()
    assert [note.split(":")[0] for note in lost.notes] == [
        "blue had a system-assigned identity; it has none now",
        "blue had the identity 'puller'; it lacks it now",
    ]
    other: dict[str, Any] = then | {
        "principalId": "p-now",
        "userAssignedIdentities": {uami.upper(): {}},
    }
    (note,) = goal(export(identity=other), found).notes
    assert "another system-assigned identity" in note
    assert goal(export(identity=then), found).notes == ()


# --- Documents ------------------------------------------------------------------------------------

VALUE = "s3cret-word"


def with_slot(**changes: Any) -> dict[str, Any]:
    return document(slots={"blue": slot(**changes)})


TYPELESS = {"Db": {"value": VALUE}}
NOT_STICKY: dict[str, Any] = {"resource_id": "x", "sticky": {}}

# fmt: off
HOSTILE = [
    ("cut short",      stored(document())[:-9],                             "cannot be read"),
    ("no JSON",        b"\xff\xfe",                                         "cannot be read"),
    ("deep",           b"[" * 100_000,                                      "cannot be read"),
    ("a list",         b"[]",                                               "not an object"),
    ("no slots",       stored(document(slots={})),                          "name a slot"),
    ("a field more",   stored(document(more=VALUE)),                        "nothing but"),
    ("a field less",   stored({"slots": {}}),                               "have 'left_out'"),
    ("slots a list",   stored(document(slots=[VALUE])),                     "be an object"),
    ("odd slot",       stored(document(slots={"a\nb": slot()})),            "letters"),
    ("slot twice",     stored(document(slots={"a": slot(), "A": slot()})),  "once"),
    ("value a list",   stored(with_slot(settings={"A": [VALUE]})),          "A must be a text"),
    ("value a number", stored(with_slot(settings={"A": 5417})),             "A must be a text"),
    ("odd name",       stored(with_slot(settings={"A\x1b[2J": VALUE})),     "printable"),
    ("string of text", stored(with_slot(connection_strings={"Db": VALUE})), "must be an object"),
    ("string no type", stored(with_slot(connection_strings=TYPELESS)),      "have 'type'"),
    ("odd left out",   stored(document(left_out=["everything"])),           "left_out must say"),
    ("sticky unknown", stored(document(site=NOT_STICKY)),                   "'app_settings'"),
]
# fmt: on


@pytest.mark.parametrize(
    ("hostile", "said"), [pytest.param(*case, id=name) for name, *case in HOSTILE]
)
def test_a_hostile_document_is_refused_in_words_without_its_values(
    hostile: bytes, said: str
) -> None:
    with pytest.raises(MalformedError) as caught:
        read_site(hostile)
    assert said in caught.value.what
    assert VALUE not in str(caught.value)
    assert "5417" not in str(caught.value)
    assert caught.value.what.isprintable()


def test_a_property_of_a_wrong_type_is_refused() -> None:
    found = read(slots={"blue": slot(configuration={"alwaysOn": VALUE})})
    with pytest.raises(MalformedError, match="alwaysOn of slot blue is of a wrong type") as caught:
        goal(export(), found)
    assert VALUE not in str(caught.value)


# --- Checks ---------------------------------------------------------------------------------------

# fmt: off
REFERENCES = [
    ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db)",          True),
    ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db/)",         True),
    ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db/0aF9)",     True),
    ("@microsoft.keyvault(VaultName=v;SecretName=db)",                               True),
    ("@Microsoft.KeyVault(VaultName=v; SecretName=db; SecretVersion=0aF9)",          True),
    ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/keys/db)",             False),
    ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db",           False),
    ("@Microsoft.KeyVault(SecretName=db)",                                           False),
    ("@Microsoft.KeyVault(VaultName=v;SecretName=db;SecretName=other)",              False),
    ("@Microsoft.KeyVault(VaultName=v;SecretName=d b)",                              False),
    ("@Microsoft.KeyVault()",                                                        False),
]
# fmt: on


@pytest.mark.parametrize(("value", "is_one"), REFERENCES)
def test_key_vault_references_are_known_by_both_forms(value: str, is_one: bool) -> None:  # noqa: FBT001 - a table
    assert is_reference(value) is is_one
    found = read(slots={"blue": slot(settings={"A": value})})
    assert (list(problems(found, ["blue"])) == []) is is_one


def test_a_slot_of_the_app_that_is_not_in_the_document_is_a_problem() -> None:
    assert list(problems(read(), ["production", "BLUE", "green"])) == []
    (problem,) = problems(read(), ["production", "red"])
    assert problem == "The configuration of slot red is not in the set."


def test_what_was_left_out_and_what_is_sticky_for_nothing_is_noted() -> None:
    sticky = {"app_settings": ["API_KEY", "STALE"], "connection_strings": ["Gone"], "storage": []}
    found = read(
        site={"resource_id": "x", "sticky": sticky}, left_out=["blue: connection string Gone"]
    )
    left_out, stale = notes(found)
    assert left_out.startswith("blue: connection string Gone is not in the set")
    assert stale == "Sticky, and in no slot of the set: setting STALE."
    assert REFERENCE not in left_out + stale
