"""What happens in the demo, and what must come of it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.village import APP, Options, Village

if TYPE_CHECKING:
    from sandbox.demo.play import Outcome, Stage

Json = dict[str, Any]
Perform = Callable[["Stage", "Act", Callable[[], None]], Coroutine[Any, Any, "Outcome"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One release, or one rollback by a person, and its expected end."""

    title: str
    short: str
    version: str  # what is pushed, or what is gone back to
    expect_state: str
    expect_serving: str  # version that serves everyone afterwards
    expect_why: str = ""  # a pattern that must occur in the record of why it went back
    behaviour: Mapping[str, Any] = field(default_factory=dict[str, Any])
    app: str = APP
    rollback: bool = False  # by HTTP instead of a push
    before: Callable[[Village], None] | None = None  # what the platform will do wrong
    meanwhile: Callable[[Village], Coroutine[Any, Any, None]] | None = (
        None  # what happens on its way
    )
    meanwhile_in: str = "baking"  # the state in which that begins
    patience_seconds: float = 120.0  # an act that takes longer has failed
    may_fail_for_users: bool = False  # by the bad build's own fault
    dependency_may_fail: bool = False  # and must, in both builds, where it happens meanwhile
    must_stay_unseen: bool = False  # no user may ever get it
    perform: "Perform | None" = None  # plays it in another way than a rollout is played


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """A whole demo: its acts, the village it plays in, and what it leaves behind."""

    name: str
    acts: tuple[Act, ...]
    report: str  # file name
    rate: float = 60.0  # requests per second, to each app
    orders: bool = False  # every other request is an order that the clients write down
    history_seconds: float = 18.0  # past of v1 that v2 is held against; read in spans of 15 s
    options: Options = field(default_factory=Options)

    @property
    def apps(self) -> tuple[str, ...]:
        """The apps that clients use, in the order of their first act."""
        return tuple(dict.fromkeys(act.app for act in self.acts))


# Every day some requests fail, whatever the build. So little traffic in so short a time shows
# three times 2 %; to see three times 1 % takes twice as long, as `tools/detectable.py` tells.
_USUAL_ERROR_RATE = 0.02
_OUTAGE_SECONDS = 6.0
_OUTAGE_SHARE = 0.3


async def dependency_fails(village: Village) -> None:
    """For a while something fails that both builds depend on."""
    village.dependency_fails(_OUTAGE_SHARE)
    try:
        await asyncio.sleep(_OUTAGE_SECONDS)
    finally:
        village.dependency_works()


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
        expect_why="stable .* ms",
    ),
    Act(
        title="v5 fails 6 % where 2 % is usual: three times as much, and below its limit of 10 %",
        short="v5 3x errors",
        version="v5",
        behaviour={"error_rate": 2 * _USUAL_ERROR_RATE},
        expect_state="rolled_back",
        expect_serving="v2",
        expect_why="error rate",
        may_fail_for_users=True,
    ),
    Act(
        title="v6 takes 3 times as long for 15 % of its requests: p99 doubles, the median stays",
        short="v6 p99 x2",
        version="v6",
        behaviour={"tail": (0.15, 3)},
        expect_state="rolled_back",
        expect_serving="v2",
        expect_why="p9[09]",
    ),
    Act(
        title="v7 leaks: well for 12 s, then more and more of its requests fail, up to 25 %",
        short="v7 leaks",
        version="v7",
        behaviour={"leak": (0.25, 12, 6)},
        expect_state="rolled_back",
        expect_serving="v2",
        expect_why="error rate",
        may_fail_for_users=True,
    ),
    Act(
        title="v8 never becomes ready",
        short="v8 never ready",
        version="v8",
        behaviour={"never_ready": True},
        expect_state="rolled_back",
        expect_serving="v2",
        must_stay_unseen=True,
    ),
    Act(
        title="v9 is healthy; on its way a database fails 30 % of both builds' requests for 6 s",
        short="v9 outage",
        version="v9",
        expect_state="succeeded",
        expect_serving="v9",
        meanwhile=dependency_fails,
        meanwhile_in="observing",
        dependency_may_fail=True,
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

MAIN = Programme(
    name="main",
    acts=ACTS,
    report="demo-report.json",
    rate=200.0,
    options=Options(
        usual_error_rate=_USUAL_ERROR_RATE,
        changes={
            "strategy": {
                "steps": [
                    {"weight": 25, "min_observation": "3s", "max_observation": "50s"},
                    {"weight": 50, "min_observation": "3s", "max_observation": "40s"},
                    {"weight": 100, "min_observation": "2s", "max_observation": "40s"},
                ],
                "hold": {"limit": "60s"},
            },
            "analysis": {"limits": {"error_rate_max": 0.1}},
        },
    ),
)
