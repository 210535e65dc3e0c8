"""Prove on the real registry of CNCF Distribution that its notifications are understood.

    python tools/real_registry.py [PATH OF docker-registry]

Without a path it takes ``docker-registry`` from the PATH, or Debian's package of that name, which
it unpacks under .sandbox/ (apt is needed, root is not). Images, an index with attestations, a
signature and more are pushed to it; its notifications come to the controller's own door, over
memory instead of Azure. Then a push to it drives a whole rollout in the village, under a stream of
clients. Exits 1 where anything is not as expected.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from aiohttp import web

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from controller.adapters.memory.bus import MemoryBus  # noqa: E402 - after the path
from controller.adapters.memory.clock import ManualClock  # noqa: E402
from controller.adapters.memory.secrets import MemorySecrets  # noqa: E402
from controller.adapters.memory.world import Fault, Weather  # noqa: E402
from controller.adapters.registry import OciRegistry  # noqa: E402
from controller.adapters.registry_calls import RegistryCalls  # noqa: E402
from controller.config.load import load_text  # noqa: E402
from controller.core.plan import AppId, AppSpec  # noqa: E402
from controller.entry.http import Request  # noqa: E402
from controller.entry.intake import Intake  # noqa: E402
from controller.entry.webhooks import registry_webhook  # noqa: E402
from sandbox.clients import Clients  # noqa: E402
from sandbox.demo.api import Api  # noqa: E402
from sandbox.demo_app.images import demo_image  # noqa: E402
from sandbox.registry import ImageSpec, RegistryClient, push_image  # noqa: E402
from sandbox.registry.distribution import Distribution, free_port  # noqa: E402
from sandbox.tls import Authority, create_authority  # noqa: E402
from sandbox.village import APP, WEBHOOK_SECRET, Options, Village  # noqa: E402
from sandbox.web import WebServer  # noqa: E402

UNPACKED: Final = ROOT / ".sandbox" / "docker-registry"
SECRET: Final = "loopback-webhook-secret"  # noqa: S105 - for loopback
REPOSITORY: Final = "team/shop"
_SETTLED_SECONDS: Final = 1.0
_MOST_SECONDS: Final = 30.0
_ROLLOUT_LOOKS: Final = 90  # one per second
_APPS: Final = """\
apps:
  shop:
    target:
      subscription: 00000000-0000-0000-0000-000000000001
      resource_group: rg
      site: shop
      slots: [blue]
    source: {{registry: "{host}", repository: team/shop}}
    analysis: {{workspace: 00000000-0000-0000-0000-000000000002}}
"""


class NotHereError(Exception):
    """The program is not on this machine and cannot be had."""


def binary(given: str | None) -> Path:
    """Return the program's path, unpacking Debian's package where nothing else is there."""
    found = given or shutil.which("docker-registry")
    unpacked = UNPACKED / "usr" / "bin" / "docker-registry"
    if found:
        return Path(found)
    if not unpacked.exists():
        _unpack()
    return unpacked


def _unpack() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NotHereError(
            "docker-registry is not on the PATH, and without apt it cannot be fetched. "
            "Give the path of a registry binary as argument."
        )
    UNPACKED.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run(
        ["apt-get", "download", "docker-registry"],
        cwd=UNPACKED,
        capture_output=True,
        text=True,
        check=False,
    )
    packages = sorted(UNPACKED.glob("docker-registry_*.deb"))
    if fetched.returncode or not packages:
        raise NotHereError(f"apt-get download docker-registry failed: {fetched.stderr.strip()}")
    subprocess.run(["dpkg-deb", "-x", packages[-1].name, "."], cwd=UNPACKED, check=True)


@dataclass
class Door:
    """The controller's door on loopback; the queue is away at the first push."""

    specs: Mapping[AppId, AppSpec] = field(default_factory=dict[AppId, AppSpec])
    answers: list[tuple[int, dict[str, Any]]] = field(
        default_factory=list[tuple[int, dict[str, Any]]]
    )

    def __post_init__(self) -> None:
        weather = Weather()
        weather.script("send", Fault.TRANSIENT)
        self.bus = MemoryBus(ManualClock(), weather=weather)
        self.registry = OciRegistry(RegistryCalls(None))
        app = web.Application()
        app.router.add_post("/api/webhooks/{registry}", self._post)
        self.server = WebServer(app)

    async def apps(self) -> Mapping[AppId, AppSpec]:
        """As a configuration."""
        return self.specs

    async def _post(self, request: web.Request) -> web.Response:
        plain = Request(
            method="POST",
            headers={name.lower(): value for name, value in request.headers.items()},
            route=dict(request.match_info),
            body=await request.read(),
        )
        intake = Intake(configuration=self, bus=self.bus, registry=self.registry)
        answer = await registry_webhook(plain, intake, MemorySecrets({"webhook-oci": SECRET}))
        self.answers.append((answer.status, dict(answer.body)))
        return web.Response(
            status=answer.status, text=answer.text(), content_type="application/json"
        )


async def prove(program: Path) -> list[str]:
    """Run it all; return what is not as expected."""
    with tempfile.TemporaryDirectory(prefix="slipway-") as place:
        directory = Path(place)
        authority = create_authority(directory / "tls")
        door = Door()
        await door.server.start()
        registry = Distribution(
            program,
            directory / "registry",
            authority=authority,
            url=f"{door.server.url}/api/webhooks/oci",
            secret=SECRET,
        )
        try:
            await registry.start()
            door.specs = load_text(_APPS.format(host=registry.host), name="apps.yaml")
            pushed = await _push_everything(registry.host, authority)
            await _settled(door)
            return await _problems(door, pushed, registry.host, authority)
        finally:
            await registry.stop()
            await door.server.stop()
            await door.registry.close()


async def _push_everything(host: str, authority: Authority) -> dict[str, str]:
    """Do what people do with a registry; return the digests by the tags that are images."""
    spec = ImageSpec(files={"app.py": b"print()"}, entrypoint=("python", "app.py"), env={})
    async with RegistryClient(host, ca_file=authority.ca_file, token="") as client:
        one = await client.push(REPOSITORY, "v1", spec)
        index = await client.push_index(REPOSITORY, "v2", [spec], attestations=True)
        await client.sign(REPOSITORY, index)
        await client.attach(REPOSITORY, index, "application/spdx+json", b"{}")
        await client.push("team/other", "v1", spec)
        await client.delete(REPOSITORY, one)
    return {"v1": one, "v2": index}


async def _settled(door: Door) -> None:
    """Return when nothing has come for a while."""
    loop = asyncio.get_running_loop()
    begun, seen = loop.time(), -1
    while len(door.answers) != seen and loop.time() - begun < _MOST_SECONDS:
        seen = len(door.answers)
        await asyncio.sleep(_SETTLED_SECONDS)


async def _problems(
    door: Door, pushed: dict[str, str], host: str, authority: Authority
) -> list[str]:
    for status, body in door.answers:
        print(status, body.get("images") or body.get("reason") or body)
    problems: list[str] = []
    orders = [(i["image"], i["digest"]) for _, b in door.answers for i in b.get("images", ())]
    expected = [(f"{host}/{REPOSITORY}:{tag}", digest) for tag, digest in pushed.items()]
    if orders != expected:
        problems.append(f"ordered were {orders}, not {expected}")
    statuses = {status for status, _ in door.answers}
    if statuses != {200, 202, 503}:
        problems.append(f"answers were {sorted(statuses)}, not 503 once, 202 and 200")
    if len(list(door.bus.waiting("rollouts"))) != len(expected):
        problems.append("the queue does not hold one message per image")
    asked = OciRegistry(RegistryCalls(None, ca_file=authority.ca_file))
    named = await asked.digest_of(host, REPOSITORY, "v2")
    await asked.close()
    if named != pushed["v2"]:
        problems.append(f"the registry says that v2 is {named}, not {pushed['v2']}")
    return problems


async def roll_out(program: Path) -> list[str]:
    """Let a push to the real registry roll out v2 of the demo app; return what went wrong."""
    port = free_port()
    source = {"registry": f"127.0.0.1:{port}", "repository": APP}
    async with Village(Options(changes={"source": source})) as village:
        registry = Distribution(
            program,
            village.directory / "distribution",
            authority=village.authority,
            url=f"{village.host.url}/api/webhooks/oci",
            secret=WEBHOOK_SECRET,
            port=port,
        )
        clients, api = Clients(village.site.url()), Api(village.host)
        try:
            await registry.start()
            await clients.start()
            digest = await _push_demo(registry.host, village.authority)
            ended = await _end_of_rollout(api, digest)
        finally:
            await clients.stop()
            await api.close()
            await registry.stop()
        print(f"rollout of {digest[7:19]}: {ended}; clients sent {len(clients.seen)} requests")
        wrong = [] if ended == "succeeded" else [f"the rollout ended {ended}, not succeeded"]
        failures = sum(clients.failures().values())
        return [*wrong, f"{failures} clients failed"] if failures else wrong


async def _push_demo(host: str, authority: Authority) -> str:
    files, entrypoint, env = demo_image("v2", latency_ms=30)
    return await push_image(
        host,
        APP,
        "v2",
        files=files,
        entrypoint=entrypoint,
        env=env,
        ca_file=authority.ca_file,
        token="",
    )


async def _end_of_rollout(api: Api, digest: str) -> str:
    """Return the state in which the rollout of *digest* ended, or where it stands at last."""
    state = "not begun"
    for _ in range(_ROLLOUT_LOOKS):
        rollouts = ((await api.get(f"apps/{APP}")) or {}).get("rollouts", [])
        found = next((r for r in rollouts if r["image"]["digest"] == digest), None)
        state = found["state"] if found else state
        if found and found["is_over"]:
            return str(state)
        await asyncio.sleep(1)
    return str(state)


def main(arguments: list[str]) -> int:
    """Run the command line and return its exit status."""
    try:
        program = binary(arguments[0] if arguments else None)
    except NotHereError as error:
        print(error, file=sys.stderr)
        return 1
    problems = asyncio.run(prove(program)) + asyncio.run(roll_out(program))
    for problem in problems:
        print(f"WRONG: {problem}", file=sys.stderr)
    print(
        "not as expected"
        if problems
        else f"{program}: every notification is understood, and rolls out"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
