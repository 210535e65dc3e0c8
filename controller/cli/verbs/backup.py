"""``slipway backup``: sets, and the jobs that make, check and restore them."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Final

from controller.cli.client import ApiError, Client
from controller.cli.exits import CommandError, Exit
from controller.cli.maintenance import (
    backups_page,
    crosses_heads,
    follow_job,
    job_end,
    job_outcome,
    job_page,
    jobs_table,
    newest_verified,
    plan_page,
    set_page,
)
from controller.cli.pitr import pitr_arguments, show_pitr_plan
from controller.cli.printing import Printer
from controller.cli.values import Json, parts
from controller.cli.verb import (
    Group,
    Verb,
    audit_arguments,
    connect,
    connection_arguments,
    following_arguments,
    order_body,
)
from controller.cli.verbs.fetch import VERB as FETCH
from controller.core.errors import MalformedError
from controller.recovery.names import app_of, check_set_id

_NOT_FOUND: Final = 404

# --- Arguments -----------------------------------------------------------------------------------


def _app(parser: ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="the app's id in apps.yaml")


def _set(parser: ArgumentParser) -> None:
    parser.add_argument(
        "set", metavar="SET|APP", help="a set's id; or an app: its newest verified set"
    )
    parser.add_argument("of_app", metavar="SET", nargs="?", help="after an app: one of its sets")


def _job(parser: ArgumentParser) -> None:
    """Let the verb order a job, and follow it."""
    audit_arguments(parser)
    parser.add_argument(
        "--id", metavar="ID", help="the order's id; the same one again is the same job"
    )
    parser.add_argument(
        "--wait", action="store_true", help="follow the job to its end; exit 1 unless it succeeded"
    )
    following_arguments(parser, "job")
    connection_arguments(parser)


# --- Jobs ----------------------------------------------------------------------------------------


def _order(
    client: Client,
    arguments: Namespace,
    printer: Printer,
    order: tuple[str, str],
    **fields: str | bool | None,
) -> Exit:
    """Order a job (app, verb), say how to follow it, and follow it where that is wanted."""
    app, command = order
    body = order_body(arguments, id=arguments.id, **fields)
    answer = client.backup_order(app, command, body)
    job = str(answer.get("job"))
    if printer.as_json:
        printer.json(answer, on_one_line=arguments.wait)
    else:
        printer.line(f"Accepted: {command} of app {app} (job {job}).")
    if arguments.wait:
        return _follow(client, arguments, printer, job)
    if not printer.as_json:
        printer.line(f"Follow it: slipway backup jobs {job} --wait")
    return Exit.OK


def _follow(client: Client, arguments: Namespace, printer: Printer, job: str) -> Exit:
    end = follow_job(client, printer, job, interval=arguments.interval, limit=arguments.limit)
    job_end(end, printer)
    return job_outcome(end)


def _of_app(command: str) -> Callable[[Namespace, Printer], Exit]:
    """Return what orders a job that needs no more than an app."""

    def run(arguments: Namespace, printer: Printer) -> Exit:
        return _order(connect(arguments), arguments, printer, (arguments.app, command))

    return run


def _app_job(parser: ArgumentParser) -> None:
    _app(parser)
    _job(parser)


def _jobs_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="APP|JOB", help="an app, or one of its jobs")
    parser.add_argument(
        "--wait",
        action="store_true",
        help="follow the job (of an app: its newest) to its end; exit 1 unless it succeeded",
    )
    following_arguments(parser, "job")
    connection_arguments(parser)


def _jobs(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    try:
        answer = client.jobs(arguments.name)
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        return _one_job(client, arguments, printer)
    found = parts(answer, "jobs")
    if arguments.wait and found:
        return _follow(client, arguments, printer, str(found[0].get("id")))
    if printer.as_json:
        printer.json(answer)
    elif found:
        jobs_table(found, printer)
    else:
        printer.line(f"App {arguments.name} has no jobs yet.")
    return Exit.OK


def _one_job(client: Client, arguments: Namespace, printer: Printer) -> Exit:
    if arguments.wait:
        return _follow(client, arguments, printer, arguments.name)
    job = client.job(arguments.name)
    if printer.as_json:
        printer.json(job)
    else:
        job_page(job, printer)
    return job_outcome(job)


# --- Sets ----------------------------------------------------------------------------------------


def _chosen(client: Client, arguments: Namespace) -> tuple[str, str]:
    """Return the app and the set that are meant.

    Raises:
        CommandError: the app has no verified set, or the set is of another app.
    """
    named = arguments.of_app or arguments.set
    try:
        known = check_set_id(named)
        if arguments.of_app and arguments.set != app_of(known):
            raise CommandError(
                f"Backup set {known} is of app {app_of(known)}, not of {arguments.set}.",
                f"See its own: slipway backup list {arguments.set}",
                Exit.USAGE,
            )
    except MalformedError as error:
        app = str(named)
        if arguments.of_app or (
            "-" in app and app[:8].isdecimal()
        ):  # it was meant to be a set's id
            raise CommandError(f"{error.code}: {error.what}", error.fix, Exit.USAGE) from error
    else:
        return app_of(known), known
    newest = newest_verified(client.backups(app))
    if newest is None:
        raise CommandError(
            f"App {app} has no verified set.",
            f"See those that it has: slipway backup list {app}",
            Exit.REFUSED,
        )
    return app, newest


def _list_arguments(parser: ArgumentParser) -> None:
    _app(parser)
    parser.add_argument(
        "--check",
        action="store_true",
        help="exit 1 unless the newest verified set is within the RPO",
    )
    connection_arguments(parser)


def _list(arguments: Namespace, printer: Printer) -> Exit:
    answer = connect(arguments).backups(arguments.app)
    if printer.as_json:
        printer.json(answer)
    else:
        backups_page(answer, printer)
    return Exit.FAILED if arguments.check and answer.get("within_rpo") is not True else Exit.OK


def _show_arguments(parser: ArgumentParser) -> None:
    _set(parser)
    connection_arguments(parser)


def _show(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    app, name = _chosen(client, arguments)
    sets = parts(client.backups(app), "backups")
    found = next((each for each in sets if each.get("id") == name), None)
    if found is None:
        raise CommandError(
            f"There is no backup set {name!r}.",
            f"See those that there are: slipway backup list {app}",
            Exit.REFUSED,
        )
    if printer.as_json:
        printer.json(found)
    else:
        set_page(found, printer)
    return Exit.OK


def _verify_arguments(parser: ArgumentParser) -> None:
    _set(parser)
    _job(parser)


def _verify(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    app, name = _chosen(client, arguments)
    return _order(client, arguments, printer, (app, "verify"), set=name)


def _prune_arguments(parser: ArgumentParser) -> None:
    _app(parser)
    parser.add_argument(
        "--apply", action="store_true", help="remove them (default: only say what would go)"
    )
    _job(parser)


def _prune(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    order = (arguments.app, "prune")
    return _order(client, arguments, printer, order, apply=bool(arguments.apply))


# --- Restoring -----------------------------------------------------------------------------------


def _restore_arguments(parser: ArgumentParser) -> None:
    _set(parser)
    parser.add_argument(
        "--confirm",
        metavar="NAME",
        help="do it: the name of the database that is overwritten or made; without the database "
        "among the parts, the app's",
    )
    parser.add_argument(
        "--target",
        metavar="DATABASE",
        help="restore into this database of the app's server (default: the app's own)",
    )
    parser.add_argument(
        "--parts",
        metavar="PARTS",
        help="what to restore, parted by commas: database (the default), configuration, secrets, "
        "application, state; or all",
    )
    parser.add_argument(
        "--across-heads",
        action="store_true",
        help="the schema may become another one than the code that serves knows",
    )
    parser.add_argument(
        "--without-safety",
        action="store_true",
        help="make no backup of what is overwritten",
    )
    _job(parser)


def _restore(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    app, name = _chosen(client, arguments)
    if arguments.confirm is None:
        return _plan(client, arguments, printer, (app, name))
    return _order(
        client,
        arguments,
        printer,
        (app, "restore"),
        set=name,
        confirm=arguments.confirm,
        target=arguments.target,
        parts=arguments.parts,
        across_heads=arguments.across_heads or None,
        without_safety=arguments.without_safety or None,
    )


def _plan(client: Client, arguments: Namespace, printer: Printer, chosen: tuple[str, str]) -> Exit:
    """Print the plan, and what to type so that it is carried out."""
    app, name = chosen
    asked = {"target": arguments.target, "parts": arguments.parts}
    plan = client.restore_plan(app, name, {k: v for k, v in asked.items() if v})
    if printer.as_json:
        printer.json(plan)
    else:
        plan_page(plan, printer)
        printer.line()
    printer.remark(f"Nothing was done. To restore it: {_to_type(arguments, plan, name)}")
    if crosses_heads(plan) and not arguments.across_heads:
        printer.remark(
            f"The schema will be that of {plan.get('head_then') or 'no migration'}. If the build "
            "that serves can live with it, add --across-heads."
        )
    return Exit.REFUSED


def _to_type(arguments: Namespace, plan: Json, name: str) -> str:
    words = ["slipway backup restore", name, "--confirm", str(plan.get("target"))]
    words += ["--target", arguments.target] if arguments.target else []
    words += ["--parts", arguments.parts] if arguments.parts else []
    words += ["--across-heads"] if arguments.across_heads else []
    words += ["--without-safety"] if arguments.without_safety else []
    return " ".join([*words, "--wait"])


def _pitr_arguments(parser: ArgumentParser) -> None:
    _app(parser)
    pitr_arguments(parser)
    _job(parser)


def _pitr(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    if arguments.confirm is None:
        return show_pitr_plan(client, arguments, printer)
    return _order(
        client,
        arguments,
        printer,
        (arguments.app, "pitr"),
        at=arguments.at,
        new_server=arguments.new_server,
        confirm=arguments.confirm,
    )


GROUP = Group(
    name="backup",
    help="make, list, check and restore backups of an app",
    description="Make, list, check and restore backup sets of an app. What takes a while is a "
    "job of the controller: it goes on when this command ends, and --wait follows its steps.",
    verbs=(
        Verb(
            name="create",
            help="back an app up now",
            description="Back up all that apps.yaml names under the app's `backup`, now.",
            arguments=_app_job,
            run=_of_app("create"),
        ),
        Verb(
            name="list",
            help="list an app's backup sets",
            description="List an app's backup sets, newest first. The first line says whether the "
            "newest one that is known to restore is within the recovery point objective (RPO).",
            arguments=_list_arguments,
            run=_list,
        ),
        Verb(
            name="show",
            help="show one backup set and its parts",
            description="Show one backup set: what is in it, and who looked at it last.",
            arguments=_show_arguments,
            run=_show,
        ),
        Verb(
            name="verify",
            help="read every byte of a set and compare",
            description="Read every byte of a set and compare it with what was written. A drill "
            "says more: it restores.",
            arguments=_verify_arguments,
            run=_verify,
        ),
        Verb(
            name="restore",
            help="restore a set; shows the plan first",
            description="Restore a backup set. Without --confirm: print what would be done and "
            "what to type to do it, and exit with status 4. The set is restored beside what is "
            "there, compared with what was recorded, and then exchanged for it.",
            arguments=_restore_arguments,
            run=_restore,
        ),
        Verb(
            name="pitr",
            help="make a new database server as it was at a moment; shows the plan first",
            description="Restore the app's flexible server to a moment: the platform makes a new "
            "one, which takes minutes to hours. Without --confirm: print what it would have, what "
            "would not go over and what to type, and exit with status 4. Nothing is switched over: "
            "the job's result says how people do that.",
            arguments=_pitr_arguments,
            run=_pitr,
        ),
        Verb(
            name="prune",
            help="say which sets the rules no longer keep; --apply removes them",
            description="Decide which sets the rules in apps.yaml no longer keep. Without --apply "
            "nothing is removed: the job's result says what would go, and why the rest stays.",
            arguments=_prune_arguments,
            run=_prune,
        ),
        Verb(
            name="drill",
            help="restore the newest set into a scratch database and measure",
            description="Restore the newest set into a scratch database, compare it row by row "
            "with what was recorded, measure RPO and RTO, and remove the scratch again.",
            arguments=_app_job,
            run=_of_app("drill"),
        ),
        FETCH,
        Verb(
            name="jobs",
            help="show an app's latest jobs, or one job",
            description="Show the latest jobs of an app, or one job with its steps and result. "
            "With --wait: follow it to its end.",
            arguments=_jobs_arguments,
            run=_jobs,
        ),
    ),
)
