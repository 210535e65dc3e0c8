"""A world in memory with one app, and the effects that the core asks of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.activities import (
    backup_database,
    check_ready,
    migrate,
    preflight,
    restore,
    revert_data,
    route,
    stage,
)
from controller.adapters.memory.database import (
    MemoryDatabase,
    MemoryMigrations,
    MemoryRestorePoints,
)
from controller.adapters.memory.platform import MemoryPlatform
from controller.adapters.memory.prober import MemoryProber
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.swapper import MemorySwapper
from controller.adapters.memory.world import World
from controller.core.effects import (
    BackupDatabase,
    CheckReady,
    EffectKey,
    Migrate,
    Preflight,
    Restore,
    RevertData,
    Route,
    Stage,
)
from controller.core.events import Reply
from controller.core.gate import Metric
from controller.core.plan import (
    Analysis,
    Health,
    Identity,
    IdentityKind,
    Percent,
    SlotName,
    Target,
    split,
)
from controller.core.telemetry import Mark
from controller.ports import BuildHistory, HistoryCell, Measurement, Observation
from controller.verdict.buckets import Bucket, Counts

BLUE, GREEN, PRODUCTION = SlotName("blue"), SlotName("green"), SlotName("production")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TARGET = Target(subscription="s", resource_group="g", site="shop", slots=(BLUE, GREEN))
OLD_DIGEST, NEW_DIGEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
OLD, NEW = f"registry.test/shop@{OLD_DIGEST}", f"registry.test/shop@{NEW_DIGEST}"
HEALTH = Health()
NO_IDENTITY = replace(HEALTH, identity=Identity(kind=IdentityKind.NONE))


class Clock:
    """Stands still."""

    def now(self) -> datetime:
        return NOW


@dataclass
class Observed:
    """Telemetry that sees nothing, remembers what it was asked, or fails as told."""

    error: Exception | None = None
    rows: dict[Mark, int] = field(default_factory=dict[Mark, int])
    unversioned: dict[str, int] = field(default_factory=dict[str, int])
    asked: list[tuple[str, Sequence[str], datetime, datetime]] = field(
        default_factory=list[tuple[str, Sequence[str], datetime, datetime]]
    )
    # Of the past: rows by source and span (None: any), and what was asked for.
    past: dict[tuple[str, timedelta | None], int] = field(
        default_factory=dict[tuple[str, timedelta | None], int]
    )
    edges: tuple[int, int, int] | None = (50, 70, 90)
    history_errors: list[Exception] = field(default_factory=list[Exception])
    looked_back: list[Any] = field(default_factory=list[Any])
    metrics: dict[str, list[Counts] | Exception] = field(
        default_factory=dict[str, list[Counts] | Exception]
    )
    measured: list[Any] = field(default_factory=list[Any])

    async def observe(
        self,
        source: str,
        *,
        builds: Sequence[Mark],
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Observation:
        self.asked.append((source, [mark.name for mark in builds], since, until))
        if self.error is not None:
            raise self.error
        return Observation(
            since=since,
            until=until,
            buckets={mark: [Bucket(start=since, rows=n)] for mark, n in self.rows.items()},
            query="",
            newest=None,
            unversioned=self.unversioned,
        )

    async def history(
        self,
        source: str,
        *,
        build: Mark,
        probe_operations: Sequence[str],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> BuildHistory:
        self.looked_back.append((source, build, tuple(probe_operations), since, until, bucket))
        if self.history_errors:
            raise self.history_errors.pop(0)
        rows = self.past.get((source, until - since), self.past.get((source, None), 600))
        cells = [HistoryCell(start=since, group=0, rows=rows, failed_rows=rows // 100)]
        return BuildHistory(
            since=since,
            until=until,
            bucket=bucket,
            cells=cells if rows else [],
            edges=self.edges,
            by_session=True,
            query="",
        )

    async def measure(
        self,
        source: str,
        metric: Metric,
        *,
        builds: Sequence[Mark],
        since: datetime,
        until: datetime,
        bucket: timedelta,
    ) -> Measurement:
        self.measured.append((metric.name, builds[0].name, until - since, bucket))
        found = self.metrics.get(metric.name, [])
        if isinstance(found, Exception):
            raise found
        return Measurement(buckets={builds[0]: [(since, each) for each in found]}, query="")


class Bench:
    """One app that serves OLD from production, and every activity upon it."""

    def __init__(self, *, release: str | None = OLD_DIGEST, telemetry: str | None = None) -> None:
        self.world = World()
        self.site = self.world.create_site(
            TARGET, image=OLD, release=release, telemetry_release=telemetry, settings={"A": "1"}
        )
        self.platform = MemoryPlatform(self.world)
        self.swapper = MemorySwapper(self.world)
        self.prober = MemoryProber(self.world)
        self.registry = MemoryRegistry(self.world.weather)
        self.registry.push("registry.test", "shop", OLD_DIGEST, "old")
        self.registry.push("registry.test", "shop", NEW_DIGEST, "new")
        self.telemetry = Observed()
        self.clock = Clock()
        self.database = MemoryDatabase(weather=self.world.weather)
        self.migrations: Any = MemoryMigrations(self.database)
        self.restore_points = MemoryRestorePoints(self.database)

    async def preflight(self, effect: Preflight) -> Reply:
        return await preflight.perform(
            effect,
            self.platform,
            self.swapper,
            self.registry,
            self.telemetry,
            self.clock,
            migrations=self.migrations,
        )

    async def back_up(self, effect: BackupDatabase) -> Reply:
        return await backup_database.perform(effect, self.restore_points, self.clock)

    async def migrate(self, effect: Migrate) -> Reply:
        return await migrate.perform(effect, self.migrations, self.clock)

    async def revert(self, effect: RevertData) -> Reply:
        return await revert_data.perform(effect, self.migrations, self.clock)

    async def stage(self, effect: Stage) -> Reply:
        return await stage.perform(effect, self.platform, self.clock)

    async def check_ready(self, effect: CheckReady) -> Reply:
        return await check_ready.perform(effect, self.platform, self.prober, self.clock)

    async def route(self, effect: Route) -> Reply:
        return await route.perform(effect, self.platform, self.prober, self.clock)

    async def restore(self, effect: Restore) -> Reply:
        return await restore.perform(effect, self.platform, self.prober, self.clock)

    async def shift(self, weight: int, slot: SlotName = BLUE) -> None:
        """Bring NEW to *weight* percent on *slot*, proved."""
        await self.stage(staging(slot))
        self.world.slot(TARGET, slot).serving = self.world.slot(TARGET, slot).starting
        self.world.slot(TARGET, slot).starting = None
        await self.platform.route(
            TARGET, split(PRODUCTION, slot, Percent(weight)), request_id="shift"
        )
        self.site.obeyed = self.site.rules


def key(name: str) -> EffectKey:
    return EffectKey(f"rollout/1/{name}")


def checking() -> Preflight:
    return Preflight(
        key=key("preflight"),
        target=TARGET,
        image=NEW,
        release=NEW_DIGEST,
        analysis=Analysis(workspace="w"),
        recorded_active=None,
    )


def staging(slot: SlotName = BLUE) -> Stage:
    return Stage(key=key("stage"), target=TARGET, slot=slot, image=NEW, release=NEW_DIGEST)


def looking(
    *, slot: SlotName = BLUE, streak: int = 0, needed: int = 3, health: Health = HEALTH
) -> CheckReady:
    return CheckReady(
        key=key("check_ready"),
        target=TARGET,
        slot=slot,
        release=NEW_DIGEST,
        health=health,
        streak=streak,
        needed=needed,
    )


def routing(
    weight: int,
    *,
    stable: SlotName = PRODUCTION,
    canary: SlotName = BLUE,
    stable_release: str | None = OLD_DIGEST,
    health: Health = HEALTH,
) -> Route:
    return Route(
        key=key("route"),
        target=TARGET,
        routing=split(stable, canary, Percent(weight)),
        canary=canary,
        release=NEW_DIGEST,
        stable_release=stable_release,
        health=health,
    )


def restoring(
    *,
    stable: SlotName = PRODUCTION,
    bad: SlotName | None = BLUE,
    stable_image: str | None = OLD,
    stable_release: str | None = OLD_DIGEST,
    health: Health = HEALTH,
) -> Restore:
    return Restore(
        key=key("restore"),
        target=TARGET,
        stable=stable,
        stable_image=stable_image,
        stable_release=stable_release,
        bad=bad,
        bad_release=NEW_DIGEST,
        health=health,
    )
