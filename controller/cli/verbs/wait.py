"""``slipway wait``."""

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from controller.cli.client import Client
from controller.cli.exits import CommandError, Exit
from controller.cli.follow import follow, known_rollouts, looks
from controller.cli.printing import Printer, clean
from controller.cli.values import Json, part, parts, texts
from controller.cli.verb import (
    Verb,
    connect,
    connection_arguments,
    digest,
    duration,
    following_arguments,
)
from controller.config.durations import format_duration


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("app", metavar="APP", help="the app's id in apps.yaml")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--rollout", metavar="ROLLOUT", help="the rollout's id")
    what.add_argument(
        "--digest",
        metavar="DIGEST",
        type=digest,
        help="the image that was pushed, as sha256: and 64 hex digits",
    )
    parser.add_argument(
        "--appear",
        metavar="DURATION",
        type=duration,
        default=timedelta(minutes=5),
        help="longest wait for a rollout of that digest to begin or queue (default: 5m)",
    )
    following_arguments(parser)
    connection_arguments(parser)


def _run(arguments: Namespace, printer: Printer) -> Exit:
    client = connect(arguments)
    name = arguments.rollout or _appeared(client, arguments, printer)
    if name is None:
        printer.remark(f"{arguments.digest} serves app {arguments.app} already.")
        if printer.as_json:
            printer.json({"app": arguments.app, "state": "succeeded", "rollout": None})
        return Exit.OK
    first = client.rollout(name)
    if first.get("app") != arguments.app:
        raise CommandError(
            f"Rollout {name} is of app {first.get('app')}, not of {arguments.app}.",
            f"See its own: slipway status {arguments.app}",
            Exit.USAGE,
        )
    end = follow(client, printer, name, interval=arguments.interval, limit=arguments.limit)
    _summarize(end)
    return Exit.OK if end.get("state") == "succeeded" else Exit.FAILED


def _appeared(client: Client, arguments: Namespace, printer: Printer) -> str | None:
    """Return the rollout of the digest, as soon as there is one; None if it serves already.

    A rollout of the same digest that ended before the first look may be of an earlier push. It is
    believed where its digest is in quarantine, as no other one will come, and when time is up.
    """
    wanted, seen, ended = arguments.digest, set[str](), ""
    first = True
    for app in looks(
        lambda: client.app(arguments.app), printer, arguments.interval, arguments.appear
    ):
        for view in _new(client, app, seen):
            if part(view, "image").get("digest") != wanted:
                continue
            if not view.get("is_over") or not first:
                return str(view["id"])
            ended = ended or str(view["id"])  # the newest, as they are listed so
        if part(app, "stable").get("digest") == wanted:
            return None
        held = next((e for e in parts(app, "quarantine") if e.get("digest") == wanted), None)
        if held and held.get("rollout"):
            return str(held["rollout"])
        first = False
    if ended:
        return ended
    raise CommandError(
        f"No rollout of {wanted} of app {arguments.app} began within "
        f"{format_duration(arguments.appear)}.",
        "Does the push reach Slipway, does the tag fit source.tags, is the image linux/amd64? "
        f"See: slipway status {arguments.app}",
        Exit.FAILED,
    )


def _new(client: Client, app: Json, seen: set[str]) -> Iterator[Json]:
    """Yield the rollouts that were not seen before; the app's view has most of them in full."""
    listed = {str(view.get("id")): view for view in parts(app, "rollouts")}
    running = [str(app["rollout"])] if app.get("rollout") else []
    order = [*running, *texts(app, "queued"), *listed]
    for name in dict.fromkeys(order):
        if name in known_rollouts(app) - seen:
            yield listed.get(name) or client.rollout(name)
            seen.add(name)


def _summarize(view: Json) -> None:
    """Tell the outcome on the page of a GitHub job, where this runs in one."""
    path = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if not path:
        return
    image = part(view, "image")
    lines = [
        f"### Slipway: {view.get('app')} {view.get('state')}",
        "",
        f"- Rollout `{view.get('id')}` of `{image.get('reference') or image.get('digest')}`",
        *([f"- {view['why']}"] if view.get("why") else []),
    ]
    with Path(path).open("a", encoding="utf-8") as page:
        page.write(clean("\n".join(lines)) + "\n")


VERB = Verb(
    name="wait",
    help="wait for the rollout of a push",
    description="Wait until a rollout of the digest that was pushed is there, follow it to its "
    "end, and exit 0 if it succeeded, 1 otherwise: for the pipeline whose push started it. "
    "A digest that serves already is a success. Where GITHUB_STEP_SUMMARY is set, the outcome "
    "is added to the job's page.",
    arguments=_arguments,
    run=_run,
)
