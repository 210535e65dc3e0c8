"""Finds what should have happened and did not, and where the world left the record."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast

from controller.core.errors import SlipwayError
from controller.core.model import AppState, Record
from controller.core.plan import AppId, AppSpec, Routing
from controller.ports import (
    BucketStore,
    Bus,
    Clock,
    Configuration,
    DeadLetter,
    StateStore,
    TargetPlatform,
)
from controller.runtime.messages import (
    COMMANDS_QUEUE,
    OBSERVATIONS_QUEUE,
    TickBody,
    poll_again,
    to_message,
)

log = logging.getLogger("slipway.sweeper")

_MAX_DEAD_LETTERS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep found, for the log and for tests."""

    woken: tuple[AppId, ...] = ()
    dead_letters: int = 0
    drifted: tuple[AppId, ...] = ()
    restarted_polls: tuple[str, ...] = ()
    failed: tuple[AppId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeper:
    """Runs on a timer; every act of it is one that may happen twice."""

    store: StateStore
    buckets: BucketStore
    bus: Bus
    platform: TargetPlatform
    configuration: Configuration
    clock: Clock
    grace: timedelta = timedelta(seconds=60)  # a wake-up this late is lost

    async def sweep(self) -> Swept:
        """Re-drive the forgotten, take the dead letters, compare the world with the record."""
        now = self.clock.now()
        dead = await self._dead_letters(now)
        apps = await self.configuration.apps()
        swept = Swept(dead_letters=len(dead))
        for app, spec in apps.items():
            try:
                swept = await self._sweep_app(app, spec, now, swept)
            except SlipwayError as error:
                log.warning("app %s: sweep failed: %s", app, error)
                swept = replace(swept, failed=(*swept.failed, app))
        workspaces = {spec.analysis.workspace for spec in apps.values()}
        return replace(swept, restarted_polls=await self._restart_polls(workspaces, now))

    async def _sweep_app(self, app: AppId, spec: AppSpec, now: datetime, swept: Swept) -> Swept:
        loaded = await self.store.load(app)
        active = loaded.state.active
        if active is not None:
            if active.wake_at is None or active.wake_at < now - self.grace:
                log.warning("rollout %s should have woken at %s", active.id, active.wake_at)
                tick = TickBody(app=app, rollout=active.id, turn=active.turn)
                name = f"{active.id}/{active.turn}/sweep/{int(now.timestamp())}"
                await self.bus.send([to_message(tick, message_id=name)])
                return replace(swept, woken=(*swept.woken, app))
            return swept
        if loaded.state.routing is None:
            return swept
        view = await self.platform.read(spec.target)
        if _same(view.routing, loaded.state.routing):
            return swept
        why = f"traffic is {view.routing}; the record says {loaded.state.routing}"
        if await self._note(app, "drift", why, now, seen=f"drift/{now:%Y-%m-%d}/{why}"):
            log.critical("app %s: %s", app, why, extra={"app_id": app})
        return replace(swept, drifted=(*swept.drifted, app))

    async def _dead_letters(self, now: datetime) -> Sequence[DeadLetter]:
        taken: list[DeadLetter] = []
        for queue in (COMMANDS_QUEUE, OBSERVATIONS_QUEUE):
            letters = await self.bus.take_dead_letters(queue, limit=_MAX_DEAD_LETTERS)
            for letter in letters:
                log.critical(
                    "queue %s: the platform gave up on a message after %s deliveries: %s %s",
                    queue,
                    letter.deliveries,
                    letter.reason,
                    letter.description,
                )
                if queue == COMMANDS_QUEUE and letter.session:
                    await self._mourn(AppId(letter.session), letter, now)
            taken += letters
        return taken

    async def _mourn(self, app: AppId, letter: DeadLetter, now: datetime) -> None:
        """Write a lost command down and wake its app; the rollout may have been waiting for it."""
        if app not in await self.configuration.apps():
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
            watch = await self.buckets.load_watch(workspace)
            waits = any(w.until > now for w in watch.watching) and watch.next_poll is not None
            if waits and watch.next_poll is not None and watch.next_poll < now - self.grace:
                log.warning(
                    "workspace %s should have been polled at %s", workspace, watch.next_poll
                )
                await self.bus.send([poll_again(workspace, watch.next_poll, now)])
                restarted.append(workspace)
        return tuple(restarted)


def _same(one: Routing, other: Routing) -> bool:
    return {(s.lower(), p) for s, p in one.shares} == {(s.lower(), p) for s, p in other.shares}


def _command_of(letter: DeadLetter) -> str:
    try:
        body: Any = json.loads(letter.body)
    except ValueError:
        return "a message that is not JSON"
    command: object = (
        cast("dict[str, Any]", body).get("command") if isinstance(body, dict) else None
    )
    return f"command {command!r}" if command else "a message without a command"
