"""The Resource Manager calls of one swap, of a named slot with production. Each is one request."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, cast

from azure.core.exceptions import HttpResponseError
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.mgmt.web.aio import WebSiteManagementClient
from azure.mgmt.web.models import ConnectionStringDictionary, CsmSlotEntity

from controller.adapters.azure.arm_errors import arm_errors
from controller.adapters.azure.arm_site import marked_by
from controller.adapters.azure.swap_settings import StickyNames
from controller.core.plan import PRODUCTION, SlotName, Target

ACCEPTED: Final = 202
_REFUSED: Final = 400


class ArmSwap:
    """Production is always the target of a swap: it is the one that stays up meanwhile."""

    def __init__(self, client: WebSiteManagementClient, target: Target, slot: SlotName) -> None:
        self._client = client
        self._operations = client.web_apps
        self._target = target
        self._slot = slot
        self._site = (target.resource_group, target.site)
        self._entity = CsmSlotEntity(target_slot=PRODUCTION, preserve_vnet=True)

    async def begin(self, request_id: str) -> str | None:
        """POST slotsswap, once; return where to ask about it, None where it is over already.

        Without polling the SDK's poller sends nothing more; its result is then the first answer.
        """
        with self._errors("swapping"):
            poller = await self._operations.begin_swap_slot(
                *self._site,
                self._slot,
                self._entity,
                polling=False,
                cls=_first_answer,
                **marked_by(request_id),
            )
            answer = cast("AsyncHttpResponse", await poller.result())
        return answer.headers.get("Location") if answer.status_code == ACCEPTED else None

    async def ask(self, url: str) -> AsyncHttpResponse | HttpResponseError:
        """GET *url*; an answer that is a refusal is returned, too: it may be the swap's own."""
        with self._errors("asking about the swap of"):
            answer = await self._client.send_request(HttpRequest("GET", url))
        if answer.status_code < _REFUSED:
            return answer
        return HttpResponseError(response=cast("Any", answer))

    async def unlock(self, request_id: str) -> None:
        """POST resetSlotConfig of both: each unlocks its own."""
        marked = marked_by(request_id)
        with self._errors("unlocking"):
            await self._operations.reset_slot_configuration_slot(*self._site, self._slot, **marked)
            await self._operations.reset_production_slot_config(*self._site, **marked)

    async def sticky_names(self) -> StickyNames:
        """GET slotConfigNames."""
        with self._errors("reading the slot settings of"):
            names = await self._operations.list_slot_configuration_names(*self._site)
        return StickyNames(
            app=frozenset(names.app_setting_names or ()),
            connections=frozenset(names.connection_string_names or ()),
        )

    async def told_differences(self) -> list[str]:
        """POST slotsdiffs: the names that the platform lists."""
        with self._errors("comparing the slots of"):
            pages = self._operations.list_slot_differences_slot(
                *self._site, self._slot, self._entity
            )
            return [str(each.setting_name) async for each in pages if each.setting_name]

    async def connection_strings(self) -> tuple[dict[str, str], dict[str, str]]:
        """POST config/connectionstrings/list of the slot, then of production."""
        with self._errors("reading the connection strings of"):
            here = await self._operations.list_connection_strings_slot(*self._site, self._slot)
            there = await self._operations.list_connection_strings(*self._site)
        return _values(here), _values(there)

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return arm_errors(self._target, self._slot, f"{doing} {self._target.site}/{self._slot}")


def _first_answer(pipeline: Any, _model: object, _headers: Mapping[str, str]) -> Any:
    return pipeline.http_response


def _values(strings: ConnectionStringDictionary) -> dict[str, str]:
    """Return what makes two of them the same: type and value."""
    found = strings.properties or {}
    return {name: f"{pair.type}:{pair.value}" for name, pair in found.items()}
