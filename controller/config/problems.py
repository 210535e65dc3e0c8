"""What is wrong with a configuration: every place at once, in words for the person who wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.errors import ConfigurationError

MOST_SHOWN = 100  # a file with more problems than this is another kind of file


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong. Lines and columns count from 1."""

    line: int
    column: int
    key: str  # path such as apps.shop.strategy.steps[0].weight; empty for the whole file
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        where = f"{self.key}: " if self.key else ""
        advice = f" {self.suggestion}" if self.suggestion else ""
        return f"{where}{self.message}.{advice}"


class InvalidConfigurationError(ConfigurationError):
    """A configuration that cannot be used. ``problems`` holds every reason, in file order."""

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        ordered = tuple(sorted(set(problems), key=_order))
        count = f"{len(ordered)} problem{'s' if len(ordered) != 1 else ''}"
        shown = [f"{name}:{p.line}:{p.column}: {p}" for p in ordered[:MOST_SHOWN]]
        if len(ordered) > MOST_SHOWN:
            shown.append(f"... and {len(ordered) - MOST_SHOWN} more.")
        super().__init__(
            "\n".join([f"{name} has {count}:", *shown]) + "\n",
            fix=f"Correct these lines, then run: slipway validate {name}",
        )
        self.name = name
        self.problems = ordered


def _order(problem: Problem) -> tuple[int, int, str, str]:
    return (problem.line, problem.column, problem.key, problem.message)
