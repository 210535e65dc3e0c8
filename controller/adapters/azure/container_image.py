"""How App Service spells a container image: ``linuxFxVersion``."""

from typing import Final

_CLASSIC: Final = "DOCKER|"
_COMPOSE: Final = "COMPOSE|"
_SITE_CONTAINERS: Final = "sitecontainers"


def fx_version(image: str) -> str:
    """Return the ``linuxFxVersion`` that runs *image*."""
    return f"{_CLASSIC}{image}"


def image_of(version: str | None) -> str | None:
    """Return the image of a classic container; None for everything else."""
    if version is None or not version.upper().startswith(_CLASSIC):
        return None
    return version[len(_CLASSIC) :] or None


def misfit(version: str | None) -> str | None:
    """Return why Slipway cannot put an image there, as the end of a sentence about the slot."""
    if image_of(version):
        return None
    if version and version.upper().startswith(_COMPOSE):
        return "runs Docker Compose, which Slipway does not handle. Make it a single container."
    if version and version.lower() == _SITE_CONTAINERS:
        return (
            "uses the sidecar model (sitecontainers), which Slipway does not handle yet. "
            "Use a classic container: linuxFxVersion DOCKER|<image>."
        )
    what = f"runs code ({version})" if version else "names no container image"
    return f"{what}. Slipway deploys images only: give it one as linuxFxVersion DOCKER|<image>."
