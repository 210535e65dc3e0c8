"""One slot of App Service in our words, and what is odd about it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from azure.mgmt.web.models import Site, SiteConfig

from controller.adapters.azure import release_settings
from controller.adapters.azure.arm_site import ArmSlot
from controller.adapters.azure.classic_container import ClassicContainer
from controller.adapters.azure.container_image import image_of, misfit, uses_site_containers
from controller.adapters.azure.site_containers import SiteContainers
from controller.adapters.azure.slot_parts import ImageMode, ImageRead, SlotParts
from controller.core.plan import SlotName
from controller.ports import SlotView

_RUNNING: Final = "running"
_STOPPED: Final = "stopped"
_NORMAL: Final = "normal"
_DIGEST: Final = "sha256:"
_START_LIMIT: Final = "WEBSITES_CONTAINER_START_TIME_LIMIT"
_START_SECONDS: Final = 230.0  # the platform's default
_MAX_START_SECONDS: Final = 1800.0
_WINDOWS: Final = "runs Windows; Slipway handles Linux containers only."


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRead:
    """A slot, and whole sentences about it."""

    view: SlotView
    parts: SlotParts
    mode: str  # where its image stands
    problems: tuple[str, ...]
    objections: tuple[str, ...]
    warnings: tuple[str, ...]


def mode_of(configuration: SiteConfig) -> ImageMode:
    """Return where a slot's image stands. What is no container yet becomes a classic one."""
    if uses_site_containers(configuration.linux_fx_version):
        return SiteContainers()
    return ClassicContainer()


async def read_slot(calls: ArmSlot, name: SlotName) -> SlotRead:
    """Read one slot: three requests, a fourth where its image stands in a site container."""
    site, configuration, settings = await asyncio.gather(
        calls.describe(), calls.configuration(), calls.settings()
    )
    parts = SlotParts(name=name, site=site, configuration=configuration, settings=settings)
    mode = mode_of(configuration)
    unfit = _misfit(parts)
    image = ImageRead(image=None, problems=(unfit,)) if unfit else await mode.read(calls, parts)
    problems = [*image.problems, *([] if unfit == _WINDOWS else release_settings.misfits(settings))]
    if not site.default_host_name:
        problems.append("has no host name.")
    view = _view(parts, image)
    warnings = [*image.warnings, *_state_warnings(site, view)]
    return SlotRead(
        view=view,
        parts=parts,
        mode=mode.name,
        problems=tuple(f"Slot {name} {each}" for each in problems),
        objections=tuple(f"Slot {name} {each}" for each in image.objections),
        warnings=tuple(f"slot {name} {each}" for each in warnings),
    )


def _misfit(parts: SlotParts) -> str | None:
    """Return why a slot runs no image that we could replace; None: it does."""
    site, version = parts.site, parts.configuration.linux_fx_version
    if not (site.reserved or "linux" in str(site.get("kind") or "").lower()):
        return _WINDOWS
    if image_of(version) or uses_site_containers(version):
        return None
    return misfit(version)


def _view(parts: SlotParts, image: ImageRead) -> SlotView:
    site, configuration, settings = parts.site, parts.configuration, parts.settings
    trouble = _trouble(site)
    return SlotView(
        name=parts.name,
        host=str(site.default_host_name or ""),
        image=image.image,
        release=release_settings.release_of(settings),
        telemetry_release=release_settings.telemetry_release_of(settings),
        running=trouble is None and _word(site.state) == _RUNNING and site.enabled is not False,
        setting_names=frozenset(settings),
        trouble=trouble,
        pull=image.pull,
        health_check_path=configuration.health_check_path or None,
        start_limit=_start_limit(settings),
    )


def _trouble(site: Site) -> str | None:
    """Return why a slot cannot run that nobody stopped."""
    state = _word(site.state)
    if _word(site.usage_state) == "exceeded" or "quota" in state:
        return "has used up its plan's quota. Scale the plan up, or wait until it is counted anew."
    if state not in {_RUNNING, _STOPPED} or (state == _RUNNING and site.enabled is False):
        said = site.state or "unknown"
        return f"is disabled (state {said}). Enable it; where Azure did it the portal says why."
    return None


def _state_warnings(site: Site, view: SlotView) -> list[str]:
    found = [] if view.trouble is None else [view.trouble]
    digest = (view.image or "").partition("@")[2]
    shown = view.release or ""
    if digest and shown.startswith(_DIGEST) and shown != digest:
        found.append(
            f"names the image {digest} but shows the identity {shown}: somebody changed one of "
            "them past Slipway, so what it shows proves nothing"
        )
    available = _word(site.availability_state) or _NORMAL
    if available != _NORMAL:
        found.append(f"is {available} by the platform's own word (availabilityState)")
    return found


def _start_limit(settings: Mapping[str, str]) -> timedelta:
    try:
        seconds = float(settings.get(_START_LIMIT, ""))
    except ValueError:
        seconds = _START_SECONDS
    return timedelta(seconds=min(max(seconds, 0.0), _MAX_START_SECONDS))


def _word(value: object) -> str:
    """Return what was on the wire: the SDK makes enumerations of some words."""
    return str(getattr(value, "value", value) or "").lower()
