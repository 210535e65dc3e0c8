"""Restores to a point in time: a new process for each step, a real server behind what is made."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.clock import SystemClock
from controller.adapters.postgres.servers import PostgresServer as Databases
from controller.core.data import BackupKind, DatabaseSpec
from controller.core.errors import (
    BusyError,
    CommandRefusedError,
    ConfigurationError,
    MalformedError,
    PermanentError,
)
from controller.core.jobs import Job, JobKind
from controller.core.plan import AppId, AppSpec
from controller.ports_data import (
    BackupSubject,
    DatabaseLogin,
    DatabaseServer,
    RestorePointOrder,
)
from controller.recovery.reading import plain
from controller.runtime.backups_tell import tell_nobody
from controller.runtime.pitr import PointInTime
from controller.runtime.pitr_job import plan_request_of, request_of
from controller.runtime.pitr_means import PitrMeans, PitrNotYet, PitrReport, PitrRequest
from controller.runtime.platform_backups import (
    PlatformBackupPart,
    PlatformRestorePoints,
    RestorePointsOfKind,
    backup_name,
)
from sandbox.app_service.database_servers import ON_DEMAND, Backup
from sandbox.app_service.errors import ArmError, server_is_busy
from sandbox.tls import Authority, create_authority
from tests.adapters.flexible_kit import NAME, Stand, a_stand
from tests.core.build import spec
from tests.runtime.backups_kit import Subjects, a_database, a_server, run

SINCE = datetime(2026, 11, 23, 7, 45, 12, tzinfo=UTC)
DATABASE = DatabaseSpec(connection="shop-db", server=NAME, backup=BackupKind.PLATFORM)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return create_authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def stand(authority: Authority, tmp_path: Path) -> AsyncIterator[Stand]:
    async with a_stand(authority, tmp_path) as made:
        yield made


@dataclass(slots=True)
class OnAServer:
    """Implements `BackupSubjects`: an app whose database is on a flexible server."""

    database: DatabaseLogin | None = None
    of: DatabaseSpec | None = DATABASE

    async def subject(self, app: str) -> BackupSubject:
        known = await Subjects(self.database).subject(app)
        return replace(known, app=an_app(self.of))


def an_app(database: DatabaseSpec | None = DATABASE) -> AppSpec:
    return replace(spec(), id=AppId("shop"), database=database)


@dataclass(slots=True)
class Person:
    """Who asks, and what they are told."""

    stand: Stand
    subjects: OnAServer = field(default_factory=OnAServer)
    server: DatabaseServer | None = None
    told: list[str] = field(default_factory=list[str])

    async def tell(self, text: str) -> None:
        self.told.append(text)

    async def goes_on(self, request: PitrRequest) -> PitrReport | PitrNotYet:
        """One step, by a process that is gone afterwards."""
        async with self.stand.platform() as platform:
            means = PitrMeans(
                platform=platform, subjects=self.subjects, clock=SystemClock(), server=self.server
            )
            return await PointInTime(means).go_on(request, self.tell)

    async def comes_to_an_end(self, request: PitrRequest) -> PitrReport:
        first = await self.goes_on(request)
        for _ in range(5):
            if isinstance(first, PitrReport):
                return first
            first = await self.goes_on(replace(request, is_again=True))
        raise AssertionError(first)

    async def plans(self, request: PitrRequest) -> Any:
        async with self.stand.platform() as platform:
            means = PitrMeans(platform=platform, subjects=self.subjects, clock=SystemClock())
            return await PointInTime(means).plan(request)


def a_request(**changes: Any) -> PitrRequest:
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = PitrRequest(
        app="shop",
        at=now - timedelta(hours=5),
        asked_at=now,
        new_server="shop-db-2",
        confirm="shop-db-2",
    )
    return replace(wanted, **changes)


# --- The plan, and what is refused ----------------------------------------------------------------


async def test_the_plan_names_what_the_new_server_will_lack_and_changes_nothing(
    stand: Stand,
) -> None:
    server = stand.server
    server.high_availability = "ZoneRedundant"
    server.firewall_rules["office"] = ("198.51.100.1", "198.51.100.9")
    server.parameters["work_mem"] = "65536"
    server.replicas.append("shop-db-replica")
    server.private_endpoints.append("pe-shop")
    server.administrators["9f"] = "dba@contoso.com"
    request = a_request(new_server=None, confirm="")

    plan = await Person(stand).plans(request)

    assert plan.new_server == f"shop-db-{request.at:%Y%m%d%H%M}"
    assert plan.objections == ()
    assert plan.earliest == server.earliest_restore
    assert "PostgreSQL 17" in plan.carried_over
    assert {each.what: each.items for each in plan.left_behind} == {
        "firewall rules": ("office: 198.51.100.1 - 198.51.100.9",),
        "server parameters": ("work_mem = 65536",),
        "Microsoft Entra administrators": ("dba@contoso.com",),
        "private endpoints": ("pe-shop",),
        "high availability": ("ZoneRedundant",),
        "read replicas": ("shop-db-replica",),
        "what Slipway cannot read": (),
    }
    assert stand.writes() == []


async def test_a_list_that_the_platform_refuses_is_named_and_hides_nothing_else(
    stand: Stand,
) -> None:
    """A server in a virtual network has no firewall rules to list, say."""
    stand.server.parameters["work_mem"] = "65536"
    stand.service.faults.refuse("^GET .*/firewallRules", ArmError(400, "NotAllowed", "private"))

    plan = await Person(stand).plans(a_request())

    assert {each.what: each.items for each in plan.left_behind} == {
        "server parameters": ("work_mem = 65536",),
        "what the platform did not tell": ("firewall rules",),
        "what Slipway cannot read": (),
    }


REFUSALS = [
    pytest.param({"confirm": "shop-db"}, "was not confirmed", id="not-confirmed"),
    pytest.param({"confirm": ""}, "was not confirmed", id="no-word"),
    pytest.param(
        {"at": datetime(2020, 1, 1, tzinfo=UTC)}, "reach back to", id="before-the-retention"
    ),
    pytest.param({"at": datetime(2999, 1, 1, tzinfo=UTC)}, "not come yet", id="future"),
    pytest.param({"new_server": "Shop_2", "confirm": "Shop_2"}, "no server's name", id="name"),
    pytest.param(
        {"new_server": "shop-db", "confirm": "shop-db"}, "never overwrites", id="itself"
    ),
    pytest.param(
        {"new_server": "shop-db-3", "confirm": "shop-db-3"}, "already used", id="taken-in-azure"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSALS)
async def test_what_cannot_be_is_refused_before_anything_is_asked_for(
    stand: Stand, changes: dict[str, Any], said: str
) -> None:
    stand.databases.taken_names.add("shop-db-3")
    with pytest.raises(CommandRefusedError, match=said):
        await Person(stand).goes_on(a_request(**changes))
    assert stand.writes() == []


async def test_without_the_right_to_ask_for_names_the_restore_itself_tells(stand: Stand) -> None:
    stand.service.faults.refuse("checkNameAvailability", ArmError(403, "AuthorizationFailed", "no"))
    assert (await Person(stand).plans(a_request())).objections == ()


async def test_without_a_server_in_the_configuration_it_says_what_to_write(stand: Stand) -> None:
    person = Person(stand, OnAServer(of=DatabaseSpec(connection="shop-db")))
    with pytest.raises(ConfigurationError, match="which flexible server") as refusal:
        await person.goes_on(a_request())
    assert "database.server" in refusal.value.fix


# --- The way there --------------------------------------------------------------------------------


@pytest.mark.parametrize("shows", [pytest.param(True, id="seen"), pytest.param(False, id="hidden")])
async def test_killed_at_every_poll_it_comes_to_one_server(stand: Stand, *, shows: bool) -> None:
    """While it is made the platform may show it or not; a busy platform is asked again."""
    person, request = Person(stand), a_request()
    stand.databases.shows_unfinished = shows
    stand.databases.hold()
    stand.service.faults.refuse("^PUT .*/flexibleServers/", server_is_busy("shop-db"))
    with pytest.raises(BusyError, match="ServerIsBusy"):
        await person.goes_on(request)
    request = replace(request, is_again=True)
    assert isinstance(await person.goes_on(request), PitrNotYet)
    for _ in range(2):
        if shows:
            found = await person.goes_on(request)
            assert isinstance(found, PitrNotYet)
            assert found.retry_after == timedelta(minutes=1)
        else:
            with pytest.raises(BusyError, match="busy"):
                await person.goes_on(request)
    stand.databases.release()

    report = await person.goes_on(request)

    assert isinstance(report, PitrReport)
    assert (report.new_server, report.host) == (
        "shop-db-2",
        "shop-db-2.postgres.database.azure.com",
    )
    assert report.not_looked_because == "this Slipway cannot reach databases"
    assert stand.databases.named("shop-db-2").restored_to == request.at
    assert len(list(stand.databases.within(NAME.subscription, None))) == 2
    assert sum(text.startswith("asking for") for text in person.told) == 1


async def test_the_same_moment_and_name_asked_for_anew_is_the_same_server(stand: Stand) -> None:
    """Another job, a day later: it looks again, and makes nothing."""
    request = a_request()
    first = await Person(stand).comes_to_an_end(request)
    again = await Person(stand).comes_to_an_end(replace(request, asked_at=datetime.now(UTC)))
    assert first == again
    assert stand.writes() == ["PUT shop-db-2"]
    with pytest.raises(PermanentError, match="is there already"):
        await Person(stand).goes_on(replace(request, at=request.at - timedelta(minutes=1)))


async def test_a_day_later_it_is_given_up(stand: Stand) -> None:
    stand.databases.shows_unfinished = True
    stand.databases.hold()
    request = a_request()
    assert isinstance(await Person(stand).goes_on(request), PitrNotYet)
    late = replace(request, asked_at=request.asked_at - timedelta(hours=25), is_again=True)
    with pytest.raises(PermanentError, match="not ready within a day"):
        await Person(stand).goes_on(late)


async def test_what_the_new_server_has_after_all_is_not_called_left_behind(stand: Stand) -> None:
    """Documents say that firewall rules stay behind; the new server itself is asked."""
    stand.server.firewall_rules["office"] = ("198.51.100.1", "198.51.100.9")
    stand.server.parameters["work_mem"] = "65536"
    stand.server.virtual_endpoints.append("shop")
    stand.databases.copies_firewall = True

    report = await Person(stand).comes_to_an_end(a_request())

    lacking = [each.what for each in report.left_behind]
    assert lacking == ["server parameters", "virtual endpoints", "what Slipway cannot read"]
    steps = "\n".join(report.cut_over)
    assert "Move the virtual endpoint" in steps
    assert "new version of the secret" not in steps


async def test_the_new_servers_database_is_compared_with_what_is_there_now(stand: Stand) -> None:
    """Behind the new server is a PostgreSQL; one that lets nobody in is no failure."""
    script = "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2), (3)"
    async with a_server() as server, a_database(server, script) as now:
        stand.databases.host_of = lambda _: "localhost"
        person = Person(stand, OnAServer(now), Databases())
        request = a_request()
        report = await person.comes_to_an_end(request)
        assert report.not_looked_because == ""
        assert report.looked is not None
        assert (report.looked.tables, report.looked.rows) == (1, 3)
        assert report.looked.differences == ()
        assert any("Add a new version of the secret 'shop-db'" in each for each in report.cut_over)

        class Then(Databases):
            """On the new server, rows that are gone on the old one are there."""

            def snapshot(self, login: DatabaseLogin) -> Any:
                then = login.to("postgres") if login.address.host == "localhost" else login
                return super().snapshot(then)

        await run(server, "CREATE TABLE orders (id int)", "CREATE TABLE lost (id int)")
        await run(server, "INSERT INTO orders SELECT generate_series(1, 5)")
        person.server = Then()
        report = await person.comes_to_an_end(request)
        assert report.looked is not None
        assert report.looked.differences == (
            "table public.lost: 0 rows then, gone now",
            "table public.orders: 5 rows then, 3 now",
        )

        stand.databases.named("shop-db-2").host = "127.0.0.2"
        person.subjects.database = replace(now, password="wrong")
        report = await person.comes_to_an_end(request)
        assert report.looked is None
        assert report.not_looked_because != ""
        assert "wrong" not in repr(report)


# --- Restore points -------------------------------------------------------------------------------


def an_order(rollout: str = "shop-1") -> RestorePointOrder:
    return RestorePointOrder(
        app="shop", rollout=rollout, release="sha256:1", head=None, since=SINCE
    )


async def test_a_rollouts_restore_point_is_one_backup_across_processes(stand: Stand) -> None:
    name = backup_name("shop\nshop-1", SINCE)
    stand.databases.shows_unfinished = True
    stand.databases.hold()
    for _ in range(3):
        async with stand.platform() as platform:
            progress = await PlatformRestorePoints(platform).take(DATABASE, an_order())
        assert progress.id is None
        assert progress.retry_after is not None
    stand.databases.release()
    async with stand.platform() as platform:
        points = PlatformRestorePoints(platform)
        progress = await points.take(DATABASE, an_order())
        assert progress.id == name
        assert name.startswith("dr-20261123T074512Z-")
        assert (await points.take(DATABASE, an_order("shop-2"))).id is None
    assert {each.name for each in stand.server.on_demand} > {name}


async def test_the_kind_of_restore_point_is_the_databases(stand: Stand) -> None:
    async with stand.platform() as platform:
        points = RestorePointsOfKind(platform=PlatformRestorePoints(platform))
        assert (await points.take(DATABASE, an_order())).retry_after is not None
        with pytest.raises(ConfigurationError, match="of kind dump"):
            await points.take(replace(DATABASE, backup=BackupKind.DUMP), an_order())
    assert len(stand.writes()) == 1


async def test_a_restore_point_on_burstable_is_refused_with_what_to_configure(
    stand: Stand,
) -> None:
    stand.server.tier = "Burstable"
    async with stand.platform() as platform:
        with pytest.raises(PermanentError, match="Burstable") as refusal:
            await PlatformRestorePoints(platform).take(DATABASE, an_order())
    assert "database.backup to dump" in refusal.value.fix


# --- Beside nightly sets --------------------------------------------------------------------------


@dataclass(slots=True)
class Later:
    """A clock that goes on with each sleep, and what happens meanwhile."""

    time: datetime = SINCE
    naps: int = 0
    meanwhile: Any = None

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.naps += 1
        if self.meanwhile and self.naps == 2:
            self.meanwhile()


async def noted(stand: Stand, later: Later, app: AppSpec | None = None) -> Any:
    async with stand.platform() as platform:
        quick = timedelta(minutes=2)
        part = PlatformBackupPart(platform, later, sleep=later.sleep, patience=quick)
        return await part.note(app or an_app())


async def test_a_set_says_which_backup_the_platform_made_beside_it(stand: Stand) -> None:
    stand.databases.hold()
    later = Later(meanwhile=stand.databases.release)
    note = await noted(stand, later)
    again = await noted(stand, later)

    assert note == again
    assert note.name == backup_name("shop", SINCE.replace(minute=0, second=0))
    assert (note.kind, note.missing_because) == (ON_DEMAND, "")
    assert note.completed_at is not None
    assert note.retention_days == 7
    assert note.server == NAME.resource_id
    async with stand.platform() as platform:
        document = b"".join([each async for each in PlatformBackupPart(
            platform, later, sleep=later.sleep
        ).export(an_app(), tell_nobody)])  # fmt: skip
    assert note.name.encode() in document


async def test_a_set_without_it_says_why_and_fails_nothing(stand: Stand) -> None:
    plain = an_app(DatabaseSpec(connection="shop-db"))
    assert "not configured" in (await noted(stand, Later(), plain)).missing_because

    stand.databases.hold()
    note = await noted(stand, Later())
    assert "was not complete in time" in note.missing_because
    stand.databases.release()

    stand.server.tier = "Burstable"
    note = await noted(stand, Later())
    assert (note.name, note.kind) == ("", "")
    assert "Burstable" in note.missing_because

    stand.server.tier = "GeneralPurpose"
    mine = [f"mine-{day}" for day in range(7)]
    stand.server.backups = {name: Backup(name, ON_DEMAND, SINCE) for name in mine}
    note = await noted(stand, Later())
    assert "Slipway made none of them" in note.missing_because


# --- As a job -------------------------------------------------------------------------------------


def a_job(tries: int = 1, **arguments: str | bool) -> Job:
    return Job(
        id="shop-pitr-20261123T074512Z-0123abcd",
        app="shop",
        kind=JobKind.PITR,
        by="ann",
        why="orders were deleted",
        asked_at=SINCE,
        arguments=arguments,
        tries=tries,
    )


def test_a_job_says_what_is_wanted() -> None:
    wanted = {"at": "2026-11-23T08:00:00+01:00", "new_server": "shop-db-2", "confirm": "shop-db-2"}
    first = request_of(a_job(**wanted))
    assert (first.at, first.new_server) == (datetime(2026, 11, 23, 7, tzinfo=UTC), "shop-db-2")
    assert (first.asked_at, first.confirm, first.is_again) == (SINCE, "shop-db-2", False)
    assert request_of(a_job(tries=2, **wanted)).is_again
    assert request_of(a_job(at="2026-11-23T08:00:00Z")).new_server is None
    query = {"at": "2026-11-23T08:00:00+01:00", "new_server": "shop-db-2"}
    asked = plan_request_of("shop", query, SINCE)
    assert (asked.at, asked.new_server, asked.confirm) == (first.at, "shop-db-2", "")


@pytest.mark.parametrize("at", ["", "yesterday", "2026-11-23T08:00:00", "2026-11-23"])
def test_a_moment_that_is_none_everywhere_is_refused(at: str) -> None:
    with pytest.raises(MalformedError, match="no moment with a time zone"):
        request_of(a_job(at=at))


async def test_what_came_of_it_is_json(stand: Stand) -> None:
    request = a_request()
    plan = plain(await Person(stand).plans(request))
    report = plain(await Person(stand).comes_to_an_end(request))
    assert json.loads(json.dumps(plan))["new_server"] == "shop-db-2"
    assert json.loads(json.dumps(report))["cut_over"][0].startswith("Look at the data on shop-db-2")
