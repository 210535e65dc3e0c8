"""Brings a set back: planned, confirmed, beside what is there, compared, then exchanged for it."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controller.core.backup_plan import PartKind
from controller.core.errors import (
    AccessDeniedError,
    CommandRefusedError,
    RestoreFailedError,
    SlipwayError,
)
from controller.ports_data import BackupSubject, DatabaseFacts, DatabaseLogin
from controller.recovery.drill import differences, notes
from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId
from controller.runtime.backups_create import create
from controller.runtime.backups_database import database_ports
from controller.runtime.backups_means import (
    DATABASE,
    BackupMeans,
    BackupRequest,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
    mark_of,
)
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


async def plan_restore(means: BackupMeans, request: RestoreRequest) -> RestorePlan:
    """Return what *request* would do. Changes nothing.

    Raises:
        BackupMissingError, BackupDamagedError, BackupKeyError: the set cannot be restored.
        CommandRefusedError: it does not hold what is asked for.
    """
    manifest = await means.vault.manifest(request.set_id)
    subject = await means.subjects.subject(manifest.app)
    facts, login = _wanted(manifest, request, subject)
    _, server = database_ports(means)
    there = await server.databases(login)
    target = login.address.database
    known = there.get(target)
    head, said = await _head(means, login) if known else (None, ())
    part = manifest.part(DATABASE)
    return RestorePlan(
        set_id=manifest.id,
        app=manifest.app,
        target=target,
        data_at=manifest.data_at,
        dump_bytes=part.plain_bytes if part else 0,
        tables=len(facts.tables),
        rows=sum(table.rows for table in facts.tables),
        overwrites=known is not None,
        size_now=known.size_bytes if known else 0,
        head_then=facts.migration_head,
        head_now=head,
        is_done=known is not None and known.note == _names(request, target).note,
        notes=(*said, f"Everything in it will belong to {login.address.user!r}."),
    )


def _wanted(
    manifest: Manifest, request: RestoreRequest, subject: BackupSubject
) -> tuple[DatabaseFacts, DatabaseLogin]:
    if set(request.parts) != {PartKind.DATABASE}:
        raise CommandRefusedError(
            "Only the database is restored by Slipway.",
            fix="Read the other parts with `slipway backup fetch`, and put them back by hand: see"
            " docs/data.md.",
        )
    if manifest.database is None or manifest.part(DATABASE) is None:
        raise CommandRefusedError(
            f"Backup set {manifest.id} holds no database.", fix="Choose one that does."
        )
    if subject.database is None:
        raise CommandRefusedError(
            f"App {manifest.app!r} has no database.", fix="Configure where it is."
        )
    login = subject.database
    return manifest.database, login.to(request.target) if request.target else login


async def _head(means: BackupMeans, login: DatabaseLogin) -> tuple[str | None, tuple[str, ...]]:
    """Return the head of what is there. What cannot be read may be why somebody restores."""
    _, server = database_ports(means)
    try:
        async with server.snapshot(login) as snapshot:
            return await snapshot.head(), ()
    except SlipwayError as error:
        return None, (f"What is there now cannot be read: {error.what}",)


async def restore(means: BackupMeans, request: RestoreRequest, tell: Tell) -> RestoreReport:
    """Do what `plan_restore` says."""
    plan = await plan_restore(means, request)
    manifest = await means.vault.manifest(request.set_id)
    subject = await means.subjects.subject(plan.app)
    _, login = _wanted(manifest, request, subject)
    own = subject.database.address.database if subject.database else ""
    _refuse(plan, request, own=own)
    names = _names(request, plan.target)
    if plan.is_done:
        return await _as_it_was(means, plan, login, names)
    started = means.clock.now()
    safety: SetId | None = None
    if plan.overwrites and not request.without_safety:
        safety = (await create(means, _safety(plan, request), tell)).id
    said = await _beside(means, manifest, login, names, tell)
    await _exchange(means, login, names, tell)
    ended = means.clock.now()
    return replace(
        _report(plan, ended),
        seconds=max(0.0, (ended - started).total_seconds()),
        kept_as=names.kept_as if plan.overwrites else None,
        safety_set=safety,
        notes=(*plan.notes, *said),
    )


async def check(means: BackupMeans, request: RestoreRequest) -> None:
    """Refuse what `restore` would refuse. Changes nothing.

    Raises:
        CommandRefusedError, BackupMissingError, BackupDamagedError, BackupKeyError.
    """
    plan = await plan_restore(means, request)
    subject = await means.subjects.subject(plan.app)
    own = subject.database.address.database if subject.database else ""
    _refuse(plan, request, own=own)


def _report(plan: RestorePlan, restored_at: datetime) -> RestoreReport:
    return RestoreReport(
        set_id=plan.set_id,
        target=plan.target,
        restored_at=restored_at,
        seconds=0.0,
        tables=plan.tables,
        rows=plan.rows,
        notes=plan.notes,
    )


async def _as_it_was(
    means: BackupMeans, plan: RestorePlan, login: DatabaseLogin, names: _Names
) -> RestoreReport:
    """Return the report of a restore that an earlier try of this job brought to its end."""
    _, server = database_ports(means)
    is_kept = names.kept_as in await server.databases(login)
    report = _report(plan, means.clock.now())
    return replace(
        report,
        kept_as=names.kept_as if is_kept else None,
        notes=(*plan.notes, "It was done already; nothing was changed now."),
    )


def _refuse(plan: RestorePlan, request: RestoreRequest, *, own: str) -> None:
    if request.confirm != plan.target:
        raise CommandRefusedError(
            f"Restoring {plan.set_id} into {plan.target!r} is not confirmed.",
            fix=f"Look at the plan, then confirm with the database's name: {plan.target}.",
        )
    if plan.is_done:
        return
    if plan.overwrites and plan.target != own:
        raise CommandRefusedError(
            f"There is a database {plan.target!r}, and it is not the app's own.",
            fix="Choose a name that is free, or remove it first.",
        )
    if plan.crosses_heads and not request.across_heads:
        raise CommandRefusedError(
            f"The migration head is {plan.head_now or 'none'} now; the set has"
            f" {plan.head_then or 'none'}: the code that runs may not fit the data then.",
            fix="Roll the code back, too, and say that the heads may differ (across_heads).",
        )


def _safety(plan: RestorePlan, request: RestoreRequest) -> BackupRequest:
    return BackupRequest(
        app=plan.app,
        job=f"{request.job}/safety",
        why=f"before {plan.set_id} was restored",
        by=request.by,
        at=request.at,
    )


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
