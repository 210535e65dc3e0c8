"""All of a site's configuration, for backup sets."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from controller.adapters.azure.arm_clients import ArmClients
from controller.adapters.azure.arm_site import ArmSlot
from controller.core.plan import PRODUCTION, Target
from controller.ports_data import SiteExport, SlotExport

# Told apart from the settings elsewhere in the export, or secret.
_LEFT_OUT = frozenset(
    {"appSettings", "connectionStrings", "publishingPassword", "publishingUsername", "metadata"}
)


class AppServiceExporter:
    """Implements `SiteExporter` on Resource Manager. Reads only."""

    def __init__(self, clients: ArmClients) -> None:
        self._clients = clients

    async def export(self, target: Target) -> SiteExport:
        """See `SiteExporter`. Ramp-up rules stand in production's configuration (experiments)."""
        named = [name for name in target.slots if name.lower() != PRODUCTION]
        names = [PRODUCTION, *named]
        slots = await asyncio.gather(*(_slot(self._clients.slot(target, name)) for name in names))
        sticky = await self._clients.slot(target, PRODUCTION).slot_configuration_names()
        site = {"resource_id": target.resource_id, "sticky": sticky}
        by_name = {str(name): slot for name, slot in zip(names, slots, strict=True)}
        return SiteExport(site=site, slots=by_name)


async def _slot(calls: ArmSlot) -> SlotExport:
    site, configuration, settings, strings = await asyncio.gather(
        calls.describe(), calls.configuration(), calls.settings(), calls.connection_strings()
    )
    return SlotExport(
        settings=settings,
        connection_strings=strings,
        configuration=_plain(configuration, without=_LEFT_OUT),
        identity=_plain(site.identity) if site.identity else {},
    )


def _plain(model: Any, *, without: frozenset[str] = frozenset()) -> Mapping[str, object]:
    """Return what was on the wire, fields that this SDK does not know included."""
    found = cast("dict[str, object]", model.as_dict())
    return {name: value for name, value in found.items() if name not in without}
