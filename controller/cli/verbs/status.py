"""``slipway status``."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable

from controller.cli.client import ApiError, Client
from controller.cli.exits import CommandError, Exit
from controller.cli.follow import follow
from controller.cli.printing import Printer
from controller.cli.values import Json, parts
from controller.cli.verb import Verb, connect, connection_arguments, following_arguments
from controller.cli.views import app_page, rollout_page, status_table

_NOT_FOUND = 404


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="APP|ROLLOUT", nargs="?", help="an app or a rollout (default: all apps)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="follow the rollout to its end; exit 1 unless it succeeded",
    )
    following_arguments(parser)
    connection_arguments(parser)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    if arguments.watch and not arguments.name:
        raise CommandError(
            "--watch follows one rollout.", "Name an app or a rollout to watch.", Exit.USAGE
        )
    client = connect(arguments)
    if not arguments.name:
        answer = client.apps()
        return _show(answer, printer, lambda: status_table(parts(answer, "apps"), printer))
    view, is_app = _find(client, arguments.name)
    rollout = view.get("rollout") if is_app else view.get("id")
    if arguments.watch and rollout and not view.get("is_over"):
        return _watch(client, arguments, printer, str(rollout))
    page = app_page if is_app else rollout_page
    _show(view, printer, lambda: page(view, printer))
    failed = arguments.watch and not is_app and view.get("state") != "succeeded"
    return Exit.FAILED if failed else Exit.OK


def _find(client: Client, name: str) -> tuple[Json, bool]:
    """Return the app, or else the rollout, of that name, and whether it is an app."""
    try:
        return client.app(name), True
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        no_app = error
    try:
        return client.rollout(name), False
    except ApiError as error:
        if error.status != _NOT_FOUND:
            raise
        what = f"There is no app and no rollout {name!r}."
        raise ApiError(what, no_app.fix, _NOT_FOUND, no_app.body) from error


def _watch(client: Client, arguments: Namespace, printer: Printer, rollout: str) -> Exit:
    end = follow(client, printer, rollout, interval=arguments.interval, limit=arguments.limit)
    return Exit.OK if end.get("state") == "succeeded" else Exit.FAILED


def _show(answer: Json, printer: Printer, as_page: Callable[[], None]) -> Exit:
    if printer.as_json:
        printer.json(answer)
    else:
        as_page()
    return Exit.OK


VERB = Verb(
    name="status",
    help="show what is under way, or one app or rollout",
    description="Show all apps, one app with its releases and rollouts, or one rollout with its "
    "figures and history. With --watch: print each change of the rollout (of the app's running "
    "rollout) until its end. With --watch --json: one JSON document per line.",
    arguments=_arguments,
    run=_run,
)
