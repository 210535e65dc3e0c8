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
from controller.core.model import Rollout, State
from controller.core.plan import Analysis
from controller.ports import StoredBucket, WorkspaceWatch
from controller.runtime.witness import Witness, ask
from controller.verdict.buckets import Bucket, latency_bin
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

    assert [b.start for b in asked.canary] == [ENTERED, ENTERED + 15 * SECOND]
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

    assert ask(first, NOW, [pair(0, stable=False)], WATCH).stable is None


def test_a_stable_build_that_was_not_seen_counts_as_nothing_not_as_unknown() -> None:
    asked = ask(at(State.OBSERVING), NOW, [pair(0, stable=False)], WATCH)

    assert asked.stable is not None
    assert [b.rows for b in asked.stable] == [0]


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

    assert findings.judgement.label is Label.HEALTHY
    assert place == f"evidence/shop/{observed.id}/9.json"
    body = await evidence.read(place)
    assert body is not None
    assert hashlib.sha256(body).hexdigest() == digest
    kept = json.loads(body)
    assert kept["query"] == "requests | x"
    assert [b["rows"] for b in kept["question"]["canary"]] == [10, 10]
    assert kept["question"]["elapsed"] == 60.0
    assert kept["judgement"]["numbers"] == findings.judgement.numbers
    assert await witness.keep(observed, findings) == (place, digest)
