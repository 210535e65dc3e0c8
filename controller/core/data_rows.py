"""The rows of the machine's table that are about the app's database."""

from controller.core import guards as g
from controller.core import migrating as mg
from controller.core.asks import ask_backup, ask_migrate, ask_restore, ask_revert, ask_stage
from controller.core.events import Alerted, Done, Failed, PreflightPassed, Tick
from controller.core.model import State
from controller.core.row import Row

S = State

# No annotations: each row's guard and ask are checked against its event.

# Before the release without migrations; what every state on the way has stands in the table.
FORWARD = (
    Row(
        S.PREFLIGHT,
        PreflightPassed,
        S.BACKUP,
        ask_backup,
        when=mg.data_is_pending_and_backed_up_first,
        change=g.learn,
    ),
    Row(
        S.PREFLIGHT,
        PreflightPassed,
        S.MIGRATING,
        ask_migrate,
        when=mg.data_is_pending,
        change=g.learn,
    ),
    Row(S.BACKUP, Done, S.MIGRATING, ask_migrate, change=mg.keep_restore_point),
    Row(S.BACKUP, Alerted, S.REJECTED, when=g.puts_something_new_there),
    Row(S.MIGRATING, Done, S.STAGING, ask_stage, change=mg.data_is_applied),
)

# What was taken from the stable build comes back before it serves everyone, swaps included. Where
# that fails people are paged, and users leave the bad build all the same.
BACK_FIRST = (
    Row(
        S.ROLLING_BACK,
        Done,
        S.ROLLING_BACK,
        ask_restore,
        when=mg.undoes_data_first,
        change=mg.data_is_reverted,
    ),
    Row(
        S.ROLLING_BACK,
        Failed,
        S.ROLLING_BACK,
        ask_restore,
        when=mg.undoes_data_first,
        change=mg.keep_schema,
    ),
    Row(
        S.ROLLING_BACK,
        Tick,
        S.ROLLING_BACK,
        ask_restore,
        when=mg.undoing_data_first_is_late,
        change=mg.keep_schema,
    ),
)

# What was only added is taken away once nobody is served by the build that needs it.
BACK_LAST = (
    Row(
        S.ROLLING_BACK,
        Done,
        S.SUPERSEDED,
        when=mg.undoes_data_and_makes_room,
        change=mg.data_is_reverted,
    ),
    Row(S.ROLLING_BACK, Done, S.ROLLED_BACK, when=mg.undoes_data, change=mg.data_is_reverted),
    Row(
        S.ROLLING_BACK,
        Failed,
        S.SUPERSEDED,
        when=mg.undoes_data_and_makes_room,
        change=mg.keep_schema,
    ),
    Row(S.ROLLING_BACK, Failed, S.ROLLED_BACK, when=mg.undoes_data, change=mg.keep_schema),
    Row(
        S.ROLLING_BACK,
        Tick,
        S.SUPERSEDED,
        when=mg.undoing_data_is_late_and_makes_room,
        change=mg.keep_schema,
    ),
    Row(
        S.ROLLING_BACK,
        Tick,
        S.ROLLED_BACK,
        when=mg.undoing_data_is_late,
        change=mg.keep_schema,
    ),
    Row(
        S.ROLLING_BACK,
        Done,
        S.ROLLING_BACK,
        ask_revert,
        when=mg.data_is_undone_next,
        change=mg.undo_data,
    ),
)
