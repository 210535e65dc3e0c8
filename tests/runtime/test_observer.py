"""One query per workspace and poll; windows that touch; a loop that starts and stops cleanly."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from controller.adapters.memory.telemetry import ReportedRequest
from controller.adapters.memory.world import Fault
from controller.core.effects import EffectKey, Watch
from controller.core.errors import ConflictError, ProviderError, TransientError
from controller.core.plan import Analysis, AppId
from controller.ports import Observation, WorkspaceWatch
from controller.runtime.messages import COMMANDS_QUEUE, PollBody, parse_poll
from tests.runtime.kit import MINUTE, SECOND, WORKSPACE, House, Ports, digest

POLL = 15 * SECOND
NEW, OLD = digest(2), digest(1)


@dataclass
class Windows:
    """Telemetry that notes what it was asked for."""

    inner: Any
    asked: list[tuple[datetime, datetime, timedelta, tuple[str, ...]]] = field(
        default_factory=list[tuple[datetime, datetime, timedelta, tuple[str, ...]]]
    )

    async def observe(self, workspace: str, **question: Any) -> Observation:
        answer: Observation = await self.inner.observe(workspace, **question)
        self.asked.append(
            (
                question["since"],
                question["until"],
                question["bucket"],
                tuple(mark.name for mark in question["builds"]),
            )
        )
        return answer


class Watched:
    """A workspace with watchers, and no engine behind: the observer alone."""

    def __init__(self, wrap: Any = None) -> None:
        self.windows = Windows(None)

        def between(ports: Ports) -> Ports:
            self.windows.inner = ports.telemetry
            ports = replace(ports, telemetry=self.windows)
            return wrap(ports) if wrap else ports

        self.house = House([], wrap=between)
        self.clock = self.house.clock

    def effect(self, app: str = "shop", **changes: Any) -> Watch:
        lease = changes.pop("lease", 10 * MINUTE)
        return Watch(
            key=EffectKey(f"{app}/1/watch"),
            app=AppId(app),
            rollout=f"{app}-rollout",
            release=NEW,
            stable_release=OLD,
            analysis=replace(Analysis(workspace=WORKSPACE), **changes),
            probe_operations=("GET /health/ready",),
            lease=lease,
        )

    async def watch(self, app: str = "shop", **changes: Any) -> None:
        await self.house.observer.watch(self.effect(app, **changes))

    async def state(self) -> WorkspaceWatch:
        return await self.house.store.load_watch(WORKSPACE)

    async def run_for(self, time: timedelta) -> None:
        """Deliver polls as they fall due; what they tell the apps stays on the queue."""
        end = self.clock.now() + time
        while True:
            due = [m.at or self.clock.now() for m in self.house.polls()]
            if not due or min(due) > end:
                break
            self.clock.set(min(due))
            delivery = self.house.bus.receive("observations")
            assert delivery is not None
            await self.house.observer.poll(parse_poll(delivery.message.body))
            self.house.bus.complete(delivery)
        self.clock.set(end)

    def report_every_second(self, seconds: int) -> int:
        """Let one request of each build become visible every second from now on."""
        now = self.clock.now()
        for second in range(seconds):
            at = now + second * SECOND
            for release in (NEW, OLD):
                row = ReportedRequest(release=release, ingested=at)
                self.house.telemetry.report(WORKSPACE, row)
        return seconds

    async def counted(self, app: str = "shop") -> list[datetime]:
        """Return the start of each stored bucket, one entry per request seen."""
        pairs = await self.house.store.buckets(AppId(app), f"{app}-rollout")
        return [p.start for p in pairs for _ in range(p.canary.rows)]

    def told(self) -> list[str]:
        waiting = self.house.bus.waiting(COMMANDS_QUEUE)
        return [m.session or "" for m in waiting if m.subject == "observed"]


# --- Cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("apps", [1, 2, 50])
async def test_a_poll_costs_one_query_however_many_watch(apps: int) -> None:
    """The promise of one query per workspace and poll, counted."""
    watched = Watched()
    for number in range(apps):
        await watched.watch(f"app-{number}")

    await watched.run_for(2 * MINUTE)

    asked_again = [since for since, *_ in watched.windows.asked]
    assert len(asked_again) == len(set(asked_again))
    assert 5 <= watched.house.telemetry.queries <= 2 * MINUTE // POLL + 1
    assert len(set(watched.told())) == apps


async def test_nobody_watching_costs_nothing() -> None:
    watched = Watched()
    await watched.watch(lease=MINUTE)

    await watched.run_for(60 * MINUTE)

    queries = watched.house.telemetry.queries
    assert queries <= 4
    assert watched.house.polls() == []
    assert (await watched.state()).next_poll is None
    assert (await watched.state()).cursor is None


async def test_our_own_requests_are_no_evidence() -> None:
    watched = Watched()
    await watched.watch()
    row = ReportedRequest(release=NEW, ingested=watched.clock.now(), operation="GET /health/ready")
    watched.house.telemetry.report(WORKSPACE, row)

    await watched.run_for(2 * MINUTE)

    assert await watched.counted() == []


# --- Windows --------------------------------------------------------------------------------------


async def test_windows_touch_and_never_overlap() -> None:
    """Each request is counted once, whatever the delays between polls."""
    watched = Watched()
    seen = watched.report_every_second(600)
    await watched.watch(lease=20 * MINUTE)
    for pause in (0, 7, 1, 44, 0, 120, 3):  # a host that was busy
        await watched.run_for(MINUTE)
        watched.clock.advance(pause * SECOND)
    await watched.run_for(5 * MINUTE)

    windows = [(since, until) for since, until, *_ in watched.windows.asked]
    assert all(until == since for (_, until), (since, _) in pairwise(windows))
    assert all(since < until for since, until in windows)
    assert len(await watched.counted()) == seen


async def test_a_window_is_read_only_when_it_settled() -> None:
    watched = Watched()
    await watched.watch(settle=40 * SECOND)
    now = watched.clock.now()

    await watched.run_for(2 * MINUTE)

    assert watched.windows.asked[0][0] == now
    assert all(until <= watched.clock.now() - 40 * SECOND for _, until, *_ in watched.windows.asked)


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.THROTTLED, Fault.PERMANENT])
async def test_a_provider_that_fails_keeps_the_cursor_and_loses_nothing(fault: Fault) -> None:
    watched = Watched()
    seen = watched.report_every_second(200)
    await watched.watch()
    await watched.run_for(MINUTE)
    before = await watched.state()
    watched.house.weather.script("observe", *(fault,) * 4)

    await watched.run_for(MINUTE)

    during = await watched.state()
    assert during.cursor == before.cursor
    assert during.last_success == before.last_success
    assert during.last_error
    await watched.run_for(4 * MINUTE)
    after = await watched.state()
    assert after.last_error is None
    assert len(await watched.counted()) == seen


async def test_different_sizes_in_one_workspace_share_the_finest() -> None:
    """The shortest poll and bucket, the longest settling: everyone gets what they asked for."""
    watched = Watched()
    seen = watched.report_every_second(300)
    await watched.watch("slow", poll=MINUTE, bucket=MINUTE, settle=30 * SECOND)
    await watched.run_for(3 * MINUTE)
    await watched.watch("quick", poll=5 * SECOND, bucket=10 * SECOND, settle=5 * SECOND)
    await watched.run_for(8 * MINUTE)

    windows = [(since, until) for since, until, *_ in watched.windows.asked]
    assert all(until == since for (_, until), (since, _) in pairwise(windows))
    assert {bucket for *_, bucket, _ in watched.windows.asked} == {MINUTE, 10 * SECOND}
    assert len(await watched.counted("slow")) == seen


async def test_a_finer_watcher_that_leaves_gives_the_coarse_grid_back() -> None:
    watched = Watched()
    seen = watched.report_every_second(400)
    await watched.watch("slow", poll=15 * SECOND, bucket=MINUTE, lease=20 * MINUTE)
    await watched.watch("quick", poll=7 * SECOND, bucket=7 * SECOND, lease=2 * MINUTE)

    await watched.run_for(15 * MINUTE)

    assert len(await watched.counted("slow")) == seen


async def test_after_a_long_outage_it_looks_back_an_hour_and_no_further() -> None:
    watched = Watched()
    await watched.watch(lease=10 * 60 * MINUTE)
    await watched.run_for(MINUTE)
    watched.house.weather.script("observe", *(Fault.TRANSIENT,) * 720)

    await watched.run_for(200 * MINUTE)

    longest = max(until - since for since, until, *_ in watched.windows.asked)
    assert longest <= 60 * MINUTE


# --- Leases ---------------------------------------------------------------------------------------


async def test_a_lease_that_is_not_renewed_ends() -> None:
    watched = Watched()
    await watched.watch("gone", lease=MINUTE)
    await watched.watch("stays", lease=20 * MINUTE)

    await watched.run_for(5 * MINUTE)

    assert [w.app for w in (await watched.state()).watching] == ["stays"]


async def test_asking_again_renews_the_lease_and_keeps_its_beginning() -> None:
    watched = Watched()
    await watched.watch(lease=MINUTE)
    (first,) = (await watched.state()).watching
    await watched.run_for(45 * SECOND)

    await watched.watch(lease=MINUTE)

    (again,) = (await watched.state()).watching
    assert again.since == first.since
    assert again.until == first.until + 45 * SECOND
    assert len(watched.house.polls()) == 1


async def test_the_apps_next_rollout_takes_its_place() -> None:
    watched = Watched()
    await watched.watch()
    await watched.house.observer.watch(replace(watched.effect(), rollout="next"))

    assert [w.rollout for w in (await watched.state()).watching] == ["next"]


async def test_who_is_released_is_watched_no_more() -> None:
    watched = Watched()
    await watched.watch("one")
    await watched.watch("two")

    await watched.house.observer.release(WORKSPACE, "one-rollout")
    await watched.house.observer.release(WORKSPACE, "one-rollout")
    await watched.house.observer.release("elsewhere", "one-rollout")

    assert [w.app for w in (await watched.state()).watching] == ["two"]


# --- The loop -------------------------------------------------------------------------------------


async def test_a_stale_poll_is_dropped() -> None:
    watched = Watched()
    await watched.watch()
    await watched.run_for(MINUTE)
    before, queries = await watched.state(), watched.house.telemetry.queries
    assert before.next_poll is not None

    for due in (before.next_poll - POLL, before.next_poll + SECOND):
        await watched.house.observer.poll(PollBody(workspace=WORKSPACE, due=due))

    assert await watched.state() == before
    assert watched.house.telemetry.queries == queries


async def test_a_poll_that_is_delivered_twice_counts_once() -> None:
    watched = Watched()
    await watched.watch()
    due = (await watched.state()).next_poll
    assert due is not None
    watched.clock.advance(MINUTE)

    await watched.house.observer.poll(PollBody(workspace=WORKSPACE, due=due))
    await watched.house.observer.poll(PollBody(workspace=WORKSPACE, due=due))

    assert watched.house.telemetry.queries == 1


async def test_a_loop_that_broke_is_begun_again_by_who_asks_next() -> None:
    """Its poll was lost; the next renewal notices and goes on where it was, without a gap."""
    watched = Watched()
    seen = watched.report_every_second(300)
    await watched.watch(lease=30 * MINUTE)
    await watched.run_for(MINUTE)
    lost = watched.house.bus.receive("observations")
    while lost is None:
        watched.clock.advance(SECOND)
        lost = watched.house.bus.receive("observations")
    watched.house.bus.complete(lost)
    watched.clock.advance(2 * MINUTE)

    await watched.watch(lease=30 * MINUTE)
    await watched.run_for(10 * MINUTE)

    assert len(await watched.counted()) == seen


async def test_a_workspace_that_slept_begins_at_the_present() -> None:
    watched = Watched()
    watched.report_every_second(3600)
    await watched.watch(lease=MINUTE)
    await watched.run_for(30 * MINUTE)
    now = watched.clock.now()

    await watched.watch("next", lease=5 * MINUTE)
    await watched.run_for(2 * MINUTE)

    assert min(await watched.counted("next")) >= now - POLL


@dataclass
class Race:
    """Between the poll's look and its save somebody else saves the watch."""

    store: Any
    meanwhile: list[Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def save_watch(self, watch: WorkspaceWatch) -> WorkspaceWatch:
        if self.meanwhile and watch.next_poll is None:  # the loop is about to stop
            await self.meanwhile.pop(0)()
        saved: WorkspaceWatch = await self.store.save_watch(watch)
        return saved


def racing() -> tuple[Watched, list[Any]]:
    meanwhile: list[Any] = []
    watched = Watched(lambda ports: replace(ports, store=Race(ports.store, meanwhile)))
    return watched, meanwhile


async def test_a_newcomer_who_races_with_the_stop_is_polled() -> None:
    """The last poll's own message id must not swallow the one that the newcomer counts on."""
    watched, meanwhile = racing()
    await watched.watch("old", lease=20 * SECOND)

    async def newcomer() -> None:
        await watched.watch("new", lease=10 * MINUTE)

    meanwhile.append(newcomer)
    await watched.run_for(5 * MINUTE)

    assert meanwhile == []
    assert watched.told().count("new") >= 10


async def test_a_release_that_races_with_the_stop_does_not_leave_a_dead_loop() -> None:
    """Who comes next must not trust in a poll that was used up."""
    watched, meanwhile = racing()
    await watched.watch("old", lease=20 * SECOND)

    async def release() -> None:
        await watched.house.observer.release(WORKSPACE, "old-rollout")

    meanwhile.append(release)
    await watched.run_for(46 * SECOND)
    assert meanwhile == []

    await watched.watch("new", lease=10 * MINUTE)
    await watched.run_for(2 * MINUTE)

    assert watched.told().count("new") >= 5


async def test_watchers_who_come_during_a_query_stay() -> None:
    """The poll saves how far it came; who is watched is the store's, not its own."""
    watched = Watched()
    await watched.watch("first")
    original = watched.windows.observe

    async def slow(workspace: str, **question: Any) -> Observation:
        watched.windows.observe = original  # type: ignore[method-assign]
        await watched.watch("second")
        return await original(workspace, **question)

    watched.windows.observe = slow  # type: ignore[method-assign]
    await watched.run_for(2 * MINUTE)

    assert {w.app for w in (await watched.state()).watching} == {"first", "second"}
    assert {"first", "second"} <= set(watched.told())


@dataclass
class Contended:
    """A watch that somebody else always saves first."""

    store: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def save_watch(self, _: WorkspaceWatch) -> WorkspaceWatch:
        raise ConflictError("Saved before.", fix="Load again.")


async def test_contention_is_bounded() -> None:
    watched = Watched(lambda ports: replace(ports, store=Contended(ports.store)))

    with pytest.raises(TransientError, match="contended"):
        await watched.watch()


# --- A provider that wants to be left alone, and several of them ----------------------------------


async def test_a_provider_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    """Asking on would keep it throttled; nothing is lost meanwhile."""
    watched = Watched()
    seen = watched.report_every_second(100)
    await watched.watch(poll=2 * SECOND, bucket=2 * SECOND, lease=10 * MINUTE)
    await watched.run_for(30 * SECOND)
    watched.house.weather.script("observe", Fault.THROTTLED)
    before = watched.house.telemetry.queries
    await watched.run_for(2 * SECOND)
    now = watched.clock.now()

    next_poll = (await watched.state()).next_poll

    assert watched.house.telemetry.queries == before + 1
    assert next_poll is not None
    assert next_poll >= now + 5 * SECOND
    await watched.run_for(4 * MINUTE)
    assert len(await watched.counted()) == seen


async def test_a_wait_for_ever_is_not_obeyed() -> None:
    """A rollout under watch has a deadline of its own."""
    watched = Watched()
    await watched.watch(lease=60 * MINUTE)
    await watched.run_for(MINUTE)

    async def refuse(*_: object, **__: object) -> Observation:
        raise ProviderError("429", retry_after=timedelta(days=9))

    watched.windows.observe = refuse  # type: ignore[method-assign]
    await watched.run_for(MINUTE)
    state = await watched.state()

    assert state.next_poll is not None
    assert state.next_poll <= watched.clock.now() + 5 * MINUTE


ELSEWHERE = "/subscriptions/s/resourcegroups/g/providers/microsoft.insights/components/shop-blue"


async def test_builds_that_report_to_different_sources_are_seen_together() -> None:
    """One query to each per poll, under one watch that fits the keys of a store."""
    watched = Watched()
    apart = {"additional_workspaces": (ELSEWHERE,), "lease": 5 * MINUTE}
    name = watched.effect(additional_workspaces=(ELSEWHERE,)).analysis.observation
    now = watched.clock.now()
    for second in range(60):
        at = now + second * SECOND
        report = watched.house.telemetry.report
        report(WORKSPACE, ReportedRequest(release=OLD, ingested=at))
        report(ELSEWHERE, ReportedRequest(release=NEW, ingested=at, code="500"))
        report(ELSEWHERE, ReportedRequest(release=OLD, ingested=at))
    await watched.watch(**apart)
    await watched.run_for(3 * MINUTE)

    pairs = await watched.house.store.buckets(AppId("shop"), "shop-rollout")
    assert "/" not in name
    assert (await watched.house.store.load_watch(name)).last_error is None
    assert sum(p.canary.failed for p in pairs) == 60
    assert sum(p.stable.rows for p in pairs if p.stable) == 120
    windows = [since for since, *_ in watched.windows.asked]
    assert len(windows) == 2 * len(set(windows))


async def test_one_source_that_fails_is_missing_evidence_of_all() -> None:
    """Half of the rows could be the healthy half."""
    watched = Watched()
    await watched.watch(additional_workspaces=(ELSEWHERE,))
    name = watched.effect(additional_workspaces=(ELSEWHERE,)).analysis.observation
    original = watched.windows.observe

    async def half(source: str, **question: Any) -> Observation:
        if source == ELSEWHERE:
            raise ProviderError("503")
        return await original(source, **question)

    watched.windows.observe = half  # type: ignore[method-assign]
    await watched.run_for(2 * MINUTE)
    state = await watched.house.store.load_watch(name)

    assert state.last_error == "503"
    assert state.cursor is None
    assert await watched.counted() == []


async def test_how_far_telemetry_has_come_is_remembered() -> None:
    """The newest row's own time, whoever sent it; it never goes back."""
    watched = Watched()
    await watched.watch(lease=20 * MINUTE)
    at = watched.clock.now() + 5 * SECOND
    old = at - 60 * MINUTE
    report = watched.house.telemetry.report
    report(WORKSPACE, ReportedRequest(release="other", ingested=at))
    report(WORKSPACE, ReportedRequest(release=NEW, ingested=at + MINUTE, generated=old))
    await watched.run_for(4 * MINUTE)

    assert (await watched.state()).newest == at


async def test_how_late_telemetry_came_is_kept_with_what_it_told() -> None:
    """A row of two minutes ago: the bucket in which it shows tells of then, not of now."""
    watched = Watched()
    await watched.watch(lease=20 * MINUTE)
    at = watched.clock.now() + 30 * SECOND
    row = ReportedRequest(release=NEW, ingested=at, generated=at - 2 * MINUTE)
    watched.house.telemetry.report(WORKSPACE, row)
    await watched.run_for(2 * MINUTE)

    (pair,) = await watched.house.store.buckets(AppId("shop"), "shop-rollout")
    assert 2 * MINUTE <= pair.lag <= 2 * MINUTE + 15 * SECOND
