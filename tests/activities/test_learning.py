"""What PREFLIGHT learns of the stable build, and what it says where there is nothing to learn."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.effects import Preflight
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.events import NotYet, PreflightFailed, PreflightPassed
from controller.core.gate import Criticality, Direction, Gate, Metric, MetricKind
from controller.core.plan import Analysis
from controller.core.telemetry import Mark
from controller.verdict.buckets import Counts, latency_bin
from controller.verdict.metric_history import learn_metric
from tests.activities.kit import NOW, OLD_DIGEST, Bench, checking

HOUR, DAY, SECOND = timedelta(hours=1), timedelta(hours=24), timedelta(seconds=1)
CRITICAL, NORMAL = Criticality.CRITICAL, Criticality.NORMAL
CALLS = Metric(name="calls", query="dependencies")


def examined(*metrics: Metric, **analysis: Any) -> Preflight:
    base = replace(Analysis(workspace="w"), gate=Gate(metrics=metrics), **analysis)
    return replace(checking(), analysis=base, probe_operations=("GET /up",))


async def passed(bench: Bench, effect: Preflight) -> PreflightPassed:
    reply = await bench.preflight(effect)
    assert isinstance(reply, PreflightPassed), reply
    return reply


# --- Requests -------------------------------------------------------------------------------------


async def test_the_last_hour_is_learned_and_frozen() -> None:
    """Of the stable build, without our own requests, in buckets of 15 s."""
    bench = Bench()

    learned = (await passed(bench, examined())).learned

    ((source, build, ours, since, until, bucket),) = bench.telemetry.looked_back
    assert (source, build, ours) == ("w", Mark(name=OLD_DIGEST), ("GET /up",))
    assert (until - since, bucket) == (HOUR, 15 * SECOND)
    assert NOW - until >= Analysis(workspace="w").settle
    assert learned is not None
    assert (learned.since, learned.until) == (since, until)
    assert (learned.rows, learned.failed_rows, learned.edges) == (600, 6, (50, 70, 90))
    assert learned.by_session


@pytest.mark.parametrize(("bucket", "asked"), [(1, 15), (15, 15), (40, 40)])
async def test_buckets_of_the_past_are_the_apps_but_not_shorter_than_15_s(
    bucket: int, asked: int
) -> None:
    """And the window holds a whole number of them."""
    bench = Bench()
    await passed(bench, examined(bucket=bucket * SECOND))

    since, until, size = bench.telemetry.looked_back[0][3:]
    assert size == asked * SECOND
    assert (until - since) % size == timedelta()
    assert until - since >= HOUR


@pytest.mark.parametrize(
    ("hour", "day", "learned"), [(499, 5000, 5000), (500, 5000, 500), (20, 20, 20), (0, 30, 30)]
)
async def test_a_quiet_hour_is_helped_by_the_day(hour: int, day: int, learned: int) -> None:
    bench = Bench()
    bench.telemetry.past = {("w", HOUR): hour, ("w", DAY): day}

    reply = await passed(bench, examined())

    assert reply.learned is not None
    assert reply.learned.rows == learned
    assert len(bench.telemetry.looked_back) == (1 if hour >= 500 else 2)


async def test_nothing_found_is_said_and_stops_nobody() -> None:
    bench = Bench()
    bench.telemetry.past = {("w", None): 0}

    reply = await passed(bench, examined())

    assert reply.learned is None
    assert "has nothing of the stable build" in reply.warnings[0]


async def test_without_a_stable_version_nothing_is_looked_for() -> None:
    bench = Bench(release=None)

    reply = await passed(bench, examined())

    assert reply.learned is None
    assert bench.telemetry.looked_back == []
    assert "no concurrent comparison" in reply.warnings[0]


async def test_a_provider_that_is_away_is_waited_for() -> None:
    """The deadline of PREFLIGHT ends it; what would never answer is a reason."""
    bench = Bench()
    bench.telemetry.history_errors = [ProviderError("No answer.", retry_after=9 * SECOND)]
    reply = await bench.preflight(examined())
    assert isinstance(reply, NotYet)
    assert reply.retry_after == 9 * SECOND

    bench.telemetry.history_errors = [AccessDeniedError("No.", fix="Give the role.")]
    assert isinstance(await bench.preflight(examined()), PreflightFailed)


async def test_the_day_is_no_condition() -> None:
    """A query over a day may be too much; the hour was read."""
    bench = Bench()
    bench.telemetry.past = {("w", HOUR): 40}

    async def only_the_hour(*args: Any, **asked: Any) -> Any:
        if asked["until"] - asked["since"] > HOUR:
            raise ProviderError("Too slow.")
        return await history(*args, **asked)

    history, bench.telemetry.history = bench.telemetry.history, only_the_hour  # type: ignore[method-assign]  # the day alone fails

    reply = await passed(bench, examined())

    assert reply.learned is not None
    assert reply.learned.rows == 40
    assert "the day before cannot be read" in reply.warnings[0]


async def test_the_source_in_which_the_build_reports_is_learned_from() -> None:
    bench = Bench()
    bench.telemetry.past = {("w", None): 3, ("second", None): 800}

    reply = await passed(bench, examined(additional_workspaces=("second",)))

    assert reply.learned is not None
    assert reply.learned.rows == 800


async def test_an_app_that_reports_no_durations_is_held_against_the_limit() -> None:
    bench = Bench()
    bench.telemetry.edges = None

    reply = await passed(bench, examined())

    assert reply.learned is not None
    assert reply.learned.edges == (latency_bin(2000.0),) * 3
    assert "no durations" in reply.warnings[0]


async def test_a_way_back_learns_nothing() -> None:
    bench = Bench()

    reply = await passed(bench, replace(examined(CALLS), is_way_back=True))

    assert reply.learned is None
    assert (bench.telemetry.looked_back, bench.telemetry.measured) == ([], [])


# --- Metrics --------------------------------------------------------------------------------------


async def test_a_metric_is_learned_beside_the_requests() -> None:
    bench = Bench()
    bench.telemetry.metrics["calls"] = [Counts(total=100, bad=2), Counts(total=50, bad=1)]

    reply = await passed(bench, examined(CALLS))

    assert bench.telemetry.measured == [("calls", OLD_DIGEST, HOUR, 15 * SECOND)]
    assert reply.learned is not None
    (metric,) = reply.learned.metrics
    assert (metric.name, metric.total, metric.bad) == ("calls", 150, 3)
    assert metric.dispersion >= 1
    assert reply.warnings == ()


@pytest.mark.parametrize("criticality", list(Criticality))
async def test_a_metric_without_a_past_never_means_that_all_is_well(
    criticality: Criticality,
) -> None:
    """A critical one blocks, with what to do; any other is told of. A day was looked through."""
    bench = Bench()

    reply = await bench.preflight(examined(replace(CALLS, criticality=criticality)))

    assert [span for _, _, span, _ in bench.telemetry.measured] == [HOUR, DAY]
    if criticality is CRITICAL:
        assert isinstance(reply, PreflightFailed)
        said = reply.reasons[0]
        assert "or make it normal or dry_run" in said
    else:
        assert isinstance(reply, PreflightPassed)
        said = reply.warnings[0]
        assert reply.learned is not None
        assert reply.learned.metrics == ()
    assert "counted nothing of the stable build" in said


@pytest.mark.parametrize("criticality", list(Criticality))
async def test_a_query_that_is_refused_is_found_out_now(criticality: Criticality) -> None:
    bench = Bench()
    bench.telemetry.metrics["calls"] = QueryInvalidError("No such table.", fix="Correct it.")

    reply = await bench.preflight(examined(replace(CALLS, criticality=criticality)))

    assert isinstance(reply, PreflightFailed) == (criticality is CRITICAL)
    said = reply.reasons[0] if isinstance(reply, PreflightFailed) else reply.warnings[0]  # type: ignore[union-attr]  # one of both
    assert "No such table. Correct it." in said


@pytest.mark.parametrize("criticality", list(Criticality))
async def test_a_metric_that_is_away_is_waited_for_where_it_is_critical(
    criticality: Criticality,
) -> None:
    bench = Bench()
    bench.telemetry.metrics["calls"] = ProviderError("Busy.")

    reply = await bench.preflight(examined(replace(CALLS, criticality=criticality)))

    assert isinstance(reply, NotYet) == (criticality is CRITICAL)


async def test_a_metrics_query_is_tried_where_there_is_no_stable_build() -> None:
    """Nothing can be compared, which is told; what is refused is found out all the same."""
    bench = Bench(release=None)
    bench.telemetry.metrics["calls"] = [Counts(total=1)]

    reply = await passed(bench, examined(replace(CALLS, criticality=CRITICAL)))

    assert "nothing to be compared with" in reply.warnings[1]


@pytest.mark.parametrize(
    ("direction", "edge", "bad"),
    [(Direction.HIGHER_IS_WORSE, 9, 1), (Direction.LOWER_IS_WORSE, 1, 0)],
)
def test_values_are_held_against_the_builds_own_tenth(
    direction: Direction, edge: int, bad: int
) -> None:
    """Beyond the 90th percentile; below the 10th where low values are the bad ones."""
    metric = replace(CALLS, kind=MetricKind.HISTOGRAM, direction=direction)
    past = [Counts(total=10, histogram=dict.fromkeys(range(1, 11), 1))]

    learned = learn_metric(metric, past, buckets=4)

    assert learned is not None
    assert (learned.edge, learned.total, learned.bad) == (edge, 10, bad)
    assert learn_metric(metric, [], buckets=4) is None


def test_failures_of_a_metric_that_come_in_bursts_count_for_less() -> None:
    """The past tells how clumped they are; nothing more is known of whom they befell."""
    even = [Counts(total=100, bad=2)] * 100
    bursts = [Counts(total=100, bad=50 if place % 25 == 0 else 0) for place in range(100)]

    calm, clumped = (learn_metric(CALLS, past, buckets=100) for past in (even, bursts))

    assert calm is not None
    assert clumped is not None
    assert 1 <= calm.dispersion < clumped.dispersion
