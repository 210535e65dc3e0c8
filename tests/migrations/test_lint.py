"""What the lint knows beyond one statement: what came before, together and after."""

from hashlib import sha256

from controller.migrations.bundle import Bundle, Kind
from controller.migrations.catalog import ColumnFacts, Schema, TableShape
from controller.migrations.lint import Contract, LintPolicy, LintReport, lint
from controller.migrations.locks import LockMode, conflict
from controller.migrations.reading import read_bundle
from controller.migrations.rules import RULES, Group, Severity
from tests.migrations.bundles import SAMPLES, bundle_of

USERS = "CREATE TABLE users (id bigint PRIMARY KEY, name text, mood text, score int)"


def codes(report: LintReport) -> list[str]:
    return [finding.code for finding in report.findings]


def after_users(*ups: str, policy: LintPolicy | None = None) -> LintReport:
    return lint(bundle_of(USERS, *ups), applied=["001_step"], policy=policy or LintPolicy())


def test_nothing_of_a_table_made_by_the_release_is_locked() -> None:
    """Indexes, keys, rewrites and drops of what no old build knows are free."""
    report = after_users(
        "CREATE TABLE orders (id bigint, note varchar(9), total int)",
        "ALTER TABLE orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid();"
        "ALTER TABLE orders ALTER COLUMN note TYPE int USING note::int;"
        "ALTER TABLE orders ALTER COLUMN total SET NOT NULL;"
        "ALTER TABLE orders ADD PRIMARY KEY (id);"
        "ALTER TABLE orders RENAME COLUMN note TO remark;"
        "CREATE INDEX orders_total ON orders (total);"
        "DROP INDEX orders_total;"
        "UPDATE orders SET total = 1;"
        "DELETE FROM orders; TRUNCATE orders; LOCK TABLE orders;"
        "ALTER TABLE orders RENAME TO purchases; DROP TABLE purchases",
    )

    assert codes(report) == []
    assert all(not s.locks and s.old_build_lives for s in report.statements)
    assert report.kind() is Kind.DATA


def test_the_same_is_grave_once_the_table_is_in_use() -> None:
    """What an applied migration made is what the old build uses."""
    bundle = bundle_of("CREATE TABLE orders (id int)", "CREATE INDEX i ON orders (id)")

    assert codes(lint(bundle)) == []
    assert codes(lint(bundle, applied=["001_step"])) == ["SWM206"]


def test_a_new_column_is_the_releases_own() -> None:
    """A key, check or drop of a column that the old build cannot know does not hurt it."""
    report = after_users(
        "ALTER TABLE users ADD COLUMN team bigint, ADD COLUMN size int",
        "ALTER TABLE users ADD CONSTRAINT team FOREIGN KEY (team) REFERENCES teams (id) NOT VALID;"
        "ALTER TABLE users ADD CONSTRAINT small CHECK (size < 9) NOT VALID;"
        "ALTER TABLE users DROP COLUMN size",
        "CREATE UNIQUE INDEX CONCURRENTLY one_team ON users (team)",
    )

    assert codes(report) == []
    assert report.kind() is Kind.EXPAND


def test_a_required_new_column_hurts_unless_it_fills_itself() -> None:
    """The old build leaves it out: with a default it lives, without one its INSERTs fail."""
    add = "ALTER TABLE users ADD COLUMN size int{}; ALTER TABLE users ALTER size SET NOT NULL"

    assert "SWM107" in codes(after_users(add.format("")))
    assert "SWM107" not in codes(after_users(add.format(" DEFAULT 0")))


def test_set_not_null_after_a_validated_check_reads_nothing() -> None:
    """The documented way: NOT VALID, then VALIDATE in another migration, then SET NOT NULL."""
    check = "ALTER TABLE users ADD CONSTRAINT has_name CHECK (name IS NOT NULL) NOT VALID"
    validate = "ALTER TABLE users VALIDATE CONSTRAINT has_name"
    require = "ALTER TABLE users ALTER COLUMN name SET NOT NULL"

    assert "SWM201" in codes(after_users(check, require))
    assert "SWM201" not in codes(after_users(check, validate, require))
    assert "SWM211" in codes(after_users(f"{check}; {validate}"))
    assert "SWM211" not in codes(after_users(check, validate))


def test_what_cannot_run_in_a_transaction_runs_alone() -> None:
    index = "CREATE INDEX CONCURRENTLY i ON users (name)"
    assert codes(after_users(index)) == []
    assert codes(after_users(f"{index}; ALTER TABLE users ADD COLUMN a int")) == ["SWM302"]
    both = f"{index};\nDROP INDEX CONCURRENTLY i"
    assert codes(after_users(both)) == ["SWM302", "SWM302"]
    assert codes(lint(forced(index))) == ["SWM301"]


def forced(sql: str) -> Bundle:
    """Return a bundle whose manifest says that its migration runs in a transaction."""
    hashed = sha256(sql.encode()).hexdigest()
    entry = f"{{id: one, up: 1.sql, transactional: true, up_sha256: {hashed}}}"
    manifest = f"format: sql\nmigrations:\n- {entry}\n"
    return read_bundle({"1.sql": sql.encode(), "manifest.yaml": manifest.encode()})


def test_rows_are_not_changed_under_a_lock_of_the_schema() -> None:
    alter = "ALTER TABLE users ADD COLUMN nick text"
    fill = "UPDATE users SET nick = name WHERE id < 1000"

    assert codes(after_users(f"{alter}; {fill}")) == ["SWM402"]
    assert codes(after_users(alter, fill)) == []


def test_a_new_value_of_an_enum_is_not_used_before_it_is_committed() -> None:
    bundle = bundle_of(
        "CREATE TYPE mood AS ENUM ('a'); CREATE TABLE t (m mood)",
        "ALTER TYPE mood ADD VALUE 'b'; INSERT INTO t VALUES ('b')",
    )

    assert codes(lint(bundle, applied=["001_step"])) == ["SWM121", "SWM304"]


def test_the_policy_decides_about_contract_steps_alone() -> None:
    """Allowed, they are warnings; their class stays, and other errors stay errors."""
    sql = "ALTER TABLE users DROP COLUMN mood; CREATE INDEX i ON users (name)"
    allowed = after_users(sql, policy=LintPolicy(contract=Contract.ALLOW))

    assert {f.code: f.severity.value for f in after_users(sql).findings} == {
        "SWM102": "error",
        "SWM206": "error",
    }
    assert {f.code: f.severity.value for f in allowed.findings} == {
        "SWM102": "warning",
        "SWM206": "error",
    }
    assert allowed.kind() is Kind.IRREVERSIBLE


def test_accepted_findings_are_gone_but_refused_ones_stay() -> None:
    sql = "CREATE INDEX i ON users (name); COPY users FROM PROGRAM 'x'"
    accepted = LintPolicy(accept=frozenset({"SWM206@002_step", "SWM503"}))
    elsewhere = LintPolicy(accept=frozenset({"SWM206@001_step"}))

    assert codes(after_users(sql, policy=accepted)) == ["SWM503"]
    assert codes(after_users(sql, policy=elsewhere)) == ["SWM206", "SWM503"]


def test_locks_of_a_small_table_are_advice() -> None:
    """The database tells the size; a thousand rows are read before anybody notices."""
    bundle = bundle_of("CREATE INDEX i ON users (name)")
    small, large = (Schema(tables={"users": TableShape(rows=rows)}) for rows in (1000, 10**7))

    assert [f.severity for f in lint(bundle, schema=small).findings] == [Severity.ADVICE]
    assert [f.severity for f in lint(bundle, schema=large).findings] == [Severity.ERROR]
    assert lint(bundle, schema=small).passed


def test_the_database_knows_types_that_the_bundle_does_not() -> None:
    bundle = bundle_of("ALTER TABLE users ALTER COLUMN name TYPE text")
    schema = Schema(
        tables={
            "users": TableShape(
                columns={"name": ColumnFacts(type="character varying(20)")},
                checked_not_null=frozenset({"name"}),
                indexes={"users_name": True},
            )
        }
    )

    assert "SWM106" in codes(lint(bundle))
    assert codes(lint(bundle, schema=schema)) == []
    not_null = bundle_of("ALTER TABLE users ALTER name SET NOT NULL; DROP INDEX users_name")
    assert codes(lint(not_null, schema=schema)) == ["SWM107", "SWM207", "SWM119"]


def test_generators_own_rows_are_not_changes_of_data() -> None:
    """EF Core's and Alembic's history rows neither class a migration nor lock a table."""
    for name in ("ef8_idempotent.sql", "alembic.sql"):
        bundle = read_bundle({name: (SAMPLES / name).read_bytes()})
        report = lint(bundle, applied=[bundle.migrations[0].id])

        assert report.kind(bundle.migrations[1].id) is Kind.EXPAND
        assert not any("istory" in lock.relation for s in report.statements for lock in s.locks)
        assert not any("version" in lock.relation for s in report.statements for lock in s.locks)


def test_ef_core_sample_is_judged_as_its_authors_would() -> None:
    """The rename, the narrower type and the required column are what a review would find."""
    bundle = read_bundle({"s.sql": (SAMPLES / "ef8_idempotent.sql").read_bytes()})
    report = lint(bundle, applied=[m.id for m in bundle.migrations[:-1]])

    assert sorted(codes(report)) == [
        "SWM104",
        "SWM106",
        "SWM107",
        "SWM201",
        "SWM202",
        "SWM402",
    ]
    assert report.of(bundle.migrations[-1].id)[0].line == report.findings[0].line
    assert lint(bundle, applied=[m.id for m in bundle.migrations]).statements == ()


def test_down_scripts_may_take_away_but_not_leave_the_app() -> None:
    bundle = bundle_of(USERS, downs={1: "DROP TABLE users; DROP ROLE me; COMMIT"})
    findings = lint(bundle).findings

    assert [f.code for f in findings] == ["SWM504", "SWM303"]
    assert all(f.says.startswith("In the down script: ") for f in findings)


def test_every_rule_has_a_stable_form() -> None:
    """Codes are by group, and contract rules are those that the old build cannot live with."""
    for code, rule in RULES.items():
        assert code == rule.code
        assert rule.advice.endswith((".", "`."))
        assert not rule.is_contract or rule.group is Group.OLD_BUILD
    assert list(RULES) == sorted(RULES)


def test_lock_modes_conflict_as_the_manual_says() -> None:
    """Table 13.2 is symmetric; readers wait for ACCESS EXCLUSIVE alone."""
    assert all(conflict(a, b) == conflict(b, a) for a in LockMode for b in LockMode)
    assert [m for m in LockMode if conflict(m, LockMode.ACCESS_SHARE)] == [
        LockMode.ACCESS_EXCLUSIVE
    ]
    assert [m for m in LockMode if m.stops_writes] == [
        m for m in LockMode if conflict(m, LockMode.ROW_EXCLUSIVE)
    ]
    assert LockMode.SHARE_ROW_EXCLUSIVE.pg_locks_name == "ShareRowExclusiveLock"
