"""Application Insights' ingestion: raw deliveries, and Microsoft's OpenTelemetry exporter."""

import asyncio
import gzip
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.sandbox.monitor_kit import OTHER, WORKSPACE, World, running, until

APP = Path(__file__).with_name("monitor_reporting_app.py")
RELEASE = "sha256:" + "ab" * 32
EVERY_REQUEST = {
    "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
    "OTEL_TRACES_SAMPLER_ARG": "1.0",
}
Json = dict[str, Any]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(tmp_path) as world:
        yield world


def key_of(world: World, workspace: str = WORKSPACE) -> str:
    parts = world.monitor.connection_string(workspace).split(";")
    return dict(part.split("=", 1) for part in parts)["InstrumentationKey"]


def envelope(world: World, kind: str, data: Mapping[str, object], **more: object) -> Json:
    return {
        "ver": 1,
        "name": f"Microsoft.ApplicationInsights.{kind}",
        "time": "2026-01-01T12:00:00.123456Z",
        "iKey": key_of(world),
        "data": {"baseType": kind, "baseData": {"ver": 2, **data}},
        **more,
    }


def a_request(world: World, **more: object) -> Json:
    data = {"id": "1", "duration": "0.00:00:00.010", "responseCode": "200", "success": True}
    return envelope(world, "RequestData", data, **more)


async def deliver(
    world: World, body: bytes, *, path: str = "/v2.1/track", **headers: str
) -> tuple[int, Json]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{world.monitor.ingestion_url}{path}", data=body, headers=headers) as answer,
    ):
        return answer.status, await answer.json()


async def deliver_items(world: World, items: Sequence[object]) -> tuple[int, Json]:
    return await deliver(world, json.dumps(items).encode())


async def one_row(world: World, table: str, *columns: str) -> list[Any]:
    (row,) = await world.ask(f"{table} | project {', '.join(columns)}")
    return row


@pytest.mark.parametrize("path", ["/v2.1/track", "/v2/track", "//v2.1/track"])
async def test_an_array_is_accepted(world: World, path: str) -> None:
    """Both versions of the path are served, also after the slash that ends an endpoint."""
    body = json.dumps([a_request(world), a_request(world)]).encode()

    status, answer = await deliver(world, body, path=path)

    assert (status, answer["itemsReceived"], answer["itemsAccepted"], answer["errors"]) == (
        200,
        2,
        2,
        [],
    )
    assert await world.ask("AppRequests | count") == [[2]]


async def test_compressed_lines_are_accepted(world: World) -> None:
    """Newline-delimited JSON may come compressed."""
    lines = "\n".join(json.dumps(a_request(world)) for _ in range(3))

    status, answer = await deliver(
        world, gzip.compress(lines.encode()), **{"Content-Encoding": "gzip"}
    )

    assert (status, answer["itemsAccepted"]) == (200, 3)


async def test_context_tags_become_columns(world: World) -> None:
    """Who, which build, which session: each tag has its column."""
    tags = {
        "ai.application.ver": RELEASE,
        "ai.cloud.role": "shop",
        "ai.cloud.roleInstance": "i-1",
        "ai.operation.id": "op",
        "ai.operation.name": "GET /orders",
        "ai.operation.parentId": "parent",
        "ai.operation.syntheticSource": "True",
        "ai.session.id": "session",
        "ai.user.id": "user",
        "ai.internal.sdkVersion": "py",
    }
    await deliver_items(world, [a_request(world, tags=tags)])

    found = await one_row(
        world,
        "AppRequests",
        *("AppVersion", "AppRoleName", "AppRoleInstance", "OperationId", "OperationName"),
        *("ParentId", "SyntheticSource", "SessionId", "UserId", "SDKVersion"),
        *("TimeGenerated", "TenantId", "Type"),
    )

    assert found == [
        *tags.values(),
        datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC),
        WORKSPACE,
        "AppRequests",
    ]


async def test_a_request_becomes_a_row(world: World) -> None:
    """Durations are milliseconds, codes texts, properties JSON."""
    data = {
        "id": "7",
        "name": "GET /",
        "url": "http://shop/",
        "source": "gateway",
        "duration": "1.02:03:04.567",
        "responseCode": "503",
        "success": False,
        "properties": {"slot": "blue"},
        "measurements": {"n": 1.5},
    }
    await deliver_items(world, [envelope(world, "RequestData", data)])

    found = await one_row(
        world,
        "AppRequests",
        *("Id", "Name", "Url", "Source", "DurationMs", "PerformanceBucket", "ResultCode"),
        *("Success", "ItemCount", "tostring(Properties.slot)", "todouble(Measurements.n)"),
    )

    milliseconds = (((24 + 2) * 60 + 3) * 60 + 4) * 1000 + 567
    assert found == [
        *("7", "GET /", "http://shop/", "gateway", milliseconds, ">=5min", "503"),
        *(False, 1, "blue", 1.5),
    ]


# fmt: off
OTHERS = [
    ("RemoteDependencyData",
     {"name": "q", "id": "1", "type": "SQL", "target": "db", "data": "select", "resultCode": "0",
      "duration": "00:00:00.2500000", "success": True},
     "AppDependencies",
     ["Name", "DependencyType", "Target", "Data", "DurationMs", "PerformanceBucket", "Success"],
     ["q", "SQL", "db", "select", 250.0, "250ms-500ms", True]),
    ("ExceptionData",
     {"exceptions": [{"typeName": "Outer", "message": "o"}, {"typeName": "Inner", "message": "i"}],
      "severityLevel": "Error"},
     "AppExceptions",
     ["ExceptionType", "OuterMessage", "InnermostType", "InnermostMessage", "SeverityLevel"],
     ["Outer", "o", "Inner", "i", 3]),
    ("MessageData", {"message": "m", "severityLevel": "Warning"},
     "AppTraces", ["Message", "SeverityLevel"], ["m", 2]),
    ("MetricData", {"metrics": [{"name": "x", "value": 6.0, "count": 3, "min": 1.0, "max": 3.0}]},
     "AppMetrics", ["Name", "Sum", "ItemCount", "Min", "Max"], ["x", 6.0, 3, 1.0, 3.0]),
    ("AvailabilityData",
     {"id": "1", "name": "ping", "duration": "00:00:01", "success": False, "runLocation": "weu",
      "message": "down"},
     "AppAvailabilityResults", ["Name", "DurationMs", "Success", "Location", "Message"],
     ["ping", 1000.0, False, "weu", "down"]),
]
# fmt: on


@pytest.mark.parametrize(
    ("kind", "data", "table", "columns", "values"),
    [pytest.param(*case, id=case[2]) for case in OTHERS],
)
async def test_each_kind_of_telemetry_has_its_table(
    world: World, kind: str, data: Json, table: str, columns: list[str], values: list[object]
) -> None:
    """Dependencies, exceptions, traces, metrics and availability results become rows."""
    status, _ = await deliver_items(world, [envelope(world, kind, data)])

    assert status == 200
    assert await one_row(world, table, *columns) == values


async def test_client_side_sampling_becomes_the_item_count(world: World) -> None:
    """A row sent at a sample rate of 20 % stands for five."""
    await deliver_items(world, [a_request(world, sampleRate=20.0)])
    assert await world.ask("AppRequests | summarize count(), sum(ItemCount)") == [[1, 5]]


async def test_a_key_leads_to_its_workspace(world: World) -> None:
    """Telemetry goes where its instrumentation key belongs."""
    item = a_request(world)
    await deliver_items(world, [{**item, "iKey": key_of(world, OTHER)}])

    assert await world.monitor.count(WORKSPACE, "AppRequests") == 0
    assert await world.monitor.count(OTHER, "AppRequests") == 1


# fmt: off
BROKEN = [
    ("unknown key",    {"iKey": "00000000-0000-0000-0000-000000000000"},  "instrumentation key"),
    ("unknown type",   {"data": {"baseType": "Odd", "baseData": {}}},     "Odd"),
    ("no data",        {"data": None},                                    "Invalid telemetry item"),
    ("odd time",       {"time": "yesterday"},                             "yesterday"),
    ("odd duration",   {"data": {"baseType": "RequestData", "baseData": {
                           "id": "1", "duration": "fast", "responseCode": "1"}}}, "fast"),
]
# fmt: on


@pytest.mark.parametrize(("change", "says"), [pytest.param(c, s, id=i) for i, c, s in BROKEN])
async def test_a_broken_item_is_refused_and_the_others_are_kept(
    world: World, change: Json, says: str
) -> None:
    """206 names the broken item's index; the rest becomes rows."""
    good = a_request(world)

    status, answer = await deliver_items(world, [good, {**good, **change}])

    assert (status, answer["itemsReceived"], answer["itemsAccepted"]) == (206, 2, 1)
    assert answer["errors"][0]["index"] == 1
    assert says in answer["errors"][0]["message"]
    assert await world.ask("AppRequests | count") == [[1]]


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff"])
async def test_rubbish_is_a_bad_request(world: World, body: bytes) -> None:
    """Nothing of it is accepted."""
    status, answer = await deliver(world, body)
    assert (status, answer["itemsAccepted"]) == (400, 0)


async def test_a_delay_postpones_visibility_and_the_ingestion_time(world: World) -> None:
    """Rows exist at once, and are seen, with that ingestion time, only after the delay."""
    world.monitor.faults.ingestion_delay_seconds = 0.5
    before = datetime.now(UTC)
    await deliver_items(world, [a_request(world)])

    assert await world.monitor.count(WORKSPACE, "AppRequests") == 1
    assert await world.ask("AppRequests | count") == [[0]]

    async def visible() -> bool:
        return await world.ask("AppRequests | count") == [[1]]

    await until(visible, "the row's becoming visible")
    ((ingested,),) = await world.ask("AppRequests | project ingestion_time()")
    assert ingested >= before + timedelta(seconds=0.5)


async def test_lost_telemetry_was_accepted(world: World) -> None:
    """The sender learns nothing of a loss; the rows are just not there."""
    world.monitor.faults.loss_share = 0.3
    _, answer = await deliver_items(world, [a_request(world)] * 1000)

    ((found,),) = await world.ask("AppRequests | count")
    assert answer["itemsAccepted"] == world.monitor.items_accepted == 1000
    assert 600 < found < 800


async def test_ingestion_sampling_keeps_one_in_k_for_k(world: World) -> None:
    """Fewer rows stand for about as many requests."""
    world.monitor.faults.sampling = 10
    await deliver_items(world, [a_request(world)] * 2000)

    ((stored, stand_for),) = await world.ask("AppRequests | summarize count(), sum(ItemCount)")
    assert 120 < stored < 280
    assert stand_for == stored * 10


async def test_ingestion_can_be_down(world: World) -> None:
    """The next deliveries fail as told."""
    world.monitor.faults.refuse_ingestion(503)
    assert (await deliver_items(world, [a_request(world)]))[0] == 503
    assert (await deliver_items(world, [a_request(world)]))[0] == 200


async def report(world: World, good: int, bad: int, **environment: str) -> None:
    """Run the reporting app to its end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(APP),
        str(good),
        str(bad),
        env={
            **os.environ,
            **world.monitor.environment(WORKSPACE),
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_RESOURCE_ATTRIBUTES": f"service.version={RELEASE},service.instance.id=i-1",
            **environment,
        },
    )
    assert await asyncio.wait_for(child.wait(), 60) == 0


async def test_an_instrumented_app_is_read_back_by_its_release(world: World) -> None:
    """What Microsoft's exporter sends, Microsoft's query client finds under AppVersion."""
    await report(world, 20, 4, **EVERY_REQUEST)

    requests = await world.ask(
        f'AppRequests | where AppVersion == "{RELEASE}" and AppRoleName == "shop"'
        " | summarize Requests = sum(ItemCount), Sessions = dcount(SessionId)"
        " by Name, ResultCode, Success | sort by ResultCode asc"
    )
    others = await world.ask(
        "union (AppDependencies | summarize n = count() by Type),"
        " (AppExceptions | summarize n = count() by Type),"
        " (AppTraces | summarize n = count() by Type),"
        ' (AppMetrics | where Name == "orders" | summarize n = toint(sum(Sum)) by Type)'
        " | project Type, n | sort by Type asc"
    )

    assert requests == [
        ["GET /orders", "200", True, 20, 3],
        ["GET /orders", "503", False, 4, 3],
    ]
    assert others == [
        ["AppDependencies", 24],
        ["AppExceptions", 4],
        ["AppMetrics", 3],
        ["AppTraces", 1],
    ]


async def test_the_exporters_sampling_is_visible_as_weights(world: World) -> None:
    """Half of the traces are sent, and each stands for two."""
    await report(world, 60, 0, **EVERY_REQUEST | {"OTEL_TRACES_SAMPLER_ARG": "0.5"})

    ((stored, stand_for),) = await world.ask("AppRequests | summarize count(), sum(ItemCount)")

    assert 0 < stored < 60
    assert stand_for == 2 * stored
