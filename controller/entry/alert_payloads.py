"""What an action group posts: the common alert schema, read so that no true alert is lost.

What a decision rests on must be of its form (400 says what is not). Everything else is for people
and may be missing, null or odd. docs/alerts.md says what each kind of alert does; its table is
compared with `KINDS`.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from controller.core.alerts import Condition, resource_id
from controller.core.errors import MalformedError
from controller.entry.alert_words import clean, criteria, dimensions, is_array, is_object, part
from controller.entry.alert_words import sentence as condition_sentence
from controller.runtime.messages import short_name

Json = Mapping[str, Any]

SCHEMA: Final = "azureMonitorCommonAlertSchema"
LONGEST_ID: Final = 300
LONGEST_RULE: Final = 260
LONGEST_RESOURCE: Final = 1000
LONGEST_DETAIL: Final = 500
_MOST_TARGETS: Final = 100
_COMMON: Final = "Enable the common alert schema in the action group."
_AS_AZURE: Final = "Send the alert as Azure Monitor does."
_LEGACY: Final = {
    "azuremonitormetricalert": "a metric alert of the older schema",
    "microsoft.insights/activitylogs": "an activity log alert of the older schema",
    "microsoft.insights/logalert": "a log alert of the older schema",
    "microsoft.insights/activitylogalerts": "an activity log alert of the older schema",
}
_SAMPLES: Final = frozenset(  # rules as the portal's "Test action group" names them
    {
        "test-activitylogalertrule",
        "test-availabilitytest-test-applicationinsights",
        "test-dynamicmetricalertrule",
        "test-logalertrule-v1-metricmeasurement",
        "test-logalertrule-v1-numresults",
        "test-logalertrule-v2",
        "test-metricalertrule",
        "test-resourcehealthalertrule",
        "test-servicehealthalertrule",
        "test-smartalertrule",
    }
)
_US_TIME: Final = "%m/%d/%Y %I:%M:%S %p"  # of the first version of log alerts
_NO_TIME: Final = datetime(1900, 1, 1, tzinfo=UTC)  # before this: the empty value of .NET


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What alerts of one kind have in common."""

    name: str
    services: tuple[str, ...]  # monitoringService, lower case; a trailing * stands for any text
    is_moment: bool = False  # Azure Monitor never resolves them


KINDS: Final = (
    Kind(name="metric", services=("platform",)),
    Kind(name="log search", services=("log alerts v2",)),
    Kind(
        name="log search, first version",
        services=("log analytics", "application insights"),
        is_moment=True,
    ),
    Kind(name="Prometheus", services=("prometheus",)),
    Kind(name="smart detection", services=("smartdetector",)),
    Kind(name="resource health", services=("resource health", "resourcehealth"), is_moment=True),
    Kind(name="service health", services=("servicehealth", "service health"), is_moment=True),
    Kind(name="activity log", services=("activity log*",), is_moment=True),
    Kind(name="cost", services=("costalerts",), is_moment=True),
)
OTHER: Final = Kind(name="any other", services=("*",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One notice, as far as it matters to us."""

    condition: Condition
    id: str
    rule: str
    resources: tuple[str, ...]  # ARM ids of what it is about, lower case
    fired_at: datetime | None
    kind: Kind
    detail: str
    is_test: bool = False
    harmless: str = ""


def parse(value: object) -> Alert:
    """Return the alert in a decoded body.

    Raises:
        MalformedError: it is not of the common alert schema; it says what is wrong.
    """
    essentials, context = _parts(value)
    kind = _kind(clean(essentials.get("monitoringService")))
    rule = _rule(essentials)
    return Alert(
        condition=_condition(essentials),
        id=_id(essentials),
        rule=rule,
        resources=_resources(essentials, context),
        fired_at=_time(essentials, "firedDateTime"),
        kind=kind,
        detail=_detail(essentials, context),
        is_test=_is_test(rule, essentials, context),
        harmless=_harmless(kind, context),
    )


def _parts(value: object) -> tuple[Json, Json]:
    if not is_object(value):
        raise _malformed(f"The body is a JSON {_type(value)}, not an object", _COMMON)
    schema = value.get("schemaId")
    data = value.get("data")
    if not isinstance(schema, str) or schema.lower() != SCHEMA.lower():
        raise _malformed(f"The body is {_older(value)}, not of the common alert schema", _COMMON)
    if not is_object(data) or not is_object(data.get("essentials")):
        raise _malformed("The alert has no object data.essentials", _AS_AZURE)
    context = data.get("alertContext")
    return data["essentials"], context if is_object(context) else {}


def _older(value: Json) -> str:
    schema = value.get("schemaId")
    if isinstance(schema, str) and schema:
        return _LEGACY.get(schema.lower(), f"of schema {clean(schema, 60)!r}")
    if "SearchQuery" in part(value, "data") or "SearchQuery" in value:
        return "a log alert of the older schema"
    if is_object(value.get("context")):
        return "a classic alert"
    return "without a schemaId"


def _malformed(what: str, fix: str) -> MalformedError:
    return MalformedError(f"{what}.", fix=fix)


def _type(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return {"list": "array", "str": "text", "dict": "object"}.get(type(value).__name__, "number")


# --- What decisions rest on -----------------------------------------------------------------------


def _text(essentials: Json, name: str) -> str:
    value = essentials.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        what = f"data.essentials.{name} is a JSON {_type(value)}, not a text"
        raise _malformed(what, _AS_AZURE)
    return value.encode(errors="replace").decode().strip()


def _texts(essentials: Json, name: str) -> list[str]:
    value = essentials.get(name)
    if value is None:
        return []
    if not is_array(value) or not all(each is None or isinstance(each, str) for each in value):
        what = f"data.essentials.{name} is not a list of texts"
        raise _malformed(what, _AS_AZURE)
    return [each.encode(errors="replace").decode() for each in value if each]


def _time(essentials: Json, name: str) -> datetime | None:
    text = _text(essentials, name)
    if not text:
        return None
    try:
        found = _read_time(text)
        at = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        what = f"data.essentials.{name} is {clean(text, 40)!r}, not a time"
        raise _malformed(what, "Send it as 2026-01-02T03:04:05Z.") from error
    return at if at > _NO_TIME else None


def _read_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.strptime(text, _US_TIME).replace(tzinfo=UTC)


def _condition(essentials: Json) -> Condition:
    text = _text(essentials, "monitorCondition").lower()
    if text == "fired":
        return Condition.FIRED
    if text == "resolved":
        return Condition.RESOLVED
    raise _malformed(
        f"data.essentials.monitorCondition is {clean(text, 40)!r}, neither Fired nor Resolved",
        _AS_AZURE,
    )


def _id(essentials: Json) -> str:
    """Return what a firing and its resolving notice have in common, of bounded length."""
    name = _text(essentials, "originAlertId") or _text(essentials, "alertId")
    if name:
        return short_name(name, LONGEST_ID)
    # Then only all that it says tells it from others.
    facts = [_text(essentials, each) for each in ("alertRule", "alertRuleId", "firedDateTime")]
    everything = "|".join([*facts, *sorted(_texts(essentials, "alertTargetIDs"))])
    return f"unnamed-{hashlib.sha256(everything.lower().encode()).hexdigest()[:32]}"


def _rule(essentials: Json) -> str:
    named = _text(essentials, "alertRuleId") or _text(essentials, "alertRuleID")
    rule = _text(essentials, "alertRule") or named.rstrip("/").rpartition("/")[2]
    return clean(rule, LONGEST_RULE)


def _resources(essentials: Json, context: Json) -> tuple[str, ...]:
    """Return everything that the alert says it is about and that has an ARM id."""
    scope = part(context, "authorization").get("scope")
    named = [
        *_texts(essentials, "alertTargetIDs"),
        *_texts(essentials, "configurationItems"),
        *([scope] if isinstance(scope, str) else []),
        *_dimension_ids(context),
    ]
    ids = (resource_id(each.encode(errors="replace").decode()) for each in named)
    wanted = (each for each in ids if each.startswith("/") and len(each) <= LONGEST_RESOURCE)
    return tuple(dict.fromkeys(wanted))[:_MOST_TARGETS]


def _dimension_ids(context: Json) -> Sequence[str]:
    names = {"_resourceid", "resourceid"}
    return [v for each in criteria(context) for n, v in dimensions(each) if n.lower() in names]


def _kind(service: str) -> Kind:
    name = " ".join(service.lower().split())
    for kind in KINDS:
        for known in kind.services:
            is_it = name.startswith(known[:-1]) if known.endswith("*") else name == known
            if is_it:
                return kind
    return OTHER


# --- What tells of no fault -----------------------------------------------------------------------


def _is_test(rule: str, essentials: Json, context: Json) -> bool:
    names = (_text(essentials, "alertId"), _text(essentials, "originAlertId"))
    synthetic = clean(part(context, "properties").get("IsSynthetic")).lower() == "true"
    said = clean(essentials.get("description"))
    return (
        synthetic
        or rule.lower() in _SAMPLES
        or any(name.lower().endswith("test_alert") for name in names)
        or said.startswith("Delivery Confirmation: This is a sample")
    )


def _harmless(kind: Kind, context: Json) -> str:
    """Return why the alert tells of no fault of the app; empty where it does."""
    if kind.name == "cost":
        return "money is no sign of a bad build"
    if kind.name == "resource health":
        return _harmless_health(part(context, "properties"), context)
    if kind.name == "service health":
        return _harmless_service(part(context, "properties"), context)
    if kind.name == "activity log":
        return _harmless_operation(context)
    return ""


def _harmless_health(facts: Json, context: Json) -> str:
    status = clean(facts.get("currentHealthStatus")).lower()
    if status == "available" or _is_over(context):
        return "the resource is healthy again"
    if clean(facts.get("cause")).lower() == "userinitiated":
        return "somebody did that on purpose"
    return ""


def _harmless_service(facts: Json, context: Json) -> str:
    kind = clean(facts.get("incidentType")).lower()
    stage = clean(facts.get("stage")).lower()
    if _is_over(context) or stage in {"resolved", "complete", "canceled"}:
        return "it is over"
    return "" if kind in {"", "incident"} else f"{kind} is announced, nothing is broken"


def _harmless_operation(context: Json) -> str:
    """An operation that went well (a swap of our own, say) is no fault."""
    status = clean(context.get("status")).lower()
    level = clean(context.get("level")).lower()
    if status == "failed" or level in {"critical", "error", "warning", "1", "2", "3"}:
        return ""
    return f"the operation is {status or 'reported'} and no failure"


def _is_over(context: Json) -> bool:
    operation = clean(context.get("operationName")).lower()
    return clean(context.get("status")).lower() == "resolved" or bool(
        re.search(r"/resolved/action$", operation)
    )


# --- For people -----------------------------------------------------------------------------------


def _detail(essentials: Json, context: Json) -> str:
    service, severity = clean(essentials.get("monitoringService"), 60), essentials.get("severity")
    said = condition_sentence(" ".join(service.lower().split()), context)
    said = said or clean(essentials.get("description"), 300)
    head = ", ".join(each for each in (clean(severity, 20), service) if each)
    return clean(": ".join(each for each in (head, said) if each), LONGEST_DETAIL)
