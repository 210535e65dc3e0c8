"""PREFLIGHT's look at the database: what is pending, may it run, and is there a way back?"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from controller.core.data import (
    ContractPolicy,
    DatabaseSpec,
    DataPlan,
    DryRun,
    OnRollback,
    WayBack,
)
from controller.core.effects import Preflight
from controller.core.errors import (
    ConfigurationError,
    MalformedError,
    PermanentError,
    TakesTooLongError,
)
from controller.migrations.bundle import Kind
from controller.ports_data import (
    BundleName,
    LockWait,
    Migrations,
    NotTried,
    PendingMigration,
    Rehearsal,
    SchemaFacts,
    Timed,
)

T = TypeVar("T")

_SHOWN: Final = 80  # characters of a statement


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFindings:
    """What will be done to the database, and what speaks against it."""

    plan: DataPlan | None = None  # None: the release carries no migrations
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


async def examine(effect: Preflight, migrations: Migrations | None) -> DataFindings:
    """Return what the release's migrations will do.

    Raises:
        TransientError: bundle or database cannot be reached now.
        PermanentError: they never can, or the bundle cannot be read.
    """
    database = effect.database
    if database is None:
        return DataFindings()
    name = BundleName(image=effect.image, tag=effect.tag)
    facts = await heard(connected(migrations).look(database, name))
    if facts.bundle is None:
        told = "the release carries no migrations, though the app has a database"
        return DataFindings(warnings=(told, *facts.warnings))
    return _judged(effect, database, facts, facts.bundle)


async def rehearse(
    effect: Preflight, plan: DataPlan, migrations: Migrations | None
) -> DataFindings:
    """Try what is planned, and keep nothing of it. Users wait for what it locks: ask it last.

    Raises:
        TransientError: a lock was not to be had, or the database cannot be reached now.
        PermanentError: it never can.
    """
    database = effect.database
    if database is None or not plan.pending or database.dry_run is DryRun.NONE:
        return DataFindings(plan=plan)
    name = BundleName(image=effect.image, tag=effect.tag, sha256=plan.bundle)
    asking = connected(migrations).rehearse(
        database, name, plan.pending, app=effect.app, rollout=effect.rollout
    )
    try:
        rehearsal = await heard(asking)
    except TakesTooLongError as error:
        return DataFindings(plan=plan, warnings=(f"the migrations were not tried: {error.what}",))
    if rehearsal.failure is not None:
        return DataFindings(plan=plan, reasons=(f"Dry run: {rehearsal.failure}",))
    warnings = (*map(_waited, rehearsal.waits), *map(_not_tried, rehearsal.not_tried))
    return DataFindings(plan=replace(plan, dry_run=_told_of(rehearsal)), warnings=warnings)


def _told_of(rehearsal: Rehearsal) -> str:
    """Return how long it took in all, and what took the longest."""
    told: list[str] = []
    if (copy := rehearsal.copy) is not None:
        told.append(
            f"on a copy of {copy.of}: {_timed(copy.statements, copy.seconds, copy.longest)}"
        )
    timed = [statement for ran in rehearsal.ran for statement in ran.statements]
    if timed:
        longest = max(timed, key=lambda statement: statement.seconds)
        told.append(_timed(len(timed), sum(each.seconds for each in timed), longest))
    return f"dry run: {'; on the database: '.join(told) or 'nothing could be tried'}"


def _timed(count: int, seconds: float, longest: Timed) -> str:
    statements = "1 statement" if count == 1 else f"{count} statements"
    return (
        f"{statements} in {seconds:.1f} s; longest, {longest.seconds:.1f} s: {_short(longest.text)}"
    )


def _waited(wait: LockWait) -> str:
    holders = f", held by {', '.join(wait.blocked_by)}" if wait.blocked_by else ""
    return (
        f"dry run: {wait.migration} waited {wait.seconds:.1f} s for {wait.lock}{holders}: "
        f"{_short(wait.text)}"
    )


def _not_tried(skipped: NotTried) -> str:
    text = f" ({_short(skipped.text)})" if skipped.text else ""
    return f"dry run: not tried: {skipped.migration}{text}. {skipped.why}"


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."


def connected(migrations: Migrations | None) -> Migrations:
    """Return what reaches databases; this Slipway may have been put together without it."""
    if migrations is None:
        raise PermanentError(
            "This Slipway was put together without databases.", fix="Remove the app's `database`."
        )
    return migrations


async def heard(work: Awaitable[T]) -> T:
    """Return the answer. What cannot be read, or is not configured, is no better next time."""
    try:
        return await work
    except (MalformedError, ConfigurationError) as error:
        raise PermanentError(error.what, fix=error.fix) from error


def _judged(
    effect: Preflight, database: DatabaseSpec, facts: SchemaFacts, bundle: str
) -> DataFindings:
    breaking = tuple(m for m in facts.pending if m.is_breaking)
    way_back = _way_back(facts.pending)
    plan = DataPlan(
        bundle=bundle,
        pending=tuple(m.id for m in facts.pending),
        head_before=facts.head_before,
        head_after=facts.head_after,
        way_back=way_back,
        has_down=all(m.has_down for m in facts.pending),
        breaking=tuple(m.id for m in breaking),
        reasons=tuple(_said(m) for m in breaking),
    )
    reasons = (*facts.errors, *_stranded(effect, facts), *_refused(database, facts.pending))
    warnings = (*facts.warnings, *_told(database, plan, breaking), *_ahead(effect, facts))
    return DataFindings(plan=plan, reasons=reasons, warnings=warnings)


def _way_back(pending: Sequence[PendingMigration]) -> WayBack:
    """Taking something back means taking back all that ran after it, too: newest first."""
    first = next((at for at, m in enumerate(pending) if m.is_breaking), None)
    if first is None:
        return WayBack.OPEN
    return WayBack.DOWN if all(m.has_down for m in pending[first:]) else WayBack.NONE


def _said(migration: PendingMigration) -> str:
    because = f" ({migration.because})" if migration.because else ""
    return f"migration {migration.id} takes away what the stable build may use{because}"


def _refused(database: DatabaseSpec, pending: Sequence[PendingMigration]) -> tuple[str, ...]:
    if database.contract is ContractPolicy.REFUSE:
        return tuple(
            f"M{_said(m)[1:]}. Ship it with a later release, when nothing that may be gone back "
            "to needs it; or set database.contract to allow."
            for m in pending
            if m.is_breaking
        )
    if _way_back(pending) is not WayBack.NONE:
        return ()
    first = next(at for at, m in enumerate(pending) if m.is_breaking)
    return tuple(
        f"Migration {m.id} has no down script, and {_said(pending[first])}: nothing would lead "
        "back. Write the down script."
        for m in pending[first:]
        if not m.has_down
    )


def _told(
    database: DatabaseSpec, plan: DataPlan, breaking: Sequence[PendingMigration]
) -> tuple[str, ...]:
    """Say beforehand what a way back will mean."""
    told = [
        f"{_said(m)}: no rollback to an earlier release after this one; a rollback of this one "
        "runs the down scripts first"
        for m in breaking
    ]
    told += [
        f"migration {m.id}: its down script brings back the structure, not the rows"
        for m in breaking
        if m.kind is Kind.IRREVERSIBLE
    ]
    if database.on_rollback is OnRollback.DOWN and plan.pending and not plan.has_down:
        told.append("not every migration has a down script: after a rollback all of them stay")
    return tuple(told)


def _stranded(effect: Preflight, facts: SchemaFacts) -> tuple[str, ...]:
    """Code that misses what a migration took away must not come back by a push, either."""
    lost = [name for name in facts.ahead if name in effect.stranding]
    return tuple(
        f"The release does not know migration {name}, which took away what it may use. Build it "
        "anew for the schema of today, or take that migration back."
        for name in lost
    )


def _ahead(effect: Preflight, facts: SchemaFacts) -> tuple[str, ...]:
    others = [name for name in facts.ahead if name not in effect.stranding]
    return (f"the database is ahead of the release: {', '.join(others)}",) if others else ()
