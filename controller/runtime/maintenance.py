"""Carries jobs of maintenance out: backups, verifications, restores, drills, clearing out.

A job is a row, and a message that names it. Whatever happens to the process, the message comes
again, and the work goes on where it was: all that it makes is found again by the job's id.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, cast

from controller.core.backup_plan import PartKind
from controller.core.errors import (
    CommandRefusedError,
    ConfigurationError,
    JobPostponedError,
    MalformedError,
    SlipwayError,
    TransientError,
)
from controller.core.jobs import Job, JobKind, JobState, begun, failed, stopped, succeeded, told
from controller.core.plan import AppId
from controller.ports import Bus, Clock, History
from controller.ports_data import JobStore
from controller.recovery.names import SetId, check_set_id
from controller.recovery.reading import plain
from controller.runtime.backups import Backups
from controller.runtime.backups_means import BackupRequest, DrillRequest, Pruned, RestoreRequest
from controller.runtime.messages import job_message
from controller.runtime.pitr import PointInTime
from controller.runtime.pitr_job import request_of
from controller.runtime.pitr_means import PitrNotYet
from controller.runtime.rehearsals import CopyRehearsals

log = logging.getLogger("slipway.maintenance")

JOBS_STAY: Final = timedelta(days=90)
_WRITTEN_EVERY: Final = timedelta(seconds=1)  # steps that come faster wait for the next one
_PAGED: Final = frozenset({JobKind.BACKUP, JobKind.VERIFY, JobKind.DRILL})
_WHOLE: Final = "all"
_LATEST_ROLLOUTS: Final = 20  # whose restore points stay

Result = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a job: its result, and what is wrong with it, where something is."""

    result: Result
    problem: str = ""


@dataclass(slots=True)
class _Desk:
    """One try at a job: keeps its row up to date, so that people can watch."""

    job: Job
    store: JobStore
    clock: Clock
    _kept_at: object = field(default=None)

    async def tell(self, text: str) -> None:
        """Note a step. The work does not end where it cannot be written down now."""
        now = self.clock.now()
        self.job = told(self.job, now, text)
        log.info("job %s: %s", self.job.id, text, extra={"app_id": self.job.app})
        if self._kept_at == now.replace(microsecond=0):
            return
        self._kept_at = now.replace(microsecond=0)
        try:
            await self.store.keep_job(self.job)
        except TransientError as error:
            log.warning("job %s: a step could not be kept: %s", self.job.id, error)

    async def keep(self, job: Job) -> None:
        self.job = job
        await self.store.keep_job(job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer:
    """Takes jobs on, and carries one out at a time for each app; the queue's session does that."""

    jobs: JobStore
    bus: Bus
    clock: Clock
    history: History
    backups: Backups | None = None  # None: no place for backup sets is configured
    pitr: PointInTime | None = None
    rehearsals: CopyRehearsals | None = None

    async def request(self, job: Job) -> Job:
        """Write *job* down and send its message; the same id again is the same job.

        Raises:
            ConfigurationError: this Slipway cannot do it.
            TransientError: it cannot be written, or sent, now.
        """
        self._able(job.kind)
        known = await self.jobs.job(job.id)
        if known is None:
            await self.jobs.keep_job(job)
        if known is None or not known.state.is_end:
            await self.bus.send([job_message(job.id, job.app)])
        return known or job

    async def go_on(self, job_id: str) -> None:
        """Carry the job out, from where it is. One that ended already is left alone.

        Raises:
            TransientError: something does not answer now; ask again.
        """
        job = await self.jobs.job(job_id)
        if job is None:
            raise MalformedError(
                f"There is no job {job_id!r}.", fix="It was removed; ask for a new one."
            )
        if job.state.is_end:
            return
        desk = _Desk(job, self.jobs, self.clock)
        await desk.keep(begun(job, self.clock.now()))
        try:
            verdict = await self._work(desk)
        except JobPostponedError as later:
            await desk.keep(stopped(desk.job, later.what))
            raise
        except TransientError as error:
            await desk.tell(f"stopped for now: {error.what}")
            await desk.keep(stopped(desk.job, error.what))
            raise
        except SlipwayError as error:
            await self._fail(desk, f"{error.what} {error.fix}".strip(), {})
            return
        if verdict.problem:
            await self._fail(desk, verdict.problem, verdict.result)
            return
        await desk.keep(succeeded(desk.job, self.clock.now(), verdict.result))
        log.info("job %s: succeeded", job.id, extra={"app_id": job.app})

    async def give_up(self, job_id: str, why: str) -> None:
        """End a job that was tried for hours."""
        job = await self.jobs.job(job_id)
        if job is not None and not job.state.is_end:
            await self._fail(_Desk(job, self.jobs, self.clock), why, {})

    async def _fail(self, desk: _Desk, why: str, result: Result) -> None:
        await desk.keep(failed(desk.job, self.clock.now(), why, result))
        job = desk.job
        level = logging.CRITICAL if job.kind in _PAGED else logging.ERROR
        words = "app %s: %s job %s failed: %s"
        log.log(level, words, job.app, job.kind, job.id, why, extra={"app_id": job.app})

    def _able(self, kind: JobKind) -> Backups:
        """Return what works on backup sets.

        Raises:
            ConfigurationError: there is none.
        """
        if self.backups is None:
            raise ConfigurationError(
                f"No place for backup sets is configured, which {kind} needs.",
                fix="Set SLIPWAY_BACKUP_URL to the URL of a blob container.",
            )
        return self.backups

    async def _work(self, desk: _Desk) -> Verdict:  # noqa: PLR0911 - one for each kind
        match desk.job.kind:
            case JobKind.BACKUP:
                return await self._back_up(desk)
            case JobKind.VERIFY:
                return await self._verify(desk, _set(desk.job))
            case JobKind.RESTORE:
                return await self._restore(desk)
            case JobKind.DRILL:
                return await self._drill(desk)
            case JobKind.PRUNE:
                return await self._prune(desk)
            case JobKind.REHEARSE:
                return await self._rehearse(desk)
            case JobKind.PITR:
                return await self._to_a_point(desk)

    async def _back_up(self, desk: _Desk) -> Verdict:
        """Make a set and read it back: only a set that was read counts for what was promised."""
        job, backups = desk.job, self._able(JobKind.BACKUP)
        request = BackupRequest(
            app=job.app, job=job.id, why=job.why or "no reason given", by=job.by, at=job.asked_at
        )
        made = await backups.create(request, desk.tell)
        seen = await self._verify(desk, made.id)
        result = {
            "set": made.id,
            "bytes": sum(part.stored_bytes for part in made.parts),
            "parts": len(made.parts),
            "data_at": plain(made.data_at),
            "seconds": self._seconds(desk.job),
        }
        return Verdict(result=result, problem=seen.problem)

    async def _verify(self, desk: _Desk, set_id: SetId) -> Verdict:
        job, backups = desk.job, self._able(JobKind.VERIFY)
        found = await backups.verify(set_id, by=f"{job.by}, job {job.id}", tell=desk.tell)
        result = {
            "set": set_id,
            "passed": found.passed,
            "parts": found.parts,
            "plain_bytes": found.plain_bytes,
            "problems": list(found.problems),
        }
        problem = "" if found.passed else f"{set_id} is damaged: {'; '.join(found.problems)}"
        return Verdict(result=result, problem=problem)

    async def _restore(self, desk: _Desk) -> Verdict:
        report = await self._able(JobKind.RESTORE).restore(restore_request(desk.job), desk.tell)
        return Verdict(result=_object(report))

    async def _drill(self, desk: _Desk) -> Verdict:
        job = desk.job
        request = DrillRequest(app=job.app, job=job.id, by=job.by)
        report = await self._able(JobKind.DRILL).drill(request, desk.tell)
        wrong = (*report.problems, *report.differences, *report.misses)
        result = {
            **_object(report),
            "set": report.set_id,
            "passed": report.is_good,
            "misses": list(report.misses),
        }
        problem = "" if report.is_good else "; ".join(wrong) or "nothing was restored"
        return Verdict(result=result, problem=problem)

    async def _prune(self, desk: _Desk) -> Verdict:
        job = desk.job
        apply = job.arguments.get("apply") is True
        pruned = await self._able(JobKind.PRUNE).prune(
            job.app, apply=apply, needed=await self._needed(job.app), tell=desk.tell
        )
        if apply:
            await self.jobs.forget_jobs(job.app, before=self.clock.now() - JOBS_STAY)
        return Verdict(result=_pruned(pruned))

    async def _needed(self, app: str) -> Mapping[SetId, str]:
        """Return the restore points of the app's latest rollouts."""
        rollouts = await self.history.rollouts(AppId(app), limit=_LATEST_ROLLOUTS)
        return {
            SetId(r.data.restore_point): f"restore point of rollout {r.id}"
            for r in rollouts
            if r.data is not None and r.data.restore_point is not None
        }

    async def _rehearse(self, desk: _Desk) -> Verdict:
        if self.rehearsals is None:
            raise ConfigurationError(
                "This Slipway was put together without copies of databases.",
                fix="Set database.dry_run to target.",
            )
        result = await self.rehearsals.rehearse(desk.job, desk.tell)
        return Verdict(result=result, problem=str(result["failure"]))

    async def _to_a_point(self, desk: _Desk) -> Verdict:
        if self.pitr is None:
            raise ConfigurationError(
                "This Slipway was put together without flexible servers.",
                fix="Restore a backup set instead: slipway backup restore.",
            )
        found = await self.pitr.go_on(request_of(desk.job), desk.tell)
        if isinstance(found, PitrNotYet):
            raise JobPostponedError(found.detail, retry_after=found.retry_after)
        return Verdict(result=_object(found))

    def _seconds(self, job: Job) -> float:
        since = job.begun_at or job.asked_at
        return max(0.0, (self.clock.now() - since).total_seconds())


def restore_request(job: Job) -> RestoreRequest:
    """Return what a job of kind restore asks for.

    Raises:
        MalformedError: its arguments make no sense.
    """
    given = job.arguments
    return RestoreRequest(
        set_id=_set(job),
        job=job.id,
        by=job.by,
        at=job.asked_at,
        target=str(given.get("target") or "") or None,
        confirm=str(given.get("confirm") or ""),
        parts=parts_of(str(given.get("parts") or "")),
        across_heads=given.get("across_heads") is True,
        without_safety=given.get("without_safety") is True,
    )


def parts_of(text: str) -> tuple[PartKind, ...] | None:
    """Return the parts that *text* names, parted by commas: the database where it names none.

    ``all`` is None, which means the whole set.

    Raises:
        MalformedError: there is no such part.
    """
    if text.strip() == _WHOLE:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    known = {kind.value for kind in PartKind}
    if wrong := [name for name in names if name not in known]:
        raise MalformedError(
            f"There is no part {wrong[0]!r}.",
            fix=f"Parts are {', '.join(sorted(known))}; or {_WHOLE}.",
        )
    return tuple(PartKind(name) for name in names) or (PartKind.DATABASE,)


def _set(job: Job) -> SetId:
    found = check_set_id(str(job.arguments.get("set") or ""))
    if found.split("-", 1)[1].rpartition("-")[0] != job.app:
        raise CommandRefusedError(
            f"Backup set {found} is not of app {job.app!r}.",
            fix=f"See its own: slipway backup list {job.app}",
        )
    return found


def _pruned(pruned: Pruned) -> Result:
    gone = pruned.removed if pruned.applied else pruned.retention.remove
    return {
        "applied": pruned.applied,
        "removed": list(gone),
        "kept": {name: "; ".join(why) for name, why in pruned.retention.keep.items()},
        "refused": [
            *([name, why] for name, why in pruned.retention.refused.items()),
            *([name, why] for name, why in pruned.refused),
        ],
    }


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", plain(value))  # of data classes


def waiting(job: Job) -> bool:
    """Tell whether somebody still has to carry *job* out."""
    return job.state in {JobState.WAITING, JobState.RUNNING}
