"""Access keys: who may call what."""

import hmac
import os
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass, field

from aiohttp import web

_VARIABLES = {
    "host": "SANDBOX_HOST_KEY",
    "master": "SANDBOX_MASTER_KEY",
    "event_grid": "SANDBOX_EVENT_GRID_KEY",
}


def _new_key() -> str:
    return secrets.token_urlsafe(40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The host's keys. They reach it by environment and are taken out before the app loads."""

    host: str = field(default_factory=_new_key)
    master: str = field(default_factory=_new_key)
    event_grid: str = field(default_factory=_new_key)

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str] = os.environ) -> "Keys":
        """Remove the keys from *environment*; make the ones it does not hold."""
        return cls(
            **{
                name: environment.pop(variable)
                for name, variable in _VARIABLES.items()
                if variable in environment
            }
        )

    def as_environment(self) -> dict[str, str]:
        """Return what `take_from` reads."""
        return {variable: getattr(self, name) for name, variable in _VARIABLES.items()}

    def allow(self, request: web.Request, level: str) -> bool:
        """Say whether *request* carries a key good enough for *level* (lower case)."""
        if level == "anonymous":
            return True
        accepted = {
            "admin": [self.master],
            "system": [self.event_grid, self.master],
        }.get(level, [self.host, self.master])
        presented = request.headers.get("x-functions-key") or request.query.get("code") or ""
        return any(hmac.compare_digest(presented.encode(), key.encode()) for key in accepted)
