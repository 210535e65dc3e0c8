"""The database service's own backups: as restore points of rollouts, and beside nightly sets."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from controller.core.data import BackupKind, DatabaseSpec, ServerName
from controller.core.errors import ConfigurationError, PermanentError, TransientError
from controller.core.plan import AppSpec
from controller.ports import Clock
from controller.ports_data import (
    DatabasePlatform,
    PlatformBackup,
    RestorePointOrder,
    RestorePointProgress,
    RestorePoints,
    Tell,
)
from controller.recovery.reading import written

_SOON: Final = timedelta(seconds=15)  # the platform takes minutes
_PATIENCE: Final = timedelta(minutes=30)  # then the set is finished without it
Sleep = Callable[[float], Awaitable[None]]


def backup_name(cause: str, at: datetime) -> str:
    """Return the name of the backup that *cause* needs: the same cause and time, the same name."""
    tail = hashlib.sha256(cause.encode()).hexdigest()[:8]
    return f"dr-{at.astimezone(UTC).strftime('%Y%m%dT%H%M%SZ')}-{tail}"


class PlatformRestorePoints:
    """Implements `RestorePoints` by backups on demand. Its ids are their names."""

    def __init__(self, platform: DatabasePlatform) -> None:
        self._platform = platform

    async def take(self, database: DatabaseSpec, order: RestorePointOrder) -> RestorePointProgress:
        """See `RestorePoints`."""
        server = server_of(database)
        name = backup_name(f"{order.app}\n{order.rollout}", order.since)
        made = await self._platform.take_backup(server, name)
        if made is None:
            detail = f"the platform makes backup {name} of server {server.name}"
            return RestorePointProgress(id=None, detail=detail, retry_after=_SOON)
        return RestorePointProgress(id=name, detail=f"backup {name} of server {server.name}")


class RestorePointsOfKind:
    """Implements `RestorePoints`: by a dump or by the platform, as the app's database says.

    What is None, this Slipway was put together without.
    """

    def __init__(
        self, *, dump: RestorePoints | None = None, platform: RestorePoints | None = None
    ) -> None:
        self._points = {BackupKind.DUMP: dump, BackupKind.PLATFORM: platform}

    async def take(self, database: DatabaseSpec, order: RestorePointOrder) -> RestorePointProgress:
        """See `RestorePoints`."""
        points = self._points.get(database.backup)
        if points is None:
            raise ConfigurationError(
                f"This Slipway makes no restore points of kind {database.backup}.",
                fix="Set database.backup to another kind, or configure what it needs.",
            )
        return await points.take(database, order)


def server_of(database: DatabaseSpec | None) -> ServerName:
    """Return the server that the platform is asked about.

    Raises:
        ConfigurationError: nobody said which.
    """
    if database is None or database.server is None:
        raise ConfigurationError(
            "The configuration does not say which flexible server the database is on.",
            fix="Give database.server in apps.yaml.",
        )
    return database.server


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformNote:
    """What a set says of the platform's backup that was made with it."""

    server: str  # resource id
    name: str = ""
    kind: str = ""
    completed_at: datetime | None = None
    retention_days: int = 0  # the platform removes it then
    earliest_restore: datetime | None = None  # what a restore to a point in time can reach
    missing_because: str = ""  # why there is none


class PlatformBackupPart:
    """Implements `PartExporter`: asks for a backup, waits for it, and says which it is.

    A set is whole without it: where the platform takes none, or does not come to an end with it,
    the part says so. One backup is made for all sets of an app that are begun within an hour.

    Args:
        platform: asked.
        clock: tells the hour.
        sleep: between two looks.
        patience: how long it is waited for.
    """

    def __init__(
        self,
        platform: DatabasePlatform,
        clock: Clock,
        *,
        sleep: Sleep = asyncio.sleep,
        patience: timedelta = _PATIENCE,
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._sleep = sleep
        self._patience = patience

    async def export(self, app: AppSpec, tell: Tell) -> AsyncGenerator[bytes]:
        """See `PartExporter`."""
        note = await self.note(app)
        if note.missing_because and note.server:
            await tell(f"no backup by the platform is beside this set: {note.missing_because}")
        yield written(note)

    async def note(self, app: AppSpec) -> PlatformNote:
        """Make the backup, and return what there is to say of it."""
        if app.database is None or app.database.server is None:
            return PlatformNote(server="", missing_because="database.server is not configured")
        name = app.database.server
        try:
            server = await self._platform.server(name)
        except (TransientError, PermanentError) as error:
            return PlatformNote(server=name.resource_id, missing_because=error.what)
        if server is None:
            why = "there is no such server, or Slipway may not see it"
            return PlatformNote(server=name.resource_id, missing_because=why)
        made, why = None, server.no_backups_because
        if not why:
            made, why = await self._waited_for(name, app.id)
        return PlatformNote(
            server=name.resource_id,
            name=made.name if made else "",
            kind=made.kind if made else "",
            completed_at=made.completed_at if made else None,
            retention_days=server.retention_days,
            earliest_restore=server.earliest_restore,
            missing_because=why,
        )

    async def _waited_for(self, name: ServerName, app: str) -> tuple[PlatformBackup | None, str]:
        """Return the backup, or why there is none."""
        begun = self._clock.now()
        hour = begun.replace(minute=0, second=0, microsecond=0)
        wanted = backup_name(app, hour)
        why = "it is under way"
        while self._clock.now() - begun < self._patience:
            try:
                made = await self._platform.take_backup(name, wanted)
                why = "it is under way"
            except TransientError as error:
                made, why = None, error.what
            except PermanentError as error:
                return None, error.what
            if made is not None:
                return made, ""
            await self._sleep(_SOON.total_seconds())
        return None, f"backup {wanted} was not complete in time: {why}"
