"""Figures of whole rollouts on the sandbox."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.report import Figure, spread
from sandbox.clients import Clients
from sandbox.demo.api import Api
from sandbox.registry.events import PushEvent
from sandbox.village import APP, WORKSPACE, Village

_ENDS = frozenset({"succeeded", "rolled_back", "rejected", "superseded"})
_EXECUTED = re.compile(r"Executed 'Functions\.(on_\w+)' \(\w+, (\d+) ms\)")
_HEALTHY, _BAD = 3, 3
_LIMIT_SECONDS = 90
_PROMPT_SECONDS = 0.5


@dataclass(slots=True)
class Run:
    """What was seen of one rollout."""

    pushed_at: float
    rollout: dict[str, Any] = field(default_factory=dict[str, Any])
    arm: list[Any] = field(default_factory=list[Any])
    messages: int = 0
    queries: int = 0
    handlers: Counter[str] = field(default_factory=Counter[str])
    handler_ms: int = 0
    seconds: float = 0.0

    @property
    def first_write(self) -> float:
        """Seconds from the push event to the first write on the idle slot."""
        write = next(r for r in self.arm if r.method == "PATCH" and "/slots/" in r.path)
        return float(write.at - self.pushed_at)

    @property
    def back_to_stable(self) -> float:
        """Seconds from the verdict to the answer of the write that gave stable everything."""
        events = self.rollout["events"]
        verdict = next(e for e in events if e["what"] == "Judged" and e["to"] == "rolling_back")
        said = datetime.fromisoformat(verdict["at"]).timestamp()
        back = next(
            r for r in self.arm if r.method == "PATCH" and "/slots/" not in r.path and r.at >= said
        )
        return float(back.at - said)


async def _one(village: Village, api: Api, version: str, **behaviour: Any) -> Run:
    pushed: list[float] = []

    async def note(_: PushEvent) -> None:
        pushed.append(time.time())

    village.registry.on_push.insert(0, note)
    arm, log = len(village.app_service.log), len(village.host.output)
    sends, queries = _sends(village), len(village.monitor.queries)
    begin = time.monotonic()
    digest = await village.push(version, **behaviour)
    run = Run(pushed_at=0.0)
    while time.monotonic() - begin < _LIMIT_SECONDS:
        await asyncio.sleep(0.5)
        known = ((await api.get(f"apps/{APP}")) or {}).get("rollouts", [])
        mine = next((r for r in known if r["image"]["digest"] == digest), None)
        if mine and mine["state"] in _ENDS:
            run.rollout = await api.get(f"rollouts/{mine['id']}") or {}
            break
    village.registry.on_push.remove(note)
    if not run.rollout:
        raise RuntimeError(f"{version} did not end within {_LIMIT_SECONDS} s")
    run.pushed_at = pushed[0]
    run.seconds = time.monotonic() - begin
    run.arm = village.app_service.log[arm:]
    run.messages = _sends(village) - sends
    run.queries = len(village.monitor.queries) - queries
    executed = _EXECUTED.findall(village.host.output[log:])
    run.handlers = Counter(name for name, _ in executed)
    run.handler_ms = sum(int(ms) for _, ms in executed)
    return run


def _sends(village: Village) -> int:
    return sum(village.broker.queue(q).counters.sends for q in ("rollouts", "observations"))


async def measure() -> list[Figure]:
    """Run healthy and bad releases and return what they cost."""
    async with Village() as village:
        clients = Clients(village.site.url())
        api = Api(village.host)
        await clients.start()
        try:
            good = [await _one(village, api, f"v1{n}", seed=n) for n in range(_HEALTHY)]
            bad = [await _one(village, api, f"v2{n}", error_rate=0.4, seed=n) for n in range(_BAD)]
        finally:
            await clients.stop()
            await api.close()
    return [*_speed(good, bad), *_calls(good)]


def _speed(good: list[Run], bad: list[Run]) -> list[Figure]:
    cold, *warm = (run.first_write for run in (*good, *bad) if not _waited(run))
    backs = [run.back_to_stable for run in bad]
    busy = [run.handler_ms / 1000 for run in good]
    share = sum(busy) / sum(run.seconds for run in good)
    return [
        Figure(
            name="push event to first write on the idle slot",
            measured=f"{spread(warm)}; {cold:.2f} s in a process that never ran",
            goal="< 1 s",
            met=max(warm) < 1,
        ),
        Figure(
            name="verdict to stable routing",
            measured=spread(backs),
            goal="< 2 s",
            met=max(backs) < 2,
        ),
        Figure(
            name="functions' time in a healthy rollout, at 1 s polls",
            measured=f"{spread(busy)}; {share:.0%} of its duration",
        ),
    ]


def _waited(run: Run) -> bool:
    """Whether it had to wait for clients' cookies: that says nothing about speed."""
    events = run.rollout["events"]
    queued = datetime.fromisoformat(events[0]["at"])
    begun = next(e for e in events if e["to"] == "preflight")
    return (datetime.fromisoformat(begun["at"]) - queued).total_seconds() > _PROMPT_SECONDS


def _calls(good: list[Run]) -> list[Figure]:
    run = good[-1]
    arm = Counter("reads" if r.method == "GET" or "list" in r.path else "writes" for r in run.arm)
    turns = sum(1 for event in run.rollout["events"] if event["from"])
    polls = run.handlers["on_observe"]
    fixed = run.messages - 2 * polls
    return [
        Figure(
            name="ARM requests of a healthy 10/50/100 rollout",
            measured=f"{arm['reads']} reads, {arm['writes']} writes",
        ),
        Figure(
            name="state transactions (one per turn)",
            measured=f"{turns}, and one per poll for its buckets",
        ),
        Figure(
            name="Service Bus messages",
            measured=f"{run.messages}: 2 per poll ({polls} polls) and {fixed} more",
        ),
        Figure(
            name="telemetry queries",
            measured=f"{run.queries} for {polls} polls, however many apps share {WORKSPACE[:8]}",
        ),
    ]
