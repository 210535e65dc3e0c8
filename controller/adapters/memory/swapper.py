"""`SlotSwapper` over a `World` in memory."""

from collections.abc import Sequence
from typing import Final

from controller.adapters.memory.swaps import SwapEnding
from controller.adapters.memory.world import Fault, World, error_of
from controller.core.errors import PermanentError, SlotMissingError
from controller.core.plan import PRODUCTION, SlotName, Target
from controller.ports import SettingDifference, SwapOutcome, SwapStatus, SwapView

_ENDINGS: Final = {
    Fault.UNDONE: SwapEnding.UNDONE,
    Fault.REFUSED: SwapEnding.REFUSED,
    Fault.CUT_SHORT: SwapEnding.LEFT_LOCKED,
}
_SAID: Final = {
    SwapEnding.DONE: "",
    SwapEnding.UNDONE: "the allocation of instances has changed during the swap",
    SwapEnding.REFUSED: "the slot did not respond to http ping",
    SwapEnding.LEFT_LOCKED: "the swap was given up half way",
}
_SILENT: Final = frozenset({Fault.LOST_RESPONSE, Fault.LATE})


class MemorySwapper:
    """Passes the same contract suite as the real one.

    Operations in the weather: look, differences, swap (the one request), follow, unlock.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def look(self, target: Target, slot: SlotName) -> SwapView:
        """See `SlotSwapper`. Time passes by it."""
        self._ask("look")
        self._world.slot(target, slot)
        site = self._world.site(target)
        self._world.pass_look(site)
        swaps = site.swaps
        return SwapView(
            operation=swaps.running.id if swaps.running else None,
            swapped_at=swaps.swapped_at,
            swapped_slots=swaps.swapped_slots,
        )

    async def differences(self, target: Target, slot: SlotName) -> Sequence[SettingDifference]:
        """See `SlotSwapper`."""
        self._ask("differences")
        here = self._world.slot(target, slot).settings
        there = self._world.slot(target, PRODUCTION).settings
        return [
            SettingDifference(name=name, explanation="differs and stays with its slot.")
            for name in sorted(self._world.site(target).sticky)
            if here.get(name) != there.get(name)
        ]

    async def begin(self, target: Target, slot: SlotName, *, request_id: str) -> str:
        """See `SlotSwapper`."""
        self._world.swaps_sent += 1
        site = self._world.site(target)
        found = self._world.slot(target, slot)
        if found.name == PRODUCTION:
            raise SlotMissingError("Production is no named slot.", fix="Name another slot.")
        fault = self._world.met("swap", site, found)
        self._world.require_unlocked(site, PRODUCTION, found.name)
        if not found.running:
            raise PermanentError(f"Slot {slot} is stopped.", fix="Start it.")
        ending = _ENDINGS.get(fault, SwapEnding.DONE) if fault else SwapEnding.DONE
        token = self._world.begin_swap(
            site, found, ending, after=self._world.late_looks if fault is Fault.LATE else 0
        )
        self._world.writes.append(f"swap {slot} {request_id}")
        if fault is not None and fault in _SILENT:
            raise error_of(fault, "swap")
        return token

    async def follow(self, target: Target, slot: SlotName, token: str) -> SwapStatus:
        """See `SlotSwapper`. Time passes by it."""
        self._ask("follow")
        self._world.slot(target, slot)
        site = self._world.site(target)
        self._world.pass_look(site)
        operation = site.swaps.by_id.get(token)
        if operation is None:
            return SwapStatus(outcome=SwapOutcome.ENDED, detail="no such token; the slots tell")
        is_over = operation.outcome is not SwapOutcome.RUNNING
        detail = _SAID[operation.ending] if is_over else ""
        return SwapStatus(outcome=operation.outcome, detail=detail)

    async def unlock(self, target: Target, slot: SlotName, *, request_id: str) -> None:
        """See `SlotSwapper`."""
        found, site = self._world.slot(target, slot), self._world.site(target)
        fault = self._world.met("unlock", site, found)
        self._world.require_idle(site)
        if site.swaps.locked:
            self._world.writes.append(f"unlock {slot} {request_id}")
        site.swaps.locked -= {slot.lower(), PRODUCTION}
        if fault is not None:
            raise error_of(fault, "unlock")

    def _ask(self, operation: str) -> None:
        """Raise what a question meets; it changes nothing either way."""
        fault = self._world.weather.take(operation)
        if fault is not None:
            raise error_of(fault, operation)
