"""Nothing is deployed while a rollout is under way: it would restart slots or break a swap."""

import urllib.error
import urllib.request

from controller.cli.values import Json, parts, texts


def busy(apps: Json) -> list[str]:
    """Return what is under way, one line for each app that a deployment would disturb."""
    return [
        f"{app.get('app')} ({app.get('rollout') or app.get('state')})"
        for app in parts(apps, "apps")
        if app.get("rollout") or app.get("state") != "idle" or texts(app, "queued")
    ]


def health(url: str, key: str | None) -> str:
    """Return what is wrong, nothing where all is well."""
    headers = {"x-functions-key": key} if key else {}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - a checked URL
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return "" if answer.status == 200 else f"HTTP {answer.status}"  # noqa: PLR2004
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError as error:
        return str(getattr(error, "reason", error))
