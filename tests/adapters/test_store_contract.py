"""What every store keeps, asked of the memory twin and of Azure Tables' adapter on Azurite.

One class stands for `StateStore`, `History`, `AppMemoryKeeper`, `BucketStore` and `JobStore`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.tables import TablesStore
from controller.adapters.codec import NewerFormError, encode
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.world import Fault
from controller.core.audit import GENESIS, first_break
from controller.core.errors import ConflictError, MalformedError, TransientError
from controller.core.jobs import Job, JobKind, begun, ordered_id, succeeded, told
from controller.core.model import AppState, Record, Rollout, RolloutId, State
from controller.core.plan import AppId
from controller.ports import AppMemory, Loaded, StoredBucket
from controller.verdict.buckets import Bucket, Counts
from sandbox.storage import Storage
from sandbox.tls import Authority, create_authority
from tests.adapters import memories
from tests.adapters.stands import Credential
from tests.core.build import T0, image, rollout, spec

pytestmark = pytest.mark.asyncio(loop_scope="module")

Store = TablesStore | MemoryStore


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def azurite(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Storage]:
    async with Storage(authority, tmp_path_factory.mktemp("azurite")) as storage:
        yield storage


def tables_store(azurite: Storage, authority: Authority, table: str) -> TablesStore:
    return TablesStore(
        azurite.table_url,
        Credential("https://storage.azure.com"),
        table=table,
        options=connection_options(authority.ca_file),
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tables(azurite: Storage, authority: Authority) -> AsyncIterator[TablesStore]:
    store = tables_store(azurite, authority, "slipway")
    yield store
    await store.close()


@pytest.fixture(params=["memory", "tables"])
def store(request: pytest.FixtureRequest, tables: TablesStore) -> Store:
    return MemoryStore() if request.param == "memory" else tables


@pytest.fixture
def app() -> AppId:
    """An app of the test's own; dashes belong to ids."""
    return AppId(f"shop-{uuid.uuid4().hex[:8]}-eu")


def rollout_of(app: AppId, minute: int = 0, **changes: Any) -> Rollout:
    name = RolloutId(f"20260101T00{minute:02d}00000-{app}-00000002-1")
    return rollout(id=name, spec=spec(id=app), **changes)


def record(app: AppId, number: int, **changes: Any) -> Record:
    base = Record(at=T0, rollout=rollout_of(app).id, kind="page", what="test", why=f"{number}")
    return replace(base, **changes)


async def save(store: Store, loaded: Loaded, *records: Record, **changes: Any) -> Loaded:
    """Save as the engine does: the sequence counts the records in."""
    state = replace(loaded.state, sequence=loaded.state.sequence + len(records), **changes)
    return await store.save(loaded, state, records)


# --- State ----------------------------------------------------------------------------------------


async def test_an_app_without_a_past_has_an_empty_state(store: Store, app: AppId) -> None:
    """Loading writes nothing and needs nothing."""
    loaded = await store.load(app)

    assert loaded.state == AppState(app=app)
    assert loaded.etag is None
    assert await store.audit(app, rollout=None, limit=10) == []
    assert await store.rollouts(app, limit=10) == []


async def test_what_was_saved_is_loaded(store: Store, app: AppId) -> None:
    """Everything, in every field; and one may go on saving on what save returned."""
    full = replace(memories.full_state(), app=app, sequence=0)
    full = replace(full, active=rollout_of(app, turn=17), queued=(rollout_of(app, 1),))
    saved = await store.save(await store.load(app), full, [])

    assert (await store.load(app)).state == full
    assert (await store.load(app)).etag == saved.etag
    again = await save(store, saved, active=None)
    assert (await store.load(app)).state == again.state


async def test_only_the_first_of_two_saves_counts(store: Store, app: AppId) -> None:
    """The second writes nothing at all: no state, no audit, no mark, no rollout."""
    for _ in ("nothing stored yet", "something stored"):
        one, two = await store.load(app), await store.load(app)
        await save(store, one, record(app, 1))
        before = await store.load(app)
        with pytest.raises(ConflictError):
            await store.save(
                two,
                replace(two.state, active=rollout_of(app, 59), sequence=two.state.sequence + 1),
                [record(app, 2)],
                ended=[rollout_of(app, 58)],
                seen="second",
            )

        assert await store.load(app) == before
        assert not await store.was_seen(app, "second")
        assert await store.rollouts(app, limit=10) == []
        rows = await store.audit(app, rollout=None, limit=10)
        assert {row.record.why for row in rows} == {"1"}


async def test_of_many_at_once_one_wins(store: Store, app: AppId) -> None:
    """Whoever loses is told so."""
    loaded = await store.load(app)
    results = await asyncio.gather(
        *(save(store, loaded, record(app, number)) for number in range(12)),
        return_exceptions=True,
    )

    assert (
        sorted(type(r).__name__ for r in results if isinstance(r, BaseException))
        == ["ConflictError"] * 11
    )
    assert len(await store.audit(app, rollout=None, limit=50)) == 1


async def test_apps_do_not_meet(store: Store, app: AppId) -> None:
    """Each has its own state, marks and history."""
    other = AppId(f"{app}-2")
    await store.save(await store.load(app), AppState(app=app, active=rollout_of(app)), [], seen="x")

    assert (await store.load(other)).etag is None
    assert not await store.was_seen(other, "x")
    assert await store.rollouts(other, limit=5) == []


async def test_a_delivery_is_seen_once_it_was_saved(store: Store, app: AppId) -> None:
    """Whatever a registry may use as an id: slashes, blanks, a kilobyte."""
    keys = ["submit/4 2", "a/b\\c#d?e%", "ü" * 500]
    loaded = await store.load(app)
    for key in keys:
        assert not await store.was_seen(app, key)
        loaded = await store.save(loaded, loaded.state, [], seen=key)
    for key in keys:
        assert await store.was_seen(app, key)
    assert not await store.was_seen(app, "submit/4 3")


async def test_a_crowded_app_fits(store: Store, app: AppId) -> None:
    """A state of several hundred kilobytes, in a script that takes two places per character."""
    crowded = replace(
        memories.full_state(),
        app=app,
        sequence=0,
        active=rollout_of(app, why="𝄞" * 2000),
        queued=tuple(rollout_of(app, n + 1, reason="☃" * 2000) for n in range(10)),
        quarantine=tuple(
            replace(memories.full_state().quarantine[0], image=image(n), reason="\"\\'" * 300)
            for n in range(50)
        ),
    )
    assert len(encode(crowded, AppState)) > 200_000
    await store.save(await store.load(app), crowded, [])

    assert (await store.load(app)).state == crowded


# --- History --------------------------------------------------------------------------------------


async def test_a_rollout_is_found_by_its_id_alone(store: Store, app: AppId) -> None:
    """Running, waiting or ended; an id that is none, or unknown, finds nothing."""
    active, waiting = rollout_of(app, 3), rollout_of(app, 4)
    ended = rollout_of(app, 2, state=State.SUCCEEDED)
    state = AppState(app=app, active=active, queued=(waiting,))
    await store.save(await store.load(app), state, [], ended=[ended])

    for one in (active, waiting, ended):
        assert await store.rollout(one.id) == one
    for odd in (rollout_of(app, 9).id, "", "nonsense", "x/../y", f"{active.id}0"):
        assert await store.rollout(odd) is None


async def test_rollouts_come_newest_first(store: Store, app: AppId) -> None:
    """No more than asked for; the latest form of each."""
    loaded = await store.load(app)
    for minute in range(5):
        running = rollout_of(app, minute)
        loaded = await store.save(loaded, replace(loaded.state, active=running), [])
        done = replace(running, state=State.SUCCEEDED)
        loaded = await store.save(loaded, replace(loaded.state, active=None), [], ended=[done])
    found = await store.rollouts(app, limit=3)

    assert [r.id for r in found] == [rollout_of(app, minute).id for minute in (4, 3, 2)]
    assert {r.state for r in found} == {State.SUCCEEDED}
    assert len(await store.rollouts(app, limit=99)) == 5
    assert await store.rollouts(app, limit=0) == []


async def test_apps_under_way_are_found_without_being_known(store: Store, app: AppId) -> None:
    """The sweep must find a rollout also when its app has left the configuration."""
    idle = AppId(f"{app}-idle")
    await store.save(await store.load(idle), AppState(app=idle), [])
    mine = rollout(spec=replace(spec(), id=app))
    running = await store.load(app)
    running = await store.save(running, AppState(app=app, active=mine), [])

    found = await store.under_way()
    assert app in found
    assert idle not in found

    await store.save(running, AppState(app=app), [])
    assert app not in await store.under_way()


async def test_the_apps_with_a_rollout_under_way_are_known(store: Store, app: AppId) -> None:
    """Without asking the configuration: an app that was taken out of it is still brought home."""
    idle, busy = AppId(f"{app}-idle"), AppId(f"{app}-busy")
    await save(store, await store.load(idle), active=None)
    running = await save(store, await store.load(busy), active=rollout_of(busy))
    found = await store.under_way()

    assert busy in found
    assert idle not in found
    assert found == sorted(found)
    await save(store, running, active=None)
    assert busy not in await store.under_way()


async def test_the_audit_is_a_chain(store: Store, app: AppId) -> None:
    """Numbered from 1 over all saves, each row carrying the hash of the one before."""
    loaded = await save(store, await store.load(app), record(app, 1), record(app, 2))
    loaded = await save(store, loaded)
    await save(store, await store.load(app), replace(memories.full_record(), at=T0))
    rows = await store.audit(app, rollout=None, limit=10)

    assert [row.sequence for row in rows] == [1, 2, 3]
    assert rows[0].previous_hash == GENESIS
    assert rows[2].record == memories.full_record()
    links = [(row.previous_hash, encode(row.record, Record), row.hash) for row in rows]
    assert first_break(links) is None
    assert first_break([links[0], (links[1][0], links[1][1] + " ", links[1][2])]) == 1
    assert first_break(links[1:]) == 0


async def test_the_last_audit_rows_are_given_oldest_first(store: Store, app: AppId) -> None:
    """Of all, or of one rollout."""
    other = RolloutId(f"20260101T005900000-{app}-00000002-1")
    loaded = await store.load(app)
    for number in range(1, 7):
        loaded = await save(
            store, loaded, record(app, number, **({"rollout": other} if number % 2 else {}))
        )
    await save(store, loaded, record(app, 7, rollout=None))

    def numbers(rows: Any) -> list[int]:
        return [row.sequence for row in rows]

    assert numbers(await store.audit(app, rollout=None, limit=3)) == [5, 6, 7]
    assert numbers(await store.audit(app, rollout=other, limit=2)) == [3, 5]
    assert numbers(await store.audit(app, rollout=other, limit=50)) == [1, 3, 5]
    assert numbers(await store.audit(app, rollout="unknown", limit=50)) == []
    assert numbers(await store.audit(app, rollout=None, limit=0)) == []


# --- Buckets --------------------------------------------------------------------------------------


async def test_buckets_come_oldest_first_and_once(store: Store, app: AppId) -> None:
    """In whatever order they were put; the same start again replaces."""
    one, two = rollout_of(app, 1).id, rollout_of(app, 2).id
    series = [memories.stored(T0 + timedelta(seconds=15 * n)) for n in range(3)]
    await store.put(app, one, [series[2], series[0]])
    await store.put(app, one, [series[1], series[0]])
    await store.put(app, two, [replace(series[0], stable=None)])
    await store.put(app, two, [])

    assert list(await store.buckets(app, one)) == series
    assert [b.stable for b in await store.buckets(app, two)] == [None]
    assert list(await store.buckets(app, rollout_of(app, 3).id)) == []
    replaced = replace(series[0], canary=Bucket(start=T0, rows=1))
    await store.put(app, one, [replaced])
    assert list(await store.buckets(app, one)) == [replaced, *series[1:]]


async def test_an_hour_of_wide_histograms_fits(store: Store, app: AppId) -> None:
    """More buckets than a transaction holds rows, every latency bin in use."""
    wide = {place: 10**9 + place for place in range(-40, 280)}
    name = rollout_of(app).id
    series: list[StoredBucket] = []
    for n in range(240):
        start = T0 + timedelta(seconds=15 * n)
        arm = replace(memories.bucket(start), latency=wide, latency_rows=wide)
        counted = Counts(total=10**9, bad=1, histogram=wide)
        metrics = {f"metric-{m}": (counted, counted) for m in range(5)}
        series.append(
            StoredBucket(
                start=start, canary=arm, stable=arm, probes=(counted, counted), metrics=metrics
            )
        )
    await store.put(app, name, series)

    assert list(await store.buckets(app, name)) == series


async def test_the_watch_is_saved_once_per_load(store: Store, app: AppId) -> None:
    """Who was slower loads again and merges."""
    workspace = f"ws-{app}"
    empty = await store.load_watch(workspace)
    assert (empty.workspace, empty.watching, empty.cursor, empty.etag) == (
        workspace,
        (),
        None,
        None,
    )
    full = replace(memories.watch(workspace), etag=empty.etag)
    saved = await store.save_watch(full)

    assert saved == await store.load_watch(workspace)
    assert replace(saved, etag=None) == full
    with pytest.raises(ConflictError):
        await store.save_watch(full)
    await store.save_watch(replace(saved, last_error=None))
    with pytest.raises(ConflictError):
        await store.save_watch(saved)
    assert (await store.load_watch(workspace)).last_error is None


# --- Housekeeping ---------------------------------------------------------------------------------


async def marked(store: Store, app: AppId, count: int) -> list[str]:
    """Save *count* marks and return them."""
    loaded = await store.load(app)
    marks = [f"mark {number}" for number in range(count)]
    for mark in marks:
        loaded = await store.save(loaded, loaded.state, [record(app, 1)], seen=mark)
    return marks


async def test_old_marks_are_removed_and_nothing_else(store: Store, app: AppId) -> None:
    """Only what was written before; state, rollouts and audit stay."""
    ended = rollout_of(app, 1, state=State.SUCCEEDED)
    loaded = await store.load(app)
    loaded = await store.save(loaded, replace(loaded.state), [], ended=[ended], seen="a")
    now = datetime.now(UTC)

    removed = [
        await store.prune(app, before=now + by, keep=(), limit=10)
        for by in (timedelta(hours=-1), timedelta(hours=1), timedelta(hours=1))
    ]

    assert removed == [0, 1, 0]
    assert not await store.was_seen(app, "a")
    assert (await store.load(app)).state == loaded.state
    assert await store.rollout(ended.id) == ended


async def test_old_buckets_are_removed_but_of_those_under_way(store: Store, app: AppId) -> None:
    """A rollout began when its id says; one that still runs keeps its evidence."""
    series = [memories.stored(T0 + timedelta(seconds=15 * n)) for n in range(3)]
    old, running, later = (rollout_of(app, minute).id for minute in (1, 2, 30))
    for name in (old, running, later):
        await store.put(app, name, series)
    before = T0 + timedelta(minutes=20)

    assert await store.prune(app, before=before, keep=(running,), limit=10) == 3
    assert await store.prune(app, before=before, keep=(running,), limit=10) == 0
    left = [len(await store.buckets(app, name)) for name in (old, running, later)]
    assert left == [0, 3, 3]


async def test_no_more_is_removed_than_was_asked_for(store: Store, app: AppId) -> None:
    """And more than a transaction holds may be."""
    series = [memories.stored(T0 + timedelta(seconds=15 * n)) for n in range(130)]
    await store.put(app, rollout_of(app).id, series)
    await marked(store, app, 5)
    soon = datetime.now(UTC) + timedelta(hours=1)

    removed = [await store.prune(app, before=soon, keep=(), limit=n) for n in (2, 110, 110, 110)]

    assert removed == [4, 113, 18, 0]


async def test_two_sweeps_at_once_do_no_harm(store: Store, app: AppId) -> None:
    """Both may find the same rows; what one removed the other need not."""
    marks = await marked(store, app, 6)
    soon = datetime.now(UTC) + timedelta(hours=1)

    await asyncio.gather(*(store.prune(app, before=soon, keep=(), limit=50) for _ in range(4)))

    assert not any([await store.was_seen(app, mark) for mark in marks])


# --- A search over histories ----------------------------------------------------------------------

_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["save", "stale", "retry"]),
        st.integers(0, 3),
        st.none() | st.sampled_from(["a", "b"]),
    ),
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=_STEPS)
async def test_both_stores_tell_the_same_story(
    tables: TablesStore, steps: list[tuple[str, int, str | None]]
) -> None:
    """Any series of saves, stale saves and repeated saves leaves the same state and audit."""
    app = AppId(f"twin-{uuid.uuid4().hex[:8]}")
    stories: list[Any] = []
    for store in (tables, MemoryStore()):
        loaded = old = await store.load(app)
        outcomes: list[bool] = []
        for what, count, seen in steps:
            base = loaded if what == "save" else old
            records = [record(app, number) for number in range(count)]
            state = replace(base.state, sequence=base.state.sequence + count)
            try:
                saved = await store.save(base, state, records, seen=seen)
            except ConflictError:
                outcomes.append(False)
                loaded = await store.load(app)
                continue
            outcomes.append(True)
            old, loaded = base, saved
        marks = [await store.was_seen(app, key) for key in ("a", "b")]
        rows = await store.audit(app, rollout=None, limit=99)
        stories.append((outcomes, marks, rows, (await store.load(app)).state))

    assert stories[0] == stories[1]


# --- Tables alone ---------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="module")
async def rows(azurite: Storage, authority: Authority) -> AsyncIterator[TableClient]:
    """The table behind the adapter's back."""
    async with TableClient(
        azurite.table_url,
        "slipway",
        credential=Credential("https://storage.azure.com"),
        **connection_options(authority.ca_file),
    ) as client:
        yield client


async def test_a_tampered_audit_is_noticed(
    tables: TablesStore, rows: TableClient, app: AppId
) -> None:
    """A changed row, a lost row, a cut end: the first wrong number is told."""
    loaded = await tables.load(app)
    for number in range(1, 5):
        loaded = await save(tables, loaded, record(app, number))
    assert await tables.first_audit_break(app) is None
    assert await tables.first_audit_break(AppId("nobody")) is None

    third = await rows.get_entity(app, "event:0000000003")
    forged = {**third, "payload00": third["payload00"].replace('"why":"3"', '"why":"8"')}
    await rows.update_entity(forged, mode=UpdateMode.REPLACE)
    assert await tables.first_audit_break(app) == 3
    await rows.update_entity(third, mode=UpdateMode.REPLACE)
    assert await tables.first_audit_break(app) is None
    await rows.delete_entity(app, "event:0000000004")
    assert await tables.first_audit_break(app) == 4
    await rows.delete_entity(app, "event:0000000002")
    assert await tables.first_audit_break(app) == 2


async def test_a_newer_slipways_rows_are_refused(
    tables: TablesStore, rows: TableClient, app: AppId
) -> None:
    """After a roll-back of Slipway itself nothing is guessed, and nothing overwritten."""
    await save(tables, await tables.load(app))
    head = await rows.get_entity(app, "head")
    await rows.update_entity({**head, "form": 99}, mode=UpdateMode.REPLACE)

    with pytest.raises(NewerFormError):
        await tables.load(app)


async def test_a_hundred_rows_are_the_most_that_move_at_once(
    tables: TablesStore, app: AppId
) -> None:
    """Ninety-nine records and the head fit; more is a mistake of ours and is not sent."""
    many = [record(app, number) for number in range(100)]
    loaded = await tables.load(app)
    with pytest.raises(AssertionError, match="101 rows"):
        await save(tables, loaded, *many)
    await save(tables, loaded, *many[1:])

    assert len(await tables.audit(app, rollout=None, limit=200)) == 99


async def test_the_table_is_made_by_whoever_comes_first(
    azurite: Storage, authority: Authority, app: AppId
) -> None:
    """Several processes at once, on an account that has none yet."""
    stores = [tables_store(azurite, authority, "fresh") for _ in range(4)]
    loads = await asyncio.gather(*(store.load(app) for store in stores))

    assert [loaded.etag for loaded in loads] == [None] * 4
    await save(stores[0], loads[0])
    with pytest.raises(ConflictError):
        await save(stores[1], loads[1])
    for store in stores:
        await store.close()


async def test_a_store_that_is_away_is_a_transient_error(
    authority: Authority, tmp_path: Path, app: AppId
) -> None:
    """Every call says so; and works when it is back."""
    storage = Storage(authority, tmp_path / "azurite")
    await storage.start()
    url = storage.table_url
    store = TablesStore(
        url,
        Credential("https://storage.azure.com"),
        options={"retry_total": 0, **connection_options(authority.ca_file)},
    )
    loaded = await store.load(app)
    await storage.stop()
    for call in (
        store.load(app),
        save(store, loaded, record(app, 1)),
        store.was_seen(app, "x"),
        store.rollouts(app, limit=1),
        store.put(app, "r", [memories.stored()]),
        store.buckets(app, "r"),
        store.load_watch("w"),
        store.save_watch(memories.watch()),
        store.prune(app, before=T0, keep=(), limit=1),
    ):
        with pytest.raises(TransientError):
            await call
    await store.close()


# --- The memory twin alone ------------------------------------------------------------------------


async def test_bad_weather_can_be_ordered(app: AppId) -> None:
    """A fault before anything was written; a lost response after everything was."""
    store = MemoryStore()
    loaded = await store.load(app)
    store.weather.script("save", Fault.TRANSIENT, Fault.LOST_RESPONSE)
    with pytest.raises(TransientError):
        await save(store, loaded, record(app, 1))
    assert (await store.load(app)).etag is None
    with pytest.raises(TransientError):
        await save(store, loaded, record(app, 1))

    assert (await store.load(app)).state.sequence == 1
    with pytest.raises(ConflictError):
        await save(store, loaded, record(app, 1))
    assert store.saves == 1


# --- Jobs ----------------------------------------------------------------------------------------


def job(app: AppId, hour: int, **changes: Any) -> Job:
    made = Job(
        id=ordered_id(app, JobKind.BACKUP, T0 + timedelta(hours=hour), f"{hour:08x}"),
        app=app,
        kind=JobKind.BACKUP,
        by="ann",
        why="before the sale",
        asked_at=T0 + timedelta(hours=hour),
        arguments={"set": "x", "apply": True},
    )
    return replace(made, **changes)


async def test_a_job_is_found_by_its_id_as_it_was_kept_last(store: Store, app: AppId) -> None:
    first = job(app, 1)
    assert await store.job(first.id) is None
    assert await store.job("no job's id") is None

    await store.keep_job(first)
    later = succeeded(told(begun(first, T0), T0, "dumped 64 MiB so far"), T0, {"set": "y", "n": 1})
    await store.keep_job(later)

    assert await store.job(first.id) == later


async def test_the_latest_jobs_of_an_app_come_newest_first(store: Store, app: AppId) -> None:
    for hour in (2, 1, 3):
        await store.keep_job(job(app, hour))
    await store.keep_job(job(AppId(f"{app}-backup"), 4))

    latest = await store.jobs(app, limit=2)

    assert [found.asked_at for found in latest] == [T0 + timedelta(hours=n) for n in (3, 2)]


async def test_only_old_jobs_that_ended_are_forgotten(store: Store, app: AppId) -> None:
    for hour in (1, 2):
        await store.keep_job(job(app, hour))
    await store.keep_job(succeeded(job(app, 1), T0, {}))
    await store.keep_job(succeeded(job(app, 5), T0, {}))

    assert await store.forget_jobs(app, before=T0 + timedelta(hours=3)) == 1

    left = await store.jobs(app, limit=9)
    assert [found.asked_at for found in left] == [T0 + timedelta(hours=n) for n in (5, 2)]


# --- AppMemoryKeeper -----------------------------------------------------------------------------


async def remembered(store: Store, app: AppId, *, lines: int = 3) -> AppMemory:
    """Return what *store* knows of *app* after some lines of audit."""
    loaded = await store.load(app)
    state = replace(loaded.state, sequence=lines)
    records = [record(app, number) for number in range(lines)]
    await store.save(loaded, state, records, ended=[rollout_of(app, state=State.SUCCEEDED)])
    return AppMemory(
        state=state,
        rollouts=tuple(await store.rollouts(app, limit=9)),
        audit=tuple(await store.audit(app, rollout=None, limit=999)),
    )


async def test_a_memory_of_another_store_is_adopted_whole_and_its_chain_goes_on(
    store: Store, app: AppId
) -> None:
    memory = await remembered(MemoryStore(), app, lines=230)  # more than a transaction takes

    await store.adopt(memory, record(app, 1, kind="restored"))

    audit = await store.audit(app, rollout=None, limit=999)
    assert [row.sequence for row in audit] == list(range(1, 232))
    assert tuple(audit[:-1]) == memory.audit
    links = [(row.previous_hash, encode(row.record, Record), row.hash) for row in audit]
    assert first_break(links) is None
    assert tuple(await store.rollouts(app, limit=9)) == memory.rollouts
    loaded = await store.load(app)
    assert loaded.state.sequence == 231
    after = replace(loaded.state, sequence=232)
    await store.save(loaded, after, [record(app, 2)])  # work goes on
    if isinstance(store, TablesStore):
        assert await store.first_audit_break(app) is None


async def test_a_memory_is_adopted_only_where_there_is_none(store: Store, app: AppId) -> None:
    memory = await remembered(store, app)
    with pytest.raises(ConflictError):
        await store.adopt(memory, record(app, 1))
    assert (await store.load(app)).state == memory.state


async def test_a_memory_with_a_gap_is_not_adopted(store: Store, app: AppId) -> None:
    memory = await remembered(MemoryStore(), app)
    for audit in (memory.audit[:1] + memory.audit[2:], memory.audit[1:]):
        with pytest.raises(MalformedError):
            await store.adopt(replace(memory, audit=audit), record(app, 1))
    assert (await store.load(app)).etag is None
