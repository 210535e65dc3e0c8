"""Operations around swaps: differences, preview, the swap itself, and its result."""

from collections.abc import Callable, Mapping

from sandbox.app_service import errors, swap
from sandbox.app_service.arm_sites import render_site, slot_named
from sandbox.app_service.errors import Json
from sandbox.app_service.exchange import Call, Provider, Reply
from sandbox.app_service.platform import SWAPPED_CONFIG, Site, Slot
from sandbox.app_service.swap_weather import SwapWeather


def _target(call: Call) -> Slot:
    """Return the other slot. Both members of the body are required."""
    if not call.body.get("targetSlot") or call.body.get("preserveVnet") is None:
        raise errors.bad_request("The parameter slotSwapEntity has an invalid value.")
    target = slot_named(call.site, str(call.body["targetSlot"]))
    if target is call.slot:
        raise errors.bad_request("Source and target slots must be different.")
    return target


def _require_swappable(call: Call, target: Slot) -> None:
    """A slot prepared for *this* swap may go on with it; for any other it is locked."""
    site, pair = call.site, (call.slot.name, target.name)
    faults = call.provider.faults
    call.require_idle()
    for slot in (call.slot, target):
        if slot.prepared not in (None, pair) or faults.is_prepared(site.name, slot.name):
            raise errors.prepared_for_swap()


async def swap_slots(call: Call) -> Reply:
    """POST .../slotsswap: 202 at once; `get_operation_result` tells the end."""
    target = _target(call)
    source = call.slot  # asked of the site itself, production is the one that restarts first
    _require_swappable(call, target)
    for slot in (source, target):
        if not slot.enabled:
            raise errors.bad_request(
                f"Cannot swap slots for site '{call.site.name}' because the '{slot.name}' slot "
                "is stopped."
            )
    operation = call.provider.reserve(call.site)

    def effect() -> None:
        begin(call.provider, operation, source, target, call.weather)

    return _accepted(call, operation, effect)


def begin(
    provider: Provider,
    operation: swap.Operation,
    source: Slot,
    target: Slot,
    weather: SwapWeather,
) -> None:
    """Let the swap run beside the requests."""

    def lock(slot: Slot) -> None:
        provider.faults.prepare_for_swap(slot.site.name, slot.name)

    if swap.claim(operation, source, target):
        provider.spawn(swap.run(operation, source, target, weather, lock=lock))


async def get_operation_result(call: Call) -> Reply:
    """GET .../operationresults/{id}: 202 while it runs, 200, or the error it ended with."""
    operation = call.provider.operations.get(call.arguments["operation"].lower())
    if operation is None or operation.site is not call.site:
        raise errors.not_found(f"operation {call.arguments['operation']}")
    if operation.error is not None:
        raise operation.error
    if operation.state == "Succeeded":
        return Reply(body=render_site(call, call.slot))
    return _accepted(call, operation)


def _accepted(
    call: Call, operation: swap.Operation, effect: Callable[[], None] | None = None
) -> Reply:
    """Say where to ask, and when. Seconds must be whole: the client takes no other Retry-After."""
    location = f"{call.base_url}{call.slot_id}/operationresults/{operation.id}"
    headers = {"Location": f"{location}?api-version={call.query['api-version']}"}
    if call.provider.retry_after_seconds is not None:
        headers["Retry-After"] = str(call.provider.retry_after_seconds)
    return Reply(status=202, headers=headers, effect=effect)


async def apply_slot_configuration(call: Call) -> Reply:
    """POST .../applySlotConfig: swap with preview, first half. Both slots are locked by it."""
    target = _target(call)
    _require_swappable(call, target)
    return Reply(effect=lambda: swap.prepare(call.slot, target))


async def reset_slot_configuration(call: Call) -> Reply:
    """POST .../resetSlotConfig: unlocks this slot; the other one keeps its lock."""
    faults, slot = call.provider.faults, call.slot
    call.require_idle()

    def effect() -> None:
        faults.reset(slot.site.name, slot.name)
        swap.release(slot)

    return Reply(effect=effect)


async def list_slot_differences(call: Call) -> Reply:
    """POST .../slotsdiffs: what a swap with the target slot would change."""
    target = _target(call)
    differences = [
        *_config_differences(call.slot, target),
        *_setting_differences(call.site, call.slot, target),
    ]
    value = [
        {
            "id": f"{call.slot_id}/slotsdiffs/{number}",
            "name": str(number),
            "type": "Microsoft.Web/sites/slotsdiffs",
            "properties": difference,
        }
        for number, difference in enumerate(differences)
    ]
    return Reply(body={"value": value, "nextLink": None})


def _config_differences(current: Slot, target: Slot) -> list[Json]:
    return [
        _difference("General", name, current.config, target.config, "Warning")
        for name in SWAPPED_CONFIG
        if current.config[name] != target.config[name]
    ]


def _setting_differences(site: Site, current: Slot, target: Slot) -> list[Json]:
    """Sticky settings are told of only when they are missing in one of the two."""
    differences: list[Json] = []
    here, there = current.app_settings, target.app_settings
    for name in sorted({*here, *there}):
        if site.is_sticky(name):
            if (name in here) != (name in there):
                missing = _difference("AppSetting", name, here, there, "Warning")
                differences.append({**missing, "diffRule": "SlotSettingsMissing"})
        elif here.get(name) != there.get(name):
            differences.append(_difference("AppSetting", name, here, there, "Warning"))
    return differences


def _difference(
    kind: str, name: str, here: Mapping[str, object], there: Mapping[str, object], level: str
) -> Json:
    if name not in here:
        rule = "SettingsNotInSource"
    elif name not in there:
        rule = "SettingsWillBeAddedToDestination"
    else:
        rule = "SettingsWillBeModifiedInDestination"
    return {
        "level": level,
        "settingType": kind,
        "diffRule": rule,
        "settingName": name,
        "valueInCurrentSlot": here.get(name),
        "valueInTargetSlot": there.get(name),
        "description": "",
    }
