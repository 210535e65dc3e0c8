"""Brings Slipway's own memory of an app back, where nothing is left of it.

It is never written over: what is there knows more than yesterday's copy. And it starts nothing:
a rollout that was under way when the set was made stays behind.
"""

from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import CommandRefusedError, RestoreFailedError
from controller.core.model import AppState, Image, Record, Release
from controller.core.plan import AppId, Target
from controller.ports import (
    AppMemory,
    AppMemoryKeeper,
    AppMemoryReader,
    Clock,
    History,
    StateStore,
    TargetPlatform,
)
from controller.runtime.backups_parts import PartPlan, PartWanted
from controller.runtime.backups_tell import Tell
from controller.runtime.restore_reading import lines

_LONGEST: Final = 4 << 20  # of a line; a row of the table holds less
_LATEST: Final = 100  # audit lines: an earlier try was minutes ago
_RESTORED: Final = "restored"  # kind of the audit line that says so


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRestorer:
    """Implements `PartRestorer`."""

    store: StateStore
    history: History
    keeper: AppMemoryKeeper
    reader: AppMemoryReader
    platform: TargetPlatform
    clock: Clock
    kind: PartKind = PartKind.STATE

    async def plan(self, wanted: PartWanted) -> PartPlan:
        """See `PartRestorer.plan`."""
        app = wanted.subject.app
        if await self._is_done(app.id, wanted):
            return PartPlan(kind=self.kind, summary="Slipway's memory of the app came back before.")
        memory, notes = await self._kept(wanted)
        summary = (
            f"Slipway's memory of app {app.id}: {len(memory.rollouts)} rollouts,"
            f" {len(memory.audit)} lines of audit."
        )
        if not (memory.audit or memory.rollouts):
            return PartPlan(kind=self.kind, summary=f"{summary} There was nothing to remember.")
        if (await self.store.load(app.id)).etag is not None:
            return PartPlan(
                kind=self.kind,
                summary=summary,
                refusal="Slipway remembers this app: its memory is never written over.",
            )
        return PartPlan(
            kind=self.kind,
            summary=summary,
            changes=("write it, as nothing is stored of the app",),
            notes=notes,
        )

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        """See `PartRestorer.restore`."""
        plan = await self.plan(wanted)
        if plan.refusal:
            raise CommandRefusedError(plan.refusal, fix="Restore the other parts without it.")
        if not plan.changes:
            return ()
        memory, _ = await self._kept(wanted)
        app = wanted.subject.app.id
        record = Record(
            at=self.clock.now(),
            rollout=None,
            kind=_RESTORED,
            what=f"Slipway's memory of the app came back from {wanted.manifest.id}",
            numbers={"rollouts": len(memory.rollouts), "audit": len(memory.audit)},
            order=wanted.manifest.id,
        )
        await self.keeper.adopt(memory, record)
        there = await self.history.audit(app, rollout=None, limit=1)
        if not there or there[-1].sequence != len(memory.audit) + 1:
            raise RestoreFailedError(
                f"The state of app {app} was written and is not there.", fix="Ask again."
            )
        done = f"Slipway remembers {len(memory.rollouts)} rollouts of app {app} again"
        await tell(done)
        return (done,)

    async def _is_done(self, app: AppId, wanted: PartWanted) -> bool:
        """Tell whether an earlier try brought it to its end."""
        rows = await self.history.audit(app, rollout=None, limit=_LATEST)
        said = {(row.record.kind, row.record.order) for row in rows}
        return (_RESTORED, wanted.manifest.id) in said

    async def _kept(self, wanted: PartWanted) -> tuple[AppMemory, tuple[str, ...]]:
        """Return what of the set's memory is of use today, and what is left behind."""
        async with aclosing(lines(wanted, longest=_LONGEST)) as found:
            memory = await self.reader.read(found)
        app = wanted.subject.app
        if memory.state.app != app.id:
            raise CommandRefusedError(
                f"The state in {wanted.manifest.id} is of app {memory.state.app!r}.",
                fix=f"Choose a set of app {app.id!r}.",
            )
        left = [r.id for r in (memory.state.active, *memory.state.queued) if r is not None]
        notes = [f"Rollout {name} was not over then: it does not go on." for name in left]
        state = _at_rest(memory.state)
        stable = state.stable
        if stable is not None and not await self._serves(app.target, stable):
            state = replace(state, releases=())
            notes.append(
                f"{stable.image.reference} served then and does not now: Slipway learns what"
                " serves from the next rollout's first look."
            )
        kept = tuple(r for r in memory.rollouts if r.id not in left)
        return replace(memory, state=state, rollouts=kept), tuple(notes)

    async def _serves(self, target: Target, release: Release) -> bool:
        """Tell whether most users get *release* now, from the slot where it was."""
        view = await self.platform.read(target)
        slot = view.slots.get(view.routing.leader)
        there = Image.parse(slot.image) if slot is not None and slot.image else None
        is_same = there is not None and there.digest == release.image.digest
        return is_same and view.routing.leader == release.slot


def _at_rest(state: AppState) -> AppState:
    """Return what still holds whenever it is read: nothing that acts on the site of today."""
    return AppState(
        app=state.app,
        releases=state.releases,
        quarantine=state.quarantine,
        attempts=state.attempts,
    )
