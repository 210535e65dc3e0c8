"""The kinds of values in apps.yaml: each with its form and the sentence that explains it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.json_schema import JsonSchemaValue, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from controller.config.durations import LONGEST, PATTERN, format_duration, parse_duration
from controller.core.freezes import is_zone, problem_with_cron

OURS: Final = "slipway"  # type of the errors whose words are written here


def complaint(message: str, suggestion: str | None = None) -> PydanticCustomError:
    """Return the error that says *message* about a value and what to write instead."""
    return PydanticCustomError(OURS, "{message}", {"message": message, "suggestion": suggestion})


@dataclass(frozen=True, slots=True)
class Shape:
    """A text of a given form. *hint* may see what was meant by a text that is not of it."""

    pattern: str
    says: str
    longest: int = 255
    hint: Callable[[str], str | None] | None = None

    def check(self, value: str) -> str:
        """Return *value* if it has the form."""
        if len(value) > self.longest:
            raise complaint(f"is longer than {self.longest} characters")
        if not re.fullmatch(self.pattern, value):
            raise complaint(f"must be {self.says}", self.hint(value) if self.hint else None)
        return value

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": self.pattern, "maxLength": self.longest}


def _duration(value: object) -> timedelta:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise complaint(str(error)) from error


def _bare_host(value: str) -> str | None:
    host = re.sub(r"^[a-z]+://", "", value.strip().lower()).split("/")[0]
    return f"Did you mean '{host}'?" if re.fullmatch(HOST, host) and host != value else None


def _bare_repository(value: str) -> str | None:
    first, _, rest = value.partition("/")
    if rest and ("." in first or ":" in first):
        return f"The registry stands apart; did you mean '{rest.split(':')[0].split('@')[0]}'?"
    if ":" in value or "@" in value:
        return "Without tag or digest; the push names those."
    return f"Did you mean '{value.lower()}'?" if value != value.lower() else None


def _rooted(value: str) -> str | None:
    if "://" in value:
        return "Without scheme and host; Slipway asks the slot itself."
    return f"Did you mean '/{value}'?" if re.fullmatch(PATH, f"/{value}") else None


def _not_production(value: str) -> str | None:
    if value.lower() == "production":
        return "Production is the site itself; Slipway knows it. List the other slots."
    return None


def _lower(value: str) -> str | None:
    better = re.sub(r"[^a-z0-9-]+", "-", value.lower()).strip("-")[:40]
    return f"Did you mean '{better}'?" if better else None


def _public_header(value: str) -> str:
    if looks_secret(value) or value.lower() in {"cookie", "set-cookie"}:
        raise complaint(f"the header '{value}' carries a secret", NO_SECRETS)
    if value.lower() in {"host", "content-length", "transfer-encoding", "connection"}:
        raise complaint(f"the header '{value}' is set by Slipway itself", "Remove it.")
    return value


NO_SECRETS: Final = (
    "Secrets do not belong in apps.yaml: Slipway uses its managed identity and Key Vault."
)
_SECRET: Final = re.compile(
    r"passw(or)?d|secret|token|credential|authorization|connection.?string|(^|[-_.])sas($|[-_.])"
    r"|(api|access|account|private|functions?|shared|subscription|instrumentation).?keys?($|[-_.])",
    re.IGNORECASE,
)


def looks_secret(name: str) -> bool:
    """Whether *name* is one that people give to secrets."""
    return _SECRET.search(name) is not None


def _cron(value: str) -> str:
    problem = problem_with_cron(value)
    if problem:
        raise complaint(f"is not a cron expression: {problem}", _CRON_ADVICE)
    return value


def _zone(value: str) -> str:
    if not is_zone(value):
        raise complaint("is not a time zone", "Use an IANA name, such as Europe/Berlin or UTC.")
    return value


_CRON_ADVICE: Final = "Five fields, such as '0 18 * * fri': minute, hour, day, month, weekday."
HOST: Final = (
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*(:[0-9]{1,5})?$"
)
PATH: Final = r"^/[!$-~]*$"  # path and query as a URL shows them; a fragment never leaves
_GUID: Final = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_REPOSITORY: Final = r"^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$"
_SLOT: Final = (
    r"^(?![pP][rR][oO][dD][uU][cC][tT][iI][oO][nN]$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$"
)

AppKey = Annotated[
    str, Shape(r"^[a-z0-9-]{1,40}$", "1 to 40 of a-z, 0-9 and '-'", longest=40, hint=_lower)
]
_COMPONENT_OR_WORKSPACE: Final = (
    r"^/[sS]ubscriptions/[0-9a-fA-F-]{36}/[rR]esource[gG]roups/[\w().-]{1,90}/[pP]roviders/"
    r"([mM]icrosoft\.[iI]nsights/[cC]omponents|"
    r"[mM]icrosoft\.[oO]perational[iI]nsights/[wW]orkspaces)/[\w ().-]{1,255}$"
)
TelemetrySource = Annotated[
    str,
    Shape(
        f"{_GUID}|{_COMPONENT_OR_WORKSPACE}",
        "a workspace id such as 00000000-0000-0000-0000-000000000000, or the ARM id of an "
        "Application Insights component or a workspace",
        600,
    ),
]
Region = Annotated[
    str, Shape(r"^[a-z][a-z0-9]{2,39}$", "a region as Azure names it, such as westeurope", 40)
]
RoleName = Annotated[str, Shape(r"^[^\x00-\x1f|]+$", "a cloud role's name on one line", 255)]
Guid = Annotated[str, Shape(_GUID, "a GUID such as 00000000-0000-0000-0000-000000000000", 36)]
ResourceGroup = Annotated[
    str, Shape(r"^[\w().-]{0,89}[\w()-]$", "the name of a resource group, not its id", 90)
]
SiteName = Annotated[
    str,
    Shape(
        r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$",
        "the site's name: letters, digits and '-', not its host name",
        60,
    ),
]
Slot = Annotated[
    str,
    Shape(_SLOT, "a slot's name: letters, digits and '-', not 'production'", 59, _not_production),
]
RegistryHost = Annotated[
    str, Shape(HOST, "a bare host name, with a port where it needs one", 255, _bare_host)
]
Repository = Annotated[
    str, Shape(_REPOSITORY, "a repository such as team/shop", 255, _bare_repository)
]
TagGlob = Annotated[
    str,
    Shape(r"^[A-Za-z0-9_.*?\[\]!-]+$", "a tag or a pattern such as 'v*' or '*-rc[0-9]'", 128),
]
UrlPath = Annotated[str, Shape(PATH, "a path that starts with '/'", 1024, _rooted)]
HEADER_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"
HeaderName = Annotated[str, Shape(HEADER_NAME, "the name of a header", 128)]
PublicHeader = Annotated[HeaderName, AfterValidator(_public_header)]
HeaderValue = Annotated[str, Shape(r"^[\t -~]*$", "printable text on one line", 1024)]
JsonField = Annotated[str, Shape(r"^[^\s.]+(\.[^\s.]+)*$", "a field such as 'build.digest'", 200)]
Cron = Annotated[
    str,
    # No field begins with R or H: those stand for chance, and a freeze is a promise.
    Shape(
        r"^[^\srRhH]\S*( +[^\srRhH]\S*){4}$",
        "five fields such as '0 18 * * fri'",
        100,
        lambda _: _CRON_ADVICE,
    ),
    AfterValidator(_cron),
]
TimeZone = Annotated[
    str,
    Shape(r"^[A-Za-z0-9_+/-]+$", "a time zone such as Europe/Berlin", 64),
    AfterValidator(_zone),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(
        {
            "oneOf": [
                {"type": "string", "pattern": PATTERN},
                {"type": "number", "minimum": 0, "maximum": LONGEST.total_seconds()},
            ],
            "examples": ["90s", "5m", "1h30m", "500ms"],
        }
    ),
]
