"""Reads the metrics of rollouts under watch, for the same time as the observation."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from controller.core.errors import PermanentError, TransientError
from controller.core.gate import Metric
from controller.core.telemetry import Mark
from controller.ports import Measurement, Telemetry, Watching
from controller.runtime.merging import merged_measurement
from controller.verdict.buckets import Counts

log = logging.getLogger("slipway.measuring")

_AT_ONCE: Final = 3  # the service takes five queries of one identity at a time
_LONGEST_ERROR: Final = 300
_NOTHING: Final = Counts()
Arms = tuple[Counts, Counts]  # (new build, stable build)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one rollout's metrics said. A name is in one of both."""

    found: Mapping[str, Measurement] = field(default_factory=dict[str, Measurement])
    errors: Mapping[str, str] = field(default_factory=dict[str, str])

    def starts(self, marks: tuple[Mark, Mark | None]) -> set[datetime]:
        """Return the buckets in which something was counted."""
        return {
            start
            for each in self.found.values()
            for mark in marks
            for start, _ in (each.buckets.get(mark, ()) if mark else ())
        }

    def by_start(
        self, starts: Sequence[datetime], marks: tuple[Mark, Mark | None]
    ) -> Mapping[datetime, Mapping[str, Arms]]:
        """Return each metric's counts in every one of *starts*: nothing counted is zero."""
        both = {
            name: [dict(each.buckets.get(mark, ())) if mark else {} for mark in marks]
            for name, each in self.found.items()
        }
        return {
            start: {
                name: (canary.get(start, _NOTHING), stable.get(start, _NOTHING))
                for name, (canary, stable) in both.items()
            }
            for start in starts
        }


async def measure(
    telemetry: Telemetry,
    watching: Sequence[Watching],
    sources: Mapping[str, Sequence[str]],
    *,
    since: datetime,
    until: datetime,
    bucket: timedelta,
) -> Mapping[str, Measured]:
    """Return by rollout what its metrics say of ``[since, until)``; *sources* are by rollout, too.

    Never raises what the provider or a query may be blamed for: the observation goes on without.
    """
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(watched: Watching, metric: Metric) -> tuple[Measurement | None, str]:
        marks = [mark for mark in watched.marks if mark is not None]
        try:
            async with gate:
                seen = [
                    await telemetry.measure(
                        source, metric, builds=marks, since=since, until=until, bucket=bucket
                    )
                    for source in sources[watched.rollout]
                ]
        except (TransientError, PermanentError) as error:
            log.warning("rollout %s: metric %s: %s", watched.rollout, metric.name, error)
            return None, error.what[:_LONGEST_ERROR]
        return merged_measurement(seen), ""

    asked = list(_pairs(watching))
    answers = await asyncio.gather(*(one(watched, metric) for watched, metric in asked))
    found: dict[str, dict[str, Measurement]] = {w.rollout: {} for w in watching}
    errors: dict[str, dict[str, str]] = {w.rollout: {} for w in watching}
    for (watched, metric), (measurement, error) in zip(asked, answers, strict=True):
        if measurement is None:
            errors[watched.rollout][metric.name] = error
        else:
            found[watched.rollout][metric.name] = measurement
    return {name: Measured(found=found[name], errors=errors[name]) for name in found}


def _pairs(watching: Sequence[Watching]) -> Iterator[tuple[Watching, Metric]]:
    return ((watched, metric) for watched in watching for metric in watched.metrics)
