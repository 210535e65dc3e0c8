"""Bundles are found where they were put: at the image in its registry, or in a container."""

import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.storage.blob.aio import ContainerClient

from controller.adapters.azure.credentials import connection_options
from controller.adapters.bundles.artifact import ARTIFACT_TYPE, fallback_tag
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
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
IMAGE = DatabaseSpec(connection="db")
SPEC = ImageSpec(files={"app.py": b"print()"}, entrypoint=("python", "app.py"), env={})
NOBODY = "sha256:" + "0" * 64


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
        if not stand.registry._lists_referrers:
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
        yield Shelf(url, bundles, client, BundleSources(RegistryBundles(calls), bundles))


DIGEST = "sha256:" + "a" * 64


async def test_a_container_is_asked_for_the_digest_and_then_the_tag(shelf: Shelf) -> None:
    assert await shelf.found(DIGEST, "v1") is None

    await push_to_container(shelf.bundles, shelf.url, "shop/", "v1", ONE)
    assert await shelf.found(DIGEST, "v1") == ["001_orders"]
    assert await shelf.found(DIGEST, None) is None

    await push_to_container(shelf.bundles, shelf.url, "shop/", DIGEST, TWO)
    assert await shelf.found(DIGEST, "v1") == ["001_orders", "002_items"]

    await push_to_container(shelf.bundles, shelf.url, "shop/", DIGEST, ONE)
    assert await shelf.found(DIGEST, "v1") == ["001_orders"]


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


async def test_no_container_and_no_right_are_told(shelf: Shelf) -> None:
    nowhere = f"{shelf.url}-gone"
    with pytest.raises(MalformedError, match="There is no container"):
        await push_to_container(shelf.bundles, nowhere, "shop/", "v1", ONE)

    stranger = ContainerBundles(Credential("https://vault.azure.net"), shelf.bundles._options)
    with pytest.raises(AccessDeniedError, match="Storage Blob Data Reader"):
        await stranger.files(shelf.url, "shop/", DIGEST, None)
