"""A platform that undoes what an unfinished swap left, where swaps are ours to make."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from controller.core.errors import BusyError, PreparedForSwapError
from controller.core.plan import PRODUCTION, Routing, SlotName, Target
from controller.ports import Hosts, SiteView, SlotSwapper, TargetPlatform

T = TypeVar("T")

_AFTER_UNLOCKING: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class UnlockingPlatform:
    """`TargetPlatform` for strategy `swap`.

    A swap that failed, or a preview that nobody completed, leaves site and slot "prepared for
    swap": both refuse every change until somebody resets them, and no read tells. The refusal
    does. It is undone where nothing runs any more, and the change is asked for again later.
    """

    platform: TargetPlatform
    swapper: SlotSwapper

    async def hosts(self, target: Target) -> Hosts:
        """See `Addresses`."""
        return await self.platform.hosts(target)

    async def routing(self, target: Target) -> Routing:
        """See `Addresses`."""
        return await self.platform.routing(target)

    async def read(self, target: Target) -> SiteView:
        """See `TargetPlatform`."""
        return await self.platform.read(target)

    async def stage(
        self, target: Target, slot: SlotName, *, image: str, release: str, request_id: str
    ) -> bool:
        """See `TargetPlatform`."""
        work = self.platform.stage(
            target, slot, image=image, release=release, request_id=request_id
        )
        return await self._unlocking(work, target, slot, request_id)

    async def route(self, target: Target, routing: Routing, *, request_id: str) -> Routing:
        """See `TargetPlatform`."""
        work = self.platform.route(target, routing, request_id=request_id)
        return await self._unlocking(work, target, PRODUCTION, request_id)

    async def instances(self, target: Target, slot: SlotName) -> Sequence[str]:
        """See `TargetPlatform`."""
        return await self.platform.instances(target, slot)

    async def log_tail(self, target: Target, slot: SlotName, *, lines: int) -> str:
        """See `TargetPlatform`."""
        return await self.platform.log_tail(target, slot, lines=lines)

    async def _unlocking(
        self, work: Awaitable[T], target: Target, slot: SlotName, request_id: str
    ) -> T:
        try:
            return await work
        except PreparedForSwapError as error:
            locked = [slot] if slot.lower() != PRODUCTION else list(target.slots)
            for name in locked:
                await self._unlock(target, name, request_id)
            raise BusyError(
                f"{error.what} It was unlocked.", retry_after=_AFTER_UNLOCKING
            ) from error

    async def _unlock(self, target: Target, slot: SlotName, request_id: str) -> None:
        running = (await self.swapper.look(target, slot)).operation
        if running is not None:
            raise BusyError(f"Operation {running} is in progress on slot {slot}.")
        await self.swapper.unlock(target, slot, request_id=request_id)
