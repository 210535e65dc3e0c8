"""A job of maintenance as data: a backup, its verification, a restore, a drill, a clearing out.

A job goes on where an earlier process left it: what works on it finds what was made by the job's
id. People watch it by its steps.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

MOST_STEPS: Final = 100  # that are kept; the first ones go
_ID: Final = re.compile(
    r"(?P<app>[a-z0-9-]{1,40})-(backup|verify|restore|drill|prune|pitr|rehearse)-"
    r"(\d{8}T\d{6}Z-[0-9a-f]{8}|timer-\d{8}T\d{4}Z|rollout-\d{8}T\d{9}-[a-z0-9-]+|id-[0-9a-f]{16})"
)


class JobKind(StrEnum):
    """What is to be done. The values are stored."""

    BACKUP = "backup"
    VERIFY = "verify"
    RESTORE = "restore"
    DRILL = "drill"
    PRUNE = "prune"
    REHEARSE = "rehearse"  # migrations on a copy, before a rollout applies them
    PITR = "pitr"  # a new database server, as the platform's was at a point in time


class JobState(StrEnum):
    """How far it is. The values are stored."""

    WAITING = "waiting"  # in the queue
    RUNNING = "running"  # or stopped half way, and in the queue again
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_end(self) -> bool:
        """Tell whether nothing more happens."""
        return self in {JobState.SUCCEEDED, JobState.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStep:
    """One thing that was done, for people."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job. The same id twice is one job."""

    id: str
    app: str
    kind: JobKind
    by: str
    why: str
    asked_at: datetime
    arguments: Mapping[str, str | bool] = field(default_factory=dict[str, str | bool])
    state: JobState = JobState.WAITING
    tries: int = 0
    begun_at: datetime | None = None  # the first try
    ended_at: datetime | None = None
    steps: tuple[JobStep, ...] = ()
    result: Mapping[str, object] = field(default_factory=dict[str, object])  # JSON
    error: str = ""  # why it failed, or why the last try stopped


def begun(job: Job, at: datetime) -> Job:
    """Return *job* as another try at it begins."""
    return replace(
        job, state=JobState.RUNNING, tries=job.tries + 1, begun_at=job.begun_at or at, error=""
    )


def told(job: Job, at: datetime, text: str) -> Job:
    """Return *job* with one more step."""
    return replace(job, steps=(*job.steps, JobStep(at=at, text=text))[-MOST_STEPS:])


def stopped(job: Job, error: str) -> Job:
    """Return *job* as a try at it ends for now: it goes on later."""
    return replace(job, error=error)


def succeeded(job: Job, at: datetime, result: Mapping[str, object]) -> Job:
    """Return *job* done."""
    return replace(job, state=JobState.SUCCEEDED, ended_at=at, result=result, error="")


def failed(job: Job, at: datetime, error: str, result: Mapping[str, object] | None = None) -> Job:
    """Return *job* given up; *result* is what it found out all the same."""
    return replace(job, state=JobState.FAILED, ended_at=at, result=result or {}, error=error)


# --- Names ---------------------------------------------------------------------------------------


def ordered_id(app: str, kind: JobKind, at: datetime, tail: str) -> str:
    """Return the id of a job that somebody asks for; *tail* is eight hex digits."""
    return f"{app}-{kind}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{tail}"


def timed_id(app: str, kind: JobKind, due: datetime) -> str:
    """Return the id of a timer's job: a timer that fires twice in a minute asks for one job."""
    return f"{app}-{kind}-timer-{due.astimezone(UTC):%Y%m%dT%H%MZ}"


def rollout_id(app: str, kind: JobKind, rollout: str) -> str:
    """Return the id of the job that a rollout waits for."""
    return f"{app}-{kind}-rollout-{rollout}"


def named_id(app: str, kind: JobKind, mark: str) -> str:
    """Return the id of a job that its caller names; *mark* is 16 hex digits of that name."""
    return f"{app}-{kind}-id-{mark}"


def app_of(job_id: str) -> str | None:
    """Return the app whose job it is, None where it is no job's id."""
    found = _ID.fullmatch(job_id)
    return found["app"] if found else None
