"""Single requests to a build: what is proved, what is not, and what never raises."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from controller import __version__
from controller.adapters.probe import HttpProber
from controller.core.plan import Health, Identity, IdentityKind, SmokeTest
from sandbox.tls import create_authority
from sandbox.web import WebServer

HEALTH = Health(readiness_path="/ready", request_timeout=timedelta(seconds=5))
LIMIT = timedelta(seconds=5)


class Build:
    """Answers as told and remembers what it was asked."""

    def __init__(self, tmp_path: Path) -> None:
        self.requests: list[web.Request] = []
        self.authority = create_authority(tmp_path / "tls")
        app = web.Application()
        app.router.add_get("/ready", self._ready)
        app.router.add_get("/json", self._json)
        app.router.add_get("/moved", self._moved)
        app.router.add_get("/endless", self._endless)
        app.router.add_get("/silent", self._silent)
        app.router.add_post("/orders", self._orders)
        self.server = WebServer(app, tls=self.authority.server_context())

    async def _ready(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        headers = {"X-Release-Digest": "sha256:1", "Set-Cookie": "pin=1; Max-Age=3600"}
        return web.Response(text="fine", headers=headers)

    async def _json(self, _: web.Request) -> web.Response:
        return web.json_response({"build": {"digest": "sha256:2", "number": 7}})

    async def _moved(self, _: web.Request) -> web.Response:
        raise web.HTTPFound("/ready")

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"x-release-digest": "sha256:3"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    async def _silent(self, request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _orders(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return web.json_response({"orders": []}, status=201)


@pytest.fixture
async def build(tmp_path: Path) -> AsyncIterator[Build]:
    build = Build(tmp_path)
    await build.server.start()
    yield build
    await build.server.stop()


@pytest.fixture
async def prober(build: Build) -> AsyncIterator[HttpProber]:
    prober = HttpProber(ca_file=build.authority.ca_file)
    yield prober
    await prober.close()


def at(
    path: str, kind: IdentityKind = IdentityKind.HEADER, name: str = "x-release-digest"
) -> Health:
    return replace(HEALTH, readiness_path=path, identity=Identity(kind=kind, name=name))


async def test_a_build_proves_itself_by_a_header_whatever_its_case(
    build: Build, prober: HttpProber
) -> None:
    answer = await prober.ready(build.server.url, HEALTH)

    assert (answer.status, answer.release, answer.body_excerpt) == (200, "sha256:1", "fine")
    assert answer.error is None
    assert answer.elapsed_ms > 0
    assert build.requests[0].headers["User-Agent"] == f"Slipway-Probe/{__version__}"


@pytest.mark.parametrize(
    ("name", "release"),
    [("build.digest", "sha256:2"), ("build.number", None), ("build", None), ("a.b.c", None)],
)
async def test_a_build_proves_itself_by_a_field_of_its_json(
    build: Build, prober: HttpProber, name: str, release: str | None
) -> None:
    answer = await prober.ready(build.server.url, at("/json", IdentityKind.JSON, name))

    assert (answer.status, answer.release) == (200, release)


async def test_an_app_without_identity_proves_none(build: Build, prober: HttpProber) -> None:
    """Also where it happens to send the header, and where the JSON is none."""
    none = await prober.ready(build.server.url, at("/ready", IdentityKind.NONE))
    text = await prober.ready(build.server.url, at("/ready", IdentityKind.JSON, "build.digest"))

    assert (none.status, none.release) == (text.status, text.release) == (200, None)


async def test_cookies_are_sent_as_told_and_never_kept(build: Build, prober: HttpProber) -> None:
    """A kept cookie would pin the prober: each request stands alone."""
    await prober.ready(build.server.url, HEALTH, cookie=("x-ms-routing-name", "blue"))
    await prober.ready(build.server.url, HEALTH)

    first, second = build.requests
    assert first.headers["Cookie"] == "x-ms-routing-name=blue"
    assert "Cookie" not in second.headers


async def test_a_redirect_is_an_answer_and_not_followed(build: Build, prober: HttpProber) -> None:
    answer = await prober.ready(build.server.url, at("/moved"))

    assert (answer.status, answer.release) == (302, None)
    assert build.requests == []


async def test_a_body_without_end_is_cut(build: Build, prober: HttpProber) -> None:
    answer = await prober.ready(build.server.url, at("/endless"))

    assert (answer.status, answer.release) == (200, "sha256:3")
    assert len(answer.body_excerpt) == 200


async def test_no_answer_is_an_answer(build: Build, prober: HttpProber) -> None:
    """Nobody there, hung up, an unknown authority, a host that cannot be: never an exception."""
    stranger = HttpProber()
    answers = [
        await prober.ready("http://127.0.0.1:9", HEALTH),
        await prober.ready(build.server.url, at("/silent")),
        await stranger.ready(build.server.url, HEALTH),
        await prober.ready(f"https://{'a' * 70}.test", HEALTH),
        await prober.ready("http://[nonsense", HEALTH),
    ]
    await stranger.close()

    assert [answer.status for answer in answers] == [None] * 5
    assert all(answer.error for answer in answers)


async def test_a_slow_build_is_given_its_time_and_no_more(build: Build, prober: HttpProber) -> None:
    health = replace(at("/endless"), request_timeout=timedelta(microseconds=1))

    answer = await prober.ready(build.server.url, health)

    assert answer.status is None
    assert answer.error == "no answer within 1e-06 s"


async def test_a_smoke_test_says_what_it_expected(build: Build, prober: HttpProber) -> None:
    order = SmokeTest(method="POST", path="/orders", headers=(("X-Key", "k"),), expect_status=201)
    url = build.server.url

    good = await prober.smoke(url, replace(order, expect_body='"orders"'), timeout=LIMIT)
    status = await prober.smoke(url, replace(order, expect_status=200), timeout=LIMIT)
    body = await prober.smoke(url, replace(order, expect_body="paid"), timeout=LIMIT)
    dead = await prober.smoke("http://127.0.0.1:9", order, timeout=LIMIT)
    moved = await prober.smoke(
        url, SmokeTest(method="GET", path="/moved", expect_status=302), timeout=LIMIT
    )

    assert (good.status, good.error) == (201, None)
    assert status.error == f"expected status 200, got 201: {json.dumps({'orders': []})}"
    assert body.error is not None
    assert "expected 'paid' in the body" in body.error
    assert dead.error
    assert moved.error is None
    assert build.requests[0].headers["X-Key"] == "k"


async def test_a_request_of_the_judges_is_told_from_a_users(
    build: Build, prober: HttpProber
) -> None:
    """By the user agent of App Service's own ping: SDKs report it as synthetic."""
    url = f"{build.server.url}/ready"

    answer = await prober.get(url, timeout=LIMIT, cookie=("x-ms-routing-name", "self"))

    assert (answer.status, answer.release) == (200, None)
    assert answer.elapsed_ms > 0
    assert "AlwaysOn" in build.requests[0].headers["User-Agent"]
    assert build.requests[0].headers["Cookie"] == "x-ms-routing-name=self"
    moved = await prober.get(f"{build.server.url}/moved", timeout=LIMIT)
    assert (moved.status, len(build.requests)) == (302, 1)
    late = await prober.get(f"{build.server.url}/endless", timeout=timedelta(microseconds=1))
    assert late.status is None
