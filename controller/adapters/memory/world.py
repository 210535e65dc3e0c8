"""A small world in memory: sites, slots, builds that need a while, and bad weather on demand.

It obeys as App Service does where that matters to us: after a change of image or settings the old
build keeps answering until the new one is up; front ends learn new rules late; a cookie may
outlive its rule. There is no clock in it: what takes time takes *looks* (requests that arrive).
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Final

from controller.adapters.memory.swaps import (
    OUTCOMES,
    MemoryOperation,
    SiteSwaps,
    SwapEnding,
    exchange,
)
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PreparedForSwapError,
    SiteMissingError,
    SlipwayError,
    SlotMissingError,
)
from controller.core.plan import ALL, PRODUCTION, Percent, Routing, SlotName, Target

SELF: Final = "self"
_GOLDEN: Final = 0.6180339887498949  # spreads clients evenly over the shares, without chance
THROTTLED_FOR: Final = timedelta(seconds=7)


class Fault(StrEnum):
    """One thing that goes wrong with one call."""

    TRANSIENT = "transient"  # nothing happened
    THROTTLED = "throttled"  # nothing happened, and it says when to come back
    PERMANENT = "permanent"  # nothing happened, nor ever will
    LOST_RESPONSE = "lost_response"  # it happened, but nobody says so
    CUT_SHORT = "cut_short"  # half done: an image without its identity; a swap that leaves locks
    LATE = "late"  # a swap only: it begins later, and nobody says so
    UNDONE = "undone"  # a swap only: taken, then given up by the platform
    REFUSED = "refused"  # a swap only: taken, then given up as the build does not come up
    SOMEBODY_ELSE = "somebody_else"  # a change only: another operation begins just before
    LOCKED = "locked"  # a change only: somebody began a swap just before and left it so


NOTHING_DONE: Final = frozenset({Fault.TRANSIENT, Fault.THROTTLED, Fault.PERMANENT})


def error_of(fault: Fault, operation: str) -> SlipwayError:
    """Return what a port raises for *fault*."""
    if fault is Fault.PERMANENT:
        return AccessDeniedError(f"The world refuses to {operation}.", fix="Give the role.")
    wait = THROTTLED_FOR if fault is Fault.THROTTLED else None
    return BusyError(f"The world did not {operation}: {fault}.", retry_after=wait)


class Weather:
    """Which call meets which fault: by script per operation, or by a function.

    Operations: read, hosts, stage, route, instances, log_tail, ready, smoke, get, digest_of, look,
    differences, swap, follow, unlock, look_at_data, backup, migrate, revert_data.
    """

    def __init__(self) -> None:
        self.forecast: Callable[[str], Fault | None] | None = None
        self._script: defaultdict[str, deque[Fault | None]] = defaultdict(deque)

    def script(self, operation: str, *faults: Fault | None) -> None:
        """Let the next calls of *operation* meet *faults*, one each; None is a fine day."""
        self._script[operation].extend(faults)

    def take(self, operation: str) -> Fault | None:
        """Return what the call that is made now meets."""
        if self._script[operation]:
            return self._script[operation].popleft()
        return self.forecast(operation) if self.forecast else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What an image does once it is put into a slot."""

    looks: int = 1  # requests that still reach the old build before this one serves
    starts: bool = True  # else the old build serves for ever
    status: int = 200  # of its readiness path
    shows_identity: bool = True
    smoke_error: str | None = None
    probe_status: int = 200  # of what we ask while it is judged
    probe_milliseconds: float = 10.0
    swaps: bool = True  # it comes up under the other slot's settings, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A container that was started: image and identity as configured at its start."""

    image: str
    release: str | None


@dataclass(slots=True, kw_only=True)
class MemorySlot:
    """One slot."""

    name: SlotName
    host: str
    image: str
    release: str | None = None
    telemetry_release: str | None = None
    settings: dict[str, str] = field(default_factory=dict[str, str])
    running: bool = True
    serving: Build | None = None
    starting: Build | None = None
    looks_left: int = 0
    log: list[str] = field(default_factory=list[str])


@dataclass(slots=True, kw_only=True)
class MemorySite:
    """One site: its slots, the rules as written, the rules as the front door obeys them."""

    slots: dict[SlotName, MemorySlot]
    rules: Routing = field(default_factory=Routing)
    obeyed: Routing = field(default_factory=Routing)
    looks_until_obeyed: int = 0
    visitors: int = 0
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()
    swap_problems: tuple[str, ...] = ()
    sticky: frozenset[str] = frozenset()  # names of settings that stay with their slot
    swaps: SiteSwaps = field(default_factory=SiteSwaps)

    @property
    def host(self) -> str:
        """The public host: production's own."""
        return self.slots[PRODUCTION].host


class World:
    """Everything there is. Change its public fields to change how it behaves."""

    def __init__(self) -> None:
        self.sites: dict[str, MemorySite] = {}
        self.behaviours: dict[str, Behaviour] = {}  # by image reference
        self.weather = Weather()
        self.routing_delay = 0  # requests to the public host that still meet the old rules
        self.absent_rule_cookie_respected = True
        self.writes: list[str] = []  # every change made through the platform, in order
        self.swap_looks = 1  # looks that still find a swap under way
        self.late_looks = 2  # looks before one that is late begins
        self.swaps_sent = 0  # requests for a swap, whatever became of them
        self._by_host: dict[str, tuple[MemorySite, MemorySlot]] = {}

    def create_site(
        self,
        target: Target,
        *,
        image: str,
        release: str | None,
        telemetry_release: str | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> MemorySite:
        """Make a site whose slots all serve *image* as *release*.

        *telemetry_release* is for a build that we did not deploy: it reports a version, and shows
        no identity of ours.
        """
        slots: dict[SlotName, MemorySlot] = {}
        for name in dict.fromkeys((PRODUCTION, *target.slots)):
            host = target.site if name == PRODUCTION else f"{target.site}-{name}"
            slots[name] = MemorySlot(
                name=name,
                host=f"{host}.memory.test",
                image=image,
                release=release,
                telemetry_release=release or telemetry_release,
                settings=dict(settings or {}),
                serving=Build(image=image, release=release),
            )
        site = MemorySite(slots=slots)
        self.sites[target.resource_id.lower()] = site
        self._by_host |= {slot.host: (site, slot) for slot in slots.values()}
        return site

    def site(self, target: Target) -> MemorySite:
        """Return a site, or raise what a platform raises."""
        found = self.sites.get(target.resource_id.lower())
        if found is None:
            raise SiteMissingError(f"There is no site {target.site!r}.", fix="Create it.")
        return found

    def slot(self, target: Target, name: SlotName) -> MemorySlot:
        """Return a slot, or raise what a platform raises."""
        slots = self.site(target).slots
        found = next((slot for key, slot in slots.items() if key.lower() == name.lower()), None)
        if found is None:
            raise SlotMissingError(f"{target.site!r} has no slot {name!r}.", fix="Create it.")
        return found

    def behaviour(self, image: str) -> Behaviour:
        """Return how *image* behaves."""
        return self.behaviours.get(image, Behaviour())

    def begin(self, slot: MemorySlot) -> None:
        """Start a container from what is configured now; the one before serves until then."""
        slot.starting = Build(image=slot.image, release=slot.release)
        slot.looks_left = self.behaviour(slot.image).looks
        slot.log.append(f"INFO - Starting container for {slot.image}")

    def begin_swap(
        self,
        site: MemorySite,
        slot: MemorySlot,
        ending: SwapEnding = SwapEnding.DONE,
        *,
        after: int = 0,
    ) -> str:
        """Let *slot* and production be exchanged, whoever asks for it; return the operation."""
        behaviour = self.behaviour(slot.image)
        comes_up = behaviour.starts and behaviour.swaps
        operation = MemoryOperation(
            id=f"swap-{len(site.swaps.by_id) + 1}",
            slot=slot.name,
            looks_left=self.swap_looks,
            ending=ending if comes_up else SwapEnding.REFUSED,
        )
        site.swaps.take(operation, after=after)
        return operation.id

    def hold(self, site: MemorySite, looks: int) -> str:
        """Let an operation that is no swap hold *site* for *looks*; return its id."""
        name = f"operation-{len(site.swaps.by_id) + 1}"
        site.swaps.take(MemoryOperation(id=name, looks_left=looks))
        return name

    def pass_look(self, site: MemorySite) -> None:
        """Let an operation come one look closer to its end."""
        ended = site.swaps.pass_look()
        if ended is None:
            return
        ended.outcome = OUTCOMES[ended.ending]
        if ended.slot is None:
            return
        slot, production = site.slots[ended.slot], site.slots[PRODUCTION]
        if ended.ending is SwapEnding.LEFT_LOCKED:
            site.swaps.lock(slot.name)
        elif ended.ending is SwapEnding.DONE:
            exchange(slot, production, site.sticky)
            self.begin(slot)  # what served before is started again, with its new slot's settings
            site.swaps.ended += 1
            site.swaps.swapped_slots = (slot.name, PRODUCTION)

    def require_idle(self, site: MemorySite) -> None:
        """Refuse what cannot be while an operation holds *site*. Time passes by a refusal, too."""
        running = site.swaps.running
        if running is not None:
            self.pass_look(site)
            raise OperationInProgressError(f"Operation {running.id} is in progress.")

    def require_unlocked(self, site: MemorySite, *slots: SlotName) -> None:
        """Refuse a change of *slots* while an operation, or a swap that was left, holds them."""
        self.require_idle(site)
        for slot in slots:
            if site.swaps.is_locked(slot):
                raise PreparedForSwapError(f"Slot {slot} has been prepared for swap.")

    def met(self, operation: str, site: MemorySite, slot: MemorySlot) -> Fault | None:
        """Raise where nothing shall happen, let others act first; else return what strikes."""
        fault = self.weather.take(operation)
        if fault is not None and fault in NOTHING_DONE:
            raise error_of(fault, operation)
        if fault is Fault.SOMEBODY_ELSE and site.swaps.running is None:
            self.hold(site, self.swap_looks)
        if fault is Fault.LOCKED and site.swaps.running is None:
            site.swaps.lock(slot.name)
        return None if fault in (Fault.SOMEBODY_ELSE, Fault.LOCKED) else fault

    def write_rules(self, site: MemorySite, routing: Routing) -> None:
        """Take *routing*; the front door obeys it after `routing_delay` requests."""
        site.rules = routing
        site.looks_until_obeyed = self.routing_delay
        if not self.routing_delay:
            site.obeyed = routing

    def serving(self, target: Target) -> dict[SlotName, tuple[Percent, Build | None]]:
        """Return for each slot with users its share and the build that answers them."""
        site = self.site(target)
        return {
            name: (site.obeyed.of(name), slot.serving)
            for name, slot in site.slots.items()
            if site.obeyed.of(name)
        }

    def arrive(self, host: str, pinned_to: str | None) -> MemorySlot | None:
        """Let one request come in at *host* and return the slot that answers; None: no such host.

        A request to the public host is split by the rules, unless its cookie names a slot.
        """
        if host not in self._by_host:
            return None
        site, slot = self._by_host[host]
        if slot.name == PRODUCTION:
            slot = self._split(site, pinned_to)
        self._look(slot)
        return slot

    def _split(self, site: MemorySite, pinned_to: str | None) -> MemorySlot:
        if site.looks_until_obeyed > 0:
            site.looks_until_obeyed -= 1
        else:
            site.obeyed = site.rules
        if pinned_to is not None and pinned_to.lower() == SELF:
            return site.slots[PRODUCTION]
        for name, slot in site.slots.items():
            has_rule = site.obeyed.of(name) > 0 or self.absent_rule_cookie_respected
            if pinned_to is not None and name.lower() == pinned_to.lower() and has_rule:
                return slot
        return site.slots[self._throw(site)]

    def _throw(self, site: MemorySite) -> SlotName:
        """Send one visitor without a cookie somewhere, fairly."""
        site.visitors += 1
        dice = site.visitors * _GOLDEN % 1.0 * ALL
        limit = 0.0
        for name, share in site.obeyed.shares:
            limit += share
            if dice < limit:
                return name
        return PRODUCTION

    def _look(self, slot: MemorySlot) -> None:
        """Time passes for a slot with each request that reaches it."""
        if slot.starting is None:
            return
        behaviour = self.behaviour(slot.starting.image)
        if not behaviour.starts:
            slot.log.append("ERROR - Container didn't respond to HTTP pings, failing site start")
        elif slot.looks_left > 0:
            slot.looks_left -= 1
        else:
            slot.serving, slot.starting = slot.starting, None
            slot.log.append(f"INFO - Container for {slot.image} serves")
