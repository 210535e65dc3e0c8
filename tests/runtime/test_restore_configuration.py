"""A site's configuration comes back: planned, refused, written in order, killed, drilled."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.azure.site_export import AppServiceExporter
from controller.adapters.azure.site_import import AppServiceImporter
from controller.adapters.memory.site import MemorySite
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.core.backup_plan import BackupSpec
from controller.core.errors import (
    BackupDamagedError,
    BusyError,
    CommandRefusedError,
    PermanentError,
    RestoreFailedError,
    SlipwayError,
    TransientError,
)
from controller.core.model import State
from controller.core.plan import AppId, AppSpec, Percent, Routing, SlotName, Target
from controller.ports import Hosts, Loaded
from controller.ports_data import BackupSubject, SlotExport
from controller.recovery.manifest import Manifest
from controller.recovery.names import SetId
from controller.recovery.site import read_site
from controller.runtime.backups import Backups
from controller.runtime.backups_documents import configuration
from controller.runtime.backups_means import DrillRequest
from controller.runtime.backups_parts import PartWanted
from controller.runtime.rehearse_configuration import rehearse_configuration
from controller.runtime.restore_configuration import MOST_BYTES, ConfigurationRestorer
from tests.adapters.stands import TARGET as STAND_TARGET
from tests.adapters.stands import image, sandbox_stand
from tests.core.build import APP, BLUE, GREEN, T0, TARGET, rollout, spec
from tests.recovery.site_kit import SECRETS, document, slot, stored
from tests.runtime.backups_kit import AT, Subjects, means, request

OLD = {"GREETING": "now-value", "OLD": "old-value", "SLIPWAY_RELEASE": "sha256:now"}
NAMES = ("production", "blue", "green")


class Killed(BaseException):
    """What a process that dies raises."""


def wanted(found: Mapping[str, Any] | bytes, app: AppSpec | None = None) -> PartWanted:
    """Return the part, in small pieces."""
    content = found if isinstance(found, bytes) else stored(dict(found))

    async def open_it() -> AsyncGenerator[bytes]:
        for start in range(0, len(content), 1 << 16):
            yield content[start : start + (1 << 16)]

    manifest = Manifest(
        id=SetId("20261123T074512Z-shop-0123456789abcdef"), app=APP, reason="nightly",
        requested_by="timer", started_at=T0, finished_at=T0, slipway_version="1", release=None,
        parts=(),
    )  # fmt: skip
    subject = BackupSubject(app=app or spec(), backup=BackupSpec())
    return PartWanted(manifest=manifest, subject=subject, open=open_it)


class Site(MemorySite):
    """A site that was used, and that fails on demand."""

    def __init__(self, *names: str) -> None:
        super().__init__(TARGET.resource_id, names or NAMES[1:])
        old = SlotExport(settings=OLD, connection_strings={}, configuration={"alwaysOn": False})
        self.slots = dict.fromkeys(self.slots, old)
        self.dies_after: int | None = None  # writes
        self.forgets = False
        self.meanwhile: list[Any] = []  # what happens after the next write

    def _put(self, name: str, slot: SlotExport, request_id: str) -> None:
        if self.dies_after is not None and len(self.writes) >= self.dies_after:
            raise Killed
        super()._put(name, self.slots[name] if self.forgets else slot, request_id)
        if self.meanwhile:
            self.meanwhile.pop()()


@dataclass(slots=True)
class Served:
    """Implements `Addresses`."""

    split: Routing

    async def hosts(self, target: Target) -> Hosts:
        raise AssertionError(target)

    async def routing(self, target: Target) -> Routing:
        if not self.split.shares:
            raise BusyError("Somebody else writes the rules, too.")
        return self.split


TO_BLUE = Routing(((BLUE, Percent(90)), (GREEN, Percent(10))))


class Stand:
    """A used site, a restorer, and what it told."""

    def __init__(self, *names: str, split: Routing = TO_BLUE) -> None:
        self.site = Site(*names)
        self.store = MemoryStore()
        self.restorer = ConfigurationRestorer(
            sites=self.site,
            writer=self.site,
            addresses=Served(split),
            store=self.store,
            pauses=(0,),
        )
        self.told: list[str] = []

    async def tell(self, sentence: str) -> None:
        self.told.append(sentence)

    async def begin_rollout(self) -> None:
        loaded = await self.store.load(APP)
        await self.store.save(loaded, replace(loaded.state, active=rollout(State.STAGING)), [])

    def written(self) -> list[str]:
        """Return what was written, without whose set it was."""
        return [each.partition("/configuration/")[2] for each in self.site.writes]


def is_back(site: MemorySite, *names: str) -> bool:
    then = read_site(stored(document()))
    owned = {"SLIPWAY_RELEASE", "OTEL_RESOURCE_ATTRIBUTES"}
    for name in names or NAMES:
        settings = {k: v for k, v in then.slots[name].settings.items() if k not in owned}
        if site.slots[name].settings != {**settings, "SLIPWAY_RELEASE": "sha256:now"}:
            return False
        if site.slots[name].connection_strings != then.slots[name].connection_strings:
            return False
    return True


# --- Planned --------------------------------------------------------------------------------------


async def test_a_plan_names_every_write_no_value_and_changes_nothing() -> None:
    stand = Stand()
    plan = await stand.restorer.plan(wanted(document()))

    assert plan.refusal == ""
    assert plan.changes[:2] == (
        "site: setting API_KEY stays with its slot in a swap",
        "site: connection string Db stays with its slot in a swap",
    )
    assert [each for each in plan.changes if each.startswith("green: ")] == [
        "green: connection string Db is added",
        "green: setting API_KEY is added",
        "green: setting GREETING is changed",
        "green: setting OLD is removed",
        "green: setting PASSWORD is added",
        "green: configuration alwaysOn becomes true, from false",
        "green: configuration healthCheckPath is changed",
    ]
    assert stand.site.writes == []
    shown = repr(plan)
    assert not [each for each in (*SECRETS, *list(OLD.values())[:2]) if each in shown]


async def test_a_plan_says_that_slots_restart_and_who_is_served() -> None:
    """Who serves nobody comes first, production before whoever leads, who leads last."""
    notes = (await Stand().restorer.plan(wanted(document()))).notes
    assert notes[0] == "Changing settings restarts a slot: green, production, blue, in this order."
    assert notes[1] == "Users are served by green, blue now (blue 90 %, green 10 %)."

    alone = Routing(((BLUE, Percent(100)),))
    notes = (await Stand(split=alone).restorer.plan(wanted(document()))).notes
    assert "green, production, blue" in notes[0]

    unknown = (await Stand(split=Routing()).restorer.plan(wanted(document()))).notes
    assert "blue, green, production" in unknown[0]
    assert unknown[1] == "Who serves users cannot be told now: production is written last."


async def test_slots_that_are_missing_on_either_side_are_noted_and_left_alone() -> None:
    stand = Stand("green")  # blue is gone
    found = document(slots={"production": slot(), "blue": slot(), "old": slot()})
    plan = await stand.restorer.plan(wanted(found))
    assert "Slot blue of the set is left out: it is not there." in plan.notes
    assert "Slot old of the set is left out: the app does not name it now." in plan.notes
    assert "Slot green is not in the set, and stays as it is." in plan.notes

    await stand.restorer.restore(wanted(found), stand.tell)
    assert is_back(stand.site, "production")
    assert stand.site.slots["green"].settings == OLD


async def test_the_set_of_another_site_is_noted() -> None:
    found = document(site={**document()["site"], "resource_id": "/subscriptions/s/sites/other"})
    notes = (await Stand().restorer.plan(wanted(found))).notes
    assert "The set is of another site: /subscriptions/s/sites/other." in notes


async def test_a_site_that_is_not_there_is_a_refusal_with_what_to_do() -> None:
    elsewhere = spec(target=replace(TARGET, site="gone"))
    plan = await Stand().restorer.plan(wanted(document(), elsewhere))
    assert plan.refusal == "There is no site 'gone'. Correct the target."


async def test_a_rollout_under_way_refuses_the_restore() -> None:
    stand = Stand()
    await stand.begin_rollout()
    plan = await stand.restorer.plan(wanted(document()))
    assert "is under way (staging) and writes settings, too" in plan.refusal
    with pytest.raises(CommandRefusedError, match="is under way"):
        await stand.restorer.restore(wanted(document()), stand.tell)
    assert stand.site.writes == []


async def test_a_damaged_document_is_said_to_be_one() -> None:
    restorer = Stand().restorer
    for content, said in (
        (stored(document())[:-5], "cannot be read"),
        (b" " * (MOST_BYTES + 1), "larger than"),
        (stored(document(slots={"blue": slot(configuration={"alwaysOn": "yes"})})), "wrong type"),
    ):
        with pytest.raises(BackupDamagedError, match=said):
            await restorer.plan(wanted(content))
        with pytest.raises(BackupDamagedError, match=said):
            await restorer.restore(wanted(content), Stand().tell)


# --- Restored -------------------------------------------------------------------------------------


async def test_a_restore_does_what_its_plan_says_and_a_second_one_nothing() -> None:
    stand = Stand()
    plan = await stand.restorer.plan(wanted(document()))
    done = await stand.restorer.restore(wanted(document()), stand.tell)

    assert done == plan.changes
    assert is_back(stand.site)
    assert stand.written() == [
        "sticky",
        *(f"{name}/{what}" for name in ("green", "production", "blue")
          for what in ("web", "strings", "settings")),
    ]  # fmt: skip
    assert stand.told[-1] == "blue: 7 changes written and read back"
    assert not [each for each in (*SECRETS, "now-value") if each in f"{done}{stand.told}"]

    writes = len(stand.site.writes)
    assert await stand.restorer.restore(wanted(document()), stand.tell) == ()
    assert (await stand.restorer.plan(wanted(document()))).changes == ()
    assert len(stand.site.writes) == writes


async def test_killed_after_any_write_and_begun_again_it_ends_at_the_goal() -> None:
    for writes in range(1, 10):
        stand = Stand()
        stand.site.dies_after = writes
        with pytest.raises(Killed):
            await stand.restorer.restore(wanted(document()), stand.tell)
        stand.site.dies_after = None
        await stand.restorer.restore(wanted(document()), stand.tell)
        assert is_back(stand.site)
        assert len(stand.site.writes) == 10  # none of them twice


async def test_what_does_not_read_back_stops_before_the_next_slot() -> None:
    stand = Stand()
    stand.site.forgets = True
    with pytest.raises(RestoreFailedError, match="green: setting GREETING is changed") as caught:
        await stand.restorer.restore(wanted(document()), stand.tell)
    assert {each.partition("/")[0] for each in stand.written()} == {"sticky", "green"}
    assert not [each for each in (*SECRETS, "now-value") if each in str(caught.value)]


class BusyLater(MemoryStore):
    """A store in which a rollout is under way from the third look on."""

    looks = 0

    async def load(self, app: AppId) -> Loaded:
        self.looks += 1
        loaded = await super().load(app)
        active = rollout(State.STAGING) if self.looks > 2 else None
        return replace(loaded, state=replace(loaded.state, active=active))


async def test_a_rollout_that_begins_meanwhile_is_not_written_over() -> None:
    stand = Stand()
    restorer = replace(stand.restorer, store=BusyLater())
    with pytest.raises(TransientError, match="began meanwhile: production was not restored"):
        await restorer.restore(wanted(document()), stand.tell)
    assert is_back(stand.site, "green")
    assert [stand.site.slots[name].settings for name in ("production", "blue")] == [OLD, OLD]


async def test_what_somebody_adds_meanwhile_is_seen_before_whole_lists_are_replaced() -> None:
    """A release that came to blue while green was written keeps its identity."""
    stand = Stand()
    blue = stand.site.slots["blue"]
    released = replace(blue, settings={**blue.settings, "SLIPWAY_RELEASE": "sha256:newer"})
    stand.site.meanwhile = [lambda: stand.site.slots.update(blue=released)]
    await stand.restorer.restore(wanted(document()), stand.tell)
    assert stand.site.slots["blue"].settings["SLIPWAY_RELEASE"] == "sha256:newer"


async def test_names_that_a_set_without_encryption_left_out_survive_a_restore() -> None:
    stand = Stand()
    was = stand.site.slots["blue"]
    whole = {**was.settings, "API_KEY": "s3cret-word"}
    stand.site.slots["blue"] = replace(
        was, settings=whole, connection_strings={"Db": ("Custom", "Host=db;Password=hunter2")}
    )
    content, left_out = configuration(await stand.site.export(TARGET), encrypts=False)
    assert "blue: setting API_KEY" in left_out
    before = dict(stand.site.slots)
    plan = await stand.restorer.plan(wanted(content))

    assert plan.changes == ()
    assert "blue: setting API_KEY stays as it is: the set does not hold its value" in plan.notes
    assert await stand.restorer.restore(wanted(content), stand.tell) == ()
    assert stand.site.slots == before


async def test_a_real_site_comes_back_through_the_sdk(tmp_path: Path) -> None:
    """Its build stays, its slot restarts with what the set says; busy means later, late is late."""
    async with sandbox_stand(tmp_path) as stand:
        sites = AppServiceExporter(stand.clients)
        restorer = ConfigurationRestorer(
            sites=sites, writer=AppServiceImporter(stand.clients), addresses=stand.platform,
            pauses=(0, 0.05, 0.3),
        )  # fmt: skip
        blue, production = stand.site.slot("blue"), stand.site.production
        blue.app_settings |= {"API_KEY": "s3cret-word"}
        blue.connection_strings = {"Db": {"type": "PostgreSQL", "value": "hunter2"}}
        content, _ = configuration(await sites.export(STAND_TARGET), encrypts=True)
        part = wanted(content, spec(target=STAND_TARGET))
        assert (await restorer.plan(part)).changes == ()

        blue.apply_settings({"GREETING": "wrong", "SLIPWAY_RELEASE": "sha256:now"})
        blue.apply_connection_strings({})
        blue.config["healthCheckPath"] = "/wrong"
        stand.site.sticky = {**stand.site.sticky, "appSettingNames": ["GREETING"]}
        untouched = production.runner.starts
        stand.service.faults.busy("shop", 60)
        with pytest.raises(TransientError):
            await restorer.restore(part, Stand().tell)
        stand.service.faults.clear()
        late = stand.service.faults.slow_effect("^PUT .*/config/appsettings$", 0.1)
        done = await restorer.restore(part, Stand().tell)

        assert "blue: setting GREETING is changed" in done
        assert late.left == 0
        assert (await restorer.plan(part)).changes == ()
        assert blue.app_settings["API_KEY"] == "s3cret-word"
        assert blue.app_settings["SLIPWAY_RELEASE"] == "sha256:now"
        assert not blue.config["healthCheckPath"]
        assert stand.site.sticky["appSettingNames"] == []
        assert await stand.site.settled(["blue"])
        assert blue.runner.active is not None
        assert blue.runner.active.wanted.environment["GREETING"] == "hello"
        assert (blue.image, production.runner.starts) == (image("old"), untouched)


# --- Drilled --------------------------------------------------------------------------------------


async def test_a_drill_applies_the_document_and_finds_it_whole() -> None:
    stand = Stand()
    found = await rehearse_configuration(wanted(document()), stand.tell)
    assert (found.problems, found.notes) == ((), ())
    assert found.changes > 10
    assert "restored to an empty site in memory" in stand.told[0]


def edited(**changes: Any) -> bytes:
    return stored(document(**changes))


# fmt: off
DAMAGED = [
    ("cut short",    stored(document())[:-40],                                  "cannot be read"),
    ("empty",        b"",                                                       "cannot be read"),
    ("slot gone",    edited(slots={"production": slot(), "blue": slot()}),      "slot green"),
    ("value odd",    edited(slots={n: slot(settings={"A": 1}) for n in NAMES}), "must be a text"),
    ("kind odd",     edited(slots={n: slot(configuration={"alwaysOn": "yes"}) for n in NAMES}),
                                                                                "wrong type"),
    ("bad reference", stored(document()).replace(b"secrets/db)", b"secrets/"),  "no Key Vault"),
    ("held and not", edited(left_out=["blue: setting API_KEY"]),                "not come back"),
]
# fmt: on


@pytest.mark.parametrize(
    ("content", "said"), [pytest.param(*case, id=name) for name, *case in DAMAGED]
)
async def test_a_damaged_document_fails_the_drill(content: bytes, said: str) -> None:
    found = await rehearse_configuration(wanted(content))
    assert [each for each in found.problems if said in each and "configuration" in each]
    assert not [each for each in SECRETS if each in str(found)]


async def test_what_was_left_out_is_told_by_a_drill_and_fails_nothing() -> None:
    export = await Stand().site.export(TARGET)
    content, left_out = configuration(export, encrypts=False)
    assert len(left_out) == 6  # two texts in each of three slots
    found = await rehearse_configuration(wanted(content))
    assert found.problems == ()
    assert len([note for note in found.notes if "keep its value elsewhere" in note]) == 6


async def test_a_part_that_cannot_be_read_now_is_no_verdict_and_a_broken_one_is() -> None:
    async def broken(error: SlipwayError) -> Any:
        async def open_it() -> AsyncGenerator[bytes]:
            yield b"{"
            raise error

        return await rehearse_configuration(replace(wanted(b""), open=open_it))

    with pytest.raises(TransientError):
        await broken(BusyError("The vault is busy."))
    found = await broken(PermanentError("The part was changed.", fix=""))
    assert found.problems == ("configuration: The part was changed.",)


@dataclass(slots=True)
class WithSlots(Subjects):
    """One app whose slots come and go."""

    slots: tuple[SlotName, ...] = (BLUE, GREEN)

    def of(self, app: str) -> BackupSubject:
        whole = Subjects.of(self, app)
        target = replace(whole.app.target, slots=self.slots)
        return replace(whole, app=replace(whole.app, target=target))


async def test_the_drill_of_a_set_says_that_its_configuration_was_applied() -> None:
    stand, vault = Stand(), MemoryVault()
    subjects = WithSlots(None)
    backups = Backups(replace(means(vault, subjects), sites=stand.site))
    await backups.create(request())
    drill = DrillRequest(app=APP, job="drill-1", by="timer")
    found = await backups.drill(drill, stand.tell)

    assert (found.is_whole, found.problems) == (True, ())
    assert [each for each in stand.told if "restored to an empty site in memory" in each]
    assert "configuration: blue: setting OLD is not in the set" in str(found.notes)
    assert stand.site.writes == []  # the real one is not touched

    backups = Backups(replace(means(vault, subjects), sites=Site("blue")))
    subjects.slots = (BLUE,)
    await backups.create(request("job-2", at=AT + timedelta(hours=1)))
    subjects.slots = (BLUE, GREEN)
    found = await backups.drill(drill, stand.tell)
    assert not found.is_whole
    assert "The configuration of slot green is not in the set." in str(found.problems)
