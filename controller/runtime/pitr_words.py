"""What a restore to a point in time leaves behind, and what people do afterwards."""

from collections.abc import Iterator, Mapping
from typing import Final

from controller.ports_data import PlatformServer, ServerRestore, ServerSurroundings
from controller.runtime.pitr_means import LeftBehind

# Parts of a server that live outside of what its provider tells.
_UNREAD: Final = LeftBehind(
    what="what Slipway cannot read",
    items=(),
    act="Compare both servers for resource locks, diagnostic settings, alerts, role assignments, "
    "Defender for Cloud, the maintenance window, and membership in a Backup vault.",
)


def left_behind(
    source: PlatformServer,
    there: ServerSurroundings,
    *,
    new: PlatformServer | None = None,
    here: ServerSurroundings | None = None,
) -> tuple[LeftBehind, ...]:
    """Return what the new server lacks.

    Before it is there that is what the platform's documents say; afterwards what it shows.
    """
    now = here or ServerSurroundings()
    standby = new.high_availability if new else "Disabled"
    untold = sorted({*there.unread, *now.unread})
    return (
        *_settings(source, there, now),
        *_others(source, there, now, standby),
        *_if_any("what the platform did not tell", untold, "Compare both servers for these."),
        _UNREAD,
    )


def _settings(
    source: PlatformServer, there: ServerSurroundings, now: ServerSurroundings
) -> Iterator[LeftBehind]:
    rules = {name: f"{name}: {a} - {b}" for name, (a, b) in there.firewall_rules.items()}
    missing = [
        rules[name]
        for name, rule in sorted(there.firewall_rules.items())
        if now.firewall_rules.get(name) != rule
    ]
    yield from _if_any("firewall rules", missing, "Make them on the new server.")
    changed = _changed(there.parameters, now.parameters)
    act = "Set them on the new server, and restart it where they need that."
    yield from _if_any("server parameters", changed, act)
    people = sorted(set(there.administrators) - set(now.administrators))
    yield from _if_any("Microsoft Entra administrators", people, "Make them administrators again.")
    links = sorted(set(there.private_endpoints) - set(now.private_endpoints))
    act = f"Make new ones that lead to the new server; those of {source.name.name} stay with it."
    yield from _if_any("private endpoints", links, act)


def _others(
    source: PlatformServer, there: ServerSurroundings, now: ServerSurroundings, standby: str
) -> Iterator[LeftBehind]:
    if source.high_availability != standby:
        yield LeftBehind(
            what="high availability",
            items=(source.high_availability,),
            act="Enable it on the new server, before users depend on it.",
        )
    replicas = sorted(set(there.replicas) - set(now.replicas))
    act = "Make new ones of the new server; these go on following the old one."
    yield from _if_any("read replicas", replicas, act)
    endpoints = sorted(set(there.virtual_endpoints) - set(now.virtual_endpoints))
    act = "Remove them from the old server, then add them to the new one: clients keep the name."
    yield from _if_any("virtual endpoints", endpoints, act)


def _if_any(what: str, items: list[str], act: str) -> Iterator[LeftBehind]:
    if items:
        yield LeftBehind(what=what, items=tuple(items), act=act)


def _changed(wanted: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{name} = {value}" for name, value in sorted(wanted.items()) if now.get(name) != value]


def carried_over(source: PlatformServer) -> tuple[str, ...]:
    """Return what the new server has by itself, and what Slipway says again."""
    network = "in the same virtual network" if source.is_private else "with public access"
    copies = "geo-redundant" if source.is_geo_redundant else "in the region"
    return (
        f"tier {source.tier}, size {source.size}",
        f"PostgreSQL {source.version}",
        f"{source.storage_gb} GiB of storage, backups for {source.retention_days} days, {copies}",
        f"location {source.location}, {network}",
        "all databases of the server, with their roles and passwords as they were then",
        "tags",
    )


def cut_over(
    app: str, secret: str, order: ServerRestore, host: str, left: tuple[LeftBehind, ...]
) -> tuple[str, ...]:
    """Return the steps that people take. Slipway takes none of them by itself."""
    old = order.source.name
    lost = f"what was written there after {order.at.isoformat()} is not on the new server"
    if any(each.what == "virtual endpoints" for each in left):
        switch = "Move the virtual endpoint from the old server to the new one"
        why = "connection strings that name it stay as they are"
    else:
        switch = f"Add a new version of the secret '{secret}' to Key Vault, with {host} as its host"
        why = "and of every other secret or setting by which the app reaches its database"
    again = "App Service reads references to Key Vault again within a day only"
    return (
        f"Look at the data on {host}. Nothing uses that server yet, and it costs from now on.",
        f"Give the new server what was left behind: {', '.join(each.what for each in left)}.",
        f"See that no rollout of {app} is under way: slipway status {app}.",
        f"Stop the app, or make {old} read-only: {lost}, and is to be brought over by hand.",
        f"{switch}; {why}.",
        f"Restart every slot of the app: a build that runs keeps its connections, and {again}.",
        f"Set database.server.name of {app} in apps.yaml to {order.new}.",
        f"Make a first backup of what serves now: slipway backup create {app}.",
        f"Keep {old}, locked against deletion: the new server's backups begin with itself.",
    )
