"""The sidecar model: the image stands in the one site container that is the main one.

The others, the sidecars, are never touched. Nor is anything of the main container but its image,
and the two variables by which a container that inherits no settings learns who it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from azure.mgmt.web.models import SiteConfig, SiteContainer, SiteContainerProperties

from controller.adapters.azure import pull_access
from controller.adapters.azure.arm_site import ArmSlot
from controller.adapters.azure.container_image import same_image
from controller.adapters.azure.release_settings import ATTRIBUTES, RELEASE
from controller.adapters.azure.slot_parts import ImageRead, SlotParts
from controller.core.errors import BusyError, PermanentError
from controller.core.plan import SlotName

_TOLD: Final = (RELEASE, ATTRIBUTES)
_VARIABLES: Final = "environmentVariables"
_INHERITS: Final = "inheritAppSettingsAndConnectionStrings"


@dataclass(frozen=True, slots=True)
class _Main:
    name: str
    properties: SiteContainerProperties

    @property
    def variables(self) -> dict[str, str]:
        """The container's variables: to each the *name* of the setting that it shows."""
        pairs = self.properties.environment_variables or ()
        return {str(pair.name): str(pair.value) for pair in pairs}

    @property
    def inherits(self) -> bool:
        return self.properties.inherit_app_settings_and_connection_strings is not False

    def shows_release(self) -> bool:
        """Whether it gets both settings by which a build learns who it is."""
        variables = self.variables
        return all(variables.get(n, n if self.inherits else None) == n for n in _TOLD)

    def misled(self) -> str | None:
        """Return which variable hides a setting of ours behind another; None: none does."""
        variables = self.variables
        wrong = (n for n in _TOLD if variables.get(n, n) != n)
        name = next(wrong, None)
        return None if name is None else f"{name} (as {variables[name]})"

    def with_image(self, image: str) -> SiteContainer:
        """Return the same container with another image, read-only fields left out."""
        fields: dict[str, Any] = self.properties.as_dict(exclude_readonly=True)
        fields["image"] = image
        missing = [n for n in _TOLD if n not in self.variables]
        if not self.inherits and missing:
            shown = [{"name": name, "value": name} for name in missing]
            fields[_VARIABLES] = [*(fields.get(_VARIABLES) or ()), *shown]
        return SiteContainer(properties=SiteContainerProperties(fields))


class SiteContainers:
    """An `ImageMode`."""

    name: ClassVar = "sitecontainers"
    is_mirrored: ClassVar = False

    async def read(self, calls: ArmSlot, parts: SlotParts) -> ImageRead:
        """See `ImageMode`."""
        mains = _mains(await calls.containers())
        if len(mains) != 1:
            return ImageRead(image=None, problems=(_not_one(mains),))
        main = mains[0]
        access = pull_access.of_container(parts, main.properties)
        misled = main.misled()
        problem = (
            f"maps {misled} in its main container {main.name!r}, so the build cannot learn who it "
            "is. Remove that environment variable."
        )
        return ImageRead(
            image=str(main.properties.image or "") or None,
            pull=access.access,
            problems=(problem,) if misled else (),
            objections=access.problems,
            warnings=_warnings(parts.settings),
        )

    async def put(
        self,
        calls: ArmSlot,
        slot: SlotName,
        image: str,
        request_id: str,
        *,
        before: SiteConfig,  # noqa: ARG002 - a mode's
    ) -> bool:
        """See `ImageMode`. A written image runs from the slot's next restart on."""
        main = _the_main(await calls.containers(), slot)
        if _is_as_wanted(main, image):
            return True
        await calls.put_container(main.name, main.with_image(image), request_id)
        after = _the_main(await calls.containers(), slot)
        if not _is_as_wanted(after, image):
            raise BusyError(f"Slot {slot} took the image but still reads {after.properties.image}.")
        return False


def _is_as_wanted(main: _Main, image: str) -> bool:
    return same_image(main.properties.image, image) and main.shows_release()


def _mains(containers: Mapping[str, SiteContainer]) -> list[_Main]:
    found = ((name, container.properties) for name, container in containers.items())
    return [_Main(name, fields) for name, fields in found if fields and fields.is_main]


def _the_main(containers: Mapping[str, SiteContainer], slot: SlotName) -> _Main:
    mains = _mains(containers)
    if len(mains) != 1:
        raise PermanentError(f"Slot {slot} {_not_one(mains)}", fix="Then roll out again.")
    if misled := mains[0].misled():
        raise PermanentError(
            f"Slot {slot} maps {misled} in its main container.",
            fix="Remove that environment variable, then roll out again.",
        )
    return mains[0]


def _not_one(mains: Sequence[_Main]) -> str:
    if not mains:
        return "has no main site container. Mark one of them as the main one (isMain)."
    names = ", ".join(main.name for main in mains)
    return f"has {len(mains)} main site containers ({names}). Keep one; make the others sidecars."


def _warnings(settings: Mapping[str, str]) -> tuple[str, ...]:
    mirror = "DOCKER_CUSTOM_IMAGE_NAME"
    if not settings.get(mirror):
        return ()
    return (f"has {mirror}, by which portal tooling may make it classic again; remove the setting",)
