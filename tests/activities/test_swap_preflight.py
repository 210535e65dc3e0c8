"""What PREFLIGHT says of a swap before anything is touched, and what undoes a lock."""

from dataclasses import replace

import pytest

from controller.activities.unlocking import UnlockingPlatform
from controller.core.errors import BusyError, PreparedForSwapError
from controller.core.events import NotYet, PreflightFailed, PreflightPassed
from controller.core.plan import PRODUCTION, Percent, Routing, split
from tests.activities.kit import BLUE, NEW, NEW_DIGEST, TARGET, Bench, checking

SWAP = replace(checking(), is_swap=True)


async def test_production_serves_and_the_first_slot_is_swapped_with() -> None:
    """Under strategy swap the stable build is in production, whatever else there is."""
    reply = await Bench().preflight(SWAP)

    assert isinstance(reply, PreflightPassed)
    assert (reply.active, reply.idle) == (PRODUCTION, BLUE)


async def test_what_the_swap_will_confront_the_build_with_is_told() -> None:
    """A setting that stays with its slot meets the build only when it moves."""
    bench = Bench()
    bench.site.sticky = frozenset({"PAYMENT_URL"})
    bench.world.slot(TARGET, PRODUCTION).settings["PAYMENT_URL"] = "https://pay"

    reply = await bench.preflight(SWAP)

    assert isinstance(reply, PreflightPassed)
    assert any(warning.startswith("PAYMENT_URL: ") for warning in reply.warnings)


async def test_rules_that_send_users_elsewhere_are_a_reason_but_not_against_going_back() -> None:
    """A swap while a named slot serves would move the build that serves."""
    bench = Bench()
    bench.world.write_rules(bench.site, split(PRODUCTION, BLUE, Percent(100)))

    release = await bench.preflight(SWAP)
    way_back = await bench.preflight(replace(SWAP, is_way_back=True))

    assert isinstance(release, PreflightFailed)
    assert "production serves" in release.reasons[0]
    assert isinstance(way_back, PreflightPassed)


@pytest.mark.parametrize("is_swap", [False, True])
async def test_an_operation_of_somebody_else_is_waited_for(*, is_swap: bool) -> None:
    """A scaling or a swap that runs would refuse or undo every write."""
    bench = Bench()
    bench.world.hold(bench.site, 1)

    first = await bench.preflight(replace(checking(), is_swap=is_swap))
    for _ in range(3):
        later = await bench.preflight(replace(checking(), is_swap=is_swap))

    assert isinstance(first, NotYet)
    assert "is in progress" in first.detail
    assert isinstance(later, PreflightPassed)


async def test_a_tag_that_moved_since_the_push_is_told() -> None:
    """The digest is rolled out; whoever looks for the tag learns that it names another by now."""
    bench = Bench()

    reply = await bench.preflight(replace(checking(), tag="old"))
    same = await bench.preflight(replace(checking(), tag="new"))

    assert isinstance(reply, PreflightPassed)
    assert any("tag old names" in warning for warning in reply.warnings)
    assert isinstance(same, PreflightPassed)
    assert not any("tag new" in warning for warning in same.warnings)


async def test_a_lock_that_a_swap_left_is_undone_by_the_write_that_meets_it() -> None:
    """No read shows it; the refused write does, unlocks, and comes again later."""
    bench = Bench()
    bench.site.swaps.lock(BLUE)
    platform = UnlockingPlatform(bench.platform, bench.swapper)

    async def stage() -> bool:
        return await platform.stage(TARGET, BLUE, image=NEW, release=NEW_DIGEST, request_id="k")

    with pytest.raises(BusyError, match="It was unlocked") as refused:
        await stage()

    assert not isinstance(refused.value, PreparedForSwapError)
    assert await stage() is False


async def test_a_lock_on_production_is_undone_with_the_slot_it_belongs_to() -> None:
    """Rules are production's: the slot that was to be swapped with it is unlocked as well."""
    bench = Bench()
    bench.site.swaps.lock(BLUE)
    platform = UnlockingPlatform(bench.platform, bench.swapper)
    goal = Routing(((BLUE, Percent(10)),))

    with pytest.raises(BusyError, match="It was unlocked"):
        await platform.route(TARGET, goal, request_id="k")

    assert await platform.route(TARGET, goal, request_id="k") == goal
    assert not bench.site.swaps.locked


async def test_without_swaps_of_ours_a_lock_is_left_to_whoever_made_it() -> None:
    """Under strategy route the plain platform refuses, and nothing is reset."""
    bench = Bench()
    bench.site.swaps.lock(BLUE)

    with pytest.raises(PreparedForSwapError):
        await bench.platform.stage(TARGET, BLUE, image=NEW, release=NEW_DIGEST, request_id="k")

    assert bench.site.swaps.locked
