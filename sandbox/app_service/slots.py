"""What a slot runs: one container serves while the next one starts.

The rule of the house on App Service: the old container answers until the new one answers its
start ping; a start that fails changes nothing for clients; of several changes the last one wins.
"""

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any

from sandbox.app_service.container import Container, ContainerLog, Wanted
from sandbox.app_service.images import Image, ImagePuller, ImagePullError

_COALESCE_SECONDS = 0.05  # settings and image are two writes, meant as one
_RESTART_SECONDS = 0.5  # first pause before a dead container is started again; doubles
_RESTARTS = 6  # in a row; then the slot stays down until something changes
_CLOSE_SECONDS = 2.0


class SlotRunner:
    """The containers of one slot. A swap exchanges runners, so they outlive slot names."""

    def __init__(self, puller: ImagePuller) -> None:
        self.log = ContainerLog()
        self.active: Container | None = None
        self.starts = 0  # containers started so far
        self._puller = puller
        self._wanted: Wanted | None = None
        self._start: asyncio.Task[None] | None = None
        self._restarts = 0
        self._background: set[asyncio.Task[None]] = set()
        self._containers: set[Container] = set()  # all whose process may still run
        self._watcher: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def starting(self) -> bool:
        """Whether a container is on its way."""
        return self._start is not None and not self._start.done()

    @property
    def up_to_date(self) -> bool:
        """Whether what serves is what was asked for last."""
        return self.active is not None and self.active.wanted is self._wanted

    def change(self, wanted: Wanted | None) -> None:
        """Run *wanted* from now on; None stops the slot. A start under way is abandoned."""
        self._restarts = 0
        self._wanted = wanted
        self._begin(_COALESCE_SECONDS if self.active is not None else 0)
        if wanted is None:
            self._serve(None)

    async def settled(self) -> bool:
        """Wait until no start is under way; tell whether the last one succeeded."""
        while self._start is not None and not self._start.done():
            await asyncio.wait({self._start})
        return self.up_to_date

    async def close(self) -> None:
        """End every process, within a few seconds."""
        self._closed = True
        self._wanted = None
        self._abandon_start()
        self.active = None
        tasks = tuple(self._background)
        for task in tasks:  # one that retires may wait long for its requests: no more
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(container.kill(_CLOSE_SECONDS) for container in self._containers))
        self._containers.clear()

    def _begin(self, delay_seconds: float) -> None:
        self._abandon_start()
        if self._wanted is not None and not self._closed:
            self._start = asyncio.create_task(self._replace(self._wanted, delay_seconds))

    def _abandon_start(self) -> None:
        if self._start is not None:
            self._start.cancel()
            self._background.add(self._start)
            self._start.add_done_callback(self._background.discard)
            self._start = None

    async def _replace(self, wanted: Wanted, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        container = await self._launch(wanted)
        if container is not None:
            self._serve(container)
        elif self.active is None:
            self._spawn_task(self._start_again(wanted))

    async def _launch(self, wanted: Wanted) -> Container | None:
        """Return a container that answers, or None with the reason in the log."""
        image = await self._pull(wanted)
        if image is None:
            return None
        name = f"{wanted.label}_{self.starts}_{secrets.token_hex(4)}"
        self.starts += 1
        try:
            container = await Container.spawn(name, wanted, image, self.log)
        except OSError as error:
            self.log.platform("ERROR", f"Container {name} could not be created: {error}")
            return None
        self._containers.add(container)
        try:
            answers = await container.answers_within(wanted.start_seconds)
        except asyncio.CancelledError:
            self._spawn_task(self._end(container))
            raise
        if answers:
            self.log.platform("INFO", f"Container {name} initialized successfully.")
            return container
        self._report_failed_start(container)
        self._spawn_task(self._end(container))
        return None

    async def _pull(self, wanted: Wanted) -> Image | None:
        self.log.platform("INFO", f"Pulling image: {wanted.image}")
        try:
            return await self._puller.pull(wanted.image)
        except ImagePullError as error:
            self.log.platform("ERROR", f"Image pull failed: {wanted.image}: {error}")
            return None

    def _report_failed_start(self, container: Container) -> None:
        name, port = container.name, container.port
        if not container.alive:
            code = container.process.returncode
            self.log.platform("ERROR", f"Container {name} has exited with code {code}")
        self.log.platform(
            "ERROR",
            f"Container {name} didn't respond to HTTP pings on port: {port}, failing site start",
        )

    def _serve(self, container: Container | None) -> None:
        """Let *container* take every new request; the one before it finishes its own."""
        previous, self.active = self.active, container
        if self._watcher is not None:
            self._watcher.cancel()
        if container is not None:
            self._watcher = self._spawn_task(self._watch(container))
        if previous is not None:
            self._spawn_task(self._retire(previous))

    async def _watch(self, container: Container) -> None:
        """A container that ends by itself leaves the slot empty, and is started again."""
        code = await container.process.wait()
        self.log.platform("ERROR", f"Container {container.name} has exited with code {code}")
        self.active = None
        self._spawn_task(self._end(container))
        if not self.starting and self._wanted is not None:
            self._spawn_task(self._start_again(self._wanted))

    async def _retire(self, container: Container) -> None:
        await container.retire()
        self._containers.discard(container)

    async def _end(self, container: Container) -> None:
        await container.kill(0)
        self._containers.discard(container)

    async def _start_again(self, wanted: Wanted) -> None:
        if self._restarts >= _RESTARTS:
            return
        pause = _RESTART_SECONDS * 2**self._restarts
        self._restarts += 1
        await asyncio.sleep(pause)
        if self._wanted is wanted and self.active is None and not self.starting:
            self._begin(0)

    def _spawn_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task
