"""SHIFTING and PROMOTING: written, read back, and proved through the public host."""

import pytest

from controller.adapters.memory.world import Behaviour, Fault
from controller.core.events import Done, Failed, NotYet
from controller.core.plan import Routing, SlotName
from tests.activities.kit import (
    BLUE,
    GREEN,
    NEW,
    NO_IDENTITY,
    PRODUCTION,
    TARGET,
    Bench,
    routing,
    staging,
)


async def staged(slot: SlotName = BLUE) -> Bench:
    bench = Bench()
    bench.world.behaviours[NEW] = Behaviour(looks=0)
    await bench.stage(staging(slot))
    return bench


@pytest.mark.parametrize("weight", [0, 10, 100])
async def test_a_split_is_done_when_every_share_proved_its_build(weight: int) -> None:
    bench = await staged()

    reply = await bench.route(routing(weight))

    assert isinstance(reply, Done), reply
    assert str(routing(weight).routing) in reply.detail
    assert await bench.route(routing(weight)) == reply
    assert sum(write.startswith("route") for write in bench.world.writes) == (weight > 0)


async def test_front_ends_that_learn_late_are_waited_for() -> None:
    """Read back at once, obeyed some requests later: not done before the public host shows it."""
    bench = await staged()
    bench.world.routing_delay = 4
    replies = [await bench.route(routing(100)) for _ in range(6)]

    assert isinstance(replies[0], NotYet)
    assert "the public host answers 200 as sha256:aaa" in replies[0].detail
    assert isinstance(replies[-1], Done)


async def test_named_slots_and_production_take_any_part() -> None:
    """Stable on a slot, canary on production: the cookie of production is self."""
    bench = Bench()
    await bench.shift(100, GREEN)
    bench.site.slots[PRODUCTION].image = ""
    bench.world.behaviours[NEW] = Behaviour(looks=0)
    await bench.stage(staging(PRODUCTION))
    effect = routing(30, stable=GREEN, canary=PRODUCTION, stable_release=None)

    reply = await bench.route(effect)

    assert isinstance(reply, NotYet)  # green holds NEW, too: it is not the stable build
    assert "pinned to 'green'" in reply.detail


async def test_a_pinned_client_must_get_the_canary() -> None:
    bench = Bench()  # nothing staged: blue still holds the old build

    reply = await bench.route(routing(10))

    assert isinstance(reply, NotYet)
    assert "a client pinned to 'blue' is answered 200 as sha256:aaa" in reply.detail
    assert "wanted sha256:bbb" in reply.detail


@pytest.mark.parametrize("stable_release", ["1.0", None])
async def test_a_stable_build_that_somebody_else_deployed_needs_no_identity(
    stable_release: str | None,
) -> None:
    """Telemetry knows a version, probes see none: it is told by not being the canary."""
    bench = Bench(release=None, telemetry=stable_release)
    await bench.shift(10)

    assert isinstance(await bench.route(routing(10, stable_release=stable_release)), Done)


async def test_without_identities_a_200_is_all_there_is() -> None:
    bench = await staged()
    assert isinstance(await bench.route(routing(10, health=NO_IDENTITY)), Done)


async def test_a_routing_that_reads_back_otherwise_is_not_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = await staged()

    async def ignored(*_: object, **__: object) -> Routing:
        return Routing()

    monkeypatch.setattr(bench.platform, "route", ignored)
    reply = await bench.route(routing(10))

    assert isinstance(reply, NotYet)
    assert "reads back as production 100 %" in reply.detail


async def test_errors_become_replies_and_a_lost_response_costs_one_call() -> None:
    bench = await staged()
    bench.world.weather.script("route", Fault.LOST_RESPONSE)
    assert isinstance(await bench.route(routing(10)), NotYet)
    assert isinstance(await bench.route(routing(10)), Done)
    assert bench.world.site(TARGET).rules == routing(10).routing

    bench.world.weather.script("route", Fault.PERMANENT)
    assert isinstance(await bench.route(routing(10)), Failed)
