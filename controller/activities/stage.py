"""STAGING: the slot's configuration names the image and its identity."""

from controller.activities.replies import answering
from controller.core.effects import Stage
from controller.core.events import Done, Reply
from controller.ports import Clock, TargetPlatform


async def perform(effect: Stage, platform: TargetPlatform, clock: Clock) -> Reply:
    """Configure the slot. Done means configured: the build still has to start and prove itself."""
    return await answering(effect, clock, _stage(effect, platform, clock))


async def _stage(effect: Stage, platform: TargetPlatform, clock: Clock) -> Reply:
    was_so = await platform.stage(
        effect.target,
        effect.slot,
        image=effect.image,
        release=effect.release,
        request_id=effect.key,
    )
    detail = (
        f"slot {effect.slot} already had {effect.image}; nothing was written"
        if was_so
        else f"slot {effect.slot} was given {effect.image} as {effect.release}; it starts now"
    )
    return Done(at=clock.now(), key=effect.key, detail=detail)
