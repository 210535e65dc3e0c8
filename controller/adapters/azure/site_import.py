"""Writes a site's configuration back, from backup sets."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from azure.mgmt.web.models import SiteConfig

from controller.adapters.azure.arm_clients import ArmClients
from controller.core.errors import SlipwayError
from controller.core.plan import PRODUCTION, SlotName, Target

_SHORTEST: Final = 4  # characters; shorter values occur in any sentence, and are no secrets


class AppServiceImporter:
    """Implements `SiteImporter` on Resource Manager. Each call is one request, never repeated."""

    def __init__(self, clients: ArmClients) -> None:
        self._clients = clients

    async def put_settings(
        self, target: Target, slot: SlotName, settings: Mapping[str, str], *, request_id: str
    ) -> None:
        """See `SiteImporter`."""
        with _unsaid(settings.values()):
            await self._clients.slot(target, slot).replace_settings(settings, request_id)

    async def put_connection_strings(
        self,
        target: Target,
        slot: SlotName,
        strings: Mapping[str, tuple[str, str]],
        *,
        request_id: str,
    ) -> None:
        """See `SiteImporter`."""
        with _unsaid(value for _, value in strings.values()):
            await self._clients.slot(target, slot).replace_connection_strings(strings, request_id)

    async def put_configuration(
        self, target: Target, slot: SlotName, properties: Mapping[str, object], *, request_id: str
    ) -> None:
        """See `SiteImporter`. A PATCH: the image and the ramp-up rules are not in it."""
        texts = (value for value in properties.values() if isinstance(value, str))
        with _unsaid(texts):
            change = SiteConfig(dict(properties))
            await self._clients.slot(target, slot).change_configuration(change, request_id)

    async def put_sticky(
        self, target: Target, names: Mapping[str, Sequence[str]], *, request_id: str
    ) -> None:
        """See `SiteImporter`. It restarts nothing."""
        calls = self._clients.slot(target, PRODUCTION)
        await calls.replace_slot_configuration_names(names, request_id)


@contextmanager
def _unsaid(values: Iterable[str]) -> Generator[None]:
    """Keep values out of an error: some answers repeat what was sent."""
    try:
        yield
    except SlipwayError as error:
        said = error.what
        for value in sorted(values, key=len, reverse=True):
            if len(value) >= _SHORTEST:
                said = said.replace(value, "***")
        if said != error.what:
            error.what, error.args = said, (said,)
            raise error from None  # the cause repeats it, too
        raise
