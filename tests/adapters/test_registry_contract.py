"""What every `Registry` keeps, and how the real one gets past the guard."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from azure.core.credentials_async import AsyncTokenCredential

from controller.adapters.azure.credentials import default_credential
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.memory.world import Fault, Weather
from controller.adapters.registry import OciRegistry
from controller.adapters.registry_calls import AUDIENCE, Answer, RegistryCalls, login_name
from controller.core.errors import AccessDeniedError, BusyError
from controller.ports import Registry as RegistryPort
from sandbox import tokens
from sandbox.identity import SYSTEM_ASSIGNED, IdentityEndpoint
from sandbox.registry import ImageSpec, Registry, RegistryClient
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer

NOBODY = "sha256:" + "0" * 64
SPEC = ImageSpec(files={"app.py": b"print()"}, entrypoint=("python", "app.py"), env={})


class Stand:
    """A registry that holds shop/web:v1, and the port to ask it."""

    def __init__(self, port: RegistryPort, host: str, digest: str) -> None:
        self.port = port
        self.host = host
        self.digest = digest


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "tls")


@pytest.fixture
async def registry(authority: Authority) -> AsyncIterator[Registry]:
    server = Registry(authority)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def credential(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncTokenCredential]:
    endpoint = IdentityEndpoint("secret")
    await endpoint.start()
    for name, value in endpoint.environment().items():
        monkeypatch.setenv(name, value)
    held = default_credential()
    yield held
    await held.close()
    await endpoint.stop()


async def push(registry: Registry, authority: Authority) -> str:
    token, _ = tokens.mint(AUDIENCE, "ci")
    async with RegistryClient(registry.host, ca_file=authority.ca_file, token=token) as client:
        return await client.push("shop/web", "v1", SPEC)


@pytest.fixture
async def real(
    registry: Registry, authority: Authority, credential: AsyncTokenCredential
) -> AsyncIterator[Stand]:
    port = OciRegistry(
        RegistryCalls(
            credential,
            azure_hosts=frozenset({registry.host}),
            ca_file=authority.ca_file,
        )
    )
    yield Stand(port, registry.host, await push(registry, authority))
    await port.close()


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest) -> Stand:
    if request.param == "sandbox":
        found: Stand = request.getfixturevalue("real")
        return found
    twin = MemoryRegistry()
    twin.push("registry.test", "shop/web", "sha256:" + "1" * 64, "v1")
    return Stand(twin, "registry.test", "sha256:" + "1" * 64)


async def test_a_digest_and_a_tag_name_the_digest(stand: Stand) -> None:
    assert await stand.port.digest_of(stand.host, "shop/web", "v1") == stand.digest
    assert await stand.port.digest_of(stand.host, "shop/web", stand.digest) == stand.digest


async def test_what_is_not_there_is_none(stand: Stand) -> None:
    assert await stand.port.digest_of(stand.host, "shop/web", NOBODY) is None
    assert await stand.port.digest_of(stand.host, "shop/web", "v2") is None
    assert await stand.port.digest_of(stand.host, "shop/api", "v1") is None


async def test_the_twin_has_bad_weather_too() -> None:
    weather = Weather()
    weather.script("digest_of", Fault.TRANSIENT, Fault.PERMANENT)
    twin = MemoryRegistry(weather)
    with pytest.raises(BusyError):
        await twin.digest_of("r", "a", "v1")
    with pytest.raises(AccessDeniedError):
        await twin.digest_of("r", "a", "v1")


async def test_an_identity_without_the_role_is_told_which(real: Stand, registry: Registry) -> None:
    registry.tokens.grants[SYSTEM_ASSIGNED] = frozenset()

    with pytest.raises(AccessDeniedError, match="AcrPull"):
        await real.port.digest_of(real.host, "shop/web", "v1")


@pytest.mark.parametrize("kind", ["manifest", "exchange", "token"])
async def test_a_throttled_registry_says_when_to_come_back(
    real: Stand, registry: Registry, kind: str
) -> None:
    registry.faults.fail_next(1, 429, kind=kind, retry_after_seconds=3)

    with pytest.raises(BusyError) as caught:
        await real.port.digest_of(real.host, "shop/web", "v1")

    assert caught.value.retry_after == timedelta(seconds=3)
    assert await real.port.digest_of(real.host, "shop/web", "v1") == real.digest


async def test_nobody_listening_is_an_outage(authority: Authority) -> None:
    port = OciRegistry(RegistryCalls(None, ca_file=authority.ca_file))
    with pytest.raises(BusyError, match="does not answer"):
        await port.digest_of("127.0.0.1:9", "shop/web", "v1")
    await port.close()


async def test_a_public_image_needs_no_identity(authority: Authority) -> None:
    server = Registry(authority, anonymous_pull=True)
    await server.start()
    port = OciRegistry(RegistryCalls(None, ca_file=authority.ca_file))
    digest = await push(server, authority)
    before = server.requests["POST", "exchange"]

    assert await port.digest_of(server.host, "shop/web", "v1") == digest

    assert server.requests["POST", "exchange"] == before
    await port.close()
    await server.stop()


async def test_no_stranger_sees_our_entra_token(
    registry: Registry, authority: Authority, credential: AsyncTokenCredential
) -> None:
    """A registry that is not Azure's is asked for an anonymous token, whatever it says it is."""
    digest = await push(registry, authority)
    before = registry.requests["POST", "exchange"]
    port = OciRegistry(RegistryCalls(credential, ca_file=authority.ca_file))

    with pytest.raises(AccessDeniedError):
        await port.digest_of(registry.host, "shop/web", digest)

    assert registry.requests["POST", "exchange"] == before
    await port.close()


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ("robot$ci:pass:word\n", None),
        ("robot$ci:wrong", "registry-127-0-0-1"),
        ("robot$ci", "not of the form USER:PASSWORD"),
        (None, "registry-127-0-0-1"),
    ],
)
async def test_a_private_image_elsewhere_needs_a_login_of_key_vault(
    registry: Registry, authority: Authority, kept: str | None, says: str | None
) -> None:
    """Harbor's robots and GHCR's tokens trade a password for a token; it shows in no message."""
    digest = await push(registry, authority)
    registry.tokens.logins["robot$ci"] = "pass:word"
    secrets = MemorySecrets({login_name(registry.host): kept} if kept else {})
    port = OciRegistry(RegistryCalls(None, logins=secrets, ca_file=authority.ca_file))

    if says is None:
        assert await port.digest_of(registry.host, "shop/web", "v1") == digest
    else:
        with pytest.raises(AccessDeniedError, match=says) as refused:
            await port.digest_of(registry.host, "shop/web", "v1")
        assert "pass" not in str(refused.value).lower().replace("password", "")
    await port.close()


@pytest.mark.parametrize(("kept", "fits"), [("ci:hush", True), ("ci:wrong", False)])
async def test_a_registry_with_a_password_file_gets_the_login_itself(
    authority: Authority, kept: str, *, fits: bool
) -> None:
    async def manifest(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic Y2k6aHVzaA==":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="R"'})
        return web.Response(headers={"Docker-Content-Digest": NOBODY})

    app = web.Application()
    app.router.add_get("/v2/shop/manifests/v1", manifest)
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    host = server.url.removeprefix("https://")
    port = OciRegistry(
        RegistryCalls(
            None, logins=MemorySecrets({login_name(host): kept}), ca_file=authority.ca_file
        )
    )

    if fits:
        assert await port.digest_of(host, "shop", "v1") == NOBODY
    else:
        with pytest.raises(AccessDeniedError):
            await port.digest_of(host, "shop", "v1")
    await port.close()
    await server.stop()


@pytest.mark.parametrize("name", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize(
    ("repository", "asked"), [("octo/shop", "octo/shop"), ("nginx", "library/nginx")]
)
async def test_docker_hub_is_asked_under_its_own_host(
    monkeypatch: pytest.MonkeyPatch, name: str, repository: str, asked: str
) -> None:
    """Its images are named docker.io, its API is elsewhere; official images have a namespace."""
    urls: list[str] = []

    async def request(*call: Any, **_: Any) -> Answer:
        urls.append(call[2])
        return Answer(status=200, headers={"Docker-Content-Digest": NOBODY}, body=b"")

    monkeypatch.setattr(RegistryCalls, "_request", request)

    assert await OciRegistry(RegistryCalls(None)).digest_of(name, repository, "v1") == NOBODY

    assert urls == [f"https://registry-1.docker.io/v2/{asked}/manifests/v1"]
    assert login_name(name) == ("registry-docker-io")


async def test_a_registry_that_names_no_digest_is_read_and_hashed(authority: Authority) -> None:
    """The header is optional; a digest is that of the manifest's bytes."""

    async def manifest(_: web.Request) -> web.Response:
        return web.Response(body=b"{}", content_type="application/json")

    app = web.Application()
    app.router.add_get("/v2/shop/manifests/v1", manifest)
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    port = OciRegistry(RegistryCalls(None, ca_file=authority.ca_file))

    found = await port.digest_of(server.url.removeprefix("https://"), "shop", "v1")

    empty_object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert found == f"sha256:{empty_object}"
    await port.close()
    await server.stop()


@pytest.mark.parametrize("trusts_one_more", ["", "authority"])
async def test_the_credential_is_the_managed_identity(
    credential: AsyncTokenCredential, authority: Authority, trusts_one_more: str
) -> None:
    """Also one that trusts another authority beside the public ones."""
    own = default_credential(authority.ca_file) if trusts_one_more else credential
    token = await own.get_token("https://management.azure.com/.default")
    await own.close()

    assert tokens.check_token(token.token, "https://management.azure.com")["oid"] == SYSTEM_ASSIGNED
