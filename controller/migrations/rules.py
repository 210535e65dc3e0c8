"""Every complaint that the lint has: its stable code, how grave it is, and what to do instead."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """How grave a finding is. The values are stored."""

    ERROR = "error"  # nothing runs
    WARNING = "warning"  # a person should look
    ADVICE = "advice"  # it could be better


class Group(StrEnum):
    """What a rule protects."""

    OLD_BUILD = "old-build"  # the build that still runs while the migration does
    LOCKS = "locks"  # requests that wait
    TRANSACTION = "transaction"  # all or nothing
    DATA = "data"
    REFUSED = "refused"  # never runs in a migration, whatever the policy says


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule. Where it is a contract step, the policy decides how grave it is."""

    code: str
    group: Group
    severity: Severity
    title: str
    advice: str
    is_contract: bool = False


def _contract(code: str, title: str, advice: str) -> Rule:
    return Rule(code, Group.OLD_BUILD, Severity.ERROR, title, advice, is_contract=True)


def _old_build(code: str, title: str, advice: str) -> Rule:
    return Rule(code, Group.OLD_BUILD, Severity.WARNING, title, advice)


def _locks(code: str, title: str, advice: str, severity: Severity = Severity.ERROR) -> Rule:
    return Rule(code, Group.LOCKS, severity, title, advice)


def _transaction(code: str, title: str, advice: str, severity: Severity = Severity.ERROR) -> Rule:
    return Rule(code, Group.TRANSACTION, severity, title, advice)


def _data(code: str, title: str, advice: str, severity: Severity = Severity.ERROR) -> Rule:
    return Rule(code, Group.DATA, severity, title, advice)


def _refused(code: str, title: str, advice: str) -> Rule:
    return Rule(code, Group.REFUSED, Severity.ERROR, title, advice)


_LATER: Final = "Take it out of this release; ship it when no build that runs uses it."

_RULES: Final = (
    _contract(
        "SWM101",
        "drops a table",
        _LATER,
    ),
    _contract(
        "SWM102",
        "drops a column",
        f"{_LATER} Make the code stop naming the column first.",
    ),
    _contract(
        "SWM103",
        "renames or moves a table",
        "Add the new table or a view of the new name, let both builds work, then drop the old"
        " name in a later release.",
    ),
    _contract(
        "SWM104",
        "renames a column",
        "Add a column of the new name, write both, fill it in batches, read the new one, drop"
        " the old one in a later release.",
    ),
    _contract(
        "SWM105",
        "drops or renames a type, a value or an attribute",
        _LATER,
    ),
    _contract(
        "SWM106",
        "changes the type of a column",
        "Add a column of the new type, write both, fill it in batches, then drop the old one "
        "in a later release.",
    ),
    _contract(
        "SWM107",
        "makes a column required",
        "Ship code that always writes the column first; require it in a later release.",
    ),
    _contract(
        "SWM108",
        "adds a rule that rows of the old build may break",
        "Ship code that keeps the rule first; add the constraint in a later release.",
    ),
    _contract(
        "SWM109",
        "empties a table",
        "Delete by a WHERE clause what no build needs, in batches.",
    ),
    _contract(
        "SWM110",
        "drops what the old build may use",
        _LATER,
    ),
    _contract(
        "SWM111",
        "drops a default",
        "Keep the default until no build that runs relies on it.",
    ),
    _old_build(
        "SWM112",
        "allows nulls",
        "Let the new build write nulls only when no build that cannot read them runs.",
    ),
    _contract(
        "SWM113",
        "adds a required column without a default",
        "Give it a constant default, or add it without NOT NULL.",
    ),
    _old_build(
        "SWM114",
        "makes a trigger or rule fire on what the old build writes",
        "Make sure that it does what the old build expects, and that it is fast.",
    ),
    _old_build(
        "SWM115",
        "replaces a view or function that the old build may use",
        "Make a new one of another name.",
    ),
    _contract(
        "SWM116",
        "takes away what changes rows by itself",
        "Keep the trigger or rule until no build that runs relies on it.",
    ),
    _contract(
        "SWM117",
        "takes away rights or ownership",
        _LATER,
    ),
    _contract(
        "SWM118",
        "hides rows from the old build",
        "Give the old build's role a policy for all rows first, and switch row security on in"
        " a later release.",
    ),
    _contract(
        "SWM119",
        "takes away what ON CONFLICT may name",
        _LATER,
    ),
    _contract(
        "SWM120",
        "takes a partition away",
        _LATER,
    ),
    _old_build(
        "SWM121",
        "adds a value that the old build may read and not know",
        "Let the new build write the value only when no build that does not know it runs.",
    ),
    _old_build(
        "SWM122",
        "drops a constraint",
        "Make sure that no build relies on it to keep rows right.",
    ),
    _old_build(
        "SWM123",
        "renames what ON CONFLICT ON CONSTRAINT or a hint may name",
        "Keep the name, or make sure that no build names it.",
    ),
    _locks(
        "SWM201",
        "reads the whole table while nobody can use it",
        "Add CHECK (column IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in a later migration, "
        "then SET NOT NULL, then drop the check.",
    ),
    _locks(
        "SWM202",
        "writes the whole table anew while nobody can use it",
        "Add a new column without it, fill it in batches, then switch over.",
    ),
    _locks(
        "SWM203",
        "checks a foreign key against all rows while nobody can write",
        "Add the constraint NOT VALID, and VALIDATE CONSTRAINT in a later migration.",
    ),
    _locks(
        "SWM204",
        "checks all rows while nobody can use the table",
        "Add the constraint NOT VALID, and VALIDATE CONSTRAINT in a later migration.",
    ),
    _locks(
        "SWM205",
        "builds an index while nobody can use the table",
        "CREATE UNIQUE INDEX CONCURRENTLY in a migration of its own, then ADD CONSTRAINT ... "
        "USING INDEX.",
    ),
    _locks(
        "SWM206",
        "builds an index while nobody can write",
        "CREATE INDEX CONCURRENTLY in a migration of its own.",
    ),
    _locks(
        "SWM207",
        "waits for all who use the table, and makes all others wait",
        "DROP INDEX CONCURRENTLY in a migration of its own.",
        Severity.WARNING,
    ),
    _locks(
        "SWM208",
        "locks the table for maintenance",
        "Do maintenance outside of releases: plain VACUUM, REINDEX CONCURRENTLY, pg_repack.",
    ),
    _locks(
        "SWM209",
        "locks a table by hand",
        "Leave it out: Slipway runs one migration at a time, and each statement locks what it"
        " needs.",
    ),
    _locks(
        "SWM210",
        "fills a view anew while nobody can read it",
        "Give the view a unique index and REFRESH MATERIALIZED VIEW CONCURRENTLY.",
        Severity.WARNING,
    ),
    _locks(
        "SWM211",
        "validates a constraint in the transaction that added it",
        "Validate in a later migration: the lock of ADD CONSTRAINT is held until the commit.",
        Severity.WARNING,
    ),
    _locks(
        "SWM212",
        "reads a whole partition while nobody can use it",
        "Add a validated CHECK that implies the partition's bounds first, and drop it after.",
        Severity.WARNING,
    ),
    _transaction(
        "SWM301",
        "cannot run in a transaction",
        "Put it into a migration of its own, with `transactional: false` or nothing said.",
    ),
    _transaction(
        "SWM302",
        "mixes what cannot run in a transaction with other statements",
        "Make a migration of this one statement: if it fails, nothing else is half done.",
    ),
    _transaction(
        "SWM303",
        "begins or ends a transaction by itself",
        "Leave it out: Slipway runs each migration in a transaction, and the history with it.",
    ),
    _transaction(
        "SWM304",
        "uses a new value of an enum in the transaction that adds it",
        "Put ALTER TYPE ... ADD VALUE into an earlier migration.",
    ),
    _data(
        "SWM401",
        "changes or deletes all rows of a table",
        "Add a WHERE clause and work in batches, outside of the release if it takes long.",
    ),
    _data(
        "SWM402",
        "changes many rows while it holds a lock on a table",
        "Split it: one migration for the schema, one for the rows.",
        Severity.WARNING,
    ),
    _old_build(
        "SWM501",
        "changes the search path",
        "Write the schema before each name.",
    ),
    _transaction(
        "SWM502",
        "changes a time-out",
        "Leave it out: Slipway sets lock_timeout and statement_timeout.",
        Severity.WARNING,
    ),
    _refused(
        "SWM503",
        "reaches for the server's files or programs",
        "Load data from the client, outside of migrations.",
    ),
    _refused(
        "SWM504",
        "changes the server, its databases, its roles or other sessions",
        "Do it by infrastructure code, not by an app's migration.",
    ),
    _transaction(
        "SWM505",
        "runs SQL that is made while it runs, so nobody can see it before",
        "Write the statements out; or look at it yourself and accept `SWM505@MIGRATION`.",
    ),
    _transaction(
        "SWM506",
        "runs code that cannot be looked into",
        "Make sure that it is what the release needs.",
        Severity.ADVICE,
    ),
    _transaction(
        "SWM507",
        "needs an extension that the server must allow",
        "Allow it first: on Azure, the server parameter azure.extensions.",
        Severity.WARNING,
    ),
    _refused(
        "SWM508",
        "is not known to the lint",
        "Write it otherwise, or run it by hand: what is not understood is not run.",
    ),
    _refused(
        "SWM509",
        "acts as another role, or for all later statements of the session",
        "Let Slipway connect as the role that owns the schema; use SET LOCAL.",
    ),
)
RULES: Final = {rule.code: rule for rule in _RULES}
