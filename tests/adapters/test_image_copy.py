"""An image is copied to a second registry with all that belongs to it, by digest."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web

from controller.adapters.bundles.push import push_to_registry
from controller.adapters.bundles.registry import RegistryBundles
from controller.adapters.image_copy import ImageCopier
from controller.adapters.registry_calls import AUDIENCE, RegistryCalls
from controller.core.errors import AccessDeniedError, BusyError, PermanentError
from controller.core.model import Image
from sandbox import tokens
from sandbox.registry import ImageSpec, Registry, RegistryClient
from sandbox.registry.faults import RegistryFaults
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT = datetime(2026, 11, 23, 8, tzinfo=UTC)
FILES = {"001_orders.up.sql": b"CREATE TABLE orders (id int)"}


def spec(name: str, size: int = 0) -> ImageSpec:
    files = {"app.py": name.encode(), "big": os.urandom(size)}
    return ImageSpec(files=files, entrypoint=("python", "app.py"), env={})


@dataclass
class Pair:
    """Two registries, the first with an image for two platforms, a bundle and a signature."""

    first: Registry
    second: Registry
    calls: RegistryCalls
    image: Image
    ca_file: Path
    lists: bool  # whether the second tells what is attached

    @property
    def to(self) -> str:
        return f"{self.second.host}/dr"

    def copied(self, image: Image | None = None) -> Image:
        found = image or self.image
        return Image(
            registry=self.second.host, repository=f"dr/{found.repository}", digest=found.digest
        )

    async def pushed(self, size: int) -> Image:
        token, _ = tokens.mint(AUDIENCE, "ci")
        async with RegistryClient(self.first.host, ca_file=self.ca_file, token=token) as client:
            digest = await client.push("shop/big", "v1", spec("big", size))
        return Image(registry=self.first.host, repository="shop/big", digest=digest)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(params=["lists", "does-not-list"], loop_scope="module")
async def pair(request: pytest.FixtureRequest, authority: Authority) -> AsyncIterator[Pair]:
    first = Registry(authority)
    second = Registry(authority, lists_referrers=request.param == "lists")
    await first.start()
    await second.start()
    calls = RegistryCalls(
        Credential(AUDIENCE),
        azure_hosts=frozenset({first.host, second.host}),
        ca_file=authority.ca_file,
    )
    token, _ = tokens.mint(AUDIENCE, "ci")
    async with RegistryClient(first.host, ca_file=authority.ca_file, token=token) as client:
        specs = [spec("amd64"), spec("arm64")]
        digest = await client.push_index("shop/web", "v1", specs, attestations=True)
        await client.attach("shop/web", digest, "application/spdx+json", b'{"sbom": true}')
    image = Image(registry=first.host, repository="shop/web", digest=digest)
    await push_to_registry(calls, image.reference, FILES, at=AT)
    yield Pair(first, second, calls, image, authority.ca_file, request.param == "lists")
    await calls.close()
    await first.stop()
    await second.stop()


def manifests(registry: Registry, repository: str) -> set[str]:
    found = registry._store.repositories.get(repository)
    return set(found.manifests) if found else set()


async def test_all_platforms_and_what_is_attached_are_there_by_their_digests(pair: Pair) -> None:
    made = await ImageCopier(pair.calls).copy(pair.image, pair.to)

    assert made == pair.copied()
    ours, theirs = manifests(pair.first, "shop/web"), manifests(pair.second, "dr/shop/web")
    assert ours <= theirs
    source = pair.first._store.existing("shop/web").blobs
    assert source == pair.second._store.existing("dr/shop/web").blobs
    assert await RegistryBundles(pair.calls).files(pair.copied()) == FILES


async def test_what_is_there_is_not_sent_again(pair: Pair) -> None:
    await ImageCopier(pair.calls).copy(pair.image, pair.to)
    pair.second.requests.clear()

    await ImageCopier(pair.calls).copy(pair.image, pair.to)

    writes = {k: n for k, n in pair.second.requests.items() if k[0] in {"PUT", "POST", "PATCH"}}
    assert writes == {}


class Breaks(RegistryFaults):
    """Fails one request, whichever it is."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.left = at

    async def strike(self, kind: str) -> web.Response | None:
        self.left -= 1
        return web.Response(status=503) if self.left == 0 else None


def attached(registry: Registry, repository: str, digest: str, *, lists: bool) -> set[str]:
    """Return what a registry shows to be attached, in whichever way it does."""
    found = registry._store.existing(repository)
    tag = found.tags.get(digest.replace(":", "-"))
    if lists:
        return {str(row["digest"]) for row in found.referrers(digest, None)}
    return {row["digest"] for row in found.manifests[tag].document()["manifests"]} if tag else set()


@pytest.mark.parametrize(("side", "begin"), [("first", 1), ("second", 3)])
async def test_one_that_broke_off_at_a_request_goes_on_with_the_rest(
    pair: Pair, side: str, begin: int
) -> None:
    """Each fourth request of either registry; nothing that is attached gets lost."""
    copier, broken = ImageCopier(pair.calls), getattr(pair, side)
    wanted = attached(pair.first, "shop/web", pair.image.digest, lists=True)
    assert len(wanted) == 2
    struck = 0
    for at in range(begin, 200, 4):
        to = f"{pair.to}/{at}"  # a new place for each
        broken.faults = Breaks(at)
        try:
            await copier.copy(pair.image, to)
        except BusyError:
            struck += 1
        over, broken.faults = broken.faults.left > 0, RegistryFaults()
        await copier.copy(pair.image, to)

        repository = f"dr/{at}/shop/web"
        assert pair.image.digest in manifests(pair.second, repository)
        found = attached(pair.second, repository, pair.image.digest, lists=pair.lists)
        assert found == wanted, at
        if over:  # it ended before that request
            break

    assert struck > 3


async def test_a_layer_of_many_pieces_arrives_whole(pair: Pair) -> None:
    image = await pair.pushed(24 << 20)

    await ImageCopier(pair.calls).copy(image, pair.to)

    assert manifests(pair.second, "dr/shop/big") == {image.digest}


async def test_other_bytes_than_the_digest_says_are_not_kept(pair: Pair) -> None:
    image = await pair.pushed(1 << 20)
    repository = pair.first._store.existing("shop/big")
    digest = max(repository.blobs, key=lambda each: len(repository.blobs[each]))
    repository.blobs[digest] = bytes(len(repository.blobs[digest]))

    with pytest.raises((PermanentError, BusyError)):
        await ImageCopier(pair.calls).copy(image, pair.to)

    assert image.digest not in manifests(pair.second, "dr/shop/big")


async def test_no_image_and_no_right_are_told(pair: Pair) -> None:
    gone = Image(registry=pair.first.host, repository="shop/web", digest="sha256:" + "0" * 64)
    with pytest.raises(PermanentError, match="answered 404"):
        await ImageCopier(pair.calls).copy(gone, pair.to)

    stranger = RegistryCalls(None, ca_file=pair.ca_file)
    with pytest.raises(AccessDeniedError):
        await ImageCopier(stranger).copy(pair.image, pair.to)
    await stranger.close()


async def test_a_copy_is_brought_back_to_the_very_place(pair: Pair) -> None:
    """And all that is attached to it, from the second registry to the first."""
    copier = ImageCopier(pair.calls)
    made = await copier.copy(pair.image, pair.to)
    place = replace(pair.image, repository="shop/anew")

    await copier.place(made, place)

    assert pair.image.digest in manifests(pair.first, "shop/anew")
    wanted = attached(pair.second, "dr/shop/web", made.digest, lists=pair.lists)
    assert attached(pair.first, "shop/anew", made.digest, lists=True) == wanted
