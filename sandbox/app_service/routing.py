"""Ramp-up rules: which slot a request to the public host goes to. No I/O.

A client is assigned once and then pinned by its cookie; only clients without one are thrown for.
Evidence on one point conflicts: whether a cookie still works once its rule is gone. Both ways
can be had; "respected", the worse one for a rollback, is the default.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SELF = "self"  # the routing name of production
ROUTING_NAME = "x-ms-routing-name"  # cookie and query parameter
AbsentRuleCookie = Literal["ignored", "respected"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A share of the unassigned clients goes to *host*."""

    name: str
    host: str
    percentage: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Where one request goes. With *assigned*, the answer sets the cookies."""

    name: str
    host: str
    assigned: bool
    dice: float  # what was thrown, 0..100; the TipMix cookie


def rules_of(config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Read the rules of a production slot's site config."""
    experiments: Mapping[str, Any] = config.get("experiments") or {}
    entries: Sequence[Mapping[str, Any]] = experiments.get("rampUpRules") or ()
    return tuple(
        Rule(
            name=str(entry.get("name") or ""),
            host=str(entry.get("actionHostName") or "").lower(),
            percentage=float(entry.get("reroutePercentage") or 0.0),
        )
        for entry in entries
    )


class Router:
    """The rules in force on one site, and the names it has ever known."""

    def __init__(self, production: str, *, dice: random.Random) -> None:
        self._production = production
        self._dice = dice
        self._rules: tuple[Rule, ...] = ()
        self._known: dict[str, str] = {}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules the front door obeys now."""
        return self._rules

    def know(self, name: str, host: str) -> None:
        """A slot's own name is remembered like that of a rule."""
        self._known[name.lower()] = host

    def use(self, rules: tuple[Rule, ...]) -> None:
        """Obey *rules* from the next request on."""
        self._rules = rules
        for rule in rules:
            self.know(rule.name, rule.host)

    def choose(
        self,
        *,
        query: str | None,
        cookie: str | None,
        absent_rule_cookie: AbsentRuleCookie = "respected",
    ) -> Choice:
        """Decide for one request: what it asks for, else its cookie, else the dice."""
        if query is not None and (host := self._host_by_query(query)) is not None:
            return Choice(query, host, assigned=query != cookie, dice=0.0)
        respected = absent_rule_cookie == "respected"
        if cookie is not None and (host := self._host_by_cookie(cookie, respected)) is not None:
            return Choice(cookie, host, assigned=False, dice=0.0)
        return self._throw()

    def _throw(self) -> Choice:
        dice = self._dice.random() * 100.0  # never 100, so a 100 % rule takes all
        limit = 0.0
        for rule in self._rules:
            limit += rule.percentage
            if dice < limit:
                return Choice(rule.name, rule.host, assigned=True, dice=dice)
        # Without rules nobody is assigned: there is no test in production, hence no cookie.
        return Choice(SELF, self._production, assigned=bool(self._rules), dice=dice)

    def _host_by_query(self, name: str) -> str | None:
        """A name in the query needs a rule, be it one of 0 %; ``self`` always works."""
        if name.lower() == SELF:
            return self._production
        hosts = {rule.name.lower(): rule.host for rule in self._rules}
        return hosts.get(name.lower())

    def _host_by_cookie(self, name: str, respected: bool) -> str | None:  # noqa: FBT001 - private
        host = self._host_by_query(name)
        return self._known.get(name.lower()) if host is None and respected else host
