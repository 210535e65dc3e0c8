"""Hands each effect to the activity that makes it true."""

import logging
from contextlib import suppress
from dataclasses import dataclass

from controller.activities import (
    backup_database,
    check_ready,
    migrate,
    preflight,
    restore,
    revert_data,
    route,
    stage,
    swap,
)
from controller.activities.proof import same
from controller.activities.unlocking import UnlockingPlatform
from controller.core.effects import (
    BackupDatabase,
    BeginSwap,
    CheckReady,
    DataEffect,
    Effect,
    FollowSwap,
    Migrate,
    Preflight,
    PrepareSwap,
    Restore,
    RevertData,
    Route,
    Stage,
    Watch,
)
from controller.core.errors import BusyError, SlipwayError, TransientError
from controller.core.events import Done, NotYet, Reply
from controller.core.plan import Routing, Target
from controller.ports import Clock, Prober, Registry, SlotSwapper, TargetPlatform, Telemetry
from controller.ports_data import Migrations, RestorePoints
from controller.runtime.observer import Observer

log = logging.getLogger("slipway.performer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """The ports that activities need, in one place."""

    platform: TargetPlatform
    swapper: SlotSwapper
    prober: Prober
    registry: Registry
    telemetry: Telemetry
    observer: Observer
    clock: Clock
    migrations: Migrations | None = None
    restore_points: RestorePoints | None = None

    async def perform(self, effect: Effect) -> Reply:  # noqa: PLR0911 - one per kind of effect
        """Make the goal true of the world, or say why it is not."""
        platform = self._platform_for(effect)
        match effect:
            case Preflight():
                return await preflight.perform(
                    effect,
                    platform,
                    self.swapper,
                    self.registry,
                    self.telemetry,
                    self.clock,
                    migrations=self.migrations,
                )
            case BackupDatabase() | Migrate() | RevertData():
                return await self._perform_on_data(effect)
            case Stage():
                return await stage.perform(effect, platform, self.clock)
            case CheckReady():
                return await check_ready.perform(effect, platform, self.prober, self.clock)
            case Route():
                return await route.perform(effect, platform, self.prober, self.clock)
            case Restore():
                return await restore.perform(effect, platform, self.prober, self.clock)
            case PrepareSwap() | BeginSwap() | FollowSwap():
                return await swap.perform(effect, platform, self.swapper, self.clock)
            case Watch():
                return await self._watch(effect)

    async def _perform_on_data(self, effect: DataEffect) -> Reply:
        match effect:
            case BackupDatabase():
                return await backup_database.perform(effect, self.restore_points, self.clock)
            case Migrate():
                return await migrate.perform(effect, self.migrations, self.clock)
            case RevertData():
                return await revert_data.perform(effect, self.migrations, self.clock)

    def _platform_for(self, effect: Effect) -> TargetPlatform:
        """Under strategy `swap` swaps are ours to make, so their leftovers are ours to clear."""
        may_unlock = isinstance(effect, PrepareSwap) or getattr(effect, "is_swap", False)
        return UnlockingPlatform(self.platform, self.swapper) if may_unlock else self.platform

    async def _watch(self, effect: Watch) -> Reply:
        try:
            await self.observer.watch(effect)
        except TransientError as error:
            retry = error.retry_after or effect.analysis.poll
            return NotYet(at=self.clock.now(), key=effect.key, detail=str(error), retry_after=retry)
        return Done(at=self.clock.now(), key=effect.key, detail=await self._keep_routing(effect))

    async def _keep_routing(self, effect: Watch) -> str:
        """Make the split what it is meant to be, and say so where it was not.

        A write that was read back long ago can still be undone: by an earlier one that lands late,
        or by a person. Nobody else would notice while the judge watches. What cannot be looked at
        now is looked at with the next heartbeat; observation does not wait for it.
        """
        if effect.target is None or effect.routing is None:
            return ""
        try:
            return await self._repaired(effect.target, effect.routing, effect.key)
        except SlipwayError as error:
            log.warning("rollout %s: its traffic cannot be looked at: %s", effect.rollout, error)
            return ""

    async def _repaired(self, target: Target, wanted: Routing, request_id: str) -> str:
        found = "not to be told"
        with suppress(BusyError):  # rules that name foreign slots, too: `route` replaces them
            seen = await self.platform.routing(target)
            if same(seen, wanted):
                return ""
            found = str(seen)
        await self.platform.route(target, wanted, request_id=request_id)
        log.warning("site %s: traffic was %s, put back to %s", target.site, found, wanted)
        return f"traffic was {found}, written by somebody else or late; it is {wanted} again"
