"""The text of queries: parameters as `let` statements, then tables, then what is asked of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import resources
from typing import Final

from controller.adapters.metric_rows import build_key
from controller.core.errors import PermanentError
from controller.core.telemetry import IdentifyBy, Mark

Parameters = Mapping[str, str]
RELEASES: Final = "releases"
LATENCIES: Final = "latencies"
HISTORY: Final = "history"
DEPENDENCIES: Final = "dependencies"
EXCEPTIONS: Final = "exceptions"
_CLASSIC: Final = "_classic"


def window(since: datetime, until: datetime, oldest: datetime, bucket: timedelta) -> Parameters:
    """Return the parameters that every query has: of what time, in what buckets."""
    return {
        "From": moment(since),
        "To": moment(until),
        "Since": moment(oldest),
        "BucketSize": timespan(bucket),
    }


def query(name: str, parameters: Parameters, *, classic: bool) -> str:
    """Return the query *name*, below its parameters and the tables that it stands on.

    Most builds say their version; the table for all other ways costs several times as much.
    """
    named = "by_any" if "Builds" in parameters else "by_version"
    tables = _arrived(name, _CLASSIC if classic else "")
    tables += as_table("Named", text(named)) + as_table("Judged", text("judged"))
    return lets(parameters) + tables + text(name)


def _arrived(name: str, variant: str) -> str:
    """Return the table of everybody's rows: with the classic names, or with those of today.

    Never both in one query: where one is another name of the other, all would count twice.
    """
    if name == DEPENDENCIES:
        return as_table("Arrived", text(f"calls{variant}"))
    requests = text(f"requests{variant}")
    if name != EXCEPTIONS:
        return as_table("Arrived", requests)
    parts = as_table("Requests", requests) + as_table("Thrown", text(f"thrown{variant}"))
    return parts + as_table("Arrived", text("requests_and_thrown"))


@lru_cache(maxsize=32)
def text(name: str) -> str:
    """Return one of our query files."""
    folder = resources.files("controller.adapters.azure.queries")
    return folder.joinpath(f"{name}.kql").read_text(encoding="utf-8")


def as_table(name: str, query_text: str) -> str:
    """Return *query_text* as statements, the last naming its result; no `let` holds another."""
    statements, separator, result = query_text.rpartition(";\n")
    return f"{statements}{separator}let {name} = {result.rstrip()};\n"


def lets(parameters: Parameters) -> str:
    """Return *parameters* as statements."""
    return "".join(f"let {name} = {value};\n" for name, value in parameters.items())


# --- Builds -------------------------------------------------------------------------------------


def builds(marks: Sequence[Mark]) -> Parameters:
    """Return the parameters that by_version.kql or by_any.kql needs for *marks*."""
    named = {by: [mark.name for mark in marks if mark.by is by] for by in IdentifyBy}
    versions = dynamic(named[IdentifyBy.VERSION])
    if all(mark == Mark(name=mark.name) for mark in marks):
        return {"Versions": versions}
    return {
        "Builds": keys(marks),
        "Versions": versions,
        "RoleNames": dynamic(named[IdentifyBy.ROLE_NAME]),
        "RoleInstances": dynamic(named[IdentifyBy.ROLE_INSTANCE]),
    }


def keys(marks: Iterable[Mark]) -> str:
    """Return the parameter ``Builds``."""
    return dynamic(build_key(mark) for mark in marks)


# --- Literals -----------------------------------------------------------------------------------


def dynamic(values: Iterable[str]) -> str:
    """Return a list of strings."""
    return f"dynamic([{', '.join(_string(value) for value in values)}])"


def _string(value: str) -> str:
    """Return a string literal; what would end it is escaped, control characters are refused."""
    if any(ord(character) < ord(" ") for character in value):
        raise PermanentError(
            f"{value!r} cannot be asked for: it has control characters.",
            fix="Remove them from the release name or the probe's path.",
        )
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def moment(at: datetime) -> str:
    """Return a datetime literal, to the microsecond."""
    return f"datetime({at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z)"


def timespan(span: timedelta) -> str:
    """Return a timespan literal, to the millisecond."""
    return f"{round(span.total_seconds() * 1000)}ms"
