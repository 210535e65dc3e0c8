"""The messages on the queues: one versioned JSON schema for people's pipelines and for ourselves.

Queue ``rollouts`` (session id = app) carries commands, queue ``observations`` (session id =
workspace) carries polls, queue ``maintenance`` (session id = app) carries the names of jobs.
docs/messages.md is generated from these models.
"""

from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Literal
from uuid import uuid4

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from controller.core.errors import MalformedError
from controller.ports import Message

COMMANDS_QUEUE: Final = "rollouts"
OBSERVATIONS_QUEUE: Final = "observations"
MAINTENANCE_QUEUE: Final = "maintenance"
REJECTED_QUEUE: Final = "rejected"
SCHEMA_VERSION: Final = 1
MAX_MESSAGE_ID: Final = 128  # characters; Service Bus takes no more
MAX_ORDER_ID: Final = 200
MAX_ALERT_NAME: Final = 300
MAX_RESOURCE: Final = 1000
MAX_DETAIL: Final = 500
_MARK: Final = 32  # hex digits of a hash: enough to tell names apart

_DIGEST = r"^sha256:[0-9a-f]{64}$"
_APP = r"^[a-z0-9-]{1,40}$"
_NAME = r"^[^\s@]{1,255}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = Field(default=1, description="Schema version.")


class _Command(_Body):
    app: str = Field(pattern=_APP, description="The app's id in apps.yaml; also the session id.")
    id: str = Field(
        default_factory=lambda: uuid4().hex,
        min_length=1,
        max_length=MAX_ORDER_ID,
        description="Names this order. The same id twice counts once.",
    )
    by: str = Field(default="pipeline", max_length=200, description="Who asks, for the audit.")
    reason: str = Field(default="", max_length=2000, description="Why, for the audit.")


class ImageName(BaseModel):
    """An image by digest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    registry: str = Field(pattern=_NAME, description="Login server, such as contoso.azurecr.io.")
    repository: str = Field(pattern=_NAME, description="Repository in that registry.")
    digest: str = Field(pattern=_DIGEST, description="Manifest or index digest.")
    tag: str | None = Field(default=None, max_length=128, description="What people call it.")


class SubmitBody(_Command):
    """Roll an image out."""

    command: Literal["submit"] = "submit"
    image: ImageName
    override: bool = Field(
        default=False, description="Start also into a freeze; `reason` must say why."
    )
    pushed: bool = Field(
        default=False,
        description="It is a registry's notice, not an order: one that tells of an old push "
        "again changes nothing, and it waits for a newer push where a delay is configured.",
    )
    pushed_at: AwareDatetime | None = Field(
        default=None, description="When the registry took the push, if it says so."
    )

    @field_validator("override")
    @classmethod
    def _needs_a_reason(cls, override: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's form
        if override and not str(info.data.get("reason", "")).strip():
            raise ValueError("needs a reason")
        return override


class RollbackBody(_Command):
    """Go back: out of the running rollout, or to an earlier release."""

    command: Literal["rollback"] = "rollback"
    reason: str = Field(min_length=1, max_length=2000, description="Why; mandatory.")
    to: str | None = Field(
        default=None, max_length=300, description="Tag, digest or rollout id of a release."
    )
    rollout: str | None = Field(
        default=None,
        max_length=100,
        description="The rollout to take back. The order does nothing to another one.",
    )


class RetryBody(_Command):
    """Lift the quarantine of a digest and roll it out again."""

    command: Literal["retry"] = "retry"
    digest: str = Field(pattern=_DIGEST)


class OrderBody(_Command):
    """A command to the running rollout."""

    command: Literal["approve", "reject", "pause", "resume", "abort", "promote"]
    rollout: str | None = Field(
        default=None,
        max_length=100,
        description="The rollout that it is meant for. It does nothing to another one; `abort` "
        "also takes one out of the queue.",
    )


class AlertBody(_Command):
    """An alert of Azure Monitor that may concern the app: it fires, or it is resolved."""

    command: Literal["alert"] = "alert"
    by: str = Field(default="azure monitor", max_length=200)
    condition: Literal["fired", "resolved"]
    alert: str = Field(min_length=1, max_length=MAX_ALERT_NAME)
    rule: str = Field(default="", max_length=MAX_ALERT_NAME)
    resource: str = Field(default="", max_length=MAX_RESOURCE)
    fired_at: AwareDatetime | None = None
    detail: str = Field(default="", max_length=MAX_DETAIL)
    is_test: bool = False
    is_moment: bool = False
    harmless: str = Field(default="", max_length=200)


class TickBody(_Body):
    """A wake-up that Slipway sends to itself; a stale one changes nothing."""

    command: Literal["tick"] = "tick"
    app: str = Field(pattern=_APP)
    rollout: str | None = None
    turn: int | None = None


class ObservedBody(_Body):
    """New buckets are stored for the app's rollout."""

    command: Literal["observed"] = "observed"
    app: str = Field(pattern=_APP)
    rollout: str
    workspace: str


class PollBody(_Body):
    """Ask the workspace's telemetry once for everyone who is watched."""

    command: Literal["poll"] = "poll"
    workspace: str = Field(min_length=1, max_length=100)
    due: datetime


class JobBody(_Body):
    """Go on with a job of maintenance. What it is was written down before this was sent."""

    job: str = Field(min_length=1, max_length=200, description="The job's id.")
    app: str = Field(pattern=_APP, description="The app's id; also the session id.")


Command = SubmitBody | RollbackBody | RetryBody | OrderBody | AlertBody | TickBody | ObservedBody

_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])
_POLL: TypeAdapter[PollBody] = TypeAdapter(PollBody)
_JOB: TypeAdapter[JobBody] = TypeAdapter(JobBody)


def parse_command(body: bytes, *, session: str | None, message_id: str = "") -> Command:
    """Return the command of a message on queue ``rollouts``.

    An order without an id is named by its message: delivered again, it is the same order.

    Raises:
        MalformedError: not JSON, not of the schema, or in another app's session.
    """
    try:
        command = _COMMAND.validate_json(body)
    except ValidationError as error:
        raise _malformed("command", error) from error
    if session is not None and session != command.app:
        raise MalformedError(
            f"The message for app {command.app!r} came in session {session!r}.",
            fix="Set the message's session id to the app id.",
        )
    if isinstance(command, _Command) and "id" not in command.model_fields_set and message_id:
        return command.model_copy(update={"id": short_name(message_id)})
    return command


def parse_poll(body: bytes) -> PollBody:
    """Return the poll of a message on queue ``observations``.

    Raises:
        MalformedError: not JSON or not of the schema.
    """
    try:
        return _POLL.validate_json(body)
    except ValidationError as error:
        raise _malformed("poll", error) from error


def parse_job(body: bytes, *, session: str | None) -> JobBody:
    """Return what a message on queue ``maintenance`` names.

    Raises:
        MalformedError: not JSON, not of the schema, or in another app's session.
    """
    try:
        found = _JOB.validate_json(body)
    except ValidationError as error:
        raise _malformed("job", error) from error
    if session is not None and session != found.app:
        raise MalformedError(
            f"The job of app {found.app!r} came in session {session!r}.",
            fix="Set the message's session id to the app id.",
        )
    return found


def job_message(job: str, app: str, *, repeat: str = "", at: datetime | None = None) -> Message:
    """Return the message that goes on with *job*; the same *repeat* is one message."""
    name = f"{job}/again/{repeat}" if repeat else job
    return Message(
        queue=MAINTENANCE_QUEUE,
        session=app,
        body=JobBody(job=job, app=app).model_dump_json().encode(),
        id=short_name(name),
        at=at,
        subject="job",
    )


def _malformed(what: str, error: ValidationError) -> MalformedError:
    problems = "; ".join(
        f"{'.'.join(str(part) for part in e['loc']) or 'body'}: {e['msg']}"
        for e in error.errors(include_url=False, include_input=False)[:5]
    )
    return MalformedError(
        f"The {what} message is not of schema version {SCHEMA_VERSION}: {problems}.",
        fix="See docs/messages.md for the fields.",
    )


def to_message(
    body: Command,
    *,
    at: datetime | None = None,
    message_id: str | None = None,
) -> Message:
    """Return *body* as a message to the app's session; an order is named by app and id."""
    if message_id is None and isinstance(body, _Command):
        message_id = f"{body.app}/{body.command}/{body.id}"
    return Message(
        queue=COMMANDS_QUEUE,
        session=body.app,
        body=body.model_dump_json(exclude_none=True).encode(),
        id=short_name(message_id) if message_id else None,
        at=at,
        subject=body.command,
    )


def poll_message(workspace: str, due: datetime) -> Message:
    """Return the message that asks *workspace* at *due*; the same due time is one message."""
    return Message(
        queue=OBSERVATIONS_QUEUE,
        session=workspace,
        body=PollBody(workspace=workspace, due=due).model_dump_json().encode(),
        id=short_name(f"{workspace}/{int(due.timestamp() * 1000)}"),
        at=due,
        subject="poll",
    )


def poll_again(workspace: str, due: datetime, now: datetime) -> Message:
    """Return a poll for *due* whose first message was used up or lost; delivered at once."""
    message_id = f"{workspace}/{int(due.timestamp() * 1000)}/again/{int(now.timestamp() * 1000)}"
    return replace(poll_message(workspace, due), id=short_name(message_id), at=None)


def short_name(name: str, limit: int = MAX_MESSAGE_ID) -> str:
    """Return *name*, or where it is longer than *limit* its beginning and its hash.

    The queue drops a second message of the same id, in whichever session: what is cut off must
    not be what tells two names apart.
    """
    if len(name) <= limit:
        return name
    mark = f"~{sha256(name.encode(errors='replace')).hexdigest()[:_MARK]}"
    return name[: limit - len(mark)] + mark
