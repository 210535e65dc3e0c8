"""PREFLIGHT's look at the stable build's past: what the new build will be measured by.

It is learned before the new build has its first user. A metric of which nothing is found is told
now: one whose query is misspelt must never mean that everything is fine.
"""

from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, TypeVar

from controller.core.effects import Preflight
from controller.core.errors import PermanentError, SlipwayError, TransientError
from controller.core.gate import Criticality, Learned, LearnedMetric, Metric
from controller.core.plan import SlotName
from controller.core.telemetry import Mark
from controller.ports import BuildHistory, Telemetry
from controller.verdict.buckets import Counts, latency_bin
from controller.verdict.learning import BUCKET, learn
from controller.verdict.metric_history import learn_metric

T = TypeVar("T")

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(hours=24)
_ENOUGH_ROWS: Final = 500  # of the last hour; with fewer the last day is asked
_DAYS_BUCKET: Final = timedelta(minutes=1)
_DAYS_METRIC_BUCKET: Final = timedelta(minutes=15)  # a histogram has many rows per bucket
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Ask(Protocol):
    """Takes down why a question has no answer: a reason, or one to wait for."""

    def __call__(self, question: Awaitable[T], /) -> Coroutine[Any, Any, T | None]:
        """Return the answer, None where there is none."""
        ...


@dataclass(slots=True)
class Lesson:
    """What was found, and what a person should know of it."""

    learned: Learned | None = None
    reasons: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    since: datetime
    until: datetime
    bucket: timedelta


async def study(
    effect: Preflight,
    telemetry: Telemetry,
    ask: Ask,
    *,
    stable: SlotName,
    stable_release: str | None,
    now: datetime,
) -> Lesson:
    """Return what the stable build was like lately."""
    mark = effect.analysis.mark(stable_release, effect.target.site, stable)
    work = _Study(effect, telemetry, ask, now - effect.analysis.settle, mark)
    await work.run()
    return work.lesson


@dataclass(frozen=True, slots=True)
class _Study:
    effect: Preflight
    telemetry: Telemetry
    ask: Ask
    until: datetime
    mark: Mark | None  # None: nothing tells the stable build
    lesson: Lesson = field(default_factory=Lesson)

    async def run(self) -> None:
        warn, mark = self.lesson.warnings.append, self.mark
        if mark is not None:
            found = await self._histories(mark)
            if found is None:
                return  # it is taken down why
            if found.cells:
                self.lesson.learned = self._learned(found)
            else:
                warn(
                    f"telemetry has nothing of the stable build ({mark}) in the last 24 h: nothing "
                    "is known of its past, so the absolute limits stand in for it"
                )
        metrics = [await self._metric(metric) for metric in self.effect.analysis.gate.metrics]
        known = tuple(metric for metric in metrics if metric is not None)
        if self.lesson.learned is not None:
            self.lesson.learned = replace(self.lesson.learned, metrics=known)

    # --- Requests ---------------------------------------------------------------------------------

    async def _histories(self, mark: Mark) -> BuildHistory | None:
        """Return the last hour; the last day where that has too little to learn from."""
        bucket = max(self.effect.analysis.bucket, BUCKET)
        hour = await self.ask(self._history(mark, self._window(_HOUR, bucket)))
        if hour is None or _rows(hour) >= _ENOUGH_ROWS:
            return hour
        try:
            day = await self._history(mark, self._window(_DAY, max(bucket, _DAYS_BUCKET)))
        except (TransientError, PermanentError) as error:
            self.lesson.warnings.append(
                f"the stable build had {_rows(hour)} requests in the last hour, and the day before "
                f"cannot be read: {error}"
            )
            return hour
        return day if _rows(day) > _rows(hour) else hour

    async def _history(self, mark: Mark, window: _Window) -> BuildHistory:
        """Return the past of the source in which the build reports: a slot reports to one."""
        found = [
            await self.telemetry.history(
                source,
                build=mark,
                probe_operations=self.effect.probe_operations,
                since=window.since,
                until=window.until,
                bucket=window.bucket,
            )
            for source in self.effect.analysis.sources
        ]
        return max(found, key=_rows)

    def _learned(self, found: BuildHistory) -> Learned:
        edges = found.edges
        if edges is None:
            limit = latency_bin(self.effect.analysis.limits.latency_ms_max)
            edges = (limit, limit, limit)
            self.lesson.warnings.append(
                "the stable build reports no durations: latency is held against its limit alone"
            )
        return learn(
            found.cells,
            since=found.since,
            until=found.until,
            edges=edges,
            by_session=found.by_session,
        )

    def _window(self, span: timedelta, bucket: timedelta) -> _Window:
        """Return whole buckets that end where the settled past does."""
        until = self.until - (self.until - _EPOCH) % bucket
        return _Window(since=until - -(-span // bucket) * bucket, until=until, bucket=bucket)

    # --- Metrics ----------------------------------------------------------------------------------

    async def _metric(self, metric: Metric) -> LearnedMetric | None:
        try:
            return await self._measured(metric)
        except TransientError as error:
            if metric.criticality is Criticality.CRITICAL:
                await self.ask(_failing(error))
            else:
                self._tell(metric, f"gives no answer now: {error}")
        except PermanentError as error:
            self._object(metric, f"cannot be asked: {error}")
        return None

    async def _measured(self, metric: Metric) -> LearnedMetric | None:
        hour = self._window(_HOUR, max(self.effect.analysis.bucket, BUCKET))
        found = await self._learned_in(metric, hour)
        if self.mark is None:
            self._tell(metric, "has nothing to be compared with: telemetry tells no stable build")
            return None
        if found is None:
            found = await self._learned_in(metric, self._window(_DAY, _DAYS_METRIC_BUCKET))
        if found is None:
            self._object(
                metric,
                f"counted nothing of the stable build ({self.mark}) in the last 24 h, so it could "
                "never speak against a build. Correct its query",
            )
        return found

    async def _learned_in(self, metric: Metric, window: _Window) -> LearnedMetric | None:
        """Without a stable build the query is tried all the same, for the new one."""
        analysis = self.effect.analysis
        mark = self.mark or Mark(name=self.effect.release, role=analysis.role_name)
        past: list[Counts] = []
        for source in analysis.sources:
            measured = await self.telemetry.measure(
                source,
                metric,
                builds=[mark],
                since=window.since,
                until=window.until,
                bucket=window.bucket,
            )
            past += [counts for _, counts in measured.buckets.get(mark, ())]
        buckets = (window.until - window.since) // window.bucket
        return learn_metric(metric, past, buckets=buckets)

    def _object(self, metric: Metric, what: str) -> None:
        """A critical metric that cannot work stops the rollout; any other is told of."""
        if metric.criticality is Criticality.CRITICAL:
            advice = "or make it normal or dry_run, then retry."
            self.lesson.reasons.append(f"Metric {metric.name} {what}; {advice}")
        else:
            self._tell(metric, what)

    def _tell(self, metric: Metric, what: str) -> None:
        self.lesson.warnings.append(f"metric {metric.name} {what}")


async def _failing(error: SlipwayError) -> None:
    raise error


def _rows(found: BuildHistory) -> int:
    return sum(cell.rows for cell in found.cells)
