"""Migrations on a real PostgreSQL: applied whole, once, one at a time, and undone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from controller.adapters.postgres.turns import lock_key
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    PermanentError,
    TakesTooLongError,
    TransientError,
)
from controller.migrations.bundle import BundleFormat
from controller.migrations.catalog import ColumnFacts, TableShape
from sandbox.postgres import PostgresServer
from tests.adapters.postgres.kit import (
    ORDER,
    QUICK,
    database_at,
    fresh,
    ids,
    migration,
    order,
    run,
    schema,
    told,
)

MIGRATING = "FROM pg_stat_activity WHERE application_name = 'slipway migrates for a test'"

pytestmark = pytest.mark.asyncio(loop_scope="module")

USERS = migration(
    "001_users",
    "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'Ada')",
    "DROP TABLE users",
)
EMAIL = migration(
    "002_email",
    "ALTER TABLE users ADD COLUMN email text; UPDATE users SET email = name || '@example.org'",
    "ALTER TABLE users DROP COLUMN email",
)
INDEX = migration(
    "003_index",
    "CREATE INDEX CONCURRENTLY users_email ON users (email)",
    "DROP INDEX CONCURRENTLY users_email",
)
ALL = (USERS, EMAIL, INDEX)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        yield running


# --- Up ------------------------------------------------------------------------------------------


async def test_migrations_are_applied_once_and_in_order(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    assert await database.history() == ()
    ran = await database.apply(ALL, ORDER)
    assert [one.migration for one in ran] == ["001_users", "002_email", "003_index"]
    assert [timed.rows for timed in ran[0].statements] == [None, 1]
    assert ran[1].statements[1].text.startswith("UPDATE users")
    assert await run(url, "SELECT email FROM users") == [("Ada@example.org",)]
    assert await database.apply(ALL, ORDER) == ()


async def test_the_history_says_what_when_and_by_whom(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    await database.apply(ALL, ORDER)
    rows = await database.history()
    assert ids(rows) == ["001_users", "002_email", "003_index"]
    assert [row.sha256 for row in rows] == [one.sha256 for one in ALL]
    assert all(row.is_whole and row.applied_at is not None for row in rows)
    written = await run(
        url, "SELECT DISTINCT applied_by, bundle_sha256 FROM slipway.slipway_migrations"
    )
    assert written == [("a test", "b" * 64)]
    assert (await database.facts()).migration_head == "003_index"


async def test_a_transactional_migration_that_fails_leaves_nothing(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    await database.apply([USERS], ORDER)
    before = await schema(url), await told(url)
    bad = migration(
        "002_bad", "ALTER TABLE users ADD COLUMN x int;\n\nINSERT INTO users\nVALUES (2, no_such)"
    )
    with pytest.raises(PermanentError, match=r'002_bad, line 4: column "no_such" does not exist'):
        await database.apply([bad], ORDER)
    assert (await schema(url), await told(url)) == before


async def test_what_is_checked_at_commit_alone_fails_the_whole_migration(
    server: PostgresServer,
) -> None:
    url = await fresh(
        server,
        "CREATE TABLE a (id int PRIMARY KEY);"
        "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)",
    )
    database = database_at(url)
    bad = migration("001_bad", "INSERT INTO b VALUES (7)")
    with pytest.raises(PermanentError, match=r"001_bad, at its end: .*foreign key"):
        await database.apply([bad], ORDER)
    assert await database.history() == ()
    assert await run(url, "TABLE b") == []
    rehearsed = await database.rehearse([bad], by="a test")
    assert rehearsed.failure is not None
    assert "at its end" in rehearsed.failure


async def test_what_failed_before_it_changed_anything_is_not_in_the_history(
    server: PostgresServer,
) -> None:
    url = await fresh(server, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (1)")
    database = database_at(url)
    unique = migration("001_unique", "CREATE UNIQUE INDEX CONCURRENTLY one ON t (n)")
    with pytest.raises(PermanentError, match="could not create unique index"):
        await database.apply([unique], ORDER)
    assert await database.history() == ()
    assert await run(url, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == [(0,)]


async def test_what_failed_later_goes_on_there_when_the_cause_is_gone(
    server: PostgresServer,
) -> None:
    url = await fresh(server, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (1)")
    database = database_at(url)
    unique = migration(
        "001_unique",
        "INSERT INTO t VALUES (5); CREATE UNIQUE INDEX CONCURRENTLY one ON t (n)",
    )
    with pytest.raises(PermanentError, match="could not create unique index"):
        await database.apply([unique], ORDER)
    (half,) = await database.history()
    assert (half.is_whole, half.statements_done) == (False, 1)
    changed = replace(unique, sha256="0" * 64)
    with pytest.raises(PermanentError, match="stopped after 1 statements"):
        await database.apply([changed], ORDER)
    await run(url, "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)")
    await database.apply([unique], ORDER)
    (whole,) = await database.history()
    assert (whole.is_whole, whole.statements_done) == (True, 2)
    assert await run(url, "SELECT count(*) FROM t WHERE n = 5") == [(1,)]


async def test_an_invalid_index_that_somebody_left_is_built_anew(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        await run(url, "CREATE UNIQUE INDEX CONCURRENTLY one ON t (n)")
    await run(url, "DELETE FROM t")
    database = database_at(url)
    await database.apply(
        [migration("001", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS one ON t (n)")], ORDER
    )
    assert await run(url, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [
        (True,)
    ]


@pytest.mark.parametrize(
    ("script", "is_half_way"),
    [
        (
            "CREATE UNIQUE INDEX CONCURRENTLY part_m ON part (m)",
            "SELECT 1 FROM pg_index WHERE NOT indisvalid",
        ),
        ("REINDEX INDEX CONCURRENTLY part_n", "SELECT 1 FROM pg_class WHERE relname ~ '_ccnew'"),
        ("DROP INDEX CONCURRENTLY part_n", "SELECT 1 FROM pg_index WHERE NOT indisvalid"),
        (
            "ALTER TABLE parts DETACH PARTITION part CONCURRENTLY",
            "SELECT 1 FROM pg_inherits WHERE inhdetachpending",
        ),
    ],
)
async def test_what_stops_half_way_outside_of_a_transaction_is_brought_to_its_end(
    server: PostgresServer, script: str, is_half_way: str
) -> None:
    made = (
        "CREATE TABLE parts (n int, m int) PARTITION BY RANGE (n);"
        "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (9);"
        "CREATE INDEX part_n ON part (n); INSERT INTO part VALUES (1, 1)"
    )
    straight, url = await fresh(server, made), await fresh(server, made)
    alone = migration("001", script)
    await database_at(straight).apply([alone], ORDER)
    database = database_at(url)
    async with await AsyncConnection.connect(url) as reader:
        await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await reader.execute("SELECT * FROM parts")  # its snapshot and its lock are waited for
        applying = asyncio.create_task(database.apply([alone], ORDER))
        async with asyncio.timeout(20):
            while not await run(url, is_half_way):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
        await run(url, f"SELECT pg_terminate_backend(pid) {MIGRATING}")
        with pytest.raises(TransientError):
            await applying
        assert await run(url, is_half_way) != []
    await database.apply([alone], ORDER)
    assert await run(url, is_half_way) == []
    assert await schema(url) == await schema(straight)
    assert await told(url) == await told(straight)


async def test_settings_of_a_script_hold_for_itself_alone(server: PostgresServer) -> None:
    url = await fresh(
        server, "CREATE SCHEMA app; CREATE ROLE app_owner_x; GRANT ALL ON SCHEMA app TO app_owner_x"
    )
    database = database_at(url)
    await database.apply(
        [
            migration(
                "001",
                "SET search_path = app; SET ROLE app_owner_x; CREATE TABLE here ();",
            ),
            migration("002", "CREATE TABLE there ()"),
        ],
        ORDER,
    )
    owners = "SELECT schemaname, tableowner FROM pg_tables WHERE tablename ~ 'here' ORDER BY 1"
    assert await run(url, owners) == [("app", "app_owner_x"), ("public", "postgres")]
    await run(url, "DROP SCHEMA app CASCADE; DROP ROLE app_owner_x")


async def test_a_procedure_that_commits_by_itself_runs_outside_of_a_transaction(
    server: PostgresServer,
) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    database = database_at(url)
    body = "DO $$ BEGIN FOR i IN 1..3 LOOP INSERT INTO t VALUES (i); COMMIT; END LOOP; END $$"
    with pytest.raises(PermanentError, match="transactional: false"):
        await database.apply([migration("001", body)], ORDER)
    assert await run(url, "TABLE t") == []
    await database.apply([migration("001", body, transactional=False)], ORDER)
    assert await run(url, "SELECT count(*) FROM t") == [(3,)]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("CREATE TABLE x (); COMMIT; CREATE TABLE y ()", "transactions itself"),
        ("DISCARD ALL", "locks"),
        ("CREATE INDEX CONCURRENTLY ON t (n)", "has no name"),
    ],
)
async def test_what_could_end_half_applied_is_refused_before_anything_runs(
    server: PostgresServer, script: str, says: str
) -> None:
    url = await fresh(server)
    database = database_at(url)
    with pytest.raises(PermanentError, match=says):
        await database.apply([USERS, migration("002", script)], ORDER)
    assert await database.history() == ()


async def test_a_script_that_gives_up_the_lock_is_stopped(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    with pytest.raises(PermanentError, match="not ours any more"):
        await database.apply([migration("001", "SELECT pg_advisory_unlock_all()"), USERS], ORDER)
    assert ids(await database.history()) == ["001"]


# --- Down ----------------------------------------------------------------------------------------


async def test_down_scripts_lead_back_to_where_it_began(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    before = await schema(url)
    await database.apply(ALL, ORDER)
    undone = await database.undo(ALL[::-1], ORDER)
    assert [one.migration for one in undone] == ["003_index", "002_email", "001_users"]
    assert await schema(url) == before
    assert await database.history() == ()
    assert await database.undo(ALL[::-1], ORDER) == ()
    await database.apply(ALL, ORDER)
    assert ids(await database.history()) == ["001_users", "002_email", "003_index"]


async def test_without_a_down_script_nothing_is_undone(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    lonely = migration("002_lonely", "CREATE TABLE lonely ()")
    await database.apply([USERS, lonely], ORDER)
    with pytest.raises(PermanentError, match="002_lonely has no down script"):
        await database.undo([lonely, USERS], ORDER)
    assert ids(await database.history()) == ["001_users", "002_lonely"]


async def test_what_is_half_undone_is_not_applied_on_top_of_it(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int); CREATE TABLE other ()")
    database = database_at(url)
    index = migration(
        "001",
        "CREATE INDEX CONCURRENTLY t_n ON t (n)",
        "DROP INDEX CONCURRENTLY t_n; DROP TABLE not_there",
    )
    await database.apply([index], ORDER)
    with pytest.raises(PermanentError, match='table "not_there" does not exist'):
        await database.undo([index], ORDER)
    (half,) = await database.history()
    assert (half.is_whole, half.statements_undone) == (False, 1)
    with pytest.raises(PermanentError, match="half undone"):
        await database.apply([index], ORDER)
    await run(url, "CREATE TABLE not_there ()")
    await database.undo([index], ORDER)
    assert await database.history() == ()


# --- Locks ---------------------------------------------------------------------------------------


async def test_of_two_appliers_one_applies_and_the_other_finds_it_done(
    server: PostgresServer,
) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    slow = migration("001", "INSERT INTO t VALUES (1); SELECT pg_sleep(0.5)")
    results = await asyncio.gather(
        *(database_at(url).apply([slow], order(BundleFormat.SQL, by)) for by in ("one", "two"))
    )
    assert sorted(len(ran) for ran in results) == [0, 1]
    assert await run(url, "TABLE t") == [(1,)]


async def test_an_index_is_built_concurrently_while_another_applier_waits(
    server: PostgresServer,
) -> None:
    """A session that waited in a statement would hold the index up, and the index it: for ever."""
    url = await fresh(server, "CREATE TABLE t (n int)")
    slow = migration("001", "SELECT pg_sleep(0.4); CREATE INDEX CONCURRENTLY i ON t (n)")
    results = await asyncio.gather(*(database_at(url).apply([slow], ORDER) for _ in range(2)))
    assert sorted(len(ran) for ran in results) == [0, 1]


async def test_who_waits_too_long_says_who_holds_the_turn(server: PostgresServer) -> None:
    url = await fresh(server)
    name = url.rpartition("/")[2].partition("?")[0]
    async with await AsyncConnection.connect(url, application_name="Bob's laptop") as other:
        await other.execute("SELECT pg_advisory_lock(%s)", [lock_key(name)])
        database = database_at(url, replace(QUICK, turn=0.3))
        with pytest.raises(BusyError, match=f"pid {other.info.backend_pid}, .*Bob's laptop"):
            await database.apply([USERS], ORDER)
    await database.apply([USERS], ORDER)


async def test_a_lock_that_is_not_to_be_had_is_given_up_and_its_holder_told(
    server: PostgresServer,
) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    alter = migration("001", "ALTER TABLE t ADD COLUMN m int")
    database = database_at(url)
    async with await AsyncConnection.connect(url, application_name="a report") as other:
        await other.execute("SELECT * FROM t")
        with pytest.raises(TransientError, match=r"lock timeout.*'a report', idle in tran"):
            await database.apply([alter], ORDER)
        assert await database.history() == ()
        with pytest.raises(TransientError, match="a report"):
            await database.rehearse([alter], by="a test")
        with pytest.raises(TransientError):
            await database.apply([alter], ORDER)
    (ran,) = await database.apply([alter], ORDER)
    assert ran.tries == 1


async def test_a_lock_that_is_given_back_in_time_costs_a_try(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    alter = migration("001", "INSERT INTO t VALUES (1); ALTER TABLE t ADD COLUMN m int")
    database = database_at(url, replace(QUICK, tries=50))
    async with await AsyncConnection.connect(url) as other:
        await other.execute("SELECT * FROM t")
        applying = asyncio.create_task(database.apply([alter], ORDER))
        await asyncio.sleep(0.8)  # more than one time-out of 0.3 s
        await other.rollback()
    (ran,) = await applying
    assert ran.tries > 1
    assert await run(url, "TABLE t") == [(1, None)]


# --- Dry run -------------------------------------------------------------------------------------


async def test_a_dry_run_leaves_no_trace(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    database = database_at(url)
    before = await database.facts(), await schema(url)
    rehearsed = await database.rehearse(
        [USERS, EMAIL, INDEX, migration("004", "DROP TABLE t")], by="a test"
    )
    after = await database.facts(), await schema(url)
    assert replace(after[0], taken_at=before[0].taken_at, size_bytes=0) == replace(
        before[0], size_bytes=0
    )
    assert after[1] == before[1]
    assert rehearsed.passed
    assert [len(ran.statements) for ran in rehearsed.ran] == [2, 2, 0, 1]
    (skipped,) = rehearsed.not_tried
    assert (skipped.migration, skipped.text) == ("003_index", INDEX.up[0].text)
    assert await run(url, "SELECT to_regnamespace('slipway')") == [(None,)]


async def test_a_dry_run_tells_what_fails_and_where(server: PostgresServer) -> None:
    url = await fresh(server)
    bad = migration("002", "ALTER TABLE users\n  ADD COLUMN name text;\nCREATE TABLE never ()")
    rehearsed = await database_at(url).rehearse([USERS, bad, EMAIL], by="a test")
    assert not rehearsed.passed
    assert rehearsed.failure is not None
    assert '002, line 1: column "name" of relation "users" already exists' in rehearsed.failure
    assert [ran.migration for ran in rehearsed.ran] == ["001_users", "002"]


async def test_a_dry_run_times_statements_and_sees_lock_waits(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    database = database_at(url, replace(QUICK, lock=10.0))
    script = migration("001", "SELECT pg_sleep(0.2); ALTER TABLE t ADD COLUMN m int")
    async with await AsyncConnection.connect(url, application_name="a report") as other:
        await other.execute("SELECT * FROM t")
        rehearsing = asyncio.create_task(database.rehearse([script], by="a test"))
        await asyncio.sleep(1.0)
        await other.rollback()
        rehearsed = await rehearsing
    assert rehearsed.ran[0].statements[0].seconds >= 0.2
    (wait,) = rehearsed.waits
    assert wait.lock == "AccessExclusiveLock on t"
    assert wait.text == "ALTER TABLE t ADD COLUMN m int"
    assert "a report" in wait.blocked_by[0]


async def test_a_dry_run_that_takes_too_long_is_rolled_back(server: PostgresServer) -> None:
    url = await fresh(server, "CREATE TABLE t (n int)")
    database = database_at(url, replace(QUICK, rehearsal=0.3))
    slow = migration("001", "ALTER TABLE t ADD COLUMN m int; SELECT pg_sleep(30)")
    with pytest.raises(TakesTooLongError, match="took longer"):
        await database.rehearse([slow], by="a test")
    await run(url, "SET lock_timeout = '5s'; ALTER TABLE t ADD COLUMN m int")


async def test_a_dry_run_does_not_confuse_enum_values_and_deferred_checks(
    server: PostgresServer,
) -> None:
    """What works migration by migration does not fail only because one transaction holds all."""
    url = await fresh(
        server,
        "CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE a (id int PRIMARY KEY);"
        "CREATE TABLE b (a int REFERENCES a DEFERRABLE INITIALLY DEFERRED)",
    )
    rehearsed = await database_at(url).rehearse(
        [
            migration("001", "ALTER TYPE mood ADD VALUE 'fine'"),
            migration("002", "SELECT 'fine'::mood"),
            migration("003", "INSERT INTO b VALUES (1); INSERT INTO a VALUES (1)"),
            migration("004", "ALTER TABLE b ADD COLUMN n int"),
            migration("005", "INSERT INTO b VALUES (2); INSERT INTO a VALUES (2)"),
        ],
        by="a test",
    )
    assert rehearsed.failure is None
    assert [skipped.migration for skipped in rehearsed.not_tried] == ["002"]


# --- Rights and limits ---------------------------------------------------------------------------


async def test_a_user_without_rights_is_told_which(server: PostgresServer) -> None:
    url = await fresh(server)
    await server.create_user("weak_user", "w")
    name = url.rpartition("/")[2].partition("?")[0]
    database = database_at(server.url(name, user="weak_user", password="w"))
    with pytest.raises(AccessDeniedError, match="permission denied for database"):
        await database.apply([USERS], ORDER)


async def test_a_statement_that_takes_too_long_is_ended(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url, replace(QUICK, statement=0.2))
    with pytest.raises(PermanentError, match="statement timeout"):
        await database.apply([migration("001", "SELECT pg_sleep(30)")], ORDER)


async def test_a_server_that_goes_away_can_be_asked_again(server: PostgresServer) -> None:
    url = await fresh(server)
    database = database_at(url)
    slow = migration("001", "CREATE TABLE t (); SELECT pg_sleep(30)")
    applying = asyncio.create_task(database.apply([slow], ORDER))
    query = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'"
    async with asyncio.timeout(20):
        while not (rows := await run(url, query)):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
    await run(url, f"SELECT pg_terminate_backend({rows[0][0]})")
    with pytest.raises(TransientError):
        await applying
    assert await database.history() == ()
    with pytest.raises(psycopg.errors.UndefinedTable):
        await run(url, "TABLE t")


# --- The schema, for the lint -------------------------------------------------------------------


async def test_the_schema_is_told_whoever_holds_a_table(server: PostgresServer) -> None:
    """Somebody has one for himself alone: all is told but what its checks prove."""
    script = (
        "CREATE TABLE users (id bigint PRIMARY KEY, email varchar(40), name text NOT NULL,"
        " CONSTRAINT has_email CHECK (email IS NOT NULL));"
        " CREATE UNIQUE INDEX users_name ON users (name);"
        " INSERT INTO users SELECT n, 'a', n FROM generate_series(1, 500) AS n;"
        " CREATE SCHEMA shop; CREATE TABLE shop.fresh (n int); ANALYZE users"
    )
    url = await fresh(server, script)
    async with await AsyncConnection.connect(url) as other:
        await other.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        held = await database_at(url).schema()
    found = await database_at(url).schema()

    users = TableShape(
        columns={
            "id": ColumnFacts(type="bigint", not_null=True),
            "email": ColumnFacts(type="character varying(40)"),
            "name": ColumnFacts(type="text", not_null=True),
        },
        rows=500,
        checked_not_null=frozenset({"email"}),
        indexes={"users_pkey": True, "users_name": True},
    )
    assert found.tables["users"] == users
    assert held.tables["users"] == replace(users, checked_not_null=frozenset())
    assert found.tables["shop.fresh"].rows is None, "never analyzed: nobody knows"
