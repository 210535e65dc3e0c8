"""`Migrations` and `RestorePoints` in memory: bundles by image, applied ids in a list.

Each call of ``apply`` or ``revert`` does one migration, so that every rollout needs several.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256

from controller.adapters.memory.world import NOTHING_DONE, Fault, Weather, error_of
from controller.core.data import DatabaseSpec
from controller.core.errors import AccessDeniedError, MalformedError, PermanentError
from controller.migrations.bundle import Kind
from controller.ports_data import (
    BundleName,
    DataProgress,
    PendingMigration,
    Ran,
    Rehearsal,
    RestorePointOrder,
    RestorePointProgress,
    SchemaFacts,
    Timed,
)

_SOON = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryMigration:
    """One migration of a bundle in memory."""

    id: str
    kind: Kind = Kind.EXPAND
    has_down: bool = True
    breaks: bool = False  # applying it fails, for good
    down_breaks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBundle:
    """All migrations that a release knows of, oldest first."""

    migrations: tuple[MemoryMigration, ...]
    errors: tuple[str, ...] = ()  # what lint says
    is_readable: bool = True

    @property
    def sha256(self) -> str:
        """What the plan is about."""
        return sha256(repr(self.migrations).encode()).hexdigest()


@dataclass(slots=True)
class MemoryDatabase:
    """One database: what is applied, what was done to it, what it can be brought back from."""

    weather: Weather = field(default_factory=Weather)
    bundles: dict[str, MemoryBundle] = field(default_factory=dict[str, MemoryBundle])  # by digest
    applied: list[str] = field(default_factory=list[str])
    runs: list[str] = field(default_factory=list[str])  # "up 0002", "down 0002", in order
    rehearsals: list[str] = field(default_factory=list[str])  # rollouts that asked
    asked_by: list[str] = field(default_factory=list[str])  # rollouts
    points: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  # rollout -> ids
    slices: dict[str, int] = field(default_factory=dict[str, int])  # of a backup, by rollout

    def bundle(self, name: BundleName) -> MemoryBundle | None:
        """Return the bundle of an image.

        Raises:
            PermanentError: it is another one than was planned for.
            MalformedError: it cannot be read.
        """
        found = self.bundles.get(name.image.partition("@")[2])
        if found is not None and not found.is_readable:
            raise MalformedError(f"The bundle of {name.image} is torn.", fix="Push it again.")
        if name.sha256 is not None and (found is None or found.sha256 != name.sha256):
            raise PermanentError(
                f"The bundle of {name.image} is not the one that was planned.", fix="Deploy again."
            )
        return found


class MemoryMigrations:
    """Applies one migration per call."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def look(self, database: DatabaseSpec, bundle: BundleName) -> SchemaFacts:
        """See `Migrations`."""
        own = self._database
        fault = own.weather.take("look_at_data")
        if fault is not None:
            raise error_of(fault, f"look at {database.connection}")
        found = own.bundle(bundle)
        if found is None:
            return SchemaFacts(bundle=None)
        known = [m.id for m in found.migrations]
        return SchemaFacts(
            bundle=found.sha256,
            pending=tuple(
                PendingMigration(id=m.id, kind=m.kind, has_down=m.has_down)
                for m in found.migrations
                if m.id not in own.applied
            ),
            head_before=own.applied[-1] if own.applied else None,
            head_after=known[-1] if known else None,
            ahead=tuple(name for name in own.applied if name not in known),
            errors=found.errors,
        )

    async def rehearse(
        self,
        database: DatabaseSpec,
        bundle: BundleName,
        ids: Sequence[str],
        *,
        app: str,  # noqa: ARG002 - there is one database
        rollout: str,
    ) -> Rehearsal:
        """See `Migrations`. Each migration is one statement, which takes a tenth of a second."""
        own = self._database
        fault = own.weather.take("rehearse")
        if fault is not None:
            raise error_of(fault, f"try migrations on {database.connection}")
        found = own.bundle(bundle)
        own.rehearsals.append(rollout)
        left = [m for m in found.migrations if m.id in ids] if found else []
        broken = next((number for number, m in enumerate(left) if m.breaks), None)
        return Rehearsal(
            ran=tuple(
                Ran(
                    migration=m.id,
                    statements=(Timed(text=f"do {m.id}", seconds=0.1, rows=None),),
                    seconds=0.1,
                )
                for m in left[:broken]
            ),
            failure=None if broken is None else f"Migration {left[broken].id} fails.",
        )

    async def apply(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        self._database.asked_by.append(rollout)
        return self._go_on("migrate", database, bundle, ids)

    async def revert(
        self, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str], *, rollout: str
    ) -> DataProgress:
        """See `Migrations`."""
        self._database.asked_by.append(rollout)
        return self._go_on("revert_data", database, bundle, tuple(reversed(ids)))

    def _go_on(
        self, what: str, database: DatabaseSpec, bundle: BundleName, ids: Sequence[str]
    ) -> DataProgress:
        own, is_up = self._database, what == "migrate"
        fault = own.weather.take(what)
        if fault in NOTHING_DONE:
            raise error_of(fault or Fault.TRANSIENT, f"{what} {database.connection}")
        found = own.bundle(bundle)
        known = {m.id: m for m in found.migrations} if found else {}
        left = [name for name in ids if (name not in own.applied) == is_up]
        if left:
            self._run(known[left[0]], is_up=is_up)
        if fault is not None:
            raise error_of(fault, f"{what} {database.connection}")
        if left[1:]:
            detail = f"{len(left) - 1} of {len(ids)} to go"
            return DataProgress(is_done=False, detail=detail, retry_after=_SOON)
        done = "applied" if is_up else "taken back"
        return DataProgress(is_done=True, detail=f"{done}: {', '.join(ids)}")

    def _run(self, migration: MemoryMigration, *, is_up: bool) -> None:
        own = self._database
        name = migration.id
        if migration.breaks if is_up else migration.down_breaks or not migration.has_down:
            raise AccessDeniedError(f"Migration {name} fails.", fix="Mend its script.")
        own.runs.append(f"{'up' if is_up else 'down'} {name}")
        if is_up:
            own.applied.append(name)
        else:
            own.applied.remove(name)


class MemoryRestorePoints:
    """Needs two calls for each restore point."""

    def __init__(self, database: MemoryDatabase) -> None:
        self._database = database

    async def take(self, database: DatabaseSpec, order: RestorePointOrder) -> RestorePointProgress:
        """See `RestorePoints`."""
        own = self._database
        fault = own.weather.take("backup")
        if fault in NOTHING_DONE:
            raise error_of(fault or Fault.TRANSIENT, f"back {database.connection} up")
        own.slices[order.rollout] = own.slices.get(order.rollout, 0) + 1
        is_whole = order.rollout in own.points or own.slices[order.rollout] > 1
        if is_whole:
            own.points.setdefault(order.rollout, list(own.applied))
        if fault is not None:
            raise error_of(fault, f"back {database.connection} up")
        if not is_whole:
            return RestorePointProgress(id=None, detail="half of it is written", retry_after=_SOON)
        return RestorePointProgress(id=f"point-of-{order.rollout}", detail="read back")
