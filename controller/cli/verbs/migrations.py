"""``slipway migrations``: a folder of migrations, and the database that it is for."""

from argparse import ArgumentParser, Namespace
from typing import Final

from controller.cli import migrating
from controller.cli.exits import Exit
from controller.cli.folder import Folder, MalformedFolderError, read_folder
from controller.cli.lint_views import malformed_github, report_github, report_json, report_text
from controller.cli.migration_arguments import (
    applied_arguments,
    count,
    database_arguments,
    doing_arguments,
    folder_argument,
    planning_arguments,
    policy_arguments,
)
from controller.cli.migration_views import (
    folder_rows,
    folder_table,
    history_page,
    history_rows,
    plan_json,
    plan_page,
    ran_json,
    ran_page,
    rehearsal_json,
    rehearsal_page,
    undoing_json,
    undoing_page,
)
from controller.cli.printing import Printer
from controller.cli.values import Json
from controller.cli.verb import Group, Verb, json_argument
from controller.cli.verbs import push
from controller.ports_data import Ran

# --- The folder alone ----------------------------------------------------------------------------


def _list_arguments(parser: ArgumentParser) -> None:
    folder_argument(parser)
    json_argument(parser)


def _list(arguments: Namespace, printer: Printer) -> Exit:
    folder = read_folder(arguments.folder)
    rows = folder_rows(folder)
    bundle = folder.bundle
    if printer.as_json:
        said: Json = {"format": bundle.format.value, "sha256": bundle.sha256}
        printer.json(said | {"head": bundle.head, "migrations": rows})
    else:
        printer.line(f"{len(rows)} migrations ({bundle.format.value}), bundle {bundle.sha256}")
        folder_table(rows, printer)
    return Exit.OK


def _lint_arguments(parser: ArgumentParser) -> None:
    folder_argument(parser)
    policy_arguments(parser)
    applied_arguments(parser)
    parser.add_argument(
        "--format",
        choices=["text", "json", "github"],
        default="text",
        help="github: annotations of a pull request's lines",
    )
    json_argument(parser)


def _lint(arguments: Namespace, printer: Printer) -> Exit:
    form = "json" if printer.as_json else arguments.format
    try:
        folder = read_folder(arguments.folder)
    except MalformedFolderError as failure:
        error = failure.error
        if form == "github":
            malformed_github(str(arguments.folder), error, printer)
        if form == "json":
            problem = {"code": error.code, "says": error.what, "advice": error.fix}
            printer.json({"passed": False, "error": problem})
        raise
    report = migrating.linted(folder, arguments)
    if form == "json":
        printer.json(report_json(folder, report))
    elif form == "github":
        report_github(folder, report, printer)
    else:
        report_text(folder, report, printer)
    return Exit.OK if report.passed else Exit.FAILED


# --- The database --------------------------------------------------------------------------------


def _plan_arguments(parser: ArgumentParser) -> None:
    planning_arguments(parser)
    json_argument(parser)


def _plan(arguments: Namespace, printer: Printer) -> Exit:
    folder = read_folder(arguments.folder)
    outlook = migrating.outlook(folder, arguments)
    _show_plan(folder, outlook, printer)
    return Exit.REFUSED if outlook.plan.is_refused else Exit.OK


def _show_plan(folder: Folder, outlook: migrating.Outlook, printer: Printer) -> None:
    if printer.as_json:
        printer.json(plan_json(folder, outlook))
    else:
        plan_page(folder, outlook, printer)


def _apply_arguments(parser: ArgumentParser) -> None:
    planning_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="run it all in a transaction that is rolled back; what is locked stays so until then",
    )
    doing_arguments(parser)


def _apply(arguments: Namespace, printer: Printer) -> Exit:
    folder = read_folder(arguments.folder)
    outlook = migrating.outlook(folder, arguments)
    if outlook.plan.is_refused or not (arguments.dry_run or arguments.yes):
        _show_plan(folder, outlook, printer)
        if outlook.plan.is_refused:
            printer.remark("Nothing was done: the plan is refused.")
            return Exit.REFUSED
        if outlook.plan.is_empty:
            return Exit.OK
        return _unconfirmed(printer, "apply it")
    if arguments.dry_run:
        return _rehearse(outlook, arguments, printer)
    steps = [step.migration for step in outlook.plan.steps]
    done = _Done("applied", printer)
    try:
        migrating.apply(folder, steps, arguments, done.tell)
    finally:
        done.end(of=len(steps))
    return Exit.OK


def _rehearse(outlook: migrating.Outlook, arguments: Namespace, printer: Printer) -> Exit:
    rehearsal = migrating.rehearse(outlook, arguments)
    if printer.as_json:
        printer.json(rehearsal_json(rehearsal))
    else:
        rehearsal_page(rehearsal, printer)
    return Exit.OK if rehearsal.passed else Exit.FAILED


def _rollback_arguments(parser: ArgumentParser) -> None:
    folder_argument(parser)
    how_far = parser.add_mutually_exclusive_group(required=True)
    how_far.add_argument("--to", metavar="ID", help="undo all that ran after this migration")
    how_far.add_argument("--steps", metavar="N", type=count, help="undo the last N migrations")
    database_arguments(parser)
    doing_arguments(parser)


def _rollback(arguments: Namespace, printer: Printer) -> Exit:
    folder = read_folder(arguments.folder)
    undoing = migrating.undoing(folder, arguments)
    without = [migration.id for migration in undoing.migrations if migration.down is None]
    if not undoing.migrations:
        if printer.as_json:
            printer.json(undoing_json(undoing))
        else:
            printer.line(f"Nothing to undo: the database is at {arguments.to}.")
        return Exit.OK
    if without or not arguments.yes:
        if printer.as_json:
            printer.json(undoing_json(undoing))
        else:
            undoing_page(undoing, printer)
        if without:
            printer.remark(f"Nothing was done: {without[0]} has no down script. Restore a backup.")
            return Exit.REFUSED
        return _unconfirmed(printer, "undo it")
    done = _Done("undone", printer)
    try:
        migrating.undo(folder, undoing.migrations, arguments, done.tell)
    finally:
        done.end(of=len(undoing.migrations))
    return Exit.OK


def _unconfirmed(printer: Printer, what: str) -> Exit:
    printer.remark(f"Nothing was done. To {what}, give the same command with --yes.")
    return Exit.REFUSED


class _Done:
    """Tells of migrations as they are done."""

    def __init__(self, word: str, printer: Printer) -> None:
        self._word = word
        self._printer = printer
        self._ran: list[Ran] = []

    def tell(self, ran: Ran) -> None:
        """One is done."""
        self._ran.append(ran)
        if not self._printer.as_json:
            ran_page(ran, self._printer, done=self._word)

    def end(self, *, of: int) -> None:
        """No more is done, for whatever reason."""
        if self._printer.as_json:
            self._printer.json({self._word: [ran_json(ran) for ran in self._ran], "planned": of})
        else:
            self._printer.line(f"{len(self._ran)} of {of} {self._word}.")


def _status_arguments(parser: ArgumentParser) -> None:
    folder_argument(parser)
    database_arguments(parser)
    json_argument(parser)


def _status(arguments: Namespace, printer: Printer) -> Exit:
    folder = read_folder(arguments.folder)
    address, applied = migrating.history(arguments)
    rows = history_rows(folder, applied)
    if printer.as_json:
        printer.json({"database": str(address), "migrations": rows})
    else:
        history_page(str(address), rows, printer)
    return Exit.OK


_ENVIRONMENT: Final = (
    " The database is named by a connection string in an environment variable (URL, libpq's words, "
    "Npgsql's or JDBC's), so that no password shows in a process list."
)

GROUP = Group(
    name="migrations",
    help="check, plan and run the database migrations of a release",
    description="Work on a folder of database migrations: check it, see what it would do to a "
    "database, apply it or go back. A rollout does all this by itself with the bundle that was "
    "pushed for its image.",
    verbs=(
        Verb(
            name="list",
            help="list the migrations of a folder",
            description="List the migrations of a folder, the gravest thing that each does, and "
            "whether there is a way back by script.",
            arguments=_list_arguments,
            run=_list,
        ),
        Verb(
            name="lint",
            help="find what would hurt, before anything runs",
            description="Read every statement with PostgreSQL's own parser and say what it does "
            "to the build that still runs, which locks it takes, and what to do instead. Exit "
            "status 1 where there is an error. docs/lint.md lists the codes.",
            arguments=_lint_arguments,
            run=_lint,
        ),
        push.VERB,
        Verb(
            name="plan",
            help="show what would run on a database, and the way back",
            description="Show which migrations are pending on a database, what they lock, and "
            "what a rollback of code past them will mean. Changes nothing." + _ENVIRONMENT,
            arguments=_plan_arguments,
            run=_plan,
        ),
        Verb(
            name="apply",
            help="run what is pending; shows the plan first",
            description="Run what is pending on a database, one at a time and recorded there. "
            "Without --yes: show the plan, and exit with status 4. What stopped half way goes on."
            + _ENVIRONMENT,
            arguments=_apply_arguments,
            run=_apply,
        ),
        Verb(
            name="rollback",
            help="undo migrations by their down scripts; shows them first",
            description="Run the down scripts of what was applied last, newest first. Without "
            "--yes: show which, and exit with status 4." + _ENVIRONMENT,
            arguments=_rollback_arguments,
            run=_rollback,
        ),
        Verb(
            name="status",
            help="show what a database has, and what stopped half way",
            description="Show which of a folder's migrations a database has, which stopped half "
            "way, were changed since, or are not known to the folder." + _ENVIRONMENT,
            arguments=_status_arguments,
            run=_status,
        ),
    ),
)
