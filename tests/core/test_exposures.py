"""Since when users had which share of the new build: what is read back, not what is meant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from controller.core.asks import (
    ask_hold,
    ask_preflight,
    ask_promote,
    ask_route,
    ask_watch,
    probe_operations,
)
from controller.core.events import Done, Event, NotYet, PreflightPassed, Promote, Tick
from controller.core.gate import Learned, Synthetic
from controller.core.machine import decide
from controller.core.model import Rollout, State
from controller.core.plan import Health, HeldTraffic, Hold, StrategyKind
from tests.core.build import BLUE, MINUTE, SECOND, T0, awaiting, rollout, spec, strategy

LATER = T0 + MINUTE


def asked(state: State, ask: Any, **changes: Any) -> Rollout:
    """Return a rollout in *state* that awaits what the state asks."""
    base = rollout(state, **changes)
    return replace(base, awaiting=ask(base, Tick(at=T0)))


def done(r: Rollout, at: Any = LATER) -> Rollout:
    return decide(r, Done(at=at, key=awaiting(r))).rollout


def shares(r: Rollout) -> list[tuple[float, timedelta]]:
    return [(each.share, each.since - T0) for each in r.exposures]


def test_a_split_counts_from_when_it_was_read_back() -> None:
    """Not from when it was asked for: what is not yet true is asked again."""
    shifting = asked(State.SHIFTING, ask_route)
    again = decide(
        shifting, NotYet(at=T0, key=awaiting(shifting), detail="", retry_after=SECOND)
    ).rollout

    assert shares(again) == []
    assert shares(done(again)) == [(0.1, MINUTE)]


def test_a_renewed_watch_adds_nothing() -> None:
    observing = done(asked(State.SHIFTING, ask_route))
    watched = done(observing, LATER + MINUTE)

    assert watched.state is State.OBSERVING
    assert watched.exposures == observing.exposures


def test_everybody_counts_from_the_final_split_on() -> None:
    promoting = asked(State.PROMOTING, ask_promote, step=2)
    baking = done(promoting)

    assert baking.state is State.BAKING
    assert shares(baking) == [(1.0, MINUTE)]


def test_a_hold_that_returns_the_users_ends_the_exposure() -> None:
    """And its heartbeats do not end it again."""
    returned = strategy(10, hold=Hold(traffic=HeldTraffic.RETURNED))
    observing = done(asked(State.SHIFTING, ask_route, spec=spec(returned)))
    held = replace(observing, state=State.HELD, held_from=State.OBSERVING)
    held = replace(held, awaiting=ask_hold(held, None))

    once = done(held, T0 + 2 * MINUTE)
    again = done(replace(once, awaiting=ask_hold(once, None)), T0 + 3 * MINUTE)

    assert shares(again) == [(0.1, MINUTE), (0.0, 2 * MINUTE)]


def test_a_hold_that_leaves_the_users_changes_nothing() -> None:
    observing = done(asked(State.SHIFTING, ask_route))
    held = replace(observing, state=State.HELD, held_from=State.OBSERVING)
    held = replace(held, awaiting=ask_hold(held, None))

    assert done(held).exposures == observing.exposures


def test_while_builds_are_exchanged_no_share_is_counted_on() -> None:
    """The rules go before the swap, and nobody sees the moment at which builds change places."""
    swap = spec(strategy(10, 50, kind=StrategyKind.SWAP))
    observing = done(asked(State.SHIFTING, ask_route, spec=swap, step=1))

    promoting = decide(observing, Promote(at=T0 + 2 * MINUTE, by="Ada")).rollout

    assert promoting.state is State.PROMOTING
    assert shares(promoting) == [(0.5, MINUTE), (0.0, 2 * MINUTE)]


# --- What is learned, and what is ours ------------------------------------------------------------

LEARNED = Learned(since=T0 - 60 * MINUTE, until=T0, rows=900, failed_rows=9, edges=(50, 70, 90))


def test_what_preflight_learned_is_kept_and_told() -> None:
    """The audit shows the figures by which the build will be judged."""
    asking = asked(State.PREFLIGHT, ask_preflight)
    event: Event = PreflightPassed(
        at=LATER,
        key=awaiting(asking),
        active=BLUE,
        idle=BLUE,
        stable_image=None,
        stable_release=None,
        learned=LEARNED,
    )

    decision = decide(asking, event)

    assert decision.rollout.learned == LEARNED
    (record,) = decision.records
    assert record.numbers["learned_rows"] == 900
    assert record.numbers["learned_failed_rows"] == 9


@pytest.mark.parametrize(
    ("path", "readiness", "named"),
    [
        (None, "/up", ("GET /up",)),
        ("/deep?all=1", "/up?x=y", ("GET /up", "GET /deep")),
        ("/up", "/up", ("GET /up",)),
    ],
)
def test_our_own_requests_are_left_out_by_what_telemetry_calls_them(
    path: str | None, readiness: str, named: tuple[str, ...]
) -> None:
    """Both the readiness path and that of the judge's requests; no operation names a query."""
    base = spec(health=Health(readiness_path=readiness))
    gate = replace(base.analysis.gate, synthetic=Synthetic(path=path))
    observing = rollout(
        State.OBSERVING, spec=replace(base, analysis=replace(base.analysis, gate=gate))
    )

    assert probe_operations(observing) == named
    watch: Any = ask_watch(observing, None)
    assert (watch.probe_operations, watch.probe_path) == (named, path or readiness)
    preflight: Any = ask_preflight(observing, None)
    assert preflight.probe_operations == named
