"""Two stands for one contract suite: the memory twin, and the real adapter on the sandbox."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from azure.core.credentials import AccessToken

from controller.adapters.azure.app_service import AppServicePlatform
from controller.adapters.azure.arm_clients import ArmClients
from controller.adapters.azure.credentials import connection_options
from controller.adapters.memory.platform import MemoryPlatform
from controller.adapters.memory.prober import MemoryProber
from controller.adapters.memory.world import Fault, World
from controller.adapters.probe import HttpProber
from controller.core.plan import Health, SlotName, Target
from controller.ports import Answer, Hosts, Prober, TargetPlatform
from sandbox import tokens
from sandbox.app_service import AppService, ArmError, Image, ImagePullError, Site
from sandbox.app_service.host_names import HostNames
from sandbox.tls import Authority, create_authority

BLUE, GREEN, PRODUCTION = SlotName("blue"), SlotName("green"), SlotName("production")
HEALTH = Health(readiness_path="/ready")
TARGET = Target(
    subscription="00000000-0000-0000-0000-000000000001",
    resource_group="shop-group",
    site="shop",
    slots=(BLUE, GREEN),
)
SETTINGS = {"GREETING": "hello", "OTEL_RESOURCE_ATTRIBUTES": "team=shop,service.version=1.0"}

APP = """
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class App(BaseHTTPRequestHandler):
    wbufsize = -1

    def do_GET(self):
        release = os.environ.get("SLIPWAY_RELEASE", "")
        image = os.environ["BUILD"]
        data = json.dumps({"build": {"release": release, "image": image}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if release:
            self.send_header("x-release-digest", release)
        self.send_header("x-image", image)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass

print("build", os.environ["BUILD"], "starts", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"""


def digest(name: str) -> str:
    """Return the digest of the image called *name*."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def image(name: str) -> str:
    """Return the reference of the image called *name*."""
    return f"registry.test/shop@{digest(name)}"


class Credential:
    """Gives tokens as the sandbox's identity endpoint does."""

    def __init__(self, audience: str = "https://management.azure.com") -> None:
        self._audience = audience

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken(*tokens.mint(self._audience, "controller"))

    async def close(self) -> None:
        """Nothing is open."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Nothing is open."""


class Images:
    """Holds the app under any name; each image knows its own in ``BUILD``."""

    def __init__(self, directory: Path, *names: str) -> None:
        directory.mkdir(parents=True)
        (directory / "app.py").write_text(APP)
        self._directory = directory
        self._names = {image(name): name for name in names}

    async def pull(self, reference: str) -> Image:
        name = self._names.get(reference)
        if name is None:
            raise ImagePullError(f"manifest for {reference} not found")
        environment = [f"BUILD={name}", "SANDBOX_PRELOAD=http.server"]
        config = {"Entrypoint": ["python", "app.py"], "Env": environment}
        return Image(digest(name), self._directory, config)


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def platform(self) -> TargetPlatform: ...

    @property
    def prober(self) -> Prober: ...

    def writes(self) -> int:
        """Return how many changes the platform has been asked for so far."""
        ...

    def strike(self, operation: str, fault: Fault) -> None:
        """Let the next *operation* (stage, route, read) of slot blue meet *fault*."""
        ...


class MemoryStand:
    """The twin."""

    def __init__(self) -> None:
        self.world = World()
        self.world.create_site(
            TARGET, image=image("old"), release=None, telemetry_release="1.0", settings=SETTINGS
        )
        self.platform = MemoryPlatform(self.world)
        self.prober = MemoryProber(self.world)

    def writes(self) -> int:
        return len(self.world.writes)

    def strike(self, operation: str, fault: Fault) -> None:
        self.world.weather.script(operation, fault)


class SandboxStand:
    """The real adapter, its real SDK, over sockets."""

    def __init__(self, service: AppService, site: Site, authority: Authority) -> None:
        self.service = service
        self.site = site
        self.clients = ArmClients(
            Credential(),
            arm_endpoint=service.arm_url,
            connection_options=connection_options(authority.ca_file),
        )
        self.platform = AppServicePlatform(self.clients, scheme="http")
        self.prober = HttpProber()

    def writes(self) -> int:
        return sum(
            request.method in {"PATCH", "PUT"} or request.path.endswith("/restart")
            for request in self.service.log
        )

    def strike(self, operation: str, fault: Fault) -> None:
        pattern = {
            "read": "^GET .*/config/web$",
            "route": "^PATCH .*/config/web$",
            "stage": "^PATCH .*/config/web$",
        }[operation]
        if operation == "stage" and self.site.production.uses_site_containers:
            pattern = "^PUT .*/sitecontainers/main$"
        faults = self.service.faults
        if fault is Fault.TRANSIENT:
            faults.refuse(pattern, ArmError(503, "ServiceUnavailable", "Try later.", legacy=True))
        elif fault is Fault.THROTTLED:
            faults.throttle(pattern, retry_after_seconds=7)
        elif fault is Fault.PERMANENT:
            faults.refuse(pattern, ArmError(403, "AuthorizationFailed", "No authorization."))
        elif fault is Fault.LOST_RESPONSE:
            # aiohttp itself repeats a PUT whose connection broke, once.
            faults.lose_response(pattern, count=2 if "PUT" in pattern else 1)
        else:
            faults.lose_request("^PUT .*/config/appsettings$", count=3)


@asynccontextmanager
async def sandbox_stand(
    directory: Path,
    *more_images: str,
    target: Target = TARGET,
    site_containers: bool = False,
    host_names: HostNames | None = None,
) -> AsyncGenerator[SandboxStand]:
    """Run App Service with one site that serves "old" everywhere."""
    authority = create_authority(directory / "tls")
    service = AppService(
        authority,
        work_directory=directory / "work",
        pull=Images(directory / "images", "old", "new", *more_images),
    )
    await service.start()
    try:
        site = await service.create_site(
            subscription=target.subscription,
            resource_group=target.resource_group,
            name=target.site,
            slots=target.slots,
            image=image("old"),
            settings=SETTINGS,
            site_containers=site_containers,
            host_names=host_names,
        )
        stand = SandboxStand(service, site, authority)
        try:
            yield stand
        finally:
            await stand.clients.close()
            await stand.prober.close()
    finally:
        await service.stop()


def url(hosts: Hosts, slot: SlotName) -> str:
    """Return where *slot* answers."""
    return f"{hosts.scheme}://{hosts.slots[slot]}"


async def until_answers(
    stand: Stand, slot: SlotName, release: str, *, health: Health = HEALTH
) -> list[Answer]:
    """Ask *slot* until it proves *release*; return everything it answered on the way."""
    base = url(await stand.platform.hosts(TARGET), slot)
    answers: list[Answer] = []
    async with asyncio.timeout(20):
        while not answers or answers[-1].release != release:
            answers.append(await stand.prober.ready(base, health))
            await asyncio.sleep(0.02)
    return answers
