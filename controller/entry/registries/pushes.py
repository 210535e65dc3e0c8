"""What a registry said, in our words: a push that may be deployed, or why it may not."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """An image was pushed under a tag."""

    registry: str  # login server, lower case
    repository: str
    digest: str
    tag: str
    event_id: str  # the registry's own id of this event: the same one twice is one push
    media_type: str = ""
    pushed_at: datetime | None = None  # by the registry's clock, aware; None: it does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing to deploy, and why."""

    reason: str
    event_id: str = ""


Notice = Push | Ignored
