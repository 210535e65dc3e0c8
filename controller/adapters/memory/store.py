"""State, audit and evidence in dicts, with the same guards as the table."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.adapters.audit_chain import checked_chain
from controller.adapters.clock import SystemClock
from controller.adapters.codec import encode
from controller.adapters.memory.world import Fault, Weather
from controller.core.audit import GENESIS, chain
from controller.core.errors import ConflictError, TransientError
from controller.core.jobs import Job
from controller.core.model import AppState, Record, Rollout, RolloutId
from controller.core.plan import AppId
from controller.ports import AppMemory, AuditRow, Clock, Loaded, StoredBucket, WorkspaceWatch


@dataclass(slots=True)
class _Partition:
    """What is stored of one app."""

    head: AppState | None = None
    etag: str | None = None
    rollouts: dict[str, Rollout] = field(default_factory=dict[str, Rollout])
    audit: list[AuditRow] = field(default_factory=list[AuditRow])
    seen: dict[str, datetime] = field(default_factory=dict[str, datetime])
    buckets: dict[str, dict[datetime, StoredBucket]] = field(
        default_factory=dict[str, dict[datetime, StoredBucket]]
    )


class MemoryStore:
    """Implements `StateStore`, `History`, `BucketStore`, `Housekeeping`, `JobStore` and more.

    Faults: operations ``load``, ``save``, ``put``, ``buckets``, ``load_watch``, ``save_watch``,
    ``prune``, ``keep_job``, ``job``. A lost response means that it was written and the caller is
    told otherwise.
    """

    def __init__(self, *, weather: Weather | None = None, clock: Clock | None = None) -> None:
        self.weather = weather or Weather()
        self._clock = clock or SystemClock()
        self.saves = 0  # transactions that were written
        self._partitions: dict[str, _Partition] = {}
        self._watches: dict[str, WorkspaceWatch] = {}
        self._jobs: dict[str, Job] = {}
        self._etags = (str(number) for number in itertools.count(1))

    def _of(self, app: str) -> _Partition:
        return self._partitions.setdefault(app, _Partition())

    def _begin(self, operation: str) -> bool:
        """Raise what strikes before the operation; return whether its response will be lost."""
        fault = self.weather.take(operation)
        if fault is not None and fault is not Fault.LOST_RESPONSE:
            raise TransientError(f"The state store does not answer ({operation}).")
        return fault is not None

    # --- StateStore -------------------------------------------------------------------------------

    async def load(self, app: AppId) -> Loaded:
        """See `StateStore.load`."""
        self._begin("load")
        partition = self._of(app)
        return Loaded(state=partition.head or AppState(app=app), etag=partition.etag)

    async def save(
        self,
        loaded: Loaded,
        state: AppState,
        records: Sequence[Record],
        *,
        ended: Sequence[Rollout] = (),
        seen: str | None = None,
    ) -> Loaded:
        """See `StateStore.save`."""
        is_lost = self._begin("save")
        partition = self._of(state.app)
        if partition.etag != loaded.etag:
            raise ConflictError(
                f"Somebody else saved app {state.app} first.", fix="Load it and decide again."
            )
        partition.head, partition.etag = state, next(self._etags)
        for rollout in (state.active, *state.queued, *ended):
            if rollout is not None:
                partition.rollouts[rollout.id] = rollout
        _append(partition.audit, records, first=state.sequence - len(records) + 1)
        if seen is not None:
            partition.seen[seen] = self._clock.now()
        self.saves += 1
        if is_lost:
            raise TransientError("The state store does not answer (save).")
        return Loaded(state=state, etag=partition.etag)

    async def was_seen(self, app: AppId, key: str) -> bool:
        """See `StateStore.was_seen`."""
        return key in self._of(app).seen

    # --- History ----------------------------------------------------------------------------------

    async def rollout(self, rollout: str) -> Rollout | None:
        """See `History.rollout`."""
        found = (p.rollouts.get(rollout) for p in self._partitions.values())
        return next((r for r in found if r is not None), None)

    async def rollouts(self, app: AppId, *, limit: int) -> Sequence[Rollout]:
        """See `History.rollouts`."""
        known = self._of(app).rollouts
        return [known[name] for name in sorted(known, reverse=True)[: max(limit, 0)]]

    async def under_way(self) -> Sequence[AppId]:
        """See `History.under_way`."""
        heads = (partition.head for partition in self._partitions.values())
        return sorted(head.app for head in heads if head is not None and head.active is not None)

    async def audit(self, app: AppId, *, rollout: str | None, limit: int) -> Sequence[AuditRow]:
        """See `History.audit`."""
        rows = self._of(app).audit
        wanted = [r for r in rows if rollout is None or r.record.rollout == rollout]
        return wanted[-limit:] if limit > 0 else []

    # --- AppMemoryKeeper -----------------------------------------------------------------------

    async def adopt(self, memory: AppMemory, record: Record) -> None:
        """See `AppMemoryKeeper.adopt`."""
        partition = self._of(memory.state.app)
        if partition.etag is not None:
            raise ConflictError(
                f"Something is stored of app {memory.state.app} already.",
                fix="Nothing is written over it. Restore into an empty table.",
            )
        checked_chain(memory.audit)
        partition.audit = list(memory.audit)
        partition.rollouts.update((r.id, r) for r in memory.rollouts)
        state = replace(memory.state, sequence=len(memory.audit) + 1)
        await self.save(Loaded(state=state, etag=None), state, [record])

    # --- BucketStore ------------------------------------------------------------------------------

    async def put(self, app: AppId, rollout: str, buckets: Sequence[StoredBucket]) -> None:
        """See `BucketStore.put`."""
        is_lost = self._begin("put")
        stored = self._of(app).buckets.setdefault(rollout, {})
        stored.update((bucket.start, bucket) for bucket in buckets)
        if is_lost:
            raise TransientError("The state store does not answer (put).")

    async def buckets(self, app: AppId, rollout: str) -> Sequence[StoredBucket]:
        """See `BucketStore.buckets`."""
        self._begin("buckets")
        stored = self._of(app).buckets.get(rollout, {})
        return [stored[start] for start in sorted(stored)]

    # --- JobStore ---------------------------------------------------------------------------------

    async def keep_job(self, job: Job) -> None:
        """See `JobStore.keep_job`."""
        is_lost = self._begin("keep_job")
        self._jobs[job.id] = job
        if is_lost:
            raise TransientError("The state store does not answer (keep_job).")

    async def job(self, job_id: str) -> Job | None:
        """See `JobStore.job`."""
        self._begin("job")
        return self._jobs.get(job_id)

    async def jobs(self, app: str, *, limit: int) -> Sequence[Job]:
        """See `JobStore.jobs`."""
        self._begin("job")
        own = [job for job in self._jobs.values() if job.app == app]
        return sorted(own, key=lambda job: (job.asked_at, job.id), reverse=True)[:limit]

    async def forget_jobs(self, app: str, *, before: datetime) -> int:
        """See `JobStore.forget_jobs`."""
        own = [job for job in self._jobs.values() if job.app == app]
        old = [job.id for job in own if job.state.is_end and job.asked_at < before]
        for name in old:
            del self._jobs[name]
        return len(old)

    # --- Housekeeping -----------------------------------------------------------------------------

    async def prune(
        self, app: AppId, *, before: datetime, keep: Sequence[RolloutId], limit: int
    ) -> int:
        """See `Housekeeping.prune`."""
        is_lost = self._begin("prune")
        partition = self._of(app)
        marks = [key for key, at in partition.seen.items() if at < before][:limit]
        for key in marks:
            del partition.seen[key]
        old = [
            (rollout, start)
            for rollout, stored in sorted(partition.buckets.items())
            if rollout < f"{before:%Y%m%dT%H%M%S}" and rollout not in keep
            for start in sorted(stored)
        ][:limit]
        for rollout, start in old:
            del partition.buckets[rollout][start]
        if is_lost:
            raise TransientError("The state store does not answer (prune).")
        return len(marks) + len(old)

    async def load_watch(self, workspace: str) -> WorkspaceWatch:
        """See `BucketStore.load_watch`."""
        self._begin("load_watch")
        return self._watches.get(workspace) or WorkspaceWatch(workspace=workspace)

    async def save_watch(self, watch: WorkspaceWatch) -> WorkspaceWatch:
        """See `BucketStore.save_watch`."""
        is_lost = self._begin("save_watch")
        stored = self._watches.get(watch.workspace)
        if (stored.etag if stored else None) != watch.etag:
            raise ConflictError(
                f"Somebody else saved the watch of {watch.workspace} first.",
                fix="Load it and decide again.",
            )
        saved = self._watches[watch.workspace] = replace(watch, etag=next(self._etags))
        if is_lost:
            raise TransientError("The state store does not answer (save_watch).")
        return saved


def _append(audit: list[AuditRow], records: Sequence[Record], *, first: int) -> None:
    for sequence, record in enumerate(records, start=first):
        previous = audit[-1].hash if audit else GENESIS
        digest = chain(previous, encode(record, Record))
        audit.append(
            AuditRow(sequence=sequence, record=record, previous_hash=previous, hash=digest)
        )
