"""Which tables a query sees, under which names: a workspace's, or a component's classic ones.

The service has called columns differently over time; a rename lets a test see a query through it.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sandbox.monitor.schema import TABLES

_SUCCESS: Final = """CASE WHEN "Success" THEN 'True' WHEN NOT "Success" THEN 'False' ELSE '' END"""

# Classic name -> what it is in the table that stands behind it, and its type.
_COMMON: Final[Mapping[str, tuple[str, str]]] = {
    "timestamp": ('"TimeGenerated"', "datetime"),
    "customDimensions": ('"Properties"', "dynamic"),
    "customMeasurements": ('"Measurements"', "dynamic"),
    "operation_Name": ('"OperationName"', "string"),
    "operation_Id": ('"OperationId"', "string"),
    "operation_ParentId": ('"ParentId"', "string"),
    "operation_SyntheticSource": ('"SyntheticSource"', "string"),
    "session_Id": ('"SessionId"', "string"),
    "user_Id": ('"UserId"', "string"),
    "application_Version": ('"AppVersion"', "string"),
    "cloud_RoleName": ('"AppRoleName"', "string"),
    "cloud_RoleInstance": ('"AppRoleInstance"', "string"),
    "iKey": ('"IKey"', "string"),
    "sdkVersion": ('"SDKVersion"', "string"),
    "itemCount": ('"ItemCount"', "int"),
}
_TIMED: Final[Mapping[str, tuple[str, str]]] = {
    "id": ('"Id"', "string"),
    "name": ('"Name"', "string"),
    "success": (_SUCCESS, "string"),  # a text there
    "resultCode": ('"ResultCode"', "string"),
    "duration": ('"DurationMs"', "real"),
    "performanceBucket": ('"PerformanceBucket"', "string"),
}
_CLASSIC: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "requests": {
        **_COMMON,
        **_TIMED,
        "source": ('"Source"', "string"),
        "url": ('"Url"', "string"),
    },
    "dependencies": {
        **_COMMON,
        **_TIMED,
        "target": ('"Target"', "string"),
        "type": ('"DependencyType"', "string"),
        "data": ('"Data"', "string"),
    },
    "exceptions": {
        **_COMMON,
        "problemId": ('"ProblemId"', "string"),
        "type": ('"ExceptionType"', "string"),
        "outerMessage": ('"OuterMessage"', "string"),
        "severityLevel": ('"SeverityLevel"', "int"),
    },
}
CLASSIC_TABLES: Final = {
    table: {name: kind for name, (_, kind) in columns.items()}
    for table, columns in _CLASSIC.items()
}
_STORED_AS: Final = {
    "requests": "AppRequests",
    "dependencies": "AppDependencies",
    "exceptions": "AppExceptions",
}
_IF_EXISTS: Final = re.compile(
    r'column_ifexists\s*\(\s*"(?P<name>[^"]+)"\s*,\s*'
    r"(?P<other>(?:(?!column_ifexists)[^()]|\([^()]*\))*?)\s*\)"
)


@dataclass(frozen=True, slots=True)
class Catalog:
    """Tables by the name that a query uses: shown column -> SQL of what is stored."""

    name: str  # equal catalogs have equal names
    tables: Mapping[str, Mapping[str, str]]
    elsewhere: frozenset[str] = frozenset()  # names of tables that are unknown here

    def stored(self, table: str) -> str:
        """Return the stored table's own name."""
        return _STORED_AS.get(table, table)

    def with_known_columns(self, text: str, tables: Iterable[str]) -> str:
        """Return *text* with each ``column_ifexists`` decided, the innermost first."""
        known = {column for table in tables for column in self.tables[table]}

        def decide(call: re.Match[str]) -> str:
            return call["name"] if call["name"] in known else call["other"]

        while _IF_EXISTS.search(text):
            text = _IF_EXISTS.sub(decide, text)
        return text


def workspace(renamed: Mapping[str, str]) -> Catalog:
    """Return a workspace's tables. *renamed*: stored column -> what the service calls it now."""
    names = ",".join(f"{old}>{new}" for old, new in sorted(renamed.items()))
    return Catalog(
        f"workspace {names}",
        {
            table: {renamed.get(column, column): f'"{column}"' for column in columns}
            for table, columns in TABLES.items()
        },
    )


CLASSIC: Final = Catalog(
    "classic",
    {
        table: {name: sql for name, (sql, _) in columns.items()}
        for table, columns in _CLASSIC.items()
    },
    elsewhere=frozenset(TABLES),
)
