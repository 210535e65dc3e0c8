"""The stream of clients: who keeps cookies, and which requests are one session."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from sandbox.clients import Clients
from sandbox.web import WebServer


class Shop:
    """Pins whoever keeps cookies, and notes who came."""

    def __init__(self) -> None:
        self.visits: defaultdict[str, list[str | None]] = defaultdict(list)
        app = web.Application()
        app.router.add_get("/work", self._work)
        self.server = WebServer(app)

    async def _work(self, request: web.Request) -> web.Response:
        self.visits[request.cookies["demo-session"]].append(request.cookies.get("pin"))
        answer = web.json_response({}, status=500, headers={"x-demo-cause": "usual"})
        answer.set_cookie("pin", "here")
        return answer


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    await shop.server.start()
    yield shop
    await shop.server.stop()


async def test_a_persons_visit_is_one_session_and_a_programs_request_is_one(shop: Shop) -> None:
    """A person comes with the cookies of the visit so far; a program never has any."""
    clients = Clients(shop.server.url, rate=200, clients=20)
    await clients.start()
    try:
        async with asyncio.timeout(30):
            while len(clients.seen) < 200:  # noqa: ASYNC110 - it counts, and tells nobody
                await asyncio.sleep(0.02)
    finally:
        await clients.stop()

    kinds = Counter(len(pins) > 1 for pins in shop.visits.values())
    assert kinds[True] >= 10
    assert kinds[False] >= 50
    assert all(pins[0] is None for pins in shop.visits.values())
    assert all(pin == "here" for pins in shop.visits.values() for pin in pins[1:])


async def test_a_failure_is_seen_with_the_cause_that_the_app_names(shop: Shop) -> None:
    clients = Clients(shop.server.url, rate=100, clients=4)
    await clients.start()
    try:
        async with asyncio.timeout(30):
            while not clients.seen:  # noqa: ASYNC110 - it counts, and tells nobody
                await asyncio.sleep(0.02)
    finally:
        await clients.stop()

    assert {(seen.failed, seen.cause) for seen in clients.seen} == {(True, "usual")}
