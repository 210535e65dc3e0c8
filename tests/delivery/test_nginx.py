"""The delivered nginx configuration, in a real nginx, by real requests over TLS."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from sandbox.tls import Authority, create_authority
from tests.delivery import edge
from tests.delivery.edge import Answer, Change, Edge, complaints, place, running

LOOP = pytest.mark.asyncio(loop_scope="module")
HEADERS = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'; object-src 'none'",
}
APP, SNIPPET = "templates/app.conf.template", "snippets/headers.conf"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("authority"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> AsyncIterator[Edge]:
    async with running(tmp_path_factory.mktemp("edge"), authority) as started:
        yield started


def missing(answer: Answer | aiohttp.ClientResponse) -> set[str]:
    """Return the security headers that are not on an answer, exactly once and as wanted."""
    return {name for name, value in HEADERS.items() if answer.headers.getall(name, []) != [value]}


# --- What is delivered ----------------------------------------------------------------------------


def test_nginx_accepts_it_without_a_warning(tmp_path: Path, authority: Authority) -> None:
    prefix, _ = place(tmp_path, authority, "127.0.0.1:9")

    assert complaints(prefix) == ""


def test_every_name_is_filled_in_and_given_by_both_compose_files(
    tmp_path: Path, authority: Authority
) -> None:
    prefix, values = place(tmp_path, authority, "127.0.0.1:9")

    assert "${" not in (prefix / "conf.d/app.conf").read_text()
    for kind in ("aspnet", "python"):
        text = (edge.ROOT / "delivery" / kind / "compose.prod.yaml").read_text()
        assert [name for name in values if f"      {name}: " not in text] == []


@LOOP
@pytest.mark.parametrize(
    ("path", "status"), [("/", 200), ("/missing", 404), ("/broken", 500), ("/health/ready", 200)]
)
async def test_every_answer_has_the_security_headers_once(
    front: Edge, path: str, status: int
) -> None:
    answer = await front.get(path)

    assert (answer.status, missing(answer)) == (status, set())
    assert "X-Powered-By" not in answer.headers
    assert answer.headers.getall("Server") == ["nginx"]  # no version, and none of the app's


@LOOP
async def test_http_leads_to_https_and_keeps_path_query_and_method(front: Edge) -> None:
    url = front.url("/orders/1?a=b%20c", "http")
    async with front.client.post(url, allow_redirects=False) as answer:
        assert answer.status == 308
        assert answer.headers["Location"] == front.url("/orders/1?a=b%20c")
        assert missing(answer) == set()


@LOOP
async def test_a_name_that_is_not_ours_leads_nowhere(front: Edge) -> None:
    with pytest.raises(aiohttp.ClientError):
        await front.client.get(front.url("/", "http"), headers={"Host": "evil.example"})
    with pytest.raises(aiohttp.ClientError):
        await front.client.get(front.url("/"), server_hostname="127.0.0.1")


@LOOP
async def test_a_client_cannot_say_who_it_is(front: Edge) -> None:
    lies = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Real-IP": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
    }
    answer = await front.get("/", headers=lies)

    seen = {name.lower(): value for name, value in json.loads(answer.body)["headers"].items()}
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == "127.0.0.1"
    assert (seen["x-forwarded-proto"], seen["x-forwarded-host"]) == ("https", "localhost")
    assert "forwarded" not in seen
    assert len(seen["x-request-id"]) == 32


@LOOP
async def test_a_websocket_goes_through(front: Edge) -> None:
    async with front.client.ws_connect(front.url("/hubs/chat")) as socket:
        for text in ("one", "two"):
            await socket.send_str(text)
            assert (await socket.receive()).data == f"echo {text}"


@LOOP
async def test_a_body_over_the_limit_is_refused(front: Edge) -> None:
    async with front.client.post(front.url("/"), data=b"x" * 1024) as answer:
        assert answer.status == 200
    async with front.client.post(front.url("/"), data=b"x" * 1025) as answer:
        assert (answer.status, missing(answer)) == (413, set())


@LOOP
async def test_tls_1_2_and_1_3_with_http_2_and_nothing_older(front: Edge) -> None:
    async def spoken(version: ssl.TLSVersion) -> tuple[str | None, str | None]:
        context = front.authority.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.set_ciphers("DEFAULT@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        _, writer = await asyncio.open_connection(
            "127.0.0.1", front.https, ssl=context, server_hostname="localhost"
        )
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        told = tls.version(), tls.selected_alpn_protocol()
        writer.close()
        return told

    assert await spoken(ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
    assert await spoken(ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(ssl.SSLError):
        await spoken(ssl.TLSVersion.TLSv1_1)


# --- Limits, and an app that is away --------------------------------------------------------------


async def answers(front: Edge, path: str, count: int) -> list[Answer]:
    """Ask so many times at once."""
    return list(await asyncio.gather(*(front.get(path) for _ in range(count))))


async def test_a_client_that_asks_too_much_is_told_so_and_probes_are_not(
    tmp_path: Path, authority: Authority
) -> None:
    # One more in a minute: what is let through does not depend on how fast this machine is.
    slow = {"RATE": "1r/m", "BURST": "4", "SIGN_IN_RATE": "1r/m", "SIGN_IN_BURST": "1"}
    async with running(tmp_path, authority, **slow) as front:
        general = await answers(front, "/", 12)
        sign_in = await answers(front, "/api/auth/login", 6)
        probes = await answers(front, "/health/ready", 30)
        hubs = await answers(front, "/hubs/none", 3)

    assert sorted(each.status for each in general) == [200] * 5 + [429] * 7
    assert sorted(each.status for each in sign_in) == [200] * 2 + [429] * 4
    assert {each.status for each in probes} == {200}
    assert {each.status for each in hubs} == {429}  # the same client's allowance
    refused = next(each for each in general if each.status == 429)
    assert (refused.headers["Retry-After"], missing(refused)) == ("1", set())
    assert json.loads(refused.body)["status"] == 429


async def test_an_app_that_is_away_is_502_with_the_headers(
    tmp_path: Path, authority: Authority
) -> None:
    away = f"127.0.0.1:{edge.free_port()}"
    async with running(tmp_path, authority, UPSTREAM=away) as front:
        answer = await front.get("/")
        health = await front.get("/health/ready")

    assert (answer.status, missing(answer)) == (502, set())
    assert health.status == 502


async def test_probes_are_not_in_the_log_and_queries_neither(
    tmp_path: Path, authority: Authority
) -> None:
    async with running(tmp_path, authority) as front:
        await front.get("/health/live")
        await front.get("/seen?token=s3cret")

    lines = (tmp_path / "access.log").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == ["/seen"]
    assert "s3cret" not in "".join(lines)


# --- Broken, it is noticed ------------------------------------------------------------------------

LIMITED = "    location / {\n        limit_req"
BROKEN: dict[str, tuple[Change, str, int | None, str]] = {
    "a header that a location loses": (
        (APP, LIMITED, LIMITED.replace("limit_req", "add_header A b;\n        limit_req")),
        "/",
        200,
        "Strict-Transport-Security",
    ),
    "a header that errors lack": (
        (SNIPPET, "nosniff always", "nosniff"),
        "/missing",
        404,
        "X-Content-Type-Options",
    ),
    "a header twice": (
        ("snippets/proxy.conf", "proxy_hide_header X-Frame-Options;", ""),
        "/",
        200,
        "X-Frame-Options",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_header_is_noticed(what: str, tmp_path: Path, authority: Authority) -> None:
    change, path, status, header = BROKEN[what]
    async with running(tmp_path, authority, (change,)) as front:
        answer = await front.get(path)

    assert answer.status == status
    assert header in missing(answer)


async def test_a_limit_that_is_gone_is_noticed(tmp_path: Path, authority: Authority) -> None:
    change = (APP, "        limit_req zone=per_client burst=${BURST} nodelay;\n", "")
    async with running(tmp_path, authority, (change,), RATE="1r/m", BURST="1") as front:
        assert {each.status for each in await answers(front, "/", 8)} == {200}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ((APP, "http2 on;", "http2 yes;"), "invalid value"),
        ((APP, "proxy_pass http://app;", "proxy_pass http://nobody.invalid;"), "host not found"),
        ((APP, "    ssl_certificate_key", "    # key"), 'no "ssl_certificate_key"'),
        ((APP, "zone=sign_in:10m", "zone=sign:10m"), "zero size shared memory zone"),
    ],
)  # fmt: skip
def test_what_nginx_refuses_is_noticed(
    tmp_path: Path, authority: Authority, change: Change, told: str
) -> None:
    prefix, _ = place(tmp_path, authority, "127.0.0.1:9", (change,))

    assert told in complaints(prefix)
