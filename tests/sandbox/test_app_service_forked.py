"""A container that starts as a fork is a process like any other, and ends like one."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.app_service import Image
from sandbox.app_service.container import Container, ContainerLog, Wanted
from sandbox.app_service.forked import ForkedProcess, fork
from tests.sandbox.app_service_kit import until

MODULES = ("json",)
TELLING = """
import json, os, random, sys
print(json.dumps({
    "arguments": sys.argv, "environment": dict(os.environ), "directory": os.getcwd(),
    "leads_a_session": os.getsid(0) == os.getpid(), "dice": random.random(),
    "descriptors": sorted(os.listdir("/proc/self/fd")), "pid": os.getpid(),
    "name": __name__, "threads": len(os.listdir("/proc/self/task")),
}))
"""
SLEEPING = "import time; print('sleeps', flush=True); time.sleep(60)"


async def started(directory: Path, program: str, **environment: str) -> ForkedProcess:
    (directory / "app.py").write_text(program)
    return await fork(MODULES, "app.py", directory=directory, environment=environment)


async def until_gone(pid: int) -> None:
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def test_it_has_its_own_surroundings_and_nothing_of_the_server(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    for place in ("one", "two"):
        process = await started(tmp_path, TELLING, PLACE=place)
        told.append(json.loads(await process.stdout.read()))
        assert await process.wait() == 0
        assert told[-1]["pid"] == process.pid
        process.close()

    for place, seen in zip(("one", "two"), told, strict=True):
        assert seen["environment"] == {"PLACE": place}
        assert seen["arguments"] == ["app.py"]
        assert seen["directory"] == str(tmp_path)
        assert seen["leads_a_session"]
        assert seen["name"] == "__main__"
        assert seen["descriptors"] == ["0", "1", "2", "3"]  # the last is the look itself
        assert seen["threads"] == 1
    assert told[0]["dice"] != told[1]["dice"]


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import sys; sys.exit(7)", 7),
        ("import os; os._exit(3)", 3),
        ("raise RuntimeError('a dead build')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
async def test_its_end_is_seen_as_it_was(tmp_path: Path, program: str, code: int) -> None:
    process = await started(tmp_path, program)
    output = await process.stdout.read()
    assert await process.wait() == code
    assert process.returncode == code
    assert (b"a dead build" in output) == ("RuntimeError" in program)
    process.close()


async def test_it_can_be_asked_to_end(tmp_path: Path) -> None:
    process = await started(tmp_path, SLEEPING)
    assert await process.stdout.readline() == b"sleeps\n"
    assert process.returncode is None
    process.terminate()
    assert await process.wait() == -signal.SIGTERM
    process.close()


async def test_one_that_nobody_holds_any_more_is_killed(tmp_path: Path) -> None:
    """As when its start is abandoned before its process id is known."""
    process = await started(tmp_path, SLEEPING)
    process.close()
    await until_gone(process.pid)


async def test_when_the_server_dies_its_processes_do_and_the_next_has_another(
    tmp_path: Path,
) -> None:
    process = await started(tmp_path, SLEEPING)
    status = Path(f"/proc/{process.pid}/status").read_text()  # noqa: ASYNC240 - quick
    server = int(status.split("PPid:")[1].split()[0])
    os.kill(server, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    await until_gone(process.pid)
    process.close()

    again = await started(tmp_path, SLEEPING)
    assert await again.stdout.readline() == b"sleeps\n"
    again.terminate()
    await again.wait()
    again.close()


_ORPHAN = """
import asyncio, pathlib, sys
from sandbox.app_service.forked import fork

async def main():
    directory = pathlib.Path(sys.argv[1])
    (directory / "app.py").write_text("import time; time.sleep(60)")
    process = await fork(["json"], "app.py", directory=directory, environment={})
    print(process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_dies_with_the_sandbox(tmp_path: Path) -> None:
    """Even when that is killed and can clean up nothing."""
    sandbox = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ORPHAN, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert sandbox.stdout is not None
    pid = int(await sandbox.stdout.readline())
    sandbox.kill()
    await sandbox.wait()
    await until_gone(pid)


@pytest.mark.parametrize(
    ("command", "preload", "forks"),
    [
        (["python", "app.py"], "json", True),
        (["python", "app.py"], "", False),
        (["python", "-S", "app.py"], "json", False),
    ],
)
async def test_a_container_is_a_fork_where_its_image_says_so(
    tmp_path: Path, *, command: list[str], preload: str, forks: bool
) -> None:
    (tmp_path / "app.py").write_text(SLEEPING)
    environment = [f"SANDBOX_PRELOAD={preload}"] if preload else []
    image = Image("sha256:0", tmp_path, {"Entrypoint": command, "Env": environment})
    log = ContainerLog()
    wanted = Wanted(image="app", label="app", environment={})
    container = await Container.spawn("app_0", wanted, image, log)
    assert isinstance(container.process, ForkedProcess) == forks
    await until(lambda: b"sleeps" in log.read())
    await container.kill(5)
    assert not container.alive
    await until_gone(container.process.pid)
