"""Slot swaps: the documented steps, each of which can fail and is then undone."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from sandbox.app_service.errors import (
    ArmError,
    Json,
    operation_in_progress,
    swap_ping_failed,
    swap_worker_failed,
)
from sandbox.app_service.platform import SWAPPED_CONFIG, RunningOperation, Site, Slot
from sandbox.app_service.swap_weather import SwapWeather

_PING_ATTEMPTS = 5


@dataclass(slots=True)
class Operation:
    """A long-running operation as ``operationresults`` shows it."""

    id: str
    site: Site
    state: Literal["InProgress", "Succeeded", "Failed"] = "InProgress"
    error: ArmError | None = None


def claim(operation: Operation, source: Slot, target: Slot) -> bool:
    """Take the site for *operation*. One that lands late may find that another was first."""
    site = operation.site
    if site.operation is not None:
        operation.state = "Failed"
        operation.error = operation_in_progress(site.name, source.name, site.operation.id)
        return False
    site.operation = RunningOperation(operation.id, (source.name, target.name))
    return True


async def run(
    operation: Operation,
    source: Slot,
    target: Slot,
    weather: SwapWeather,
    *,
    lock: Callable[[Slot], None],
) -> None:
    """Swap *source* into *target*, as *weather* has it; what fails is undone, or stays locked."""
    site = operation.site
    try:
        await apply_target_settings(source, target)
        await _warm_up(source)
        await weather.pass_by()
        _exchange(source, target)
        # The documented last step: the former production restarts with its new slot's settings.
        source.restart()
        await source.runner.settled()
        operation.state = "Succeeded"
    except ArmError as error:
        for slot in (source, target):
            (lock if weather.leaves_prepared else release)(slot)
        operation.state, operation.error = "Failed", error
    finally:
        site.operation = None


async def apply_target_settings(source: Slot, target: Slot) -> None:
    """Step 1: *source* restarts with *target*'s sticky settings, and answers."""
    settings = source.site.exchanged_settings(source, target)
    if source.borrowed_settings != settings:
        source.borrowed_settings = settings
        source.restart()
    if not await source.runner.settled():
        raise swap_worker_failed(source.site.name, source.name)


def prepare(source: Slot, target: Slot) -> None:
    """Swap with preview, first half: lock both slots, start *source* with *target*'s settings."""
    source.prepared = target.prepared = (source.name, target.name)
    source.borrowed_settings = source.site.exchanged_settings(source, target)
    source.restart()


def release(slot: Slot) -> None:
    """Unlock *slot*; if it runs on the other's sticky settings, give it back its own."""
    slot.prepared = None
    if slot.borrowed_settings is not None:
        slot.borrowed_settings = None
        slot.restart()


async def _warm_up(source: Slot) -> None:
    """Step 4: ping until warm. Any status is warm unless the settings name some."""
    settings = source.borrowed_settings or source.app_settings
    path = settings.get("WEBSITE_SWAP_WARMUP_PING_PATH") or "/"
    accepted = settings.get("WEBSITE_SWAP_WARMUP_PING_STATUSES", "").replace(" ", "")
    warm = _accepts(accepted.split(",") if accepted else None)
    for _attempt in range(_PING_ATTEMPTS):
        container = source.runner.active
        status = None if container is None else await container.ping(path)
        if status is not None and warm(status):
            return
        await asyncio.sleep(0.1)
    raise swap_ping_failed(source.site.name, source.name)


def _arriving(
    travelling: Mapping[str, Json], staying: Mapping[str, Json], sticky: Sequence[str]
) -> dict[str, Json]:
    moved = {name: value for name, value in travelling.items() if name not in sticky}
    return moved | {name: value for name, value in staying.items() if name in sticky}


def _accepts(statuses: list[str] | None) -> Callable[[int], bool]:
    if statuses is None:
        return lambda _status: True
    return lambda status: str(status) in statuses


def _exchange(source: Slot, target: Slot) -> None:
    """Steps 5 and 6: routing switches in one step; what travels, travels; the rules stay."""
    site = source.site
    settings = (
        site.exchanged_settings(target, source),
        site.exchanged_settings(source, target),
    )
    source.app_settings, target.app_settings = settings
    stay = site.sticky["connectionStringNames"]
    strings = (source.connection_strings, target.connection_strings)
    source.connection_strings = _arriving(strings[1], strings[0], stay)
    target.connection_strings = _arriving(strings[0], strings[1], stay)
    source.containers, target.containers = target.containers, source.containers
    for name in SWAPPED_CONFIG:
        source.config[name], target.config[name] = target.config[name], source.config[name]
    source.runner, target.runner = target.runner, source.runner
    status = {
        "timestampUtc": datetime.now(UTC).isoformat(),
        "sourceSlotName": source.name,
        "destinationSlotName": target.name,
    }
    for slot in (source, target):
        slot.borrowed_settings = None
        slot.prepared = None
        slot.swap_status = dict(status)
