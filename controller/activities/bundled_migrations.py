"""`Migrations` over bundles and databases: one migration per call, so that each call is short."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import takewhile
from typing import Final, Protocol

from controller.activities.schema_facts import facts_of
from controller.core.data import DatabaseSpec
from controller.core.errors import PermanentError
from controller.migrations.bundle import Applied, Bundle, Migration
from controller.migrations.history import applied_ids, pending
from controller.ports_data import (
    BundleName,
    Database,
    DataProgress,
    MigrationOrder,
    NotTried,
    Ran,
    Rehearsal,
    SchemaFacts,
)

_AT_ONCE: Final = timedelta(0)
_HALF: Final = "One stopped half way, and goes on from there."


class ReleaseBundles(Protocol):
    """Finds the bundle that a release carries."""

    async def find(self, database: DatabaseSpec, bundle: BundleName) -> Bundle | None:
        """Return it; None where the release carries none.

        Raises:
            MalformedError: it cannot be read.
            TransientError, AccessDeniedError: the place where it is cannot be reached, or used.
        """
        ...


class Databases(Protocol):
    """Reaches the databases that apps name."""

    async def open(self, database: DatabaseSpec) -> Database:
        """Return the database.

        Raises:
            PermanentError: no such secret, or what it holds is no connection string.
            TransientError: the vault cannot be reached now.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledMigrations:
    """Reads the bundle and the history anew at each call: whatever crashed, it goes on."""

    bundles: ReleaseBundles
    databases: Databases

    async def look(self, database: DatabaseSpec, bundle: BundleName) -> SchemaFacts:
        """See `Migrations`."""
        found = await self.bundles.find(database, bundle)
        if found is None:
            return SchemaFacts(bundle=None)
        at = await self.databases.open(database)
        history = await at.history()
        whole = [row.id for row in history if row.is_whole]
        schema = await at.schema() if pending(found, whole) else None
        return facts_of(found, history, schema=schema, accept=database.accept)

    async def rehearse(
        self,
        database: DatabaseSpec,
        bundle: BundleName,
        ids: Sequence[str],
        *,
        app: str,  # noqa: ARG002 - the database's history knows rollouts
        rollout: str,
    ) -> Rehearsal:
        """See `Migrations`. What stopped half way cannot be tried, nor what comes after it."""
        found, at = await self._planned(database, bundle), await self.databases.open(database)
        history = await at.history()
        whole = applied_ids(found, [row.id for row in history if row.is_whole])
        begun = _begun(found, history)
        left = [m for m in _named(found, ids) if m.id not in whole]
        fresh = list(takewhile(lambda migration: migration.id not in begun, left))
        rehearsed = await at.rehearse(fresh, by=rollout) if fresh else Rehearsal(ran=())
        untried = tuple(NotTried(migration=m.id, text="", why=_HALF) for m in left[len(fresh) :])
        return replace(rehearsed, not_tried=(*rehearsed.not_tried, *untried))

    async def apply(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        found, at = await self._planned(database, bundle), await self.databases.open(database)
        history = await at.history()
        whole = applied_ids(found, [row.id for row in history if row.is_whole])
        left = [m for m in _named(found, ids) if m.id not in whole]
        ran = await at.apply(left[:1], _order(found, rollout)) if left else ()
        return _progress("applied", ids, ran, left[1:])

    async def revert(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        found, at = await self._planned(database, bundle), await self.databases.open(database)
        begun = _begun(found, await at.history())
        left = [m for m in reversed(_named(found, ids)) if m.id in begun]
        ran = await at.undo(left[:1], _order(found, rollout)) if left else ()
        return _progress("taken back", ids, ran, left[1:])

    async def _planned(self, database: DatabaseSpec, bundle: BundleName) -> Bundle:
        found = await self.bundles.find(database, bundle)
        if found is None or (bundle.sha256 is not None and found.sha256 != bundle.sha256):
            now = f"is {found.sha256[:12]} now" if found else "is gone"
            raise PermanentError(
                f"The bundle of {bundle.image} {now}; {(bundle.sha256 or '')[:12]} was planned.",
                fix="Put the bundle back, or deploy again: preflight makes another plan.",
            )
        return found


def _named(bundle: Bundle, ids: Sequence[str]) -> tuple[Migration, ...]:
    return tuple(migration for migration in bundle.migrations if migration.id in ids)


def _begun(bundle: Bundle, history: Sequence[Applied]) -> frozenset[str]:
    """Return what is applied, also by half: its down script finds what there is."""
    return applied_ids(bundle, [row.id for row in history])


def _order(bundle: Bundle, rollout: str) -> MigrationOrder:
    return MigrationOrder(bundle=bundle.sha256, format=bundle.format, by=rollout)


def _progress(
    done: str, ids: Sequence[str], ran: Sequence[Ran], left: Sequence[Migration]
) -> DataProgress:
    if not left:
        return DataProgress(is_done=True, detail=f"{done}: {', '.join(ids)}")
    last = "".join(f"{each.migration} {done} in {each.seconds:.1f} s; " for each in ran)
    detail = f"{last}{len(left)} of {len(ids)} to go"
    return DataProgress(is_done=False, detail=detail, retry_after=_AT_ONCE)
