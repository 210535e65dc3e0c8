"""One row of the machine's table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.core.effects import Effect
from controller.core.model import Rollout, State

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Row(Generic[E]):
    """In *source*, on an event *on*, if *when* holds: go to *to* and ask for *ask*."""

    source: State
    on: type[E]
    to: State
    ask: Callable[[Rollout, E], Effect | None] | None = None
    when: Callable[[Rollout, E], bool] | None = None
    change: Callable[[Rollout, E], Rollout] | None = None  # what it remembers beside the state
