"""Restores the newest set into a scratch database and site, compares, measures, cleans up."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.core.backup_plan import PartKind
from controller.core.errors import PermanentError
from controller.ports_data import BackupSubject, DatabaseFacts, DatabaseLogin
from controller.recovery.drill import DrillReport, Objectives, report
from controller.recovery.manifest import Manifest
from controller.recovery.sets import Condition, Mark, StoredSet
from controller.runtime.backups_database import as_generator
from controller.runtime.backups_means import DATABASE, BackupMeans, DrillRequest
from controller.runtime.backups_parts import PartWanted
from controller.runtime.backups_scratch import scratch_database
from controller.runtime.backups_tell import Tell
from controller.runtime.rehearse_configuration import rehearse_configuration
from controller.runtime.restore_database import restored_facts


@dataclass(slots=True)
class _Found:
    """What a drill found so far."""

    restore_started_at: datetime | None = None
    verified_at: datetime | None = None
    restored: DatabaseFacts | None = None
    problems: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


async def drill(means: BackupMeans, request: DrillRequest, tell: Tell) -> DrillReport:
    """Return what came of restoring the newest whole set of the app.

    Raises:
        TransientError: the vault or the server cannot be reached: nothing is known of the set.
    """
    drilled_at = means.clock.now()
    subject = await means.subjects.subject(request.app)
    sets = await means.vault.sets(request.app)
    newest = _newest(sets)
    found = _Found()
    manifest = None
    if newest is None:
        found.problems.append("There is no set to restore.")
    else:
        manifest = await _opened(means, newest, found)
    if manifest is not None:
        await _try(means, subject, manifest, request, found, tell)
    result = report(
        app=request.app,
        set_id=newest.id if newest else None,
        drilled_at=drilled_at,
        newest_data_at=None,  # whether this set counts is only known below
        restore_started_at=found.restore_started_at,
        verified_at=found.verified_at,
        objectives=Objectives(rpo=subject.backup.rpo, rto=subject.backup.rto),
        recorded=manifest.database if manifest else None,
        restored=found.restored,
        problems=found.problems,
    )
    result = replace(result, notes=(*result.notes, *found.notes))
    data_at = _newest_verified(sets, newest, is_whole=result.is_whole)
    if data_at is not None:
        result = replace(result, rpo_seconds=max(0.0, (drilled_at - data_at).total_seconds()))
    if manifest is not None:
        await _mark(means, manifest, request, result)
    return result


def _newest(sets: Sequence[StoredSet]) -> StoredSet | None:
    """Return the newest that is offered; one whose parts are missing is, until it is looked at."""
    offered = [each for each in sets if each.condition is not Condition.INCOMPLETE]
    return max(offered, key=lambda each: each.id, default=None)


def _newest_verified(
    sets: Sequence[StoredSet], drilled: StoredSet | None, *, is_whole: bool
) -> datetime | None:
    """Return the moment of the newest data that is known to come back."""
    good = [
        each.manifest.data_at
        for each in sets
        if each.manifest is not None
        and (is_whole if drilled and each.id == drilled.id else each.is_verified)
    ]
    return max(good, default=None)


async def _opened(means: BackupMeans, newest: StoredSet, found: _Found) -> Manifest | None:
    if newest.problem:
        found.problems.append(newest.problem)
    try:
        return await means.vault.manifest(newest.id)
    except PermanentError as error:
        if error.what not in found.problems:
            found.problems.append(error.what)
        return None


async def _try(
    means: BackupMeans,
    subject: BackupSubject,
    manifest: Manifest,
    request: DrillRequest,
    found: _Found,
    tell: Tell,
) -> None:
    """Restore the dump and the configuration, then read every other part to its end."""
    found.restore_started_at = means.clock.now()
    server = subject.scratch or subject.database
    if manifest.part(DATABASE) is not None:
        if server is None:
            found.problems.append("There is no server to restore the database to.")
        else:
            await _in_scratch(means, manifest, server, request, found, tell)
    for part in manifest.parts:
        if part.kind is PartKind.CONFIGURATION:
            await _apply_configuration(means, subject, manifest, part.name, found, tell)
        elif part.name != DATABASE:
            await _read(means, manifest, part.name, found)
    if not found.problems:
        found.verified_at = means.clock.now()


async def _in_scratch(
    means: BackupMeans,
    manifest: Manifest,
    server: DatabaseLogin,
    request: DrillRequest,
    found: _Found,
    tell: Tell,
) -> None:
    try:
        async with scratch_database(means, server, request.job) as scratch:
            await tell(f"{manifest.id}: restoring into {scratch.address.database}")
            found.restored = await restored_facts(means, manifest, scratch, with_rights=False)
    except PermanentError as error:
        found.problems.append(error.what)


async def _apply_configuration(
    means: BackupMeans,
    subject: BackupSubject,
    manifest: Manifest,
    name: str,
    found: _Found,
    tell: Tell,
) -> None:
    """Restore it to an empty site in memory: that it can be read says little."""
    wanted = PartWanted(
        manifest=manifest,
        subject=subject,
        open=lambda: as_generator(means.vault.open_part(manifest, name)),
    )
    rehearsal = await rehearse_configuration(wanted, tell)
    found.problems += rehearsal.problems
    found.notes += rehearsal.notes


async def _read(means: BackupMeans, manifest: Manifest, name: str, found: _Found) -> None:
    try:
        async with aclosing(as_generator(means.vault.open_part(manifest, name))) as stream:
            async for _ in stream:
                pass
    except PermanentError as error:
        found.problems.append(error.what)


async def _mark(
    means: BackupMeans, manifest: Manifest, request: DrillRequest, result: DrillReport
) -> None:
    """Keep what was found beside the set."""
    mark = Mark(
        at=means.clock.now(),
        by=request.by,
        passed=result.is_whole,
        how="restored and compared",
        problems=(*result.problems, *result.differences),
        manifest_sha256=manifest.sha256,
    )
    await means.vault.mark(manifest.id, mark)
