"""The Resource Manager calls of one slot, production or named. Each is one request."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from azure.mgmt.web.aio.operations import WebAppsOperations
from azure.mgmt.web.models import (
    ConnectionStringDictionary,
    ConnStringValueTypePair,
    Site,
    SiteConfig,
    SiteConfigResource,
    SiteContainer,
    SlotConfigNames,
    SlotConfigNamesResource,
    StringDictionary,
)

from controller.adapters.azure.arm_errors import arm_errors
from controller.core.errors import BusyError
from controller.core.plan import PRODUCTION, SlotName, Target

_LOG_BYTES: Final = 256 * 1024


class ArmSlot:
    """One slot of one site. Production's operations have no slot argument."""

    def __init__(self, operations: WebAppsOperations, target: Target, slot: SlotName) -> None:
        self._operations = operations
        self._target = target
        self._slot = slot
        self._site = (target.resource_group, target.site)
        self._name: str | None = None if slot.lower() == PRODUCTION else slot

    async def describe(self) -> Site:
        """GET the site or slot itself."""
        with self._errors("reading"):
            if self._name is None:
                return await self._operations.get(*self._site)
            return await self._operations.get_slot(*self._site, self._name)

    async def host(self) -> str:
        """Return its default host name, never put together from names."""
        host = (await self.describe()).default_host_name
        if not host:
            raise BusyError(f"Slot {self._slot} of {self._target.site} shows no host name yet.")
        return str(host)

    async def configuration(self) -> SiteConfig:
        """GET config/web."""
        with self._errors("reading the configuration of"):
            if self._name is None:
                resource = await self._operations.get_configuration(*self._site)
            else:
                resource = await self._operations.get_configuration_slot(*self._site, self._name)
        return resource.properties or SiteConfig()

    async def change_configuration(self, change: SiteConfig, request_id: str) -> None:
        """PATCH config/web with nothing but *change*."""
        body, marked = SiteConfigResource(properties=change), marked_by(request_id)
        with self._errors("changing the configuration of"):
            if self._name is None:
                await self._operations.update_configuration(*self._site, body, **marked)
            else:
                await self._operations.update_configuration_slot(
                    *self._site, self._name, body, **marked
                )

    async def containers(self) -> dict[str, SiteContainer]:
        """GET sitecontainers, by their names."""
        with self._errors("reading the containers of"):
            if self._name is None:
                pages = self._operations.list_site_containers(*self._site)
            else:
                pages = self._operations.list_site_containers_slot(*self._site, self._name)
            found = [container async for container in pages]
        return {str(each.name or "").rpartition("/")[2]: each for each in found}

    async def put_container(self, name: str, container: SiteContainer, request_id: str) -> None:
        """PUT a site container: the whole of it. It runs from the next restart on."""
        marked = marked_by(request_id)
        with self._errors(f"writing container {name} of"):
            if self._name is None:
                await self._operations.create_or_update_site_container(
                    *self._site, name, container, **marked
                )
            else:
                await self._operations.create_or_update_site_container_slot(
                    *self._site, self._name, name, container, **marked
                )

    async def settings(self) -> dict[str, str]:
        """POST config/appsettings/list."""
        with self._errors("reading the settings of"):
            if self._name is None:
                found = await self._operations.list_application_settings(*self._site)
            else:
                found = await self._operations.list_application_settings_slot(
                    *self._site, self._name
                )
        return dict(found.properties or {})

    async def replace_settings(self, settings: Mapping[str, str], request_id: str) -> None:
        """PUT config/appsettings: the whole set."""
        body, marked = StringDictionary(properties=dict(settings)), marked_by(request_id)
        with self._errors("writing the settings of"):
            if self._name is None:
                await self._operations.update_application_settings(*self._site, body, **marked)
            else:
                await self._operations.update_application_settings_slot(
                    *self._site, self._name, body, **marked
                )

    async def restart(self, request_id: str) -> None:
        """POST restart."""
        marked = marked_by(request_id)
        with self._errors("restarting"):
            if self._name is None:
                await self._operations.restart(*self._site, **marked)
            else:
                await self._operations.restart_slot(*self._site, self._name, **marked)

    async def instances(self) -> list[str]:
        """GET instances: the state of each."""
        with self._errors("reading the instances of"):
            if self._name is None:
                pages = self._operations.list_instance_identifiers(*self._site)
            else:
                pages = self._operations.list_instance_identifiers_slot(*self._site, self._name)
            states = [instance.state async for instance in pages]
        # A str() of the SDK's enumeration gives its Python name, not what was on the wire.
        return [state.value if isinstance(state, Enum) else state or "UNKNOWN" for state in states]

    async def log(self) -> bytes:
        """POST containerlogs: the end of it; empty where nothing was written yet."""
        with self._errors("reading the container log of"):
            if self._name is None:
                chunks = await self._operations.get_web_site_container_logs(*self._site)
            else:
                chunks = await self._operations.get_web_site_container_logs_slot(
                    *self._site, self._name
                )
            tail = b""
            if chunks is not None:
                async for chunk in chunks:
                    tail = (tail + chunk)[-_LOG_BYTES:]
        return tail

    async def sticky_names(self) -> frozenset[str]:
        """GET slotConfigNames, of the site for all its slots."""
        with self._errors("reading the slot settings of"):
            names = await self._operations.list_slot_configuration_names(*self._site)
        return frozenset(names.app_setting_names or ())

    async def slot_configuration_names(self) -> dict[str, list[str]]:
        """GET slotConfigNames: all that stays with a slot, by what it is."""
        with self._errors("reading the slot settings of"):
            names = await self._operations.list_slot_configuration_names(*self._site)
        return {
            "app_settings": sorted(names.app_setting_names or ()),
            "connection_strings": sorted(names.connection_string_names or ()),
            "storage": sorted(names.azure_storage_config_names or ()),
        }

    async def connection_strings(self) -> dict[str, tuple[str, str]]:
        """POST config/connectionstrings/list: type and value by name."""
        with self._errors("reading the connection strings of"):
            if self._name is None:
                found = await self._operations.list_connection_strings(*self._site)
            else:
                found = await self._operations.list_connection_strings_slot(*self._site, self._name)
        return {
            name: (str(getattr(each.type, "value", each.type)), each.value or "")
            for name, each in (found.properties or {}).items()
        }

    async def replace_connection_strings(
        self, strings: Mapping[str, tuple[str, str]], request_id: str
    ) -> None:
        """PUT config/connectionstrings: the whole set, type and value by name."""
        pairs = {
            name: ConnStringValueTypePair(type=kind, value=value)
            for name, (kind, value) in strings.items()
        }
        body, marked = ConnectionStringDictionary(properties=pairs), marked_by(request_id)
        with self._errors("writing the connection strings of"):
            if self._name is None:
                await self._operations.update_connection_strings(*self._site, body, **marked)
            else:
                await self._operations.update_connection_strings_slot(
                    *self._site, self._name, body, **marked
                )

    async def replace_slot_configuration_names(
        self, names: Mapping[str, Sequence[str]], request_id: str
    ) -> None:
        """PUT slotConfigNames, by what they are as `slot_configuration_names` has them."""
        properties = SlotConfigNames(
            app_setting_names=list(names["app_settings"]),
            connection_string_names=list(names["connection_strings"]),
            azure_storage_config_names=list(names["storage"]),
        )
        body, marked = SlotConfigNamesResource(properties=properties), marked_by(request_id)
        with self._errors("writing the slot settings of"):
            await self._operations.update_slot_configuration_names(*self._site, body, **marked)

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return arm_errors(self._target, self._slot, f"{doing} {self._target.site}/{self._slot}")


def marked_by(request_id: str) -> dict[str, Any]:
    """Return options of a call that changes something: its mark in Resource Manager's log.

    Same key, same GUID: whoever reads the log sees that two requests were one intention.
    """
    return {"request_id": str(uuid5(NAMESPACE_URL, request_id))}
