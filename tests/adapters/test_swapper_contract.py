"""What every `SlotSwapper` keeps, asked of the memory twin and of App Service's adapter."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controller.adapters.memory.world import Fault
from controller.core.errors import (
    AccessDeniedError,
    BusyError,
    OperationInProgressError,
    PreparedForSwapError,
    SiteMissingError,
    SlotMissingError,
)
from controller.core.plan import Percent, SlotName, split
from controller.ports import SwapOutcome
from tests.adapters.stands import BLUE, GREEN, PRODUCTION, TARGET, digest, image
from tests.adapters.swap_stands import (
    AFTER,
    BEFORE,
    SwapStand,
    begin,
    followed,
    held,
    swap_stand,
    until_seen,
)

TEN = split(PRODUCTION, GREEN, Percent(10))


@pytest.fixture(params=["memory", "sandbox"])
async def stand(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SwapStand]:
    async with swap_stand(request.param, tmp_path) as one:
        yield one


async def stage(stand: SwapStand) -> bool:
    return await stand.platform.stage(
        TARGET, BLUE, image=image("old"), release=digest("old"), request_id="rollout/8/stage"
    )


async def route(stand: SwapStand) -> object:
    return await stand.platform.route(TARGET, TEN, request_id="rollout/8/route")


async def unlock(stand: SwapStand) -> None:
    await stand.swapper.unlock(TARGET, BLUE, request_id="rollout/7/unlock")


CHANGES: list[Callable[[SwapStand], Awaitable[object]]] = [stage, route, begin]


async def test_a_swap_exchanges_what_slot_and_production_hold(stand: SwapStand) -> None:
    """One request; afterwards the site remembers it and nothing is in progress."""
    before = await stand.swapper.look(TARGET, BLUE)
    status = await followed(stand, await begin(stand))

    assert (before.operation, before.swapped_at) == (None, None)
    assert status.outcome is SwapOutcome.ENDED
    assert await held(stand) == AFTER
    view = await until_seen(stand, lambda seen: seen.operation is None)
    assert view.swapped_at is not None
    assert view.swapped_at.tzinfo is not None
    assert view.swapped_slots == (BLUE, PRODUCTION)
    assert stand.sent() == 1


async def test_swapping_again_goes_back(stand: SwapStand) -> None:
    for _ in range(2):
        await followed(stand, await begin(stand))

    assert await held(stand) == BEFORE
    assert stand.sent() == 2


async def test_while_a_swap_runs_everything_else_is_refused(stand: SwapStand) -> None:
    """Every change of the site, a second swap too: nothing happens, and that is known."""
    stand.hold()
    token = await begin(stand)

    assert (await stand.swapper.follow(TARGET, BLUE, token)).outcome is SwapOutcome.RUNNING
    assert (await stand.swapper.look(TARGET, BLUE)).operation
    for change in (*CHANGES, unlock):
        with pytest.raises(OperationInProgressError):
            await change(stand)
    assert await held(stand) == BEFORE
    stand.let_go()
    assert (await followed(stand, token)).outcome is SwapOutcome.ENDED
    assert await held(stand) == AFTER


async def test_a_lost_answer_hides_a_swap_that_takes_place(stand: SwapStand) -> None:
    """Nothing is sent again; looking shows what became of it."""
    stand.strike("swap", Fault.LOST_RESPONSE)
    with pytest.raises(BusyError) as caught:
        await begin(stand)

    assert type(caught.value) is BusyError  # not one of those that mean "nothing happened"
    await until_seen(stand, lambda view: view.swapped_at is not None and view.operation is None)
    assert await held(stand) == AFTER
    assert stand.sent() == 1


async def test_a_swap_may_begin_long_after_its_request_failed(stand: SwapStand) -> None:
    """At first there is no trace of it: that nothing shows yet proves nothing."""
    stand.strike("swap", Fault.LATE)
    with pytest.raises(BusyError):
        await begin(stand)

    first = await stand.swapper.look(TARGET, BLUE)
    assert (first.operation, first.swapped_at, await held(stand)) == (None, None, BEFORE)
    stand.let_go()
    await until_seen(stand, lambda view: view.swapped_at is not None)
    assert await held(stand) == AFTER
    assert stand.sent() == 1


async def test_an_outage_and_throttling_say_that_nothing_is_known(stand: SwapStand) -> None:
    stand.strike("swap", Fault.TRANSIENT)
    with pytest.raises(BusyError):
        await begin(stand)
    stand.strike("swap", Fault.THROTTLED)
    with pytest.raises(BusyError) as caught:
        await begin(stand)

    assert caught.value.retry_after == timedelta(seconds=7)
    assert await held(stand) == BEFORE
    assert stand.sent() == 2


async def test_a_missing_role_is_permanent(stand: SwapStand) -> None:
    stand.strike("swap", Fault.PERMANENT)
    with pytest.raises(AccessDeniedError, match="role"):
        await begin(stand)

    assert stand.sent() == 1


async def test_what_the_platform_undoes_can_be_asked_for_again(stand: SwapStand) -> None:
    stand.strike("swap", Fault.UNDONE)
    status = await followed(stand, await begin(stand))

    assert status.outcome is SwapOutcome.UNDONE
    assert "allocation" in status.detail
    assert await held(stand) == BEFORE
    assert (await followed(stand, await begin(stand))).outcome is SwapOutcome.ENDED
    assert await held(stand) == AFTER


async def test_a_build_that_does_not_come_up_is_refused_with_the_reason(stand: SwapStand) -> None:
    stand.strike("swap", Fault.REFUSED)
    status = await followed(stand, await begin(stand))

    assert status.outcome is SwapOutcome.REFUSED
    assert "did not respond to http ping" in status.detail
    assert await held(stand) == BEFORE


async def test_a_swap_that_is_left_half_way_locks_both_until_they_are_unlocked(
    stand: SwapStand,
) -> None:
    """No read shows the lock; every change does, and unlocking once or twice ends it."""
    stand.strike("swap", Fault.CUT_SHORT)
    assert (await followed(stand, await begin(stand))).outcome is SwapOutcome.UNDONE
    assert await held(stand) == BEFORE
    assert (await stand.swapper.look(TARGET, BLUE)).operation is None
    for change in CHANGES:
        with pytest.raises(PreparedForSwapError):
            await change(stand)

    await unlock(stand)
    await unlock(stand)

    await route(stand)
    assert (await followed(stand, await begin(stand))).outcome is SwapOutcome.ENDED
    assert await held(stand) == AFTER


async def test_a_lock_that_somebody_left_is_known_when_a_swap_is_asked_for(
    stand: SwapStand,
) -> None:
    stand.strike("swap", Fault.LOCKED)
    with pytest.raises(PreparedForSwapError):
        await begin(stand)
    await unlock(stand)

    assert (await followed(stand, await begin(stand))).outcome is SwapOutcome.ENDED


async def test_where_nothing_is_locked_unlocking_changes_nothing(stand: SwapStand) -> None:
    await unlock(stand)

    assert await held(stand) == BEFORE


async def test_unlocking_that_failed_can_be_repeated(stand: SwapStand) -> None:
    stand.strike("swap", Fault.CUT_SHORT)
    await followed(stand, await begin(stand))
    stand.strike("unlock", Fault.TRANSIENT)
    with pytest.raises(BusyError):
        await unlock(stand)
    await unlock(stand)

    await route(stand)


async def test_an_operation_of_somebody_else_in_between_refuses_ours(stand: SwapStand) -> None:
    """It was not there when we looked, and it is when we ask: ours has not happened."""
    assert (await stand.swapper.look(TARGET, BLUE)).operation is None
    stand.strike("swap", Fault.SOMEBODY_ELSE)
    with pytest.raises(OperationInProgressError):
        await begin(stand)

    await until_seen(stand, lambda view: view.operation is None)
    assert await held(stand) == BEFORE
    assert (await followed(stand, await begin(stand))).outcome is SwapOutcome.ENDED


async def test_a_swap_of_somebody_else_is_seen(stand: SwapStand) -> None:
    stand.somebody_swaps()
    assert (await stand.swapper.look(TARGET, BLUE)).operation
    stand.let_go()

    await until_seen(stand, lambda view: view.swapped_at is not None and view.operation is None)
    assert await held(stand) == AFTER
    assert stand.sent() == 0


async def test_of_a_token_that_is_not_ours_the_slots_tell(stand: SwapStand) -> None:
    """It stands for a swap that was sent once: the world decides, and nobody waits for ever."""
    for token in ("", "garbage", "\x80pickle", '{"version":99,"poll":null}', "[]", "null"):
        status = await stand.swapper.follow(TARGET, BLUE, token)

        assert status.outcome is SwapOutcome.ENDED, token
        assert "the slots tell" in status.detail


async def test_what_does_not_exist_is_named(stand: SwapStand) -> None:
    nowhere, elsewhere = SlotName("purple"), replace(TARGET, site="another")
    with pytest.raises(SlotMissingError, match="purple"):
        await stand.swapper.look(TARGET, nowhere)
    with pytest.raises(SlotMissingError, match="purple"):
        await stand.swapper.begin(TARGET, nowhere, request_id="r/1")
    with pytest.raises(SiteMissingError, match="another"):
        await stand.swapper.look(elsewhere, PRODUCTION)


async def test_production_alone_can_be_looked_at(stand: SwapStand) -> None:
    """Under strategy route the idle slot may be production."""
    assert (await stand.swapper.look(TARGET, PRODUCTION)).operation is None


async def test_sticky_settings_that_differ_are_named_and_their_values_are_not(
    stand: SwapStand,
) -> None:
    """What travels with its build is no difference, nor is what both slots have alike."""
    for slot, value in ((BLUE, "secret-here"), (PRODUCTION, "secret-there")):
        stand.set(slot, "LABEL", value, sticky=slot == BLUE)
        stand.set(slot, "TRAVELS", value, sticky=False)
        stand.set(slot, "ALIKE", "same", sticky=slot == BLUE)
    stand.set(BLUE, "ONLY_HERE", "secret-here", sticky=True)
    stand.set(PRODUCTION, "ONLY_THERE", "secret-there", sticky=True)

    found = {each.name: each.explanation for each in await stand.swapper.differences(TARGET, BLUE)}

    assert {name for name in found if not name.startswith("WEBSITE_SWAP_WARMUP")} == {
        "LABEL",
        "ONLY_HERE",
        "ONLY_THERE",
    }
    assert all(found.values())
    assert "secret" not in str(found)
