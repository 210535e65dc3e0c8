"""The lint agrees with the PostgreSQL manual, statement by statement."""

import pytest

from controller.migrations.lint import LintReport, lint
from controller.migrations.rules import RULES
from tests.migrations.bundles import CORPUS, Case, bundle_of, cases

CASES = cases()
BEFORE = (CORPUS / "before.sql").read_text()


def linted(sql: str) -> LintReport:
    """Return the report of one statement that comes after the corpus' schema."""
    return lint(bundle_of(BEFORE, sql), applied=["001_step"])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_class_locks_and_codes(case: Case) -> None:
    """Each statement has the class, locks, scans, rewrites and codes that its comment says."""
    [statement] = linted(case.sql).statements
    dies = case.kind in {"contract", "irreversible"} or "dies" in case.also

    assert statement.kind.value == case.kind
    assert {lock.relation: str(lock.mode) for lock in statement.locks} == case.locks
    assert sorted(statement.codes) == sorted(case.codes)
    assert set(statement.scans) == {a.removeprefix("scans ") for a in case.also if "scans" in a}
    assert set(statement.rewrites) == {
        a.removeprefix("rewrites ") for a in case.also if "rewrites" in a
    }
    assert statement.in_transaction is ("alone" not in case.also)
    assert statement.old_build_lives is not dies
    assert bool(statement.why_not) is dies


def test_the_corpus_is_large_and_shows_most_rules() -> None:
    """At least 100 statements; a rule that none of them breaks is about several together."""
    shown = {code for case in CASES for code in case.codes}

    assert len(CASES) >= 100
    assert set(RULES) - shown == {"SWM211", "SWM302", "SWM304", "SWM402"}


def test_every_finding_says_what_and_what_to_do() -> None:
    """A finding is two sentences: what it is, and what to write instead."""
    for case in CASES:
        for finding in linted(case.sql).findings:
            assert finding.says.endswith("."), finding
            assert finding.advice.endswith(".") or "`" in finding.advice, finding
            assert finding.line == 1


ODD = (CORPUS / "odd.txt").read_text().splitlines()


@pytest.mark.parametrize("sql", ODD)
def test_rare_statements_get_a_report_too(sql: str) -> None:
    """Whatever the grammar knows is judged; what no judge knows is refused, not passed over."""
    report = linted(sql)

    assert len(report.statements) == 1
    assert report.passed or report.errors[0].advice
