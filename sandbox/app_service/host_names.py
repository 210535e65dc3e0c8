"""Default host names as Azure makes them. Never put one together from names: read it."""

import hashlib
from collections.abc import Callable

HostNames = Callable[[str, str], str]  # (app, slot; "production" is the app itself) -> host name

_PRODUCTION = "production"
_SITE_LENGTH = 40
_SLOT_LENGTH = 19
_DOMAIN = "azurewebsites.net"


def classic(app: str, slot: str) -> str:
    """Return ``{app}-{slot}.azurewebsites.net``; long names are cut and end in four characters."""
    return f"{_label(app, slot)}.{_DOMAIN}"


def unique(app: str, slot: str, *, region: str = "westeurope") -> str:
    """Return the name with the hash of its scope: ``{app}-{slot}-{hash}.{region}-01...``."""
    scope = hashlib.sha256(f"{app}/{slot}/{region}".encode()).hexdigest()[:16]
    return f"{_label(app, slot)}-{scope}.{region}-01.{_DOMAIN}"


def _label(app: str, slot: str) -> str:
    if slot.lower() == _PRODUCTION:
        return app.lower()
    name = f"{app[:_SITE_LENGTH]}-{slot[:_SLOT_LENGTH]}".lower()
    is_cut = len(app) > _SITE_LENGTH or len(slot) > _SLOT_LENGTH
    return f"{name}-{hashlib.sha256(f'{app}/{slot}'.encode()).hexdigest()[:4]}" if is_cut else name
