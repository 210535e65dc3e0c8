"""Brings a set's database back: beside what is there, compared, then exchanged for it."""

from dataclasses import dataclass
from typing import Final

from controller.core.errors import (
    AccessDeniedError,
    CommandRefusedError,
    RestoreFailedError,
    SlipwayError,
)
from controller.ports_data import BackupSubject, DatabaseFacts, DatabaseLogin
from controller.recovery.drill import differences, notes
from controller.recovery.manifest import Manifest
from controller.runtime.backups_database import database_ports
from controller.runtime.backups_means import DATABASE, BackupMeans, RestoreRequest, mark_of
from controller.runtime.backups_tell import Tell

_KEPT: Final = 40  # characters of a database's name that stay in names made of it; 63 are allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """What a job calls its databases."""

    new: str
    kept_as: str
    note: str


def _names(request: RestoreRequest, target: str) -> _Names:
    mark = mark_of(request.job)[:8]
    return _Names(
        new=f"{target[:_KEPT]}_slipway_new_{mark}",
        kept_as=f"{target[:_KEPT]}_before_{mark}",
        note=f"Slipway restored {request.set_id} here (job {mark_of(request.job)}).",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlan:
    """What restoring the database would do."""

    target: str
    own: str  # the app's own database
    dump_bytes: int
    tables: int
    rows: int
    overwrites: bool  # a database of this name is there
    size_now: int
    head_then: str | None
    head_now: str | None
    is_done: bool  # this job restored it already
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseDone:
    """What came of it."""

    kept_as: str | None  # what the database that was there is called now
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DatabaseRestore:
    """The restore of one set's database, for one job."""

    means: BackupMeans
    manifest: Manifest
    request: RestoreRequest
    facts: DatabaseFacts
    login: DatabaseLogin
    own: str

    @classmethod
    def of(
        cls,
        means: BackupMeans,
        manifest: Manifest,
        request: RestoreRequest,
        subject: BackupSubject,
    ) -> "DatabaseRestore":
        """Return it.

        Raises:
            CommandRefusedError: the set holds no database, or the app has none.
        """
        if manifest.database is None or manifest.part(DATABASE) is None:
            raise CommandRefusedError(
                f"Backup set {manifest.id} holds no database.", fix="Choose one that does."
            )
        if subject.database is None:
            raise CommandRefusedError(
                f"App {manifest.app!r} has no database.", fix="Configure where it is."
            )
        own = subject.database
        login = own.to(request.target) if request.target else own
        return cls(means, manifest, request, manifest.database, login, own.address.database)

    @property
    def _named(self) -> _Names:
        return _names(self.request, self.login.address.database)

    async def plan(self) -> DatabasePlan:
        """Return what `carry_out` would do. Changes nothing."""
        _, server = database_ports(self.means)
        there = await server.databases(self.login)
        target = self.login.address.database
        known = there.get(target)
        head, said = await _head(self.means, self.login) if known else (None, ())
        part = self.manifest.part(DATABASE)
        return DatabasePlan(
            target=target,
            own=self.own,
            dump_bytes=part.plain_bytes if part else 0,
            tables=len(self.facts.tables),
            rows=sum(table.rows for table in self.facts.tables),
            overwrites=known is not None,
            size_now=known.size_bytes if known else 0,
            head_then=self.facts.migration_head,
            head_now=head,
            is_done=known is not None and known.note == self._named.note,
            notes=(*said, f"Everything in it will belong to {self.login.address.user!r}."),
        )

    async def carry_out(self, plan: DatabasePlan, tell: Tell) -> DatabaseDone:
        """Do what *plan* says; what an earlier try did is not done again."""
        names = self._named
        if plan.is_done:
            _, server = database_ports(self.means)
            is_kept = names.kept_as in await server.databases(self.login)
            return DatabaseDone(
                kept_as=names.kept_as if is_kept else None,
                notes=("The database was restored already; it was not changed now.",),
            )
        said = await _beside(self.means, self.manifest, self.login, names, tell)
        await _exchange(self.means, self.login, names, tell)
        return DatabaseDone(kept_as=names.kept_as if plan.overwrites else None, notes=said)


async def _head(means: BackupMeans, login: DatabaseLogin) -> tuple[str | None, tuple[str, ...]]:
    """Return the head of what is there. What cannot be read may be why somebody restores."""
    _, server = database_ports(means)
    try:
        async with server.snapshot(login) as snapshot:
            return await snapshot.head(), ()
    except SlipwayError as error:
        return None, (f"What is there now cannot be read: {error.what}",)


async def _beside(
    means: BackupMeans, manifest: Manifest, login: DatabaseLogin, names: _Names, tell: Tell
) -> tuple[str, ...]:
    """Restore into a new database and compare it with what was recorded.

    Raises:
        RestoreFailedError: it is not the same. The new database is gone again.
    """
    _, server = database_ports(means)
    new = login.to(names.new)
    await server.drop(new)  # an earlier try's
    await server.create(new, like=login.address.database, note=names.note)
    try:
        await tell(f"{manifest.id}: restoring into {names.new}")
        restored = await restored_facts(means, manifest, new)
    except BaseException:
        await server.drop(new)
        raise
    recorded = manifest.database or restored
    if found := differences(recorded, restored):
        await server.drop(new)
        raise RestoreFailedError(
            f"{manifest.id} did not come back as it was: {' '.join(found)}",
            fix="Nothing was exchanged. Restore another set: `slipway backup list`.",
        )
    await tell(f"{manifest.id}: {len(restored.tables)} tables came back as they were")
    return notes(recorded, restored)


async def restored_facts(
    means: BackupMeans, manifest: Manifest, login: DatabaseLogin, *, with_rights: bool = True
) -> DatabaseFacts:
    """Restore the dump into the empty database of *login* and return what is there then."""
    dumper, server = database_ports(means)
    stream = means.vault.open_part(manifest, DATABASE)
    await dumper.restore(login.address, login.password, stream, with_rights=with_rights)
    async with server.snapshot(login) as snapshot:
        return await snapshot.facts()


async def _exchange(means: BackupMeans, login: DatabaseLogin, names: _Names, tell: Tell) -> None:
    _, server = database_ports(means)
    try:
        await server.exchange(login, new=names.new, kept_as=names.kept_as)
    except AccessDeniedError as error:
        raise AccessDeniedError(
            f"{names.new!r} is restored and whole, but may not take the name"
            f" {login.address.database!r}: {error.what}",
            fix="Let the owner of both databases rename them, or point the app at the new one.",
        ) from error
    await tell(f"{login.address.database} is now what was {names.new}")
