"""What the verbs of migrations have in common on the command line."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import Final

from controller.cli.verb import json_argument
from controller.migrations.lint import Contract

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CODE: Final = re.compile(r"SWM\d{3}(@[A-Za-z0-9_.\-]{1,150})?")


def folder_argument(parser: ArgumentParser) -> None:
    """Let the verb work on a folder."""
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="folder of NNN_name.up.sql and NNN_name.down.sql files, or of a script by EF Core "
        "or Alembic",
    )


def policy_arguments(parser: ArgumentParser) -> None:
    """Let people say how strict the lint is."""
    parser.add_argument(
        "--contract",
        choices=[each.value for each in Contract],
        default=Contract.REFUSE.value,
        help="steps that the old build cannot live with: an error (refuse, the default) or a "
        "warning (allow)",
    )
    parser.add_argument(
        "--accept",
        metavar="CODES",
        type=_codes,
        action="append",
        default=[],
        help="findings that somebody looked at: SWM206, or SWM206@MIGRATION; parted by commas",
    )


def applied_arguments(parser: ArgumentParser) -> None:
    """Let people say what is not judged any more."""
    applied = parser.add_mutually_exclusive_group()
    applied.add_argument(
        "--applied",
        metavar="IDS",
        type=_ids,
        action="append",
        default=[],
        help="migrations that every database has; they are not judged; parted by commas",
    )
    applied.add_argument(
        "--after", metavar="ID", help="the same for this migration and all before it"
    )


def database_arguments(parser: ArgumentParser) -> None:
    """Let the verb reach a database."""
    parser.add_argument(
        "--connection-env",
        metavar="NAME",
        type=_variable,
        default="SLIPWAY_DATABASE",
        help="environment variable that holds the connection string (default: SLIPWAY_DATABASE)",
    )


def planning_arguments(parser: ArgumentParser) -> None:
    """Let the verb plan for a database."""
    folder_argument(parser)
    database_arguments(parser)
    policy_arguments(parser)
    parser.add_argument(
        "--out-of-order",
        action="store_true",
        help="also run what stands before a migration that ran, as two branches may bring it",
    )


def doing_arguments(parser: ArgumentParser) -> None:
    """Let the verb do what it shows otherwise."""
    parser.add_argument("--yes", action="store_true", help="do it (default: show the plan)")
    parser.add_argument(
        "--by", metavar="NAME", help="who, for the history (default: your user name)"
    )
    json_argument(parser)


def _variable(text: str) -> str:
    """Return the name of a variable. What is no name may be a password: it is not shown."""
    if not _VARIABLE.fullmatch(text):
        raise ArgumentTypeError(
            "that is not the name of an environment variable. Put the connection string into one, "
            "and name that here"
        )
    return text


def _codes(text: str) -> list[str]:
    codes = [code.strip() for code in text.split(",")]
    for code in codes:
        if not _CODE.fullmatch(code):
            raise ArgumentTypeError(f"{code!r} is not SWM and three digits, nor SWMnnn@MIGRATION")
    return codes


def _ids(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def count(text: str) -> int:
    """Return a number of migrations, for argparse."""
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ArgumentTypeError(f"{text!r} is not a number of migrations")
    return int(text)
