"""What every `DatabasePlatform` does, in memory and over a socket."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.adapters.memory.database_platform import MemoryDatabasePlatform, memory_server
from controller.core.data import ServerName
from controller.core.errors import PermanentError
from controller.ports_data import DatabasePlatform, PlatformBackup, ServerRestore
from sandbox.app_service.database_servers import ON_DEMAND, Backup, DatabaseServers
from sandbox.tls import Authority, create_authority
from tests.adapters.flexible_kit import NAME, a_stand

NOW = datetime.now(UTC).replace(microsecond=0)
ORDER = ServerRestore(source=NAME, new="shop-db-2", at=NOW - timedelta(hours=5))
BACKUP = "dr-20261123T074500Z-0123abcd"


@dataclass(slots=True)
class Both:
    """A platform, and the hand that moves its world."""

    platform: DatabasePlatform
    world: MemoryDatabasePlatform | DatabaseServers

    def hold(self, *, held: bool) -> None:
        if isinstance(self.world, MemoryDatabasePlatform):
            self.world.is_held = held
        elif held:
            self.world.hold()
        else:
            self.world.release()

    def becomes_burstable(self) -> None:
        if isinstance(self.world, MemoryDatabasePlatform):
            server = self.world.servers[NAME.name]
            self.world.servers[NAME.name] = replace(server, tier="Burstable")
        else:
            self.world.named(NAME.name).tier = "Burstable"

    def has_backups(self, names: Sequence[str]) -> None:
        for day, name in enumerate(names, start=1):
            at = datetime(2026, 11, day, tzinfo=UTC)
            if isinstance(self.world, MemoryDatabasePlatform):
                one = PlatformBackup(name=name, kind=ON_DEMAND, completed_at=at)
                self.world.known[NAME.name].append(one)
            else:
                self.world.named(NAME.name).backups[name] = Backup(name, ON_DEMAND, at)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["memory", "azure"])
async def both(
    request: pytest.FixtureRequest, authority: Authority, tmp_path: Path
) -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            world = MemoryDatabasePlatform()
            world.add(memory_server(NAME))
            yield Both(world, world)
            return
        stand = await stack.enter_async_context(a_stand(authority, tmp_path))
        stand.databases.shows_unfinished = True
        platform = await stack.enter_async_context(stand.platform())
        yield Both(platform, stand.databases)


async def on_demand(both: Both) -> list[str]:
    return [each.name for each in await both.platform.backups(NAME) if each.is_on_demand]


async def test_a_backup_is_one_however_often_it_is_asked_for(both: Both) -> None:
    both.hold(held=True)
    for _ in range(3):
        assert await both.platform.take_backup(NAME, BACKUP) is None
    both.hold(held=False)
    made = await both.platform.take_backup(NAME, BACKUP)
    assert made is not None
    assert made.completed_at is not None
    assert made == await both.platform.take_backup(NAME, BACKUP)
    assert await on_demand(both) == [BACKUP]


async def test_the_eighth_takes_the_place_of_our_oldest_one(both: Both) -> None:
    ours = [f"dr-202611{day:02}T020000Z-0123abcd" for day in range(2, 8)]
    both.has_backups(["by-hand", *ours])
    for _ in range(4):
        await both.platform.take_backup(NAME, BACKUP)
    assert await on_demand(both) == ["by-hand", *ours[1:], BACKUP]


async def test_seven_of_other_people_stay(both: Both) -> None:
    theirs = [f"mine-{day}" for day in range(1, 8)]
    both.has_backups(theirs)
    with pytest.raises(PermanentError, match="Slipway made none of them"):
        await both.platform.take_backup(NAME, BACKUP)
    assert await on_demand(both) == theirs


async def test_burstable_servers_take_none(both: Both) -> None:
    both.becomes_burstable()
    with pytest.raises(PermanentError, match="Burstable"):
        await both.platform.take_backup(NAME, BACKUP)


async def test_a_restore_is_one_server_and_of_one_moment(both: Both) -> None:
    both.hold(held=True)
    for _ in range(3):
        assert await both.platform.restore(ORDER) is None
    both.hold(held=False)
    made = await both.platform.restore(ORDER)
    assert made is not None
    assert made.is_ready
    assert made == await both.platform.restore(ORDER)
    assert made == await both.platform.server(ORDER.new_name)
    assert made.made_for == ORDER.mark
    assert await both.platform.objection_to(ORDER.new_name) != ""
    with pytest.raises(PermanentError, match="is there already"):
        await both.platform.restore(replace(ORDER, at=ORDER.at - timedelta(hours=1)))


async def test_a_server_that_is_not_there_is_none(both: Both) -> None:
    nobody = ServerName(subscription=NAME.subscription, resource_group="rg-data", name="no-db")
    assert await both.platform.server(nobody) is None
    assert await both.platform.objection_to(nobody) == ""
    with pytest.raises(PermanentError, match="no server 'no-db'"):
        await both.platform.restore(replace(ORDER, source=nobody))
