"""`SiteExporter` and `SiteImporter` over one site in memory: what drills restore to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from controller.core.errors import SiteMissingError, SlotMissingError
from controller.core.plan import PRODUCTION, SlotName, Target
from controller.ports_data import SiteExport, SlotExport
from controller.recovery.site import STICKY_KINDS

EMPTY = SlotExport(settings={}, connection_strings={})


class MemorySite:
    """A site that nobody used yet: its slots are there, and nothing is configured."""

    def __init__(self, resource_id: str, slots: Iterable[str]) -> None:
        self.resource_id = resource_id
        self.slots = dict.fromkeys((str(PRODUCTION), *slots), EMPTY)
        self.sticky: dict[str, list[str]] = {kind: [] for kind in STICKY_KINDS}
        self.writes: list[str] = []  # request ids

    async def export(self, target: Target) -> SiteExport:
        """See `SiteExporter`."""
        names = dict.fromkeys((str(PRODUCTION), *target.slots))
        return SiteExport(
            site={"resource_id": target.resource_id, "sticky": dict(self.sticky)},
            slots={name: self._slot(target, name) for name in names},
        )

    async def put_settings(
        self, target: Target, slot: SlotName, settings: Mapping[str, str], *, request_id: str
    ) -> None:
        """See `SiteImporter`."""
        before = self._slot(target, slot)
        self._put(slot, replace(before, settings=dict(settings)), request_id)

    async def put_connection_strings(
        self,
        target: Target,
        slot: SlotName,
        strings: Mapping[str, tuple[str, str]],
        *,
        request_id: str,
    ) -> None:
        """See `SiteImporter`."""
        before = self._slot(target, slot)
        self._put(slot, replace(before, connection_strings=dict(strings)), request_id)

    async def put_configuration(
        self, target: Target, slot: SlotName, properties: Mapping[str, object], *, request_id: str
    ) -> None:
        """See `SiteImporter`."""
        before = self._slot(target, slot)
        after = replace(before, configuration={**before.configuration, **properties})
        self._put(slot, after, request_id)

    async def put_sticky(
        self, target: Target, names: Mapping[str, Sequence[str]], *, request_id: str
    ) -> None:
        """See `SiteImporter`."""
        self._slot(target, PRODUCTION)
        self.writes.append(request_id)
        self.sticky = {kind: list(names[kind]) for kind in STICKY_KINDS}

    def _slot(self, target: Target, name: str) -> SlotExport:
        if target.resource_id.lower() != self.resource_id.lower():
            raise SiteMissingError(f"There is no site {target.site!r}.", fix="Correct the target.")
        if name not in self.slots:
            raise SlotMissingError(
                f"Site {target.site!r} has no slot {name!r}.", fix="Create the slot."
            )
        return self.slots[name]

    def _put(self, name: str, slot: SlotExport, request_id: str) -> None:
        self.writes.append(request_id)
        self.slots[name] = slot
