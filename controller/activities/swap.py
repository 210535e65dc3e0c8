"""PROMOTING and ROLLING_BACK under strategy `swap`: one exchange of slot and production.

Three parts, each a turn of its own: clear the way, send the one request, see how it ended. Only
what the platform refused outright is known not to have begun. Whatever else the request met, it is
followed and never sent again: the builds in both slots tell in the end whether it took place.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controller.activities import references
from controller.activities.proof import same, short
from controller.activities.replies import answering, not_yet
from controller.core.effects import BeginSwap, FollowSwap, PrepareSwap, SwapEffect, Swapped
from controller.core.errors import (
    OperationInProgressError,
    PermanentError,
    PreparedForSwapError,
    SlipwayError,
    TransientError,
)
from controller.core.events import Done, Failed, Reply, SwapBegun, SwapChecked, SwapUndone
from controller.core.plan import PRODUCTION, Routing
from controller.ports import Clock, SiteView, SlotSwapper, SwapOutcome, TargetPlatform

log = logging.getLogger("slipway.swap")

NOBODY_ELSE: Final = Routing()  # rules would send users to what the swap moves away
LANDS_WITHIN: Final = timedelta(minutes=2)  # a request whose answer was lost shows by then
_BETWEEN_LOOKS: Final = timedelta(seconds=5)


async def perform(
    effect: SwapEffect, platform: TargetPlatform, swapper: SlotSwapper, clock: Clock
) -> Reply:
    """Do the part that is asked for."""
    work = _Swapping(platform, swapper, clock)
    match effect:
        case PrepareSwap():
            return await answering(effect, clock, work.prepare(effect))
        case BeginSwap():
            return await work.begin(effect)
        case FollowSwap():
            return await answering(effect, clock, work.follow(effect))


@dataclass(frozen=True, slots=True)
class _Swapping:
    platform: TargetPlatform
    swapper: SlotSwapper
    clock: Clock

    async def prepare(self, effect: PrepareSwap) -> Reply:
        """See that nothing is under way and whether a swap is needed; clear the rules."""
        goal = effect.goal
        unfinished = await self._unfinished(effect)
        if unfinished:
            return not_yet(effect, self.clock, unfinished, retry_after=_BETWEEN_LOOKS)
        view = await self.platform.read(goal.target)
        if is_true(goal, view):
            return self._checked(effect, needed=False, detail=f"{held(goal, view)}: as wanted")
        if not can_be_swapped(goal, view):
            reason = f"a swap of {goal} would not help: {held(goal, view)}"
            return Failed(at=self.clock.now(), key=effect.key, reason=reason)
        seen = await self.platform.route(goal.target, NOBODY_ELSE, request_id=effect.key)
        if not same(seen, NOBODY_ELSE):
            return not_yet(effect, self.clock, f"routing reads back as {seen}, wanted none")
        return self._checked(effect, needed=True, detail=f"{held(goal, view)}; rules are cleared")

    async def _unfinished(self, effect: PrepareSwap) -> str | None:
        """Return what may still change the slots; None when nothing does."""
        goal = effect.goal
        if effect.token is not None:
            status = await self.swapper.follow(goal.target, goal.slot, effect.token)
            if status.outcome is SwapOutcome.RUNNING:
                return f"the swap that was sent still runs {status.detail}".rstrip()
        view = await self.swapper.look(goal.target, goal.slot)
        if view.operation is not None:
            return f"operation {view.operation} is in progress on the site"
        is_lost = effect.sent_for is not None and effect.token is None
        if is_lost and effect.sent_for is not None and effect.sent_for < LANDS_WITHIN:
            return "a swap was sent and its answer lost; it may still begin"
        return None

    def _checked(self, effect: PrepareSwap, *, needed: bool, detail: str) -> Reply:
        return SwapChecked(at=self.clock.now(), key=effect.key, needed=needed, detail=detail)

    async def begin(self, effect: BeginSwap) -> Reply:
        """Send the request, once. Every doubt about what became of it is left to `follow`."""
        goal = effect.goal
        if effect.again:
            return self._begun(effect, None, "it may have been sent before: not sent again")
        try:
            token = await self.swapper.begin(goal.target, goal.slot, request_id=effect.key)
        except (PreparedForSwapError, OperationInProgressError, PermanentError) as error:
            return await answering(effect, self.clock, self._refused(effect, error))
        except TransientError as error:
            return self._begun(effect, None, f"sent, but {error}")
        except Exception as error:  # a second request could swap back: whatever it was
            log.exception("swap of %s: the request met something unforeseen", goal)
            return self._begun(effect, None, f"sent, but met {type(error).__name__}")
        return self._begun(effect, token, f"swap of {goal} was taken")

    async def _refused(self, effect: BeginSwap, error: SlipwayError) -> Reply:
        """The platform took nothing: say so, and undo what an earlier swap left behind."""
        goal = effect.goal
        if isinstance(error, PermanentError):
            return Failed(at=self.clock.now(), key=effect.key, reason=str(error))
        if isinstance(error, PreparedForSwapError):
            await self.swapper.unlock(goal.target, goal.slot, request_id=effect.key)
            return not_yet(effect, self.clock, f"{error.what} It was unlocked.")
        return not_yet(effect, self.clock, str(error), retry_after=_BETWEEN_LOOKS)

    def _begun(self, effect: BeginSwap, token: str | None, detail: str) -> Reply:
        return SwapBegun(at=self.clock.now(), key=effect.key, token=token, detail=detail)

    async def follow(self, effect: FollowSwap) -> Reply:
        """Ask how it stands; in the end the builds in both slots decide, not the answer."""
        said = await self._asked(effect)
        if said is not None:
            return said
        goal = effect.goal
        view = await self.platform.read(goal.target)
        if is_true(goal, view):
            return Done(at=self.clock.now(), key=effect.key, detail=f"swapped: {held(goal, view)}")
        return await self._not_seen(effect, view)

    async def _asked(self, effect: FollowSwap) -> Reply | None:
        """Return what the platform says of it; None where only the slots can tell."""
        goal = effect.goal
        if effect.token is None:
            return None
        status = await self.swapper.follow(goal.target, goal.slot, effect.token)
        now, wait = self.clock.now(), status.retry_after or _BETWEEN_LOOKS
        match status.outcome:
            case SwapOutcome.RUNNING:
                detail = f"swap of {goal} runs {status.detail}".rstrip()
                return not_yet(effect, self.clock, detail, retry_after=wait)
            case SwapOutcome.UNDONE:
                return SwapUndone(at=now, key=effect.key, detail=status.detail)
            case SwapOutcome.REFUSED:
                return Failed(at=now, key=effect.key, reason=status.detail)
            case SwapOutcome.ENDED:
                return None

    async def _not_seen(self, effect: FollowSwap, view: SiteView) -> Reply:
        """The slots do not show it: it runs, is late, or never was."""
        goal = effect.goal
        under_way = (await self.swapper.look(goal.target, goal.slot)).operation
        if under_way is not None:
            detail = f"operation {under_way} is in progress; {held(goal, view)}"
            return not_yet(effect, self.clock, detail, retry_after=_BETWEEN_LOOKS)
        if effect.sent_for < LANDS_WITHIN:
            detail = f"no trace of the swap yet; {held(goal, view)}"
            return not_yet(effect, self.clock, detail, retry_after=_BETWEEN_LOOKS)
        detail = f"the swap left no trace within {LANDS_WITHIN}: {held(goal, view)}"
        return SwapUndone(at=self.clock.now(), key=effect.key, detail=detail)


def is_true(goal: Swapped, view: SiteView) -> bool:
    """Whether the new build is where the swap is to bring it, and nowhere else.

    Told by the new build alone: its digest is known to the letter, while the stable one may have
    been deployed by somebody else under a tag.
    """
    in_slot, in_production = _holders(goal, view)
    wanted_in_slot = goal.back
    return in_slot == wanted_in_slot and in_production != wanted_in_slot


def can_be_swapped(goal: Swapped, view: SiteView) -> bool:
    """Whether exchanging the two makes it true."""
    in_slot, in_production = _holders(goal, view)
    return in_slot == (not goal.back) and in_production == goal.back


def _holders(goal: Swapped, view: SiteView) -> tuple[bool, bool]:
    """Return whether the slot, and whether production, holds the new build."""
    by_name = {name.lower(): slot for name, slot in view.slots.items()}
    slot, production = by_name[goal.slot.lower()], by_name[PRODUCTION]
    return (
        references.is_same(slot.image, goal.image),
        references.is_same(production.image, goal.image),
    )


def held(goal: Swapped, view: SiteView) -> str:
    """Return in words which of the two holds which build."""
    in_slot, in_production = _holders(goal, view)
    new = short(goal.release)
    other = {name.lower(): slot.image for name, slot in view.slots.items()}
    there = new if in_slot else other[goal.slot.lower()] or "no image"
    here = new if in_production else other[PRODUCTION] or "no image"
    return f"production holds {here}, {goal.slot} holds {there}"
