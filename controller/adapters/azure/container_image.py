"""How App Service spells a container image, and whether two spellings mean the same one."""

from typing import Final

SITE_CONTAINERS: Final = "sitecontainers"
_CLASSIC: Final = "DOCKER|"
_COMPOSE: Final = "COMPOSE|"
_HUB: Final = "docker.io"
_HUB_NAMES: Final = frozenset({_HUB, "index.docker.io", "registry-1.docker.io"})


def fx_version(image: str) -> str:
    """Return the ``linuxFxVersion`` that runs *image*."""
    return f"{_CLASSIC}{image}"


def image_of(version: str | None) -> str | None:
    """Return the image of a classic container; None for everything else."""
    if version is None or not version.upper().startswith(_CLASSIC):
        return None
    return version[len(_CLASSIC) :].strip() or None


def uses_site_containers(version: str | None) -> bool:
    """Whether the slot's image stands in a site container. Its case differs by who wrote it."""
    return version is not None and version.strip().lower() == SITE_CONTAINERS


def registry_of(image: str) -> str:
    """Return the registry of *image*, Docker Hub's names all as docker.io."""
    return _split(image)[0]


def same_image(one: str | None, other: str) -> bool:
    """Whether both name the same image: hosts have no case, Docker Hub has abbreviations."""
    return one is not None and _spelt_out(one) == _spelt_out(other)


def _spelt_out(image: str) -> tuple[str, str]:
    registry, path = _split(image)
    if registry == _HUB and "/" not in path.partition("@")[0]:
        path = f"library/{path}"
    name, at, digest = path.partition("@")
    return (registry, f"{name.partition(':')[0]}@{digest}" if at else name)


def _split(image: str) -> tuple[str, str]:
    head, slash, rest = image.partition("/")
    if not slash or not ("." in head or ":" in head or head.lower() == "localhost"):
        return (_HUB, image)
    host = head.lower()
    return (_HUB if host in _HUB_NAMES else host, rest)


def misfit(version: str | None) -> str:
    """Return why a slot that is neither classic nor of site containers cannot take an image.

    It completes a sentence about the slot.
    """
    if version and version.upper().startswith(_COMPOSE):
        return (
            "runs Docker Compose, which Slipway does not handle, and which App Service ends on "
            "31 March 2027. Make it one container with sidecars (sitecontainers), or one classic "
            "container (linuxFxVersion DOCKER|<image>)."
        )
    is_code = version and not version.upper().startswith(_CLASSIC)
    what = f"runs code ({version})" if is_code else "names no container image"
    return f"{what}. Slipway deploys images only: give it one as linuxFxVersion DOCKER|<image>."
