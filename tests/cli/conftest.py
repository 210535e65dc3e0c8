"""A controller of canned answers on a real socket, and two ways to run the real command."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from aiohttp import web

from controller.cli.main import main
from sandbox.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
Answer = tuple[int, Any]
T = TypeVar("T")


@dataclass(slots=True)
class Controller:
    """Answers each path with the next of its answers; the last one stays."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    delay: float = 0.0

    def says(self, request: str, *answers: Answer) -> None:
        """Set the answers to *request*, such as ``GET /api/apps``."""
        self.answers[request] = list(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        name = f"{request.method} {request.path}"
        body = await request.json() if request.can_read_body else None
        self.requests.append((name, {k.lower(): v for k, v in request.headers.items()}, body))
        await asyncio.sleep(self.delay)
        queue = self.answers.get(name)
        if not queue:
            error = {"code": "SW302", "message": f"No {request.path}.", "fix": "Look at the list."}
            return web.json_response({"error": error}, status=404)
        status, content = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(content, bytes):
            return web.Response(status=status, body=content)
        if isinstance(content, web.Response):
            return content
        return web.json_response(content, status=status)


@pytest.fixture(scope="session")
def background() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run something in a loop of its own, in a thread: each command runs a loop, too."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(120)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def server(background: Callable[[Coroutine[Any, Any, Any]], Any]) -> Iterator[PostgresServer]:
    running = PostgresServer()
    background(running.start())
    yield running
    background(running.stop())


@pytest.fixture
def controller() -> Iterator[Controller]:
    served = Controller()
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", served.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield served
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def slipway(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run ``slipway`` in this process; returns status, output, messages."""
    monkeypatch.setenv("SLIPWAY_URL", controller.url)
    monkeypatch.setenv("SLIPWAY_KEY", "k3y")
    monkeypatch.delenv("SLIPWAY_CA_FILE", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``python -m controller.cli`` as its users do."""
    # Whoever runs the tests in the background has interrupts ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SLIPWAY_")}
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "controller.cli", *arguments],
            cwd=ROOT,
            env=inherited | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    yield start
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def app() -> dict[str, Any]:
    stable = {
        "tag": "v1",
        "digest": DIGEST,
        "slot": "blue",
        "rollout": "r0",
        "since": "2026-01-02T03:04:05+00:00",
    }
    return {
        "app": "shop",
        "site": "contoso-shop",
        "state": "idle",
        "rollout": None,
        "weight": 0,
        "routing": "blue 100 %",
        "stable": stable,
        "verdict": None,
        "why": "",
        "queued": [],
        "firing": [
            {
                "rule": "shop-5xx",
                "resource": "/subscriptions/s/resourcegroups/g/providers/microsoft.web/sites/shop",
                "since": "2026-01-02T03:04:05+00:00",
                "until": "2026-01-03T03:04:05+00:00",
                "detail": "Sev1, Platform: Total Http5xx was 42",
            }
        ],
        "quarantine": [{"digest": DIGEST, "rollout": "r0", "reason": "p95 slow", "at": ""}],
        "releases": [stable],
        "rollouts": [],
    }


@pytest.fixture
def rollout() -> Callable[..., dict[str, Any]]:
    def make(**changed: Any) -> dict[str, Any]:
        return {
            "id": "r1",
            "app": "shop",
            "kind": "release",
            "image": {
                "reference": f"r.io/shop@{DIGEST}",
                "repository": "shop",
                "tag": "v2",
                "digest": DIGEST,
            },
            "state": "observing",
            "is_over": False,
            "step": 0,
            "steps": [10, 50, 100],
            "weight": 10,
            "active": "blue",
            "idle": "green",
            "created_at": "2026-01-02T03:04:05+00:00",
            "entered_at": "2026-01-02T03:05:06+00:00",
            "deadline": None,
            "ended_at": None,
            "by": "me",
            "reason": "",
            "why": "12 of 50 requests seen",
            "warnings": ["no identity"],
            "verdict": {"label": "continue", "reason": "12 of 50", "at": ""},
            "numbers": {
                "canary": {
                    "requests": 12,
                    "error_rate": 0.0,
                    "p50_ms": 3.14159,
                    "p95_ms": 9.0,
                    "p99_ms": None,
                },
                "stable": None,
            },
            "events": [
                {
                    "sequence": 1,
                    "at": "2026-01-02T03:04:05+00:00",
                    "kind": "transition",
                    "what": "Tick",
                    "why": "time is up",
                    "by": "",
                    "from": "queued",
                    "to": "preflight",
                    "numbers": {},
                    "evidence": None,
                    "hash": "x",
                }
            ],
        } | changed

    return make
