"""What happens to a rollout: facts from the world, commands from people. Time is in the event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from controller.core.data import DataPlan
from controller.core.effects import EffectKey
from controller.core.gate import Learned
from controller.core.plan import SlotName

Number = float | int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Event:
    at: datetime  # aware, UTC


# Facts. An odd one is ignored and recorded.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply(_Event):
    key: EffectKey  # the effect that this answers


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightPassed(_Reply):
    """The rollout can start; this is what the world looks like."""

    active: SlotName
    idle: SlotName
    stable_image: str | None  # as configured on the active slot
    stable_release: str | None  # identity that the active slot's build reports to telemetry
    warnings: tuple[str, ...] = ()
    learned: Learned | None = None  # what that build was like lately; None: not known
    data: DataPlan | None = None  # what it will do to the app's database; None: nothing to see


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightFailed(_Reply):
    """The rollout cannot start. Nothing was touched."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(_Reply):
    """The goal is true of the world, and was read back."""

    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet(_Reply):
    """The goal is not true yet; nothing says that it cannot become so."""

    detail: str
    retry_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(_Reply):
    """The goal cannot be reached. Never means that nothing happened."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapChecked(_Reply):
    """Site and slots are fit for the swap, or what it is for is true already."""

    needed: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapBegun(_Reply):
    """The one request was sent. Without a token nobody knows whether it was taken."""

    token: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapUndone(_Reply):
    """The swap was given up by the platform, or never began: both slots hold what they held."""

    detail: str


class Smoke(StrEnum):
    """How the smoke tests went."""

    NOT_RUN = "not_run"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyChecked(_Reply):
    """One look at the new build."""

    ready: bool
    smoke: Smoke = Smoke.NOT_RUN
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(_Event):
    """Time passed."""


class Label(StrEnum):
    """What the judge says. The values are stored."""

    HEALTHY = "healthy"
    REGRESSED = "regressed"
    INSUFFICIENT_DATA = "insufficient_data"
    PROVIDER_UNAVAILABLE = "provider_unavailable"
    AMBIENT_INCIDENT = "ambient_incident"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(_Event):
    """The judge looked at the evidence of the current step."""

    label: Label
    reason: str
    judge: str  # name and version
    numbers: Mapping[str, Number] = field(default_factory=dict[str, Number])
    evidence: str | None = None  # where the judged buckets and the query text are kept
    evidence_hash: str | None = None  # sha256 of that document


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerted(_Event):
    """Azure Monitor says that something that this rollout may have caused is wrong."""

    rule: str
    detail: str  # severity, target, condition: for people


# Commands. An odd one is refused with advice.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command(_Event):
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(_Command):
    """Go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject(_Command):
    """Do not go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(_Command):
    """Stay where it is until somebody says resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(_Command):
    """Go on watching from where it was held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(_Command):
    """Skip what is left of the watching."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort(_Command):
    """Back to stable, now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Supersede(_Command):
    """A newer push takes its place."""


SwapReply = SwapChecked | SwapBegun | SwapUndone
Reply = PreflightPassed | PreflightFailed | Done | NotYet | Failed | ReadyChecked | SwapReply
Fact = Reply | Tick | Judged | Alerted
Command = Approve | Reject | Pause | Resume | Promote | Abort | Supersede
Event = Fact | Command
REPLIES = (
    PreflightPassed,
    PreflightFailed,
    Done,
    NotYet,
    Failed,
    ReadyChecked,
    SwapChecked,
    SwapBegun,
    SwapUndone,
)
COMMANDS = (Approve, Reject, Pause, Resume, Promote, Abort, Supersede)
