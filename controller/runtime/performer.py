"""Hands each effect to the activity that makes it true."""

from dataclasses import dataclass

from controller.activities import check_ready, preflight, restore, route, stage
from controller.core.effects import CheckReady, Effect, Preflight, Restore, Route, Stage, Watch
from controller.core.errors import TransientError
from controller.core.events import Done, NotYet, Reply
from controller.ports import Clock, Prober, Registry, TargetPlatform, Telemetry
from controller.runtime.observer import Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """The ports that activities need, in one place."""

    platform: TargetPlatform
    prober: Prober
    registry: Registry
    telemetry: Telemetry
    observer: Observer
    clock: Clock

    async def perform(self, effect: Effect) -> Reply:
        """Make the goal true of the world, or say why it is not."""
        match effect:
            case Preflight():
                return await preflight.perform(
                    effect, self.platform, self.registry, self.telemetry, self.clock
                )
            case Stage():
                return await stage.perform(effect, self.platform, self.clock)
            case CheckReady():
                return await check_ready.perform(effect, self.platform, self.prober, self.clock)
            case Route():
                return await route.perform(effect, self.platform, self.prober, self.clock)
            case Restore():
                return await restore.perform(effect, self.platform, self.prober, self.clock)
            case Watch():
                return await self._watch(effect)

    async def _watch(self, effect: Watch) -> Reply:
        try:
            await self.observer.watch(effect)
        except TransientError as error:
            retry = error.retry_after or effect.analysis.poll
            return NotYet(at=self.clock.now(), key=effect.key, detail=str(error), retry_after=retry)
        return Done(at=self.clock.now(), key=effect.key, detail="observed")
