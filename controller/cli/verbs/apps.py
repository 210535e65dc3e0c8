"""``slipway apps``."""

from argparse import Namespace

from controller.cli.exits import Exit
from controller.cli.printing import Printer
from controller.cli.values import parts
from controller.cli.verb import Verb, connect, connection_arguments
from controller.cli.views import apps_table


def _run(arguments: Namespace, printer: Printer) -> Exit:
    answer = connect(arguments).apps()
    if printer.as_json:
        printer.json(answer)
    else:
        apps_table(parts(answer, "apps"), printer)
    return Exit.OK


VERB = Verb(
    name="apps",
    help="list the apps and what serves",
    description="List the apps that the controller looks after, and the release that serves each.",
    arguments=connection_arguments,
    run=_run,
)
