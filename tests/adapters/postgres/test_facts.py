"""The facts of a database: the same after a restore, another after any change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from controller.adapters.postgres.client_tools import find_tool
from controller.adapters.postgres.facts import read_facts
from controller.core.errors import AccessDeniedError
from controller.ports_data import DatabaseFacts
from sandbox.postgres import PostgresServer
from tests.adapters.postgres.kit import ORDER, database_at, fresh, migration, run

SCRIPT = """
    CREATE DOMAIN positive AS int CHECK (VALUE > 0);
    CREATE SCHEMA "Odd shop";
    CREATE TABLE "Odd shop".orders (
        id bigserial PRIMARY KEY, "the name" text NOT NULL DEFAULT 'x', price float8, sum numeric,
        at timestamptz, lasts interval, data bytea, tags text[], doc jsonb, cash money,
        amount positive, half int GENERATED ALWAYS AS (1 + 1) STORED,
        CHECK (price > 0), UNIQUE (at, price));
    INSERT INTO "Odd shop".orders (price, sum, at, lasts, data, tags, doc, cash, amount)
        SELECT 1 / (n + 0.1), n / 7.0, timestamptz '2026-01-01 UTC' + n * interval '1 hour',
               n * interval '1 day 3 min', sha256(n::text::bytea), ARRAY['a', n::text],
               jsonb_build_object('n', n), n::money, n
        FROM generate_series(1, 500) n;
    CREATE INDEX orders_price ON "Odd shop".orders (price DESC) WHERE price > 0.1;
    CREATE TABLE twins (n int); INSERT INTO twins VALUES (1), (1), (NULL);
    CREATE TABLE nothing ();
    CREATE TABLE parts (n int PRIMARY KEY) PARTITION BY RANGE (n);
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10);
    INSERT INTO parts VALUES (3);
    CREATE TABLE parent (a int); CREATE TABLE child (z text) INHERITS (parent);
    ALTER TABLE parent ADD COLUMN later int; INSERT INTO child VALUES (1, 'z', 2);
    CREATE SEQUENCE numbers INCREMENT 5; SELECT nextval('numbers');
    SELECT lo_from_bytea(4711, 'a large object')
"""
CHANGES = {
    "a row more": "INSERT INTO twins VALUES (2)",
    "a row less": "DELETE FROM twins WHERE n IS NULL",
    "a twin less": "DELETE FROM twins WHERE ctid = (SELECT min(ctid) FROM twins)",
    "two rows that cancel out": "UPDATE twins SET n = coalesce(n, 0) + 1",
    "a bit of a float": """UPDATE "Odd shop".orders SET price = price + 1e-16 WHERE id = 7""",
    "a byte": """UPDATE "Odd shop".orders SET data = set_byte(data, 3, 0) WHERE id = 7""",
    "a null for a word": """UPDATE "Odd shop".orders SET tags[1] = NULL WHERE id = 7""",
    "two columns exchanged": "ALTER TABLE parent RENAME a TO b",
    "a type": "ALTER TABLE twins ALTER n TYPE bigint",
    "a table": "DROP TABLE nothing",
    "a row of a partition": "UPDATE parts SET n = 4",
    "a sequence": "SELECT nextval('numbers')",
    "a serial's sequence": """SELECT setval('"Odd shop".orders_id_seq', 3)""",
    "a check": """ALTER TABLE "Odd shop".orders DROP CONSTRAINT orders_price_check""",
    "a not null": """ALTER TABLE "Odd shop".orders ALTER "the name" DROP NOT NULL""",
    "a default": """ALTER TABLE "Odd shop".orders ALTER "the name" SET DEFAULT 'y'""",
    "a domain's check": "ALTER DOMAIN positive DROP CONSTRAINT positive_check",
    "an index": """DROP INDEX "Odd shop".orders_price""",
    "an extension": "DROP EXTENSION plpgsql",
    "a large object": "SELECT lo_put(4711, 2, 'X')",
    "the migration head": "UPDATE slipway.slipway_migrations SET id = 'another'",
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(server: PostgresServer) -> str:
    made = await fresh(server, SCRIPT)
    await database_at(made).apply([migration("001", "CREATE TABLE migrated ()")], ORDER)
    return made


def comparable(facts: DatabaseFacts) -> DatabaseFacts:
    """Leave out when it was and how much room it takes."""
    tables = [replace(table, size_bytes=0) for table in facts.tables]
    return replace(facts, tables=tables, size_bytes=0, taken_at=facts.taken_at.min)


async def test_they_are_the_same_after_dump_and_restore(server: PostgresServer, url: str) -> None:
    restored = await fresh(server)
    dump = await asyncio.to_thread(find_tool, "pg_dump")
    restore = await asyncio.to_thread(find_tool, "pg_restore")
    command = f"{dump.path} -Fc '{url}' | {restore.path} --no-owner -e -d '{restored}'"
    process = await asyncio.create_subprocess_shell(command)
    assert await process.wait() == 0
    before, after = await database_at(url).facts(), await database_at(restored).facts()
    assert comparable(after) == comparable(before)
    assert {table.name: table.rows for table in before.tables} == {
        "Odd shop.orders": 500,
        "public.twins": 3,
        "public.nothing": 0,
        "public.part": 1,
        "public.parent": 0,
        "public.child": 1,
        "public.migrated": 0,
        "slipway.slipway_migrations": 1,
        "pg_catalog.pg_largeobject": 1,
    }
    assert before.migration_head == "001"
    assert before.sequences["public.numbers"] == 1
    assert before.sequences["Odd shop.orders_id_seq"] == 500


@pytest.mark.parametrize("change", list(CHANGES))
async def test_any_single_change_is_seen(url: str, change: str) -> None:
    async with await AsyncConnection.connect(url) as connection:  # what it changes is rolled back
        before = await read_facts(connection)
        await connection.execute("RESET search_path")
        await connection.execute(CHANGES[change].encode())
        after = await read_facts(connection)
        await connection.rollback()
    if "sequence" in change:  # which no rollback takes back
        await run(url, "SELECT setval('numbers', 1)")
        await run(url, """SELECT setval('"Odd shop".orders_id_seq', 500)""")
    assert comparable(after) != comparable(before)


async def test_settings_and_the_order_of_rows_do_not_count(url: str) -> None:
    async with await AsyncConnection.connect(url) as connection:
        before = await read_facts(connection)
        await connection.execute(
            "SET LOCAL timezone = 'Asia/Tokyo'; SET LOCAL datestyle = 'German';"
            "SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = -10;"
            "SET LOCAL intervalstyle = 'iso_8601'; SET LOCAL search_path = public"
        )
        await connection.execute(
            "CREATE TEMP TABLE copy AS TABLE public.twins; DELETE FROM public.twins;"
            "INSERT INTO public.twins SELECT * FROM copy ORDER BY n NULLS FIRST"
        )
        after = await read_facts(connection)
        await connection.rollback()
    assert comparable(after) == comparable(before)


async def test_they_are_of_one_moment(url: str) -> None:
    """What is written while they are read is in none of them."""
    async with await AsyncConnection.connect(url) as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        before = await read_facts(connection)
        await run(url, "INSERT INTO twins VALUES (9)")
        assert comparable(await read_facts(connection)) == comparable(before)
        await run(url, "DELETE FROM twins WHERE n = 9")


async def test_an_index_that_is_not_valid_is_left_out_as_a_dump_leaves_it_out(url: str) -> None:
    before = await database_at(url).facts()
    await run(
        url,
        "CREATE INDEX broken ON twins (n); UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'broken'::regclass",
    )
    assert (await database_at(url).facts()).indexes == before.indexes
    await run(url, "DROP INDEX broken")


async def test_rows_that_a_policy_hides_are_an_error_and_not_a_smaller_count(
    server: PostgresServer,
) -> None:
    await server.create_user("filtered", "f")
    url = await fresh(
        server,
        "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO filtered;"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (n = 1)",
    )
    name = url.rpartition("/")[2].partition("?")[0]
    with pytest.raises(AccessDeniedError, match="row-level security"):
        await database_at(server.url(name, user="filtered", password="f")).facts()
