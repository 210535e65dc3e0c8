"""A steady stream of real HTTP clients, half of them with cookie jars.

A client with a jar is a person: it keeps its cookies for one visit of some requests, then a new
person comes. A client without is a program: every request is its first. The app's own session
cookie, which its telemetry reports, is one per visit; a program's is another each time.

With a ledger every other request places an order, which is written down before it is sent.
"""

import asyncio
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass

import aiohttp

from sandbox.ledger import Ledger

_VISIT_SECONDS = 5.0
_ASKS_EVERY_SECONDS = 1.0  # one client; more often, and a session would be many requests at once
_SESSION_COOKIE = "demo-session"
_TIMEOUT = aiohttp.ClientTimeout(total=20)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer as a client saw it. *status* is None when none came; *version* from its header."""

    at: float  # time.monotonic()
    status: int | None
    version: str | None
    release: str | None
    elapsed_ms: float
    problem: str = ""
    cause: str | None = None  # of a failure, where the app knows: usual | build | dependency

    @property
    def failed(self) -> bool:
        """Whether a person would call it a failure."""
        return self.status is None or self.status >= _SERVER_ERROR


class Clients:
    """Sends about *rate* requests per second to *url* until `stop`."""

    def __init__(
        self,
        url: str,
        *,
        rate: float = 60,
        clients: int | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self.url = url
        self.ledger = ledger
        self.seen: deque[Seen] = deque(maxlen=200_000)
        self._count = clients or max(round(rate * _ASKS_EVERY_SECONDS), 2)
        self._pause = self._count / rate
        self._visit_requests = max(round(_VISIT_SECONDS / self._pause), 1)
        self._tasks: list[asyncio.Task[None]] = []
        self._asked = 0

    async def start(self) -> None:
        """Begin; returns at once."""
        for number in range(self._count):
            kind = self._person if number % 2 else self._program
            self._tasks.append(asyncio.create_task(kind(number)))

    async def stop(self) -> None:
        """End every client and wait for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _person(self, number: int) -> None:
        await asyncio.sleep(self._pause * number / self._count)
        while True:
            jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is an address, not a domain
            async with aiohttp.ClientSession(cookie_jar=jar, timeout=_TIMEOUT) as session:
                name = uuid.uuid4().hex
                for _ in range(self._visit_requests):
                    await self._ask(session, name)

    async def _program(self, number: int) -> None:
        await asyncio.sleep(self._pause * number / self._count)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(cookie_jar=jar, timeout=_TIMEOUT) as session:
            while True:
                await self._ask(session, uuid.uuid4().hex)

    async def _ask(self, session: aiohttp.ClientSession, name: str) -> None:
        started = time.monotonic()
        status: int | None = None
        version = release = cause = None
        problem = ""
        self._asked += 1
        order = self.ledger.begin() if self.ledger and self._asked % 2 else None
        method, body = ("POST", order.body) if order else ("GET", None)
        try:
            headers = {"Cookie": f"{_SESSION_COOKIE}={name}"}
            url = f"{self.url}/work"
            async with session.request(method, url, json=body, headers=headers) as answer:
                await answer.read()
                status = answer.status
                version = answer.headers.get("x-app-version")
                release = answer.headers.get("x-release-digest")
                cause = answer.headers.get("x-demo-cause")
                if order is not None and answer.ok:
                    order.acknowledge(version)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = f"{type(error).__name__}: {error}"
        now = time.monotonic()
        elapsed = now - started
        self.seen.append(Seen(now, status, version, release, elapsed * 1000, problem, cause))
        await asyncio.sleep(max(self._pause - elapsed, 0))

    # --- What they saw ----------------------------------------------------------------------------

    def since(self, begin: float, end: float | None = None) -> list[Seen]:
        """Return what was seen in ``[begin, end)`` of monotonic time."""
        return [s for s in self.seen if s.at >= begin and (end is None or s.at < end)]

    def failures(self) -> Counter[tuple[str | None, int | None]]:
        """Return failures so far by (version, status)."""
        return Counter((s.version, s.status) for s in self.seen if s.failed)
