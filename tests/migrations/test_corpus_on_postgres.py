"""The corpus holds on a real PostgreSQL: what it says of locks and rewrites is what happens."""

from dataclasses import dataclass

from psycopg import AsyncConnection, Error, sql

from controller.migrations.locks import LockMode
from sandbox.postgres.server import PostgresServer
from tests.migrations.bundles import CORPUS, Case, cases

MODES = {mode.pg_locks_name: mode for mode in LockMode}
RELATIONS = """
    SELECT c.oid, CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname
    END, c.relkind IN ('i', 'I'), c.relfilenode
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname IN ('public', 'audit')
"""
LOCKS = """
    SELECT relation, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'
"""
# Of a type or function: which tables use it, the statement alone does not tell.
UNSEEN = ("DROP TYPE mood CASCADE", "DROP FUNCTION noop() CASCADE")
MOST_FAILURES = 12  # statements of the corpus that name what is not there


@dataclass(frozen=True, slots=True)
class Seen:
    """What a statement did, as the server tells before it is rolled back."""

    locks: dict[str, LockMode]  # on tables, views and sequences that were there before
    rewritten: set[str]


async def seen(connection: AsyncConnection, case: Case) -> Seen | None:
    """Run a statement of the corpus in a transaction that is rolled back; None if it fails."""
    known = {
        oid: (name, is_index, node)
        for oid, name, is_index, node in await (await connection.execute(RELATIONS)).fetchall()
    }
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(sql.SQL(case.sql))  # type: ignore[arg-type]  # text of a file
            after = await (await connection.execute(RELATIONS)).fetchall()
            locks = await (await connection.execute(LOCKS)).fetchall()
    except Error:
        return None
    held: dict[str, LockMode] = {}
    for oid, mode in locks:
        name, is_index, _ = known.get(oid, ("", True, 0))
        if name and (not is_index or name in case.locks):
            held[name] = max(MODES[mode], held.get(name, MODES[mode]))
    moved = {known[oid][0] for oid, _, _, node in after if oid in known and known[oid][2] != node}
    return Seen(held, {name for name in moved if name in {"users", "teams", "members"}})


async def test_locks_and_rewrites_are_what_the_server_does() -> None:
    """Each lock of the corpus is taken, and none that makes a request wait is left out."""
    ran, failed = 0, list[str]()
    async with (
        PostgresServer() as server,
        await AsyncConnection.connect(server.url(), autocommit=True) as connection,
    ):
        await connection.execute((CORPUS / "before.sql").read_bytes())
        await connection.execute("SET TIME ZONE 'Europe/Berlin'")  # in UTC, less is rewritten
        for case in cases():
            if "alone" in case.also or case.theme == "session":
                continue
            found = await seen(connection, case)
            if found is None:
                failed.append(str(case))
                continue
            ran += 1
            check(case, found)

    assert ran >= 120
    assert len(failed) <= MOST_FAILURES, failed


def check(case: Case, found: Seen) -> None:
    for name, mode in case.locks.items():
        assert str(found.locks.get(name)) == mode, (str(case), name, found.locks)
    extra = {n: m for n, m in found.locks.items() if n not in case.locks and m.stops_writes}
    assert not extra or case.sql.startswith(UNSEEN), (str(case), extra)
    if case.sql.startswith(("ALTER TABLE", "DO")):
        expected = {a.removeprefix("rewrites ") for a in case.also if "rewrites" in a}
        assert found.rewritten == expected, str(case)
