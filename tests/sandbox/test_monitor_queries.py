"""Log Analytics' query API, driven by azure-monitor-query."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import (
    HttpResponseError,
    ServiceRequestError,
    ServiceResponseTimeoutError,
)
from azure.monitor.query import (
    LogsBatchQuery,
    LogsQueryError,
    LogsQueryPartialResult,
    LogsQueryResult,
)

from sandbox.monitor import DEFAULT_RESOURCE
from sandbox.monitor.server import UnknownWorkspaceError
from sandbox.monitor.store import UnknownColumnError
from tests.sandbox.monitor_kit import (
    OBJECT_ID,
    OTHER,
    WORKSPACE,
    Identity,
    World,
    client_for,
    rows,
    running,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


async def put(world: World, *names: str, at: datetime = NOON, workspace: str = WORKSPACE) -> None:
    await world.monitor.insert(
        workspace, "AppRequests", [{"Name": name} for name in names], ingested_at=at
    )


async def test_every_type_arrives_as_the_service_writes_it(world: World) -> None:
    """Columns come with Kusto's names and types, values in the service's JSON forms."""
    answer = await world.client.query_workspace(
        WORKSPACE,
        'print s = "a", n = 1, i = int(2), r = 1.5, b = true, d = datetime(2026-01-01 10:00:00.5),'
        ' t = 1d + 2h + 3ms, j = dynamic({"k": [1]}), none = int(null), nan = real(nan),'
        " inf = real(+inf)",
        timespan=None,
    )

    assert isinstance(answer, LogsQueryResult)
    (table,) = answer.tables
    found = dict(
        zip(table.columns, zip(table.columns_types, table.rows[0], strict=True), strict=True)
    )
    assert found == {
        "s": ("string", "a"),
        "n": ("long", 1),
        "i": ("int", 2),
        "r": ("real", 1.5),
        "b": ("bool", True),
        "d": ("datetime", datetime(2026, 1, 1, 10, 0, 0, 500_000, tzinfo=UTC)),
        "t": ("timespan", "1.02:00:00.0030000"),
        "j": ("dynamic", '{"k":[1]}'),
        "none": ("int", None),
        "nan": ("real", "NaN"),
        "inf": ("real", "Infinity"),
    }


async def test_aggregates_of_nothing_are_one_row_of_zeros_and_nans(world: World) -> None:
    """`summarize` without `by` yields one row; a percentile of nothing is the string "NaN"."""
    found = await world.ask(
        "AppRequests | summarize n = count(), s = sum(ItemCount), p = percentile(DurationMs, 95),"
        " avg(DurationMs), m = max(TimeGenerated)"
    )
    assert found == [[0, 0, "NaN", "NaN", None]]
    assert await world.ask("AppRequests | summarize n = count() by Name") == []


async def test_ingestion_time_is_a_function_and_never_a_column(world: World) -> None:
    """It is the row's own, is not found inside texts, and stays hidden from `*`."""
    await put(world, "a", at=NOON)
    text = '"ingestion_time() // not a comment"'

    found = await world.ask(
        f"AppRequests // ingestion_time()\n| project t = ingestion_time ( ), s = {text}"
    )
    whole = await world.client.query_workspace(
        WORKSPACE, "AppRequests | where ingestion_time() > ago(36500d)", timespan=None
    )

    assert found == [[NOON, "ingestion_time() // not a comment"]]
    assert isinstance(whole, LogsQueryResult)
    assert not [name for name in whole.tables[0].columns if "ngest" in name]


async def test_an_ingestion_time_without_a_name_has_kustos(world: World) -> None:
    """Asked for without a name, it is a column like any other."""
    await put(world, "a", at=NOON)
    answer = await world.client.query_workspace(
        WORKSPACE,
        "AppRequests | summarize max(ingestion_time()) by ingestion_time()",
        timespan=None,
    )
    assert isinstance(answer, LogsQueryResult)
    assert answer.tables[0].columns == ["$IngestionTime", "max_$IngestionTime"]
    assert rows(answer) == [[NOON, NOON]]


async def test_the_order_of_rows_is_kept(world: World) -> None:
    """What a query sorts arrives sorted."""
    await put(world, "c", "a", "d", "b")
    found = await world.ask("AppRequests | sort by Name desc | project Name")
    assert found == [["d"], ["c"], ["b"], ["a"]]


async def test_dates_in_let_statements_may_change_from_query_to_query(world: World) -> None:
    """A repeated query with other dates gives the answer of those dates."""
    for hours in range(3):
        await put(world, f"h{hours}", at=NOON + timedelta(hours=hours))

    counts = [
        await world.ask(
            f"let From = datetime({(NOON + timedelta(hours=hours)).isoformat()});\n"
            "AppRequests | where TimeGenerated >= From | count"
        )
        for hours in (0, 1, 2, 3)
    ]

    assert counts == [[[3]], [[2]], [[1]], [[0]]]


async def test_the_requests_time_range_is_anded_with_the_querys(world: World) -> None:
    """A range in the request hides rows that the query itself would take."""
    await put(world, "old", at=NOON)
    await put(world, "new", at=NOON + timedelta(hours=1))
    names = "AppRequests | project Name"

    assert await world.ask(names, timespan=(NOON, timedelta(minutes=30))) == [["old"]]
    assert await world.ask(names, timespan=(NOON, NOON + timedelta(hours=1))) == [["old"]]
    assert await world.ask(names, timespan=timedelta(minutes=5)) == []
    assert len(await world.ask(names)) == 2


async def test_a_row_is_invisible_until_its_ingestion_time(world: World) -> None:
    """A row of the future exists and is not seen."""
    await put(world, "later", at=datetime.now(UTC) + timedelta(hours=1))

    assert await world.monitor.count(WORKSPACE, "AppRequests") == 1
    assert await world.ask("AppRequests | count") == [[0]]


async def test_workspaces_are_apart_unless_asked_for_together(world: World) -> None:
    """A query sees its own workspace, and others only if it names them."""
    await put(world, "mine")
    await put(world, "theirs", workspace=OTHER)
    names = "AppRequests | project Name | sort by Name asc"

    assert await world.ask(names) == [["mine"]]
    assert await world.ask(names, additional_workspaces=[OTHER]) == [["mine"], ["theirs"]]


async def test_a_resource_can_be_asked_instead_of_a_workspace(world: World) -> None:
    """A resource sees its own rows, wherever they are stored; an unknown one is not found."""
    world.monitor.connection_string(WORKSPACE)
    await put(world, "mine")

    answer = await world.client.query_resource(
        DEFAULT_RESOURCE, "AppRequests | project Name", timespan=None
    )

    assert rows(answer) == [["mine"]]
    with pytest.raises(HttpResponseError) as refused:
        await world.client.query_resource(f"{DEFAULT_RESOURCE}x", "print 1", timespan=None)
    assert refused.value.status_code == 404


# fmt: off
REFUSED = [
    # id              query                                      says
    ("column",        "AppRequests | where Nope == 1",           "SEM0100"),
    ("table",         "Requests | count",                        "SEM0100"),
    ("function",      "AppRequests | extend x = nope(Name)",     "SEM0100"),
    ("syntax",        "AppRequests\n| tke 1",                    "SYN0002"),
    ("write",         ".drop table AppRequests",                 "BadArgument"),
    ("empty",         " ",                                       "QueryMissing"),
]
# fmt: on


@pytest.mark.parametrize(
    ("query", "says"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
async def test_a_wrong_query_is_a_bad_request(world: World, query: str, says: str) -> None:
    """The answer is 400 with the service's nested error."""
    with pytest.raises(HttpResponseError) as refused:
        await world.client.query_workspace(WORKSPACE, query, timespan=None)

    assert refused.value.status_code == 400
    assert refused.value.response is not None
    body = json.loads(refused.value.response.text())
    assert body["error"]["code"] == "BadArgumentError"
    assert says in json.dumps(body)


async def test_a_syntax_error_tells_its_place(world: World) -> None:
    """The line is that of the text that was sent, comments and dates included."""
    query = "let T = datetime(2026-01-01); // when\nAppRequests // all\n| where where Name == 1"
    with pytest.raises(HttpResponseError) as refused:
        await world.client.query_workspace(WORKSPACE, query, timespan=None)

    assert refused.value.response is not None
    body = json.loads(refused.value.response.text())
    place = body["error"]["innererror"]["innererror"]
    assert (place["code"], place["line"]) == ("SYN0002", 3)


async def test_an_unknown_workspace_is_not_found(world: World) -> None:
    """404 with the service's code (which the client does not make a ResourceNotFoundError)."""
    with pytest.raises(HttpResponseError, match="could not be found") as refused:
        await world.client.query_workspace("nope", "print 1", timespan=None)
    assert refused.value.status_code == 404
    assert refused.value.error is not None
    assert refused.value.error.code == "WorkspaceNotFoundError"


async def test_tokens_are_checked(world: World) -> None:
    """A token for somebody else is refused, and so is an identity without a role."""
    wrong = Identity("https://management.azure.com")
    async with client_for(world.monitor, world.authority, wrong) as stranger:
        with pytest.raises(HttpResponseError) as refused:
            await stranger.query_workspace(WORKSPACE, "print 1", timespan=None)
    assert refused.value.status_code == 403

    world.monitor.denied.add(OBJECT_ID)
    with pytest.raises(HttpResponseError, match="insufficient access"):
        await world.ask("print 1")
    world.monitor.denied.clear()
    assert await world.ask("print 1") == [[1]]


async def test_a_batch_answers_each_query_for_itself(world: World) -> None:
    """Errors are returned in their places, not raised, a throttled item among them."""
    await put(world, "a")
    count, again_count = (
        LogsBatchQuery(workspace_id=WORKSPACE, query="AppRequests | count", timespan=None)
        for _ in range(2)
    )
    wrong = LogsBatchQuery(workspace_id=WORKSPACE, query="Nope | count", timespan=None)
    lost = LogsBatchQuery(workspace_id="nope", query="print 1", timespan=None)

    good, bad, missing = await world.client.query_batch([count, wrong, lost])
    world.monitor.faults.throttle_queries()
    throttled, again = await world.client.query_batch([count, again_count])

    assert isinstance(good, LogsQueryResult)
    assert rows(good) == [[1]]
    assert isinstance(bad, LogsQueryError)
    assert isinstance(missing, LogsQueryError)
    assert missing.code == "WorkspaceNotFoundError"
    assert isinstance(throttled, LogsQueryError)
    assert throttled.code == "ThrottledError"
    assert isinstance(again, LogsQueryResult)


async def test_statistics_come_if_asked_for(world: World) -> None:
    """`Prefer: include-statistics` is honoured."""
    with_them = await world.client.query_workspace(
        WORKSPACE, "print 1", timespan=None, include_statistics=True
    )
    without = await world.client.query_workspace(WORKSPACE, "print 1", timespan=None)

    assert isinstance(with_them, LogsQueryResult)
    assert with_them.statistics
    assert with_them.statistics["query"]["executionTime"] > 0
    assert isinstance(without, LogsQueryResult)
    assert not without.statistics


async def test_throttling_names_when_to_come_back(world: World) -> None:
    """429 carries Retry-After; the client's own retry obeys it and succeeds."""
    world.monitor.faults.throttle_queries(retry_after_seconds=0.01)
    with pytest.raises(HttpResponseError) as refused:
        await world.ask("print 1")
    assert refused.value.status_code == 429
    assert refused.value.response is not None
    headers = refused.value.response.headers  # type: ignore[attr-defined]  # every transport has it
    assert headers["Retry-After"] == "0.01"

    world.monitor.faults.throttle_queries(2, retry_after_seconds=0.01)
    async with client_for(world.monitor, world.authority, retry_total=3) as patient:
        await patient.query_workspace(WORKSPACE, "print 1", timespan=None)
    assert [record.status for record in world.monitor.queries[-3:]] == [429, 429, 200]


@pytest.mark.parametrize("status", [400, 500, 503, 504])
async def test_the_next_queries_fail_as_told(world: World, status: int) -> None:
    """As many as told get the error, the one after them is served."""
    world.monitor.faults.fail_queries(status, 2)
    for _ in range(2):
        with pytest.raises(HttpResponseError) as refused:
            await world.ask("print 1")
        assert refused.value.status_code == status
    assert await world.ask("print 1") == [[1]]


async def test_a_partial_result_says_so(world: World) -> None:
    """A result cut short is of another type, and has fewer rows."""
    await put(world, "a", "b", "c", "d")
    world.monitor.faults.cut_queries()

    answer = await world.client.query_workspace(WORKSPACE, "AppRequests", timespan=None)

    assert isinstance(answer, LogsQueryPartialResult)
    assert len(rows(answer)) == 2
    assert answer.partial_error is not None
    assert answer.partial_error.code == "PartialError"


async def test_a_slow_query_lets_the_client_run_out_of_patience(world: World) -> None:
    """A client that waits less than the query takes gets no answer; others are not held up."""
    world.monitor.faults.delay_queries(30)
    async with client_for(world.monitor, world.authority, read_timeout=0.2) as hasty:
        with pytest.raises(ServiceResponseTimeoutError):
            await hasty.query_workspace(WORKSPACE, "print 1", timespan=None)
    assert await world.ask("print 1") == [[1]]


async def test_faults_can_be_lifted(world: World) -> None:
    """After `clear` everything works, whatever was planned."""
    world.monitor.faults.fail_queries(503, 1000)
    with pytest.raises(HttpResponseError):
        await world.ask("print 1")
    world.monitor.faults.clear()
    assert await world.ask("print 1") == [[1]]


async def test_queries_run_side_by_side_with_ingestion(world: World) -> None:
    """Many at once give each its own answer."""
    await asyncio.gather(*(put(world, f"n{n}") for n in range(20)))
    found = await asyncio.gather(
        *(world.ask(f'AppRequests | where Name == "n{n}" | project Name') for n in range(20))
    )
    assert found == [[[f"n{n}"]] for n in range(20)]


async def test_insertion_refuses_what_does_not_exist(world: World) -> None:
    """A misspelt column, table or workspace is not lost in silence."""
    with pytest.raises(UnknownColumnError, match="Nmae"):
        await world.monitor.insert(WORKSPACE, "AppRequests", [{"Nmae": "x"}])
    with pytest.raises(UnknownColumnError, match="Requests"):
        await world.monitor.insert(WORKSPACE, "Requests", [{}])
    with pytest.raises(UnknownWorkspaceError, match="nope"):
        await world.monitor.insert("nope", "AppRequests", [{}])


async def test_only_the_newest_rows_are_kept(tmp_path: Path) -> None:
    """A table does not grow for ever; what it forgets is the oldest."""
    async with running(tmp_path, kept_rows=100) as world:
        for batch in range(6):
            await put(world, *(f"{batch * 50 + n:03d}" for n in range(50)))
            await world.ask("AppRequests | count")

        (found,) = await world.ask("AppRequests | summarize min(Name), max(Name), count()")

    assert found == ["200", "299", 100]


async def test_a_stopped_monitor_does_not_answer(tmp_path: Path) -> None:
    """Stopping twice is fine, and nothing listens afterwards."""
    async with running(tmp_path) as world:
        await world.monitor.stop()
        await world.monitor.stop()
        with pytest.raises(ServiceRequestError):
            await world.ask("print 1")
