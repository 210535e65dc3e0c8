"""Brings the image of a set's release back to its registry, from the copy in a second one."""

from dataclasses import dataclass
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import BackupDamagedError, CommandRefusedError, RestoreFailedError
from controller.core.model import Image
from controller.ports import Registry
from controller.ports_data import ImageKeeper
from controller.recovery.reading import parsed, read
from controller.runtime.backups_documents import ApplicationDocument
from controller.runtime.backups_parts import PartPlan, PartWanted
from controller.runtime.backups_tell import Tell
from controller.runtime.restore_reading import document

_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What the set says of its release, and whether it is where it was."""

    image: Image | None
    copy: Image | None
    is_there: bool = False
    has_copy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationRestorer:
    """Implements `PartRestorer`. It deploys nothing: which build serves is a rollout's business."""

    registry: Registry
    copier: ImageKeeper
    kind: PartKind = PartKind.APPLICATION

    async def plan(self, wanted: PartWanted) -> PartPlan:
        """See `PartRestorer.plan`."""
        found = await self._found(wanted)
        if found.image is None:
            return PartPlan(kind=self.kind, summary="The set names no release by its digest.")
        name = found.image.reference
        deploy = f"Nothing is deployed. To let it serve: slipway deploy {wanted.subject.app.id}"
        if found.is_there:
            return PartPlan(kind=self.kind, summary=f"{name} is in its registry.", notes=(deploy,))
        if found.copy is None or not found.has_copy:
            where = f" nor at {found.copy.reference}" if found.copy else "; the set has no copy"
            return PartPlan(
                kind=self.kind,
                summary=f"{name} is in its registry no more.",
                refusal=f"It is not there{where}. Build and push it again.",
            )
        return PartPlan(
            kind=self.kind,
            summary=f"{name} comes back to its registry.",
            changes=(f"copy {found.copy.reference} to {name}, with all that is attached to it",),
            notes=(deploy,),
        )

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        """See `PartRestorer.restore`."""
        plan = await self.plan(wanted)
        if plan.refusal:
            raise CommandRefusedError(plan.refusal, fix="Restore the other parts without it.")
        if not plan.changes:
            return ()
        found = await self._found(wanted)
        if found.image is None or found.copy is None:
            return ()
        await self.copier.place(found.copy, found.image)
        if not await self._is_held(found.image):
            raise RestoreFailedError(
                f"{found.image.reference} was copied and is not there.",
                fix="Ask again; look at the registry's own retention.",
            )
        done = f"{found.image.reference} is in its registry again"
        await tell(done)
        return (done,)

    async def _found(self, wanted: PartWanted) -> _Found:
        text = await document(wanted, most=_LARGEST)
        said = read(ApplicationDocument, parsed(text, "The application part"), "application")
        image, copy = _image(said.release), _image(said.copied_to)
        if image is None:
            return _Found(image=None, copy=copy)
        is_there = await self._is_held(image)
        has_copy = not is_there and copy is not None and await self._is_held(copy)
        return _Found(image=image, copy=copy, is_there=is_there, has_copy=has_copy)

    async def _is_held(self, image: Image) -> bool:
        found = await self.registry.digest_of(image.registry, image.repository, image.digest)
        return found == image.digest


def _image(name: str | None) -> Image | None:
    if name is None:
        return None
    image = Image.parse(name)
    if image is None:
        raise BackupDamagedError(
            f"The application part names {name!r}, which is no image by digest.",
            fix="Take another set: `slipway backup list`.",
        )
    return image
