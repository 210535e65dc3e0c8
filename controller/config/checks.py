"""What no single value shows: how the values of an app, and the apps, fit together.

These look at what was written, not at validated models, so that they speak even where something
else is wrong: all problems at once.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Final

from pydantic import ValidationError

from controller.config.analysis import AnalysisSection
from controller.config.database import DatabaseSection
from controller.config.durations import format_duration, parse_duration
from controller.config.explain import at_key, at_value
from controller.config.fields import HEADER_NAME
from controller.config.gate import (
    MOST_SHARE,
    OWN_QUERIES,
    GateSection,
    MarginSection,
    MetricSection,
)
from controller.config.located import Located
from controller.config.problems import Problem
from controller.config.sections import DeadlinesSection
from controller.config.strategy import FreezeSection, StepSection
from controller.core import data, plan
from controller.core.freezes import never_ends
from controller.core.telemetry import IdentifyBy

Check = Callable[[Located], Iterator[Problem]]
_ROUNDING: Final = 1e-9


def rising_weights(app: Located) -> Iterator[Problem]:
    """Each step takes more traffic than the one before."""
    steps = app.get("strategy", "steps")
    weights = [
        (index, found.value)
        for index, step in enumerate(steps.elements() if steps else [])
        if (found := step.get("weight")) and isinstance(found.value, int)
    ]
    for (_, before), (index, weight) in pairwise(weights):
        if weight <= before:
            path = ("strategy", "steps", index, "weight")
            yield at_value(app, path, f"{weight} is not more than the {before} before it")


def steps_that_fit_the_kind(app: Located) -> Iterator[Problem]:
    """By route the last step is reached through steps; by swap the swap is the last step."""
    kind = app.get("strategy", "kind")
    is_swap = kind is not None and kind.value == "swap"
    steps = app.get("strategy", "steps")
    if steps is None or not isinstance(steps.plain(), list):
        return
    path = ("strategy", "steps")
    found = list(steps.elements())
    if not found and not is_swap:
        yield at_value(app, path, "is empty", "Give at least one step, or choose kind swap.")
    for index, step in enumerate(found):
        weight = step.get("weight")
        if is_swap and weight is not None and weight.value == plan.ALL:
            what = "kind swap needs no step of 100: the swap itself gives the build everybody"
            yield at_value(app, (*path, index, "weight"), what, "Remove this step.")


def ordered_observation(app: Located) -> Iterator[Problem]:
    """A step's minimum is not longer than its maximum."""
    steps = app.get("strategy", "steps")
    for index, step in enumerate(steps.elements() if steps else []):
        shortest = _duration_in(step, "min_observation", _default(StepSection, "min_observation"))
        longest = _duration_in(step, "max_observation", _default(StepSection, "max_observation"))
        if shortest is None or longest is None or shortest <= longest:
            continue
        name = "min_observation" if step.get("min_observation") else "max_observation"
        yield at_value(
            app,
            ("strategy", "steps", index, name),
            f"min_observation ({format_duration(shortest)}) is longer than max_observation "
            f"({format_duration(longest)})",
        )


def distinct_slots(app: Located) -> Iterator[Problem]:
    """App Service compares slot names without regard to case."""
    slots = app.get("target", "slots")
    seen: set[str] = set()
    for index, slot in enumerate(slots.elements() if slots else []):
        name = slot.text.lower()
        if name in seen:
            yield at_value(app, ("target", "slots", index), f"the slot '{slot.text}' occurs twice")
        seen.add(name)


def named_identity(app: Located) -> Iterator[Problem]:
    """The name fits the kind of identity."""
    identity = app.get("health", "identity")
    kind = identity.get("kind") if identity else None
    name = identity.get("name") if identity else None
    path = ("health", "identity")
    word = kind.value if kind else "header"
    if word == "json" and name is None:
        yield at_key(app, path, "needs a name", "Name the JSON field that holds the digest.")
    if word == "none" and name is not None:
        yield at_key(app, (*path, "name"), "has no meaning where kind is none", "Remove it.")
    is_text = name is not None and isinstance(name.value, str)
    if word == "header" and name and is_text and not re.fullmatch(HEADER_NAME, name.text):
        yield at_value(app, (*path, "name"), f"'{name.text}' is not the name of a header")


def readable_smoke_tests(app: Located) -> Iterator[Problem]:
    """An answer to HEAD has no body, and a header is sent once."""
    tests = app.get("health", "smoke_tests")
    for index, test in enumerate(tests.elements() if tests else []):
        path = ("health", "smoke_tests", index)
        method, body = test.get("method"), test.get("expect_body")
        if method and body and method.value == "HEAD" and body.value is not None:
            yield at_key(app, (*path, "expect_body"), "an answer to HEAD has no body", "Use GET.")
        headers = test.get("headers")
        seen: set[str] = set()
        for name, _ in headers.items() if headers else []:
            if name.lower() in seen:
                yield at_key(app, (*path, "headers", name), f"the header '{name}' occurs twice")
            seen.add(name.lower())


def times_to_start(app: Located) -> Iterator[Problem]:
    """Between the freezes there is a time in which a rollout may start."""
    found = app.get("strategy", "freezes")
    freezes: list[plan.Freeze] = []
    for each in found.elements() if found else []:
        try:
            freezes.append(FreezeSection.model_validate(each.plain()).to_core())
        except ValidationError:  # told with its own place
            return
    if never_ends(freezes):
        what = "follow upon each other without an end: no rollout could ever start"
        yield at_value(app, ("strategy", "freezes"), what, "Shorten one.")


def patient_with_provider(app: Located) -> Iterator[Problem]:
    """One late poll is not yet an outage."""
    analysis = app.get("analysis")
    if analysis is None:
        return
    poll = _duration_in(analysis, "poll", _default(AnalysisSection, "poll"))
    grace = _duration_in(analysis, "provider_grace", _default(AnalysisSection, "provider_grace"))
    if poll is not None and grace is not None and grace <= poll:
        name = "provider_grace" if analysis.get("provider_grace") else "poll"
        yield at_value(
            app,
            ("analysis", name),
            f"provider_grace ({format_duration(grace)}) is not longer than poll "
            f"({format_duration(poll)}): every poll would find the provider silent",
        )


def _says(app: Located, *path: str) -> str | None:
    found = app.get(*path)
    return found.value if found is not None and isinstance(found.value, str) else None


def builds_told_apart(app: Located) -> Iterator[Problem]:
    """What names a slot cannot follow a build that a swap moves, and every slot has to be named."""
    by = _says(app, "analysis", "identify_by") or IdentifyBy.VERSION
    path = ("analysis", "identify_by")
    if by != IdentifyBy.VERSION and _says(app, "strategy", "kind") == "swap":
        what = f"{by} names a slot, not a build: a swap moves the builds and leaves the names"
        yield at_value(app, path, what, "Let the app report service.version, or use kind route.")
    names = app.get("analysis", "slot_names")
    if names is not None and by == IdentifyBy.VERSION:
        what = "has no meaning where identify_by is version"
        yield at_key(app, ("analysis", "slot_names"), what, "Remove it.")
    if by == IdentifyBy.ROLE_NAME and app.get("analysis", "role_name") is not None:
        what = "is the same for every slot; identify_by role_name needs one for each"
        yield at_key(app, ("analysis", "role_name"), what, "Use slot_names.")
    slots = app.get("target", "slots")
    known = [plan.PRODUCTION, *(slot.text for slot in (slots.elements() if slots else []))]
    given = [name for name, _ in (names.items() if names else [])]
    for name in given:
        if name.lower() not in {slot.lower() for slot in known}:
            what = f"the app has no slot '{name}'"
            yield at_key(app, ("analysis", "slot_names", name), what, f"Slots: {', '.join(known)}.")
    missing = [s for s in known if s.lower() not in {name.lower() for name in given}]
    if missing and by == IdentifyBy.ROLE_INSTANCE:
        what = f"role_instance has no usual form: slot_names lacks {', '.join(missing)}"
        yield at_value(app, ("analysis", "identify_by"), what, "Name what each slot reports as.")


def limited_platform_metrics(app: Located) -> Iterator[Problem]:
    """Reading metrics without a limit decides nothing."""
    metrics = app.get("analysis", "platform_metrics")
    limits = ("http5xx_rate_max", "response_time_ms_max", "health_check_min")
    if metrics is None or not isinstance(metrics.plain(), dict):
        return
    if not any(metrics.get(name) is not None for name in limits):
        what = "limits nothing"
        yield at_key(
            app, ("analysis", "platform_metrics"), what, f"Give one of {', '.join(limits)}."
        )


def findable_bundles(app: Located) -> Iterator[Problem]:
    """A container is named where bundles are in one, and only there."""
    bundles = app.get("database", "bundles")
    if bundles is None or not isinstance(bundles.plain(), dict):
        return
    path = ("database", "bundles")
    is_blob = _says(app, *path, "source") == data.BundleSource.BLOB
    if is_blob and bundles.get("url") is None:
        yield at_value(app, path, "names no container", "Give its url.")
    for name in ("url", "prefix"):
        if not is_blob and bundles.get(name) is not None:
            what = "has no meaning where bundles are attached to the image"
            yield at_key(app, (*path, name), what, "Remove it, or set source to blob.")


def locks_given_up_in_time(app: Located) -> Iterator[Problem]:
    """Waiting for a lock is part of the statement's time."""
    database = app.get("database")
    if database is None:
        return
    lock = _duration_in(database, "lock_timeout", _default(DatabaseSection, "lock_timeout"))
    whole = _duration_in(
        database, "statement_timeout", _default(DatabaseSection, "statement_timeout")
    )
    if lock is not None and whole is not None and lock >= whole:
        name = "lock_timeout" if database.get("lock_timeout") else "statement_timeout"
        yield at_value(
            app,
            ("database", name),
            f"lock_timeout ({format_duration(lock)}) is not shorter than statement_timeout "
            f"({format_duration(whole)})",
        )


def platform_backups_of_a_server(app: Located) -> Iterator[Problem]:
    """The platform backs up a server, so it has to be named."""
    if _says(app, "database", "backup") != data.BackupKind.PLATFORM:
        return
    if app.get("database", "server") is None:
        what = "platform needs to know the server"
        yield at_value(app, ("database", "backup"), what, "Give database.server, or use dump.")


_METRICS: Final = ("analysis", "judge", "metrics")
_SIGNALS: Final = frozenset(
    {"errors", "latency_p50", "latency_p90", "latency_p99", "silence", "probes"}
)


def time_for_a_copy(app: Located) -> Iterator[Problem]:
    """Restoring a copy takes as long as the database is large: nobody else can know the time."""
    if _says(app, "database", "dry_run") != "copy" or app.get("deadlines", "preflight"):
        return
    default = format_duration(_default(DeadlinesSection, "preflight"))
    yield at_value(
        app,
        ("database", "dry_run"),
        "copy restores a backup set within preflight, and deadlines.preflight is not given"
        f" (default {default})",
        "Give deadlines.preflight the time of a restore: `slipway backup drill` measures it.",
    )


def distinct_metrics(app: Located) -> Iterator[Problem]:
    """Metrics are told apart by their names, and leave the other signals half of alpha."""
    metrics = app.get(*_METRICS)
    seen: set[str] = set()
    shares = 0.0
    for index, metric in enumerate(metrics.elements() if metrics else []):
        path = (*_METRICS, index)
        name, share = metric.get("name"), metric.get("share")
        if name is not None and (name.text in seen or name.text in _SIGNALS):
            whose = "another metric's" if name.text in seen else "that of a signal of ours"
            yield at_value(app, (*path, "name"), f"the name '{name.text}' is {whose}")
        seen.add(name.text if name else "")
        value = share.value if share else MetricSection.model_fields["share"].default
        shares += value if isinstance(value, int | float) else 0.0
    if shares > MOST_SHARE + _ROUNDING:
        what = f"the metrics' shares of alpha sum to {shares:g}, more than {MOST_SHARE:g}"
        yield at_value(app, _METRICS, what, "Give each less.")


def askable_metrics(app: Located) -> Iterator[Problem]:
    """A metric has one query, and what is said of it fits its kind."""
    metrics = app.get(*_METRICS)
    for index, metric in enumerate(metrics.elements() if metrics else []):
        if not isinstance(metric.value, dict):
            continue
        path = (*_METRICS, index)
        query, file = metric.get("query"), metric.get("file")
        if query is None and file is None:
            advice = "Name dependencies or exceptions, write KQL, or name a file of it."
            yield at_value(app, path, "has no query", advice)
        if query is not None and file is not None:
            yield at_key(app, (*path, "file"), "has no meaning beside query", "Keep one of them.")
        kind = metric.get("kind")
        is_histogram = kind is not None and kind.value == "histogram"
        if is_histogram and query is not None and query.value in OWN_QUERIES:
            what = f"{query.text} counts; it has no histogram"
            yield at_value(app, (*path, "kind"), what, "Set it to counts.")
        if metric.get("direction") is not None and not is_histogram:
            what = "has no meaning where kind is counts: the query says which are bad"
            yield at_key(app, (*path, "direction"), what, "Remove it.")


def acceptance_beyond_tolerance(app: Located) -> Iterator[Problem]:
    """What is tolerated must be possible to show, so that no good build waits for ever."""
    judge = app.get("analysis", "judge")
    margins = ("preset", "tolerance", "acceptance")
    said = {key: found.plain() for key in margins if judge and (found := judge.get(key))}
    try:
        gate = GateSection.model_validate(said).to_core()
    except ValidationError:  # told with its own place
        return
    for name in MarginSection.model_fields:
        tolerated, accepted = getattr(gate.tolerance, name), getattr(gate.acceptance, name)
        if accepted < tolerated:
            side = "acceptance" if app.get("analysis", "judge", "acceptance", name) else "tolerance"
            what = f"acceptance of {accepted:g} is less than the tolerance of {tolerated:g}"
            path = ("analysis", "judge", side, name)
            yield at_value(app, path, what, "What is tolerated must pass: raise acceptance.")


CHECKS: Final[tuple[Check, ...]] = (
    rising_weights,
    steps_that_fit_the_kind,
    ordered_observation,
    distinct_slots,
    times_to_start,
    named_identity,
    readable_smoke_tests,
    patient_with_provider,
    builds_told_apart,
    limited_platform_metrics,
    findable_bundles,
    locks_given_up_in_time,
    platform_backups_of_a_server,
    time_for_a_copy,
    distinct_metrics,
    askable_metrics,
    acceptance_beyond_tolerance,
)


def one_app_per_site(apps: Mapping[str, Located]) -> Iterator[Problem]:
    """Two apps would undo each other's work on one site."""
    owners: dict[tuple[str, ...], str] = {}
    for name, app in apps.items():
        parts = [app.get("target", key) for key in ("subscription", "resource_group", "site")]
        site = tuple(part.text.lower() for part in parts if part is not None and part.text)
        if len(site) < len(parts):
            continue
        first = owners.setdefault(site, name)
        if first != name:
            what = f"app '{first}' has the same site"
            yield at_value(app, ("target", "site"), what, "One app per site.")


def _duration_in(section: Located, key: str, default: timedelta) -> timedelta | None:
    found = section.get(key)
    if found is None:
        return default
    try:
        return parse_duration(found.plain())
    except ValueError:
        return None


def _default(
    section: type[StepSection | AnalysisSection | DatabaseSection | DeadlinesSection], name: str
) -> timedelta:
    value = section.model_fields[name].default
    return value if isinstance(value, timedelta) else timedelta()
