"""ROLLING_BACK: stable serves everyone, pinned clients included."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.adapters.memory.world import Behaviour, Fault
from controller.core.effects import Restore
from controller.core.events import Done, Failed, NotYet, Reply
from controller.core.plan import Routing
from tests.activities.kit import (
    BLUE,
    GREEN,
    NEW,
    NEW_DIGEST,
    NO_IDENTITY,
    OLD,
    OLD_DIGEST,
    PRODUCTION,
    Bench,
    restoring,
)

PROVED = "stable serves 100 %: "
PATIENCE = 40  # looks that a restore may take at most


async def restored(bench: Bench, effect: Restore) -> list[Reply]:
    """Ask until it is done; return every reply."""
    replies: list[Reply] = []
    for _ in range(PATIENCE):
        replies.append(await bench.restore(effect))
        if isinstance(replies[-1], Done):
            return replies
    raise AssertionError(replies[-1])


async def test_traffic_goes_first_then_the_bad_slot_is_refilled_and_proved() -> None:
    bench = Bench()
    bench.world.behaviours[OLD] = Behaviour(looks=2)
    await bench.shift(50)
    bench.world.writes.clear()

    replies = await restored(bench, restoring())

    assert [write.split()[0] for write in bench.world.writes] == ["route", "stage"]
    assert bench.site.rules == Routing()
    blue = bench.site.slots[BLUE]
    assert blue.serving is not None
    assert (blue.image, blue.release, blue.serving.image) == (OLD, OLD_DIGEST, OLD)
    for reply in replies:
        assert isinstance(reply, Done | NotYet)
        assert reply.detail.startswith(PROVED)
    assert any("is refilled but answers 200 as sha256:bbb" in str(reply) for reply in replies)


async def test_it_is_done_at_once_where_no_slot_was_touched() -> None:
    bench = Bench()

    reply = await bench.restore(restoring(bad=None))

    assert isinstance(reply, Done)
    assert bench.world.writes == []


async def test_going_back_to_a_named_slot_routes_everything_there() -> None:
    """The way back of an earlier release: the bad build is the one that served."""
    bench = Bench()
    await bench.shift(100, GREEN)
    bench.site.slots[BLUE].image = OLD
    effect = restoring(stable=BLUE, bad=GREEN)

    await restored(bench, effect)

    assert bench.site.rules.of(BLUE) == 100
    green = bench.site.slots[GREEN]
    assert green.serving is not None
    assert green.serving.release == OLD_DIGEST


async def test_a_bad_production_is_refilled_and_asked_past_the_split() -> None:
    bench = Bench()
    await bench.shift(0, BLUE)
    bench.site.slots[BLUE].serving = bench.site.slots[PRODUCTION].serving
    bench.site.slots[BLUE].image, bench.site.slots[BLUE].release = OLD, OLD_DIGEST
    production = bench.site.slots[PRODUCTION]
    production.image, production.release = NEW, NEW_DIGEST
    bench.world.begin(production)
    production.serving, production.starting = production.starting, None

    await restored(bench, restoring(stable=BLUE, bad=PRODUCTION))

    assert bench.site.rules.of(BLUE) == 100
    assert production.serving is not None
    assert production.serving.release == OLD_DIGEST


async def test_front_ends_that_still_send_users_to_the_bad_build_are_waited_for() -> None:
    bench = Bench()
    await bench.shift(100)
    bench.world.routing_delay = 3

    reply = await bench.restore(restoring())

    assert isinstance(reply, NotYet)
    assert not reply.detail.startswith(PROVED)
    assert "the public host answers 200 as sha256:bbb" in reply.detail
    assert isinstance((await restored(bench, restoring()))[-1], Done)


async def test_a_stable_build_that_is_not_ready_is_not_called_stable() -> None:
    bench = Bench()
    await bench.shift(10)
    bench.world.behaviours[OLD] = Behaviour(status=503)

    reply = await bench.restore(restoring())

    assert isinstance(reply, NotYet)
    assert "answers 503" in reply.detail
    assert bench.site.rules == Routing()


async def test_an_unknown_stable_image_ends_with_a_clear_warning() -> None:
    bench = Bench()
    await bench.shift(50)

    reply = await bench.restore(restoring(stable_image=None))

    assert isinstance(reply, Done)
    assert reply.detail.startswith(PROVED)
    assert "WARNING" in reply.detail
    assert "pinned" in reply.detail


@pytest.mark.parametrize("telemetry", ["1.0", None])
async def test_a_stable_build_that_shows_no_identity_is_told_by_showing_none(
    telemetry: str | None,
) -> None:
    """The very first rollout: somebody else deployed stable, and it knows no SLIPWAY_RELEASE."""
    bench = Bench(release=None, telemetry=telemetry)
    bench.world.behaviours[OLD] = Behaviour(shows_identity=False)
    await bench.shift(50)

    await restored(bench, restoring(stable_release=telemetry))

    blue = bench.site.slots[BLUE]
    assert blue.serving is not None
    assert blue.serving.image == OLD
    assert blue.release == (telemetry or OLD_DIGEST)


async def test_without_identities_the_instances_of_the_refilled_slot_must_be_ready() -> None:
    bench = Bench()
    await bench.shift(50)

    replies = await restored(bench, restoring(health=NO_IDENTITY))

    assert len(replies) >= 2  # never in the call that wrote the refill
    assert bench.site.slots[BLUE].image == OLD


async def test_errors_after_the_first_phase_say_that_users_are_safe() -> None:
    bench = Bench()
    await bench.shift(50)
    bench.world.weather.script("stage", Fault.TRANSIENT, Fault.PERMANENT)

    transient, permanent = await bench.restore(restoring()), await bench.restore(restoring())

    assert isinstance(transient, NotYet)
    assert transient.detail.startswith(PROVED)
    assert isinstance(permanent, Failed)
    assert permanent.reason.startswith(PROVED)


FAULTS = [Fault.TRANSIENT, Fault.THROTTLED, Fault.PERMANENT, Fault.LOST_RESPONSE, Fault.CUT_SHORT]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    faults=st.dictionaries(
        st.sampled_from(["route", "hosts", "stage", "ready"]),
        st.lists(st.one_of(st.none(), st.sampled_from(FAULTS)), max_size=4),
    ),
    looks=st.integers(0, 4),
    delay=st.integers(0, 4),
    weight=st.sampled_from([0, 1, 50, 100]),
    cookies=st.sampled_from(["respected", "ignored"]),
)
async def test_whatever_goes_wrong_done_means_that_nobody_gets_the_bad_build(
    faults: dict[str, list[Fault | None]], looks: int, delay: int, weight: int, cookies: str
) -> None:
    """Any script of faults, start times and propagation: it ends, and then it is true."""
    bench = Bench()
    await bench.shift(weight)
    bench.world.behaviours[OLD] = Behaviour(looks=looks)
    bench.world.routing_delay = delay
    bench.world.absent_rule_cookie_respected = cookies == "respected"
    for operation, script in faults.items():
        bench.world.weather.script(operation, *script)

    await restored(bench, restoring())

    assert bench.site.rules == Routing()
    for slot in bench.site.slots.values():  # so also for whom a front end still obeys old rules
        assert slot.serving is not None
        assert slot.serving.image == OLD
    assert bench.site.slots[BLUE].starting is None
