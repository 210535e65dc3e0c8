"""Starting, killing and restarting the Functions host."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from sandbox.functions_host import FunctionsHost, HostStartError
from tests.sandbox.functions_host_support import ECHO, Client, echo_settings, until

_SIMPLE_APP = """
import azure.functions as func
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
"""

_PARENT = """
import asyncio, sys
from pathlib import Path
from sandbox.functions_host import FunctionsHost

async def main():
    host = FunctionsHost(Path(sys.argv[1]), settings={})
    await host.start()
    print(host.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def write_app(directory: Path, body: str, *, host_json: str = "{}") -> Path:
    (directory / "function_app.py").write_text(_SIMPLE_APP + body)
    (directory / "host.json").write_text(host_json)
    return directory


_TIMER_BY_SETTING = """
@app.timer_trigger(arg_name='t', schedule='%NONE%')
def f(t: func.TimerRequest) -> None: ...
"""
_STORAGE_QUEUE = """
@app.queue_trigger(arg_name='m', queue_name='q', connection='Bus')
def f(m: func.QueueMessage) -> None: ...
"""
_WRONG_ANNOTATION = """
@app.route(route='x')
def f(req: func.TimerRequest) -> str: return ''
"""

# fmt: off
BROKEN = [
    # id                 function_app.py                  message
    ("import-error",     "import no_such_module",           "No module named 'no_such_module'"),
    ("no-functions",     "",                                "No functions found"),
    ("missing-setting",  _TIMER_BY_SETTING,               "'%NONE%' does not resolve"),
    ("unknown-trigger",  _STORAGE_QUEUE,                    "bindings the sandbox does not have"),
    ("wrong-annotation", _WRONG_ANNOTATION,                 "do not match the corresponding"),
]
# fmt: on


@pytest.mark.parametrize(
    ("body", "message"), [pytest.param(*case, id=name) for name, *case in BROKEN]
)
async def test_an_app_that_cannot_run_fails_the_start(
    tmp_path: Path, body: str, message: str
) -> None:
    """`start` raises with what the child printed, and leaves no process."""
    host = FunctionsHost(write_app(tmp_path, body), settings={})

    with pytest.raises(HostStartError, match=message):
        await host.start()
    assert host.pid is None


async def test_a_broken_host_json_fails_the_start(tmp_path: Path) -> None:
    host = FunctionsHost(write_app(tmp_path, "", host_json="{"), settings={})

    with pytest.raises(HostStartError, match="not valid JSON"):
        await host.start()


async def test_killed_and_restarted_it_serves_on_the_same_port_with_the_same_keys() -> None:
    host = FunctionsHost(ECHO, settings=echo_settings())
    await host.start()
    try:
        url, pid, key = host.url, host.pid, host.host_key
        host.kill()
        assert host.pid is None
        assert not is_alive(pid)

        await host.restart()

        assert (host.url, host.host_key) == (url, key)
        assert host.pid not in {None, pid}
        async with aiohttp.ClientSession() as session:
            assert (await Client(host, session).call("GET", f"/api/guarded?code={key}"))[0] == 200
    finally:
        host.kill()
        host.kill()


async def test_stopping_lets_a_running_request_end(tmp_path: Path) -> None:
    app = write_app(
        tmp_path,
        "import asyncio\n"
        "@app.route(route='work')\n"
        "async def work(req: func.HttpRequest) -> str:\n"
        "    print('working', flush=True)\n"
        "    await asyncio.sleep(0.5)\n"
        "    return 'done'\n",
    )
    host = FunctionsHost(app, settings={})
    await host.start()
    try:
        async with aiohttp.ClientSession() as session:
            request = asyncio.create_task(Client(host, session).call("GET", "/api/work"))

            async def working() -> bool:
                return "working" in host.output

            await until(working)
            await host.stop()

            assert await request == (200, "done")
            assert host.pid is None
    finally:
        host.kill()


async def test_it_dies_with_its_parent_and_takes_its_children(tmp_path: Path) -> None:
    """The launcher's process is killed with SIGKILL: host, app and the app's child all go."""
    app = write_app(
        tmp_path,
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid))\n"
        "@app.route(route='x')\n"
        "def f(req: func.HttpRequest) -> str: return ''\n",
    )
    parent = spawn_parent(app)
    assert parent.stdout is not None
    pid = int(await asyncio.to_thread(parent.stdout.readline))
    child = int((tmp_path / "child").read_text())
    assert is_alive(pid)
    assert is_alive(child)

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    async def both_gone() -> bool:
        return not is_alive(pid) and not is_alive(child)

    await until(both_gone, what="the end of the host and its child")


async def test_an_app_sees_only_its_own_modules(tmp_path: Path) -> None:
    """The repository that the host lives in is not on the app's path; its directory is."""
    (tmp_path / "helper.py").write_text("NAME = 'mine'")
    app = write_app(
        tmp_path,
        "import importlib.util, os, helper\n"
        "@app.route(route='x')\n"
        "def f(req: func.HttpRequest) -> str:\n"
        "    return f\"{helper.NAME} {importlib.util.find_spec('controller')} {os.getcwd()}\"\n",
    )
    host = FunctionsHost(app, settings={}, log_file=tmp_path / "host.log")
    await host.start()
    try:
        async with aiohttp.ClientSession() as session:
            answer = await Client(host, session).call("GET", "/api/x")
            assert answer == (200, f"mine None {tmp_path}")
    finally:
        host.kill()
    assert "Executed 'Functions.f'" in (tmp_path / "host.log").read_text()


async def test_settings_override_host_json(tmp_path: Path) -> None:
    """AzureFunctionsJobHost__a__b beats a.b of host.json, as on the platform."""
    app = write_app(
        tmp_path,
        "@app.route(route='x')\ndef f(req: func.HttpRequest) -> str: return 'here'\n",
        host_json='{"extensions": {"http": {"routePrefix": "api"}}}',
    )
    host = FunctionsHost(app, settings={"AzureFunctionsJobHost__extensions__http__routePrefix": ""})
    await host.start()
    try:
        async with aiohttp.ClientSession() as session:
            assert await Client(host, session).call("GET", "/x") == (200, "here")
    finally:
        await host.stop()


def spawn_parent(app: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", _PARENT, str(app)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - our own interpreter


def is_alive(pid: int | None) -> bool:
    """Say whether *pid* runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
