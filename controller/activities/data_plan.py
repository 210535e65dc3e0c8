"""PREFLIGHT's look at the database: what is pending, may it run, and is there a way back?"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from controller.core.data import ContractPolicy, DatabaseSpec, DataPlan, OnRollback, WayBack
from controller.core.effects import Preflight
from controller.core.errors import ConfigurationError, MalformedError, PermanentError
from controller.migrations.bundle import Kind
from controller.ports_data import BundleName, Migrations, PendingMigration, SchemaFacts

T = TypeVar("T")


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
