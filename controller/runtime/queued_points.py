"""Restore points as jobs of maintenance: a dump of an hour holds no rollout's session."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from controller.core.data import DatabaseSpec
from controller.core.errors import PermanentError
from controller.core.jobs import Job, JobKind, JobState, rollout_id
from controller.ports import Clock
from controller.ports_data import JobStore, RestorePointOrder, RestorePointProgress
from controller.runtime.maintenance import Maintainer

_SOON: Final = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedRestorePoints:
    """Implements `RestorePoints` by backup sets. Its ids are theirs."""

    maintainer: Maintainer
    jobs: JobStore
    clock: Clock

    async def take(self, database: DatabaseSpec, order: RestorePointOrder) -> RestorePointProgress:  # noqa: ARG002 - the app says which
        """See `RestorePoints`."""
        name = rollout_id(order.app, JobKind.BACKUP, order.rollout)
        job = await self.jobs.job(name)
        if job is None:
            job = await self.maintainer.request(self._job(name, order))
        if job.state is JobState.SUCCEEDED:
            made = str(job.result.get("set"))
            return RestorePointProgress(id=made, detail=f"backup set {made} was read back")
        if job.state is JobState.FAILED:
            raise PermanentError(
                f"The restore point cannot be made: {job.error}",
                fix=f"See job {name}; then retry, or set database.backup to none.",
            )
        last = job.steps[-1].text if job.steps else "it waits in queue maintenance"
        return RestorePointProgress(id=None, detail=f"job {name}: {last}", retry_after=_SOON)

    def _job(self, name: str, order: RestorePointOrder) -> Job:
        return Job(
            id=name,
            app=order.app,
            kind=JobKind.BACKUP,
            by=f"rollout {order.rollout}",
            why=f"before the migrations of {order.release}",
            asked_at=self.clock.now(),
        )
