"""Backups by HTTP, by queue and by timer."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_hex
from typing import Any, Final, cast

from controller.core.errors import (
    CommandRefusedError,
    ConfigurationError,
    JobPostponedError,
    MalformedError,
    SlipwayError,
    TransientError,
    UnknownAppError,
)
from controller.core.jobs import Job, JobKind, named_id, ordered_id, timed_id
from controller.core.plan import AppId, AppSpec
from controller.entry.http import MAX_BODY_BYTES, Request, Response, json_object, problem
from controller.entry.queue import reject
from controller.ports import Clock, Configuration
from controller.ports_data import JobStore
from controller.recovery.names import check_set_id
from controller.recovery.reading import plain
from controller.recovery.sets import Condition, StoredSet, newest_verified
from controller.runtime.backups import Backups
from controller.runtime.backups_means import RestorePlan, RestoreRequest
from controller.runtime.maintenance import Maintainer, parts_of, restore_request
from controller.runtime.messages import MAX_ORDER_ID, job_message, parse_job
from controller.runtime.pitr import PointInTime
from controller.runtime.pitr_job import moment_of, plan_request_of

log = logging.getLogger("slipway.maintenance")

_KINDS: Final = {
    "create": JobKind.BACKUP,
    "verify": JobKind.VERIFY,
    "restore": JobKind.RESTORE,
    "drill": JobKind.DRILL,
    "prune": JobKind.PRUNE,
    "pitr": JobKind.PITR,
}
VERBS: Final = tuple(_KINDS)
_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "create": {},
    "verify": {"set": str},
    "restore": {
        "set": str,
        "target": str,
        "confirm": str,
        "parts": str,
        "across_heads": bool,
        "without_safety": bool,
    },
    "drill": {},
    "prune": {"apply": bool},
    "pitr": {"at": str, "new_server": str, "confirm": str},
}
_COMMON: Final = {"reason": str, "by": str, "id": str}
_LONGEST_TEXT: Final = 2000
_LATEST_JOBS: Final = 20
_PITR: Final = "pitr"
_NEEDS_SET: Final = frozenset({"verify", "restore"})


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceApi:
    """What people and pipelines ask of backups. Writes become jobs."""

    configuration: Configuration
    maintainer: Maintainer
    jobs: JobStore
    clock: Clock
    backups: Backups | None
    pitr: PointInTime | None

    async def order(self, request: Request) -> Response:
        """Answer ``POST /api/apps/{app}/backups/{verb}``: 202, with the job's address."""
        if len(request.body) > MAX_BODY_BYTES:
            return problem(413, "SW305", "The body is too large.", "Send a short JSON object.")
        verb = request.route.get("verb", "")
        if verb not in _KINDS:
            known = ", ".join(VERBS)
            return problem(404, "SW308", f"No command {verb!r} of backups.", f"Commands: {known}.")
        spec = await self._spec(request)
        fields = _checked(verb, json_object(request.body))
        asked = self._job(spec, verb, fields)
        if asked.kind is JobKind.RESTORE:
            await self._refuse_early(asked)
        job = await self.maintainer.request(asked)
        answer = {
            "accepted": True,
            "job": job.id,
            "app": spec.id,
            "kind": job.kind.value,
            "status_url": f"/api/jobs/{job.id}",
        }
        return Response(status=202, body=answer, headers={"Location": f"/api/jobs/{job.id}"})

    def _job(self, spec: AppSpec, verb: str, fields: Mapping[str, str | bool]) -> Job:
        kind, now = _KINDS[verb], self.clock.now()
        named = str(fields.get("id") or "")
        mark = sha256(f"{spec.id}\n{verb}\n{named}".encode()).hexdigest()
        return Job(
            id=named_id(spec.id, kind, mark[:16])
            if named
            else ordered_id(spec.id, kind, now, token_hex(4)),
            app=spec.id,
            kind=kind,
            by=str(fields.get("by") or "api"),
            why=str(fields.get("reason") or ""),
            asked_at=now,
            arguments={name: value for name, value in fields.items() if name not in _COMMON},
        )

    async def _refuse_early(self, job: Job) -> None:
        """Refuse a restore whose job would only fail, while somebody waits for the answer.

        Raises:
            CommandRefusedError, BackupMissingError, ...: as the plan does, or it is not confirmed.
        """
        try:
            await self._backups().check_restore(restore_request(job))
        except TransientError as error:  # the job waits for what is away
            log.warning("job %s: it could not be looked at beforehand: %s", job.id, error)

    async def list_backups(self, request: Request) -> Response:
        """Answer ``GET /api/apps/{app}/backups``: its sets, and whether the RPO holds."""
        spec = await self._spec(request)
        sets = await self._backups().sets(spec.id)
        rpo = spec.backup.rpo if spec.backup else None
        newest = newest_verified(sets)
        body = {
            "app": spec.id,
            "rpo_seconds": rpo.total_seconds() if rpo else None,
            "rto_seconds": spec.backup.rto.total_seconds() if spec.backup else None,
            "newest_verified_at": _time(newest),
            "within_rpo": _within(newest, rpo, self.clock.now()),
            "backups": [_set_view(found) for found in reversed(sets)],
        }
        return Response(status=200, body=body)

    async def plan(self, request: Request) -> Response:
        """Answer ``GET /api/apps/{app}/backups/{set}/plan``: what a restore would do."""
        spec = await self._spec(request)
        name = request.route.get("set", "")
        if name == _PITR:
            return await self._pitr_plan(spec, request)
        wanted = RestoreRequest(
            set_id=check_set_id(name),
            job="plan",
            by="api",
            at=self.clock.now(),
            target=request.query.get("target") or None,
            parts=parts_of(request.query.get("parts", "")),
        )
        plan = await self._backups().plan_restore(wanted)
        if plan.app != spec.id:
            raise CommandRefusedError(
                f"Backup set {name} is of app {plan.app!r}, not of {spec.id!r}.",
                fix=f"Ask for it under /api/apps/{plan.app}.",
            )
        return Response(status=200, body=_plan_view(plan))

    async def _pitr_plan(self, spec: AppSpec, request: Request) -> Response:
        if self.pitr is None:
            raise ConfigurationError(
                "This Slipway was put together without flexible servers.",
                fix="Restore a backup set instead: slipway backup restore.",
            )
        asked = plan_request_of(spec.id, request.query, self.clock.now())
        return Response(status=200, body=_object(await self.pitr.plan(asked)))

    async def list_jobs(self, request: Request) -> Response:
        """Answer ``GET /api/apps/{app}/jobs``: the latest, newest first."""
        spec = await self._spec(request)
        found = await self.jobs.jobs(spec.id, limit=_LATEST_JOBS)
        return Response(status=200, body={"jobs": [job_view(job) for job in found]})

    async def get_job(self, request: Request) -> Response:
        """Answer ``GET /api/jobs/{id}``."""
        name = request.route.get("id", "")
        job = await self.jobs.job(name)
        if job is None:
            fix = "GET /api/apps/{app}/jobs lists an app's jobs."
            return problem(404, "SW310", f"There is no job {name!r}.", fix)
        return Response(status=200, body=job_view(job))

    def _backups(self) -> Backups:
        if self.backups is None:
            raise ConfigurationError(
                "No place for backup sets is configured.",
                fix="Set SLIPWAY_BACKUP_URL to the URL of a blob container.",
            )
        return self.backups

    async def _spec(self, request: Request) -> AppSpec:
        apps = await self.configuration.apps()
        app = AppId(request.route.get("app", ""))
        if app not in apps:
            known = ", ".join(sorted(apps)) or "none"
            raise UnknownAppError(f"There is no app {app!r}.", fix=f"Configured apps: {known}.")
        return apps[app]


def _checked(verb: str, fields: Mapping[str, Any]) -> Mapping[str, str | bool]:
    """Return *fields* where each is known, of its type, and all that must be there is.

    Raises:
        MalformedError: one is not.
    """
    known = {**_COMMON, **_FIELDS[verb]}
    if unknown := sorted(set(fields) - set(known)):
        raise MalformedError(
            f"{verb} does not know {', '.join(unknown)}.",
            fix=f"It takes {', '.join(sorted(known))}.",
        )
    for name, value in fields.items():
        if not isinstance(value, known[name]):
            wanted = "true or false" if known[name] is bool else "text"
            raise MalformedError(f"{name} must be {wanted}.", fix="Send it as such in the JSON.")
        limit = MAX_ORDER_ID if name == "id" else _LONGEST_TEXT
        if isinstance(value, str) and len(value) > limit:
            raise MalformedError(f"{name} is longer than {limit} characters.", fix="Shorten it.")
    if verb in _NEEDS_SET:
        check_set_id(str(fields.get("set") or ""))
    if verb == "restore":
        parts_of(str(fields.get("parts") or ""))
    if verb == _PITR:
        moment_of(str(fields.get("at") or ""))
    return fields


# --- Views ---------------------------------------------------------------------------------------


def _within(newest: datetime | None, rpo: timedelta | None, now: datetime) -> bool | None:
    if rpo is None:
        return None
    return newest is not None and now - newest <= rpo


def _set_view(found: StoredSet) -> dict[str, object]:
    manifest, mark = found.manifest, found.last_mark
    return {
        "id": found.id,
        "begun_at": _time(found.begun_at),
        "condition": found.condition.value,
        "verified": found.is_verified,
        "suspect": found.is_suspect,
        "data_at": _time(manifest.data_at if manifest else None),
        "reason": manifest.reason if manifest else "",
        "requested_by": manifest.requested_by if manifest else "",
        "release": manifest.release if manifest else None,
        "migration_head": manifest.database.migration_head
        if manifest and manifest.database
        else None,
        "stored_bytes": found.stored_bytes,
        "encrypted": manifest.is_encrypted if manifest else None,
        "parts": [
            {"name": part.name, "kind": part.kind.value, "plain_bytes": part.plain_bytes}
            for part in (manifest.parts if manifest else ())
        ],
        "last_mark": {
            "at": _time(mark.at),
            "by": mark.by,
            "passed": mark.passed,
            "how": mark.how,
            "problems": list(mark.problems),
        }
        if mark
        else None,
        "problem": found.problem if found.condition is Condition.UNREADABLE else None,
        "immutable_until": _time(found.immutable_until),
    }


def _plan_view(plan: RestorePlan) -> dict[str, object]:
    return {**_object(plan), "crosses_heads": plan.crosses_heads}


def job_view(job: Job) -> dict[str, object]:
    """Return *job* for people."""
    return {
        "id": job.id,
        "app": job.app,
        "kind": job.kind.value,
        "state": job.state.value,
        "by": job.by,
        "why": job.why,
        "asked_at": _time(job.asked_at),
        "begun_at": _time(job.begun_at),
        "ended_at": _time(job.ended_at),
        "tries": job.tries,
        "steps": [{"at": _time(step.at), "text": step.text} for step in job.steps],
        "result": plain(job.result),
        "error": job.error,
    }


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", plain(value))  # of data classes


def _time(moment: datetime | None) -> object:
    return plain(moment) if moment else None


# --- The queue -----------------------------------------------------------------------------------

_QUICK_DELIVERIES: Final = 3  # at once, in the order of the session
_FIRST_PAUSE: Final = timedelta(seconds=1)  # doubled each time
_LONGEST_PAUSE: Final = timedelta(minutes=5)
_MOST_REPEATS: Final = 60  # about four hours
_REPEATED: Final = re.compile(r".*/again/([0-9]{1,3})", re.DOTALL)


async def on_job(
    body: bytes,
    *,
    session: str | None,
    deliveries: int,
    message_id: str,
    maintainer: Maintainer,
) -> None:
    """Handle one message of queue ``maintenance``.

    Raises:
        Exception: deliver it again.
    """
    bus, clock = maintainer.bus, maintainer.clock
    try:
        named = parse_job(body, session=session)
    except MalformedError as error:
        await reject("maintenance", body, session, message_id, error, bus)
        return
    repeated = _REPEATED.fullmatch(message_id)
    repeats = int(repeated[1]) if repeated else 0
    try:
        await maintainer.go_on(named.job)
    except MalformedError as error:
        await reject("maintenance", body, session, message_id, error, bus)
    except JobPostponedError as later:  # as long as the platform needs: no failed try
        due = clock.now() + (later.retry_after or _FIRST_PAUSE)
        mark = f"after-{int(due.timestamp())}"
        await bus.send([job_message(named.job, named.app, repeat=mark, at=due)])
    except Exception as error:
        if deliveries < _QUICK_DELIVERIES:
            raise
        if repeats >= _MOST_REPEATS:
            await maintainer.give_up(named.job, f"It was tried for hours: {error}")
            return
        log.warning("job %s failed, repetition %s: %s", named.job, repeats + 1, error)
        pause = min(_FIRST_PAUSE * 2 ** min(repeats, 20), _LONGEST_PAUSE)
        again = job_message(named.job, named.app, repeat=str(repeats + 1), at=clock.now() + pause)
        await bus.send([again])


# --- Timers --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """Ask for what is due of every app that says so. What fails for one app is told, not raised."""

    configuration: Configuration
    maintainer: Maintainer
    clock: Clock

    async def back_up(self) -> tuple[str, ...]:
        """Ask for a backup of each app, and for a clearing out behind it; return the jobs."""
        return await self._ask((JobKind.BACKUP, JobKind.PRUNE))

    async def drill(self) -> tuple[str, ...]:
        """Ask for a drill of each app; return the jobs."""
        return await self._ask((JobKind.DRILL,))

    async def _ask(self, kinds: tuple[JobKind, ...]) -> tuple[str, ...]:
        now = self.clock.now()
        apps = [app for app, spec in (await self.configuration.apps()).items() if spec.backup]
        asked: list[str] = []
        for app in apps:
            try:
                asked += [(await self._request(app, kind, now)).id for kind in kinds]
            except SlipwayError as error:
                log.critical("app %s: what is due cannot be asked for: %s", app, error)
        return tuple(asked)

    async def _request(self, app: str, kind: JobKind, now: datetime) -> Job:
        arguments: dict[str, str | bool] = {"apply": True} if kind is JobKind.PRUNE else {}
        job = Job(
            id=timed_id(app, kind, now),
            app=app,
            kind=kind,
            by="timer",
            why="it is due",
            asked_at=now,
            arguments=arguments,
        )
        return await self.maintainer.request(job)
