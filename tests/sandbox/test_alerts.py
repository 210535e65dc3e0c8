"""The sandbox's action group: what it posts, and after which answers it comes again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from aiohttp import web

from sandbox.alerts import APPLICATION, DELAYS, ROLE, ActionGroup, metric_alert, resolved
from sandbox.identity import IdentityEndpoint
from sandbox.web import WebServer

SITE = "/subscriptions/s/resourceGroups/Rg/providers/Microsoft.Web/sites/Shop"


class Endpoint:
    """Answers with the statuses that it was told, the last one for ever; None: no answer."""

    def __init__(self) -> None:
        self.statuses: list[int | None] = [202]
        self.seen: list[web.Request] = []
        self.bodies: list[Any] = []
        app = web.Application()
        app.router.add_post("/api/alerts", self._take)
        self.server = WebServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        self.seen.append(request)
        self.bodies.append(await request.json())
        status = self.statuses[min(len(self.seen), len(self.statuses)) - 1]
        if status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response({"n": len(self.seen)}, status=status)

    @property
    def url(self) -> str:
        return f"{self.server.url}/api/alerts"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.server.start()
    yield endpoint
    await endpoint.server.stop()


@pytest.mark.parametrize("status", [408, 429, 503, 504, None])
async def test_it_comes_again_after_these_answers_five_times_at_most(
    endpoint: Endpoint, status: int | None
) -> None:
    endpoint.statuses = [status]
    group = ActionGroup(endpoint.url, scale=0)

    delivery = (await group.fire("r", SITE)).delivery

    assert delivery.statuses == (status,) * (len(DELAYS) + 1)
    assert not delivery.arrived
    assert len({str(body) for body in endpoint.bodies}) == 1  # the very same notice


@pytest.mark.parametrize("status", [200, 202, 204, 400, 401, 403, 404, 413, 500, 502])
async def test_any_other_answer_ends_the_delivery(endpoint: Endpoint, status: int) -> None:
    endpoint.statuses = [503, status]
    group = ActionGroup(endpoint.url, scale=0)

    delivery = (await group.fire("r", SITE)).delivery

    assert delivery.statuses == (503, status)
    assert delivery.arrived == (status < 300)


async def test_the_key_stands_in_the_address_and_the_token_in_a_header(endpoint: Endpoint) -> None:
    identity = IdentityEndpoint("secret")

    await ActionGroup(endpoint.url, key="k/&").fire("r", SITE)
    await ActionGroup(endpoint.url, issuer=identity.issuer, audience="api://a").fire("r", SITE)

    by_key, by_token = endpoint.seen
    assert by_key.query["key"] == "k/&"
    assert "Authorization" not in by_key.headers
    scheme, _, token = by_token.headers["Authorization"].partition(" ")
    key = jwt.PyJWKSet.from_dict(identity.issuer.keys()).keys[0]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience="api://a")
    assert (scheme, claims["appid"], claims["roles"]) == ("Bearer", APPLICATION, [ROLE])


def test_a_resolving_notice_repeats_ids_and_time_of_firing() -> None:
    fired = metric_alert("r", SITE, fired_at=datetime(2026, 1, 1, tzinfo=UTC))
    first, last = fired["data"]["essentials"], resolved(fired)["data"]["essentials"]

    assert first["alertTargetIDs"] == [SITE.lower()]
    assert first["firedDateTime"] == "2026-01-01T00:00:00.0000000Z"
    assert "resolvedDateTime" not in first
    assert last["monitorCondition"] == "Resolved"
    assert {n for n in last if last[n] != first.get(n)} == {"monitorCondition", "resolvedDateTime"}
