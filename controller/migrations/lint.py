"""Looks at a bundle before anything runs: what each statement is, what it locks, what is wrong.

Statements that ran already are not judged; they only tell what the schema is. What the release
itself makes is new: no old build knows it, and no request waits for it.
"""

from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from controller.migrations.bundle import Bundle, BundleFormat, Kind, Migration, Statement
from controller.migrations.catalog import Catalog, Schema
from controller.migrations.classes import Notes, Remark, gravest
from controller.migrations.history import applied_ids, pending
from controller.migrations.judging import judge
from controller.migrations.learning import learn
from controller.migrations.locks import TableLock
from controller.migrations.rules import RULES, Group, Severity
from controller.migrations.scripts import history_row_of
from controller.migrations.splitting import Node, tree
from controller.migrations.together import Together

SMALL_TABLE: Final = 10_000  # rows; such a table is read or written anew in well under a second


class Contract(StrEnum):
    """What to think of steps that the old build cannot live with."""

    REFUSE = "refuse"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True, kw_only=True)
class LintPolicy:
    """How strict the lint is."""

    contract: Contract = Contract.REFUSE
    accept: frozenset[str] = frozenset()  # "SWM206" or "SWM206@migration": a person looked at it
    small_table_rows: int = SMALL_TABLE  # locks on tables known to be no larger are advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something to put right, or to know."""

    code: str
    severity: Severity
    migration: str
    line: int  # in its file
    says: str
    advice: str
    is_down: bool = False  # the file is that of the down script


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementReport:
    """What one statement does."""

    migration: str
    number: int  # in its migration, from 0
    line: int
    text: str
    kind: Kind
    locks: tuple[TableLock, ...]  # on tables that exist before this release
    rewrites: tuple[str, ...]  # tables written anew
    scans: tuple[str, ...]  # tables read as a whole
    old_build_lives: bool
    why_not: tuple[str, ...]  # why the old build cannot live with it
    in_transaction: bool  # may it run in one?
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What a bundle would do to a database."""

    bundle: str  # its hash
    statements: tuple[StatementReport, ...]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return what has to be put right before anything runs."""
        return tuple(f for f in self.findings if f.severity is Severity.ERROR)

    @property
    def passed(self) -> bool:
        """Tell whether it may run."""
        return not self.errors

    def of(self, migration: str) -> tuple[StatementReport, ...]:
        """Return the statements of one migration."""
        return tuple(s for s in self.statements if s.migration == migration)

    def kind(self, migration: str | None = None) -> Kind:
        """Return the gravest class in a migration, or in all."""
        chosen = self.statements if migration is None else self.of(migration)
        return gravest(statement.kind for statement in chosen)


def lint(
    bundle: Bundle,
    *,
    policy: LintPolicy = LintPolicy(),
    applied: Collection[str] = (),
    schema: Schema | None = None,
) -> LintReport:
    """Return what the bundle's migrations that did not run would do.

    Args:
        bundle: what was read.
        policy: how strict to be.
        applied: ids of the migrations that the database has.
        schema: the database as it is; without it, the bundle itself tells as far as it does.
    """
    catalog = _before(bundle, applied, schema)
    history = _history_ids(bundle)
    statements: list[StatementReport] = []
    findings: list[Finding] = []
    for migration in pending(bundle, applied):
        together = Together(migration)
        for number, statement in enumerate(migration.up):
            node = tree(statement.text)
            notes = Notes(catalog)
            is_history = history_row_of(node, history) is not None
            if not is_history:
                judge(statement.text, node, notes)
                together.add(statement, node, notes)
            statements.append(_report(migration, number, statement, notes))
            findings += _findings(migration, statement, notes.remarks, catalog, policy)
        for statement, remark in together.remarks():
            findings += _findings(migration, statement, [remark], catalog, policy)
        findings += _down(migration, catalog, policy)
    return LintReport(
        bundle=bundle.sha256, statements=tuple(statements), findings=tuple(dict.fromkeys(findings))
    )


def kinds_alone(bundle: Bundle) -> dict[str, Kind]:
    """Return the class of each migration as if each were a release of its own."""
    catalog = Catalog()
    history = _history_ids(bundle)
    found: dict[str, Kind] = {}
    for migration in bundle.migrations:
        trial = deepcopy(catalog)
        kinds: list[Kind] = []
        for statement in migration.up:
            node = tree(statement.text)
            notes = Notes(trial)
            if history_row_of(node, history) is None:
                judge(statement.text, node, notes)
            kinds.append(notes.kind)
            learn(catalog, node, is_new=False)
        found[migration.id] = gravest(kinds)
    return found


def _before(bundle: Bundle, applied: Collection[str], schema: Schema | None) -> Catalog:
    """Return the schema before the release: what ran made it, and the database knows best."""
    catalog = Catalog()
    ran = applied_ids(bundle, applied)
    for migration in bundle.migrations:
        if migration.id in ran:
            for statement in migration.up:
                learn(catalog, tree(statement.text), is_new=False)
    if schema is not None:
        catalog.overlay(schema)
    return catalog


def _history_ids(bundle: Bundle) -> frozenset[str]:
    """Return the constants by which a generator's own rows are known."""
    if bundle.format is BundleFormat.SQL:
        return frozenset()
    base = {bundle.base} if bundle.base else set[str]()
    return frozenset({migration.id for migration in bundle.migrations} | base)


def _report(
    migration: Migration, number: int, statement: Statement, notes: Notes
) -> StatementReport:
    return StatementReport(
        migration=migration.id,
        number=number,
        line=statement.line,
        text=statement.text,
        kind=notes.kind,
        locks=notes.table_locks(),
        rewrites=tuple(sorted(notes.rewrites)),
        scans=tuple(sorted(notes.scans)),
        old_build_lives=not notes.why_not,
        why_not=tuple(dict.fromkeys(notes.why_not)),
        in_transaction=notes.in_transaction,
        codes=tuple(sorted({remark.code for remark in notes.remarks})),
    )


def _findings(
    migration: Migration,
    statement: Statement,
    remarks: Iterable[Remark],
    catalog: Catalog,
    policy: LintPolicy,
) -> list[Finding]:
    return [
        Finding(
            code=remark.code,
            severity=_severity(remark, catalog, policy),
            migration=migration.id,
            line=statement.line,
            says=remark.says,
            advice=RULES[remark.code].advice,
        )
        for remark in remarks
        if not _is_accepted(remark.code, migration.id, policy)
    ]


def _is_accepted(code: str, migration: str, policy: LintPolicy) -> bool:
    if RULES[code].group is Group.REFUSED:
        return False
    return bool({code, f"{code}@{migration}"} & policy.accept)


def _severity(remark: Remark, catalog: Catalog, policy: LintPolicy) -> Severity:
    rule = RULES[remark.code]
    if rule.is_contract and policy.contract is Contract.ALLOW:
        return Severity.WARNING
    rows = catalog.rows(remark.relation) if remark.relation else None
    if rule.group is Group.LOCKS and rows is not None and rows <= policy.small_table_rows:
        return Severity.ADVICE
    return rule.severity


def _down(migration: Migration, catalog: Catalog, policy: LintPolicy) -> list[Finding]:
    """Return what makes a down script unfit to run at all. What it takes away is its purpose."""
    found: list[Finding] = []
    for statement in migration.down or ():
        node: Node = tree(statement.text)
        notes = Notes(Catalog())
        judge(statement.text, node, notes)
        unfit = [r for r in notes.remarks if _is_unfit(r.code)]
        found += map(_of_down, _findings(migration, statement, unfit, catalog, policy))
    return found


def _is_unfit(code: str) -> bool:
    return RULES[code].group is Group.REFUSED or code == "SWM303"


def _of_down(finding: Finding) -> Finding:
    return replace(finding, says=f"In the down script: {finding.says}", is_down=True)
