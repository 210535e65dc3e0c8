"""The app settings by which a build learns who it is.

``SLIPWAY_RELEASE`` is what the build shows to probes; ``service.version`` within
``OTEL_RESOURCE_ATTRIBUTES`` is what it tells telemetry. No other value leaves this module.
"""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

RELEASE: Final = "SLIPWAY_RELEASE"
ATTRIBUTES: Final = "OTEL_RESOURCE_ATTRIBUTES"
_VERSION: Final = "service.version"
_IMAGE_MIRROR: Final = "DOCKER_CUSTOM_IMAGE_NAME"  # portal tooling writes the image back from it
_CLASSIC: Final = "DOCKER|"
_CONTINUOUS: Final = "DOCKER_ENABLE_CI"
_REFERENCE: Final = "@microsoft."  # value is kept elsewhere, in a key vault say
_TRUE: Final = frozenset({"true", "1"})


def release_of(settings: Mapping[str, str]) -> str | None:
    """Return the identity that the build is told to show."""
    return settings.get(RELEASE) or None


def telemetry_release_of(settings: Mapping[str, str]) -> str | None:
    """Return the identity under which the build reports."""
    for pair in settings.get(ATTRIBUTES, "").split(","):
        name, _, value = pair.partition("=")
        if name.strip() == _VERSION:
            return unquote(value.strip()) or None
    return None


def with_release(settings: Mapping[str, str], *, image: str | None, release: str) -> dict[str, str]:
    """Return the whole set with this identity in it; everything else stays as it is.

    *image* is for the legacy setting that repeats it, where there is one; None leaves that alone.
    """
    pairs = [pair for pair in settings.get(ATTRIBUTES, "").split(",") if pair.strip()]
    kept = [pair for pair in pairs if pair.partition("=")[0].strip() != _VERSION]
    told = {RELEASE: release, ATTRIBUTES: ",".join([*kept, f"{_VERSION}={release}"])}
    if telemetry_release_of(settings) == release:
        told[ATTRIBUTES] = settings[ATTRIBUTES]  # right already, whatever the order
    mirror = settings.get(_IMAGE_MIRROR)
    if image is not None and mirror:
        is_prefixed = mirror.upper().startswith(_CLASSIC)  # some tools write linuxFxVersion's form
        told[_IMAGE_MIRROR] = f"{_CLASSIC}{image}" if is_prefixed else image
    return {**settings, **told}


def misfits(settings: Mapping[str, str]) -> list[str]:
    """Return what makes a slot unfit, each as the end of a sentence about it."""
    found: list[str] = []
    if settings.get(_CONTINUOUS, "").lower() in _TRUE:
        found.append(
            f"has {_CONTINUOUS}=true: every push would go live past Slipway. Remove the setting."
        )
    if settings.get(ATTRIBUTES, "").lower().startswith(_REFERENCE):
        found.append(
            f"keeps {ATTRIBUTES} in another store, so Slipway cannot add {_VERSION} to it. "
            "Make it a plain setting."
        )
    return found


def sticky_warnings(sticky: frozenset[str]) -> list[str]:
    """Return a warning for each identity setting that is marked as a slot setting."""
    return [
        f"{name} is a slot setting (sticky): after a swap it would name the wrong build"
        for name in (RELEASE, ATTRIBUTES)
        if name in sticky
    ]
