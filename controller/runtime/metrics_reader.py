"""Reads the platform's metrics of the slots under watch: a few small reads beside the one query."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.effects import Watch
from controller.core.errors import PermanentError, SlipwayError, TransientError
from controller.core.plan import SlotName
from controller.ports import PlatformMetrics, PlatformWatch, Watching
from controller.verdict.platform import SlotTotals, totals

log = logging.getLogger("slipway.metrics")

_EVERY: Final = timedelta(seconds=30)  # there is one new number in a minute
_LONGEST: Final = timedelta(hours=6)  # looked back; what is older was judged long ago
_AT_ONCE: Final = 8
_LONGEST_ERROR: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsReader:
    """Asks for both slots of each rollout that has platform limits."""

    metrics: PlatformMetrics | None = None

    async def read(self, watching: Sequence[Watching], now: datetime) -> tuple[Watching, ...]:
        """Return *watching* with what their slots' metrics say now, or why nothing does.

        Never raises what the provider may be blamed for: the record says that it is not known.
        """
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(watched: Watching) -> Watching:
            platform = watched.platform
            if platform is None or not _is_due(platform, now):
                return watched
            async with gate:
                return replace(watched, platform=await self._look(platform, now))

        return tuple(await asyncio.gather(*map(one, watching)))

    async def _look(self, watch: PlatformWatch, now: datetime) -> PlatformWatch:
        try:
            canary = await self._totals(watch, watch.slot, now)
            stable = await self._totals(watch, watch.stable_slot, now)
        except (TransientError, PermanentError) as error:
            log.warning("site %s: platform metrics: %s", watch.target.site, error)
            return replace(watch, error=_short(error))
        return replace(watch, canary=canary, stable=stable, read_at=now, error=None)

    async def _totals(self, watch: PlatformWatch, slot: SlotName, now: datetime) -> SlotTotals:
        if self.metrics is None:
            raise PermanentError("There is no adapter for them.", fix="Leave them out.")
        since = max(watch.since, now - _LONGEST)
        until = now - watch.limits.settle
        if until <= since:  # nothing of it is complete yet
            return SlotTotals(since=since, until=until)
        minutes = await self.metrics.read(
            watch.target,
            slot,
            region=watch.limits.region,
            since=since,
            until=until,
            with_health=watch.limits.health_check_min is not None,
        )
        return totals(minutes, since=since, until=until)


def platform_watch(
    effect: Watch, before: PlatformWatch | None, now: datetime
) -> PlatformWatch | None:
    """Return what *effect* wants watched, with what is known of it already.

    A build that changed its slot, as a swap makes it do, begins anew: what was counted there
    before was another build's.
    """
    limits = effect.analysis.platform_metrics
    if limits is None or effect.target is None or effect.slot is None:
        return None
    wanted = PlatformWatch(
        target=effect.target,
        limits=limits,
        slot=effect.slot,
        stable_slot=effect.stable_slot or effect.slot,
        since=now,
    )
    same = before is not None and (before.slot, before.target) == (wanted.slot, wanted.target)
    return replace(before, limits=limits) if before is not None and same else wanted


def newer(stored: PlatformWatch | None, read: PlatformWatch | None) -> PlatformWatch | None:
    """Return *stored* with what was *read*, unless it is of another slot by now."""
    if stored is None or read is None or stored.since != read.since:
        return stored
    return replace(
        stored, canary=read.canary, stable=read.stable, read_at=read.read_at, error=read.error
    )


def _is_due(watch: PlatformWatch, now: datetime) -> bool:
    return watch.read_at is None or watch.error is not None or now - watch.read_at >= _EVERY


def _short(error: SlipwayError) -> str:
    return error.what[:_LONGEST_ERROR]
