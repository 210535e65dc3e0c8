"""ROLLING_BACK: stable serves everyone, also those whose cookie pins them to the bad slot.

The most urgent first: (1) all traffic to stable, proved through the public host; (2) the stable
build into the bad slot, because a client's cookie outlives the rule that set it; (3) proof that
the bad slot gives the stable build, on its own host and to a pinned client. Every phase looks
before it writes, so each call starts from the top and ends where the world is not ready yet.
The bad slot is never stopped: whoever is pinned to it would be answered with errors.
"""

from asyncio import gather
from dataclasses import dataclass
from typing import Final

from controller.activities.check_ready import READY_INSTANCE
from controller.activities.proof import (
    OK,
    ask_slot,
    describe,
    pinned_to,
    proves,
    public_url,
    same,
    short,
)
from controller.activities.references import parse
from controller.activities.replies import answering, not_yet
from controller.core.effects import Restore
from controller.core.events import Done, Reply
from controller.core.plan import NONE, PRODUCTION, IdentityKind, SlotName, split
from controller.ports import Answer, Clock, Hosts, Prober, TargetPlatform

# Users without a cookie that we play: while a front end obeys old rules one may be lucky.
_USERS: Final = 3


async def perform(effect: Restore, platform: TargetPlatform, prober: Prober, clock: Clock) -> Reply:
    """Go as far towards the goal as the world allows now."""
    work = _Restoring(effect, platform, prober, clock)
    return await answering(effect, clock, work.run())


@dataclass(frozen=True, slots=True)
class _Restoring:
    """One call's way through the phases."""

    effect: Restore
    platform: TargetPlatform
    prober: Prober
    clock: Clock

    async def run(self) -> Reply:
        """Phase 1; the others follow under the words that it is proved."""
        effect = self.effect
        if effect.in_place and effect.stable_image is not None:
            waits = await self._put_back(effect.stable_image)
            if waits is not None:
                return waits
        goal = split(effect.stable, effect.bad or PRODUCTION, NONE)
        seen = await self.platform.route(effect.target, goal, request_id=effect.key)
        if not same(seen, goal):
            return self._not_yet(f"routing reads back as {seen}, wanted {goal}")
        hosts = await self.platform.hosts(effect.target)
        url = public_url(hosts)
        answers = await gather(*(self.prober.ready(url, effect.health) for _ in range(_USERS)))
        answer = next((each for each in answers if not self._proves_stable(each)), answers[0])
        if not self._proves_stable(answer):
            wanted = short(effect.stable_release)
            return self._not_yet(
                f"routing is {seen}; the public host {describe(answer)}, wanted {wanted}"
            )
        proved = f"stable serves 100 %: {effect.stable} {describe(answer)}"
        bad = effect.bad
        if bad is None or bad.lower() == effect.stable.lower():
            return self._done(proved)
        work = self._evict(bad, hosts, answer, proved)
        return await answering(effect, self.clock, work, context=f"{proved}; slot {bad}: ")

    async def _put_back(self, image: str) -> Reply | None:
        """No swap brought the stable build back: put it where it shall serve. None: it is there.

        The bad build keeps answering until the stable one is up, and longer if it never is.
        """
        effect = self.effect
        release = _identity(effect, image)
        was_so = await self.platform.stage(
            effect.target, effect.stable, image=image, release=release, request_id=effect.key
        )
        return None if was_so else self._not_yet(f"slot {effect.stable} was given {image} back")

    async def _evict(self, bad: SlotName, hosts: Hosts, stable: Answer, proved: str) -> Reply:
        """Phases 2 and 3: whoever is pinned to *bad* gets the stable build there."""
        effect = self.effect
        if effect.stable_image is None:
            return self._done(
                f"{proved}; WARNING: the stable image is not known, so slot {bad} could not be "
                "refilled and clients pinned to it by cookie may get the bad build for an hour"
            )
        release = _identity(effect, effect.stable_image)
        was_so = await self.platform.stage(
            effect.target, bad, image=effect.stable_image, release=release, request_id=effect.key
        )
        if not was_so:
            return self._not_yet(f"{proved}; slot {bad} was given {effect.stable_image}")
        accepted = {stable.release, release}
        answer = await ask_slot(self.prober, hosts, bad, effect.health)
        if not await self._is_refilled(bad, answer, accepted):
            return self._not_yet(f"{proved}; slot {bad} is refilled but {describe(answer)}")
        pinned = await self.prober.ready(public_url(hosts), effect.health, cookie=pinned_to(bad))
        if not self._is_stable(pinned, accepted):
            return self._not_yet(f"{proved}; for a client pinned to {bad} it {describe(pinned)}")
        return self._done(f"{proved}; slot {bad} holds the stable build, pinned clients get it")

    def _proves_stable(self, answer: Answer) -> bool:
        effect = self.effect
        return proves(answer, effect.stable_release, effect.health, never=effect.bad_release)

    async def _is_refilled(self, bad: SlotName, answer: Answer, accepted: set[str | None]) -> bool:
        if self.effect.health.identity.kind is IdentityKind.NONE:
            states = await self.platform.instances(self.effect.target, bad)
            return answer.status == OK and set(states) == {READY_INSTANCE}
        return self._is_stable(answer, accepted)

    def _is_stable(self, answer: Answer, accepted: set[str | None]) -> bool:
        """Whether *answer* shows what the stable build shows: its own identity, or ours for it."""
        if answer.status != OK:
            return False
        if self.effect.health.identity.kind is IdentityKind.NONE:
            return True
        return answer.release in accepted

    def _not_yet(self, detail: str) -> Reply:
        return not_yet(self.effect, self.clock, detail)

    def _done(self, detail: str) -> Reply:
        return Done(at=self.clock.now(), key=self.effect.key, detail=detail)


def _identity(effect: Restore, image: str) -> str:
    """Return the identity under which the stable build goes into the bad slot."""
    if effect.stable_release is not None:
        return effect.stable_release
    reference = parse(image)
    return reference.digest or str(reference)
