"""Backup sets and jobs of maintenance: as people read them, and followed to their end."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from controller.cli.client import Client
from controller.cli.exits import CommandError, Exit
from controller.cli.follow import looks
from controller.cli.pitr import pitr_result
from controller.cli.printing import Printer, as_text
from controller.cli.values import Json, is_array, is_object, part, parts, texts
from controller.cli.views import moment
from controller.config.durations import format_duration

_ENDS: Final = frozenset({"succeeded", "failed"})
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1000
_AGES: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_NAMES: Final = {
    "rpo_seconds": "RPO",
    "rto_seconds": "RTO",
    "rpo_objective_seconds": "RPO objective",
    "rto_objective_seconds": "RTO objective",
}

# --- Jobs ----------------------------------------------------------------------------------------


def follow_job(
    client: Client, printer: Printer, job: str, *, interval: timedelta, limit: timedelta
) -> Json:
    """Print each step of *job* as it comes, until it is over, and return its last view.

    Raises:
        CommandError: it is unknown, the controller stays away, or *limit* has passed.
    """
    last: Json = {}
    for view in looks(lambda: client.job(job), printer, interval, limit):
        if printer.as_json:
            if view != last:
                printer.json(view, on_one_line=True)
        else:
            for line in _news(last, view):
                printer.line(line)
        last = view
        if view.get("state") in _ENDS:
            return view
    raise CommandError(
        f"Job {job} is not over after {format_duration(limit)}; it goes on.",
        f"Follow it again: slipway backup jobs {job} --wait",
        Exit.FAILED,
    )


def job_outcome(job: Json) -> Exit:
    """Return the status that says what came of *job*, or may still come."""
    passed = part(job, "result").get("passed")
    failed = job.get("state") == "failed" or passed is False
    return Exit.FAILED if failed else Exit.OK


def job_end(job: Json, printer: Printer) -> None:
    """Print what came of a job that was followed."""
    if printer.as_json:
        return
    if job.get("error"):
        printer.line(f"{job.get('state')}: {job['error']}")
    result = part(job, "result")
    if result:
        printer.heading(f"Job {job.get('id')} {job.get('state')}")
        _result(result, printer)


def job_page(job: Json, printer: Printer) -> None:
    """Print one job with its steps and its result."""
    printer.fields(
        {
            "Job": job.get("id"),
            "App": job.get("app"),
            "Kind": job.get("kind"),
            "State": job.get("state"),
            "By": job.get("by"),
            "Why": job.get("why"),
            "Asked": moment(job.get("asked_at")),
            "Began": moment(job.get("begun_at")),
            "Ended": moment(job.get("ended_at")),
            "Tries": job.get("tries"),
            "Error": job.get("error"),
        }
    )
    steps = parts(job, "steps")
    if steps:
        printer.heading("Steps")
        for step in steps:
            printer.line(_step(step))
    result = part(job, "result")
    if result:
        printer.heading("Result")
        _result(result, printer)


def jobs_table(jobs: Sequence[Json], printer: Printer) -> None:
    """Print jobs, newest first."""
    columns = ("job", "kind", "state", "asked", "by", "last step")
    rows = [
        (
            job.get("id"),
            job.get("kind"),
            job.get("state"),
            moment(job.get("asked_at")),
            job.get("by"),
            job.get("error") or _last_step(job),
        )
        for job in jobs
    ]
    printer.table(columns, rows)


def _news(before: Json, now: Json) -> Iterator[str]:
    """Yield what is new of a job. Of many steps, the first ones go."""
    if now.get("state") == "waiting" and before.get("state") != "waiting":
        yield f"{_time(now.get('asked_at'))} waiting in the queue"
    known = parts(before, "steps")
    steps = parts(now, "steps")
    begin = steps.index(known[-1]) + 1 if known and known[-1] in steps else 0
    for step in steps[begin:]:
        yield _step(step)
    error = now.get("error")
    if error and error != before.get("error") and now.get("state") not in _ENDS:
        yield f"Not done at try {now.get('tries')}: {error} It goes on by itself."


def _step(step: Json) -> str:
    return f"{_time(step.get('at'))} {step.get('text', '')}"


def _last_step(job: Json) -> object:
    steps = parts(job, "steps")
    return steps[-1].get("text") if steps else ""


def _time(value: object) -> str:
    return str(value or "")[11:19]


def _result(result: Json, printer: Printer) -> None:
    """Print a result: flat values, then what a clearing out keeps and removes."""
    if "cut_over" in result:
        pitr_result(result, printer)
        return
    flat = {k: v for k, v in result.items() if not is_object(v) and k not in {"removed", "refused"}}
    printer.fields({_named(name): _shown(name, value) for name, value in flat.items()})
    if "removed" in result or "kept" in result:
        _clearing(result, printer)


def _clearing(result: Json, printer: Printer) -> None:
    gone = "removed" if result.get("applied") else "would go"
    refused = result.get("refused")
    pairs = [pair for pair in refused if is_array(pair)] if is_array(refused) else []
    rows: list[tuple[object, ...]] = [(name, gone, "") for name in texts(result, "removed")]
    rows += [(pair[0], "not touched", pair[-1]) for pair in pairs if pair]
    rows += [(name, "stays", why) for name, why in part(result, "kept").items()]
    if rows:
        printer.table(("set", "what", "why"), sorted(rows, key=lambda row: str(row[0])))
    if texts(result, "removed") and not result.get("applied"):
        printer.line("Nothing was removed: --apply does it.")


def _named(name: str) -> str:
    words = name.removesuffix("_seconds").replace("_", " ")
    return _NAMES.get(name, words[:1].upper() + words[1:])


def _shown(name: str, value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name.endswith("seconds"):
            return seconds_text(value)
        if name.endswith("bytes"):
            return size_text(value)
    if name.endswith("_at"):
        return moment(value)
    if is_array(value):
        return "\n".join(as_text(item) for item in value)
    return value


# --- Sets ----------------------------------------------------------------------------------------


def backups_page(answer: Json, printer: Printer) -> None:
    """Print an app's sets, and whether what was promised about them holds."""
    printer.line(promise(answer))
    sets = parts(answer, "backups")
    columns = ("id", "data at", "age", "verified", "size", "encrypted", "head", "why")
    rows = [
        (
            found.get("id"),
            moment(found.get("data_at") or found.get("begun_at")),
            age(found.get("data_at") or found.get("begun_at")),
            _verified(found),
            size_text(found.get("stored_bytes")),
            found.get("encrypted"),
            found.get("migration_head"),
            found.get("reason"),
        )
        for found in sets
    ]
    if rows:
        printer.table(columns, rows)


def promise(answer: Json) -> str:
    """Return whether the newest set that is known to restore is young enough."""
    newest = answer.get("newest_verified_at")
    rpo = answer.get("rpo_seconds")
    within = answer.get("within_rpo")
    if not newest:
        return "No backup set was verified yet: nothing is known to restore."
    said = f"The newest verified set has the data of {moment(newest)}, {age(newest)} ago"
    if within is None or rpo is None:
        return f"{said}; no RPO is set."
    return f"{said}: {'within' if within else 'NOT within'} the RPO of {seconds_text(rpo)}."


def set_page(found: Json, printer: Printer) -> None:
    """Print one set."""
    mark = part(found, "last_mark")
    looked = f"{moment(mark.get('at'))} by {mark.get('by')}, {mark.get('how')}" if mark else ""
    printer.fields(
        {
            "Set": found.get("id"),
            "Condition": found.get("condition"),
            "Problem": found.get("problem"),
            "Data at": moment(found.get("data_at")),
            "Age": age(found.get("data_at")),
            "Begun": moment(found.get("begun_at")),
            "Verified": _verified(found),
            "Looked at": looked,
            "Found wrong": "\n".join(texts(mark, "problems")),
            "Size": size_text(found.get("stored_bytes")),
            "Encrypted": found.get("encrypted"),
            "Release": found.get("release"),
            "Head": found.get("migration_head"),
            "By": found.get("requested_by"),
            "Why": found.get("reason"),
            "Locked until": moment(found.get("immutable_until")),
        }
    )
    held = parts(found, "parts")
    if held:
        printer.heading("Parts")
        rows = [(p.get("name"), p.get("kind"), size_text(p.get("plain_bytes"))) for p in held]
        printer.table(("part", "kind", "size"), rows)


def plan_page(plan: Json, printer: Printer) -> None:
    """Print what a restore would do."""
    when = moment(plan.get("data_at"))
    since = f"{when}, {age(plan.get('data_at'))} ago"
    is_lossy = plan.get("overwrites") or any(
        texts(each, "changes") for each in parts(plan, "parts")
    )
    printer.fields(
        {
            "Set": plan.get("set_id") or plan.get("set"),
            "App": plan.get("app"),
            **(_database_fields(plan) if plan.get("restores_database") else {}),
            "Data at": f"{since}; what came after is lost" if is_lossy else when,
            "Done": "this restore was done already" if plan.get("is_done") else "",
            "Notes": "\n".join(texts(plan, "notes")),
        }
    )
    for each in parts(plan, "parts"):
        _part_plan(each, printer)


def _database_fields(plan: Json) -> dict[str, object]:
    size = size_text(plan.get("size_now"))
    then, now = plan.get("head_then") or "none", plan.get("head_now") or "none"
    overwrites = plan.get("overwrites")
    return {
        "Into": f"{plan.get('target')}, which is there ({size}) and is exchanged for it"
        if overwrites
        else f"{plan.get('target')}, which is made",
        "Holds": f"{plan.get('tables')} tables, {plan.get('rows')} rows, "
        f"{size_text(plan.get('dump_bytes'))} dumped",
        "Schema": f"{then}; there is {now} now" if overwrites and then != now else then,
    }


def _part_plan(plan: Json, printer: Printer) -> None:
    printer.heading(str(plan.get("kind")))
    printer.line(str(plan.get("summary")))
    changes = texts(plan, "changes")
    for change in changes:
        printer.line(f"  will: {change}")
    if plan.get("refusal"):
        printer.line(f"  NOT restored: {plan['refusal']}")
    elif not changes:
        printer.line("  nothing to do")
    for note in texts(plan, "notes"):
        printer.line(f"  note: {note}")


def crosses_heads(plan: Json) -> bool:
    """Tell whether the schema will be another one than the code knows."""
    told = plan.get("crosses_heads")
    if isinstance(told, bool):
        return told
    return bool(plan.get("overwrites")) and plan.get("head_then") != plan.get("head_now")


def _verified(found: Json) -> str:
    if found.get("condition") != "complete":
        return f"no: {found.get('condition')}"
    if found.get("suspect"):
        return "no: suspect"
    return "yes" if found.get("verified") else "no"


# --- Words ---------------------------------------------------------------------------------------


def age(value: object) -> str:
    """Return how long ago an ISO time was, in its largest unit."""
    try:
        then = datetime.fromisoformat(str(value))
    except ValueError:
        return ""
    return seconds_text((datetime.now(UTC) - then.astimezone(UTC)).total_seconds())


def seconds_text(value: Any) -> str:
    """Return a number of seconds as people say it."""
    if not isinstance(value, int | float):
        return ""
    for size, unit in _AGES:
        if value >= 2 * size or (size == 1 and value >= 1):
            return f"{value / size:.1f} {unit}".replace(".0 ", " ")
    return f"{max(value, 0):.2g} s"


def size_text(value: Any) -> str:
    """Return a number of bytes as people say it."""
    if not isinstance(value, int | float):
        return ""
    rest, unit = float(value), 0
    while rest >= _THOUSAND and unit + 1 < len(_UNITS):
        rest, unit = rest / _THOUSAND, unit + 1
    return f"{rest:.3g} {_UNITS[unit]}"


def newest_verified(answer: Mapping[str, Any]) -> str | None:
    """Return the id of the newest set that is known to restore."""
    for found in parts(answer, "backups"):
        if _verified(found) == "yes":
            return str(found.get("id"))
    return None
