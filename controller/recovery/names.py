"""Names of backup sets and their parts. They say what and when, and never hold a secret."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NewType

from controller.core.errors import MalformedError

SetId = NewType("SetId", str)  # 20261123T074500Z-shop-1a2b: texts sort as times do

_APP: Final = r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?"
_SET: Final = re.compile(rf"(?P<time>\d{{8}}T\d{{6}}Z)-(?P<app>{_APP})-(?P<tail>[0-9a-f]{{4,16}})")
_PART: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_TIME: Final = "%Y%m%dT%H%M%SZ"
_REMEMBERED: Final = 1 << 12  # times: a set is asked when it was begun again and again


def set_id(app: str, started_at: datetime, tail: str) -> SetId:
    """Return the id of *app*'s set that was begun then.

    Args:
        app: the app's id.
        started_at: with its zone; whole seconds are kept.
        tail: 4 to 16 hex digits that differ for two sets of one second. Derive them from what
            caused the set: whoever begins the same one again after a crash gets the same id.
    """
    made = SetId(f"{started_at.astimezone(UTC).strftime(_TIME)}-{app}-{tail}")
    check_set_id(made)
    return made


def check_set_id(text: str) -> SetId:
    """Return *text* if it is a set's id.

    Raises:
        MalformedError: it is not.
    """
    found = _SET.fullmatch(text)
    if found is None or _moment(found["time"]) is None:
        raise MalformedError(
            f"{text!r} is no backup set's id.",
            fix="Ids look like 20261123T074500Z-shop-1a2b; `slipway backup list` shows them.",
        )
    return SetId(text)


def app_of(identity: SetId) -> str:
    """Return the app that the set is of."""
    found = _SET.fullmatch(identity)
    return found["app"] if found else ""


def begun_at(identity: SetId) -> datetime:
    """Return when the set was begun, to the second, by the clock of who made it."""
    found = _SET.fullmatch(check_set_id(identity))
    moment = _moment(found["time"]) if found else None
    return moment or datetime.min.replace(tzinfo=UTC)


def is_begun_at(identity: SetId, moment: datetime) -> bool:
    """Tell whether *moment* is in the second that the id names."""
    return timedelta(0) <= moment - begun_at(identity) < timedelta(seconds=1)


def check_part_name(text: str) -> str:
    """Return *text* if a part may be called so.

    Raises:
        MalformedError: it may not.
    """
    if not _PART.fullmatch(text) or ".." in text:
        raise MalformedError(
            f"A part of a backup set cannot be called {text!r}.",
            fix="Use up to 80 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.",
        )
    return text


def part_path(identity: SetId, name: str) -> str:
    """Return where the part is kept, relative to the vault."""
    return f"{set_path(identity)}/parts/{check_part_name(name)}"


def set_path(identity: SetId) -> str:
    """Return what the paths of everything in the set begin with, without the last slash."""
    return f"{app_of(check_set_id(identity))}/{identity}"


@lru_cache(maxsize=_REMEMBERED)
def _moment(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
