"""PREFLIGHT's dry run on a copy as a job of maintenance: a restore of an hour holds nobody up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from controller.core.data import DatabaseSpec, DryRun
from controller.core.errors import PermanentError, TakesTooLongError, TransientError
from controller.core.jobs import Job, JobKind, JobState, rollout_id
from controller.ports import Clock
from controller.ports_data import (
    BundleName,
    CopyRun,
    DataProgress,
    JobStore,
    Migrations,
    NotTried,
    Rehearsal,
    SchemaFacts,
    Timed,
)
from controller.runtime.maintenance import Maintainer

_SOON: Final = timedelta(seconds=5)

Result = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedMigrations:
    """Implements `Migrations`: where the app wants it, a copy is tried before the database."""

    migrations: Migrations
    maintainer: Maintainer
    jobs: JobStore
    clock: Clock

    async def look(self, database: DatabaseSpec, bundle: BundleName) -> SchemaFacts:
        """See `Migrations`."""
        return await self.migrations.look(database, bundle)

    async def apply(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        return await self.migrations.apply(database, bundle, ids, rollout=rollout)

    async def revert(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        return await self.migrations.revert(database, bundle, ids, rollout=rollout)

    async def rehearse(
        self,
        database: DatabaseSpec,
        bundle: BundleName,
        ids: Sequence[str],
        *,
        app: str,
        rollout: str,
    ) -> Rehearsal:
        """See `Migrations`. What fails on the copy is not tried on the database."""
        copy = None
        if database.dry_run is DryRun.COPY and ids:
            result = await self._on_copy(bundle, ids, app=app, rollout=rollout)
            if failure := str(result.get("failure") or ""):
                return Rehearsal(ran=(), failure=f"On a copy of {result['set']}: {failure}")
            copy = _copy_run(result)
        try:
            rehearsal = await self.migrations.rehearse(
                database, bundle, ids, app=app, rollout=rollout
            )
        except TakesTooLongError as error:
            if copy is None:
                raise
            untried = NotTried(migration=ids[0], text="", why=error.what)
            rehearsal = Rehearsal(ran=(), not_tried=(untried,))
        return replace(rehearsal, copy=copy)

    async def _on_copy(
        self, bundle: BundleName, ids: Sequence[str], *, app: str, rollout: str
    ) -> Result:
        """Return the job's result.

        Raises:
            TransientError: it is not done yet.
            PermanentError: it could not be done.
        """
        name = rollout_id(app, JobKind.REHEARSE, rollout)
        job = await self.jobs.job(name)
        if job is None:
            job = await self.maintainer.request(self._job(name, bundle, ids, app, rollout))
        if job.state.is_end and "failure" in job.result:
            return job.result
        if job.state is JobState.FAILED:
            raise PermanentError(
                f"The migrations cannot be tried on a copy: {job.error}",
                fix=f"See job {name}; then retry, or set database.dry_run to target.",
            )
        last = job.steps[-1].text if job.steps else "it waits in queue maintenance"
        raise TransientError(f"Job {name} tries the migrations: {last}.", retry_after=_SOON)

    def _job(
        self, name: str, bundle: BundleName, ids: Sequence[str], app: str, rollout: str
    ) -> Job:
        return Job(
            id=name,
            app=app,
            kind=JobKind.REHEARSE,
            by=f"rollout {rollout}",
            why=f"before the migrations of {bundle.image}",
            asked_at=self.clock.now(),
            arguments={
                "image": bundle.image,
                "tag": bundle.tag or "",
                "bundle": bundle.sha256 or "",
                "last": ids[-1],
            },
        )


def _copy_run(result: Result) -> CopyRun:
    return CopyRun(
        of=str(result["set"]),
        statements=int(str(result["statements"])),
        seconds=float(str(result["seconds"])),
        longest=Timed(
            text=str(result["longest"]), seconds=float(str(result["longest_seconds"])), rows=None
        ),
    )
