"""Two stands for swaps: the memory twin, and the real adapter on the sandbox. Blue holds "new"."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from controller.adapters.azure.slot_swaps import AppServiceSwapper
from controller.adapters.memory.swapper import MemorySwapper
from controller.adapters.memory.world import Fault
from controller.core.plan import SlotName
from controller.ports import SlotSwapper, SwapOutcome, SwapStatus, SwapView, TargetPlatform
from sandbox.app_service import ArmError, SwapWeather, errors
from tests.adapters.stands import (
    BLUE,
    PRODUCTION,
    TARGET,
    MemoryStand,
    SandboxStand,
    digest,
    image,
    sandbox_stand,
)

BEFORE = (image("old"), image("new"))
AFTER = (image("new"), image("old"))
SITE = TARGET.site
SWAP = f"^POST .*/sites/{SITE}/slots/blue/slotsswap$"
RESET = "^POST .*/resetSlotConfig$"
ENDS = {
    Fault.UNDONE: SwapWeather(error=errors.allocation_changed(SITE, "blue")),
    Fault.REFUSED: SwapWeather(error=errors.swap_ping_failed(SITE, "blue")),
    Fault.CUT_SHORT: SwapWeather(
        error=errors.allocation_changed(SITE, "blue"), leaves_prepared=True
    ),
    Fault.LOST_RESPONSE: SwapWeather(lose_answer=True),
}


class SwapStand(Protocol):
    """What the suite needs beside the two ports."""

    @property
    def platform(self) -> TargetPlatform: ...

    @property
    def swapper(self) -> SlotSwapper: ...

    def another_swapper(self) -> SlotSwapper:
        """Return one that knows nothing of the first, as in another process."""
        ...

    def sent(self) -> int:
        """Return how many requests for a swap were sent."""
        ...

    def strike(self, operation: str, fault: Fault) -> None:
        """Let the next swap (or unlock, or follow) meet *fault*."""
        ...

    def hold(self) -> None:
        """Let the next swap not come to its end before `let_go`."""
        ...

    def let_go(self) -> None:
        """Let what is held, or late, go on."""
        ...

    def somebody_swaps(self) -> None:
        """Let somebody else swap blue with production; it comes to its end by `let_go`."""
        ...

    def set(self, slot: SlotName, name: str, value: str, *, sticky: bool) -> None:
        """Give *slot* a setting."""
        ...


class MemorySwapStand(MemoryStand):
    """The twin."""

    def __init__(self) -> None:
        super().__init__()
        self.swapper: SlotSwapper = MemorySwapper(self.world)

    def another_swapper(self) -> SlotSwapper:
        return MemorySwapper(self.world)

    def sent(self) -> int:
        return self.world.swaps_sent

    def hold(self) -> None:
        self.world.swap_looks = 1_000_000

    def let_go(self) -> None:
        running = self.world.site(TARGET).swaps.running
        if running is not None:
            running.looks_left = 0

    def somebody_swaps(self) -> None:
        self.hold()
        self.world.begin_swap(self.world.site(TARGET), self.world.slot(TARGET, BLUE))

    def set(self, slot: SlotName, name: str, value: str, *, sticky: bool) -> None:
        self.world.slot(TARGET, slot).settings[name] = value
        if sticky:
            self.world.site(TARGET).sticky |= {name}


class SandboxSwapStand:
    """The adapter, on a sandbox that is told what to do."""

    def __init__(self, stand: SandboxStand) -> None:
        self.stand = stand
        self.platform = stand.platform
        self.service = stand.service
        self.site = stand.site
        self.swapper: SlotSwapper = AppServiceSwapper(stand.clients)
        self._gate = asyncio.Event()

    def another_swapper(self) -> SlotSwapper:
        return AppServiceSwapper(self.stand.clients)

    def sent(self) -> int:
        return sum(request.path.endswith("/slotsswap") for request in self.service.log)

    def strike(self, operation: str, fault: Fault) -> None:
        faults = self.service.faults
        pattern = {"swap": SWAP, "unlock": RESET, "follow": "^GET .*/operationresults/"}[operation]
        if fault in ENDS:
            faults.next_swap(SITE, ENDS[fault])
        elif fault is Fault.LATE:
            down = ArmError(503, "ServiceUnavailable", "Later.")
            faults.next_swap(SITE, SwapWeather(begins_when=self._gate, answer=down))
        elif fault is Fault.TRANSIENT:
            faults.refuse(pattern, ArmError(503, "ServiceUnavailable", "Try later.", legacy=True))
        elif fault is Fault.THROTTLED:
            faults.throttle(pattern, retry_after_seconds=7)
        elif fault is Fault.PERMANENT:
            faults.refuse(pattern, ArmError(403, "AuthorizationFailed", "No authorization."))
        elif fault is Fault.SOMEBODY_ELSE:
            faults.meanwhile(pattern, lambda: faults.busy(SITE, 0.3))
        else:
            faults.prepare_for_swap(SITE, "blue")
            faults.prepare_for_swap(SITE)

    def hold(self) -> None:
        self.service.faults.next_swap(SITE, SwapWeather(gate=self._gate))

    def let_go(self) -> None:
        self._gate.set()

    def somebody_swaps(self) -> None:
        self.service.somebody_swaps(SITE, "blue", weather=SwapWeather(gate=self._gate))

    def set(self, slot: SlotName, name: str, value: str, *, sticky: bool) -> None:
        self.site.slot(slot).app_settings[name] = value
        if sticky:
            self.site.sticky["appSettingNames"].append(name)


@asynccontextmanager
async def swap_stand(kind: str, directory: Path) -> AsyncGenerator[SwapStand]:
    """Run one with "new" in blue, "old" in production."""
    if kind == "memory":
        twin = MemorySwapStand()
        await _fill(twin)
        yield twin
        return
    async with sandbox_swap_stand(directory) as real:
        yield real


@asynccontextmanager
async def sandbox_swap_stand(directory: Path) -> AsyncGenerator[SandboxSwapStand]:
    async with sandbox_stand(directory) as stand:
        real = SandboxSwapStand(stand)
        await _fill(real)
        assert await real.site.settled()
        yield real


async def _fill(stand: SwapStand) -> None:
    await stand.platform.stage(
        TARGET, BLUE, image=image("new"), release=digest("new"), request_id="rollout/1/stage"
    )


async def held(stand: SwapStand) -> tuple[str | None, str | None]:
    """Return the images in production and in blue."""
    slots = (await stand.platform.read(TARGET)).slots
    return slots[PRODUCTION].image, slots[BLUE].image


async def begin(stand: SwapStand) -> str:
    return await stand.swapper.begin(TARGET, BLUE, request_id="rollout/7/swap")


async def followed(stand: SwapStand, token: str) -> SwapStatus:
    """Ask until it is over, as later invocations would."""
    async with asyncio.timeout(20):
        while True:
            status = await stand.another_swapper().follow(TARGET, BLUE, token)
            if status.outcome is not SwapOutcome.RUNNING:
                return status
            await asyncio.sleep(0.02)


async def until_seen(stand: SwapStand, holds: Callable[[SwapView], bool]) -> SwapView:
    async with asyncio.timeout(20):
        while True:
            view = await stand.swapper.look(TARGET, BLUE)
            if holds(view):
                return view
            await asyncio.sleep(0.02)
