"""Operations on the site or slot itself: show, list, start, stop, restart, instances, logs."""

from datetime import UTC, datetime

from sandbox.app_service import errors
from sandbox.app_service.errors import Json
from sandbox.app_service.exchange import Call, Reply
from sandbox.app_service.platform import Site, Slot, merged


def render_site(call: Call, slot: Slot) -> Json:
    """Return a site or slot as a resource. A slot's ``name`` is "app/slot", never the bare one."""
    site = call.site
    named = not slot.is_production
    full_name = f"{site.name}({slot.name})" if named else site.name
    shown: Json = {
        "id": f"{call.site_id}/slots/{slot.name}" if named else call.site_id,
        "name": f"{site.name}/{slot.name}" if named else site.name,
        "type": "Microsoft.Web/sites/slots" if named else "Microsoft.Web/sites",
        "kind": "app,linux,container",
        "location": "West Europe",
        "tags": {},
        "identity": slot.identity,
        "properties": {
            "name": full_name,
            "state": slot.state,
            "hostNames": [slot.host],
            "enabledHostNames": [slot.host],
            "defaultHostName": slot.host,
            "hostNameSslStates": [{"name": slot.host, "sslState": "Disabled"}],
            "repositorySiteName": site.name,
            "usageState": "Normal",
            "availabilityState": "Normal",
            "enabled": slot.enabled,
            "reserved": True,
            "httpsOnly": False,
            "resourceGroup": site.resource_group,
            "serverFarmId": None,
            "siteConfig": {
                "numberOfWorkers": slot.config["numberOfWorkers"],
                "linuxFxVersion": slot.config["linuxFxVersion"],
                "alwaysOn": slot.config["alwaysOn"],
            },
            "slotSwapStatus": slot.swap_status,
            "targetSwapSlot": None if slot.prepared is None else slot.prepared[1],
            "inProgressOperationId": call.provider.operation_on(slot),
            "lastModifiedTimeUtc": datetime.now(UTC).isoformat(),
        },
    }
    return merged(shown, slot.shown)


async def get_site(call: Call) -> Reply:
    """GET .../sites/{name}[/slots/{slot}]."""
    return Reply(body=render_site(call, call.slot))


async def list_slots(call: Call) -> Reply:
    """GET .../slots: the named slots only, in pages."""
    return Reply(
        body=_page(call, "slots", [render_site(call, slot) for slot in call.site.named_slots])
    )


def _page(call: Call, kind: str, items: list[Json]) -> Json:
    """Return the page that is asked for, with the address of the next one."""
    size = call.provider.page_size
    first = int(call.query.get("$skipToken", "0"))
    page: Json = {"value": items[first : first + size], "nextLink": None}
    if first + size < len(items):
        version = call.query["api-version"]
        page["nextLink"] = (
            f"{call.base_url}{call.slot_id}/{kind}?api-version={version}&$skipToken={first + size}"
        )
    return page


async def start(call: Call) -> Reply:
    """POST .../start."""
    return Reply(effect=call.slot.start)


async def stop(call: Call) -> Reply:
    """POST .../stop."""
    return Reply(effect=call.slot.stop)


async def restart(call: Call) -> Reply:
    """POST .../restart. The old container serves until the new one does, hard or soft."""
    return Reply(effect=call.slot.restart)


async def list_instances(call: Call) -> Reply:
    """GET .../instances, in pages: one machine that is real, others that a test speaks of."""
    instances = [_render_instance(call)]
    for number, state in enumerate(call.slot.more_instances):
        name = f"{call.site.instance_id[:-4]}{number:04x}"
        instances.append({"name": name, "properties": {"state": state}})
    return Reply(body=_page(call, "instances", instances))


async def get_instance(call: Call) -> Reply:
    """GET .../instances/{instanceId}."""
    if call.arguments["instance"].lower() != call.site.instance_id:
        raise errors.not_found(f"instance {call.arguments['instance']}")
    return Reply(body=_render_instance(call))


async def container_logs(call: Call) -> Reply:
    """POST .../containerlogs: text, or 204 when nothing was ever written."""
    text = call.slot.runner.log.read().decode(errors="replace")
    return Reply(body=text) if text else Reply(status=204)


def _render_instance(call: Call) -> Json:
    instance = call.site.instance_id
    host = f"http://{call.slot.host}"
    return {
        "id": f"{call.slot_id}/instances/{instance}",
        "name": instance,
        "type": "Microsoft.Web/sites/instances",
        "properties": {
            "state": call.slot.instance_state,
            "statusUrl": f"{host}/api/status",
            "detectorUrl": f"{host}/api/detectors",
            "consoleUrl": None,
            "healthCheckUrl": f"{host}{call.slot.config['healthCheckPath'] or ''}",
            "containers": _render_containers(call.slot),
        },
    }


def _render_containers(slot: Slot) -> Json:
    container = slot.runner.active
    if container is None:
        return {}
    now = datetime.now(UTC).isoformat()
    return {
        container.name: {
            "name": container.name,
            "id": container.image.digest.removeprefix("sha256:")[:12] + container.name[-8:],
            "currentTimeStamp": now,
            "previousTimeStamp": now,
        }
    }


def slot_named(site: Site, name: str) -> Slot:
    """Return the slot a request body names; "production" is one of them there."""
    try:
        return site.slot(name)
    except KeyError:
        raise errors.not_found(f"slot with name {name} for site {site.name}") from None
