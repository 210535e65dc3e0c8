"""`Registry` in memory."""

from controller.adapters.memory.world import Weather, error_of


class MemoryRegistry:
    """Holds what `push` put into it."""

    def __init__(self, weather: Weather | None = None) -> None:
        self._weather = weather or Weather()
        self._images: dict[tuple[str, str, str], str] = {}

    def push(self, registry: str, repository: str, digest: str, *tags: str) -> None:
        """Hold an image under its digest and *tags*."""
        for reference in (digest, *tags):
            self._images[registry, repository, reference] = digest

    async def digest_of(self, registry: str, repository: str, reference: str) -> str | None:
        """See `Registry`."""
        fault = self._weather.take("digest_of")
        if fault is not None:
            raise error_of(fault, f"read {registry}/{repository}")
        return self._images.get((registry, repository, reference))
