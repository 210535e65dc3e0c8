"""A database service in memory: each thing that is asked for needs a second look."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from controller.core.data import ServerName
from controller.core.errors import PermanentError
from controller.ports_data import (
    PlatformBackup,
    PlatformServer,
    ServerRestore,
    ServerSurroundings,
)

ON_DEMAND: Final = "Customer On-Demand"
_MOST: Final = 7
_MADE: Final = datetime(2026, 11, 1, tzinfo=UTC)


def memory_server(name: ServerName) -> PlatformServer:
    """Return a server as most are."""
    return PlatformServer(
        name=name,
        host=f"{name.name}.postgres.database.azure.com",
        state="Ready",
        location="westeurope",
        tier="GeneralPurpose",
        size="Standard_D2ds_v5",
        version="17",
        storage_gb=128,
        storage_type="Premium_LRS",
        high_availability="Disabled",
        retention_days=7,
        is_geo_redundant=False,
        earliest_restore=_MADE,
        is_private=False,
    )


@dataclass(slots=True)
class MemoryDatabasePlatform:
    """Implements `DatabasePlatform`. Its backups whose names begin with "dr-" are Slipway's."""

    servers: dict[str, PlatformServer] = field(default_factory=dict[str, PlatformServer])
    known: dict[str, list[PlatformBackup]] = field(default_factory=dict[str, list[PlatformBackup]])
    around: dict[str, ServerSurroundings] = field(default_factory=dict[str, ServerSurroundings])
    is_held: bool = False  # nothing comes to an end

    def add(self, server: PlatformServer, backups: Iterable[PlatformBackup] = ()) -> None:
        """Let *server* be there."""
        self.servers[server.name.name] = server
        self.known[server.name.name] = list(backups)

    async def server(self, name: ServerName) -> PlatformServer | None:
        """See `PlatformReader`."""
        return self.servers.get(name.name)

    async def surroundings(self, name: ServerName) -> ServerSurroundings:
        """See `PlatformReader`."""
        return self.around.get(name.name, ServerSurroundings())

    async def backups(self, name: ServerName) -> tuple[PlatformBackup, ...]:
        """See `PlatformReader`."""
        return tuple(self.known[name.name])

    async def objection_to(self, name: ServerName) -> str:
        """See `PlatformReader`."""
        return "the name is already used" if name.name in self.servers else ""

    async def take_backup(self, name: ServerName, backup: str) -> PlatformBackup | None:
        """See `DatabasePlatform`."""
        server, mine = self._existing(name), self.known[name.name]
        found = next((each for each in mine if each.name == backup), None)
        if found is not None and not self.is_held:
            made = replace(found, completed_at=found.completed_at or _after(mine))
            mine[mine.index(found)] = made
            return made
        if found is not None:
            return None
        if server.no_backups_because:
            raise PermanentError(
                f"The platform cannot back {name.name} up: {server.no_backups_because}.",
                fix="Set database.backup to dump.",
            )
        self._make_room(name)
        mine.append(PlatformBackup(name=backup, kind=ON_DEMAND, completed_at=None))
        return None

    async def restore(self, order: ServerRestore) -> PlatformServer | None:
        """See `DatabasePlatform`."""
        source, found = self._existing(order.source), self.servers.get(order.new)
        if found is None:
            blank = replace(source, name=order.new_name, state="Provisioning", host="")
            self.add(replace(blank, made_for=order.mark, high_availability="Disabled"))
            return None
        if found.made_for != order.mark:
            raise PermanentError(
                f"Server {order.new} is there already, and it is not {order.mark}.",
                fix="Choose another name for the new server.",
            )
        if self.is_held:
            return None
        ready = replace(memory_server(order.new_name), made_for=order.mark, tier=source.tier)
        self.servers[order.new] = ready
        return ready

    def _make_room(self, name: ServerName) -> None:
        mine = self.known[name.name]
        on_demand = [each for each in mine if each.is_on_demand]
        if len(on_demand) < _MOST:
            return
        ours = [each for each in on_demand if each.name.startswith("dr-") and each.completed_at]
        if not ours:
            raise PermanentError(
                f"Server {name.name} has {len(on_demand)} backups on demand, more are not allowed, "
                "and Slipway made none of them.",
                fix="Delete one.",
            )
        mine.remove(min(ours, key=lambda each: each.completed_at or _MADE))

    def _existing(self, name: ServerName) -> PlatformServer:
        server = self.servers.get(name.name)
        if server is None:
            raise PermanentError(
                f"There is no server {name.name!r}.", fix="Correct the app's database.server."
            )
        return server


def _after(backups: list[PlatformBackup]) -> datetime:
    done = [each.completed_at for each in backups if each.completed_at]
    return max(done, default=_MADE) + timedelta(minutes=1)
