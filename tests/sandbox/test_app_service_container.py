"""A container's port is its own: from before its process starts until it has ended."""

import socket
from pathlib import Path

import pytest

from sandbox.app_service import Image
from sandbox.app_service.container import Container, ContainerLog, Wanted

APP = """
import os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class App(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

while not os.path.exists(os.environ["GATE"]):
    time.sleep(0.01)
ThreadingHTTPServer((os.environ["ADDRESS"], int(os.environ["PORT"])), App).serve_forever()
"""


def taken(port: int) -> bool:
    """Whether a stranger who wants just this port is refused."""
    with socket.socket() as stranger:
        try:
            stranger.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def spawned(directory: Path, *, address: str = "127.0.0.1") -> Container:
    program = directory / "app.py"
    if not program.exists():  # never rewritten: a container that starts may be reading it
        program.write_text(APP)
    image = Image("sha256:0", directory, {"Entrypoint": ["python", "-S", "app.py"]})
    environment = {"GATE": str(directory / "gate"), "ADDRESS": address}
    wanted = Wanted(image="app", label="app", environment=environment, stop_seconds=1)
    return await Container.spawn("app_0", wanted, image, ContainerLog())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - as apps do
async def test_nobody_else_gets_the_port_while_the_process_starts(
    tmp_path: Path, address: str
) -> None:
    """However long it takes; until it listens it does not answer, then it does."""
    container = await spawned(tmp_path, address=address)
    try:
        assert taken(container.port)
        assert await container.ping("/") is None
        (tmp_path / "gate").touch()
        assert await container.answers_within(20)
        assert await container.ping("/") == 204
    finally:
        await container.kill(1)


async def test_the_port_is_free_again_once_the_process_has_ended(tmp_path: Path) -> None:
    container = await spawned(tmp_path)
    await container.kill(1)

    assert not taken(container.port)


async def test_every_container_has_a_port_of_its_own(tmp_path: Path) -> None:
    """Many that start at once, none listening yet, beside others who take what is free."""
    containers = [await spawned(tmp_path) for _ in range(8)]
    strangers = [socket.create_server(("127.0.0.1", 0)) for _ in range(200)]
    try:
        ports = {container.port for container in containers}
        assert len(ports) == len(containers)
        assert ports.isdisjoint(stranger.getsockname()[1] for stranger in strangers)
        (tmp_path / "gate").touch()
        assert all([await container.answers_within(20) for container in containers])
    finally:
        for stranger in strangers:
            stranger.close()
        for container in containers:
            await container.kill(1)


async def test_a_process_that_cannot_be_started_leaves_no_port_behind(tmp_path: Path) -> None:
    image = Image("sha256:0", tmp_path, {"Entrypoint": ["/no/such/program"]})
    wanted = Wanted(image="app", label="app", environment={})

    def open_sockets() -> int:
        names = [each.readlink().name for each in Path("/proc/self/fd").iterdir() if each.exists()]
        return sum(name.startswith("socket:") for name in names)

    before = open_sockets()
    with pytest.raises(FileNotFoundError):
        await Container.spawn("app_0", wanted, image, ContainerLog())
    assert open_sockets() == before
