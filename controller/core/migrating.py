"""What a rollout remembers of its database, and the guards that ask for it.

Expanding comes first: PREFLIGHT's plan is backed up, then applied before the new build is staged,
while the stable build serves on. On the way back users come first, and the schema after them
(`database.on_rollback`): the stable build lives with what was added. Only where something was
taken away from it do the down scripts run before the stable build serves alone.
"""

from dataclasses import replace

from controller.core.data import BackupKind, DataStep, OnRollback, WayBack
from controller.core.events import Done, Failed, PreflightPassed, Tick
from controller.core.model import Rollout, State


def is_undoing(r: Rollout) -> bool:
    """Whether the down scripts are what it is at."""
    return r.data is not None and r.data.undoing


def touched_no_slot(r: Rollout) -> bool:
    """Whether it went back before any slot was touched: while it migrated."""
    return r.data is not None and r.data.begun and not r.data.applied


def _must_undo(data: DataStep | None) -> bool:
    return data is not None and data.begun and not data.reverted and not data.kept_because


def backwards(r: Rollout) -> Rollout:
    """Return *r* as it enters ROLLING_BACK: what was taken from the stable build comes first."""
    if r.data is None or not _must_undo(r.data):
        return r
    return replace(r, data=replace(r.data, undoing=r.data.plan.way_back is WayBack.DOWN))


def forwards(r: Rollout) -> Rollout:
    """Return *r* as it enters MIGRATING: from now on something may be applied."""
    return replace(r, data=replace(r.data, begun=True)) if r.data else r


def stranding(r: Rollout) -> tuple[str, ...]:
    """Return the migrations of *r* that are applied and that earlier builds cannot live with."""
    is_applied = r.data is not None and r.data.begun and not r.data.reverted
    return r.data.plan.breaking if r.data is not None and is_applied else ()


def aftermath(r: Rollout) -> str:
    """Return what became of the database, as *r* ends on a way back."""
    data = r.data
    if data is None or not data.begun:
        return ""
    names = ", ".join(data.plan.pending)
    if data.reverted:
        return f"taken back from the database: {names}"
    because = f" ({data.kept_because})" if data.kept_because else ""
    if data.plan.breaking:
        lost = ", ".join(data.plan.breaking)
        return f"WARNING: the stable build may miss what {lost} took away; not undone{because}"
    stays = "stays" if data.applied else "stays as far as it came"
    return f"the expanded schema {stays}, the stable build runs on it: {names}{because}"


# --- Guards --------------------------------------------------------------------------------------


def data_is_pending(r: Rollout, event: PreflightPassed) -> bool:
    """Whether: data is pending."""
    return r.spec.database is not None and event.data is not None and bool(event.data.pending)


def data_is_pending_and_backed_up_first(r: Rollout, event: PreflightPassed) -> bool:
    """Whether: data is pending and backed up first."""
    wanted = r.spec.database is not None and r.spec.database.backup is not BackupKind.NONE
    return wanted and data_is_pending(r, event)


def undoes_data_first(r: Rollout, _: object) -> bool:
    """Whether: undoes data first. The stable build serves everyone after that only."""
    first = r.data is not None and r.data.plan.way_back is WayBack.DOWN
    return first and is_undoing(r)


def undoing_data_first_is_late(r: Rollout, event: Tick) -> bool:
    """Whether: undoing data first is late."""
    late = r.deadline is not None and event.at >= r.deadline
    return late and undoes_data_first(r, event)


def undoes_data(r: Rollout, _: object) -> bool:
    """Whether: undoes data. What is done is then that, and users are served already."""
    return is_undoing(r)


def undoes_data_and_makes_room(r: Rollout, _: object) -> bool:
    """Whether: undoes data and makes room."""
    return r.superseded and is_undoing(r)


def undoing_data_is_late(r: Rollout, event: Tick) -> bool:
    """Whether: undoing data is late."""
    return r.deadline is not None and event.at >= r.deadline and is_undoing(r)


def undoing_data_is_late_and_makes_room(r: Rollout, event: Tick) -> bool:
    """Whether: undoing data is late and makes room."""
    return r.superseded and undoing_data_is_late(r, event)


def data_is_undone_next(r: Rollout, _: Done) -> bool:
    """Whether: data is undone next. Stable serves everyone by now."""
    data, spec = r.data, r.spec.database
    if data is None or spec is None or not _must_undo(data) or data.undoing:
        return False
    is_wanted = spec.on_rollback is OnRollback.DOWN and data.plan.has_down
    return is_wanted and data.plan.way_back is WayBack.OPEN


# --- Changes -------------------------------------------------------------------------------------


def keep_restore_point(r: Rollout, event: Done) -> Rollout:
    """Remember what was made before anything ran."""
    return replace(r, data=replace(r.data, restore_point=event.detail)) if r.data else r


def data_is_applied(r: Rollout, _: Done) -> Rollout:
    """Remember that the new build finds the schema that it needs."""
    return replace(r, data=replace(r.data, applied=True)) if r.data else r


def undo_data(r: Rollout, _: object) -> Rollout:
    """Remember that the down scripts are awaited."""
    return replace(r, data=replace(r.data, undoing=True)) if r.data else r


def data_is_reverted(r: Rollout, _: Done) -> Rollout:
    """Remember that nothing of it is applied any more."""
    return replace(r, data=replace(r.data, undoing=False, reverted=True)) if r.data else r


def keep_schema(r: Rollout, event: Failed | Tick) -> Rollout:
    """Remember why the down scripts were given up: people take it from here."""
    late = f"the down scripts did not end within {r.spec.deadlines.migrating}"
    because = event.reason if isinstance(event, Failed) else late
    return replace(r, data=replace(r.data, undoing=False, kept_because=because)) if r.data else r


def is_another_part(before: Rollout, after: Rollout) -> bool:
    """Whether the down scripts begin or end between the two: another part, another deadline."""
    return before.state is State.ROLLING_BACK and is_undoing(before) != is_undoing(after)
