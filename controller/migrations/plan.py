"""What is to run on a database, in which order and which transactions, or why nothing may."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.migrations.bundle import Applied, Bundle, BundleFormat, Kind, Migration, Statement
from controller.migrations.history import applied_ids, pending
from controller.migrations.lint import LintReport


class Reason(StrEnum):
    """Why a bundle may not run. The values are stored."""

    LINT = "lint"  # the lint found errors
    CHANGED = "changed"  # a migration that ran is not the one in the bundle
    NEWER = "newer"  # the database has migrations that the bundle does not know
    OUT_OF_ORDER = "out-of-order"  # one that did not run stands before one that did
    HALF_DONE = "half-done"  # one stopped half way, outside of a transaction
    BASE = "base"  # the bundle begins at a migration that the database does not have


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why nothing runs, and what to do."""

    reason: Reason
    migration: str | None
    says: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One migration that runs: all statements in one transaction, or each by itself."""

    migration: Migration
    first: int = 0  # number of the statement to begin with; more than 0 where one stopped
    kind: Kind

    @property
    def statements(self) -> tuple[Statement, ...]:
        """Return what runs."""
        return self.migration.up[self.first :]

    @property
    def transactions(self) -> tuple[tuple[Statement, ...], ...]:
        """Return what is committed together."""
        if self.migration.transactional:
            return (self.statements,)
        return tuple((statement,) for statement in self.statements)


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan:
    """What runs, or why not."""

    bundle: str  # its hash: what a person approves
    steps: tuple[Step, ...]
    refusals: tuple[Refusal, ...]
    notes: tuple[str, ...]  # what a person should know
    head_before: str | None  # newest migration of the bundle that the database has
    head_after: str | None

    @property
    def is_refused(self) -> bool:
        """Tell whether nothing may run."""
        return bool(self.refusals)

    @property
    def is_empty(self) -> bool:
        """Tell whether the database has all already."""
        return not self.steps

    @property
    def kind(self) -> Kind:
        """Return the gravest class of what runs."""
        from controller.migrations.classes import gravest  # noqa: PLC0415 - one use

        return gravest(step.kind for step in self.steps)


def plan(
    bundle: Bundle,
    applied: Sequence[Applied],
    report: LintReport,
    *,
    resume: bool = False,
    accept_changed: Collection[str] = (),
    out_of_order: bool = False,
) -> MigrationPlan:
    """Return what is to run on a database that has *applied*.

    Args:
        bundle: what the release needs.
        applied: what the database remembers.
        report: the lint of *bundle* for the same *applied*.
        resume: go on with a migration that stopped half way, after its last statement that ran.
        accept_changed: ids of migrations that ran and may differ: a newer generator writes the
            same change in other words.
        out_of_order: run what two branches brought even if it stands before what ran.
    """
    whole = [row.id for row in applied if row.is_whole]
    refusals = (
        *_changed(bundle, applied, accept_changed),
        *_newer(bundle, applied),
        *_base(bundle, applied),
        *_half_done(bundle, applied, resume=resume),
        *_out_of_order(bundle, whole, out_of_order=out_of_order),
        *_lint(report),
    )
    ran = applied_ids(bundle, whole)
    before = [migration.id for migration in bundle.migrations if migration.id in ran]
    steps = _steps(bundle, applied, report)
    return MigrationPlan(
        bundle=bundle.sha256,
        steps=() if refusals else steps,
        refusals=refusals,
        notes=_notes(bundle, applied, steps),
        head_before=before[-1] if before else bundle.base,
        head_after=bundle.head,
    )


def _steps(bundle: Bundle, applied: Sequence[Applied], report: LintReport) -> tuple[Step, ...]:
    halves = {row.id: row.statements_done for row in applied if not row.is_whole}
    whole = [row.id for row in applied if row.is_whole]
    return tuple(
        Step(
            migration=migration,
            first=halves.get(migration.id, 0),
            kind=report.kind(migration.id),
        )
        for migration in pending(bundle, whole)
    )


def _changed(
    bundle: Bundle, applied: Sequence[Applied], accepted: Collection[str]
) -> list[Refusal]:
    ours = {migration.id: migration.sha256 for migration in bundle.migrations}
    return [
        Refusal(
            reason=Reason.CHANGED,
            migration=row.id,
            says=f"{row.id} ran as {_short(row.sha256)} and is {_short(ours[row.id])} in the "
            "bundle: it was changed after it ran.",
            fix="Bring the file back as it was, and make the change a new migration.",
        )
        for row in applied
        if row.id in ours
        and row.id not in accepted
        and row.sha256 is not None
        and row.sha256 != ours[row.id]
    ]


def _newer(bundle: Bundle, applied: Sequence[Applied]) -> list[Refusal]:
    return [
        Refusal(
            reason=Reason.NEWER,
            migration=row.id,
            says=f"The database has {row.id}, which the bundle does not know: another release "
            "migrated it further.",
            fix="Release from a commit that has this migration, or roll the database back first.",
        )
        for row in applied
        if not _knows(bundle, row.id)
    ]


def _knows(bundle: Bundle, id_: str) -> bool:
    ids = [migration.id for migration in bundle.migrations]
    if id_ in ids or id_ == bundle.base:
        return True
    # EF Core's ids begin with the time they were made: a script may begin at a later one.
    return bundle.format is BundleFormat.EF_CORE and bool(ids) and id_ < ids[0]


def _base(bundle: Bundle, applied: Sequence[Applied]) -> list[Refusal]:
    has_any = bundle.base is None or any(_knows(bundle, row.id) for row in applied)
    if has_any:
        return []
    return [
        Refusal(
            reason=Reason.BASE,
            migration=bundle.base,
            says=f"The bundle begins after {bundle.base}, which the database does not have.",
            fix="Generate the script from the first migration (`alembic upgrade head --sql`).",
        )
    ]


def _half_done(bundle: Bundle, applied: Sequence[Applied], *, resume: bool) -> list[Refusal]:
    up = {migration.id: migration for migration in bundle.migrations}
    found: list[Refusal] = []
    for row in applied:
        if row.is_whole or row.id not in up:
            continue
        total = len(up[row.id].up)
        if resume and 0 <= row.statements_done <= total and not up[row.id].transactional:
            continue
        found.append(
            Refusal(
                reason=Reason.HALF_DONE,
                migration=row.id,
                says=f"{row.id} stopped after {row.statements_done} of {total} statements.",
                fix="Look at what the statement after them left behind (an invalid index, say), "
                "drop it, and resume.",
            )
        )
    return found


def _out_of_order(bundle: Bundle, whole: Sequence[str], *, out_of_order: bool) -> list[Refusal]:
    if out_of_order or not (late := _late(bundle, whole)):
        return []
    return [
        Refusal(
            reason=Reason.OUT_OF_ORDER,
            migration=late[0],
            says=f"{late[0]} did not run, but a migration after it did.",
            fix="Give it a later number or time, or allow migrations out of order.",
        )
    ]


def _late(bundle: Bundle, whole: Sequence[str]) -> list[str]:
    ran = applied_ids(bundle, whole)
    ids = [migration.id for migration in bundle.migrations]
    newest = max((ids.index(id_) for id_ in ran), default=-1)
    return [id_ for id_ in ids[: newest + 1] if id_ not in ran]


def _lint(report: LintReport) -> list[Refusal]:
    if report.passed:
        return []
    first = report.errors[0]
    more = len(report.errors) - 1
    return [
        Refusal(
            reason=Reason.LINT,
            migration=first.migration,
            says=f"{first.code} in {first.migration}, line {first.line}: {first.says}"
            + (f" And {more} more." if more else ""),
            fix=first.advice,
        )
    ]


def _notes(bundle: Bundle, applied: Sequence[Applied], steps: Sequence[Step]) -> tuple[str, ...]:
    ids = {migration.id for migration in bundle.migrations}
    unknown = [row.id for row in applied if row.id in ids and row.sha256 is None]
    notes: list[str] = []
    if unknown:
        notes.append(
            f"{len(unknown)} migrations ran without Slipway: whether they were changed since is "
            "not known."
        )
    for step in steps:
        if step.first:
            notes.append(f"{step.migration.id} goes on at statement {step.first + 1}.")
        if not step.migration.transactional:
            notes.append(
                f"{step.migration.id} runs outside of a transaction: if it fails, what ran before "
                "stays."
            )
    return tuple(notes)


def _short(digest: str | None) -> str:
    return (digest or "")[:12]
