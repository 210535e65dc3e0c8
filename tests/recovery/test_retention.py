"""Grandfather, father, son; and never the last good sets, whatever clocks and people do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.errors import ConfigurationError
from controller.recovery.names import SetId
from controller.recovery.retention import Retention, RetentionPolicy, decide
from controller.recovery.sets import StoredSet
from tests.recovery.kit import BEGUN, stored

NOTHING = RetentionPolicy(keep_last=0, daily=0, weekly=0, monthly=0, yearly=0, min_verified=1)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def nightly(count: int, *, verified: bool = True) -> list[StoredSet]:
    """Return a set for each of the last nights, the newest first."""
    return [stored(BEGUN - DAY * n, verified=verified or None) for n in range(count)]


def test_daily_weekly_monthly_and_yearly_ones_stay() -> None:
    """Of two years of nights: 7 days, 4 weeks, 12 months, 3 years; some are two of these."""
    policy = RetentionPolicy(keep_last=3, daily=7, weekly=4, monthly=12, yearly=3)
    decision = decide(nightly(730), BEGUN, policy)

    reasons = [reason for why in decision.keep.values() for reason in why]
    assert sum(reason.startswith("daily") for reason in reasons) == 7
    assert sum(reason.startswith("weekly") for reason in reasons) == 4
    assert sum(reason.startswith("monthly") for reason in reasons) == 12
    assert sum(reason.startswith("yearly") for reason in reasons) == 3
    assert len(decision.keep) + len(decision.remove) == 730
    assert list(decision.remove) == sorted(decision.remove)
    newest = decision.keep[nightly(1)[0].id]
    assert newest[:3] == ("newest", "last 1 of 3", "verified 1 of 2")
    assert newest[3:] == ("daily 2026-11-23", "weekly 2026-W48", "monthly 2026-11", "yearly 2026")


def test_of_a_day_the_verified_one_stays() -> None:
    """A newer one that nobody has looked at is no substitute."""
    known = stored(BEGUN - 5 * HOUR, verified=True)
    newer = stored(BEGUN - 3 * HOUR)
    newest = stored(BEGUN - HOUR)
    decision = decide([known, newer, newest], BEGUN, replace(NOTHING, daily=1))

    assert set(decision.keep) == {known.id, newest.id}
    assert decision.remove == (newer.id,)


def test_when_backups_stop_nothing_expires() -> None:
    """Years later, by the clock, the same sets stay."""
    sets, policy = nightly(60), RetentionPolicy()
    now = decide(sets, BEGUN, policy)
    later = decide(sets, BEGUN + DAY * 3650, policy)

    assert (later.keep, later.remove) == (now.keep, now.remove)


def test_without_enough_verified_sets_nothing_goes() -> None:
    """The others may be all there is: verifying comes first."""
    sets = nightly(30, verified=False)
    sets[20] = stored(sets[20].begun_at, verified=True)
    decision = decide(sets, BEGUN, RetentionPolicy(keep_last=1, daily=0, weekly=0, monthly=0))

    assert decision.remove == ()
    assert set(decision.keep) == {sets[0].id, sets[20].id}
    assert set(decision.refused.values()) == {
        "only 1 verified, 2 must stay: verify more sets first"
    }


def test_sets_of_the_future_are_kept_and_named() -> None:
    """They fill no slot: the sets of before are judged without them."""
    sets = nightly(5)
    future = stored(BEGUN + HOUR, verified=True)
    decision = decide([*sets, future], BEGUN, replace(NOTHING, keep_last=1))

    assert decision.keep[future.id] == (
        "from the future: the clock here, or where it was made, is wrong",
    )
    assert "newest" in decision.keep[sets[0].id]
    assert decide([*sets, future], BEGUN - DAY * 99, NOTHING).remove == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"has_legal_hold": True}, "held: a legal hold is on it"),
        ({"immutable_until": BEGUN + DAY}, "held: immutable until 2026-11-24 07:45 UTC"),
    ],
)
def test_what_is_locked_is_kept(change: dict[str, object], reason: str) -> None:
    """The vault would not let go of it."""
    sets = nightly(4)
    sets[3] = replace(sets[3], **change)  # type: ignore[arg-type]  # by name
    decision = decide(sets, BEGUN, NOTHING)

    assert decision.keep[sets[3].id] == (reason,)
    assert set(decision.remove) == {sets[1].id, sets[2].id}
    unlocked = replace(sets[3], has_legal_hold=False, immutable_until=BEGUN - DAY)
    assert unlocked.id in decide([*sets[:3], unlocked], BEGUN, NOTHING).remove


def test_what_a_rollout_may_go_back_to_is_kept() -> None:
    """Whoever names it says what needs it."""
    sets = nightly(4)
    decision = decide(sets, BEGUN, NOTHING, needed={sets[3].id: "restore point of rollout 7"})

    assert decision.keep[sets[3].id] == ("needed: restore point of rollout 7",)


def test_incomplete_sets_go_a_day_after_their_last_byte() -> None:
    """By when they were begun and by when the vault saw something of them."""
    base = replace(stored(BEGUN), manifest=None)
    for begun, written_at, goes in (
        (BEGUN - 25 * HOUR, BEGUN - 25 * HOUR, True),
        (BEGUN - 25 * HOUR, None, True),
        (BEGUN - 25 * HOUR, BEGUN - 23 * HOUR, False),
        (BEGUN - 23 * HOUR, BEGUN - 25 * HOUR, False),
    ):
        one = replace(base, id=stored(begun).id, last_written_at=written_at)
        decision = decide([one], BEGUN, NOTHING)
        assert (decision.remove == (one.id,)) is goes
        assert bool(decision.refused) is not goes


def test_what_is_damaged_is_left_to_people_and_fills_no_slot() -> None:
    """Unreadable perhaps only for this version or this key."""
    sets = nightly(6)
    sets[0] = replace(sets[0], problem="Part 'database' is missing.")
    sets[1] = stored(sets[1].begun_at, verified=False)
    decision = decide(sets, BEGUN, replace(NOTHING, keep_last=2, min_verified=1))

    assert set(decision.keep) == {sets[2].id, sets[3].id}
    assert "Part 'database' is missing." in decision.refused[sets[0].id]
    assert "verification failed" in decision.refused[sets[1].id]
    assert set(decision.remove) == {sets[4].id, sets[5].id}


@pytest.mark.parametrize("change", [{"min_verified": 0}, {"daily": -1}])
def test_a_policy_that_could_leave_nothing_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        RetentionPolicy(**change)


# --- What holds of any sets -----------------------------------------------------------------------

POLICIES = st.builds(
    RetentionPolicy,
    keep_last=st.integers(0, 4),
    daily=st.integers(0, 4),
    weekly=st.integers(0, 3),
    monthly=st.integers(0, 3),
    yearly=st.integers(0, 2),
    min_verified=st.integers(1, 4),
)


@st.composite
def any_set(draw: st.DrawFn) -> StoredSet:
    hours = draw(st.integers(-20_000, 60))
    one = stored(
        BEGUN + HOUR * hours,
        verified=draw(st.sampled_from([True, True, None, False])),
        tail=f"{draw(st.integers(0, 15)):04x}",
    )
    flaw = draw(st.sampled_from(["", "", "", "", "incomplete", "unreadable", "hold"]))
    if flaw == "incomplete":
        return replace(one, manifest=None)
    if flaw == "unreadable":
        return replace(one, problem="It is odd.")
    return replace(one, has_legal_hold=flaw == "hold")


SETS = st.lists(any_set(), max_size=25, unique_by=lambda each: each.id)


def without(sets: Sequence[StoredSet], *decisions: Retention) -> list[StoredSet]:
    gone = {name for decision in decisions for name in decision.remove}
    return [each for each in sets if each.id not in gone]


def verified(sets: Sequence[StoredSet], now: datetime = BEGUN) -> list[SetId]:
    return sorted(each.id for each in sets if each.is_verified and each.begun_at <= now)


@given(SETS, POLICIES)
def test_the_verified_ones_never_fall_below_the_minimum(
    sets: list[StoredSet], policy: RetentionPolicy
) -> None:
    """The newest of them stay; and so does the newest good one of all."""
    left = without(sets, decide(sets, BEGUN, policy))
    least = min(policy.min_verified, len(verified(sets)))

    assert len(verified(left)) >= least
    assert verified(left)[-least:] == verified(sets)[-least:] or least == 0
    good = [each for each in sets if each.manifest and not each.problem and not each.is_suspect]
    if past := [each.id for each in good if each.begun_at <= BEGUN]:
        assert max(past) in {each.id for each in left}


@given(SETS, POLICIES)
def test_every_set_is_accounted_for_once(sets: list[StoredSet], policy: RetentionPolicy) -> None:
    """Kept with reasons, removed, or left alone with one."""
    decision = decide(sets, BEGUN, policy)
    named = [*decision.keep, *decision.remove, *decision.refused]

    assert sorted(named) == sorted(each.id for each in sets)
    assert all(decision.keep.values())


@given(SETS, POLICIES, st.randoms(use_true_random=False))
def test_the_order_of_the_listing_does_not_matter(
    sets: list[StoredSet], policy: RetentionPolicy, random: object
) -> None:
    again = list(sets)
    random.shuffle(again)  # type: ignore[attr-defined]  # Hypothesis' own kind

    assert decide(again, BEGUN, policy) == decide(sets, BEGUN, policy)


@given(SETS, POLICIES)
def test_deciding_again_after_removing_removes_nothing_more(
    sets: list[StoredSet], policy: RetentionPolicy
) -> None:
    """So a run that was repeated is harmless."""
    left = without(sets, decide(sets, BEGUN, policy))

    assert decide(left, BEGUN, policy).remove == ()


@given(SETS, SETS, POLICIES, POLICIES, st.integers(0, 25))
def test_two_runs_at_once_leave_what_either_would_have_left(
    sets: list[StoredSet],
    newer: list[StoredSet],
    mine: RetentionPolicy,
    theirs: RetentionPolicy,
    removed_already: int,
) -> None:
    """Theirs sees what mine has left so far and what came meanwhile; both remove what they said."""
    my_decision = decide(sets, BEGUN, mine)
    half = set(my_decision.remove[:removed_already])
    known = {each.id for each in sets}
    seen = [each for each in sets if each.id not in half]
    seen += [each for each in newer if each.id not in known]
    their_decision = decide(seen, BEGUN, theirs)

    every = [*sets, *(each for each in newer if each.id not in known)]
    left = without(every, my_decision, their_decision)
    least = min(mine.min_verified, theirs.min_verified, len(verified(sets)))
    assert len(verified(left)) >= least


@given(SETS, POLICIES, st.integers(-100_000, 100_000))
def test_no_clock_makes_good_sets_expire(
    sets: list[StoredSet], policy: RetentionPolicy, hours: int
) -> None:
    """A clock that is wrong by years keeps more, or the same: the verified minimum stays."""
    now = BEGUN + HOUR * hours
    left = without(sets, decide(sets, now, policy))
    least = min(policy.min_verified, len([each for each in sets if each.is_verified]))

    assert len([each for each in left if each.is_verified]) >= least
