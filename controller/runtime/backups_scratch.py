"""A database of no use but to try something on it: made, filled, and always removed."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Final

from controller.ports_data import DatabaseLogin
from controller.runtime.backups_database import database_ports
from controller.runtime.backups_means import FORGOTTEN, BackupMeans, mark_of

_PREFIX: Final = "slipway_drill_"
_TIME: Final = "%Y%m%dt%H%M%Sz"
_SCRATCH: Final = re.compile(rf"{_PREFIX}(\d{{8}}t\d{{6}}z)_([0-9a-f]{{8}})")
_NOTE: Final = "Slipway's drill; it may be removed."


@asynccontextmanager
async def scratch_database(
    means: BackupMeans, server: DatabaseLogin, job: str
) -> AsyncGenerator[DatabaseLogin]:
    """Make an empty database for *job* on the server of *server*, and remove it at the end.

    What killed jobs left there is removed first: of this very job, and of others a day later.
    """
    _, servers = database_ports(means)
    now = means.clock.now()
    mark = mark_of(job)[:8]
    await _remove_forgotten(means, server, mark, now)
    scratch = server.to(f"{_PREFIX}{now.astimezone(UTC).strftime(_TIME)}_{mark}")
    try:
        await servers.create(scratch, like=server.address.database, note=_NOTE)
        yield scratch
    finally:
        # A job that is cancelled cleans up, too; it then takes a moment longer to end.
        await asyncio.shield(servers.drop(scratch))


async def _remove_forgotten(
    means: BackupMeans, server: DatabaseLogin, mark: str, now: datetime
) -> None:
    _, servers = database_ports(means)
    for name, view in (await servers.databases(server)).items():
        form = _SCRATCH.fullmatch(name)
        if form is None or view.note not in {"", _NOTE}:
            continue  # not ours, whatever it is called
        with suppress(ValueError):
            begun = datetime.strptime(form[1], _TIME).replace(tzinfo=UTC)
            if form[2] == mark or now - begun > FORGOTTEN:
                await servers.drop(server.to(name))
