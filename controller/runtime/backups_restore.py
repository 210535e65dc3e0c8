"""Brings a set back, whole or in part: planned, confirmed, with a way back, compared afterwards.

The database is restored beside what is there and exchanged for it last but for the site's
configuration: see `controller.runtime.restore_database`. Every other kind of part has its
`PartRestorer`.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from functools import partial

from controller.core.backup_plan import PartKind
from controller.core.errors import CommandRefusedError
from controller.ports_data import BackupSubject
from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId
from controller.runtime.backups_create import create
from controller.runtime.backups_database import as_generator
from controller.runtime.backups_means import (
    BackupMeans,
    BackupRequest,
    RestorePlan,
    RestoreReport,
    RestoreRequest,
)
from controller.runtime.backups_parts import PartPlan, PartRestorer, PartWanted
from controller.runtime.backups_tell import Tell
from controller.runtime.restore_database import DatabasePlan, DatabaseRestore


@dataclass(frozen=True, slots=True)
class _Work:
    """A restore, looked at from all sides."""

    manifest: Manifest
    subject: BackupSubject
    kinds: tuple[PartKind, ...]
    database: DatabaseRestore | None  # None: it is not wanted
    parts: tuple[tuple[PartRestorer, PartWanted], ...]


async def _prepared(means: BackupMeans, request: RestoreRequest) -> _Work:
    manifest = await means.vault.manifest(request.set_id)
    subject = await means.subjects.subject(manifest.app)
    kinds = _held(means, manifest, subject) if request.parts is None else request.parts
    database = None
    if PartKind.DATABASE in kinds:
        database = DatabaseRestore.of(means, manifest, request, subject)
    elif request.target:
        raise CommandRefusedError(
            "A target names a database, and the database is not among the parts.",
            fix="Leave the target out, or restore the database, too.",
        )
    known = {PartKind.DATABASE, *(restorer.kind for restorer in means.restorers)}
    if odd := sorted(kind.value for kind in set(kinds) - known):
        raise CommandRefusedError(
            f"Nothing restores the part {odd[0]!r}.",
            fix=f"Read it with `slipway backup fetch {manifest.id} {odd[0]}`.",
        )
    parts = tuple(
        (restorer, _of_set(means, manifest, subject, restorer.kind))
        for restorer in means.restorers
        if restorer.kind in kinds
    )
    return _Work(manifest, subject, kinds, database, parts)


def _held(means: BackupMeans, manifest: Manifest, subject: BackupSubject) -> tuple[PartKind, ...]:
    """Return what of a set can be restored at all."""
    restorable = {restorer.kind for restorer in means.restorers}
    if subject.database is not None:
        restorable.add(PartKind.DATABASE)
    held = {part.kind for part in manifest.parts}
    return tuple(kind for kind in PartKind if kind in held & restorable)


def _of_set(
    means: BackupMeans, manifest: Manifest, subject: BackupSubject, kind: PartKind
) -> PartWanted:
    if manifest.part(kind.value) is None:
        raise CommandRefusedError(
            f"Backup set {manifest.id} holds no {kind.value}.", fix="Choose one that does."
        )
    opened = partial(_opened, means, manifest, kind)
    return PartWanted(manifest=manifest, subject=subject, open=opened)


def _opened(means: BackupMeans, manifest: Manifest, kind: PartKind) -> AsyncGenerator[bytes]:
    return as_generator(means.vault.open_part(manifest, kind.value))


async def plan_restore(means: BackupMeans, request: RestoreRequest) -> RestorePlan:
    """Return what *request* would do. Changes nothing.

    Raises:
        BackupMissingError, BackupDamagedError, BackupKeyError: the set cannot be restored.
        CommandRefusedError: it does not hold what is asked for.
    """
    return await _plan(await _prepared(means, request))


async def _plan(work: _Work) -> RestorePlan:
    found = await work.database.plan() if work.database else None
    parts = tuple([await restorer.plan(wanted) for restorer, wanted in work.parts])
    manifest = work.manifest
    plan = RestorePlan(
        set_id=manifest.id,
        app=manifest.app,
        target=found.target if found else manifest.app,
        data_at=manifest.data_at,
        parts=parts,
    )
    return plan if found is None else with_database(plan, found)


async def check(means: BackupMeans, request: RestoreRequest) -> None:
    """Refuse what `restore` would refuse. Changes nothing.

    Raises:
        CommandRefusedError, BackupMissingError, BackupDamagedError, BackupKeyError.
    """
    _refuse(await plan_restore(means, request), request)


async def restore(means: BackupMeans, request: RestoreRequest, tell: Tell) -> RestoreReport:
    """Do what `plan_restore` says: first the parts that the app's configuration refers to.

    A second try of the same job plans anew, and so does only what is left to do.
    """
    work = await _prepared(means, request)
    plan = await _plan(work)
    _refuse(plan, request)
    started = means.clock.now()
    safety: SetId | None = None
    if _overwrites(plan) and not request.without_safety:
        safety = (await create(means, _safety(plan, request, work.kinds), tell)).id
    done: list[str] = []
    before = [pair for pair in work.parts if pair[0].kind is not PartKind.CONFIGURATION]
    after = [pair for pair in work.parts if pair[0].kind is PartKind.CONFIGURATION]
    left = {part.kind for part in plan.parts if part.refusal}  # told, where all was wanted
    for restorer, wanted in before:
        done += await restorer.restore(wanted, tell) if restorer.kind not in left else ()
    exchanged = None
    if work.database is not None:
        exchanged = await work.database.carry_out(await work.database.plan(), tell)
    for restorer, wanted in after:
        done += await restorer.restore(wanted, tell) if restorer.kind not in left else ()
    ended = means.clock.now()
    return RestoreReport(
        set_id=plan.set_id,
        target=plan.target,
        restored_at=ended,
        seconds=max(0.0, (ended - started).total_seconds()),
        tables=plan.tables,
        rows=plan.rows,
        kept_as=exchanged.kept_as if exchanged else None,
        safety_set=safety,
        parts=tuple(kind.value for kind in work.kinds if kind not in left),
        done=tuple(done),
        notes=(*plan.notes, *_notes(plan.parts), *(exchanged.notes if exchanged else ())),
    )


def with_database(plan: RestorePlan, found: DatabasePlan) -> RestorePlan:
    """Return *plan* with what becomes of the database."""
    return replace(
        plan,
        dump_bytes=found.dump_bytes,
        tables=found.tables,
        rows=found.rows,
        restores_database=True,
        overwrites=found.overwrites,
        is_own=found.target == found.own,
        size_now=found.size_now,
        head_then=found.head_then,
        head_now=found.head_now,
        is_done=found.is_done,
        notes=(*plan.notes, *found.notes),
    )


def _notes(parts: tuple[PartPlan, ...]) -> tuple[str, ...]:
    return tuple(
        f"{part.kind.value}: {note}"
        for part in parts
        for note in (*((f"left as it is: {part.refusal}",) if part.refusal else ()), *part.notes)
    )


def _overwrites(plan: RestorePlan) -> bool:
    """Tell whether something is there that is worth a way back."""
    return (plan.overwrites and not plan.is_done) or any(
        part.changes and not part.refusal for part in plan.parts
    )


def _refuse(plan: RestorePlan, request: RestoreRequest) -> None:
    what = "the database" if plan.restores_database else "the app"
    if request.confirm != plan.target:
        raise CommandRefusedError(
            f"Restoring {plan.set_id} into {plan.target!r} is not confirmed.",
            fix=f"Look at the plan, then confirm with the name of {what}: {plan.target}.",
        )
    for part in plan.parts:
        if part.refusal and request.parts is not None:
            raise CommandRefusedError(
                f"The {part.kind.value} part is not restored: {part.refusal}",
                fix="Restore the other parts without it, or do what it says first.",
            )
    if plan.is_done or not plan.restores_database:
        return
    if plan.overwrites and not plan.is_own:
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


def _safety(
    plan: RestorePlan, request: RestoreRequest, kinds: tuple[PartKind, ...]
) -> BackupRequest:
    return BackupRequest(
        app=plan.app,
        job=f"{request.job}/safety",
        why=f"before {plan.set_id} was restored",
        by=request.by,
        at=request.at,
        also=kinds,
    )
