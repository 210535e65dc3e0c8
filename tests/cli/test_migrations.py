# ruff: noqa: E501 - a row of a table is one line
"""Folders of migrations: linted without a database, and planned, applied and undone on a real one."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.cli.main import main
from controller.cli.migrating import told
from controller.core.errors import BusyError, SlipwayError, TransientError
from sandbox.postgres import PostgresServer
from tests.adapters.postgres import kit

ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]
USERS = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL);\nINSERT INTO users VALUES (1, 'Ada');\n"
EMAIL = "ALTER TABLE users ADD COLUMN email text;\n"
FILES = {
    "001_users.up.sql": USERS,
    "001_users.down.sql": "DROP TABLE users;\n",
    "002_email.up.sql": EMAIL,
    "002_email.down.sql": "ALTER TABLE users DROP COLUMN email;\n",
    "003_index.up.sql": "-- Outside of a transaction.\nCREATE INDEX CONCURRENTLY users_email ON users (email);\n",
    "003_index.down.sql": "DROP INDEX CONCURRENTLY IF EXISTS users_email;\n",
}
BREAKING = {"004_short.up.sql": "-- The old build reads it.\nALTER TABLE users DROP COLUMN name;\n"}


def folder(at: Path, *parts: dict[str, str]) -> Path:
    at.mkdir(exist_ok=True)
    for name, text in {name: text for part in parts for name, text in part.items()}.items():
        (at / name).write_text(text)
    return at


@pytest.fixture
def migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run ``slipway migrations`` in this process; returns status, output, messages."""
    monkeypatch.chdir(tmp_path)
    for name in ("SLIPWAY_DATABASE", "SLIPWAY_CA_FILE", "SLIPWAY_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["migrations", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def url(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    made = asyncio.run(kit.fresh(server))
    monkeypatch.setenv("SLIPWAY_DATABASE", made)
    return made


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    return asyncio.run(kit.run(url, query))


# --- The folder alone ----------------------------------------------------------------------------


def test_list_says_what_each_migration_does_and_whether_it_can_be_undone(
    migrations: Run, tmp_path: Path
) -> None:
    """Each is judged as a release of its own: what 001 made is in use when 004 runs."""
    folder(tmp_path / "db", FILES, BREAKING)

    status, out, _ = migrations("list", "db")
    said = json.loads(migrations("list", "db", "--json")[1])

    assert status == 0
    assert out.startswith("4 migrations (sql), bundle ")
    told = [
        (row["id"], row["kind"], row["down"], row["transactional"]) for row in said["migrations"]
    ]
    assert told == [
        ("001_users", "data", True, True),
        ("002_email", "expand", True, True),
        ("003_index", "expand", True, False),
        ("004_short", "irreversible", False, True),
    ]
    assert said["head"] == "004_short"
    assert len(said["sha256"]) == 64


def test_lint_names_file_and_line_and_what_to_do_instead(migrations: Run, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES, BREAKING)

    status, out, _ = migrations("lint", "db", "--after", "003_index")

    lines = out.splitlines()
    assert status == 1
    assert lines[0].startswith("db/004_short.up.sql:2: error SWM1")
    assert "kind irreversible; takes ACCESS EXCLUSIVE on users, which stops reads and writes" in out
    assert "error" in lines[-1]
    assert lines[-1].startswith("1 migration read: 1 error")


def test_lint_of_a_release_that_only_adds_passes(migrations: Run, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES)

    status, out, _ = migrations("lint", "db", "--applied", "001_users")

    assert status == 0
    assert out.splitlines()[-1].startswith("2 migrations read: ")


@pytest.mark.parametrize(
    "looked_at",
    [["--contract", "allow"], ["--accept", "SWM101"], ["--accept", "SWM206,SWM101@004_short"]],
)
def test_lint_lets_pass_what_was_looked_at(
    migrations: Run, tmp_path: Path, looked_at: list[str]
) -> None:
    folder(tmp_path / "db", FILES, BREAKING)
    code = json.loads(migrations("lint", "db", "--after", "003_index", "--json")[1])["findings"][0][
        "code"
    ]
    looked_at = [word.replace("SWM101", code) for word in looked_at]

    assert migrations("lint", "db", "--after", "003_index", *looked_at)[0] == 0


def test_lint_as_json_tells_statements_and_locks(migrations: Run, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES, BREAKING)

    status, out, _ = migrations("lint", "db", "--after", "003_index", "--format", "json")

    said = json.loads(out)
    assert (status, said["passed"], said["format"]) == (1, False, "sql")
    assert said["statements"] == [
        {
            "migration": "004_short",
            "file": "db/004_short.up.sql",
            "line": 2,
            "kind": "irreversible",
            "locks": [{"table": "users", "mode": "ACCESS EXCLUSIVE"}],
            "rewrites": [],
            "scans": [],
            "old_build_lives": False,
            "why_not": said["statements"][0]["why_not"],
        }
    ]
    assert {"code", "severity", "file", "line", "says", "advice", "migration"} == set(
        said["findings"][0]
    )


def test_lint_for_github_annotates_the_line(migrations: Run, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES, BREAKING)

    status, out, _ = migrations("lint", "db", "--after", "003_index", "--format", "github")

    assert status == 1
    assert out.startswith("::error file=db/004_short.up.sql,line=2,title=SWM1")
    assert len(out.splitlines()) == 1


def test_lint_for_github_annotates_what_cannot_be_read(migrations: Run, tmp_path: Path) -> None:
    folder(tmp_path / "db", {"001_a.up.sql": "SELECT 1;\nCREATE TABEL users ();\n"})

    status, out, err = migrations("lint", "db", "--format", "github")

    assert status == 3
    assert out.startswith("::error file=db/001_a.up.sql,line=2,title=SW301::")
    assert "syntax error" in err


def test_a_finding_in_a_down_script_names_that_file(migrations: Run, tmp_path: Path) -> None:
    down = {"001_users.down.sql": "DROP TABLE users;\nDROP DATABASE shop;\n"}
    folder(tmp_path / "db", FILES, down)

    _, out, _ = migrations("lint", "db")

    assert "db/001_users.down.sql:2: error" in out


def test_a_script_by_ef_core_is_read_as_a_file_or_in_its_folder(
    migrations: Run, tmp_path: Path
) -> None:
    script = next((ROOT / "tests/migrations/samples").rglob("*ef*idempotent*.sql"), None)
    assert script is not None
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "migrate.sql").write_bytes(script.read_bytes())

    alone = migrations("list", script, "--json")
    inside = migrations("list", "db", "--json")

    assert (alone[0], inside[0]) == (0, 0)
    assert json.loads(alone[1]) == json.loads(inside[1])
    assert json.loads(alone[1])["format"] == "ef-core"


WRONG_FOLDERS = [
    # id                   files                                            status  said
    ("no-folder",          None,                                            2, "There is no folder db."),
    ("empty",              {"README.md": "# Hello"},                        3, "db holds no migrations."),
    ("not-numbered",       {"a.sql": "SELECT 1", "b.sql": "SELECT 2"},      3, "a.sql is not named like a migration. Name it NNN_name.up.sql"),
    ("twice-a-number",     {"001_a.up.sql": "SELECT 1", "001_b.up.sql": "SELECT 1"}, 3, "have the same number"),
    ("not-sql",            {"001_a.up.sql": "SELECT FROM WHERE"},           3, "001_a.up.sql, line 1, column"),
    ("psql",               {"001_a.up.sql": "\\i other.sql"},               3, "is a command of psql"),
    ("changed-afterwards", {"001_a.up.sql": "SELECT 1", "manifest.json": json.dumps({"format": "sql", "migrations": [{"id": "001_a", "up": "001_a.up.sql", "up_sha256": "0" * 64}]})}, 3, "is not the file that the manifest was written for"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "status", "said"), [pytest.param(*case, id=name) for name, *case in WRONG_FOLDERS]
)
@pytest.mark.parametrize("verb", ["list", "lint", "plan"])
def test_a_folder_that_is_wrong_is_told_in_a_sentence(
    migrations: Run, tmp_path: Path, files: dict[str, str] | None, status: int, said: str, verb: str
) -> None:
    if files is not None:
        folder(tmp_path / "db", files)

    got, out, err = migrations(verb, "db")

    assert (got, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["lint", "db", "--accept", "SW1"], "is not SWM and three digits"),
        (
            ["lint", "db", "--applied", "009_x"],
            "The folder has no migration '009_x'. It has 001_users",
        ),
        (["rollback", "db"], "one of the arguments --to --steps is required"),
        (["rollback", "db", "--steps", "0"], "'0' is not a number of migrations"),
        (
            ["aply", "db"],
            "there is no verb 'aply'. Did you mean 'apply'? See: slipway migrations --help",
        ),
        ([], "say what: one of list, lint, push, plan, apply, rollback, status"),
    ],
)
def test_a_wrong_command_line_is_told(
    migrations: Run, tmp_path: Path, arguments: list[str], said: str
) -> None:
    folder(tmp_path / "db", FILES)

    status, out, err = migrations(*arguments)

    assert (status, out) == (2, "")
    assert said in err


# --- The database --------------------------------------------------------------------------------


def test_plan_tells_what_would_run_and_what_a_rollback_of_code_means(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)

    status, out, _ = migrations("plan", "db")

    assert status == 0
    assert "001_users  data    2           yes" in out
    assert "003_index runs outside of a transaction" in out
    assert "When code goes back past them" in out
    assert rows(url, "SELECT to_regnamespace('slipway') IS NULL") == [(True,)]  # nothing is written


def test_plan_knows_how_large_the_tables_are(migrations: Run, url: str, tmp_path: Path) -> None:
    """The folder alone cannot: an index that stops writes to a small table is no matter."""
    folder(tmp_path / "db", FILES)
    migrations("apply", "db", "--yes")
    asyncio.run(kit.run(url, "ANALYZE"))
    folder(tmp_path / "db", {"004_names.up.sql": "CREATE INDEX users_name ON users (name);\n"})

    alone = migrations("lint", "db", "--after", "003_index")
    with_database = migrations("plan", "db")

    assert (alone[0], "error SWM2" in alone[1]) == (1, True)
    assert (with_database[0], "advice SWM2" in with_database[1]) == (0, True)


def test_apply_without_yes_shows_the_plan_and_does_nothing(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)

    status, out, err = migrations("apply", "db")

    assert status == 4
    assert "Pending" in out
    assert "give the same command with --yes" in err
    assert rows(url, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_apply_times_each_statement_and_says_who_it_was(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)

    status, out, _ = migrations("apply", "db", "--yes", "--by", "ann")

    assert status == 0
    assert " ms, 1 rows  INSERT INTO users VALUES (1, 'Ada')" in out
    assert out.splitlines()[-1] == "3 of 3 applied."
    applied = rows(url, "SELECT id, applied_by FROM slipway.slipway_migrations ORDER BY position")
    assert applied == [("001_users", "ann"), ("002_email", "ann"), ("003_index", "ann")]
    again = migrations("apply", "db", "--yes")
    assert (again[0], again[1].splitlines()[-1]) == (0, "0 of 0 applied.")
    assert "Nothing is pending: the database has all of them." in migrations("apply", "db")[1]


def test_a_dry_run_leaves_nothing(migrations: Run, url: str, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES)

    status, out, _ = migrations("apply", "db", "--dry-run")
    said = json.loads(migrations("apply", "db", "--dry-run", "--json")[1])

    assert status == 0
    assert "Not tried: 003_index: CREATE INDEX CONCURRENTLY users_email" in out
    assert out.splitlines()[-1] == "The dry run passed, and was rolled back. Nothing was changed."
    assert (said["passed"], len(said["ran"]), len(said["not_tried"])) == (True, 3, 1)
    assert rows(url, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_a_dry_run_that_fails_says_where(migrations: Run, url: str, tmp_path: Path) -> None:
    wrong = {"004_zero.up.sql": "UPDATE users SET id = 1 / 0 WHERE id = 1;\n"}
    folder(tmp_path / "db", FILES, wrong)

    status, out, _ = migrations("apply", "db", "--dry-run")

    assert status == 1
    assert "The dry run failed: " in out
    assert "004_zero, line 1: division by zero." in out


def test_what_the_lint_refuses_is_not_applied(migrations: Run, url: str, tmp_path: Path) -> None:
    folder(tmp_path / "db", FILES)
    migrations("apply", "db", "--yes")
    folder(tmp_path / "db", BREAKING)

    refused, out, _ = migrations("apply", "db", "--yes")
    allowed, plan, _ = migrations("plan", "db", "--contract", "allow", "--json")

    assert refused == 4
    assert "Refused: nothing may run" in out
    assert allowed == 0
    told = json.loads(plan)
    assert [step["id"] for step in told["steps"]] == ["004_short"]
    assert (told["kind"], told["way_back"]["way"]) == ("irreversible", "refused")
    assert rows(url, "SELECT name FROM users") == [("Ada",)]


def test_a_statement_that_fails_keeps_what_ran_before_and_goes_on_later(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    broken = {
        "002_email.up.sql": "ALTER TABLE users ADD COLUMN email text;\nINSERT INTO users VALUES (1, 'Eve', 'e');\n"
    }
    folder(tmp_path / "db", FILES, broken)

    status, out, err = migrations("apply", "db", "--yes", "--json")

    assert status == 1
    assert [ran["migration"] for ran in json.loads(out)["applied"]] == ["001_users"]
    assert "002_email, line 2: duplicate key" in err
    assert "Eve" not in err
    folder(tmp_path / "db", {"002_email.up.sql": EMAIL})
    assert migrations("apply", "db", "--yes")[1].splitlines()[-1] == "2 of 2 applied."


def test_status_tells_what_is_there_half_done_and_changed(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    halting = {
        "003_index.up.sql": "CREATE INDEX CONCURRENTLY a ON users (name);\nCREATE INDEX CONCURRENTLY b ON users ((1 / (id - 1)));\n"
    }
    folder(tmp_path / "db", FILES, halting)
    assert migrations("apply", "db", "--yes", "--accept", "SWM302")[0] == 1
    folder(
        tmp_path / "db",
        {
            "001_users.up.sql": USERS + "-- changed\n",
            "004_more.up.sql": "CREATE TABLE more (id int)",
        },
    )

    status, out, _ = migrations("status", "db")
    said = json.loads(migrations("status", "db", "--json")[1])["migrations"]

    assert status == 0
    assert ": 2 applied, 1 pending." in out
    assert "003_index stopped half way" in out
    told = [(row["id"], row["state"], row["detail"]) for row in said]
    assert told == [
        ("001_users", "changed", "the file is not what ran"),
        ("002_email", "applied", ""),
        ("003_index", "half done", "1 of 2 statements ran"),
        ("004_more", "pending", ""),
    ]


def test_rollback_shows_first_and_then_undoes_newest_first(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)
    migrations("apply", "db", "--yes")

    status, out, err = migrations("rollback", "db", "--to", "001_users")
    assert status == 4
    assert "Head after  001_users" in out
    assert "give the same command with --yes" in err

    status, out, _ = migrations("rollback", "db", "--to", "001_users", "--yes", "--json")
    assert status == 0
    assert [ran["migration"] for ran in json.loads(out)["undone"]] == ["003_index", "002_email"]
    assert rows(url, "SELECT * FROM users") == [(1, "Ada")]
    assert "Nothing to undo" in migrations("rollback", "db", "--to", "001_users", "--yes")[1]
    assert migrations("rollback", "db", "--steps", "1", "--yes")[0] == 0
    assert rows(url, "SELECT to_regclass('users') IS NULL") == [(True,)]


def test_a_rollback_that_leads_nowhere_is_refused(
    migrations: Run, url: str, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)
    folder(tmp_path / "older", {name: text for name, text in FILES.items() if "003" not in name})
    migrations("apply", "db", "--yes")

    unknown = migrations("rollback", "db", "--to", "009_x", "--yes")
    too_many = migrations("rollback", "db", "--steps", "4", "--yes")
    older = migrations("rollback", "older", "--steps", "1", "--yes")
    (tmp_path / "db" / "002_email.down.sql").unlink()
    without = migrations("rollback", "db", "--steps", "2", "--yes")

    assert (unknown[0], "'009_x' is not applied" in unknown[2]) == (2, True)
    assert (too_many[0], "Only 3 of the folder's migrations" in too_many[2]) == (2, True)
    assert (older[0], "has 003_index, which older does not know" in older[2]) == (4, True)
    assert (without[0], "002_email has no down script" in without[2]) == (4, True)
    assert len(rows(url, "SELECT id FROM slipway.slipway_migrations")) == 3


# --- Connections and secrets ---------------------------------------------------------------------

SECRET = "Tr0ub4dor&3"


def test_a_wrong_password_is_told_and_never_shown(
    migrations: Run,
    server: PostgresServer,
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder(tmp_path / "db", FILES)
    words = f"host={server.host} port={server.port} dbname=postgres user={server.user} password={SECRET} sslmode=disable"
    monkeypatch.setenv("SHOP_DB", words)
    monkeypatch.setenv("SLIPWAY_DEBUG", "1")

    status, out, err = migrations("plan", "db", "--connection-env", "SHOP_DB")

    assert status == 4
    assert "password authentication failed" in err
    assert "Correct the password of 'postgres' in the connection string that SHOP_DB holds." in err
    assert SECRET not in out + err


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (
            "",
            2,
            "The environment variable SLIPWAY_DATABASE is not set. Set it to the connection string",
        ),
        (f"postgresql://ann:{SECRET}@", 2, "SW400"),
        (
            f"Host=db;Password={SECRET}",
            2,
            "The connection string names no user. (SLIPWAY_DATABASE)",
        ),
        (SECRET, 2, "This is no connection string."),
        (f"postgresql://ann:{SECRET}@127.0.0.1:1/shop", 5, "No connection to ann@127.0.0.1:1/shop"),
    ],
)
def test_a_connection_that_does_not_lead_there_is_told_and_its_password_never_shown(
    migrations: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    status: int,
    said: str,
) -> None:
    folder(tmp_path / "db", FILES)
    monkeypatch.setenv("SLIPWAY_DATABASE", text)
    monkeypatch.setenv("SLIPWAY_DEBUG", "1")

    got, out, err = migrations("status", "db")

    assert (got, out) == (status, "")
    assert said in err
    assert SECRET not in err
    assert "tries again" not in err  # nobody does, here


def test_a_connection_string_on_the_command_line_is_refused_and_not_shown(
    migrations: Run, tmp_path: Path
) -> None:
    folder(tmp_path / "db", FILES)

    status, out, err = migrations(
        "plan", "db", "--connection-env", f"postgresql://ann:{SECRET}@db/shop"
    )

    assert (status, out) == (2, "")
    assert "that is not the name of an environment variable" in err
    assert SECRET not in err


def test_advice_is_for_who_stands_at_the_terminal() -> None:
    """The controller tries again by itself; the command does not."""
    errors: list[SlipwayError] = [
        TransientError("It is away."),
        BusyError("Full.", fix="Nothing to do: Slipway tries again when connections are free."),
    ]
    said: list[str] = []
    for error in errors:
        with pytest.raises(Exception) as caught, told("SHOP_DB"):  # noqa: PT011 - its words are asserted
            raise error
        said.append(caught.value.fix)  # type: ignore[attr-defined]

    assert said == ["Run it again.", "Run it again when connections are free."]


def test_help_and_lint_of_nothing_load_no_driver() -> None:
    """Whoever asks for help does not wait for the parser, PostgreSQL's driver or Azure's SDK."""
    program = (
        "import sys\nfrom controller.cli.main import main\nmain(['--help'])\n"
        "slow = {'pglast', 'psycopg', 'azure', 'aiohttp', 'asyncpg'} & set(sys.modules)\n"
        "sys.exit(f'loaded {slow}' if slow else 0)\n"
    )
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stderr) == (0, "")
