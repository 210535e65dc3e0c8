"""The command ``slipway``, as somebody types it: a process of its own."""

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

_COMMAND = Path(sys.executable).with_name("slipway")


class TerminalError(Exception):
    """It ended with another status than 0; the message holds what it said."""


async def slipway(*words: str, environment: Mapping[str, str]) -> str:
    """Run it and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        _COMMAND,
        *words,
        env={"PATH": os.environ["PATH"], **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await process.communicate())[0].decode()
    if process.returncode:
        raise TerminalError(f"slipway {' '.join(words)} ended {process.returncode}:\n{said}")
    return said
