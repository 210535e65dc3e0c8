"""What the tests on the whole village share: one app under steady load, and what it went through.

Everything is seen from outside: by the clients, by the HTTP API, by what the front door obeys and
by what the controller printed.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp

from sandbox.app_service import Site
from sandbox.app_service.routing import Rule
from sandbox.clients import Clients
from sandbox.demo.api import Api
from sandbox.village import APP, Village

T = TypeVar("T")
Json = dict[str, Any]

ENDS = frozenset({"succeeded", "rolled_back", "rejected", "superseded"})
NEVER = "0 0 0 1 1 *"  # a schedule: only the queues drive what happens
PATIENCE = 180.0  # seconds; a bound, not a claim: slow machines share it with other tests
_LOOK = 0.2
_GLANCE = 0.02

# What a bad build does wrong: by chance it will not look good over the least sample below.
BAD: Mapping[str, Any] = {"error_rate": 0.6}

# Short, and without a limit on latency: what a busy machine does to it is no matter of these tests.
QUICK: Mapping[str, Any] = {
    "strategy": {
        "steps": [{"weight": 50, "min_observation": "1s", "max_observation": "3m"}],
        "bake": "1s",
    },
    "analysis": {
        "limits": {"latency_ms_max": 10_000, "min_requests": 10},
        # A handful of requests shows that a build is not as bad as BAD, and no more than that.
        "judge": {
            "warm_up": "1s",
            "acceptance": {"error_ratio": 3, "error_absolute": 0.2, "latency_ratio": 8},
            "quantiles": [],  # where everything shares two cores, latency shows nothing
        },
    },
    "deadlines": {
        "preflight": "3m",
        "staging": "3m",
        "warming": "3m",
        "shifting": "3m",
        "promoting": "3m",
    },
}


def steps(*weights: int, shortest: str = "1s", longest: str = "3m") -> list[Json]:
    """Return the steps of a strategy."""
    return [
        {"weight": weight, "min_observation": shortest, "max_observation": longest}
        for weight in weights
    ]


async def until(
    holds: Callable[[], Awaitable[T | None]], *, what: str, seconds: float = PATIENCE
) -> T:
    """Ask until the answer is true, at most *seconds*."""
    return await _ask_until(holds, what, seconds, _LOOK)


async def _ask_until(
    holds: Callable[[], Awaitable[T | None]], what: str, seconds: float, pause: float
) -> T:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        if answer := await holds():
            return answer
        await asyncio.sleep(pause)
    raise AssertionError(f"{what} did not happen within {seconds:g} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """One change of what the front door obeys: shares by slot, and who was not proved then."""

    shares: Mapping[str, float]
    releases: Mapping[str, str | None]  # by slot: the identity of what serves there
    unproved: tuple[str, ...]


class RoutingLog:
    """Every change of one site's rules from now on, looked at in the moment it takes effect."""

    def __init__(self, village: Village, site: Site) -> None:
        self.changes: list[Routed] = []
        self._traffic = village.app_service.traffic
        self._site = site
        use = site.router.use

        def watched(rules: tuple[Rule, ...]) -> None:
            if rules != site.router.rules:
                self.changes.append(self._look(rules))
            use(rules)

        site.router.use = watched  # type: ignore[method-assign]  # one router is listened to

    def _look(self, rules: tuple[Rule, ...]) -> Routed:
        shares = {rule.name: rule.percentage for rule in rules if rule.percentage > 0}
        releases: dict[str, str | None] = {}
        unproved: list[str] = []
        for rule in rules:
            slot = self._site.slot_by_host(rule.host)
            active = slot.runner.active if slot else None
            releases[rule.name] = (
                active.wanted.environment.get("SLIPWAY_RELEASE") if active else None
            )
            if slot is None or not slot.runner.up_to_date or not self._answered(rule, releases):
                unproved.append(rule.name)
        return Routed(shares=shares, releases=releases, unproved=tuple(unproved))

    def _answered(self, rule: Rule, releases: Mapping[str, str | None]) -> bool:
        """Whether the slot's own host has given a good answer of this very build."""
        release = releases[rule.name]
        seen = self._traffic.count(
            site=self._site.name, slot=rule.name, release=release, status_class="2xx", public=False
        )
        return release is not None and seen > 0

    def shares_of(self, release: str) -> list[float]:
        """Return the share of the slot that holds *release*, one per change."""
        return [
            sum(share for slot, share in c.shares.items() if c.releases.get(slot) == release)
            for c in self.changes
        ]


class Log:
    """What the controller prints from now on, to catch it in the act."""

    def __init__(self, village: Village) -> None:
        self._file = village.log_file
        self._read_to = self._file.stat().st_size
        self._text = ""

    async def saw(self, pattern: str, *, what: str = "") -> re.Match[str]:
        """Wait until a line with *pattern* is printed; the next call looks behind it."""
        line = re.compile(pattern + r".*\n")

        async def look() -> re.Match[str] | None:
            self._read_on()
            return line.search(self._text)

        found = await _ask_until(look, what or f"{pattern!r} in the log", PATIENCE, _GLANCE)
        self._text = self._text[found.end() :]
        return found

    def _read_on(self) -> None:
        with self._file.open("rb") as file:
            file.seek(self._read_to)
            new = file.read()
        self._read_to += len(new)
        self._text += new.decode(errors="replace")


class App:
    """One app of a village, with clients."""

    def __init__(self, village: Village, name: str, clients: Clients) -> None:
        self.village = village
        self.name = name
        self.site = village.app_service.site(name)
        self.clients = clients
        self.routing = RoutingLog(village, self.site)
        self.api = Api(village.host)
        self._log = Log(village)

    # --- What people do -------------------------------------------------------------------------

    async def push(self, version: str, **behaviour: Any) -> str:
        return await self.village.push(version, app=self.name, **behaviour)

    async def order(self, command: str, **fields: str) -> Json:
        status, answer = await self.api.post(f"apps/{self.name}/{command}", fields)
        assert status == 202, answer
        return answer

    # --- What is seen ---------------------------------------------------------------------------

    async def view(self) -> Json:
        """Return the app as the API shows it."""
        return await until(lambda: self.api.get(f"apps/{self.name}"), what="an answer of the API")

    async def rollouts(self, digest: str) -> list[Json]:
        """Return all rollouts of *digest*, newest first."""
        found: list[Json] = (await self.view())["rollouts"]
        return [rollout for rollout in found if rollout["image"]["digest"] == digest]

    async def rollout(self, name: str) -> Json:
        return await until(lambda: self.api.get(f"rollouts/{name}"), what=f"rollout {name}")

    async def reaches(self, digest: str, *states: str) -> Json:
        """Return the rollout of *digest* with its history, once it has entered one of *states*.

        What was looked for before is over: the next call looks behind it. Another end fails at
        once, with its reason. The log tells: to ask the API all the time would be a load.
        """
        line = rf"app {self.name} rollout (\S+-{digest[7:15]}-\d+): \S+ \S+ -> (\w+): (.*)"
        wanted = " or ".join(states)
        while True:
            found = await self._log.saw(line, what=f"{self.name}: {wanted} of {digest[:19]}")
            name, state, why = found.groups()
            if state in states:
                return await self.rollout(name)
            assert state not in ENDS, f"{name}: {state}, not {wanted}: {why}"

    async def event(self, kind: str, why: str) -> Json:
        """Return the audit row of *kind* whose reason holds *why*, once it is there."""

        async def look() -> Json | None:
            events: list[Json] = (await self.view())["events"]
            return next((e for e in events if e["kind"] == kind and why in e["why"]), None)

        return await until(look, what=f"{self.name}: {kind} {why!r}")

    def failures(self, *bad: str) -> Counter[str]:
        """Return what clients saw fail, but for the *bad* builds' own answers."""
        return Counter(
            f"{seen.status or 'no answer'} from {seen.version or 'nobody'} {seen.problem}".strip()
            for seen in self.clients.seen
            if seen.failed and seen.version not in bad
        )

    async def serves(self, version: str) -> None:
        """Wait until all new clients are served by *version*."""
        await until(lambda: self._all_say(version), what=f"{version} serves {self.name}")

    async def _all_say(self, version: str) -> bool:
        answers: set[str | None] = set()
        for _ in range(6):
            async with (
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as visitor,
                visitor.get(f"{self.site.url()}/work") as answer,
            ):
                answers.add(answer.headers.get("x-app-version"))
        return answers == {version}


@asynccontextmanager
async def under_load(
    village: Village, name: str = APP, *, rate: float | None = 16
) -> AsyncGenerator[App]:
    """Send steady clients to one app while the block runs; with *rate* None nobody comes."""
    url = village.app_service.site(name).url()
    app = App(village, name, Clients(url, rate=rate or 1, clients=8))
    if rate is not None:
        await app.clients.start()
    try:
        yield app
    finally:
        await app.clients.stop()
        await app.api.close()


class ArmLog:
    """The requests to Resource Manager from now on, to strike between a write and its reply."""

    def __init__(self, app: App) -> None:
        self._log = app.village.app_service.log
        self._site = f"/sites/{app.name}/"
        self._seen = len(self._log)

    async def routing_write(self) -> None:
        """Wait for the next write of the ramp-up rules."""

        async def look() -> bool:
            new = self._log[self._seen :]
            self._seen += len(new)
            return any(
                r.method == "PATCH"
                and self._site in f"{r.path}/"
                and "experiments" in r.body.get("properties", {})
                for r in new
            )

        await _ask_until(look, "a routing write", PATIENCE, _GLANCE)
