"""What a push, a rollback and an end make of an app."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.asks import ask_promote, ask_restore
from controller.core.events import Abort, Done, Promote
from controller.core.line import advance
from controller.core.model import AppState, Kind, Release, RolloutId, State
from controller.core.orders import Retry, RollBack, Submit
from controller.core.plan import PRODUCTION, NewPushPolicy, SlotName
from controller.core.policy import apply
from controller.core.turns import Change
from tests.core.build import BLUE, GREEN, SECOND, T0, app, digest, image, rollout, spec, strategy

SPEC = spec()


def push(n: int, at: Any = T0) -> Submit:
    return Submit(at=at, image=image(n), by="registry")


def serving(*numbers: int) -> AppState:
    """Return an app whose releases are *numbers*, newest first."""
    slots = (BLUE, GREEN, PRODUCTION)
    releases = tuple(
        Release(image=image(n), slot=slots[place % 3], rollout=RolloutId(f"r{n}"), at=T0)
        for place, n in enumerate(numbers)
    )
    return app(releases=releases)


def kinds(change: Change) -> list[str]:
    return [record.kind for record in change.records]


def with_policy(policy: NewPushPolicy) -> Any:
    return spec(strategy(10, 100, new_push=policy))


def test_a_push_becomes_a_rollout_named_by_time_app_digest_and_attempt() -> None:
    change = apply(app(), SPEC, push(2))

    assert change.state.active is not None
    assert change.state.active.id == f"20260101T000000000-shop-{digest(2)[7:15]}-1"
    assert kinds(change) == ["submitted"]


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (serving(2), "serves already"),
        (app(active=rollout(State.STAGING)), "on its way"),
        (app(queued=(rollout(),), active=rollout(image=image(9))), "on its way"),
    ],
)
def test_the_same_digest_again_is_ignored_and_recorded(state: AppState, why: str) -> None:
    change = apply(state, SPEC, push(2))

    assert change.state == state
    assert kinds(change) == ["ignored"]
    assert why in change.records[0].why


def test_a_digest_that_was_rolled_back_stays_out_until_someone_says_retry() -> None:
    rolling = replace(rollout(State.ROLLING_BACK), undone_because="regressed: 30 %")
    rolling = replace(rolling, awaiting=ask_restore(rolling, None))
    assert rolling.awaiting is not None
    ended = advance(app(active=rolling), Done(at=T0, key=rolling.awaiting.key))

    assert ended.state.active is None
    assert [r.state for r in ended.ended] == [State.ROLLED_BACK]
    assert [q.digest for q in ended.state.quarantine] == [digest(2)]
    assert kinds(apply(ended.state, SPEC, push(2))) == ["ignored"]

    retried = apply(ended.state, SPEC, Retry(at=T0, digest=digest(2), by="ann"))
    assert retried.state.active is not None
    assert retried.state.active.image == image(2)
    assert retried.state.quarantine == ()


def test_supersede_sends_the_running_rollout_back_and_lets_the_new_one_wait() -> None:
    running = app(active=rollout(State.OBSERVING))

    change = apply(running, SPEC, push(3))

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK
    assert change.state.active.superseded
    assert [r.image for r in change.state.queued] == [image(3)]


def test_supersede_replaces_whoever_waits() -> None:
    state = apply(app(active=rollout(State.OBSERVING)), SPEC, push(3)).state

    change = apply(state, SPEC, push(4, T0 + SECOND))

    assert [r.image for r in change.state.queued] == [image(4)]
    assert [(r.image, r.state) for r in change.ended] == [(image(3), State.SUPERSEDED)]


def test_supersede_past_promotion_waits_for_the_end() -> None:
    change = apply(app(active=rollout(State.BAKING)), SPEC, push(3))

    assert change.state.active is not None
    assert change.state.active.state is State.BAKING
    assert [r.image for r in change.state.queued] == [image(3)]


def test_an_untouched_rollout_makes_room_at_once() -> None:
    change = apply(app(active=rollout(State.QUEUED)), SPEC, push(3))

    assert change.state.active is not None
    assert change.state.active.image == image(3)
    assert change.state.queued == ()
    assert [r.state for r in change.ended] == [State.SUPERSEDED]


def test_queue_waits_in_line_and_reject_says_no() -> None:
    running = app(active=rollout(State.OBSERVING))

    queued = apply(running, with_policy(NewPushPolicy.QUEUE), push(3))
    rejected = apply(running, with_policy(NewPushPolicy.REJECT), push(3))

    assert [r.image for r in queued.state.queued] == [image(3)]
    assert queued.state.active == running.active
    assert rejected.state.queued == ()
    assert kinds(rejected) == ["refused"]


def test_the_queue_is_bounded() -> None:
    state = app(active=rollout(State.OBSERVING))
    policy = with_policy(NewPushPolicy.QUEUE)
    for n in range(3, 40):
        state = apply(state, policy, push(n, T0 + n * SECOND)).state

    assert len(state.queued) == 10


def test_an_end_starts_the_next_in_line() -> None:
    state = apply(app(active=rollout(State.PREFLIGHT)), with_policy(NewPushPolicy.QUEUE), push(3))

    change = apply(state.state, SPEC, Abort(at=T0 + SECOND, by="ann"))

    assert change.state.active is not None
    assert change.state.active.image == image(3)
    assert change.state.active.wake_at == T0 + SECOND


def test_rollback_during_a_rollout_is_an_abort() -> None:
    change = apply(
        app(active=rollout(State.OBSERVING)), SPEC, RollBack(at=T0, by="ann", reason="bad")
    )

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK
    assert change.state.queued == ()


def test_rollback_during_a_rollout_to_an_earlier_release_queues_that() -> None:
    state = replace(serving(2, 1), active=rollout(State.OBSERVING, image=image(3)))

    change = apply(state, SPEC, RollBack(at=T0, by="ann", reason="bad", to="v1"))

    assert [(r.image, r.kind) for r in change.state.queued] == [(image(1), Kind.ROLLBACK)]


@pytest.mark.parametrize("name", [None, "v1", digest(1), digest(1)[7:], "r1"])
def test_rollback_after_success_goes_to_the_previous_or_named_release(name: str | None) -> None:
    change = apply(serving(2, 1), SPEC, RollBack(at=T0, by="ann", reason="bad", to=name))

    assert change.state.active is not None
    assert change.state.active.image == image(1)
    assert change.state.active.kind is Kind.ROLLBACK


@pytest.mark.parametrize(
    ("state", "to"),
    [(app(), None), (serving(2), None), (serving(2, 1), "v7"), (serving(2, 1), "v2")],
)
def test_rollback_to_nowhere_is_refused_with_advice(state: AppState, to: str | None) -> None:
    change = apply(state, SPEC, RollBack(at=T0, by="ann", reason="bad", to=to))

    assert change.state == state
    assert kinds(change) == ["refused"]


def test_a_command_without_a_rollout_is_refused() -> None:
    assert kinds(apply(serving(2, 1), SPEC, Abort(at=T0, by="ann"))) == ["refused"]


def test_success_remembers_the_release_before_even_the_one_found_in_the_world() -> None:
    promoting = rollout(State.PROMOTING, spec=spec(strategy(10, bake=timedelta(0))))
    promoting = replace(promoting, awaiting=ask_promote(promoting, None))
    assert promoting.awaiting is not None

    change = advance(app(active=promoting), Done(at=T0, key=promoting.awaiting.key))

    assert [r.image.digest for r in change.state.releases] == [digest(2), digest(1)]
    assert [r.slot for r in change.state.releases] == [BLUE, PRODUCTION]
    assert change.state.routing is not None
    assert change.state.routing.of(BLUE) == 100


def test_a_rollback_that_succeeded_quarantines_what_it_replaced() -> None:
    back = rollout(
        State.PROMOTING,
        kind=Kind.ROLLBACK,
        image=image(1),
        active=SlotName("green"),
        idle=BLUE,
        reason="checkout broken",
    )
    back = replace(back, awaiting=ask_promote(back, None))
    assert back.awaiting is not None

    change = advance(replace(serving(2, 1), active=back), Done(at=T0, key=back.awaiting.key))

    assert [r.image for r in change.state.releases] == [image(1), image(2)]
    assert [(q.digest, q.reason) for q in change.state.quarantine] == [
        (digest(2), "checkout broken")
    ]


def test_a_slot_that_users_left_lately_is_not_filled_before_their_cookies_are_over() -> None:
    """Whoever is pinned to a slot gets what is put there, proved or not."""
    state = replace(serving(2, 1), left=((GREEN, T0), (PRODUCTION, T0)))

    change = apply(state, SPEC, push(3, T0 + SECOND))

    assert change.state.active is not None
    assert change.state.active.preferred == (GREEN,)
    assert change.state.active.wake_at == T0 + timedelta(hours=1)


def test_the_slot_that_users_left_longest_ago_is_filled_first() -> None:
    third = SlotName("violet")
    three = replace(SPEC, target=replace(SPEC.target, slots=(BLUE, GREEN, third)))
    state = replace(serving(2, 1), left=((GREEN, T0),))

    change = apply(state, three, push(3, T0 + SECOND))

    assert change.state.active is not None
    assert change.state.active.preferred == (third, GREEN)
    assert change.state.active.wake_at == T0 + SECOND


def test_a_way_back_never_waits_for_cookies() -> None:
    state = replace(serving(2, 1), left=((GREEN, T0),))

    change = apply(state, SPEC, RollBack(at=T0 + SECOND, by="ann", reason="bad"))

    assert change.state.active is not None
    assert change.state.active.wake_at == T0 + SECOND


def test_an_end_remembers_which_slot_users_left() -> None:
    went_back = rollout(State.ROLLING_BACK, had_users=True)
    went_back = replace(went_back, awaiting=ask_restore(went_back, None))
    unseen = replace(went_back, had_users=False)
    assert went_back.awaiting is not None
    done = Done(at=T0, key=went_back.awaiting.key)

    assert advance(app(active=went_back), done).state.left == ((BLUE, T0),)
    assert advance(app(active=unseen), done).state.left == ()


def test_an_image_from_elsewhere_is_refused() -> None:
    foreign = Submit(at=T0, image=replace(image(2), registry="evil.io"), by="pipeline")

    assert kinds(apply(app(), SPEC, foreign)) == ["refused"]


def test_a_rollback_asked_for_while_one_is_under_way_comes_after_it() -> None:
    state = replace(serving(2, 1), active=rollout(State.ROLLING_BACK, image=image(3)))

    change = apply(state, SPEC, RollBack(at=T0, by="ann", reason="older", to="v1"))

    assert [(r.image, r.kind) for r in change.state.queued] == [(image(1), Kind.ROLLBACK)]


@pytest.mark.parametrize("to", [None, "v1"])
@pytest.mark.parametrize("state", [State.QUEUED, State.STAGING, State.PROMOTING])
def test_saying_rollback_twice_does_not_undo_the_way_back(state: State, to: str | None) -> None:
    """Two people at once, or one in a hurry: the first order stands, the second is recorded."""
    going = replace(serving(2, 1), active=rollout(state, kind=Kind.ROLLBACK, image=image(1)))

    change = apply(going, SPEC, RollBack(at=T0, by="ann", reason="worse!", to=to))

    assert change.state == going
    assert kinds(change) == ["ignored"]
    assert "on its way" in change.records[0].why


def test_a_way_back_that_waits_is_not_queued_again() -> None:
    state = replace(serving(2, 1), active=rollout(State.OBSERVING, image=image(3)))
    order = RollBack(at=T0, by="ann", reason="bad", to="v1")

    once = apply(state, SPEC, order).state

    assert apply(once, SPEC, replace(order, by="bob")).state == once


def test_rollback_to_what_serves_calls_a_way_back_off() -> None:
    state = replace(
        serving(2, 1), active=rollout(State.STAGING, kind=Kind.ROLLBACK, image=image(1))
    )

    change = apply(state, SPEC, RollBack(at=T0, by="ann", reason="no, stay", to="v2"))

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK


@pytest.mark.parametrize("state", [State.QUEUED, State.PREFLIGHT, State.STAGING, State.PROMOTING])
def test_a_push_does_not_call_a_way_back_off(state: State) -> None:
    """What serves is bad: a person's way back goes first, the push waits behind it."""
    going = replace(serving(2, 1), active=rollout(state, kind=Kind.ROLLBACK, image=image(1)))

    change = apply(going, SPEC, push(3))

    assert change.state.active == going.active
    assert [r.image for r in change.state.queued] == [image(3)]


def test_a_retry_of_what_serves_or_is_on_its_way_starts_nothing() -> None:
    running = replace(serving(2, 1), active=rollout(State.STAGING, image=image(3)))

    for n in (2, 3):
        change = apply(running, SPEC, Retry(at=T0, digest=digest(n), by="ann"))
        assert change.state == running
        assert kinds(change) == ["ignored"]


# --- Orders that name their rollout ---------------------------------------------------------------

MEANT = RolloutId("20260101T000000000-shop-00000002-1")  # the one that `rollout()` builds


@pytest.mark.parametrize("order", [Abort, Promote, RollBack])
def test_an_order_that_names_its_rollout_does_nothing_to_another(order: Any) -> None:
    """It was meant for one that is over by now."""
    running = app(active=rollout(State.OBSERVING))
    late = order(at=T0, by="ann", reason="bad")

    change = apply(running, SPEC, late, rollout=RolloutId("an-earlier-one"))
    idle = apply(serving(2, 1), SPEC, late, rollout=MEANT)

    assert change.state == running
    assert kinds(change) == kinds(idle) == ["refused"]
    assert f"{MEANT} is under way" in change.records[0].why
    assert "no rollout is under way" in idle.records[0].why


def test_an_order_that_names_the_running_rollout_is_carried_out() -> None:
    order = Abort(at=T0, by="ann", reason="bad")

    change = apply(app(active=rollout(State.OBSERVING)), SPEC, order, rollout=MEANT)

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK


def test_a_rollback_may_name_the_rollout_that_serves_since() -> None:
    """It went live while the order was on its way; what was meant is still what serves."""
    order = RollBack(at=T0, by="ann", reason="bad")

    change = apply(serving(2, 1), SPEC, order, rollout=RolloutId("r2"))

    assert change.state.active is not None
    assert change.state.active.image == image(1)
    assert kinds(apply(serving(2, 1), SPEC, order, rollout=RolloutId("r1"))) == ["refused"]


def test_an_abort_takes_one_that_waits_out_of_the_queue() -> None:
    """The one that runs is not disturbed; other orders do not reach one that waits."""
    running = rollout(State.OBSERVING, image=image(9), id=RolloutId("runs"))
    state = app(active=running, queued=(rollout(),))

    change = apply(state, SPEC, Abort(at=T0, by="ann", reason="no"), rollout=MEANT)
    promoted = apply(state, SPEC, Promote(at=T0, by="ann"), rollout=MEANT)

    assert change.state == replace(state, queued=())
    assert [(r.id, r.state) for r in change.ended] == [(MEANT, State.REJECTED)]
    assert kinds(promoted) == ["refused"]
