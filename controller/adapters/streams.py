"""Streams of bytes: cut to size, counted and hashed on the way, in flat memory."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

_WORTH_A_THREAD: Final = 1 << 20


@asynccontextmanager
async def closing(stream: AsyncIterator[Any]) -> AsyncGenerator[None]:
    """Close *stream* at the end, where it can be: its maker then lets go of what it holds."""
    try:
        yield
    finally:
        if isinstance(stream, AsyncGenerator | Counted):
            await stream.aclose()


class Counted:
    """Passes a stream on, counting and hashing it."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Hash of what has passed so far, in hex."""
        return self._hash.hexdigest()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._stream)
        self.bytes += len(piece)
        if len(piece) < _WORTH_A_THREAD:
            self._hash.update(piece)
        else:
            await asyncio.to_thread(self._hash.update, piece)
        return piece

    async def aclose(self) -> None:
        """Close what is counted."""
        async with closing(self._stream):
            pass


class ByteReader:
    """Reads a stream by sizes of our own."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def upto(self, count: int) -> bytes:
        """Return the next *count* bytes, fewer where the stream ends."""
        await self._fill(count)
        return self._take(count)

    async def pieces(self, size: int) -> AsyncGenerator[tuple[bytes, bool]]:
        """Give what is left in pieces of *size*, each with whether it is the last.

        There is always a last one: an empty stream is one empty piece.
        """
        while await self._fill(size + 1):
            yield self._take(size), False
        yield self._take(size), True

    async def _fill(self, count: int) -> bool:
        """Tell whether *count* bytes are there."""
        while len(self._buffer) < count:
            piece = await anext(self._stream, None)
            if piece is None:
                return False
            self._buffer += piece
        return True

    def _take(self, count: int) -> bytes:
        with memoryview(self._buffer) as view:
            piece = bytes(view[:count])
        del self._buffer[:count]
        return piece
