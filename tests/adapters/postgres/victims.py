"""Processes that migrate until they are killed, each forked from one that has imported all.

`python -m tests.adapters.postgres.victims` reads a line of JSON per victim and writes one when it
is dead: {"killed": true}, or how many points to be killed at it passed.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from controller.adapters.postgres import watching
from controller.adapters.postgres.connections import Connector
from controller.adapters.postgres.scripts import refuse_unsafe
from tests.adapters.postgres.kit import ORDER, database_at, migration

SCRIPTS = [
    migration(
        "001_users",
        "CREATE SCHEMA app;"
        "CREATE TABLE app.users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);"
        "INSERT INTO app.users (name) SELECT 'user ' || n FROM generate_series(1, 50) n",
        "DROP SCHEMA app CASCADE",
    ),
    migration(
        "002_indexes",
        "SET search_path = app;"
        "ALTER TABLE users ADD COLUMN visits int NOT NULL DEFAULT 0;"
        "CREATE UNIQUE INDEX CONCURRENTLY users_name ON users (name);"
        "UPDATE users SET visits = visits + 1;"
        "CREATE INDEX CONCURRENTLY users_visits ON users (visits);"
        "REINDEX INDEX CONCURRENTLY users_name;"
        "DROP INDEX CONCURRENTLY users_visits;"
        "VACUUM users",
        "SET search_path = app;"
        "CREATE INDEX CONCURRENTLY passing ON users (id, name);"
        "ALTER TABLE users DROP COLUMN visits;"
        "DROP INDEX CONCURRENTLY passing;"
        "DROP INDEX CONCURRENTLY users_name",
    ),
    migration(
        "003_parts",
        "CREATE TABLE parts (n int) PARTITION BY RANGE (n);"
        "CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (100);"
        "INSERT INTO parts SELECT generate_series(0, 9)",
        "DROP TABLE parts",
    ),
    migration(
        "004_detached",
        "ALTER TABLE parts DETACH PARTITION part CONCURRENTLY",
        "ALTER TABLE parts ATTACH PARTITION part FOR VALUES FROM (0) TO (100)",
    ),
]
_READS = ("SELECT", "RESET", "SHOW")


def main() -> None:
    """Fork a victim per line."""
    for line in sys.stdin:
        wish = json.loads(line)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _be_victim(wish, writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as said:
            passed = said.read().decode()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        sys.stdout.write(json.dumps({"killed": killed, "passed": passed}) + "\n")
        sys.stdout.flush()


def _be_victim(wish: dict[str, Any], writer: int) -> None:
    try:
        points = _killed_at(wish["at"])
        database = database_at(wish["url"])
        way = (
            database.undo(SCRIPTS[::-1], ORDER) if wish["down"] else database.apply(SCRIPTS, ORDER)
        )
        asyncio.run(way)
        os.write(writer, str(points[0]).encode())
    except BaseException as error:  # noqa: BLE001 - a fork must not go on as its parent
        os.write(writer, repr(error).encode())
        os._exit(1)
    os._exit(0)


def _killed_at(point: int | str) -> list[int]:
    """Be killed at the n-th thing that changes the database, or at one that begins so.

    What commits is sent before, and its answer never read: the server may end it after our death.
    What does not is not sent: were it, the server would take it back, and so it is the same.
    """
    waits = psycopg.AsyncConnection.wait
    passed = [0]

    async def wait(self: Any, gen: Generator[Any, Any, Any], **options: Any) -> Any:
        if not _changes(gen):
            return await waits(self, gen, **options)
        passed[0] += 1
        if point not in {passed[0], _text(gen)[: len(str(point))]}:
            return await waits(self, gen, **options)
        outside = self.info.transaction_status is TransactionStatus.IDLE
        if outside or gen.__name__ == "_exit_gen":
            task = asyncio.ensure_future(waits(self, gen, **options))
            await asyncio.sleep(0.0005)  # it is sent; the answer may be on its way
            del task
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    psycopg.AsyncConnection.wait = wait  # type: ignore[assignment,method-assign]
    watching._watch = _nobody  # it has a connection of its own, at times of its own
    return passed


async def _nobody(connector: Connector, pid: int, watch: watching.Watch) -> None:
    """Watch nothing."""


def _changes(gen: Generator[Any, Any, Any]) -> bool:
    """Tell whether a COMMIT or a statement that is no question is about to be sent."""
    text = _text(gen)
    return gen.__name__ == "_exit_gen" or (bool(text) and not text.startswith(_READS))


def _text(gen: Generator[Any, Any, Any]) -> str:
    """Return the statement that is about to be sent; nothing where it is none."""
    if gen.__name__ != "_execute_gen" or gen.gi_frame is None:
        return ""
    query = gen.gi_frame.f_locals["query"]
    return (query.decode() if isinstance(query, bytes) else str(query)).lstrip()


if __name__ == "__main__":
    refuse_unsafe(SCRIPTS)  # pglast is imported lazily: once here, not in each victim
    main()
