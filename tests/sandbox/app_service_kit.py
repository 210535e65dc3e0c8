"""A running App Service for tests: a small registry, a small app, and the real client."""

import asyncio
import gzip
import hashlib
import io
import json
import random
import tarfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.mgmt.web.aio import WebSiteManagementClient

from sandbox import tokens
from sandbox.app_service import AppService, RegistryPuller, Site
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP = "shop-group"
SITE = "shop"
PRELOAD = {"SANDBOX_PRELOAD": "http.server"}  # empty: the app starts as a program of its own

APP = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

def setting(name, default=""):
    return os.environ.get(name, default)

class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write for head and body, or every answer waits for an acknowledgement

    def do_GET(self):
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        if url.path == "/crash":
            os._exit(3)
        if url.path in {"/half", "/stream"}:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"one")
            self.wfile.flush()
            while not os.path.exists(query["until"][0]):
                time.sleep(0.01)
            if url.path == "/half":
                os._exit(4)
            self.wfile.write(b"two")
            return
        if setting("MUTE"):
            time.sleep(60)
        time.sleep(float(query.get("seconds", ["0"])[0]))
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        page = {"release": setting("RELEASE"), "pid": os.getpid(), "environment": dict(os.environ),
                "path": self.path, "headers": dict(self.headers),
                "body": body.decode(errors="replace")}
        data = json.dumps(page).encode()
        self.send_response(int(setting("STATUS_" + url.path.strip("/"), setting("STATUS", "200"))))
        self.send_header("Content-Length", str(len(data)))
        self.send_header("x-release-digest", setting("RELEASE"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_POST = do_HEAD = do_GET

    def log_message(self, *args):
        pass

class Server(ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

print("release", setting("RELEASE"), "starts", flush=True)
if setting("CRASH"):
    sys.exit(7)
time.sleep(float(setting("START_DELAY", "0")))
Server(("127.0.0.1", int(setting("PORT"))), App).serve_forever()
"""


class Credential:
    """Tokens as the sandbox's identity endpoint gives them."""

    def __init__(self, audience: str = "https://management.azure.com") -> None:
        self._audience = audience

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(*tokens.mint(self._audience, "controller"))

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_details: object) -> None:
        """Nothing is open."""


class Registry:
    """An OCI registry that holds what `push` put into it; with *token*, it wants that."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.token: str | None = None
        self.requests: list[str] = []
        self._objects: dict[str, tuple[bytes, str]] = {}
        application = web.Application()
        application.router.add_get("/v2/{repository}/{kind}/{version}", self._get)
        self.server = WebServer(application, tls=authority.server_context())

    @property
    def host(self) -> str:
        return self.server.url.removeprefix("https://")

    def push(self, tag: str, *, environment: Mapping[str, str], index: bool = False) -> str:
        """Store an image of the app and return its reference by digest."""
        layer = self._put(_layer({"app.py": APP}))
        config = self._put_json(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {
                    "Entrypoint": ["python"] if PRELOAD else ["python", "-S"],
                    "Cmd": ["app.py"],
                    "Env": [
                        f"{name}={value}" for name, value in {**PRELOAD, **environment}.items()
                    ],
                    "ExposedPorts": {"8080/tcp": {}},
                },
            }
        )
        manifest = self._put_json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"digest": config},
                "layers": [{"digest": layer}],
            }
        )
        digest = self._index(manifest) if index else manifest
        self._objects[tag] = self._objects[digest]
        return f"{self.host}/shop@{digest}"

    def spoil(self, digest: str) -> None:
        """Hand out other bytes for *digest* from now on."""
        self._objects[digest] = (b"{}", "application/json")

    def _index(self, manifest: str) -> str:
        arm = self._put_json({"platform": "another machine's"})
        return self._put_json(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [
                    {"digest": arm, "platform": {"os": "linux", "architecture": "arm64"}},
                    {"digest": manifest, "platform": {"os": "linux", "architecture": "amd64"}},
                ],
            }
        )

    def _put_json(self, document: Mapping[str, Any]) -> str:
        kind = str(document.get("mediaType", "application/json"))
        return self._put(json.dumps(document).encode(), kind)

    def _put(self, body: bytes, kind: str = "application/octet-stream") -> str:
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        self._objects[digest] = (body, kind)
        return digest

    async def _get(self, request: web.Request) -> web.Response:
        self.requests.append(request.path)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if request.match_info["version"] not in self._objects:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        body, kind = self._objects[request.match_info["version"]]
        return web.Response(body=body, content_type=kind)


@dataclass(slots=True)
class World:
    """One site with its slots, and everything to look at it."""

    service: AppService
    site: Site
    registry: Registry
    arm: WebSiteManagementClient
    http: aiohttp.ClientSession  # keeps no cookies
    authority: Authority

    async def get(self, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and, if it is the app's, the page."""
        async with self.http.get(url, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {"html": text}

    async def release(self, slot: str = "production") -> str:
        """Return the release that answers on the slot's own host."""
        _status, page = await self.get(self.site.url(slot))
        return str(page.get("release"))

    def image(self, release: str, **environment: str) -> str:
        """Push a build and return its reference."""
        return self.registry.push(release, environment={"RELEASE": release, **environment})


async def until(holds: Callable[[], Awaitable[bool] | bool], *, seconds: float = 15) -> None:
    """Wait until *holds* does; fail after *seconds*."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


def web_config(**properties: Any) -> dict[str, Any]:
    """Return a body for config/web."""
    return {"properties": properties}


def docker(reference: str) -> dict[str, Any]:
    """Return a body that sets the image."""
    return web_config(linuxFxVersion=f"DOCKER|{reference}")


def ramp(site: Site, **shares: float) -> dict[str, Any]:
    """Return a body that sets the ramp-up rules."""
    rules = [
        {"name": slot, "actionHostName": site.host(slot), "reroutePercentage": share}
        for slot, share in shares.items()
    ]
    return web_config(experiments={"rampUpRules": rules})


def client(service: AppService, authority: Authority, **options: Any) -> WebSiteManagementClient:
    """Return the real client, told not to repeat anything by itself."""
    return WebSiteManagementClient(
        options.pop("credential", Credential()),
        SUBSCRIPTION,
        base_url=service.arm_url,
        credential_scopes=["https://management.azure.com/.default"],
        connection_verify=str(authority.ca_file),
        **{"retry_total": 0, "polling_interval": 0.05, **options},
    )


@asynccontextmanager
async def running(
    directory: Path,
    *,
    slots: Sequence[str] = ("blue",),
    settings: Mapping[str, str] | None = None,
    slot_release: str = "old",
    seed: int = 7,
    cookie_seconds: float = 3600,
    site_containers: bool = False,
) -> AsyncGenerator[World]:
    """Run a site that serves release "old" in production; yield it; end all of it."""
    authority = create_authority(directory / "tls")
    registry = Registry(authority)
    await registry.server.start()
    service = AppService(
        authority,
        work_directory=directory / "work",
        cookie_seconds=cookie_seconds,
        pull=RegistryPuller(authority, directory=directory / "images"),
        dice=random.Random(seed),  # noqa: S311 - routing dice, seeded
    )
    service.arm.provider.retry_after_seconds = None  # the client polls as it likes
    await service.start()
    image = registry.push("old", environment={"RELEASE": "old"})
    slot_image = registry.push(slot_release, environment={"RELEASE": slot_release})
    try:
        site = await service.create_site(
            subscription=SUBSCRIPTION,
            resource_group=GROUP,
            name=SITE,
            slots=slots,
            image=image,
            slot_image=slot_image,
            settings=settings or {},
            site_containers=site_containers,
        )
        async with (
            client(service, authority) as arm,
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        ):
            yield World(service, site, registry, arm, http, authority)
    finally:
        await service.stop()
        await registry.server.stop()


def _layer(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mtime = int(time.time())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return gzip.compress(buffer.getvalue(), mtime=0)
