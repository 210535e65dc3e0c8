"""One container: an OS process started from an image, and its log."""

import asyncio
import ctypes
import os
import shlex
import signal
import socket
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import aiohttp

from sandbox.app_service.forked import ForkedProcess, fork
from sandbox.app_service.images import Image

_LOG_BYTES = 256 * 1024
_PING_INTERVAL_SECONDS = 0.02
_ANSWER_SECONDS = 230.0  # the front end's own limit for one silent request
_IDLE_CONNECTION_SECONDS = 2.0  # below what app servers use, so that they never hang up first
_PR_SET_PDEATHSIG = 1
_PRELOAD = "SANDBOX_PRELOAD"  # of an image: modules that its script imports, which is all Python
_LIBC = ctypes.CDLL(None)

Process = asyncio.subprocess.Process | ForkedProcess


class ContainerLog:
    """The kept tail of what a slot's containers and the platform wrote."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def output(self, chunk: bytes) -> None:
        """Append what a container wrote."""
        self._tail += chunk
        excess = len(self._tail) - _LOG_BYTES
        if excess > 0:
            del self._tail[:excess]

    def platform(self, level: str, line: str) -> None:
        """Append what the platform has to say."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.output(f"{moment} {level} - {line}\n".encode())

    def read(self) -> bytes:
        """Return the tail."""
        return bytes(self._tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a slot shall run. Two equal ones still mean two starts: identity counts."""

    image: str
    label: str  # first part of the containers' names
    environment: Mapping[str, str] = field(hash=False)  # settings and the platform's variables
    warm_up_path: str = "/"
    start_seconds: float = 230.0
    stop_seconds: float = 5.0
    command_line: str = ""  # replaces the image's own command


class Container:
    """A running process. Made by `spawn`, ended by `retire` or `kill`."""

    def __init__(
        self,
        name: str,
        wanted: Wanted,
        image: Image,
        reservation: socket.socket,
        process: Process,
    ) -> None:
        self.name = name
        self.wanted = wanted
        self.image = image
        self.port: int = reservation.getsockname()[1]
        self.process = process
        self.session = _session()
        self.in_flight = 0  # requests under way
        self._idle = asyncio.Event()
        self._idle.set()
        self._output: asyncio.Task[None] | None = None
        self._reservation = reservation

    @classmethod
    async def spawn(cls, name: str, wanted: Wanted, image: Image, log: ContainerLog) -> "Container":
        """Start the process; it does not answer yet."""
        reservation = _reserved_port()
        try:
            environment = _environment(wanted, image, reservation.getsockname()[1])
            process = await _start(_command(wanted, image), image, environment)
        except BaseException:
            reservation.close()
            raise
        container = cls(name, wanted, image, reservation, process)
        container._output = asyncio.create_task(_copy(process, log))
        return container

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.returncode is None

    @contextmanager
    def borrowed(self) -> Generator[None]:
        """Hold the container while a request is under way, so that it is not ended."""
        self.in_flight += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.in_flight == 0:
                self._idle.set()

    async def answers_within(self, seconds: float) -> bool:
        """Ping until any HTTP status comes back; False on a timeout or when the process ends."""
        try:
            async with asyncio.timeout(seconds):
                while self.alive:
                    if await self.ping(self.wanted.warm_up_path) is not None:
                        return self.alive
                    await asyncio.sleep(_PING_INTERVAL_SECONDS)
        except TimeoutError:
            pass
        return False

    async def ping(self, path: str) -> int | None:
        """Return the status of GET *path*, or None when nobody answers."""
        url = f"http://127.0.0.1:{self.port}/{path.lstrip('/')}"
        try:
            async with self.session.get(url, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, OSError):
            return None

    async def retire(self) -> None:
        """End the process once its requests are answered, or when its stop limit is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), self.wanted.stop_seconds)
        await self.kill(self.wanted.stop_seconds)

    async def kill(self, grace_seconds: float) -> None:
        """Ask the process to end; after *grace_seconds* end it and all it started."""
        if self.alive:
            with suppress(ProcessLookupError):
                self.process.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), grace_seconds)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        if self._output is not None:
            # A grandchild that left the group may hold the pipe; do not wait for it.
            await asyncio.wait({self._output}, timeout=1)
            self._output.cancel()
        if isinstance(self.process, ForkedProcess):
            self.process.close()
        await self.session.close()
        self._reservation.close()


def _session() -> aiohttp.ClientSession:
    """A client of one container: pooled, unlimited, and changing nothing on the way."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_CONNECTION_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_ANSWER_SECONDS),
    )


async def _start(command: Sequence[str], image: Image, environment: Mapping[str, str]) -> Process:
    """Start a process, as a fork where the image names what its script imports."""
    directory = image.working_directory
    modules = image.environment.get(_PRELOAD, "").split()
    match command:
        case [sys.executable, script] if modules and sys.platform == "linux":
            with suppress(ConnectionError):  # no server: the long way is always there
                return await fork(modules, script, directory=directory, environment=environment)
        case _:
            pass
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _command(wanted: Wanted, image: Image) -> tuple[str, ...]:
    command = tuple(shlex.split(wanted.command_line)) or image.command
    if command and command[0] in {"python", "python3"}:
        return (sys.executable, *command[1:])
    return command


def _environment(wanted: Wanted, image: Image, port: int) -> dict[str, str]:
    """Image, then settings, then the port: the container has no port of its own to choose."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    ports = {"PORT": str(port), "WEBSITES_PORT": str(port)}
    return inherited | image.environment | dict(wanted.environment) | ports


def _reserved_port() -> socket.socket:
    """Return a socket that holds a free port for the container, from before it starts to its end.

    A port that is only looked for and let go is somebody else's by the time the process binds it.
    The socket never listens: the container may bind its address beside it, as every server that
    reuses addresses does (so that it can restart), and until it listens connections are refused.
    The kernel gives a port that is held to nobody who asks for any, listener or connection.
    """
    reservation = socket.socket()
    try:
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reservation.bind(("127.0.0.1", 0))
    except OSError:
        reservation.close()
        raise
    return reservation


def _die_with_parent() -> None:
    """Run in the child: no container outlives the sandbox, however that ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


async def _copy(process: Process, log: ContainerLog) -> None:
    if process.stdout is None:
        return
    while chunk := await process.stdout.read(65536):
        log.output(chunk)
