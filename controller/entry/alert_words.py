"""The condition of an alert in one human sentence, whatever kind of alert it is.

Only people read it. So nothing here refuses anything: what is missing or odd is left out.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeGuard

Json = Mapping[str, Any]

_LONGEST: Final = 400
_LONGEST_PART: Final = 120
_MOST_CRITERIA: Final = 3
_MOST_DIMENSIONS: Final = 3
_OPERATORS: Final = {
    "greaterthan": "more than",
    "greaterthanorequal": "at least",
    "greaterorequal": "at least",
    "lessthan": "less than",
    "lowerthan": "less than",
    "lessthanorequal": "at most",
    "lessorequal": "at most",
    "lowerthanorequal": "at most",
    "equal": "equal to",
    "equals": "equal to",
    "notequal": "not equal to",
    "greaterorlessthan": "outside of",
    "greaterthanorlessthan": "outside of",
}
_PERIOD: Final = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """Whether *value* is a JSON object."""
    return isinstance(value, dict)


def is_array(value: object) -> TypeGuard[list[Any]]:
    """Whether *value* is a JSON array."""
    return isinstance(value, list)


def clean(value: object, longest: int = _LONGEST_PART) -> str:
    """Return a text or number as one printable line; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    printable = "".join(c if c.isprintable() else " " for c in str(value)[: 2 * longest])
    line = " ".join(printable.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def sentence(service: str, context: object) -> str:
    """Return what *context* (``alertContext``) of an alert by *service* says; maybe nothing."""
    if not is_object(context):
        return ""
    for is_it, words in _KINDS:
        if is_it(service, context):
            return clean(words(context), _LONGEST)
    return ""


def part(value: Json, *names: str) -> Json:
    """Return the object below *names*; an empty one where there is none."""
    found: object = value
    for name in names:
        found = found.get(name) if is_object(found) else None
    return found if is_object(found) else {}


# --- Metrics and logs -----------------------------------------------------------------------------


def criteria(context: Json) -> list[Json]:
    """Return the criteria of a metric or log alert."""
    found = part(context, "condition").get("allOf")
    return [each for each in found if is_object(each)] if is_array(found) else []


def dimensions(criterion: Json) -> Iterator[tuple[str, str]]:
    """Yield name and value of each dimension."""
    found = criterion.get("dimensions")
    for each in found if is_array(found) else []:
        if is_object(each) and clean(each.get("name")):
            yield clean(each.get("name")), clean(each.get("value"), 2 * _LONGEST)


def _measured(context: Json) -> str:
    window = _period(part(context, "condition").get("windowSize"))
    found = [_criterion(each) for each in criteria(context)[:_MOST_CRITERIA]]
    return _joined("; ".join(found), window and f"over {window}")


def _criterion(criterion: Json) -> str:
    is_log = "searchQuery" in criterion
    what = "rows of the query" if is_log else clean(criterion.get("metricName")) or "a metric"
    counts = clean(criterion.get("timeAggregation")).lower() == "count"
    column = "" if counts else clean(criterion.get("metricMeasureColumn"))
    test = clean(criterion.get("webTestName"))
    measure = _joined(
        clean(criterion.get("timeAggregation")),
        f"of {column}" if is_log and column else what,
        test and f"of {test}",
    )
    value = clean(criterion.get("metricValue")) or "unknown"
    shown = [f"{name} {value[:60]}" for name, value in dimensions(criterion)][:_MOST_DIMENSIONS]
    limit = _limit(criterion)
    where = f" ({', '.join(shown)})" if shown else ""
    return f"{measure} was {value}{limit and f', {limit}'}{where}"


def _limit(criterion: Json) -> str:
    threshold = clean(criterion.get("threshold"))
    sensitivity = clean(criterion.get("alertSensitivity"))
    if not threshold and not sensitivity:
        return ""
    words = _operator(criterion.get("operator"))
    if not sensitivity:
        return f"{words} {threshold}"
    known = f" {threshold}" if threshold else ""
    return f"{words} the dynamic threshold{known} (sensitivity {sensitivity})"


def _operator(value: object) -> str:
    word = clean(value)
    return _OPERATORS.get(word.replace(" ", "").lower(), word or "against")


def _period(value: object) -> str:
    """Return ``PT5M`` as ``5 min``; what is no period as it is."""
    text = clean(value)
    found = _PERIOD.fullmatch(text)
    if found is None:
        return text
    units = zip(found.groups(), ("d", "h", "min", "s"), strict=True)
    return " ".join(f"{number} {unit}" for number, unit in units if number)


def _searched(context: Json) -> str:
    """The first version of log alerts."""
    count = clean(context.get("ResultCount"))
    kind = clean(context.get("AlertType")) or "log search"
    operator, threshold = context.get("Operator"), clean(context.get("Threshold"))
    minutes = clean(context.get("SearchIntervalInMinutes"))
    return _joined(
        f"{kind}:",
        f"{count or 'unknown'} results,",
        threshold and f"{_operator(operator)} {threshold}",
        minutes and f"over {minutes} min",
    )


# --- Events ---------------------------------------------------------------------------------------


def _health_changed(context: Json) -> str:
    facts = part(context, "properties")
    now, before = clean(facts.get("currentHealthStatus")), clean(facts.get("previousHealthStatus"))
    return _joined(
        "health is",
        now or "unknown",
        before and f"(was {before}):",
        clean(facts.get("title")),
        _bracketed(facts.get("cause")),
    )


def _service_said(context: Json) -> str:
    facts = part(context, "properties")
    return _joined(
        f"{clean(facts.get('incidentType')) or 'service health'}:",
        clean(facts.get("title")),
        _bracketed(facts.get("region")),
    )


def _operation_ran(context: Json) -> str:
    return _joined(
        clean(context.get("operationName")),
        clean(context.get("status")),
        _bracketed(context.get("level")),
    )


def _expression_held(context: Json) -> str:
    facts, labels = part(context, "annotations"), part(context, "labels")
    summary = clean(facts.get("summary")) or clean(facts.get("description"))
    length = _period(context.get("for"))
    shown = [f"{clean(n)} {clean(v)[:60]}" for n, v in labels.items() if clean(v)]
    some = ", ".join(shown[:_MOST_DIMENSIONS])
    return _joined(
        f"{clean(context.get('expression')) or 'the expression'} was",
        clean(context.get("expressionValue")) or "true",
        length and f"for {length}",
        f"({some})" if some else "",
        summary and f": {summary}",
    )


def _detected(context: Json) -> str:
    found, usual = clean(context.get("DetectedValue")), clean(context.get("NormalValue"))
    return _joined(
        clean(context.get("DetectionSummary")) or clean(context.get("SmartDetectorName")),
        found and f"was {found}",
        usual and f"usually {usual}",
    )


def _spent(context: Json) -> str:
    facts = part(context, "AlertData")
    spent, limit = clean(facts.get("SpentAmount")), clean(facts.get("NotificationThresholdAmount"))
    name = clean(facts.get("BudgetName"))
    return _joined("budget", name, spent and f"spent {spent}", limit and f"of {limit}")


def _joined(*parts: str) -> str:
    return " ".join(each for each in parts if each).replace(" : ", ": ")


def _bracketed(value: object) -> str:
    return f"({clean(value)})" if clean(value) else ""


_KINDS: Final[tuple[tuple[Callable[[str, Json], bool], Callable[[Json], str]], ...]] = (
    (lambda _, context: bool(criteria(context)), _measured),
    (lambda _, context: "SearchQuery" in context, _searched),
    (lambda _, context: "currentHealthStatus" in part(context, "properties"), _health_changed),
    (lambda service, _: service == "servicehealth", _service_said),
    (lambda _, context: "operationName" in context, _operation_ran),
    (lambda _, context: "expression" in context, _expression_held),
    (lambda _, context: "DetectionSummary" in context or "SmartDetectorId" in context, _detected),
    (lambda _, context: "AlertData" in context, _spent),
)
