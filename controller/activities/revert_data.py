"""ROLLING_BACK, its data half: nothing of the release's migrations is applied any more."""

from controller.activities.data_plan import connected, heard
from controller.activities.migrate import planned, reply_to
from controller.activities.replies import answering
from controller.core.effects import RevertData
from controller.core.events import Reply
from controller.ports import Clock
from controller.ports_data import Migrations


async def perform(effect: RevertData, migrations: Migrations | None, clock: Clock) -> Reply:
    """Go on taking back what the plan names, newest first."""
    return await answering(effect, clock, _revert(effect, migrations, clock))


async def _revert(effect: RevertData, migrations: Migrations | None, clock: Clock) -> Reply:
    work = connected(migrations).revert(
        effect.database, planned(effect), effect.migrations, rollout=effect.rollout
    )
    progress = await heard(work)
    return reply_to(effect, clock, progress)
