"""The front door: who is sent where, what pins a client, and that a replacement costs nothing."""

import asyncio
import gzip
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox.app_service.front_door import Listener
from tests.sandbox.app_service_kit import GROUP, SITE, World, docker, ramp, running, until

NAME = "x-ms-routing-name"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Production answers "old", blue answers "new"."""
    async with running(tmp_path, slot_release="new", cookie_seconds=90) as world:
        yield world


async def set_ramp(world: World, **shares: float) -> None:
    await world.arm.web_apps.update_configuration(GROUP, SITE, ramp(world.site, **shares))


async def releases(world: World, number: int, **options: object) -> Counter[str]:
    """Ask the public host *number* times, sixteen at a time."""
    limit = asyncio.Semaphore(16)

    async def ask() -> str:
        async with limit:
            status, page = await world.get(world.site.url(), **options)
            assert status == 200
            return str(page["release"])

    return Counter(await asyncio.gather(*(ask() for _ in range(number))))


async def test_clients_without_cookies_are_thrown_for_each_time(world: World) -> None:
    """At 10 % the share of the slot is within five standard deviations of 10 %."""
    await set_ramp(world, blue=10)
    number = 600
    seen = await releases(world, number)

    deviation = math.sqrt(number * 0.1 * 0.9)
    assert abs(seen["new"] - number * 0.1) < 5 * deviation
    assert seen["old"] == number - seen["new"]
    assert world.service.traffic.table() == {
        ("production", "old", "2xx"): seen["old"],
        ("blue", "new", "2xx"): seen["new"],
    }


async def test_several_rules_leave_the_rest_to_production(tmp_path: Path) -> None:
    """Each rule has its share, in the order of the rules."""
    async with running(tmp_path, slots=("blue", "green"), slot_release="new") as world:
        await set_ramp(world, blue=30.5, green=50)
        number = 400
        await releases(world, number)

        for slot, share in (("blue", 0.305), ("green", 0.5), ("production", 0.195)):
            deviation = math.sqrt(number * share * (1 - share))
            count = world.service.traffic.count(slot=slot, public=True)
            assert abs(count - number * share) < 5 * deviation


async def test_a_client_with_a_cookie_jar_is_pinned(world: World) -> None:
    """The cookies come with the assignment, last as long as configured, and hold the client."""
    await set_ramp(world, blue=50)
    seen: set[str] = set()
    for _ in range(20):
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            async with browser.get(world.site.url()) as first:
                name = first.cookies[NAME]
                assert (name["max-age"], name["path"]) == ("90", "/")
                assert 0 <= float(first.cookies["TipMix"].value) <= 100
                release = first.headers["x-release-digest"]
                assert name.value == {"old": "self", "new": "blue"}[release]
            for _ in range(3):
                async with browser.get(world.site.url()) as later:
                    assert later.headers["x-release-digest"] == release
                    assert not later.cookies  # on assignment only
            seen.add(release)
    assert seen == {"old", "new"}


async def test_a_rule_of_zero_percent_does_not_bring_pinned_clients_back(world: World) -> None:
    """Its cookie is still respected, and so is its name in the query; nobody new is sent."""
    await set_ramp(world, blue=0)

    assert await releases(world, 20, cookies={NAME: "blue"}) == {"new": 20}
    assert await releases(world, 1, params={NAME: "blue"}) == {"new": 1}
    assert await releases(world, 50) == {"old": 50}


async def test_pinned_to_production_stays_there_at_100_percent(world: World) -> None:
    await set_ramp(world, blue=100)

    assert await releases(world, 20, cookies={NAME: "self"}) == {"old": 20}
    assert await releases(world, 20) == {"new": 20}


async def test_a_cookie_without_its_rule_is_respected_or_ignored_as_chosen(world: World) -> None:
    """Evidence conflicts; the default is the worse case."""
    await set_ramp(world)

    assert await releases(world, 5, cookies={NAME: "blue"}) == {"new": 5}
    world.service.front_door.absent_rule_cookie = "ignored"
    assert await releases(world, 5, cookies={NAME: "blue"}) == {"old": 5}
    assert await releases(world, 5, params={NAME: "blue"}) == {"old": 5}


async def test_self_in_the_query_resets_a_pinned_client(world: World) -> None:
    await set_ramp(world, blue=100)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        answers = []
        for url in ("/", "/?x-ms-routing-name=self", "/"):
            async with browser.get(world.site.url() + url) as answer:
                answers.append(answer.headers["x-release-digest"])
    assert answers == ["new", "old", "old"]


async def test_without_rules_nobody_is_assigned(world: World) -> None:
    async with world.http.get(world.site.url()) as answer:
        assert answer.headers["x-release-digest"] == "old"
        assert not answer.cookies


async def test_rules_propagate_after_the_delay(world: World) -> None:
    """The write is answered and can be read back while the front door still obeys the old rules."""
    world.service.faults.routing_delay_seconds = 0.3
    await set_ramp(world, blue=100)
    config = await world.arm.web_apps.get_configuration(GROUP, SITE)
    rules = (config.experiments.ramp_up_rules if config.experiments else None) or []
    assert [rule.reroute_percentage for rule in rules] == [100]
    assert await releases(world, 5) == {"old": 5}

    async def obeyed() -> bool:
        return await releases(world, 1) == {"new": 1}

    await until(obeyed)
    assert await releases(world, 5) == {"new": 5}


async def test_a_rule_with_a_wrong_host_name_costs_its_share(world: World) -> None:
    body = ramp(world.site, blue=100)
    body["properties"]["experiments"]["rampUpRules"][0]["actionHostName"] = "shop-blue.example"
    await world.arm.web_apps.update_configuration(GROUP, SITE, body)

    assert (await world.get(world.site.url()))[0] == 503
    assert world.service.traffic.failed(reason="unknown host") == 1


async def test_a_slots_own_host_knows_no_rules(world: World) -> None:
    """Neither cookie nor query leads away from a slot's own host name."""
    await set_ramp(world, blue=100)
    url = world.site.url("blue")

    assert (await world.get(url, cookies={NAME: "self"}))[1]["release"] == "new"
    assert (await world.get(url, params={NAME: "self"}))[1]["release"] == "new"
    assert world.service.traffic.table() == {}  # it counts what came through public hosts


async def test_no_client_sees_a_container_replacement(world: World) -> None:
    """Under load, of short and of slow requests, a change of image causes not one error."""
    running_load = True
    statuses: Counter[int] = Counter()

    async def load(path: str, method: str) -> None:
        while running_load:
            url = world.site.url("blue") + path
            async with world.http.request(method, url, data=b"x" * 2000) as answer:
                await answer.read()
                statuses[answer.status] += 1

    paths = [("/", "GET"), ("/", "POST"), ("/?seconds=0.2", "GET"), ("/?seconds=0.5", "POST")]
    clients = [asyncio.create_task(load(*path)) for path in paths * 3]
    for release in ("third", "fourth"):
        image = world.image(release)
        await world.arm.web_apps.update_configuration_slot(GROUP, SITE, "blue", docker(image))
        assert await world.site.settled()
        await asyncio.sleep(0.3)
    running_load = False
    await asyncio.gather(*clients)

    traffic = world.service.traffic
    assert list(statuses) == [200]
    assert traffic.failed() == 0
    assert sum(statuses.values()) == traffic.count(site=SITE, slot="blue", public=False)
    for release in ("new", "third", "fourth"):
        assert traffic.count(release=release) > 0


async def test_bodies_headers_and_paths_pass_unchanged(world: World) -> None:
    """A large body in both directions, a raw path, the public Host, statuses of the app."""
    body = "ä" * 600_000
    url = f"{world.site.url('blue')}/a%2Fb?x=%20&y=+"
    async with world.http.post(aiohttp.client.URL(url, encoded=True), data=body.encode()) as answer:
        page = await answer.json(content_type=None)
    assert page["path"] == "/a%2Fb?x=%20&y=+"
    assert page["headers"]["Host"] == world.site.host("blue")
    assert page["headers"]["X-Forwarded-Proto"] == "http"
    assert page["body"] == body


async def test_an_answer_streams(world: World, tmp_path: Path) -> None:
    """The first half is here while the container has not written the second."""
    go_on = tmp_path / "go on"
    url = f"{world.site.url()}/stream"
    async with world.http.get(url, params={"until": str(go_on)}) as answer:
        assert await answer.content.readexactly(3) == b"one"
        go_on.touch()
        assert await answer.content.read() == b"two"


async def test_an_answer_cut_off_by_a_dying_container_is_a_failure(
    world: World, tmp_path: Path
) -> None:
    """Its head was fine; the client learns of the missing half all the same."""
    go_on = tmp_path / "go on"
    url = f"{world.site.url()}/half"
    async with world.http.get(url, params={"until": str(go_on)}) as answer:
        assert answer.status == 200
        go_on.touch()
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert world.service.traffic.failed(reason="cut off", public=True) == 1
    assert world.service.traffic.count() == 0


async def test_methods_statuses_and_expectations_pass(tmp_path: Path) -> None:
    """HEAD has no body, a redirect is the client's to follow, 100-continue is answered."""
    async with running(tmp_path, settings={"STATUS_moved": "302"}) as world:
        url = world.site.url()
        async with world.http.head(url) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
            assert int(answer.headers["Content-Length"]) > 0
        async with world.http.get(f"{url}/moved", allow_redirects=False) as answer:
            assert answer.status == 302
        async with world.http.post(url, data=b"body", expect100=True) as answer:
            assert (await answer.json(content_type=None))["body"] == "body"
        zipped = gzip.compress(b"zipped")
        async with world.http.post(
            url, data=zipped, headers={"Content-Encoding": "gzip"}
        ) as answer:
            page = await answer.json(content_type=None)
            assert page["headers"]["Content-Length"] == str(len(zipped))


async def test_answers_are_counted_by_status_class(tmp_path: Path) -> None:
    """The app's own 500 is an answer, not a failure of the front door."""
    async with running(tmp_path, settings={"STATUS_bad": "500"}) as world:
        await world.get(f"{world.site.url()}/bad")
        await world.get(world.site.url())
        traffic = world.service.traffic
        assert traffic.table() == {
            ("production", "old", "5xx"): 1,
            ("production", "old", "2xx"): 1,
        }
        assert traffic.failed() == 0
        traffic.clear()
        assert traffic.count() == 0


async def test_a_host_name_without_a_site_answers_404() -> None:
    listener = Listener()
    await listener.start()
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://{listener.host}") as answer:
            assert answer.status == 404
    finally:
        await listener.stop()
