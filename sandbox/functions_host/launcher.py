"""Starts, kills and restarts a Functions host in a child process."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sandbox.functions_host.keys import Keys

_REPOSITORY = Path(__file__).resolve().parents[2]
_BASE_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "VIRTUAL_ENV")
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0


class HostStartError(Exception):
    """The host ended, or was not ready in time; the message holds what it printed."""


class FunctionsHost:
    """A function app and its host in ONE child process, so that SIGKILL takes both.

    The child sees a minimal environment plus *settings*, as a Function App sees its app settings.
    It dies with this process, however this process ends, and takes its own children with it.

    Use: ``await host.start()``; call ``host.url``; ``host.kill()``; ``await host.restart()``;
    ``await host.stop()``. *ca_file* is the authority that the Service Bus server is under (that
    client ignores ``SSL_CERT_FILE``). Output goes to *log_file*, appended, or to a temporary file;
    `output` returns it.
    """

    def __init__(
        self,
        app_directory: Path,
        *,
        settings: Mapping[str, str],
        ca_file: Path | None = None,
        log_file: Path | None = None,
    ) -> None:
        self._app_directory = app_directory
        self._settings = dict(settings)
        self._ca_file = ca_file
        self._log: IO[bytes] = (
            tempfile.TemporaryFile() if log_file is None else log_file.open("a+b")  # noqa: SIM115 - lives as long as this object
        )
        self._log_start = self._log.seek(0, os.SEEK_END)
        self._keys = Keys()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.functions: list[str] = []

    @property
    def url(self) -> str:
        """Base address without a trailing slash. Meaningful after `start`."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The child's process id; None when it does not run."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and running else None

    @property
    def host_key(self) -> str:
        """Opens functions of level ``function``."""
        return self._keys.host

    @property
    def master_key(self) -> str:
        """Opens everything, ``/admin`` included."""
        return self._keys.master

    @property
    def eventgrid_key(self) -> str:
        """Opens the Event Grid extension's webhook (a system key)."""
        return self._keys.event_grid

    @property
    def output(self) -> str:
        """What the child has printed since this object was made."""
        text = os.pread(self._log.fileno(), 1 << 24, self._log_start)
        return text.decode("utf-8", errors="replace")

    def event_grid_endpoint(self, function_name: str) -> str:
        """Return the webhook address of an Event Grid function, key included."""
        return (
            f"{self.url}/runtime/webhooks/eventgrid"
            f"?functionName={function_name}&code={self.eventgrid_key}"
        )

    async def start(self, port: int = 0) -> None:
        """Start; when this returns, functions are indexed and HTTP listens.

        Raises:
            HostStartError: the app cannot be loaded (its traceback is in the message), the
                configuration is wrong, or the host was not ready within a minute.
        """
        if self.pid is not None:
            raise RuntimeError("The host is running.")
        printed_before = len(self.output)
        ready_end, child_end = os.pipe()
        try:
            self._process = self._spawn(port, child_end)
        finally:
            os.close(child_end)
        answer = b""
        try:
            with contextlib.suppress(TimeoutError):
                reading = asyncio.to_thread(_read_all, ready_end)
                answer = await asyncio.wait_for(reading, _START_SECONDS)
        finally:
            if not answer:
                self.kill()
        if not answer:
            raise HostStartError(f"The host did not start:\n{self.output[printed_before:]}")
        state = json.loads(answer)
        self.port = state["port"]
        self.functions = state["functions"]

    async def stop(self) -> None:
        """Stop gracefully: running functions may end; after ten seconds they are killed."""
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, _STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill the host, the app and their children, now. Safe to call twice."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdin is not None:
            process.stdin.close()

    async def restart(self) -> None:
        """Start again on the same port, after `kill` or `stop` (or stop first)."""
        await self.stop()
        await self.start(self.port)

    def _spawn(self, port: int, ready_fd: int) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "sandbox.functions_host", "--die-with-stdin"]
        command += ["--app", str(self._app_directory.resolve()), "--port", str(port)]
        command += ["--ready-fd", str(ready_fd)]
        if self._ca_file is not None:
            command += ["--ca-file", str(self._ca_file.resolve())]
        base = {name: os.environ[name] for name in _BASE_VARIABLES if name in os.environ}
        return subprocess.Popen(
            command,
            cwd=_REPOSITORY,
            env=base | {"PYTHONUNBUFFERED": "1"} | self._settings | self._keys.as_environment(),
            stdin=subprocess.PIPE,  # its end is the sign of our death
            stdout=self._log,
            stderr=self._log,
            pass_fds=(ready_fd,),
            start_new_session=True,  # a process group of its own, to be killed as one
        )


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read()
