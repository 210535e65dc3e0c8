"""What the host reads before it starts: ``host.json`` and the app's settings."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

_OVERRIDE = "azurefunctionsjobhost__"
_TIMESPAN = re.compile(r"(?:(?P<d>\d+)\.)?(?P<h>\d+):(?P<m>\d+):(?P<s>\d+(?:\.\d+)?)")


class HostConfigurationError(Exception):
    """``host.json``, a binding or a setting that the host cannot work with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostConfiguration:
    """The parts of ``host.json`` that change how this host behaves, with the real defaults."""

    route_prefix: str = "api"
    function_timeout_seconds: float | None = 1800.0  # None: unbounded ("-1")
    max_concurrent_sessions: int = 8
    max_concurrent_calls: int = 16
    session_idle_seconds: float = 60.0  # the SDK's try timeout, when not set
    lock_renewal_seconds: float = 300.0


def load_configuration(app_directory: Path, settings: Mapping[str, str]) -> HostConfiguration:
    """Read ``host.json``; settings named ``AzureFunctionsJobHost__a__b`` override ``a.b``.

    Raises:
        HostConfigurationError: the file is not JSON, or a value cannot be read.
    """
    document = _read(app_directory / "host.json")
    for name, value in settings.items():
        if name.lower().startswith(_OVERRIDE):
            _override(document, name[len(_OVERRIDE) :].split("__"), value)
    default = HostConfiguration()
    service_bus = ("extensions", "servicebus")
    timeout = _find(document, "functiontimeout")
    return HostConfiguration(
        route_prefix=str(
            _find(document, "extensions", "http", "routeprefix", default=default.route_prefix)
        ).strip("/"),
        function_timeout_seconds=(
            default.function_timeout_seconds
            if timeout is None
            else None
            if str(timeout) == "-1"
            else parse_timespan(timeout)
        ),
        max_concurrent_sessions=int(
            _find(document, *service_bus, "maxconcurrentsessions", default=8)
        ),
        max_concurrent_calls=int(_find(document, *service_bus, "maxconcurrentcalls", default=16)),
        session_idle_seconds=parse_timespan(
            _find(document, *service_bus, "sessionidletimeout", default="00:01:00")
        ),
        lock_renewal_seconds=parse_timespan(
            _find(document, *service_bus, "maxautolockrenewalduration", default="00:05:00")
        ),
    )


def parse_timespan(text: object) -> float:
    """Return the seconds of a .NET TimeSpan: ``[d.]hh:mm:ss[.fff]``."""
    match = _TIMESPAN.fullmatch(str(text))
    if match is None:
        raise HostConfigurationError(f"{text!r} is not a time span; write hh:mm:ss.")
    days, hours, minutes = (int(match[part] or 0) for part in ("d", "h", "m"))
    return days * 86400 + hours * 3600 + minutes * 60 + float(match["s"])


def is_timespan(text: str) -> bool:
    """Say whether a timer's schedule is a time span rather than an NCRONTAB expression."""
    return _TIMESPAN.fullmatch(text) is not None


def resolve_expression(text: str, settings: Mapping[str, str]) -> str:
    """Replace each ``%NAME%`` by the setting of that name.

    Raises:
        HostConfigurationError: there is no such setting.
    """

    def value(match: re.Match[str]) -> str:
        try:
            return settings[match[1]]
        except KeyError:
            raise HostConfigurationError(f"'%{match[1]}%' does not resolve to a value.") from None

    return re.sub(r"%([^%]+)%", value, text)


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return cast("dict[str, Any]", json.loads(file.read_text("utf-8")))
    except ValueError as error:
        raise HostConfigurationError(f"{file} is not valid JSON: {error}") from error


def _find(document: dict[str, Any], *path: str, default: object = None) -> Any:
    """Look *path* up without regard to case, as .NET configuration does."""
    node: Any = document
    for part in path:
        if not isinstance(node, dict):
            return default
        children = cast("dict[str, Any]", node)
        node = next((child for key, child in children.items() if key.lower() == part), None)
    return default if node is None else node


def _override(document: dict[str, Any], path: list[str], value: str) -> None:
    node = document
    for part in path[:-1]:
        key = next((k for k in node if k.lower() == part.lower()), part)
        node = cast("dict[str, Any]", node.setdefault(key, {}))
    last = next((k for k in node if k.lower() == path[-1].lower()), path[-1])
    node[last] = value
