"""From an Application Insights envelope to the rows that Log Analytics keeps of it."""

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

Json = Mapping[str, Any]
Columns = dict[str, object]

# Context tags and the columns they become.
_TAGS: Final = {
    "ai.application.ver": "AppVersion",
    "ai.cloud.role": "AppRoleName",
    "ai.cloud.roleInstance": "AppRoleInstance",
    "ai.device.model": "ClientModel",
    "ai.device.osVersion": "ClientOS",
    "ai.device.type": "ClientType",
    "ai.internal.sdkVersion": "SDKVersion",
    "ai.operation.id": "OperationId",
    "ai.operation.name": "OperationName",
    "ai.operation.parentId": "ParentId",
    "ai.operation.syntheticSource": "SyntheticSource",
    "ai.session.id": "SessionId",
    "ai.user.accountId": "UserAccountId",
    "ai.user.authUserId": "UserAuthenticatedId",
    "ai.user.id": "UserId",
}
_SEVERITIES: Final = {"Verbose": 0, "Information": 1, "Warning": 2, "Error": 3, "Critical": 4}
_DURATION: Final = re.compile(r"(?:(\d+)\.)?(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_BUCKETS: Final = (  # of a duration in ms; the last one is open
    (250, "<250ms"),
    (500, "250ms-500ms"),
    (1_000, "500ms-1sec"),
    (3_000, "1sec-3sec"),
    (7_000, "3sec-7sec"),
    (15_000, "7sec-15sec"),
    (30_000, "15sec-30sec"),
    (60_000, "30sec-1min"),
    (120_000, "1min-2min"),
    (300_000, "2min-5min"),
)


class EnvelopeError(Exception):
    """The service would refuse this item; the message says why."""


def instrumentation_key(envelope: object) -> str:
    """Return the key of the resource that *envelope* is meant for."""
    return str(cast("Json", envelope).get("iKey", "")) if isinstance(envelope, dict) else ""


def rows(envelope: object) -> tuple[str, list[Columns]]:
    """Return the table that *envelope* belongs to and its rows there.

    Raises:
        EnvelopeError: it is of no known type, or a field is malformed.
    """
    try:
        whole = cast("Json", envelope)
        data: Json = whole["data"]
        base: Json = data["baseData"]
        table, convert = _TYPES[data["baseType"]]
        common = _common(whole)
        details = convert(base)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise EnvelopeError(f"Invalid telemetry item: {error!r}") from error
    if table != "AppMetrics":  # whose ItemCount counts measurements, not sampling
        weight = round(100 / float(whole.get("sampleRate") or 100))
        common["ItemCount"] = max(weight, 1)
        common["Measurements"] = base.get("measurements") or {}
    common["Properties"] = base.get("properties") or {}
    return table, [{**common, "Type": table, **one} for one in details]


def _common(envelope: Json) -> Columns:
    tags: Json = envelope.get("tags") or {}
    columns: Columns = {column: tags[tag] for tag, column in _TAGS.items() if tags.get(tag)}
    return {
        "ClientIP": "0.0.0.0",  # what the service stores unless told to keep addresses
        "ClientType": "PC",
        "SourceSystem": "Azure",
        "_IsBillable": "True",
        **columns,
        "TimeGenerated": dt.datetime.fromisoformat(envelope["time"]),
        "IKey": envelope["iKey"],
    }


def _request(data: Json) -> list[Columns]:
    return [
        {
            **_timed(data),
            "Id": data["id"],
            "Name": data.get("name"),
            "Url": data.get("url"),
            "Source": data.get("source"),
            "ResultCode": data["responseCode"],
            "Success": data.get("success", True),
        }
    ]


def _dependency(data: Json) -> list[Columns]:
    return [
        {
            **_timed(data),
            "Id": data.get("id"),
            "Name": data.get("name"),
            "DependencyType": data.get("type"),
            "Target": data.get("target"),
            "Data": data.get("data"),
            "ResultCode": data.get("resultCode"),
            "Success": data.get("success", True),
        }
    ]


def _exception(data: Json) -> list[Columns]:
    outer: Json = data["exceptions"][0]
    inner: Json = data["exceptions"][-1]
    kind = outer.get("typeName")
    return [
        {
            "ExceptionType": kind,
            "Message": outer.get("message"),
            "OuterType": kind,
            "OuterMessage": outer.get("message"),
            "InnermostType": inner.get("typeName"),
            "InnermostMessage": inner.get("message"),
            "ProblemId": data.get("problemId") or kind,
            "SeverityLevel": _severity(data),
            "Details": data["exceptions"],
        }
    ]


def _message(data: Json) -> list[Columns]:
    return [{"Message": data["message"], "SeverityLevel": _severity(data)}]


def _metrics(data: Json) -> list[Columns]:
    return [
        {
            "Name": point["name"],
            "Sum": point["value"],
            "Min": _else(point.get("min"), point["value"]),
            "Max": _else(point.get("max"), point["value"]),
            "ItemCount": point.get("count") or 1,
        }
        for point in data["metrics"]
    ]


def _availability(data: Json) -> list[Columns]:
    return [
        {
            **_timed(data),
            "Id": data["id"],
            "Name": data["name"],
            "Location": data.get("runLocation"),
            "Message": data.get("message"),
            "Success": data["success"],
        }
    ]


_TYPES: Final[dict[str, tuple[str, Callable[[Json], list[Columns]]]]] = {
    "RequestData": ("AppRequests", _request),
    "RemoteDependencyData": ("AppDependencies", _dependency),
    "ExceptionData": ("AppExceptions", _exception),
    "MessageData": ("AppTraces", _message),
    "MetricData": ("AppMetrics", _metrics),
    "AvailabilityData": ("AppAvailabilityResults", _availability),
}


def _timed(data: Json) -> Columns:
    found = _DURATION.fullmatch(data["duration"])
    if found is None:
        raise EnvelopeError(f"Invalid duration: {data['duration']!r}")
    days, hours, minutes, seconds = found.groups(default="0")
    whole_minutes = (int(days) * 24 + int(hours)) * 60 + int(minutes)
    milliseconds = (whole_minutes * 60 + float(seconds)) * 1000
    # The addition above leaves noise behind the microseconds, and a bin's edge is a whole number.
    milliseconds = round(milliseconds, 4)
    bucket = next((name for limit, name in _BUCKETS if milliseconds < limit), ">=5min")
    return {"DurationMs": milliseconds, "PerformanceBucket": bucket}


def _severity(data: Json) -> int | None:
    level = data.get("severityLevel")
    return _SEVERITIES.get(level) if isinstance(level, str) else level


def _else(value: object, default: object) -> object:
    return default if value is None else value
