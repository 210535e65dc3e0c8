"""``slipway validate``."""

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path

from controller.cli.exits import Exit
from controller.cli.printing import Printer
from controller.cli.verb import Verb, json_argument
from controller.config.load import load_file, load_text
from controller.config.problems import InvalidConfigurationError


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="an apps.yaml; - for standard input")
    json_argument(parser)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    try:
        if arguments.file == "-":
            text = sys.stdin.buffer.read().decode("utf-8", "replace")
            apps = load_text(text, name="standard input")
        else:
            apps = load_file(Path(arguments.file))
    except InvalidConfigurationError as error:
        if printer.as_json:
            printer.json({"valid": False, "problems": [asdict(p) for p in error.problems]})
        else:
            printer.remark(f"{error.what}{error.fix}")
        return Exit.CONFIGURATION
    if printer.as_json:
        printer.json({"valid": True, "apps": list(apps)})
        return Exit.OK
    printer.line(f"{arguments.file} is right: {len(apps)} app{'s' if len(apps) != 1 else ''}.")
    rows = [
        (
            spec.id,
            spec.target.site,
            f"{spec.source.registry}/{spec.source.repository}",
            [f"{step.weight} %" for step in spec.strategy.steps],
        )
        for spec in apps.values()
    ]
    printer.table(("app", "site", "images", "steps"), rows)
    return Exit.OK


VERB = Verb(
    name="validate",
    help="check a configuration file",
    description="Check a configuration file without a controller. Every problem is reported at "
    "once: its line, column and key, what is wrong, and the nearest right word.",
    arguments=_arguments,
    run=_run,
)
