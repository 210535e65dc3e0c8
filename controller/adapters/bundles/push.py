"""Puts a bundle where a release's bundle is found."""

from collections.abc import Mapping
from datetime import datetime

from controller.adapters.bundles.container import ContainerBundles
from controller.adapters.bundles.registry import RegistryBundles
from controller.adapters.registry_calls import RegistryCalls
from controller.core.errors import MalformedError
from controller.core.model import Image


async def push_to_registry(
    calls: RegistryCalls, image: str, files: Mapping[str, bytes], *, at: datetime
) -> str:
    """Attach *files* (name -> bytes, manifest included) to *image*; return the artifact's digest.

    The newest one that is attached counts: pushing again replaces what a release carries.

    Args:
        calls: sends the requests.
        image: ``registry/repository@sha256:...``.
        files: the bundle's.
        at: now.

    Raises:
        MalformedError: *image* is none by digest.
        AccessDeniedError: we may not push there.
        PermanentError: there is no such image, or the registry refuses.
        BusyError: the registry does not answer.
    """
    named = Image.parse(image)
    if named is None:
        raise MalformedError(
            f"{image!r} is not registry/repository@sha256:<64 hex digits>.",
            fix="Push the image first, and name it by the digest that the push printed.",
        )
    return await RegistryBundles(calls).attach(named, files, at=at)


async def push_to_container(
    containers: ContainerBundles, url: str, prefix: str, name: str, files: Mapping[str, bytes]
) -> None:
    """Write *files* under *name* (the image's digest, or its tag). What was there goes.

    Raises:
        AccessDeniedError, MalformedError, TransientError: as the storage account answers.
    """
    await containers.keep(url, prefix, name, files)
