"""What each state asks of the world when it is entered, or asks again."""

from datetime import timedelta
from typing import Final

from controller.core.data import DatabaseSpec, DataStep
from controller.core.effects import (
    BackupDatabase,
    CheckReady,
    Effect,
    EffectKey,
    Migrate,
    Preflight,
    Restore,
    RevertData,
    Route,
    Stage,
    Watch,
)
from controller.core.events import Event
from controller.core.migrating import is_undoing, touched_no_slot
from controller.core.model import Kind, Rollout, State, SwapStage
from controller.core.plan import (
    ALL,
    NONE,
    PRODUCTION,
    HeldTraffic,
    Percent,
    Routing,
    SlotName,
    split,
)
from controller.core.swapping import is_swap, is_swapping, progress, swap_effect
from controller.core.telemetry import Mark

HEARTBEAT_POLLS: Final = 8  # a watched rollout renews its watch after this many polls
_PROBES_ALONE: Final = 20
_MIN_HEARTBEAT: Final = timedelta(seconds=30)


def _key(r: Rollout, name: str) -> EffectKey:
    """Same rollout, same turn, same effect: same key, however often we decide again."""
    return EffectKey(f"{r.id}/{r.turn}/{name}")


def _slot(name: SlotName | None) -> SlotName:
    if name is None:
        raise AssertionError("PREFLIGHT names both slots before any state that needs one")
    return name


def ask_preflight(r: Rollout, _: object) -> Effect:
    """Ask whether it can start."""
    return Preflight(
        key=_key(r, "preflight"),
        target=r.spec.target,
        image=r.image.reference,
        release=r.image.digest,
        analysis=r.spec.analysis,
        recorded_active=r.active,
        preferred=r.preferred,
        is_way_back=r.kind is Kind.ROLLBACK,
        identity=r.spec.health.identity,
        readiness_path=r.spec.health.readiness_path,
        warming=r.spec.deadlines.warming,
        is_swap=is_swap(r),
        tag=r.image.tag,
        override=r.override,
        probe_operations=probe_operations(r),
        database=None if r.kind is Kind.ROLLBACK else r.spec.database,
        stranding=r.stranding,
        app=r.spec.id,
        rollout=r.id,
    )


def _data(r: Rollout) -> tuple[DatabaseSpec, DataStep]:
    if r.spec.database is None or r.data is None:
        raise AssertionError("only an app with a database, and a plan for it, gets that far")
    return r.spec.database, r.data


def ask_backup(r: Rollout, _: object) -> Effect:
    """Ask for a way back before anything runs."""
    database, data = _data(r)
    return BackupDatabase(
        key=_key(r, "backup_database"),
        app=r.app,
        rollout=r.id,
        database=database,
        release=r.image.digest,
        head=data.plan.head_before,
        since=r.entered_at,
    )


def ask_migrate(r: Rollout, _: object) -> Effect:
    """Ask for the schema that the new build needs."""
    database, data = _data(r)
    return Migrate(
        key=_key(r, "migrate"),
        app=r.app,
        rollout=r.id,
        database=database,
        image=r.image.reference,
        tag=r.image.tag,
        bundle=data.plan.bundle,
        migrations=data.plan.pending,
    )


def ask_revert(r: Rollout, _: object) -> Effect:
    """Ask for the schema that was there before."""
    database, data = _data(r)
    return RevertData(
        key=_key(r, "revert_data"),
        app=r.app,
        rollout=r.id,
        database=database,
        image=r.image.reference,
        tag=r.image.tag,
        bundle=data.plan.bundle,
        migrations=data.plan.pending,
    )


def ask_stage(r: Rollout, _: object) -> Effect:
    """Ask for the image and its identity on the idle slot."""
    return Stage(
        key=_key(r, "stage"),
        target=r.spec.target,
        slot=_slot(r.idle),
        image=r.image.reference,
        release=r.image.digest,
        is_swap=is_swap(r),
    )


def ask_ready(r: Rollout, _: object) -> Effect:
    """Ask the new build once whether it is ready."""
    return CheckReady(
        key=_key(r, "check_ready"),
        target=r.spec.target,
        slot=_slot(r.idle),
        release=r.image.digest,
        health=r.spec.health,
        streak=r.streak,
        needed=answers_needed(r),
        image=r.image.reference,
    )


def answers_needed(r: Rollout) -> int:
    """Return how many ready answers in a row prove the build.

    A release that served before and was never touched since needs only to show that it is there.
    """
    return 1 if r.kind is Kind.ROLLBACK else r.spec.health.consecutive


def _route(r: Rollout, weight: Percent) -> Effect:
    return Route(
        key=_key(r, "route"),
        target=r.spec.target,
        routing=split(_slot(r.active), _slot(r.idle), weight),
        canary=_slot(r.idle),
        release=r.image.digest,
        stable_release=r.stable_release,
        health=r.spec.health,
        is_swap=is_swap(r),
    )


def ask_route(r: Rollout, _: object) -> Effect:
    """Ask for the current step's split."""
    return _route(r, r.current_step.weight)


def ask_promote(r: Rollout, event: Event) -> Effect:
    """Ask for the final split, after the swap where there is one."""
    if is_swapping(r):
        return ask_swap(r, event)
    if r.kind is Kind.ROLLBACK:
        return ask_make_stable(r)
    if is_swap(r):
        return _serve_from_production(r)
    return _route(r, ALL)


def ask_swap(r: Rollout, event: Event) -> Effect:
    """Ask for the swap's next part: that the way is clear, the request, or its end."""
    name = _SWAP_EFFECTS[progress(r).stage]
    return swap_effect(r, _slot(r.idle), event.at, _key(r, name))


_SWAP_EFFECTS: Final = {
    SwapStage.PREPARING: "prepare_swap",
    SwapStage.SENDING: "begin_swap",
    SwapStage.FOLLOWING: "follow_swap",
}


def _serve_from_production(r: Rollout) -> Effect:
    """After the swap: production holds the new build, and no rule sends anybody elsewhere."""
    return Route(
        key=_key(r, "route"),
        target=r.spec.target,
        routing=Routing(),
        canary=PRODUCTION,
        release=r.image.digest,
        stable_release=r.stable_release,
        health=r.spec.health,
        is_swap=True,
    )


def ask_watch(r: Rollout, _: object) -> Effect:
    """Ask for observation, of telemetry and by requests of our own."""
    slot, stable_slot = _slot(r.idle), _slot(r.active)
    if is_swap(r) and State.BAKING in {r.state, r.held_from}:
        slot, stable_slot = stable_slot, slot  # the swap exchanged what they hold
    mark, stable_mark = marks(r)
    return Watch(
        key=_key(r, "watch"),
        app=r.app,
        rollout=r.id,
        release=r.image.digest,
        stable_release=r.stable_release,
        analysis=r.spec.analysis,
        probe_operations=probe_operations(r),
        lease=heartbeat(r) * 3,
        target=r.spec.target,
        routing=wanted_routing(r),
        mark=mark,
        stable_mark=stable_mark,
        slot=slot,
        stable_slot=stable_slot,
        probe_path=probe_path(r),
        probe_count=probe_count(r),
    )


def probe_count(r: Rollout) -> int:
    """Return how many requests of our own each build is sent at each poll.

    Where the new build has all users, ours to the stable one are all there is to tell its fault
    from everybody's; the stable build idles, so that they cost next to nothing.
    """
    wanted = r.spec.analysis.gate.synthetic.per_poll
    is_alone = bool(r.exposures) and r.exposures[-1].share >= 1
    return max(wanted, _PROBES_ALONE) if wanted and is_alone else wanted


def probe_path(r: Rollout) -> str:
    """Return what our own requests ask for while the judge watches."""
    return r.spec.analysis.gate.synthetic.path or r.spec.health.readiness_path


def probe_operations(r: Rollout) -> tuple[str, ...]:
    """Return what telemetry calls our own requests, to leave them out of users' evidence.

    Smoke tests are not among them: they run before any step, and their paths are often those that
    users ask for. No operation has the query of its URL in its name.
    """
    paths = dict.fromkeys((r.spec.health.readiness_path, probe_path(r)))
    return tuple(f"GET {path.partition('?')[0]}" for path in paths)


def marks(r: Rollout) -> tuple[Mark | None, Mark | None]:
    """Return what telemetry tells the new and the stable build by.

    By slot where it does not say the build: a configuration that swaps builds is refused then.
    """
    mark, site = r.spec.analysis.mark, r.spec.target.site
    return (
        mark(r.image.digest, site, _slot(r.idle)),
        mark(r.stable_release, site, _slot(r.active)),
    )


def wanted_routing(r: Rollout) -> Routing:
    """Return what the traffic is meant to be now, by the plan and never by what was seen."""
    if is_swap(r) and State.BAKING in {r.state, r.held_from}:
        return Routing()  # production holds the new build
    return split(_slot(r.active), _slot(r.idle), r.weight)


def ask_watch_if_serving(r: Rollout, event: object) -> Effect | None:
    """Watch while waiting for approval, unless the new build has no users yet."""
    return ask_watch(r, event) if r.step > 0 else None


def ask_hold(r: Rollout, event: object) -> Effect:
    """Ask for the traffic that the hold wants, and for observation of it."""
    if r.spec.strategy.hold.traffic is HeldTraffic.RETURNED and r.held_from is not State.BAKING:
        return _route(r, NONE)
    return ask_watch(r, event)


def ask_restore(r: Rollout, event: Event) -> Effect:
    """Ask that stable serves everyone, after the swap back where one was sent.

    Where the release took something away from it, what it needs comes back first.
    """
    if is_undoing(r):
        return ask_revert(r, event)
    if is_swapping(r):
        return ask_swap(r, event)
    return Restore(
        key=_key(r, "restore"),
        target=r.spec.target,
        stable=_slot(r.active),
        stable_image=r.stable_image,
        stable_release=r.stable_release,
        bad=None if touched_no_slot(r) else r.idle,
        bad_release=r.image.digest,
        health=r.spec.health,
        is_swap=is_swap(r),
        in_place=r.swap is not None and r.swap.given_up,
    )


def ask_make_stable(r: Rollout) -> Effect:
    """Make the earlier release the stable one; who is pinned to its successor gets it too."""
    # A swap brought the earlier release to production, and what served until now to the slot.
    stable, bad = (r.active, r.idle) if is_swap(r) else (r.idle, r.active)
    same_slot = _slot(stable).lower() == _slot(bad).lower()
    return Restore(
        key=_key(r, "restore"),
        target=r.spec.target,
        stable=_slot(stable),
        stable_image=r.image.reference,
        stable_release=r.image.digest,
        bad=None if same_slot else bad,
        bad_release=r.stable_release or "",
        health=r.spec.health,
        is_swap=is_swap(r),
    )


def heartbeat(r: Rollout) -> timedelta:
    """Return how often a watched rollout asks again for its observation."""
    return max(r.spec.analysis.poll * HEARTBEAT_POLLS, _MIN_HEARTBEAT)
