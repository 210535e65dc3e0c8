"""Backups and restores on Blob Storage whose process is killed on the way."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from controller.ports_data import DatabaseLogin
from controller.recovery.sets import Condition
from controller.runtime.backups import Backups
from controller.runtime.backups_means import DrillRequest, RestoreRequest
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.runtime.backup_victims import vault_at
from tests.runtime.backups_kit import (
    AT,
    SHOP,
    Subjects,
    a_database,
    a_server,
    contents,
    databases,
    means,
    request,
    run,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT = Path(__file__).parents[2]
AT_REQUESTS = (3, 8, 13, 17, 21, 25, 29, 33)  # blocks of the dump, its commit, what follows it


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def storage(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop() -> AsyncIterator[DatabaseLogin]:
    async with a_server() as server, a_database(server, SHOP) as login:
        yield login


async def victims(storage: Storage, authority: Authority, login: DatabaseLogin, *words: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.runtime.backup_victims", storage.blob_url,
        str(authority.ca_file), str(login.address.port), login.address.database, *words,
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, _ = await process.communicate(f"{login.password}\n".encode())
    return printed.decode()


async def test_killed_at_any_block_nothing_is_offered_that_does_not_verify(
    storage: Storage, authority: Authority, shop: DatabaseLogin
) -> None:
    """SIGKILL after requests of eight backups; the same jobs then make each to its end."""
    words = [str(at) for at in AT_REQUESTS]
    printed = await victims(storage, authority, shop, "create", *words)
    ends = dict(line.split(" ", 1) for line in printed.splitlines())
    killed = [at for at, end in ends.items() if end == "killed"]
    assert len(ends) == len(words)
    assert len(killed) >= 4

    vault = vault_at(storage.blob_url, authority.ca_file)
    backups = Backups(means(vault, Subjects(shop)))
    for found in await vault.sets():
        assert found.condition is not Condition.UNREADABLE
        if found.condition is Condition.COMPLETE:
            assert (await backups.verify(found.id, by="me")).passed
    for at in words:
        made = await backups.create(request(f"job-{at}"))
        assert (await backups.verify(made.id, by="me")).passed
    assert [each.condition for each in await vault.sets()] == [Condition.COMPLETE] * len(words)
    assert (await backups.drill(DrillRequest(app="shop", job="d", by="me"))).is_whole
    await vault.close()


async def test_killed_in_a_restore_the_old_database_serves_and_the_job_goes_on(
    storage: Storage, authority: Authority, shop: DatabaseLogin
) -> None:
    vault = vault_at(storage.blob_url, authority.ca_file)
    backups = Backups(means(vault, Subjects(shop)))
    made = await backups.create(request("restored"))
    before = await contents(shop)
    await run(shop, "DELETE FROM orders WHERE id > 100")
    spoilt = await contents(shop)

    await victims(storage, authority, shop, "restore", made.id)
    assert await contents(shop) == spoilt
    assert [name for name in await databases(shop) if "slipway_new" in name]

    own = shop.address.database
    wanted = RestoreRequest(set_id=made.id, job="killed", by="jo", at=AT, confirm=own)
    done = await backups.restore(wanted)
    assert await contents(shop) == before
    assert done.kept_as is not None
    assert not [name for name in await databases(shop) if "slipway_new" in name]
    reasons = [each.manifest.reason for each in await vault.sets() if each.manifest]
    assert len([each for each in reasons if each.startswith("before ")]) == 1
    await run(shop.to("postgres"), f"DROP DATABASE {done.kept_as}")
    assert (await backups.restore(replace(wanted))).kept_as is None
    await vault.close()
