"""What front ends counted, in lists."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from controller.adapters.memory.world import Fault, Weather
from controller.core.errors import AccessDeniedError, ProviderError
from controller.core.plan import SlotName, Target
from controller.verdict.platform import Minute


class MemoryPlatformMetrics:
    """Implements `PlatformMetrics`. Faults: operation ``metrics``; a lost response is partial."""

    def __init__(self, *, weather: Weather | None = None) -> None:
        self.weather = weather or Weather()
        self.reads = 0
        self._minutes: dict[tuple[str, str], dict[datetime, Minute]] = {}

    def count(self, target: Target, slot: SlotName, *minutes: Minute) -> None:
        """Let *minutes* be known of *slot*; one that is known already is replaced."""
        stored = self._minutes.setdefault((target.resource_id, slot.lower()), {})
        stored.update({minute.start: minute for minute in minutes})

    async def read(
        self,
        target: Target,
        slot: SlotName,
        *,
        region: str,
        since: datetime,
        until: datetime,
        with_health: bool,
    ) -> Sequence[Minute]:
        """See `PlatformMetrics.read`."""
        self.reads += 1
        fault = self.weather.take("metrics")
        if fault is Fault.PERMANENT:
            raise AccessDeniedError(f"Metrics of {region} refuse us.", fix="Give the role.")
        if fault is not None:
            wait = timedelta(seconds=7) if fault is Fault.THROTTLED else None
            raise ProviderError(f"Metrics gave no usable answer: {fault}.", retry_after=wait)
        stored = self._minutes.get((target.resource_id, slot.lower()), {})
        found = [stored[at] for at in sorted(stored) if since <= at < until]
        return found if with_health else [replace(each, health_percent=None) for each in found]
