"""``slipway retry``."""

from argparse import ArgumentParser, Namespace

from controller.cli.exits import Exit
from controller.cli.printing import Printer
from controller.cli.verb import Verb, connect, digest, order_arguments, report_order, send_order


def _arguments(parser: ArgumentParser) -> None:
    order_arguments(parser, reason_required=True)
    parser.add_argument(
        "--digest",
        metavar="DIGEST",
        type=digest,
        required=True,
        help="the image's digest, sha256:<64 hex digits> (required)",
    )


def _run(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    answer = send_order(client, arguments, "retry", digest=arguments.digest)
    report_order(answer, arguments, printer, "retry")
    return Exit.OK


VERB = Verb(
    name="retry",
    help="try an image again that was taken back",
    description="Lift the quarantine of an image that was taken back and roll it out again.",
    arguments=_arguments,
    run=_run,
)
