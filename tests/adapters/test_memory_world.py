"""What simulations rely on in the world in memory, beyond the ports' contracts."""

from collections import Counter
from datetime import timedelta

from controller.adapters.memory.prober import MemoryProber
from controller.adapters.memory.world import Behaviour, Fault, World
from controller.core.plan import Percent, SmokeTest, split
from tests.adapters.stands import BLUE, HEALTH, PRODUCTION, TARGET, digest, image

PUBLIC = "https://shop.memory.test"
SMOKE = SmokeTest(method="GET", path="/")
LIMIT = timedelta(seconds=1)


def world_with_new_on_blue() -> World:
    world = World()
    world.create_site(TARGET, image=image("old"), release=digest("old"))
    blue = world.slot(TARGET, BLUE)
    blue.image, blue.release = image("new"), digest("new")
    world.begin(blue)
    blue.serving, blue.starting = blue.starting, None
    return world


async def test_visitors_are_spread_as_the_rules_say_and_always_alike() -> None:
    """No chance in it: a simulation that fails once fails again."""
    world = world_with_new_on_blue()
    world.write_rules(world.site(TARGET), split(PRODUCTION, BLUE, Percent(10)))
    prober = MemoryProber(world)

    seen = Counter([(await prober.ready(PUBLIC, HEALTH)).release for _ in range(1000)])

    assert 95 <= seen[digest("new")] <= 105
    serving = world.serving(TARGET)
    assert {name: share for name, (share, _) in serving.items()} == {PRODUCTION: 90, BLUE: 10}


async def test_a_cookie_outlives_its_rule_only_where_the_world_says_so() -> None:
    world = world_with_new_on_blue()
    prober = MemoryProber(world)
    cookie = ("x-ms-routing-name", "BLUE")

    respected = await prober.ready(PUBLIC, HEALTH, cookie=cookie)
    world.absent_rule_cookie_respected = False
    ignored = await prober.ready(PUBLIC, HEALTH, cookie=cookie)

    assert (respected.release, ignored.release) == (digest("new"), digest("old"))


async def test_rules_are_obeyed_some_requests_later() -> None:
    world = world_with_new_on_blue()
    world.routing_delay = 2
    world.write_rules(world.site(TARGET), split(PRODUCTION, BLUE, Percent(100)))
    prober = MemoryProber(world)

    releases = [(await prober.ready(PUBLIC, HEALTH)).release for _ in range(3)]

    assert releases == [digest("old"), digest("old"), digest("new")]


async def test_a_build_behaves_as_told() -> None:
    """Not ready, without identity, failing its smoke tests; nobody home; bad weather."""
    world = world_with_new_on_blue()
    world.behaviours[image("new")] = Behaviour(
        status=500, shows_identity=False, smoke_error="wrong"
    )
    prober = MemoryProber(world)
    blue = "https://shop-blue.memory.test"

    answer = await prober.ready(blue, HEALTH)
    assert (answer.status, answer.release) == (500, None)
    assert (await prober.smoke(blue, SMOKE, timeout=LIMIT)).error == "wrong"
    assert (await prober.ready("https://nobody.test", HEALTH)).status is None
    world.weather.script("smoke", Fault.TRANSIENT)
    assert (await prober.smoke(blue, SMOKE, timeout=LIMIT)).status is None
    world.slot(TARGET, BLUE).running = False
    assert (await prober.ready(blue, HEALTH)).status == 503
