"""What Resource Manager tells of one slot in three reads, and how its image is written.

An image stands in one of two places, told per slot: `classic_container` and `site_containers`
hide which.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from azure.mgmt.web.models import Site, SiteConfig

from controller.adapters.azure.arm_site import ArmSlot
from controller.core.plan import SlotName
from controller.ports import PullAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotParts:
    """One slot as it is described, configured and set."""

    name: SlotName
    site: Site
    configuration: SiteConfig
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRead:
    """A slot's image. What is odd about it completes a sentence about the slot."""

    image: str | None
    pull: PullAccess | None = None
    problems: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()  # against a new build; none against going back
    warnings: tuple[str, ...] = ()


class ImageMode(Protocol):
    """Where a slot's image stands."""

    name: ClassVar[str]  # how people call it
    is_mirrored: ClassVar[bool]  # whether the legacy setting that repeats the image belongs to it

    async def read(self, calls: ArmSlot, parts: SlotParts) -> ImageRead:
        """Return the image, who pulls it, and what makes it unfit."""
        ...

    async def put(
        self,
        calls: ArmSlot,
        slot: SlotName,
        image: str,
        request_id: str,
        *,
        before: SiteConfig,
    ) -> bool:
        """Make the slot name *image* and read it back; True when it did already.

        *before* is the slot's configuration as it was read for this.

        Raises:
            BusyError: it was taken, but does not read back.
            PermanentError: there is no one place to write it to.
        """
        ...
