"""Python programs that start as forks of a process that has imported what they need."""

import asyncio
import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_SERVER: Final = Path(__file__).with_name("fork_server.py")
_BASE_VARIABLES: Final = ("PATH", "HOME", "LANG")
_servers: "dict[tuple[str, ...], _ForkServer]" = {}


class ForkedProcess:
    """As much of `asyncio.subprocess.Process` as a container needs. Made by `fork`."""

    def __init__(self, stdout: asyncio.StreamReader, output: asyncio.BaseTransport) -> None:
        self.pid = 0
        self.returncode: int | None = None
        self.stdout = stdout
        self._output = output
        self._ended: asyncio.Task[None] | None = None
        self._status: asyncio.StreamWriter | None = None

    async def follow(self, status: socket.socket) -> None:
        """Wait until the process runs; from then on notice its end.

        Raises:
            OSError: the server is gone.
        """
        reader, self._status = await asyncio.open_connection(sock=status)
        number = await reader.readline()
        if not number:
            raise BrokenPipeError("the fork server has ended")
        self.pid = int(number)
        self._ended = asyncio.create_task(self._notice_end(reader))

    async def _notice_end(self, status: asyncio.StreamReader) -> None:
        try:
            number = await status.readline()
        except OSError:
            number = b""
        # Without a word the server is gone, and it takes its children along.
        self.returncode = int(number or -signal.SIGKILL)

    async def wait(self) -> int:
        """Return the exit code once the process has ended; negative for a signal."""
        if self._ended is not None:
            await asyncio.shield(self._ended)
        return self.returncode if self.returncode is not None else -signal.SIGKILL

    def terminate(self) -> None:
        """Send SIGTERM. Raises ProcessLookupError when it has ended."""
        os.kill(self.pid, signal.SIGTERM)

    def close(self) -> None:
        """Let go of the process: if it has not ended, it is killed."""
        self._output.close()
        if self._status is not None:
            self._status.close()


async def fork(
    modules: Sequence[str], script: str, *, directory: Path, environment: Mapping[str, str]
) -> ForkedProcess:
    """Run ``python script`` in *directory*, where *modules* are imported already.

    The first fork with these modules starts the server that the others share, too. It ends with
    this process, however that ends.

    Raises:
        OSError: there is no server to be had.
    """
    key = tuple(modules)
    if key not in _servers or not _servers[key].alive:
        _servers[key] = _ForkServer(key)
    reading, writing = os.pipe()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)  # noqa: FBT003 - the API's
    try:
        request = {
            "script": script,
            "directory": str(directory),
            "environment": dict(environment),
        }
        _servers[key].send(request, writing, theirs.fileno())
    except BaseException:
        os.close(reading)
        ours.close()
        raise
    finally:
        os.close(writing)
        theirs.close()
    stdout = asyncio.StreamReader()
    output, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb", 0)
    )
    process = ForkedProcess(stdout, output)
    try:
        await process.follow(ours)
    except BaseException:
        process.close()
        raise
    return process


class _ForkServer:
    """The process with the imports."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(_SERVER), *modules],
                cwd="/",
                env={name: os.environ[name] for name in _BASE_VARIABLES if name in os.environ},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._end)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, request: Mapping[str, Any], output: int, status: int) -> None:
        socket.send_fds(self._requests, [json.dumps(request).encode()], [output, status])

    def _end(self) -> None:
        """Hang up: the server and its children end, and are waited for."""
        self._requests.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
