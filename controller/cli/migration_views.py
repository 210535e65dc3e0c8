"""What is planned, done and undone in a database, for people and for programs."""

from collections.abc import Iterable, Sequence

from controller.cli.folder import Folder
from controller.cli.lint_views import finding_json, finding_lines, lock_text, statement_json
from controller.cli.maintenance import seconds_text
from controller.cli.migrating import Outlook, Undoing
from controller.cli.printing import Printer
from controller.cli.values import Json
from controller.migrations.bundle import Applied, BundleFormat, Kind, Migration
from controller.migrations.history import applied_ids
from controller.migrations.lint import kinds_alone
from controller.migrations.locks import TableLock
from controller.migrations.plan import Step
from controller.ports_data import Ran, Rehearsal, Timed

_SHORT = 12  # digits of a hash that people compare

# --- The folder ----------------------------------------------------------------------------------


def folder_rows(folder: Folder) -> list[Json]:
    """Return each migration of a folder, oldest first."""
    kinds = kinds_alone(folder.bundle)
    return [
        {
            "id": migration.id,
            "kind": kinds[migration.id].value,
            "statements": len(migration.up),
            "down": migration.down is not None,
            "transactional": migration.transactional,
            "sha256": migration.sha256,
        }
        for migration in folder.bundle.migrations
    ]


def folder_table(rows: Sequence[Json], printer: Printer) -> None:
    """Print the migrations of a folder."""
    columns = ("migration", "kind", "statements", "down script", "in a transaction", "sha256")
    keys = ("id", "kind", "statements", "down", "transactional")
    cells = [(*(row[key] for key in keys), str(row["sha256"])[:_SHORT]) for row in rows]
    printer.table(columns, cells)


# --- The plan ------------------------------------------------------------------------------------


def plan_json(folder: Folder, outlook: Outlook) -> Json:
    """Return a plan for programs."""
    planned, back = outlook.plan, outlook.back
    return {
        "database": str(outlook.address),
        "bundle": planned.bundle,
        "refused": planned.is_refused,
        "kind": outlook.report.kind().value if outlook.pending else None,
        "head_before": planned.head_before,
        "head_after": planned.head_after,
        "steps": [_step_json(folder, outlook, migration) for migration in outlook.pending],
        "refusals": [
            {
                "reason": refusal.reason.value,
                "migration": refusal.migration,
                "says": refusal.says,
                "fix": refusal.fix,
            }
            for refusal in planned.refusals
        ],
        "notes": list(planned.notes),
        "findings": [finding_json(folder, finding) for finding in outlook.report.findings],
        "way_back": {
            "way": back.way.value,
            "says": back.says,
            "fix": back.fix,
            "downs": [migration.id for migration in back.downs],
        },
    }


def plan_page(folder: Folder, outlook: Outlook, printer: Printer) -> None:
    """Print what would run, or why nothing may."""
    planned = outlook.plan
    printer.fields(
        {
            "Database": str(outlook.address),
            "Bundle": planned.bundle,
            "Head now": planned.head_before or "none",
            "Head after": planned.head_after or "none",
        }
    )
    if outlook.pending:
        printer.heading("Pending")
        columns = ("migration", "kind", "statements", "down script", "locks")
        printer.table(columns, [_step_row(outlook, migration) for migration in outlook.pending])
    for finding in outlook.report.findings:
        for line in finding_lines(folder, outlook.report, finding):
            printer.line(line)
    for note in planned.notes:
        printer.line(f"Note: {note}")
    if planned.is_refused:
        printer.heading("Refused: nothing may run")
        for refusal in planned.refusals:
            printer.line(f"{refusal.says} {refusal.fix}")
    elif planned.is_empty:
        printer.line("Nothing is pending: the database has all of them.")
    if outlook.pending:
        printer.heading("When code goes back past them")
        printer.line(_sentence(outlook.back.says))
        if outlook.back.fix != "Nothing to do.":
            printer.line(outlook.back.fix)


def _step_json(folder: Folder, outlook: Outlook, migration: Migration) -> Json:
    return {
        "id": migration.id,
        "kind": outlook.report.kind(migration.id).value,
        "down": migration.down is not None,
        "transactional": migration.transactional,
        "first": _first(outlook, migration),
        "statements": [statement_json(folder, each) for each in outlook.report.of(migration.id)],
    }


def _step_row(outlook: Outlook, migration: Migration) -> tuple[object, ...]:
    locks = (lock for each in outlook.report.of(migration.id) for lock in each.locks)
    first = _first(outlook, migration)
    count = f"{len(migration.up)}, from number {first + 1}" if first else len(migration.up)
    kind = outlook.report.kind(migration.id).value
    has_down = migration.down is not None
    return migration.id, kind, count, has_down, "; ".join(map(lock_text, _gravest(locks)))


def _first(outlook: Outlook, migration: Migration) -> int:
    steps: Iterable[Step] = outlook.plan.steps
    return next((step.first for step in steps if step.migration.id == migration.id), 0)


def _gravest(locks: Iterable[TableLock]) -> list[TableLock]:
    """Return the strongest lock of each table."""
    found: dict[str, TableLock] = {}
    for lock in locks:
        found[lock.relation] = max(lock, found.get(lock.relation, lock), key=lambda one: one.mode)
    return list(found.values())


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- What ran ------------------------------------------------------------------------------------


def ran_page(ran: Ran, printer: Printer, *, done: str) -> None:
    """Print one migration that ran, with the time that each statement took."""
    again = f", at try {ran.tries}" if ran.tries > 1 else ""
    printer.line(f"{ran.migration} {done} in {seconds_text(ran.seconds)}{again}")
    for statement in ran.statements:
        printer.line(f"    {_timed(statement)}")


def ran_json(ran: Ran) -> Json:
    """Return one migration that ran, for programs."""
    return {
        "migration": ran.migration,
        "seconds": round(ran.seconds, 6),
        "tries": ran.tries,
        "statements": [
            {"text": each.text, "seconds": round(each.seconds, 6), "rows": each.rows}
            for each in ran.statements
        ],
    }


def rehearsal_page(rehearsal: Rehearsal, printer: Printer) -> None:
    """Print what came of a dry run."""
    for ran in rehearsal.ran:
        ran_page(ran, printer, done="rehearsed")
    for wait in rehearsal.waits:
        printer.line(
            f"Waited {seconds_text(wait.seconds)} for {wait.lock} in {wait.migration}: held by "
            f"{'; '.join(wait.blocked_by)}"
        )
    for left in rehearsal.not_tried:
        printer.line(f"Not tried: {left.migration}: {left.text}: {left.why}")
    if rehearsal.failure is not None:
        printer.line(f"The dry run failed: {rehearsal.failure}")
    else:
        printer.line("The dry run passed, and was rolled back. Nothing was changed.")


def rehearsal_json(rehearsal: Rehearsal) -> Json:
    """Return what came of a dry run, for programs."""
    return {
        "passed": rehearsal.passed,
        "failure": rehearsal.failure,
        "ran": [ran_json(ran) for ran in rehearsal.ran],
        "not_tried": [
            {"migration": each.migration, "text": each.text, "why": each.why}
            for each in rehearsal.not_tried
        ],
        "waits": [
            {
                "migration": each.migration,
                "text": each.text,
                "lock": each.lock,
                "blocked_by": list(each.blocked_by),
                "seconds": round(each.seconds, 3),
            }
            for each in rehearsal.waits
        ],
    }


def _timed(statement: Timed) -> str:
    rows = f", {statement.rows} rows" if statement.rows is not None else ""
    return f"{statement.seconds * 1000:8.1f} ms{rows}  {statement.text}"


# --- The way back --------------------------------------------------------------------------------


def undoing_json(undoing: Undoing) -> Json:
    """Return what a rollback would run, for programs."""
    return {
        "database": str(undoing.address),
        "head_after": undoing.head_after,
        "undone": [
            {
                "id": migration.id,
                "kind": undoing.kinds[migration.id].value,
                "down": migration.down is not None,
                "statements": len(migration.down or ()),
            }
            for migration in undoing.migrations
        ],
    }


def undoing_page(undoing: Undoing, printer: Printer) -> None:
    """Print what a rollback would run, and what it does not bring back."""
    printer.fields(
        {"Database": str(undoing.address), "Head after": undoing.head_after or "none"},
    )
    printer.heading("Undone, in this order")
    columns = ("migration", "kind", "down script")
    rows = [
        (m.id, undoing.kinds[m.id].value, f"{len(m.down)} statements" if m.down else "none")
        for m in undoing.migrations
    ]
    printer.table(columns, rows)
    for migration in undoing.migrations:
        if migration.down is None:
            printer.line(f"{migration.id}: no down script, so nothing can be undone past it.")
        elif undoing.kinds[migration.id] is Kind.IRREVERSIBLE:
            printer.line(
                f"{migration.id}: its down script brings back the structure, not the rows."
            )
    printer.line("Builds that need what is undone fail from the first down script on.")


# --- Where the database is -----------------------------------------------------------------------


def history_rows(folder: Folder, applied: Sequence[Applied]) -> list[Json]:
    """Return the state of each migration that the folder or the database knows."""
    rows = {row.id: row for row in applied}
    bundle = folder.bundle
    ran = applied_ids(bundle, [row.id for row in applied if row.is_whole])
    known = [_known(migration, rows.get(migration.id), ran) for migration in bundle.migrations]
    ids = {migration.id for migration in bundle.migrations}
    strangers = [
        _row(row, _stranger(row, bundle.format, ids)) for row in applied if row.id not in ids
    ]
    return [*known, *strangers]


def history_page(database: str, rows: Sequence[Json], printer: Printer) -> None:
    """Print where a database is."""
    pending = sum(row["state"] == "pending" for row in rows)
    halves = [row["id"] for row in rows if row["state"] == "half done"]
    applied = len(rows) - pending - len(halves)
    printer.line(f"{database}: {applied} applied, {pending} pending.")
    for name in halves:
        printer.line(f"{name} stopped half way: `slipway migrations apply` goes on with it.")
    columns = ("migration", "state", "applied", "detail")
    printer.table(
        columns,
        [(row["id"], row["state"], row["applied_at"], row["detail"]) for row in rows],
    )


def _known(migration: Migration, row: Applied | None, ran: frozenset[str]) -> Json:
    if row is None:
        state = "applied" if migration.id in ran else "pending"
        return {"id": migration.id, "state": state, "applied_at": None, "detail": ""}
    if row.statements_undone:
        return _row(row, "half done", f"{row.statements_undone} statements of the down script ran")
    if not row.is_whole:
        return _row(
            row, "half done", f"{row.statements_done} of {len(migration.up)} statements ran"
        )
    if row.sha256 is not None and row.sha256 != migration.sha256:
        return _row(row, "changed", "the file is not what ran")
    return _row(row, "applied", "" if row.sha256 else "not by Slipway")


def _stranger(row: Applied, kind: BundleFormat, ids: set[str]) -> str:
    # EF Core's ids begin with their time: a script may begin at a later one.
    is_older = kind is BundleFormat.EF_CORE and bool(ids) and row.id < min(ids)
    return "applied" if is_older else "unknown here"


def _row(row: Applied, state: str, detail: str = "") -> Json:
    at = row.applied_at.isoformat(timespec="seconds") if row.applied_at else None
    return {"id": row.id, "state": state, "applied_at": at, "detail": detail}
