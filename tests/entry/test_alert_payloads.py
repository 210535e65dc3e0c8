# ruff: noqa: E501 - a row of a table is one line
"""What Azure Monitor posts is read, whatever kind of alert it is and whatever it leaves out."""

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.alerts import Condition
from controller.core.errors import MalformedError
from controller.core.plan import AppId
from controller.entry.alert_payloads import KINDS, OTHER, Alert, parse
from controller.entry.alerts import _body
from controller.runtime.messages import parse_command, to_message
from tests.entry.alert_kit import (
    COMMON,
    COST,
    FIRED_AT,
    GROUP,
    LEGACY,
    PROMETHEUS,
    SAMPLES,
    SITE,
    SMART,
    alert,
    health,
    measured,
    metric,
    operation,
    searched,
    service_health,
)

STATIC = "SingleResourceMultipleMetricCriteria"
LOG = "LogQueryCriteria"
ESSENTIALS = sorted({n for name in COMMON for n in SAMPLES[name]["data"]["essentials"]})


def as_message(read: Alert) -> None:
    """Whatever is read becomes a message that the queue takes and the other side understands."""
    body = _body(AppId("shop"), read, read.resources[0] if read.resources else "")
    message = to_message(body)
    assert parse_command(message.body, session="shop") == body


# fmt: off
KNOWN = {
    # sample                               condition  kind            test   a part of the sentence
    "azmon_metric_static_fired":          ("fired",    "metric",       False, "Average Percentage CPU was 31.1105, more than 25"),
    "azmon_metric_static_resolved_docs":  ("resolved", "metric",       False, "Average Percentage CPU was 7.727, more than 25"),
    "azmon_metric_dynamic_fired":         ("fired",    "metric",       False, "more than the dynamic threshold 47658 (sensitivity High) over 5 min"),
    "azmon_metric_webtest_fired":         ("fired",    "metric",       False, "Failed Location of myAvailabilityTest-myApplication was 5, more than 2"),
    "azmon_log_v2_fired":                 ("fired",    "log search",   True,  "Count rows of the query was 0.0, less than 1 (Computer TestComputer) over 10 min"),
    "azmon_activitylog_slotswap":         ("fired",    "activity log", True,  "slotsswap/action Succeeded (Informational)"),
}
# fmt: on


def test_every_recorded_common_sample_is_in_the_table() -> None:
    assert sorted(KNOWN) == COMMON


@pytest.mark.parametrize("name", COMMON)
def test_a_recorded_sample_is_read(name: str) -> None:
    condition, kind, is_test, said = KNOWN[name]
    essentials = SAMPLES[name]["data"]["essentials"]

    read = parse(SAMPLES[name])

    assert (read.condition, read.kind.name, read.is_test) == (condition, kind, is_test)
    assert read.detail.startswith(f"{essentials['severity']}, {essentials['monitoringService']}: ")
    assert said in read.detail
    assert read.id == essentials["originAlertId"]
    assert read.rule == essentials["alertRule"]
    assert read.resources[0] == essentials["alertTargetIDs"][0].lower()
    assert read.fired_at == datetime.fromisoformat(essentials["firedDateTime"])
    as_message(read)


@pytest.mark.parametrize("how", ["null", "missing"])
@pytest.mark.parametrize("field", ESSENTIALS)
@pytest.mark.parametrize("name", COMMON)
def test_any_field_may_be_null_or_missing_but_the_condition(
    name: str, field: str, how: str
) -> None:
    body = copy.deepcopy(SAMPLES[name])
    if how == "missing":
        body["data"]["essentials"].pop(field, None)
    else:
        body["data"]["essentials"][field] = None

    if field == "monitorCondition":
        with pytest.raises(MalformedError, match="neither Fired nor Resolved"):
            parse(body)
    else:
        as_message(parse(body))


@pytest.mark.parametrize("context", [None, {}, [], "x", 7, {"condition": None}, ...])
@pytest.mark.parametrize("name", COMMON)
def test_an_odd_context_loses_only_its_sentence(name: str, context: Any) -> None:
    body = copy.deepcopy(SAMPLES[name])
    if context is ...:
        del body["data"]["alertContext"]
    else:
        body["data"]["alertContext"] = context

    assert parse(body).rule == SAMPLES[name]["data"]["essentials"]["alertRule"]


CPU = metric(metricName="CpuPercentage", threshold="80", metricValue=91)
ROLE = {"name": "cloud/roleName", "value": "shop"}
OWN_ID = {"name": "_ResourceId", "value": SITE}
# fmt: off
SENTENCES = [
    # id               service                 context                                                               what is said
    ("static",         "Platform",             measured(STATIC, metric()),                                           "Average HttpResponseTime was 3.5, more than 2 over 5 min"),
    ("two-criteria",   "Platform",             measured("MultipleResourceMultipleMetricCriteria", metric(), CPU),    "was 3.5, more than 2; Average CpuPercentage was 91, more than 80 over 5 min"),
    ("no-value",       "Platform",             measured(STATIC, metric(metricValue=None)),                           "Average HttpResponseTime was unknown, more than 2 over 5 min"),
    ("dimension",      "Platform",             measured(STATIC, metric(dimensions=[ROLE])),                          "more than 2 (cloud/roleName shop) over 5 min"),
    ("bare-criterion", "Platform",             measured(STATIC, {}, window="P1DT2H"),                                "a metric was unknown over 1 d 2 h"),
    ("odd-window",     "Platform",             measured(STATIC, metric(), window="a while"),                         "over a while"),
    ("dynamic-both",   "Platform",             measured("DynamicThresholdCriteria", metric(operator="GreaterOrLessThan", alertSensitivity="Low", threshold=None)), "outside of the dynamic threshold (sensitivity Low)"),
    ("odd-operator",   "Platform",             measured(STATIC, metric(operator="Wobbles")),                         "was 3.5, Wobbles 2"),
    ("log-v2-column",  "Log Alerts V2",        measured(LOG, metric(searchQuery="x", metricMeasureColumn="Load", metricName=None)), "Average of Load was 3.5"),
    ("log-v2-rows",    "Log Alerts V2",        measured(LOG, {"searchQuery": "x", "operator": "GreaterThanOrEqual", "threshold": "0", "timeAggregation": "Count", "metricValue": 3.0}), "Count rows of the query was 3.0, at least 0"),
    ("log-v1",         "Log Analytics",        searched(),                                                           "Number of results: 12 results, more than 10 over 15 min"),
    ("log-v1-insights","Application Insights", searched(Operator="Less Than", Threshold=10000.0),                    "12 results, less than 10000.0"),
    ("health",         "Resource Health",      health(),                                                             "health is Unavailable (was Available): The app answers nobody (PlatformInitiated)"),
    ("service-health", "ServiceHealth",        service_health(),                                                     "Incident: App Service answers slowly (West Europe)"),
    ("operation",      "Activity Log - Administrative", operation(),                                                 "Microsoft.Web/sites/restart/action Failed (Error)"),
    ("prometheus",     "Prometheus",           PROMETHEUS,                                                           "job:errors:rate5m > 0.1 was 0.25 for 2 min (cluster one): too many errors"),
    ("smart",          "SmartDetector",        SMART,                                                                "An abnormal rise in failed requests was 30 % usually 1 %"),
    ("cost",           "CostAlerts",           COST,                                                                 "budget web spent $41.00 of $40.00"),
    ("unknown",        "Quantum Monitor",      {"flux": 7},                                                          "Sev2, Quantum Monitor: what its rule says"),
]
# fmt: on


@pytest.mark.parametrize(
    ("service", "context", "said"), [pytest.param(*case, id=name) for name, *case in SENTENCES]
)
def test_the_condition_is_one_sentence_for_people(service: str, context: Any, said: str) -> None:
    read = parse(alert(service, context))

    assert said in read.detail
    assert read.detail.isprintable()
    as_message(read)


SERVICES = [
    ("Platform", "metric", "lasts"),
    ("Log Alerts V2", "log search", "lasts"),
    ("Log Analytics", "log search, first version", "moment"),
    ("Application Insights", "log search, first version", "moment"),
    ("Prometheus", "Prometheus", "lasts"),
    ("SmartDetector", "smart detection", "lasts"),
    ("Resource Health", "resource health", "moment"),
    ("ResourceHealth", "resource health", "moment"),
    ("ServiceHealth", "service health", "moment"),
    ("Activity Log - Administrative", "activity log", "moment"),
    ("Activity Log - Policy", "activity log", "moment"),
    ("Activity Log - Autoscale", "activity log", "moment"),
    ("Activity Log - Security", "activity log", "moment"),
    ("Activity Log", "activity log", "moment"),
    ("CostAlerts", "cost", "moment"),
    ("Something New", "any other", "lasts"),
    (None, "any other", "lasts"),
]


@pytest.mark.parametrize(("service", "kind", "lasts"), SERVICES)
def test_the_monitoring_service_tells_the_kind(service: str | None, kind: str, lasts: str) -> None:
    for spelt in {service, service and service.upper()}:
        read = parse(alert(spelt, None))  # type: ignore[arg-type]  # null is what is meant
        assert (read.kind.name, read.kind.is_moment) == (kind, lasts == "moment")


def test_every_kind_is_met_above() -> None:
    assert {kind.name for kind in (*KINDS, OTHER)} == {kind for _, kind, _ in SERVICES}


# fmt: off
HARMLESS = [
    # id                  service                          context                                                    why it tells of no fault
    ("health-down",       "Resource Health",               health(),                                                  ""),
    ("health-degraded",   "ResourceHealth",                health("Degraded"),                                        ""),
    ("health-back",       "Resource Health",               health("Available"),                                       "healthy again"),
    ("health-resolved",   "Resource Health",               health(status="Resolved"),                                 "healthy again"),
    ("health-on-purpose", "Resource Health",               health(properties={"cause": "UserInitiated"}),             "on purpose"),
    ("incident",          "ServiceHealth",                 service_health(),                                          ""),
    ("incident-over",     "ServiceHealth",                 service_health(stage="Resolved"),                          "it is over"),
    ("maintenance",       "ServiceHealth",                 service_health(incidentType="Maintenance"),                "announced"),
    ("operation-failed",  "Activity Log - Administrative", operation(),                                               ""),
    ("operation-done",    "Activity Log - Administrative", operation(status="Succeeded", level="Informational"),      "no failure"),
    ("operation-begun",   "Activity Log - Administrative", operation(status="Started", level="Informational"),        "no failure"),
    ("policy-warning",    "Activity Log - Policy",         operation(status="Succeeded", level="Warning"),            ""),
    ("autoscale",         "Activity Log - Autoscale",      operation(status="Succeeded", level="Informational"),      "no failure"),
    ("cost",              "CostAlerts",                    COST,                                                      "money"),
    ("metric",            "Platform",                      measured(STATIC, metric()),                                ""),
    ("unknown",           "Something New",                 {"level": "Informational"},                                ""),
]
# fmt: on


@pytest.mark.parametrize(
    ("service", "context", "why"), [pytest.param(*case, id=name) for name, *case in HARMLESS]
)
def test_good_news_and_our_own_operations_are_no_fault(
    service: str, context: Any, why: str
) -> None:
    found = parse(alert(service, context)).harmless

    assert why in found
    assert bool(found) == bool(why)


@pytest.mark.parametrize(
    "said",
    [
        {"alertRule": "TEST-metricAlertRule"},
        {"alertRule": None, "alertId": f"{GROUP}/providers/x/alerts/Test_Alert"},
        {"description": "Delivery Confirmation: This is a sample budget alert"},
    ],
)
def test_the_portals_tests_are_known(said: dict[str, Any]) -> None:
    assert parse(alert("Platform", None, **said)).is_test


def test_a_rule_of_ones_own_may_be_called_test() -> None:
    """What the policy makes of it depends on what the app lists."""
    assert not parse(alert("Platform", None, alertRule="test-shop-5xx")).is_test


def test_a_synthetic_service_health_alert_is_a_test() -> None:
    assert parse(alert("ServiceHealth", service_health(IsSynthetic="True"))).is_test


# --- What it is about -----------------------------------------------------------------------------


def test_everything_with_an_arm_id_is_what_it_is_about() -> None:
    """Targets, configuration items, the scope of an operation, dimensions of a log alert."""
    criterion = metric(dimensions=[OWN_ID | {"value": SITE + "/slots/Blue/"}])
    read = parse(
        alert(
            "Log Alerts V2",
            {**measured(LOG, criterion), "authorization": {"scope": SITE + "/slots/green"}},
            alertTargetIDs=[GROUP + "/providers/x/workspaces/W", None, ""],
            configurationItems=["shop", SITE.upper()],
        )
    )

    assert read.resources == (
        (GROUP + "/providers/x/workspaces/w").lower(),
        SITE.lower(),
        SITE.lower() + "/slots/green",
        SITE.lower() + "/slots/blue",
    )


def test_a_rule_without_a_name_is_known_by_its_id() -> None:
    rule_id = f"{GROUP}/providers/microsoft.insights/metricAlerts/shop-5xx"

    assert parse(alert("Platform", None, alertRule=None, alertRuleId=rule_id)).rule == "shop-5xx"


def test_firing_and_resolving_notice_have_the_id_in_common() -> None:
    first = alert("Platform", None)
    for changes in ({}, {"originAlertId": None}, {"originAlertId": None, "alertId": None}):
        one, other = copy.deepcopy(first), copy.deepcopy(first)
        one["data"]["essentials"] |= changes
        other["data"]["essentials"] |= changes
        other["data"]["essentials"] |= {
            "monitorCondition": "Resolved",
            "resolvedDateTime": "2026-01-01T12:30:00Z",
        }

        assert parse(one).id == parse(other).id
        assert parse(other).condition is Condition.RESOLVED


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (FIRED_AT, datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2026-01-01T12:00:00", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("2026-01-01T14:00:00+02:00", datetime(2026, 1, 1, 12, tzinfo=UTC)),
        ("1/1/2026 1:36:33 PM", datetime(2026, 1, 1, 13, 36, 33, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00", None),
        ("", None),
        (None, None),
    ],
)
def test_times_are_read_in_every_form_that_azure_monitor_writes(
    text: str | None, at: datetime | None
) -> None:
    assert parse(alert("Platform", None, firedDateTime=text)).fired_at == at


# --- What is refused ------------------------------------------------------------------------------

CLASSIC = {"status": "Activated", "context": {"name": "cpu", "condition": {}}}
REFUSED: list[tuple[Any, str]] = [
    (SAMPLES[LEGACY], "metric alert of the older schema"),
    (CLASSIC, "classic alert"),
    ({"schemaId": "Microsoft.Insights/activityLogs", "data": {}}, "activity log alert of the old"),
    ({"schemaId": "Microsoft.Insights/LogAlert", "data": {}}, "log alert of the older schema"),
    ({"data": searched()}, "log alert of the older schema"),
    (searched(), "log alert of the older schema"),
    ({"schemaId": "mine", "data": {}}, "of schema 'mine'"),
    ({"schemaId": 7}, "without a schemaId"),
    ({"text": "hello"}, "without a schemaId"),
    ([SAMPLES[LEGACY]], "JSON array"),
    ("x", "JSON text"),
    (7, "JSON number"),
    (None, "JSON null"),
    (True, "JSON true"),
]
OF_THE_SCHEMA: list[tuple[Any, str]] = [
    ({"schemaId": "azureMonitorCommonAlertSchema"}, "no object data.essentials"),
    ({"schemaId": "azureMonitorCommonAlertSchema", "data": []}, "no object data.essentials"),
    (alert("Platform", None, monitorCondition="Firing"), "'firing', neither Fired nor Resolved"),
    (alert("Platform", None, monitorCondition=1), "monitorCondition is a JSON number"),
    (alert("Platform", None, alertRule={"a": 1}), "alertRule is a JSON object"),
    (alert("Platform", None, originAlertId=5), "originAlertId is a JSON number"),
    (alert("Platform", None, alertTargetIDs=SITE), "alertTargetIDs is not a list of texts"),
    (alert("Platform", None, alertTargetIDs=[{}]), "alertTargetIDs is not a list of texts"),
    (alert("Platform", None, configurationItems={}), "configurationItems is not a list"),
    (alert("Platform", None, firedDateTime="yesterday"), "'yesterday', not a time"),
    (alert("Platform", None, firedDateTime=1767268800), "firedDateTime is a JSON number"),
    (alert("Platform", None, firedDateTime="0001-01-01T00:00:00+10:00"), "not a time"),
]


@pytest.mark.parametrize(("body", "why"), REFUSED)
def test_another_schema_is_refused_with_what_to_enable(body: Any, why: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse(body)

    assert why in refused.value.what
    assert refused.value.fix == "Enable the common alert schema in the action group."


@pytest.mark.parametrize(("body", "why"), OF_THE_SCHEMA)
def test_what_a_decision_rests_on_must_be_of_its_form(body: Any, why: str) -> None:
    with pytest.raises(MalformedError) as refused:
        parse(body)

    assert why in refused.value.what


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
JSONS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, each in value.items():
            found += places(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            found += places(each, (*path, index))
    return found


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from([*COMMON, "health", "log-v1", "smart"]))
def test_whatever_stands_anywhere_it_is_read_or_refused_in_words(
    data: st.DataObject, name: str
) -> None:
    """Any value in the place of any other: an alert that can be queued, or a 400. Nothing else."""
    own = {
        "health": alert("Resource Health", health()),
        "log-v1": alert("Log Analytics", searched()),
        "smart": alert("SmartDetector", SMART),
    }
    body = copy.deepcopy(SAMPLES.get(name) or own[name])
    path = data.draw(st.sampled_from(places(body)[1:]))
    inner = body
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = data.draw(JSONS)

    with suppress(MalformedError):
        as_message(parse(json.loads(json.dumps(body))))


@pytest.mark.parametrize("text", ["\ud800", "a\x00b\x1b[31m", "é" * 3000, "\u202e"])
def test_texts_are_made_fit_for_queue_log_and_terminal(text: str) -> None:
    read = parse(
        alert(
            text,
            measured(STATIC, metric(metricName=text)),
            alertRule=text,
            originAlertId=text,
            severity=text,
            description=text,
            alertTargetIDs=["/" + text],
            configurationItems=[text],
        )
    )

    assert (read.detail + read.rule).isprintable()
    as_message(read)


# --- The page -------------------------------------------------------------------------------------


def test_the_page_tells_every_kind_its_services_and_how_long_it_fires() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    section = page.partition("## Kinds")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    told = {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in rows}

    assert list(told) == [kind.name for kind in (*KINDS, OTHER)]
    for kind in KINDS:
        services, lasts, _ = told[kind.name]
        shown = services.lower().replace(" ", "")
        assert all(name.rstrip("*").replace(" ", "") in shown for name in kind.services)
        assert (lasts == "until it is resolved") is not kind.is_moment
