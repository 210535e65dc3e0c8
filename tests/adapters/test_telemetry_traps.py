"""Telemetry at its worst: what lies in it, what is missing from it, and who else is in it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from controller.adapters.memory.world import Fault
from controller.core.errors import AccessDeniedError, ProviderError, QueryInvalidError
from controller.core.telemetry import IdentifyBy, Mark
from sandbox.monitor import DEFAULT_RESOURCE, Monitor
from sandbox.tls import Authority, create_authority
from tests.adapters.telemetry_kit import (
    BLUE,
    GREEN,
    WORKSPACE,
    MemoryStand,
    SandboxStand,
    Stand,
    adapter,
    at,
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


# --- Whose rows -----------------------------------------------------------------------------------


async def test_builds_can_be_told_apart_by_version_role_or_instance_in_one_query(
    stand: Stand,
) -> None:
    """Apps of one workspace may differ in it; a row may tell of several of them."""
    by_role = Mark(name="shop-blue", by=IdentifyBy.ROLE_NAME)
    by_instance = Mark(name="i-1", by=IdentifyBy.ROLE_INSTANCE)
    in_role = Mark(name=BLUE, role="shop-blue")
    instance_in_role = Mark(name="i-1", by=IdentifyBy.ROLE_INSTANCE, role="shop-blue")
    await stand.report(
        row(1, "", role="shop-blue"),
        row(2, BLUE, role="shop-blue", instance="i-1"),
        row(3, BLUE, role="till", instance="i-1"),
        row(4, "", role="till", instance="i-2"),
    )
    marks = [by_role, by_instance, in_role, instance_in_role, Mark(name=BLUE)]
    seen = await observe(stand.telemetry, releases=marks)

    counted = {mark: sum(b.rows for b in of(seen, mark)) for mark in seen.buckets}
    assert counted == dict(zip(marks, (2, 2, 1, 1, 2), strict=True))


async def test_two_apps_that_run_one_digest_do_not_share_evidence(stand: Stand) -> None:
    """Where each names its cloud role."""
    shop, till = Mark(name=BLUE, role="shop"), Mark(name=BLUE, role="till")
    await stand.report(row(1, role="shop"), row(2, role="till", code="500"), row(3, role="till"))
    seen = await observe(stand.telemetry, releases=[shop, till])

    assert (only(seen, shop).rows, only(seen, shop).failed) == (1, 0)
    assert (only(seen, till).rows, only(seen, till).failed) == (2, 1)


async def test_rows_without_a_version_are_counted_by_the_role_that_sent_them(stand: Stand) -> None:
    """Nobody can tell their build; whoever asks can say whose they may be."""
    await stand.report(
        row(1, "", role="shop"), row(2, "", role="shop"), row(3, "", role="till"), row(4)
    )
    await stand.report(row(5, "", role="shop", synthetic="ping"))

    seen = await observe(stand.telemetry)

    assert dict(seen.unversioned) == {"shop": 2, "till": 1}
    assert only(seen).rows == 1


async def test_telemetry_from_the_stable_build_alone_is_none_of_the_new_one(stand: Stand) -> None:
    """Not a bucket of zeroes: there is no bucket."""
    await stand.report(row(1, GREEN))
    seen = await observe(stand.telemetry)

    assert [mark.name for mark in seen.buckets] == [GREEN]


# --- Rows that are not what they seem -------------------------------------------------------------


async def test_a_row_that_its_sender_repeated_counts_once(stand: Stand) -> None:
    """Same id, same instant, when it first arrived; rows without an id stay what they are."""
    await stand.report(
        row(1, id="a", generated=at(0), code="500"),
        row(16, id="a", generated=at(0), code="500"),
        row(2, id="b", generated=at(0)),
        row(3, id="b", generated=at(1)),
        row(4),
        row(4),
    )
    seen = await observe(stand.telemetry)

    assert (only(seen).start, only(seen).rows, only(seen).failed) == (at(0), 5, 1)


async def test_a_clock_that_is_off_moves_no_row(stand: Stand) -> None:
    """Buckets go by the service's clock; only the newest row's own time shows the skew."""
    ahead = at(3600)
    await stand.report(row(1, generated=ahead), row(2, generated=at(-900)))
    seen = await observe(stand.telemetry)

    assert only(seen).rows == 2
    assert seen.newest == ahead


async def test_sampling_leaves_rates_and_rows_apart(stand: Stand) -> None:
    """One failing row of weight 1 among nine of weight 11: 1 % of requests, 10 % of rows."""
    await stand.report(row(1, code="500"), *(row(2, count=11) for _ in range(9)))
    bucket = only(await observe(stand.telemetry))

    assert bucket.failed / bucket.requests == 0.01
    assert bucket.failed_rows / bucket.rows == 0.1


async def test_a_duration_that_is_no_number_is_no_latency(sandbox: SandboxStand) -> None:
    """Not the fastest of all, and not an error of the whole answer."""
    for odd in (None, float("nan"), float("inf")):
        columns = {"AppVersion": BLUE, "ResultCode": "200", "DurationMs": odd}
        await sandbox.monitor.insert(WORKSPACE, "AppRequests", [columns], ingested_at=at(1))
    await sandbox.report(row(1, milliseconds=10.0))
    bucket = only(await observe(sandbox.telemetry))

    assert (bucket.rows, bucket.requests, bucket.latency) == (4, 4, {40: 1})


async def test_a_row_without_a_weight_stands_for_itself(sandbox: SandboxStand) -> None:
    columns = {"AppVersion": BLUE, "ResultCode": None, "Success": None, "ItemCount": None}
    await sandbox.monitor.insert(WORKSPACE, "AppRequests", [columns], ingested_at=at(1))

    bucket = only(await observe(sandbox.telemetry))

    assert (bucket.requests, bucket.failed) == (1, 0)


async def test_a_column_that_was_renamed_takes_nothing_away(sandbox: SandboxStand) -> None:
    """Microsoft's pages call it both ways."""
    sandbox.monitor.faults.renamed_columns["SyntheticSource"] = "OperationSyntheticSource"
    await sandbox.report(row(1), row(2, synthetic="ping"))

    assert only(await observe(sandbox.telemetry)).rows == 1


# --- Answers that do not come ---------------------------------------------------------------------


async def test_a_query_that_is_never_answered_is_bounded(
    sandbox: SandboxStand, authority: Authority
) -> None:
    """The connection is open and nothing comes: evidence is missing, and nobody waits for ever."""
    sandbox.monitor.faults.hang_queries()
    telemetry = adapter(sandbox.monitor.query_url, authority, total=timedelta(seconds=0.5))
    async with asyncio.timeout(20):
        with pytest.raises(ProviderError, match="TimeoutError"):
            await observe(telemetry)
    await telemetry.close()


async def test_throttling_without_a_word_on_when_to_come_back(sandbox: SandboxStand) -> None:
    """One request, no retry of the SDK's own, no time invented."""
    sandbox.monitor.faults.throttle_queries(retry_after_seconds=None)
    with pytest.raises(ProviderError, match="429") as caught:
        await observe(sandbox.telemetry)

    assert caught.value.retry_after is None
    assert [q.status for q in sandbox.monitor.queries] == [429]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_service_that_is_broken_is_asked_once(sandbox: SandboxStand, status: int) -> None:
    sandbox.monitor.faults.fail_queries(status)
    with pytest.raises(ProviderError, match=str(status)):
        await observe(sandbox.telemetry)

    assert len(sandbox.monitor.queries) == 1


# --- Sources that are no workspace id -------------------------------------------------------------


async def test_a_component_is_asked_by_its_arm_id(sandbox: SandboxStand) -> None:
    """For one whose workspace may not be read."""
    await sandbox.report(row(1), row(2, code="500"))

    bucket = only(await observe(sandbox.telemetry, workspace=COMPONENT))

    assert (bucket.rows, bucket.failed) == (2, 1)
    assert sandbox.monitor.queries[-1].workspace == COMPONENT


async def test_a_component_with_the_classic_tables_alone_is_asked_by_those(
    sandbox: SandboxStand,
) -> None:
    """Found out once; never both in one query, or all would count twice."""
    sandbox.monitor.classic.add(COMPONENT)
    await sandbox.report(
        row(1, role="shop", count=3),
        row(2, code="0", success=False),
        row(3, synthetic="ping"),
        row(4, "", role="old"),
    )
    first = await observe(sandbox.telemetry, workspace=COMPONENT)
    again = await observe(sandbox.telemetry, workspace=COMPONENT)

    assert (only(first).requests, only(first).failures) == (4, {"0": 1})
    assert dict(first.unversioned) == {"old": 1}
    assert again.buckets == first.buckets
    assert [q.status for q in sandbox.monitor.queries] == [400, 200, 200]
    assert "AppRequests" not in again.query


async def test_a_workspace_without_the_table_is_not_asked_by_another(
    sandbox: SandboxStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classic names exist in the scope of a component only: it is said what is wrong."""
    sandbox.monitor.faults.renamed_columns["AppVersion"] = "Gone"
    with pytest.raises(QueryInvalidError, match=r"analysis\.workspace"):
        await observe(sandbox.telemetry)

    assert [q.status for q in sandbox.monitor.queries] == [400]


async def test_a_component_that_is_none_can_never_answer(sandbox: SandboxStand) -> None:
    """The message names it as it was given."""
    other = COMPONENT.replace("components/sandbox", "components/none")

    with pytest.raises(QueryInvalidError, match="components/none"):
        await observe(sandbox.telemetry, workspace=other)


async def test_a_role_that_is_missing_on_a_component_is_named(sandbox: SandboxStand) -> None:
    sandbox.strike(Fault.PERMANENT)

    with pytest.raises(AccessDeniedError, match="components/sandbox"):
        await observe(sandbox.telemetry, workspace=COMPONENT)
