"""What Slipway hears, and what people are told of."""

from collections.abc import Mapping
from typing import Any, Final

from tools.infra_check.deployment import Deployment, Resource
from tools.infra_check.looking import Told, at, of_type, short, slots_of
from tools.infra_check.values import text_of

# The plan's five, and Slipway's: metric or word of the query, how it compares, with what.
_FIVE: Final = (
    ("CpuPercentage", "GreaterThan", 80),
    ("MemoryPercentage", "GreaterThan", 85),
    ("requests/failed", "GreaterThan", None),
    ("requests/duration", "GreaterThan", 2000),
    ("HealthCheckStatus", "LessThan", 100),
)
_OWN_ALERTS: Final = (
    "dead-letters",
    "rollout-needs-you",
    "backup-or-drill-failed",
    "no-verified-backup",
    "does-not-run",
)


def check_alerts(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    """Yield what nobody would hear of."""
    yield from _events(deployment, parameters)
    yield from _five_alerts(deployment)
    yield from _own_alerts(deployment)
    yield from _action_group(deployment, parameters)


def _events(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    registries = {each.id for each in deployment.declared("Microsoft.ContainerRegistry/registries")}
    topics = deployment.declared("Microsoft.EventGrid/systemTopics")
    if not any(text_of(each.properties.get("source")) in registries for each in topics):
        yield None, "nobody hears of pushes: no system topic has the registry as its source"
    found = deployment.declared("Microsoft.EventGrid/systemTopics/eventSubscriptions")
    if parameters.get("connectEvents") and not found:
        yield None, "no subscription carries pushes to Slipway"
    for topic in topics:
        if topic.properties.get("topicType") != "Microsoft.ContainerRegistry.Registries":
            yield topic, f"registries tell of no {topic.properties.get('topicType')}"
    for each in found:
        if at(each, "filter.includedEventTypes") != ["Microsoft.ContainerRegistry.ImagePushed"]:
            yield each, "the subscription hears of more than pushes, or of less"
        container = at(each, "deadLetterWithResourceIdentity.deadLetterDestination.properties")
        names = {
            text_of(blob.name)
            for blob in deployment.declared(
                "Microsoft.Storage/storageAccounts/blobServices/containers"
            )
        }
        if not isinstance(container, Mapping) or container.get("blobContainerName") not in names:
            yield each, "an event that cannot be delivered is lost: there is no such container"
        target = text_of(at(each, "destination.properties.resourceId"))
        if not target.endswith("/functions/on_image_pushed"):
            yield each, f"the subscription ends at {target}"


def _criteria(rule: Resource) -> list[Mapping[str, Any]]:
    return list(at(rule, "criteria.allOf") or [])


def _five_alerts(deployment: Deployment) -> Told:
    rules = deployment.declared("Microsoft.Insights/metricAlerts")
    for metric, operator, threshold in _FIVE:
        found = [
            (rule, each)
            for rule in rules
            for each in _criteria(rule)
            if each["metricName"] == metric
        ]
        if not found:
            yield None, f"no alert watches {metric}"
        for rule, each in found:
            if each.get("operator") != operator:
                yield rule, f"{metric} has to be {operator} its limit"
            if metric == "HealthCheckStatus" and rule.properties.get("windowSize") == "PT1M":
                yield rule, f"{metric} needs a window of five minutes or more"
            if threshold is not None and each.get("threshold") != threshold:
                yield rule, f"the limit of {metric} is {each.get('threshold')}, not {threshold}"
    watched = {text_of(scope) for rule in rules for scope in rule.properties.get("scopes", [])}
    for slot in slots_of(deployment):
        if slot.id not in watched:
            yield slot, f"no alert watches the health check of {short(slot)}"


def _own_alerts(deployment: Deployment) -> Told:
    kinds = ("Microsoft.Insights/metricAlerts", "Microsoft.Insights/scheduledQueryRules")
    rules = of_type(deployment, kinds)
    for name in _OWN_ALERTS:
        if not any(text_of(each.name).endswith(f"-slipway-{name}") for each in rules):
            yield None, f"no alert of Slipway on itself is called {name}"
    groups = {each.id for each in deployment.declared("Microsoft.Insights/actionGroups")}
    for rule in rules:
        if rule.properties.get("enabled") is not True:
            yield rule, f"{short(rule)} is not enabled"
        if rule.properties.get("autoMitigate") is not True:
            yield rule, f"{short(rule)} never resolves, and would keep releases away"
        actions = rule.properties.get("actions")
        named = (
            {text_of(each.get("actionGroupId")) for each in actions}
            if isinstance(actions, list)
            else set(map(text_of, (actions or {}).get("actionGroups", [])))
        )
        if not named & groups:
            yield rule, f"{short(rule)} tells nobody"


def _action_group(deployment: Deployment, parameters: Mapping[str, Any]) -> Told:
    for group in deployment.declared("Microsoft.Insights/actionGroups"):
        if group.properties.get("enabled") is not True:
            yield group, "the action group is not enabled"
        hooks = group.properties.get("webhookReceivers") or []
        mails = group.properties.get("emailReceivers") or []
        if any(each.get("useCommonAlertSchema") is not True for each in [*hooks, *mails]):
            yield group, "a receiver does not get the common alert schema"
    if not parameters.get("alertsApplicationId"):
        return
    hearing = {
        group.id
        for group in deployment.declared("Microsoft.Insights/actionGroups")
        for each in group.properties.get("webhookReceivers") or []
        if each.get("useAadAuth") is True
        and text_of(each.get("serviceUri")).rstrip("»").endswith("/api/alerts")
    }
    told = [
        hook
        for group in deployment.declared("Microsoft.Insights/actionGroups")
        for hook in group.properties.get("webhookReceivers") or []
        if "/api/notifications/" in text_of(hook.get("serviceUri"))
    ]
    if parameters.get("chat") and not all(each.get("useAadAuth") is True for each in told):
        yield None, "the notifier is called without a token"
    if parameters.get("chat") and len(told) != len(
        deployment.declared("Microsoft.Insights/actionGroups")
    ):
        yield None, "not every action group tells people in their chat"
    watched = {metric for metric, _, _ in _FIVE}
    for rule in deployment.declared("Microsoft.Insights/metricAlerts"):
        groups = {text_of(each.get("actionGroupId")) for each in rule.properties.get("actions", [])}
        if {each["metricName"] for each in _criteria(rule)} & watched and not groups & hearing:
            yield rule, f"{short(rule)} does not reach Slipway by a secure webhook"
