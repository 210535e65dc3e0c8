"""One query per workspace and poll for everyone who is watched there.

The poll re-schedules itself while anyone watches and stops when nobody does. What it stores is
the evidence: closed buckets by ingestion time, each row counted once, none ever revised.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from controller.core.effects import Watch
from controller.core.errors import ConflictError, PermanentError, SlipwayError, TransientError
from controller.core.telemetry import Mark
from controller.ports import (
    BucketStore,
    Bus,
    Clock,
    Observation,
    StoredBucket,
    Telemetry,
    Watching,
    WorkspaceWatch,
)
from controller.runtime.measuring import Measured, measure
from controller.runtime.merging import merged
from controller.runtime.messages import ObservedBody, PollBody, poll_again, poll_message, to_message
from controller.runtime.metrics_reader import MetricsReader, newer, platform_watch
from controller.runtime.probing import Probes, Probing, probe_watch
from controller.verdict.buckets import Bucket

log = logging.getLogger("slipway.observer")

_MAX_CONFLICTS: Final = 5
_MAX_LOOK_BACK: Final = timedelta(hours=1)  # after a long outage older buckets decide nothing
_OVERDUE_POLLS: Final = 3
_LONGEST_WAIT: Final = timedelta(minutes=5)  # that a provider may ask for
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STORED_TO: Final = timedelta(milliseconds=1)  # how exactly a bucket's start names it
_UNMEASURED: Final = Measured()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look at telemetry came to."""

    watch: WorkspaceWatch  # as it is after it
    seen: Observation | None = None  # None: no answer, or nothing closed
    measured: Mapping[str, Measured] = field(default_factory=dict[str, Measured])  # by rollout
    wait: timedelta = timedelta()  # how long the provider wants to be left alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Observer:
    """Keeps each workspace's observation going while somebody needs it."""

    buckets: BucketStore
    telemetry: Telemetry
    bus: Bus
    clock: Clock
    platform: MetricsReader = field(default_factory=MetricsReader)
    probing: Probing = field(default_factory=Probing)

    async def watch(self, effect: Watch) -> None:
        """Make sure that the workspace is observed for this rollout until the lease ends."""
        for _ in range(_MAX_CONFLICTS):
            now = self.clock.now()
            watch = await self.buckets.load_watch(effect.analysis.observation)
            watch = replace(watch, watching=_with(watch.watching, effect, now))
            starts = watch.next_poll is None or watch.next_poll < now - _overdue(watch)
            if starts:
                watch = replace(watch, next_poll=now, cursor=_fresh_cursor(watch, now))
                await self.bus.send([poll_message(watch.workspace, now)])
            try:
                await self.buckets.save_watch(watch)
            except ConflictError:
                continue
            return
        raise TransientError(f"Workspace {effect.analysis.observation}: its watch is contended.")

    async def release(self, workspace: str, rollout: str) -> None:
        """Stop observing for a rollout that needs it no more; its lease would end anyway."""
        watch = await self.buckets.load_watch(workspace)
        kept = tuple(w for w in watch.watching if w.rollout != rollout)
        if len(kept) == len(watch.watching):
            return
        try:
            await self.buckets.save_watch(replace(watch, watching=kept))
        except ConflictError:
            log.info("workspace %s: contended; %s is released later", workspace, rollout)

    async def poll(self, body: PollBody) -> None:
        """Ask once, store what closed, tell the apps, and schedule the next poll."""
        watch = await self.buckets.load_watch(body.workspace)
        if watch.next_poll is not None and _millis(body.due) != _millis(watch.next_poll):
            log.info("workspace %s: a stale poll is dropped", body.workspace)
            return
        now = self.clock.now()
        watching = tuple(w for w in watch.watching if w.until > now)
        if not watching:
            await self._stop(watch, now)
            return
        look, sent = await self._look_and_ask(watch, watching, now)
        await self._store(watching, look, sent, body.due)
        watching = await self.platform.read(_with_errors(watching, look), now)
        due = _next_due(body.due, watching, now)
        if look.wait:  # else on the poll's grid, also where it is late
            due = max(due, now + look.wait)
        await self.bus.send([poll_message(watch.workspace, due)])
        outcome = replace(look.watch, watching=watching)
        await self._save_outcome(body.workspace, outcome, due, now)
        await self.bus.send(
            [
                to_message(
                    ObservedBody(app=w.app, rollout=w.rollout, workspace=watch.workspace),
                    message_id=f"{w.rollout}/observed/{_millis(body.due)}",
                )
                for w in watching
            ]
        )

    async def _stop(self, watch: WorkspaceWatch, now: datetime) -> None:
        """Forget the loop, unless somebody began to watch in between."""
        for _ in range(_MAX_CONFLICTS):
            idle = replace(watch, watching=(), next_poll=None, cursor=None)
            try:
                await self.buckets.save_watch(idle)
            except ConflictError:
                watch = await self.buckets.load_watch(watch.workspace)
            else:
                return
            if any(w.until > now for w in watch.watching) and watch.next_poll is not None:
                # This poll was the one that the newcomer counts on. It needs a name of its own:
                # under the old one the queue would drop it as a duplicate.
                await self.bus.send([poll_again(watch.workspace, watch.next_poll, now)])
                return
        raise TransientError(f"Workspace {watch.workspace}: its watch is contended.")

    async def _look_and_ask(
        self, watch: WorkspaceWatch, watching: Sequence[Watching], now: datetime
    ) -> tuple[_Look, Mapping[str, Probes]]:
        """Look at telemetry and, at the same time, ask the builds ourselves."""
        asking = asyncio.create_task(self.probing.send(watching))
        try:
            look = await self._look(watch, watching, now)
            return look, await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _look(
        self, watch: WorkspaceWatch, watching: Sequence[Watching], now: datetime
    ) -> _Look:
        """Return what closed since the last look."""
        size = min(w.bucket for w in watching)
        settle = max(w.settle for w in watching)
        until = _floor(now - settle, size)
        since = watch.cursor or _floor(min(w.since for w in watching), size)
        since = max(since, _floor(now - _MAX_LOOK_BACK, size))
        if until <= since:
            return _Look(watch=replace(watch, last_success=now, last_error=None))
        marks = {mark for w in watching for mark in w.marks if mark is not None}
        ask = partial(
            self.telemetry.observe,
            builds=sorted(marks, key=str),
            probe_operations=sorted({o for w in watching for o in w.probe_operations}),
            since=since,
            until=until,
            bucket=size,
        )
        try:
            seen = merged([await ask(source) for source in _sources(watch, watching)])
        except (TransientError, PermanentError) as error:
            log.warning("workspace %s: %s", watch.workspace, error)
            return _Look(watch=replace(watch, last_error=_short(error)), wait=_wanted_wait(error))
        sources = {w.rollout: _sources(watch, [w]) for w in watching}
        measured = await measure(
            self.telemetry, watching, sources, since=since, until=until, bucket=size
        )
        looked = replace(
            watch,
            cursor=until,
            last_success=now,
            last_error=None,
            query=seen.query,
            newest=max(filter(None, (watch.newest, seen.newest)), default=None),
        )
        return _Look(watch=looked, seen=seen, measured=measured)

    async def _store(
        self, watching: Sequence[Watching], look: _Look, sent: Mapping[str, Probes], due: datetime
    ) -> None:
        """Store what closed, and with it what the builds answered us at this poll."""
        apart = _off_grid(due, min(w.bucket for w in watching))
        for watched in watching:
            measured = look.measured.get(watched.rollout, _UNMEASURED)
            pairs = _pairs(watched, look, measured)
            probes = sent.get(watched.rollout)
            if probes is not None:
                pairs = _with_probes(pairs, probes, apart)
            if pairs or look.seen is not None:
                await self.buckets.put(watched.app, watched.rollout, pairs)

    async def _save_outcome(
        self, workspace: str, outcome: WorkspaceWatch, due: datetime, now: datetime
    ) -> None:
        """Save how far the observation came; who is watched may have changed meanwhile."""
        for _ in range(_MAX_CONFLICTS):
            watch = await self.buckets.load_watch(workspace)
            current = replace(
                watch,
                cursor=outcome.cursor,
                last_success=outcome.last_success,
                last_error=outcome.last_error,
                query=outcome.query,
                newest=outcome.newest,
                next_poll=due,
                watching=_with_metrics(watch.watching, outcome.watching, now),
            )
            try:
                await self.buckets.save_watch(current)
            except ConflictError:
                continue
            return
        raise TransientError(f"Workspace {workspace}: its watch is contended.")


def _with(watching: Sequence[Watching], effect: Watch, now: datetime) -> tuple[Watching, ...]:
    before = next((w for w in watching if w.rollout == effect.rollout), None)
    entry = Watching(
        app=effect.app,
        rollout=effect.rollout,
        release=effect.release,
        stable_release=effect.stable_release,
        probe_operations=effect.probe_operations,
        poll=effect.analysis.poll,
        bucket=effect.analysis.bucket,
        settle=effect.analysis.settle,
        since=before.since if before else now,
        until=now + effect.lease,
        mark=effect.mark,
        stable_mark=effect.stable_mark,
        sources=effect.analysis.sources,
        platform=platform_watch(effect, before.platform if before else None, now),
        probing=probe_watch(effect),
        metrics=effect.analysis.gate.metrics,
        metric_errors=before.metric_errors if before else (),
    )
    others = tuple(w for w in watching if w.app != effect.app and w.until > now)
    return (*others, entry)


def _with_metrics(
    stored: Sequence[Watching], read: Sequence[Watching], now: datetime
) -> tuple[Watching, ...]:
    """Keep who is watched as it is stored, with what was read of their metrics meanwhile."""
    found = {w.rollout: w for w in read}
    return tuple(_told(w, found.get(w.rollout)) for w in stored if w.until > now)


def _told(stored: Watching, read: Watching | None) -> Watching:
    if read is None:
        return stored
    platform = newer(stored.platform, read.platform)
    return replace(stored, platform=platform, metric_errors=read.metric_errors)


def _with_errors(watching: Sequence[Watching], look: _Look) -> tuple[Watching, ...]:
    """Return *watching* with why their metrics gave no answer, where they were asked."""
    errors = {name: tuple(sorted(each.errors.items())) for name, each in look.measured.items()}
    return tuple(replace(w, metric_errors=errors.get(w.rollout, w.metric_errors)) for w in watching)


def _sources(watch: WorkspaceWatch, watching: Sequence[Watching]) -> list[str]:
    return sorted({s for w in watching for s in w.sources or (watch.workspace,)})


def _wanted_wait(error: SlipwayError) -> timedelta:
    wanted = getattr(error, "retry_after", None) or timedelta()
    return min(wanted, _LONGEST_WAIT)


def _pairs(watched: Watching, look: _Look, measured: Measured) -> list[StoredBucket]:
    seen, newest = look.seen, look.watch.newest
    if seen is None:
        return []
    lag = max(seen.until - newest, timedelta(0)) if newest else timedelta(0)
    mark, stable_mark = watched.marks
    canary = _by_start(seen.buckets, mark)
    stable = _by_start(seen.buckets, stable_mark)
    starts = sorted(canary.keys() | stable.keys() | measured.starts(watched.marks))
    metrics = measured.by_start(starts, watched.marks)
    return [
        StoredBucket(
            start=start,
            canary=canary.get(start) or Bucket(start=start),
            stable=stable.get(start),
            lag=lag,
            metrics=metrics[start],
        )
        for start in starts
    ]


def _with_probes(
    pairs: Sequence[StoredBucket], probes: Probes, otherwise: datetime
) -> list[StoredBucket]:
    """Put *probes* on the newest pair; on one of their own where telemetry gave none."""
    if not pairs:
        nothing = Bucket(start=otherwise)
        return [StoredBucket(start=otherwise, canary=nothing, stable=None, probes=probes)]
    return [*pairs[:-1], replace(pairs[-1], probes=probes)]


def _off_grid(due: datetime, size: timedelta) -> datetime:
    """Return the time of a poll as a start that no bucket of telemetry has.

    One that closes later must not be written over it; the same poll, repeated, must.
    """
    at = _floor(due, _STORED_TO)
    return at + _STORED_TO if (at - _EPOCH) % size < _STORED_TO else at


def _by_start(
    buckets: Mapping[Mark, Sequence[Bucket]], mark: Mark | None
) -> dict[datetime, Bucket]:
    return {b.start: b for b in buckets.get(mark, ())} if mark else {}


def _fresh_cursor(watch: WorkspaceWatch, now: datetime) -> datetime | None:
    """A loop that stood still begins at the present; one that broke goes on where it was."""
    return watch.cursor if any(w.since < now for w in watch.watching) else None


def _next_due(due: datetime, watching: Sequence[Watching], now: datetime) -> datetime:
    """The next time on the poll's grid; missed ones are not made up for."""
    poll = min(w.poll for w in watching)
    following = due + poll
    return following if following > now - poll else now + poll


def _overdue(watch: WorkspaceWatch) -> timedelta:
    poll = min((w.poll for w in watch.watching), default=timedelta(seconds=15))
    return max(poll * _OVERDUE_POLLS, timedelta(seconds=10))


def _floor(at: datetime, size: timedelta) -> datetime:
    return at - (at - _EPOCH) % size


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _short(error: SlipwayError) -> str:
    return error.what[:300]
