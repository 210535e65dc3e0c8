"""The whole way over memory twins: good, and each bad one, to its own end."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.world import Behaviour, Fault
from controller.core.model import State
from controller.core.plan import (
    Approval,
    ApprovalPoint,
    ExpiryAction,
    HeldTraffic,
    Hold,
    NoEvidence,
    NoEvidenceAction,
    SmokeTest,
)
from controller.runtime.messages import OrderBody, RetryBody, RollbackBody
from tests.runtime.kit import (
    MINUTE,
    SECOND,
    SHOP,
    Habit,
    House,
    digest,
    image,
    spec,
    steps,
    submit,
)

OLD, NEW = digest(1), digest(2)


def order(command: str, **changes: Any) -> OrderBody:
    return OrderBody.model_validate({"app": SHOP, "command": command, "by": "ann"} | changes)


def planned(**changes: Any) -> Any:
    base = spec()
    return replace(base, strategy=replace(base.strategy, **changes))


def only_old_serves(house: House) -> bool:
    return {release for _, release in house.users_get().values()} == {OLD}


async def went(house: House, *bodies: Any) -> list[State]:
    """Send, run to the end and return the ends of all rollouts, having checked the audit."""
    await house.send(*(bodies or (submit(2),)))
    await house.run()
    await house.assert_chained()
    assert await house.active() is None
    return [state for _, state in await house.ends()]


async def test_a_healthy_build_takes_every_step_and_ends_as_what_serves() -> None:
    house = House([spec(SHOP, 10, 50, 100)])

    assert await went(house) == [State.SUCCEEDED]

    assert house.users_get() == {"blue": (100, NEW)}
    S = State  # noqa: N806 - a list of states reads better so
    watched = [S.SHIFTING, S.OBSERVING]
    assert await house.way() == [
        *(S.QUEUED, S.PREFLIGHT, S.STAGING, S.WARMING),
        *(watched * 3),
        *(S.PROMOTING, S.BAKING, S.SUCCEEDED),
    ]
    state = await house.state()
    assert [r.image.digest for r in state.releases] == [NEW, OLD]
    assert str(state.routing) == "blue 100 %"


async def test_every_judgement_that_moved_it_kept_its_evidence() -> None:
    house = House()
    await went(house)

    judged = [r for r in await house.records() if r.what == "Judged"]
    assert len(judged) == 2
    for record in judged:
        assert record.evidence is not None
        assert record.evidence.removeprefix("evidence/") in house.evidence.documents
        assert record.evidence_hash is not None
        assert record.numbers["canary_rows"]


async def test_two_releases_take_turns_between_the_slots() -> None:
    """The second goes to the slot that nobody can be pinned to, at once."""
    house = House()
    await went(house)

    assert await went(house, submit(3)) == [State.SUCCEEDED] * 2

    assert house.users_get() == {"green": (100, digest(3))}


async def test_the_third_waits_until_nobody_is_pinned_to_its_slot() -> None:
    house = House()
    await went(house)
    await went(house, submit(3))
    before = house.clock.now()

    assert await went(house, submit(4)) == [State.SUCCEEDED] * 3

    assert house.users_get() == {"blue": (100, digest(4))}
    assert house.clock.now() - before > timedelta(minutes=50)


BAD_WAYS = [
    pytest.param(Habit(failing=0.5), "error rate", id="errors"),
    pytest.param(Habit(milliseconds=9_000.0), "p50", id="slow"),
]


@pytest.mark.parametrize(("habit", "why"), BAD_WAYS)
async def test_a_bad_build_is_taken_back_and_stays_out(habit: Habit, why: str) -> None:
    house = House()
    house.habits[NEW] = habit

    assert await went(house) == [State.ROLLED_BACK]

    assert only_old_serves(house)
    assert house.world.slot(spec().target, "blue").image == image(1).reference  # type: ignore[arg-type]
    (quarantined,) = (await house.state()).quarantine
    assert why in quarantined.reason
    assert await went(house, submit(2, id="again")) == [State.ROLLED_BACK]  # nothing new began


async def test_a_build_that_turns_bad_in_the_bake_is_taken_back() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.BAKING)
    house.habits[NEW] = Habit(failing=0.5)

    await house.run()

    assert (await house.ends())[0][1] is State.ROLLED_BACK
    assert only_old_serves(house)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        pytest.param(Behaviour(starts=False), "time", id="never-starts"),
        pytest.param(Behaviour(status=503), "time", id="never-ready"),
        pytest.param(Behaviour(shows_identity=False), "time", id="no-identity"),
        pytest.param(Behaviour(smoke_error="500"), "smoke", id="smoke-test-fails"),
    ],
)
async def test_a_build_that_does_not_prove_itself_never_gets_a_user(
    behaviour: Behaviour, why: str
) -> None:
    base = spec()
    tests = (SmokeTest(method="GET", path="/"),)
    house = House([replace(base, health=replace(base.health, smoke_tests=tests))])
    house.world.behaviours[image(2).reference] = behaviour

    assert await went(house) == [State.ROLLED_BACK]

    assert only_old_serves(house)
    assert why in (await house.state()).quarantine[0].reason
    assert State.SHIFTING not in await house.way()


async def test_an_image_that_is_not_there_is_rejected_and_nothing_is_touched() -> None:
    house = House()

    assert await went(house, submit(77)) == [State.REJECTED]

    assert house.world.writes == []
    assert (await house.state()).quarantine == ()


@pytest.mark.parametrize(
    ("operation", "end"),
    [("stage", State.ROLLED_BACK), ("route", State.ROLLED_BACK), ("read", State.REJECTED)],
)
async def test_a_refusal_of_the_platform_ends_it(operation: str, end: State) -> None:
    house = House()
    house.weather.script(operation, Fault.PERMANENT)

    assert await went(house) == [end]

    assert only_old_serves(house)


async def test_a_rollback_that_is_refused_pages_and_goes_on_until_it_is_done() -> None:
    house = House()
    house.habits[NEW] = Habit(failing=1.0)
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.weather.script("route", *(Fault.PERMANENT,) * 40)

    await house.run()

    assert (await house.ends())[0][1] is State.ROLLED_BACK
    assert only_old_serves(house)
    assert len([r for r in await house.records() if r.kind == "page"]) >= 40


# --- Not knowing ----------------------------------------------------------------------------------


async def test_a_build_whose_traffic_does_not_show_is_taken_back() -> None:
    """The stable build reports its users, the new one none of its own: they get no answers."""
    house = House()
    house.habits[NEW] = Habit(silent=True)

    assert await went(house) == [State.ROLLED_BACK]

    (quarantined,) = (await house.state()).quarantine
    assert "does not show" in quarantined.reason
    assert State.HELD not in await house.way()


async def test_nobody_asks_so_it_is_held_and_then_goes_back() -> None:
    house = House([planned(hold=Hold(limit=20 * MINUTE))])
    house.habits[NEW] = house.habits[OLD] = Habit(silent=True)

    assert await went(house) == [State.ROLLED_BACK]

    assert State.HELD in await house.way()
    (page,) = [r for r in await house.records() if r.kind == "page"]
    assert "insufficient_data" in page.why


async def test_the_provider_is_away_so_it_is_held_and_goes_on_when_it_is_back() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.weather.script("observe", *(Fault.TRANSIENT,) * 30)

    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED
    (page,) = [r for r in await house.records() if r.kind == "page"]
    assert "provider_unavailable" in page.why


async def test_both_builds_suffer_so_it_is_held_and_nobody_is_blamed() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    house.habits[OLD] = house.habits[NEW] = Habit(failing=0.5)
    await house.run_to(State.HELD)
    house.habits.clear()

    await house.run()

    (page,) = [r for r in await house.records() if r.kind == "page"]
    assert "ambient_incident" in page.why
    assert (await house.ends())[0][1] in {State.SUCCEEDED, State.ROLLED_BACK}


@pytest.mark.parametrize("traffic", HeldTraffic)
@pytest.mark.parametrize("rows_in_a_step", [3, 8])
async def test_a_quiet_app_is_never_held_in_circles(
    traffic: HeldTraffic, rows_in_a_step: int
) -> None:
    """Too little for one step, enough in a while: it ends, with one page per step and bake."""
    few = spec()
    limits = replace(few.analysis.limits, min_requests=rows_in_a_step * 36 * 2)
    base = planned(hold=Hold(traffic=traffic, limit=MINUTE * 60))
    house = House([replace(base, analysis=replace(base.analysis, limits=limits))])

    ends = await went(house)

    assert len(ends) == 1
    assert len([r for r in await house.records() if r.kind == "page"]) <= 2


@pytest.mark.parametrize("bake", [1, 20, 50, 300])
@pytest.mark.parametrize("settle", [0, 20, 120])
async def test_a_short_bake_waits_for_its_evidence(bake: int, settle: int) -> None:
    """What happened in the bake is seen only after it settled; until then nothing is missing."""
    base = planned(bake=bake * SECOND)
    house = House([replace(base, analysis=replace(base.analysis, settle=settle * SECOND))])

    assert await went(house) == [State.SUCCEEDED]
    assert State.HELD not in await house.way()


@pytest.mark.parametrize(
    ("action", "end"),
    [(NoEvidenceAction.PROCEED, State.SUCCEEDED), (NoEvidenceAction.ROLL_BACK, State.ROLLED_BACK)],
)
async def test_not_knowing_has_its_configured_end(action: NoEvidenceAction, end: State) -> None:
    base = spec()
    analysis = replace(base.analysis, on_no_evidence=NoEvidence(insufficient_data=action))
    house = House([replace(base, analysis=analysis)])
    house.habits[NEW] = house.habits[OLD] = Habit(silent=True)

    assert await went(house) == [end]
    assert State.HELD not in await house.way()


@pytest.mark.parametrize(
    ("expiry", "end"),
    [(ExpiryAction.PROCEED, State.SUCCEEDED), (ExpiryAction.ROLL_BACK, State.ROLLED_BACK)],
)
async def test_a_hold_that_nobody_ends_has_its_configured_end(
    expiry: ExpiryAction, end: State
) -> None:
    hold = Hold(on_expiry=expiry, limit=10 * MINUTE)
    house = House([planned(steps=steps(10, 50), hold=hold)])
    house.habits[NEW] = house.habits[OLD] = Habit(silent=True)

    assert await went(house) == [end]


# --- People ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [ApprovalPoint.BEFORE_CANARY, ApprovalPoint.BEFORE_FULL])
@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("approve", State.SUCCEEDED),
        ("reject", State.ROLLED_BACK),
        ("abort", State.ROLLED_BACK),
        (None, State.ROLLED_BACK),
    ],
)
async def test_an_approval_waits_for_a_person(
    point: ApprovalPoint, said: str | None, end: State
) -> None:
    house = House([planned(approval=Approval(point=point, limit=60 * MINUTE))])
    await house.send(submit(2))
    asked = await house.run_to(State.APPROVAL)
    assert asked.weight == (0 if point is ApprovalPoint.BEFORE_CANARY else 50)

    if said:
        await house.send(order(said))
    await house.run()

    assert (await house.ends())[0][1] is end


async def test_pause_holds_and_resume_lets_go() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)
    await house.send(order("pause"))
    await house.run_for(60 * MINUTE)
    held = await house.active()
    assert held is not None
    assert held.state is State.HELD  # healthy for an hour, and yet

    await house.send(order("resume"))
    await house.run()

    assert (await house.ends())[0][1] is State.SUCCEEDED
    assert [r for r in await house.records() if r.kind == "page"] == []


async def test_promote_skips_what_is_left_of_the_watching() -> None:
    house = House([spec(SHOP, 10, 50)])
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)

    await house.send(order("promote"))
    baking = await house.run_to(State.BAKING)
    await house.send(order("promote", id="again"))
    await house.run()

    assert baking.step == 0
    assert (await house.ends())[0][1] is State.SUCCEEDED


async def test_rollback_after_success_brings_the_earlier_build_back_without_a_canary() -> None:
    house = House()
    await went(house)

    ends = await went(house, RollbackBody(app=SHOP, by="ann", reason="checkout broken"))

    assert ends == [State.SUCCEEDED] * 2
    assert only_old_serves(house)
    state = await house.state()
    assert [r.image.digest for r in state.releases] == [OLD, NEW]
    assert [q.digest for q in state.quarantine] == [NEW]


async def test_a_second_rollback_order_does_not_undo_the_first() -> None:
    house = House()
    await went(house)

    back = [RollbackBody(app=SHOP, by=who, reason="broken") for who in ("ann", "bob")]
    await went(house, *back)

    assert only_old_serves(house)


async def test_a_retry_lifts_the_quarantine() -> None:
    house = House()
    house.habits[NEW] = Habit(failing=1.0)
    await went(house)
    house.habits.clear()

    ends = await went(house, RetryBody(app=SHOP, digest=NEW, by="ann"))

    assert ends == [State.ROLLED_BACK, State.SUCCEEDED]


async def test_a_newer_push_supersedes_the_one_that_runs() -> None:
    house = House()
    await house.send(submit(2))
    await house.run_to(State.OBSERVING)

    assert await went(house, submit(3)) == [State.SUPERSEDED, State.SUCCEEDED]

    assert house.users_get() == {"green": (100, digest(3))}


async def test_an_old_push_that_is_delivered_again_days_later_brings_nothing_back() -> None:
    """Long after the queue forgot its message id the app still knows the event."""
    house = House()
    first = submit(2)
    await went(house, first)
    await went(house, submit(3))
    house.clock.advance(timedelta(days=5))

    await house.bus.send([])
    assert await went(house, first) == [State.SUCCEEDED] * 2

    assert house.users_get() == {"green": (100, digest(3))}
