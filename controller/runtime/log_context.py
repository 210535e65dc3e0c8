"""The rollout's id on every log line that is written while it is handled.

`follow` names the rollout for the current invocation (a context variable, so invocations side by
side do not mix). `install` makes every record carry it: as the attribute ``rollout_id``, which
Application Insights keeps as a custom dimension, and in front of Slipway's own messages.
"""

import logging
from contextvars import ContextVar
from typing import Any, Final

_rollout: ContextVar[str] = ContextVar("slipway_rollout", default="")
_OURS: Final = "slipway"
_MARK: Final = "_carries_rollout"


def follow(rollout: str) -> None:
    """Name the rollout that this invocation handles from now on."""
    _rollout.set(rollout)


def install() -> None:
    """Make every log record carry the rollout's id. Safe twice."""
    make = logging.getLogRecordFactory()
    if getattr(make, _MARK, False):
        return

    def make_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        rollout = _rollout.get()
        record.__dict__["rollout_id"] = rollout
        if rollout and record.name.partition(".")[0] == _OURS:
            record.msg = f"[{rollout}] {record.msg}"
        return record

    setattr(make_record, _MARK, True)
    logging.setLogRecordFactory(make_record)
