"""What every `Telemetry` keeps, asked of the memory twin and of Log Analytics on the sandbox.

The sandbox runs the adapter's own query; the claims about the query alone are elsewhere.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from controller.adapters.azure.monitor import LogAnalytics
from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.errors import (
    AccessDeniedError,
    PermanentError,
    ProviderError,
    QueryInvalidError,
)
from controller.verdict.buckets import latency_bin, percentile, total
from sandbox.monitor import Monitor
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer
from tests.adapters.telemetry_kit import (
    BLUE,
    GREEN,
    PROBE,
    WORKSPACE,
    MemoryStand,
    SandboxStand,
    Stand,
    adapter,
    at,
    observe,
    of,
    only,
    row,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(authority: Authority) -> AsyncIterator[SandboxStand]:
    async with Monitor(authority, workspaces=[WORKSPACE]) as monitor:
        stand = SandboxStand(monitor, authority)
        yield stand
        await stand.telemetry.close()


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest, sandbox: SandboxStand) -> Stand:
    return MemoryStand() if request.param == "memory" else sandbox


# --- What is seen ---------------------------------------------------------------------------------


async def test_no_data_is_no_bucket(stand: Stand) -> None:
    """Nothing arrived: not one bucket of zeroes, and no newest row."""
    seen = await observe(stand.telemetry)

    assert (dict(seen.buckets), seen.newest) == ({}, None)
    assert (seen.since, seen.until) == (at(0), at(60))
    assert seen.query


async def test_only_buckets_that_saw_something_are_given_oldest_first(stand: Stand) -> None:
    """For each release that was asked for; a release nobody asked for stays unseen."""
    await stand.report(
        row(46), row(1), row(14.9), row(31, GREEN), row(2, "sha256:other"), row(61), row(-1)
    )
    seen = await observe(stand.telemetry)

    assert {m.name: [b.start for b in found] for m, found in seen.buckets.items()} == {
        BLUE: [at(0), at(45)],
        GREEN: [at(30)],
    }
    assert [b.rows for b in of(seen)] == [2, 1]
    assert all(b.start.tzinfo is UTC for b in of(seen))


async def test_late_data_counts_when_it_arrives(stand: Stand) -> None:
    """What becomes visible later lands in a later bucket, whenever the request was made."""
    await stand.report(row(1), row(40, generated=at(2)), row(41, generated=at(-600)))
    seen = await observe(stand.telemetry)

    assert [(b.start, b.rows) for b in of(seen)] == [(at(0), 1), (at(30), 2)]


async def test_no_row_is_counted_twice_over_adjacent_windows(stand: Stand) -> None:
    """Half-open windows, in whatever pieces: the sum is the same."""
    times = [0, 14.999, 15, 29.999999, 30, 44, 45, 59.999]
    await stand.report(*(row(t) for t in times))
    whole = await observe(stand.telemetry)
    pieces = [
        bucket
        for since, until in ((0, 15), (15, 45), (45, 60))
        for bucket in of(await observe(stand.telemetry, since=since, until=until))
    ]

    assert pieces == list(of(whole))
    assert [b.rows for b in pieces] == [2, 2, 2, 2]


async def test_a_sampled_row_stands_for_many_requests(stand: Stand) -> None:
    """Rows are the evidence, requests the weight."""
    await stand.report(row(count=10), row(count=5, code="500", success=False))
    bucket = only(await observe(stand.telemetry))

    assert (bucket.rows, bucket.requests, bucket.failed_rows, bucket.failed) == (2, 15, 1, 5)
    assert bucket.failures == {"500": 5}
    assert sum(bucket.latency.values()) == 15


async def test_failures_are_told_apart_by_their_code(stand: Stand) -> None:
    """5xx, and requests that never got a code; a client's mistake is none of the build."""
    codes = ["200", "302", "404", "429", "500", "500", "503", "0"]
    await stand.report(
        *(row(code=c, success=c in {"200", "302"}) for c in codes), row(code="0", success=True)
    )
    bucket = only(await observe(stand.telemetry))

    assert (bucket.requests, bucket.failed) == (9, 4)
    assert bucket.failures == {"500": 2, "503": 1, "0": 1}


async def test_our_own_requests_are_no_evidence(stand: Stand) -> None:
    """Probes, smoke tests, availability tests; but they show how far telemetry has come."""
    await stand.report(
        row(1, operation=PROBE), row(2, operation="POST /smoke"), row(3, synthetic="ping")
    )
    seen = await observe(stand.telemetry, probes=(PROBE, "POST /smoke"))

    assert dict(seen.buckets) == {}
    assert seen.newest == at(3)


async def test_sessions_are_counted_where_the_app_sends_them(stand: Stand) -> None:
    """Distinct ones, and those that met a failure; none at all is not zero."""
    await stand.report(
        row(1, session="a"),
        row(2, session="a", code="500"),
        row(3, session="a", code="500"),
        row(4, session="b"),
        row(5),
        row(6, GREEN, code="500"),
    )
    seen = await observe(stand.telemetry)
    blue, green = only(seen), only(seen, GREEN)

    assert (blue.sessions, blue.failing_sessions) == (2, 1)
    assert (green.sessions, green.failing_sessions) == (None, None)


async def test_latencies_fall_into_the_judges_bins(stand: Stand) -> None:
    """From the fastest to the slowest, exactly where the judge would put them."""
    values = [0.0, 0.05, 0.11, 0.5, 1.0, 3.3, 99.0, 101.0, 1234.5, 59_999.0]
    await stand.report(*(row(milliseconds=v) for v in values))
    bucket = only(await observe(stand.telemetry))
    expected: dict[int, int] = {}
    for value in values:
        expected[latency_bin(value)] = expected.get(latency_bin(value), 0) + 1

    assert bucket.latency == expected


async def test_percentiles_are_within_five_percent(stand: Stand) -> None:
    """Of the exact nearest-rank percentile, weights counted in."""
    dice = random.Random(7)  # noqa: S311 - the same sample in every run
    rows = [
        row(t * 59 / 400, milliseconds=dice.lognormvariate(4, 1), count=dice.choice([1, 2, 5]))
        for t in range(400)
    ]
    await stand.report(*rows)
    seen = await observe(stand.telemetry)
    histogram = total(of(seen)).latency
    exact = sorted(r.milliseconds for r in rows for _ in range(r.count))

    for percent in (50, 90, 95, 99):
        rank = math.ceil(len(exact) * percent / 100)
        found = percentile(histogram, percent)
        assert found is not None
        assert abs(found / exact[rank - 1] - 1) < 0.05


# --- What goes wrong ------------------------------------------------------------------------------


async def test_a_partial_answer_is_no_evidence(stand: Stand) -> None:
    """Half of the rows could be the healthy half."""
    await stand.report(row())
    stand.strike(Fault.LOST_RESPONSE)
    with pytest.raises(ProviderError):
        await observe(stand.telemetry)

    assert only(await observe(stand.telemetry)).rows == 1


async def test_throttling_says_when_to_come_back(stand: Stand) -> None:
    """It is not asked again by itself: the poll's schedule decides."""
    stand.strike(Fault.THROTTLED)
    with pytest.raises(ProviderError) as caught:
        await observe(stand.telemetry)

    assert caught.value.retry_after == THROTTLED_FOR


async def test_a_broken_service_is_a_missing_answer(stand: Stand) -> None:
    """Once; the next query succeeds."""
    stand.strike(Fault.TRANSIENT)
    with pytest.raises(ProviderError):
        await observe(stand.telemetry)

    assert dict((await observe(stand.telemetry)).buckets) == {}


async def test_a_missing_role_is_named(stand: Stand) -> None:
    """It would never answer: this is for people to mend."""
    stand.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="role"):
        await observe(stand.telemetry)


# --- Log Analytics alone --------------------------------------------------------------------------


async def test_one_observation_is_one_query(sandbox: SandboxStand) -> None:
    """Even when it fails: azure-core would send four."""
    await observe(sandbox.telemetry)
    for fault in (Fault.TRANSIENT, Fault.THROTTLED):
        sandbox.strike(fault)
        with pytest.raises(ProviderError):
            await observe(sandbox.telemetry)

    assert [q.status for q in sandbox.monitor.queries] == [200, 503, 429]
    assert all(q.timespan for q in sandbox.monitor.queries)


async def test_the_role_is_log_analytics_reader(sandbox: SandboxStand) -> None:
    """The message names it."""
    sandbox.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="Log Analytics Reader"):
        await observe(sandbox.telemetry)


async def test_a_workspace_that_is_none_can_never_answer(sandbox: SandboxStand) -> None:
    """The message names it, and the setting."""
    other = "33333333-3333-3333-3333-333333333333"

    with pytest.raises(QueryInvalidError, match=rf"{other}.*analysis\.workspace"):
        await observe(sandbox.telemetry, workspace=other)


async def test_a_query_that_is_refused_can_never_answer(
    sandbox: SandboxStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of ours, or a workspace without the table."""
    monkeypatch.setattr("controller.adapters.azure.kql_text.text", lambda _: "Nonsense | take 1")

    with pytest.raises(QueryInvalidError):
        await observe(sandbox.telemetry)


NASTY = ['a"b', "a'b", "a\\", 'x"); AppTraces | take 1 //', "$(x)", "ü☃𝄞", "", "a]b"]


async def test_odd_names_stay_inside_their_quotes(sandbox: SandboxStand) -> None:
    """Whatever an image or a path is called, it is data."""
    for number, name in enumerate(NASTY):
        await sandbox.report(row(number, name), row(number, operation=name))
    seen = await observe(sandbox.telemetry, releases=[BLUE, *NASTY], probes=NASTY)

    assert {mark.name: only(seen, mark).rows for mark in seen.buckets} == dict.fromkeys(NASTY, 1)


async def test_a_name_that_cannot_be_quoted_is_refused(sandbox: SandboxStand) -> None:
    """A line break could begin a statement of its own."""
    with pytest.raises(PermanentError, match="control characters"):
        await observe(sandbox.telemetry, releases=["a\nb"])
    assert sandbox.monitor.queries == ()


async def test_a_slow_service_is_given_up(sandbox: SandboxStand, authority: Authority) -> None:
    """The message's lock outlives the query."""
    sandbox.monitor.faults.delay_queries(30)
    telemetry = adapter(sandbox.monitor.query_url, authority, total=timedelta(seconds=0.3))
    async with asyncio.timeout(10):
        with pytest.raises(ProviderError, match="TimeoutError"):
            await observe(telemetry)
    await telemetry.close()


async def test_a_service_that_is_away_is_a_missing_answer(
    sandbox: SandboxStand, authority: Authority
) -> None:
    """Nobody listens there."""
    telemetry = adapter(sandbox.monitor.query_url, authority)
    await sandbox.monitor.stop()
    with pytest.raises(ProviderError, match="does not answer"):
        await observe(telemetry)
    await telemetry.close()


# --- Odd answers, word by word --------------------------------------------------------------------

_COLUMNS = {
    "Kind": "string",
    "Bucket": "datetime",
    "Build": "string",
    "LatencyBin": "long",
    "ResultCode": "string",
    "Rows": "long",
    "Requests": "long",
    "FailedRows": "long",
    "Failed": "long",
    "Sessions": "long",
    "FailingSessions": "long",
    "NewestGenerated": "datetime",
}
_START = "2026-01-01T12:00:15.0000000Z"


def cells(**changes: Any) -> list[Any]:
    usual: dict[str, Any] = {
        "Kind": "requests",
        "Bucket": _START,
        "Build": f"version|{BLUE}",
        "LatencyBin": 40,
        "ResultCode": "200",
        "Rows": 1,
        "Requests": 1,
        "FailedRows": 0,
        "Failed": 0,
    }
    return [(usual | changes).get(name) for name in _COLUMNS]


def watermark() -> list[Any]:
    return [{"Kind": "watermark", "Rows": 1}.get(name) for name in _COLUMNS]


def answer(*rows: list[Any], without: str = "") -> dict[str, Any]:
    kept = [place for place, name in enumerate(_COLUMNS) if name != without]
    columns = [{"name": name, "type": kind} for name, kind in _COLUMNS.items()]
    table = {
        "name": "PrimaryResult",
        "columns": [columns[place] for place in kept],
        "rows": [[row[place] for place in kept] for row in rows],
    }
    return {"tables": [table]}


# fmt: off
ODD: dict[str, tuple[Any, str]] = {
    # id                 the answer                                            what is said
    "no-table":          ({"tables": []},                                      "without a table"),
    "no-tables":         ({},                                                  "without a table"),
    "no-columns":        ({"tables": [{"rows": [[1]]}]},                       "cannot be read"),
    "a-list":            ([1, 2],                                              "cannot be read"),
    "no-rows":           (answer(),                                            "watermark"),
    "no-watermark":      (answer(cells()),                                     "watermark"),
    "column-missing":    (answer(cells(), watermark(), without="FailedRows"),  "FailedRows"),
    "requests-nan":      (answer(cells(Requests="NaN"), watermark()),          "NaN"),
    "requests-null":     (answer(cells(Requests=None), watermark()),           "is none"),
    "latency-nan":       (answer(cells(LatencyBin="NaN"), watermark()),        "NaN"),
    "bucket-null":       (answer(cells(Bucket=None), watermark()),             "no time"),
    "bucket-None":       (answer(cells(Bucket="None"), watermark()),           "no time"),
    "bucket-off-grid":   (answer(cells(Bucket="2026-01-01T12:00:16Z"), watermark()), "no bucket"),
    "not-json":          ("<html>gateway</html>",                              "Log Analytics"),
}
# fmt: on


@pytest_asyncio.fixture(loop_scope="module")
async def canned(authority: Authority) -> AsyncIterator[tuple[LogAnalytics, list[Any]]]:
    """The adapter before a service that answers with what is put into the list."""
    answers: list[Any] = []

    async def serve(_: web.Request) -> web.Response:
        body = answers.pop()
        if isinstance(body, str):
            return web.Response(text=body, content_type="text/html")
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/v1/workspaces/{workspace}/query", serve)
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    telemetry = adapter(server.url, authority)
    yield telemetry, answers
    await telemetry.close()
    await server.stop()


@pytest.mark.parametrize(("body", "said"), ODD.values(), ids=ODD)
async def test_an_odd_answer_is_no_evidence(
    canned: tuple[LogAnalytics, list[Any]], body: Any, said: str
) -> None:
    """It is missing evidence, never a healthy bucket, and the message says what was odd."""
    telemetry, answers = canned
    answers.append(body)

    with pytest.raises(ProviderError, match=said):
        await observe(telemetry)


async def test_a_request_without_a_duration_counts_but_has_no_latency(
    canned: tuple[LogAnalytics, list[Any]],
) -> None:
    """A null in one column does not take the others away."""
    telemetry, answers = canned
    answers.append(answer(cells(LatencyBin=None), cells(Requests=3), watermark()))
    bucket = only(await observe(telemetry))

    assert (bucket.start, bucket.requests, bucket.latency) == (at(15), 4, {40: 3})
