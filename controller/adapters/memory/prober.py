"""`Prober` over a `World` in memory."""

from datetime import timedelta
from urllib.parse import urlsplit

from controller.adapters.memory.world import MemorySlot, World
from controller.core.plan import Health, IdentityKind, SmokeTest
from controller.ports import Answer

_COOKIE = "x-ms-routing-name"
_OK = 200
_UNAVAILABLE = 503


class MemoryProber:
    """Each request lets a little time pass in the slot that answers it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ready(
        self, base_url: str, health: Health, *, cookie: tuple[str, str] | None = None
    ) -> Answer:
        """See `Prober`."""
        pinned = cookie[1] if cookie and cookie[0] == _COOKIE else None
        slot = self._arrive("ready", base_url, pinned)
        if slot is None:
            return _silence()
        if slot.serving is None or not slot.running:
            return Answer(status=_UNAVAILABLE, release=None, body_excerpt="Application Error")
        behaviour = self._world.behaviour(slot.serving.image)
        is_shown = behaviour.shows_identity and health.identity.kind is not IdentityKind.NONE
        return Answer(status=behaviour.status, release=slot.serving.release if is_shown else None)

    async def smoke(
        self,
        base_url: str,
        test: SmokeTest,
        *,
        timeout: timedelta,  # noqa: ARG002 - the port's; nothing takes time here
    ) -> Answer:
        """See `Prober`."""
        pinned = next(
            (v.split("=", 1)[1] for n, v in test.headers if n == "Cookie" and _COOKIE in v), None
        )
        slot = self._arrive("smoke", base_url, pinned)
        if slot is None or slot.serving is None:
            return _silence()
        error = self._world.behaviour(slot.serving.image).smoke_error
        return Answer(status=_OK, release=None, error=error)

    async def get(
        self,
        url: str,
        *,
        timeout: timedelta,  # noqa: ARG002 - the port's; nothing takes time here
        cookie: tuple[str, str] | None = None,
    ) -> Answer:
        """See `Prober`. Weather: operation ``get``."""
        pinned = cookie[1] if cookie and cookie[0] == _COOKIE else None
        slot = self._arrive("get", url, pinned)
        if slot is None:
            return _silence()
        if slot.serving is None or not slot.running:
            return Answer(status=_UNAVAILABLE, release=None)
        behaviour = self._world.behaviour(slot.serving.image)
        return Answer(
            status=behaviour.probe_status, release=None, elapsed_ms=behaviour.probe_milliseconds
        )

    def _arrive(self, operation: str, base_url: str, pinned: str | None) -> MemorySlot | None:
        if self._world.weather.take(operation) is not None:
            return None
        return self._world.arrive(urlsplit(base_url).netloc, pinned)


def _silence() -> Answer:
    return Answer(status=None, release=None, error="connection refused")
