"""Operations on configuration: config/web, app settings, sticky names, sitecontainers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from sandbox.app_service import errors
from sandbox.app_service.errors import Json
from sandbox.app_service.exchange import Call, Reply
from sandbox.app_service.platform import default_config, merged

_CONNECTION_TYPES = frozenset(
    {
        "MySql",
        "SQLServer",
        "SQLAzure",
        "Custom",
        "NotificationHub",
        "ServiceBus",
        "EventHub",
        "ApiHub",
        "DocDb",
        "RedisCache",
        "PostgreSQL",
    }
)


def _resource(call: Call, kind: str, name: str, properties: Mapping[str, Any]) -> Json:
    """Return a child resource: "config/web" of a slot has the type sites/slots/config."""
    parent = "Microsoft.Web/sites" if call.slot.is_production else "Microsoft.Web/sites/slots"
    return {
        "id": f"{call.slot_id}/{kind}/{name}",
        "name": name,
        "type": f"{parent}/{kind}",
        "location": "West Europe",
        "properties": dict(properties),
    }


def _config_resource(call: Call, config: Mapping[str, Any]) -> Json:
    return _resource(call, "config", "web", {**config, "appSettings": None})


async def get_configuration(call: Call) -> Reply:
    """GET .../config/web."""
    return Reply(body=_config_resource(call, call.slot.config))


async def update_configuration(call: Call) -> Reply:
    """PATCH .../config/web: objects merge, arrays are replaced. There is no ETag to lose by."""
    call.require_changeable()
    slot, patch = call.slot, call.properties

    def effect() -> None:
        slot.apply_config(merged(slot.config, patch))

    return Reply(
        body=_config_resource(call, _preview(call, merged(slot.config, patch))), effect=effect
    )


async def replace_configuration(call: Call) -> Reply:
    """PUT .../config/web: what is left out falls back to its default, the rules among it."""
    call.require_changeable()
    slot, config = call.slot, merged(default_config(), call.properties)
    return Reply(
        body=_config_resource(call, _preview(call, config)),
        effect=lambda: slot.apply_config(config),
    )


def _preview(call: Call, config: Json) -> Json:
    """Ramp-up rules of a named slot are accepted and dropped."""
    return config if call.slot.is_production else {**config, "experiments": {"rampUpRules": []}}


async def list_application_settings(call: Call) -> Reply:
    """POST .../config/appsettings/list."""
    return Reply(body=_resource(call, "config", "appsettings", call.slot.app_settings))


async def update_application_settings(call: Call) -> Reply:
    """PUT .../config/appsettings: replaces the whole set and restarts the slot."""
    call.require_changeable()
    slot, settings = call.slot, {name: str(value) for name, value in call.properties.items()}
    return Reply(
        body=_resource(call, "config", "appsettings", settings),
        effect=lambda: slot.apply_settings(settings),
    )


async def list_connection_strings(call: Call) -> Reply:
    """POST .../config/connectionstrings/list."""
    strings = call.slot.connection_strings
    return Reply(body=_resource(call, "config", "connectionstrings", strings))


async def update_connection_strings(call: Call) -> Reply:
    """PUT .../config/connectionstrings: replaces the whole set and restarts the slot."""
    call.require_changeable()
    slot, strings = call.slot, {name: _typed(name, each) for name, each in call.properties.items()}
    return Reply(
        body=_resource(call, "config", "connectionstrings", strings),
        effect=lambda: slot.apply_connection_strings(strings),
    )


def _typed(name: str, given: Any) -> Json:
    """Return one connection string; without a type of the platform's list it is none."""
    pair = cast("Json", given) if isinstance(given, dict) else {}
    if pair.get("type") not in _CONNECTION_TYPES:
        raise errors.bad_request(f"The connection string {name!r} has an invalid type.")
    return {"value": pair.get("value") or "", "type": pair["type"]}


async def list_slot_configuration_names(call: Call) -> Reply:
    """GET .../config/slotConfigNames: of the site, for all its slots."""
    return Reply(body=_resource(call, "config", "slotConfigNames", call.site.sticky))


async def update_slot_configuration_names(call: Call) -> Reply:
    """PUT .../config/slotConfigNames. A list that is null stays as it was."""
    call.require_changeable()
    site = call.site
    names = merged(site.sticky, call.properties)

    def effect() -> None:
        site.sticky = names

    return Reply(body=_resource(call, "config", "slotConfigNames", names), effect=effect)


async def list_site_containers(call: Call) -> Reply:
    """GET .../sitecontainers."""
    items = call.slot.containers.items()
    value = [_resource(call, "sitecontainers", name, properties) for name, properties in items]
    return Reply(body={"value": value, "nextLink": None})


async def get_site_container(call: Call) -> Reply:
    """GET .../sitecontainers/{containerName}."""
    name = _existing_container(call)
    return Reply(body=_resource(call, "sitecontainers", name, call.slot.containers[name]))


async def put_site_container(call: Call) -> Reply:
    """PUT .../sitecontainers/{containerName}: what runs changes with the next restart only."""
    call.require_changeable()
    slot, name = call.slot, call.arguments["container"]
    name = next((known for known in slot.containers if known.lower() == name.lower()), name)
    if not call.properties.get("image"):
        raise errors.bad_request("The parameter properties.image has an invalid value.")
    now = datetime.now(UTC).isoformat()
    before = slot.containers.get(name)
    properties = {
        **call.properties,
        "createdTime": now if before is None else before.get("createdTime", now),
        "lastModifiedTime": now,
    }

    def effect() -> None:
        slot.containers[name] = properties

    body = _resource(call, "sitecontainers", name, {**properties, "passwordSecret": None})
    return Reply(status=201 if before is None else 200, body=body, effect=effect)


async def delete_site_container(call: Call) -> Reply:
    """DELETE .../sitecontainers/{containerName}: 204 when there is none."""
    call.require_changeable()
    try:
        name = _existing_container(call)
    except errors.ArmError:
        return Reply(status=204)
    containers = call.slot.containers

    def effect() -> None:
        containers.pop(name, None)

    return Reply(effect=effect)


def _existing_container(call: Call) -> str:
    wanted = call.arguments["container"]
    for name in call.slot.containers:
        if name.lower() == wanted.lower():
            return name
    raise errors.not_found(f"SiteContainer {wanted}")
