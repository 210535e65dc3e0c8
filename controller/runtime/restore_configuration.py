"""Brings a site's configuration back: what differs, slot by slot, who serves users last."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from controller.core.backup_plan import PartKind
from controller.core.errors import (
    BackupDamagedError,
    CommandRefusedError,
    MalformedError,
    PermanentError,
    RestoreFailedError,
    SlipwayError,
    SlotMissingError,
    TransientError,
)
from controller.core.plan import PRODUCTION, AppId, Routing, SlotName, Target
from controller.ports import Addresses, StateStore
from controller.ports_data import SiteExport, SiteExporter, SiteImporter, SlotExport
from controller.recovery.site import STICKY_KINDS, SiteDocument, StickyLists, read_site
from controller.recovery.site_goal import SlotGoal, StickyGoal, slot_goal, sticky_goal
from controller.runtime.backups_parts import PartPlan, PartWanted
from controller.runtime.backups_tell import Tell
from controller.runtime.restore_reading import document as part_bytes

MOST_BYTES: Final = 16 << 20  # of a document; a site's settings are some kilobytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How the site is, and what has to be written for it to be as the set says."""

    document: SiteDocument
    routing: Routing | None  # who serves; None: it cannot be told
    sticky: StickyGoal
    goals: Mapping[SlotName, SlotGoal]  # in the order in which they are written
    notes: tuple[str, ...]

    @property
    def changes(self) -> tuple[str, ...]:
        """Return what would be written, a line each, in its order."""
        return (
            *self.sticky.changes,
            *(change for goal in self.goals.values() for change in goal.changes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationRestorer:
    """Implements `PartRestorer`.

    Without *addresses* nobody knows who serves: production is written last then. Without *store*
    nobody knows of rollouts. What was written is read back after each of *pauses* (seconds) until
    it is there: an answer says that a write was taken, not that it has taken effect.
    """

    sites: SiteExporter
    writer: SiteImporter
    addresses: Addresses | None = None
    store: StateStore | None = None
    kind: PartKind = PartKind.CONFIGURATION
    pauses: tuple[float, ...] = (0.0, 1.0, 2.0, 4.0, 8.0)

    async def plan(self, wanted: PartWanted) -> PartPlan:
        """See `PartRestorer.plan`."""
        app = wanted.subject.app
        document = await site_document(wanted)
        summary = f"The configuration of {len(document.slots)} slots, to site {app.target.site}."
        try:
            found = await self.look(document, app.target)
        except PermanentError as error:
            if isinstance(error, BackupDamagedError):
                raise
            return PartPlan(kind=self.kind, summary=summary, refusal=f"{error.what} {error.fix}")
        return PartPlan(
            kind=self.kind,
            summary=summary,
            changes=found.changes,
            notes=(*_restart_notes(found), *found.notes),
            refusal=await self._rollout(app.id),
        )

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        """See `PartRestorer.restore`."""
        app = wanted.subject.app
        document = await site_document(wanted)
        if refusal := await self._rollout(app.id):
            raise CommandRefusedError(refusal, fix="Nothing was written. Restore afterwards.")
        return await self.apply(document, wanted, app.target, tell)

    async def apply(
        self, document: SiteDocument, wanted: PartWanted, target: Target, tell: Tell
    ) -> tuple[str, ...]:
        """Write what differs: first what is sticky, then slot by slot, each read back at once."""
        app, mark = wanted.subject.app.id, f"{wanted.manifest.id}/configuration"
        found = await self.look(document, target)
        done: list[str] = []
        if found.sticky.changes:
            done += await self._put_sticky(document, target, mark)
            await tell(f"{target.site}: {_counted(done)} of what stays with its slot")
        for slot in (slot for slot, goal in found.goals.items() if goal.changes):
            if await self._rollout(app):
                raise TransientError(
                    f"A rollout of {app} began meanwhile: {slot} was not restored.",
                    fix="Restore again when it is over; what is right already stays.",
                )
            written = await self._put_slot(document, target, slot, mark)
            done += written
            await tell(f"{slot}: {_counted(written)} written and read back")
        return tuple(done)

    async def look(self, document: SiteDocument, target: Target) -> Found:
        """Return how the site of *target* differs from *document*. Changes nothing.

        Raises:
            BackupDamagedError: the document cannot be used.
            SiteMissingError, AccessDeniedError, TransientError: the site cannot be read.
        """
        now = await _present(self.sites, target)
        routing = await self._routing(target, now)
        slots = [name for name in _in_order(now, routing) if document.slot(name) is not None]
        goals = {name: _goal(document, name, now) for name in slots}
        return Found(
            document=document,
            routing=routing,
            sticky=sticky_goal(document.sticky, _sticky(now)),
            goals=goals,
            notes=(
                *_notes_of_site(document, target, now),
                *(note for goal in goals.values() for note in goal.notes),
            ),
        )

    async def _routing(self, target: Target, now: SiteExport) -> Routing | None:
        if self.addresses is None:
            return None
        there = tuple(name for name in target.slots if name in now.slots)
        try:
            return await self.addresses.routing(replace(target, slots=there))
        except SlipwayError:
            return None  # it decides an order only

    async def _rollout(self, app: AppId) -> str:
        """Return the refusal while a rollout is under way: it writes settings itself."""
        active = (await self.store.load(app)).state.active if self.store else None
        if active is None:
            return ""
        return (
            f"Rollout {active.id} of {app} is under way ({active.state}) and writes settings, too:"
            " wait for its end, or abort it."
        )

    async def _put_sticky(
        self, document: SiteDocument, target: Target, mark: str
    ) -> tuple[str, ...]:
        site_only = replace(target, slots=())
        goal = sticky_goal(document.sticky, _sticky(await self.sites.export(site_only)))
        await self.writer.put_sticky(target, goal.names, request_id=f"{mark}/sticky")
        await self._read_back(
            site_only, lambda now: sticky_goal(document.sticky, _sticky(now)).changes
        )
        return goal.changes

    async def _put_slot(
        self, document: SiteDocument, target: Target, slot: SlotName, mark: str
    ) -> tuple[str, ...]:
        """Write what a slot lacks by a fresh look: whole lists are replaced.

        The web configuration goes first, as least depends on it; each write restarts the slot.
        """
        one = replace(target, slots=(slot,))
        goal = _goal(document, slot, await self.sites.export(one))
        if goal.configuration:
            await self.writer.put_configuration(
                target, slot, goal.configuration, request_id=f"{mark}/{slot}/web"
            )
        if goal.connection_strings is not None:
            await self.writer.put_connection_strings(
                target, slot, goal.connection_strings, request_id=f"{mark}/{slot}/strings"
            )
        if goal.settings is not None:
            await self.writer.put_settings(
                target, slot, goal.settings, request_id=f"{mark}/{slot}/settings"
            )
        await self._read_back(one, lambda now: _goal(document, slot, now).changes)
        return goal.changes

    async def _read_back(
        self, target: Target, missing: Callable[[SiteExport], tuple[str, ...]]
    ) -> None:
        """Return once nothing is missing.

        Raises:
            RestoreFailedError: something still is, after all pauses.
        """
        left: tuple[str, ...] = ()
        for pause in self.pauses:
            await asyncio.sleep(pause)
            left = missing(await self.sites.export(target))
            if not left:
                return
        raise RestoreFailedError(
            f"It was written, and is not as the set has it: {'; '.join(left)}.",
            fix="Look at the plan and restore again: somebody else may write there, too.",
        )


async def site_document(wanted: PartWanted) -> SiteDocument:
    """Return the part, read strictly.

    Raises:
        BackupDamagedError: it is not what Slipway wrote.
    """
    try:
        return read_site(await part_bytes(wanted, most=MOST_BYTES))
    except MalformedError as error:
        raise BackupDamagedError(error.what, fix=error.fix) from error


def _goal(document: SiteDocument, slot: SlotName, now: SiteExport) -> SlotGoal:
    wanted = document.slot(slot)
    if wanted is None:
        raise LookupError(slot)  # only slots of the set are written
    try:
        return slot_goal(slot, document, wanted, now.slots[slot])
    except MalformedError as error:
        raise BackupDamagedError(error.what, fix=error.fix) from error


# --- What is there --------------------------------------------------------------------------------


async def _present(sites: SiteExporter, target: Target) -> SiteExport:
    """Return the site with those of its slots that there are."""
    try:
        return await sites.export(target)
    except SlotMissingError:
        pass  # one of several: each is asked for alone
    found = await sites.export(replace(target, slots=()))
    slots: dict[str, SlotExport] = dict(found.slots)
    for name in target.slots:
        try:
            slots |= (await sites.export(replace(target, slots=(name,)))).slots
        except SlotMissingError:
            continue
    return replace(found, slots=slots)


def _sticky(now: SiteExport) -> StickyLists:
    lists = cast("Mapping[str, Sequence[str]]", now.site["sticky"])
    return {kind: tuple(lists.get(kind, ())) for kind in STICKY_KINDS}


def _in_order(now: SiteExport, routing: Routing | None) -> list[SlotName]:
    """Return the slots: who serves nobody first, then production, who serves most last."""

    def place(slot: SlotName) -> tuple[bool, bool, int, str]:
        share = routing.of(slot) if routing else 0
        leads = routing is not None and slot.lower() == routing.leader.lower()
        return leads, slot.lower() == PRODUCTION, share, slot

    return sorted((SlotName(name) for name in now.slots), key=place)


# --- What is said ---------------------------------------------------------------------------------


def _restart_notes(found: Found) -> tuple[str, ...]:
    """Say what a restore does to those who are served."""
    restarted = [slot for slot, goal in found.goals.items() if goal.changes]
    if not restarted:
        return ()
    said = f"Changing settings restarts a slot: {', '.join(restarted)}, in this order."
    if found.routing is None:
        return (said, "Who serves users cannot be told now: production is written last.")
    serving = [slot for slot in restarted if found.routing.of(slot)]
    if not serving:
        return (said, f"None of them serves users now ({found.routing}).")
    return (said, f"Users are served by {', '.join(serving)} now ({found.routing}).")


def _notes_of_site(document: SiteDocument, target: Target, now: SiteExport) -> tuple[str, ...]:
    notes: list[str] = []
    if document.resource_id.lower() != target.resource_id.lower():
        notes.append(f"The set is of another site: {document.resource_id}.")
    there = {name.lower() for name in now.slots}
    configured = {name.lower() for name in target.slots} | {PRODUCTION}
    for name in sorted(document.slots):
        if name.lower() in there:
            continue
        why = "it is not there" if name.lower() in configured else "the app does not name it now"
        notes.append(f"Slot {name} of the set is left out: {why}.")
    strange = (name for name in sorted(now.slots) if document.slot(name) is None)
    notes += [f"Slot {name} is not in the set, and stays as it is." for name in strange]
    return tuple(notes)


def _counted(changes: Sequence[str]) -> str:
    return f"{len(changes)} change{'' if len(changes) == 1 else 's'}"
