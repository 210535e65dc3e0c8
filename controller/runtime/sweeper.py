"""Finds what should have happened and did not, and where the world left the record."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import chain
from typing import Any, Final, cast

from controller.activities.references import is_same
from controller.core.errors import SlipwayError
from controller.core.model import AppState, Record, Rollout
from controller.core.plan import AppId, AppSpec, Routing
from controller.ports import (
    BucketStore,
    Bus,
    Clock,
    Configuration,
    DeadLetter,
    History,
    Housekeeping,
    SiteView,
    StateStore,
    TargetPlatform,
)
from controller.runtime.maintenance_sweep import MaintenanceSweep
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    MAINTENANCE_QUEUE,
    OBSERVATIONS_QUEUE,
    TickBody,
    poll_again,
    to_message,
)

log = logging.getLogger("slipway.sweeper")

_MAX_DEAD_LETTERS: Final = 50
_MAX_COMPARED: Final = 20  # apps per sweep
_ROUND_SECONDS: Final = 60.0  # the next ones come up after this
_MAX_REMOVED: Final = 200  # marks, and buckets, with one sweep


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep found, for the log and for tests."""

    woken: tuple[AppId, ...] = ()
    dead_letters: int = 0
    drifted: tuple[AppId, ...] = ()
    restarted_polls: tuple[str, ...] = ()
    failed: tuple[AppId, ...] = ()
    removed: int = 0  # rows that only served to work
    jobs: tuple[str, ...] = ()  # of maintenance, sent again


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """Runs on a timer; every act of it is one that may happen twice."""

    store: StateStore
    history: History
    buckets: BucketStore
    housekeeping: Housekeeping
    bus: Bus
    platform: TargetPlatform
    configuration: Configuration
    clock: Clock
    grace: timedelta = timedelta(seconds=60)  # a wake-up this late is lost
    keep_for: timedelta = timedelta(days=30)  # marks of deliveries, and buckets
    maintenance: MaintenanceSweep | None = None  # None: this Slipway has no jobs

    async def sweep(self) -> Swept:
        """Re-drive the forgotten, take the dead letters, compare the world with the record.

        One part that fails does not stop the others: a configuration that cannot be read, say,
        does not leave rollouts that run asleep.
        """
        now = self.clock.now()
        specs = await self._configured()
        swept = Swept(dead_letters=await self._dead_letters(now))
        workspaces = {spec.analysis.observation for spec in specs.values()}
        apps = sorted({*specs, *await self.history.under_way()})
        compared = _their_turn(apps, now)
        for app in apps:
            try:
                state = (await self.store.load(app)).state
                if state.active is not None:
                    workspaces.add(state.active.spec.analysis.observation)
                    swept = await self._wake(state.active, now, swept)
                elif app in specs and app in compared and state.routing is not None:
                    swept = await self._compare(specs[app], state, now, swept)
            except Exception:  # also a bug that only this app meets
                log.exception("app %s: sweep failed", app)
                swept = replace(swept, failed=(*swept.failed, app))
        swept = replace(swept, removed=await self._tidy(apps, now))
        if self.maintenance is not None:
            swept = replace(swept, jobs=await self.maintenance.sweep(specs, now))
        return replace(swept, restarted_polls=await self._restart_polls(workspaces, now))

    async def _configured(self) -> Mapping[AppId, AppSpec]:
        try:
            return await self.configuration.apps()
        except SlipwayError as error:
            log.critical("the configuration cannot be read, drift is not looked for: %s", error)
            return {}

    async def _wake(self, active: Rollout, now: datetime, swept: Swept) -> Swept:
        if active.wake_at is not None and active.wake_at >= now - self.grace:
            return swept
        log.warning("rollout %s should have woken at %s", active.id, active.wake_at)
        tick = TickBody(app=active.app, rollout=active.id, turn=active.turn)
        name = f"{active.id}/{active.turn}/sweep/{int(now.timestamp())}"
        await self.bus.send([to_message(tick, message_id=name)])
        return replace(swept, woken=(*swept.woken, active.app))

    async def _compare(self, spec: AppSpec, state: AppState, now: datetime, swept: Swept) -> Swept:
        view = await self.platform.read(spec.target)
        found = _drift(view, state)
        if not found:
            return swept
        why = "; ".join(found)
        if await self._note(spec.id, "drift", why, now, seen=f"drift/{now:%Y-%m-%d}/{why}"):
            log.critical("app %s: %s", spec.id, why, extra={"app_id": spec.id})
        return replace(swept, drifted=(*swept.drifted, spec.id))

    async def _tidy(self, apps: Sequence[AppId], now: datetime) -> int:
        """Remove what is old of one app, another one with each sweep, in small bites."""
        if not apps:
            return 0
        dice = int.from_bytes(sha256(now.isoformat().encode()).digest()[:4], "big")
        app = apps[dice % len(apps)]
        try:
            state = (await self.store.load(app)).state
            keep = [r.id for r in (state.active, *state.queued) if r is not None]
            return await self.housekeeping.prune(
                app, before=now - self.keep_for, keep=keep, limit=_MAX_REMOVED
            )
        except Exception:
            log.exception("app %s: what is old could not be removed", app)
            return 0

    async def _dead_letters(self, now: datetime) -> int:
        """Take what the platform gave up on; return how many there were."""
        queues = (COMMANDS_QUEUE, OBSERVATIONS_QUEUE, MAINTENANCE_QUEUE)
        found = await asyncio.gather(*map(self._take_dead_letters, queues))
        for letter in chain.from_iterable(found):
            try:
                await self._mourn(letter.queue, letter, now)
            except Exception:  # it is in queue 'rejected'; the others need their page, too
                log.exception("queue %s: a dead letter could not be written down", letter.queue)
        return sum(map(len, found))

    async def _take_dead_letters(self, queue: str) -> Sequence[DeadLetter]:
        try:
            return await self.bus.take_dead_letters(queue, limit=_MAX_DEAD_LETTERS)
        except SlipwayError as error:
            log.warning("queue %s: its dead letters stay for now: %s", queue, error)
            return ()

    async def _mourn(self, queue: str, letter: DeadLetter, now: datetime) -> None:
        """Write a lost command down and wake its app; the rollout may have been waiting for it."""
        log.critical(
            "queue %s: the platform gave up on a message after %s deliveries: %s %s",
            queue,
            letter.deliveries,
            letter.reason,
            letter.description,
        )
        if queue != COMMANDS_QUEUE or not letter.session:
            return
        app = AppId(letter.session)
        if (await self.store.load(app)).etag is None:
            return
        what = f"{_command_of(letter)} was given up after {letter.deliveries} deliveries"
        await self._note(
            app,
            "page",
            f"{what}: {letter.reason}; it is in queue 'rejected'",
            now,
            seen=f"dead/{letter.id or letter.body.hex()[:64]}",
        )
        tick = TickBody(app=app)
        name = f"{app}/dead-letter/{int(now.timestamp())}"
        await self.bus.send([to_message(tick, message_id=name)])

    async def _note(self, app: AppId, kind: str, why: str, now: datetime, *, seen: str) -> bool:
        """Write *why* into the app's audit, once per *seen*; tell whether it was new."""
        if await self.store.was_seen(app, seen):
            return False
        loaded = await self.store.load(app)
        active = loaded.state.active
        record = Record(
            at=now, rollout=active.id if active else None, kind=kind, what="sweep", why=why
        )
        state: AppState = replace(loaded.state, sequence=loaded.state.sequence + 1)
        await self.store.save(loaded, state, [record], seen=seen)
        return True

    async def _restart_polls(self, workspaces: set[str], now: datetime) -> tuple[str, ...]:
        """Send again the poll of a workspace that is watched and was not asked for long."""
        restarted: list[str] = []
        for workspace in sorted(workspaces):
            try:
                if await self._restart_poll(workspace, now):
                    restarted.append(workspace)
            except Exception:
                log.exception("workspace %s: sweep failed", workspace)
        return tuple(restarted)

    async def _restart_poll(self, workspace: str, now: datetime) -> bool:
        watch = await self.buckets.load_watch(workspace)
        due = watch.next_poll
        waits = any(w.until > now for w in watch.watching)
        if not waits or due is None or due >= now - self.grace:
            return False
        log.warning("workspace %s should have been polled at %s", workspace, due)
        await self.bus.send([poll_again(workspace, due, now)])
        return True


def _their_turn(apps: Sequence[AppId], now: datetime) -> frozenset[AppId]:
    """Return the apps that are held against the world in this sweep: a few, others next time.

    Looking at one takes some ten requests to Resource Manager, which lets a subscription read
    25 times a second.
    """
    if len(apps) <= _MAX_COMPARED:
        return frozenset(apps)
    rounds = -(-len(apps) // _MAX_COMPARED)
    first = int(now.timestamp() // _ROUND_SECONDS) % rounds * _MAX_COMPARED
    return frozenset(apps[first : first + _MAX_COMPARED])


def _drift(view: SiteView, state: AppState) -> list[str]:
    """Return what of the site is not as the last rollout left it."""
    found: list[str] = []
    if state.routing is not None and not _same(view.routing, state.routing):
        found.append(f"traffic is {view.routing}; the record says {state.routing}")
    stable = state.stable
    slots = {name.lower(): slot for name, slot in view.slots.items()}
    serving = slots.get(stable.slot.lower()) if stable else None
    if stable and serving and not is_same(serving.image, stable.image.reference):
        found.append(
            f"slot {serving.name} holds {serving.image}; the record says {stable.image.reference}"
        )
    return found + list(view.problems)


def _same(one: Routing, other: Routing) -> bool:
    return {(s.lower(), p) for s, p in one.shares} == {(s.lower(), p) for s, p in other.shares}


def _command_of(letter: DeadLetter) -> str:
    try:
        body: Any = json.loads(letter.body)
    except (ValueError, RecursionError):
        return "a message that is not JSON"
    command: object = (
        cast("dict[str, Any]", body).get("command") if isinstance(body, dict) else None
    )
    return f"command {command!r}" if command else "a message without a command"
