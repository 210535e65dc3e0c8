"""BACKUP: a restore point exists and was read back, before any migration runs."""

from controller.activities.data_plan import heard
from controller.activities.replies import answering, not_yet
from controller.core.effects import BackupDatabase
from controller.core.errors import PermanentError
from controller.core.events import Done, Reply
from controller.ports import Clock
from controller.ports_data import RestorePointOrder, RestorePoints


async def perform(effect: BackupDatabase, points: RestorePoints | None, clock: Clock) -> Reply:
    """Go on making it. Done says its id."""
    return await answering(effect, clock, _take(effect, points, clock))


async def _take(effect: BackupDatabase, points: RestorePoints | None, clock: Clock) -> Reply:
    if points is None:
        raise PermanentError(
            "This Slipway was put together without backups.", fix="Set database.backup to none."
        )
    order = RestorePointOrder(
        app=effect.app,
        rollout=effect.rollout,
        release=effect.release,
        head=effect.head,
        since=effect.since,
    )
    progress = await heard(points.take(effect.database, order))
    if progress.id is not None:
        return Done(at=clock.now(), key=effect.key, detail=progress.id)
    if progress.retry_after is None:
        return not_yet(effect, clock, progress.detail)
    return not_yet(effect, clock, progress.detail, retry_after=progress.retry_after)
