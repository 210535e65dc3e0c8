"""Everything that a version writes and a later one has to read, as files for people.

scenes/NAME.json     table and queues of a rollout that is cut off in a state, and how it ended
jobs.json            rows of jobs of maintenance
messages.json        a message of each kind, as it lies in its queue
messages.schema.json what pipelines may send
evidence/NAME.json   what a decision was made from
sets/NAME.json       a backup set: plain, or sealed by a passphrase or a secret
apps.yaml, apps.json a configuration, and what it means
forms.json           each stored class: names and types of its fields, and the form's number
"""

import base64
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from azure.data.tables.aio import TableClient
from pydantic import TypeAdapter

from controller.adapters import codec
from controller.adapters.azure.credentials import connection_options
from controller.adapters.azure.swap_token import written as swap_token
from controller.adapters.azure.tables import TablesStore
from controller.adapters.codec import encode
from controller.adapters.exports import EvidenceIndex, StateExport
from controller.adapters.memory.secrets import MemorySecrets
from controller.adapters.memory.vault import MemoryBlob, MemoryShelf, MemoryVault
from controller.adapters.sealing import StreamSealer
from controller.adapters.sealing_keys import (
    PassphraseKey,
    ScryptCost,
    SecretKey,
    UnversionedKeySecrets,
)
from controller.config.load import beside, load_text
from controller.core.jobs import Job, JobKind, begun, failed, ordered_id, succeeded, told
from controller.core.model import AppState, Record, Rollout
from controller.core.plan import AppSpec
from controller.ports import AuditRow, StoredBucket, WorkspaceWatch
from controller.ports_data import PartLabel, Sealer
from controller.recovery import manifest as manifests
from controller.recovery.manifest import Manifest, PartKind
from controller.recovery.names import set_id
from controller.recovery.sets import Mark
from controller.recovery.site import SiteExport, SlotExport
from controller.runtime import messages
from controller.runtime.backups_documents import ApplicationDocument, configuration
from controller.runtime.reference import EXAMPLES
from controller.verdict.question import Judgement, Question
from sandbox.storage import Storage
from sandbox.tls import Authority
from tests.adapters.stands import Credential
from tests.recovery.kit import FACTS, manifest
from tests.runtime.kit import SHOP, House, digest
from tests.upgrades.forms import ROOT, Plain, plain_message, plain_row, write
from tests.upgrades.scenes import SCENES, Scene, order

STORED: Mapping[str, Any] = {
    kind.__name__: kind
    for kind in (
        *(AppState, Rollout, Record, AuditRow, StoredBucket, WorkspaceWatch, Job),
        *(Manifest, Mark, ApplicationDocument, Question, Judgement),
    )
}
PASSPHRASE = "a passphrase of nobody, for tests alone"
KEY = base64.b64encode(bytes(range(32))).decode()
AT = datetime(2026, 1, 1, 2, 30, tzinfo=UTC)
SET = set_id("shop", AT, "1a2b")
_QUEUES = (messages.COMMANDS_QUEUE, messages.OBSERVATIONS_QUEUE, messages.MAINTENANCE_QUEUE)
_CREDENTIAL = "https://storage.azure.com"


class Tables:
    """Tables of a storage account on loopback, each with the product's own store on it."""

    def __init__(self, storage: Storage, authority: Authority) -> None:
        self._url = storage.table_url
        self._ca_file = authority.ca_file

    @asynccontextmanager
    async def store(self, table: str) -> AsyncIterator[TablesStore]:
        options = connection_options(self._ca_file)  # its connections belong to one client
        store = TablesStore(self._url, Credential(_CREDENTIAL), table=table, options=options)
        try:
            yield store
        finally:
            await store.close()

    @asynccontextmanager
    async def raw(self, table: str) -> AsyncIterator[TableClient]:
        options = connection_options(self._ca_file)
        credential = Credential(_CREDENTIAL)
        async with TableClient(self._url, table, credential=credential, **options) as client:
            yield client

    async def rows(self, table: str) -> list[Plain]:
        """Return what lies in a table, in the order of its keys."""
        async with self.raw(table) as client:
            found = [plain_row(row) async for row in client.list_entities()]
        return sorted(found, key=lambda row: (row["PartitionKey"], row["RowKey"]))


def table_of(name: str) -> str:
    """Return a table's name: letters and digits."""
    return "scene" + name.replace("_", "")


async def scene(tables: Tables, each: Scene) -> tuple[Plain, House]:
    """Return what a scene leaves behind, and how it went on."""
    async with tables.store(table_of(each.name)) as store:
        house = await each.reach(store)
        left: Plain = {
            "now": house.clock.now().isoformat(),
            "rows": await tables.rows(table_of(each.name)),
            "messages": waiting(house),
        }
        return left | {"ends": await each.finish(house)}, house


def waiting(house: House) -> list[Plain]:
    return [plain_message(m) for queue in _QUEUES for m in house.bus.waiting(queue)]


def jobs() -> list[Job]:
    """Return a job of each kind, at each point of its life."""
    made = [
        Job(
            id=ordered_id("shop", kind, AT, "0000abcd"),
            app="shop",
            kind=kind,
            by="ann",
            why="by hand",
            asked_at=AT,
            arguments={"set": SET, "confirm": True},
        )
        for kind in JobKind
    ]
    later = AT + timedelta(minutes=1)
    running = [told(begun(each, AT), later, "half of it is done") for each in made[1:]]
    done = succeeded(running[1], later, {"rpo_seconds": 12.5, "parts": ["database"], "ok": True})
    return [made[0], running[0], done, failed(running[2], later, "SW110: no."), *running[3:]]


def queue_messages() -> list[Plain]:
    """Return a message of each kind. Ids are given: none is of chance."""
    words = ("reject", "pause", "resume", "abort", "promote")
    orders = [messages.to_message(body) for body in (*EXAMPLES, *map(order, words))]
    alert = messages.AlertBody(
        app=SHOP, id="a1", condition="fired", alert="5xx", rule="errors", fired_at=AT
    )
    tick = messages.TickBody(app=SHOP, rollout="20260101T000000000-shop-00000002-1", turn=3)
    seen = messages.ObservedBody(app=SHOP, rollout=str(tick.rollout), workspace="w")
    own = [
        messages.to_message(alert),
        messages.to_message(tick, at=AT, message_id="tick"),
        messages.to_message(seen, message_id="observed"),
        messages.poll_message("w", AT),
        messages.job_message(jobs()[0].id, "shop"),
    ]
    return [plain_message(each) for each in (*orders, *own)]


# --- Backup sets ----------------------------------------------------------------------------------


def sealers() -> dict[str, Sealer | None]:
    """Return how sets are sealed, by name. Guessing these costs little: they guard nothing."""
    secrets = UnversionedKeySecrets(MemorySecrets({"backup-key": KEY}))
    return {
        "plain": None,
        "passphrase": StreamSealer(PassphraseKey(PASSPHRASE, ScryptCost(n=1 << 10, r=8, p=1))),
        "secret": StreamSealer(SecretKey(secrets, "backup-key")),
    }


async def backup_set(store: Any, app: AppSpec, sealer: Sealer | None) -> Plain:
    """Return the blobs of a set with *store*'s memory of the app in it."""
    vault = MemoryVault(sealer, now=lambda: AT)
    kept = {
        PartKind.STATE: StateExport(store, store).export(app, nobody),
        PartKind.EVIDENCE: EvidenceIndex(store).export(app, nobody),
        PartKind.CONFIGURATION: _pieces(configuration(_site(), encrypts=vault.encrypts)[0]),
        PartKind.APPLICATION: _pieces(manifests.written(ApplicationDocument(release="r.io/x@y"))),
        PartKind.DATABASE: _pieces(b"PGDMP"),
    }
    parts = [
        await vault.put_part(PartLabel(SET, kind.value), stream, kind=kind)
        for kind, stream in kept.items()
    ]
    whole = await vault.finish(manifest(SET, *parts, database=FACTS))
    await vault.mark(SET, replace(_MARK, manifest_sha256=whole.sha256))
    return {"blobs": {path: _blob(each) for path, each in sorted(vault.shelf.blobs.items())}}


_MARK = Mark(at=AT + timedelta(hours=1), by="drill", passed=True, how="restored and compared")


async def nobody(text: str) -> None:
    """Tell nobody."""


def _site() -> SiteExport:
    slot = SlotExport(
        settings={"WEBSITES_PORT": "8080", "COLOUR": "red"},
        connection_strings={"shop": ("Custom", "Host=db")},
        configuration={"linuxFxVersion": "DOCKER|r.io/shop@" + digest(1), "alwaysOn": True},
        identity={"type": "SystemAssigned"},
    )
    sticky = {"app_settings": ["SLOT_NAME"], "connection_strings": [], "storage": []}
    site = {"resource_id": "/subscriptions/s/resourceGroups/g/sites/shop", "sticky": sticky}
    return SiteExport(site=site, slots={"production": slot, "blue": slot})


async def _pieces(document: bytes) -> AsyncIterator[bytes]:
    yield document


def _blob(blob: Any) -> Plain:
    """Return a blob; text as text, so that a person can see what changed."""
    try:
        content = {"text": blob.data.decode()}
    except UnicodeDecodeError:
        content = {"base64": base64.b64encode(blob.data).decode()}
    return {"type": blob.content_type, "metadata": dict(blob.metadata), **content}


def fill_shelf(shelf: MemoryShelf, frozen: Plain) -> None:
    """Put the blobs of a frozen set on *shelf*."""
    for path, blob in frozen["blobs"].items():
        data = blob["text"].encode() if "text" in blob else base64.b64decode(blob["base64"])
        shelf.blobs[path] = MemoryBlob(data, blob["type"], blob["metadata"], AT)


# --- Classes --------------------------------------------------------------------------------------


def forms() -> Plain:
    """Return the stored classes with all they are made of, as JSON schemas, and their numbers."""
    wanted = [(name, "serialization", TypeAdapter(kind)) for name, kind in STORED.items()]
    _, schemas = TypeAdapter.json_schemas(wanted)  # type: ignore[arg-type]  # a literal
    numbers = {
        "rows": codec.SCHEMA_VERSION,
        "messages": messages.SCHEMA_VERSION,
        "backup sets": manifests.SCHEMA,
        "swap tokens": json.loads(swap_token(None))["version"],
    }
    return {"numbers": numbers, "classes": _bare(schemas["$defs"])}


def _bare(schema: Any) -> Any:
    """Leave out what changes no stored text: words for people, and defaults."""
    if isinstance(schema, list):
        return [_bare(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    dropped = {"title", "description", "default"}
    kept = {k: v for k, v in schema.items() if k not in dropped or isinstance(v, dict)}
    return {name: _bare(each) for name, each in kept.items()}


def meaning(text: str) -> Plain:
    """Return what an apps.yaml says, with its defaults."""
    specs = load_text(text, name="apps.yaml", read_file=beside(ROOT / "apps.example.yaml"))
    return {str(name): json.loads(encode(each, AppSpec)) for name, each in sorted(specs.items())}


# --- All of it ------------------------------------------------------------------------------------


async def freeze(tables: Tables, target: Path) -> None:
    """Write what the present code writes into *target*."""
    shutil.rmtree(target, ignore_errors=True)
    for name, each in SCENES.items():
        left, house = await scene(tables, each)
        write(target / "scenes" / f"{name}.json", left)
        if name in {"observing", "rolling_back"}:
            for path, document in sorted(house.evidence.documents.items())[-1:]:
                kept = {"path": path, "document": json.loads(document)}
                assert json.dumps(kept["document"], sort_keys=True).encode() == document
                write(target / "evidence" / f"{name}.json", kept)
    async with tables.store(table_of("succeeded")) as store:
        app = (await store.rollouts(SHOP, limit=1))[0].spec
        for name, sealer in sealers().items():
            write(target / "sets" / f"{name}.json", await backup_set(store, app, sealer))
    async with tables.store("jobs") as store:
        for job in jobs():
            await store.keep_job(job)
    write(target / "jobs.json", await tables.rows("jobs"))
    write(target / "messages.json", queue_messages())
    shutil.copy(ROOT / "docs" / "messages.schema.json", target)
    shutil.copy(ROOT / "apps.example.yaml", target / "apps.yaml")
    write(target / "apps.json", meaning((target / "apps.yaml").read_text(encoding="utf-8")))
    write(target / "forms.json", forms())
