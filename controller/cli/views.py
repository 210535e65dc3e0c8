"""An app and a rollout, as a person at a terminal wants to read them."""

from collections.abc import Sequence
from typing import Final

from controller.cli.printing import Printer
from controller.cli.values import Json, is_object, part, parts, texts

_SHORT: Final = 19  # sha256: and twelve digits


def apps_table(apps: Sequence[Json], printer: Printer) -> None:
    """Print what runs where."""
    columns = ("app", "site", "serves", "slot", "since", "state")
    rows: list[tuple[object, ...]] = []
    for app in apps:
        stable = part(app, "stable")
        name = stable.get("tag") or _digest(stable)
        since = moment(stable.get("since"))
        rows.append(
            (app.get("app"), app.get("site"), name, stable.get("slot"), since, app.get("state"))
        )
    printer.table(columns, rows)


def status_table(apps: Sequence[Json], printer: Printer) -> None:
    """Print what is under way."""
    columns = ("app", "state", "rollout", "canary", "routing", "verdict", "alerts", "why")
    rows = [
        (
            app.get("app"),
            app.get("state"),
            app.get("rollout"),
            f"{app.get('weight', 0)} %" if app.get("rollout") else "",
            app.get("routing"),
            part(app, "verdict").get("label"),
            [alert.get("rule") for alert in parts(app, "firing")],
            app.get("why"),
        )
        for app in apps
    ]
    printer.table(columns, rows)


def app_page(app: Json, printer: Printer) -> None:
    """Print one app with its releases and latest rollouts."""
    printer.fields(
        {
            "App": app.get("app"),
            "Site": app.get("site"),
            "State": app.get("state"),
            "Rollout": app.get("rollout"),
            "Canary": f"{app.get('weight', 0)} %" if app.get("rollout") else "",
            "Routing": app.get("routing"),
            "Serves": _release(part(app, "stable")),
            "Verdict": _verdict(app),
            "Why": app.get("why"),
            "Frozen": moment(app.get("frozen_until")),
            "Alerts": "\n".join(_alert(alert) for alert in parts(app, "firing")),
            "Queued": app.get("queued"),
            "Quarantine": "\n".join(
                f"{_digest(entry)} {entry.get('reason', '')}" for entry in parts(app, "quarantine")
            ),
        }
    )
    releases = parts(app, "releases")
    if releases:
        printer.heading("Releases, the one that serves first")
        columns = ("tag", "digest", "slot", "since", "rollout")
        printer.table(
            columns,
            [
                (r.get("tag"), _digest(r), r.get("slot"), moment(r.get("since")), r.get("rollout"))
                for r in releases
            ],
        )
    rollouts = parts(app, "rollouts")
    if rollouts:
        printer.heading("Latest rollouts")
        printer.table(("rollout", "image", "state", "ended", "why"), [_row(r) for r in rollouts])


def _swap(rollout: Json) -> str:
    swap = part(rollout, "swap")
    where = "back" if swap.get("back") else "to production"
    return f"{where}: {swap.get('stage')}, {swap.get('tries')} sent" if swap else ""


def _data(rollout: Json) -> str:
    data = part(rollout, "data")
    names = ", ".join(texts(data, "pending"))
    done = [
        word
        for word, key in (("applied", "applied"), ("taken back", "reverted"))
        if data.get(key) is True
    ]
    how_far = done[-1] if done else "begun" if data.get("begun") is True else "pending"
    saved = f"; restore point {data.get('restore_point')}" if data.get("restore_point") else ""
    return f"{how_far}: {names}{saved}" if names else ""


def rollout_page(rollout: Json, printer: Printer) -> None:
    """Print one rollout with its figures and its history."""
    printer.fields(
        {
            "Rollout": rollout.get("id"),
            "App": rollout.get("app"),
            "Kind": rollout.get("kind"),
            "Image": _image(rollout),
            "State": rollout.get("state"),
            "Canary": f"{rollout.get('weight', 0)} %",
            "Steps": ", ".join(
                [f"{step} %" for step in texts(rollout, "steps")]
                + (["swap"] if rollout.get("strategy") == "swap" else [])
            ),
            "Swap": _swap(rollout),
            "Data": _data(rollout),
            "Slots": f"{rollout.get('active') or '?'} serves, {rollout.get('idle') or '?'} is new",
            "Created": moment(rollout.get("created_at")),
            "Deadline": moment(rollout.get("deadline")),
            "Frozen": moment(rollout.get("frozen_until")),
            "Ended": moment(rollout.get("ended_at")),
            "By": rollout.get("by"),
            "Reason": rollout.get("reason"),
            "Override": rollout.get("override"),
            "Why": rollout.get("why"),
            "Verdict": _verdict(rollout),
            "Warnings": "\n".join(texts(rollout, "warnings")),
        }
    )
    _numbers(part(rollout, "numbers"), printer)
    events = parts(rollout, "events")
    if events:
        printer.heading("History")
        printer.table(("at", "event", "state", "by", "why"), [_event(event) for event in events])


def moment(value: object) -> str:
    """Return an ISO time without what nobody reads."""
    return str(value)[:19].replace("T", " ") + "Z" if value else ""


def _numbers(numbers: Json, printer: Printer) -> None:
    arms = [(name, numbers.get(arm)) for name, arm in (("new", "canary"), ("stable", "stable"))]
    seen = [(name, arm) for name, arm in arms if is_object(arm)]
    if seen:
        printer.heading("Figures of the current state")
        keys = ("requests", "error_rate", "p50_ms", "p95_ms", "p99_ms")
        printer.table(("build", *keys), [(name, *(arm.get(k) for k in keys)) for name, arm in seen])


def _row(rollout: Json) -> tuple[object, ...]:
    ended = moment(rollout.get("ended_at"))
    return rollout.get("id"), _image(rollout), rollout.get("state"), ended, rollout.get("why")


def _event(event: Json) -> tuple[object, ...]:
    to = event.get("to")
    moved = f"{event.get('from') or ''} > {to}" if to else ""
    what = f"{event.get('kind', '')} {event.get('what', '')}"
    return moment(event.get("at")), what, moved, event.get("by"), event.get("why")


def _image(rollout: Json) -> str:
    image = part(rollout, "image")
    tag = f":{image['tag']}" if image.get("tag") else ""
    return f"{image.get('repository', '')}{tag} ({_digest(image)})"


def _release(release: Json) -> str:
    if not release:
        return ""
    return f"{release.get('tag') or ''} ({_digest(release)}) in {release.get('slot')}".strip()


def _alert(alert: Json) -> str:
    said = f": {alert['detail']}" if alert.get("detail") else ""
    return f"{alert.get('rule')} since {moment(alert.get('since'))}{said}"


def _verdict(view: Json) -> str:
    verdict = part(view, "verdict")
    return f"{verdict.get('label')}: {verdict.get('reason')}" if verdict else ""


def _digest(value: Json) -> str:
    return str(value.get("digest") or "")[:_SHORT]
