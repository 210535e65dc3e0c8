"""What every `EvidenceStore` keeps, asked of the memory twin and of Blob Storage on Azurite."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

from controller.adapters.azure.blobs import BlobEvidence, BlobText
from controller.adapters.azure.credentials import connection_options
from controller.adapters.memory.evidence import MemoryEvidence
from controller.adapters.memory.world import Fault
from controller.core.errors import ConfigurationError, TransientError
from controller.ports import EvidenceStore
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.adapters.stands import Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azurite(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


def credential() -> Any:
    return Credential("https://storage.azure.com")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def blobs(azurite: Storage, authority: Authority) -> AsyncIterator[BlobEvidence]:
    evidence = BlobEvidence(
        azurite.blob_url, credential(), options=connection_options(authority.ca_file)
    )
    yield evidence
    await evidence.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(azurite: Storage, authority: Authority) -> AsyncIterator[BlobServiceClient]:
    """Blob Storage behind the adapter's back."""
    async with BlobServiceClient(
        azurite.blob_url, credential(), **connection_options(authority.ca_file)
    ) as client:
        yield client


@pytest.fixture(params=["memory", "blobs"])
def evidence(request: pytest.FixtureRequest, blobs: BlobEvidence) -> EvidenceStore:
    return MemoryEvidence() if request.param == "memory" else blobs


@pytest.fixture
def path() -> str:
    return f"shop/20260101T000000000-shop-{uuid.uuid4().hex[:8]}-1/7.json"


async def test_what_is_kept_is_read(evidence: EvidenceStore, path: str) -> None:
    """By its path, or by the place that keeping returned."""
    place = await evidence.keep(path, b'{"rows": 1}')

    assert place == f"evidence/{path}"
    assert await evidence.read(path) == b'{"rows": 1}'
    assert await evidence.read(place) == b'{"rows": 1}'


async def test_what_was_never_kept_is_not_there(evidence: EvidenceStore, path: str) -> None:
    """Nothing, not an error."""
    assert await evidence.read(path) is None


async def test_keeping_the_same_again_changes_nothing(evidence: EvidenceStore, path: str) -> None:
    """A repeated attempt is told the same place."""
    places = {await evidence.keep(path, b"same") for _ in range(3)}

    assert places == {f"evidence/{path}"}


async def test_evidence_is_never_overwritten(evidence: EvidenceStore, path: str) -> None:
    """After a crash the same turn may be judged on other buckets: both documents stay.

    The place that the record names holds the document whose hash it names.
    """
    first = await evidence.keep(path, b"first")
    second = await evidence.keep(path, b"second")
    third = await evidence.keep(path, b"third")

    assert len({first, second, third}) == 3
    assert await evidence.keep(path, b"second") == second
    for place, document in ((first, b"first"), (second, b"second"), (third, b"third")):
        assert await evidence.read(place) == document


async def test_of_many_at_once_each_finds_its_own(evidence: EvidenceStore, path: str) -> None:
    """Two handlers may hold a session for a moment when its lock was lost."""
    documents = [b"%d" % (number % 3) for number in range(9)]
    places = await asyncio.gather(*(evidence.keep(path, document) for document in documents))

    assert len(set(places)) == 3
    for place, document in zip(places, documents, strict=True):
        assert await evidence.read(place) == document


async def test_large_and_odd_documents_are_bytes(evidence: EvidenceStore, path: str) -> None:
    """A megabyte, and no text at all."""
    document = bytes(range(256)) * 4096
    assert await evidence.read(await evidence.keep(path, document)) == document
    assert await evidence.read(await evidence.keep(path + "2", b"")) == b""


# --- Blob Storage alone ---------------------------------------------------------------------------


async def test_a_document_is_json_to_whoever_opens_it(
    blobs: BlobEvidence, service: BlobServiceClient, path: str
) -> None:
    """In the portal, too."""
    await blobs.keep(path, b"{}")
    properties = await service.get_blob_client("evidence", path).get_blob_properties()

    assert properties.content_settings.content_type == "application/json"


async def test_a_store_that_is_away_is_a_transient_error(
    authority: Authority, tmp_path: Path, path: str
) -> None:
    """Keeping and reading say so, soon."""
    storage = Storage(authority, tmp_path / "azurite")
    await storage.start()
    url = storage.blob_url
    await storage.stop()
    hasty = {"retry_policy": ExponentialRetry(retry_total=0)}
    options = {**hasty, **connection_options(authority.ca_file)}
    evidence = BlobEvidence(url, credential(), options=options)
    for call in (evidence.keep(path, b"x"), evidence.read(path)):
        with pytest.raises(TransientError):
            await call
    await evidence.close()


# --- apps.yaml by URL -----------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def config(
    azurite: Storage, authority: Authority, service: BlobServiceClient
) -> AsyncIterator[tuple[BlobText, Any]]:
    """A text under test, and the blob behind it (not uploaded yet)."""
    container = service.get_container_client(f"config{uuid.uuid4().hex[:8]}")
    await container.create_container()
    blob = container.get_blob_client("apps.yaml")
    text = BlobText(blob.url, credential(), options=connection_options(authority.ca_file))
    yield text, blob
    await text.close()


async def test_a_text_is_read_and_read_again_when_it_changed(
    config: tuple[BlobText, Any],
) -> None:
    """An unchanged text is asked for by its ETag and not sent again."""
    text, blob = config
    await blob.upload_blob("apps: {ä: 1}".encode())
    assert await text.read() == "apps: {ä: 1}"
    text._text = "what was sent before"
    assert await text.read() == "what was sent before"
    await blob.upload_blob(b"apps: {}", overwrite=True)
    assert await text.read() == "apps: {}"


async def test_a_text_that_is_missing_or_odd_is_a_configuration_error(
    config: tuple[BlobText, Any],
) -> None:
    """With its URL; and what was read before is not served in its place."""
    text, blob = config
    with pytest.raises(ConfigurationError, match=r"There is no blob https://.*apps\.yaml"):
        await text.read()
    await blob.upload_blob(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        await text.read()
    await blob.upload_blob(b"x" * (1 << 20) + b"y", overwrite=True)
    with pytest.raises(ConfigurationError, match="1048577 bytes"):
        await text.read()
    await blob.upload_blob(b"", overwrite=True)
    assert await text.read() == ""
    await blob.delete_blob()
    with pytest.raises(ConfigurationError, match="There is no blob"):
        await text.read()


# --- The memory twin alone ------------------------------------------------------------------------


async def test_bad_weather_can_be_ordered(path: str) -> None:
    """A fault meets the next call only."""
    evidence = MemoryEvidence()
    evidence.weather.script("keep", Fault.TRANSIENT)
    evidence.weather.script("read_evidence", Fault.TRANSIENT)
    with pytest.raises(TransientError):
        await evidence.keep(path, b"x")
    with pytest.raises(TransientError):
        await evidence.read(path)

    assert await evidence.read(await evidence.keep(path, b"x")) == b"x"
