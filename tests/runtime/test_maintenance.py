"""Jobs of maintenance go on whatever happens, end once, and say what came of them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from controller.adapters.memory.bus import MemoryBus
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.adapters.memory.world import Fault, Weather
from controller.core.backup_plan import BackupSpec, PartKind
from controller.core.data import DatabaseSpec, DataPlan, DataStep
from controller.core.errors import ConfigurationError, MalformedError, PermanentError
from controller.core.jobs import Job, JobKind, JobState, timed_id
from controller.core.model import AppState, Image, Record, Release, RolloutId
from controller.core.plan import AppId, AppSpec, SlotName
from controller.entry.http import Request, Response
from controller.entry.maintenance import MaintenanceApi, Timers, on_job
from controller.ports_data import BackupSubject, RestorePointOrder
from controller.runtime.backups import Backups
from controller.runtime.backups_means import BackupMeans
from controller.runtime.maintenance import Maintainer
from controller.runtime.maintenance_sweep import MaintenanceSweep
from controller.runtime.queued_points import QueuedRestorePoints
from tests.core.build import image, rollout, spec
from tests.runtime.kit import Killed, Striker

SHOP = AppId("shop")
BACKUP = BackupSpec(parts=(PartKind.APPLICATION,))
DATABASE = DatabaseSpec(connection="db")
MINUTE = timedelta(minutes=1)


@dataclass
class House:
    """Everything but a database: an app whose backups hold what it runs."""

    backup: BackupSpec | None = BACKUP
    weather: Weather = field(default_factory=Weather)
    striker: Striker | None = None
    clock: ManualClock = field(default_factory=ManualClock)
    denied: PermanentError | None = None

    def __post_init__(self) -> None:
        self.store = MemoryStore(weather=self.weather)
        self.vault = MemoryVault(weather=self.weather, now=self.clock.now)
        self.bus = MemoryBus(self.clock)
        vault, store, bus = (self._struck(n) for n in ("vault", "store", "bus"))
        self.backups = Backups(
            BackupMeans(
                vault=vault,
                subjects=self,
                clock=self.clock,
                version="0.1.0",
                registry=MemoryRegistry(),
                store=store,
            )
        )
        self.maintainer = Maintainer(
            jobs=store, bus=bus, clock=self.clock, history=self.store, backups=self.backups
        )

    def _struck(self, name: str) -> Any:
        port = getattr(self, name)
        return port if self.striker is None else Struck(self.striker, name, port)

    async def apps(self) -> Mapping[AppId, AppSpec]:
        return {SHOP: replace(spec(), id=SHOP, backup=self.backup, database=DATABASE)}

    async def subject(self, app: str) -> BackupSubject:
        if self.denied is not None:
            raise self.denied
        return BackupSubject(app=(await self.apps())[AppId(app)], backup=self.backup or BACKUP)

    async def work(self) -> None:
        """Deliver until nothing is left; what raises comes again."""
        for _ in range(300):
            delivery = self.bus.receive("maintenance")
            if delivery is None:
                due = self.bus.next_due()
                if due is None:
                    return
                self.clock.advance(due - self.clock.now())
                continue
            message = delivery.message
            try:
                await on_job(
                    message.body,
                    session=message.session,
                    deliveries=delivery.deliveries,
                    message_id=message.id or "",
                    maintainer=self.maintainer,
                )
            except BaseException:  # noqa: BLE001 - also a kill
                self.bus.abandon(delivery)
            else:
                self.bus.complete(delivery)
        raise AssertionError("it does not end")

    def job(self, kind: JobKind = JobKind.BACKUP, **arguments: str | bool) -> Job:
        return Job(
            id=f"shop-{kind}-20261123T074500Z-{len(arguments):08x}",
            app="shop",
            kind=kind,
            by="ann",
            why="before the sale",
            asked_at=self.clock.now(),
            arguments=arguments,
        )

    async def done(self, job: Job) -> Job:
        await self.maintainer.request(job)
        await self.work()
        found = await self.store.job(job.id)
        assert found is not None
        return found


@dataclass
class Struck:
    """A port whose calls a striker counts, streams apart."""

    striker: Striker
    name: str
    port: Any

    def __getattr__(self, operation: str) -> Any:
        found = getattr(self.port, operation)
        if operation in {"open_part", "encrypts"}:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            name = f"{self.name}.{operation}"
            return await self.striker.strike(name, lambda: found(*args, **kwargs))

        return call


async def test_a_backup_is_made_read_back_and_told() -> None:
    house = House()

    job = await house.done(house.job())

    assert (job.state, job.tries, job.error) == (JobState.SUCCEEDED, 1, "")
    assert job.steps
    (made,) = await house.vault.sets("shop")
    assert made.is_verified
    assert (job.result["set"], job.result["parts"]) == (made.id, 1)


async def test_the_same_order_twice_is_one_set() -> None:
    house = House()
    first = await house.done(house.job())

    again = await house.done(house.job())

    assert again == first
    assert len(await house.vault.sets("shop")) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_killed_at_any_call_it_goes_on_and_makes_one_set(*, after: bool) -> None:
    counted = Striker()
    undisturbed = House(striker=counted)
    expected = await undisturbed.done(undisturbed.job())
    assert len(counted.calls) > 10

    for number, name in enumerate(counted.calls):
        striker = Striker(at=number, after=after, error=Killed)
        house = House(striker=striker)
        try:
            await house.maintainer.request(house.job())
        except Killed:
            await house.maintainer.request(house.job())  # whoever asked asks again
        await house.work()
        job = await house.store.job(expected.id)

        assert job is not None, name
        assert job.state is JobState.SUCCEEDED, f"{number} {name}: {job.error}"
        sets = await house.vault.sets("shop")
        assert [found.is_verified for found in sets] == [True], f"{number} {name}"


async def test_what_passes_is_waited_for_and_told_meanwhile() -> None:
    house = House()
    house.weather.script("put_part", *(Fault.TRANSIENT,) * 5)

    job = await house.done(house.job())

    assert job.state is JobState.SUCCEEDED
    assert job.tries == 6
    assert any("stopped for now" in step.text for step in job.steps)


async def test_what_stays_for_hours_is_given_up_with_a_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()
    house.weather.script("put_part", *(Fault.TRANSIENT,) * 10_000)
    begun = house.clock.now()

    job = await house.done(house.job())

    assert job.state is JobState.FAILED
    assert "tried for hours" in job.error
    assert house.clock.now() - begun > timedelta(hours=3)
    assert [r.message for r in caplog.records if r.levelno == logging.CRITICAL]


async def test_a_drill_without_a_set_fails_and_pages(caplog: pytest.LogCaptureFixture) -> None:
    house = House()

    job = await house.done(house.job(JobKind.DRILL))

    assert job.state is JobState.FAILED
    assert "There is no set to restore" in job.error
    assert job.result["passed"] is False
    assert any(
        r.levelno == logging.CRITICAL and "app shop: drill job" in r.message for r in caplog.records
    )


class Copier:
    """Implements `ImageKeeper`."""

    def __init__(self, error: PermanentError | None = None) -> None:
        self.error = error

    async def copy(self, image: Image, to: str) -> Image:
        if self.error is not None:
            raise self.error
        registry, _, prefix = to.partition("/")
        return replace(image, registry=registry, repository=f"{prefix}/{image.repository}")


@pytest.mark.parametrize("error", [None, PermanentError("dr.test denies us.", fix="AcrPush.")])
async def test_the_release_is_copied_to_a_second_registry_and_no_set_waits_for_it(
    error: PermanentError | None,
) -> None:
    house = House(backup=replace(BACKUP, copy_to="dr.test/copies"))
    house.backups._means = replace(house.backups._means, copier=Copier(error))
    release = Release(
        image=image(1), rollout=RolloutId("r1"), slot=SlotName("blue"), at=house.clock.now()
    )
    loaded = await house.store.load(SHOP)
    await house.store.save(loaded, AppState(app=SHOP, releases=(release,), sequence=0), [])

    job = await house.done(house.job())

    assert job.state is JobState.SUCCEEDED
    said = " ".join(step.text for step in job.steps)
    told = "NOT copied: dr.test denies us." if error else "the release is at dr.test/copies/"
    assert told in said


async def test_a_damaged_set_is_told_by_its_verification() -> None:
    house = House()
    made = await house.done(house.job())
    name = str(made.result["set"])
    path = next(path for path in house.vault.shelf.blobs if "application" in path)
    blob = house.vault.shelf.blobs[path]
    house.vault.shelf.blobs[path] = replace(blob, data=bytes([blob.data[0] ^ 1]) + blob.data[1:])

    job = await house.done(house.job(JobKind.VERIFY, set=name))

    assert job.state is JobState.FAILED
    assert "is damaged" in job.error
    (found,) = await house.vault.sets("shop")
    assert found.is_suspect


async def test_pruning_keeps_the_restore_points_of_rollouts() -> None:
    """A set that a rollout refers to stays, whatever the rules say."""
    house = House(backup=replace(BACKUP, keep=replace(BACKUP.keep, keep_last=0, min_verified=1)))
    names: list[str] = []
    for number in range(3):
        job = replace(house.job(), id=f"shop-backup-20261123T07450{number}Z-0000000{number}")
        names.append(str((await house.done(job)).result["set"]))
        house.clock.advance(timedelta(hours=1))
    plan = DataPlan(bundle="b", pending=("1",))
    release = replace(rollout(), data=DataStep(plan=plan, restore_point=names[0]))
    loaded = await house.store.load(SHOP)
    record = Record(at=house.clock.now(), rollout=release.id, kind="x", what="x", why="x")
    await house.store.save(loaded, AppState(app=SHOP, active=release, sequence=1), [record])

    planned = await house.done(house.job(JobKind.PRUNE))
    assert planned.result["applied"] is False
    assert len(await house.vault.sets("shop")) == 3

    await house.done(house.job(JobKind.PRUNE, apply=True))

    left = [found.id for found in await house.vault.sets("shop")]
    assert left == [names[0], names[2]]


async def test_a_set_of_another_app_is_refused() -> None:
    house = House()

    job = await house.done(house.job(JobKind.VERIFY, set="20261123T074500Z-blog-1a2b3c4d"))

    assert job.state is JobState.FAILED
    assert "is not of app 'shop'" in job.error


async def test_without_a_vault_nothing_is_taken_on() -> None:
    house = House()
    bare = replace(house.maintainer, backups=None)

    with pytest.raises(ConfigurationError, match="SLIPWAY_BACKUP_URL"):
        await bare.request(house.job())


async def test_what_no_job_is_meant_by_is_set_aside() -> None:
    house = House()
    for body in (b"{}", b'{"v":1,"job":"shop-backup-id-0123456789abcdef","app":"shop"}'):
        await on_job(
            body, session="shop", deliveries=1, message_id="m", maintainer=house.maintainer
        )

    assert len(house.bus.waiting("rejected")) == 2


# --- Restore points ------------------------------------------------------------------------------


def point(house: House) -> tuple[QueuedRestorePoints, RestorePointOrder]:
    points = QueuedRestorePoints(maintainer=house.maintainer, jobs=house.store, clock=house.clock)
    name = "20261123T074500000-shop-0123abcd-1"
    order = RestorePointOrder(
        app="shop", rollout=name, release="sha256:1", head=None, since=house.clock.now()
    )
    return points, order


async def test_a_restore_point_is_a_job_that_is_asked_for_once() -> None:
    house = House()
    points, order = point(house)

    first = await points.take(DATABASE, order)
    assert (first.id, first.retry_after) == (None, timedelta(seconds=3))
    await points.take(DATABASE, order)
    await house.work()

    (made,) = await house.vault.sets("shop")
    assert (await points.take(DATABASE, order)).id == made.id


async def test_a_restore_point_that_cannot_be_made_ends_the_wait() -> None:
    house = House()
    points, order = point(house)
    await points.take(DATABASE, order)
    house.denied = PermanentError("There is no secret 'db'.", fix="Put it into Key Vault.")
    await house.work()

    with pytest.raises(PermanentError, match="cannot be made: There is no secret"):
        await points.take(DATABASE, order)


# --- Timers and the sweep ------------------------------------------------------------------------


async def test_a_timer_that_fires_twice_asks_once_and_clears_out_behind() -> None:
    house = House()
    timers = Timers(configuration=house, maintainer=house.maintainer, clock=house.clock)
    expected = (
        timed_id("shop", JobKind.BACKUP, house.clock.now()),
        timed_id("shop", JobKind.PRUNE, house.clock.now()),
    )

    assert await timers.back_up() == expected
    assert await timers.back_up() == expected
    await house.work()

    jobs = await house.store.jobs("shop", limit=10)
    assert {job.id: job.state for job in jobs} == dict.fromkeys(expected, JobState.SUCCEEDED)
    assert len(await house.vault.sets("shop")) == 1
    (drill,) = await timers.drill()
    assert drill == timed_id("shop", JobKind.DRILL, house.clock.now())


async def test_timers_leave_apps_alone_that_say_nothing_of_backups() -> None:
    house = House(backup=None)
    timers = Timers(configuration=house, maintainer=house.maintainer, clock=house.clock)

    assert await timers.back_up() == ()


async def swept(house: House, *, minutes: int = 60) -> list[str]:
    sweep = MaintenanceSweep(jobs=house.store, bus=house.bus, backups=lambda: house.backups)
    again: list[str] = []
    for _ in range(minutes):
        house.clock.advance(MINUTE)
        again += await sweep.sweep(await house.apps(), house.clock.now())
    return again


async def test_a_job_whose_message_was_lost_is_sent_again() -> None:
    house = House()
    job = house.job()
    await house.store.keep_job(job)  # and the process died

    assert await swept(house, minutes=9) == []
    assert set(await swept(house, minutes=12)) == {job.id}
    await house.work()

    found = await house.store.job(job.id)
    assert found is not None
    assert found.state is JobState.SUCCEEDED
    assert await swept(house) == []


async def test_too_old_a_verified_set_pages_once_an_hour(
    caplog: pytest.LogCaptureFixture,
) -> None:
    house = House()

    def pages() -> list[str]:
        said = [r.message for r in caplog.records if r.levelno == logging.CRITICAL]
        caplog.clear()
        return said

    await swept(house)
    assert pages() == ["app shop: no backup set is verified, so nothing is known to restore"]
    await house.done(house.job())
    await swept(house, minutes=120)
    assert pages() == []
    house.clock.advance(timedelta(hours=24))
    await swept(house, minutes=120)
    told = pages()
    assert len(told) == 2
    assert "the newest verified backup has the data of" in told[0]


# --- By HTTP -------------------------------------------------------------------------------------


def asked(body: bytes = b"{}", query: Mapping[str, str] | None = None, **route: str) -> Request:
    return Request(method="POST", headers={}, query=query or {}, route=route, body=body)


def api(house: House) -> MaintenanceApi:
    return MaintenanceApi(
        configuration=house,
        maintainer=house.maintainer,
        jobs=house.store,
        clock=house.clock,
        backups=house.backups,
        pitr=None,
    )


async def ordered(house: House, verb: str, body: bytes = b"{}") -> Response:
    return await api(house).order(asked(body, app="shop", verb=verb))


async def test_an_order_by_http_is_a_job_that_can_be_watched() -> None:
    house = House()

    answer = await ordered(house, "create", b'{"reason": "sale", "by": "ann", "id": "build-7"}')
    again = await ordered(house, "create", b'{"reason": "sale", "by": "ann", "id": "build-7"}')

    body: Any = answer.body
    assert answer.status == 202
    assert answer.headers["Location"] == body["status_url"]
    assert again.body == body
    await house.work()
    seen: Any = (await api(house).get_job(asked(id=body["job"]))).body
    assert (seen["state"], seen["by"], seen["why"]) == ("succeeded", "ann", "sale")
    listed: Any = (await api(house).list_jobs(asked(app="shop"))).body
    assert [job["id"] for job in listed["jobs"]] == [body["job"]]
    backups: Any = (await api(house).list_backups(asked(app="shop"))).body
    assert backups["within_rpo"] is True
    assert [found["verified"] for found in backups["backups"]] == [True]


@pytest.mark.parametrize(
    ("verb", "body", "says"),
    [
        ("create", b'{"sett": "x"}', "does not know sett"),
        ("create", b'{"reason": 1}', "must be text"),
        ("prune", b'{"apply": "yes"}', "must be true or false"),
        ("verify", b"{}", "is no backup set's id"),
        ("restore", b'{"set": "x"}', "is no backup set's id"),
        ("restore", b'{"set": "20261123T074500Z-shop-1a2b", "parts": "datbase"}', "no part"),
        ("pitr", b'{"at": "yesterday"}', "no moment"),
        ("create", b"[]", "object"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_begins_nothing(
    verb: str, body: bytes, says: str
) -> None:
    house = House()

    with pytest.raises(MalformedError, match=says):
        await ordered(house, verb, body)

    assert await house.store.jobs("shop", limit=5) == []


async def test_an_unknown_verb_and_job_are_not_found() -> None:
    house = House()

    assert (await ordered(house, "destroy")).status == 404
    assert (await api(house).get_job(asked(id="shop-backup-id-0123456789abcdef"))).status == 404
    assert (await api(house).get_job(asked(id="../head"))).status == 404
