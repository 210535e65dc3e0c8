"""What is wrong with a set's configuration, as far as one can see without a platform. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from controller.recovery.site import (
    APP_SETTINGS,
    CONNECTION_STRING,
    CONNECTION_STRINGS,
    SETTING,
    SiteDocument,
    SlotExport,
)

_MEANT: Final = re.compile(r"@Microsoft\.KeyVault\b", re.IGNORECASE)
_NAME: Final = r"[0-9A-Za-z-]{1,127}"
_VERSION: Final = r"[0-9A-Za-z]*"
_BY_URI: Final = re.compile(
    rf"@Microsoft\.KeyVault\(\s*SecretUri=https?://[^\s/;]+/secrets/{_NAME}(/{_VERSION})?/?\s*\)",
    re.IGNORECASE,
)
_NAMED: Final = re.compile(r"@Microsoft\.KeyVault\((.*)\)", re.IGNORECASE)
_WORDS: Final = {"vaultname": _NAME, "secretname": _NAME, "secretversion": _VERSION}


def problems(document: SiteDocument, slots: Sequence[str]) -> Iterator[str]:
    """Yield why *document* would not bring an app with these slots back. No value is shown."""
    for name in slots:
        if document.slot(name) is None:
            yield f"The configuration of slot {name} is not in the set."
    for name, slot in sorted(document.slots.items()):
        for what in _odd_references(slot):
            yield f"{name}: {what} is no Key Vault reference that App Service understands."


def notes(document: SiteDocument) -> Iterator[str]:
    """Yield what somebody who restores *document* has to know.

    A sticky name of nothing is no fault: the portal keeps such names when it removes a setting.
    """
    for each in document.left_out:
        yield f"{each} is not in the set, which is not encrypted: keep its value elsewhere."
    for kind, what in ((APP_SETTINGS, SETTING), (CONNECTION_STRINGS, CONNECTION_STRING)):
        known = {name.lower() for name in _names(document, what)}
        stale = [name for name in document.sticky[kind] if name.lower() not in known]
        if stale:
            yield f"Sticky, and in no slot of the set: {what} {', '.join(stale)}."


def is_reference(value: str) -> bool:
    """Tell whether *value* is a Key Vault reference, by URI or by names."""
    text = value.strip()
    if _BY_URI.fullmatch(text):
        return True
    named = _NAMED.fullmatch(text)
    pairs = [part.partition("=") for part in named[1].split(";")] if named else []
    words = {name.strip().lower(): word.strip() for name, _, word in pairs}
    return (
        {"vaultname", "secretname"} <= words.keys() <= _WORDS.keys()
        and len(words) == len(pairs)
        and all(re.fullmatch(_WORDS[name], word) for name, word in words.items())
    )


def _odd_references(slot: SlotExport) -> Iterable[str]:
    for name, value in sorted(slot.settings.items()):
        if _MEANT.match(value.strip()) and not is_reference(value):
            yield f"{SETTING} {name}"
    for name, (_, value) in sorted(slot.connection_strings.items()):
        if _MEANT.match(value.strip()) and not is_reference(value):
            yield f"{CONNECTION_STRING} {name}"


def _names(document: SiteDocument, what: str) -> Iterator[str]:
    """Yield the names of all that any slot has, left out or not."""
    for slot in document.slots.values():
        yield from slot.settings if what == SETTING else slot.connection_strings
    yield from (each.name for each in document.left_out if each.what == what)
