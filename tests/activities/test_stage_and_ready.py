"""STAGING configures; WARMING proves."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from controller.activities.check_ready import telling_line
from controller.adapters.memory.world import THROTTLED_FOR, Behaviour, Fault
from controller.core.events import Done, Failed, NotYet, ReadyChecked, Reply, Smoke
from controller.core.plan import IdentityKind, SmokeTest
from tests.activities.kit import (
    BLUE,
    HEALTH,
    NEW,
    NO_IDENTITY,
    OLD_DIGEST,
    PRODUCTION,
    TARGET,
    Bench,
    looking,
    staging,
)


def checked(reply: Reply) -> ReadyChecked:
    assert isinstance(reply, ReadyChecked), reply
    return reply


async def test_staging_says_what_was_written_and_that_nothing_was() -> None:
    bench = Bench()
    first, second = await bench.stage(staging()), await bench.stage(staging())

    assert isinstance(first, Done)
    assert isinstance(second, Done)
    assert "starts now" in first.detail
    assert "nothing was written" in second.detail


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.TRANSIENT, NotYet),
        (Fault.THROTTLED, NotYet),
        (Fault.LOST_RESPONSE, NotYet),
        (Fault.CUT_SHORT, NotYet),
        (Fault.PERMANENT, Failed),
    ],
)
async def test_errors_become_replies(fault: Fault, kind: type[Reply]) -> None:
    bench = Bench()
    bench.world.weather.script("stage", fault)

    reply = await bench.stage(staging())

    assert isinstance(reply, kind)
    if isinstance(reply, NotYet) and fault is Fault.THROTTLED:
        assert reply.retry_after == THROTTLED_FOR


async def test_what_nobody_foresaw_passes_through() -> None:
    bench = Bench()

    def strike(operation: str) -> Fault | None:
        raise ZeroDivisionError(operation)

    bench.world.weather.forecast = strike
    with pytest.raises(ZeroDivisionError):
        await bench.stage(staging())


async def test_the_old_build_is_not_mistaken_for_the_new_one() -> None:
    """It answers 200 for as long as the new one starts; only the identity tells."""
    bench = Bench()
    bench.world.behaviours[NEW] = Behaviour(looks=2)
    await bench.stage(staging())

    looks = [checked(await bench.check_ready(looking())) for _ in range(3)]

    assert [look.ready for look in looks] == [False, False, True]
    assert "the old container still serves" in looks[0].detail
    assert OLD_DIGEST[:19] in looks[0].detail


async def test_a_build_without_identity_is_not_ready_and_says_where_it_was_missed() -> None:
    bench = Bench()
    bench.world.behaviours[NEW] = Behaviour(looks=0, shows_identity=False)
    await bench.stage(staging())

    look = checked(await bench.check_ready(looking()))

    assert not look.ready
    assert "header x-release-digest" in look.detail


async def ready_bench(behaviour: Behaviour) -> Bench:
    bench = Bench()
    bench.world.behaviours[NEW] = behaviour
    await bench.stage(staging())
    return bench


async def test_smoke_tests_run_once_the_streak_is_complete() -> None:
    bench = await ready_bench(Behaviour(looks=0))

    looks = [checked(await bench.check_ready(looking(streak=streak))) for streak in range(3)]

    assert [look.smoke for look in looks] == [Smoke.NOT_RUN, Smoke.NOT_RUN, Smoke.PASSED]
    assert all(look.ready for look in looks)


async def test_the_first_smoke_test_that_fails_is_named() -> None:
    bench = await ready_bench(Behaviour(looks=0, smoke_error="expected status 200, got 500"))
    tests = tuple(SmokeTest(method="GET", path=path) for path in ("/cart", "/login"))
    effect = looking(streak=2, health=replace(HEALTH, smoke_tests=tests))

    look = checked(await bench.check_ready(effect))

    assert (look.ready, look.smoke) == (True, Smoke.FAILED)
    assert "GET /cart failed: expected status 200, got 500" in look.detail
    assert "/login" not in look.detail


async def test_production_is_asked_past_the_split() -> None:
    """Its own host is the public one, where the rules would send the question elsewhere."""
    bench = Bench()
    await bench.shift(100)
    await bench.stage(staging(PRODUCTION))
    tests = (SmokeTest(method="GET", path="/"),)
    effect = looking(slot=PRODUCTION, streak=2, health=replace(HEALTH, smoke_tests=tests))
    bench.world.slot(TARGET, BLUE).serving = None  # whoever is sent there gets no answer

    await bench.check_ready(effect)
    look = checked(await bench.check_ready(effect))

    assert (look.ready, look.smoke) == (True, Smoke.PASSED)


@pytest.mark.parametrize(
    ("states", "detail"),
    [
        (["READY"], "ready 1 of 3"),
        (["READY", "UNKNOWN"], "instances are READY, UNKNOWN"),
        ([], "instances are none"),
    ],
)
async def test_without_identity_all_instances_must_be_ready(
    states: Sequence[str], detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await ready_bench(Behaviour(looks=0))

    async def instances(*_: object) -> Sequence[str]:
        return states

    monkeypatch.setattr(bench.platform, "instances", instances)
    look = checked(await bench.check_ready(looking(health=NO_IDENTITY)))

    assert NO_IDENTITY.identity.kind is IdentityKind.NONE
    assert look.ready is (states == ["READY"])
    assert detail in look.detail


async def test_a_silent_build_is_explained_by_its_log() -> None:
    bench = await ready_bench(Behaviour(starts=False))
    bench.world.slot(TARGET, BLUE).serving = None

    look = checked(await bench.check_ready(looking()))
    later = checked(await bench.check_ready(looking(streak=1)))

    assert "answers 503" in look.detail
    assert "container log: ERROR - Container didn't respond" in look.detail
    assert "container log" not in later.detail


async def test_a_log_that_cannot_be_read_decides_nothing() -> None:
    bench = await ready_bench(Behaviour())
    bench.world.weather.script("ready", Fault.TRANSIENT)
    bench.world.weather.script("log_tail", Fault.PERMANENT)

    look = checked(await bench.check_ready(looking()))

    assert look.detail == "does not answer (connection refused)"


async def test_a_redirect_is_not_ready() -> None:
    bench = await ready_bench(Behaviour(looks=0, status=302))

    look = checked(await bench.check_ready(looking()))

    assert not look.ready
    assert "without a redirect" in look.detail


def test_the_line_that_speaks_of_trouble_is_chosen() -> None:
    log = "starting\nTraceback\nKeyError: 'DB'\nException: no DB\n\nstopping\n"
    assert telling_line(log) == "Exception: no DB"
    assert telling_line("one\ntwo\n\n") == "two"
    assert telling_line("") == ""
