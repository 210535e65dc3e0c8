"""Strategies for everything that is stored, drawn from the types themselves, and full examples."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from controller.core.data import DatabaseSpec
from controller.core.effects import (
    BackupDatabase,
    CheckReady,
    Effect,
    EffectKey,
    Migrate,
    Preflight,
    Restore,
    RevertData,
    Route,
    Stage,
    Watch,
)
from controller.core.events import Label
from controller.core.model import (
    AppState,
    Quarantined,
    Record,
    Release,
    Rollout,
    RolloutId,
    State,
    Verdict,
)
from controller.core.plan import AppId, Percent, Routing, SlotName, split
from controller.ports import StoredBucket, Watching, WorkspaceWatch
from controller.verdict.buckets import Bucket, Counts
from tests.core import build

T0 = build.T0
ROLLOUT = "20260101T000000000-shop-00000002-1"

# Whatever a person or a platform may write, lone surrogates left out: they are no Unicode.
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone follows
_SPANS = st.timedeltas(timedelta(), timedelta(days=400))
_COUNTS = st.integers(0, 10**12)
_SLOTS = st.sampled_from(["production", "blue", "green", "Grün-1"]).map(SlotName)
_NUMBERS = st.one_of(st.none(), _TEXT, st.integers(-(10**15), 10**15), st.floats(allow_nan=False))

_ROUTINGS = st.one_of(
    st.just(Routing()),
    st.integers(1, 99).map(lambda n: split(SlotName("blue"), SlotName("green"), Percent(n))),
)
_BUCKETS = st.builds(
    Bucket,
    start=_TIMES,
    rows=_COUNTS,
    requests=_COUNTS,
    failed_rows=_COUNTS,
    failed=_COUNTS,
    failures=st.dictionaries(_TEXT, _COUNTS, max_size=4),
    latency=st.dictionaries(st.integers(-40, 400), _COUNTS, max_size=8),
    latency_rows=st.none() | st.dictionaries(st.integers(-40, 400), _COUNTS, max_size=8),
    failing_sessions=st.none() | _COUNTS,
    sessions=st.none() | _COUNTS,
)

_COUNTED = st.builds(
    Counts,
    total=_COUNTS,
    bad=_COUNTS,
    histogram=st.dictionaries(st.integers(-400, 4000), _COUNTS, max_size=8),
)
_BOTH = st.tuples(_COUNTED, _COUNTED)
_STORED = st.builds(
    StoredBucket,
    start=_TIMES,
    canary=_BUCKETS,
    stable=st.none() | _BUCKETS,
    probes=st.none() | _BOTH,
    metrics=st.dictionaries(_TEXT, _BOTH, max_size=3),
)


def _builds(kind: Any) -> st.SearchStrategy[Any]:
    """Draw *kind* field by field; only what the types cannot say is given here."""
    return st.from_type(kind)


for type_, strategy in (
    (str, _TEXT),
    (datetime, _TIMES),
    (timedelta, _SPANS),
    (float, st.floats(allow_nan=False)),
    (Routing, _ROUTINGS),
    (Bucket, _BUCKETS),
):
    st.register_type_strategy(type_, strategy)

RECORDS = st.builds(Record, numbers=st.dictionaries(_TEXT, _NUMBERS, max_size=5))
ANYTHING: dict[type[Any], st.SearchStrategy[Any]] = {
    AppState: _builds(AppState),
    Rollout: _builds(Rollout),
    Record: RECORDS,
    StoredBucket: _STORED,
    WorkspaceWatch: _builds(WorkspaceWatch),
}


def data_effects(key: EffectKey) -> list[Effect]:
    database = DatabaseSpec(connection="shop-db")
    planned = {
        "key": key,
        "app": build.APP,
        "rollout": ROLLOUT,
        "database": database,
        "image": "i",
        "tag": None,
        "bundle": "b" * 64,
        "migrations": ("0001", "0002"),
    }
    backup = BackupDatabase(
        key=key,
        app=build.APP,
        rollout=ROLLOUT,
        database=database,
        release=build.digest(2),
        head=None,
        since=T0,
    )
    return [backup, Migrate(**planned), RevertData(**planned)]  # type: ignore[arg-type]


def effects() -> list[Effect]:
    """Return one of each effect, as the asks would make them."""
    key = EffectKey(f"{ROLLOUT}/3/x")
    spec = build.spec()
    target, health = spec.target, spec.health
    routing = split(build.GREEN, build.BLUE, Percent(10))
    return [
        Preflight(
            key=key,
            target=target,
            image="r.io/shop@" + build.digest(2),
            release=build.digest(2),
            analysis=spec.analysis,
            recorded_active=build.GREEN,
        ),
        Stage(key=key, target=target, slot=build.BLUE, image="i", release=build.digest(2)),
        *data_effects(key),
        CheckReady(
            key=key,
            target=target,
            slot=build.BLUE,
            release=build.digest(2),
            health=health,
            streak=1,
            needed=3,
        ),
        Route(
            key=key,
            target=target,
            routing=routing,
            canary=build.BLUE,
            release=build.digest(2),
            stable_release=build.digest(1),
            health=health,
        ),
        Watch(
            key=key,
            app=build.APP,
            rollout=ROLLOUT,
            release=build.digest(2),
            stable_release=None,
            analysis=spec.analysis,
            probe_operations=("GET /health/ready",),
            lease=timedelta(minutes=6),
        ),
        Restore(
            key=key,
            target=target,
            stable=build.GREEN,
            stable_image=None,
            stable_release=build.digest(1),
            bad=build.BLUE,
            bad_release=build.digest(2),
            health=health,
        ),
    ]


def full_rollout() -> Rollout:
    """Return a rollout with a value in every field."""
    return build.rollout(
        State.HELD,
        by="Ada",
        reason="release 2",
        step=1,
        turn=17,
        awaiting=next(each for each in effects() if isinstance(each, Watch)),
        ask_at=T0 + timedelta(seconds=1.5),
        streak=2,
        warnings=("drift: blue serves", 'quotes " and \\ and ☃'),
        held_from=State.OBSERVING,
        paused=True,
        superseded=True,
        verdict=Verdict(label=Label.INSUFFICIENT_DATA, reason="12 requests", at=T0),
        why="insufficient_data: 12 requests",
        undone_because="a reason",
        ended_at=T0 + timedelta(hours=1),
    )


def full_state() -> AppState:
    """Return an app with a value in every field."""
    release = Release(image=build.image(1), slot=build.GREEN, rollout=RolloutId(ROLLOUT), at=T0)
    taken_back = Quarantined(
        image=build.image(3), rollout=RolloutId(ROLLOUT), reason="regressed: errors", at=T0
    )
    return AppState(
        app=AppId("shop"),
        active=full_rollout(),
        queued=(build.rollout(),),
        releases=(release,),
        quarantine=(taken_back,),
        attempts=((build.digest(2), 1),),
        routing=split(build.GREEN, build.BLUE, Percent(0)),
        sequence=9,
    )


def full_record() -> Record:
    """Return an audit line with a value in every field."""
    return Record(
        at=T0,
        rollout=RolloutId(ROLLOUT),
        kind="transition",
        what="Judged",
        why="regressed: 9 of 60 requests failed",
        by="judge",
        state_from=State.OBSERVING,
        state_to=State.ROLLING_BACK,
        numbers={"requests": 60, "error_rate": 0.15, "judge": "limits/1", "stable_requests": None},
        evidence=f"evidence/shop/{ROLLOUT}/17.json",
        evidence_hash="ab" * 32,
    )


def bucket(start: datetime = T0, *, requests: int = 10, failed: int = 1) -> Bucket:
    return Bucket(
        start=start,
        rows=requests,
        requests=requests,
        failed_rows=failed,
        failed=failed,
        failures={"500": failed} if failed else {},
        latency={40: requests - failed, 80: failed},
    )


def stored(start: datetime = T0) -> StoredBucket:
    return StoredBucket(
        start=start,
        canary=replace(bucket(start), sessions=4, failing_sessions=1),
        stable=bucket(start, requests=90, failed=0),
    )


def watch(workspace: str = "w") -> WorkspaceWatch:
    return WorkspaceWatch(
        workspace=workspace,
        cursor=T0,
        next_poll=T0 + timedelta(seconds=15),
        last_success=T0,
        last_error="SW102: Log Analytics answered 503.",
        query="let Releases = dynamic([]);",
        watching=(
            Watching(
                app=AppId("shop"),
                rollout=ROLLOUT,
                release=build.digest(2),
                stable_release=build.digest(1),
                probe_operations=("GET /health/ready",),
                poll=timedelta(seconds=15),
                bucket=timedelta(seconds=15),
                settle=timedelta(seconds=20),
                since=T0,
                until=T0 + timedelta(minutes=6),
            ),
        ),
    )
