"""What belongs to an app's backups, its passwords looked up when they are needed."""

from dataclasses import dataclass
from typing import Protocol

from controller.core.backup_plan import BackupSpec
from controller.core.errors import UnknownAppError
from controller.core.plan import AppId
from controller.ports import Configuration
from controller.ports_data import BackupSubject, DatabaseLogin


class Logins(Protocol):
    """Finds databases by the names of secrets."""

    async def login(self, name: str) -> DatabaseLogin:
        """Return the login that the connection string called *name* is.

        Raises:
            PermanentError: there is none, or it cannot be understood.
            TransientError: the vault is away.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredSubjects:
    """Implements `BackupSubjects` by apps.yaml. An app without a `backup` has the defaults."""

    configuration: Configuration
    logins: Logins

    async def subject(self, app: str) -> BackupSubject:
        """See `BackupSubjects.subject`."""
        apps = await self.configuration.apps()
        spec = apps.get(AppId(app))
        if spec is None:
            known = ", ".join(sorted(apps)) or "none"
            raise UnknownAppError(f"There is no app {app!r}.", fix=f"Configured apps: {known}.")
        backup = spec.backup or BackupSpec()
        return BackupSubject(
            app=spec,
            backup=backup,
            database=await self.logins.login(spec.database.connection) if spec.database else None,
            scratch=await self.logins.login(backup.scratch) if backup.scratch else None,
        )
