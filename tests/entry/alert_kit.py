"""Alerts of every kind, as Azure Monitor posts them."""

import json
from pathlib import Path
from typing import Any

Json = dict[str, Any]

PAYLOADS = Path(__file__).parent / "payloads"
SAMPLES = {path.stem: json.loads(path.read_text()) for path in PAYLOADS.glob("azmon_*.json")}
LEGACY = "azmon_legacy_metric_noncommon"
COMMON = sorted(set(SAMPLES) - {LEGACY})
GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg"
SITE = f"{GROUP}/providers/Microsoft.Web/sites/shop"
FIRED_AT = "2026-01-01T12:00:00.1234567Z"


def alert(service: str, context: Any, **essentials: Any) -> Json:
    """Return an alert by *service*; an essential that is ... is left out."""
    given = {
        "alertId": f"{GROUP}/providers/Microsoft.AlertsManagement/alerts/1",
        "alertRule": "shop-rule",
        "severity": "Sev2",
        "signalType": "Metric",
        "monitorCondition": "Fired",
        "monitoringService": service,
        "alertTargetIDs": [SITE.lower()],
        "configurationItems": ["shop"],
        "originAlertId": "origin-1",
        "firedDateTime": FIRED_AT,
        "description": "what its rule says",
        "essentialsVersion": "1.0",
        "alertContextVersion": "1.0",
        **essentials,
    }
    shown = {name: value for name, value in given.items() if value is not ...}
    return {
        "schemaId": "azureMonitorCommonAlertSchema",
        "data": {"essentials": shown, "alertContext": context},
    }


def measured(condition_type: str, *criteria: Json, window: str = "PT5M", **more: Any) -> Json:
    return {
        "properties": None,
        "conditionType": condition_type,
        "condition": {"windowSize": window, "allOf": list(criteria), **more},
    }


def metric(**changes: Any) -> Json:
    return {
        "metricName": "HttpResponseTime",
        "metricNamespace": "Microsoft.Web/sites",
        "operator": "GreaterThan",
        "threshold": "2",
        "timeAggregation": "Average",
        "dimensions": [],
        "metricValue": 3.5,
        "webTestName": None,
        **changes,
    }


def searched(**changes: Any) -> Json:
    """Return the context of a log alert of the first version."""
    return {
        "SearchQuery": "requests | where resultCode == 500",
        "SearchIntervalStartTimeUtc": "1/1/2026 11:45:00 AM",
        "SearchIntervalEndtimeUtc": "1/1/2026 12:00:00 PM",
        "ResultCount": 12,
        "SearchIntervalInMinutes": "15",
        "Threshold": 10,
        "Operator": "Greater Than",
        "AlertType": "Number of results",
        "IncludedSearchResults": "True",
        "SearchResults": {"tables": [{"name": "PrimaryResult", "rows": [["x", 1]]}]},
        **changes,
    }


def health(now: str = "Unavailable", **changes: Any) -> Json:
    facts = {
        "title": "The app answers nobody",
        "details": None,
        "currentHealthStatus": now,
        "previousHealthStatus": "Available",
        "type": "Downtime",
        "cause": "PlatformInitiated",
    }
    return {
        "channels": "Admin, Operation",
        "eventSource": "ResourceHealth",
        "level": "Informational",
        "operationName": "Microsoft.Resourcehealth/healthevent/Activated/action",
        "properties": {**facts, **changes.pop("properties", {})},
        "status": "Active",
        **changes,
    }


def service_health(**facts: Any) -> Json:
    return {
        "channels": 1,
        "eventSource": 2,
        "level": 3,
        "operationName": "Microsoft.ServiceHealth/incident/action",
        "properties": {
            "title": "App Service answers slowly",
            "region": "West Europe",
            "incidentType": "Incident",
            "stage": "Active",
            **facts,
        },
        "status": "Active",
        "subStatus": None,
    }


def operation(**changes: Any) -> Json:
    return {
        "authorization": {"action": "Microsoft.Web/sites/restart/action", "scope": SITE},
        "channels": "Operation",
        "claims": "{}",
        "caller": "ann@contoso.test",
        "eventSource": "Administrative",
        "level": "Error",
        "operationName": "Microsoft.Web/sites/restart/action",
        "status": "Failed",
        **changes,
    }


PROMETHEUS = {
    "interval": "PT1M",
    "expression": "job:errors:rate5m > 0.1",
    "expressionValue": "0.25",
    "for": "PT2M",
    "labels": {"cluster": "one"},
    "annotations": {"summary": "too many errors"},
    "ruleGroup": f"{GROUP}/providers/Microsoft.AlertsManagement/prometheusRuleGroups/g",
}
SMART = {
    "DetectionSummary": "An abnormal rise in failed requests",
    "FormattedOccurrenceTime": "2026-01-01T12:00:00Z",
    "DetectedValue": "30 %",
    "NormalValue": "1 % (over the last 7 days)",
    "SmartDetectorId": "FailureAnomaliesDetector",
    "SmartDetectorName": "Failure Anomalies",
}
COST = {
    "AlertCategory": "budgets",
    "AlertData": {
        "BudgetName": "web",
        "NotificationThresholdAmount": "$40.00",
        "SpentAmount": "$41.00",
    },
}
