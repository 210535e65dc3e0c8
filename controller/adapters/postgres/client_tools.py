"""PostgreSQL's own programs: which of them are here, and how one of them is run.

The password is passed in the environment variable PGPASSWORD of the child alone. Nobody but our
own user and root can read a process's environment on Linux; arguments, everybody can. A password
file would be no better hidden, would stay on disk when we are killed, and older clients cut what
stands in one at 320 characters, which a token of Entra exceeds.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg.conninfo import make_conninfo

from controller.core.errors import (
    AccessDeniedError,
    PermanentError,
    SlipwayError,
    TransientError,
)
from controller.ports_data import DatabaseAddress

PIPE_BYTES: Final = 1 << 20
_PLACES: Final = "/usr/lib/postgresql"
_VERSION: Final = re.compile(r"\(PostgreSQL\) (\d+)")
_KEPT_BYTES: Final = 16 << 10  # of what a program complains
_SHOWN: Final = 600  # characters of it in an error
_STOP_SECONDS: Final = 5.0
_SECRETS: Final = frozenset({"password", "sslpassword", "passfile"})

# Runs in the child, before the program: ask the kernel for SIGKILL when the parent is gone, give up
# if that has happened already, become the program. A `preexec_fn` would do the same, but Python
# runs it between fork and exec, where a process with threads (a Functions worker) may deadlock.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
try:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
except AttributeError:
    pass  # no Linux: the program ends when its pipe breaks
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTool:
    """One of PostgreSQL's programs."""

    path: str
    major: int  # version


def find_tool(name: str, places: Sequence[Path] | None = None) -> ClientTool:
    """Return the newest *name* (pg_dump, pg_restore) on PATH or where Debian puts them.

    Args:
        name: of the program.
        places: directories to look into instead.

    Raises:
        PermanentError: there is none; the message says what to install.
    """
    found = [tool for path in _candidates(name, places) if (tool := _asked(path))]
    if not found:
        raise PermanentError(
            f"{name} is not installed here.",
            fix="Install PostgreSQL's client programs (Debian: postgresql-client), in the"
            " server's version or newer.",
        )
    return max(found, key=lambda tool: tool.major)


def _candidates(name: str, places: Sequence[Path] | None) -> list[str]:
    if places is not None:
        return [str(path) for place in places if (path := place / name).is_file()]
    on_path = [found for each in os.get_exec_path() if (found := shutil.which(name, path=each))]
    debian = sorted(str(path) for path in Path(_PLACES).glob(f"*/bin/{name}"))
    return list(dict.fromkeys([*debian, *on_path]))  # an older one may stand before a newer one


def _asked(path: str) -> ClientTool | None:
    """Return the tool at *path* with its version; None where it does not run."""
    try:
        said = subprocess.run(  # noqa: S603 - a program that we looked for
            [path, "--version"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = _VERSION.search(said)
    return ClientTool(path=path, major=int(version[1])) if version else None


def connection_words(address: DatabaseAddress) -> str:
    """Return the connection string of *address*, which everybody may read."""
    words: dict[str, str | int | None] = {
        name: value for name, value in address.options.items() if name not in _SECRETS
    }
    words |= {"host": address.host, "port": address.port, "dbname": address.database}
    words |= {"user": address.user, "sslmode": address.sslmode}
    return make_conninfo("", **words)


class RunningTool:
    """A program that runs, with its end and its complaints. Close it in any case."""

    def __init__(
        self, process: asyncio.subprocess.Process, address: DatabaseAddress, password: str
    ) -> None:
        self.process = process
        self._address = address
        self._password = password
        self._complaints = bytearray()
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls, tool: ClientTool, arguments: Sequence[str], address: DatabaseAddress, password: str
    ) -> "RunningTool":
        """Start *tool* for *address*, with pipes to it and from it."""
        launcher = (sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()))
        process = await asyncio.create_subprocess_exec(
            *launcher, tool.path, *arguments, "--no-password",
            "--dbname", connection_words(address),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(password),
            limit=PIPE_BYTES,
        )  # fmt: skip
        return cls(process, address, password)

    async def _listen(self) -> None:
        """Keep the last of what it complains; a full pipe would stop it."""
        while piece := await _pipe(self.process.stderr).read(1 << 12):
            self._complaints += piece
            del self._complaints[:-_KEPT_BYTES]

    async def end(self) -> None:
        """Wait for its end.

        Raises:
            SlipwayError: it failed; why, in the words of its kind.
        """
        code = await self.process.wait()
        await self._listener
        if code:
            raise failure(bytes(self._complaints), code, self._address, self._password)

    async def close(self) -> None:
        """End it if it still runs."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.kill()
            with suppress(TimeoutError):  # one that hangs in the kernel is not waited for
                await asyncio.wait_for(self.process.wait(), _STOP_SECONDS)
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)
        if self.process.stdin is not None:
            self.process.stdin.close()


def _pipe(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    assert stream is not None  # noqa: S101 - asked for when it was started
    return stream


def _environment(password: str) -> Mapping[str, str]:
    """Return what the child may know: nothing of ours that PostgreSQL would listen to."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {
        **kept,
        "LC_ALL": "C",  # its complaints are read below
        "PGPASSWORD": password,
        "PGAPPNAME": "slipway",
        "PGCONNECT_TIMEOUT": "15",
    }


# --- What it complains of -------------------------------------------------------------------------

_MISMATCH: Final = re.compile(r"server version: (\d+).*?; \w+ version: (\d+)", re.DOTALL)
_TRANSIENT: Final = (
    "server closed the connection",
    "connection to server was lost",
    "terminating connection",
    "could not receive data from server",
    "could not send data to server",
    "SSL SYSCALL error",
    "SSL connection has been closed",
    "Connection refused",
    "Connection timed out",
    "timeout expired",
    "could not translate host name",
    "the database system is",  # starting up, shutting down, in recovery mode
    "remaining connection slots",
    "too many clients",
    "canceling statement",
    "no connection to the server",
)
_DENIED: Final = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied",
    "must be owner",
    "must be superuser",
)


def failure(said: bytes, code: int, address: DatabaseAddress, password: str) -> SlipwayError:
    """Return the error for a program that ended with *code* (negative: by a signal)."""
    text = _shortened(said.decode(errors="replace"), password)
    what = f"{text or 'PostgreSQL said nothing'} ({address})."
    if versions := _MISMATCH.search(text):
        server, client = versions.groups()
        return PermanentError(
            f"{address} is PostgreSQL {server}; the client programs here are {client}.",
            fix=f"Install PostgreSQL's client programs {server} or newer"
            f" (Debian: postgresql-client-{server}).",
        )
    if "in file header" in text:
        return PermanentError(
            f"The dump was made by newer client programs than those here: {what}",
            fix="Install PostgreSQL's client programs in the version that made it, or newer.",
        )
    if code < 0 or any(words in text for words in _TRANSIENT):
        return TransientError(f"The program ended half way: {what}" if code < 0 else what)
    if any(words in text for words in _DENIED):
        return AccessDeniedError(what, fix=f"Give {address.user!r} what it lacks, or its password.")
    return PermanentError(what, fix="Read what PostgreSQL says; then try again.")


def _shortened(text: str, password: str) -> str:
    """Return the complaints themselves: no rows (DETAIL, CONTEXT), no statements, no password."""
    lines: list[str] = []
    for line in text.splitlines():
        found = re.match(r"pg_\w+: (?:error: |detail: |fatal: )?(.*)", line)
        if found and found[1] and not found[1].startswith(("from TOC entry", "hint:", "warning:")):
            lines.append(_without_rows(found[1]))
    shown = "; ".join(dict.fromkeys(lines))
    if password:
        shown = shown.replace(password, "***")
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _without_rows(line: str) -> str:
    """Errors of COPY quote what they could not read: that is somebody's data."""
    return re.sub(r'(invalid input syntax for [^:]+|invalid \w+ value): ".*"', r"\1", line)
