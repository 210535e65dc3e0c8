"""Restores of the parts beside the database: what is planned, refused, written, and left alone."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from controller.adapters.exports import StateExport, StateImport
from controller.adapters.memory.clock import ManualClock
from controller.adapters.memory.platform import MemoryPlatform
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.adapters.memory.world import Fault, World
from controller.core.backup_plan import BackupSpec, PartKind
from controller.core.errors import (
    BackupDamagedError,
    CommandRefusedError,
    MalformedError,
    RestoreFailedError,
    TransientError,
)
from controller.core.model import AppState, Image, Quarantined, Record, Release, RolloutId, State
from controller.core.plan import PRODUCTION
from controller.recovery.manifest import Manifest
from controller.recovery.reading import written
from controller.runtime.backups import Backups
from controller.runtime.backups_documents import ApplicationDocument
from controller.runtime.backups_means import BackupMeans, RestoreRequest
from controller.runtime.backups_parts import PartPlan, PartRestorer, PartWanted
from controller.runtime.backups_tell import Tell, tell_nobody
from controller.runtime.restore_application import ApplicationRestorer
from controller.runtime.restore_state import StateRestorer
from tests.core.build import APP, T0, TARGET, image, rollout, spec
from tests.runtime.backups_kit import AT, Subjects, Ticking, request

COPY = replace(image(1), registry="dr.io", repository="spare/shop")
STABLE = Release(image=image(1), slot=PRODUCTION, rollout=RolloutId("r-old"), at=T0)


def wanted(content: bytes) -> PartWanted:
    """Return a part with *content*, in small pieces."""

    async def open_it() -> AsyncGenerator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    manifest = Manifest(
        id="20261123T074512Z-shop-0123456789abcdef", app="shop", reason="nightly",
        requested_by="timer", started_at=AT, finished_at=AT, slipway_version="1", release=None,
        parts=(),
    )  # fmt: skip
    return PartWanted(manifest=manifest, subject=Subjects(None).of("shop"), open=open_it)


# --- The application -----------------------------------------------------------------------------


@dataclass(slots=True)
class Keeper:
    """Implements `ImageKeeper` between places of one memory registry."""

    registry: MemoryRegistry
    placed: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    loses: bool = False

    async def copy(self, image: Image, to: str) -> Image:
        raise AssertionError(f"{image} is not copied to {to} by a restore")

    async def place(self, image: Image, target: Image) -> None:
        self.placed.append((image.reference, target.reference))
        if not self.loses:
            self.registry.push(target.registry, target.repository, target.digest)


def application(release: Image | None, copy: Image | None = None) -> PartWanted:
    names = [each.reference if each else None for each in (release, copy)]
    return wanted(written(ApplicationDocument(release=names[0], copied_to=names[1])))


def held(*images: Image) -> MemoryRegistry:
    registry = MemoryRegistry()
    for each in images:
        registry.push(each.registry, each.repository, each.digest)
    return registry


async def test_an_image_that_is_gone_comes_back_from_its_copy_once() -> None:
    registry = held(COPY)
    keeper = Keeper(registry)
    restorer = ApplicationRestorer(registry=registry, copier=keeper)
    part = application(image(1), COPY)

    plan = await restorer.plan(part)
    assert plan.changes == (
        f"copy {COPY.reference} to {image(1).reference}, with all that is attached to it",
    )
    assert keeper.placed == []
    assert await restorer.restore(part, tell_nobody) == (
        f"{image(1).reference} is in its registry again",
    )
    assert await restorer.restore(part, tell_nobody) == ()
    assert keeper.placed == [(COPY.reference, image(1).reference)]


async def test_an_image_that_is_there_is_not_touched_and_never_deployed() -> None:
    registry = held(image(1), COPY)
    restorer = ApplicationRestorer(registry=registry, copier=Keeper(registry))

    plan = await restorer.plan(application(image(1), COPY))

    assert (plan.changes, plan.refusal) == ((), "")
    assert any("Nothing is deployed" in note for note in plan.notes)
    assert await restorer.restore(application(image(1), COPY), tell_nobody) == ()


@pytest.mark.parametrize("copy", [None, COPY])
async def test_an_image_that_is_nowhere_is_refused_by_name(copy: Image | None) -> None:
    restorer = ApplicationRestorer(registry=held(), copier=Keeper(held()))

    plan = await restorer.plan(application(image(1), copy))

    assert plan.refusal
    assert image(1).reference in plan.summary
    with pytest.raises(CommandRefusedError):
        await restorer.restore(application(image(1), copy), tell_nobody)


async def test_a_copy_that_does_not_arrive_is_no_success() -> None:
    registry = held(COPY)
    restorer = ApplicationRestorer(registry=registry, copier=Keeper(registry, loses=True))
    with pytest.raises(RestoreFailedError):
        await restorer.restore(application(image(1), COPY), tell_nobody)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"release": 1}', b'{"release": null, "more": 1}', b"\xff"]
)
async def test_a_strange_application_part_is_refused(content: bytes) -> None:
    restorer = ApplicationRestorer(registry=held(), copier=Keeper(held()))
    with pytest.raises(MalformedError):
        await restorer.plan(wanted(content))


async def test_a_release_without_a_digest_is_damage() -> None:
    restorer = ApplicationRestorer(registry=held(), copier=Keeper(held()))
    with pytest.raises(BackupDamagedError):
        await restorer.plan(wanted(b'{"release": "r.io/shop:latest"}'))


# --- Slipway's memory ----------------------------------------------------------------------------


@dataclass(slots=True)
class Memory:
    """A store that remembered an app, what was exported of it, and another store."""

    content: bytes
    old: MemoryStore
    new: MemoryStore = field(default_factory=MemoryStore)
    world: World = field(default_factory=World)

    def restorer(self) -> StateRestorer:
        return StateRestorer(
            store=self.new,
            history=self.new,
            keeper=self.new,
            reader=StateImport(),
            platform=MemoryPlatform(self.world),
            clock=ManualClock(AT),
        )


async def remembered(*, serves: bool = True) -> Memory:
    store = MemoryStore()
    ended = rollout(State.SUCCEEDED, id=RolloutId("20260101T000000000-shop-00000001-1"))
    state = AppState(
        app=APP,
        active=rollout(State.OBSERVING),
        releases=(STABLE,),
        quarantine=(Quarantined(image=image(3), rollout=ended.id, reason="5xx", at=T0),),
        attempts=((image(3).digest, 2),),
        sequence=3,
    )
    records = [
        Record(at=T0, rollout=ended.id, kind="transition", what="Judged", why=f"{n}")
        for n in range(3)
    ]
    await store.save(await store.load(APP), state, records, ended=[ended])
    content = b"".join(
        [line async for line in StateExport(store, store).export(spec(), tell_nobody)]
    )
    memory = Memory(content, store)
    serving = image(1 if serves else 2)
    memory.world.create_site(TARGET, image=serving.reference, release=serving.digest)
    return memory


async def test_what_slipway_remembered_comes_back_where_nothing_is_left_of_it() -> None:
    """History and quarantine are back; the rollout that was under way does not go on."""
    memory = await remembered()
    part, restorer = wanted(memory.content), memory.restorer()

    plan = await restorer.plan(part)
    assert plan.changes
    assert any("does not go on" in note for note in plan.notes)
    assert (await memory.new.load(APP)).etag is None
    assert await restorer.restore(part, tell_nobody)

    state = (await memory.new.load(APP)).state
    assert (state.active, state.queued, state.releases) == (None, (), (STABLE,))
    assert state.quarantine[0].image == image(3)
    assert state.sequence == 4
    audit = await memory.new.audit(APP, rollout=None, limit=10)
    before = await memory.old.audit(APP, rollout=None, limit=10)
    assert list(audit[:3]) == list(before)
    assert (audit[3].previous_hash, audit[3].record.kind) == (audit[2].hash, "restored")
    assert [r.state for r in await memory.new.rollouts(APP, limit=9)] == [State.SUCCEEDED]
    assert await restorer.restore(part, tell_nobody) == ()  # delivered twice
    assert len(await memory.new.audit(APP, rollout=None, limit=10)) == 4


async def test_memory_is_never_written_over() -> None:
    memory = await remembered()
    own = AppState(app=APP, releases=(STABLE,), sequence=1)
    record = Record(at=T0, rollout=None, kind="page", what="test")
    await memory.new.save(await memory.new.load(APP), own, [record])

    plan = await memory.restorer().plan(wanted(memory.content))

    assert "never written over" in plan.refusal
    with pytest.raises(CommandRefusedError):
        await memory.restorer().restore(wanted(memory.content), tell_nobody)
    assert (await memory.new.load(APP)).state == own


async def test_a_release_that_does_not_serve_any_more_is_not_called_stable() -> None:
    memory = await remembered(serves=False)

    plan = await memory.restorer().plan(wanted(memory.content))
    await memory.restorer().restore(wanted(memory.content), tell_nobody)

    assert any(image(1).reference in note for note in plan.notes)
    assert (await memory.new.load(APP)).state.stable is None


async def test_a_restore_whose_answer_was_lost_is_done_the_second_time() -> None:
    memory = await remembered()
    memory.new.weather.script("save", Fault.LOST_RESPONSE)
    with pytest.raises(TransientError):
        await memory.restorer().restore(wanted(memory.content), tell_nobody)

    assert await memory.restorer().restore(wanted(memory.content), tell_nobody) == ()
    assert (await memory.new.load(APP)).state.stable == STABLE


async def test_an_app_that_never_rolled_out_has_no_memory_to_bring_back() -> None:
    store = MemoryStore()
    content = b"".join(
        [line async for line in StateExport(store, store).export(spec(), tell_nobody)]
    )
    memory = Memory(content, store)

    assert (await memory.restorer().plan(wanted(content))).changes == ()
    assert await memory.restorer().restore(wanted(content), tell_nobody) == ()
    assert (await memory.new.load(APP)).etag is None


def _changed(line: bytes, old: bytes, new: bytes) -> bytes:
    assert old in line
    return line.replace(old, new)


@pytest.mark.parametrize("how", ["empty", "no form", "odd line", "changed", "lost", "other app"])
async def test_strange_or_changed_memory_is_refused_and_nothing_written(how: str) -> None:
    memory = await remembered()
    lines = memory.content.splitlines(keepends=True)
    content = {
        "empty": b"",
        "no form": b"".join(lines[1:]),
        "odd line": memory.content + b'{"dream":{}}\n',
        "changed": _changed(memory.content, b'"why":"1"', b'"why":"7"'),
        "lost": b"".join(line for line in lines if b'"why":"1"' not in line),
        "other app": _changed(memory.content, b'"app":"shop"', b'"app":"till"'),
    }[how]
    with pytest.raises((MalformedError, CommandRefusedError)):
        await memory.restorer().restore(wanted(content), tell_nobody)
    assert (await memory.new.load(APP)).etag is None


# --- Whole sets, and several parts ---------------------------------------------------------------


@dataclass(slots=True)
class Noted:
    """Implements `PartRestorer`: remembers what was asked."""

    kind: PartKind
    log: list[str]
    refusal: str = ""
    is_there: bool = False
    fails: int = 0

    async def plan(self, wanted: PartWanted) -> PartPlan:
        changes = () if self.is_there else ("write it",)
        return PartPlan(
            kind=self.kind, summary="It.", changes=changes, notes=("mind",), refusal=self.refusal
        )

    async def restore(self, wanted: PartWanted, tell: Tell) -> tuple[str, ...]:
        content = b"".join([piece async for piece in wanted.open()])
        if self.fails:
            self.fails -= 1
            raise TransientError("not now")
        if self.is_there:
            return ()
        self.is_there = True
        self.log.append(f"{self.kind.value} {json.loads(content)['release']}")
        return (f"{self.kind.value} is back",)


class Stand:
    """A set with two parts, and what restores them."""

    def __init__(self, *restorers: PartRestorer, exporters: Any = ()) -> None:
        self.vault = MemoryVault()
        self.log: list[str] = []
        parts = (PartKind.APPLICATION, PartKind.CONFIGURATION)
        self.means = BackupMeans(
            vault=self.vault,
            subjects=Subjects(None, BackupSpec(parts=parts)),
            clock=Ticking(),
            version="1",
            exporters=((PartKind.CONFIGURATION, Document()),),
            restorers=restorers,
        )
        self.backups = Backups(self.means)

    async def ask(self, made: Manifest, **changes: Any) -> RestoreRequest:
        base = RestoreRequest(
            set_id=made.id, job="job-r", by="ann", at=AT, confirm="shop",
            parts=(PartKind.CONFIGURATION, PartKind.APPLICATION),
        )  # fmt: skip
        return replace(base, **changes)


class Document:
    """Implements `PartExporter` with a document like the other part's."""

    async def export(self, *_: Any) -> AsyncGenerator[bytes]:
        yield b'{"release": null}'


def both(log: list[str], **changes: Any) -> tuple[Noted, Noted]:
    return (
        Noted(PartKind.CONFIGURATION, log, **changes),
        Noted(PartKind.APPLICATION, log),
    )


async def test_the_configuration_comes_last_and_a_safety_set_first() -> None:
    log: list[str] = []
    stand = Stand(*both(log))
    made = await stand.backups.create(request())

    plan = await stand.backups.plan_restore(await stand.ask(made))
    done = await stand.backups.restore(await stand.ask(made))

    assert (plan.target, plan.restores_database) == ("shop", False)
    assert {each.kind for each in plan.parts} == {PartKind.CONFIGURATION, PartKind.APPLICATION}
    assert log == ["application None", "configuration None"]
    assert done.done == ("application is back", "configuration is back")
    assert done.parts == ("configuration", "application")
    assert done.safety_set is not None
    assert {p.name for p in (await stand.vault.manifest(done.safety_set)).parts} == {
        "application", "configuration"
    }  # fmt: skip


async def test_one_that_broke_off_goes_on_with_the_rest() -> None:
    log: list[str] = []
    stand = Stand(*both(log, fails=1))
    made = await stand.backups.create(request())
    with pytest.raises(TransientError):
        await stand.backups.restore(await stand.ask(made))

    done = await stand.backups.restore(await stand.ask(made))

    assert log == ["application None", "configuration None"]
    assert done.safety_set is not None
    assert len(await stand.vault.sets()) == 2  # the same safety set


async def test_what_is_as_it_was_needs_no_safety_set() -> None:
    log: list[str] = []
    stand = Stand(Noted(PartKind.APPLICATION, log, is_there=True))
    made = await stand.backups.create(request())

    done = await stand.backups.restore(await stand.ask(made, parts=(PartKind.APPLICATION,)))

    assert (done.done, done.safety_set, log) == ((), None, [])


async def test_a_named_part_that_cannot_be_restored_refuses_all() -> None:
    log: list[str] = []
    stand = Stand(*both(log, refusal="A rollout is under way."))
    made = await stand.backups.create(request())

    with pytest.raises(CommandRefusedError, match="A rollout is under way"):
        await stand.backups.restore(await stand.ask(made))

    assert log == []
    assert len(await stand.vault.sets()) == 1


async def test_of_a_whole_set_it_is_told_and_left() -> None:
    log: list[str] = []
    stand = Stand(*both(log, refusal="A rollout is under way."))
    made = await stand.backups.create(request())

    done = await stand.backups.restore(await stand.ask(made, parts=None))

    assert log == ["application None"]
    assert done.parts == ("application",)
    assert any("A rollout is under way" in note for note in done.notes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"confirm": "shopdb"}, "confirm with the name of the app: shop"),
        ({"target": "shopdb"}, "Leave the target out"),
        ({"parts": (PartKind.EVIDENCE,)}, "slipway backup fetch"),
        ({"parts": (PartKind.APPLICATION, PartKind.DATABASE)}, "Choose one that does"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_anything(
    changes: dict[str, Any], words: str
) -> None:
    log: list[str] = []
    stand = Stand(*both(log))
    made = await stand.backups.create(request())

    with pytest.raises(CommandRefusedError) as refused:
        await stand.backups.check_restore(await stand.ask(made, **changes))

    assert words in refused.value.fix
    assert log == []
