"""Whether the present code understands what an older version left. Each check raises where not."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from azure.data.tables.aio import TableClient

from controller.adapters import codec
from controller.adapters.audit_chain import checked_chain
from controller.adapters.azure.table_rows import read_payload, seen_key, sequence_of
from controller.adapters.codec import encode
from controller.adapters.exports import StateImport
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.core.errors import CommandRefusedError
from controller.core.events import Abort, Tick
from controller.core.machine import decide
from controller.core.model import AppState, Record, Rollout, RolloutId
from controller.ports import AuditRow, StoredBucket, WorkspaceWatch
from controller.ports_data import Sealer
from controller.recovery.manifest import PartKind
from controller.recovery.site import read_site
from controller.verdict.records import judge_again, judgement_from, question_from
from tests.recovery.kit import whole
from tests.runtime.kit import SHOP, House
from tests.upgrades.forms import Plain, canonical, entity, message
from tests.upgrades.freezing import SET, Tables, fill_shelf, meaning
from tests.upgrades.scenes import Scene, Stop

_MOST = 1000


# --- Rows -----------------------------------------------------------------------------------------


async def put(client: TableClient, rows: list[Plain]) -> None:
    """Put frozen rows into an empty table."""
    await client.create_table()
    for partition in sorted({row["PartitionKey"] for row in rows}):
        own = [entity(row) for row in rows if row["PartitionKey"] == partition]
        await client.submit_transaction([("create", row) for row in own])


async def check_rows(tables: Tables, table: str, frozen: Plain) -> None:
    """Read every row through the table's adapter, decide, and save on what was read."""
    rows = frozen["rows"]
    async with tables.raw(table) as client:
        await put(client, rows)
    async with tables.store(table) as store:
        loaded = await store.load(SHOP)
        assert loaded.etag is not None
        state = loaded.state
        _compare(rows, "head", state, AppState)
        broken = await store.first_audit_break(SHOP)
        assert broken is None, f"line {broken} of the audit does not follow"
        for row in _of(rows, "rollout:"):
            rollout = await store.rollout(row["RowKey"].partition(":")[2])
            _compare(rows, row["RowKey"], rollout, Rollout)
            buckets = await store.buckets(SHOP, rollout.id if rollout else "")
            assert len(buckets) == len(list(_of(rows, f"bucket:{rollout and rollout.id}")))
        audit = await store.audit(SHOP, rollout=None, limit=_MOST)
        assert [each.sequence for each in audit] == list(range(1, state.sequence + 1))
        for row in rows:
            if row["PartitionKey"].startswith("watch:"):
                watch = await store.load_watch(row["PartitionKey"].partition(":")[2])
                _compare([row], "watch", replace(watch, etag=None), WorkspaceWatch)
        assert await store.under_way() == ([SHOP] if state.active else [])
        decided = decided_on(state, datetime.fromisoformat(frozen["now"]))
        for change, records in decided:
            sequence = loaded.state.sequence + len(records)
            saved = replace(loaded.state, active=change, sequence=sequence)
            loaded = await store.save(loaded, saved, records)
        assert await store.first_audit_break(SHOP) is None


def decided_on(state: AppState, now: datetime) -> list[tuple[Rollout, tuple[Record, ...]]]:
    """Return what the core makes of the rollout as time passes, and of somebody's order to stop."""
    if state.active is None:
        return []
    tick = decide(state.active, Tick(at=now + timedelta(days=1)))
    try:
        abort = decide(state.active, Abort(at=now, by="ann", reason="customers call"))
    except CommandRefusedError:
        assert state.active.state in {"rolling_back", "promoting"}, "every other state can be left"
        abort = tick
    assert tick.changed or abort.changed
    return [(each.rollout, each.records) for each in (tick, abort)]


def _of(rows: list[Plain], prefix: str) -> Iterator[Plain]:
    return (row for row in rows if row["RowKey"].startswith(prefix))


def _compare(rows: list[Plain], key: str, value: Any, kind: Any) -> None:
    """Nothing of what was stored got lost in reading: written in the same form, it is the same."""
    (row,) = (each for each in rows if each["RowKey"] == key)
    if row["form"] == codec.SCHEMA_VERSION:
        assert encode(value, kind) == canonical(row["payload"]), f"{key} is read as something else"


# --- Going on -------------------------------------------------------------------------------------


class Left(MemoryStore):
    """A store with what an older version left. Marks of deliveries are known by their hash."""

    def __init__(self, rows: list[Plain]) -> None:
        super().__init__()
        self._marks = {row["RowKey"] for row in _of(rows, "seen:")}
        for row in rows:
            self._take(row["PartitionKey"], row["RowKey"], entity(row))

    async def was_seen(self, app: Any, key: str) -> bool:
        return seen_key(key) in self._marks or await super().was_seen(app, key)

    def _take(self, partition: str, key: str, row: Plain) -> None:
        if partition.startswith("watch:"):
            watch = read_payload(row, WorkspaceWatch)
            self._watches[watch.workspace] = replace(watch, etag="0")
        elif key == "head":
            self._of(partition).head = read_payload(row, AppState)
            self._of(partition).etag = "0"
        elif key.startswith("rollout:"):
            rollout = read_payload(row, Rollout)
            self._of(partition).rollouts[rollout.id] = rollout
        elif key.startswith("event:"):
            line = AuditRow(
                sequence=sequence_of(row),
                record=read_payload(row, Record),
                previous_hash=row["previous_hash"],
                hash=row["hash"],
            )
            self._of(partition).audit.append(line)
        elif key.startswith("bucket:"):
            bucket = read_payload(row, StoredBucket)
            of = RolloutId(key.split(":")[1])
            self._of(partition).buckets.setdefault(of, {})[bucket.start] = bucket


async def check_goes_on(scene: Scene, frozen: Plain) -> House:
    """Let the present code finish what the older version began, in the same world."""
    house = await scene.reach()
    now = datetime.fromisoformat(frozen["now"])
    house.let_users_ask_until(now)
    stop: Any = house.store
    assert isinstance(stop, Stop)
    stop.store = Left(frozen["rows"])
    house.bus._queues.clear()
    await house.bus.send([message(each) for each in frozen["messages"]])

    ends = await scene.finish(house)
    assert ends == frozen["ends"], (
        f"it ends as {ends}; begun by an older version as {frozen['ends']}"
    )
    return house


# --- Backup sets, evidence, configuration ---------------------------------------------------------


async def check_set(frozen: Plain, sealer: Sealer | None) -> None:
    """Open a set and every part of it, as a restore does."""
    vault = MemoryVault(sealer)
    fill_shelf(vault.shelf, frozen)
    (found,) = await vault.sets("shop")
    assert found.problem is None, found.problem
    assert found.is_verified
    manifest = await vault.manifest(SET)
    assert manifest.is_encrypted == (sealer is not None)
    parts = {
        part.kind: await whole(vault.open_part(manifest, part.name)) for part in manifest.parts
    }
    assert parts[PartKind.DATABASE] == b"PGDMP"
    assert read_site(parts[PartKind.CONFIGURATION]).slot("blue") is not None
    memory = await StateImport().read(_lines(parts[PartKind.STATE]))
    assert memory.state.releases
    assert checked_chain(memory.audit) == memory.audit[-1].hash


async def _lines(data: bytes) -> AsyncIterator[bytes]:
    for line in data.splitlines():
        yield line


def check_evidence(frozen: Plain) -> None:
    """Compute a decision once more: the judge of then is still here, and says the same."""
    document = frozen["document"]
    question_from(document)
    kept, again = judgement_from(document), judge_again(document)
    assert (again.label, again.judge) == (kept.label, kept.judge), f"{again.label}: {again.reason}"


def check_configuration(text: str, frozen: Plain) -> None:
    """Everything that was said still means the same; there may be more to say."""
    for app, was in frozen.items():
        missing = [*_differences(was, meaning(text)[app], app)]
        assert not missing, f"apps.yaml means something else: {'; '.join(missing)}"


def _differences(was: Any, now: Any, where: str) -> Iterator[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for name, each in was.items():
            if name in now:
                yield from _differences(each, now[name], f"{where}.{name}")
            else:
                yield f"{where}.{name} is gone"
    elif was != now:
        yield f"{where} was {json.dumps(was)}, is {json.dumps(now)}"


# --- Forms ----------------------------------------------------------------------------------------

ROWS = ("AppState", "Rollout", "Record", "AuditRow", "StoredBucket", "WorkspaceWatch", "Job")
SETS = ("Manifest", "controller__recovery__sets__Mark", "ApplicationDocument")
EVIDENCE = ("Question", "Judgement")


def changed_forms(was: Plain, now: Plain) -> list[str]:
    """Return what is stored differently without its form having another number."""
    found: list[str] = []
    for number, roots in (("rows", ROWS), ("backup sets", SETS)):
        if now["numbers"][number] == was["numbers"][number]:
            found += _changes(was["classes"], now["classes"], roots)
    lost = _changes(was["classes"], now["classes"], EVIDENCE)
    found += [each for each in lost if not each.endswith(" is new")]  # it has a default
    return sorted(set(found))


def _changes(was: Plain, now: Plain, roots: tuple[str, ...]) -> Iterator[str]:
    for name in sorted(_reachable(was, roots) | _reachable(now, roots)):
        old, new = was.get(name), now.get(name)
        if old is None or new is None:
            yield f"{name} is {'new' if old is None else 'gone'}"
            continue
        fields, present = old.get("properties", {}), new.get("properties", {})
        yield from (f"{name}.{each} is gone" for each in fields.keys() - present.keys())
        yield from (f"{name}.{each} is new" for each in present.keys() - fields.keys())
        both = fields.keys() & present.keys()
        others = (each for each in both if fields[each] != present[each])
        yield from (f"{name}.{each} is of another type" for each in others)
        if old.get("enum") != new.get("enum"):
            yield f"{name} has other values"


def _reachable(classes: Plain, roots: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = [root for root in roots if root in classes]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += list(_references(classes[name]))
    return found


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].rpartition("/")[2]
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def refused_messages(was: Plain, now: Plain) -> list[str]:
    """Return what pipelines may have sent and would be refused now."""
    found: list[str] = []
    for name, old in was["$defs"].items():
        new = now["$defs"].get(name)
        if new is None:
            found.append(f"{name} is gone")
            continue
        fields, present = old.get("properties", {}), new.get("properties", {})
        found += [f"{name}.{each} is gone" for each in fields.keys() - present.keys()]
        for each in fields.keys() & present.keys():
            found += [f"{name}.{each} {why}" for why in _narrower(fields[each], present[each])]
        needed = set(new.get("required", ())) - set(old.get("required", ()))
        found += [f"{name}.{each} is needed now" for each in needed]
    return found


def _narrower(was: Plain, now: Plain) -> Iterator[str]:
    """Yield why a value that was taken would not be."""
    if lost := set(_values(was)) - set(_values(now) or _values(was)):
        yield f"no longer takes {', '.join(sorted(map(str, lost)))}"
    for word in ("type", "pattern", "format", "$ref"):
        if was.get(word) != now.get(word):
            yield f"has another {word}"
    if now.get("maxLength", was.get("maxLength", 0)) < was.get("maxLength", 0):
        yield "must be shorter"
    if now.get("minLength", 0) > was.get("minLength", 0):
        yield "must be longer"
    if len(now.get("anyOf", ())) < len(was.get("anyOf", ())):
        yield "takes fewer kinds of values"


def _values(schema: Plain) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))
