"""What a swap does to a build's settings before anyone sees it. No I/O; no value is ever told.

The platform restarts the slot's build with production's sticky settings and pings it; only then it
moves. Hence a build that was proved in its slot may still not start under production's values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.plan import SlotName
from controller.ports import SettingDifference

PING_PATH: Final = "WEBSITE_SWAP_WARMUP_PING_PATH"
PING_STATUSES: Final = "WEBSITE_SWAP_WARMUP_PING_STATUSES"
_ALWAYS_STICKY: Final = "_extension_version"
_SERVER_ERRORS: Final = range(500, 600)


@dataclass(frozen=True, slots=True)
class SlotSettings:
    """All that one slot sets. Names compare without regard to case, as the platform's do."""

    app: Mapping[str, str]
    connections: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class StickyNames:
    """The names that a site keeps with its slots."""

    app: frozenset[str]
    connections: frozenset[str] = frozenset()

    def hold(self, setting: str) -> bool:
        """Whether an app setting stays with its slot."""
        name = setting.lower()
        return name in {each.lower() for each in self.app} or name.endswith(_ALWAYS_STICKY)


def differences(
    slot: SlotName,
    here: SlotSettings,
    production: SlotSettings,
    sticky: StickyNames,
    told: Sequence[str] = (),
) -> list[SettingDifference]:
    """Return what the build in *slot* meets for the first time in the swap, by name.

    *told* are the names that the platform itself lists as different between the two.
    """
    names = {name for name in (*here.app, *production.app, *told) if sticky.hold(name)}
    app = _compared(slot, names, here.app, production.app, known={each.lower() for each in told})
    connections = _compared(
        slot, sticky.connections, here.connections, production.connections, known=frozenset()
    )
    warm_up = _warm_up(slot, here.app, production.app, sticky)
    said = {each.name for each in warm_up}  # what follows from a difference says more than it
    return [*(each for each in app if each.name not in said), *connections, *warm_up]


def _compared(
    slot: SlotName,
    names: set[str] | frozenset[str],
    here: Mapping[str, str],
    there: Mapping[str, str],
    *,
    known: set[str] | frozenset[str],
) -> list[SettingDifference]:
    mine, theirs = _folded(here), _folded(there)
    found: dict[str, SettingDifference] = {}
    for name in sorted(names):
        key = name.lower()
        explanation = _explained(slot, mine.get(key), theirs.get(key), told=key in known)
        if explanation is not None:
            found.setdefault(key, SettingDifference(name=name, explanation=explanation))
    return list(found.values())


def _explained(slot: SlotName, here: str | None, there: str | None, *, told: bool) -> str | None:
    if here is None and there is not None:
        return (
            f"exists in production only and stays there; the build of slot {slot} is restarted "
            "with it before it moves, and has never run with it."
        )
    if here is not None and there is None:
        return (
            f"exists in slot {slot} only and stays there; its build is restarted without it "
            "before it moves, and has never run so."
        )
    if here != there:
        return (
            f"differs and stays with its slot; the build of slot {slot} is restarted with "
            "production's value before it moves, and has never run with it."
        )
    if told:
        return f"stays with its slot, and App Service says that slot {slot} and production differ."
    return None


def _warm_up(
    slot: SlotName, here: Mapping[str, str], there: Mapping[str, str], sticky: StickyNames
) -> list[SettingDifference]:
    """Return what is wrong with the platform's own check of the build before it moves."""
    in_swap = _folded(
        {name: value for name, value in here.items() if not sticky.hold(name)}
        | {name: value for name, value in there.items() if sticky.hold(name)}
    )
    found: list[SettingDifference] = []
    if not in_swap.get(PING_PATH.lower()):
        found.append(
            SettingDifference(
                name=PING_PATH,
                explanation=f"is not set for slot {slot}: the swap pings / before the build moves, "
                "not its readiness path.",
            )
        )
    statuses = in_swap.get(PING_STATUSES.lower(), "")
    if not statuses.strip():
        found.append(
            SettingDifference(
                name=PING_STATUSES,
                explanation=f"is not set for slot {slot}: any answer, an error too, counts as "
                "warm, and the build moves.",
            )
        )
    elif _accepts_server_errors(statuses):
        found.append(
            SettingDifference(
                name=PING_STATUSES,
                explanation="accepts a status of 500 or more: a build that fails counts as warm, "
                "and moves.",
            )
        )
    return found


def _accepts_server_errors(statuses: str) -> bool:
    return any(_reaches_server_errors(part.strip()) for part in statuses.split(","))


def _reaches_server_errors(part: str) -> bool:
    """Read one status, a range of two, or a class such as 5xx."""
    first, _, last = part.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        return part.startswith("5")
    return low < _SERVER_ERRORS.stop and high >= _SERVER_ERRORS.start


def _folded(settings: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in settings.items()}
