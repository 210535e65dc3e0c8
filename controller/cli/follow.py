"""Following a rollout to its end, and finding the one that an order brought about."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from controller.cli.client import ApiError, Client
from controller.cli.exits import CommandError, Exit
from controller.cli.printing import Printer
from controller.cli.values import Json, parts, texts
from controller.config.durations import format_duration

_PATIENCE: Final = 10  # looks in a row that may fail before following ends
_APPEARANCE: Final = timedelta(minutes=2)  # an accepted order becomes a rollout within seconds


def follow(
    client: Client, printer: Printer, rollout: str, *, interval: timedelta, limit: timedelta
) -> Json:
    """Print each change of *rollout* until it is over, and return its last view.

    Raises:
        CommandError: it is unknown, the controller stays away, or *limit* has passed.
    """
    last = ""
    for view in looks(lambda: client.rollout(rollout), printer, interval, limit):
        line = progress(view)
        if line != last:
            last = line
            if printer.as_json:
                printer.json(view, on_one_line=True)
            else:
                printer.line(line)
        if view.get("is_over"):
            return view
    raise CommandError(
        f"Rollout {rollout} is not over after {format_duration(limit)}; it goes on.",
        f"Follow it again: slipway status {rollout} --watch",
        Exit.FAILED,
    )


def progress(view: Json) -> str:
    """Return one line about where a rollout stands."""
    state = str(view.get("state", "?"))
    parts = [f"{str(view.get('entered_at') or '')[11:19]} {state}".strip()]
    if state in {"shifting", "observing", "held", "approval"}:
        steps = texts(view, "steps")
        at = min(int(view.get("step") or 0) + 1, len(steps))
        parts.append(f"{view.get('weight', 0)} % (step {at} of {len(steps)})")
    why = str(view.get("why") or "")
    return ", ".join(parts) + (f": {why}" if why else "")


def known_rollouts(app: Json) -> set[str]:
    """Return the ids of all rollouts that an app's view names."""
    ids = {str(rollout.get("id")) for rollout in parts(app, "rollouts")}
    ids |= set(texts(app, "queued"))
    return ids | ({str(app["rollout"])} if app.get("rollout") else set())


def await_rollout(
    client: Client,
    printer: Printer,
    before: Json,
    *,
    fits: Callable[[Json], bool],
    interval: timedelta,
    limit: timedelta,
    instead: str | None = None,
    order: str | None = None,
) -> str:
    """Return the id of the new rollout of the app seen *before* the order.

    *instead* names a running rollout whose end is an answer too: it was turned back. *order* is
    the order's id: what the app's audit says of it is believed before anything else.

    Raises:
        CommandError: nothing came of the order.
    """
    name = str(before.get("app"))
    known = known_rollouts(before)
    patience = min(limit, _APPEARANCE)
    for app in looks(lambda: client.app(name), printer, interval, patience):
        named = _outcome(app, order) if order else None
        if named:
            return named
        for rollout in sorted(known_rollouts(app) - known, reverse=True):
            if fits(client.rollout(rollout)):
                return rollout
            known.add(rollout)
        if instead and app.get("rollout") != instead:
            return instead
    raise CommandError(
        f"The order was accepted, but no rollout of app {name} came of it.",
        f"The image may serve already, be on its way or be quarantined: slipway status {name}",
        Exit.FAILED,
    )


def _outcome(app: Json, order: str) -> str | None:
    """Return the rollout that came of *order*, None where nothing is known yet.

    Raises:
        CommandError: it was refused or ignored.
    """
    events = [event for event in parts(app, "events") if event.get("order") == order]
    begun = next((event for event in events if event.get("kind") == "submitted"), None)
    if begun:
        return str(begun.get("rollout"))
    turned_down = next((e for e in events if e.get("kind") in {"refused", "ignored"}), None)
    if turned_down:
        raise CommandError(
            f"The order was {turned_down.get('kind')}: {turned_down.get('why')}",
            f"See what it is doing: slipway status {app.get('app')}",
            Exit.FAILED,
        )
    return None


def looks(
    look: Callable[[], Json], printer: Printer, interval: timedelta, limit: timedelta
) -> Iterator[Json]:
    """Look again and again until *limit*; a controller that is away for a moment is forgiven."""
    end = time.monotonic() + limit.total_seconds()
    failures = 0
    while True:
        try:
            view = look()
        except CommandError as error:
            failures += 1
            refused = isinstance(error, ApiError) and error.exit_status is Exit.REFUSED
            if refused or failures >= _PATIENCE:
                raise
            printer.remark(f"{error.what} Looking again.")
        else:
            failures = 0
            yield view
        if time.monotonic() + interval.total_seconds() > end:
            return
        time.sleep(interval.total_seconds())
