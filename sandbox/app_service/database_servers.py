"""Azure Database for PostgreSQL flexible servers as Resource Manager keeps them.

No data is in them: whoever wants some behind a server gives it a host where some is.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sandbox.app_service.errors import ArmError, Json

FULL = "Full"
ON_DEMAND = "Customer On-Demand"
DOMAIN = "postgres.database.azure.com"


@dataclass(slots=True)
class Work:
    """A long-running operation, polled by its id."""

    path: str  # of what it makes or deletes
    finish: Callable[[], object]
    undo: Callable[[], object]  # of what was shown of it, where it ends in an error
    ends_at: float = 0.0  # on the monotonic clock, unless all is held
    error: ArmError | None = None  # it ends in this, and nothing is done
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    is_over: bool = False


@dataclass(slots=True)
class Backup:
    """One backup; without a time it is under way."""

    name: str
    kind: str
    completed_at: datetime | None

    @property
    def source(self) -> str:
        return "Customer Initiated" if self.kind == ON_DEMAND else "Automatic"


@dataclass(slots=True, kw_only=True)
class FlexibleServer:
    """One server, with everything of it that Resource Manager shows."""

    subscription: str
    resource_group: str
    name: str
    location: str = "westeurope"
    tier: str = "GeneralPurpose"
    size: str = "Standard_D2ds_v5"
    version: str = "17"
    storage_gb: int = 128
    storage_type: str = "Premium_LRS"
    high_availability: str = "Disabled"
    retention_days: int = 7
    geo_redundant: bool = False
    earliest_restore: datetime | None = None
    subnet: str | None = None  # in a virtual network, with no public access
    private_dns_zone: str | None = None
    state: str = "Ready"
    host: str = ""
    role: str = "Primary"
    tags: dict[str, str] = field(default_factory=dict[str, str])
    backups: dict[str, Backup] = field(default_factory=dict[str, Backup])
    firewall_rules: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    parameters: dict[str, str] = field(default_factory=dict[str, str])  # set by somebody
    administrators: dict[str, str] = field(default_factory=dict[str, str])  # object id -> name
    private_endpoints: list[str] = field(default_factory=list[str])
    replicas: list[str] = field(default_factory=list[str])
    virtual_endpoints: list[str] = field(default_factory=list[str])
    restored_from: str | None = None
    restored_to: datetime | None = None

    @property
    def id(self) -> str:
        """The resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.DBforPostgreSQL/flexibleServers/{self.name}"
        )

    @property
    def on_demand(self) -> list[Backup]:
        return [each for each in self.backups.values() if each.kind == ON_DEMAND]

    @property
    def is_private(self) -> bool:
        return self.subnet is not None


class DatabaseServers:
    """All flexible servers, and how the platform behaves.

    *seconds* is how long an operation takes; `hold` keeps all of them from ending, until
    `release`. *shows_unfinished* lets backups and servers be seen while they are made; where they
    cannot be, a second request for the same thing is refused. *copies_firewall* lets a restore
    keep the firewall rules: the documents say that it does not, some people saw that it did.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.shows_unfinished = False
        self.copies_firewall = False
        self.host_of: Callable[[str], str] = lambda name: f"{name}.{DOMAIN}"
        self.taken_names: set[str] = set()  # all over Azure
        self.fail_next: ArmError | None = None
        self._servers: dict[str, FlexibleServer] = {}
        self._works: dict[str, Work] = {}
        self._is_held = False

    def add(self, server: FlexibleServer, *, full_backups: int = 3) -> FlexibleServer:
        """Let *server* be there, a backup of its platform each night."""
        server.host = server.host or self.host_of(server.name)
        now = datetime.now(UTC).replace(microsecond=0)
        for nights in range(full_backups, 0, -1):
            at = now - timedelta(days=nights)
            name = f"backup_{at.strftime('%Y%m%dT%H%M%S')}"
            server.backups[name] = Backup(name, FULL, at)
            server.earliest_restore = server.earliest_restore or at
        self._servers[_key(server.id)] = server
        return server

    def get(self, resource_id: str) -> FlexibleServer | None:
        """Return the server, as far as it can be seen now."""
        return self._servers.get(_key(resource_id))

    def named(self, name: str) -> FlexibleServer:
        """Return the server of this name. Raises KeyError."""
        for server in self._servers.values():
            if server.name == name.lower():
                return server
        raise KeyError(name)

    def within(self, subscription: str, group: str | None) -> Iterator[FlexibleServer]:
        """Yield the servers of a subscription, or of one of its groups."""
        for server in self._servers.values():
            is_there = group is None or server.resource_group.lower() == group.lower()
            if is_there and server.subscription.lower() == subscription.lower():
                yield server

    def hold(self) -> None:
        """Let no operation end."""
        self._is_held = True

    def release(self) -> None:
        """Let them end."""
        self._is_held = False
        for work in self._works.values():
            work.ends_at = 0.0

    def begin(self, work: Work) -> None:
        """Let *work* run from now on."""
        work.ends_at = time.monotonic() + self.seconds
        work.error, self.fail_next = self.fail_next, None
        self._works[work.id] = work

    def work(self, work_id: str) -> Work | None:
        """Return the operation of this id."""
        return self._works.get(work_id)

    def under_way(self, path: str) -> Work | None:
        """Return the operation that works on *path* or below it."""
        for work in self._works.values():
            is_there = _key(work.path) == _key(path) or _key(work.path).startswith(f"{_key(path)}/")
            if is_there and not work.is_over:
                return work
        return None

    def settle(self) -> None:
        """End the operations whose time has come."""
        for work in self._works.values():
            if not (work.is_over or self._is_held) and time.monotonic() >= work.ends_at:
                work.is_over = True
                if work.error is None:
                    work.finish()
                else:
                    work.undo()

    def put(self, server: FlexibleServer) -> None:
        """Show *server*."""
        self._servers[_key(server.id)] = server

    def remove(self, server: FlexibleServer) -> None:
        """Show it no more."""
        self._servers.pop(_key(server.id), None)

    def is_taken(self, name: str) -> bool:
        """Tell whether somebody in Azure has a server of this name, or is making one."""
        others = {server.name for server in self._servers.values()}
        making = {w.path.rpartition("/")[2] for w in self._works.values() if not w.is_over}
        return name.lower() in others | making | self.taken_names


def _key(resource_id: str) -> str:
    return resource_id.lower()


def shown_time(moment: datetime | None) -> str | None:
    """Return *moment* as Azure writes it."""
    return None if moment is None else moment.astimezone(UTC).isoformat()


def shown_server(server: FlexibleServer) -> Json:
    """Return the server as a resource."""
    network: Json = {"publicNetworkAccess": "Disabled" if server.is_private else "Enabled"}
    if server.is_private:
        network["delegatedSubnetResourceId"] = server.subnet
        network["privateDnsZoneArmResourceId"] = server.private_dns_zone
    standby = server.high_availability != "Disabled"
    return {
        "id": server.id,
        "name": server.name,
        "type": "Microsoft.DBforPostgreSQL/flexibleServers",
        "location": server.location,
        "tags": server.tags,
        "sku": {"name": server.size, "tier": server.tier},
        "properties": {
            "state": server.state,
            "fullyQualifiedDomainName": server.host or None,
            "version": server.version,
            "minorVersion": "2",
            "administratorLogin": "shopadmin",
            "availabilityZone": "1",
            "replicationRole": server.role,
            "storage": {
                "storageSizeGB": server.storage_gb,
                "type": server.storage_type,
                "autoGrow": "Disabled",
            },
            "backup": {
                "backupRetentionDays": server.retention_days,
                "geoRedundantBackup": "Enabled" if server.geo_redundant else "Disabled",
                "earliestRestoreDate": shown_time(server.earliest_restore),
            },
            "network": network,
            "highAvailability": {
                "mode": server.high_availability,
                "state": "Healthy" if standby else "NotEnabled",
            },
            "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled"},
            "dataEncryption": {"type": "SystemManaged"},
            "privateEndpointConnections": [
                {
                    "id": f"{server.id}/privateEndpointConnections/{name}",
                    "name": name,
                    "type": "Microsoft.DBforPostgreSQL/flexibleServers/privateEndpointConnections",
                    "properties": {"provisioningState": "Succeeded"},
                }
                for name in server.private_endpoints
            ],
        },
    }


def shown_backup(server: FlexibleServer, backup: Backup) -> Json:
    """Return the backup as a resource."""
    return {
        "id": f"{server.id}/backups/{backup.name}",
        "name": backup.name,
        "type": "Microsoft.DBforPostgreSQL/flexibleServers/backups",
        "properties": {
            "backupType": backup.kind,
            "completedTime": shown_time(backup.completed_at),
            "source": backup.source,
        },
    }
