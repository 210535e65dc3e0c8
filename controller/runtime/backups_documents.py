"""The parts of a set that are documents: which build serves, and how its site is configured."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.core.errors import SlipwayError
from controller.core.model import Image, Release
from controller.core.plan import AppSpec
from controller.ports import SiteView
from controller.ports_data import SiteExport, SlotExport
from controller.recovery.reading import written
from controller.runtime.backups_means import BackupMeans

_REFERENCE: Final = re.compile(r"@Microsoft\.KeyVault\(.+\)", re.IGNORECASE | re.DOTALL)
_HARMLESS: Final = re.compile(r"|true|false|\d{1,6}", re.IGNORECASE)
# Names whose values Slipway or the platform writes, none of them a secret.
_KNOWN: Final = frozenset(
    {"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES", "WEBSITES_PORT", "DOCKER_REGISTRY_SERVER_URL"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationDocument:
    """The part as it is stored."""

    release: str | None
    copied_to: str | None = None
    not_copied_because: str = ""
    rollout: str | None = None
    slots: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    in_registry: Mapping[str, bool | None] = field(default_factory=dict[str, bool | None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """Which build serves."""

    release: str | None  # image that serves, by digest
    document: bytes
    missing: tuple[str, ...]  # images that the registry does not hold any more
    copied: str | None = None  # where the release's copy is
    not_copied_because: str = ""  # empty: it was, or nobody wants it


async def application(
    means: BackupMeans, app: AppSpec, *, copy_to: str | None = None
) -> Application:
    """Return which images serve or stand ready, each looked for in its registry.

    The one that serves is copied to a second registry, where *copy_to* names one.
    """
    stable: Release | None = None
    if means.store is not None:
        stable = (await means.store.load(app.id)).state.stable
    view = await means.platform.read(app.target) if means.platform else None
    images = {str(slot.name): slot.image for slot in view.slots.values()} if view else {}
    release = stable.image.reference if stable else _leading(view)
    wanted = {each for each in (release, *images.values()) if each}
    held = {each: await _is_held(means, each) for each in sorted(wanted)}
    copied, why_not = await _copied(means, release, copy_to)
    document = ApplicationDocument(
        release=release,
        copied_to=copied,
        not_copied_because=why_not,
        rollout=stable.rollout if stable else None,
        slots=images,
        in_registry=held,  # null: not asked
    )
    missing = tuple(each for each, is_there in held.items() if is_there is False)
    return Application(
        release=release,
        document=written(document),
        missing=missing,
        copied=copied,
        not_copied_because=why_not,
    )


async def _copied(
    means: BackupMeans, release: str | None, copy_to: str | None
) -> tuple[str | None, str]:
    """Return where the copy is, or why there is none.

    A set is whole without it: no rollout waits for a second registry. The next set goes on.
    """
    image = Image.parse(release) if release else None
    if copy_to is None or means.copier is None:
        return None, ""
    if image is None:
        return None, "no release serves by digest"
    try:
        return (await means.copier.copy(image, copy_to)).reference, ""
    except SlipwayError as error:
        return None, error.what


def _leading(view: SiteView | None) -> str | None:
    """Return the image that most users get."""
    slot = view.slots.get(view.routing.leader) if view else None
    return slot.image if slot else None


async def _is_held(means: BackupMeans, reference: str) -> bool | None:
    image = Image.parse(reference)
    if image is None or means.registry is None:
        return None
    found = await means.registry.digest_of(image.registry, image.repository, image.digest)
    return found == image.digest


# --- Configuration --------------------------------------------------------------------------------


def configuration(export: SiteExport, *, encrypts: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return the document, and the names of what had to be left out of it.

    Where the vault encrypts, everything goes in. Else a value goes in only if it cannot be a
    secret: nobody can tell by its look whether a text is one.
    """
    left_out: list[str] = []
    slots = {
        name: _slot(name, slot, left_out if not encrypts else None)
        for name, slot in export.slots.items()
    }
    document = {"site": export.site, "slots": slots, "left_out": sorted(left_out)}
    return written(document), tuple(sorted(left_out))


def _slot(name: str, slot: SlotExport, left_out: list[str] | None) -> Mapping[str, object]:
    settings = {
        key: value for key, value in slot.settings.items() if _may_stay(key, value, left_out)
    }
    strings = {
        key: {"type": kind, "value": value}
        for key, (kind, value) in slot.connection_strings.items()
        if left_out is None or _REFERENCE.fullmatch(value.strip())
    }
    if left_out is not None:
        left_out += [f"{name}: setting {key}" for key in slot.settings.keys() - settings.keys()]
        gone = slot.connection_strings.keys() - strings.keys()
        left_out += [f"{name}: connection string {key}" for key in gone]
    return {
        "settings": settings,
        "connection_strings": strings,
        "configuration": slot.configuration,
        "identity": slot.identity,
    }


def _may_stay(key: str, value: str, left_out: list[str] | None) -> bool:
    is_open = key in _KNOWN or _HARMLESS.fullmatch(value) or _REFERENCE.fullmatch(value.strip())
    return left_out is None or bool(is_open)
