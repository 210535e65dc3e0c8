"""What an answer proves about the build that gave it, and where to ask for one."""

from typing import Final

from controller.core.plan import PRODUCTION, Health, IdentityKind, Routing, SlotName
from controller.ports import Answer, Hosts, Prober

OK: Final = 200
SELF: Final = "self"  # production's routing name
ROUTING_COOKIE: Final = "x-ms-routing-name"
_OWN_IDENTITY: Final = "sha256:"
_SHORT: Final = 19  # "sha256:" and twelve digits: enough for people


def is_own_identity(release: str | None) -> bool:
    """Whether *release* was written by us: only then must the build prove it.

    The first stable build was deployed by somebody else. Telemetry may call it "1.2.3" while it
    shows no identity, or one of its own; it is then told by what it is not.
    """
    return release is not None and release.startswith(_OWN_IDENTITY)


def proves(answer: Answer, release: str | None, health: Health, *, never: str | None) -> bool:
    """Whether *answer* comes from the ready build *release*.

    *never* is the identity that it must not have where *release* is not one of ours.
    """
    if answer.status != OK:
        return False
    if health.identity.kind is IdentityKind.NONE:
        return True
    if is_own_identity(release):
        return answer.release == release
    return answer.release is None or answer.release != never


def describe(answer: Answer) -> str:
    """Return in a few words what was answered."""
    if answer.status is None:
        return f"does not answer ({answer.error})"
    who = f" as {short(answer.release)}" if answer.release else " without an identity"
    return f"answers {answer.status}{who}"


def short(release: str | None) -> str:
    """Return a release as people read it."""
    return release[:_SHORT] if release else "unknown"


def routing_name(slot: SlotName) -> str:
    """Return the name by which the routing cookie knows *slot*."""
    return SELF if slot.lower() == PRODUCTION else slot


def pinned_to(slot: SlotName) -> tuple[str, str]:
    """Return the cookie that a client pinned to *slot* sends."""
    return (ROUTING_COOKIE, routing_name(slot))


def public_url(hosts: Hosts) -> str:
    """Return where users ask."""
    return f"{hosts.scheme}://{hosts.public}"


def own_url(hosts: Hosts, slot: SlotName) -> str:
    """Return where *slot* itself answers."""
    return f"{hosts.scheme}://{hosts.slots[slot]}"


def own_cookie(slot: SlotName) -> tuple[str, str] | None:
    """Return the cookie for `own_url`: production's host obeys the ramp rules, so it needs one."""
    return pinned_to(slot) if slot.lower() == PRODUCTION else None


async def ask_slot(prober: Prober, hosts: Hosts, slot: SlotName, health: Health) -> Answer:
    """Ask *slot* itself, past the split of the traffic."""
    return await prober.ready(own_url(hosts, slot), health, cookie=own_cookie(slot))


def same(one: Routing, other: Routing) -> bool:
    """Whether both routings mean the same split; order and case say nothing."""
    return _shares(one) == _shares(other)


def _shares(routing: Routing) -> set[tuple[str, int]]:
    return {(name.lower(), share) for name, share in routing.shares}
