"""Bundles are found where they were put: at the image in its registry, or in a container."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from azure.storage.blob.aio import ContainerClient

from controller.adapters.azure.credentials import connection_options
from controller.adapters.bundles.artifact import (
    ARTIFACT_TYPE,
    INDEX_TYPE,
    MANIFEST_TYPE,
    built,
    digest_of,
    fallback_tag,
)
from controller.adapters.bundles.container import ContainerBundles
from controller.adapters.bundles.push import push_to_container, push_to_registry
from controller.adapters.bundles.registry import RegistryBundles
from controller.adapters.bundles.sources import BundleSources
from controller.adapters.registry_calls import AUDIENCE, RegistryCalls
from controller.core.data import Bundles, BundleSource, DatabaseSpec
from controller.core.errors import AccessDeniedError, BusyError, MalformedError, PermanentError
from controller.migrations.manifest import manifest_of
from controller.ports_data import BundleName
from sandbox import tokens
from sandbox.registry import ImageSpec, Registry, RegistryClient
from sandbox.registry.faults import RegistryFaults
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer
from tests.adapters.stands import Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
IMAGE = DatabaseSpec(connection="db")
SPEC = ImageSpec(files={"app.py": b"print()"}, entrypoint=("python", "app.py"), env={})
NOBODY = "sha256:" + "0" * 64
DIGEST = "sha256:" + "a" * 64


def bundle(*tables: str) -> Mapping[str, bytes]:
    files = {
        f"{n:03}_{table}.up.sql": f"CREATE TABLE {table} (id int)".encode()
        for n, table in enumerate(tables, start=1)
    }
    return {**files, "manifest.json": manifest_of(files)}


ONE, TWO = bundle("orders"), bundle("orders", "items")


@dataclass
class Stand:
    """A registry with one image, and what finds bundles in it."""

    registry: Registry
    calls: RegistryCalls
    sources: BundleSources
    image: str
    digest: str
    ca_file: Path

    def name(self, image: str | None = None) -> BundleName:
        return BundleName(image=image or self.image, tag="v1")

    async def found(self) -> list[str] | None:
        bundle = await self.sources.find(IMAGE, self.name())
        return [migration.id for migration in bundle.migrations] if bundle else None

    def client(self) -> RegistryClient:
        token, _ = tokens.mint(AUDIENCE, "ci")
        return RegistryClient(self.registry.host, ca_file=self.ca_file, token=token)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(params=["lists", "does-not-list"], loop_scope="module")
async def stand(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Stand]:
    registry = Registry(authority, lists_referrers=request.param == "lists")
    await registry.start()
    calls = RegistryCalls(
        Credential(AUDIENCE), azure_hosts=frozenset({registry.host}), ca_file=authority.ca_file
    )
    sources = BundleSources(RegistryBundles(calls), ContainerBundles(None))
    stand = Stand(registry, calls, sources, "", "", authority.ca_file)
    async with stand.client() as client:
        stand.digest = await client.push("shop/web", "v1", SPEC)
    stand.image = f"{registry.host}/shop/web@{stand.digest}"
    yield stand
    await calls.close()
    await registry.stop()


async def test_what_is_pushed_is_found(stand: Stand) -> None:
    assert await stand.found() is None

    await push_to_registry(stand.calls, stand.image, ONE, at=AT)

    assert await stand.found() == ["001_orders"]


async def test_the_newest_counts_and_pushing_twice_is_one(stand: Stand) -> None:
    first = await push_to_registry(stand.calls, stand.image, TWO, at=AT)
    assert await push_to_registry(stand.calls, stand.image, TWO, at=AT) == first
    assert await stand.found() == ["001_orders", "002_items"]

    await push_to_registry(stand.calls, stand.image, ONE, at=AT + timedelta(minutes=1))

    assert await stand.found() == ["001_orders"]


async def test_a_bundle_is_of_its_image_alone(stand: Stand) -> None:
    other = ImageSpec(files={"app.py": b"pass"}, entrypoint=("python", "app.py"), env={})
    async with stand.client() as client:
        digest = await client.push("shop/web", "v2", other)
    await push_to_registry(stand.calls, stand.image, ONE, at=AT)

    name = stand.name(f"{stand.registry.host}/shop/web@{digest}")

    assert await stand.sources.find(IMAGE, name) is None


async def test_an_image_that_is_not_there_is_told(stand: Stand) -> None:
    image = f"{stand.registry.host}/shop/web@{NOBODY}"

    with pytest.raises(PermanentError, match="Push the image first"):
        await push_to_registry(stand.calls, image, ONE, at=AT)
    with pytest.raises(MalformedError, match="is not registry/repository@sha256"):
        await push_to_registry(stand.calls, "shop:v1", ONE, at=AT)


async def test_a_registry_that_is_away_may_come_back(stand: Stand) -> None:
    await push_to_registry(stand.calls, stand.image, ONE, at=AT)
    await stand.registry.stop()

    with pytest.raises(BusyError):
        await stand.sources.find(IMAGE, stand.name())


async def _attach(stand: Stand, files: Mapping[str, bytes]) -> None:
    """As `oras attach` does; older registries get the tag from the client, too."""
    async with stand.client() as client:
        made = await client.attach_files("shop/web", stand.digest, ARTIFACT_TYPE, files)
        if not stand.registry.lists_referrers:
            row = await client.resolve("shop/web", made) | {"artifactType": ARTIFACT_TYPE}
            index = (
                b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",'
                b'"manifests":[' + json.dumps(row).encode() + b"]}"
            )
            kind = "application/vnd.oci.image.index.v1+json"
            await client.put_manifest("shop/web", fallback_tag(stand.digest), kind, index)


async def test_what_oras_attaches_is_found_beside_signatures(stand: Stand) -> None:
    async with stand.client() as client:
        await client.attach("shop/web", stand.digest, "application/spdx+json", b"{}")
        await client.sign("shop/web", stand.digest)

    await _attach(stand, TWO)

    assert await stand.found() == ["001_orders", "002_items"]


async def test_what_is_no_bundle_says_why(stand: Stand) -> None:
    await _attach(stand, {"notes.txt": b"hello"})

    with pytest.raises(MalformedError, match="neither a manifest nor an SQL file"):
        await stand.found()


async def test_what_was_read_once_is_not_fetched_again(stand: Stand) -> None:
    """Each migration of a rollout asks anew: the list is read, the files are remembered."""
    await push_to_registry(stand.calls, stand.image, ONE, at=AT)
    await stand.found()
    before = stand.registry.requests["GET", "blob"]

    assert await stand.found() == ["001_orders"]

    assert stand.registry.requests["GET", "blob"] == before


async def test_a_tag_from_before_the_registry_learnt_to_list_is_found(stand: Stand) -> None:
    """To miss a bundle would be to release without its migrations."""
    await push_to_registry(stand.calls, stand.image, ONE, at=AT)
    stand.registry.lists_referrers = True

    assert await stand.found() == ["001_orders"]


class WritesOver(RegistryFaults):
    """Somebody who attaches at the same time: their list comes after ours, without our row."""

    def __init__(self, tags: dict[str, str], tag: str) -> None:
        super().__init__()
        self.is_done = False
        self._tags, self._tag, self._theirs = tags, tag, tags[tag]

    async def strike(self, kind: str) -> web.Response | None:
        del kind
        if not self.is_done and self._tags[self._tag] != self._theirs:
            self._tags[self._tag], self.is_done = self._theirs, True
        return None


async def test_a_bundle_that_somebody_wrote_out_of_the_list_is_put_back(stand: Stand) -> None:
    stand.registry.lists_referrers = False  # else the registry keeps the list itself
    theirs = await push_to_registry(stand.calls, stand.image, TWO, at=AT)
    shelf = stand.registry._store.existing("shop/web")
    faults = WritesOver(shelf.tags, fallback_tag(stand.digest))
    stand.registry.faults = faults

    ours = await push_to_registry(stand.calls, stand.image, ONE, at=AT + timedelta(minutes=1))

    index = shelf.manifests[shelf.tags[fallback_tag(stand.digest)]].document()
    assert faults.is_done
    assert {row["digest"] for row in index["manifests"]} == {ours, theirs}


# --- Registries with ways of their own ------------------------------------------------------------


@dataclass
class Odd:
    """A registry that lists what is attached page by page, or shows a page for people."""

    bundles: Mapping[str, datetime]  # table that each brings -> when it was made
    tells_times: bool = True
    has_a_list: bool = True
    pages: int = 0

    def __post_init__(self) -> None:
        subject = {"mediaType": MANIFEST_TYPE, "digest": DIGEST, "size": 2}
        self.rows: list[dict[str, Any]] = []
        self.content: dict[str, bytes] = {}
        for table, at in self.bundles.items():
            files = bundle(table)
            manifest, row = built(files, subject, at.isoformat())
            self.content |= {digest_of(each): each for each in (manifest, *files.values())}
            self.rows.append(row if self.tells_times else {**row, "annotations": None})

    def server(self, authority: Authority) -> WebServer:
        app = web.Application()
        app.router.add_get("/v2/shop/referrers/{digest}", self._list)
        app.router.add_get("/v2/shop/{kind:manifests|blobs}/{reference}", self._content)
        return WebServer(app, tls=authority.server_context())

    async def _list(self, request: web.Request) -> web.Response:
        """It knows no filter, and ends each page with the way to the next."""
        if not self.has_a_list:
            return web.Response(text="<html>Welcome</html>", content_type="text/html")
        self.pages += 1
        number = int(request.query.get("page", "0"))
        rows = [{"artifactType": "application/spdx+json"}, self.rows[number]]
        more = {"Link": f'<{request.path}?page={number + 1}>; rel="next"'}
        headers = more if number + 1 < len(self.rows) else None
        return web.json_response({"manifests": rows}, content_type=INDEX_TYPE, headers=headers)

    async def _content(self, request: web.Request) -> web.Response:
        reference = request.match_info["reference"]
        if reference == fallback_tag(DIGEST) and not self.has_a_list:
            return web.json_response({"manifests": self.rows}, content_type=INDEX_TYPE)
        found = self.content.get(reference)
        return web.Response(status=404) if found is None else web.Response(body=found)


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"tells_times": False},
        {"has_a_list": False},
        {"has_a_list": False, "tells_times": False},
    ],
    ids=["pages", "no-times", "page-for-people", "page-for-people-no-times"],
)
async def test_the_newest_is_found_however_a_registry_lists(
    authority: Authority, odd: dict[str, bool]
) -> None:
    """By the time, not by how it is written: 9 o'clock in Berlin is before 8.30 in London."""
    berlin = timezone(timedelta(hours=2))
    registry = Odd(
        {
            "old": datetime(2026, 6, 1, 9, tzinfo=berlin),
            "new": datetime(2026, 6, 1, 8, 30, tzinfo=UTC),
            "older": datetime(2026, 6, 1, 8, 59, 59, tzinfo=berlin),
        },
        **odd,
    )
    server = registry.server(authority)
    await server.start()
    calls = RegistryCalls(None, ca_file=authority.ca_file)
    sources = BundleSources(RegistryBundles(calls), ContainerBundles(None))

    name = BundleName(image=f"{server.url.removeprefix('https://')}/shop@{DIGEST}")
    found = await sources.find(IMAGE, name)

    assert found is not None
    assert found.head == "001_new"
    assert registry.pages == (3 if registry.has_a_list else 0)
    await calls.close()
    await server.stop()


# --- In a container ------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azurite(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


@dataclass
class Shelf:
    """A container, and what finds bundles in it."""

    url: str
    options: Callable[[], dict[str, Any]]
    bundles: ContainerBundles
    client: ContainerClient
    sources: BundleSources

    async def found(self, digest: str, tag: str | None) -> list[str] | None:
        spec = DatabaseSpec(
            connection="db",
            bundles=Bundles(source=BundleSource.BLOB, url=self.url, prefix="shop/"),
        )
        name = BundleName(image=f"acr.test/shop@{digest}", tag=tag)
        bundle = await self.sources.find(spec, name)
        return [migration.id for migration in bundle.migrations] if bundle else None


@pytest_asyncio.fixture(loop_scope="module")
async def shelf(
    azurite: Storage, authority: Authority, request: pytest.FixtureRequest
) -> AsyncIterator[Shelf]:
    def options() -> dict[str, Any]:
        return connection_options(authority.ca_file)

    credential = Credential("https://storage.azure.com")
    url = f"{azurite.blob_url}/c{abs(hash(request.node.name)):x}"
    bundles = ContainerBundles(credential, options)
    async with ContainerClient.from_container_url(
        url, credential=credential, **options()
    ) as client:
        await client.create_container()
        calls = RegistryCalls(None)
        yield Shelf(url, options, bundles, client, BundleSources(RegistryBundles(calls), bundles))


async def test_a_container_is_asked_for_the_digest_and_then_the_tag(shelf: Shelf) -> None:
    assert await shelf.found(DIGEST, "v1") is None

    await push_to_container(shelf.bundles, shelf.url, "shop/", "v1", ONE)
    assert await shelf.found(DIGEST, "v1") == ["001_orders"]
    assert await shelf.found(DIGEST, None) is None

    await push_to_container(shelf.bundles, shelf.url, "shop/", DIGEST, TWO)
    assert await shelf.found(DIGEST, "v1") == ["001_orders", "002_items"]

    await push_to_container(shelf.bundles, shelf.url, "shop/", DIGEST, ONE)
    assert await shelf.found(DIGEST, "v1") == ["001_orders"]


async def test_what_is_pushed_to_a_container_is_there_at_once(shelf: Shelf) -> None:
    """One blob: a rollout never sees half of it. It wins over files that lie there."""
    await shelf.client.upload_blob(f"shop/{fallback_tag(DIGEST)}/001_old.up.sql", b"SELECT 1")
    assert await shelf.found(DIGEST, None) == ["001_old"]

    await push_to_container(shelf.bundles, shelf.url, "shop/", DIGEST, TWO)

    assert await shelf.found(DIGEST, None) == ["001_orders", "002_items"]
    names = [name async for name in shelf.client.list_blob_names()]
    assert f"shop/{fallback_tag(DIGEST)}.tar.gz" in names
    assert len(names) == 2


async def test_files_of_a_folder_are_read_and_a_torn_one_is_refused(shelf: Shelf) -> None:
    folder = f"shop/{fallback_tag(DIGEST)}"
    for name in ("manifest.json", "001_orders.up.sql"):
        await shelf.client.upload_blob(f"{folder}/{name}", TWO[name])
    with pytest.raises(MalformedError, match=r"002_items\.up\.sql, which is not in the bundle"):
        await shelf.found(DIGEST, None)

    await shelf.client.upload_blob(f"{folder}/002_items.up.sql", TWO["002_items.up.sql"])
    assert await shelf.found(DIGEST, None) == ["001_orders", "002_items"]

    await shelf.client.upload_blob(f"{folder}/more/002_items.up.sql", b"SELECT 1")
    with pytest.raises(MalformedError, match="two files of one name"):
        await shelf.found(DIGEST, None)


def packed(files: Mapping[str, bytes], folder: str = "db/") -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


async def test_a_packed_folder_is_read_as_its_files(shelf: Shelf) -> None:
    path = f"shop/{fallback_tag(DIGEST)}.tar.gz"
    await shelf.client.upload_blob(path, packed(TWO))
    assert await shelf.found(DIGEST, None) == ["001_orders", "002_items"]

    await shelf.client.upload_blob(path, packed(ONE, folder="../../etc/"), overwrite=True)
    assert await shelf.found(DIGEST, None) == ["001_orders"]

    await shelf.client.upload_blob(path, b"no archive", overwrite=True)
    with pytest.raises(MalformedError, match="cannot be unpacked"):
        await shelf.found(DIGEST, None)

    bomb = gzip.compress(bytes(40 << 20))
    await shelf.client.upload_blob(path, bomb, overwrite=True)
    with pytest.raises(MalformedError, match="unpacks to too much"):
        await shelf.found(DIGEST, None)


def hostile(**changes: Any) -> bytes:
    """Return an archive of one file that is not what it seems."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("001_orders.up.sql")
        info.size = 1
        for name, value in changes.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO(b"x") if info.size else None)
    return gzip.compress(plain.getvalue())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (hostile(pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "99999999"}), "sparse"),
        (hostile(type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0), "is a link"),
        (packed({}), "holds no files"),
        (packed(TWO)[:-20], "cannot be unpacked"),
        (gzip.compress(b"x" * 600), "cannot be unpacked"),
    ],
    ids=["zeros-without-end", "a-link", "empty", "cut-off", "no-tar"],
)
async def test_an_archive_that_is_not_what_it_seems_is_refused(
    shelf: Shelf, content: bytes, says: str
) -> None:
    path = f"shop/{fallback_tag(DIGEST)}.tar.gz"
    await shelf.client.upload_blob(path, content, overwrite=True)

    with pytest.raises(MalformedError, match=says):
        await shelf.found(DIGEST, None)


async def test_no_container_and_no_right_are_told(shelf: Shelf) -> None:
    nowhere = f"{shelf.url}-gone"
    with pytest.raises(MalformedError, match="There is no container"):
        await push_to_container(shelf.bundles, nowhere, "shop/", "v1", ONE)

    stranger = ContainerBundles(Credential("https://vault.azure.net"), shelf.options)
    with pytest.raises(AccessDeniedError, match="Storage Blob Data Reader"):
        await stranger.files(shelf.url, "shop/", DIGEST, None)
