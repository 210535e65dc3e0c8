"""Finds a release's bundle where its app says that it is."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from controller.adapters.bundles.container import ContainerBundles
from controller.adapters.bundles.registry import RegistryBundles
from controller.core.data import BundleSource, DatabaseSpec
from controller.core.errors import ConfigurationError, MalformedError
from controller.core.model import Image
from controller.migrations.bundle import Bundle
from controller.migrations.manifest import with_manifest
from controller.migrations.reading import read_bundle
from controller.ports_data import BundleName

_REMEMBERED: Final = 8  # bundles that were read: each call of a migration asks again


class BundleSources:
    """Implements `ReleaseBundles`.

    Args:
        registry: finds those that are attached to images.
        container: finds those in blob containers.
    """

    def __init__(self, registry: RegistryBundles, container: ContainerBundles) -> None:
        self._registry = registry
        self._container = container
        self._read: OrderedDict[frozenset[tuple[str, bytes]], Bundle] = OrderedDict()

    async def close(self) -> None:
        """Close what is open."""
        await self._registry.close()

    async def find(self, database: DatabaseSpec, bundle: BundleName) -> Bundle | None:
        """See `ReleaseBundles.find`."""
        image = Image.parse(bundle.image, tag=bundle.tag)
        if image is None:
            raise MalformedError(
                f"{bundle.image!r} is no image by digest.", fix="Deploy by digest."
            )
        where = database.bundles
        if where.source is BundleSource.IMAGE:
            files = await self._registry.files(image)
        elif where.url is None:
            raise ConfigurationError(
                "database.bundles.url is missing.", fix="Name the blob container."
            )
        else:
            files = await self._container.files(where.url, where.prefix, image.digest, image.tag)
        if files is None:
            return None
        key = frozenset(files.items())
        known = self._read.get(key)
        if known is None:
            # Parsing many statements takes a while, and others are served beside it.
            known = self._read[key] = await asyncio.to_thread(_read, files, bundle.image)
            while len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
        return known


def _read(files: Mapping[str, bytes], image: str) -> Bundle:
    """Read files that may have been attached by another program, which writes no manifest."""
    try:
        return read_bundle(with_manifest(files))
    except MalformedError as error:
        raise MalformedError(f"The bundle of {image}: {error.what}", fix=error.fix) from error
