"""What a run came to: counts, a percentage, and whether all of it was expected."""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sandbox.conformance.exceptions import EXCLUDED, KNOWN_FAILURES

LEAST_PERCENT = 95.0


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    EXCLUDED = "excluded"


@dataclass(frozen=True, slots=True)
class Case:
    """One test: *name* is "<module>::<test>", *detail* why it was excluded or how it failed."""

    name: str
    outcome: Outcome
    detail: str = ""

    @property
    def module(self) -> str:
        return self.name.partition("::")[0]


def read(junit: Path) -> list[Case]:
    """Return the cases of a JUnit report."""
    root = ET.parse(junit).getroot()  # noqa: S314 - written by our own child
    return [_case(element) for element in root.iter("testcase")]


def _case(element: ET.Element) -> Case:
    module = next(part for part in element.get("classname", "").split(".") if part[:5] == "test_")
    name = f"{module}::{element.get('name')}"
    for tag, outcome in (
        ("failure", Outcome.FAILED),
        ("error", Outcome.FAILED),
        ("skipped", Outcome.EXCLUDED),
    ):
        found = element.find(tag)
        if found is not None:
            return Case(name, outcome, found.get("message", "").partition("\n")[0])
    return Case(name, Outcome.PASSED)


@dataclass(frozen=True, slots=True)
class Report:
    """The cases against the two lists of `exceptions`."""

    cases: list[Case]
    excluded: Mapping[str, str]
    known_failures: Mapping[str, str]

    def of(self, outcome: Outcome) -> list[Case]:
        return sorted((c for c in self.cases if c.outcome is outcome), key=lambda case: case.name)

    @property
    def percent(self) -> float:
        """The share that passes of what applies; 0 if nothing ran."""
        applicable = [case for case in self.cases if case.outcome is not Outcome.EXCLUDED]
        return 100 * len(self.of(Outcome.PASSED)) / len(applicable) if applicable else 0.0

    def problems(self, *, whole: bool) -> list[str]:
        """Return what is not as it should be in a *whole* run, or in a part; empty is success."""
        found = [
            f"{case.name} fails, and is no known failure."
            for case in self.of(Outcome.FAILED)
            if case.name not in self.known_failures
        ]
        found += [
            f"{case.name} was skipped, and is not on the list: {case.detail}"
            for case in self.of(Outcome.EXCLUDED)
            if case.name not in self.excluded
        ]
        return found + (self._problems_of_the_whole() if whole else [])

    def _problems_of_the_whole(self) -> list[str]:
        names = {case.name for case in self.cases}
        listed = [*self.excluded, *self.known_failures]
        found = [f"{n} is listed, and there is no such test." for n in listed if n not in names]
        if self.percent < LEAST_PERCENT:
            found.append(f"{self.percent:.1f} % passed; {LEAST_PERCENT:.0f} % is the least.")
        return found

    def table(self) -> str:
        """Return counts by module, then every test that failed or was excluded, with why."""
        heads = ("module", *Outcome)
        lines = [f"{heads[0]:<30}{heads[1]:>8}{heads[2]:>8}{heads[3]:>10}"]
        for module in sorted({case.module for case in self.cases}):
            counts = Counter(case.outcome for case in self.cases if case.module == module)
            lines.append(_row(module, counts))
        lines.append(_row("all", Counter(case.outcome for case in self.cases)))
        reasons = {**self.excluded, **self.known_failures}
        for case in [*self.of(Outcome.FAILED), *self.of(Outcome.EXCLUDED)]:
            why = reasons.get(case.name, case.detail)
            lines += ["", f"{case.outcome} {case.name}", f"    {why}"]
        passed, failed = len(self.of(Outcome.PASSED)), len(self.of(Outcome.FAILED))
        total = f"{passed} of {passed + failed} applicable tests passed: {self.percent:.1f} %"
        return "\n".join([*lines, "", total])


def _row(name: str, counts: Counter[Outcome]) -> str:
    return (
        f"{name:<30}{counts[Outcome.PASSED]:>8}{counts[Outcome.FAILED]:>8}"
        f"{counts[Outcome.EXCLUDED]:>10}"
    )


def report_on(junit: Path) -> Report:
    return Report(read(junit), EXCLUDED, KNOWN_FAILURES)
