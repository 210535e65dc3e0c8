"""``slipway rollback``."""

from argparse import ArgumentParser, Namespace

from controller.cli.exits import Exit
from controller.cli.follow import await_rollout, follow
from controller.cli.printing import Printer
from controller.cli.verb import (
    Verb,
    connect,
    following_arguments,
    order_arguments,
    report_order,
    rollout_argument,
    send_order,
)

_TURNED_BACK = frozenset({"rolled_back", "rejected", "superseded"})


def _arguments(parser: ArgumentParser) -> None:
    order_arguments(parser, reason_required=True)
    parser.add_argument(
        "--to",
        metavar="TAG|DIGEST|ROLLOUT",
        help="a release that served before (default: the one before)",
    )
    rollout_argument(parser)
    parser.add_argument(
        "--wait", action="store_true", help="follow it to its end; exit 1 unless it went back"
    )
    following_arguments(parser)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    before = client.app(arguments.app) if arguments.wait else {}
    answer = send_order(client, arguments, "rollback", to=arguments.to, rollout=arguments.rollout)
    report_order(answer, arguments, printer, "rollback")
    if not arguments.wait:
        return Exit.OK
    rollout = await_rollout(
        client,
        printer,
        before,
        fits=lambda view: view.get("kind") == "rollback",
        interval=arguments.interval,
        limit=arguments.limit,
        instead=before.get("rollout"),
        order=answer.get("id"),
    )
    end = follow(client, printer, rollout, interval=arguments.interval, limit=arguments.limit)
    goals = {"succeeded"} if end.get("kind") == "rollback" else _TURNED_BACK
    return Exit.OK if end.get("state") in goals else Exit.FAILED


VERB = Verb(
    name="rollback",
    help="go back: out of a running rollout, or to an earlier release",
    description="Go back. While a rollout runs, it is taken back to the stable build; otherwise "
    "the release before, or the one named with --to, takes over again.",
    arguments=_arguments,
    run=_run,
)
