"""The service: everything above under one roof, started and stopped as one."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.app_service.arm import Arm, ArmRequest
from sandbox.app_service.database_servers import DatabaseServers
from sandbox.app_service.errors import Json
from sandbox.app_service.faults import ArmFaults
from sandbox.app_service.front_door import FrontDoor, FrontDoorOptions, Listener
from sandbox.app_service.host_names import HostNames
from sandbox.app_service.images import ImagePuller, RegistryPuller
from sandbox.app_service.platform import PRODUCTION, SITE_CONTAINERS, Site, Slot
from sandbox.app_service.routing import AbsentRuleCookie
from sandbox.app_service.swap import Operation
from sandbox.app_service.swap_weather import FINE, SwapWeather
from sandbox.app_service.traffic import Traffic
from sandbox.tls import Authority
from sandbox.web import WebServer


class SiteStartError(Exception):
    """A slot of a new site does not start; the message ends in its container log."""


class AppService:
    """Azure App Service on loopback: Resource Manager, front doors, and slots as processes.

    Resource Manager listens on HTTPS at `arm_url` and wants tokens for
    https://management.azure.com. Every host name of a site is a plain HTTP port of 127.0.0.1.
    """

    def __init__(
        self,
        authority: Authority,
        *,
        work_directory: Path,
        cookie_seconds: float = 3600,
        pull: ImagePuller | None = None,
        dice: random.Random | None = None,
        absent_rule_cookie: AbsentRuleCookie = "respected",
    ) -> None:
        self.faults = ArmFaults()
        self.traffic = Traffic()
        self.front_door = FrontDoorOptions(
            cookie_seconds=cookie_seconds, absent_rule_cookie=absent_rule_cookie
        )
        self._puller = pull or RegistryPuller(authority, directory=work_directory / "images")
        self._dice = dice or random.Random()
        self._sites: dict[str, Site] = {}
        self._listeners: list[Listener] = []
        self.arm = Arm(self._sites, self.faults)
        self._server = WebServer(self.arm.application(), tls=authority.server_context())

    @property
    def arm_url(self) -> str:
        """Base address of Resource Manager. Meaningful after `start`."""
        return self._server.url

    @property
    def databases(self) -> DatabaseServers:
        """The flexible servers of PostgreSQL that Resource Manager knows."""
        return self.arm.databases

    @property
    def log(self) -> list[ArmRequest]:
        """Every request to Resource Manager so far, in the order of their answers."""
        return self.arm.log

    def site(self, name: str) -> Site:
        """Return a site by name, whatever its case. Raises KeyError."""
        return self._sites[name.lower()]

    async def start(self) -> None:
        """Listen. Sites come with `create_site`."""
        await self._server.start()

    async def stop(self) -> None:
        """End everything, slot processes first of all, within a few seconds."""
        await self._server.stop()
        await self.arm.stop()
        runners = [slot.runner for site in self._sites.values() for slot in site.slots.values()]
        await asyncio.gather(*(listener.stop() for listener in self._listeners))
        await asyncio.gather(*(runner.close() for runner in runners))
        self._listeners.clear()
        self._sites.clear()

    async def create_site(
        self,
        *,
        subscription: str,
        resource_group: str,
        name: str,
        slots: Sequence[str],
        image: str,
        settings: Mapping[str, str],
        slot_image: str | None = None,
        site_containers: bool = False,
        host_names: HostNames | None = None,
    ) -> Site:
        """Make a site with production and *slots*, and wait until each answers its start ping.

        *image* is a reference without "DOCKER|"; *slot_image* is for the named slots, if theirs is
        another. With *site_containers* the image stands in a sitecontainer called "main".
        With *host_names* slots are known by names as Azure makes them. No resolver knows those:
        requests still go to the ports, at `Slot.address`.

        Raises:
            SiteStartError: a slot did not start.
        """
        listeners = {slot.lower(): Listener() for slot in (PRODUCTION, *slots)}
        self._listeners.extend(listeners.values())
        for listener in listeners.values():
            await listener.start()
        site = Site(
            subscription=subscription,
            resource_group=resource_group,
            name=name,
            puller=self._puller,
            hosts={
                slot: host_names(name, slot) if host_names else listener.host
                for slot, listener in listeners.items()
            },
            dice=self._dice,
            apply_later=self._apply_later,
        )
        self._sites[name.lower()] = site
        door = FrontDoor(site, self.traffic, self.front_door)
        for slot in site.slots.values():
            reference = image if slot.is_production else slot_image or image
            slot.app_settings = dict(settings)
            slot.apply_config(_image_config(slot, reference, site_containers=site_containers))
            slot.address = listeners[slot.name].host
            listeners[slot.name].handler = door.handler_for(slot)
        await _wait_for_start(site)
        return site

    def somebody_swaps(
        self, site: str, slot: str, *, target: str = PRODUCTION, weather: SwapWeather = FINE
    ) -> Operation:
        """Let somebody else swap *slot* with *target*, without a request to Resource Manager.

        The operation says how it stands; where another one runs, it has failed at once.
        """
        found = self.site(site)
        return self.arm.begin_swap(found.slot(slot), found.slot(target), weather)

    def _apply_later(self, action: Callable[[], None]) -> None:
        delay = self.faults.routing_delay_seconds
        if delay:
            asyncio.get_running_loop().call_later(delay, action)
        else:
            action()


def _image_config(slot: Slot, reference: str, *, site_containers: bool) -> Json:
    if not site_containers:
        return {"linuxFxVersion": f"DOCKER|{reference}"}
    slot.containers["main"] = {
        "image": reference,
        "isMain": True,
        "targetPort": "8080",
        "authType": "Anonymous",
    }
    return {"linuxFxVersion": SITE_CONTAINERS}


async def _wait_for_start(site: Site) -> None:
    for slot in site.slots.values():
        if not await slot.runner.settled():
            tail = slot.runner.log.read()[-4000:].decode(errors="replace")
            raise SiteStartError(f"Slot {slot.name} of {site.name} does not start.\n{tail}")
