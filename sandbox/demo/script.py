"""What happens in the demo, and what must come of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.village import APP, Options, Village

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One release, or one rollback by a person, and its expected end."""

    title: str
    short: str
    version: str  # what is pushed, or what is gone back to
    expect_state: str
    expect_serving: str  # version that serves everyone afterwards
    expect_why: str = ""  # must occur in the record of why it went back
    behaviour: Mapping[str, Any] = field(default_factory=dict[str, Any])
    app: str = APP
    rollback: bool = False  # by HTTP instead of a push
    before: Callable[[Village], None] | None = None  # what the platform will do wrong
    when_baking: Callable[[Village], Awaitable[None]] | None = None  # once everyone is on it
    patience_seconds: float = 75.0  # an act that takes longer has failed
    may_fail_for_users: bool = False  # the bad build's own answers
    must_stay_unseen: bool = False  # no user may ever get it


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """A whole demo: its acts, the village it plays in, and what it leaves behind."""

    name: str
    acts: tuple[Act, ...]
    report: str  # file name
    options: Options = field(default_factory=Options)

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that clients use, in the order of their first act."""
        return tuple(dict.fromkeys(act.app for act in self.acts))


ACTS: tuple[Act, ...] = (
    Act(
        title="v2 is healthy",
        short="v2 healthy",
        version="v2",
        expect_state="succeeded",
        expect_serving="v2",
    ),
    Act(
        title="v3 fails 30 % of its requests once it is ready",
        short="v3 30 % errors",
        version="v3",
        behaviour={"error_rate": 0.3},
        expect_state="rolled_back",
        expect_serving="v2",
        expect_why="error rate",
        may_fail_for_users=True,
    ),
    Act(
        title="v4 is slow (p95 x4)",
        short="v4 p95 x4",
        version="v4",
        behaviour={"latency_ms": 120},
        expect_state="rolled_back",
        expect_serving="v2",
        expect_why="p95",
    ),
    Act(
        title="v5 never becomes ready",
        short="v5 never ready",
        version="v5",
        behaviour={"never_ready": True},
        expect_state="rolled_back",
        expect_serving="v2",
        must_stay_unseen=True,
    ),
    Act(
        title="v6 is healthy",
        short="v6 healthy",
        version="v6",
        expect_state="succeeded",
        expect_serving="v6",
    ),
    Act(
        title="a person rolls back to v2 by HTTP",
        short="rollback to v2",
        version="v2",
        rollback=True,
        expect_state="succeeded",
        expect_serving="v2",
    ),
)

MAIN = Programme(name="main", acts=ACTS, report="demo-report.json")
