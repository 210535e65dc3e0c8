"""What every `PlatformMetrics` keeps, asked of the memory twin and of the SDK on the sandbox."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import pytest_asyncio
from aiohttp import web

from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.metrics import AzurePlatformMetrics
from controller.adapters.memory.metrics import MemoryPlatformMetrics
from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.plan import PRODUCTION, SlotName
from controller.ports import PlatformMetrics
from controller.verdict.platform import Minute
from controller.wiring import House, Settings
from sandbox.monitor import METRICS_AUDIENCE, Monitor
from sandbox.monitor.faults import QueryFault
from sandbox.tls import Authority, create_authority
from sandbox.web import WebServer
from tests.adapters.stands import BLUE, TARGET, Credential

pytestmark = pytest.mark.asyncio(loop_scope="module")

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
ME = "controller"


class Stand(Protocol):
    """What the suite needs beside the port under test."""

    @property
    def metrics(self) -> PlatformMetrics: ...

    def count(self, slot: SlotName, *minutes: Minute) -> None:
        """Let *minutes* be known of *slot*."""
        ...

    def strike(self, fault: Fault) -> None:
        """Let the next read meet *fault*; a lost response is a partial one."""
        ...


class MemoryStand:
    def __init__(self) -> None:
        self.metrics = MemoryPlatformMetrics()

    def count(self, slot: SlotName, *minutes: Minute) -> None:
        self.metrics.count(TARGET, slot, *minutes)

    def strike(self, fault: Fault) -> None:
        self.metrics.weather.script("metrics", fault)


class SandboxStand:
    def __init__(self, monitor: Monitor, authority: Authority) -> None:
        self.monitor = monitor
        self.metrics = adapter(monitor.metrics_url, authority)

    def count(self, slot: SlotName, *minutes: Minute) -> None:
        own = TARGET.resource_id if slot == PRODUCTION else f"{TARGET.resource_id}/slots/{slot}"
        for minute in minutes:
            values = {
                "Requests": minute.requests,
                "Http5xx": minute.http5xx,
                "HttpResponseTime": minute.response_seconds,
                "HealthCheckStatus": minute.health_percent,
            }
            known = {name: value for name, value in values.items() if value is not None}
            self.monitor.metrics.put(own, minute.start, **known)

    def strike(self, fault: Fault) -> None:
        faults = self.monitor.faults
        if fault is Fault.LOST_RESPONSE:
            faults.metric_errors["Http5xx"] = "InternalError"
        elif fault is Fault.THROTTLED:
            seconds = THROTTLED_FOR.total_seconds()
            faults.answer_metrics(QueryFault(429, retry_after_seconds=seconds))
        elif fault is Fault.PERMANENT:
            self.monitor.metrics.denied.add(ME)
        else:
            faults.answer_metrics(QueryFault(503))


def adapter(url: str, authority: Authority, **options: Any) -> AzurePlatformMetrics:
    return AzurePlatformMetrics(
        Credential(METRICS_AUDIENCE),
        endpoint=url,
        audience=METRICS_AUDIENCE,
        options=lambda: connection_options(authority.ca_file),
        **options,
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(authority: Authority) -> AsyncIterator[SandboxStand]:
    async with Monitor(authority, workspaces=[]) as monitor:
        stand = SandboxStand(monitor, authority)
        yield stand
        await stand.metrics.close()


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest, sandbox: SandboxStand) -> Stand:
    return MemoryStand() if request.param == "memory" else sandbox


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def minute(start: float, **numbers: float) -> Minute:
    return Minute(start=at(start), **numbers)


async def read(
    metrics: PlatformMetrics,
    slot: SlotName = BLUE,
    *,
    since: float = 0,
    until: float = 10,
    health: bool = False,
) -> Sequence[Minute]:
    """Return the minutes in which anything is known."""
    found = await metrics.read(
        TARGET, slot, region="westeurope", since=at(since), until=at(until), with_health=health
    )
    return [each for each in found if each != Minute(start=each.start)]


# --- What is seen ---------------------------------------------------------------------------------


async def test_what_is_not_known_is_not_zero(stand: Stand) -> None:
    """No traffic: no number. A minute without errors names none."""
    stand.count(BLUE, minute(2, requests=30), minute(4, requests=20, http5xx=3))

    assert await read(stand.metrics) == [
        minute(2, requests=30),
        minute(4, requests=20, http5xx=3),
    ]
    assert await read(stand.metrics, SlotName("green")) == []


async def test_each_slot_has_its_own_and_production_is_the_site(stand: Stand) -> None:
    """Traffic that rules send to a slot counts there, not on the site."""
    stand.count(BLUE, minute(1, requests=1))
    stand.count(PRODUCTION, minute(1, requests=2, response_seconds=0.25))

    assert await read(stand.metrics) == [minute(1, requests=1)]
    assert await read(stand.metrics, PRODUCTION) == [minute(1, requests=2, response_seconds=0.25)]


async def test_only_minutes_of_the_window_are_given_oldest_first(stand: Stand) -> None:
    stand.count(BLUE, *(minute(m, requests=1) for m in (7, 1, 3, 2, 6)))

    found = await read(stand.metrics, since=1.5, until=7)

    assert [each.start for each in found] == [at(2), at(3), at(6)]


async def test_the_health_check_is_read_only_where_it_is_wanted(stand: Stand) -> None:
    stand.count(BLUE, minute(0, health_percent=50))

    assert await read(stand.metrics) == []
    assert await read(stand.metrics, health=True) == [minute(0, health_percent=50)]


# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.LOST_RESPONSE])
async def test_an_answer_that_fails_or_is_partial_is_none(stand: Stand, fault: Fault) -> None:
    """A metric of its own may fail inside a good answer: its silence is not health."""
    stand.count(BLUE, minute(1, requests=10))
    stand.strike(fault)

    with pytest.raises(ProviderError):
        await read(stand.metrics)


async def test_throttling_says_when_to_come_back(stand: Stand) -> None:
    stand.strike(Fault.THROTTLED)

    with pytest.raises(ProviderError) as caught:
        await read(stand.metrics)
    assert caught.value.retry_after == THROTTLED_FOR


async def test_a_missing_role_is_named(stand: Stand) -> None:
    stand.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="role"):
        await read(stand.metrics)


# --- Azure's SDK alone ----------------------------------------------------------------------------


async def test_one_read_is_one_request_about_one_resource(sandbox: SandboxStand) -> None:
    """The SDK drops the ids of an answer: of two resources nobody could tell whose is whose."""
    await read(sandbox.metrics)
    sandbox.strike(Fault.TRANSIENT)
    with pytest.raises(ProviderError, match="503"):
        await read(sandbox.metrics, PRODUCTION)

    asked = [(r.resources, r.namespace, r.status) for r in sandbox.monitor.metrics.records]
    assert asked == [
        ((f"{TARGET.resource_id}/slots/blue",), "Microsoft.Web/sites/slots", 200),
        ((), "Microsoft.Web/sites", 503),
    ]


async def test_the_health_check_has_a_grain_of_its_own(sandbox: SandboxStand) -> None:
    """Five minutes; one that is not over yet is not believed."""
    sandbox.count(BLUE, minute(1, health_percent=100), minute(3, health_percent=0))
    sandbox.count(BLUE, minute(6, health_percent=0))

    found = await read(sandbox.metrics, until=9, health=True)

    assert found == [minute(0, health_percent=50)]


async def test_newest_minutes_come_later(sandbox: SandboxStand) -> None:
    sandbox.monitor.faults.metrics_delay_seconds = 3600
    now = datetime.now(UTC)
    sandbox.count(BLUE, Minute(start=now, requests=5))
    past = timedelta(hours=1)

    found = await sandbox.metrics.read(
        TARGET, BLUE, region="r", since=now - past, until=now + past, with_health=False
    )

    assert all(each.requests is None for each in found)


async def test_the_role_is_monitoring_reader_on_the_subscription(sandbox: SandboxStand) -> None:
    sandbox.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="Monitoring Reader on the subscription"):
        await read(sandbox.metrics)


async def test_what_the_service_does_not_know_can_never_answer(sandbox: SandboxStand) -> None:
    """The message names the region: a wrong one looks like this."""
    sandbox.monitor.faults.answer_metrics(QueryFault(400))

    with pytest.raises(QueryInvalidError, match=r"in westeurope.*region is the site's"):
        await read(sandbox.metrics)


@pytest.mark.parametrize("fault", [QueryFault(hangs=True), QueryFault(delay_seconds=30)])
async def test_a_read_that_is_not_answered_is_bounded(
    sandbox: SandboxStand, authority: Authority, fault: QueryFault
) -> None:
    sandbox.monitor.faults.answer_metrics(fault)
    metrics = adapter(sandbox.monitor.metrics_url, authority, total=timedelta(seconds=0.5))
    async with asyncio.timeout(20):
        with pytest.raises(ProviderError, match="in time"):
            await read(metrics)
    await metrics.close()


async def test_a_service_that_is_away_is_a_missing_answer(
    sandbox: SandboxStand, authority: Authority
) -> None:
    metrics = adapter(sandbox.monitor.metrics_url, authority)
    await sandbox.monitor.stop()

    with pytest.raises(ProviderError, match="does not answer"):
        await read(metrics)
    await metrics.close()


async def test_the_region_is_part_of_the_address(authority: Authority) -> None:
    """Each region is a service of its own, and has one client."""
    metrics = AzurePlatformMetrics(
        Credential(METRICS_AUDIENCE), endpoint="https://{region}.metrics.invalid"
    )
    clients = [metrics._client(region) for region in ("westeurope", "northeurope", "westeurope")]

    assert [client._endpoint for client in clients[:2]] == [
        "https://westeurope.metrics.invalid",
        "https://northeurope.metrics.invalid",
    ]
    assert clients[0] is clients[2]
    await metrics.close()


# --- Odd answers ----------------------------------------------------------------------------------


def answered(**values: Any) -> dict[str, Any]:
    """Return a body with one minute of each metric; None leaves the metric out."""
    usual: dict[str, Any] = {
        "Requests": {"total": 5.0},
        "Http5xx": {},
        "HttpResponseTime": {"average": 0.1},
    }
    metrics = [
        {
            "id": name,
            "name": {"value": name},
            "timeseries": [{"data": [{"timeStamp": "2026-01-01T12:01:00Z", **numbers}]}],
        }
        for name, numbers in (usual | values).items()
        if numbers is not None
    ]
    return {"values": [{"interval": "PT1M", "value": metrics}]}


@pytest_asyncio.fixture(loop_scope="module")
async def canned(authority: Authority) -> AsyncIterator[tuple[AzurePlatformMetrics, list[Any]]]:
    answers: list[Any] = []

    async def serve(_: web.Request) -> web.Response:
        return web.json_response(answers.pop())

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    server = WebServer(app, tls=authority.server_context())
    await server.start()
    metrics = adapter(server.url, authority)
    yield metrics, answers
    await metrics.close()
    await server.stop()


# fmt: off
ODD: dict[str, tuple[Any, str]] = {
    "no-values":      ({},                                     "cannot be read"),
    "a-list":         ([1],                                    "cannot be read"),
    "no-resource":    ({"values": []},                         "in part only: no Requests"),
    "metric-missing": (answered(Http5xx=None),                 "in part only: no Http5xx"),
    "a-word":         (answered(Requests={"total": "many"}),   "many"),
}
# fmt: on


@pytest.mark.parametrize(("body", "said"), ODD.values(), ids=ODD)
async def test_an_odd_answer_is_missing_evidence(
    canned: tuple[AzurePlatformMetrics, list[Any]], body: Any, said: str
) -> None:
    metrics, answers = canned
    answers.append(body)

    with pytest.raises(ProviderError, match=said):
        await read(metrics)


@pytest.mark.parametrize("odd", ["NaN", "Infinity", -1.0, None])
async def test_a_number_that_is_none_is_not_known(
    canned: tuple[AzurePlatformMetrics, list[Any]], odd: object
) -> None:
    """It neither counts nor takes the others away."""
    metrics, answers = canned
    answers.append(answered(HttpResponseTime={"average": odd}))

    assert await read(metrics) == [minute(1, requests=5)]


async def test_the_settings_say_where_metrics_are(
    sandbox: SandboxStand, authority: Authority
) -> None:
    """Other clouds have other endpoints and audiences."""
    settings = Settings.read(
        {
            "SLIPWAY_CONFIG": "apps.yaml",
            "SLIPWAY_CA_FILE": str(authority.ca_file),
            "ServiceBus__fullyQualifiedNamespace": "bus.invalid",
            "AzureWebJobsStorage__accountName": "account",
            "METRICS_ENDPOINT": sandbox.monitor.metrics_url,
            "METRICS_AUDIENCE": METRICS_AUDIENCE,
        }
    )
    house = House(settings)
    vars(house)["_credential"] = Credential(METRICS_AUDIENCE)
    sandbox.count(BLUE, minute(1, requests=3))
    metrics = house.observer.platform.metrics
    assert isinstance(metrics, AzurePlatformMetrics)

    assert await read(metrics) == [minute(1, requests=3)]
    await metrics.close()
