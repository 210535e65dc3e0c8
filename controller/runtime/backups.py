"""Makes, checks, restores, drills and prunes backup sets. Everything may be asked for twice."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict

from controller.core.errors import TransientError
from controller.ports_data import Verification
from controller.recovery.drill import DrillReport
from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId
from controller.recovery.retention import RetentionPolicy, decide
from controller.recovery.sets import Mark, StoredSet
from controller.runtime.backups_create import create
from controller.runtime.backups_database import as_generator
from controller.runtime.backups_drill import drill
from controller.runtime.backups_means import (
    BackupMeans,
    BackupRequest,
    DrillRequest,
    Pruned,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
)
from controller.runtime.backups_restore import check, plan_restore, restore
from controller.runtime.backups_tell import Tell, tell_nobody


class Backups:
    """The backup sets of all apps.

    Each method that works takes the id of a job: what it made is found again by it, so that a
    second call after a crash goes on, and one after success changes nothing.
    """

    def __init__(self, means: BackupMeans) -> None:
        self._means = means

    async def sets(self, app: str | None = None) -> tuple[StoredSet, ...]:
        """Return the sets of *app*, or all, oldest first."""
        return await self._means.vault.sets(app)

    async def create(self, request: BackupRequest, tell: Tell = tell_nobody) -> Manifest:
        """Make the set of *request*, or return it where it is whole already.

        Raises:
            TransientError: something does not answer now; the same job goes on later.
            PermanentError: something refuses; nothing is offered.
        """
        return await create(self._means, request, tell)

    async def verify(self, set_id: SetId, *, by: str, tell: Tell = tell_nobody) -> Verification:
        """Read every byte of the set, and keep beside it what came of that.

        Raises:
            BackupMissingError: there is no such set, or it is incomplete.
        """
        found = await self._means.vault.verify(set_id)
        if found.manifest_sha256:  # else there is nothing that a mark could be about
            mark = Mark(
                at=self._means.clock.now(),
                by=by,
                passed=found.passed,
                how="read and compared",
                problems=found.problems,
                manifest_sha256=found.manifest_sha256,
            )
            await self._means.vault.mark(set_id, mark)
        await tell(f"{set_id}: {'whole' if found.passed else '; '.join(found.problems)}")
        return found

    def open_part(self, manifest: Manifest, name: str) -> AsyncGenerator[bytes]:
        """Return a part as it was put in, for whoever restores it by hand."""
        return as_generator(self._means.vault.open_part(manifest, name))

    async def plan_restore(self, request: RestoreRequest) -> RestorePlan:
        """Return what `restore` would do. Changes nothing.

        Raises:
            BackupMissingError, BackupDamagedError, BackupKeyError: the set cannot be restored.
            CommandRefusedError: it does not hold what is asked for.
        """
        return await plan_restore(self._means, request)

    async def check_restore(self, request: RestoreRequest) -> None:
        """Refuse what `restore` would refuse. Changes nothing.

        Raises:
            CommandRefusedError, BackupMissingError, BackupDamagedError, BackupKeyError.
        """
        await check(self._means, request)

    async def restore(self, request: RestoreRequest, tell: Tell = tell_nobody) -> RestoreReport:
        """Restore a set beside what is there, compare it with what was recorded, exchange them.

        Until the exchange the old database serves on; afterwards it is kept under another name.

        Raises:
            CommandRefusedError: not confirmed, or across a migration head without a word of it.
            RestoreFailedError: what came back is not what was backed up; nothing was exchanged.
            TransientError: something does not answer now; the same job begins again later.
        """
        return await restore(self._means, request, tell)

    async def drill(self, request: DrillRequest, tell: Tell = tell_nobody) -> DrillReport:
        """Restore the newest set into a scratch database, compare, measure, clean up.

        Raises:
            TransientError: nothing is known of the set, as something does not answer.
        """
        return await drill(self._means, request, tell)

    async def prune(
        self,
        app: str,
        *,
        apply: bool = False,
        needed: Mapping[SetId, str] | None = None,
        tell: Tell = tell_nobody,
    ) -> Pruned:
        """Decide which sets of *app* go, and with *apply* remove them.

        Args:
            app: whose.
            apply: else nothing is removed.
            needed: sets that something refers to, such as a rollout's restore point, and what.
            tell: hears of each that was removed.
        """
        subject = await self._means.subjects.subject(app)
        policy = RetentionPolicy(**asdict(subject.backup.keep))
        sets = await self._means.vault.sets(app)
        retention = decide(sets, self._means.clock.now(), policy, needed=needed)
        removed: list[SetId] = []
        refused: list[tuple[SetId, str]] = []
        for set_id in retention.remove if apply else ():
            try:
                removal = await self._means.vault.remove(set_id)
            except TransientError as error:
                refused.append((set_id, error.what))  # goes the next time
                continue
            if removal.is_gone:
                removed.append(set_id)
                await tell(f"{set_id}: removed")
            else:
                refused.append((set_id, "; ".join(sorted(set(removal.refused.values())))))
        return Pruned(
            retention=retention, applied=apply, removed=tuple(removed), refused=tuple(refused)
        )
