"""The classic container: the image stands in ``linuxFxVersion``, ``DOCKER|<image>``."""

from typing import ClassVar

from azure.mgmt.web.models import SiteConfig

from controller.adapters.azure import pull_access
from controller.adapters.azure.arm_site import ArmSlot
from controller.adapters.azure.container_image import fx_version, image_of, same_image
from controller.adapters.azure.slot_parts import ImageRead, SlotParts
from controller.core.errors import BusyError
from controller.core.plan import SlotName


class ClassicContainer:
    """An `ImageMode`."""

    name: ClassVar = "classic"
    is_mirrored: ClassVar = True

    async def read(self, calls: ArmSlot, parts: SlotParts) -> ImageRead:  # noqa: ARG002 - a mode's
        """See `ImageMode`. The configuration that is there already says it all."""
        read = pull_access.of_site(parts)
        image = image_of(parts.configuration.linux_fx_version)
        return ImageRead(image=image, pull=read.access, objections=read.problems)

    async def put(
        self,
        calls: ArmSlot,
        slot: SlotName,
        image: str,
        request_id: str,
        *,
        before: SiteConfig,
    ) -> bool:
        """See `ImageMode`."""
        if same_image(image_of(before.linux_fx_version), image):
            return True
        await calls.change_configuration(SiteConfig(linux_fx_version=fx_version(image)), request_id)
        after = await calls.configuration()
        if not same_image(image_of(after.linux_fx_version), image):
            raise BusyError(f"Slot {slot} took the image but still reads {after.linux_fx_version}.")
        return False
