"""A release that carries migrations, through the whole controller and its bad weather."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from controller.adapters.memory.database import MemoryBundle, MemoryMigration
from controller.adapters.memory.world import Fault
from controller.core.data import BackupKind, ContractPolicy, DatabaseSpec, DryRun, OnRollback
from controller.core.model import State
from controller.core.plan import AppSpec
from controller.migrations.bundle import Kind
from controller.runtime.messages import OrderBody, RollbackBody
from controller.web.views import rollout_view
from tests.runtime.kit import (
    SECOND,
    SHOP,
    Habit,
    House,
    Killed,
    Striker,
    digest,
    spec,
    steps,
    submit,
)

S = State
ADD, FILL = MemoryMigration(id="0001_add"), MemoryMigration(id="0002_fill", kind=Kind.DATA)
DROP = MemoryMigration(id="0002_drop", kind=Kind.CONTRACT)
UP, DOWN = ["up 0001_add", "up 0002_fill"], ["down 0002_fill", "down 0001_add"]
BAD = Habit(failing=0.5)


def with_database(**changes: Any) -> AppSpec:
    """Return a quick app with a database."""
    base = spec()
    quick = tuple(replace(s, min_observation=15 * SECOND) for s in steps(50))
    return replace(
        base,
        strategy=replace(base.strategy, steps=quick, bake=10 * SECOND),
        database=replace(DatabaseSpec(connection="shop-db"), **changes),
    )


def house_of(app: AppSpec, *migrations: MemoryMigration, **more: Any) -> House:
    """Return a house whose image 2 carries *migrations*."""
    house = House([app], **more)
    house.database.bundles[digest(2)] = MemoryBundle(migrations=migrations)
    return house


async def rolled_out(house: House) -> House:
    await house.send(submit(2))
    await house.run()
    await house.assert_chained()
    return house


async def why(house: House) -> str:
    (rollout,) = await house.rollouts()
    return rollout.why


async def test_migrations_run_behind_a_restore_point_before_anything_is_staged() -> None:
    house = await rolled_out(house_of(with_database(), ADD, FILL))

    assert await house.ends() == [("v2", S.SUCCEEDED)]
    assert (await house.way())[:5] == [S.QUEUED, S.PREFLIGHT, S.BACKUP, S.MIGRATING, S.STAGING]
    assert house.database.runs == UP
    (rollout,) = await house.rollouts()
    assert house.database.points == {rollout.id: []}
    assert rollout.data is not None
    assert rollout.data.restore_point == f"point-of-{rollout.id}"
    assert set(house.database.asked_by) == {rollout.id}
    shown = rollout_view(rollout)["data"]
    assert (shown["pending"], shown["applied"]) == (["0001_add", "0002_fill"], True)
    assert (await house.state()).releases[0].schema_head == "0002_fill"


async def test_without_a_backup_wanted_none_is_made() -> None:
    house = await rolled_out(house_of(with_database(backup=BackupKind.NONE), ADD))

    assert S.BACKUP not in await house.way()
    assert house.database.points == {}
    assert await house.ends() == [("v2", S.SUCCEEDED)]


async def test_a_release_with_nothing_pending_goes_its_usual_way() -> None:
    house = house_of(with_database(), ADD)
    house.database.applied = ["0001_add"]
    await rolled_out(house)

    assert not {S.BACKUP, S.MIGRATING} & set(await house.way())
    assert (await house.state()).releases[0].schema_head == "0001_add"


async def test_a_bad_build_leaves_the_expanded_schema_behind() -> None:
    house = house_of(with_database(), ADD, FILL, habits={digest(2): BAD})
    await rolled_out(house)

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.runs == UP
    assert "the expanded schema stays, the stable build runs on it: 0001_add, 0002_fill" in (
        await why(house)
    )


async def test_a_bad_build_takes_its_schema_with_it_once_users_are_safe() -> None:
    app = with_database(on_rollback=OnRollback.DOWN)
    house = house_of(app, ADD, FILL, habits={digest(2): BAD})
    await house.send(submit(2))
    while house.database.runs != [*UP, DOWN[0]]:
        assert await house.active() is not None or not house.handled
        if not await house.deliver_one():
            due = house.bus.next_due()
            assert due is not None
            house.let_users_ask_until(due)
    assert {release for _, release in house.users_get().values()} == {digest(1)}

    await house.run()

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.runs == UP + DOWN
    assert "taken back from the database: 0001_add, 0002_fill" in await why(house)


async def test_what_was_taken_away_comes_back_before_the_stable_build_serves_alone() -> None:
    app = with_database(contract=ContractPolicy.ALLOW)
    house = house_of(app, ADD, DROP, habits={digest(2): BAD})
    await house.send(submit(2))
    rollout = await house.run_to(S.ROLLING_BACK)
    while house.database.applied:
        if not await house.deliver_one():
            due = house.bus.next_due()
            assert due is not None
            house.let_users_ask_until(due)
        if house.database.applied:
            assert len(house.users_get()) == 2, "the split stays as it was until then"
    assert rollout.data is not None

    await house.run()

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.applied == []
    assert {release for _, release in house.users_get().values()} == {digest(1)}


async def test_down_scripts_that_fail_page_somebody_and_users_are_safe_all_the_same() -> None:
    app = with_database(contract=ContractPolicy.ALLOW)
    drop = replace(DROP, down_breaks=True)
    house = house_of(app, ADD, drop, habits={digest(2): BAD})
    await rolled_out(house)

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert {release for _, release in house.users_get().values()} == {digest(1)}
    pages = [r for r in await house.records() if r.kind == "page"]
    assert ["0002_drop fails" in r.why for r in pages] == [True]
    assert "WARNING: the stable build may miss what 0002_drop took away" in await why(house)
    assert (await house.state()).releases == ()


async def test_a_migration_that_fails_touches_no_slot() -> None:
    app = with_database(dry_run=DryRun.NONE)
    house = await rolled_out(house_of(app, ADD, replace(FILL, breaks=True)))

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.runs == UP[:1]
    assert house.world.writes == []
    (rollout,) = await house.rollouts()
    assert "Migration 0002_fill fails" in rollout.undone_because
    assert "the expanded schema stays as far as it came" in rollout.why


async def test_a_migration_that_would_fail_is_found_before_anything_ran() -> None:
    house = await rolled_out(house_of(with_database(), ADD, replace(FILL, breaks=True)))

    assert await house.ends() == [("v2", S.REJECTED)]
    assert (house.database.runs, house.database.points) == ([], {})
    assert "Dry run: Migration 0002_fill fails" in await why(house)


async def test_a_backup_that_cannot_be_made_ends_it_before_anything_ran() -> None:
    house = house_of(with_database(), ADD)
    house.weather.script("backup", Fault.PERMANENT)
    await rolled_out(house)

    assert await house.ends() == [("v2", S.REJECTED)]
    assert house.database.runs == []
    assert (await house.state()).quarantine == ()


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.THROTTLED, Fault.LOST_RESPONSE])
@pytest.mark.parametrize(
    "operation", ["look_at_data", "rehearse", "backup", "migrate", "revert_data"]
)
async def test_bad_weather_over_the_database_passes(operation: str, fault: Fault) -> None:
    app = with_database(on_rollback=OnRollback.DOWN)
    house = house_of(app, ADD, FILL, habits={digest(2): BAD})
    house.weather.script(operation, fault, None, fault)
    await rolled_out(house)

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.runs == UP + DOWN
    assert len(house.database.points) == 1


async def test_an_abort_while_migrating_goes_back() -> None:
    house = house_of(with_database(on_rollback=OnRollback.DOWN), ADD, FILL)
    await house.send(submit(2))
    house.weather.script("migrate", None, *[Fault.TRANSIENT] * 50)
    await house.run_to(S.MIGRATING)
    await house.send(OrderBody(app=SHOP, id="stop", by="ann", command="abort", reason="enough"))
    await house.run()

    assert await house.ends() == [("v2", S.ROLLED_BACK)]
    assert house.database.runs == [UP[0], DOWN[1]]
    assert house.database.applied == []
    assert house.world.writes == []


async def test_a_newer_push_waits_for_the_database_to_be_as_it_was() -> None:
    house = house_of(with_database(on_rollback=OnRollback.DOWN), ADD, FILL)
    house.database.bundles[digest(3)] = MemoryBundle(migrations=(ADD,))
    await house.send(submit(2))
    house.weather.script("migrate", None, *[Fault.TRANSIENT] * 5)
    await house.run_to(S.MIGRATING)
    await house.send(submit(3))
    await house.run()

    assert await house.ends() == [("v2", S.SUPERSEDED), ("v3", S.SUCCEEDED)]
    assert house.database.runs == [UP[0], DOWN[1], UP[0]]


async def test_a_database_that_stays_away_rejects_in_time() -> None:
    house = house_of(with_database(), ADD)
    house.weather.script("look_at_data", *[Fault.TRANSIENT] * 1000)
    await rolled_out(house)

    assert await house.ends() == [("v2", S.REJECTED)]


async def test_nobody_rolls_code_back_past_what_was_taken_away() -> None:
    house = await rolled_out(house_of(with_database(contract=ContractPolicy.ALLOW), ADD, DROP))
    assert await house.ends() == [("v2", S.SUCCEEDED)]
    (warned,) = await house.rollouts()
    assert any("no rollback to an earlier release" in told for told in warned.warnings)

    await house.send(RollbackBody(app=SHOP, id="back", by="ann", reason="worse"))
    await house.run()

    assert len(await house.rollouts()) == 1
    refusal = (await house.records())[-1]
    assert refusal.kind == "refused"
    assert "0002_drop took away what it may use" in refusal.why
    assert {release for _, release in house.users_get().values()} == {digest(2)}


async def test_once_it_was_taken_back_by_hand_the_older_build_can_be_deployed() -> None:
    """The refusal's advice leads somewhere."""
    house = house_of(with_database(contract=ContractPolicy.ALLOW), ADD, DROP)
    house.database.bundles[digest(1)] = MemoryBundle(migrations=(ADD,))
    await rolled_out(house)

    await house.send(submit(1, id="too-early"))
    await house.run()
    house.database.applied.remove("0002_drop")
    await house.send(submit(1, id="now"))
    await house.run()

    ends = await house.ends()
    assert ends == [("v2", S.SUCCEEDED), ("v1", S.REJECTED), ("v1", S.SUCCEEDED)]
    assert {release for _, release in house.users_get().values()} == {digest(1)}


# --- Crashes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Everything that must not depend on where somebody pulled the plug."""

    ends: list[tuple[str, State]]
    way: list[State]
    users_get: dict[str, tuple[int, str]]
    runs: list[str]
    applied: list[str]
    points: int
    stranded: list[tuple[str, ...]]


async def outcome(house: House) -> Outcome:
    await house.assert_chained()
    assert await house.active() is None
    assert house.bus.next_due() is None
    return Outcome(
        ends=await house.ends(),
        way=await house.way(),
        users_get=house.users_get(),
        runs=house.database.runs,
        applied=house.database.applied,
        points=len(house.database.points),
        stranded=[r.stranded_by for r in (await house.state()).releases],
    )


WAYS = {
    "good": (with_database(), FILL, Habit(), S.SUCCEEDED),
    "undone": (with_database(on_rollback=OnRollback.DOWN), FILL, BAD, S.ROLLED_BACK),
    "given-back": (with_database(contract=ContractPolicy.ALLOW), DROP, BAD, S.ROLLED_BACK),
}


_AFTERWARDS = 6  # calls: what came of it is saved, and the next effect is begun


async def play(striker: Striker, way: str) -> House:
    app, second, habit, _ = WAYS[way]
    house = house_of(app, ADD, second, habits={digest(2): habit}, wrap=striker.between)
    await house.send(submit(2))
    await house.run()
    return house


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("way", WAYS)
async def test_wherever_it_is_killed_each_migration_runs_once(way: str, *, after: bool) -> None:
    """Every call until shortly after the last about data, in turn, is its process's last one.

    A kill before a call is one after the call before it: of those every third is enough.
    """
    counted = Striker()
    expected = await outcome(await play(counted, way))
    assert [state for _, state in expected.ends] == [WAYS[way][3]]
    about_data = [n for n, name in enumerate(counted.calls) if name.startswith("migrations.")]
    assert len(about_data) > 2

    calls = list(enumerate(counted.calls[: about_data[-1] + _AFTERWARDS]))
    for number, name in calls[:: 1 if after else 3]:
        striker = Striker(at=number, after=after, error=Killed)
        house = await play(striker, way)

        assert len(striker.calls) > number, f"call {number} was never reached again"
        assert await outcome(house) == expected, f"call {number}: {name}"
