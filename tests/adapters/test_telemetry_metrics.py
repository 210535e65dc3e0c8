"""Metrics beyond requests, as every `Telemetry` counts them: ours, and those of a user's query."""

import asyncio
import math
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.gate import Metric, MetricKind
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import Measurement
from controller.verdict.buckets import Counts, latency_bin
from sandbox.monitor import DEFAULT_RESOURCE, Monitor
from sandbox.tls import Authority, create_authority
from tests.adapters.telemetry_kit import (
    BLUE,
    GREEN,
    SIZE,
    WORKSPACE,
    MemoryStand,
    SandboxStand,
    Stand,
    at,
    call,
    counted,
    measure,
    row,
    thrown,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPONENT = DEFAULT_RESOURCE.lower()
EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples/metrics"
COUNTS, HISTOGRAM = MetricKind.COUNTS, MetricKind.HISTOGRAM


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(authority: Authority) -> AsyncIterator[SandboxStand]:
    async with Monitor(authority, workspaces=[WORKSPACE]) as monitor:
        monitor.connection_string(WORKSPACE)  # the component exists
        stand = SandboxStand(monitor, authority)
        yield stand
        await stand.telemetry.close()


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest, sandbox: SandboxStand) -> Stand:
    return MemoryStand() if request.param == "memory" else sandbox


def bad(measurement: Measurement, build: str | Mark = BLUE) -> list[tuple[float, int, int]]:
    """Return second, total and bad of each bucket."""
    return [(second, c.total, c.bad) for second, c in counted(measurement, build)]


# --- Dependencies ---------------------------------------------------------------------------------


async def test_no_calls_are_no_buckets(stand: Stand) -> None:
    """Not zero failed calls: nothing is known."""
    measurement = await measure(stand.telemetry, "dependencies")

    assert dict(measurement.buckets) == {}
    assert measurement.query


async def test_calls_are_counted_by_build_and_bucket_when_they_arrive(stand: Stand) -> None:
    """Each stored row once; by ``Success``, as a call has no code that all kinds share."""
    await stand.report(
        call(1),
        call(2, success=False),
        call(14.999, generated=at(-900)),
        call(15, success=False),
        call(3, GREEN),
        call(3, "sha256:other"),
        call(60),
        call(-1),
        row(1, code="500"),
    )
    measurement = await measure(stand.telemetry, "dependencies")

    assert bad(measurement) == [(0, 3, 1), (15, 1, 1)]
    assert bad(measurement, GREEN) == [(0, 1, 0)]
    assert [mark.name for mark in measurement.buckets] == [BLUE, GREEN]


async def test_what_is_no_call_of_a_users_is_left_out(stand: Stand) -> None:
    """Work inside the process, tests from outside, and what the sender repeated."""
    await stand.report(
        call(1, kind="InProc", success=False),
        call(1, kind="InProc | Microsoft.Storage", success=False),
        call(1, synthetic="ping", success=False),
        call(1, id="a", generated=at(0)),
        call(2, id="a", generated=at(0)),
    )

    assert bad(await measure(stand.telemetry, "dependencies")) == [(0, 1, 0)]


@pytest.mark.parametrize("metric", ["dependencies", "exceptions"])
async def test_builds_are_told_apart_as_everywhere(stand: Stand, metric: str) -> None:
    """By version, role or instance, and each of them in one role alone."""
    for number, (release, role, instance) in enumerate(
        [("", "shop", ""), (BLUE, "shop", "i-1"), (BLUE, "till", "i-1")]
    ):
        told: dict[str, Any] = {"role": role, "instance": instance}
        await stand.report(
            call(number, release, **told),
            row(number, release, operation_id=f"o{number}", **told),
            thrown(number, release, operation_id=f"o{number}", **told),
        )
    expected = {
        Mark(name=BLUE): 2,
        Mark(name=BLUE, role="shop"): 1,
        Mark(name="shop", by=IdentifyBy.ROLE_NAME): 2,
        Mark(name="i-1", by=IdentifyBy.ROLE_INSTANCE): 2,
        Mark(name="i-1", by=IdentifyBy.ROLE_INSTANCE, role="till"): 1,
    }
    measurement = await measure(stand.telemetry, metric, builds=[*expected])

    assert {m: sum(c.total for _, c in counted(measurement, m)) for m in expected} == expected


# --- Exceptions -----------------------------------------------------------------------------------


async def test_a_request_that_throws_often_is_bad_once(stand: Stand) -> None:
    """Of all requests of the build: the operations in which something was thrown."""
    await stand.report(
        *(row(n, operation_id=f"o{n}") for n in range(10)),
        thrown(3, operation_id="o3"),
        thrown(3, operation_id="o3"),
        thrown(4, operation_id="o4"),
        row(1, GREEN, operation_id="g"),
    )
    measurement = await measure(stand.telemetry, "exceptions")

    assert bad(measurement) == [(0, 10, 2)]
    assert bad(measurement, GREEN) == [(0, 1, 0)]


async def test_an_exception_without_its_request_counts_itself(stand: Stand) -> None:
    """The request arrived in another bucket, or there is none: never more bad than there are."""
    await stand.report(
        thrown(14, operation_id="o"),
        row(16, operation_id="o", code="500"),
        thrown(31),
        thrown(32),
        thrown(33, synthetic="ping"),
    )

    expected = [(0, 1, 1), (15, 1, 0), (30, 2, 2)]
    assert bad(await measure(stand.telemetry, "exceptions")) == expected


async def test_whatever_is_thrown_is_never_more_than_there_is(stand: Stand) -> None:
    dice = random.Random(5)  # noqa: S311 - the same sample in every run
    operations = ["", *(f"o{n}" for n in range(30))]
    for _ in range(200):
        kind = dice.choice([row, thrown])
        await stand.report(kind(dice.uniform(0, 59), operation_id=dice.choice(operations)))
    found = bad(await measure(stand.telemetry, "exceptions"))

    assert [second for second, _, _ in found] == [0, 15, 30, 45]
    assert all(0 < b <= total for _, total, b in found)


@pytest.mark.parametrize("metric", ["dependencies", "exceptions"])
async def test_our_metrics_have_no_histogram(stand: Stand, metric: str) -> None:
    with pytest.raises(QueryInvalidError, match=r"the-metric.*counts"):
        await measure(stand.telemetry, metric, kind=HISTOGRAM)


@pytest.mark.parametrize("metric", ["dependencies", "exceptions"])
async def test_a_component_with_the_classic_tables_alone_counts_the_same(
    sandbox: SandboxStand, metric: str
) -> None:
    sandbox.monitor.classic.add(COMPONENT)
    for n in range(30):
        more = {"operation_id": f"o{n % 12}"}
        await sandbox.report(row(n, **more), thrown(2 * n, **more), call(n, success=n % 3 > 0))
    modern = await measure(sandbox.telemetry, metric)
    classic = await measure(sandbox.telemetry, metric, workspace=COMPONENT)

    assert bad(classic) == bad(modern) != []
    assert [q.status for q in sandbox.monitor.queries] == [200, 400, 200]
    assert not re.search(r"\bApp(Requests|Dependencies|Exceptions)\b", classic.query)


# --- A user's own query ---------------------------------------------------------------------------


def cell(**changes: object) -> dict[str, object]:
    usual: dict[str, object] = {
        "Build": f"version|{BLUE}",
        "Bucket": at(15),
        "Total": 10,
        "Bad": 1,
    }
    return {name: value for name, value in (usual | changes).items() if value is not ...}


def in_bin(place: object, total: object = 1, **changes: object) -> dict[str, object]:
    return cell(Bin=place, Total=total, Bad=..., **changes)


async def test_counts_are_taken_as_they_are(stand: Stand) -> None:
    """In any order; a sum of reals may be whole, more columns do no harm, zero is a count."""
    query = stand.saying(
        [
            cell(Bucket=at(45), Total=7.0, Bad=7.0, Note="x"),
            cell(Total=10.0, Bad=0.0, Note="y"),
            cell(Build=f"version|{GREEN}", Total=0.0, Bad=0.0, Note="z"),
        ]
    )
    measurement = await measure(stand.telemetry, query)

    assert bad(measurement) == [(15, 10, 0), (45, 7, 7)]
    assert bad(measurement, GREEN) == [(15, 0, 0)]
    assert query in measurement.query or "script" in query
    assert all(start.tzinfo is UTC for start, _ in measurement.buckets[Mark(name=BLUE)])


async def test_a_histogram_is_bins_and_their_sum(stand: Stand) -> None:
    """Bins may be below one: 40 per decade of whatever is positive."""
    query = stand.saying([in_bin(-80, 2), in_bin(120, 3), in_bin(40, Bucket=at(0))])
    measurement = await measure(stand.telemetry, query, kind=HISTOGRAM)

    assert counted(measurement) == [
        (0, Counts(total=1, histogram={40: 1})),
        (15, Counts(total=5, histogram={-80: 2, 120: 3})),
    ]


async def test_a_build_is_called_as_it_stands_in_builds(stand: Stand) -> None:
    """Whatever tells it."""
    marks = {
        "version|b|shop": Mark(name="b", role="shop"),
        "role_name|shop": Mark(name="shop", by=IdentifyBy.ROLE_NAME),
        "role_instance|i": Mark(name="i", by=IdentifyBy.ROLE_INSTANCE),
    }
    query = stand.saying([cell(Build=name) for name in marks])
    measurement = await measure(stand.telemetry, query, builds=[*marks.values()])

    assert {mark: len(found) for mark, found in measurement.buckets.items()} == dict.fromkeys(
        marks.values(), 1
    )


# fmt: off
ODD_COUNTS = [
    # id                 rows                                   what is said
    ("no-build",         [cell(Build=...)],                     "no column Build"),
    ("no-total-no-bad",  [cell(Total=..., Bad=...)],            "no column Total, Bad"),
    ("unknown-build",    [cell(Build="version|other")],         "not in Builds.*other"),
    ("bare-build",       [cell(Build=BLUE)],                    "not in Builds"),
    ("build-a-number",   [cell(Build=1)],                       "not in Builds"),
    ("negative",         [cell(Total=-1)],                      "Total that is no count: -1"),
    ("negative-bad",     [cell(Bad=-1)],                        "Bad that is no count: -1"),
    ("fraction",         [cell(Total=1.5)],                     "no whole number: 1.5"),
    ("null",             [cell(Total=None)],                    "Total that is no whole number"),
    ("nan",              [cell(Bad=math.nan)],                  "Bad that is no whole number"),
    ("text",             [cell(Total="10")],                    "no whole number: '10'"),
    ("bool",             [cell(Bad=True)],                      "no whole number: True"),
    ("too-large",        [cell(Total=2**60)],                   "Total that is no count"),
    ("bad-over-total",   [cell(Bad=11)],                        r"more Bad \(11\) than Total"),
    ("bucket-text",      [cell(Bucket="12:00")],                "off the grid"),
    ("bucket-unaligned", [cell(Bucket=at(16))],                 "off the grid.*12:00:16"),
    ("bucket-early",     [cell(Bucket=at(-15))],                "off the grid"),
    ("bucket-late",      [cell(Bucket=at(60))],                 "off the grid"),
    ("twice",            [cell(), cell(Total=3)],               "two rows for version"),
    ("one-of-many",      [cell(), cell(Bucket=at(0), Bad=99)],  "more Bad"),
]
ODD_BINS = [
    ("no-bin",           [cell()],                              "no column Bin"),
    ("bin-twice",        [in_bin(40), in_bin(40, 2)],           "two rows.*bin 40"),
    ("bin-null",         [in_bin(None)],                        "Bin that is no whole number"),
    ("bin-fraction",     [in_bin(40.5)],                        "Bin that is no whole number"),
    ("bin-no-value",     [in_bin(10**6)],                       "Bin that no value can be in"),
    ("bin-negative",     [in_bin(40, -2)],                      "Total that is no count"),
]
# fmt: on
ODD = [
    *(pytest.param(COUNTS, *case, id=name) for name, *case in ODD_COUNTS),
    *(pytest.param(HISTOGRAM, *case, id=name) for name, *case in ODD_BINS),
]


@pytest.mark.parametrize(("kind", "rows", "said"), ODD)
async def test_an_odd_answer_is_none_and_says_what_is_odd(
    stand: Stand, kind: MetricKind, rows: list[dict[str, object]], said: str
) -> None:
    """One odd row, and the whole answer counts nothing; the metric and the columns are named."""
    with pytest.raises(QueryInvalidError, match=f"the-metric.*{said}") as caught:
        await measure(stand.telemetry, stand.saying(rows), kind=kind)

    assert "Build, Bucket" in caught.value.fix


async def test_a_source_that_is_none_is_not_blamed_on_our_query(sandbox: SandboxStand) -> None:
    """There is nothing that a user could correct in it."""
    other = "33333333-3333-3333-3333-333333333333"
    with pytest.raises(QueryInvalidError, match=rf"the-metric.*{other}") as caught:
        await measure(sandbox.telemetry, "dependencies", workspace=other)

    assert "analysis.workspace" in caught.value.fix


async def test_a_query_that_nobody_knows_is_refused_by_the_twin() -> None:
    with pytest.raises(QueryInvalidError, match=r"the-metric.*cannot run"):
        await measure(MemoryStand().telemetry, "AppRequests")


async def test_a_query_that_cannot_run_names_the_metric(sandbox: SandboxStand) -> None:
    """And what the service says about it."""
    with pytest.raises(QueryInvalidError, match=r"the-metric.*Nope"):
        await measure(sandbox.telemetry, "AppRequests | where Nope == 1")
    with pytest.raises(QueryInvalidError, match=r"the-metric.*could not be parsed"):
        await measure(sandbox.telemetry, "AppRequests | summarize count( by")


@pytest.mark.parametrize("query", ["dependencies", "exceptions", "saying"])
@pytest.mark.parametrize("fault", [Fault.LOST_RESPONSE, Fault.TRANSIENT, Fault.THROTTLED])
async def test_a_measurement_that_is_not_whole_is_none(
    stand: Stand, query: str, fault: Fault
) -> None:
    """The next one is asked for as ever."""
    query = stand.saying([cell()]) if query == "saying" else query
    stand.strike(fault)
    with pytest.raises(ProviderError) as caught:
        await measure(stand.telemetry, query)

    throttled = fault is Fault.THROTTLED
    assert caught.value.retry_after == (THROTTLED_FOR if throttled else None)
    await measure(stand.telemetry, query)


async def test_a_missing_role_is_named(stand: Stand) -> None:
    query = stand.saying([cell()])
    stand.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="role"):
        await measure(stand.telemetry, query)


# --- The examples of the documentation ------------------------------------------------------------


async def test_the_example_of_counts_runs(sandbox: SandboxStand) -> None:
    """Checkouts that were not paid, of all checkouts of each build."""
    outcomes = [(1, BLUE, "paid"), (2, BLUE, "declined"), (20, BLUE, ""), (3, GREEN, "paid")]
    for second, release, outcome in [*outcomes, (4, "sha256:other", "paid"), (61, BLUE, "paid")]:
        columns = {
            "AppVersion": release,
            "Name": "POST /checkout",
            "Properties": {"outcome": outcome},
        }
        await sandbox.monitor.insert(WORKSPACE, "AppRequests", [columns], ingested_at=at(second))
    await sandbox.report(row(5))
    measurement = await measure(sandbox.telemetry, example("unpaid_checkouts"))

    assert bad(measurement) == [(0, 2, 1), (15, 1, 1)]
    assert bad(measurement, GREEN) == [(0, 1, 0)]


async def test_the_example_of_a_histogram_runs(sandbox: SandboxStand) -> None:
    """Each duration falls into the bin in which a latency would fall."""
    values = [0.11, 0.5, 1.0, 3.3, 99.0, 101.0, 1000.0, 1234.5]
    rows: list[dict[str, object]] = [
        {"AppVersion": BLUE, "Target": "search", "DurationMs": value} for value in [*values, 0.0]
    ]
    await sandbox.monitor.insert(WORKSPACE, "AppDependencies", rows, ingested_at=at(1))
    measurement = await measure(sandbox.telemetry, example("search_duration"), kind=HISTOGRAM)
    expected = {latency_bin(value): 1 for value in values}

    assert counted(measurement) == [(0, Counts(total=len(values), histogram=expected))]


def example(name: str) -> str:
    return (EXAMPLES / f"{name}.kql").read_text(encoding="utf-8")


# --- From the app's SDK to the metric -------------------------------------------------------------


async def test_what_an_app_sends_is_measured_by_its_version(sandbox: SandboxStand) -> None:
    """Envelopes as Microsoft's exporters write them, through ingestion and both metrics."""
    began = datetime.now(UTC).replace(microsecond=0)
    items = [
        _envelope(
            sandbox.monitor,
            "RequestData",
            {"id": "1", "duration": "0.00:00:00.010", "responseCode": "500", "success": False},
        ),
        _envelope(
            sandbox.monitor,
            "RemoteDependencyData",
            {"name": "GET", "duration": "0.00:00:00.010", "success": False, "type": "HTTP"},
        ),
        _envelope(
            sandbox.monitor, "ExceptionData", {"exceptions": [{"typeName": "E", "message": "m"}]}
        ),
    ]
    url = f"{sandbox.monitor.ingestion_url}/v2.1/track"
    async with aiohttp.ClientSession() as session, session.post(url, json=items) as answer:
        assert answer.status == 200
    for metric in ("dependencies", "exceptions"):
        async with asyncio.timeout(30):
            measurement = await sandbox.telemetry.measure(
                WORKSPACE,
                Metric(name=metric, query=metric),
                builds=[Mark(name=BLUE)],
                since=began,
                until=began + SIZE * 20,
                bucket=SIZE,
            )
        found = [counts for _, counts in measurement.buckets[Mark(name=BLUE)]]
        assert found == [Counts(total=1, bad=1)]


def _envelope(monitor: Monitor, kind: str, data: dict[str, object]) -> dict[str, object]:
    parts = dict(p.split("=", 1) for p in monitor.connection_string(WORKSPACE).split(";"))
    return {
        "ver": 1,
        "name": f"Microsoft.ApplicationInsights.{kind}",
        "time": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
        "iKey": parts["InstrumentationKey"],
        "tags": {"ai.application.ver": BLUE, "ai.operation.id": "op"},
        "data": {"baseType": kind, "baseData": {"ver": 2, **data}},
    }
