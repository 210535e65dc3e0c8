"""What runs, what does not, and what going back needs."""

from collections.abc import Sequence

import pytest

from controller.migrations.bundle import Applied, Bundle, Kind
from controller.migrations.lint import Contract, LintPolicy, lint
from controller.migrations.plan import MigrationPlan, Reason, plan
from controller.migrations.reading import read_bundle
from controller.migrations.rollback import Way, WayBack, way_back
from tests.migrations.bundles import SAMPLES, bundle_of

ALLOW = LintPolicy(
    contract=Contract.ALLOW,
    accept=frozenset({"SWM201", "SWM202", "SWM203", "SWM206", "SWM505"}),
)
USERS = "CREATE TABLE users (id bigint PRIMARY KEY, name text, mood text)"
NICK = "ALTER TABLE users ADD COLUMN nick text"
INDEX = "CREATE INDEX CONCURRENTLY i ON users (name)"
FILL = "UPDATE users SET nick = name WHERE id < 1000"
DROP = "ALTER TABLE users DROP COLUMN mood"
REQUIRE = "ALTER TABLE users ALTER COLUMN name SET NOT NULL"


def ran(bundle: Bundle, *numbers: int, done: int | None = None) -> list[Applied]:
    return [
        Applied(
            id=bundle.migrations[n].id,
            sha256=bundle.migrations[n].sha256,
            applied_at=None,
            statements_done=len(bundle.migrations[n].up) if done is None else done,
            is_whole=done is None,
        )
        for n in numbers
    ]


def planned(bundle: Bundle, applied: Sequence[Applied], **options: bool) -> MigrationPlan:
    report = lint(bundle, applied=[a.id for a in applied if a.is_whole], policy=ALLOW)
    return plan(bundle, applied, report, **options)


def test_a_fresh_database_gets_all_in_order() -> None:
    """A transaction each, but for what refuses one."""
    bundle = bundle_of(f"{USERS}; {NICK}", INDEX, FILL)
    whole = planned(bundle, [])

    assert [s.migration.id for s in whole.steps] == ["001_step", "002_step", "003_step"]
    assert [[len(t) for t in s.transactions] for s in whole.steps] == [[2], [1], [1]]
    assert [s.kind for s in whole.steps] == [Kind.EXPAND, Kind.EXPAND, Kind.DATA]
    assert (whole.head_before, whole.head_after) == (None, "003_step")
    assert whole.kind is Kind.DATA
    assert any("outside of a transaction" in note for note in whole.notes)


def test_only_what_is_missing_runs() -> None:
    bundle = bundle_of(USERS, NICK)

    rest = planned(bundle, ran(bundle, 0))

    assert [s.migration.id for s in rest.steps] == ["002_step"]
    assert rest.head_before == "001_step"
    assert planned(bundle, ran(bundle, 0, 1)).is_empty


def reasons(made: MigrationPlan) -> list[Reason]:
    assert made.is_refused == bool(made.refusals)
    assert not (made.is_refused and made.steps)
    assert all(r.says.endswith(".") and r.fix.endswith((".", ").")) for r in made.refusals)
    return [refusal.reason for refusal in made.refusals]


def test_a_migration_that_ran_must_not_change() -> None:
    bundle, old = bundle_of(USERS, NICK), bundle_of(f"{USERS} ", NICK)
    report = lint(bundle, applied=["001_step"])

    assert reasons(plan(bundle, ran(old, 0), report)) == [Reason.CHANGED]
    assert reasons(plan(bundle, ran(old, 0), report, accept_changed=["001_step"])) == []


def test_a_hash_that_nobody_knows_is_a_note() -> None:
    bundle = bundle_of(USERS, NICK)
    unknown = [Applied(id="001_step", sha256=None, applied_at=None, statements_done=1)]

    made = planned(bundle, unknown)

    assert reasons(made) == []
    assert "without Slipway" in made.notes[0]


def test_a_newer_schema_is_refused() -> None:
    bundle, newer = bundle_of(USERS), bundle_of(USERS, NICK)

    assert reasons(planned(bundle, ran(newer, 0, 1))) == [Reason.NEWER]


def test_out_of_order_is_refused_unless_allowed() -> None:
    bundle = bundle_of(USERS, NICK, FILL)
    applied = ran(bundle, 0, 2)

    assert reasons(planned(bundle, applied)) == [Reason.OUT_OF_ORDER]
    assert [s.migration.id for s in planned(bundle, applied, out_of_order=True).steps] == [
        "002_step"
    ]


def test_half_done_is_refused_or_resumed_after_what_ran() -> None:
    """Only outside of a transaction can there be half of a migration."""
    bundle = bundle_of(f"{USERS}; {NICK}", f"{INDEX}; DROP INDEX CONCURRENTLY i")
    half = [*ran(bundle, 0), *ran(bundle, 1, done=1)]

    assert reasons(planned(bundle, half)) == [Reason.HALF_DONE, Reason.LINT]
    accepting = LintPolicy(accept=frozenset({"SWM302"}))
    report = lint(bundle, applied=["001_step"], policy=accepting)
    [step] = plan(bundle, half, report, resume=True).steps
    assert [s.text for s in step.statements] == ["DROP INDEX CONCURRENTLY i"]
    impossible = ran(bundle, 0, done=1)
    assert Reason.HALF_DONE in reasons(planned(bundle, impossible, resume=True))


def test_errors_of_the_lint_refuse() -> None:
    bundle = bundle_of(USERS, DROP)
    strict = lint(bundle, applied=["001_step"])

    made = plan(bundle, ran(bundle, 0), strict)

    assert reasons(made) == [Reason.LINT]
    assert made.refusals[0].says.startswith("SWM102 in 002_step, line 1: ")


def test_ef_core_history_of_before_the_script_is_older_not_newer() -> None:
    text = (SAMPLES / "ef8_idempotent.sql").read_bytes()
    bundle = read_bundle({"s.sql": text})
    applied = [
        Applied(id=id_, sha256=None, applied_at=None, statements_done=0)
        for id_ in ["20230101000000_Older", "20240110083000_InitialCreate"]
    ]
    newer = Applied(id="20991231000000_Later", sha256=None, applied_at=None, statements_done=0)

    assert reasons(planned(bundle, applied)) == []
    assert reasons(planned(bundle, [*applied, newer])) == [Reason.NEWER]


def test_alembic_remembers_its_newest_revision_alone() -> None:
    bundle = read_bundle({"a.sql": (SAMPLES / "alembic.sql").read_bytes()})
    head = Applied(id="2b3c4d5e6f70", sha256=None, applied_at=None, statements_done=0)

    made = planned(bundle, [head])

    assert [s.migration.id for s in made.steps] == ["3c4d5e6f7081", "4d5e6f708192"]


def test_alembic_from_a_base_needs_that_base() -> None:
    text = (SAMPLES / "alembic.sql").read_text()
    later = text[text.index("-- Running upgrade 2b3c") :].replace("COMMIT;", "", 1)
    bundle = read_bundle({"a.sql": later.encode()})
    base = Applied(id="2b3c4d5e6f70", sha256=None, applied_at=None, statements_done=0)

    assert reasons(planned(bundle, [base])) == []
    assert len(planned(bundle, [base]).steps) == 2
    assert reasons(planned(bundle, [])) == [Reason.BASE]


def back(*ups: str, downs: dict[int, str] | None = None, coordinate: bool = False) -> WayBack:
    """Return the way back past all but the first migration, which makes the table."""
    bundle = bundle_of(USERS, *ups, downs=downs)
    report = lint(bundle, applied=["001_step"], policy=ALLOW)
    from_plan = way_back(plan(bundle, ran(bundle, 0), report), report, coordinate=coordinate)
    assert from_plan == way_back(bundle.migrations[1:], report, coordinate=coordinate)
    assert from_plan.says.endswith(".")
    assert from_plan.fix.endswith(".")
    return from_plan


BACK = [
    # id, ups, downs, coordinate, way, undone
    ("nothing ran", [], {}, False, Way.KEEP, []),
    ("expand is kept", [NICK, INDEX], {2: "x"}, False, Way.KEEP, []),
    ("data by its down script", [NICK, FILL], {3: "SELECT 1"}, False, Way.DOWN, ["003_step"]),
    ("data without is kept", [NICK, FILL], {}, False, Way.KEEP, []),
    ("data below expand", [NICK, FILL, INDEX], {3: "SELECT 1"}, False, Way.KEEP, []),
    ("contract is refused", [REQUIRE], {2: "SELECT 1"}, False, Way.REFUSED, []),
    (
        "contract, agreed",
        [NICK, REQUIRE, INDEX],
        {3: "SELECT 1", 4: "SELECT 2"},
        True,
        Way.COORDINATED,
        ["004_step", "003_step"],
    ),
    ("contract without a script", [REQUIRE], {}, True, Way.REFUSED, []),
    ("contract under no script", [REQUIRE, NICK], {2: "SELECT 1"}, True, Way.REFUSED, []),
    ("gone is gone", [DROP], {2: "SELECT 1"}, False, Way.REFUSED, []),
    ("gone, agreed", [DROP], {2: "SELECT 1"}, True, Way.COORDINATED, ["002_step"]),
    ("gone without a script", [DROP], {}, True, Way.REFUSED, []),
]


@pytest.mark.parametrize(
    ("ups", "downs", "coordinate", "way", "undone"),
    [pytest.param(*case, id=name) for name, *case in BACK],
)
def test_the_way_back(
    ups: list[str], downs: dict[int, str], *, coordinate: bool, way: Way, undone: list[str]
) -> None:
    """By class: kept, undone after, undone before, or refused."""
    scripts = {n: "SELECT 1" if sql == "x" else sql for n, sql in downs.items()}

    found = back(*ups, downs=scripts, coordinate=coordinate)

    assert found.way is way
    assert [migration.id for migration in found.downs] == undone
    assert found.is_safe is (way in {Way.KEEP, Way.DOWN})


def test_a_refusal_names_the_step_and_the_reason() -> None:
    """The plan can say beforehand why code will not go back."""
    found = back(NICK, DROP)

    assert found.blocking == ("003_step",)
    assert "The column mood of users is dropped" in found.says
    assert "restore the backup" in found.fix


def test_rows_that_no_script_brings_back_are_spoken_of() -> None:
    """Who agrees to down scripts is told what they do not do."""
    found = back(DROP, downs={2: "SELECT 1"}, coordinate=True)

    assert found.says.endswith("002_step brings back the structure, not the rows.")


def test_what_cannot_be_seen_is_not_gone_back_past() -> None:
    """No evidence is not success: dynamic SQL may have taken anything away."""
    found = back("DO $$ BEGIN EXECUTE format('x'); END $$", downs={2: "SELECT 1"})

    assert found.way is Way.REFUSED
