"""``slipway explain``."""

import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.cli.client import Client
from controller.cli.exits import CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.values import is_object, parts
from controller.cli.verb import Verb, connect, connection_arguments
from controller.core.errors import MalformedError
from controller.verdict.explain import chart, document, text
from controller.verdict.question import Judgement
from controller.verdict.records import judge_again, judgement_from, turn_of
from controller.verdict.svg import svg


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """A judgement, and where it comes from."""

    about: str
    judgement: Judgement
    remark: str = ""


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", nargs="?", help="the app's id in apps.yaml")
    parser.add_argument(
        "rollout",
        metavar="ROLLOUT",
        nargs="?",
        help="one of its rollouts (default: the one under way, else the latest)",
    )
    parser.add_argument(
        "--turn",
        metavar="N",
        type=_turn,
        help="the decision that ended this turn (default: what the judge says now, or the last "
        "decision)",
    )
    parser.add_argument(
        "--file",
        metavar="FILE",
        type=Path,
        help="explain an evidence document in a file; no controller is asked",
    )
    parser.add_argument("--svg", metavar="FILE", type=Path, help="write the chart to this file")
    connection_arguments(parser)


def _turn(number: str) -> int:
    if not (number.isascii() and number.isdecimal()):
        raise ArgumentTypeError(f"{number!r} is not a turn's number")
    return int(number)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    if arguments.file and (arguments.app or arguments.turn is not None):
        raise CommandError("--file needs no app and no turn.", "Give one or the other.", Exit.USAGE)
    if arguments.file:
        told = _kept(_read(arguments.file), str(arguments.file))
    elif arguments.app:
        told = _asked(connect(arguments), arguments)
    else:
        raise CommandError("Nothing is named.", "Give an APP, or --file FILE.", Exit.USAGE)
    if arguments.svg:
        _write(arguments.svg, svg(chart(told.judgement)))
    if printer.as_json:
        printer.json(document(told.judgement))
    else:
        printer.line(told.about)
        printer.heading(text(told.judgement))
    if told.remark:
        printer.remark(told.remark)
    return Exit.OK


def _asked(client: Client, arguments: Namespace) -> _Told:
    """Return what the controller says now, or what it kept of a decision."""
    name = arguments.rollout or _latest(client, arguments.app)
    view = client.rollout(name)
    if view.get("app") != arguments.app:
        raise CommandError(
            f"Rollout {name} is of app {view.get('app')}, not of {arguments.app}.",
            f"See its rollouts: slipway status {arguments.app}",
            Exit.USAGE,
        )
    about = f"Rollout {name} of app {arguments.app}"
    if arguments.turn is None and is_object(view.get("explanation")):
        return _Told(about=f"{about}, now", judgement=judgement_from(view["explanation"]))
    turn = _last_turn(view, name) if arguments.turn is None else arguments.turn
    return _kept(client.evidence(name, turn), f"{about}, as decided in turn {turn}")


def _latest(client: Client, app: str) -> str:
    view = client.app(app)
    names = [view.get("rollout"), *(rollout.get("id") for rollout in parts(view, "rollouts"))]
    found = next((name for name in names if name), None)
    if found is None:
        raise CommandError(f"App {app} has no rollout yet.", "Deploy something.", Exit.REFUSED)
    return str(found)


def _last_turn(view: dict[str, Any], name: str) -> int:
    places = [event.get("evidence") for event in parts(view, "events")]
    turns = [turn for place in places if place and (turn := turn_of(str(place))) is not None]
    if not turns:
        raise CommandError(
            f"Nothing was judged in rollout {name}, and nothing is being judged.",
            f"See where it stands: slipway status {name}",
            Exit.REFUSED,
        )
    return turns[-1]


def _kept(evidence: object, about: str) -> _Told:
    """Return what was decided, computed again for its whole course where our judge can."""
    decided = judgement_from(evidence)
    try:
        again = judge_again(evidence)
    except MalformedError as error:
        remark = f"slipway: shown as it was kept. {error.what} {error.fix}"
        return _Told(about=about, judgement=decided, remark=remark)
    if (again.label, again.numbers) == (decided.label, decided.numbers):
        return _Told(about=f"{about}; computed again, it is the same", judgement=again)
    remark = (
        f"slipway: computed again, the same evidence gives another answer: {again.label}: "
        f"{again.reason}. Shown is what was decided. Please report it with the document."
    )
    return _Told(about=about, judgement=decided, remark=remark)


def _read(file: Path) -> object:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(
            f"{file} cannot be read: {error}.",
            "Give an evidence document, as GET /api/rollouts/{id}/evidence/{turn} answers it.",
            Exit.USAGE,
        ) from error


def _write(file: Path, drawn: str) -> None:
    try:
        file.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise CommandError(
            f"{file} cannot be written: {error}.", "Name another file.", Exit.USAGE
        ) from error


VERB = Verb(
    name="explain",
    help="tell why a rollout was judged as it was",
    description="Show what the judge says of the rollout that is under way, or what it said when "
    "it decided: a sentence, the evidence with its thresholds, both builds' figures with what they "
    "may be in truth. With --svg also as a chart. What was decided is computed again from the "
    "evidence that was kept.",
    arguments=_arguments,
    run=_run,
)
