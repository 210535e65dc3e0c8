"""What has to be written so that a site is configured as a set says. Pure; no value is ever told.

What a release owns is left to releases: its identity, its image, and who is sent to it. What a set
could not hold, as nothing encrypts it, stays as it is.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeVar, cast

from controller.core.errors import MalformedError
from controller.recovery.site import (
    APP_SETTINGS,
    CONNECTION_STRING,
    CONNECTION_STRINGS,
    SETTING,
    STICKY_KINDS,
    SiteDocument,
    SlotExport,
    StickyLists,
)

# By these a build learns who it is; the last one repeats its image.
RELEASE_OWNED: Final = frozenset(
    {"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES", "DOCKER_CUSTOM_IMAGE_NAME"}
)
_PULLING: Final = "DOCKER_REGISTRY_SERVER_"  # how names of a registry's login begin
# What of a web configuration is written, and of which type each has to be. All of it is what
# somebody chose for the app; what ties it to its network, its identity or its build is not here.
WRITABLE: Final[Mapping[str, type]] = {
    "alwaysOn": bool,
    "appCommandLine": str,
    "detailedErrorLoggingEnabled": bool,
    "ftpsState": str,
    "healthCheckPath": str,
    "http20Enabled": bool,
    "httpLoggingEnabled": bool,
    "logsDirectorySizeLimit": int,
    "minTlsVersion": str,
    "requestTracingEnabled": bool,
    "scmMinTlsVersion": str,
    "use32BitWorkerProcess": bool,
    "webSocketsEnabled": bool,
}
# Whose values say nothing of the app, so that a plan may show them.
_SHOWN: Final = frozenset({"ftpsState", "minTlsVersion", "scmMinTlsVersion"})
_SHOWN_CHARACTERS: Final = 20
_OWNED_PROPERTIES: Final[Mapping[str, str]] = {
    "experiments": "who is sent where",
    "linuxFxVersion": "the release's image",
}
_STICKY_WORDS: Final[Mapping[str, str]] = {
    APP_SETTINGS: SETTING,
    CONNECTION_STRINGS: CONNECTION_STRING,
    "storage": "storage",
}

V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotGoal:
    """What one slot shall have. None, or nothing: it has it."""

    settings: Mapping[str, str] | None = field(default=None, repr=False)
    connection_strings: Mapping[str, tuple[str, str]] | None = field(default=None, repr=False)
    configuration: Mapping[str, object] = field(default_factory=dict[str, object], repr=False)
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StickyGoal:
    """Which names shall stay with their slots; the whole of it."""

    names: StickyLists
    changes: tuple[str, ...] = ()


def slot_goal(slot: str, document: SiteDocument, wanted: SlotExport, now: SlotExport) -> SlotGoal:
    """Return what *slot* lacks, or has too much, to be as the set says.

    Raises:
        MalformedError: a property of its web configuration is not of its type.
    """
    unknown = document.left_out_of(slot, SETTING)
    owned = frozenset(name.lower() for name in RELEASE_OWNED)
    settings = _kept(wanted.settings, now.settings, unknown | owned)
    strings_unknown = document.left_out_of(slot, CONNECTION_STRING)
    strings = _kept(wanted.connection_strings, now.connection_strings, strings_unknown)
    configuration = _configuration_goal(slot, wanted.configuration, now.configuration)
    return SlotGoal(
        settings=None if settings == now.settings else settings,
        connection_strings=None if strings == now.connection_strings else strings,
        configuration=configuration,
        changes=(
            *_changes(slot, CONNECTION_STRING, strings, now.connection_strings),
            *_changes(slot, SETTING, settings, now.settings),
            *(
                _configuration_change(slot, name, value, now.configuration.get(name))
                for name, value in configuration.items()
            ),
        ),
        notes=(
            *_notes_of_owned(slot, wanted.settings, now.settings),
            *_notes_of_pulling(slot, settings, now.settings),
            *_notes_of_unknown(slot, SETTING, document, now.settings),
            *_notes_of_unknown(slot, CONNECTION_STRING, document, now.connection_strings),
            *_notes_of_configuration(slot, wanted.configuration, now.configuration),
            *_notes_of_identity(slot, wanted.identity, now.identity),
        ),
    )


def sticky_goal(wanted: StickyLists, now: StickyLists) -> StickyGoal:
    """Return which names shall be sticky. Those of a release stay what they are."""
    owned = frozenset(name.lower() for name in RELEASE_OWNED)
    names: dict[str, tuple[str, ...]] = {}
    changes: list[str] = []
    for kind in STICKY_KINDS:
        stays = owned if kind == APP_SETTINGS else frozenset[str]()
        before = set(now[kind])
        after = {each for each in wanted[kind] if each.lower() not in stays}
        after |= {each for each in before if each.lower() in stays}
        names[kind] = tuple(sorted(after))
        word = _STICKY_WORDS[kind]
        changes += [
            f"site: {word} {each} stays with its slot in a swap" for each in sorted(after - before)
        ]
        changes += [f"site: {word} {each} moves in a swap again" for each in sorted(before - after)]
    return StickyGoal(names=names, changes=tuple(changes))


# --- Settings and connection strings --------------------------------------------------------------


def _kept(wanted: Mapping[str, V], now: Mapping[str, V], stays: frozenset[str]) -> dict[str, V]:
    """Return the whole list: the set's, but for the names that stay as they are."""
    goal = {name: value for name, value in wanted.items() if name.lower() not in stays}
    return goal | {name: value for name, value in now.items() if name.lower() in stays}


def _changes(
    slot: str, what: str, goal: Mapping[str, object], now: Mapping[str, object]
) -> Iterable[str]:
    for name in sorted(goal.keys() | now.keys()):
        if name not in now:
            yield f"{slot}: {what} {name} is added"
        elif name not in goal:
            yield f"{slot}: {what} {name} is removed"
        elif goal[name] != now[name]:
            yield f"{slot}: {what} {name} is changed"


def _notes_of_owned(slot: str, wanted: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    differing = [name for name in sorted(RELEASE_OWNED) if wanted.get(name) != now.get(name)]
    if differing:
        yield f"{slot}: {', '.join(differing)} stay as they are: they are the release's"


def _notes_of_pulling(slot: str, goal: Mapping[str, str], now: Mapping[str, str]) -> Iterable[str]:
    """The restart that follows pulls the image of now with what was right then."""
    differing = [
        name
        for name in sorted(goal.keys() | now.keys())
        if name.upper().startswith(_PULLING) and goal.get(name) != now.get(name)
    ]
    if differing:
        yield (
            f"{slot}: {', '.join(differing)} changes: the slot pulls its image by it, and does not"
            " start where that is out of date"
        )


def _notes_of_unknown(
    slot: str, what: str, document: SiteDocument, now: Mapping[str, object]
) -> Iterable[str]:
    there = {name.lower() for name in now}
    for each in document.left_out:
        if each.slot.lower() != slot.lower() or each.what != what:
            continue
        if each.name.lower() in there:
            yield f"{slot}: {what} {each.name} stays as it is: the set does not hold its value"
        else:
            yield (
                f"{slot}: {what} {each.name} is missing, and the set does not hold its value: "
                "set it by hand"
            )


# --- Web configuration ----------------------------------------------------------------------------


def _configuration_goal(
    slot: str, wanted: Mapping[str, object], now: Mapping[str, object]
) -> dict[str, object]:
    goal: dict[str, object] = {}
    for name, kind in WRITABLE.items():
        value = _property(slot, name, kind, wanted)
        if value is not None and value != _same_kind(kind, now.get(name)):
            goal[name] = value
    return goal


def _property(slot: str, name: str, kind: type, wanted: Mapping[str, object]) -> object:
    """Return what the set says; None where it says nothing.

    The platform takes null for "as it is": a text that is not set is written as an empty one.
    """
    if name not in wanted:
        return None
    value = _same_kind(kind, wanted[name])
    if value is not None and type(value) is not kind:
        raise MalformedError(
            f"The set's configuration cannot be used: {name} of slot {slot} is of a wrong type.",
            fix="Take another set: `slipway backup list`.",
        )
    return value


def _same_kind(kind: type, value: object) -> object:
    return "" if value is None and kind is str else value


def _configuration_change(slot: str, name: str, value: object, before: object) -> str:
    if isinstance(value, bool | int) or name in _SHOWN:
        return f"{slot}: configuration {name} becomes {_shown(value)}, from {_shown(before)}"
    return f"{slot}: configuration {name} is changed"


def _shown(value: object) -> str:
    return json.dumps(value, default=str)[:_SHOWN_CHARACTERS]


def _notes_of_configuration(
    slot: str, wanted: Mapping[str, object], now: Mapping[str, object]
) -> Iterable[str]:
    differing = [
        name
        for name in sorted((wanted.keys() | now.keys()) - WRITABLE.keys())
        if name.isidentifier() and wanted.get(name) != now.get(name)
    ]
    if differing:
        words = (
            f"{name} ({_OWNED_PROPERTIES[name]})" if name in _OWNED_PROPERTIES else name
            for name in differing
        )
        yield f"{slot}: differs from the set and is not written: {', '.join(words)}"


# --- Identity -------------------------------------------------------------------------------------


def _notes_of_identity(
    slot: str, wanted: Mapping[str, object], now: Mapping[str, object]
) -> Iterable[str]:
    """An identity is never written: its rights would not come with it."""
    then, there = _kinds(wanted), _kinds(now)
    if "systemassigned" in then and "systemassigned" not in there:
        yield (
            f"{slot} had a system-assigned identity; it has none now: assign it, and grant it what "
            "the old one had (AcrPull, Key Vault Secrets User, ...)"
        )
    elif "systemassigned" in then and wanted.get("principalId") != now.get("principalId"):
        yield (
            f"{slot} has another system-assigned identity than then: grant it what the old one had "
            "(AcrPull, Key Vault Secrets User, ...)"
        )
    attached = {name.lower() for name in _assigned(now)}
    for name in sorted(_assigned(wanted)):
        if name.lower() not in attached:
            yield f"{slot} had the identity {name.rpartition('/')[2]!r}; it lacks it now: assign it"


def _kinds(identity: Mapping[str, object]) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in str(identity.get("type") or "").split(","))


def _assigned(identity: Mapping[str, object]) -> tuple[str, ...]:
    found = identity.get("userAssignedIdentities")
    return tuple(cast("dict[str, object]", found)) if isinstance(found, dict) else ()
