"""What goes into backup sets beside the database: the site, Slipway's own rows, its evidence."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.adapters.azure.site_export import AppServiceExporter
from controller.adapters.codec import decode
from controller.adapters.exports import EvidenceIndex, StateExport
from controller.adapters.memory.registry import MemoryRegistry
from controller.adapters.memory.store import MemoryStore
from controller.adapters.memory.vault import MemoryVault
from controller.core.model import AppState, Image, Record, Release, RolloutId
from controller.ports_data import SiteExport
from controller.runtime.backups_documents import application, configuration
from controller.runtime.backups_tell import tell_nobody
from tests.adapters.stands import TARGET, SandboxStand, image, sandbox_stand
from tests.core.build import APP, BLUE, T0, spec
from tests.runtime.backups_kit import Subjects, means

REFERENCE = "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/db)"


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[SandboxStand]:
    async with sandbox_stand(tmp_path) as stand:
        blue = stand.site.slot("blue")
        blue.app_settings |= {"API_KEY": "s3cret-word", "WORKERS": "4", "PASSWORD": REFERENCE}
        blue.connection_strings = {
            "Db": {"type": "PostgreSQL", "value": "Host=db;Password=hunter2"},
            "Safe": {"type": "Custom", "value": REFERENCE},
        }
        stand.site.sticky = {**stand.site.sticky, "connectionStringNames": ["Db"]}
        yield stand


async def exported(stand: SandboxStand) -> SiteExport:
    return await AppServiceExporter(stand.clients).export(TARGET)


async def test_a_site_is_exported_whole_for_a_vault_that_encrypts(stand: SandboxStand) -> None:
    document, left_out = configuration(await exported(stand), encrypts=True)
    found: dict[str, Any] = json.loads(document)

    assert left_out == ()
    assert set(found["slots"]) == {"production", "blue", "green"}
    blue = found["slots"]["blue"]
    assert blue["settings"]["API_KEY"] == "s3cret-word"
    assert blue["connection_strings"]["Db"] == {
        "type": "PostgreSQL", "value": "Host=db;Password=hunter2"
    }  # fmt: skip
    assert "sha256:" in blue["configuration"]["linuxFxVersion"]
    assert found["site"]["sticky"]["connection_strings"] == ["Db"]


async def test_without_encryption_no_value_goes_out_that_may_be_secret(
    stand: SandboxStand,
) -> None:
    """References to a Key Vault stay, and what cannot be a secret; the rest is named."""
    export = await exported(stand)
    document, left_out = configuration(export, encrypts=False)

    assert b"s3cret-word" not in document
    assert b"hunter2" not in document
    assert "blue: setting API_KEY" in left_out
    assert "blue: connection string Db" in left_out
    blue = json.loads(document)["slots"]["blue"]
    assert (blue["settings"]["PASSWORD"], blue["settings"]["WORKERS"]) == (REFERENCE, "4")
    assert blue["connection_strings"] == {"Safe": {"type": "Custom", "value": REFERENCE}}
    assert "s3cret-word" not in repr(export)


async def test_the_images_that_stand_ready_are_looked_for_in_their_registry(
    stand: SandboxStand,
) -> None:
    old = Image.parse(image("old"))
    assert old is not None
    here = replace(means(MemoryVault(), Subjects(None)), platform=stand.platform)
    app = replace(spec(), target=TARGET)
    lost = await application(here, app)
    assert (lost.release, lost.missing) == (old.reference, (old.reference,))

    assert isinstance(here.registry, MemoryRegistry)
    here.registry.push(old.registry, old.repository, old.digest)
    found = await application(here, app)
    assert found.missing == ()
    assert json.loads(found.document)["in_registry"] == {old.reference: True}


async def test_slipways_own_rows_are_exported_as_they_are_stored() -> None:
    store = MemoryStore()
    release = Release(
        image=Image(registry="r.io", repository="shop", digest=f"sha256:{'0' * 64}"),
        slot=BLUE, rollout=RolloutId("r1"), at=T0,
    )  # fmt: skip
    judged = Record(
        at=T0, rollout=RolloutId("r1"), kind="transition", what="Judged",
        evidence="evidence/shop/r1/7.json", evidence_hash="ab" * 32,
    )  # fmt: skip
    loaded = await store.load(APP)
    state = replace(loaded.state, releases=(release,), sequence=2)
    await store.save(loaded, state, [judged, replace(judged, what="Done", evidence=None)])

    lines = [line async for line in StateExport(store, store).export(spec(), tell_nobody)]
    rows = [json.loads(line) for line in lines]
    assert [next(iter(row)) for row in rows] == ["form", "head", "audit", "audit"]
    head = decode(json.dumps(rows[1]["head"]), AppState)
    assert head == (await store.load(APP)).state
    index = [json.loads(line) async for line in EvidenceIndex(store).export(spec(), tell_nobody)]
    assert index == [{"path": "evidence/shop/r1/7.json", "sha256": "ab" * 32, "audit": 1}]
