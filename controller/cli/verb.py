"""What the verbs share: their form, the connection, and how an order is sent."""

import getpass
import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from controller.cli.client import Client, checked_url
from controller.cli.exits import CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.values import Json
from controller.config.durations import parse_duration

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SHORTEST: Final = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One word after ``slipway``."""

    name: str
    help: str  # one line in the list of verbs
    description: str  # in the verb's own help
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Printer], Exit]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One word after ``slipway`` that has words of its own after it."""

    name: str
    help: str
    description: str
    verbs: tuple[Verb, ...]


def json_argument(parser: ArgumentParser) -> None:
    """Let the verb speak to programs."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def connection_arguments(parser: ArgumentParser) -> None:
    """Let the verb reach a controller."""
    parser.add_argument(
        "--url", metavar="URL", help="the controller's address (default: SLIPWAY_URL)"
    )
    parser.add_argument(
        "--timeout",
        metavar="DURATION",
        type=duration,
        default=timedelta(seconds=30),
        help="longest wait for one answer (default: 30s)",
    )
    json_argument(parser)


def following_arguments(parser: ArgumentParser, what: str = "rollout") -> None:
    """Let the verb follow a rollout, or *what* else goes on, to its end."""
    parser.add_argument(
        "--interval",
        metavar="DURATION",
        type=duration,
        default=timedelta(seconds=5),
        help="time between two looks (default: 5s)",
    )
    parser.add_argument(
        "--limit",
        metavar="DURATION",
        type=duration,
        default=timedelta(days=1),
        help=f"stop following after this long; the {what} goes on (default: 24h)",
    )


def order_arguments(parser: ArgumentParser, *, reason_required: bool) -> None:
    """Let the verb give an order: to which app, by whom, why."""
    parser.add_argument("app", metavar="APP", help="the app's id in apps.yaml")
    audit_arguments(parser, reason_required=reason_required)
    connection_arguments(parser)


def audit_arguments(parser: ArgumentParser, *, reason_required: bool = False) -> None:
    """Let the order say by whom and why."""
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        required=reason_required,
        type=_reason if reason_required else str,
        default="",
        help="why, for the audit" + (" (required)" if reason_required else ""),
    )
    parser.add_argument(
        "--by", metavar="NAME", default=None, help="who, for the audit (default: your user name)"
    )


def duration(text: str) -> timedelta:
    """Return the duration in *text*, for argparse."""
    try:
        value = parse_duration(float(text) if text.replace(".", "", 1).isdecimal() else text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} {error}") from error
    if value < _SHORTEST:
        raise ArgumentTypeError(f"{text!r} is shorter than 100ms")
    return value


def digest(text: str) -> str:
    """Return *text* if it is a whole digest, for argparse."""
    if not _DIGEST.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is not sha256: and 64 hex digits")
    return text


def image(text: str) -> str:
    """Return *text* if it names an image by digest, for argparse."""
    name, _, image_digest = text.partition("@")
    if not _DIGEST.fullmatch(image_digest) or "/" not in name or "://" in name:
        raise ArgumentTypeError(f"{text!r} is not registry/repository@sha256:<64 hex digits>")
    return text


def connect(arguments: Namespace) -> Client:
    """Return the client for the controller that the command line or the environment names.

    Raises:
        CommandError: none is named, or its address cannot be used.
    """
    url = arguments.url or os.environ.get("SLIPWAY_URL", "")
    if not url:
        raise CommandError(
            "No controller is named.",
            "Give --url, or set SLIPWAY_URL to its address (https://NAME.azurewebsites.net).",
            Exit.USAGE,
        )
    key = os.environ.get("SLIPWAY_KEY", "").strip() or None
    if key and not (key.isascii() and key.isprintable()):
        raise CommandError(
            "SLIPWAY_KEY has characters that no key has.", "Copy it again.", Exit.USAGE
        )
    ca_file = os.environ.get("SLIPWAY_CA_FILE")
    return Client(
        url=checked_url(url, has_key=key is not None),
        key=key,
        ca_file=Path(ca_file) if ca_file else None,
        timeout=arguments.timeout.total_seconds(),
    )


def rollout_argument(parser: ArgumentParser) -> None:
    """Let the order name the rollout that it is meant for."""
    parser.add_argument(
        "--rollout",
        metavar="ROLLOUT",
        help="the rollout that is meant; the order does nothing to another one",
    )


def send_order(
    client: Client, arguments: Namespace, command: str, **fields: str | bool | None
) -> Json:
    """Send *command* to the app and return the answer: it is accepted, not yet carried out."""
    return client.order(arguments.app, command, order_body(arguments, **fields))


def order_body(arguments: Namespace, **fields: str | bool | None) -> dict[str, str | bool]:
    """Return what an order says: who, why, and those *fields* that are there."""
    body: dict[str, str | bool] = {"reason": arguments.reason, "by": arguments.by or user()}
    return body | {name: value for name, value in fields.items() if value is not None}


def report_order(answer: Json, arguments: Namespace, printer: Printer, command: str) -> None:
    """Say that the order was accepted and where to look."""
    if printer.as_json:
        printer.json(answer, on_one_line=getattr(arguments, "wait", False))
        return
    printer.line(f"Accepted: {command} of app {arguments.app} (order {answer.get('id', '?')}).")
    if not getattr(arguments, "wait", False):
        printer.line(f"See what comes of it: slipway status {arguments.app} --watch")


def simple_order(
    command: str, *, help_line: str, description: str, reason_required: bool = False
) -> Verb:
    """Return the verb of an order that needs no more than an app."""

    def run(arguments: Namespace, printer: Printer) -> Exit:
        client = connect(arguments)
        answer = send_order(client, arguments, command, rollout=arguments.rollout)
        report_order(answer, arguments, printer, command)
        return Exit.OK

    def arguments(parser: ArgumentParser) -> None:
        order_arguments(parser, reason_required=reason_required)
        rollout_argument(parser)

    return Verb(name=command, help=help_line, description=description, arguments=arguments, run=run)


def _reason(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("it is empty")
    return text


def user() -> str:
    """Return who is at the terminal."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no user database, as in a bare container
        return "cli"
