"""Reads a part's document before anything is made of it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from controller.core.errors import BackupDamagedError
from controller.runtime.backups_parts import PartWanted


async def document(wanted: PartWanted, *, most: int) -> bytes:
    """Return the part's bytes, of which there are at most *most*.

    Raises:
        BackupDamagedError: it is not what was written, or larger than such a part ever is.
    """
    found = bytearray()
    async with aclosing(wanted.open()) as stream:
        async for piece in stream:
            found += piece
            if len(found) > most:
                raise BackupDamagedError(
                    f"A part of {wanted.manifest.id} is larger than {most:,} bytes.",
                    fix="Take another set: `slipway backup list`.",
                )
    return bytes(found)


async def lines(wanted: PartWanted, *, longest: int) -> AsyncGenerator[bytes]:
    """Yield the part's lines without their ends. Close it when you stop earlier.

    Raises:
        BackupDamagedError: it is not what was written, or a line is longer than *longest*.
    """
    rest = b""
    async with aclosing(wanted.open()) as stream:
        async for piece in stream:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                yield line
            if len(rest) > longest:
                raise BackupDamagedError(
                    f"A line in a part of {wanted.manifest.id} is longer than {longest:,} bytes.",
                    fix="Take another set: `slipway backup list`.",
                )
    if rest:
        yield rest
