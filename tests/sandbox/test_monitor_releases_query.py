"""The controller's query for all watched releases, run by the real client on the sandbox."""

import json
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.monitor.query import LogsQueryResult

from controller.verdict.buckets import latency_bin
from tests.sandbox.monitor_kit import OTHER, WORKSPACE, World, running

QUERIES = Path(__file__).resolve().parents[2] / "controller/adapters/azure/queries"
ARRIVED, NAMED, JUDGED, QUERY = (
    (QUERIES / f"{name}.kql").read_text(encoding="utf-8")
    for name in ("requests", "by_version", "judged", "releases")
)
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIZE = timedelta(seconds=15)
Row = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def request(release: str = "blue", **columns: object) -> Mapping[str, object]:
    """Return one good request of 10 ms, changed by *columns*."""
    usual = {
        "Name": "GET /",
        "OperationName": "GET /",
        "ResultCode": "200",
        "Success": True,
        "DurationMs": 10.0,
    }
    return {"AppVersion": release, **usual, **columns}


async def arrive(world: World, seconds: float, *rows: Mapping[str, object]) -> None:
    """Let *rows* become visible *seconds* after START."""
    await world.monitor.insert(WORKSPACE, "AppRequests", rows, ingested_at=moment(seconds))


async def observe(
    world: World,
    *,
    releases: Sequence[str] = ("blue", "green"),
    since: float = 0,
    until: float = 60,
    probes: Sequence[str] = ("GET /health/ready",),
    size: timedelta = SIZE,
    start: datetime = START,
) -> list[Row]:
    """Ask as the controller does and return the rows as mappings."""
    lets = {
        "Versions": f"dynamic({json.dumps(list(releases))})",
        "ProbeOperations": f"dynamic({json.dumps(list(probes))})",
        "From": f"datetime({(start + timedelta(seconds=since)).isoformat()})",
        "To": f"datetime({(start + timedelta(seconds=until)).isoformat()})",
        "Since": f"datetime({(start - timedelta(days=1)).isoformat()})",
        "BucketSize": f"time({size})",
    }
    head = "".join(f"let {name} = {value};\n" for name, value in lets.items())
    for name, text in (("Arrived", ARRIVED), ("Named", NAMED), ("Judged", JUDGED)):
        head += as_table(name, text)
    answer = await world.client.query_workspace(WORKSPACE, head + QUERY, timespan=None)
    assert isinstance(answer, LogsQueryResult)
    (table,) = answer.tables
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def as_table(name: str, text: str) -> str:
    statements, separator, result = text.rpartition(";\n")
    return f"{statements}{separator}let {name} = {result};\n"


def of_kind(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["Kind"] == kind]


def totals(rows: Sequence[Row], release: str, *, bucket: float | None = None) -> dict[str, int]:
    """Return the summed counts of a release, in all buckets or in one."""
    counted = [
        row
        for row in of_kind(rows, "requests")
        if row["Build"] == f"version|{release}"
        and bucket in {None, (row["Bucket"] - START).seconds}
    ]
    names = ("Rows", "Requests", "FailedRows", "Failed")
    return {name: sum(row[name] for row in counted) for name in names}


async def test_an_empty_workspace_answers_with_its_watermark_alone(world: World) -> None:
    """No data is one row that says so; it cannot be mistaken for zero errors of a release."""
    rows = await observe(world)

    assert [row["Kind"] for row in rows] == ["watermark"]
    assert (rows[0]["Rows"], rows[0]["NewestIngested"], rows[0]["Bucket"]) == (0, None, None)


async def test_the_result_has_the_columns_and_types_of_the_header(world: World) -> None:
    """What the sandbox returns is what Microsoft's parser says the query returns."""
    await arrive(world, 1, request(SessionId="s"))
    declared = [line.split()[2:4] for line in QUERY.splitlines() if line.startswith("//   result ")]
    await observe(world)
    text = world.monitor.queries[-1].query

    answer = await world.client.query_workspace(WORKSPACE, text, timespan=None)

    assert isinstance(answer, LogsQueryResult)
    (table,) = answer.tables
    types = zip(table.columns, table.columns_types, strict=True)
    assert [[f"{name}:", kind] for name, kind in types] == declared


async def test_rows_are_counted_in_the_bucket_in_which_they_arrived(world: World) -> None:
    """The bucket is that of ingestion; when the request was made does not matter."""
    late = request(TimeGenerated=moment(-600))
    await arrive(world, 0, request(), request())
    await arrive(world, 14.999999, request())
    await arrive(world, 15, request(), late)

    rows = await observe(world)

    assert totals(rows, "blue", bucket=0)["Rows"] == 3
    assert totals(rows, "blue", bucket=15)["Rows"] == 2


async def test_consecutive_windows_count_each_row_exactly_once(world: World) -> None:
    """Windows are half open: what lies on the edge belongs to the later one, and only there."""
    for seconds in (0, 14.9, 15, 29.9, 30):
        await arrive(world, seconds, request())

    counts = [
        totals(await observe(world, since=since, until=since + 15), "blue")["Rows"]
        for since in (0, 15, 30, 45)
    ]

    assert counts == [2, 2, 1, 0]


async def test_a_bucket_size_that_does_not_divide_a_day_still_starts_at_the_window(
    world: World,
) -> None:
    """Buckets are counted from the window's start, wherever the engine's own grid lies."""
    await arrive(world, 6.9, request())
    await arrive(world, 7, request())

    rows = await observe(world, until=14, size=timedelta(seconds=7))

    assert sorted(row["Bucket"] for row in of_kind(rows, "requests")) == [START, moment(7)]


async def test_sampled_rows_stand_for_many_requests(world: World) -> None:
    """Rows are the evidence, requests the weight: a sampled failure is one row."""
    await arrive(world, 1, request(ItemCount=10), request(ItemCount=10, ResultCode="503"))

    rows = await observe(world)

    assert totals(rows, "blue") == {"Rows": 2, "Requests": 20, "FailedRows": 1, "Failed": 10}


# fmt: off
CODES = [
    # code   success  failed
    ("200",  True,    0),
    ("302",  True,    0),
    ("404",  False,   0),  # classic SDKs call it a failure
    ("429",  False,   0),
    ("499",  False,   0),
    ("500",  True,    1),  # OpenTelemetry's exporter does so where the span has no error status
    ("503",  False,   1),
    ("599",  False,   1),
    ("0",    False,   1),  # the client went away, or the process died
    ("0",    True,    0),  # a queue message: there is no code
    ("",     False,   0),
]
# fmt: on


@pytest.mark.parametrize(("code", "success", "failed"), CODES)
async def test_the_result_code_decides_what_failed(
    world: World, code: str, success: object, failed: int
) -> None:
    """5xx fails whatever `Success` says; "0" fails only if `Success` denies it."""
    await arrive(world, 1, request(ResultCode=code, Success=success))

    rows = await observe(world)

    assert totals(rows, "blue")["Failed"] == failed
    assert of_kind(rows, "requests")[0]["ResultCode"] == code


async def test_probes_and_synthetic_requests_are_left_out(world: World) -> None:
    """Neither readiness probes, by either name, nor availability tests are evidence."""
    await arrive(
        world,
        1,
        request(),
        request(OperationName="GET /health/ready"),
        request(Name="GET /health/ready"),
        request(SyntheticSource="Application Insights Availability Monitoring"),
    )

    rows = await observe(world)

    assert totals(rows, "blue")["Rows"] == 1
    assert totals(await observe(world, probes=()), "blue")["Rows"] == 3


async def test_only_the_watched_releases_and_this_workspace_are_counted(world: World) -> None:
    """Other versions, other workspaces and rows without a version do not appear."""
    await arrive(world, 1, request("blue"), request("green"), request("old"), request(""))
    await world.monitor.insert(OTHER, "AppRequests", [request("blue")], ingested_at=moment(1))

    rows = await observe(world)

    assert {row["Build"] for row in of_kind(rows, "requests")} == {"version|blue", "version|green"}
    assert totals(rows, "blue")["Rows"] == 1


async def test_quotes_in_a_release_stay_data(world: World) -> None:
    """A version that looks like KQL is compared, not run."""
    odd = 'a"]) | take 0 //'
    await arrive(world, 1, request(odd))

    assert totals(await observe(world, releases=[odd]), odd)["Rows"] == 1


async def test_latency_bins_are_those_of_the_judge(world: World) -> None:
    """Each latency falls into the bin that the judge would put it in."""
    latencies = [0.0, 0.05, 0.1, 0.13, 0.9, 1.0, 7.3, 10.0, 99.9, 100.1, 1234.5, 60_000.0]
    await arrive(
        world, 1, *(request(DurationMs=ms, ResultCode=str(i)) for i, ms in enumerate(latencies))
    )

    rows = of_kind(await observe(world), "requests")

    found = {int(row["ResultCode"]): row["LatencyBin"] for row in rows}
    assert found == {i: latency_bin(ms) for i, ms in enumerate(latencies)}


async def test_a_percentile_from_the_bins_is_close_to_the_exact_one(world: World) -> None:
    """p95 read from the histogram is within 3 % of the latencies' own."""
    latencies = [1.5**k for k in range(1, 21) for _ in range(5)]
    await arrive(world, 1, *(request(DurationMs=ms) for ms in latencies))

    rows = of_kind(await observe(world), "requests")

    ordered = sorted((row["LatencyBin"], row["Requests"]) for row in rows)
    seen, p95 = 0, -math.inf
    for index, count in ordered:
        seen += count
        if seen >= 95:
            p95 = 10 ** ((index + 0.5) / 40)
            break
    assert p95 == pytest.approx(sorted(latencies)[94], rel=0.03)


async def test_distinct_sessions_are_counted_exactly(world: World) -> None:
    """A session that fails often is one; one without a name is none; each bucket counts anew."""
    bad = {"ResultCode": "500"}
    await arrive(
        world,
        1,
        request(SessionId="a", **bad),
        request(SessionId="a", **bad),
        request(SessionId="a"),
        request(SessionId="b"),
        request(**bad),
        request("green", SessionId="a"),
    )
    await arrive(world, 16, request(SessionId="a", **bad), request(SessionId="c", **bad))

    rows = of_kind(await observe(world), "sessions")

    found = {
        (row["Build"].partition("|")[2], (row["Bucket"] - START).seconds): (
            row["Sessions"],
            row["FailingSessions"],
        )
        for row in rows
    }
    assert found == {("blue", 0): (2, 1), ("blue", 15): (2, 2), ("green", 0): (1, 0)}


async def test_the_watermark_sees_everybody(world: World) -> None:
    """It tells "nothing arrives" from "nothing of these releases arrives"."""
    await arrive(world, 3, request("old", ItemCount=5, TimeGenerated=moment(-2)))
    await arrive(world, 4, request("old", Name="GET /health/ready", TimeGenerated=moment(-3)))

    (row,) = await observe(world)

    assert (row["Kind"], row["Rows"], row["Requests"]) == ("watermark", 2, 6)
    assert (row["NewestGenerated"], row["NewestIngested"]) == (moment(-2), moment(4))


async def test_newest_times_are_reported_per_group(world: World) -> None:
    """Each row of counts knows how new it is."""
    await arrive(world, 1, request(TimeGenerated=moment(-9)))
    await arrive(world, 2, request(TimeGenerated=moment(-5)))

    (row,) = of_kind(await observe(world), "requests")

    assert (row["NewestGenerated"], row["NewestIngested"]) == (moment(-5), moment(2))
