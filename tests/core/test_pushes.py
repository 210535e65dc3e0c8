"""One release is one rollout, however often, late and under however many tags it is told of."""

import random
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.core.events import Tick
from controller.core.line import advance
from controller.core.model import AppState, Kind, Quarantined, Release, Rollout, RolloutId, State
from controller.core.orders import Retry, RollBack, Submit
from controller.core.plan import AppSpec, Delay, NewPushPolicy
from controller.core.policy import apply
from controller.core.turns import Change, finish
from tests.core.build import (
    BLUE,
    GREEN,
    MINUTE,
    SECOND,
    T0,
    app,
    digest,
    image,
    rollout,
    spec,
    strategy,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SPEC = spec()


def told(n: int, tag: str | None = None, *, at: datetime, came: datetime | None = None) -> Submit:
    """Return the notice of a push of image *n* at *at*, which came when it happened or later."""
    named = replace(image(n), tag=tag or f"v{n}")
    return Submit(at=came or at, image=named, by="registry", pushed=True, pushed_at=at)


def undated(notice: Submit) -> Submit:
    return replace(notice, pushed_at=None)


def ended(state: AppState, *, well: bool = True, at: datetime) -> AppState:
    """Return the app after its rollout ended, without walking through it."""
    active = state.active
    assert active is not None
    if not well:
        over = replace(active, state=State.REJECTED)
        return replace(state, active=None) if over else state
    release = Release(image=active.image, slot=BLUE, rollout=active.id, at=at)
    others = tuple(r for r in state.releases if r.image.digest != active.image.digest)
    return replace(state, active=None, releases=(release, *others))


def released(*notices: Submit, spec: AppSpec = SPEC) -> AppState:
    """Return the app after each of *notices* became a release."""
    state = app()
    for notice in notices:
        state = ended(apply(state, spec, notice).state, at=notice.at + 10 * MINUTE)
    return state


def one_kind(change: Change) -> str:
    (record,) = change.records
    return record.kind


FIRST, SECOND_PUSH = told(1, "latest", at=T0), told(2, "latest", at=T0 + DAY)
NOW = T0 + 2 * DAY

# --- Told of again --------------------------------------------------------------------------------

OLD_NEWS: list[tuple[str, Submit, str]] = [
    ("redelivered", replace(FIRST, at=NOW), "before latest"),
    ("another-channel", undated(replace(FIRST, at=NOW)), "does not say when"),
    ("another-tag", told(1, "v1", at=T0 + SECOND, came=NOW), "before latest"),
    ("echo-of-a-region", told(1, "v1", at=T0 + DAY + SECOND, came=NOW), "no tag was moved"),
    ("archived", told(1, "keep-v1", at=NOW), "no tag was moved"),
    ("ci-ran-again", told(1, "v1", at=NOW), "no tag was moved"),
    ("never-seen-but-old", told(3, "v3", at=T0 + HOUR, came=NOW), "before latest"),
    ("serves", replace(SECOND_PUSH, at=NOW), "serves already"),
    ("serves-moved", told(2, "v2", at=NOW), "serves already"),
]


@pytest.mark.parametrize(
    ("notice", "said"), [pytest.param(*case, id=name) for name, *case in OLD_NEWS]
)
def test_what_is_told_again_starts_nothing_and_is_recorded(notice: Submit, said: str) -> None:
    """An old build that went live by a late notice would be a downgrade that nobody asked for."""
    state = released(FIRST, SECOND_PUSH)

    change = apply(state, SPEC, notice)

    assert one_kind(change) == "ignored"
    assert change.state.active is None
    assert said in change.records[0].why
    assert "serves already" in said or "deploy it by hand" in change.records[0].why


def test_a_person_deploys_by_hand_what_a_notice_cannot() -> None:
    order = Submit(at=NOW, image=image(1), by="ann", reason="as it was")

    change = apply(released(FIRST, SECOND_PUSH), SPEC, order)

    assert one_kind(change) == "submitted"


def test_a_tag_that_is_moved_back_later_goes_back() -> None:
    """The registry says that it happened after all it told of, and the tag named another build."""
    change = apply(released(FIRST, SECOND_PUSH), SPEC, told(1, "latest", at=NOW))

    assert one_kind(change) == "submitted"
    assert change.state.active is not None
    assert change.state.active.image.digest == digest(1)
    again = apply(ended(change.state, at=NOW), SPEC, told(2, "latest", at=NOW + DAY))
    assert one_kind(again) == "submitted"


def test_a_region_that_tells_of_a_push_late_is_no_tag_that_is_moved_back() -> None:
    """Each region of a registry dates the push when it got there: up to an hour is an echo."""
    state = released(FIRST, told(2, "latest", at=T0 + 20 * MINUTE))

    echo = apply(state, SPEC, told(1, "latest", at=T0 + 40 * MINUTE))
    later = apply(state, SPEC, told(1, "latest", at=T0 + 61 * MINUTE))

    assert one_kind(echo) == "ignored"
    assert "told of before" in echo.records[0].why
    assert one_kind(later) == "submitted"


def test_a_build_that_never_served_may_be_pushed_again() -> None:
    """It could not start; whoever pushes it again later wants it again. A repetition does not."""
    state = ended(apply(app(), SPEC, FIRST).state, well=False, at=T0)

    assert one_kind(apply(state, SPEC, replace(FIRST, at=T0 + 3 * HOUR))) == "ignored"
    assert one_kind(apply(state, SPEC, undated(replace(FIRST, at=T0 + 3 * HOUR)))) == "ignored"
    assert one_kind(apply(state, SPEC, told(1, "latest", at=T0 + 3 * HOUR))) == "submitted"


def test_a_push_that_was_refused_may_be_pushed_again() -> None:
    reject = spec(strategy(10, 100, new_push=NewPushPolicy.REJECT))
    busy = apply(app(), reject, FIRST).state
    refused = apply(busy, reject, told(2, at=T0 + MINUTE))
    assert one_kind(refused) == "refused"
    free = ended(refused.state, at=T0 + HOUR)

    repeated = told(2, at=T0 + MINUTE, came=T0 + HOUR)
    assert one_kind(apply(free, reject, repeated)) == "ignored"
    assert one_kind(apply(free, reject, told(2, at=T0 + HOUR))) == "submitted"


def test_what_a_person_rolled_out_does_not_stop_the_push_that_comes_after() -> None:
    """Only a push is remembered as one. One from before the person's deploy is late, though."""
    state = ended(apply(app(), SPEC, Submit(at=T0, image=image(1), by="ann")).state, at=T0 + MINUTE)
    state = ended(apply(state, SPEC, replace(SECOND_PUSH, pushed=False)).state, at=T0 + DAY)

    assert one_kind(apply(state, SPEC, told(1, at=NOW))) == "submitted"
    assert one_kind(apply(state, SPEC, told(1, at=T0 - HOUR, came=NOW))) == "ignored"


def test_the_memory_ends() -> None:
    """And none is kept where none is wanted: then every push counts."""
    late = undated(replace(FIRST, at=T0 + 31 * DAY))
    forgetful = replace(SPEC, source=replace(SPEC.source, remember=timedelta()))

    assert one_kind(apply(released(FIRST, SECOND_PUSH), SPEC, late)) == "submitted"
    state = released(FIRST, SECOND_PUSH, spec=forgetful)
    assert state.pushes == ()
    assert one_kind(apply(state, forgetful, replace(FIRST, at=NOW))) == "submitted"


def test_a_registry_whose_clock_is_ahead_does_not_silence_later_pushes() -> None:
    ahead = replace(FIRST, pushed_at=T0 + 365 * DAY)

    assert one_kind(apply(released(ahead), SPEC, SECOND_PUSH)) == "submitted"


def test_what_is_remembered_is_bounded() -> None:
    state = released(*(told(n, at=T0 + n * HOUR) for n in range(1, 140)))

    assert len(state.pushes) == 100
    assert state.pushes[0].digest == digest(139)
    assert one_kind(apply(state, SPEC, told(1, at=T0 + HOUR, came=T0 + 200 * HOUR))) == "ignored"


# --- While another runs ---------------------------------------------------------------------------


def running(
    n: int, *, state: State = State.OBSERVING, base: AppState, spec: AppSpec = SPEC
) -> AppState:
    """Return the app while the push of *n*, a day after the first, is rolled out."""
    begun = apply(base, spec, told(n, "latest", at=T0 + DAY)).state
    assert begun.active is not None
    return replace(begun, active=replace(begun.active, state=state))


def test_a_tag_moved_back_to_what_serves_calls_the_newer_build_off() -> None:
    """What serves needs no rollout: once the newer one is back, nothing is left to do."""
    state = running(2, base=released(FIRST))

    change = apply(state, SPEC, told(1, "latest", at=NOW))

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK
    assert change.state.active.superseded
    assert [r.image.digest for r in change.state.queued] == [digest(1)]
    gone = replace(change.state.active, state=State.SUPERSEDED, awaiting=None)
    left = finish(replace(change.state, active=gone), gone, NOW)
    assert left.state.active is None
    assert [(r.image.digest, r.state) for r in left.ended] == [
        (digest(2), State.SUPERSEDED),
        (digest(1), State.SUPERSEDED),
    ]
    assert "serves already" in left.records[-1].why


def test_a_tag_moved_back_while_the_newer_build_bakes_is_rolled_out_after_it() -> None:
    state = running(2, state=State.BAKING, base=released(FIRST))

    change = apply(state, SPEC, told(1, "latest", at=NOW))

    assert change.state.active is not None
    assert change.state.active.state is State.BAKING
    assert [r.image.digest for r in change.state.queued] == [digest(1)]


@pytest.mark.parametrize("tag", ["keep-v1", "v1"])
def test_another_tag_for_what_serves_does_not_disturb_the_newer_build(tag: str) -> None:
    state = running(2, base=released(FIRST))

    change = apply(state, SPEC, told(1, tag, at=NOW))

    assert one_kind(change) == "ignored"
    assert change.state.active == state.active
    assert change.state.queued == ()


def test_a_tag_moved_back_to_what_runs_calls_off_who_waits() -> None:
    state = running(2, state=State.BAKING, base=released(FIRST))
    state = apply(state, SPEC, told(3, "latest", at=T0 + DAY + HOUR)).state
    assert [r.image.digest for r in state.queued] == [digest(3)]

    change = apply(state, SPEC, told(2, "latest", at=NOW))

    assert change.state.active == state.active
    assert change.state.queued == ()
    assert [r.image.digest for r in change.ended] == [digest(3)]


# --- Quarantine -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "notice",
    [
        told(2, "latest", at=NOW),
        told(2, "v2.0.1", at=NOW),
        undated(told(2, "hotfix", at=NOW)),
        replace(told(2, at=NOW), image=replace(image(2), registry="R.IO", repository="SHOP")),
        replace(told(2, at=NOW), pushed=False),
    ],
    ids=["moved-back", "another-tag", "undated", "alias", "by-hand"],
)
def test_no_tag_and_no_channel_leads_past_the_quarantine(notice: Submit) -> None:
    bad = Quarantined(image=image(2), rollout=RolloutId("r2"), reason="regressed", at=T0)

    change = apply(replace(released(FIRST), quarantine=(bad,)), SPEC, notice)

    assert one_kind(change) == "ignored"
    assert "say retry" in change.records[0].why
    assert change.state.active is None


def test_who_waits_while_his_build_is_taken_back_is_not_begun() -> None:
    """It was accepted before anybody knew."""
    way_back = rollout(State.PROMOTING, kind=Kind.ROLLBACK, image=image(1), active=BLUE, idle=GREEN)
    over = replace(way_back, state=State.SUCCEEDED)
    two = Release(image=image(2), slot=BLUE, rollout=RolloutId("r2"), at=T0)
    waits = rollout(id=RolloutId("w"), image=image(2))
    left = finish(app(active=over, releases=(two,), queued=(waits,)), over, NOW)

    assert left.state.active is None
    assert [r.id for r in left.ended] == [over.id, "w"]


# --- What it is called ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "called"),
    [
        ("latest", "v1.4.2", "v1.4.2"),
        ("v1.4.2", "latest", "v1.4.2"),
        ("stable", "1.4.2", "1.4.2"),
        ("latest", "stable", "stable"),
        ("1", "1.4.2", "1.4.2"),
        ("1.4.2", "1.4", "1.4.2"),
        ("v1.4.2", "v1.4.3", "v1.4.2"),
        ("main-3f2c", "release", "main-3f2c"),
    ],
)
def test_several_tags_of_one_build_are_one_rollout_with_the_most_telling_name(
    first: str, second: str, called: str
) -> None:
    """A version before a word, a longer version before a shorter, `latest` last; else the first."""
    begun = apply(app(), SPEC, told(1, first, at=T0)).state

    change = apply(begun, SPEC, told(1, second, at=T0 + SECOND))

    assert one_kind(change) == "ignored"
    assert change.state.active is not None
    assert change.state.active.image.tag == called
    assert change.ended == ()


def test_what_serves_gets_its_version_too_so_that_it_can_be_named() -> None:
    state = apply(
        released(FIRST, SECOND_PUSH), SPEC, told(1, "v1.0", at=T0 + SECOND, came=NOW)
    ).state

    back = apply(state, SPEC, RollBack(at=NOW, by="ann", reason="bad", to="v1.0"))

    assert [r.image.tag for r in state.releases] == ["latest", "v1.0"]
    assert one_kind(back) == "submitted"


# --- Any order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dated", [(True,), (True, False), (False,)], ids=str)
@pytest.mark.parametrize("seed", range(10))
def test_in_any_order_and_number_each_push_is_at_most_one_rollout(
    seed: int, dated: tuple[bool, ...]
) -> None:
    """Every tag and channel of every push, several times over.

    Where all have dates, the newest wins; else the order of arrival decides.
    """
    dice = random.Random(seed)  # noqa: S311 - not for secrets
    notices = [
        replace(notice, pushed_at=notice.at if is_dated else None)
        for n in range(1, 9)
        for notice in (told(n, "latest", at=T0 + n * HOUR), told(n, at=T0 + n * HOUR))
        for is_dated in dated
    ] * 5
    dice.shuffle(notices)
    state, came = app(), T0 + DAY
    for notice in notices:
        came += timedelta(seconds=dice.randint(1, 1000))
        state = apply(state, SPEC, replace(notice, at=came)).state
        if state.active is not None and dice.random() < 0.4:
            state = ended(state, well=True, at=came)
    serves = state.active.image if state.active else state.releases[0].image

    assert {count for _, count in state.attempts} == {1}
    assert serves.digest == digest(8) or not all(dated)


# --- Delay ----------------------------------------------------------------------------------------

QUIET = Delay(quiet=30 * SECOND, limit=2 * MINUTE)


def delayed(policy: NewPushPolicy = NewPushPolicy.SUPERSEDE, **changes: Any) -> AppSpec:
    return spec(strategy(10, 100, new_push=policy, delay=QUIET, **changes))


POLICIES = list(NewPushPolicy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_burst_becomes_one_rollout_of_its_last_push(policy: NewPushPolicy) -> None:
    """Each newer push takes the place of the one before and waits anew; none is refused."""
    state = app()
    for n in range(1, 4):
        change = apply(state, delayed(policy), told(n, at=T0 + n * 20 * SECOND))
        state = change.state
        assert {r.state for r in change.ended} <= {State.SUPERSEDED}
        assert len(change.ended) == (1 if n > 1 else 0)

    assert state.active is not None
    assert state.active.image == image(3)
    assert state.active.wake_at == T0 + 60 * SECOND + QUIET.quiet
    assert "waits for a newer push until 00:01:30Z" in state.active.why
    assert state.queued == ()
    begun = advance(state, Tick(at=T0 + 90 * SECOND)).state.active
    assert begun is not None
    assert begun.state is State.PREFLIGHT


@pytest.mark.parametrize("policy", POLICIES)
def test_a_burst_without_an_end_starts_at_its_limit(policy: NewPushPolicy) -> None:
    state = app()
    for n in range(1, 7):
        state = apply(state, delayed(policy), told(n, at=T0 + n * 20 * SECOND)).state

    assert state.active is not None
    assert state.active.wake_at == T0 + 20 * SECOND + QUIET.limit


def test_after_its_window_a_push_is_one_that_waits_like_others() -> None:
    """Queued behind another; the policy says what becomes of it, and the window is a new one."""
    busy = app(active=rollout(State.OBSERVING, image=image(9), spec=delayed()))
    queue = delayed(NewPushPolicy.QUEUE)
    state = apply(busy, queue, told(1, at=T0)).state
    within = apply(state, queue, told(2, at=T0 + 29 * SECOND)).state
    after = apply(within, queue, told(3, at=T0 + 59 * SECOND)).state

    assert [r.image for r in within.queued] == [image(2)]
    assert within.active == busy.active
    assert [r.image for r in after.queued] == [image(2), image(3)]
    assert after.queued[1].burst_since == T0 + 59 * SECOND


@pytest.mark.parametrize("policy", POLICIES)
def test_orders_do_not_wait(policy: NewPushPolicy) -> None:
    """A person's deploy takes the place of a push that waits, and starts at once."""
    waiting = apply(app(), delayed(policy), told(1, at=T0)).state

    change = apply(waiting, delayed(policy), Submit(at=T0 + SECOND, image=image(2), by="ann"))

    assert change.state.active is not None
    assert change.state.active.image == image(2)
    assert change.state.active.wake_at == T0 + SECOND
    assert [r.image for r in change.ended] == [image(1)]


def test_rollbacks_and_retries_do_not_wait() -> None:
    state = released(FIRST, SECOND_PUSH)
    back = apply(state, delayed(), RollBack(at=NOW, by="ann", reason="bad")).state.active
    again = apply(state, delayed(), Retry(at=NOW, digest=digest(7), by="ann")).state.active

    assert back is not None
    assert again is not None
    assert (back.wake_at, again.wake_at) == (NOW, NOW)


def test_without_a_delay_nothing_waits() -> None:
    state: Rollout | None = apply(app(), SPEC, told(1, at=T0)).state.active

    assert state is not None
    assert (state.wake_at, state.settles_at, state.why) == (T0, None, "")
