# ruff: noqa: E501 - a row of a table is one line
"""Refusals and failures: each has its status and its words."""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from sandbox.tls import create_authority
from sandbox.web import WebServer

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "ab" * 32
Run = Callable[..., tuple[int, str, str]]
Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ((401, b""), 4, "answered 401 and gave no reason. Set SLIPWAY_KEY"),
        ((403, b"<html>"), 4, "answered 403"),
        ((409, {"error": {"code": "SW300", "message": "It is held.", "fix": "Approve."}}), 4,
         "slipway: SW300: It is held. Approve.\n"),
        ((503, {"error": {"code": "SW100", "message": "Busy.", "fix": "Wait."}}), 5, "SW100: Busy."),
        ((500, b"oops"), 5, "answered 500"),
        ((200, b"<html>hello</html>"), 5, "not Slipway's JSON"),
        ((200, b"[1, 2]"), 5, "not Slipway's JSON"),
        ((200, {"hello": "world"}), 5, "not Slipway's JSON"),
        ((200, b""), 5, "not Slipway's JSON"),
    ],
)  # fmt: skip
def test_each_bad_answer_has_its_status_and_words(
    controller: Any, slipway: Run, answer: tuple[int, Any], status: int, said: str
) -> None:
    controller.says("GET /api/apps", answer)

    got, out, err = slipway("apps")

    assert (got, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


def test_an_error_as_json_is_the_apis_own(controller: Any, slipway: Run) -> None:
    error = {"error": {"code": "SW300", "message": "It is held.", "fix": "Approve."}}
    controller.says("POST /api/apps/shop/pause", (409, error))

    status, out, err = slipway("pause", "shop", "--json")

    assert (status, json.loads(out)) == (4, error)
    assert err == "slipway: SW300: It is held. Approve.\n"


def test_a_redirect_is_not_followed_with_the_key(controller: Any, slipway: Run) -> None:
    controller.says(
        "GET /api/apps", (302, web.Response(status=302, headers={"location": "/elsewhere"}))
    )

    status, _, err = slipway("apps")

    assert status == 5
    assert "redirects elsewhere" in err
    assert [name for name, *_ in controller.requests] == ["GET /api/apps"]


def test_silence_is_a_time_out_and_an_order_is_not_repeated(controller: Any, slipway: Run) -> None:
    controller.delay = 1.0

    status, _, err = slipway("pause", "shop", "--timeout", "100ms")

    assert status == 5
    assert "no answer within 0.1 s" in err
    assert "The order may have arrived" in err
    assert len(controller.requests) == 1


def test_a_closed_port_is_unreachable(slipway: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("SLIPWAY_URL", f"http://127.0.0.1:{free.getsockname()[1]}")

        status, _, err = slipway("apps")

    assert status == 5
    assert "Connection refused" in err
    assert "Check --url or SLIPWAY_URL" in err


def test_a_server_that_speaks_no_http_is_unreachable(
    slipway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("SLIPWAY_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        code = (
            "import socket,sys; s=socket.socket(fileno=int(sys.argv[1])); c,_=s.accept();"
            "c.recv(9999); c.sendall(b'SSH-2.0-x\\r\\n'); c.close()"
        )
        with subprocess.Popen(  # noqa: S603 - our own helper
            [sys.executable, "-c", code, str(server.fileno())], pass_fds=[server.fileno()]
        ):
            status, _, err = slipway("apps")

    assert status == 5
    assert "cannot be reached" in err


# fmt: off
USAGE = [
    ([],                                                             "VERB"),
    (["stauts"],                                                     "Did you mean 'status'?"),
    (["deploy", "shop"],                                             "--image --tag"),
    (["deploy", "shop", "--tag", "a", "--image", f"r/s@{DIGEST}"],   "not allowed with"),
    (["deploy", "shop", "--image", "r.io/shop:v1"],                  "registry/repository@sha256"),
    (["rollback", "shop"],                                           "--reason"),
    (["abort", "shop", "--reason", " "],                             "it is empty"),
    (["retry", "shop", "--reason", "x", "--digest", "sha256:ab"],    "64 hex digits"),
    (["status", "--watch"],                                          "Name an app or a rollout"),
    (["status", "--interval", "soon"],                               "not a duration"),
    (["status", "--interval", "0"],                                  "shorter than 100ms"),
    (["apps", "--url", "ftp://x"],                                   "not the URL of a controller"),
    (["apps", "--url", "http://["],                                  "not the URL of a controller"),
    (["apps", "--url", "http://contoso.example"],                    "the key would travel in the open"),
]
# fmt: on


@pytest.mark.parametrize(("line", "said"), USAGE)
def test_a_wrong_command_line_is_explained(slipway: Run, line: list[str], said: str) -> None:
    status, out, err = slipway(*line)

    assert (status, out) == (2, "")
    assert said in err


def test_without_an_address_the_way_to_give_one_is_told(
    slipway: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_URL")

    status, _, err = slipway("apps")

    assert status == 2
    assert "Give --url, or set SLIPWAY_URL" in err


def test_an_unreadable_authority_is_named(
    slipway: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_URL", "https://127.0.0.1:1")
    monkeypatch.setenv("SLIPWAY_CA_FILE", str(tmp_path / "none.pem"))

    status, _, err = slipway("apps")

    assert status == 2
    assert "none.pem cannot be read" in err


def test_what_a_controller_says_cannot_steer_the_terminal(
    controller: Any, slipway: Run, app: dict[str, Any]
) -> None:
    controller.says("GET /api/apps/shop", (200, app | {"why": "\x1b[2J[bold]gone"}))

    assert "Why         ?[2J[bold]gone" in slipway("status", "shop")[1]


async def test_a_private_authority_is_trusted_by_its_file_only(
    slipway: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = create_authority(tmp_path)
    app = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"apps": []})

    app.router.add_get("/api/apps", answer)
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    monkeypatch.setenv("SLIPWAY_URL", server.url)
    try:
        status, _, err = await asyncio.to_thread(slipway, "apps")
        monkeypatch.setenv("SLIPWAY_CA_FILE", str(authority.ca_file))
        trusted, *_ = await asyncio.to_thread(slipway, "apps")
    finally:
        await server.stop()

    assert status == 5
    assert "Set SLIPWAY_CA_FILE to the authority that signed its certificate." in err
    assert trusted == 0
