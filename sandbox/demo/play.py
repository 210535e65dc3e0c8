"""Plays the acts against a running village and notes what came of each."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sandbox.app_service import Site
from sandbox.clients import Clients, Seen
from sandbox.demo.api import Api
from sandbox.demo.script import Act
from sandbox.village import Village

Json = dict[str, Any]

_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 1.0
_EXECUTED = re.compile(r"Executed 'Functions\.(on_\w+|registry_webhook)' \(\w+, (\d+) ms\)")
_ENDS = frozenset({"succeeded", "rolled_back", "rejected", "superseded"})


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one act."""

    act: Act
    rollout: Json | None = None
    serving: str | None = None
    seconds: float = 0.0
    controller_seconds: float = 0.0
    requests: int = 0
    by_version: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])  # by the build whose fault it was
    usual: int = 0  # failures that happen every day, in any build
    dependency: Counter[str] = field(default_factory=Counter[str])  # in a shared outage, by build
    unexplained: list[str] = field(default_factory=list[str])  # failures by anything else
    problems: list[str] = field(default_factory=list[str])
    figures: dict[str, str] = field(default_factory=dict[str, str])  # what was seen, for people
    measured: dict[str, float] = field(default_factory=dict[str, float])  # the same as numbers
    is_over: bool = False
    began: float = field(default_factory=time.monotonic)
    log_from: int = 0  # where the controller's log stood

    @property
    def as_expected(self) -> bool:
        """Whether everything came as the script says."""
        return self.is_over and not self.problems


@dataclass(slots=True, kw_only=True)
class Stage:
    """Where the play is; the view draws it."""

    app: str
    village: Village
    api: Api
    clients: Clients
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    current: Outcome | None = None
    seen: Json | None = None  # the app's own account of itself
    events: list[Json] = field(default_factory=list[Json])
    started: float = field(default_factory=time.monotonic)

    @property
    def site(self) -> Site:
        """The site that the app runs on."""
        return self.village.app_service.site(self.app)


async def play(stage: Stage, act: Act, notice: Callable[[], None]) -> Outcome:
    """Play one act to its end, or to the limit of its time; *notice* is called on each look."""
    outcome = begin(stage, act)
    known = {
        r["id"] for r in ((await stage.api.get(f"apps/{stage.app}")) or {}).get("rollouts", [])
    }
    digest = await _set_off(stage, act)
    async with asyncio.TaskGroup() as happenings:
        meanwhile = act.meanwhile
        while time.monotonic() - outcome.began < act.patience_seconds:
            await _look(stage, outcome, digest, known)
            _count(stage, outcome)
            notice()
            if meanwhile is not None and _is_in(outcome, act.meanwhile_in):
                happenings.create_task(meanwhile(stage.village))
                meanwhile = None
            if outcome.rollout is not None and outcome.rollout["state"] in _ENDS:
                break
            await asyncio.sleep(_POLL_SECONDS)
    await conclude(stage, outcome, notice)
    return outcome


def begin(stage: Stage, act: Act) -> Outcome:
    """Raise the curtain."""
    outcome = stage.current = Outcome(act=act, log_from=len(stage.village.host.output))
    stage.outcomes.append(outcome)
    return outcome


async def conclude(stage: Stage, outcome: Outcome, notice: Callable[[], None]) -> None:
    """Let what is on its way arrive, then hold the act against what is expected of it."""
    outcome.seconds = time.monotonic() - outcome.began
    await asyncio.sleep(_SETTLE_SECONDS)
    _count(stage, outcome)
    outcome.controller_seconds = _controller_seconds(stage.village.host.output[outcome.log_from :])
    outcome.serving = await _who_serves(stage)
    outcome.is_over = True
    outcome.problems += _problems(outcome)
    notice()


def _is_in(outcome: Outcome, state: str) -> bool:
    return outcome.rollout is not None and outcome.rollout["state"] == state


async def _set_off(stage: Stage, act: Act) -> str:
    if act.before is not None:
        act.before(stage.village)
    if not act.rollback:
        return await stage.village.push(act.version, app=stage.app, **act.behaviour)
    status, answer = await stage.api.post(
        f"apps/{stage.app}/rollback", {"to": act.version, "reason": "customers call", "by": "ann"}
    )
    if status != 202:
        raise RuntimeError(f"rollback was answered {status}: {answer}")
    return stage.village.registry.digest(stage.app, act.version)


async def _look(stage: Stage, outcome: Outcome, digest: str, known: set[str]) -> None:
    stage.seen = await stage.api.get(f"apps/{stage.app}")
    rollouts = (stage.seen or {}).get("rollouts", [])
    mine = [r for r in rollouts if r["id"] not in known and r["image"]["digest"] == digest]
    if not mine:
        return
    detail = await stage.api.get(f"rollouts/{mine[0]['id']}")
    if detail is not None:
        outcome.rollout = detail
        stage.events = detail["events"]


def _count(stage: Stage, outcome: Outcome) -> None:
    seen = stage.clients.since(outcome.began)
    outcome.requests = len(seen)
    outcome.by_version = Counter(s.version or "nobody" for s in seen)
    failed = [s for s in seen if s.failed]
    outcome.usual = sum(s.cause == "usual" for s in failed)
    outcome.dependency = _by_build(s for s in failed if s.cause == "dependency")
    rest = [s for s in failed if s.cause not in {"usual", "dependency"}]
    outcome.failures = _by_build(rest)
    act = outcome.act
    bad = act.version if act.may_fail_for_users else None
    outcome.unexplained = [_describe(s) for s in rest if s.version is None or s.version != bad]
    if not act.dependency_may_fail:
        outcome.unexplained += [_describe(s) for s in failed if s.cause == "dependency"]


def _by_build(seen: Iterable[Seen]) -> Counter[str]:
    return Counter(s.version or "nobody" for s in seen)


def _describe(seen: Seen) -> str:
    who = seen.version or "no build"
    return f"{seen.status or 'no answer'} from {who} {seen.problem}".strip()


async def _who_serves(stage: Stage) -> str | None:
    """Return the version that new clients get, asked of the front door."""
    latest = [s for s in stage.clients.since(time.monotonic() - 1) if s.version and not s.failed]
    return Counter(s.version for s in latest).most_common(1)[0][0] if latest else None


def _controller_seconds(log: str) -> float:
    return sum(int(ms) for _, ms in _EXECUTED.findall(log)) / 1000


def _problems(outcome: Outcome) -> list[str]:
    act = outcome.act
    rollout = outcome.rollout
    if rollout is None:
        return ["no rollout began"]
    found: list[str] = []
    if rollout["state"] != act.expect_state:
        found.append(f"ended {rollout['state']}, expected {act.expect_state}: {rollout['why']}")
    if outcome.serving != act.expect_serving:
        found.append(f"{outcome.serving} serves, expected {act.expect_serving}")
    whys = " ".join(event["why"] for event in rollout["events"])
    if act.expect_why and not re.search(act.expect_why, whys):
        found.append(f"went back for another reason than {act.expect_why!r}")
    shares = {event["to"] for event in rollout["events"]}
    if act.must_stay_unseen and ("shifting" in shares or outcome.by_version[act.version]):
        found.append(f"users saw it {outcome.by_version[act.version]} times")
    if act.dependency_may_fail and act.meanwhile and len(outcome.dependency) < 2:
        found.append(f"the outage was not shared by two builds: {dict(outcome.dependency)}")
    if outcome.unexplained:
        first = outcome.unexplained[0]
        found.append(f"{len(outcome.unexplained)} failures not of a bad build's own: {first}")
    return found
