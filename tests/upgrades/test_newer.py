"""After going back to an older Slipway: what a newer one left is refused aloud, and stays."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from controller.adapters import codec
from controller.adapters.codec import NewerFormError, decode, encode
from controller.adapters.exports import StateImport
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.core.errors import BackupDamagedError, MalformedError
from controller.core.model import AppState, State
from controller.recovery.sets import Condition
from controller.runtime.messages import OBSERVATIONS_QUEUE, REJECTED_QUEUE, SCHEMA_VERSION
from controller.verdict.records import judge_again
from tests.recovery.kit import whole
from tests.runtime.kit import MINUTE, SHOP, House, submit
from tests.upgrades import checks
from tests.upgrades.forms import Plain, message, read, versions
from tests.upgrades.freezing import SET, Tables, fill_shelf, sealers

in_one_loop = pytest.mark.asyncio(loop_scope="session")
NEWEST = versions()[-1]
NEXT = codec.SCHEMA_VERSION + 1


# --- Rows -----------------------------------------------------------------------------------------


def newer(kind: str) -> list[Plain]:
    """Return a table in which the rows of one kind are in the next form."""
    rows: list[Plain] = read(NEWEST / "scenes" / "baking.json")["rows"]
    rows += read(NEWEST / "jobs.json")
    found = [row for row in rows if row["RowKey"].partition(":")[0] == kind and "form" in row]
    assert found
    for row in found:
        row["form"] = NEXT
        row["payload"] = {"a": "form", "of": "another", "kind": 1}
    return rows


async def touch(store: Any, kind: str, rows: list[Plain]) -> None:
    """Do what reads rows of that kind."""
    (head,) = (row for row in rows if row["RowKey"] == "head")
    (rollout,) = (row["RowKey"][8:] for row in rows if row["RowKey"].startswith("rollout:"))
    match kind:
        case "head":
            loaded = await store.load(SHOP)
            await store.save(loaded, AppState(app=SHOP), [])
        case "rollout":
            await store.rollout(rollout)
        case "event":
            await store.audit(SHOP, rollout=None, limit=10)
        case "bucket":
            await store.buckets(SHOP, rollout)
        case "watch":
            watch = await store.load_watch("workspace")
            await store.save_watch(watch)
        case _:
            await store.jobs(SHOP, limit=10)
    assert head


@pytest.mark.parametrize("kind", ["head", "rollout", "event", "bucket", "watch", "job"])
@in_one_loop
async def test_a_newer_row_is_refused_and_not_written_over(kind: str, tables: Tables) -> None:
    """Advice comes with it; whoever goes forward again finds everything as it was."""
    rows, table = newer(kind), f"newer{kind}"
    async with tables.raw(table) as client:
        await checks.put(client, rows)
    before = await tables.rows(table)
    async with tables.store(table) as store:
        with pytest.raises(NewerFormError, match="Deploy the newer Slipway"):
            await touch(store, kind, rows)
    assert await tables.rows(table) == before


class Forgetful(MemoryStore):
    """A store whose rows are in the next form for a while."""

    is_newer = True

    async def load(self, app: Any) -> Any:
        loaded = await super().load(app)
        if self.is_newer:
            decode(encode(loaded.state, AppState), AppState, version=NEXT)
        return loaded


async def test_an_order_to_an_older_slipway_waits_for_the_newer_one() -> None:
    """It is tried again for hours, never dropped; then it is done once."""
    house = House()
    store = house.ports.store = house.store = Forgetful(clock=house.clock)
    house._build(house.ports)
    await house.send(submit(2))
    await house.run_for(60 * MINUTE)
    assert store.saves == 0

    store.is_newer = False
    await house.run()
    assert await house.ends() == [("v2", State.SUCCEEDED)]


async def test_the_sweep_says_so_and_goes_on() -> None:
    house = House()
    house.ports.store = house.store = Forgetful(clock=house.clock)
    house._build(house.ports)

    assert (await house.sweeper.sweep()).failed == (SHOP,)


# --- Messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["submit", "tick", "poll"])
async def test_a_newer_message_is_set_aside_as_it_came(subject: str) -> None:
    """In queue `rejected`, with the reason; nothing of it is guessed."""
    house = House()
    found = read(NEWEST / "messages.json")
    plain = next(each for each in found if each["subject"] == subject)
    plain["body"] |= {"v": SCHEMA_VERSION + 1, "colour": "red"}
    await house.bus.send([message(plain | {"at": None})])
    await house.settle()

    (rejected,) = house.bus.waiting(REJECTED_QUEUE)
    assert json.loads(rejected.body) == plain["body"]
    assert "not of schema version 1: " in rejected.properties["reason"]
    assert rejected.properties["queue"] == plain["queue"]
    assert house.bus.waiting(OBSERVATIONS_QUEUE) == []
    assert await house.records() == []


# --- Backup sets and evidence ---------------------------------------------------------------------


def a_set(kind: str, name: str, old: str, new: str) -> MemoryVault:
    """Return a vault with a frozen set in which one document says something else."""
    frozen = read(NEWEST / "sets" / f"{kind}.json")
    (path,) = (path for path in frozen["blobs"] if path.endswith(name))
    blob = frozen["blobs"][path]
    assert old in blob["text"]
    blob["text"] = blob["text"].replace(old, new)
    vault = MemoryVault(sealers()[kind])
    fill_shelf(vault.shelf, frozen)
    return vault


@pytest.mark.parametrize("kind", list(sealers()))
async def test_a_newer_set_is_shown_with_its_reason_and_never_offered(kind: str) -> None:
    vault = a_set(kind, "manifest.json", '"schema":1', '"schema":2')

    (found,) = await vault.sets("shop")
    assert found.condition is Condition.UNREADABLE
    assert "has the form 2; this Slipway reads 1" in (found.problem or "")
    with pytest.raises(BackupDamagedError, match="form 2"):
        await vault.manifest(SET)


async def test_a_newer_mark_does_not_make_a_set_verified() -> None:
    """By rule: a mark that is not understood says nothing."""
    (name,) = (path for path in read(NEWEST / "sets" / "plain.json")["blobs"] if "/marks/" in path)
    vault = a_set("plain", name, '"passed":true', '"passed":true,"grade":"A"')

    (found,) = await vault.sets("shop")
    assert (found.condition, found.is_verified) == (Condition.COMPLETE, False)


async def test_a_newer_memory_of_an_app_is_refused() -> None:
    async def lines() -> AsyncIterator[bytes]:
        yield b'{"form":%d}' % NEXT
        yield b'{"head":{"app":"shop","colour":"red"}}'

    with pytest.raises(NewerFormError, match="Deploy the newer Slipway"):
        await StateImport().read(lines())


async def test_a_newer_seal_is_refused() -> None:
    """The number stands in the first line of each sealed part."""
    vault = MemoryVault(sealers()["secret"])
    fill_shelf(vault.shelf, read(NEWEST / "sets" / "secret.json"))
    manifest = await vault.manifest(SET)
    part = manifest.parts[0]
    blob = vault.shelf.blobs[part.path]
    assert blob.data.startswith(b"SLIPWAY-SEALED-1\n")
    blob.data = blob.data.replace(b"SEALED-1", b"SEALED-2", 1)
    with pytest.raises(BackupDamagedError):
        await whole(vault.open_part(manifest, part.name))


@pytest.mark.parametrize("path", sorted((NEWEST / "evidence").glob("*.json")), ids=lambda p: p.stem)
def test_evidence_of_a_newer_judge_is_not_judged_by_another(path: Path) -> None:
    document = read(path)["document"]
    document["judgement"]["judge"] = "evidence-gate/99"
    with pytest.raises(MalformedError, match="Use the version of Slipway that decided"):
        judge_again(document)
