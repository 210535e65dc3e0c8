"""The command line: parses, runs one verb, and turns every failure into words and a status."""

import os
import re
import sys
import traceback
from argparse import Action, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from controller import __version__
from controller.cli.client import ApiError
from controller.cli.exits import MEANINGS, CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.verb import Group, Verb
from controller.cli.verbs import VERBS
from controller.core.errors import SlipwayError

_WIDTH: Final = 92  # the same on every terminal, so that help and documentation agree


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv* (default: the process's) and return its exit status."""
    try:
        arguments = build_parser().parse_args(argv)
    except SystemExit as end:  # argparse has said why
        return Exit.OK if end.code in {None, 0} else Exit.USAGE
    printer = Printer(as_json=getattr(arguments, "json", False))
    try:
        return int(arguments.run(arguments, printer))
    except KeyboardInterrupt:
        printer.remark("slipway: interrupted; what was accepted goes on.")
        return Exit.INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - nobody at a terminal shall read a traceback
        return _report(error, printer)


def _report(error: Exception, printer: Printer) -> Exit:
    """Say what went wrong, and return the status that says so too."""
    if isinstance(error, CommandError):
        if printer.as_json and isinstance(error, ApiError) and error.body is not None:
            printer.json(error.body, on_one_line=True)
        printer.remark(f"slipway: {error.what} {error.fix}".rstrip())
        return error.exit_status
    if isinstance(error, SlipwayError):
        printer.remark(f"slipway: {error}")
        return Exit.FAILED
    if os.environ.get("SLIPWAY_DEBUG"):
        traceback.print_exception(error)
    printer.remark(
        f"slipway: that should not happen ({type(error).__name__}: {error}). Are command and "
        "controller of the same version? Please report it with what SLIPWAY_DEBUG=1 shows."
    )
    return Exit.FAILED


def build_parser() -> ArgumentParser:
    """Return the parser of the whole command line."""
    return build_parsers()[0]


def build_parsers() -> tuple[ArgumentParser, dict[str, ArgumentParser]]:
    """Return the parser of the whole command line, and those of the verbs by name."""
    parser = _Parser(
        prog="slipway",
        description="Progressive delivery for Azure App Service, from a terminal.",
        epilog=_epilog(),
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"slipway {__version__}")
    children: dict[str, ArgumentParser] = {}
    _add(parser, VERBS, children)
    return parser, children


def _add(
    parser: "_Parser", verbs: Sequence[Verb | Group], children: dict[str, ArgumentParser]
) -> None:
    """Let *parser* know *verbs*, and what comes after them; put each parser into *children*."""
    parser.verbs = tuple(verb.name for verb in verbs)
    known = parser.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)
    for verb in verbs:
        child = known.add_parser(
            verb.name,
            help=verb.help,
            description=verb.description,
            formatter_class=_WrappingFormatter,
            allow_abbrev=False,
        )
        children[child.prog.removeprefix("slipway ")] = child
        if isinstance(verb, Group):
            _add(child, verb.verbs, children)
        else:
            verb.arguments(child)
            child.set_defaults(run=verb.run)


class _Parser(ArgumentParser):
    """Says which verb was probably meant."""

    verbs: tuple[str, ...] = ()  # that may come next

    def error(self, message: str) -> NoReturn:
        """End with what is wrong and the nearest right word."""
        wrong = re.search(r"argument VERB: invalid choice: '(.*?)'", message)
        if wrong:
            close = get_close_matches(wrong[1], self.verbs, n=1)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            message = f"there is no verb '{wrong[1]}'.{meant}"
        elif message.endswith("arguments are required: VERB"):
            message = f"say what: one of {', '.join(self.verbs)}."
        self.exit(Exit.USAGE, f"{self.format_usage()}slipway: {message} See: {self.prog} --help\n")


class _Formatter(RawDescriptionHelpFormatter):
    def __init__(self, prog: str, **options: Any) -> None:
        super().__init__(prog, **(options | {"width": _WIDTH, "max_help_position": 30}))

    def add_argument(self, action: Action) -> None:
        super().add_argument(action)
        if action.metavar == "VERB":  # argparse forgets that verbs are indented once more
            self._action_max_length += self._indent_increment


class _WrappingFormatter(_Formatter):
    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(indent + line for line in self._split_lines(text, width - len(indent)))


def _epilog() -> str:
    statuses = "\n".join(f"  {status.value:<4} {words}" for status, words in MEANINGS.items())
    return f"""\
environment:
  SLIPWAY_URL      the controller's address, such as https://NAME.azurewebsites.net
  SLIPWAY_KEY      a key of its function app; never given on the command line
  SLIPWAY_CA_FILE  certificate authorities (PEM) to trust instead of the system's
  SLIPWAY_DATABASE connection string of the database that `migrations` works on
  SLIPWAY_REGISTRY_LOGIN
                   USER:PASSWORD of the registry that `migrations push` pushes to
  NO_COLOR         no colours

exit status:
{statuses}"""
