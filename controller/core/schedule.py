"""When a state must end, when its effect may be asked, and when the next tick is owed. Pure."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.asks import heartbeat
from controller.core.events import Event, Failed, NotYet, ReadyChecked, SwapUndone, Tick
from controller.core.migrating import is_undoing
from controller.core.model import WATCHED, Rollout, State
from controller.core.swapping import is_swapping

S = State

_GRACE_POLLS: Final = 3  # polls that may be lost before the machine stops waiting for the judge
_ROLLBACK_RETRY: Final = timedelta(seconds=30)
_SWAP_RETRY: Final = timedelta(seconds=15)
_MAX_BACKOFF: Final = timedelta(minutes=1)


def schedule(r: Rollout, event: Event, *, stays: bool) -> Rollout:
    """Say when the awaited effect may be asked and when the next tick is due."""
    if r.is_over:
        return replace(r, awaiting=None, ask_at=None, wake_at=None, deadline=None)
    ask_at = event.at + _pause_before_asking(r, event, stays=stays) if r.awaiting else None
    due = [at for at in (ask_at, r.deadline) if at is not None]
    if r.state in WATCHED and r.awaiting is None:
        due.append(event.at + heartbeat(r))
    return replace(r, ask_at=ask_at, wake_at=min(due, default=None))


def _pause_before_asking(r: Rollout, event: Event, *, stays: bool) -> timedelta:
    if isinstance(event, NotYet):
        return min(max(event.retry_after, timedelta(0)), _MAX_BACKOFF)
    if isinstance(event, ReadyChecked) and stays:
        return r.spec.health.interval
    if isinstance(event, Failed) and stays:
        return _ROLLBACK_RETRY
    if isinstance(event, SwapUndone):
        return _SWAP_RETRY
    return timedelta(0)


def deadline(r: Rollout, at: datetime) -> datetime | None:
    """Return when the state that *r* enters *at* must have ended."""
    limits = r.spec.deadlines
    strategy = r.spec.strategy
    grace = r.spec.analysis.lag + r.spec.analysis.poll * _GRACE_POLLS
    by_state: dict[State, Callable[[], timedelta]] = {
        S.PREFLIGHT: lambda: limits.preflight,
        S.BACKUP: lambda: limits.backup,
        S.MIGRATING: lambda: limits.migrating,
        S.STAGING: lambda: limits.staging,
        S.WARMING: lambda: limits.warming,
        S.APPROVAL: lambda: strategy.approval.limit,
        S.SHIFTING: lambda: limits.shifting,
        S.OBSERVING: lambda: r.current_step.max_observation + grace,
        S.PROMOTING: lambda: limits.swapping if is_swapping(r) else limits.promoting,
        S.BAKING: lambda: strategy.bake + grace,
        S.HELD: lambda: strategy.hold.limit,
        S.ROLLING_BACK: lambda: _way_back(r),
    }
    limit = by_state.get(r.state)
    return at + limit() if limit else None


def _way_back(r: Rollout) -> timedelta:
    limits = r.spec.deadlines
    if is_undoing(r):
        return limits.migrating
    return limits.swapping if is_swapping(r) else limits.rolling_back


def past_rollback_deadline(r: Rollout, event: Event) -> bool:
    """Whether a way back takes longer than it may; it goes on all the same."""
    is_late = isinstance(event, Tick) and r.deadline is not None and event.at >= r.deadline
    return r.state is S.ROLLING_BACK and is_late
