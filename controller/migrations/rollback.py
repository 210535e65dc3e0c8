"""What going back past migrations needs, told before anything runs and again when it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from controller.migrations.bundle import Kind, Migration
from controller.migrations.lint import LintReport, StatementReport
from controller.migrations.plan import MigrationPlan


class Way(StrEnum):
    """How code goes back past migrations. The values are stored."""

    KEEP = "keep"  # the old build runs on the new schema: nothing to do
    DOWN = "down"  # the down scripts run after the code went back
    COORDINATED = "coordinated"  # the down scripts run *before* the old build takes traffic
    REFUSED = "refused"  # there is no way but a restore, or forward


@dataclass(frozen=True, slots=True, kw_only=True)
class WayBack:
    """The way back past some migrations."""

    way: Way
    says: str
    fix: str
    downs: tuple[Migration, ...]  # to undo, newest first
    blocking: tuple[str, ...]  # migrations because of which it is not simply kept

    @property
    def is_safe(self) -> bool:
        """Tell whether code may go back by itself, without a person."""
        return self.way in {Way.KEEP, Way.DOWN}


def way_back(
    done: MigrationPlan | Sequence[Migration], report: LintReport, *, coordinate: bool = False
) -> WayBack:
    """Return what a rollback of code past migrations needs.

    Args:
        done: the plan that would run or ran, or the migrations to go back past, oldest first.
        report: the lint that classed them, before they ran.
        coordinate: a person agrees to undo steps that the old build cannot live with first.
    """
    migrations = _migrations(done)
    kinds = {migration.id: report.kind(migration.id) for migration in migrations}
    gone = [m.id for m in migrations if kinds[m.id] is Kind.IRREVERSIBLE]
    if gone and not coordinate:
        return _refused(
            f"{gone[0]} took away what no script brings back: {_first(report, gone[0])}",
            "Go forward with a fixed build, restore the backup that was taken before it, or agree "
            "to down scripts that bring back the structure without the rows.",
            gone,
        )
    blocking = [
        m.id for m in migrations if not _lives(report.of(m.id)) or _is_contract(kinds[m.id])
    ]
    if blocking:
        past = _past_contract(migrations, blocking, report, coordinate=coordinate)
        return _without_rows(past, gone)
    if any(kind is Kind.DATA for kind in kinds.values()):
        return _past_data(migrations, kinds)
    says = "Nothing to undo: the old build runs on the schema as it is now."
    return WayBack(way=Way.KEEP, says=says, fix="Nothing to do.", downs=(), blocking=())


def _migrations(done: MigrationPlan | Sequence[Migration]) -> tuple[Migration, ...]:
    if isinstance(done, MigrationPlan):
        return tuple(step.migration for step in done.steps)
    return tuple(done)


def _past_contract(
    migrations: Sequence[Migration], blocking: list[str], report: LintReport, *, coordinate: bool
) -> WayBack:
    """All migrations from the newest back to the oldest that blocks have to be undone."""
    oldest = next(n for n, migration in enumerate(migrations) if migration.id == blocking[0])
    undone = tuple(reversed(migrations[oldest:]))
    why = f"the old build cannot live with {blocking[0]}: {_first(report, blocking[0])}"
    without = [migration.id for migration in undone if migration.down is None]
    if without:
        return _refused(
            f"There is no way back, as {why} And {without[0]} has no down script.",
            "Go forward with a fixed build, or restore the backup that was taken before it.",
            blocking,
        )
    if not coordinate:
        return _refused(
            f"Code may not go back by itself, as {why}",
            f"Agree to undo {len(undone)} migrations by their down scripts before the old build "
            "takes traffic, or go forward with a fixed build.",
            blocking,
        )
    return WayBack(
        way=Way.COORDINATED,
        says=f"{len(undone)} migrations are undone before the old build takes traffic, as {why}",
        fix="Expect errors of the new build from the first down script on.",
        downs=undone,
        blocking=tuple(blocking),
    )


def _without_rows(past: WayBack, gone: Sequence[str]) -> WayBack:
    """Say of what no script brings back that its rows stay lost."""
    if not gone or past.way is Way.REFUSED:
        return past
    lost = f"The down script of {gone[0]} brings back the structure, not the rows."
    return replace(past, says=f"{past.says} {lost}")


def _past_data(migrations: Sequence[Migration], kinds: dict[str, Kind]) -> WayBack:
    """Rows that were changed are changed back if every script from the newest on can."""
    changed = [migration.id for migration in migrations if kinds[migration.id] is Kind.DATA]
    oldest = next(n for n, migration in enumerate(migrations) if migration.id == changed[0])
    undone = tuple(reversed(migrations[oldest:]))
    if all(migration.down is not None for migration in undone):
        return WayBack(
            way=Way.DOWN,
            says=f"{changed[0]} changed rows; {len(undone)} down scripts change them back after "
            "the old build serves everyone.",
            fix="Nothing to do.",
            downs=undone,
            blocking=(),
        )
    return WayBack(
        way=Way.KEEP,
        says=f"{changed[0]} changed rows and not every migration since has a down script: the "
        "old build runs on the rows as they are now.",
        fix="Look at whether the old build reads those rows right.",
        downs=(),
        blocking=(),
    )


def _refused(says: str, fix: str, blocking: list[str]) -> WayBack:
    return WayBack(way=Way.REFUSED, says=says, fix=fix, downs=(), blocking=tuple(blocking))


def _is_contract(kind: Kind) -> bool:
    return kind in {Kind.CONTRACT, Kind.IRREVERSIBLE}


def _lives(statements: Sequence[StatementReport]) -> bool:
    return all(statement.old_build_lives for statement in statements)


def _first(report: LintReport, migration: str) -> str:
    """Return the first sentence that says why the old build cannot live with a migration."""
    for statement in report.of(migration):
        if statement.why_not:
            return statement.why_not[0]
    return "it takes something away."
