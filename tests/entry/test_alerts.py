"""The door of alerts: who may call, whom an alert concerns, and that nothing is lost by a 500."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import azure.functions as func
import pytest

from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.memory.world import Fault
from controller.core.errors import CallerRefusedError, TransientError
from controller.core.model import State
from controller.core.plan import Alerts, AppSpec
from controller.entry import doors
from controller.entry.alerts import MAX_ALERT_BYTES, AlertDoor
from controller.entry.http import Request, Response
from controller.runtime.messages import COMMANDS_QUEUE
from tests.entry.alert_kit import SAMPLES, alert, health, measured, metric
from tests.entry.kit import error_of
from tests.runtime.kit import SHOP, House, spec, submit

SECRET = "hush"
TOKEN = "head.claims.signature"
RULES = ("shop-*",)


def app(name: str = "shop", *rules: str, resources: tuple[str, ...] = ()) -> AppSpec:
    return replace(spec(name), alerts=Alerts(rules=rules or RULES, resources=resources))


def site(name: str = "shop") -> str:
    return spec(name).target.resource_id


def stamp(house: House, *, ago: timedelta = timedelta(0)) -> str:
    return (house.clock.now() - ago).isoformat()


class Tenant:
    """Knows one token."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked = 0

    async def check(self, token: str) -> str:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if token != TOKEN:
            raise CallerRefusedError("The token is refused: it is forged.", fix="Sign it.")
        return "action groups"


class Stand:
    """The door over memory twins."""

    def __init__(
        self, *specs: AppSpec, tenant: Tenant | None = None, secret: str | None = SECRET
    ) -> None:
        self.house = House(specs or (app(),))
        values = {"webhook-alerts": secret} if secret else {}
        self.secrets = MemorySecrets(values, weather=self.house.weather)
        self.tenant = tenant
        self.door = AlertDoor(
            configuration=self.house.configuration,
            bus=self.house.ports.bus,
            secrets=self.secrets,
            callers=tenant,
        )

    def fired(self, service: str = "Platform", context: Any = None, **essentials: Any) -> Any:
        given = {
            "alertRule": "shop-5xx",
            "alertTargetIDs": [site().lower()],
            "firedDateTime": stamp(self.house),
            **essentials,
        }
        return alert(service, context or measured("Static", metric()), **given)

    async def post(
        self,
        body: Any,
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        shown = {"key": SECRET} if query is None and headers is None else query or {}
        request = Request(method="POST", query=shown, headers=headers or {}, body=raw)
        return await self.door.take(request)

    def queued(self) -> list[dict[str, Any]]:
        found = self.house.bus.waiting(COMMANDS_QUEUE)
        return [json.loads(m.body) for m in found if m.subject == "alert"]


# --- Who may call ---------------------------------------------------------------------------------


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"slipway:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({"key": SECRET}, {}),
        ({"key": SECRET, "code": "a function key"}, {}),
        ({}, {"x-slipway-secret": SECRET}),
        ({}, {"authorization": SECRET}),
        ({}, {"authorization": f"Bearer {SECRET}"}),
        ({}, {"authorization": basic(SECRET)}),  # https://slipway:SECRET@host/api/alerts
    ],
)
async def test_the_shared_secret_opens_from_wherever_it_can_be_sent(
    query: dict[str, str], headers: dict[str, str]
) -> None:
    stand = Stand()

    answer = await stand.post(stand.fired(), query=query, headers=headers)

    assert answer.status == 202


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ({}, {}),
        ({"key": "wrong"}, {"x-slipway-secret": SECRET}),
        ({"code": SECRET}, {}),
        ({"key": SECRET + "x"}, {}),
        ({}, {"authorization": basic("wrong")}),
        ({}, {"authorization": "Basic %%%"}),
        ({}, {"authorization": f"Bearer {TOKEN}"}),  # no audience is set
        ({"key": "\ud800"}, {}),
    ],
)
async def test_others_are_refused_and_nothing_is_queued(
    query: dict[str, str], headers: dict[str, str]
) -> None:
    stand = Stand()

    answer = await stand.post(stand.fired(), query=query, headers=headers)

    assert answer.status == 401
    assert error_of(answer)["code"] == "SW307"
    assert stand.queued() == []


async def test_a_secure_webhook_needs_no_secret() -> None:
    stand = Stand(tenant=Tenant(), secret=None)

    good = await stand.post(stand.fired(), headers={"authorization": f"Bearer {TOKEN}"})
    forged = await stand.post(stand.fired(), headers={"authorization": "Bearer a.b.c"})
    nobody = await stand.post(stand.fired(), headers={"user-agent": "x"})

    assert (good.status, forged.status, nobody.status) == (202, 401, 401)
    assert error_of(forged)["code"] == "SW309"
    assert error_of(nobody)["code"] == "SW307"


async def test_secret_and_token_both_open_where_both_are_set() -> None:
    stand = Stand(tenant=Tenant())

    by_token = await stand.post(stand.fired(), headers={"authorization": f"Bearer {TOKEN}"})
    by_secret = await stand.post(stand.fired(originAlertId="o2"))

    assert (by_token.status, by_secret.status) == (202, 202)


async def test_without_secret_and_audience_the_door_says_what_is_not_set() -> None:
    stand = Stand(secret=None)

    answer = await stand.post(stand.fired())

    assert answer.status == 503
    assert error_of(answer)["code"] == "SW306"


# --- Nothing is lost ------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["secret", "send"])
async def test_what_may_pass_is_503_and_succeeds_when_it_is_sent_again(operation: str) -> None:
    stand = Stand()
    stand.house.weather.script(operation, Fault.TRANSIENT)

    first = await stand.post(stand.fired())
    again = await stand.post(stand.fired())

    assert (first.status, again.status) == (503, 202)
    assert first.headers["Retry-After"]
    assert len(stand.queued()) == 1


async def test_keys_that_cannot_be_had_are_503() -> None:
    stand = Stand(tenant=Tenant(TransientError("No keys.", fix="Wait.")))

    answer = await stand.post(stand.fired(), headers={"authorization": f"Bearer {TOKEN}"})

    assert answer.status == 503


async def test_a_configuration_that_cannot_be_read_is_503() -> None:
    stand = Stand()
    stand.house.configuration.broken = True

    assert (await stand.post(stand.fired())).status == 503


@pytest.mark.parametrize("error", [KeyError("swordfish"), RuntimeError(), TimeoutError()])
async def test_what_nobody_foresaw_is_503_without_its_insides(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """An action group gives up after a 500."""
    stand = Stand(tenant=Tenant(error))

    answer = await stand.post(stand.fired(), headers={"authorization": f"Bearer {TOKEN}"})

    assert answer.status == 503
    assert "swordfish" not in answer.text()
    assert "the door failed" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{not json", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"schemaId":' + b'{"a":' * 30_000 + b"1" + b"}" * 30_001, 400),
        (b"9" * 5000, 400),
        (b"NaN", 400),
        (b"x" * (MAX_ALERT_BYTES + 1), 413),
    ],
)
async def test_what_is_no_alert_is_the_senders_fault(body: bytes, status: int) -> None:
    stand = Stand()

    answer = await stand.post(body)

    assert answer.status == status
    assert error_of(answer)["code"] in {"SW301", "SW305"}


async def test_the_largest_alert_of_azure_monitor_is_taken() -> None:
    stand = Stand()
    body = stand.fired()
    body["data"]["alertContext"]["SearchResults"] = ""
    room = MAX_ALERT_BYTES - len(json.dumps(body))
    body["data"]["alertContext"]["SearchResults"] = "x" * room

    assert (await stand.post(body)).status == 202


async def test_another_schema_is_told_what_to_enable() -> None:
    stand = Stand()

    answer = await stand.post(SAMPLES["azmon_legacy_metric_noncommon"])

    assert answer.status == 400
    assert error_of(answer)["fix"] == "Enable the common alert schema in the action group."


# --- Whom it concerns -----------------------------------------------------------------------------

COMPONENT = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/components/both"


async def test_one_alert_may_concern_several_apps() -> None:
    both = (COMPONENT.lower(),)
    stand = Stand(app("shop", resources=both), app("blog", resources=both), app("bank"))

    answer = await stand.post(stand.fired(alertTargetIDs=[COMPONENT]))

    assert answer.body == {"accepted": True, "apps": ["shop", "blog"]}
    assert [(b["app"], b["resource"]) for b in stand.queued()] == [
        ("shop", COMPONENT.lower()),
        ("blog", COMPONENT.lower()),
    ]


async def test_every_app_is_told_of_its_own_resource() -> None:
    stand = Stand(app("shop"), app("blog"))

    await stand.post(stand.fired(alertTargetIDs=[site("blog") + "/slots/BLUE", site("shop")]))

    assert {b["app"]: b["resource"] for b in stand.queued()} == {
        "shop": site("shop").lower(),
        "blog": site("blog").lower() + "/slots/blue",
    }


async def test_an_alert_on_nobodys_resource_is_told_to_whoever_lists_its_rule() -> None:
    stand = Stand(app("shop"), app("blog", "blog-*"))

    answer = await stand.post(stand.fired(alertTargetIDs=["/subscriptions/s/resourceGroups/g"]))

    assert answer.body["apps"] == ["shop"]


async def test_that_is_bounded() -> None:
    stand = Stand(*(app(f"app-{n}", "*") for n in range(30)))

    answer = await stand.post(stand.fired(alertTargetIDs=["/subscriptions/s"]))

    assert len(answer.body["apps"]) == 20


@pytest.mark.parametrize(
    ("essentials", "why"),
    [
        ({"alertTargetIDs": [site("other")], "alertRule": "other-5xx"}, "no app has /subscr"),
        ({"alertTargetIDs": [site() + "/slots/old"], "alertRule": "x"}, "slots/old"),
        ({"alertTargetIDs": None, "configurationItems": None, "alertRule": None}, "no resource"),
        ({"alertTargetIDs": None, "alertRule": "test-metricAlertRule"}, "a test of the action"),
    ],
)
async def test_a_foreign_alert_is_answered_with_why_and_logged(
    essentials: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    stand = Stand()

    with caplog.at_level(logging.INFO):
        answer = await stand.post(stand.fired(**essentials))

    assert answer.status == 200
    assert answer.body["accepted"] is False
    assert why in answer.body["reason"]
    assert why in caplog.text
    assert stand.queued() == []


async def test_the_same_notice_twice_is_one_order_and_its_end_another() -> None:
    stand = Stand()
    body = stand.fired()

    await stand.post(body)
    await stand.post(body)
    body["data"]["essentials"]["monitorCondition"] = "Resolved"
    await stand.post(body)

    assert [b["condition"] for b in stand.queued()] == ["fired", "resolved"]


# --- All the way ----------------------------------------------------------------------------------


async def records(house: House) -> list[tuple[str, str, str]]:
    return [(r.kind, r.what, r.why) for r in await house.records()]


@pytest.mark.parametrize("state", [State.WARMING, State.OBSERVING, State.BAKING])
async def test_an_alert_takes_a_rollout_back_at_once(state: State) -> None:
    stand = Stand(replace(app(), strategy=spec(SHOP, 50).strategy))
    house = stand.house
    await house.send(submit(2))
    await house.run_to(state)

    await stand.post(stand.fired())
    await house.run()

    assert await house.ends() == [("v2", State.ROLLED_BACK)]
    (rollout,) = await house.rollouts()
    assert "alert 'shop-5xx' fired" in rollout.undone_because
    assert "Average HttpResponseTime was 3.5, more than 2" in rollout.undone_because
    await house.assert_chained()


async def test_a_firing_alert_lets_no_release_start_until_it_is_resolved() -> None:
    stand = Stand()
    house = stand.house
    body = stand.fired()
    await stand.post(body)
    await house.send(submit(2))
    await house.run()

    assert await house.ends() == [("v2", State.REJECTED)]
    (rollout,) = await house.rollouts()
    assert "Alert 'shop-5xx' on sites/shop since" in rollout.why

    body["data"]["essentials"]["monitorCondition"] = "Resolved"
    await stand.post(body)
    await house.send(submit(3))
    await house.run()

    assert (await house.ends())[-1] == ("v3", State.SUCCEEDED)


async def test_an_alert_that_does_not_count_moves_nothing_and_is_on_record() -> None:
    stand = Stand()
    house = stand.house
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)

    await stand.post(stand.fired(alertRule="other-rule", originAlertId="o1"))
    back = health("Available")
    await stand.post(stand.fired("Resource Health", back, originAlertId="o2"))
    old = stamp(house, ago=timedelta(hours=1))
    await stand.post(stand.fired(firedDateTime=old, originAlertId="o3"))
    await house.run()

    assert await house.ends() == [("v2", State.SUCCEEDED)]
    said = [why for _, what, why in await records(house) if what == "AlertFired"]
    assert len(said) == 3
    for why, part in zip(said, ("does not list", "healthy again", "stale"), strict=True):
        assert part in why


# --- The Functions worker's side ------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stand], Stand]:
    def put(stand: Stand) -> Stand:
        home = SimpleNamespace(
            configuration=stand.house.configuration,
            bus=stand.house.bus,
            secrets=stand.secrets,
            callers=stand.tenant,
        )
        monkeypatch.setattr(doors, "house", lambda: home)
        return stand

    return put


def request(body: bytes, **params: str) -> func.HttpRequest:
    url = "https://slipway.test/api/alerts?key=" + SECRET
    return func.HttpRequest("POST", url, params=params, route_params={}, body=body)


async def test_through_the_workers_door(opened: Callable[[Stand], Stand]) -> None:
    stand = opened(Stand())

    answer = await doors.alert(request(json.dumps(stand.fired()).encode(), key=SECRET))

    assert answer.status_code == 202
    assert json.loads(answer.get_body())["apps"] == ["shop"]


async def test_a_house_that_cannot_be_built_is_503(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Any:
        raise KeyError("the vault's password is swordfish")

    monkeypatch.setattr(doors, "house", broken)

    answer = await doors.alert(request(b"{}", key=SECRET))

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert b"swordfish" not in answer.get_body()
    assert SECRET not in caplog.text


async def test_a_request_that_cannot_even_be_read_is_503() -> None:
    odd = SimpleNamespace(method="POST", url="https://slipway.test/api/alerts", headers=None)

    answer = await doors.alert(cast("func.HttpRequest", odd))

    assert answer.status_code == 503


async def test_an_answer_comes_while_the_action_group_still_waits(
    opened: Callable[[Stand], Stand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "_ALERT_SECONDS", 0.05)
    stand = opened(Stand(tenant=Tenant()))

    async def never(_: str) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(stand.tenant, "check", never)
    slow = func.HttpRequest(
        "POST",
        "https://slipway.test/api/alerts",
        headers={"Authorization": f"Bearer {TOKEN}"},
        params={},
        route_params={},
        body=b"{}",
    )

    assert (await doors.alert(slow)).status_code == 503
