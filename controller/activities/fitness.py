"""Whether a slot is fit to get, start and keep the build: what is seen without touching it."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from controller.core.effects import Preflight
from controller.ports import PullMeans, SlotView

# Registries that give images to nobody unknown, unless somebody allowed it on purpose.
_CLOSED: Final = (".azurecr.io", ".azurecr.cn", ".azurecr.us")


@dataclass(slots=True)
class Fitness:
    """What was found of one slot."""

    reasons: list[str] = field(default_factory=list[str])
    objections: list[str] = field(default_factory=list[str])  # against a new build, not a way back
    warnings: list[str] = field(default_factory=list[str])


def of_slot_to_fill(slot: SlotView, registry: str, effect: Preflight) -> Fitness:
    """Return what speaks against filling *slot* with an image of *registry*."""
    found = Fitness()
    if not slot.running:
        why = slot.trouble or "is stopped. Start it, then retry."
        found.reasons.append(f"Slot {slot.name} {why}")
    _judge_pull(slot, registry, found)
    if slot.start_limit is not None and effect.warming is not None:
        _compare_patience(slot.name, slot.start_limit, effect.warming, found)
    return found


def health_check_warning(slot: SlotView, readiness_path: str | None) -> str | None:
    """Return a warning where the platform asks another path than we do."""
    path = slot.health_check_path
    if path is None or readiness_path is None or path.strip("/") == readiness_path.strip("/"):
        return None
    return (
        f"slot {slot.name}: App Service's health check asks {path}, readiness is {readiness_path}; "
        "anything but 200-299 there, a redirect too, takes instances out of service"
    )


def _judge_pull(slot: SlotView, registry: str, found: Fitness) -> None:
    """Hold the slot's right to pull against where the image is. An open registry needs none."""
    access = slot.pull
    if access is None:
        return
    means = access.means
    if means is PullMeans.PASSWORD and access.registry not in {None, registry}:
        found.warnings.append(
            f"slot {slot.name} has a password for {access.registry}, but the image is in {registry}"
        )
    elif registry.endswith(_CLOSED):
        _judge_closed(slot.name, means, registry, found)


def _judge_closed(name: str, means: PullMeans, registry: str, found: Fitness) -> None:
    if means is PullMeans.PASSWORD:
        found.warnings.append(
            f"slot {name} pulls from {registry} by a password; a managed identity cannot leak or "
            "expire (acrUseManagedIdentityCreds)"
        )
    elif means is PullMeans.ANONYMOUS:
        found.warnings.append(
            f"slot {name} pulls without a name: it works only while {registry} allows that"
        )
    elif means is PullMeans.NOTHING:
        found.objections.append(
            f"Slot {name} has nothing to pull from {registry} with. Give it a managed identity "
            "with AcrPull and set acrUseManagedIdentityCreds; where the registry allows anonymous "
            f"pull, say so by the setting DOCKER_REGISTRY_SERVER_URL=https://{registry}."
        )


def _compare_patience(name: str, start: timedelta, warming: timedelta, found: Fitness) -> None:
    if start > warming:
        found.warnings.append(
            f"slot {name} may take {start.total_seconds():.0f} s to start "
            "(WEBSITES_CONTAINER_START_TIME_LIMIT), but deadlines.warming gives up after "
            f"{warming.total_seconds():.0f} s"
        )
