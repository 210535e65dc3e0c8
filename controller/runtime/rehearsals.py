"""Migrations tried on a copy of the database: the newest verified backup set, restored to scratch.

There they run for real, also what refuses a transaction, and nobody waits for what they lock.
The copy takes as long as a restore, so it is a job of maintenance that PREFLIGHT asks after.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.activities.bundled_migrations import ReleaseBundles
from controller.core.data import DatabaseSpec
from controller.core.errors import (
    BackupMissingError,
    MalformedError,
    PermanentError,
)
from controller.core.jobs import Job
from controller.migrations.bundle import Bundle, Migration
from controller.migrations.history import applied_ids
from controller.ports_data import (
    BackupSubject,
    BundleName,
    Database,
    DatabaseLogin,
    MigrationOrder,
    Timed,
)
from controller.recovery.manifest import Manifest
from controller.runtime.backups_database import database_ports
from controller.runtime.backups_means import DATABASE, BackupMeans
from controller.runtime.backups_scratch import scratch_database
from controller.runtime.backups_tell import Tell

_SHOWN: Final = 200  # characters of a statement

Result = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRehearsals:
    """Carries jobs of kind rehearse out.

    Args:
        means: of backups: the vault, the server, whose database it is.
        bundles: finds what is to be tried.
        open: reaches a database by its login, as migrations do.
    """

    means: BackupMeans
    bundles: ReleaseBundles
    open: Callable[[DatabaseLogin, DatabaseSpec], Database]

    async def rehearse(self, job: Job, tell: Tell) -> Result:
        """Return how long what took on the copy; ``failure`` says why it stopped, if it did.

        Raises:
            TransientError: vault, server or bundle cannot be reached now; it begins anew.
            PermanentError: there is no verified set, or no server for the copy.
        """
        subject = await self.means.subjects.subject(job.app)
        database, server = _reached(subject)
        bundle = await self._bundle(job, database)
        manifest = await self._newest(job.app)
        async with scratch_database(self.means, server, job.id) as scratch:
            await tell(f"{manifest.id}: restoring into {scratch.address.database}")
            dumper, _ = database_ports(self.means)
            stream = self.means.vault.open_part(manifest, DATABASE)
            await dumper.restore(scratch.address, scratch.password, stream, with_rights=False)
            return await self._run(job, bundle, manifest, self.open(scratch, database), tell)

    async def _run(
        self, job: Job, bundle: Bundle, manifest: Manifest, copy: Database, tell: Tell
    ) -> Result:
        """Apply what the copy has not, up to the last that was asked for."""
        order = MigrationOrder(bundle=bundle.sha256, format=bundle.format, by=job.id)
        history = await copy.history()
        whole = applied_ids(bundle, [row.id for row in history if row.is_whole])
        timed: list[Timed] = []
        failure = ""
        for migration in _wanted(bundle, job):
            if migration.id in whole:
                continue
            try:
                ran = await copy.apply([migration], order)
            except PermanentError as error:
                failure = str(error)
                await tell(failure)
                break
            for each in (statement for one in ran for statement in one.statements):
                timed.append(each)
                await tell(f"{migration.id}: {each.seconds:.2f} s: {each.text[:_SHOWN]}")
        longest = max(timed, key=lambda each: each.seconds, default=None)
        return {
            "set": manifest.id,
            "passed": not failure,
            "failure": failure,
            "statements": len(timed),
            "seconds": round(sum(each.seconds for each in timed), 3),
            "longest": longest.text[:_SHOWN] if longest else "",
            "longest_seconds": round(longest.seconds, 3) if longest else 0.0,
        }

    async def _bundle(self, job: Job, database: DatabaseSpec) -> Bundle:
        name = BundleName(image=str(job.arguments["image"]), tag=str(job.arguments["tag"]) or None)
        found = await self.bundles.find(database, name)
        if found is None or found.sha256 != job.arguments["bundle"]:
            raise PermanentError(
                f"The bundle of {name.image} is not the one that was looked at.",
                fix="Deploy again.",
            )
        return found

    async def _newest(self, app: str) -> Manifest:
        sets = await self.means.vault.sets(app)
        good = [each.id for each in sets if each.manifest is not None and each.is_verified]
        if not good:
            raise BackupMissingError(
                f"App {app!r} has no verified backup set to copy.",
                fix=f"Make one: slipway backup create {app}. Or set database.dry_run to target.",
            )
        manifest = await self.means.vault.manifest(max(good))
        if manifest.part(DATABASE) is None:
            raise BackupMissingError(
                f"{manifest.id} holds no database.", fix="Add database to backup.parts."
            )
        return manifest


def _reached(subject: BackupSubject) -> tuple[DatabaseSpec, DatabaseLogin]:
    server = subject.scratch or subject.database
    if subject.app.database is None or server is None:
        raise PermanentError(
            f"App {subject.app.id!r} has no database.", fix="Configure its `database`."
        )
    return subject.app.database, server


def _wanted(bundle: Bundle, job: Job) -> Sequence[Migration]:
    """Return what comes up to the last migration that was asked for: the set may be older."""
    last = str(job.arguments["last"])
    ids = [migration.id for migration in bundle.migrations]
    if last not in ids:
        raise MalformedError(f"The bundle has no migration {last!r}.", fix="Deploy again.")
    return bundle.migrations[: ids.index(last) + 1]
