"""The metrics data plane, driven by azure-monitor-querymetrics, and fed by front doors."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.monitor.querymetrics.aio import MetricsClient

from sandbox.app_service.traffic import Answer, Failure, Traffic
from sandbox.metrics_feed import front_door_counts
from sandbox.monitor import METRICS_AUDIENCE, Monitor
from sandbox.monitor.faults import QueryFault
from sandbox.tls import Authority, create_authority
from tests.sandbox.monitor_kit import OBJECT_ID, Identity, until

SITE = "/subscriptions/s-1/resourceGroups/g/providers/Microsoft.Web/sites/shop"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class World:
    def __init__(self, monitor: Monitor, authority: Authority, **options: Any) -> None:
        self.monitor = monitor
        self.client = MetricsClient(
            monitor.metrics_url,
            options.pop("identity", Identity(METRICS_AUDIENCE)),
            audience=METRICS_AUDIENCE,
            retry_total=0,
            connection_verify=str(authority.ca_file),
        )

    async def ask(self, *names: str, resource: str = SITE, **options: Any) -> list[Any]:
        (result,) = await self.client.query_resources(
            **{
                "resource_ids": [resource],
                "metric_namespace": "Microsoft.Web/sites",
                "metric_names": list(names),
                "timespan": (NOON, NOON + 5 * MINUTE),
                "granularity": MINUTE,
                "aggregations": ["Total", "Average"],
                **options,
            }
        )
        return [p for metric in result.metrics for t in metric.timeseries for p in t.data]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path)


@pytest.fixture
async def world(authority: Authority) -> AsyncIterator[World]:
    async with Monitor(authority, workspaces=[]) as monitor:
        world = World(monitor, authority)
        async with world.client:
            yield world


async def test_every_minute_has_a_point_and_only_known_ones_a_number(world: World) -> None:
    """A minute about which nothing is known has no number: not zero."""
    world.monitor.metrics.put(SITE, NOON + MINUTE, Http5xx=2)
    world.monitor.metrics.put(SITE.upper(), NOON + MINUTE, Http5xx=4)

    points = await world.ask("Http5xx")

    assert [p.timestamp for p in points] == [NOON + m * MINUTE for m in range(5)]
    assert [(p.total, p.average) for p in points] == [(None, None), (6, 3), *[(None, None)] * 3]


async def test_health_has_no_grain_below_five_minutes(world: World) -> None:
    with pytest.raises(HttpResponseError, match="PT1M is not supported"):
        await world.ask("HealthCheckStatus")

    assert len(await world.ask("HealthCheckStatus", granularity=5 * MINUTE)) == 1


async def test_an_unknown_namespace_is_refused(world: World) -> None:
    with pytest.raises(HttpResponseError, match="namespace"):
        await world.ask("Http5xx", metric_namespace="Microsoft.Web/serverfarms")


async def test_a_metric_may_fail_within_a_good_answer(world: World) -> None:
    """The SDK's model leaves out that it did: all that is seen is nothing."""
    world.monitor.metrics.put(SITE, NOON, Http5xx=2)
    world.monitor.faults.metric_errors["Http5xx"] = "InternalError"

    assert await world.ask("Http5xx") == []


async def test_a_token_for_somebody_else_is_refused(world: World, authority: Authority) -> None:
    other = World(world.monitor, authority, identity=Identity("https://api.loganalytics.io"))
    async with other.client:
        with pytest.raises(ClientAuthenticationError):
            await other.ask("Http5xx")


async def test_an_identity_without_the_role_is_refused(world: World) -> None:
    world.monitor.metrics.denied.add(OBJECT_ID)

    with pytest.raises(HttpResponseError, match="subscription's scope"):
        await world.ask("Http5xx")


@pytest.mark.parametrize("status", [429, 503])
async def test_it_fails_as_often_as_told(world: World, status: int) -> None:
    world.monitor.faults.answer_metrics(QueryFault(status))
    with pytest.raises(HttpResponseError) as caught:
        await world.ask("Http5xx")

    assert caught.value.status_code == status
    assert len(await world.ask("Http5xx")) == 5


async def test_a_read_that_hangs_does_not_keep_the_server_from_stopping(world: World) -> None:
    world.monitor.faults.answer_metrics(QueryFault(hangs=True))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(world.ask("Http5xx"), 0.3)

    async with asyncio.timeout(20):
        await world.monitor.stop()


async def test_front_doors_are_a_source(world: World) -> None:
    """What no container answered is a 5xx; a slot's traffic is not the site's."""
    traffic = Traffic()
    site = SimpleNamespace(name="shop", subscription="s-1", resource_group="g")
    service = SimpleNamespace(traffic=traffic)
    world.monitor.metrics.sources.append(front_door_counts(service, [site]))  # type: ignore[arg-type, list-item]
    traffic.answers[Answer("shop", "blue", "r", "2xx", True)] += 7  # noqa: FBT003
    traffic.failures[Failure("shop", "blue", "broken", True)] += 3  # noqa: FBT003
    traffic.answers[Answer("shop", "production", "r", "2xx", True)] += 1  # noqa: FBT003
    now = datetime.now(UTC)
    span = (now - 2 * MINUTE, now + 2 * MINUTE)

    async def counted(resource: str, name: str) -> float:
        points = await world.ask(name, resource=resource, timespan=span)
        return sum(p.total or 0 for p in points)

    async def arrived() -> bool:
        return await counted(f"{SITE}/slots/blue", "Requests") == 10

    await until(arrived, "the front door's counts")
    assert await counted(f"{SITE}/slots/blue", "Http5xx") == 3
    assert await counted(SITE, "Requests") == 1
