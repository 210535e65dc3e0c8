"""Dumps and restores databases by PostgreSQL's own programs, in flat memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from functools import cached_property
from pathlib import Path
from typing import Final

from controller.adapters.postgres.client_tools import (
    PIPE_BYTES,
    ClientTool,
    RunningTool,
    find_tool,
)
from controller.adapters.streams import closing
from controller.core.errors import BackupDamagedError
from controller.ports_data import DatabaseAddress

_MAGIC: Final = b"PGDMP"
_LEVEL: Final = "3"  # half the time of 6, which pg_dump takes itself, for a tenth more room


class PostgresDumper:
    """Implements `Dumper`.

    Args:
        places: directories of the programs; None: PATH, and where Debian puts them.
    """

    def __init__(self, *, places: Sequence[Path] | None = None) -> None:
        self._places = places

    @cached_property
    def _pg_dump(self) -> ClientTool:
        return find_tool("pg_dump", self._places)

    @cached_property
    def _pg_restore(self) -> ClientTool:
        return find_tool("pg_restore", self._places)

    async def dump(
        self, address: DatabaseAddress, password: str, *, snapshot: str | None = None
    ) -> AsyncGenerator[bytes]:
        """See `Dumper.dump`.

        The program writes into a pipe that we read when the vault takes more: it waits for us.
        """
        tool = await asyncio.to_thread(lambda: self._pg_dump)
        arguments = ["--format=custom", f"--compress={_LEVEL}", "--no-owner"]
        arguments += [f"--snapshot={snapshot}"] if snapshot else []
        running = await RunningTool.start(tool, arguments, address, password)
        try:
            output = running.process.stdout
            while output is not None and (piece := await output.read(PIPE_BYTES)):
                yield piece
            await running.end()
        finally:
            await running.close()

    async def restore(
        self,
        address: DatabaseAddress,
        password: str,
        stream: AsyncIterator[bytes],
        *,
        with_rights: bool = True,
    ) -> None:
        """See `Dumper.restore`."""
        async with closing(stream):
            tool = await asyncio.to_thread(lambda: self._pg_restore)
            first = await _beginning(stream)
            arguments = ["--format=custom", "--exit-on-error", "--no-owner"]
            arguments += [] if with_rights else ["--no-privileges"]
            running = await RunningTool.start(tool, arguments, address, password)
            try:
                await _feed(running, first, stream)
                await running.end()
            finally:
                await running.close()


async def _beginning(stream: AsyncIterator[bytes]) -> bytes:
    """Return the first bytes: what is no dump is not shown to the program.

    Raises:
        BackupDamagedError: it is none.
    """
    first = b""
    while len(first) < len(_MAGIC):
        piece = await anext(stream, None)
        if piece is None:
            break
        first += piece
    if not first.startswith(_MAGIC):
        raise BackupDamagedError(
            "What should be restored is no dump by pg_dump.", fix="Restore another set."
        )
    return first


async def _feed(running: RunningTool, first: bytes, stream: AsyncIterator[bytes]) -> None:
    """Write the stream into the program, to its end.

    The program may have read all it needs before that; the rest is read all the same, as only its
    end tells that the stream was whole. A program that *failed* ends it at once.
    """
    entry = running.process.stdin
    pieces = _with(first, stream)
    async with aclosing(pieces):
        async for piece in pieces:
            if entry is not None:
                try:
                    entry.write(piece)
                    await entry.drain()
                except (BrokenPipeError, ConnectionResetError):
                    await running.end()  # raises if it failed
                    entry = None
    if entry is not None:
        with suppress(BrokenPipeError, ConnectionResetError):
            entry.close()
            await entry.wait_closed()


async def _with(first: bytes, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for piece in stream:
        yield piece
