"""Backup sets of a real PostgreSQL: made, killed, damaged, drilled, restored, pruned."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from controller.adapters.memory.vault import MemoryVault
from controller.adapters.memory.world import Fault
from controller.adapters.postgres.dumps import PostgresDumper
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import PassphraseKey, ScryptCost
from controller.core.backup_plan import BackupSpec, Keep, PartKind
from controller.core.errors import (
    CommandRefusedError,
    RestoreFailedError,
    SlipwayError,
    TransientError,
)
from controller.ports_data import DatabaseAddress, DatabaseLogin, PartLabel
from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId
from controller.recovery.sets import Condition
from controller.runtime.backups import Backups
from controller.runtime.backups_means import (
    DATABASE,
    BackupMeans,
    DrillRequest,
    RestoreRequest,
    mark_of,
)
from sandbox.postgres import find_binaries
from tests.runtime.backups_kit import (
    AT,
    SHOP,
    Subjects,
    Ticking,
    a_database,
    a_server,
    contents,
    databases,
    end_sessions,
    means,
    request,
    run,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRILL = DrillRequest(app="shop", job="drill-1", by="timer dr_drill")


def sealer(words: str = "correct horse battery staple") -> StreamSealer:
    return StreamSealer(PassphraseKey(words, ScryptCost(2, 1, 1)))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[DatabaseLogin]:
    async with a_server() as login:
        yield login


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def still(server: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    """A database that no test changes."""
    async with a_database(server, SHOP) as login:
        yield login


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pattern(server: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    """A database to copy, which nobody is connected to: a copy takes less than its script."""
    async with a_database(server, SHOP) as login:
        yield login


@pytest_asyncio.fixture(loop_scope="module")
async def shop(server: DatabaseLogin, pattern: DatabaseLogin) -> AsyncIterator[DatabaseLogin]:
    async with a_database(server, template=pattern.address.database) as login:
        yield login


class Stand:
    """Backups of one database in one memory vault."""

    def __init__(self, database: DatabaseLogin | None, vault: MemoryVault | None = None) -> None:
        self.vault = vault or MemoryVault(sealer())
        self.clock = Ticking()
        self.subjects = Subjects(database)
        self.means: BackupMeans = means(self.vault, self.subjects, self.clock)
        self.backups = Backups(self.means)
        self.told: list[str] = []

    async def tell(self, sentence: str) -> None:
        self.told.append(sentence)

    async def conditions(self) -> list[Condition]:
        return [each.condition for each in await self.vault.sets()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(still: DatabaseLogin) -> tuple[Stand, Manifest]:
    stand = Stand(still)
    return stand, await stand.backups.create(request())


@pytest.fixture
def backed(kept: tuple[Stand, Manifest]) -> tuple[Stand, Manifest]:
    """A set of `still` that was made once, in a vault of the test's own."""
    known, made = kept
    stand = Stand(known.subjects.database)
    stand.vault.shelf.blobs = dict(known.vault.shelf.blobs)
    stand.clock.time = known.clock.time
    return stand, made


# --- Made -----------------------------------------------------------------------------------------


async def test_a_set_holds_the_dump_and_what_it_has_to_equal(still: DatabaseLogin) -> None:
    stand = Stand(still)
    made = await stand.backups.create(request(), stand.tell)

    assert [part.name for part in made.parts] == [DATABASE, "database-facts", "application"]
    assert made.database is not None
    assert made.database.migration_head == "20261001000000_Orders"
    assert {table.name: table.rows for table in made.database.tables}["public.orders"] == 2000
    assert (made.reason, made.requested_by) == ("nightly", "timer")
    assert (await stand.backups.verify(made.id, by="me")).passed
    (stored,) = await stand.vault.sets("shop")
    assert stored.is_verified
    assert any("whole, 3 parts" in sentence for sentence in stand.told)
    assert not [blob for blob in stand.vault.shelf.blobs.values() if still.password in str(blob)]


async def test_dump_and_facts_are_of_one_moment_though_somebody_writes(shop: DatabaseLogin) -> None:
    """Rows come and go all the while; what is restored equals what was recorded all the same."""
    stand = Stand(shop)
    async with Busy(keep_writing, shop):
        made = await stand.backups.create(request())
        found = await stand.backups.drill(DRILL)
    assert found.set_id == made.id
    assert (found.is_whole, found.differences) == (True, ())


async def keep_writing(login: DatabaseLogin) -> None:
    await run(
        login,
        "INSERT INTO customers (name) VALUES (random()::text)",
        "DELETE FROM orders WHERE id IN (SELECT id FROM orders ORDER BY random() LIMIT 3)",
    )


class Busy:
    """Does something again and again. It is never cancelled.

    A client that gives up while it logs in and leaves its socket open holds up DROP DATABASE for
    authentication_timeout, a minute: PostgreSQL waits for it.
    """

    def __init__(
        self, work: Callable[[DatabaseLogin], Awaitable[None]], login: DatabaseLogin
    ) -> None:
        self._work = work
        self._login = login
        self._is_over = False

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._go_on())

    async def __aexit__(self, *_: object) -> None:
        self._is_over = True
        await self._task

    async def _go_on(self) -> None:
        while not self._is_over:
            with suppress(psycopg.Error):  # cut off: it comes back at once, as a pool does
                await self._work(self._login)


async def test_the_same_job_again_is_the_same_set_and_uploads_nothing(still: DatabaseLogin) -> None:
    """Also where the repeat says another moment."""
    stand = Stand(still)
    first = await stand.backups.create(request())
    blobs = dict(stand.vault.shelf.blobs)
    again = await stand.backups.create(request(at=AT + timedelta(hours=1), why="again"))
    other = await stand.backups.create(request("job-2"))

    assert again == first
    assert other.id != first.id
    assert {path: blob for path, blob in stand.vault.shelf.blobs.items() if path in blobs} == blobs


@pytest.mark.parametrize("works", range(4))
async def test_what_is_whole_is_not_uploaded_again(works: int, still: DatabaseLogin) -> None:
    """A vault that fails at each step in turn: dump and facts are kept together or made anew."""
    stand = Stand(still)
    step = "create" if works == 3 else "put_part"
    turns = [True] * (works % 3) + [False]
    stand.vault.weather.forecast = lambda operation: (
        Fault.TRANSIENT if operation == step and turns and not turns.pop(0) else None
    )
    with pytest.raises(TransientError):
        await stand.backups.create(request())
    assert await stand.conditions() in ([], [Condition.INCOMPLETE])

    before = dict(stand.vault.shelf.blobs)
    made = await stand.backups.create(request())
    now = stand.vault.shelf.blobs
    kept = {part.name for part in made.parts if now[part.path] is before.get(part.path)}
    assert kept == ({DATABASE, "database-facts"} if works > 1 else set())
    assert (await stand.backups.verify(made.id, by="me")).passed
    assert (await stand.backups.drill(DRILL)).is_whole


async def test_of_concurrent_creates_of_one_job_there_is_one_set(still: DatabaseLogin) -> None:
    stand = Stand(still)
    made = await asyncio.gather(*(Backups(stand.means).create(request()) for _ in range(3)))

    assert len({each.sha256 for each in made}) == 1
    assert await stand.conditions() == [Condition.COMPLETE]
    assert (await stand.backups.verify(made[0].id, by="me")).passed
    assert (await stand.backups.drill(DRILL)).is_whole


async def test_a_dump_that_is_cut_half_way_is_never_offered(server: DatabaseLogin) -> None:
    rows = "CREATE TABLE a AS SELECT n, md5(n::text) FROM generate_series(1, 400000) n"
    async with a_database(server, rows) as login:
        stand = Stand(login)
        cutting = Cutting(places=[find_binaries()])
        with pytest.raises(TransientError):
            await Backups(replace(stand.means, dumper=cutting)).create(request())
        assert Condition.COMPLETE not in await stand.conditions()
        assert not [path for path in stand.vault.shelf.blobs if path.endswith("/database")]


class Cutting(PostgresDumper):
    """Cuts the connection after the first piece."""

    async def dump(
        self, address: DatabaseAddress, password: str, *, snapshot: str | None = None
    ) -> AsyncGenerator[bytes]:
        async for piece in super().dump(address, password, snapshot=snapshot):
            yield piece
            await end_sessions(DatabaseLogin(address=address, password=password))


# --- Drilled --------------------------------------------------------------------------------------


async def test_a_drill_restores_compares_measures_and_cleans_up(
    still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, made = backed
    before = await databases(still)
    stand.clock.time = made.data_at + timedelta(hours=2)
    found = await stand.backups.drill(DRILL, stand.tell)

    assert (found.is_good, found.problems, found.differences) == (True, (), ())
    assert (found.tables, found.rows) == (4, 2051)
    assert 7200 <= (found.rpo_seconds or 0) < 7300
    assert 0 < (found.rto_seconds or 0) < 60
    assert await databases(still) == before
    (stored,) = await stand.vault.sets()
    assert stored.is_verified
    assert stored.marks[-1].how == "restored and compared"


async def test_a_drill_without_a_set_says_so(still: DatabaseLogin) -> None:
    found = await Stand(still).backups.drill(DRILL)
    assert found.problems == ("There is no set to restore.",)
    assert not found.is_good
    assert found.misses


async def test_what_misses_the_objectives_is_not_good(backed: tuple[Stand, Manifest]) -> None:
    stand, made = backed
    stand.clock.time = made.data_at + timedelta(hours=25)
    found = await stand.backups.drill(DRILL)
    assert found.is_whole
    assert found.misses == ("The newest verified data is 1 d 1 h old; the objective (RPO) is 1 d.",)


async def test_scratch_of_killed_drills_is_removed_and_nothing_else(
    still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    """Of this job at once, of others after a day; never what only looks like one."""
    stand, _ = backed
    now, mark = stand.clock.time, mark_of(DRILL.job)[:8]

    def named(age: timedelta, tail: str) -> str:
        return f"slipway_drill_{now - age:%Y%m%dt%H%M%Sz}_{tail}"

    old, own = named(timedelta(hours=25), "aaaaaaaa"), named(timedelta(hours=1), mark)
    young = named(timedelta(hours=1), "bbbbbbbb")
    noted, odd = named(timedelta(days=9), "cccccccc"), "slipway_drill_of_mine"
    made = [old, own, young, noted, odd]
    await run(still.to("postgres"), *(f"CREATE DATABASE {name}" for name in made))
    await run(still.to("postgres"), f"COMMENT ON DATABASE {noted} IS 'mine'")
    await stand.backups.drill(DRILL)

    left = await databases(still)
    await run(still.to("postgres"), *(f"DROP DATABASE IF EXISTS {name}" for name in made))
    assert left & set(made) == {young, noted, odd}
    assert not [name for name in left if mark in name]


async def test_a_cancelled_drill_removes_its_scratch(
    still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, _ = backed
    before, begun = await databases(still), asyncio.Event()

    async def tell(sentence: str) -> None:
        begun.set()

    drill = asyncio.create_task(stand.backups.drill(DRILL, tell))
    await begun.wait()
    await asyncio.sleep(0.2)  # anywhere in the restore
    drill.cancel()
    await asyncio.gather(drill, return_exceptions=True)
    assert await databases(still) == before


# --- Damaged --------------------------------------------------------------------------------------


async def damaged(stand: Stand, made: Manifest, how: str) -> None:
    """Damage the set behind everybody's back."""
    blobs = stand.vault.shelf.blobs
    path = made.parts[0].path
    whole = blobs[path]
    middle = len(whole.data) // 2
    if how == "flipped":
        byte = bytes([whole.data[middle] ^ 1])
        blobs[path] = replace(whole, data=whole.data[:middle] + byte + whole.data[middle + 1 :])
    if how == "cut":
        blobs[path] = replace(whole, data=whole.data[:middle])
    if how == "partly missing":
        del blobs[path]
    if how == "facts missing":
        del blobs[made.parts[1].path]
    if how == "swapped":
        other = await Stand(stand.subjects.database, stand.vault).backups.create(
            request("another", at=AT - timedelta(days=1))
        )
        blobs[path] = replace(whole, data=blobs[other.parts[0].path].data)
    if how == "encrypted again":
        stranger = MemoryVault(sealer("another long enough passphrase"))
        part = await stranger.put_part(
            PartLabel(made.id, DATABASE), stand.vault.open_part(made, DATABASE),
            kind=PartKind.DATABASE,
        )  # fmt: skip
        blobs[path] = replace(whole, data=stranger.shelf.blobs[part.path].data)
    if how == "manifest changed":
        name = f"shop/{made.id}/manifest.json"
        changed = blobs[name].data.replace(b'"rows":2000', b'"rows":1999')
        assert changed != blobs[name].data
        blobs[name] = replace(blobs[name], data=changed)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("flipped", "was changed"),
        ("cut", "bytes"),
        ("partly missing", "missing"),
        ("facts missing", "missing"),
        ("swapped", "Part 'database'"),
        ("encrypted again", "encrypted"),
        ("manifest changed", "changed after it was written"),
    ],
)
async def test_a_drill_catches_damage(
    how: str, sentence: str, still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, made = backed
    before = await databases(still)
    await damaged(stand, made, how)
    found = await stand.backups.drill(DRILL)

    assert found.set_id == made.id
    assert not found.is_whole
    assert sentence in " ".join(found.problems), found.problems
    assert await databases(still) == before
    assert not [each for each in await stand.vault.sets() if each.is_verified]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("DELETE FROM orders WHERE id = 7", "Table public.orders had 1999 rows; it has 2000."),
        ("UPDATE orders SET note = 'y' WHERE id = 7", "not what was in them"),
        ("DROP INDEX orders_by_price", "Index is extra"),
        ("ALTER TABLE orders ADD CHECK (price > 0)", "Constraint is missing"),
        ("SELECT setval('customers_id_seq', 99)", "Sequence public.customers_id_seq stands at 50"),
        ("CREATE EXTENSION IF NOT EXISTS pg_trgm", "Extension pg_trgm is missing."),
        ('DELETE FROM "__EFMigrationsHistory"', "The migration head was none"),
    ],
)
async def test_a_drill_says_what_is_not_as_it_was_recorded(
    change: str, sentence: str, shop: DatabaseLogin
) -> None:
    """A set, well made of a dump that is not of what was recorded: only comparing finds that."""
    stand = Stand(shop)
    dumper = PostgresDumper(places=[find_binaries()])
    old = b"".join([piece async for piece in dumper.dump(shop.address, shop.password)])
    await run(shop, change)

    class Old(PostgresDumper):
        async def dump(
            self, address: DatabaseAddress, password: str, *, snapshot: str | None = None
        ) -> AsyncGenerator[bytes]:
            yield old

    await Backups(replace(stand.means, dumper=Old())).create(request())
    found = await stand.backups.drill(DRILL)
    assert found.is_restored
    assert not found.is_whole
    assert sentence in " ".join(found.differences)
    (stored,) = await stand.vault.sets()
    assert stored.is_suspect


# --- Restored -------------------------------------------------------------------------------------


def wanted(of: Manifest, target: str | None, **changes: Any) -> RestoreRequest:
    known = RestoreRequest(set_id=of.id, job="restore-1", by="jo", at=AT, target=target)
    return replace(known, confirm=target or "", **changes)


async def own(stand: Stand, of: Manifest, **changes: Any) -> RestoreRequest:
    """Return the request to restore the app's own database."""
    login = stand.subjects.database
    assert login is not None
    return replace(wanted(of, login.address.database, **changes), target=None)


async def test_a_set_comes_back_row_for_row_beside_the_original(
    still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, made = backed
    copy = still.to(f"{still.address.database}_copy")
    plan = await stand.backups.plan_restore(wanted(made, copy.address.database))
    assert (plan.overwrites, plan.tables, plan.rows, plan.size_now) == (False, 4, 2051, 0)
    assert copy.address.database not in await databases(still)
    try:
        done = await stand.backups.restore(wanted(made, copy.address.database))
        assert (done.kept_as, done.safety_set) == (None, None)
        assert await contents(copy) == await contents(still)
    finally:
        await run(still.to("postgres"), f"DROP DATABASE IF EXISTS {copy.address.database}")


async def test_the_own_database_is_exchanged_kept_and_backed_up_first(shop: DatabaseLogin) -> None:
    """Under clients that come back at once; the one that was there is kept under another name."""
    stand = Stand(shop)
    made = await stand.backups.create(request())
    before = await contents(shop)
    await run(shop, "DELETE FROM orders", "UPDATE customers SET name = id || ' spoilt'")
    spoilt = await contents(shop)
    async with Busy(keep_asking, shop), Busy(keep_asking, shop), Busy(keep_asking, shop):
        plan = await stand.backups.plan_restore(await own(stand, made))
        done = await stand.backups.restore(await own(stand, made), stand.tell)

    assert plan.overwrites
    assert plan.size_now > 0
    assert await contents(shop) == before
    assert done.kept_as is not None
    assert done.safety_set is not None
    assert await contents(shop.to(done.kept_as)) == spoilt
    safety = await stand.vault.manifest(done.safety_set)
    assert safety.database is not None
    assert sum(table.rows for table in safety.database.tables) == 51

    again = await stand.backups.restore(await own(stand, made))  # delivered twice
    assert (again.kept_as, again.notes[-1]) == (
        done.kept_as, "The database was restored already; it was not changed now."
    )  # fmt: skip
    assert len(await stand.vault.sets()) == 2
    await run(shop.to("postgres"), f"DROP DATABASE {done.kept_as}")


async def keep_asking(login: DatabaseLogin) -> None:
    await run(login, "SELECT 1", "SELECT pg_sleep(0.2)")


@pytest.mark.parametrize("confirm", ["", "yes", "shop"])
async def test_without_the_name_of_its_target_nothing_is_restored(
    confirm: str, still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, made = backed
    before = await databases(still)
    asked = replace(await own(stand, made), confirm=confirm)
    with pytest.raises(CommandRefusedError, match="not confirmed"):
        await stand.backups.restore(asked)
    assert await databases(still) == before


async def test_across_a_migration_head_only_if_said(shop: DatabaseLogin) -> None:
    stand = Stand(shop)
    made = await stand.backups.create(request())
    await run(shop, "INSERT INTO \"__EFMigrationsHistory\" VALUES ('20261101000000_New', '9.0.0')")
    plan = await stand.backups.plan_restore(await own(stand, made))
    assert (plan.head_then, plan.head_now) == ("20261001000000_Orders", "20261101000000_New")
    with pytest.raises(CommandRefusedError, match="20261101000000_New"):
        await stand.backups.restore(await own(stand, made))

    done = await stand.backups.restore(await own(stand, made, across_heads=True))
    found = await run(shop, 'SELECT "MigrationId" FROM "__EFMigrationsHistory"')
    assert found == [("20261001000000_Orders",)]
    await run(shop.to("postgres"), f"DROP DATABASE {done.kept_as}")


async def test_another_database_that_is_there_is_not_overwritten(
    backed: tuple[Stand, Manifest],
) -> None:
    stand, made = backed
    with pytest.raises(CommandRefusedError, match="not the app's own"):
        await stand.backups.restore(wanted(made, "postgres", across_heads=True))


@pytest.mark.parametrize("how", ["flipped", "cut", "swapped", "partly missing"])
async def test_a_set_that_is_damaged_leaves_the_old_database_as_it_is(
    how: str, still: DatabaseLogin, backed: tuple[Stand, Manifest]
) -> None:
    stand, made = backed
    await damaged(stand, made, how)
    before, names = await contents(still), await databases(still)
    with pytest.raises(SlipwayError):
        await stand.backups.restore(await own(stand, made, without_safety=True))
    assert await databases(still) == names
    assert await contents(still) == before


async def test_what_is_not_as_recorded_is_never_exchanged(shop: DatabaseLogin) -> None:
    stand = Stand(shop)
    real = stand.means.server
    assert real is not None
    made = await stand.backups.create(request())
    await run(shop, "DELETE FROM customers WHERE id NOT IN (SELECT customer FROM orders)")
    names = await databases(shop)
    wrong = replace(made, database=replace(made.database, extensions={}))  # type: ignore[type-var]

    class Lying(MemoryVault):
        async def manifest(self, set_id: SetId) -> Manifest:
            return wrong

    lying = Lying(sealer())
    lying.shelf.blobs = stand.vault.shelf.blobs
    backups = Backups(replace(stand.means, vault=lying))
    with pytest.raises(RestoreFailedError, match="plpgsql"):
        await backups.restore(await own(stand, made, without_safety=True))
    assert await databases(shop) == names


async def test_an_app_whose_database_is_gone_gets_it_back(server: DatabaseLogin) -> None:
    """The disaster: nothing is there to be read, kept or backed up."""
    async with a_database(server, SHOP) as login:
        stand = Stand(login)
        made = await stand.backups.create(request())
        before = await contents(login)
        await run(server, f"DROP DATABASE {login.address.database}")
        done = await stand.backups.restore(await own(stand, made))
        assert (done.kept_as, done.safety_set) == (None, None)
        assert await contents(login) == before
        assert (
            (await stand.backups.restore(await own(stand, made)))
            .notes[-1]
            .startswith("The database was restored already")
        )


# --- Pruned ---------------------------------------------------------------------------------------


async def test_pruning_is_a_plan_until_it_is_applied(still: DatabaseLogin) -> None:
    keep = Keep(keep_last=1, daily=0, weekly=0, monthly=0, min_verified=1)
    stand = Stand(still)
    stand.subjects.backup = BackupSpec(keep=keep, parts=(PartKind.APPLICATION,))
    made = [
        await stand.backups.create(request(f"job-{day}", at=AT + timedelta(days=day)))
        for day in range(4)
    ]
    stand.clock.time = AT + timedelta(days=5)
    for each in made:
        await stand.backups.verify(each.id, by="me")
    needed = {made[1].id: "restore point of r1"}

    planned = await stand.backups.prune("shop", needed=needed)
    assert planned.retention.remove == (made[0].id, made[2].id)
    assert (planned.applied, planned.removed) == (False, ())
    assert len(await stand.vault.sets()) == 4

    stand.vault.shelf.immutable.add(f"shop/{made[2].id}/manifest.json")
    done = await stand.backups.prune("shop", apply=True, needed=needed)
    assert done.removed == (made[0].id,)
    assert done.retention.keep[made[2].id] == ("held: a legal hold is on it",)
    assert [each.id for each in await stand.vault.sets()] == [made[n].id for n in (1, 2, 3)]
