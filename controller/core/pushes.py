"""Which notice of a push means a new release, and which only tells again of an old one. Pure.

Registries tell of one push several times: once per tag, per channel, per region, and again after
days. A build that went live twice by mistake is a downgrade, so a notice counts only where it is
new beyond doubt; whoever means it can deploy by hand.
"""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.model import AppState, Image, Pushed
from controller.core.orders import Submit

_KEPT: Final = 100
# A registry that tells of a push from each of its regions dates it when it got there.
ECHO: Final = timedelta(hours=1)
_ADVICE: Final = "deploy it by hand if it is meant"
_VERSION: Final = re.compile(r"v?\d+(\.\d+)*([-+._].*)?", re.IGNORECASE)


def objection(state: AppState, order: Submit, memory: timedelta) -> str | None:
    """Return why the push that *order* tells of is no new release, None where it is one.

    Args:
        state: the app, with the pushes it was told of.
        order: the notice.
        memory: how long a push is remembered; nothing is objected to where it is zero.
    """
    if not memory:
        return None
    mine = [p for p in state.pushes if p.digest == order.image.digest]
    was_tried = any(p.accepted and order.at - p.at < memory for p in mine)
    at = _time_of(order)
    if at is None:
        told = "was rolled out before, and the registry does not say when this push was"
        return f"{order.image} {told}; {_ADVICE}" if was_tried else None
    newer = _newest_of_others(state, order.image.digest)
    if newer is not None and at < newer.at:
        what = f"{order.image} was pushed at {at:%Y-%m-%d %H:%M:%S}Z"
        return f"{what}, before {newer.name} that was told of already; {_ADVICE}"
    heard = max((p.at for p in mine), default=None)
    if heard is not None and at <= heard + (ECHO if was_tried else timedelta()):
        return f"{order.image}: this push was told of before; {_ADVICE}"
    served = next((r for r in state.releases if r.image.digest == order.image.digest), None)
    if served is None or not (was_tried or at <= served.at) or _moved(state, order.image):
        return None
    return f"{order.image} served before and no tag was moved back to it; {_ADVICE}"


def is_moved_back(state: AppState, order: Submit, memory: timedelta) -> bool:
    """Return whether a tag surely left a newer build and names that of *order* again."""
    is_dated = order.pushed and order.pushed_at is not None and bool(memory)
    moved = is_dated and _moved(state, order.image)
    return moved and objection(state, order, memory) is None


def remember(state: AppState, order: Submit, *, accepted: bool) -> AppState:
    """Return the app that was told of the push; a repetition changes nothing."""
    digest, tag = order.image.digest, order.image.tag
    same = next((p for p in state.pushes if (p.digest, p.tag) == (digest, tag)), None)
    if same is not None and not accepted:
        return state
    at = _time_of(order)
    new = Pushed(
        digest=digest,
        tag=tag,
        at=max(at or order.at, same.at) if same else at or order.at,
        is_exact=at is not None,
        accepted=accepted,
    )
    others = sorted((p for p in state.pushes if p is not same), key=lambda p: p.at, reverse=True)
    return replace(state, pushes=(new, *others)[:_KEPT])


def name(state: AppState, image: Image) -> AppState:
    """Return the app with *image*'s tag wherever that says more than the one that is known."""

    def named(known: Image) -> Image:
        is_better = known.digest == image.digest and _says_more(image.tag, known.tag)
        return replace(known, tag=image.tag) if is_better else known

    active = state.active
    return replace(
        state,
        active=replace(active, image=named(active.image)) if active else None,
        queued=tuple(replace(r, image=named(r.image)) for r in state.queued),
        releases=tuple(replace(r, image=named(r.image)) for r in state.releases),
        quarantine=tuple(replace(q, image=named(q.image)) for q in state.quarantine),
    )


def _says_more(tag: str | None, other: str | None) -> bool:
    return _rank(tag) > _rank(other)


def _rank(tag: str | None) -> tuple[int, int]:
    """A version says more than a word, a longer version more than a shorter, `latest` nothing."""
    if tag is None:
        return (0, 0)
    version = _VERSION.fullmatch(tag)
    if version:
        return (3, tag.count("."))
    return (1, 0) if tag.lower() == "latest" else (2, 0)


def _time_of(order: Submit) -> datetime | None:
    """When it was pushed; a registry's clock that is ahead of ours is not believed."""
    return min(order.pushed_at, order.at) if order.pushed_at is not None else None


def _newest_of_others(state: AppState, digest: str) -> Pushed | None:
    others = (p for p in state.pushes if p.is_exact and p.digest != digest)
    return max(others, key=lambda p: p.at, default=None)


def _moved(state: AppState, image: Image) -> bool:
    """Whether the tag named another build when it was last told of."""
    told = (p for p in state.pushes if p.tag is not None and p.tag == image.tag)
    last = max(told, key=lambda p: p.at, default=None)
    return last is not None and last.digest != image.digest
