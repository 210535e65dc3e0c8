"""HTTP triggers of the Functions host, through a real function app in a real child process."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie

import aiohttp
import pytest

from sandbox.functions_host import FunctionsHost
from tests.sandbox.functions_host_support import ECHO, Client, echo_settings


@pytest.fixture(scope="module")
def host() -> Iterator[FunctionsHost]:
    host = FunctionsHost(
        ECHO,
        settings=echo_settings(GREETING="hello", AzureFunctionsJobHost__functionTimeout="00:00:01"),
    )
    asyncio.run(host.start())
    yield host
    host.kill()


@pytest.fixture
async def client(host: FunctionsHost) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(host, session)


async def test_every_function_is_indexed(host: FunctionsHost) -> None:
    assert {"echo", "guarded", "ticking", "on_session", "on_plain", "on_event"} <= set(
        host.functions
    )


async def test_a_request_arrives_whole(client: Client) -> None:
    status, text = await client.call(
        "POST", "/api/echo/abc/12?x=1&x=2&empty=", data=b"body", headers={"X-Mixed-Case": "v"}
    )

    got = json.loads(text)
    assert status == 201
    assert got["method"] == "POST"
    assert got["url"] == f"{client.host.url}/api/echo/abc/12?x=1&x=2&empty="
    assert got["route"] == {"name": "abc", "number": "12"}
    assert got["query"] == {"x": "1,2"}, "repeated values are joined, empty ones left out"
    assert got["headers"]["x-mixed-case"] == "v", "header names arrive in lower case"
    assert got["body"] == "body"


async def test_a_chunked_body_does_not_arrive(client: Client) -> None:
    """The real host copies a body only if Content-Length says there is one."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"chunk"

    _, text = await client.call("POST", "/api/echo/abc", data=chunks())

    assert json.loads(text)["body"] == ""


async def test_status_headers_and_cookies_come_back(client: Client) -> None:
    async with aiohttp.ClientSession() as session:
        response = await session.get(client.host.url + "/api/echo/abc")

    cookies = SimpleCookie("\r\n".join(response.headers.getall("Set-Cookie")))
    assert response.status == 201
    assert response.headers["x-echo"] == "yes"
    assert response.headers["Content-Type"] == "application/json"
    assert (cookies["a"].value, cookies["a"]["path"], cookies["a"]["samesite"]) == (
        "1",
        "/api",
        "Lax",
    )
    assert (cookies["b"].value, cookies["b"]["max-age"]) == ("2", "60")


# fmt: off
ANSWERS = [
    # id                       method  path                      status  text
    ("literal-before-param",   "GET",  "/api/echo/literal",      200, "the literal wins"),
    ("case-insensitive",       "GET",  "/API/Echo/Literal",      200, "the literal wins"),
    ("rest-of-path",           "GET",  "/api/files/a/b%20c",     200, "a/b c"),
    ("rest-may-be-empty",      "GET",  "/api/files",             200, "nothing"),
    ("constraint-refuses",     "GET",  "/api/echo/abc/twelve",   404, ""),
    ("method-refused-is-404",  "PUT",  "/api/echo/abc",          404, ""),
    ("unknown-route",          "GET",  "/api/nothing/here",      404, ""),
    ("outside-the-prefix",     "GET",  "/echo/abc",              404, ""),
    ("exception",              "GET",  "/api/boom",              500, ""),
    ("cancels-itself",         "GET",  "/api/gives-up",         500, ""),
    ("platform-ping",          "GET",  "/admin/host/ping",       200, ""),
    ("key-missing",            "GET",  "/api/guarded",           401, ""),
    ("key-wrong",              "GET",  "/api/guarded?code=x",    401, ""),
    ("admin-key-missing",      "GET",  "/admin/host/status",     401, ""),
    ("run-needs-master-key",   "POST", "/admin/functions/yearly", 401, ""),
]
# fmt: on


@pytest.mark.parametrize(
    ("method", "path", "status", "text"), [pytest.param(*case, id=name) for name, *case in ANSWERS]
)
async def test_answers(client: Client, method: str, path: str, status: int, text: str) -> None:
    """Each request gets the answer that the real host gives."""
    assert await client.call(method, path) == (status, text)


@pytest.mark.parametrize("where", ["header", "query"])
async def test_keys_open_their_level(client: Client, where: str) -> None:
    """The host key opens level function, only the master key opens level admin."""

    async def status(path: str, key: str) -> int:
        in_header = where == "header"
        return (
            await client.call(
                "GET",
                path,
                headers={"x-functions-key": key} if in_header else {},
                params={} if in_header else {"code": key},
            )
        )[0]

    host = client.host
    assert await status("/api/guarded", host.host_key) == 200
    assert await status("/api/guarded", host.master_key) == 200
    assert await status("/api/guarded", host.eventgrid_key) == 401
    assert await status("/api/restricted", host.host_key) == 401
    assert await status("/api/restricted", host.master_key) == 200
    assert await status("/admin/host/status", host.master_key) == 200


async def test_a_function_that_takes_too_long_is_cancelled(client: Client) -> None:
    """A call that outlasts functionTimeout ends with 500."""
    status, _ = await client.call("GET", "/api/slow")

    assert status == 500
    await client.wait_for("cancelled")
    assert "Timeout value of 1.0 s exceeded by function 'slow'" in client.host.output


async def test_a_body_of_over_100_mb_is_refused(client: Client) -> None:
    status, _ = await client.call("POST", "/api/echo/abc", data=bytes(100 * 1024 * 1024 + 1))

    assert status == 413


async def test_the_app_sees_its_settings_and_no_more(client: Client) -> None:
    """The environment is settings plus what the platform sets; the host's keys are not in it."""
    _, text = await client.call("GET", "/api/settings")

    settings = json.loads(text)
    assert settings["GREETING"] == "hello"
    assert settings["FUNCTIONS_WORKER_RUNTIME"] == "python"
    assert settings["WEBSITE_HOSTNAME"] == f"127.0.0.1:{client.host.port}"
    assert not [name for name in settings if "KEY" in name]
    assert not [name for name in settings if name.startswith("PYTEST")]


async def test_an_unreachable_namespace_leaves_the_host_alive(client: Client) -> None:
    """Nobody listens where the app's Service Bus should be; HTTP works all the same."""

    async def complained() -> bool:
        return "host.service_bus: sessions: " in client.host.output

    for _ in range(500):
        if await complained():
            break
        await asyncio.sleep(0.02)
    assert await complained()
    assert (await client.call("GET", "/api/echo/literal"))[0] == 200


async def test_a_timer_runs_by_hand(client: Client) -> None:
    """POST /admin/functions/{name} with the master key runs a timer now."""
    headers = {"x-functions-key": client.host.master_key}

    status, _ = await client.call("POST", "/admin/functions/YEARLY", headers=headers)
    runs = await client.wait_for("yearly")

    assert status == 202
    assert runs[0]["past_due"] is False
    assert runs[0]["thread"].startswith("ThreadPoolExecutor"), "synchronous code has its thread"
    assert (await client.call("POST", "/admin/functions/none", headers=headers))[0] == 404
    assert (await client.call("POST", "/admin/functions/echo", headers=headers))[0] == 400
