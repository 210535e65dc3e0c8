"""The vault when processes die, when streams are large, and when blobs are locked."""

import asyncio
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector, web

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.vault import BlobVault
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import PassphraseKey, ScryptCost
from controller.core.errors import CommandRefusedError, PermanentError
from controller.ports_data import PartLabel, Sealer, Vault
from controller.recovery.manifest import PartKind
from controller.recovery.names import set_id
from controller.recovery.sets import Condition
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer
from tests.adapters.stands import Credential
from tests.adapters.vault_victims import DUMP, SEALER
from tests.recovery.kit import BEGUN, a_set, manifest, stream, whole

ROOT = Path(__file__).parents[2]
MIB = 1 << 20

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azurite(authority: Authority) -> AsyncIterator[Storage]:
    """On disk, as it is a lot, and gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        async with Storage(authority, Path(directory), in_memory=False) as storage:
            yield storage


def vault_at(
    url: str, authority: Authority, container: str, seal: Sealer | None = None
) -> BlobVault:
    return BlobVault(
        url,
        Credential("https://storage.azure.com"),
        container=container,
        sealer=seal,
        options=connection_options(authority.ca_file),
    )


# --- Killed ---------------------------------------------------------------------------------------


async def test_killed_at_any_request_nothing_is_offered_that_does_not_verify(
    azurite: Storage, authority: Authority
) -> None:
    """SIGKILL before and after each request of a backup; then the same set is made to its end."""
    script = "tests.adapters.vault_victims"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", script, azurite.blob_url, str(authority.ca_file), "killed",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate()
    ends = dict(line.split(" ", 1) for line in printed.decode().splitlines())
    killed = [tail for tail, end in ends.items() if end == "killed"]
    assert [end for end in ends.values() if end != "killed"] == ["ended 0", "ended 0"]
    assert len(killed) >= 2 * 10  # four blocks, two commits, a manifest, and questions between

    vault = vault_at(azurite.blob_url, authority, "killed", SEALER)
    conditions = {each.id: each.condition for each in await vault.sets()}
    assert Condition.UNREADABLE not in conditions.values()
    for identity in (set_id("shop", BEGUN, tail) for tail in killed):
        if conditions.get(identity) is Condition.COMPLETE:
            assert (await vault.verify(identity)).passed
        else:
            await again(vault, identity)
    complete = [each for each in await vault.sets() if each.condition is Condition.COMPLETE]
    assert len(complete) == len(ends)
    await vault.close()


async def again(vault: Vault, identity: str) -> None:
    """Do what a restarted backup does: keep the parts that are whole, put the others."""
    name = set_id("shop", BEGUN, identity.rsplit("-", 1)[1])
    known = {part.name: part for part in await vault.parts(name)}
    for part, data in (("database", DUMP), ("configuration", b"{}")):
        if part not in known:
            known[part] = await vault.put_part(
                PartLabel(name, part), stream(data), kind=PartKind.DATABASE
            )
    made = await vault.finish(manifest(name, *known.values()))
    assert (await vault.verify(name)).passed
    assert await whole(vault.open_part(made, "database")) == DUMP


async def test_of_two_who_make_one_set_at_once_it_is_one_that_verifies(
    azurite: Storage, authority: Authority
) -> None:
    """As when a session's lock was lost: blocks are never mixed, and one manifest is written."""
    identity = set_id("shop", BEGUN, "2222")
    vaults = [vault_at(azurite.blob_url, authority, "both", SEALER) for _ in range(2)]

    async def make(vault: Vault, byte: bytes) -> object:
        return await a_set(vault, identity, database=byte * (20 * MIB))

    outcomes = await asyncio.gather(
        *(make(vault, byte) for vault, byte in zip(vaults, (b"a", b"b"), strict=True)),
        return_exceptions=True,
    )
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, CommandRefusedError):
            assert "another upload" in str(outcome) or "400" in str(outcome), outcome
    (found,) = await vaults[0].sets()
    if found.condition is Condition.COMPLETE:
        assert (await vaults[0].verify(identity)).passed
    else:
        assert found.condition is Condition.INCOMPLETE
    for vault in vaults:
        await vault.close()


# --- Large ----------------------------------------------------------------------------------------


class Resident:
    """The highest resident memory of this process, in bytes, above what it was before."""

    def __init__(self) -> None:
        self._start = self._now()
        self._peak = self._start
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @staticmethod
    def _now() -> int:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, self._now())

    def grown(self) -> int:
        self._done.set()
        self._thread.join()
        return max(self._peak, self._now()) - self._start


async def test_192_mib_pass_both_ways_in_flat_memory(
    azurite: Storage, authority: Authority
) -> None:
    """Up and sealed, down and opened: some blocks are in memory, never the stream."""
    seal = StreamSealer(PassphraseKey("correct horse battery staple", ScryptCost(2, 1, 1)))
    vault = vault_at(azurite.blob_url, authority, "large", seal)
    piece = os.urandom(MIB)

    async def dump() -> AsyncIterator[bytes]:
        for _ in range(192):
            yield piece

    resident = Resident()
    identity = set_id("shop", BEGUN, "192a")
    part = await vault.put_part(PartLabel(identity, "database"), dump(), kind=PartKind.DATABASE)
    made = await vault.finish(manifest(identity, part))
    count = 0
    async for each in vault.open_part(made, "database"):
        count += len(each)
    grown = resident.grown()
    await vault.remove(identity)
    await vault.close()

    assert count == part.plain_bytes == 192 * MIB
    assert grown < 100 * MIB  # about 20 to 60, by what was freed before


# --- Locked ---------------------------------------------------------------------------------------


class Locks:
    """Stands before Azurite and refuses to delete or overwrite what is locked, as Azure does."""

    def __init__(self, behind: str, authority: Authority) -> None:
        self.locked = ""  # what a path ends in
        self.is_old = False  # an account that cannot list locks
        self._behind = behind.rsplit("/", 1)[0]
        self._authority = authority
        app = web.Application(client_max_size=64 * MIB)
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._server = WebServer(app, tls=authority.server_context())

    async def start(self) -> None:
        self._session = ClientSession(connector=TCPConnector(ssl=False), auto_decompress=False)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()
        await self._session.close()

    @property
    def url(self) -> str:
        return f"{self._server.url}/devstoreaccount1"

    async def _pass(self, request: web.Request) -> web.Response:
        if self.is_old and "immutabilitypolicy" in request.query.get("include", ""):
            return web.Response(
                status=400, headers={"x-ms-error-code": "InvalidQueryParameterValue"}
            )
        changes = request.method == "DELETE" or request.query.get("comp") == "blocklist"
        if self.locked and request.method != "GET" and changes and self._is_locked(request):
            code = "BlobImmutableDueToPolicy"
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>"
            headers = {"x-ms-error-code": code}
            return web.Response(
                status=409, text=text, headers=headers, content_type="application/xml"
            )
        target = f"{self._behind}{request.raw_path}"
        kept = {k: v for k, v in request.headers.items() if k.lower() != "host"}
        async with self._session.request(
            request.method, target, headers=kept, data=await request.read()
        ) as answer:
            dropped = {"transfer-encoding", "content-length", "connection"}
            headers = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
            body = await answer.read()
            if request.method == "HEAD":
                headers["Content-Length"] = answer.headers.get("Content-Length", "0")
            return web.Response(status=answer.status, headers=headers, body=body)

    def _is_locked(self, request: web.Request) -> bool:
        return request.path.endswith(self.locked)


@pytest_asyncio.fixture(loop_scope="module")
async def locks(azurite: Storage, authority: Authority) -> AsyncIterator[Locks]:
    proxy = Locks(azurite.blob_url, authority)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def test_what_a_policy_locks_is_named_and_the_rest_goes_later(
    locks: Locks, authority: Authority
) -> None:
    """A locked manifest keeps the whole set offered; a locked part leaves an incomplete one."""
    vault = vault_at(locks.url, authority, "locked")
    made = await a_set(vault, set_id("shop", BEGUN, "aaaa"), database=DUMP, configuration=b"{}")
    why = "an immutability policy or a legal hold is on it"

    locks.locked = "/manifest.json"
    removal = await vault.remove(made.id)
    assert removal.removed == ()
    assert removal.refused == {f"shop/{made.id}/manifest.json": why}
    assert (await vault.verify(made.id)).passed

    locks.locked = "/parts/database"
    removal = await vault.remove(made.id)
    assert removal.refused == {made.parts[0].path: why}
    assert len(removal.removed) == 2
    (found,) = await vault.sets()
    assert found.condition is Condition.INCOMPLETE

    locks.locked = ""
    assert (await vault.remove(made.id)).is_gone
    assert await vault.sets() == ()
    await vault.close()


async def test_a_locked_part_is_not_tried_for_ever(locks: Locks, authority: Authority) -> None:
    """A container's default policy locks a part as soon as it is there: take the part as it is."""
    vault, identity = vault_at(locks.url, authority, "locked2"), set_id("shop", BEGUN, "bbbb")
    label = PartLabel(identity, "database")
    first = await vault.put_part(label, stream(DUMP), kind=PartKind.DATABASE)
    locks.locked = "/parts/database"
    with pytest.raises(PermanentError, match="does not overwrite"):
        await vault.put_part(label, stream(DUMP), kind=PartKind.DATABASE)

    assert await vault.parts(identity) == (first,)
    await vault.finish(manifest(identity, first))
    assert (await vault.verify(identity)).passed
    await vault.close()


async def test_an_account_that_cannot_list_locks_still_lists_sets(
    locks: Locks, authority: Authority
) -> None:
    """It is asked once more, for less."""
    vault = vault_at(locks.url, authority, "old")
    made = await a_set(vault, set_id("shop", BEGUN, "cccc"), database=DUMP)
    locks.is_old = True

    (found,) = await vault.sets("shop")
    assert (found.id, found.condition) == (made.id, Condition.COMPLETE)
    assert (found.immutable_until, found.has_legal_hold) == (None, False)
    await vault.close()
