"""What alerts do to an app: which count, which only are written down, which are forgotten."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.alerts import (
    FORGOTTEN_AFTER,
    AlertOrder,
    Condition,
    is_listed,
    owned,
    short_resource,
)
from controller.core.effects import Preflight, Restore
from controller.core.events import NotYet, Tick
from controller.core.line import advance
from controller.core.model import ENDS, AppState, Kind, Rollout, State
from controller.core.orders import Submit
from controller.core.plan import Alerts
from controller.core.policy import apply
from controller.core.turns import Change
from tests.core.build import MINUTE, SECOND, T0, TARGET, app, image, rollout, spec

SITE = TARGET.resource_id
PLAN = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Web/serverfarms/plan"
SPEC = spec(alerts=Alerts(rules=("shop-*", "test-shop-*"), resources=(PLAN,)))
NOW = T0 + 30 * MINUTE
EXPOSED = T0 + 20 * MINUTE


def fired(**changes: Any) -> AlertOrder:
    base = AlertOrder(
        at=NOW,
        condition=Condition.FIRED,
        id="a1",
        rule="shop-5xx",
        resource=SITE.lower(),
        fired_at=NOW - MINUTE,
        detail="Sev1: Total Http5xx was 42, more than 10 over 5 min",
    )
    return replace(base, **changes)


def resolved(**changes: Any) -> AlertOrder:
    return replace(fired(condition=Condition.RESOLVED), **changes)


def exposed(state: State = State.OBSERVING, **changes: Any) -> Rollout:
    """Return a rollout whose build has had users since `EXPOSED`."""
    return rollout(state, spec=SPEC, had_users=True, exposed_at=EXPOSED, **changes)


def tell(state: AppState, *orders: AlertOrder) -> Change:
    change = Change(state=state)
    for order in orders:
        change = change.then(apply(change.state, SPEC, order))
    return change


def last(change: Change) -> tuple[str, str, str]:
    record = change.records[-1]
    return record.kind, record.what, record.why


# --- What counts ----------------------------------------------------------------------------------

BLAMED = [
    State.MIGRATING,
    State.STAGING,
    State.WARMING,
    State.APPROVAL,
    State.SHIFTING,
    State.OBSERVING,
    State.PROMOTING,
    State.BAKING,
    State.HELD,
]


@pytest.mark.parametrize("state", BLAMED)
def test_an_alert_that_counts_takes_the_release_back_at_once(state: State) -> None:
    change = tell(app(active=exposed(state)), fired())

    active = change.state.active
    assert active is not None
    assert active.state is State.ROLLING_BACK
    assert isinstance(active.awaiting, Restore)
    assert "shop-5xx" in active.undone_because
    assert "more than 10" in active.undone_because
    assert [a.id for a in change.state.firing] == ["a1"]
    assert last(change)[:2] == ("transition", "Alerted")


def test_the_states_in_which_it_counts_are_all_that_touched_anything() -> None:
    others = {State.QUEUED, State.PREFLIGHT, State.BACKUP, State.ROLLING_BACK}
    assert set(BLAMED) | others | ENDS == set(State)


ONLY_RECORDED = [  # id, what the notice says, kind of the record, why
    ("unlisted-rule", {"rule": "other-5xx"}, "ignored", "does not list its rule"),
    ("no-rule", {"rule": ""}, "ignored", "does not list its rule"),
    ("foreign", {"resource": "/subscriptions/x/y"}, "ignored", "none of the app's resources"),
    ("foreign-slot", {"resource": SITE + "/slots/other"}, "ignored", "none of the app's resources"),
    ("no-resource", {"resource": ""}, "ignored", "none of the app's resources"),
    ("test-for-sure", {"is_test": True}, "ignored", "a test of the action group"),
    ("no-time", {"fired_at": None}, "ignored", "no time of firing"),
    ("harmless", {"harmless": "it is healthy again"}, "ignored", "healthy again"),
    ("before-its-users", {"fired_at": EXPOSED - SECOND}, "alert", "before 2026"),
    ("longer-ago", {"fired_at": NOW - 16 * MINUTE}, "alert", "alerts.max_age"),
    ("yet-to-come", {"fired_at": NOW + 6 * MINUTE}, "alert", "yet to come"),
    (
        "idle-slot",
        {"resource": (SITE + "/slots/green").lower()},
        "alert",
        "does not use slot green",
    ),
]


@pytest.mark.parametrize(
    ("said", "kind", "why"), [pytest.param(*case, id=name) for name, *case in ONLY_RECORDED]
)
def test_what_does_not_count_is_written_down_with_its_reason(
    said: dict[str, Any], kind: str, why: str
) -> None:
    before = app(active=exposed())

    change = tell(before, fired(**said))

    assert change.state.active == before.active
    assert len(change.records) == 1
    assert last(change)[:2] == (kind, "AlertFired")
    assert why in last(change)[2]
    assert bool(change.state.firing) == (kind == "alert")


def test_a_rule_called_test_counts_only_where_the_app_means_it() -> None:
    """The portal's samples are called so. A pattern that happens to fit is not meant."""
    wide = replace(SPEC, alerts=replace(SPEC.alerts, rules=("*",)))
    order = fired(rule="test-shop-5xx")

    meant = apply(app(active=exposed()), SPEC, order).state.active
    by_chance = apply(app(active=exposed()), wide, order)

    assert meant is not None
    assert meant.state is State.ROLLING_BACK
    assert "a test of the action group" in last(by_chance)[2]


@pytest.mark.parametrize("resource", [PLAN, SITE, SITE + "/slots/blue", SITE + "/slots/Production"])
def test_site_slots_and_listed_resources_are_the_apps_whatever_their_case(resource: str) -> None:
    for spelt in (resource, resource.upper(), resource.lower() + "/"):
        assert owned(SPEC, ["/subscriptions/other", spelt]) == resource.lower()


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/",
        "shop",
        SITE + "x",
        SITE + "/slots/violet",
        SITE + "/slots",
        "/subscriptions/s",
        "/subscriptions/s/resourceGroups/rg",
        SITE.replace("/sites/", "/serverfarms/"),
    ],
)
def test_near_misses_are_foreign(resource: str) -> None:
    assert owned(SPEC, [resource]) is None


def test_rules_are_globs_without_case() -> None:
    assert is_listed(SPEC, "SHOP-Latency")
    assert not is_listed(SPEC, "workshop-5xx")
    assert not is_listed(spec(), "shop-5xx")


@pytest.mark.parametrize("state", [State.QUEUED, State.PREFLIGHT])
def test_before_anything_is_touched_preflight_hears_of_it(state: State) -> None:
    waiting = rollout(state, spec=SPEC)

    change = tell(app(active=waiting), fired())

    assert change.state.active is not None
    assert change.state.active.state is state
    assert "preflight will see it" in last(change)[2]


@pytest.mark.parametrize("state", [State.STAGING, State.OBSERVING, State.BAKING])
def test_a_way_back_is_no_cause_of_an_alert(state: State) -> None:
    change = tell(app(active=exposed(state, kind=Kind.ROLLBACK)), fired())

    assert change.state.active is not None
    assert change.state.active.state is state
    assert "is a way back" in last(change)[2]
    assert change.state.firing


def test_with_nobody_under_way_it_is_kept_for_the_next_release() -> None:
    change = tell(app(), fired())

    assert change.state.active is None
    assert [(a.id, a.rule) for a in change.state.firing] == [("a1", "shop-5xx")]
    assert last(change)[0] == "alert"


def test_while_nobody_gets_the_build_any_fresh_alert_speaks_against_it() -> None:
    """As in PREFLIGHT, which it came too late for."""
    warming = rollout(State.WARMING, spec=SPEC, created_at=NOW)

    change = tell(app(active=warming), fired(fired_at=NOW - 5 * MINUTE))

    assert change.state.active is not None
    assert change.state.active.state is State.ROLLING_BACK


def test_the_slots_of_the_rollout_count_and_no_other() -> None:
    for slot, ends in (("blue", True), ("production", True), ("green", False)):
        change = tell(app(active=exposed()), fired(resource=f"{SITE}/slots/{slot}".lower()))
        assert change.state.active is not None
        assert (change.state.active.state is State.ROLLING_BACK) == ends


# --- Twice, late, out of order --------------------------------------------------------------------


def test_the_same_firing_again_is_known() -> None:
    back = tell(app(active=exposed()), fired(), fired())

    assert last(back)[0] == "ignored"
    assert "known already" in last(back)[2]
    assert len(back.state.firing) == 1


def test_the_same_alert_firing_anew_is_news() -> None:
    change = tell(app(), fired(), fired(fired_at=NOW))

    assert [a.fired_at for a in change.state.firing] == [NOW]
    assert last(change)[0] == "alert"


def test_a_resolving_notice_ends_what_fires() -> None:
    change = tell(app(), fired(), fired(id="a2"), resolved())

    assert [a.id for a in change.state.firing] == ["a2"]
    assert last(change)[:2] == ("alert", "AlertResolved")


def test_a_resolving_notice_that_comes_first_is_remembered() -> None:
    running = app(active=exposed())

    change = tell(running, resolved(), fired())

    assert change.state.active == running.active
    assert change.state.firing == ()
    assert "resolved already" in last(change)[2]


def test_a_late_resolving_notice_does_not_end_a_later_firing() -> None:
    again = fired(fired_at=NOW - SECOND)

    change = tell(app(), fired(), again, resolved())
    then = tell(change.state, again, fired(fired_at=NOW))

    assert [a.fired_at for a in change.state.firing] == [NOW - SECOND]
    assert [a.fired_at for a in then.state.firing] == [NOW]


def test_a_resolving_notice_without_a_time_ends_whatever_fired_before_it_came() -> None:
    assert tell(app(), fired(), resolved(fired_at=None)).state.firing == ()


def test_what_is_never_resolved_is_forgotten_with_a_record() -> None:
    before = tell(app(), fired()).state
    push = Submit(at=NOW - MINUTE + FORGOTTEN_AFTER, image=image(2), by="registry")

    change = apply(before, SPEC, push)

    assert change.state.firing == ()
    assert (change.records[0].kind, change.records[0].what) == ("alert", "AlertForgotten")
    assert "never resolved" in change.records[0].why


def test_an_alert_of_a_kind_that_is_never_resolved_fires_no_longer_than_max_age() -> None:
    (alert,) = tell(app(), fired(is_moment=True)).state.firing

    assert alert.until == alert.fired_at + SPEC.alerts.max_age


def test_what_fired_too_long_ago_is_not_even_kept() -> None:
    change = tell(app(), fired(fired_at=NOW - FORGOTTEN_AFTER))

    assert change.state.firing == ()


def test_what_is_kept_is_bounded_and_newest_first() -> None:
    many = [fired(id=f"a{n}", fired_at=NOW - n * SECOND) for n in range(60)]
    over = [resolved(id=f"b{n}") for n in range(60)]

    state = tell(app(), *reversed(many), *over).state

    assert [a.id for a in state.firing] == [f"a{n}" for n in range(20)]
    assert len(state.resolved) == 20


NOTICES = st.builds(
    fired,
    id=st.sampled_from(["a1", "a2"]),
    condition=st.sampled_from(Condition),
    fired_at=st.sampled_from([NOW - 2 * MINUTE, NOW - MINUTE, None]),
    rule=st.sampled_from(["shop-5xx", "other"]),
)


@given(st.lists(NOTICES, max_size=12))
def test_any_order_of_any_notices_leaves_a_resolved_firing_resolved(
    notices: list[AlertOrder],
) -> None:
    """Nothing that was resolved fires, nothing fires twice, every notice leaves a line."""
    change = tell(app(active=exposed()), *notices)

    fires = {(a.id, a.fired_at) for a in change.state.firing}
    over = {(n.id, n.fired_at) for n in notices if n.condition is Condition.RESOLVED and n.fired_at}
    assert fires & over == set()
    assert len({a.id for a in change.state.firing}) == len(change.state.firing)
    assert len(change.records) >= len(notices)


# --- PREFLIGHT ------------------------------------------------------------------------------------


def asked(change: Change) -> Preflight:
    assert change.state.active is not None
    effect = change.state.active.awaiting
    assert isinstance(effect, Preflight)
    return effect


def queued(state: AppState) -> AppState:
    return replace(state, active=rollout(State.QUEUED, spec=SPEC, wake_at=NOW))


def test_preflight_is_told_what_fires_when_it_begins() -> None:
    state = queued(tell(app(), fired()).state)

    (said,) = asked(advance(state, Tick(at=NOW))).firing

    assert said.startswith("alert 'shop-5xx' on sites/shop since 2026-01-01T00:29:00Z: Sev1")


def test_preflight_is_told_what_fires_while_it_waits_and_what_fires_no_more() -> None:
    begun = advance(queued(app()), Tick(at=NOW)).state
    heard = tell(begun, fired())
    late = NotYet(at=NOW, key=asked(heard).key, detail="busy", retry_after=SECOND)
    again = advance(heard.state, late)

    assert len(asked(heard).firing) == 1
    assert len(asked(again).firing) == 1
    assert asked(tell(again.state, resolved())).firing == ()


def test_preflight_is_not_told_of_what_would_be_forgotten_by_then() -> None:
    state = queued(tell(app(), fired(is_moment=True)).state)
    later = NOW + timedelta(minutes=15)

    assert asked(advance(state, Tick(at=later))).firing == ()


def test_preflight_is_told_of_an_override() -> None:
    state = queued(tell(app(), fired()).state)
    assert state.active is not None
    wanted = replace(state, active=replace(state.active, override="it is the fix"))

    assert asked(advance(wanted, Tick(at=NOW))).override == "it is the fix"


@pytest.mark.parametrize(
    ("resource", "short"),
    [
        (SITE.lower() + "/slots/blue", "sites/shop/slots/blue"),
        ("/subscriptions/s", "/subscriptions/s"),
        ("", ""),
    ],
)
def test_a_resource_is_named_as_people_do(resource: str, short: str) -> None:
    assert short_resource(resource) == short
