"""MIGRATING: the database has the schema that the new build needs."""

from controller.activities.data_plan import connected, heard
from controller.activities.replies import answering, not_yet
from controller.core.effects import Migrate, RevertData
from controller.core.events import Done, Reply
from controller.ports import Clock
from controller.ports_data import BundleName, DataProgress, Migrations


async def perform(effect: Migrate, migrations: Migrations | None, clock: Clock) -> Reply:
    """Go on applying what the plan names, and nothing else."""
    return await answering(effect, clock, _apply(effect, migrations, clock))


async def _apply(effect: Migrate, migrations: Migrations | None, clock: Clock) -> Reply:
    work = connected(migrations).apply(
        effect.database, planned(effect), effect.migrations, rollout=effect.rollout
    )
    progress = await heard(work)
    return reply_to(effect, clock, progress)


def planned(effect: Migrate | RevertData) -> BundleName:
    """Return the bundle that PREFLIGHT looked at: another one is not what was agreed to."""
    return BundleName(image=effect.image, tag=effect.tag, sha256=effect.bundle)


def reply_to(effect: Migrate | RevertData, clock: Clock, progress: DataProgress) -> Reply:
    """Return *progress* as the machine knows it."""
    if progress.is_done:
        return Done(at=clock.now(), key=effect.key, detail=progress.detail)
    if progress.retry_after is None:
        return not_yet(effect, clock, progress.detail)
    return not_yet(effect, clock, progress.detail, retry_after=progress.retry_after)
