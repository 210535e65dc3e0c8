"""Resource Manager for Microsoft.DBforPostgreSQL: flexible servers, their backups, and restores."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sandbox.app_service import errors
from sandbox.app_service.database_servers import (
    ON_DEMAND,
    Backup,
    DatabaseServers,
    FlexibleServer,
    Work,
    shown_backup,
    shown_server,
)
from sandbox.app_service.errors import ArmError, Json
from sandbox.app_service.exchange import Reply

_MOST_ON_DEMAND = 7
_PROVIDER = r"/providers/Microsoft\.DBforPostgreSQL"
_SUBSCRIPTION = r"^/subscriptions/(?P<subscription>[^/]+)"
_GROUP = rf"{_SUBSCRIPTION}/resourceGroups/(?P<group>[^/]+)"
_SERVER = rf"{_GROUP}{_PROVIDER}/flexibleServers/(?P<server>[^/]+)"
_LOCATION = rf"{_SUBSCRIPTION}{_PROVIDER}/locations/[^/]+"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseCall:
    """One request to the provider."""

    servers: DatabaseServers
    path: str
    arguments: Mapping[str, str]
    query: Mapping[str, str]
    body: Json
    base_url: str
    retry_after_seconds: int | None

    @property
    def server_id(self) -> str:
        """The resource id of the server that the path names."""
        named = self.arguments
        return (
            f"/subscriptions/{named['subscription']}/resourceGroups/{named['group']}"
            f"/providers/Microsoft.DBforPostgreSQL/flexibleServers/{named['server'].lower()}"
        )

    @property
    def server(self) -> FlexibleServer:
        """The server that the path names."""
        return _existing(self.servers, self.server_id)


Operation = Callable[[DatabaseCall], Reply]


def operate(call: DatabaseCall, method: str) -> Reply | None:
    """Do what is asked; None where the path is no path of this provider."""
    call.servers.settle()
    is_ours = False
    for known, pattern, operation in _ROUTES:
        found = pattern.match(call.path)
        is_ours = is_ours or found is not None
        if found is not None and known == method:
            return operation(replace(call, arguments=found.groupdict()))
    if is_ours or re.search(_PROVIDER, call.path, re.IGNORECASE):
        raise ArmError(404, "InvalidResourceType", f"The sandbox knows no {method} {call.path}.")
    return None


def _existing(servers: DatabaseServers, resource_id: str) -> FlexibleServer:
    server = servers.get(resource_id)
    if server is None:
        name = resource_id.rpartition("/")[2]
        group = resource_id.split("/")[4]
        raise errors.resource_missing(f"Microsoft.DBforPostgreSQL/flexibleServers/{name}", group)
    return server


def _accepted(call: DatabaseCall, work: Work) -> Reply:
    """Say where to ask, in both ways that Resource Manager knows."""
    subscription = work.path.split("/")[2]
    place = (
        f"{call.base_url}/subscriptions/{subscription}/providers/Microsoft.DBforPostgreSQL"
        "/locations/westeurope"
    )
    version = f"?api-version={call.query['api-version']}"
    headers = {
        "Azure-AsyncOperation": f"{place}/azureAsyncOperation/{work.id}{version}",
        "Location": f"{place}/operationResults/{work.id}{version}",
    }
    if call.retry_after_seconds is not None:
        headers["Retry-After"] = str(call.retry_after_seconds)
    return Reply(status=202, headers=headers)


def _get_server(call: DatabaseCall) -> Reply:
    return Reply(body=shown_server(call.server))


def _list_servers(call: DatabaseCall) -> Reply:
    found = call.servers.within(call.arguments["subscription"], call.arguments.get("group"))
    return Reply(body={"value": [shown_server(server) for server in found]})


def _put_server(call: DatabaseCall) -> Reply:
    """PUT .../flexibleServers/{name}: nothing but a restore to a point in time."""
    wanted: Json = call.body.get("properties") or {}
    if wanted.get("createMode") != "PointInTimeRestore":
        raise errors.bad_parameter("The sandbox creates servers by PointInTimeRestore alone.")
    source = _existing(call.servers, str(wanted.get("sourceServerResourceId") or "/////"))
    name = call.arguments["server"].lower()
    if call.servers.under_way(source.id) or call.servers.under_way(call.server_id):
        raise errors.server_is_busy(source.name)
    if call.servers.is_taken(name):
        raise ArmError(
            409, "ServerNameAlreadyExists", f"The server name '{name}' is already in use."
        )
    new = _restored(call, source, wanted)

    def finish() -> None:
        new.state, new.host = "Ready", new.host or call.servers.host_of(new.name)
        call.servers.put(new)

    work = Work(path=new.id, finish=finish, undo=lambda: call.servers.remove(new))
    return _begun(call, work, lambda: call.servers.put(new))


def _restored(call: DatabaseCall, source: FlexibleServer, wanted: Json) -> FlexibleServer:
    """Return what a restore makes of *source*, and nothing of what it leaves behind."""
    at = datetime.fromisoformat(str(wanted.get("pointInTimeUTC")))
    if source.earliest_restore is None or not source.earliest_restore <= at <= datetime.now(UTC):
        raise errors.bad_parameter(
            f"The point in time '{at.isoformat()}' is not within the retention of the server."
        )
    network: Json = wanted.get("network") or {}
    subnet: str | None = network.get("delegatedSubnetResourceId")
    if source.is_private is (subnet is None):
        raise errors.bad_parameter("A restore cannot go from private to public access or back.")
    if call.body.get("location") != source.location:
        raise errors.bad_parameter("A restore cannot go to another location.")
    rules = source.firewall_rules if call.servers.copies_firewall else {}
    return replace(
        source,
        resource_group=call.arguments["group"],
        name=call.arguments["server"].lower(),
        state="Provisioning",
        host="",
        high_availability="Disabled",
        earliest_restore=None,
        subnet=subnet,
        role="Primary",
        tags=dict(call.body.get("tags") or {}),
        backups={},
        firewall_rules=dict(rules),
        parameters={},
        administrators={},
        private_endpoints=[],
        replicas=[],
        virtual_endpoints=[],
        restored_from=source.id,
        restored_to=at,
    )


def _get_backup(call: DatabaseCall) -> Reply:
    return Reply(body=shown_backup(call.server, _backup(call)))


def _backup(call: DatabaseCall) -> Backup:
    server, name = call.server, call.arguments["backup"]
    backup = server.backups.get(name)
    if backup is None:
        raise ArmError(404, "ResourceNotFound", f"The requested backup '{name}' was not found.")
    return backup


def _list_backups(call: DatabaseCall) -> Reply:
    server = call.server
    found = sorted(server.backups.values(), key=lambda each: each.name, reverse=True)
    return Reply(body={"value": [shown_backup(server, each) for each in found]})


def _put_backup(call: DatabaseCall) -> Reply:
    """PUT .../backups/{name}: the same name twice, or a second one meanwhile, is an error 500."""
    server, name = call.server, call.arguments["backup"]
    if server.tier == "Burstable" or server.storage_type.startswith("PremiumV2"):
        raise errors.no_backup_on_demand(server.name)
    if name in server.backups or call.servers.under_way(f"{server.id}/backups"):
        raise errors.internal_server_error()
    if call.servers.under_way(server.id):
        raise errors.server_is_busy(server.name)
    if len(server.on_demand) >= _MOST_ON_DEMAND:
        raise errors.bad_parameter(
            f"The server '{server.name}' has {_MOST_ON_DEMAND} on-demand backups, no more are "
            "allowed."
        )
    backup = Backup(name, ON_DEMAND, None)

    def finish() -> None:
        backup.completed_at = datetime.now(UTC)
        server.backups[name] = backup

    def begin() -> None:
        server.backups[name] = backup

    path = f"{server.id}/backups/{name}"
    work = Work(path=path, finish=finish, undo=lambda: server.backups.pop(name, None))
    return _begun(call, work, begin)


def _delete_backup(call: DatabaseCall) -> Reply:
    server, name = call.server, call.arguments["backup"]
    if name not in server.backups:
        return Reply(status=204)
    if server.backups[name].kind != ON_DEMAND:
        raise errors.bad_parameter(f"The backup '{name}' is automatic, it cannot be deleted.")
    if call.servers.under_way(server.id):
        raise errors.server_is_busy(server.name)
    path = f"{server.id}/backups/{name}"
    work = Work(path=path, finish=lambda: server.backups.pop(name, None), undo=lambda: None)
    return _begun(call, work, lambda: None)


def _begun(call: DatabaseCall, work: Work, show: Callable[[], object]) -> Reply:
    """Accept an operation; it begins where the fault of the request lets it."""

    def effect() -> None:
        if call.servers.shows_unfinished:
            show()
        call.servers.begin(work)

    return replace(_accepted(call, work), effect=effect)


def _get_operation(call: DatabaseCall) -> Reply:
    work = _work(call)
    shown: Json = {"name": work.id, "startTime": datetime.now(UTC).isoformat()}
    if not work.is_over:
        return Reply(body={**shown, "status": "InProgress"})
    if work.error is not None:
        failure = {"code": work.error.code, "message": work.error.message}
        return Reply(body={**shown, "status": "Failed", "error": failure})
    return Reply(body={**shown, "status": "Succeeded"})


def _get_result(call: DatabaseCall) -> Reply:
    work = _work(call)
    if not work.is_over:
        return _accepted(call, work)
    if work.error is not None:
        raise work.error
    return Reply(status=204)


def _work(call: DatabaseCall) -> Work:
    work = call.servers.work(call.arguments["operation"])
    if work is None:
        raise ArmError(404, "ResourceNotFound", "The operation was not found.")
    return work


def _check_name(call: DatabaseCall) -> Reply:
    name = str(call.body.get("name"))
    if call.servers.is_taken(name):
        message = "Specified server name is already used."
        answer = {"nameAvailable": False, "reason": "AlreadyExists", "message": message}
        return Reply(body={**answer, "name": name})
    return Reply(body={"nameAvailable": True, "name": name, "message": ""})


def _children(kind: str, items: Callable[[FlexibleServer], Mapping[str, Any]]) -> Operation:
    """Return the operation that lists what is below a server."""

    def listed(call: DatabaseCall) -> Reply:
        server = call.server
        found = [
            {
                "id": f"{server.id}/{kind}/{name}",
                "name": name,
                "type": f"Microsoft.DBforPostgreSQL/flexibleServers/{kind}",
                "properties": properties,
            }
            for name, properties in items(server).items()
        ]
        return Reply(body={"value": found})

    return listed


def _configurations(server: FlexibleServer) -> Mapping[str, Any]:
    usual = {"max_connections": "100", "work_mem": "4096"}
    known = {**usual, **server.parameters}
    return {
        name: {
            "value": value,
            "defaultValue": usual.get(name, ""),
            "source": "user-override" if name in server.parameters else "system-default",
            "isReadOnly": False,
        }
        for name, value in known.items()
    }


def _rules(server: FlexibleServer) -> Mapping[str, Any]:
    return {
        name: {"startIpAddress": first, "endIpAddress": last}
        for name, (first, last) in server.firewall_rules.items()
    }


def _administrators(server: FlexibleServer) -> Mapping[str, Any]:
    return {
        object_id: {"objectId": object_id, "principalName": name, "principalType": "User"}
        for object_id, name in server.administrators.items()
    }


def _replicas(call: DatabaseCall) -> Reply:
    server = call.server
    shown = [
        shown_server(replace(server, name=name, role="AsyncReplica")) for name in server.replicas
    ]
    return Reply(body={"value": shown})


def _endpoints(server: FlexibleServer) -> Mapping[str, Any]:
    return {
        name: {"endpointType": "ReadWrite", "members": [server.name], "virtualEndpoints": [name]}
        for name in server.virtual_endpoints
    }


def _route(method: str, path: str, operation: Operation) -> tuple[str, re.Pattern[str], Operation]:
    return method, re.compile(rf"{path}/?$", re.IGNORECASE), operation


_ROUTES = (
    _route("GET", rf"{_SUBSCRIPTION}{_PROVIDER}/flexibleServers", _list_servers),
    _route("GET", rf"{_GROUP}{_PROVIDER}/flexibleServers", _list_servers),
    _route("POST", rf"{_SUBSCRIPTION}{_PROVIDER}/checkNameAvailability", _check_name),
    _route("GET", rf"{_LOCATION}/azureAsyncOperation/(?P<operation>[^/]+)", _get_operation),
    _route("GET", rf"{_LOCATION}/operationResults/(?P<operation>[^/]+)", _get_result),
    _route("GET", _SERVER, _get_server),
    _route("PUT", _SERVER, _put_server),
    _route("GET", rf"{_SERVER}/backups", _list_backups),
    _route("GET", rf"{_SERVER}/backups/(?P<backup>[^/]+)", _get_backup),
    _route("PUT", rf"{_SERVER}/backups/(?P<backup>[^/]+)", _put_backup),
    _route("DELETE", rf"{_SERVER}/backups/(?P<backup>[^/]+)", _delete_backup),
    _route("GET", rf"{_SERVER}/firewallRules", _children("firewallRules", _rules)),
    _route("GET", rf"{_SERVER}/configurations", _children("configurations", _configurations)),
    _route("GET", rf"{_SERVER}/administrators", _children("administrators", _administrators)),
    _route("GET", rf"{_SERVER}/virtualendpoints", _children("virtualendpoints", _endpoints)),
    _route("GET", rf"{_SERVER}/replicas", _replicas),
)
