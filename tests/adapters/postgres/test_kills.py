"""Whoever is killed while migrating, wherever that is: the next one ends where none was killed."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from psycopg import AsyncConnection

from controller.core.errors import BusyError
from controller.ports_data import DatabaseFacts
from sandbox.postgres import PostgresServer
from tests.adapters.postgres.kit import ORDER, QUICK, database_at, fresh, run, schema, told
from tests.adapters.postgres.victims import SCRIPTS

ROOT = Path(__file__).parents[3]
PATIENT = replace(QUICK, turn=30.0, tries=20)

UNFINISHED = (
    "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE NOT indisvalid"
)
BUILDING = "SELECT pid FROM pg_stat_activity WHERE application_name = 'slipway migrates for a test'"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[PostgresServer]:
    async with PostgresServer() as running:
        yield running


class Executioner:
    """Starts victims, and tells how they ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def victim(self, url: str, at: int | str, *, down: bool) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wish = {"url": url, "at": at, "down": down}
        self._process.stdin.write(json.dumps(wish).encode() + b"\n")
        await self._process.stdin.drain()
        said = await asyncio.wait_for(self._process.stdout.readline(), 60)
        return dict(json.loads(said))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def executioner() -> AsyncIterator[Executioner]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.adapters.postgres.victims",
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    yield Executioner(process)
    assert process.stdin is not None
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 30)


async def state(url: str) -> tuple[DatabaseFacts, list[tuple[object, ...]]]:
    """Return all that is to be the same: rows, sequences, constraints, indexes, history."""
    facts = await database_at(url).facts()
    tables = [
        replace(
            table,
            size_bytes=0,
            checksum="" if table.name.startswith("slipway.") else table.checksum,
        )
        for table in facts.tables
    ]
    same = replace(facts, tables=tables, size_bytes=0, taken_at=facts.taken_at.min)
    return same, await told(url)


async def empty(url: str) -> None:
    """Bring the database back to where nothing was applied: much faster than a new one."""
    await run(
        url,
        "DROP SCHEMA IF EXISTS slipway CASCADE; DROP SCHEMA IF EXISTS app CASCADE;"
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
    )


async def test_killed_on_the_way_up_the_next_one_ends_where_none_was_killed(
    server: PostgresServer, executioner: Executioner
) -> None:
    url = await fresh(server)
    await empty(url)
    whole = await executioner.victim(url, 0, down=False)
    assert not whole["killed"], whole
    expected, expected_schema = await state(url), await schema(url)
    points = int(whole["passed"])
    assert points > 30  # every statement, note and commit
    for at in range(1, points + 1):
        await empty(url)
        assert (await executioner.victim(url, at, down=False))["killed"]
        await database_at(url, PATIENT).apply(SCRIPTS, ORDER)
        assert await state(url) == expected, f"killed at {at}"
        if at % 10 == 0:  # the facts tell most of it, and pg_dump takes its time
            assert await schema(url) == expected_schema, f"killed at {at}"


async def test_killed_on_the_way_down_the_next_one_ends_where_none_was_killed(
    server: PostgresServer, executioner: Executioner
) -> None:
    url = await fresh(server)
    await empty(url)
    database = database_at(url, PATIENT)
    await database.apply(SCRIPTS, ORDER)
    whole = await executioner.victim(url, 0, down=True)
    assert not whole["killed"], whole
    expected = await state(url)
    assert await database.history() == ()
    points = int(whole["passed"])
    assert points > 15
    for at in range(1, points + 1):
        await database.apply(SCRIPTS, ORDER)
        assert (await executioner.victim(url, at, down=True))["killed"]
        await database.undo(SCRIPTS[::-1], ORDER)
        assert await state(url) == expected, f"killed at {at}"


async def test_an_index_whose_builder_is_killed_in_the_middle_is_built_anew(
    server: PostgresServer, executioner: Executioner
) -> None:
    """The server notices that its client is gone, and leaves an index that is not valid."""
    url = await fresh(server)
    async with await AsyncConnection.connect(url) as reader:
        await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await reader.execute("SELECT 1 FROM pg_class")  # the index waits for this snapshot
        dead = await executioner.victim(url, "CREATE UNIQUE INDEX CONCURRENTLY", down=False)
        assert dead["killed"]
        async with asyncio.timeout(30):
            while not await run(url, UNFINISHED):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
        with pytest.raises(BusyError, match=r"slipway migrates for a test"):
            await database_at(url, replace(QUICK, turn=0.0)).apply(SCRIPTS, ORDER)
        async with asyncio.timeout(30):
            while await run(url, BUILDING):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)
        assert await run(url, UNFINISHED) == [("users_name",)]
    (users, half) = await database_at(url).history()
    assert (users.is_whole, half.is_whole, half.statements_done) == (True, False, 2)
    await database_at(url, PATIENT).apply(SCRIPTS, ORDER)
    assert await run(url, UNFINISHED) == []
    assert (await database_at(url).facts()).migration_head == SCRIPTS[-1].id
