"""WARMING: one look at the new build, and the smoke tests once it is proved."""

import re
from contextlib import suppress
from dataclasses import replace
from typing import Final

from controller.activities.proof import OK, ask_slot, describe, own_cookie, own_url, short
from controller.activities.replies import answering
from controller.core.effects import CheckReady
from controller.core.errors import PermanentError, TransientError
from controller.core.events import ReadyChecked, Reply, Smoke
from controller.core.plan import IdentityKind, SmokeTest
from controller.ports import Answer, Clock, Hosts, Prober, TargetPlatform

READY_INSTANCE: Final = "READY"
_SERVER_ERROR: Final = 500
_LOG_LINES: Final = 40
_DETAIL_LIMIT: Final = 500  # characters; the detail goes into the audit
_TROUBLE: Final = re.compile(
    r"error|exception|fail|fatal|panic|denied|didn't respond|exited|not found", re.IGNORECASE
)


async def perform(
    effect: CheckReady, platform: TargetPlatform, prober: Prober, clock: Clock
) -> Reply:
    """Ask once. A 200 proves nothing by itself: the container before it may still be answering."""
    return await answering(effect, clock, _check(effect, platform, prober, clock))


async def _check(
    effect: CheckReady, platform: TargetPlatform, prober: Prober, clock: Clock
) -> Reply:
    hosts = await platform.hosts(effect.target)
    answer = await ask_slot(prober, hosts, effect.slot, effect.health)
    trouble = await _trouble(effect, platform, answer)
    if trouble:
        return ReadyChecked(at=clock.now(), key=effect.key, ready=False, detail=trouble)
    count = effect.streak + 1
    detail = f"ready {count} of {effect.needed}: {describe(answer)} in {answer.elapsed_ms:.0f} ms"
    if count < effect.needed:
        return ReadyChecked(at=clock.now(), key=effect.key, ready=True, detail=detail)
    if not await _is_still_configured(effect, platform):
        detail = f"{detail}; but slot {effect.slot} was given something else since; put right"
        return ReadyChecked(at=clock.now(), key=effect.key, ready=False, detail=detail)
    smoke, said = await _smoke(effect, hosts, prober)
    return ReadyChecked(
        at=clock.now(), key=effect.key, ready=True, smoke=smoke, detail=f"{detail}; {said}"
    )


async def _is_still_configured(effect: CheckReady, platform: TargetPlatform) -> bool:
    """Hold the slot to what it was given, before its answers are taken for a proof.

    A write that lands late can put another image under this build's identity: what answers then
    says the right name and is the wrong build.
    """
    return effect.image is None or await platform.stage(
        effect.target,
        effect.slot,
        image=effect.image,
        release=effect.release,
        request_id=effect.key,
    )


async def _trouble(effect: CheckReady, platform: TargetPlatform, answer: Answer) -> str | None:
    """Return why the build is not ready; None when it is."""
    if answer.status != OK:
        return await _silent(effect, platform, answer)
    if effect.health.identity.kind is IdentityKind.NONE:
        states = await platform.instances(effect.target, effect.slot)
        if states and all(state == READY_INSTANCE for state in states):
            return None
        return f"answers 200, but its instances are {', '.join(states) or 'none'}"
    if answer.release == effect.release:
        return None
    if answer.release is None:
        identity = effect.health.identity
        return (
            f"answers 200 without an identity ({identity.kind} {identity.name}): the old "
            "container still serves, or the build does not show SLIPWAY_RELEASE there"
        )
    return f"answers 200 but as {short(answer.release)} (the old container still serves)"


async def _silent(effect: CheckReady, platform: TargetPlatform, answer: Answer) -> str:
    """Return what is known of a build that does not answer, or answers with an error."""
    said = describe(answer)
    if answer.status is not None and answer.status < _SERVER_ERROR:
        return f"{said}; readiness is a 200 on {effect.health.readiness_path}, without a redirect"
    if effect.streak == 0:
        log = ""
        with suppress(TransientError, PermanentError):  # the log explains, it decides nothing
            log = await platform.log_tail(effect.target, effect.slot, lines=_LOG_LINES)
        line = telling_line(log)
        said = f"{said}; container log: {line}" if line else said
    return said[:_DETAIL_LIMIT]


def telling_line(log: str) -> str:
    """Return the last line of a log that speaks of trouble, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    troubled = [line for line in lines if _TROUBLE.search(line)]
    return (troubled or lines or [""])[-1]


async def _smoke(effect: CheckReady, hosts: Hosts, prober: Prober) -> tuple[Smoke, str]:
    """Run the smoke tests until the first that fails."""
    tests = effect.health.smoke_tests
    for test in tests:
        answer = await prober.smoke(
            own_url(hosts, effect.slot),
            _past_the_split(effect, test),
            timeout=effect.health.request_timeout,
        )
        if answer.error is not None:
            said = f"smoke test {test.method} {test.path} failed: {answer.error}"
            return Smoke.FAILED, said[:_DETAIL_LIMIT]
    return Smoke.PASSED, f"{len(tests)} smoke tests passed"


def _past_the_split(effect: CheckReady, test: SmokeTest) -> SmokeTest:
    cookie = own_cookie(effect.slot)
    if cookie is None:
        return test
    return replace(test, headers=(*test.headers, ("Cookie", "=".join(cookie))))
