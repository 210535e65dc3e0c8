"""Looks from a second connection at whom our statements wait for."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg.rows import tuple_row

from controller.adapters.postgres.connections import Connection, Connector
from controller.adapters.postgres.turns import who
from controller.core.errors import SlipwayError
from controller.ports_data import LockWait

log = logging.getLogger("slipway.migrations")

_POLL_SECONDS: Final = 0.1
_WAITING: Final = """
    SELECT w.mode || ' on ' || coalesce(w.relation::regclass::text, w.locktype),
           b.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))
    FROM pg_catalog.pg_locks w
    CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b (pid)
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
    WHERE w.pid = %s AND NOT w.granted
"""


@dataclass(slots=True)
class Watch:
    """What was seen. *at* is set by who runs the statements: migration and text."""

    at: tuple[str, str] | None = None
    waits: list[LockWait] = field(default_factory=list[LockWait])

    def blockers(self) -> tuple[str, ...]:
        """Return who was last seen to hold up the statement that runs now."""
        for wait in reversed(self.waits):
            if (wait.migration, wait.text) == self.at:
                return wait.blocked_by
        return ()

    def note(self, lock: str, blockers: tuple[str, ...], seconds: float) -> None:
        """Keep that the statement of now waits; longer, if it did so when we last looked."""
        if self.at is None:
            return
        migration, text = self.at
        before = 0.0
        if self.waits and (self.waits[-1].migration, self.waits[-1].text) == self.at:
            before = self.waits.pop().seconds
        self.waits.append(
            LockWait(
                migration=migration,
                text=text,
                lock=lock,
                blocked_by=blockers,
                seconds=before + seconds,
            )
        )


@asynccontextmanager
async def watching(connector: Connector, watched: Connection) -> AsyncGenerator[Watch]:
    """Watch *watched*. Where there is no second connection to be had, nothing is seen."""
    watch = Watch()
    task = asyncio.create_task(_watch(connector, watched.info.backend_pid, watch))
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(connector: Connector, pid: int, watch: Watch) -> None:
    try:
        async with connector.connected("slipway watches locks") as connection:
            cursor = connection.cursor(row_factory=tuple_row)
            while True:
                await asyncio.sleep(_POLL_SECONDS)
                await cursor.execute(_WAITING, [pid])
                rows = await cursor.fetchall()
                if rows:
                    watch.note(rows[0][0], tuple(who(*row[1:]) for row in rows), _POLL_SECONDS)
    except (psycopg.Error, SlipwayError) as error:
        log.warning("Lock waits are not seen: %s", type(error).__name__)
