"""Slot swaps on Azure App Service as a `SlotSwapper`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from azure.core.exceptions import HttpResponseError
from azure.core.rest import AsyncHttpResponse
from azure.mgmt.web.models import Site

from controller.adapters.azure import swap_token
from controller.adapters.azure.arm_answer import message, retry_after
from controller.adapters.azure.arm_clients import ArmClients
from controller.adapters.azure.arm_errors import Meaning, classify, translated
from controller.adapters.azure.arm_swap import ACCEPTED, ArmSwap
from controller.adapters.azure.swap_settings import SlotSettings, differences
from controller.core.plan import PRODUCTION, SlotName, Target
from controller.ports import SettingDifference, SwapOutcome, SwapStatus, SwapView

_GONE: Final = 404
_DENIED: Final = frozenset({401, 403})
_SAYS_NOTHING: Final = frozenset({408, 429})  # about the swap; nor do those from 500 on
_SERVER_ERRORS: Final = 500
_FOREIGN: Final = "its token is not of this version; the slots tell"
_FORGOTTEN: Final = "App Service does not know the operation any more; the slots tell"


class AppServiceSwapper:
    """Drives swaps through Resource Manager. Never sleeps, and never repeats a request."""

    def __init__(self, clients: ArmClients) -> None:
        self._clients = clients

    async def look(self, target: Target, slot: SlotName) -> SwapView:
        """See `SlotSwapper`. One request for the site, one for the slot."""
        names = (PRODUCTION,) if slot.lower() == PRODUCTION else (PRODUCTION, slot)
        calls = (self._clients.slot(target, name).describe() for name in names)
        sites = await asyncio.gather(*calls)
        running = next((each for site in sites if (each := site.in_progress_operation_id)), None)
        at, exchanged = _last_swap(target, sites)
        return SwapView(operation=running, swapped_at=at, swapped_slots=exchanged)

    async def differences(self, target: Target, slot: SlotName) -> Sequence[SettingDifference]:
        """See `SlotSwapper`. With what is amiss in the platform's own check of the build."""
        calls = self._swap(target, slot)
        sticky, told, here, there = await asyncio.gather(
            calls.sticky_names(),
            calls.told_differences(),
            self._clients.slot(target, slot).settings(),
            self._clients.slot(target, PRODUCTION).settings(),
        )
        if not sticky.connections:
            return differences(slot, SlotSettings(here), SlotSettings(there), sticky, told)
        strings = await calls.connection_strings()
        mine, theirs = SlotSettings(here, strings[0]), SlotSettings(there, strings[1])
        return differences(slot, mine, theirs, sticky, told)

    async def begin(self, target: Target, slot: SlotName, *, request_id: str) -> str:
        """See `SlotSwapper`. One POST."""
        return swap_token.written(await self._swap(target, slot).begin(request_id))

    async def follow(self, target: Target, slot: SlotName, token: str) -> SwapStatus:
        """See `SlotSwapper`. One GET, or none: what a foreign token was for, the slots tell."""
        try:
            url = swap_token.read(token, endpoint=self._clients.endpoint)
        except swap_token.ForeignTokenError:
            return SwapStatus(outcome=SwapOutcome.ENDED, detail=_FOREIGN)
        if url is None:
            return SwapStatus(outcome=SwapOutcome.ENDED)
        answer = await self._swap(target, slot).ask(url)
        if not isinstance(answer, HttpResponseError):
            return _standing(answer)
        if answer.status_code in _DENIED:
            doing = f"asking about the swap of {target.site}/{slot}"
            raise translated(answer, target, slot, doing) from answer
        return _failing(answer)

    async def unlock(self, target: Target, slot: SlotName, *, request_id: str) -> None:
        """See `SlotSwapper`. Where nothing is locked, nothing happens."""
        await self._swap(target, slot).unlock(request_id)

    def _swap(self, target: Target, slot: SlotName) -> ArmSwap:
        return ArmSwap(self._clients.client(target), target, slot)


def _last_swap(
    target: Target, sites: Sequence[Site]
) -> tuple[datetime | None, tuple[SlotName, ...]]:
    """Return when the last swap ended that the sites remember, and what it exchanged."""
    known = {name.lower(): name for name in (PRODUCTION, *target.slots)}
    ends: list[tuple[datetime, tuple[SlotName, ...]]] = []
    for status in (site.slot_swap_status for site in sites):
        if status is not None and status.timestamp_utc is not None:
            at = status.timestamp_utc
            names = (status.source_slot_name, status.destination_slot_name)
            slots = tuple(known.get(str(name).lower(), SlotName(str(name))) for name in names)
            ends.append((at if at.tzinfo else at.replace(tzinfo=UTC), slots))
    return max(ends, default=(None, ()))


def _standing(answer: AsyncHttpResponse) -> SwapStatus:
    """Read an answer that is no refusal: 202 while it runs, anything else once it is over."""
    if answer.status_code != ACCEPTED:
        return SwapStatus(outcome=SwapOutcome.ENDED)
    wait = retry_after(HttpResponseError(response=cast("Any", answer)))
    return SwapStatus(outcome=SwapOutcome.RUNNING, retry_after=wait)


def _failing(error: HttpResponseError) -> SwapStatus:
    """Read a refusal: of the question, so that nothing is known, or the end of the swap."""
    status, said = error.status_code or 0, message(error)
    if status in _SAYS_NOTHING or status >= _SERVER_ERRORS:
        detail = f"as far as is known: Resource Manager answered {status}"
        return SwapStatus(
            outcome=SwapOutcome.RUNNING, detail=detail, retry_after=retry_after(error)
        )
    if status == _GONE:
        return SwapStatus(outcome=SwapOutcome.ENDED, detail=_FORGOTTEN)
    meaning = classify(error).meaning
    cannot_be = meaning in (Meaning.APP, Meaning.OURS)
    return SwapStatus(outcome=SwapOutcome.REFUSED if cannot_be else SwapOutcome.UNDONE, detail=said)
