"""What a bundle and a database say of each other, by the lint and the plan: for `Migrations.look`.

The policy about contract steps is not the lint's here: PREFLIGHT tells it with the way back.
"""

from collections.abc import Collection, Sequence

from controller.migrations.bundle import Applied, Bundle, BundleFormat, Migration
from controller.migrations.catalog import Schema
from controller.migrations.history import pending
from controller.migrations.lint import Contract, Finding, LintPolicy, LintReport, lint
from controller.migrations.plan import MigrationPlan, Reason, plan
from controller.migrations.rules import Severity
from controller.ports_data import PendingMigration, SchemaFacts


def facts_of(
    bundle: Bundle,
    applied: Sequence[Applied],
    *,
    schema: Schema | None = None,
    accept: Collection[str] = (),
) -> SchemaFacts:
    """Return what is pending of *bundle* on a database that has *applied*.

    Args:
        bundle: what the release carries.
        applied: what the database remembers.
        schema: the database as it is; the lint then knows more.
        accept: findings that somebody looked at, as ``SWM206`` or ``SWM206@0042_index``.
    """
    whole = [row.id for row in applied if row.is_whole]
    policy = LintPolicy(contract=Contract.ALLOW, accept=frozenset(accept))
    report = lint(bundle, policy=policy, applied=whole, schema=schema)
    planned = plan(bundle, applied, report, resume=True)
    return SchemaFacts(
        bundle=bundle.sha256,
        pending=tuple(_pending(migration, report) for migration in pending(bundle, whole)),
        head_before=planned.head_before,
        head_after=planned.head_after,
        ahead=_ahead(bundle, planned),
        errors=_errors(bundle, planned),
        warnings=(
            *(_said(f) for f in report.findings if f.severity is Severity.WARNING),
            *planned.notes,
        ),
    )


def _pending(migration: Migration, report: LintReport) -> PendingMigration:
    statements = report.of(migration.id)
    hurting = [why for statement in statements for why in statement.why_not]
    return PendingMigration(
        id=migration.id,
        kind=report.kind(migration.id),
        has_down=migration.down is not None,
        old_build_lives=all(statement.old_build_lives for statement in statements),
        because=hurting[0] if hurting else "",
    )


def _is_ahead(bundle: Bundle) -> bool:
    """Whether a database that is ahead still tells what of *bundle* it has.

    Alembic remembers its newest revision alone: one that the bundle does not know tells nothing.
    """
    return bundle.format is not BundleFormat.ALEMBIC


def _ahead(bundle: Bundle, planned: MigrationPlan) -> tuple[str, ...]:
    newer = (r.migration for r in planned.refusals if r.reason is Reason.NEWER)
    return tuple(name for name in newer if name is not None) if _is_ahead(bundle) else ()


def _errors(bundle: Bundle, planned: MigrationPlan) -> tuple[str, ...]:
    passed_over = {Reason.NEWER} if _is_ahead(bundle) else set[Reason]()
    refusals = (r for r in planned.refusals if r.reason not in passed_over)
    return tuple(f"{refusal.says} {refusal.fix}" for refusal in refusals)


def _said(finding: Finding) -> str:
    place = f"{finding.migration} line {finding.line}"
    return f"{place}: {finding.code}: {finding.says} {finding.advice}"
