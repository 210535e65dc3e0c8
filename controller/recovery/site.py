"""A site's configuration as sets hold it, read strictly. No error ever shows a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn, cast

from controller.core.errors import MalformedError
from controller.recovery.reading import parsed

APP_SETTINGS: Final = "app_settings"
CONNECTION_STRINGS: Final = "connection_strings"
STICKY_KINDS: Final = (APP_SETTINGS, CONNECTION_STRINGS, "storage")
SETTING: Final = "setting"
CONNECTION_STRING: Final = "connection string"

_WHOLE: Final = "Take another set: `slipway backup list`."
_DOCUMENT: Final = frozenset({"site", "slots", "left_out"})
_SITE: Final = frozenset({"resource_id", "sticky"})
_SLOT: Final = frozenset({"settings", "connection_strings", "configuration", "identity"})
_STRING: Final = frozenset({"type", "value"})
_SLOT_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,60}")
_LEFT_OUT: Final = re.compile(rf"([A-Za-z0-9-]+): ({SETTING}|{CONNECTION_STRING}) (.+)")
_LONGEST_NAME: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteExport:
    """The configuration of a site and its slots, as the platform tells it."""

    site: Mapping[str, object]  # what all slots share: sticky names, routing
    slots: Mapping[str, "SlotExport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotExport:
    """One slot's part. Values of settings may be secret; the rest never is."""

    settings: Mapping[str, str] = field(repr=False)
    connection_strings: Mapping[str, tuple[str, str]] = field(repr=False)  # type, value
    configuration: Mapping[str, object] = field(default_factory=dict[str, object])
    identity: Mapping[str, object] = field(default_factory=dict[str, object])


StickyLists = Mapping[str, tuple[str, ...]]  # by what it is: `STICKY_KINDS`


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """Something whose value may be secret, left out of a set that is not encrypted."""

    slot: str
    what: str  # SETTING or CONNECTION_STRING
    name: str

    def __str__(self) -> str:
        return f"{self.slot}: {self.what} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteDocument:
    """The part ``configuration`` of a set."""

    resource_id: str
    sticky: StickyLists
    slots: Mapping[str, SlotExport]
    left_out: tuple[LeftOut, ...] = ()

    def slot(self, name: str) -> SlotExport | None:
        """Return the slot of this name, whatever its case."""
        found = (slot for each, slot in self.slots.items() if each.lower() == name.lower())
        return next(found, None)

    def left_out_of(self, slot: str, what: str) -> frozenset[str]:
        """Return what the set does not hold of a slot: names in small letters."""
        return frozenset(
            each.name.lower()
            for each in self.left_out
            if each.what == what and each.slot.lower() == slot.lower()
        )


def read_site(document: bytes) -> SiteDocument:
    """Return the part in its stored form.

    Raises:
        MalformedError: which field is odd, unknown or missing; its value is not shown.
    """
    what = "The set's configuration"
    found = _object(parsed(document, what), what, _DOCUMENT)
    site = _object(found["site"], "site", _SITE)
    slots = _object(found["slots"], "slots")
    if not slots:
        _refuse("slots", "name a slot")
    if len({name.lower() for name in slots}) != len(slots):
        _refuse("slots", "name each slot once")
    if not all(_SLOT_NAME.fullmatch(name) for name in slots):
        _refuse("slots", "have names of letters, digits and hyphens")
    return SiteDocument(
        resource_id=_name(site["resource_id"], "site.resource_id"),
        sticky=_sticky(site["sticky"]),
        slots={name: _slot(each, f"slots.{name}") for name, each in slots.items()},
        left_out=tuple(sorted(_left_out(each) for each in _list(found["left_out"], "left_out"))),
    )


def _sticky(value: object) -> StickyLists:
    found = _object(value, "site.sticky", frozenset(STICKY_KINDS))
    lists: dict[str, tuple[str, ...]] = {}
    for kind in STICKY_KINDS:
        where = f"site.sticky.{kind}"
        lists[kind] = tuple(sorted({_name(each, where) for each in _list(found[kind], where)}))
    return lists


def _slot(value: object, where: str) -> SlotExport:
    found = _object(value, where, _SLOT)
    settings = _named(found["settings"], f"{where}.settings")
    strings = _named(found["connection_strings"], f"{where}.connection_strings")
    return SlotExport(
        settings={name: _text(each, f"{where}.settings.{name}") for name, each in settings.items()},
        connection_strings={
            name: _string(each, f"{where}.connection_strings.{name}")
            for name, each in strings.items()
        },
        configuration=_object(found["configuration"], f"{where}.configuration"),
        identity=_object(found["identity"], f"{where}.identity"),
    )


def _string(value: object, where: str) -> tuple[str, str]:
    found = _object(value, where, _STRING)
    return _name(found["type"], f"{where}.type"), _text(found["value"], f"{where}.value")


def _left_out(value: object) -> LeftOut:
    found = _LEFT_OUT.fullmatch(_name(value, "left_out"))
    if found is None:
        _refuse("left_out", "say which slot's setting or connection string")
    return LeftOut(*found.groups())


def _named(value: object, where: str) -> Mapping[str, object]:
    """Return an object whose names people and the platform can take."""
    found = _object(value, where)
    for name in found:
        _name(name, where)
    return found


def _object(
    value: object, where: str, fields: frozenset[str] | None = None
) -> Mapping[str, object]:
    if not isinstance(value, dict):
        _refuse(where, "be an object")
    found = cast("dict[str, object]", value)
    if fields is not None and (missing := sorted(fields - found.keys())):
        _refuse(where, f"have {missing[0]!r}")
    if fields is not None and found.keys() - fields:
        _refuse(where, f"have nothing but {', '.join(sorted(fields))}")
    return found


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list | tuple):
        _refuse(where, "be a list")
    return list(cast("list[object]", value))


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        _refuse(where, "be a text")
    return value


def _name(value: object, where: str) -> str:
    """Return a text that may be shown: on one line, and not endless."""
    name = _text(value, where)
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
        _refuse(where, f"hold printable names of at most {_LONGEST_NAME} characters")
    return name


def _refuse(where: str, what: str) -> NoReturn:
    raise MalformedError(
        f"The set's configuration cannot be used: {where} must {what}.", fix=_WHOLE
    )
