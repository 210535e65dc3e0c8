"""Ramp-up rules ("testing in production") and our routing, each told by the other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from azure.mgmt.web.models import RampUpRule

from controller.core.errors import SlotMissingError
from controller.core.plan import ALL, PRODUCTION, Percent, Routing, SlotName

Hosts = Mapping[SlotName, str]


@dataclass(frozen=True, slots=True)
class RulesRead:
    """What rules mean to us, and what is odd about them."""

    routing: Routing
    problems: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()  # against a new build; going back replaces the rules anyway
    warnings: tuple[str, ...] = ()


def read_rules(rules: Sequence[RampUpRule], hosts: Hosts) -> RulesRead:
    """Return the routing that *rules* make. *hosts* holds the configured slots' host names."""
    problems: list[str] = []
    warnings: list[str] = []
    shares: dict[SlotName, float] = {}
    for rule in rules:
        percent = rule.reroute_percentage or 0.0
        slot = _slot_of(rule, hosts)
        if slot is None:
            (problems if percent else warnings).append(_foreign(rule, percent))
            continue
        if (rule.action_host_name or "").lower() != hosts[slot].lower():
            warnings.append(
                f"the rule for {slot} names host {rule.action_host_name!r}, not {hosts[slot]!r}; "
                "Slipway corrects it"
            )
        shares[slot] = shares.get(slot, 0.0) + percent
    warnings += [
        f"the rule for {slot} says {percent:g} %; Slipway reads whole percents"
        for slot, percent in shares.items()
        if percent != int(percent)
    ]
    objections = [_moving(rule) for rule in rules if _ramps(rule)]
    total = sum(shares.values())
    if total > ALL or any(percent < 0 for percent in shares.values()):
        said = ", ".join(f"{slot} {percent:g} %" for slot, percent in shares.items())
        problems.append(f"The ramp-up rules do not add up: {said}. Clear them.")
        shares = {}
    whole = ((slot, Percent(math.floor(percent))) for slot, percent in shares.items())
    return RulesRead(
        Routing(tuple((slot, percent) for slot, percent in whole if percent > 0)),
        problems=tuple(problems),
        objections=tuple(objections),
        warnings=tuple(warnings),
    )


def _foreign(rule: RampUpRule, percent: float) -> str:
    where = rule.action_host_name or rule.name
    if not percent:
        return f"a ramp-up rule of 0 % names {where}, none of the app's slots; Slipway removes it"
    return (
        f"A ramp-up rule sends {percent:g} % to {where}, which is none of the app's slots. "
        "Remove the rule, or add the slot."
    )


def _moving(rule: RampUpRule) -> str:
    return (
        f"The ramp-up rule for {rule.name} moves by itself (changeStep), so nobody could say who "
        "gets which build. Clear it: az webapp traffic-routing clear."
    )


def rules_for(routing: Routing, hosts: Hosts) -> list[RampUpRule]:
    """Return the rules that make *routing*: all of them, as the array is replaced as a whole.

    Raises:
        SlotMissingError: *routing* names a slot that is not configured.
    """
    by_name = {slot.lower(): host for slot, host in hosts.items()}
    rules: list[RampUpRule] = []
    for slot, share in routing.shares:
        host = by_name.get(slot.lower())
        if host is None:
            raise SlotMissingError(
                f"The app has no slot {slot!r} to send users to.",
                fix="Name it in the app's slots, or roll out again.",
            )
        rules.append(RampUpRule(name=slot, action_host_name=host, reroute_percentage=float(share)))
    return rules


def are_as(rules: Sequence[RampUpRule], wanted: Sequence[RampUpRule]) -> bool:
    """Whether *rules* are just the wanted ones: a rule of 0 % or one too many is a difference."""
    return sorted(map(_essence, rules)) == sorted(map(_essence, wanted))


def _essence(rule: RampUpRule) -> tuple[str, str, float, bool]:
    name, host = (rule.name or "").lower(), (rule.action_host_name or "").lower()
    return (name, host, float(rule.reroute_percentage or 0.0), _ramps(rule))


def _ramps(rule: RampUpRule) -> bool:
    return bool(rule.change_step or rule.change_decision_callback_url)


def _slot_of(rule: RampUpRule, hosts: Hosts) -> SlotName | None:
    """By host name, which is what the platform obeys; else by the name that cookies carry."""
    host, name = (rule.action_host_name or "").lower(), (rule.name or "").lower()
    named = [slot for slot in hosts if slot.lower() != PRODUCTION]
    by_host = (slot for slot in named if hosts[slot].lower() == host)
    by_name = (slot for slot in named if slot.lower() == name)
    return next(by_host, None) or next(by_name, None)
