"""By what a later invocation, on another machine, asks how a swap stands.

Our own form and not the SDK's continuation token: that one belongs to one version of azure-core,
and an upgrade of it must not lose a swap that is under way.
"""

import json
from typing import Any, Final, cast
from urllib.parse import urlsplit

_VERSION: Final = 1


class ForeignTokenError(Exception):
    """Not a token of ours, or one that leads somewhere else."""


def written(poll_url: str | None) -> str:
    """Return the token of a swap that is asked about at *poll_url*; None: it cannot be."""
    return json.dumps({"version": _VERSION, "poll": poll_url}, separators=(",", ":"))


def read(token: str, *, endpoint: str) -> str | None:
    """Return the token's URL, None where there is nothing to ask.

    Our credential goes with the request, so it goes to Resource Manager (one of its regions
    among them) or nowhere.

    Raises:
        ForeignTokenError: the token says nothing to us.
    """
    try:
        content: Any = json.loads(token)
    except ValueError as error:
        raise ForeignTokenError from error
    if not isinstance(content, dict):
        raise ForeignTokenError
    fields = cast("dict[str, Any]", content)
    url = fields.get("poll")
    if fields.get("version") != _VERSION:
        raise ForeignTokenError
    if url is None or (isinstance(url, str) and _leads_to(url, endpoint)):
        return url
    raise ForeignTokenError


def _leads_to(url: str, endpoint: str) -> bool:
    try:
        there, home = urlsplit(url), urlsplit(endpoint)
        same_door = (there.scheme, there.port) == (home.scheme, home.port)
    except ValueError:
        return False
    host, home_host = there.hostname or "", home.hostname or ""
    return same_door and (host == home_host or host.endswith(f".{home_host}"))
