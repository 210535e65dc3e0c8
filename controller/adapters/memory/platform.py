"""`TargetPlatform` over a `World` in memory."""

from collections.abc import Sequence

from controller.adapters.memory.world import Fault, MemorySlot, World, error_of
from controller.core.plan import PRODUCTION, Routing, SlotName, Target
from controller.ports import Hosts, SiteView, SlotView

_IDENTITY_SETTINGS = frozenset({"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES"})


class MemoryPlatform:
    """Passes the same contract suite as the real one."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def hosts(self, target: Target) -> Hosts:
        """See `Addresses`."""
        self._ask("hosts")
        site = self._world.site(target)
        slots = {name: slot.host for name, slot in site.slots.items()}
        return Hosts(scheme="https", public=site.host, slots=slots)

    async def routing(self, target: Target) -> Routing:
        """See `Addresses`."""
        self._ask("read")
        return self._world.site(target).rules

    async def read(self, target: Target) -> SiteView:
        """See `TargetPlatform`."""
        self._ask("read")
        site = self._world.site(target)
        for name in target.slots:
            self._world.slot(target, name)
        return SiteView(
            host=site.host,
            scheme="https",
            slots={name: _view(slot) for name, slot in site.slots.items()},
            routing=site.rules,
            sticky_names=site.sticky,
            problems=site.problems,
            warnings=site.warnings,
            objections=site.objections,
            swap_problems=site.swap_problems,
        )

    async def stage(
        self, target: Target, slot: SlotName, *, image: str, release: str, request_id: str
    ) -> bool:
        """See `TargetPlatform`."""
        found, site = self._world.slot(target, slot), self._world.site(target)
        fault = self._world.met("stage", site, found)
        wanted = (image, release, release)
        was_so = wanted == (found.image, found.release, found.telemetry_release)
        if not was_so:
            self._world.require_unlocked(site, found.name)
            found.image = image
            if fault is not Fault.CUT_SHORT:
                found.release = found.telemetry_release = release
            self._world.writes.append(f"stage {slot} {request_id}")
            self._world.begin(found)
        self._answer(fault, "stage")
        return was_so

    async def route(self, target: Target, routing: Routing, *, request_id: str) -> Routing:
        """See `TargetPlatform`."""
        site, production = self._world.site(target), self._world.slot(target, PRODUCTION)
        fault = self._world.met("route", site, production)
        for name, _ in routing.shares:
            self._world.slot(target, name)
        if site.rules != routing:
            self._world.require_unlocked(site, PRODUCTION)
            self._world.writes.append(f"route {routing} {request_id}")
            self._world.write_rules(site, routing)
        self._answer(fault, "route")
        return site.rules

    async def instances(self, target: Target, slot: SlotName) -> Sequence[str]:
        """See `TargetPlatform`."""
        self._ask("instances")
        found = self._world.slot(target, slot)
        if not found.running:
            return ("STOPPED",)
        return ("READY",) if found.serving is not None else ("UNKNOWN",)

    async def log_tail(self, target: Target, slot: SlotName, *, lines: int) -> str:
        """See `TargetPlatform`."""
        self._ask("log_tail")
        return "\n".join(self._world.slot(target, slot).log[-lines:])

    def _ask(self, operation: str) -> None:
        """Raise what a question meets; it changes nothing either way."""
        self._answer(self._world.weather.take(operation), operation)

    def _answer(self, fault: Fault | None, operation: str) -> None:
        if fault is not None:
            raise error_of(fault, operation)


def _view(slot: MemorySlot) -> SlotView:
    names = frozenset(slot.settings)
    return SlotView(
        name=slot.name,
        host=slot.host,
        image=slot.image,
        release=slot.release,
        telemetry_release=slot.telemetry_release,
        running=slot.running,
        setting_names=names | _IDENTITY_SETTINGS if slot.release else names,
    )
