"""The registry: pushed to over HTTP, read back as any OCI client would, and its events."""

import asyncio
import gzip
import hashlib
import hmac
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sandbox.registry import (
    ImageSpec,
    PushEvent,
    Registry,
    RegistryClient,
    WebhookSender,
    notices,
    push_image,
)
from sandbox.registry.client import PushError
from sandbox.registry.events import event_grid_data, event_type, subject
from sandbox.registry.media_types import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST
from sandbox.tls import Authority, create_authority
from sandbox.tokens import mint
from sandbox.web import WebServer

ENTRA = mint("https://containerregistry.azure.net", "pusher")[0]
SPEC = ImageSpec(files={"app.py": b"print('hello')"}, entrypoint=["python", "app.py"])
NOBODY = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def registry(authority: Authority) -> AsyncIterator[Registry]:
    server = Registry(authority)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(registry: Registry, authority: Authority) -> AsyncIterator[RegistryClient]:
    async with RegistryClient(registry.host, ca_file=authority.ca_file, token=ENTRA) as client:
        yield client


@pytest.fixture
async def http(registry: Registry, authority: Authority) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client without a token."""
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    async with aiohttp.ClientSession(registry.url, connector=connector) as session:
        yield session


async def _token(http: aiohttp.ClientSession, registry: Registry, scope: str) -> dict[str, str]:
    """Go the documented way from an Entra token to the header for *scope*."""
    form = {"grant_type": "access_token", "service": registry.host, "access_token": ENTRA}
    async with http.post("/oauth2/exchange", data=form) as answer:
        refresh = (await answer.json())["refresh_token"]
    form = {
        "grant_type": "refresh_token",
        "service": registry.host,
        "scope": scope,
        "refresh_token": refresh,
    }
    async with http.post("/oauth2/token", data=form) as answer:
        return {"Authorization": f"Bearer {(await answer.json())['access_token']}"}


async def _get(
    http: aiohttp.ClientSession, path: str, headers: Mapping[str, str]
) -> tuple[int, Mapping[str, str], bytes]:
    async with http.get(path, headers=headers) as answer:
        return answer.status, answer.headers, await answer.read()


def _heard(registry: Registry) -> list[PushEvent]:
    events: list[PushEvent] = []

    async def listen(event: PushEvent) -> None:
        events.append(event)

    registry.on_push.append(listen)
    return events


async def test_a_pushed_image_comes_back_byte_for_byte(
    registry: Registry, authority: Authority, http: aiohttp.ClientSession
) -> None:
    """Manifest, config and layer are found from the tag, and every digest is right."""
    digest = await push_image(
        registry.host,
        "demo/shop",
        "v1",
        files={"app.py": b"code", "data/x.txt": b"x"},
        entrypoint=["python", "app.py"],
        env={"DEMO_VERSION": "1"},
        ca_file=authority.ca_file,
        token=ENTRA,
    )

    headers = await _token(http, registry, "repository:demo/shop:pull")
    status, answer, body = await _get(http, "/v2/demo/shop/manifests/v1", headers)
    assert (status, answer["Docker-Content-Digest"], answer["Content-Type"]) == (
        200,
        digest,
        OCI_MANIFEST,
    )
    assert f"sha256:{hashlib.sha256(body).hexdigest()}" == digest
    manifest = json.loads(body)
    _, _, config = await _get(http, f"/v2/demo/shop/blobs/{manifest['config']['digest']}", headers)
    parsed = json.loads(config)
    assert (parsed["os"], parsed["architecture"]) == ("linux", "amd64")
    assert parsed["config"]["Entrypoint"] == ["python", "app.py"]
    assert parsed["config"]["Env"] == ["DEMO_VERSION=1"]
    _, _, layer = await _get(
        http, f"/v2/demo/shop/blobs/{manifest['layers'][0]['digest']}", headers
    )
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer))) as archive:
        assert archive.getnames() == ["app.py", "data/x.txt"]


async def test_equal_input_gives_the_equal_digest(client: RegistryClient) -> None:
    """In any order of files; one other byte is another image."""
    files = {"a": b"1", "b": b"2"}
    first = await client.push("demo", "one", replace(SPEC, files=files))
    second = await client.push("demo", "two", replace(SPEC, files=dict(reversed(files.items()))))
    third = await client.push("demo", "three", replace(SPEC, files={**files, "b": b"3"}))

    assert first == second
    assert first != third


async def test_without_a_token_the_registry_says_where_to_get_one(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await client.push("demo", "v1", SPEC)

    status, headers, body = await _get(http, "/v2/demo/manifests/v1", {})

    assert status == 401
    assert headers["WWW-Authenticate"] == (
        f'Bearer realm="https://{registry.host}/oauth2/token",service="{registry.host}",'
        'scope="repository:demo:pull"'
    )
    assert json.loads(body)["errors"][0]["code"] == "UNAUTHORIZED"


async def test_a_token_opens_only_what_it_was_asked_for(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await client.push("demo", "v1", SPEC)
    await client.push("other", "v1", SPEC)

    headers = await _token(http, registry, "repository:demo:pull")

    assert (await _get(http, "/v2/demo/manifests/v1", headers))[0] == 200
    status, answer, _ = await _get(http, "/v2/other/manifests/v1", headers)
    assert (status, 'error="insufficient_scope"' in answer["WWW-Authenticate"]) == (401, True)
    async with http.delete("/v2/demo/manifests/v1", headers=headers) as refused:
        assert refused.status == 401


async def test_an_entra_token_for_another_service_is_not_exchanged(
    registry: Registry, authority: Authority
) -> None:
    vault_token = mint("https://vault.azure.net", "pusher")[0]

    async with RegistryClient(
        registry.host, ca_file=authority.ca_file, token=vault_token
    ) as client:
        with pytest.raises(PushError, match="/oauth2/exchange answered 401"):
            await client.push("demo", "v1", SPEC)


async def test_an_identity_with_acrpull_cannot_push(
    registry: Registry, client: RegistryClient
) -> None:
    registry.tokens.grants["pusher"] = frozenset({"pull"})

    with pytest.raises(PushError, match="answered 401"):
        await client.push("demo", "v1", SPEC)


async def test_anonymous_pull_is_a_choice(authority: Authority) -> None:
    registry = Registry(authority, anonymous_pull=True)
    await registry.start()
    connector = aiohttp.TCPConnector(ssl=authority.client_context())
    try:
        async with (
            RegistryClient(registry.host, ca_file=authority.ca_file, token=ENTRA) as client,
            aiohttp.ClientSession(registry.url, connector=connector) as http,
        ):
            await client.push("demo", "v1", SPEC)
            ask = f"/oauth2/token?service={registry.host}&scope=repository:demo:pull,push"
            _, _, body = await _get(http, ask, {})
            headers = {"Authorization": f"Bearer {json.loads(body)['access_token']}"}
            assert (await _get(http, "/v2/demo/manifests/v1", headers))[0] == 200
            async with http.post("/v2/demo/blobs/uploads/", headers=headers) as refused:
                assert refused.status == 401
    finally:
        await registry.stop()


async def test_the_platform_pulls_with_a_token_of_its_own(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await client.push("demo", "v1", SPEC)
    headers = {"Authorization": f"Bearer {registry.tokens.platform_token()}"}

    assert (await _get(http, "/v2/demo/manifests/v1", headers))[0] == 200


async def test_an_expired_token_is_refused(authority: Authority) -> None:
    """The client asks again, and is refused again: lifetimes are real."""
    registry = Registry(authority, access_token_seconds=-1)
    await registry.start()
    try:
        async with RegistryClient(registry.host, ca_file=authority.ca_file, token=ENTRA) as client:
            with pytest.raises(PushError, match="answered 401"):
                await client.push("demo", "v1", SPEC)
    finally:
        await registry.stop()


async def test_an_index_needs_a_client_that_accepts_one(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    """As ACR: a client that only reads images is told the manifest is unknown."""
    specs = [SPEC, replace(SPEC, architecture="arm64")]
    digest = await client.push_index("demo", "v1", specs, attestations=True)
    headers = await _token(http, registry, "repository:demo:pull")

    accepts = {**headers, "Accept": f"{OCI_MANIFEST}, {OCI_INDEX};q=0.5"}
    _, answer, body = await _get(http, "/v2/demo/manifests/v1", accepts)
    refused, _, _ = await _get(
        http, "/v2/demo/manifests/v1", {**headers, "Accept": f"{OCI_MANIFEST},{DOCKER_INDEX}"}
    )

    assert (answer["Docker-Content-Digest"], refused) == (digest, 404)
    platforms = [one["platform"]["architecture"] for one in json.loads(body)["manifests"]]
    assert platforms == ["amd64", "unknown", "arm64", "unknown"]


async def test_every_manifest_of_a_push_is_an_event(
    registry: Registry, client: RegistryClient
) -> None:
    """Children come by digest, without a tag; the signature has a tag that is no version."""
    events = _heard(registry)
    digest = await client.push_index("demo", "v1", [SPEC, replace(SPEC, architecture="arm64")])
    await client.sign("demo", digest)
    await registry.settled()

    assert [event.tag for event in events] == [
        None,
        None,
        "v1",
        digest.replace(":", "-") + ".sig",
    ]
    assert events[2].media_type == OCI_INDEX
    assert (events[2].digest, events[2].host) == (digest, registry.host)


async def test_an_attached_artifact_is_found_by_its_subject(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    digest = await client.push("demo", "v1", SPEC)
    sbom = await client.attach("demo", digest, "application/spdx+json", b"{}")
    await client.attach("demo", digest, "application/other", b"{}")
    headers = await _token(http, registry, "repository:demo:pull")

    _, _, everything = await _get(http, f"/v2/demo/referrers/{digest}", headers)
    _, answer, one = await _get(
        http, f"/v2/demo/referrers/{digest}?artifactType=application/spdx%2Bjson", headers
    )

    assert len(json.loads(everything)["manifests"]) == 2
    assert [found["digest"] for found in json.loads(one)["manifests"]] == [sbom]
    assert answer["OCI-Filters-Applied"] == "artifactType"


async def test_tags_are_listed_in_pages(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    for number in range(5):
        await client.push("demo", f"v{number}", SPEC)
    headers = await _token(http, registry, "repository:demo:pull")

    found: list[str] = []
    path = "/v2/demo/tags/list?n=2"
    while path:
        _, answer, body = await _get(http, path, headers)
        found += json.loads(body)["tags"]
        path = answer.get("Link", "").partition(">")[0].removeprefix("<")

    assert found == ["v0", "v1", "v2", "v3", "v4"]


async def test_a_deleted_manifest_takes_its_tags_with_it(
    registry: Registry, client: RegistryClient
) -> None:
    """Deleting a tag is silent; deleting the manifest is an event with the digest only."""
    digest = await client.push("demo", "v1", SPEC)
    await client.push("demo", "v2", SPEC)
    await registry.settled()
    events = _heard(registry)

    await client.delete("demo", "v1")
    assert (await client.resolve("demo", "v2"))["digest"] == digest
    await client.delete("demo", digest)
    await registry.settled()

    with pytest.raises(PushError, match="404"):
        await client.resolve("demo", "v2")
    assert [(event.action, event.digest, event.tag) for event in events] == [
        ("delete", digest, None)
    ]


async def test_a_tag_can_move_without_a_word(registry: Registry, client: RegistryClient) -> None:
    first = await client.push("demo", "v1", SPEC)
    second = await client.push("demo", "other", replace(SPEC, files={"app.py": b"2"}))

    registry.move_tag("demo", "v1", second)

    assert first != second
    assert (await client.resolve("demo", "v1"))["digest"] == second
    assert registry.digest("demo", "v1") == second


async def test_a_blob_may_come_in_chunks_and_go_in_parts(
    registry: Registry, http: aiohttp.ClientSession
) -> None:
    content = b"0123456789"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    headers = await _token(http, registry, "repository:demo:pull,push")
    async with http.post("/v2/demo/blobs/uploads/", headers=headers) as begun:
        place = begun.headers["Location"]

    async def patch(part: bytes, begin: int) -> tuple[int, str]:
        span = {"Content-Range": f"{begin}-{begin + len(part) - 1}"}
        async with http.patch(place, data=part, headers={**headers, **span}) as answer:
            return answer.status, answer.headers["Range"]

    assert await patch(content[:4], 0) == (202, "0-3")
    assert await patch(content[6:], 6) == (416, "0-3")
    assert await patch(content[4:], 4) == (202, "0-9")
    async with http.put(f"{place}?digest={NOBODY}", headers=headers) as wrong:
        assert wrong.status == 400
    async with http.put(f"{place}?digest={digest}", headers=headers) as right:
        assert right.status == 201
    assert (await _get(http, f"/v2/demo/blobs/{digest}", headers))[2] == content
    part = await _get(http, f"/v2/demo/blobs/{digest}", {**headers, "Range": "bytes=4-5"})
    assert (part[0], part[1]["Content-Range"], part[2]) == (206, "bytes 4-5/10", b"45")


async def test_a_blob_is_mounted_from_another_repository(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    await client.push("demo", "v1", SPEC)
    headers = await _token(http, registry, "repository:demo:pull")
    _, _, body = await _get(http, "/v2/demo/manifests/v1", headers)
    digest = json.loads(body)["config"]["digest"]

    pushing = await _token(http, registry, "repository:copy:pull,push")
    mount = f"/v2/copy/blobs/uploads/?mount={digest}&from=demo"
    async with http.post(mount, headers=pushing) as mounted:
        assert mounted.status == 201
    assert (await _get(http, f"/v2/copy/blobs/{digest}", pushing))[0] == 200


@pytest.mark.parametrize(
    ("reference", "document", "code"),
    [
        pytest.param("v1", b"{", "MANIFEST_INVALID", id="not-json"),
        pytest.param("v1", b'{"schemaVersion":1}', "MANIFEST_INVALID", id="old-schema"),
        pytest.param(NOBODY, b'{"schemaVersion":2}', "DIGEST_INVALID", id="other-digest"),
        pytest.param("-no-tag", b'{"schemaVersion":2}', "TAG_INVALID", id="no-tag"),
        pytest.param(
            "v1",
            json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX}).encode(),
            "MANIFEST_INVALID",
            id="types-disagree",
        ),
        pytest.param(
            "v1",
            json.dumps({"schemaVersion": 2, "layers": [{"digest": NOBODY}]}).encode(),
            "MANIFEST_BLOB_UNKNOWN",
            id="layer-not-pushed",
        ),
        pytest.param(
            "v1",
            json.dumps({"schemaVersion": 2, "layers": [{}]}).encode(),
            "MANIFEST_INVALID",
            id="layer-without-digest",
        ),
    ],
)
async def test_a_broken_manifest_is_refused(
    registry: Registry, http: aiohttp.ClientSession, reference: str, document: bytes, code: str
) -> None:
    headers = await _token(http, registry, "repository:demo:pull,push")
    headers["Content-Type"] = OCI_MANIFEST

    async with http.put(
        f"/v2/demo/manifests/{reference}", data=document, headers=headers
    ) as answer:
        assert answer.status == 400
        assert (await answer.json())["errors"][0]["code"] == code


async def test_faults_strike_as_often_as_told(
    registry: Registry, http: aiohttp.ClientSession, client: RegistryClient
) -> None:
    """Only the kind that was named fails, with Retry-After where asked for."""
    await client.push("demo", "v1", SPEC)
    headers = await _token(http, registry, "repository:demo:pull")
    registry.faults.fail_next(2, 429, kind="manifest", retry_after_seconds=3)

    answers = [await _get(http, "/v2/demo/manifests/v1", headers) for _ in range(3)]
    status, _, _ = await _get(http, "/v2/demo/tags/list", headers)

    assert [answer[0] for answer in answers] == [429, 429, 200]
    assert answers[0][1]["Retry-After"] == "3"
    assert status == 200
    assert registry.requests["GET", "manifest"] == 3


async def test_a_failing_listener_harms_nobody(registry: Registry, client: RegistryClient) -> None:
    async def fail(_: PushEvent) -> None:
        raise RuntimeError("a listener's own trouble")

    registry.on_push.append(fail)
    events = _heard(registry)

    await client.push("demo", "v1", SPEC)
    await registry.settled()

    assert [event.tag for event in events] == ["v1"]


def _event(**change: Any) -> PushEvent:
    event = PushEvent(
        action="push",
        media_type=OCI_MANIFEST,
        size=524,
        digest=NOBODY,
        repository="demo/shop",
        tag="v1",
        host="demo.azurecr.io",
        user_agent="docker/28",
    )
    return replace(event, **change)


def test_the_event_has_the_form_that_acr_documents() -> None:
    event = _event()
    data = event_grid_data(event)

    assert event_type(event) == "Microsoft.ContainerRegistry.ImagePushed"
    assert subject(event) == "demo/shop:v1"
    assert data["timestamp"].endswith("Z")
    assert data["target"] == {
        "mediaType": OCI_MANIFEST,
        "size": 524,
        "digest": NOBODY,
        "length": 524,
        "repository": "demo/shop",
        "tag": "v1",
    }
    assert data["request"] == {
        "id": event.request_id,
        "host": "demo.azurecr.io",
        "method": "PUT",
        "useragent": "docker/28",
    }


def test_a_deletion_names_neither_tag_nor_size() -> None:
    event = _event(action="delete", tag=None)

    assert event_type(event) == "Microsoft.ContainerRegistry.ImageDeleted"
    assert subject(event) == "demo/shop"
    assert set(event_grid_data(event)["target"]) == {"mediaType", "digest", "repository"}


def _rendered(render: notices.Renderer, event: PushEvent) -> dict[str, Any]:
    notice = render(event)
    assert notice is not None
    parsed: dict[str, Any] = json.loads(notice.body)
    return parsed


def test_github_signs_the_bytes_it_sends() -> None:
    notice = notices.github("It's a secret")(_event(tag=None))

    assert notice is not None
    expected = hmac.new(b"It's a secret", notice.body, hashlib.sha256).hexdigest()
    assert notice.headers["X-Hub-Signature-256"] == f"sha256={expected}"
    version = json.loads(notice.body)["package"]["package_version"]
    assert version["container_metadata"]["tag"]["name"] == ""
    assert version["package_url"].endswith(":")


def test_docker_hub_names_no_digest_and_is_silent_without_a_tag() -> None:
    body = _rendered(notices.docker_hub, _event())

    assert body["push_data"]["tag"] == "v1"
    assert body["repository"]["repo_name"] == "demo/shop"
    assert NOBODY not in json.dumps(body)
    assert notices.docker_hub(_event(tag=None)) is None


def test_harbor_says_the_digest_for_a_missing_tag() -> None:
    (resource,) = _rendered(notices.harbor, _event(tag=None))["event_data"]["resources"]

    assert resource["tag"] == resource["digest"] == NOBODY
    assert resource["resource_url"] == f"demo.azurecr.io/demo/shop@{NOBODY}"


def test_distribution_tells_a_deletion_by_digest_and_repository() -> None:
    (pushed,) = _rendered(notices.distribution, _event())["events"]
    (deleted,) = _rendered(notices.distribution, _event(action="delete", tag=None))["events"]

    assert (pushed["action"], pushed["target"]["tag"]) == ("push", "v1")
    assert deleted["target"] == {"digest": NOBODY, "repository": "demo/shop"}


class _Receiver:
    """Refuses as often as told, then accepts."""

    def __init__(self, refusals: int) -> None:
        self.seen: list[tuple[Mapping[str, str], dict[str, Any]]] = []
        self._refusals = refusals
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        self.server = WebServer(app)

    async def _receive(self, request: web.Request) -> web.Response:
        self.seen.append((request.headers, await request.json()))
        return web.Response(status=503 if len(self.seen) <= self._refusals else 202)


async def test_the_webhook_is_sent_until_it_is_accepted(
    registry: Registry, client: RegistryClient
) -> None:
    receiver = _Receiver(refusals=2)
    await receiver.server.start()
    try:
        sender = WebhookSender(
            f"{receiver.server.url}/hook",
            headers={"Authorization": "Bearer shared"},
            retry_seconds=(0, 0, 0),
        )
        registry.on_push.append(sender)
        await client.push("demo", "v1", SPEC)
        await asyncio.wait_for(registry.settled(), 20)
        pinged = await sender.ping()
    finally:
        await receiver.server.stop()

    assert [delivery.status for delivery in sender.deliveries] == [503, 503, 202, 202]
    headers, body = receiver.seen[2]
    assert headers["User-Agent"] == "AzureContainerRegistry/1.0"
    assert headers["Authorization"] == "Bearer shared"
    assert (body["action"], body["target"]["tag"]) == ("push", "v1")
    assert pinged
    assert receiver.seen[3][1].keys() == {"id", "timestamp", "action"}


async def test_an_absent_receiver_is_given_up() -> None:
    receiver = _Receiver(refusals=0)
    await receiver.server.start()
    await receiver.server.stop()  # nobody listens on its port now
    sender = WebhookSender(f"{receiver.server.url}/hook", retry_seconds=(0,))

    accepted = await sender.send(notices.acr(_event()))

    assert not accepted
    assert [delivery.status for delivery in sender.deliveries] == [None, None]
