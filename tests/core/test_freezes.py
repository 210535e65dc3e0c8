"""When freezes hold, in whatever zone, and that a release waits for their end."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.events import Abort, Promote, Tick
from controller.core.freezes import HORIZON, never_ends, thaw
from controller.core.line import advance
from controller.core.model import AppState, Kind, Release, RolloutId, State
from controller.core.orders import RollBack, Submit
from controller.core.plan import Freeze, NewPushPolicy
from controller.core.policy import apply
from controller.core.turns import Change
from tests.core.build import BLUE, GREEN, MINUTE, SECOND, T0, app, image, rollout, spec, strategy

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = "Europe/Berlin"
WEEKEND = Freeze(cron="0 18 * * fri", duration=60 * HOUR, timezone=BERLIN, reason="weekend")
YEAR_END = Freeze(cron="0 0 20 12 *", duration=14 * DAY, reason="year end")
NIGHT = Freeze(cron="30 2 * * *", duration=HOUR, timezone=BERLIN)
LONG = Freeze(cron="0 0 1 * *", duration=10 * DAY)
AGAIN = Freeze(cron="0 9,10 * * *", duration=90 * MINUTE)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- When it ends ---------------------------------------------------------------------------------

CASES: list[tuple[str, tuple[Freeze, ...], str, str | None]] = [
    ("none", (), "2026-01-02T16:59:59", None),
    ("before", (WEEKEND,), "2026-01-02T16:59:59", None),
    ("begins", (WEEKEND,), "2026-01-02T17:00:00", "2026-01-05T05:00:00"),
    ("within", (WEEKEND,), "2026-01-04T12:34:56", "2026-01-05T05:00:00"),
    ("over", (WEEKEND,), "2026-01-05T05:00:00", None),
    ("summer-time", (WEEKEND,), "2026-07-04T00:00:00", "2026-07-06T04:00:00"),
    # 60 h of real time from Friday 18:00 on, over the change of the clocks on Sunday.
    ("clocks-forward-within", (WEEKEND,), "2026-03-28T00:00:00", "2026-03-30T05:00:00"),
    ("clocks-back-within", (WEEKEND,), "2026-10-24T00:00:00", "2026-10-26T04:00:00"),
    # There is no 02:30 on 2026-03-29 in Berlin: it fires when the clocks have jumped, 01:00 UTC.
    ("jumped-over", (NIGHT,), "2026-03-29T01:00:00", "2026-03-29T02:00:00"),
    ("jumped-over-before", (NIGHT,), "2026-03-29T00:59:59", None),
    ("jumped-over-after", (NIGHT,), "2026-03-29T02:00:00", None),
    # 02:30 comes twice on 2026-10-25: the first time counts, 00:30 UTC.
    ("twice-first", (NIGHT,), "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
    ("twice-between", (NIGHT,), "2026-10-25T01:10:00", "2026-10-25T01:30:00"),
    ("twice-second", (NIGHT,), "2026-10-25T01:30:00", None),
    # A weekend leads into the year's end, and that into another weekend.
    ("joined", (WEEKEND, YEAR_END), "2026-12-19T00:00:00", "2027-01-04T05:00:00"),
    ("long", (LONG,), "2026-02-10T23:59:59", "2026-02-11T00:00:00"),
    ("fires-while-it-holds", (AGAIN,), "2026-02-10T09:30:00", "2026-02-10T11:30:00"),
    ("touching", (replace(AGAIN, duration=HOUR),), "2026-02-10T09:30:00", "2026-02-10T11:00:00"),
    ("never-fires", (Freeze(cron="0 0 30 2 *", duration=DAY),), "2026-02-10T09:30:00", None),
]


@pytest.mark.parametrize(
    ("freezes", "at", "end"), [pytest.param(*case, id=name) for name, *case in CASES]
)
def test_the_end_of_what_holds(freezes: tuple[Freeze, ...], at: str, end: str | None) -> None:
    """In wall time of the zone, for real time, over every change of the clocks."""
    found = thaw(freezes, utc(at))

    assert (found.at if found else None) == (utc(end) if end else None)
    assert found is None or found.is_found


def test_whoever_waits_is_told_why_and_until_when_in_the_zones_own_time() -> None:
    found = thaw((WEEKEND, YEAR_END), utc("2026-12-19T00:00:00"))

    assert found is not None
    assert found.why == (
        "waits for the end of a freeze, Mon 2027-01-04 06:00 Europe/Berlin: weekend; year end"
    )


@pytest.mark.parametrize(
    ("freezes", "endless"),
    [
        ((Freeze(cron="0 * * * *", duration=HOUR),), True),
        ((Freeze(cron="* * * * *", duration=MINUTE),), True),
        ((Freeze(cron="0 0 * * 1", duration=8 * DAY),), True),
        (tuple(Freeze(cron=f"0 {h} * * *", duration=14 * HOUR) for h in (0, 12)), True),
        ((Freeze(cron="0 0 * * *", duration=23 * HOUR),), False),
        ((WEEKEND, YEAR_END, LONG), False),
        ((), False),
    ],
)
def test_freezes_that_leave_no_time_are_found_out(
    freezes: tuple[Freeze, ...], *, endless: bool
) -> None:
    """The search is bounded, so that whoever waits for these learns when it gave up."""
    found = thaw(freezes, T0 + MINUTE)

    assert never_ends(freezes) is endless
    assert (found is not None and not found.is_found) is endless
    assert found is None or found.at <= T0 + HORIZON + 31 * DAY


_FREEZES = st.builds(
    Freeze,
    cron=st.builds(
        "{} {} * * {}".format,
        st.sampled_from(["0", "*/20", "30"]),
        st.sampled_from(["1", "2", "3", "*/6"]),
        st.sampled_from(["*", "sat,sun"]),
    ),
    duration=st.sampled_from([MINUTE, 30 * MINUTE, HOUR, 5 * HOUR]),
    timezone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"]),
)
_CHANGES = (utc("2026-03-29T01:00:00"), utc("2026-10-25T01:00:00"), utc("2026-04-04T15:00:00"))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    freezes=st.lists(_FREEZES, max_size=2),
    change=st.sampled_from(_CHANGES),
    minutes=st.integers(-300, 300),
)
def test_the_end_is_the_first_moment_that_is_free(
    freezes: list[Freeze], change: datetime, minutes: int
) -> None:
    """No moment before it is free, and it is free itself, around every change of the clocks."""
    at = change + minutes * MINUTE
    found = thaw(freezes, at)
    end = found.at if found else at

    assert thaw(freezes, end) is None
    while at < end:
        assert thaw(freezes, at) is not None
        at += 10 * MINUTE


# --- Who waits for it -----------------------------------------------------------------------------

WEEKEND_BEGINS = utc("2026-01-02T17:00:00")
FRIDAY = utc("2026-01-02T20:00:00")
MONDAY = utc("2026-01-05T05:00:00")
FROZEN = spec(strategy(10, 100, freezes=(WEEKEND,)))


def push(n: int, at: datetime = FRIDAY, **changes: Any) -> Submit:
    return Submit(at=at, image=image(n), by="registry", **changes)


def serving(**changes: Any) -> AppState:
    releases = tuple(
        Release(image=image(n), slot=slot, rollout=RolloutId(f"r{n}"), at=T0)
        for n, slot in ((2, BLUE), (1, GREEN))
    )
    return app(releases=releases, **changes)


def due(change: Change) -> datetime | None:
    assert change.state.active is not None
    return change.state.active.wake_at


def test_a_push_into_a_freeze_waits_for_its_end_and_says_so() -> None:
    change = apply(app(), FROZEN, push(3))

    assert due(change) == MONDAY
    assert change.state.active is not None
    assert change.state.active.frozen_until == MONDAY
    assert "Mon 2026-01-05 06:00 Europe/Berlin: weekend" in change.state.active.why
    early = advance(change.state, Tick(at=MONDAY - SECOND)).state.active
    late = advance(change.state, Tick(at=MONDAY)).state.active
    assert early is not None
    assert early.state is State.QUEUED
    assert late is not None
    assert late.state is State.PREFLIGHT


def test_the_end_of_the_cookies_may_lie_in_a_freeze() -> None:
    """What it waits for otherwise comes first; the freeze is looked for at that time."""
    state = serving(left=((GREEN, WEEKEND_BEGINS - 30 * MINUTE),))

    assert due(apply(state, FROZEN, push(3, WEEKEND_BEGINS - 20 * MINUTE))) == MONDAY


def test_whoever_waited_behind_another_looks_again_when_it_is_over() -> None:
    running = rollout(State.PREFLIGHT, spec=FROZEN, image=image(4))
    queue = replace(FROZEN, strategy=replace(FROZEN.strategy, new_push=NewPushPolicy.QUEUE))
    state = apply(app(active=running), queue, push(3, T0)).state

    change = advance(state, Abort(at=FRIDAY, by="ann"))

    assert due(change) == MONDAY


def test_a_wake_up_that_is_late_does_not_start_into_a_freeze() -> None:
    """Slipway was away over the beginning of the weekend."""
    before = apply(app(), FROZEN, push(3, WEEKEND_BEGINS - SECOND)).state
    assert before.active is not None
    assert before.active.wake_at == WEEKEND_BEGINS - SECOND

    change = advance(before, Tick(at=FRIDAY))

    assert due(change) == MONDAY
    assert [r.kind for r in change.records] == ["waits"]
    assert change.state.active is not None
    assert change.state.active.turn == before.active.turn + 1
    assert advance(change.state, Tick(at=FRIDAY)).state == change.state


def test_a_way_back_never_waits_for_a_freeze() -> None:
    order = RollBack(at=FRIDAY, by="ann", reason="customers call")
    change = apply(serving(), FROZEN, order)

    assert change.state.active is not None
    assert change.state.active.kind is Kind.ROLLBACK
    assert due(change) == FRIDAY
    moved = advance(change.state, Tick(at=FRIDAY)).state.active
    assert moved is not None
    assert moved.state is State.PREFLIGHT


def test_a_person_may_deploy_into_a_freeze_with_a_reason_that_is_kept() -> None:
    change = apply(app(), FROZEN, push(3, override=True, reason="hotfix for the checkout"))

    assert due(change) == FRIDAY
    assert change.state.active is not None
    assert change.state.active.override == "hotfix for the checkout"
    assert change.state.active.frozen_until is None


def test_a_promote_into_a_freeze_needs_a_reason() -> None:
    waiting = apply(app(), FROZEN, push(3)).state

    refused = apply(waiting, FROZEN, Promote(at=FRIDAY, by="ann"))
    promoted = apply(waiting, FROZEN, Promote(at=FRIDAY, by="ann", reason="cleared with ops"))

    assert refused.state == waiting
    assert [r.kind for r in refused.records] == ["refused"]
    assert "Promote it with a reason" in refused.records[0].why
    assert promoted.state.active is not None
    assert promoted.state.active.state is State.PREFLIGHT
    assert promoted.state.active.override == "cleared with ops"


def test_a_promote_before_the_freeze_begins_needs_none() -> None:
    """It waits for the cookies until Monday; now nothing is frozen."""
    state = serving(left=((GREEN, WEEKEND_BEGINS - 30 * MINUTE),))
    waiting = apply(state, FROZEN, push(3, WEEKEND_BEGINS - 20 * MINUTE)).state

    change = apply(waiting, FROZEN, Promote(at=WEEKEND_BEGINS - MINUTE, by="ann"))

    assert change.state.active is not None
    assert change.state.active.state is State.PREFLIGHT
    assert change.state.active.override == ""


def test_a_rollout_that_runs_goes_on_in_a_freeze() -> None:
    """No rollout starts; one that runs is not left half way."""
    running = app(active=rollout(State.OBSERVING, spec=FROZEN))

    change = apply(running, FROZEN, Promote(at=FRIDAY, by="ann"))

    assert change.state.active is not None
    assert change.state.active.state is State.PROMOTING
