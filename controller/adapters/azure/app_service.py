"""Azure App Service as a `TargetPlatform`: Linux sites with containers in slots."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from azure.mgmt.web.models import Experiments, RampUpRule, SiteConfig

from controller.adapters.azure import pull_access, ramp_rules, release_settings
from controller.adapters.azure.arm_clients import ArmClients
from controller.adapters.azure.arm_site import ArmSlot
from controller.adapters.azure.slot_reader import SlotRead, mode_of, read_slot
from controller.adapters.azure.together import together
from controller.core.errors import BusyError
from controller.core.plan import PRODUCTION, Routing, SlotName, Target
from controller.ports import Hosts, SiteView

_NO_MIXED_SWAP: Final = (
    "The slots hold their images in different ways ({}). A swap exchanges linuxFxVersion; that "
    "site containers go with it is documented nowhere, so a slot could end without an image. Let "
    "all of them be alike, or use strategy route."
)


class AppServicePlatform:
    """Drives App Service through Resource Manager. Never sleeps and never repeats a request.

    Args:
        clients: of Resource Manager; whoever made them closes them.
        scheme: of the sites' own host names; https but for a sandbox.
    """

    def __init__(self, clients: ArmClients, *, scheme: str = "https") -> None:
        self._clients = clients
        self._scheme = scheme
        self._hosts: dict[str, Hosts] = {}

    async def hosts(self, target: Target) -> Hosts:
        """See `Addresses`. Kept for the life of this object; `read` and `route` look again."""
        known = self._hosts.get(_key(target))
        return known or await self._look_up_hosts(target, _slots_of(target))

    async def routing(self, target: Target) -> Routing:
        """See `Addresses`. One request, where the host names are known."""
        hosts = await self.hosts(target)
        configuration = await self._slot(target, PRODUCTION).configuration()
        read = ramp_rules.read_rules(_rules(configuration), hosts.slots)
        if read.problems:
            raise BusyError(f"Somebody else writes the rules, too: {' '.join(read.problems)}")
        return read.routing

    async def read(self, target: Target) -> SiteView:
        """See `TargetPlatform`. The public host is the site's own default host name.

        Custom domains lead to the same front door, and a probe must not depend on their DNS.
        """
        names = _slots_of(target)
        production = self._slot(target, PRODUCTION)
        reading = together(*(read_slot(self._slot(target, name), name) for name in names))
        slots, sticky = await asyncio.gather(reading, production.sticky_names())
        views = {slot.view.name: slot.view for slot in slots}
        hosts = self._remember(target, {name: view.host for name, view in views.items()})
        split = ramp_rules.read_rules(_rules(slots[0].parts.configuration), hosts.slots)
        mixed = _mixed(slots)
        return SiteView(
            host=hosts.public,
            scheme=self._scheme,
            slots=views,
            routing=split.routing,
            sticky_names=sticky,
            problems=(*(each for slot in slots for each in slot.problems), *split.problems),
            warnings=(
                *(each for slot in slots for each in slot.warnings),
                *split.warnings,
                *release_settings.sticky_warnings(sticky),
                *pull_access.network_differences({slot.view.name: slot.parts for slot in slots}),
                *([f"the slots hold their images in different ways ({mixed})"] if mixed else []),
            ),
            objections=(*(each for slot in slots for each in slot.objections), *split.objections),
            swap_problems=(_NO_MIXED_SWAP.format(mixed),) if mixed else (),
        )

    async def stage(
        self, target: Target, slot: SlotName, *, image: str, release: str, request_id: str
    ) -> bool:
        """See `TargetPlatform`. The image first, then its identity.

        The other way round the *old* image would restart under the new identity and pass every
        readiness check as the new build.
        """
        calls = self._slot(target, slot)
        configuration = await calls.configuration()
        mode = mode_of(configuration)
        had_image = await mode.put(calls, slot, image, request_id, before=configuration)
        mirror = image if mode.is_mirrored else None
        had_settings = await self._put_settings(calls, slot, mirror, release, request_id)
        if had_image and had_settings:
            return True
        await calls.restart(request_id)
        return False

    async def route(self, target: Target, routing: Routing, *, request_id: str) -> Routing:
        """See `TargetPlatform`. The rules are replaced as a whole, by the slots' real hosts."""
        production = self._slot(target, PRODUCTION)
        hosts, configuration = await asyncio.gather(
            self._look_up_hosts(target, _slots_of(target)), production.configuration()
        )
        wanted = ramp_rules.rules_for(routing, hosts.slots)
        if not ramp_rules.are_as(_rules(configuration), wanted):
            change = SiteConfig(experiments=Experiments(ramp_up_rules=wanted))
            await production.change_configuration(change, request_id)
            configuration = await production.configuration()
        read = ramp_rules.read_rules(_rules(configuration), hosts.slots)
        if read.problems:
            raise BusyError(f"Somebody else writes the rules, too: {' '.join(read.problems)}")
        return read.routing

    async def instances(self, target: Target, slot: SlotName) -> Sequence[str]:
        """See `TargetPlatform`."""
        return await self._slot(target, slot).instances()

    async def log_tail(self, target: Target, slot: SlotName, *, lines: int) -> str:
        """See `TargetPlatform`."""
        text = (await self._slot(target, slot).log()).decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    async def _put_settings(
        self, calls: ArmSlot, slot: SlotName, image: str | None, release: str, request_id: str
    ) -> bool:
        """Make the slot's settings name *release*; True when they did already."""
        before = await calls.settings()
        wanted = release_settings.with_release(before, image=image, release=release)
        if wanted == before:
            return True
        await calls.replace_settings(wanted, request_id)
        after = await calls.settings()
        if release_settings.with_release(after, image=image, release=release) != after:
            raise BusyError(f"Slot {slot} took the settings but does not show {release} yet.")
        return False

    async def _look_up_hosts(self, target: Target, names: Sequence[SlotName]) -> Hosts:
        found = await together(*(self._slot(target, name).host() for name in names))
        return self._remember(target, dict(zip(names, found, strict=True)))

    def _remember(self, target: Target, hosts: Mapping[SlotName, str]) -> Hosts:
        known = Hosts(scheme=self._scheme, public=hosts[PRODUCTION], slots=hosts)
        self._hosts[_key(target)] = known
        return known

    def _slot(self, target: Target, name: SlotName) -> ArmSlot:
        return self._clients.slot(target, name)


def _slots_of(target: Target) -> tuple[SlotName, ...]:
    """Return production and the configured slots, each once."""
    named = (name for name in target.slots if name.lower() != PRODUCTION)
    return (PRODUCTION, *dict.fromkeys(named))


def _key(target: Target) -> str:
    return f"{target.resource_id}?{','.join(target.slots)}".lower()


def _rules(configuration: SiteConfig) -> Sequence[RampUpRule]:
    experiments = configuration.experiments
    return (experiments.ramp_up_rules or ()) if experiments else ()


def _mixed(slots: Sequence[SlotRead]) -> str:
    """Return which slot holds its image in which way; nothing where all do it alike."""
    if len({slot.mode for slot in slots}) == 1:
        return ""
    return ", ".join(f"{slot.view.name}: {slot.mode}" for slot in slots)
