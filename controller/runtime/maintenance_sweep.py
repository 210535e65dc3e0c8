"""Finds jobs of maintenance that nobody works on, and apps whose backups are too old."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from controller.core.errors import SlipwayError
from controller.core.jobs import Job
from controller.core.plan import AppId, AppSpec
from controller.ports import Bus
from controller.ports_data import JobStore
from controller.recovery.sets import StoredSet, newest_verified
from controller.runtime.backups import Backups
from controller.runtime.messages import job_message

log = logging.getLogger("slipway.sweep")

_QUIET: Final = timedelta(minutes=10)  # longer than a part of a dump takes between two steps
_LOOKED_AT_EVERY: Final = 10  # minutes: an app's jobs
_MEASURED_EVERY: Final = 60  # minutes: an app's sets
_LATEST: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSweep:
    """A part of the sweep: each app has its minutes, so that no sweep looks at all of them."""

    jobs: JobStore
    bus: Bus
    backups: Callable[[], Backups | None]  # called where an app has a `backup`

    async def sweep(self, specs: Mapping[AppId, AppSpec], now: datetime) -> tuple[str, ...]:
        """Send lost jobs again, and page for apps without a young verified set; return the jobs."""
        again: list[str] = []
        for app, spec in specs.items():
            try:
                if _is_its_minute(app, now, _LOOKED_AT_EVERY) and _has_jobs(spec):
                    again += [await self._again(job, now) for job in await self._quiet(app, now)]
                if _is_its_minute(app, now, _MEASURED_EVERY):
                    await self._measure(spec, now)
            except SlipwayError as error:
                log.warning("app %s: its backups cannot be looked at now: %s", app, error)
            except Exception:  # also a bug that only this app meets
                log.exception("app %s: the sweep of its backups failed", app)
        return tuple(again)

    async def _quiet(self, app: AppId, now: datetime) -> list[Job]:
        """Return the jobs of which nothing was heard for long."""
        latest = await self.jobs.jobs(app, limit=_LATEST)
        return [job for job in latest if not job.state.is_end and now - _last(job) > _QUIET]

    async def _again(self, job: Job, now: datetime) -> str:
        """Send its message again. Where somebody is at it after all, it comes after them."""
        log.warning("job %s: nothing was heard of it since %s", job.id, _last(job))
        mark = f"sweep-{int(now.timestamp())}"
        await self.bus.send([job_message(job.id, job.app, repeat=mark)])
        return job.id

    async def _measure(self, spec: AppSpec, now: datetime) -> None:
        """Page where the newest verified set is older than was promised."""
        backups = self.backups() if spec.backup is not None else None
        if spec.backup is None or backups is None:
            return
        if why := overdue(await backups.sets(spec.id), spec.backup.rpo, now):
            log.critical("app %s: %s", spec.id, why, extra={"app_id": spec.id})


def overdue(sets: tuple[StoredSet, ...], rpo: timedelta, now: datetime) -> str:
    """Return why the recovery point objective is not met; empty: it is."""
    newest = newest_verified(sets)
    if newest is None:
        return "no backup set is verified, so nothing is known to restore"
    if now - newest > rpo:
        return f"the newest verified backup has the data of {newest:%Y-%m-%d %H:%M} UTC, RPO {rpo}"
    return ""


def _has_jobs(spec: AppSpec) -> bool:
    return spec.backup is not None or spec.database is not None


def _last(job: Job) -> datetime:
    return job.steps[-1].at if job.steps else job.begun_at or job.asked_at


def _is_its_minute(app: AppId, now: datetime, every: int) -> bool:
    own = int.from_bytes(sha256(app.encode()).digest()[:4], "big") % every
    return int(now.timestamp() // 60) % every == own
