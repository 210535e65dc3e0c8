"""SHIFTING and PROMOTING: the split is written, read back, and proved through the public host."""

from controller.activities.proof import (
    describe,
    pinned_to,
    proves,
    public_url,
    routing_name,
    same,
    short,
)
from controller.activities.replies import answering, not_yet
from controller.core.effects import Route
from controller.core.events import Done, Reply
from controller.core.plan import PRODUCTION, SlotName
from controller.ports import Answer, Clock, Hosts, Prober, TargetPlatform


async def perform(effect: Route, platform: TargetPlatform, prober: Prober, clock: Clock) -> Reply:
    """Make the split true. A probe that fails is asked again: front ends learn rules one by one."""
    return await answering(effect, clock, _route(effect, platform, prober, clock))


async def _route(effect: Route, platform: TargetPlatform, prober: Prober, clock: Clock) -> Reply:
    seen = await platform.route(effect.target, effect.routing, request_id=effect.key)
    if not same(seen, effect.routing):
        return not_yet(effect, clock, f"routing reads back as {seen}, wanted {effect.routing}")
    hosts = await platform.hosts(effect.target)
    trouble = await _trouble(effect, hosts, prober)
    if trouble:
        return not_yet(effect, clock, f"routing is {seen}; {trouble}")
    return Done(at=clock.now(), key=effect.key, detail=f"routing is {seen}, read back and probed")


async def _trouble(effect: Route, hosts: Hosts, prober: Prober) -> str | None:
    """Return what the public host answers that it should not; None when all is as wanted."""
    url = public_url(hosts)
    serving = _serving(effect)
    answer = await prober.ready(url, effect.health)
    if not any(_is_from(effect, slot, answer) for slot in serving):
        wanted = " or ".join(short(_release_of(effect, slot)) for slot in serving)
        return f"the public host {describe(answer)}, wanted {wanted}"
    for slot in serving:
        answer = await prober.ready(url, effect.health, cookie=pinned_to(slot))
        if not _is_from(effect, slot, answer):
            wanted = short(_release_of(effect, slot))
            return f"a client pinned to {routing_name(slot)!r} {_gets(answer)}, wanted {wanted}"
    return None


def _gets(answer: Answer) -> str:
    return describe(answer).replace("answers", "is answered", 1)


def _serving(effect: Route) -> tuple[SlotName, ...]:
    """Return the slots that take a share."""
    named = tuple(slot for slot, _ in effect.routing.shares)
    return (PRODUCTION, *named) if effect.routing.of(PRODUCTION) else named


def _release_of(effect: Route, slot: SlotName) -> str | None:
    is_canary = slot.lower() == effect.canary.lower()
    return effect.release if is_canary else effect.stable_release


def _is_from(effect: Route, slot: SlotName, answer: Answer) -> bool:
    release = _release_of(effect, slot)
    return proves(answer, release, effect.health, never=effect.release)
