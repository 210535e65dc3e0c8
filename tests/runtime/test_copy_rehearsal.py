"""Migrations are tried on a copy of a verified backup set before anybody waits for them."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_asyncio

from controller.activities.bundled_migrations import BundledMigrations
from controller.adapters.memory.bus import MemoryBus
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.adapters.postgres.opening import copied
from controller.core.backup_plan import BackupSpec, PartKind
from controller.core.data import DatabaseSpec, DryRun
from controller.core.errors import ConfigurationError, PermanentError, TransientError
from controller.core.jobs import JobKind, rollout_id
from controller.core.plan import AppId
from controller.migrations.bundle import Bundle
from controller.migrations.manifest import with_manifest
from controller.migrations.reading import read_bundle
from controller.ports_data import BackupSubject, BundleName, Database, DatabaseLogin, Rehearsal
from controller.runtime.backups import Backups
from controller.runtime.backups_means import BackupMeans
from controller.runtime.maintenance import Maintainer
from controller.runtime.queued_rehearsals import RehearsedMigrations
from controller.runtime.rehearsals import CopyRehearsals
from tests.core.build import spec
from tests.runtime.backups_kit import (
    Subjects,
    Ticking,
    a_database,
    a_server,
    databases,
    means,
    request,
    run,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SPEC = DatabaseSpec(connection="shop-db", dry_run=DryRun.COPY)
ROLLOUT = "20260101T000000000-shop-ac3b308c-1"
JOB = rollout_id("shop", JobKind.REHEARSE, ROLLOUT)
ORDERS = (
    "CREATE TABLE orders (id int PRIMARY KEY, total int);"
    " INSERT INTO orders SELECT n, n % 7 FROM generate_series(1, 300) AS n"
)
GOOD = {
    "001_note.up.sql": b"ALTER TABLE orders ADD COLUMN note text;\n"
    b"UPDATE orders SET note = 'x' WHERE id < 200;",
    "002_index.up.sql": b"CREATE INDEX CONCURRENTLY by_total ON orders (total);",
}
# Only rows tell that it fails, and only outside of a transaction can it be tried at all.
BAD = {**GOOD, "002_index.up.sql": b"CREATE UNIQUE INDEX CONCURRENTLY by_total ON orders (total);"}


@dataclass
class Desk:
    """An app with a database and a vault, and the controller's part that tries migrations."""

    login: DatabaseLogin
    bundle: Bundle | None
    vault: MemoryVault = field(default_factory=MemoryVault)

    def __post_init__(self) -> None:
        self.store, self.clock = MemoryStore(), Ticking()
        self.bus = MemoryBus(self.clock)
        reached: BackupMeans = means(self.vault, Subjects(self.login))
        reached = replace(reached, subjects=self)
        self.backups = Backups(reached)
        self.maintainer = Maintainer(
            jobs=self.store,
            bus=self.bus,
            clock=self.clock,
            history=self.store,
            backups=self.backups,
            rehearsals=CopyRehearsals(means=reached, bundles=self, open=copied),
        )
        self.migrations = RehearsedMigrations(
            migrations=BundledMigrations(bundles=self, databases=self),
            maintainer=self.maintainer,
            jobs=self.store,
            clock=self.clock,
        )

    async def subject(self, app: str) -> BackupSubject:
        shop = replace(spec(), id=AppId(app), database=SPEC)
        return BackupSubject(
            app=shop, backup=BackupSpec(parts=(PartKind.DATABASE,)), database=self.login
        )

    async def find(self, database: DatabaseSpec, bundle: BundleName) -> Bundle | None:
        return self.bundle

    async def open(self, database: DatabaseSpec) -> Database:
        return copied(self.login, database)

    async def backed_up(self) -> None:
        made = await self.backups.create(request())
        await self.backups.verify(made.id, by="a test")

    async def rehearse(self, database: DatabaseSpec = SPEC) -> Rehearsal:
        assert self.bundle is not None
        ids = [migration.id for migration in self.bundle.migrations]
        name = BundleName(image="r.test/shop@sha256:" + "2" * 64, sha256=self.bundle.sha256)
        return await self.migrations.rehearse(database, name, ids, app="shop", rollout=ROLLOUT)

    async def rehearsed(self) -> Rehearsal:
        """Ask, carry the job out, and ask again."""
        with pytest.raises(TransientError, match="waits in queue maintenance"):
            await self.rehearse()
        await self.maintainer.go_on(JOB)
        return await self.rehearse()

    async def schema(self) -> set[str]:
        rows = await run(
            self.login,
            "SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0",
        )
        return {str(row[0]) for row in rows}


def bundle(files: Mapping[str, bytes]) -> Bundle:
    return read_bundle(with_manifest(files))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[DatabaseLogin]:
    async with a_server() as login:
        yield login


@pytest_asyncio.fixture(loop_scope="module")
async def shop(server: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    async with a_database(server, ORDERS) as login:
        yield login


async def test_on_a_copy_everything_runs_for_real_and_is_timed(shop: DatabaseLogin) -> None:
    """Also what refuses a transaction; then the database itself, rolled back; nothing is left."""
    desk = Desk(shop, bundle(GOOD))
    await desk.backed_up()
    before = await databases(shop)

    found = await desk.rehearsed()

    assert found.passed
    assert found.copy is not None
    assert (found.copy.statements, found.copy.seconds > 0) == (3, True)
    assert [len(ran.statements) for ran in found.ran] == [2, 0]
    job = await desk.store.job(JOB)
    assert job is not None
    assert any("CREATE INDEX CONCURRENTLY" in step.text for step in job.steps)
    assert await databases(shop) == before
    assert await desk.schema() == {"id", "total"}


async def test_what_fails_on_the_copy_is_not_tried_on_the_database(shop: DatabaseLogin) -> None:
    desk = Desk(shop, bundle(BAD))
    await desk.backed_up()
    before = await databases(shop)

    found = await desk.rehearsed()

    assert found.ran == ()
    assert found.failure is not None
    assert found.failure.startswith("On a copy of ")
    assert "could not create unique index" in found.failure
    assert await databases(shop) == before
    assert await run(shop, "SELECT to_regclass('by_total')") == [(None,)]


async def test_without_a_verified_set_it_says_how_to_get_one(shop: DatabaseLogin) -> None:
    desk = Desk(shop, bundle(GOOD))
    await desk.backups.create(request())

    with pytest.raises(PermanentError, match="no verified backup set") as refused:
        await desk.rehearsed()
    assert "set database.dry_run to target" in refused.value.fix


async def test_another_bundle_than_the_one_looked_at_is_not_tried(shop: DatabaseLogin) -> None:
    desk = Desk(shop, bundle(GOOD))
    await desk.backed_up()
    with pytest.raises(TransientError):
        await desk.rehearse()
    desk.bundle = bundle(BAD)

    await desk.maintainer.go_on(JOB)

    job = await desk.store.job(JOB)
    assert job is not None
    assert "is not the one that was looked at" in job.error


async def test_where_no_copy_is_wanted_no_job_is_asked_for(shop: DatabaseLogin) -> None:
    desk = Desk(shop, bundle(GOOD))

    found = await desk.rehearse(replace(SPEC, dry_run=DryRun.TARGET))

    assert (found.passed, found.copy) == (True, None)
    assert await desk.store.job(JOB) is None


async def test_a_slipway_without_backup_sets_says_so(shop: DatabaseLogin) -> None:
    desk = Desk(shop, bundle(GOOD))
    bare: Any = replace(desk.migrations, maintainer=replace(desk.maintainer, backups=None))
    desk.migrations = bare

    with pytest.raises(ConfigurationError, match="No place for backup sets"):
        await desk.rehearse()
