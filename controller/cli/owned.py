"""What a deployment must leave as it has become: on site and slots, the plan, Event Grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controller.cli.az import Az, as_object, as_objects, as_texts
from controller.cli.values import Json, part


@dataclass(frozen=True, slots=True)
class Owned:
    """One slot as Slipway left it. Of settings the names alone are looked at."""

    image: str
    rules: tuple[tuple[str, str], ...]  # slot, percentage
    settings: frozenset[str]


def look_at(az: Az, group: str, site: str, slots: Sequence[str]) -> dict[str, Owned]:
    """Return what is there, by slot; "production" is the site itself."""
    found: dict[str, Owned] = {}
    for slot in ("", *slots):
        at = ["--resource-group", group, "--name", site, *(["--slot", slot] if slot else [])]
        config = as_object(az.look("webapp", "config", "show", *at))
        if not config:
            continue  # it is to be made
        rules = as_objects(part(config, "experiments").get("rampUpRules"))
        names = az.look("webapp", "config", "appsettings", "list", *at, "--query", "[].name")
        found[slot or "production"] = Owned(
            image=str(config.get("linuxFxVersion") or ""),
            rules=tuple((str(r.get("name")), str(r.get("reroutePercentage"))) for r in rules),
            settings=frozenset(as_texts(names)),
        )
    return found


def changes(before: Mapping[str, Owned], after: Mapping[str, Owned]) -> Iterator[str]:
    """Yield what a deployment changed, though no template names it."""
    for slot, was in before.items():
        now = after.get(slot)
        if now is None:
            yield f"{slot} is gone"
            continue
        if now.image != was.image:
            yield f"the image of {slot} was {was.image or 'none'} and is {now.image or 'none'}"
        if now.rules != was.rules:
            yield f"the routing rules of {slot} were {_told(was.rules)} and are {_told(now.rules)}"
        if lost := was.settings - now.settings:
            yield f"{slot} has lost settings: {', '.join(sorted(lost))}"


def _told(rules: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {percentage} %" for name, percentage in rules) or "none"


def present_values(az: Az, group: str, outputs: Json, given: Sequence[str]) -> list[str]:
    """Return the parameters whose values follow what is there, but for those *given*."""
    names = {value.partition("=")[0] for value in given}
    found: list[str] = []
    if "planCapacity" not in names and outputs.get("planId"):
        # Autoscale may have grown it, and shall not begin anew.
        plan = as_object(az.look("appservice", "plan", "show", "--ids", str(outputs["planId"])))
        capacity = part(plan, "sku").get("capacity")
        found += [f"planCapacity={capacity}"] if capacity else []
    if "connectEvents" not in names and has_functions(az, group, outputs):
        found.append("connectEvents=true")  # Event Grid asks whether the function is there
    return found


def has_functions(az: Az, group: str, outputs: Json) -> bool:
    """Whether the Function App runs Slipway already; before its first package it has none."""
    name = outputs.get("functionAppName")
    if not name:
        return False
    found = az.look(
        "functionapp", "function", "list", "--resource-group", group, "--name", str(name),
        "--query", "[].name",
    )  # fmt: skip
    return bool(as_texts(found))
