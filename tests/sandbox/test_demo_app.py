"""The demo app as a slot runs it: its own process, its image's files, nothing but variables."""

import asyncio
import gzip
import json
import os
import re
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from aiohttp import web

from sandbox.demo_app.images import IMPORTS, DemoImage, demo_image
from sandbox.postgres import PostgresServer
from sandbox.registry import Registry, push_image
from sandbox.tls import create_authority
from sandbox.tokens import mint
from sandbox.web import WebServer

DIGEST = "sha256:" + "ab" * 32
_TABLE = (
    "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " token uuid NOT NULL UNIQUE, customer integer NOT NULL, cents integer NOT NULL)"
)
_LISTENING = re.compile(rb"listening on (127\.0\.0\.1:\d+)")


class Running:
    """One process of the app and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, http: aiohttp.ClientSession) -> None:
        self.process = process
        self.http = http

    async def get(self, path: str, **options: Any) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        async with self.http.get(path, **options) as answer:
            is_json = answer.content_type == "application/json"
            return answer.status, answer.headers, await answer.json() if is_json else {}

    async def order(self, token: str = "") -> tuple[int, str | None, dict[str, Any]]:
        """Place an order; return the status, the cause of a failure and the answer."""
        order = {"token": token or str(uuid.uuid4()), "customer": 7, "cents": 250}
        async with self.http.post("/work", json=order) as answer:
            return answer.status, answer.headers.get("x-demo-cause"), await answer.json()

    async def statuses(self, path: str, count: int) -> list[int]:
        return [(await self.get(path))[0] for _ in range(count)]

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


class Start(Protocol):
    async def __call__(self, image: DemoImage, **settings: str) -> Running: ...


@asynccontextmanager
async def _spawned(
    image: DemoImage, directory: Path, settings: Mapping[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    for name, content in image.files.items():
        (directory / name).write_bytes(content)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *image.entrypoint[1:],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PORT": "0", **image.env, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start an image and wait until it listens; everything ends with the test."""
    async with AsyncExitStack() as stack:

        async def run(image: DemoImage, **settings: str) -> Running:
            process = await stack.enter_async_context(_spawned(image, tmp_path, settings))
            assert process.stdout is not None
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            found = _LISTENING.search(line)
            assert found is not None, line
            session = aiohttp.ClientSession(f"http://{found[1].decode()}")
            return Running(process, await stack.enter_async_context(session))

        yield run


async def _eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():  # noqa: ASYNC110 - another process has no event here
            await asyncio.sleep(0.02)


async def test_every_answer_tells_the_build(start: Start) -> None:
    """Also the probes' and the refusals: whatever answers, one sees which build it was."""
    app = await start(demo_image("1.2"), SLIPWAY_RELEASE=DIGEST)

    for path, expected in (
        ("/", 200),
        ("/work", 200),
        ("/health/live", 200),
        ("/health/ready", 200),
        ("/nowhere", 404),
    ):
        status, headers, _ = await app.get(path)
        assert status == expected
        assert headers["x-release-digest"] == DIGEST
        assert headers["x-app-version"] == "1.2"
    assert (await app.get("/"))[2]["version"] == "1.2"


async def test_a_build_may_hide_its_identity(start: Start) -> None:
    app = await start(demo_image("1", hide_identity=True), SLIPWAY_RELEASE=DIGEST)

    _, headers, _ = await app.get("/")

    assert not {"x-release-digest", "x-app-version"} & {name.lower() for name in headers}


async def test_errors_strike_the_work_alone_and_repeat_with_the_seed(start: Start) -> None:
    image = demo_image("1", error_rate=0.3, seed=7)
    first, second = await start(image), await start(image)

    failures = await first.statuses("/work", 60)

    assert failures == await second.statuses("/work", 60)
    assert 5 < failures.count(500) < 35
    assert failures.count(200) + failures.count(500) == 60
    assert await first.statuses("/", 20) == [200] * 20
    assert await first.statuses("/health/ready", 20) == [200] * 20


async def test_a_build_that_is_never_ready_lives_and_does_not_fail_yet(start: Start) -> None:
    app = await start(demo_image("1", never_ready=True, error_rate=1.0))

    assert (await app.get("/health/live"))[0] == 200
    assert (await app.get("/health/ready"))[0] == 503
    assert (await app.get("/work"))[0] == 200


async def test_errors_begin_when_the_build_is_ready(start: Start) -> None:
    app = await start(demo_image("1", ready_after_seconds=0.3, error_rate=1.0))

    async def ready() -> bool:
        return (await app.get("/health/ready"))[0] == 200

    await _eventually(ready)

    assert (await app.get("/work"))[0] == 500


async def test_a_leak_begins_after_its_time_and_grows_until_the_work_fails(start: Start) -> None:
    """Nothing at first; some of it while the share rises; all of it in the end."""
    app = await start(demo_image("1", leak=(1.0, 1.0, 2.0), seed=1))
    begun = time.monotonic()
    seen = [(time.monotonic() - begun, (await app.get("/work"))[0])]
    async with asyncio.timeout(30):
        while [status for _, status in seen[-20:]] != [500] * 20:
            seen.append((time.monotonic() - begun, (await app.get("/work"))[0]))
            await asyncio.sleep(0.01)

    first = next(i for i, (_, status) in enumerate(seen) if status == 500)
    rising = [status for _, status in seen[first:-20]]
    assert seen[first][0] >= 0.5  # it began to count a little before we did
    assert 200 in rising
    assert (await app.get("/"))[0] == 200


async def test_a_tail_makes_few_requests_slow_and_leaves_the_median(start: Start) -> None:
    app = await start(
        demo_image("1", latency_ms=20, latency_sigma=0, tail=(0.2, 20.0), seed=1),
    )

    async def seconds() -> float:
        begun = time.monotonic()
        await app.get("/work")
        return time.monotonic() - begun

    taken = sorted(await asyncio.gather(*(seconds() for _ in range(50))))
    slow = [each for each in taken if each >= 0.4]
    assert 3 <= len(slow) <= 20
    assert taken[len(taken) // 2] < 0.4


async def test_what_fails_every_day_fails_in_every_build(start: Start) -> None:
    """By a setting of the slot, beside the build's own errors; each failure says its cause."""
    image = demo_image("1", error_rate=0.5, seed=1)
    app = await start(image, DEMO_USUAL_ERROR_RATE="0.3")

    answers = [await app.get("/work") for _ in range(100)]

    causes = Counter(headers.get("x-demo-cause") for _, headers, _ in answers)
    assert causes.keys() == {None, "usual", "build"}
    assert {status for status, headers, _ in answers if "x-demo-cause" in headers} == {500}
    assert 15 <= causes["usual"] <= 45
    assert 20 <= causes["build"] <= 50


async def test_a_shared_outage_begins_and_ends_for_all_builds_at_once(
    start: Start, tmp_path: Path
) -> None:
    """What the app depends on is outside of it: no build's start or end changes it."""
    dependency = tmp_path / "dependency"
    old = await start(demo_image("1"), DEMO_DEPENDENCY=str(dependency))
    new = await start(demo_image("2"), DEMO_DEPENDENCY=str(dependency))
    assert await old.statuses("/work", 5) == await new.statuses("/work", 5) == [200] * 5

    dependency.write_text("1")
    for app in (old, new):
        status, headers, _ = await app.get("/work")
        assert (status, headers["x-demo-cause"]) == (500, "dependency")
        assert (await app.get("/health/ready"))[0] == 200

    dependency.unlink()
    assert await old.statuses("/work", 5) == await new.statuses("/work", 5) == [200] * 5


async def test_an_order_is_kept_in_the_columns_that_the_build_needs(start: Start) -> None:
    """It is committed when it is answered; a build whose column is not there fails by itself."""
    async with PostgresServer() as server:
        database = await server.create_database("shop")
        await server.execute(_TABLE, database="shop")
        old = await start(demo_image("1"), DEMO_DATABASE=database)
        new = await start(demo_image("2", needs="customer,cents,currency"), DEMO_DATABASE=database)
        token = str(uuid.uuid4())

        placed = await old.order(token)
        too_early = await new.order()
        await server.execute(
            "ALTER TABLE orders ADD currency text NOT NULL DEFAULT 'CHF'", database="shop"
        )
        read = await new.get("/work")
        later = [await old.order(), await new.order()]
        rows = await server.execute("SELECT * FROM orders ORDER BY id", database="shop")

    assert placed == (200, None, {"done": True, "version": "1", "order": {"id": 1}})
    assert too_early[:2] == (500, "build")
    expected = {"id": "1", "token": token, "customer": "7", "cents": "250", "currency": "CHF"}
    assert read[2]["order"] == expected
    assert [status for status, _, _ in later] == [200, 200]
    assert [(str(row[1]), *row[2:]) for row in rows][:1] == [(token, 7, 250, "CHF")]
    assert [row[2:] for row in rows] == [(7, 250, "CHF"), (7, 250, "CHF"), (7, 250, "EUR")]


async def test_a_database_that_is_away_is_the_dependencys_failure_and_comes_back(
    start: Start,
) -> None:
    """The build stays ready meanwhile, and needs no restart afterwards."""
    async with PostgresServer() as server:
        database = await server.create_database("shop")
        await server.execute(_TABLE, database="shop")
        app = await start(demo_image("1"), DEMO_DATABASE=database)
        before = await app.order()
        await server.drop_database("shop")
        away = [(await app.order())[:2] for _ in range(3)]
        ready = await app.get("/health/ready")
        await server.create_database("shop")
        await server.execute(_TABLE, database="shop")
        after = await app.order()

    assert before[0] == 200
    assert away == [(500, "dependency")] * 3
    assert ready[0] == 200
    assert after[0] == 200


async def test_a_build_may_die_at_start(tmp_path: Path) -> None:
    async with _spawned(demo_image("1", crash_on_start=True), tmp_path, {}) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 1
    assert b"fatal: crashing on demand" in output


async def test_a_build_may_die_later(start: Start) -> None:
    app = await start(demo_image("1", crash_after_seconds=0.3))

    assert await asyncio.wait_for(app.process.wait(), 60) == 1


async def test_a_terminated_build_finishes_what_it_began(start: Start) -> None:
    """The request under way is answered; then the process ends in order."""
    app = await start(demo_image("1", latency_ms=700, latency_sigma=0))
    under_way = asyncio.create_task(app.get("/work"))

    async def begun() -> bool:
        return (await app.get("/"))[2]["in_flight"] == 1

    await _eventually(begun)
    code = await app.terminate()

    assert (await under_way)[0] == 200
    assert code == 0


class Ingestion:
    """What Application Insights would receive."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.paths: set[str] = set()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._track)
        self.server = WebServer(app)

    @property
    def connection_string(self) -> str:
        key = "00000000-0000-0000-0000-000000000001"
        return f"InstrumentationKey={key};IngestionEndpoint={self.server.url}"

    async def _track(self, request: web.Request) -> web.Response:
        body = await request.read()  # aiohttp has inflated it already, where it says so
        text = gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body
        items = json.loads(text)
        self.items += items
        self.paths.add(request.path)
        received = len(items)
        return web.json_response(
            {
                "itemsReceived": received,
                "itemsAccepted": received,
                "errors": [],
            }
        )


@pytest.fixture
async def ingestion() -> AsyncIterator[Ingestion]:
    server = Ingestion()
    await server.server.start()
    yield server
    await server.server.stop()


async def test_each_request_becomes_a_request_row(start: Start, ingestion: Ingestion) -> None:
    """Name, URL, result, success, duration, the build and the session arrive as Azure stores them.

    Probes are not recorded, and nothing but requests is sent.
    """
    app = await start(
        demo_image("1", error_rate=1.0, latency_ms=50, latency_sigma=0, ready_after_seconds=3600),
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
        OTEL_RESOURCE_ATTRIBUTES=f"service.version={DIGEST}",
        OTEL_SERVICE_NAME="shop",
    )
    await app.get("/work?q=1", headers={"Cookie": "demo-session=s-1", "Host": "shop.test"})
    await app.get("/health/ready")
    await app.get("/nowhere")

    async def arrived() -> bool:
        return len(ingestion.items) >= 2

    await _eventually(arrived)
    await app.terminate()

    work, nowhere = ingestion.items
    assert ingestion.paths == {"/v2.1/track"}
    assert work["data"]["baseType"] == "RequestData"
    data = work["data"]["baseData"]
    assert (data["name"], data["url"]) == ("GET /work", "http://shop.test/work?q=1")
    assert (data["responseCode"], data["success"]) == ("200", True)
    hours, minutes, seconds = data["duration"].rpartition(".")[0].split(".")[-1].split(":")
    fraction = float("0." + data["duration"].rpartition(".")[2])
    assert int(hours) * 3600 + int(minutes) * 60 + int(seconds) + fraction >= 0.045
    tags = work["tags"]
    assert tags["ai.application.ver"] == DIGEST
    assert tags["ai.session.id"] == "s-1"
    assert tags["ai.cloud.role"] == "shop"
    assert work["sampleRate"] == 100
    assert nowhere["data"]["baseData"]["responseCode"] == "404"
    assert nowhere["data"]["baseData"]["success"] is False
    assert "ai.session.id" not in nowhere["tags"]


async def test_a_terminated_build_sends_what_it_recorded(
    start: Start, ingestion: Ingestion
) -> None:
    """Failures too: the last batch does not wait for the export interval."""
    app = await start(
        demo_image("1", error_rate=1.0),
        APPLICATIONINSIGHTS_CONNECTION_STRING=ingestion.connection_string,
        OTEL_BSP_SCHEDULE_DELAY="600000",
    )
    await app.statuses("/work", 3)

    assert await app.terminate() == 0

    rows = [item["data"]["baseData"] for item in ingestion.items]
    assert [(row["responseCode"], row["success"]) for row in rows] == [("500", False)] * 3


async def test_an_image_of_the_app_is_pushed_and_its_digest_tells_behaviour_apart(
    tmp_path: Path,
) -> None:
    authority = create_authority(tmp_path)
    registry = Registry(authority)
    await registry.start()
    token = mint("https://containerregistry.azure.net", "ci")[0]

    async def push(tag: str, image: DemoImage) -> str:
        target = {"ca_file": authority.ca_file, "token": token}
        return await push_image(registry.host, "demo/shop", tag, **image._asdict(), **target)

    try:
        good = await push("v1", demo_image("1"))
        again = await push("v1-again", demo_image("1"))
        slow = await push("v1-slow", demo_image("1", latency_ms=400))
    finally:
        await registry.stop()

    assert good == again
    assert slow != good


def test_behaviour_is_baked_in_as_variables() -> None:
    image = demo_image("2", error_rate=0.05, leak=(0.1, 40.0, 5.0), never_ready=False, seed=0)

    assert image.env == {
        "DEMO_VERSION": "2",
        "DEMO_ERROR_RATE": "0.05",
        "DEMO_LEAK": "0.1,40.0,5.0",
        "DEMO_NEVER_READY": "0",
        "DEMO_SEED": "0",
        "SANDBOX_PRELOAD": IMPORTS,
    }
    with pytest.raises(TypeError, match="latencyms"):
        demo_image("2", latencyms=3)  # type: ignore[call-arg]  # the claim is the refusal
