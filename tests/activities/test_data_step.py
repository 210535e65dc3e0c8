"""What PREFLIGHT says of a release's migrations, and how they are applied and taken back."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.activities import backup_database, migrate
from controller.activities.replies import SOON
from controller.adapters.memory.database import MemoryBundle, MemoryMigration
from controller.adapters.memory.world import Fault
from controller.core.data import (
    ContractPolicy,
    DatabaseSpec,
    DataPlan,
    DryRun,
    OnRollback,
    WayBack,
)
from controller.core.effects import BackupDatabase, Migrate, Preflight, RevertData
from controller.core.errors import ProviderError, TakesTooLongError
from controller.core.events import Done, Failed, NotYet, PreflightFailed, PreflightPassed
from controller.core.plan import AppId
from controller.core.words import explain
from controller.migrations.bundle import Kind
from controller.ports_data import (
    BundleName,
    CopyRun,
    DataProgress,
    LockWait,
    NotTried,
    PendingMigration,
    Ran,
    Rehearsal,
    RestorePointOrder,
    RestorePointProgress,
    SchemaFacts,
    Timed,
)
from tests.activities.kit import NEW, NEW_DIGEST, NOW, Bench, checking, key

DATABASE = DatabaseSpec(connection="shop-db")
ALLOWED = replace(DATABASE, contract=ContractPolicy.ALLOW)
ADD = MemoryMigration(id="0001_add")
FILL = MemoryMigration(id="0002_fill", kind=Kind.DATA)
DROP = MemoryMigration(id="0003_drop", kind=Kind.CONTRACT)
WIPE = MemoryMigration(id="0004_wipe", kind=Kind.IRREVERSIBLE)


def carrying(*migrations: MemoryMigration, **changes: Any) -> Bench:
    """Return a bench whose new image carries *migrations*."""
    bench = Bench()
    bench.database.bundles[NEW_DIGEST] = MemoryBundle(migrations=migrations, **changes)
    return bench


def planning(database: DatabaseSpec | None = DATABASE, **changes: Any) -> Preflight:
    return replace(checking(), database=database, **changes)


async def passed(bench: Bench, effect: Preflight | None = None) -> PreflightPassed:
    reply = await bench.preflight(effect or planning())
    assert isinstance(reply, PreflightPassed), reply
    return reply


async def reasons(bench: Bench, effect: Preflight | None = None) -> tuple[str, ...]:
    reply = await bench.preflight(effect or planning())
    assert isinstance(reply, PreflightFailed), reply
    return reply.reasons


# --- PREFLIGHT ------------------------------------------------------------------------------------


async def test_the_plan_names_what_is_pending_and_touches_nothing() -> None:
    bench = carrying(ADD, FILL)
    bench.database.applied = ["0001_add"]

    assert (await passed(bench)).data == DataPlan(
        bundle=bench.database.bundles[NEW_DIGEST].sha256,
        pending=("0002_fill",),
        head_before="0001_add",
        head_after="0002_fill",
        way_back=WayBack.OPEN,
        has_down=True,
        dry_run="dry run: 1 statement in 0.1 s; longest, 0.1 s: do 0002_fill",
    )
    assert bench.database.runs == []


async def test_an_app_without_a_database_is_not_asked_for_one() -> None:
    bench = carrying(ADD)
    bench.world.weather.script("look_at_data", Fault.PERMANENT)

    assert (await passed(bench, planning(None))).data is None


async def test_a_release_without_migrations_is_told_of() -> None:
    reply = await passed(Bench())

    assert reply.data is None
    assert any("carries no migrations" in warning for warning in reply.warnings)


async def test_what_lint_says_is_a_reason_like_any_other() -> None:
    """All reasons are told at once."""
    bench = carrying(ADD, errors=("0001_add line 3: SWM101", "0001_add line 9: SWM102"))
    bench.registry = type(bench.registry)(bench.world.weather)

    told = await reasons(bench)

    assert "0001_add line 3: SWM101" in told
    assert "0001_add line 9: SWM102" in told
    assert any("does not hold" in reason for reason in told)


async def test_a_bundle_that_cannot_be_read_is_a_reason() -> None:
    (reason,) = await reasons(carrying(ADD, is_readable=False))

    assert "torn" in reason
    assert "Push it again" in reason


async def test_a_database_that_cannot_be_asked_is_asked_again() -> None:
    bench = carrying(ADD)
    bench.world.weather.script("look_at_data", Fault.TRANSIENT)

    assert isinstance(await bench.preflight(planning()), NotYet)


# --- The dry run ----------------------------------------------------------------------------------


async def test_what_fails_in_the_dry_run_is_a_reason() -> None:
    bench = carrying(ADD, replace(FILL, breaks=True))

    assert await reasons(bench) == ("Dry run: Migration 0002_fill fails.",)
    assert bench.database.runs == []


async def test_the_dry_run_is_the_last_question_and_locks_nothing_before_it() -> None:
    """Neither what is refused anyway is tried, nor what has to wait for something else."""
    refused, waiting, nothing, off = carrying(DROP), carrying(ADD), carrying(ADD), carrying(ADD)
    waiting.telemetry.error = ProviderError("No answer.")
    nothing.database.applied = ["0001_add"]
    without = await passed(off, planning(replace(DATABASE, dry_run=DryRun.NONE)))

    await reasons(refused)
    assert isinstance(await waiting.preflight(planning()), NotYet)
    assert (await passed(nothing)).data is not None

    assert without.data is not None
    assert without.data.dry_run == ""
    assert [b.database.rehearsals for b in (refused, waiting, nothing, off)] == [[], [], [], []]
    done = carrying(ADD)
    await passed(done, planning(rollout="r9"))
    assert done.database.rehearsals == ["r9"]


async def test_a_lock_that_is_not_to_be_had_is_asked_for_again() -> None:
    bench = carrying(ADD)
    bench.world.weather.script("rehearse", Fault.TRANSIENT)

    assert isinstance(await bench.preflight(planning()), NotYet)


class Tried:
    """Migrations of which one is pending, and a dry run that ends as told."""

    def __init__(self, ended: Rehearsal | Exception) -> None:
        self.ended = ended

    async def look(self, _: DatabaseSpec, __: BundleName) -> SchemaFacts:
        pending = PendingMigration(id="0001_add", kind=Kind.EXPAND, has_down=True)
        return SchemaFacts(bundle="b" * 64, pending=(pending,))

    async def rehearse(self, *_: Any, **__: Any) -> Rehearsal:
        if isinstance(self.ended, Exception):
            raise self.ended
        return self.ended


async def test_waits_and_what_cannot_be_tried_are_told() -> None:
    long = f"alter table orders {'add ' * 30}"
    lock = "AccessExclusiveLock on orders"
    rehearsal = Rehearsal(
        ran=(
            Ran(
                migration="0001_add",
                statements=(
                    Timed(text="create table a ()", seconds=0.05, rows=None),
                    Timed(text=long, seconds=1.25, rows=None),
                ),
                seconds=1.4,
            ),
        ),
        not_tried=(NotTried(migration="0002_index", text="create index", why="It refuses."),),
        waits=(
            LockWait(
                migration="0001_add",
                text=long,
                lock=lock,
                blocked_by=("process 7 of reports",),
                seconds=1.1,
            ),
        ),
    )
    bench = carrying(ADD)
    bench.migrations = Tried(rehearsal)

    reply = await passed(bench)

    assert reply.data is not None
    words = " ".join(long.split())[:77] + "..."
    assert reply.data.dry_run == f"dry run: 2 statements in 1.3 s; longest, 1.2 s: {words}"
    assert reply.data.dry_run in explain(reply)
    told = [warning for warning in reply.warnings if warning.startswith("dry run")]
    assert told == [
        f"dry run: 0001_add waited 1.1 s for {lock}, held by process 7 of reports: {words}",
        "dry run: not tried: 0002_index (create index). It refuses.",
    ]


async def test_what_a_copy_took_is_told_beside_what_the_database_took() -> None:
    statement = Timed(text="create index", seconds=61.5, rows=None)
    copy = CopyRun(of="20260101-shop-1", statements=4, seconds=70.0, longest=statement)
    ran = Ran(migration="0001_add", statements=(replace(statement, seconds=0.5),), seconds=0.5)
    bench = carrying(ADD)
    bench.migrations = Tried(Rehearsal(ran=(ran,), copy=copy))

    reply = await passed(bench)

    assert reply.data is not None
    assert reply.data.dry_run == (
        "dry run: on a copy of 20260101-shop-1: 4 statements in 70.0 s; longest, 61.5 s: create "
        "index; on the database: 1 statement in 0.5 s; longest, 0.5 s: create index"
    )


async def test_a_dry_run_that_takes_too_long_is_not_begun_again() -> None:
    """It would hold users up a second time; the plan stands without it."""
    bench = carrying(ADD)
    late = TakesTooLongError("The dry run took longer than 15 s.")
    bench.migrations = Tried(late)

    reply = await passed(bench)

    assert reply.data is not None
    assert reply.data.dry_run == ""
    assert any("were not tried: The dry run took longer" in told for told in reply.warnings)


async def test_a_database_that_refuses_us_is_a_reason() -> None:
    bench = carrying(ADD)
    bench.world.weather.script("look_at_data", Fault.PERMANENT)

    assert any("Give the role" in reason for reason in await reasons(bench))


@pytest.mark.parametrize("kind", [Kind.CONTRACT, Kind.IRREVERSIBLE])
async def test_taking_something_away_is_refused_unless_it_is_allowed(kind: Kind) -> None:
    drop = replace(DROP, kind=kind)

    (reason,) = await reasons(carrying(ADD, drop))
    allowed = await passed(carrying(ADD, drop), planning(ALLOWED))

    assert reason.startswith("Migration 0003_drop takes away what the stable build may use")
    assert "later release" in reason
    assert allowed.data is not None
    assert (allowed.data.way_back, allowed.data.breaking) == (WayBack.DOWN, ("0003_drop",))
    assert allowed.data.reasons
    assert any("no rollback to an earlier release" in told for told in allowed.warnings)
    loses_rows = any("not the rows" in told for told in allowed.warnings)
    assert loses_rows == (kind is Kind.IRREVERSIBLE)


@pytest.mark.parametrize(
    ("migrations", "missing"),
    [
        ((ADD, replace(DROP, has_down=False)), "0003_drop"),
        ((DROP, replace(FILL, id="0005_fill", has_down=False)), "0005_fill"),
    ],
    ids=["itself", "a-later-one"],
)
async def test_where_no_script_leads_back_it_is_refused_though_allowed(
    migrations: tuple[MemoryMigration, ...], missing: str
) -> None:
    """To take one back all that ran after it has to be taken back, too."""
    (reason,) = await reasons(carrying(*migrations), planning(ALLOWED))

    assert f"Migration {missing} has no down script" in reason
    assert "0003_drop takes away" in reason


async def test_a_script_missing_before_what_takes_away_does_no_harm() -> None:
    reply = await passed(carrying(replace(ADD, has_down=False), DROP), planning(ALLOWED))

    assert reply.data is not None
    assert reply.data.way_back is WayBack.DOWN


async def test_that_a_rollback_cannot_undo_is_said_beforehand() -> None:
    down = planning(replace(DATABASE, on_rollback=OnRollback.DOWN))

    reply = await passed(carrying(ADD, replace(FILL, has_down=False)), down)

    assert any("all of them stay" in warning for warning in reply.warnings)


async def test_a_schema_that_is_ahead_is_a_warning() -> None:
    """After a rollback the expanded schema stays; the next fix is of the older line."""
    bench = carrying(ADD)
    bench.database.applied = ["0001_add", "0009_more"]

    reply = await passed(bench)

    assert any("ahead of the release: 0009_more" in warning for warning in reply.warnings)


async def test_a_release_that_misses_what_was_taken_away_is_refused() -> None:
    bench = carrying(ADD)
    bench.database.applied = ["0001_add", "0003_drop"]

    (reason,) = await reasons(bench, planning(stranding=("0003_drop",)))
    bench.database.applied = ["0001_add"]  # somebody took it back

    assert "does not know migration 0003_drop" in reason
    await passed(bench, planning(stranding=("0003_drop",)))


async def test_what_the_old_build_cannot_live_with_counts_whatever_its_kind() -> None:
    pending = PendingMigration(
        id="0007_not_null", kind=Kind.EXPAND, has_down=True, old_build_lives=False
    )
    bench = Bench()

    class Strict:
        async def look(self, _: DatabaseSpec, __: BundleName) -> SchemaFacts:
            return SchemaFacts(bundle="b", pending=(pending,))

    bench.migrations = Strict()

    assert "0007_not_null takes away" in (await reasons(bench))[0]


# --- BACKUP, MIGRATING and back -------------------------------------------------------------------


def backing_up() -> BackupDatabase:
    return BackupDatabase(
        key=key("backup_database"),
        app=AppId("shop"),
        rollout="r1",
        database=DATABASE,
        release=NEW_DIGEST,
        head=None,
        since=NOW,
    )


def planned(kind: type[Any], bench: Bench, *ids: str) -> Any:
    return kind(
        key=key("data"),
        app=AppId("shop"),
        rollout="r1",
        database=DATABASE,
        image=NEW,
        tag=None,
        bundle=bench.database.bundles[NEW_DIGEST].sha256,
        migrations=ids,
    )


async def test_a_backup_goes_on_until_it_says_its_id() -> None:
    bench = carrying(ADD)

    first = await bench.back_up(backing_up())
    second = await bench.back_up(backing_up())
    again = await bench.back_up(backing_up())

    assert isinstance(first, NotYet)
    assert first.detail == "half of it is written"
    assert isinstance(second, Done)
    assert second.detail == "point-of-r1"
    assert again == second
    assert bench.database.points == {"r1": []}


async def test_migrations_are_applied_one_by_one_and_once() -> None:
    bench = carrying(ADD, FILL)
    effect = planned(Migrate, bench, "0001_add", "0002_fill")

    first, second, again = [await bench.migrate(effect) for _ in range(3)]

    assert isinstance(first, NotYet)
    assert isinstance(second, Done)
    assert isinstance(again, Done)
    assert bench.database.runs == ["up 0001_add", "up 0002_fill"]


async def test_migrations_are_taken_back_newest_first_and_only_those() -> None:
    bench = carrying(ADD, FILL, DROP)
    bench.database.applied = ["0001_add", "0002_fill", "0003_drop"]
    effect = planned(RevertData, bench, "0002_fill", "0003_drop")

    replies = [await bench.revert(effect) for _ in range(3)]

    assert [type(reply) for reply in replies] == [NotYet, Done, Done]
    assert bench.database.runs == ["down 0003_drop", "down 0002_fill"]
    assert bench.database.applied == ["0001_add"]


async def test_taking_back_what_never_ran_is_done() -> None:
    """A migration that failed half way left the rest undone."""
    bench = carrying(ADD, FILL)
    bench.database.applied = ["0001_add"]

    reply = await bench.revert(planned(RevertData, bench, "0001_add", "0002_fill"))

    assert isinstance(reply, Done)
    assert bench.database.applied == []


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.LOST_RESPONSE])
async def test_a_lost_answer_is_asked_for_again_and_nothing_runs_twice(fault: Fault) -> None:
    bench = carrying(ADD)
    bench.world.weather.script("migrate", fault)
    effect = planned(Migrate, bench, "0001_add")

    assert isinstance(await bench.migrate(effect), NotYet)
    assert isinstance(await bench.migrate(effect), Done)
    assert bench.database.runs == ["up 0001_add"]


async def test_another_bundle_than_the_planned_one_is_not_run() -> None:
    """Somebody pushed another one under the same digest or tag since PREFLIGHT."""
    bench = carrying(ADD)
    effect = replace(planned(Migrate, bench, "0001_add"), bundle="0" * 64)

    reply = await bench.migrate(effect)

    assert isinstance(reply, Failed)
    assert "not the one that was planned" in reply.reason
    assert bench.database.runs == []


async def test_a_script_that_fails_is_a_failure() -> None:
    bench = carrying(replace(ADD, breaks=True))

    reply = await bench.migrate(planned(Migrate, bench, "0001_add"))

    assert isinstance(reply, Failed)
    assert "Migration 0001_add fails" in reply.reason


async def test_a_bundle_that_became_unreadable_is_a_failure() -> None:
    bench = carrying(ADD)
    effect = planned(Migrate, bench, "0001_add")
    bench.database.bundles[NEW_DIGEST] = MemoryBundle(migrations=(ADD,), is_readable=False)

    assert isinstance(await bench.migrate(effect), Failed)


async def test_a_house_without_databases_says_so() -> None:
    """Nobody waits for what was never put in."""
    bench = carrying(ADD)
    effect = planned(Migrate, bench, "0001_add")

    assert isinstance(await backup_database.perform(backing_up(), None, bench.clock), Failed)
    assert isinstance(await migrate.perform(effect, None, bench.clock), Failed)
    bench.migrations = None
    assert any("without databases" in reason for reason in await reasons(bench))


class Slow:
    """Says how long it takes; or does not."""

    def __init__(self, retry_after: Any) -> None:
        self.retry_after = retry_after

    async def apply(self, *_: Any, **__: Any) -> DataProgress:
        return DataProgress(is_done=False, detail="an index", retry_after=self.retry_after)

    async def take(self, _: DatabaseSpec, __: RestorePointOrder) -> RestorePointProgress:
        return RestorePointProgress(id=None, detail="3 of 9 GB", retry_after=self.retry_after)


@pytest.mark.parametrize("seconds", [None, 40])
async def test_work_that_goes_on_says_when_to_look_again(seconds: int | None) -> None:
    bench = carrying(ADD)
    slow: Any = Slow(timedelta(seconds=seconds) if seconds else None)

    replies = (
        await migrate.perform(planned(Migrate, bench, "0001_add"), slow, bench.clock),
        await backup_database.perform(backing_up(), slow, bench.clock),
    )

    for reply, detail in zip(replies, ("an index", "3 of 9 GB"), strict=True):
        assert isinstance(reply, NotYet)
        assert reply.detail == detail
        assert reply.retry_after == (timedelta(seconds=seconds) if seconds else SOON)
