"""What a rollout remembers of its swap, and the guards that ask for it.

A second request would swap back, so the life of one is told apart: PREPARING looks whether it is
needed and clears the way, SENDING is saved before the request goes out, FOLLOWING only asks how
it ended. What nobody knows the end of is followed, never sent again. The way back is the same
swap in the other direction (``back``).
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from controller.core.effects import (
    BeginSwap,
    EffectKey,
    FollowSwap,
    PrepareSwap,
    SwapEffect,
    Swapped,
)
from controller.core.events import NotYet, SwapBegun, SwapChecked, SwapUndone
from controller.core.model import Rollout, SwapProgress, SwapStage
from controller.core.plan import SlotName, StrategyKind

MAX_TRIES: Final = 3  # requests in one direction; the platform's own hiccups are worth a few


def is_swap(r: Rollout) -> bool:
    """Whether the app's builds take over by swaps."""
    return r.spec.strategy.kind is StrategyKind.SWAP


def progress(r: Rollout) -> SwapProgress:
    """Return how far the swap is, as a state that only a swapping rollout reaches needs it."""
    return r.swap or SwapProgress()


def is_swapping(r: Rollout) -> bool:
    """Whether a swap is what it is at: towards its build, or back because one was sent."""
    return is_swap(r) and r.swap is not None and r.swap.stage is not SwapStage.OVER


def towards(r: Rollout) -> Rollout:
    """Return *r* as it enters PROMOTING: the swap is still to come, or only to be looked at."""
    if not is_swap(r):
        return r
    return replace(r, swap=replace(progress(r), stage=SwapStage.PREPARING, back=False, tries=0))


def backwards(r: Rollout) -> Rollout:
    """Return *r* as it enters ROLLING_BACK: a swap that was sent has to be undone by another."""
    swap = r.swap
    if swap is None:
        return r
    stage = SwapStage.PREPARING if swap.touched else SwapStage.OVER
    return replace(r, swap=replace(swap, stage=stage, back=True, tries=0))


# --- What a state asks ---------------------------------------------------------------------------


def swap_effect(r: Rollout, slot: SlotName, at: datetime, key: EffectKey) -> SwapEffect:
    """Return what the swap needs next."""
    swap = progress(r)
    goal = Swapped(
        target=r.spec.target,
        slot=slot,
        image=r.image.reference,
        release=r.image.digest,
        back=swap.back,
    )
    sent_for = at - swap.sent_at if swap.sent_at else None
    if swap.stage is SwapStage.SENDING:
        return BeginSwap(key=key, goal=goal)
    if swap.stage is SwapStage.FOLLOWING and sent_for is not None:
        return FollowSwap(key=key, goal=goal, token=swap.token, sent_for=sent_for)
    return PrepareSwap(key=key, goal=goal, token=swap.token, sent_for=sent_for)


# --- Guards --------------------------------------------------------------------------------------


def swap_is_needed(_: Rollout, event: SwapChecked) -> bool:
    """Whether: swap is needed."""
    return event.needed


def swap_is_under_way(r: Rollout, _: object) -> bool:
    """Whether: swap is under way. What is done is then the swap, not yet the whole state."""
    return is_swapping(r)


def swap_was_refused(r: Rollout, _: NotYet) -> bool:
    """Whether: swap was refused. Only then is it known that nothing was begun."""
    return r.swap is not None and r.swap.stage is SwapStage.SENDING


def swap_was_tried_enough(r: Rollout, _: SwapUndone) -> bool:
    """Whether: swap was tried enough."""
    return progress(r).tries >= MAX_TRIES


# --- Changes -------------------------------------------------------------------------------------


def send_swap(r: Rollout, event: SwapChecked) -> Rollout:
    """Remember that the request is about to be sent."""
    swap = progress(r)
    swap = replace(
        swap,
        stage=SwapStage.SENDING,
        token=None,
        sent_at=event.at,
        tries=swap.tries + 1,
        touched=True,
    )
    return replace(r, swap=swap)


def follow_swap(r: Rollout, event: SwapBegun) -> Rollout:
    """Remember that the request is out, and what the platform called it."""
    return replace(r, swap=replace(progress(r), stage=SwapStage.FOLLOWING, token=event.token))


def take_refusal(r: Rollout, _: NotYet) -> Rollout:
    """Remember that nothing is on its way: the request was refused and counts for nothing."""
    refused = prepare_swap_again(r, _)
    return replace(r, swap=replace(progress(refused), tries=progress(r).tries - 1))


def prepare_swap_again(r: Rollout, _: object) -> Rollout:
    """Remember that nothing is on its way: the platform gave the last request up."""
    swap = replace(progress(r), stage=SwapStage.PREPARING, token=None, sent_at=None)
    return replace(r, swap=swap)


def swap_is_over(r: Rollout, _: object) -> Rollout:
    """Remember that the builds are where the swap was to bring them."""
    swap = replace(progress(r), stage=SwapStage.OVER, token=None, sent_at=None, touched=True)
    return replace(r, swap=swap)


def give_swap_up(r: Rollout, _: object) -> Rollout:
    """Remember that the stable build has to come back without a swap."""
    swap = replace(progress(r), stage=SwapStage.OVER, token=None, sent_at=None, given_up=True)
    return replace(r, swap=swap)


def stop_sending(r: Rollout, _: object) -> Rollout:
    """Remember, where time ran out while sending, that nobody knows whether it was taken."""
    if r.swap is None or r.swap.stage is not SwapStage.SENDING:
        return r
    return replace(r, swap=replace(r.swap, stage=SwapStage.FOLLOWING))
