"""One at a time: the lock that whoever migrates a database holds, and who holds what."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.rows import tuple_row

from controller.adapters.postgres.connections import Connection
from controller.core.errors import BusyError, PermanentError

_POLL_SECONDS: Final = 0.25
_HOLDERS: Final = """
    SELECT l.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))
    FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
      AND l.classid::bigint << 32 | l.objid::bigint = %s
"""


def lock_key(database: str) -> int:
    """Return the key of the lock: the same for everybody who migrates *database*."""
    digest = hashlib.sha256(f"slipway migrations of {database}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@asynccontextmanager
async def turn(connection: Connection, database: str, *, wait: float) -> AsyncGenerator[None]:
    """Hold the lock of *database*, for as long as *connection* lives at most.

    It is asked for again and again instead of waited for: a session that waits in a statement
    keeps its snapshot, and an index that the holder builds concurrently waits for that one.

    Raises:
        BusyError: somebody else held it all the time; the message says who.
    """
    key = lock_key(database)
    until = asyncio.get_running_loop().time() + wait
    while not await _take(connection, key):
        if asyncio.get_running_loop().time() >= until:
            held = "; ".join(await _holders(connection, key)) or "somebody who has just ended"
            raise BusyError(
                f"Another session migrates {database!r}: {held}.",
                fix="Nothing to do: Slipway tries again when it has ended.",
            )
        await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        with suppress(psycopg.Error):  # a lost connection has lost it
            await connection.execute("SELECT pg_catalog.pg_advisory_unlock(%s)", [key])


async def require_turn(connection: Connection, database: str) -> None:
    """Return if our session holds the lock still.

    A pool that hands out a server session per transaction leaves it with another one, and a
    script may give up all locks.

    Raises:
        PermanentError: it does not.
    """
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(
        f"SELECT EXISTS ({_HOLDERS} AND l.pid = pg_catalog.pg_backend_pid())",
        [lock_key(database)],
    )
    if not (await cursor.fetchall())[0][0]:
        raise PermanentError(
            f"The lock on the migrations of {database!r} is not ours any more.",
            fix="Connect to PostgreSQL itself (port 5432), not to a pooler, and let no script call"
            " pg_advisory_unlock_all.",
        )


async def _take(connection: Connection, key: int) -> bool:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key])
    return bool((await cursor.fetchall())[0][0])


async def _holders(connection: Connection, key: int) -> list[str]:
    cursor = connection.cursor(row_factory=tuple_row)
    await cursor.execute(_HOLDERS, [key])
    return [who(*row) for row in await cursor.fetchall()]


def who(pid: Any, user: Any, application: Any, state: Any, seconds: Any) -> str:
    """Return a session in words. What it runs is not told: that may hold data."""
    if not pid:
        return "a prepared transaction"
    parts = [f"pid {pid}", *([f"user {user}"] if user else [])]
    parts += [f"application {application!r}"] if application else []
    if state:
        parts.append(str(state) if seconds is None else f"{state} for {round(float(seconds))} s")
    return ", ".join(parts)
