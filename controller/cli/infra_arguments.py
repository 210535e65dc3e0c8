"""What the verbs of ``slipway infra`` are told."""

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from pathlib import Path
from typing import Final

from controller.cli.verb import connection_arguments, duration

_NAME: Final = re.compile(r"[-\w.()]{0,89}[-\w()]")
SECRET_NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}")


def where_arguments(parser: ArgumentParser) -> None:
    """Let the verb know the resource group."""
    parser.add_argument(
        "--group", metavar="NAME", required=True, type=_group, help="the resource group"
    )
    parser.add_argument(
        "--subscription", metavar="ID", default="", help="refuse to work in another subscription"
    )
    parser.add_argument(
        "--poll",
        metavar="DURATION",
        type=duration,
        default=timedelta(seconds=15),
        help="time between two tries (default: 15s)",
    )
    connection_arguments(parser)


def plan_arguments(parser: ArgumentParser) -> None:
    """Let the verb know what the templates are given."""
    where_arguments(parser)
    parser.add_argument("--environment", metavar="NAME", default="dev", help="default: dev")
    parser.add_argument(
        "--location", metavar="REGION", default="westeurope", help="default: westeurope"
    )
    parser.add_argument(
        "--folder", metavar="FOLDER", type=Path, default=Path("infra"), help="default: infra"
    )
    parser.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a parameter over that of the file; never a secret",
    )
    _override(parser)
    _dry_run(parser)


def guard_arguments(parser: ArgumentParser) -> None:
    """Add what ``guard`` is told."""
    where_arguments(parser)
    _override(parser)


def _override(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--anyway-because",
        metavar="TEXT",
        default="",
        help="go on while a rollout is under way; recorded as a tag of the group",
    )


def _dry_run(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="print the az commands and ask or change nothing"
    )


def content_arguments(parser: ArgumentParser) -> None:
    """Let the verb know what no template holds."""
    parser.add_argument("--apps", metavar="FILE", type=Path, help="the apps.yaml to upload")
    parser.add_argument(
        "--package", metavar="ZIP", type=Path, help="the controller, of make package"
    )
    parser.add_argument(
        "--first-image",
        metavar="IMAGE",
        help="what production and the slots serve until the first rollout; only where none does",
    )
    parser.add_argument(
        "--secret",
        metavar="NAME",
        action="append",
        default=[],
        type=_secret,
        help="fill the vault with it, from the environment: my-key from SECRET_MY_KEY",
    )
    parser.add_argument(
        "--secrets-from-stdin",
        action="store_true",
        help="fill the vault from a JSON object on standard input",
    )
    parser.add_argument(
        "--replace-secrets", action="store_true", help="also those that the vault has"
    )
    parser.add_argument(
        "--limit",
        metavar="DURATION",
        type=duration,
        default=timedelta(minutes=20),
        help="longest wait for a role to hold, and for the controller to answer (default: 20m)",
    )


def confirm_arguments(parser: ArgumentParser) -> None:
    """Let the verb change something."""
    parser.add_argument(
        "--confirm", metavar="NAME", help="do it: the name of the resource group, once more"
    )


def deploy_arguments(parser: ArgumentParser) -> None:
    """Add what ``deploy`` is told."""
    plan_arguments(parser)
    content_arguments(parser)
    confirm_arguments(parser)


def finish_arguments(parser: ArgumentParser) -> None:
    """Add what ``finish`` is told."""
    where_arguments(parser)
    _override(parser)
    _dry_run(parser)
    content_arguments(parser)


def outputs_arguments(parser: ArgumentParser) -> None:
    """Add what ``outputs`` is told."""
    where_arguments(parser)
    parser.add_argument("--only", metavar="NAME", help="print this one's value alone")


def destroy_arguments(parser: ArgumentParser) -> None:
    """Add what ``destroy`` is told."""
    where_arguments(parser)
    confirm_arguments(parser)


def _group(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no name of a resource group")
    return text


def _secret(text: str) -> str:
    if not SECRET_NAME.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is no name of a secret: letters, digits and - only")
    return text
