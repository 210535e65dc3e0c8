"""What lint and plan say, in the words of PREFLIGHT. On PostgreSQL's own parser."""

from dataclasses import replace

from controller.activities.schema_facts import facts_of
from controller.migrations.bundle import Applied, Bundle, BundleFormat, Kind
from controller.ports_data import PendingMigration
from tests.migrations.bundles import bundle_of

TABLE = "create table users (id bigint primary key, name text)"
ADD = "alter table users add column email text"
DROP = "alter table users drop column name"
RENAME = "alter table users rename column name to full_name"
INDEX = "create index concurrently if not exists users_name on users (name)"


def applied(bundle: Bundle, *numbers: int) -> list[Applied]:
    return [
        Applied(
            id=bundle.migrations[n].id,
            sha256=bundle.migrations[n].sha256,
            applied_at=None,
            statements_done=0,
        )
        for n in numbers
    ]


def named(name: str) -> Applied:
    return Applied(id=name, sha256=None, applied_at=None, statements_done=0)


def test_what_is_pending_says_what_it_is_and_whether_it_can_go_back() -> None:
    bundle = bundle_of(TABLE, ADD, DROP, downs={2: "alter table users drop column email"})
    first, second, third = (m.id for m in bundle.migrations)

    facts = facts_of(bundle, applied(bundle, 0))

    assert (facts.head_before, facts.head_after) == (first, third)
    assert facts.bundle == bundle.sha256
    added, dropped = facts.pending
    assert added == PendingMigration(id=second, kind=Kind.EXPAND, has_down=True)
    assert (dropped.id, dropped.has_down, dropped.is_breaking) == (third, False, True)
    assert dropped.because
    assert facts.errors == ()


def test_what_breaks_the_old_build_is_no_error_of_the_lint() -> None:
    """Whether it may run is the app's configuration, which tells the way back as well."""
    bundle = bundle_of(TABLE, RENAME)

    facts = facts_of(bundle, applied(bundle, 0))

    assert facts.errors == ()
    assert [m.is_breaking for m in facts.pending] == [True]


def test_what_the_lint_never_lets_pass_is_an_error() -> None:
    bundle = bundle_of(TABLE, "drop database shop")

    assert facts_of(bundle, applied(bundle, 0)).errors


def test_what_somebody_looked_at_is_no_error_any_more() -> None:
    """For one migration, or for all; what never runs does not run all the same."""
    bundle = bundle_of(TABLE, "create index users_name on users (name)")
    name = bundle.migrations[1].id

    assert "SWM206" in facts_of(bundle, applied(bundle, 0)).errors[0]
    assert facts_of(bundle, applied(bundle, 0), accept=[f"SWM206@{name}"]).errors == ()
    assert facts_of(bundle, applied(bundle, 0), accept=["SWM206@0099_other"]).errors
    dropped = bundle_of(TABLE, "drop database shop")
    refused = facts_of(dropped, applied(dropped, 0)).errors[0].split(" ")[0].strip(":")
    assert facts_of(dropped, applied(dropped, 0), accept=[refused]).errors


def test_a_migration_that_was_changed_after_it_ran_is_an_error() -> None:
    bundle = bundle_of(TABLE, ADD)
    changed = replace(applied(bundle, 0)[0], sha256="0" * 64)

    (error,) = facts_of(bundle, [changed]).errors

    assert "changed after it ran" in error
    assert "new migration" in error


def test_a_database_that_is_ahead_is_a_fact_and_no_error() -> None:
    """After a rollback that kept the schema the next fix comes from the older line."""
    bundle = bundle_of(TABLE, ADD)

    facts = facts_of(bundle, [*applied(bundle, 0), named("0009_more")])

    assert facts.ahead == ("0009_more",)
    assert facts.errors == ()
    assert [m.id for m in facts.pending] == [bundle.migrations[1].id]


def test_alembic_that_is_ahead_tells_nothing_and_is_an_error() -> None:
    """Its history has one row: all of the bundle would look pending, and run once more."""
    bundle = replace(bundle_of(TABLE, ADD), format=BundleFormat.ALEMBIC)

    facts = facts_of(bundle, [named("ffff")])

    assert facts.ahead == ()
    assert any("does not know" in error for error in facts.errors)


def test_a_migration_that_stopped_half_way_is_pending_and_goes_on() -> None:
    """Only outside of a transaction can there be half of one."""
    bundle = bundle_of(TABLE, INDEX)
    half = replace(applied(bundle, 1)[0], is_whole=False)

    facts = facts_of(bundle, [*applied(bundle, 0), half])

    assert [m.id for m in facts.pending] == [bundle.migrations[1].id]
    assert facts.errors == ()
