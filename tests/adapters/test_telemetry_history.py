"""A build's past, as every `Telemetry` tells it: the twin, and Log Analytics on the sandbox."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
import pytest_asyncio

from controller.adapters.memory.telemetry import ReportedRequest
from controller.adapters.memory.world import THROTTLED_FOR, Fault
from controller.core.errors import AccessDeniedError, ProviderError
from controller.core.telemetry import IdentifyBy, Mark
from controller.ports import BuildHistory
from controller.verdict.buckets import latency_bin
from sandbox.monitor import DEFAULT_RESOURCE, Monitor
from sandbox.tls import Authority, create_authority
from tests.adapters.telemetry_kit import (
    BLUE,
    GREEN,
    PROBE,
    WORKSPACE,
    MemoryStand,
    SandboxStand,
    Stand,
    at,
    history,
    observe,
    of,
    only,
    row,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMPONENT = DEFAULT_RESOURCE.lower()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(loop_scope="module")
async def sandbox(authority: Authority) -> AsyncIterator[SandboxStand]:
    async with Monitor(authority, workspaces=[WORKSPACE]) as monitor:
        monitor.connection_string(WORKSPACE)  # the component exists
        stand = SandboxStand(monitor, authority)
        yield stand
        await stand.telemetry.close()


@pytest.fixture(params=["memory", "sandbox"])
def stand(request: pytest.FixtureRequest, sandbox: SandboxStand) -> Stand:
    return MemoryStand() if request.param == "memory" else sandbox


def sums(past: BuildHistory) -> tuple[int, int, int, int]:
    """Return rows, failed rows, sessions and failing sessions."""
    return (
        sum(c.rows for c in past.cells),
        sum(c.failed_rows for c in past.cells),
        sum(c.sessions for c in past.cells),
        sum(c.failing_sessions for c in past.cells),
    )


# --- What is told ---------------------------------------------------------------------------------


async def test_a_build_without_a_past_has_none(stand: Stand) -> None:
    """No cells, no edges: nothing is made up."""
    past = await history(stand.telemetry)

    assert (list(past.cells), past.edges, past.by_session) == ([], None, False)
    assert (past.since, past.until) == (at(0), at(60))
    assert past.query


async def test_every_row_is_in_one_cell(stand: Stand) -> None:
    """By its bucket and its group; whoever else reported is in none."""
    dice = random.Random(3)  # noqa: S311 - the same sample in every run
    rows = [
        row(dice.uniform(0, 59), session=f"s{dice.randrange(40)}", code=dice.choice(["200", "500"]))
        for _ in range(300)
    ]
    await stand.report(*rows, row(1, GREEN), row(60), row(-1))
    past = await history(stand.telemetry)
    places = [(c.start, c.group) for c in past.cells]
    by_bucket = Counter(int((r.ingested - at(0)).total_seconds() // 15) for r in rows)

    assert places == sorted(set(places))
    assert {c.group for c in past.cells} <= set(range(10))
    assert sums(past)[:2] == (300, sum(r.failed for r in rows))
    for number, count in by_bucket.items():
        assert sum(c.rows for c in past.cells if c.start == at(15 * number)) == count


async def test_sessions_are_distinct_in_each_bucket(stand: Stand) -> None:
    """Counted over all groups, as an observation counts them."""
    dice = random.Random(4)  # noqa: S311 - the same sample in every run
    await stand.report(
        *(
            row(dice.uniform(0, 59), session=f"s{dice.randrange(30)}", code=dice.choice("25") * 3)
            for _ in range(200)
        ),
        row(5),
    )
    past = await history(stand.telemetry)
    seen = of(await observe(stand.telemetry))

    for bucket in seen:
        cells = [c for c in past.cells if c.start == bucket.start]
        assert sum(c.sessions for c in cells) == bucket.sessions
        assert sum(c.failing_sessions for c in cells) == bucket.failing_sessions
    assert len(seen) == 4


# fmt: off
UNITS: list[tuple[str, dict[str, str], dict[str, str]]] = [
    # id           what all rows share          what differs, and does not matter
    ("session",    {"session": "a"},            {"user": "u{}", "operation_id": "o{}"}),
    ("user",       {"user": "a"},               {"operation_id": "o{}"}),
    ("operation",  {"operation_id": "a"},       {}),
]
# fmt: on


@pytest.mark.parametrize(
    ("shared", "differs"), [pytest.param(*case, id=name) for name, *case in UNITS]
)
async def test_what_belongs_together_is_in_one_group(
    stand: Stand, shared: Mapping[str, str], differs: Mapping[str, str]
) -> None:
    """The session, else the user, else the operation: in every bucket."""

    def told(number: int) -> dict[str, Any]:
        return {**shared, **{name: text.format(number) for name, text in differs.items()}}

    await stand.report(*(row(n, **told(n)) for n in range(60)))
    past = await history(stand.telemetry)

    assert len({c.group for c in past.cells}) == 1
    assert [c.rows for c in past.cells] == [15] * 4


async def test_groups_are_about_as_large(stand: Stand) -> None:
    """Else a clump could not be told from a crowd."""
    await stand.report(*(row(1, session=f"s{n}") for n in range(1000)))
    past = await history(stand.telemetry)

    assert sorted(c.group for c in past.cells) == [*range(10)]
    assert all(50 < c.rows < 150 for c in past.cells)


async def test_edges_are_the_bins_of_the_quantiles_of_rows(stand: Stand) -> None:
    """Nearest rank; what a row stands for does not matter. Slow is above the edge."""
    dice = random.Random(7)  # noqa: S311 - the same sample in every run
    rows = [
        row(t * 59 / 400, milliseconds=dice.lognormvariate(4, 1), count=dice.choice([1, 50]))
        for t in range(400)
    ]
    await stand.report(*rows)
    past = await history(stand.telemetry)
    bins = sorted(latency_bin(r.milliseconds) for r in rows)
    edges = tuple(bins[math.ceil(len(bins) * percent / 100) - 1] for percent in (50, 90, 99))

    assert past.edges == edges
    for place, edge in enumerate(edges):
        assert sum(c.slow[place] for c in past.cells) == sum(b > edge for b in bins)


async def test_edges_may_be_below_a_millisecond(stand: Stand) -> None:
    """Their bins are negative."""
    await stand.report(*(row(1, milliseconds=ms) for ms in (0.2, 0.2, 0.2, 0.5)))
    past = await history(stand.telemetry)

    assert past.edges == (latency_bin(0.2), latency_bin(0.5), latency_bin(0.5))
    assert [c.slow for c in past.cells] == [(1, 0, 0)]


@pytest.mark.parametrize(("named", "by_session"), [(5, True), (4, False)])
async def test_half_of_the_rows_must_name_a_session(
    stand: Stand, *, named: int, by_session: bool
) -> None:
    """With fewer, clumps cannot be told by session."""
    await stand.report(*(row(n, session="s" if n < named else "") for n in range(10)))

    assert (await history(stand.telemetry)).by_session is by_session


async def test_our_own_requests_and_repetitions_are_no_past(stand: Stand) -> None:
    await stand.report(
        row(1, operation=PROBE, code="500"),
        row(2, synthetic="ping", code="500"),
        row(3, id="a", generated=at(0), session="s", code="500"),
        row(4, id="a", generated=at(0), session="s", code="500"),
    )

    assert sums(await history(stand.telemetry)) == (1, 1, 1, 1)


async def test_a_past_is_told_by_whatever_tells_the_build(stand: Stand) -> None:
    """Version, role, instance, and each of them in one role alone."""
    await stand.report(
        row(1, "", role="shop"),
        row(2, BLUE, role="shop", instance="i-1"),
        row(3, BLUE, role="till", instance="i-1"),
    )
    expected = {
        Mark(name=BLUE): 2,
        Mark(name=BLUE, role="shop"): 1,
        Mark(name="shop", by=IdentifyBy.ROLE_NAME): 2,
        Mark(name="i-1", by=IdentifyBy.ROLE_INSTANCE): 2,
    }

    for mark, rows in expected.items():
        assert sums(await history(stand.telemetry, build=mark))[0] == rows


# --- Sampling: what is evidence -------------------------------------------------------------------


def evidence(canary: tuple[int, int], stable: tuple[int, int]) -> float:
    """Return E : 1 that 30 % rather than 20 % of the canary's fail (Turner, Ly, Grunwald)."""
    (failed, total), (others_failed, others) = canary, stable
    worse, same = 0.3, 0.2
    both = (total * worse + others * same) / (total + others)
    log = failed * math.log(worse / both) + (total - failed) * math.log((1 - worse) / (1 - both))
    log += others_failed * math.log(same / both)
    log += (others - others_failed) * math.log((1 - same) / (1 - both))
    return math.exp(min(log, 700))


def a_sampled_build(dice: random.Random, release: str) -> list[ReportedRequest]:
    """One of 2,000 requests in twenty is kept and stands for twenty: 100 rows, one fifth failed."""
    return [
        row(1, release, count=20, code="500" if dice.random() < 0.2 else "200") for _ in range(100)
    ]


async def test_rows_are_evidence_and_what_they_stand_for_is_none(stand: Stand) -> None:
    """Sampling makes no evidence: a kept row was seen once, its 19 clones never.

    One hundred pairs of equally good builds. Counted as if all requests had been seen, chance
    alone convicts many at 50 : 1; counted by rows, at most the 2 % that were promised.
    """
    dice = random.Random(11)  # noqa: S311 - the same sample in every run
    pairs = [(f"canary-{n}", f"stable-{n}") for n in range(100)]
    names = [name for pair in pairs for name in pair]
    await stand.report(*(r for name in names for r in a_sampled_build(dice, name)))
    seen = await observe(stand.telemetry, releases=names)
    by_rows = by_requests = 0
    for canary, stable in ((only(seen, one), only(seen, other)) for one, other in pairs):
        by_rows += (
            evidence((canary.failed_rows, canary.rows), (stable.failed_rows, stable.rows)) >= 50
        )
        by_requests += (
            evidence((canary.failed, canary.requests), (stable.failed, stable.requests)) >= 50
        )

    assert by_rows <= 2
    assert by_requests > 10


async def test_latency_is_counted_by_rows_beside_requests(stand: Stand) -> None:
    """Kept apart only where they differ."""
    await stand.report(row(1, milliseconds=10), row(2, milliseconds=10, count=9), row(20))
    sampled, plain = of(await observe(stand.telemetry))
    place = latency_bin(10)

    assert (sampled.latency, sampled.latency_rows) == ({place: 10}, {place: 2})
    assert (plain.latency, plain.latency_rows) == ({place: 1}, None)
    assert plain.slow_rows == {place: 1}


# --- What goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.LOST_RESPONSE, Fault.TRANSIENT, Fault.THROTTLED])
async def test_a_past_that_is_not_told_in_whole_is_none(stand: Stand, fault: Fault) -> None:
    await stand.report(row(1), row(16), row(31))
    stand.strike(fault)
    with pytest.raises(ProviderError) as caught:
        await history(stand.telemetry)

    throttled = fault is Fault.THROTTLED
    assert caught.value.retry_after == (THROTTLED_FOR if throttled else None)
    assert sums(await history(stand.telemetry))[0] == 3


async def test_a_missing_role_is_named(stand: Stand) -> None:
    stand.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="role"):
        await history(stand.telemetry)


async def test_a_build_that_reports_no_durations_has_no_edges(sandbox: SandboxStand) -> None:
    """Its rows count all the same, and none is slow."""
    columns = {"AppVersion": BLUE, "ResultCode": "500", "DurationMs": None}
    await sandbox.monitor.insert(WORKSPACE, "AppRequests", [columns] * 3, ingested_at=at(1))
    past = await history(sandbox.telemetry)

    assert past.edges is None
    assert [(c.rows, c.failed_rows, c.slow) for c in past.cells] == [(3, 3, (0, 0, 0))]


async def test_a_component_with_the_classic_tables_alone_tells_the_same(
    sandbox: SandboxStand,
) -> None:
    sandbox.monitor.classic.add(COMPONENT)
    rows: Sequence[ReportedRequest] = [
        row(n, session=f"s{n % 7}", code="500" if n % 9 == 0 else "200") for n in range(59)
    ]
    await sandbox.report(*rows)
    modern = await history(sandbox.telemetry)
    classic = await history(sandbox.telemetry, workspace=COMPONENT)

    assert (classic.cells, classic.edges) == (modern.cells, modern.edges)
    assert "AppRequests" not in classic.query


async def test_an_hour_of_a_busy_build_is_a_small_answer(sandbox: SandboxStand) -> None:
    """Two queries, ten rows per bucket of 15 s, however many requests there were."""
    by_bucket: defaultdict[int, list[Mapping[str, object]]] = defaultdict(list)
    for n in range(24_000):
        columns = {"AppVersion": BLUE, "ResultCode": "200", "DurationMs": 10.0 + n % 997}
        by_bucket[n % 240].append({**columns, "SessionId": f"s{n % 4999}"})
    for number, rows in by_bucket.items():
        when = at(15 * number + 7)
        await sandbox.monitor.insert(WORKSPACE, "AppRequests", rows, ingested_at=when)
    past = await history(sandbox.telemetry, until=3600)

    assert sums(past)[0] == 24_000
    assert len(past.cells) == 2400
    assert len(sandbox.monitor.queries) == 2
