"""Azure Storage on loopback: Azurite as a child process, with Entra tokens and TLS."""

import asyncio
import re
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from sandbox.node import dying_with_parent, find_node, node_script
from sandbox.tls import Authority

ACCOUNT = "devstoreaccount1"
_SCRIPT = "azurite/dist/src/azurite.js"
_LISTENING = re.compile(rb"Azurite (\w+) service is successfully listening at https?://[^:]+:(\d+)")
_SERVICES = frozenset({"blob", "queue", "table"})
_START_SECONDS = 60.0  # 0.5 s when idle; a loaded machine needs patience
_STOP_SECONDS = 5.0
_KEPT_LINES = 40


class StorageError(Exception):
    """Azurite did not come up; the message holds what it printed."""


class Storage:
    """Blobs, queues and tables of the account ``devstoreaccount1``.

    Tokens for ``https://storage.azure.com`` are accepted. With *in_memory* nothing survives
    `stop`; otherwise *directory* keeps it. Use as an asynchronous context manager, or call
    `start` and `stop`. Azurite also ends when this process does, however it ends.

    Differences from Azure: a batch of more than 100 operations breaks the connection, the 1 MiB
    entity limit is not enforced, and a killed Azurite loses its last five seconds.
    """

    def __init__(self, authority: Authority, directory: Path, *, in_memory: bool = True) -> None:
        self._authority = authority
        self._directory = directory
        self._in_memory = in_memory
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ports: dict[str, int] = {}
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)

    @property
    def blob_url(self) -> str:
        """Address of the blob service, account included, no trailing slash."""
        return self._url("blob")

    @property
    def queue_url(self) -> str:
        """Address of the queue service."""
        return self._url("queue")

    @property
    def table_url(self) -> str:
        """Address of the table service."""
        return self._url("table")

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start Azurite on free ports and return when all three services listen.

        Raises:
            StorageError: it ended, or did not listen in time.
            NodeMissingError: Node.js or the azurite package is not installed.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._ports.clear()
        self._lines.clear()
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_parent(self._command()),
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._read_until_listening(self._process)
        except (StorageError, TimeoutError, asyncio.CancelledError) as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                raise StorageError(self._report("did not listen in time")) from error
            raise
        self._reader = asyncio.create_task(self._drain(self._process))

    async def stop(self) -> None:
        """End Azurite, by force when it takes longer than a few seconds. Safe twice."""
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if reader is not None:
            await asyncio.wait({reader}, timeout=1)
            reader.cancel()

    def _command(self) -> list[str]:
        place = (
            ["--inMemoryPersistence"] if self._in_memory else ["--location", str(self._directory)]
        )
        ports = [word for name in sorted(_SERVICES) for word in (f"--{name}Port", "0")]
        return [
            find_node(),
            str(node_script(_SCRIPT)),
            *place,
            *ports,
            "--silent",
            "--disableTelemetry",
            "--skipApiVersionCheck",  # the SDKs are newer than any release of Azurite
            "--oauth",
            "basic",
            "--cert",
            str(self._authority.cert_file),
            "--key",
            str(self._authority.key_file),
        ]

    async def _read_until_listening(self, process: asyncio.subprocess.Process) -> None:
        while self._ports.keys() != _SERVICES:
            line = await process.stdout.readline() if process.stdout else b""
            if not line:
                raise StorageError(self._report("ended"))
            self._lines.append(line)
            if found := _LISTENING.search(line):
                self._ports[found[1].decode().lower()] = int(found[2])

    async def _drain(self, process: asyncio.subprocess.Process) -> None:
        """Keep the pipe empty: a full one would stop Azurite."""
        while process.stdout and (line := await process.stdout.readline()):
            self._lines.append(line)

    def _report(self, what: str) -> str:
        return f"Azurite {what}. It printed:\n{b''.join(self._lines).decode(errors='replace')}"

    def _url(self, service: str) -> str:
        return f"https://127.0.0.1:{self._ports[service]}/{ACCOUNT}"
