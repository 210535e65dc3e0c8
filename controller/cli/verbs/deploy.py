"""``slipway deploy``."""

from argparse import ArgumentParser, Namespace

from controller.cli.exits import CommandError, Exit
from controller.cli.follow import await_rollout, follow
from controller.cli.printing import Printer
from controller.cli.values import Json, part
from controller.cli.verb import (
    Verb,
    connect,
    following_arguments,
    image,
    order_arguments,
    report_order,
    send_order,
)


def _arguments(parser: ArgumentParser) -> None:
    order_arguments(parser, reason_required=False)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--image", metavar="IMAGE", type=image, help="registry/repository@sha256:<64 hex digits>"
    )
    what.add_argument("--tag", metavar="TAG", help="a tag of the app's repository")
    parser.add_argument(
        "--override",
        action="store_true",
        help="start also into a freeze; --reason says why, for the audit",
    )
    parser.add_argument(
        "--wait", action="store_true", help="follow it to its end; exit 1 unless it succeeded"
    )
    following_arguments(parser)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    if arguments.override and not arguments.reason.strip():
        raise CommandError("--override needs --reason.", "Say why it cannot wait.", Exit.USAGE)
    client = connect(arguments)
    before = client.app(arguments.app) if arguments.wait else {}
    answer = send_order(
        client,
        arguments,
        "deploy",
        image=arguments.image,
        tag=arguments.tag,
        override=arguments.override or None,
    )
    report_order(answer, arguments, printer, "deploy")
    if not arguments.wait:
        return Exit.OK
    rollout = await_rollout(
        client,
        printer,
        before,
        fits=lambda view: _is_of(view, arguments),
        interval=arguments.interval,
        limit=arguments.limit,
        order=answer.get("id"),
    )
    end = follow(client, printer, rollout, interval=arguments.interval, limit=arguments.limit)
    return Exit.OK if end.get("state") == "succeeded" else Exit.FAILED


def _is_of(view: Json, arguments: Namespace) -> bool:
    named = part(view, "image")
    if arguments.image:
        return str(arguments.image).endswith(f"@{named.get('digest')}")
    return str(named.get("tag")) == str(arguments.tag)


VERB = Verb(
    name="deploy",
    help="roll an image out",
    description="Roll an image out, as a push of it would. Its repository must be the app's.",
    arguments=_arguments,
    run=_run,
)
