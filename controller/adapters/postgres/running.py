"""Runs one migration, up or down: in one transaction, or statement by statement.

In a transaction, what the migration does and its row in the history are committed together.
Otherwise each statement is committed together with the note that it ran; of one that refuses even
that, it is noted before that it begins, and looked at afterwards whether it ended (`recovery`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import psycopg

from controller.adapters.postgres import history
from controller.adapters.postgres.connections import Connection, Connector, limit, settle
from controller.adapters.postgres.failures import LOCKED, NOT_IN_TRANSACTION, place
from controller.adapters.postgres.limits import Limits
from controller.adapters.postgres.recovery import is_done, tidy
from controller.adapters.postgres.scripts import (
    is_patient,
    runs_alone,
    session_settings,
    shown,
)
from controller.adapters.postgres.turns import require_turn
from controller.adapters.postgres.watching import Watch
from controller.core.errors import BusyError
from controller.migrations.bundle import Migration, Statement
from controller.migrations.splitting import tree
from controller.ports_data import MigrationOrder, Ran, Timed

T = TypeVar("T")

_COMMITTING: Final = frozenset({"CallStmt", "DoStmt"})


@dataclass(slots=True, kw_only=True)
class Run:
    """One migration on its way up or down."""

    migration: Migration
    down: bool
    tries: int = 1
    timed: list[Timed] = field(default_factory=list[Timed])
    at: Statement | None = None  # None: between statements

    @property
    def statements(self) -> tuple[Statement, ...]:
        """What runs."""
        return (self.migration.down or ()) if self.down else self.migration.up

    @property
    def is_transactional(self) -> bool:
        """Tell whether a transaction can hold it. What is said about a migration is of its up."""
        if self.down:
            return not any(runs_alone(statement) for statement in self.statements)
        return self.migration.transactional

    def place(self, error: psycopg.Error) -> str:
        """Return where it failed."""
        if self.at is None:
            return f"{self.migration.id}, at its end"
        return place(self.migration, self.at, error)


class Runner:
    """Runs migrations on a connection that holds the turn.

    Args:
        connector: translates what fails.
        connection: runs them.
        watch: sees whom they wait for.
        limits: how long they may take.
        order: whose migrations they are.
    """

    def __init__(
        self,
        connector: Connector,
        connection: Connection,
        watch: Watch,
        limits: Limits,
        order: MigrationOrder,
    ) -> None:
        self._connector = connector
        self._connection = connection
        self._watch = watch
        self._limits = limits
        self._order = order

    async def run(self, migration: Migration, *, down: bool = False) -> Ran:
        """Run *migration*, or what is left of it.

        Raises:
            SlipwayError: it failed; what was not committed is gone.
        """
        run = Run(migration=migration, down=down)
        began = time.perf_counter()
        try:
            await settle(self._connection, self._limits)
            if run.is_transactional:
                await self._persistent(run, lambda: self._whole(run))
            else:
                await self._one_by_one(run)
        except psycopg.Error as error:
            at, blockers = run.place(error), self._watch.blockers()
            raise self._connector.failure(error, at=at, blockers=blockers) from None
        finally:
            self._watch.at = None
        return Ran(
            migration=migration.id,
            statements=tuple(run.timed),
            seconds=time.perf_counter() - began,
            tries=run.tries,
        )

    async def _persistent(self, run: Run, work: Callable[[], Awaitable[T]]) -> T:
        """Do *work*, again where a lock was not to be had: after a while, and not for ever."""
        tries = 1
        while True:
            try:
                return await work()
            except psycopg.Error as error:
                if error.sqlstate not in LOCKED or tries >= self._limits.tries:
                    raise
            await asyncio.sleep(self._limits.pause_after(tries))
            tries += 1
            run.tries = max(run.tries, tries)

    # --- In one transaction -----------------------------------------------------------------

    async def _whole(self, run: Run) -> None:
        run.timed.clear()
        async with self._connection.transaction():
            await self._open()
            if not run.down:
                await history.begin(self._connection, run.migration, self._order)
            for statement in run.statements:
                run.timed.append(await self._execute(run, statement))
            run.at = None
            await self._close(run)

    async def _open(self) -> None:
        await require_turn(self._connection, self._connector.address.database)
        limits = self._limits
        await limit(self._connection, lock=limits.lock, statement=limits.statement, local=True)

    async def _close(self, run: Run) -> None:
        """Write into the history that the run is at its end, as whom we logged in."""
        await self._connection.execute("RESET SESSION AUTHORIZATION")
        await self._connection.execute("RESET ROLE")
        write = history.unfinish if run.down else history.finish
        await write(self._connection, run.migration, self._order)

    async def _execute(self, run: Run, statement: Statement) -> Timed:
        run.at = statement
        text = shown(statement)
        self._watch.at = (run.migration.id, text)
        began = time.perf_counter()
        cursor = await self._connection.execute(statement.text.encode())
        seconds = time.perf_counter() - began
        return Timed(text=text, seconds=seconds, rows=rows_of(cursor.rowcount))

    # --- Statement by statement -------------------------------------------------------------

    async def _one_by_one(self, run: Run) -> None:
        done, begun = await self._progress(run)
        for setting in session_settings(run.statements[:done]):
            await self._connection.execute(setting.text.encode())
        for index in range(done, len(run.statements)):
            try:
                await self._step(run, index, was_begun=begun == index)
            except psycopg.Error:
                await self._give_up(run, index)
                raise

    async def _progress(self, run: Run) -> tuple[int, int | None]:
        """Return how many statements ran, and which had begun when we were last seen."""
        id_ = run.migration.id
        row = await history.own_row(self._connection, id_)
        if run.down:
            if row is not None and row.is_undoing:
                return row.statements_undone, row.statement_begun
            async with self._connection.transaction():
                if row is None:  # its own tool applied it
                    await history.begin(self._connection, run.migration, self._order)
                await history.begin_undo(self._connection, id_)
            return 0, None
        if row is not None and not row.is_whole:
            return row.statements_done, row.statement_begun
        async with self._connection.transaction():
            await history.begin(self._connection, run.migration, self._order)
        return 0, None

    async def _step(self, run: Run, index: int, *, was_begun: bool) -> None:
        statement = run.statements[index]
        if not was_begun and not runs_alone(statement):
            try:
                await self._persistent(run, lambda: self._noted(run, index))
            except psycopg.Error as error:
                if error.sqlstate not in NOT_IN_TRANSACTION:
                    raise
                # A procedure that commits by itself, say: nothing of it was kept.
            else:
                return
        await history.note_begun(self._connection, run.migration.id, index)
        if not (was_begun and await is_done(self._connection, statement)):
            run.timed.append(await self._persistent(run, lambda: self._alone(run, statement)))
        run.at = None
        async with self._connection.transaction():
            await self._note(run, index)

    async def _noted(self, run: Run, index: int) -> None:
        """Run a statement together with the note that it ran."""
        async with self._connection.transaction():
            await self._open()
            timed = await self._execute(run, run.statements[index])
            run.at = None
            await self._note(run, index)
        run.timed.append(timed)

    async def _note(self, run: Run, index: int) -> None:
        if index + 1 == len(run.statements):
            await self._close(run)
            return
        note = history.note_undone if run.down else history.note_done
        await note(self._connection, run.migration.id, index + 1)

    async def _alone(self, run: Run, statement: Statement) -> Timed:
        """Run a statement that refuses a transaction, with what an earlier try left put away."""
        await require_turn(self._connection, self._connector.address.database)
        await tidy(self._connection, statement)
        lock = 0.0 if is_patient(tree(statement.text)) else self._limits.lock
        await limit(self._connection, lock=lock, statement=self._limits.alone, local=False)
        try:
            return await self._execute(run, statement)
        finally:
            if not self._connection.broken:
                await limit(
                    self._connection,
                    lock=self._limits.lock,
                    statement=self._limits.statement,
                    local=False,
                )

    async def _give_up(self, run: Run, index: int) -> None:
        """Put away what the failed statement left; where nothing else ran, all is as before."""
        if self._connection.broken:
            return
        try:
            await tidy(self._connection, run.statements[index])
            if index == 0 and not run.down and self._leaves_nothing(run.statements[0]):
                await history.forget(self._connection, run.migration.id)
        except (psycopg.Error, BusyError):
            return  # the next try finds it

    def _leaves_nothing(self, statement: Statement) -> bool:
        """A procedure that commits by itself may have done half of it."""
        return runs_alone(statement) or type(tree(statement.text)).__name__ not in _COMMITTING


def rows_of(count: int) -> int | None:
    """Return the number of rows; None for statements that have none."""
    return None if count < 0 else count
