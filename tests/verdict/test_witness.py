"""What the judge is asked: the state's own buckets, its own times."""

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.evidence import MemoryEvidence
from controller.adapters.memory.store import MemoryStore
from controller.core.events import Label
from controller.core.gate import Exposure
from controller.core.model import Rollout, State
from controller.core.plan import Analysis, SlotName
from controller.core.telemetry import IdentifyBy, PlatformLimits
from controller.ports import PlatformWatch, StoredBucket, Watching, WorkspaceWatch
from controller.runtime.witness import Witness, ask
from controller.verdict.buckets import Bucket, latency_bin
from controller.verdict.platform import SlotTotals
from tests.core.build import APP, MINUTE, SECOND, T0, rollout, spec, strategy

ENTERED = T0 + 10 * MINUTE
LAG = Analysis(workspace="ws").lag
WATCH = WorkspaceWatch(workspace="ws", last_success=ENTERED + 50 * SECOND)


def pair(seconds: int, *, stable: bool = True, rows: int = 10) -> StoredBucket:
    """Return what was seen of both builds *seconds* after the state was entered."""
    start = ENTERED + seconds * SECOND
    latency = {latency_bin(20.0): rows}
    bucket = Bucket(start=start, rows=rows, requests=rows, latency=latency)
    return StoredBucket(start=start, canary=bucket, stable=bucket if stable else None)


def at(state: State, **changes: Any) -> Rollout:
    return rollout(state, entered_at=ENTERED, spec=spec(strategy(10, 50)), **changes)


NOW = ENTERED + MINUTE


@pytest.mark.parametrize("state", [State.OBSERVING, State.BAKING, State.HELD, State.APPROVAL])
def test_only_what_began_in_the_state_counts(state: State) -> None:
    """A bucket that began before belongs to the split before."""
    stored = [pair(-30), pair(-1), pair(0), pair(15)]

    asked = ask(at(state), NOW, stored, WATCH)

    assert [pair.start for pair in asked.pairs] == [ENTERED, ENTERED + 15 * SECOND]
    assert asked.elapsed == MINUTE


@pytest.mark.parametrize(
    ("state", "changes", "least", "most"),
    [
        (State.OBSERVING, {}, MINUTE, 5 * MINUTE + LAG),
        (State.OBSERVING, {"step": 1}, MINUTE, 5 * MINUTE + LAG),
        (State.BAKING, {}, 10 * MINUTE, 10 * MINUTE + LAG),
        (State.HELD, {"held_from": State.OBSERVING}, MINUTE, None),
        (State.HELD, {"held_from": State.BAKING}, 10 * MINUTE, None),
        (State.HELD, {"held_from": State.APPROVAL, "step": 2}, MINUTE, None),
        (State.APPROVAL, {"step": 2}, MINUTE, None),
    ],
)
def test_each_state_is_looked_at_for_its_own_time(
    state: State, changes: dict[str, Any], least: timedelta, most: timedelta | None
) -> None:
    """The most is over only when what happened until then can have been seen."""
    asked = ask(at(state, **changes), NOW, [], WATCH)

    assert (asked.min_observation, asked.max_observation) == (least, most)


def test_a_plan_without_steps_can_be_held_too() -> None:
    bare = replace(at(State.HELD, held_from=State.BAKING), spec=spec(strategy()))

    assert ask(bare, NOW, [], WATCH).max_observation is None
    assert ask(replace(bare, held_from=State.APPROVAL), NOW, [], WATCH).min_observation == (
        timedelta()
    )


def test_the_first_release_has_no_stable_build_to_suffer_with() -> None:
    first = at(State.OBSERVING, stable_release=None)

    assert [p.stable for p in ask(first, NOW, [pair(0, stable=False)], WATCH).pairs] == [None]


def test_a_stable_build_that_was_not_seen_counts_as_nothing_not_as_unknown() -> None:
    asked = ask(at(State.OBSERVING), NOW, [pair(0, stable=False)], WATCH)

    assert [p.stable.rows for p in asked.pairs if p.stable is not None] == [0]


def test_evidence_since_the_first_users_counts_each_at_its_share() -> None:
    """What came before the step speaks against the build, too; only the step shows it healthy."""
    shares = (
        Exposure(since=ENTERED - MINUTE, share=0.1),
        Exposure(since=ENTERED, share=0.5),
    )
    stored = [pair(-75), pair(-60), pair(-15), pair(0), pair(15)]

    asked = ask(at(State.OBSERVING, exposures=shares), NOW, stored, WATCH)

    assert [p.share for p in asked.pairs] == [0.1, 0.1, 0.5, 0.5]
    assert asked.step_since == ENTERED


def test_of_a_rollout_that_is_held_for_long_the_newest_hours_count() -> None:
    stored = [pair(15 * number) for number in range(1000)]

    kept = ask(at(State.HELD, held_from=State.OBSERVING), NOW, stored, WATCH).pairs

    assert 600 <= len(kept) <= 720
    assert kept[-1].start == stored[-1].start


@pytest.mark.parametrize(
    ("last_success", "silence"),
    [
        (None, MINUTE),  # never since we ask
        (ENTERED - 60 * MINUTE, MINUTE),  # long ago: counts from when this state began
        (ENTERED + 50 * SECOND, 10 * SECOND),
        (NOW + SECOND, timedelta(0)),  # a clock ahead of ours
    ],
)
def test_the_silence_of_the_provider_counts_from_the_state_at_most(
    last_success: Any, silence: timedelta
) -> None:
    watch = WorkspaceWatch(workspace="ws", last_success=last_success, last_error="429")

    asked = ask(at(State.OBSERVING), NOW, [], watch)

    assert asked.provider_silence == silence
    assert asked.provider_error == "429"


async def test_what_is_kept_is_enough_to_judge_again() -> None:
    """The document holds question, judgement and query, and its hash is that of its bytes."""
    store, evidence = MemoryStore(), MemoryEvidence()
    await store.put(APP, rollout().id, [pair(0), pair(15)])
    await store.save_watch(WorkspaceWatch(workspace="ws", last_success=NOW, query="requests | x"))
    witness = Witness(buckets=store, evidence=evidence)
    observed = at(State.OBSERVING, turn=9)

    findings = await witness.testify(observed, NOW)
    place, digest = await witness.keep(observed, findings)

    assert findings.judgement.label is Label.CONTINUE
    assert place == f"evidence/shop/{observed.id}/9.json"
    body = await evidence.read(place)
    assert body is not None
    assert hashlib.sha256(body).hexdigest() == digest
    kept = json.loads(body)
    assert kept["query"] == "requests | x"
    assert [p["canary"]["rows"] for p in kept["question"]["pairs"]] == [10, 10]
    assert kept["question"]["elapsed"] == 60.0
    assert kept["judgement"]["numbers"] == findings.judgement.numbers
    assert await witness.keep(observed, findings) == (place, digest)


# --- What else the judge is told ------------------------------------------------------------------


def told_apart_by_role(**changes: Any) -> Rollout:
    base = at(State.OBSERVING, **changes)
    analysis = replace(base.spec.analysis, identify_by=IdentifyBy.ROLE_NAME)
    return replace(base, spec=replace(base.spec, analysis=analysis))


def test_slots_are_compared_where_the_stable_build_says_no_version() -> None:
    """By role the stable slot is seen, whatever runs there; that this is weaker is said."""
    asked = ask(told_apart_by_role(stable_release=None), NOW, [pair(0)], WATCH)

    assert asked.pairs[0].stable is not None
    assert asked.identified_by == "role_name"
    assert ask(at(State.OBSERVING), NOW, [pair(0)], WATCH).identified_by == "version"


@pytest.mark.parametrize(
    ("newest", "age"),
    [(None, None), (NOW - MINUTE, MINUTE), (NOW + MINUTE, timedelta(0))],
    ids=["never", "old", "a clock ahead of ours"],
)
def test_how_old_telemetry_is_goes_by_its_newest_row(newest: Any, age: timedelta | None) -> None:
    asked = ask(at(State.OBSERVING), NOW, [], replace(WATCH, newest=newest))

    assert asked.newest_age == age
    assert asked.stale_after == LAG + Analysis(workspace="ws").provider_grace


LIMITS = PlatformLimits(region="r", http5xx_rate_max=0.1)


def limited() -> Rollout:
    base = at(State.OBSERVING)
    analysis = replace(base.spec.analysis, platform_metrics=LIMITS)
    return replace(base, spec=replace(base.spec, analysis=analysis))


def test_metrics_nobody_limits_are_not_asked_for() -> None:
    assert ask(at(State.OBSERVING), NOW, [], WATCH).platform is None


def test_metrics_that_were_not_looked_at_yet_are_said_to_be_unknown() -> None:
    told = ask(limited(), NOW, [], WATCH).platform

    assert told is not None
    assert (told.canary, told.error) == (None, "not looked at yet")


def test_metrics_are_those_of_the_rollouts_own_slots() -> None:
    mine = limited()
    counted = SlotTotals(since=ENTERED, until=NOW, minutes=1, requests=9)
    watching = Watching(
        app=APP,
        rollout=mine.id,
        release="r",
        stable_release=None,
        probe_operations=(),
        poll=SECOND,
        bucket=SECOND,
        settle=SECOND,
        since=ENTERED,
        until=NOW,
        platform=PlatformWatch(
            target=mine.spec.target,
            limits=LIMITS,
            slot=SlotName("blue"),
            stable_slot=SlotName("production"),
            since=ENTERED,
            canary=counted,
            read_at=NOW - SECOND,
        ),
    )
    other = replace(watching, rollout="other", platform=None)

    told = ask(mine, NOW, [], replace(WATCH, watching=(other, watching))).platform

    assert told is not None
    assert (told.slot, told.stable_slot, told.canary) == ("blue", "production", counted)
    assert (told.age, told.error) == (SECOND, None)
