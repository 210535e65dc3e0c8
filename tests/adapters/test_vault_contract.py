"""What every `Vault` keeps, asked of the memory twin and of Blob Storage on Azurite."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from azure.storage.blob import BlobBlock
from azure.storage.blob.aio import BlobServiceClient

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.memory.vault import MemoryBlob, MemoryVault
from controller.adapters.memory.world import Fault
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import PassphraseKey, ScryptCost
from controller.core.errors import (
    BackupDamagedError,
    BackupKeyError,
    BackupMissingError,
    CommandRefusedError,
    ConfigurationError,
    MalformedError,
    TransientError,
)
from controller.ports_data import PartLabel, Sealer, Vault
from controller.recovery.manifest import Manifest, PartKind, sealed_by_hash, write_manifest
from controller.recovery.names import SetId, set_id
from controller.recovery.sets import Condition
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential
from tests.recovery.kit import BEGUN, a_set, manifest, mark, part, stream, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHEAP = ScryptCost(n=2, r=1, p=1)
BLOCK = 1 << 16
DUMP = bytes(range(256)) * 1000  # 256,000 bytes: four blocks, the last one short


def sealer(words: str = "correct horse battery staple") -> Sealer:
    return StreamSealer(PassphraseKey(words, CHEAP), chunk_bytes=50_000)


class Stand:
    """A vault, its twins with other keys, and a hand that reaches behind them."""

    def vault(self, seal: Sealer | None = None) -> Vault:
        raise NotImplementedError

    async def read(self, path: str) -> bytes:
        raise NotImplementedError

    async def write(self, path: str, data: bytes) -> None:
        """Exchange what is there and leave its metadata."""
        raise NotImplementedError

    async def copy(self, source: str, target: str) -> None:
        """With its metadata, as a copy on the server does."""
        raise NotImplementedError

    async def delete(self, path: str) -> None:
        raise NotImplementedError


class MemoryStand(Stand):
    def __init__(self) -> None:
        self._one = MemoryVault()

    def vault(self, seal: Sealer | None = None) -> Vault:
        twin = MemoryVault(seal)
        twin.shelf.blobs = self._one.shelf.blobs
        return twin

    async def read(self, path: str) -> bytes:
        return self._one.shelf.blobs[path].data

    async def write(self, path: str, data: bytes) -> None:
        known = self._one.shelf.blobs.get(path, MemoryBlob(b"", "application/json"))
        self._one.shelf.blobs[path] = replace(known, data=data)

    async def copy(self, source: str, target: str) -> None:
        self._one.shelf.blobs[target] = self._one.shelf.blobs[source]

    async def delete(self, path: str) -> None:
        del self._one.shelf.blobs[path]


class BlobStand(Stand):
    def __init__(self, storage: Storage, authority: Authority, service: BlobServiceClient) -> None:
        self._url = storage.blob_url
        self._authority = authority
        self.name = f"backups-{uuid.uuid4().hex[:8]}"
        self.container = service.get_container_client(self.name)
        self._open: list[BlobVault] = []

    def vault(self, seal: Sealer | None = None) -> Vault:
        vault = BlobVault(
            self._url,
            Credential("https://storage.azure.com"),
            container=self.name,
            sealer=seal,
            block_bytes=BLOCK,
            options=connection_options(self._authority.ca_file),
        )
        self._open.append(vault)
        return vault

    async def close(self) -> None:
        for vault in self._open:
            await vault.close()

    async def read(self, path: str) -> bytes:
        return bytes(await (await self.container.download_blob(path)).readall())

    async def write(self, path: str, data: bytes) -> None:
        blob = self.container.get_blob_client(path)
        metadata = (await blob.get_blob_properties()).metadata if await blob.exists() else {}
        await blob.upload_blob(data, overwrite=True, metadata=metadata)

    async def copy(self, source: str, target: str) -> None:
        known = self.container.get_blob_client(source)
        metadata = (await known.get_blob_properties()).metadata
        data = await self.read(source)
        await self.container.upload_blob(target, data, overwrite=True, metadata=metadata)

    async def delete(self, path: str) -> None:
        await self.container.delete_blob(path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azurite(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(azurite: Storage, authority: Authority) -> AsyncIterator[BlobServiceClient]:
    """Blob Storage behind the adapter's back."""
    async with BlobServiceClient(
        azurite.blob_url,
        Credential("https://storage.azure.com"),
        **connection_options(authority.ca_file),
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def blobs(
    azurite: Storage, authority: Authority, service: BlobServiceClient
) -> AsyncIterator[BlobStand]:
    stand = BlobStand(azurite, authority, service)
    yield stand
    await stand.close()


@pytest.fixture(params=["memory", "blobs"])
def stand(request: pytest.FixtureRequest, blobs: BlobStand) -> Stand:
    return MemoryStand() if request.param == "memory" else blobs


@pytest.fixture(params=["plain", "sealed"])
def seal(request: pytest.FixtureRequest) -> Sealer | None:
    return sealer() if request.param == "sealed" else None


def an_id(minutes: int = 0, app: str = "shop") -> SetId:
    return set_id(app, BEGUN + timedelta(minutes=minutes), uuid.uuid4().hex[:4])


# --- Making and reading ---------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", DUMP, b"y" * BLOCK, b"z" * 100_000], ids=len)
async def test_what_is_put_comes_back(stand: Stand, seal: Sealer | None, data: bytes) -> None:
    """Empty, small, of many blocks, and at the edges of blocks and chunks."""
    vault = stand.vault(seal)
    made = await a_set(vault, an_id(), database=data, configuration=b"{}")

    known = await vault.manifest(made.id)
    assert known == made
    assert await whole(vault.open_part(known, "database")) == data
    assert await whole(vault.open_part(known, "configuration")) == b"{}"
    assert (await stand.read(made.parts[0].path) == data) is (seal is None)
    verification = await vault.verify(made.id)
    assert verification.passed, verification.problems
    assert (verification.parts, verification.plain_bytes) == (2, len(data) + 2)
    assert verification.manifest_sha256 == made.sha256


async def test_a_set_is_offered_only_when_its_manifest_is_there(stand: Stand) -> None:
    """Before that it is incomplete, whoever asks."""
    vault, identity = stand.vault(), an_id()
    one = await vault.put_part(
        PartLabel(identity, "database"), stream(DUMP), kind=PartKind.DATABASE
    )
    (found,) = await vault.sets("shop")
    assert (found.id, found.condition) == (identity, Condition.INCOMPLETE)
    for call in (vault.manifest(identity), vault.verify(identity)):
        with pytest.raises(BackupMissingError, match="never finished"):
            await call

    await vault.finish(manifest(identity, one))
    (found,) = await vault.sets("shop")
    assert found.condition is Condition.COMPLETE
    assert found.manifest == await vault.manifest(identity)
    assert found.stored_bytes > len(DUMP)


async def test_sets_are_listed_by_app_and_oldest_first(stand: Stand) -> None:
    """What is none of ours in there is left alone."""
    vault = stand.vault()
    assert await vault.sets() == ()
    late, early, other = an_id(5), an_id(1), an_id(3, app="shop-2")
    for identity in (late, early, other):
        await a_set(vault, identity, database=b"x")
    await stand.write("shop/readme.txt", b"hello")
    await stand.write(f"stray/{an_id()}/manifest.json", b"{}")

    assert [each.id for each in await vault.sets("shop")] == [early, late]
    assert [each.id for each in await vault.sets("shop-2")] == [other]
    assert {each.id for each in await vault.sets()} == {early, late, other}


async def test_after_a_crash_only_the_missing_parts_are_put(stand: Stand, seal: Sealer) -> None:
    """Another process learns of a part all that the manifest needs."""
    identity = an_id()
    label = PartLabel(identity, "database")
    first = await stand.vault(seal).put_part(label, stream(DUMP), kind=PartKind.DATABASE)

    vault = stand.vault(seal)
    assert await vault.parts(identity) == (first,)
    again = await vault.put_part(label, stream(b"other"), kind=PartKind.DATABASE)
    assert await vault.parts(identity) == (again,)
    with pytest.raises(BackupDamagedError, match=r"cut short|has grown|another upload"):
        await vault.finish(manifest(identity, first))
    made = await vault.finish(manifest(identity, again))
    assert await whole(vault.open_part(made, "database")) == b"other"


async def test_finishing_twice_is_finishing_once(stand: Stand, seal: Sealer | None) -> None:
    """With the same manifest; with another it is refused, and so is a part that comes late."""
    vault, identity = stand.vault(seal), an_id()
    one = await vault.put_part(
        PartLabel(identity, "database"), stream(DUMP), kind=PartKind.DATABASE
    )
    made = await vault.finish(manifest(identity, one))

    assert await vault.finish(manifest(identity, one)) == made
    with pytest.raises(CommandRefusedError, match="another manifest"):
        await vault.finish(manifest(identity, one, reason="because"))
    with pytest.raises(CommandRefusedError, match="is finished"):
        await vault.put_part(
            PartLabel(identity, "database"), stream(b"late"), kind=PartKind.DATABASE
        )
    assert (await vault.verify(identity)).passed


async def test_a_manifest_is_not_written_over_parts_that_are_not_there(stand: Stand) -> None:
    """Nor is one that contradicts itself."""
    vault, identity = stand.vault(), an_id()
    with pytest.raises(BackupDamagedError, match=r"'database' of .* is missing"):
        await vault.finish(manifest(identity, part(identity)))
    with pytest.raises(MalformedError, match="has no parts"):
        await vault.finish(manifest(identity))
    assert await vault.sets() == ()


async def test_the_source_is_closed_whatever_happens(stand: Stand) -> None:
    """So that the dump that feeds it ends, too."""
    closed: list[str] = []

    async def source(name: str, *, fails: bool) -> AsyncIterator[bytes]:
        try:
            yield DUMP
            if fails:
                raise OSError("pg_dump died")
        finally:
            closed.append(name)

    vault, identity = stand.vault(sealer()), an_id()
    label = PartLabel(identity, "database")
    with pytest.raises(OSError, match="pg_dump died"):
        await vault.put_part(label, source("fails", fails=True), kind=PartKind.DATABASE)
    assert await vault.parts(identity) == ()
    done = await vault.put_part(label, source("works", fails=False), kind=PartKind.DATABASE)
    await vault.finish(manifest(identity, done))
    late = source("late", fails=False)
    with pytest.raises(CommandRefusedError):
        await vault.put_part(label, late, kind=PartKind.DATABASE)

    assert closed[:2] == ["fails", "works"]
    with pytest.raises(StopAsyncIteration):
        await anext(late)


# --- What is wrong is found -----------------------------------------------------------------------


async def problems(vault: Vault, identity: SetId) -> str:
    """Return what verification says; opening the parts must say it, too."""
    verification = await vault.verify(identity)
    assert not verification.passed
    return " ".join(verification.problems)


async def opening_fails(vault: Vault, made: Manifest, name: str = "database") -> int:
    """Return how many bytes were handed out before it failed: never the whole."""
    seen: list[int] = []
    stream = vault.open_part(made, name)
    with pytest.raises((BackupDamagedError, BackupMissingError, BackupKeyError)):
        await counted(stream, seen)
    return sum(seen)


async def counted(pieces: AsyncIterator[bytes], seen: list[int]) -> None:
    async for piece in pieces:
        seen.append(len(piece))  # noqa: PERF401 - what came before the error is the point


async def test_a_changed_byte_is_found(stand: Stand, seal: Sealer | None) -> None:
    """Wherever it is; and nobody gets the whole of a damaged part."""
    vault = stand.vault(seal)
    made = await a_set(vault, an_id(), database=DUMP, configuration=b"{}")
    path = made.parts[0].path
    right = await stand.read(path)
    for place in (0, 700, len(right) // 2, len(right) - 1):
        await stand.write(path, right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :])
        said = await problems(vault, made.id)
        assert "Part 'database'" in said
        assert "changed" in said or "damaged" in said or "not encrypted by" in said, said
        assert await opening_fails(vault, made) < len(DUMP)
    await stand.write(path, right)
    assert (await vault.verify(made.id)).passed


async def test_a_truncated_part_is_found(stand: Stand, seal: Sealer | None) -> None:
    """Already by the listing."""
    vault = stand.vault(seal)
    made = await a_set(vault, an_id(), database=DUMP)
    right = await stand.read(made.parts[0].path)
    await stand.write(made.parts[0].path, right[:-1])

    assert "'database' of" in (said := await problems(vault, made.id))
    assert f"was cut short: it has {len(right) - 1} bytes" in said
    assert await opening_fails(vault, made) == 0
    (found,) = await vault.sets()
    assert found.condition is Condition.UNREADABLE
    assert "Part 'database' was cut short" in (found.problem or "")
    await stand.write(made.parts[0].path, right + b"x")
    assert "has grown" in await problems(vault, made.id)


async def test_a_part_of_another_set_is_found(stand: Stand, seal: Sealer | None) -> None:
    """Of the same size, and with or without its metadata."""
    vault = stand.vault(seal)
    one = await a_set(vault, an_id(1), database=DUMP)
    two = await a_set(vault, an_id(2), database=DUMP[::-1])
    await stand.copy(one.parts[0].path, two.parts[0].path)
    assert f"was exchanged: what lies there is {one.parts[0].path}" in await problems(vault, two.id)

    await stand.write(one.parts[0].path, await stand.read(two.parts[0].path))
    assert (await vault.verify(one.id)).passed
    other = await a_set(vault, an_id(3), database=DUMP[::-1])
    await stand.write(other.parts[0].path, await stand.read(one.parts[0].path))
    said = await problems(vault, other.id)
    assert f"was exchanged: it is part 'database' of '{one.id}'" in said or "was changed" in said
    assert await opening_fails(vault, other) < len(DUMP)


async def test_a_missing_part_is_found(stand: Stand, seal: Sealer | None) -> None:
    """The others are still compared."""
    vault = stand.vault(seal)
    made = await a_set(vault, an_id(), database=DUMP, configuration=b"{}")
    await stand.delete(made.parts[1].path)

    verification = await vault.verify(made.id)
    assert verification.problems == (f"Part 'configuration' of {made.id} is missing.",)
    assert verification.parts == 1
    assert await opening_fails(vault, made, "configuration") == 0
    (found,) = await vault.sets()
    assert found.problem == "Part 'configuration' is missing."


async def test_a_part_that_was_encrypted_again_is_found(stand: Stand) -> None:
    """By somebody with another key, or with ours; in the right place, of the right size."""
    vault = stand.vault(sealer())
    made = await a_set(vault, an_id(), database=DUMP)
    label, path = PartLabel(made.id, "database"), made.parts[0].path
    for again in (sealer("another passphrase"), sealer()):
        _, sealed = await again.seal(label, stream(DUMP))
        await stand.write(path, await whole(sealed))
        assert "was encrypted again after the manifest was written" in await problems(
            vault, made.id
        )
        assert await opening_fails(vault, made) == 0


async def test_the_wrong_key_is_said_to_be_wrong(stand: Stand) -> None:
    """So is none, and one where nothing is encrypted. The set is not blamed."""
    identity = an_id()
    made = await a_set(stand.vault(sealer()), identity, database=DUMP)
    for vault, words in (
        (stand.vault(sealer("another passphrase")), "does not open with 'passphrase'"),
        (stand.vault(), "is encrypted with 'passphrase'; no key is configured"),
    ):
        with pytest.raises(BackupKeyError, match=words):
            await vault.manifest(identity)
        assert words in await problems(vault, identity)
        assert (await vault.verify(identity)).manifest_sha256 == ""
        assert await opening_fails(vault, made) == 0
    plain = await a_set(stand.vault(), an_id(1), database=DUMP)
    with pytest.raises(BackupDamagedError, match="is not sealed"):
        await stand.vault(sealer()).manifest(plain.id)


async def test_an_edited_manifest_is_found(stand: Stand, seal: Sealer | None) -> None:
    """Edited, replaced by another set's, or not a manifest at all."""
    vault = stand.vault(seal)
    one, two = [await a_set(vault, an_id(n), database=DUMP) for n in (1, 2)]
    path = f"shop/{one.id}/manifest.json"
    right = await stand.read(path)
    for wrong, words in (
        (right.replace(b'"rows":1200', b'"rows":1199'), "was changed after it was written"),
        (await stand.read(f"shop/{two.id}/manifest.json"), f"holds the manifest of {two.id}"),
        (right[:-9], "cannot be read"),
        (b"", "cannot be read"),
        (right.replace(b'"schema":1', b'"schema":2'), "this Slipway reads 1"),
    ):
        await stand.write(path, wrong)
        assert words in await problems(vault, one.id)
        found = next(each for each in await vault.sets() if each.id == one.id)
        assert found.condition is Condition.UNREADABLE
        assert words in (found.problem or "")
    await stand.write(path, right)
    assert (await vault.verify(one.id)).passed


async def test_a_forged_manifest_is_found_where_there_is_a_key(stand: Stand) -> None:
    """With its hash made right by who does not hold the key, its seal kept or left out."""
    vault = stand.vault(sealer())
    made = await a_set(vault, an_id(), database=DUMP)
    forged = sealed_by_hash(replace(made, release="registry.test/evil@sha256:" + "6" * 64))
    path = f"shop/{made.id}/manifest.json"
    await stand.write(path, write_manifest(forged))
    assert "its seal is that of another content" in await problems(vault, made.id)
    await stand.write(path, write_manifest(replace(forged, seal=None)))
    assert "is not sealed" in await problems(vault, made.id)


# --- Marks ----------------------------------------------------------------------------------------


async def test_a_mark_says_who_saw_that_a_set_is_whole(stand: Stand, seal: Sealer | None) -> None:
    """It changes nothing of the set; the newest counts, and marks of another content do not."""
    vault = stand.vault(seal)
    made = await a_set(vault, an_id(), database=DUMP)
    before = await stand.read(f"shop/{made.id}/manifest.json")
    good = mark(made)
    for _ in range(2):
        await vault.mark(made.id, good)
    (found,) = await vault.sets()
    assert found.is_verified
    assert list(found.marks) == [good]

    await vault.mark(made.id, replace(good, at=good.at + timedelta(days=1), manifest_sha256="0"))
    (found,) = await vault.sets()
    assert found.is_verified
    bad = mark(made, passed=False, at=good.at + timedelta(days=2))
    await vault.mark(made.id, bad)
    (found,) = await vault.sets()
    assert (found.is_verified, found.is_suspect) == (False, True)
    assert await stand.read(f"shop/{made.id}/manifest.json") == before


async def test_only_whole_sets_are_marked(stand: Stand) -> None:
    """There is nothing to say of another."""
    identity = an_id()
    whole_one = sealed_by_hash(manifest(identity, part(identity)))
    with pytest.raises(BackupMissingError):
        await stand.vault().mark(identity, mark(whole_one))


# --- Removing -------------------------------------------------------------------------------------


async def test_a_removed_set_is_gone_and_removing_twice_is_harmless(stand: Stand) -> None:
    """Marks and all; the others stay."""
    vault = stand.vault()
    one, two = [await a_set(vault, an_id(n), database=DUMP) for n in (1, 2)]
    await vault.mark(one.id, mark(one))

    removal = await vault.remove(one.id)
    assert removal.is_gone
    assert removal.removed[0] == f"shop/{one.id}/manifest.json"
    assert len(removal.removed) == 3
    assert (await vault.remove(one.id)).removed == ()
    assert [each.id for each in await vault.sets()] == [two.id]


async def test_an_incomplete_set_can_be_removed(stand: Stand) -> None:
    """So that uploads that were given up cost nothing."""
    vault, identity = stand.vault(), an_id()
    await vault.put_part(PartLabel(identity, "database"), stream(DUMP), kind=PartKind.DATABASE)
    assert (await vault.remove(identity)).is_gone
    assert await vault.sets() == ()


# --- Blob Storage alone ---------------------------------------------------------------------------


async def test_blocks_that_never_became_a_blob_are_seen_and_removed(blobs: BlobStand) -> None:
    """They are all that is left of a process that was killed while it uploaded."""
    vault, identity = blobs.vault(), an_id()
    path = f"shop/{identity}/parts/database"
    await blobs.container.create_container()
    blob = blobs.container.get_blob_client(path)
    await blob.stage_block("12345678-00000000", b"x" * 100)

    (found,) = await vault.sets()
    assert (found.id, found.condition) == (identity, Condition.INCOMPLETE)
    assert await vault.parts(identity) == ()
    with pytest.raises(BackupDamagedError, match="never uploaded to its end"):
        await vault.finish(manifest(identity, part(identity)))
    assert (await vault.remove(identity)).removed == (path,)
    assert await vault.sets() == ()


async def test_a_blob_is_made_of_numbered_blocks_of_one_try(blobs: BlobStand) -> None:
    """Whoever looks sees how far an upload came; blocks of an earlier try do not get in."""
    vault, identity = blobs.vault(), an_id()
    path = f"shop/{identity}/parts/database"
    await blobs.container.create_container()
    blob = blobs.container.get_blob_client(path)
    await blob.stage_block("12345678-00000001", b"old")
    await vault.put_part(PartLabel(identity, "database"), stream(DUMP), kind=PartKind.DATABASE)

    blocks: tuple[list[BlobBlock], list[BlobBlock]] = await blob.get_block_list("all")
    committed, uncommitted = blocks
    assert uncommitted == []
    assert [each.id.partition("-")[2] for each in committed] == [f"{n:08d}" for n in range(4)]
    assert len({each.id.partition("-")[0] for each in committed}) == 1


async def test_names_and_metadata_hold_no_secret(blobs: BlobStand) -> None:
    """Nor does the manifest: neither the passphrase nor the data key is in it."""
    made = await a_set(blobs.vault(sealer()), an_id(), database=b"rows of people")
    texts = [write_manifest(made).decode()]
    async for each in blobs.container.list_blobs(include=["metadata"]):
        texts += [each.name, str(each.metadata)]

    assert not any("correct horse" in text or "rows of" in text for text in texts)


async def test_a_part_that_is_replaced_while_it_is_read_is_damaged(blobs: BlobStand) -> None:
    """Two halves of two parts are never handed out as one."""
    vault = blobs.vault()
    made = await a_set(vault, an_id(), database=DUMP * 4)
    pieces = vault.open_part(made, "database")
    await anext(pieces)
    await blobs.write(made.parts[0].path, DUMP * 4)
    with pytest.raises(BackupDamagedError, match="while it was read"):
        await whole(pieces)


async def test_a_container_that_cannot_be_is_a_configuration_error(
    azurite: Storage, authority: Authority
) -> None:
    """Trying again would never help."""
    vault = BlobVault(
        azurite.blob_url,
        Credential("https://storage.azure.com"),
        container="a",
        options=connection_options(authority.ca_file),
    )
    with pytest.raises(ConfigurationError, match="3 to 63"):
        await vault.manifest(an_id())
    await vault.close()


# --- The memory twin alone ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["put_part", "create", "open", "delete"])
async def test_bad_weather_can_be_ordered(operation: str) -> None:
    """A fault meets the next call only, and what was begun can be done again."""
    vault, identity = MemoryVault(), an_id()
    label = PartLabel(identity, "database")
    vault.weather.script(operation, Fault.TRANSIENT)

    async def story() -> Any:
        made = await vault.put_part(label, stream(DUMP), kind=PartKind.DATABASE)
        await vault.finish(manifest(identity, made))
        return await vault.remove(identity)

    with pytest.raises(TransientError):
        await story()
    vault.shelf.blobs.clear()
    assert (await story()).is_gone


async def test_what_is_immutable_is_named_and_stays(blobs: BlobStand) -> None:
    """The manifest stays: so does all else, as the set is still offered. A part: the rest goes."""
    vault = MemoryVault()
    made = await a_set(vault, an_id(), database=DUMP)
    top, path = f"shop/{made.id}/manifest.json", made.parts[0].path
    vault.shelf.immutable = {top}
    removal = await vault.remove(made.id)
    assert (removal.removed, removal.refused) == ((), {top: "it is immutable"})
    assert (await vault.verify(made.id)).passed

    vault.shelf.immutable = {path}
    removal = await vault.remove(made.id)
    assert (removal.removed, list(removal.refused)) == ((top,), [path])
    (found,) = await vault.sets()
    assert (found.condition, found.has_legal_hold) == (Condition.INCOMPLETE, True)
    assert found.last_written_at == datetime(2026, 1, 1, tzinfo=UTC)
