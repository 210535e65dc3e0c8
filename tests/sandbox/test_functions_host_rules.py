"""The host's rules that need no process: routes, schedules, time spans, settings."""

import asyncio
import datetime as dt
import re
from pathlib import Path

import pytest
from azure.servicebus.exceptions import ServiceBusError

from sandbox.functions_host.configuration import (
    HostConfigurationError,
    load_configuration,
    parse_timespan,
    resolve_expression,
)
from sandbox.functions_host.connections import service_bus_client
from sandbox.functions_host.renewal import Renewal
from sandbox.functions_host.routes import compile_route
from sandbox.functions_host.timers import Timer
from sandbox.functions_host.worker import Function, Worker

# fmt: off
ROUTES = [
    # template                          path               parameters
    ("a/{b}",                           "a/x",             {"b": "x"}),
    ("a/{b}",                           "a/x/y",           None),
    ("a/{b}",                           "a",               None),
    ("a/{b?}",                          "a",               {}),
    ("a/{b=1}",                         "a",               {"b": "1"}),
    ("a/{b=1}",                         "a/2",             {"b": "2"}),
    ("a/{*rest}",                       "a/x/y",           {"rest": "x/y"}),
    ("a/{**rest}",                      "a",               {}),
    ("a/{b}-{c}",                       "a/x-y",           {"b": "x", "c": "y"}),
    ("a/{b:int}",                       "a/-12",           {"b": "-12"}),
    ("a/{b:int}",                       "a/99999999999",   None),
    ("a/{b:long}",                      "a/99999999999",   {"b": "99999999999"}),
    ("a/{b:guid}",                      "a/123",           None),
    ("a/{b:bool}",                      "a/True",          {"b": "True"}),
    ("a/{b:alpha:length(2,3)}",         "a/abc",           {"b": "abc"}),
    ("a/{b:alpha:length(2,3)}",         "a/abcd",          None),
    ("a/{b:range(1,5)}",                "a/6",             None),
    ("a/{b:max(5)}",                    "a/5",             {"b": "5"}),
    ("a/{b:min(5)}",                    "a/4",             None),
    ("a/{b:regex(^v[0-9]+$)}",          "a/v12",           {"b": "v12"}),
    ("A/b",                             "a/B",             {}),
]
# fmt: on


@pytest.mark.parametrize(("template", "path", "parameters"), ROUTES)
def test_route_templates(template: str, path: str, parameters: dict[str, str] | None) -> None:
    """A template matches what ASP.NET Core's router matches."""
    assert compile_route(template).match(path) == parameters


def test_the_most_specific_route_sorts_first() -> None:
    templates = ["a/{*c}", "a/{b}", "a/{b:int}", "a/b"]

    ordered = sorted(templates, key=lambda template: compile_route(template).precedence)

    assert ordered == ["a/b", "a/{b:int}", "a/{b}", "a/{*c}"]


def test_an_unknown_constraint_is_refused() -> None:
    with pytest.raises(HostConfigurationError, match="'prime'"):
        compile_route("a/{b:prime}")


# fmt: off
SCHEDULES = [
    # id              schedule              after (UTC)             next (UTC)
    ("seconds",       "*/15 * * * * *",     "2026-01-01T00:00:01",  "2026-01-01T00:00:15"),
    ("minutes",       "0 */5 * * * *",      "2026-01-01T00:05:00",  "2026-01-01T00:10:00"),
    ("weekday",       "0 30 9 * * 1-5",     "2026-01-02T10:00:00",  "2026-01-05T09:30:00"),
    ("five-fields",   "*/5 * * * *",        "2026-01-01T00:01:00",  "2026-01-01T00:05:00"),
    ("timespan",      "00:00:30",           "2026-01-01T00:00:01",  "2026-01-01T00:00:31"),
    ("days",          "1.00:00:00",         "2026-01-01T00:00:00",  "2026-01-02T00:00:00"),
    ("setting",       "%EVERY%",            "2026-01-01T00:00:00",  "2026-01-01T00:00:02"),
]
# fmt: on


def timer(schedule: str) -> Timer:
    binding = {"type": "timerTrigger", "name": "t", "schedule": schedule}
    function = Function(id="1", name="f", bindings=(binding,))
    return Timer(Worker(Path(), timeout_seconds=None), function, {"EVERY": "*/2 * * * * *"})


@pytest.mark.parametrize(
    ("schedule", "after", "expected"), [pytest.param(*case, id=name) for name, *case in SCHEDULES]
)
def test_schedules(schedule: str, after: str, expected: str) -> None:
    """NCRONTAB with or without seconds, time spans, and settings."""

    def moment(text: str) -> dt.datetime:
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)

    assert timer(schedule).next_occurrence(moment(after)) == moment(expected)


@pytest.mark.parametrize("schedule", ["often", "* * *", "0 61 * * * *", "0 0 0 31 2 *"])
def test_a_schedule_that_never_comes_is_refused(schedule: str) -> None:
    """The host fails the start over it, and names the function."""
    with pytest.raises(HostConfigurationError, match=f"'{re.escape(schedule)}' of 'f'"):
        timer(schedule)


def test_a_connection_without_settings_is_refused() -> None:
    """The message names the settings that would do."""
    with pytest.raises(HostConfigurationError, match="Bus or Bus__fullyQualifiedNamespace"):
        service_bus_client("Bus", {"Bus__clientId": "x"}, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:05:00", 300), ("1.02:00:00", 93600), ("00:00:00.500", 0.5)]
)
def test_time_spans(text: str, seconds: float) -> None:
    assert parse_timespan(text) == seconds


def test_binding_expressions() -> None:
    assert resolve_expression("a-%B%-%C%", {"B": "1", "C": "2"}) == "a-1-2"
    with pytest.raises(HostConfigurationError, match="%D%"):
        resolve_expression("%D%", {})


def test_host_json_and_its_defaults(tmp_path: Path) -> None:
    """Missing values take the real host's defaults; "-1" means no timeout."""
    bare = load_configuration(tmp_path, {})
    (tmp_path / "host.json").write_text(
        '{"functionTimeout": "-1", "extensions": {"serviceBus": {"maxConcurrentSessions": 3,'
        ' "sessionIdleTimeout": "00:00:07", "maxAutoLockRenewalDuration": "00:30:00"}}}'
    )
    read = load_configuration(
        tmp_path, {"AzureFunctionsJobHost__extensions__serviceBus__maxConcurrentSessions": "5"}
    )

    assert (bare.route_prefix, bare.function_timeout_seconds) == ("api", 1800)
    assert (bare.max_concurrent_sessions, bare.session_idle_seconds) == (8, 60)
    assert (bare.max_concurrent_calls, bare.lock_renewal_seconds) == (16, 300)
    assert (read.max_concurrent_sessions, read.session_idle_seconds) == (5, 7)
    assert (read.function_timeout_seconds, read.lock_renewal_seconds) == (None, 1800)


@pytest.mark.parametrize(
    ("give_up_after_seconds", "fails", "least", "most"),
    [
        pytest.param(60, False, 3, 100, id="renewed-while-the-work-lasts"),
        pytest.param(0.15, False, 1, 2, id="given-up-after-the-limit"),
        pytest.param(60, True, 1, 1, id="a-failure-ends-it"),
    ],
)
async def test_lock_renewal(
    give_up_after_seconds: float, *, fails: bool, least: int, most: int
) -> None:
    """A lock of 0.2 s is renewed at half time until the work, the limit or a failure ends it."""
    renewals: list[dt.datetime] = []

    def soon() -> dt.datetime:
        return dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.2)

    async def renew() -> dt.datetime:
        renewals.append(soon())
        if fails:
            raise ServiceBusError("lost")
        return renewals[-1]

    async def work_until_enough() -> None:
        for _ in range(200):
            await asyncio.sleep(0.005)
            if len(renewals) >= 5:
                return

    renewal = Renewal(renew, locked_until=soon(), give_up_after_seconds=give_up_after_seconds)
    await renewal.keep_while(asyncio.create_task(work_until_enough()))

    assert least <= len(renewals) <= most
