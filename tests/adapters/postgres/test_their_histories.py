"""Slipway beside `dotnet ef` and `alembic`: each believes what the other did."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from controller.core.errors import PermanentError
from controller.migrations.bundle import Bundle, BundleFormat
from controller.migrations.reading import read_bundle
from sandbox.postgres import PostgresServer
from tests.adapters.postgres.kit import ORDER, database_at, fresh, ids, migration, order, run
from tests.migrations.bundles import SAMPLES

EF = order(BundleFormat.EF_CORE)
ALEMBIC = order(BundleFormat.ALEMBIC)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        yield running


def sample(name: str) -> Bundle:
    files = {f"{name}.sql": (SAMPLES / f"{name}.sql").read_bytes()}
    down = SAMPLES / f"{name}.down.sql"
    if down.exists():
        files[down.name] = down.read_bytes()
    return read_bundle(files)


async def ef_rows(url: str) -> list[str]:
    return [str(row[0]) for row in await run(url, 'TABLE "__EFMigrationsHistory" ORDER BY 1')]


# --- EF Core -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ef8_idempotent", "ef8_plain"])
async def test_ef_core_sees_what_slipway_applied(server: PostgresServer, name: str) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample(name)
    await database.apply(bundle.migrations, EF)
    expected = [one.id for one in bundle.migrations]
    assert await ef_rows(url) == sorted(expected)
    rows = await database.history()
    assert ids(rows) == expected
    assert [row.sha256 for row in rows] == [one.sha256 for one in bundle.migrations]
    assert (await database.facts()).migration_head == expected[-1]


async def test_ef_core_sees_what_slipway_undid(server: PostgresServer) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample("ef8_idempotent")
    await database.apply(bundle.migrations, EF)
    newest = bundle.migrations[-1]
    assert newest.down is not None
    await database.undo([newest], EF)
    left = [one.id for one in bundle.migrations[:-1]]
    assert await ef_rows(url) == left
    assert ids(await database.history()) == left


async def test_slipway_respects_what_ef_core_applied_and_undid(server: PostgresServer) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample("ef8_idempotent")
    first, *others = bundle.migrations
    for statement in first.up:  # as `dotnet ef database update` does, without Slipway
        await run(url, statement.text)
    (row,) = await database.history()
    assert (row.id, row.sha256, row.is_whole) == (first.id, None, True)
    ran = await database.apply(bundle.migrations, EF)
    assert [one.migration for one in ran] == [one.id for one in others]
    newest = migration("2030_newest", "CREATE TABLE newest ()")
    await database.apply([newest], EF)
    await run(  # as `dotnet ef database update Previous` does
        url,
        "DROP TABLE newest;"
        """DELETE FROM "__EFMigrationsHistory" WHERE "MigrationId" = '2030_newest'""",
    )
    assert newest.id not in ids(await database.history())
    (again,) = await database.apply([*bundle.migrations, newest], EF)
    assert again.migration == newest.id


async def test_a_row_that_the_script_forgets_is_written_with_its_migration(
    server: PostgresServer,
) -> None:
    url = await fresh(
        server,
        'CREATE SCHEMA app; CREATE TABLE app."__EFMigrationsHistory" ("MigrationId" text PRIMARY'
        ' KEY, "ProductVersion" text NOT NULL);'
        "INSERT INTO app.\"__EFMigrationsHistory\" VALUES ('2024_first', '9.0.1')",
    )
    bare = migration("2024_second", "CREATE TABLE t ()", "DROP TABLE t")
    database = database_at(url)
    await database.apply([bare], EF)
    table = 'TABLE app."__EFMigrationsHistory" ORDER BY 1'
    assert await run(url, table) == [("2024_first", "9.0.1"), ("2024_second", "9.0.1")]
    assert ids(await database.history()) == ["2024_first", "2024_second"]
    await database.undo([bare], EF)
    assert await run(url, table) == [("2024_first", "9.0.1")]


async def test_a_failed_migration_leaves_no_row_in_ef_cores_table(server: PostgresServer) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample("ef8_plain")
    first = bundle.migrations[0]
    broken = replace(first, up=(*first.up, *migration("x", "SELECT 1/0").up))
    with pytest.raises(PermanentError, match="division by zero"):
        await database.apply([broken], EF)
    assert await run(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


# --- Alembic -------------------------------------------------------------------------------------


async def version(url: str) -> list[str]:
    return [str(row[0]) for row in await run(url, "TABLE alembic_version")]


async def test_alembic_sees_what_slipway_applied_and_undid(server: PostgresServer) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample("alembic")
    await database.apply(bundle.migrations, ALEMBIC)
    revisions = [one.id for one in bundle.migrations]
    assert await version(url) == [revisions[-1]]
    assert ids(await database.history()) == revisions
    assert (await database.facts()).migration_head == revisions[-1]
    downs = [one for one in reversed(bundle.migrations) if one.down is not None]
    await database.undo(downs, ALEMBIC)
    left = revisions[: -len(downs)]
    assert await version(url) == [left[-1]]
    assert ids(await database.history()) == left
    ran = await database.apply(bundle.migrations, ALEMBIC)
    assert [one.migration for one in ran] == revisions[-len(downs) :]


async def test_slipway_believes_alembic_and_not_its_own_memory(server: PostgresServer) -> None:
    url = await fresh(server)
    database, bundle = database_at(url), sample("alembic")
    await database.apply(bundle.migrations, ALEMBIC)
    newest = bundle.migrations[-1]
    assert newest.down is not None
    for statement in newest.down:  # as `alembic downgrade -1` does, without Slipway
        await run(url, statement.text)
    revisions = [one.id for one in bundle.migrations]
    assert ids(await database.history()) == revisions[:-1]
    assert (await database.facts()).migration_head == revisions[-2]
    await run(url, "UPDATE alembic_version SET version_num = 'newer'")
    assert ids(await database.history()) == ["newer"]


async def test_a_script_that_does_not_move_alembic_on_is_taken_back(
    server: PostgresServer,
) -> None:
    """Another head, or a revision that somebody applied in the meantime."""
    url = await fresh(
        server,
        "CREATE TABLE alembic_version (version_num text); INSERT INTO alembic_version VALUES ('z')",
    )
    stray = migration(
        "b",
        "CREATE TABLE t (); UPDATE alembic_version SET version_num = 'b' WHERE version_num = 'a'",
    )
    database = database_at(url)
    with pytest.raises(PermanentError, match="does not name it"):
        await database.apply([stray], ALEMBIC)
    assert await version(url) == ["z"]
    assert await run(url, "SELECT to_regclass('t')") == [(None,)]


async def test_the_head_is_the_newest_tools(server: PostgresServer) -> None:
    """A team went from EF Core to plain SQL: what EF Core remembers is the past."""
    url = await fresh(server)
    database, bundle = database_at(url), sample("ef8_plain")
    assert (await database.facts()).migration_head is None
    await database.apply(bundle.migrations, EF)
    await database.apply([migration("001_after", "CREATE TABLE after ()")], ORDER)
    assert (await database.facts()).migration_head == "001_after"
