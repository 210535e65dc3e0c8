"""``slipway schema``."""

from argparse import Namespace

from controller.cli.exits import Exit
from controller.cli.printing import Printer
from controller.cli.verb import Verb
from controller.config.schema import json_schema


def _run(_: Namespace, printer: Printer) -> Exit:
    printer.json(json_schema())
    return Exit.OK


VERB = Verb(
    name="schema",
    help="print the JSON Schema of apps.yaml",
    description="Print the JSON Schema (2020-12) of apps.yaml, for editors and pipelines.",
    arguments=lambda _: None,
    run=_run,
)
