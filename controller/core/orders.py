"""What people, pipelines and registries ask of an app, beside commands to its running rollout."""

from dataclasses import dataclass
from datetime import datetime

from controller.core.events import Command
from controller.core.model import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Roll this image out."""

    at: datetime
    image: Image
    by: str
    reason: str = ""
    override: bool = False  # also into a freeze; *reason* says why
    pushed: bool = False  # a registry's notice, which may be late or a repetition; no order
    pushed_at: datetime | None = None  # when the registry took the push; None: it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """Go back: out of the running rollout, or to an earlier release."""

    at: datetime
    by: str
    reason: str
    to: str | None = None  # tag, digest (or its beginning), or rollout id


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Lift the quarantine of a digest and roll it out again."""

    at: datetime
    digest: str
    by: str
    reason: str = ""


Order = Submit | RollBack | Retry | Command
