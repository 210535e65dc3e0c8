"""Azure Database for PostgreSQL flexible server as a `DatabasePlatform`."""

import asyncio
import re
from collections.abc import AsyncIterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import HttpResponseError
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient
from azure.mgmt.postgresqlflexibleservers.models import (
    BackupAutomaticAndOnDemand,
    CheckNameAvailabilityRequest,
    Network,
    Server,
    ServerProperties,
)

from controller.adapters.azure.flexible_server_errors import flexible_server_errors, is_missing
from controller.core.data import ServerName
from controller.core.errors import PermanentError
from controller.ports_data import (
    PlatformBackup,
    PlatformServer,
    ServerRestore,
    ServerSurroundings,
)

MOST_ON_DEMAND: Final = 7  # of one server; the platform allows no more
OURS: Final = re.compile(r"dr-\d{8}T\d{6}Z-[0-9a-f]{8}")  # names of backups that Slipway made
MARK: Final = "slipway-restored"  # tag of a server that Slipway made: of what, and as of when
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_BROKEN: Final = frozenset({"dropping", "disabled", "inaccessible"})
_UNTOLD: Final = frozenset({400, 403, 404, 405})
_KEY_OF_OURS: Final = "AzureKeyVault"
T = TypeVar("T")


class FlexibleServers:
    """Asks Resource Manager for backups and restores. Never sleeps and never repeats a request.

    Nothing is polled by the id of an operation, which a crash would lose: what is wanted is looked
    for by its name, and asked for again where it is not there.

    Args:
        credential: its identity needs the actions in `flexible_server_errors.ACTIONS`.
        arm_endpoint: Resource Manager of the cloud in use.
        audience: whom its tokens are for.
        connection_options: keywords of the SDK's client (see `credentials.connection_options`).
    """

    def __init__(
        self,
        credential: AsyncTokenCredential,
        *,
        arm_endpoint: str = "https://management.azure.com",
        audience: str = "https://management.azure.com",
        connection_options: Mapping[str, Any] = {},
    ) -> None:
        self._credential = credential
        self._arm_endpoint = arm_endpoint
        self._audience = audience
        self._connection_options = connection_options
        self._clients: dict[str, PostgreSQLManagementClient] = {}

    async def close(self) -> None:
        """Close every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def server(self, name: ServerName) -> PlatformServer | None:
        """See `PlatformReader`."""
        found = await self._described(name)
        return None if found is None else _server(name, found)

    async def surroundings(self, name: ServerName) -> ServerSurroundings:
        """See `PlatformReader`. A list that is refused is named, and hides none of the others."""
        client, place = self._client(name), _place(name)
        unread: list[str] = []
        with flexible_server_errors(name, f"reading what belongs to server {name.name}"):
            server, rules, parameters, people, replicas, endpoints = await asyncio.gather(
                client.servers.get(*place),
                _told("firewall rules", client.firewall_rules.list_by_server(*place), unread),
                _told("server parameters", client.configurations.list_by_server(*place), unread),
                _told(
                    "Microsoft Entra administrators",
                    client.administrators_microsoft_entra.list_by_server(*place),
                    unread,
                ),
                _told("read replicas", client.replicas.list_by_server(*place), unread),
                _told("virtual endpoints", client.virtual_endpoints.list_by_server(*place), unread),
            )
        links = server.properties.private_endpoint_connections if server.properties else None
        return ServerSurroundings(
            firewall_rules={
                str(rule.name): (rule.properties.start_ip_address, rule.properties.end_ip_address)
                for rule in rules
            },
            parameters={
                str(each.name): str(each.properties.value)
                for each in parameters
                if each.properties and _is_set_by_somebody(each.properties.source)
            },
            administrators=tuple(
                sorted(str(each.properties.principal_name) for each in people if each.properties)
            ),
            private_endpoints=_names(links or ()),
            replicas=_names(replicas),
            virtual_endpoints=_names(endpoints),
            unread=tuple(sorted(unread)),
        )

    async def backups(self, name: ServerName) -> tuple[PlatformBackup, ...]:
        """See `PlatformReader`. Those under way, where they are shown, come last."""
        client = self._client(name)
        with flexible_server_errors(name, f"listing the backups of server {name.name}"):
            pages = client.backups_automatic_and_on_demand.list_by_server(*_place(name))
            found = [_backup(each) for each in await _all(pages)]
        never = datetime.max.replace(tzinfo=UTC)
        return tuple(sorted(found, key=lambda each: (each.completed_at or never, each.name)))

    async def objection_to(self, name: ServerName) -> str:
        """See `PlatformReader`."""
        with flexible_server_errors(name, f"asking whether the name {name.name} is free"):
            answer = await self._client(name).name_availability.check_globally(
                CheckNameAvailabilityRequest(
                    name=name.name, type="Microsoft.DBforPostgreSQL/flexibleServers"
                )
            )
        if answer.name_available:
            return ""
        return str(answer.message or answer.reason or "the name is not available")

    async def take_backup(self, name: ServerName, backup: str) -> PlatformBackup | None:
        """See `DatabasePlatform`. One that is complete is read back by its name."""
        known = await self.backups(name)
        found = next((each for each in known if each.name == backup), None)
        if found is not None:
            return await self._read_back(name, backup) if found.completed_at else None
        server = await self.server(name)
        if server is None:
            raise _no_server(name)
        if server.no_backups_because:
            raise PermanentError(
                f"The platform cannot back {name.name} up: {server.no_backups_because}.",
                fix="Set database.backup to dump; the platform's nightly backups go on.",
            )
        if await self._makes_room(name, known):
            return None
        client = self._client(name)
        with flexible_server_errors(name, f"asking for backup {backup} of server {name.name}"):
            await client.backups_automatic_and_on_demand.begin_create(
                *_place(name), backup, polling=False
            )
        return None

    async def restore(self, order: ServerRestore) -> PlatformServer | None:
        """See `DatabasePlatform`. What was ordered is known by the new server's tag."""
        name = order.new_name
        found = await self.server(name)
        if found is not None:
            return _made(found, order)
        source = await self._described(order.source)
        if source is None:
            raise _no_server(order.source)
        try:
            with flexible_server_errors(name, f"asking for server {order.new}"):
                await self._client(name).servers.begin_create_or_update(
                    *_place(name), _wanted(source, order), polling=False
                )
        except PermanentError:
            # aiohttp repeats a PUT on a connection that broke: what is there already may be ours.
            found = await self.server(name)
            if found is None:
                raise
            return _made(found, order)
        return None

    async def _makes_room(self, name: ServerName, known: Sequence[PlatformBackup]) -> bool:
        """Delete the oldest of ours where no more fit; True if that has to end first."""
        on_demand = [each for each in known if each.is_on_demand]
        if len(on_demand) < MOST_ON_DEMAND:
            return False
        ours = [each for each in on_demand if OURS.fullmatch(each.name) and each.completed_at]
        if not ours:
            raise PermanentError(
                f"Server {name.name} has {len(on_demand)} backups on demand, more are not allowed, "
                "and Slipway made none of them.",
                fix="Delete one: az postgres flexible-server backup delete.",
            )
        client = self._client(name)
        with flexible_server_errors(name, f"deleting backup {ours[0].name} to make room"):
            await client.backups_automatic_and_on_demand.begin_delete(
                *_place(name), ours[0].name, polling=False
            )
        return True

    async def _read_back(self, name: ServerName, backup: str) -> PlatformBackup | None:
        client = self._client(name)
        with flexible_server_errors(name, f"reading backup {backup} of server {name.name}"):
            try:
                found = _backup(
                    await client.backups_automatic_and_on_demand.get(*_place(name), backup)
                )
            except HttpResponseError as error:
                if is_missing(error):  # deleted since it was listed
                    return None
                raise
        if not found.is_on_demand:
            raise PermanentError(
                f"Backup {backup} of server {name.name} is of type {found.kind}.",
                fix="Nobody asked for that one: ask for another name.",
            )
        return found if found.completed_at else None

    async def _described(self, name: ServerName) -> Server | None:
        with flexible_server_errors(name, f"reading server {name.name}"):
            try:
                return await self._client(name).servers.get(*_place(name))
            except HttpResponseError as error:
                if is_missing(error):
                    return None
                raise

    def _client(self, name: ServerName) -> PostgreSQLManagementClient:
        client = self._clients.get(name.subscription)
        if client is None:
            options: dict[str, Any] = {
                "connection_timeout": _CONNECT_SECONDS,
                "read_timeout": _READ_SECONDS,
                **self._connection_options,
                "retry_total": 0,  # who asks again looks at the world first
            }
            client = self._clients[name.subscription] = PostgreSQLManagementClient(
                self._credential,
                name.subscription,
                base_url=self._arm_endpoint,
                credential_scopes=[f"{self._audience.rstrip('/')}/.default"],
                **options,
            )
        return client


def _place(name: ServerName) -> tuple[str, str]:
    return name.resource_group, name.name


def _no_server(name: ServerName) -> PermanentError:
    return PermanentError(
        f"There is no server {name.name!r} in resource group {name.resource_group!r}, or Slipway "
        "may not see it.",
        fix="Correct the app's database.server, or give Slipway's identity a role on it.",
    )


async def _all(pages: AsyncIterable[T]) -> list[T]:
    return [each async for each in pages]


async def _told(what: str, pages: AsyncIterable[T], unread: list[str]) -> list[T]:
    """Return the list; none of it where this kind of server has no such list, or no right to it."""
    try:
        return await _all(pages)
    except HttpResponseError as error:
        if error.status_code not in _UNTOLD:
            raise
        unread.append(what)
        return []


def _names(items: Sequence[Any]) -> tuple[str, ...]:
    return tuple(sorted(str(each.name).rpartition("/")[2] for each in items))


def _is_set_by_somebody(source: str | None) -> bool:
    return str(source or "").lower() == "user-override"


def _backup(found: BackupAutomaticAndOnDemand) -> PlatformBackup:
    properties = found.properties
    return PlatformBackup(
        name=str(found.name),
        kind=_text(properties.backup_type) if properties else "",
        completed_at=properties.completed_time if properties else None,
    )


def _text(value: object) -> str:
    """Return the word of an enumeration, known to this SDK or not."""
    return "" if value is None else str(getattr(value, "value", value))


def _server(name: ServerName, found: Server) -> PlatformServer:
    properties = found.properties or ServerProperties()
    storage, backup, network = properties.storage, properties.backup, properties.network
    standby = properties.high_availability
    return PlatformServer(
        name=name,
        host=properties.fully_qualified_domain_name or "",
        state=_text(properties.state),
        location=found.location,
        tier=_text(found.sku.tier) if found.sku else "",
        size=found.sku.name if found.sku else "",
        version=_text(properties.version),
        storage_gb=(storage.storage_size_gb or 0) if storage else 0,
        storage_type=_text(storage.type) if storage else "",
        high_availability=(_text(standby.mode) if standby else "") or "Disabled",
        retention_days=(backup.backup_retention_days or 0) if backup else 0,
        is_geo_redundant=bool(backup and _text(backup.geo_redundant_backup) == "Enabled"),
        earliest_restore=backup.earliest_restore_date if backup else None,
        is_private=bool(network and network.delegated_subnet_resource_id),
        role=_text(properties.replication_role) or "Primary",
        tags=dict(found.tags or {}),
        made_for=(found.tags or {}).get(MARK, ""),
    )


def _made(found: PlatformServer, order: ServerRestore) -> PlatformServer | None:
    """Return the server that is there if it is the one that was ordered, and ready."""
    if found.made_for != order.mark:
        raise PermanentError(
            f"Server {order.new} is there already, and it is not {order.mark}.",
            fix="Choose another name for the new server, or delete that one if nobody needs it.",
        )
    if found.state.lower() in _BROKEN:
        raise PermanentError(
            f"Server {order.new} was made, and is {found.state} now.",
            fix="Its activity log in the portal says why. Delete it, and begin again.",
        )
    return found if found.is_ready else None


def _wanted(source: Server, order: ServerRestore) -> Server:
    """Return what is asked for. Tier, size, storage, version and retention go over by themselves.

    A virtual network, a customer's key and tags have to be said again.
    """
    properties = source.properties or ServerProperties()
    key = properties.data_encryption
    has_key = key is not None and _text(key.type) == _KEY_OF_OURS
    return Server(
        location=source.location,
        tags={**(source.tags or {}), MARK: order.mark},
        identity=source.identity if has_key else None,
        properties=ServerProperties(
            create_mode="PointInTimeRestore",
            source_server_resource_id=order.source.resource_id,
            point_in_time_utc=order.at.astimezone(UTC),
            data_encryption=key if has_key else None,
            network=_network(properties.network),
        ),
    )


def _network(network: Network | None) -> Network | None:
    """Return what has to be said of it: nothing for a server that is open to firewall rules."""
    if network is None:
        return None
    if network.delegated_subnet_resource_id:
        return Network(
            delegated_subnet_resource_id=network.delegated_subnet_resource_id,
            private_dns_zone_arm_resource_id=network.private_dns_zone_arm_resource_id,
        )
    if _text(network.public_network_access) == "Disabled":  # private endpoints alone lead to it
        return Network(public_network_access=network.public_network_access)
    return None
